//! Looking a name up: its addresses are what a channel waits for, to connect or to bind to one of them. A bootstrap begins when the
//! channel is registered (`bootstrap::resolver`). It ends with the answer, with `CONNECT_TIMEOUT` if it is a peer's name, or
//! with the channel (`life`), whichever comes first; the resolver is told then that nobody waits any more, and what it
//! answers all the same is not heard.

use std::sync::Arc;
use std::time::Duration;

use tidegate_sys::mem::LocalTask;

use super::core::{Core, LookUp};
use super::lifetime::Life;
use super::shared::Channel;
use crate::error::{Error, ErrorKind};
use crate::event_loop::TimerKey;
use crate::future::{Completion, Promise};

impl Channel {
    /// Waits for the addresses of `name`, which `answer` will tell; `is_timed` by `CONNECT_TIMEOUT`. Called in the loop's turn.
    /// False if the channel has ended: then nobody is to be asked, and `promise` has failed.
    pub(crate) fn begin_look_up(
        &self,
        name: &Arc<str>,
        answer: Completion,
        is_timed: bool,
        promise: Promise,
    ) -> bool {
        match self.shared().core() {
            Some(core) if core.life.get() < Life::Closing => {
                let look_up = LookUp {
                    name: name.clone(),
                    promise,
                    answer,
                    timer: is_timed.then(|| core.arm_look_up()).flatten(),
                };
                core.change_rare(|rare| rare.look_up = Some(Box::new(look_up)));
                true
            }
            core => {
                let text = "the channel is closed";
                let error = core.map_or_else(
                    || Error::new(ErrorKind::ChannelClosed, text),
                    |core| core.closed_error(),
                );
                promise.try_failure(looking_up(name, error));
                false
            }
        }
    }

    /// The resolver has answered. The promise, if the channel still waits.
    pub(crate) fn end_look_up(&self) -> Option<Promise> {
        let core = self.shared().core()?;
        core.take_look_up().map(|look_up| look_up.promise)
    }
}

impl Core {
    fn arm_look_up(&self) -> Option<TimerKey> {
        let ms = self.connect_timeout_ms();
        if ms == 0 {
            return None;
        }
        let me = self.me.clone();
        let due = self.lp.now() + Duration::from_millis(u64::from(ms));
        let task = LocalTask::new(move || {
            if let Some(core) = me.upgrade() {
                core.enter(Self::look_up_timed_out);
            }
        });
        Some(self.lp.add_timer(due, task))
    }

    fn look_up_timed_out(&self) {
        let is_answered = self.look_at_rare(|rare| {
            let look_up = rare.look_up.as_mut()?;
            look_up.timer = None;
            Some(look_up.answer.is_done())
        });
        // Who answered in time is on the way here: a loop that was held comes to its timers first.
        if is_answered == Some(true) {
            return;
        }
        let Some(look_up) = self.take_look_up() else {
            return;
        };
        let (name, ms) = (&look_up.name, self.connect_timeout_ms());
        let error = Error::new(
            ErrorKind::ConnectTimeout,
            format!("looking up {name} took more than {ms} ms (CONNECT_TIMEOUT)"),
        );
        look_up.answer.cancel();
        look_up.promise.try_failure(error.clone());
        self.close_because(error, Promise::void());
    }

    /// The channel ends, and this is why: nobody waits for the addresses any more.
    pub(crate) fn abandon_look_up(&self, cause: impl FnOnce() -> Error) {
        if let Some(look_up) = self.take_look_up() {
            look_up.answer.cancel();
            look_up
                .promise
                .try_failure(looking_up(&look_up.name, cause()));
        }
    }

    fn take_look_up(&self) -> Option<Box<LookUp>> {
        let look_up = self.look_at_rare(|rare| rare.look_up.take())?;
        if let Some(timer) = look_up.timer {
            self.lp.cancel_timer(timer);
        }
        Some(look_up)
    }
}

/// An error of a look-up, with the name that was looked up.
pub(crate) fn looking_up(name: &str, error: Error) -> Error {
    let (kind, fault) = (error.kind(), error.fault());
    Error::with_source(kind, format!("looking up {name}"), error).with_fault(fault)
}
