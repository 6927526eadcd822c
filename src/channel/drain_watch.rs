//! [`Watch`]: the deadline of a drain while its first step waits. That step stands behind the tasks of its loop, as everything
//! does that is asked for, and they may take longer than the deadline: overload is when one needs it most. `drain` makes one
//! watch for each loop; what is to be done when the time is over is told to it. It closes nothing itself.
//!
//! Until its turn has come the watch alone keeps the drain: what waits in queues knows it weakly, so that a report does not
//! wait for them.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tidegate_sys::mem::{LocalTask, Task};
use tidegate_sys::os::{Time, clock};

use super::drain_report::Drain;
use crate::event_loop::{EventLoop, LoopCore, TimerKey};

/// How far one loop's part of a drain has come. Moved on that loop only, but for the first step; the lock is there because it
/// travels.
#[derive(Default)]
pub(crate) struct Watch(Mutex<Step>);

#[derive(Clone, Copy, Default)]
enum Step {
    #[default]
    New,
    /// The timer is on its way, in front of all tasks.
    Asked,
    Waits(TimerKey),
    /// Its turn has come, and the deadline is the `Tally`'s.
    Begun,
    /// The deadline came first.
    Over,
}

impl Watch {
    /// Keeps `drain` until [`begin`](Self::begin), or gives it to `late` on the loop when its time is over. Once.
    pub(crate) fn keep(
        self: &Arc<Self>,
        event_loop: &EventLoop,
        drain: Arc<Drain>,
        late: impl FnOnce(&LoopCore, Arc<Drain>) + Send + 'static,
    ) {
        {
            let mut step = self.lock();
            let Step::New = *step else { return };
            *step = Step::Asked;
        }
        let (id, watch) = (event_loop.id(), self.clone());
        let set = move || {
            if let Some(lp) = LoopCore::current().filter(|lp| lp.id() == id) {
                watch.set_timer(&lp, drain, late);
            }
        };
        // It waits behind no task. Never refused: a loop that has ended has nothing to drain.
        event_loop.host().run_listener(Task::new(set));
    }

    /// The loop's turn has come: the drain is the caller's. `None` if its time is over here, or everywhere.
    pub(crate) fn begin(&self, lp: &LoopCore, drain: &Weak<Drain>) -> Option<Arc<Drain>> {
        let drain = drain.upgrade()?;
        let step = mem::replace(&mut *self.lock(), Step::Begun);
        match step {
            Step::New | Step::Asked => Some(drain),
            Step::Waits(timer) => {
                lp.cancel_timer(timer);
                Some(drain)
            }
            Step::Begun | Step::Over => None,
        }
    }

    fn set_timer(
        self: Arc<Self>,
        lp: &LoopCore,
        drain: Arc<Drain>,
        late: impl FnOnce(&LoopCore, Arc<Drain>) + 'static,
    ) {
        let mut step = self.lock();
        let Step::Asked = *step else { return };
        let watch = self.clone();
        let due = deadline(lp, &drain);
        let over = move || {
            *watch.lock() = Step::Over;
            if let Some(lp) = LoopCore::current() {
                late(&lp, drain);
            }
        };
        *step = Step::Waits(lp.add_timer(due, LocalTask::new(over)));
    }

    fn lock(&self) -> MutexGuard<'_, Step> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of one channel, on its way to it. Where the channel never comes to its loop nobody waits for the deadline.
pub(crate) struct Turn {
    pub(crate) watch: Arc<Watch>,
    pub(crate) drain: Weak<Drain>,
    pub(crate) event_loop: EventLoop,
}

impl Turn {
    /// As [`Watch::begin`].
    pub(crate) fn begin(&self, lp: &LoopCore) -> Option<Arc<Drain>> {
        self.watch.begin(lp, &self.drain)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let id = self.event_loop.id();
        if let Some(lp) = LoopCore::current().filter(|lp| lp.id() == id) {
            drop(self.begin(&lp));
        }
    }
}

/// The deadline by the loop's own clock.
pub(crate) fn deadline(lp: &LoopCore, drain: &Drain) -> Time {
    lp.now() + drain.deadline.saturating_since(clock::now())
}
