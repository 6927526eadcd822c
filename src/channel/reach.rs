//! From what every thread sees of a channel to the loop's side of it: directly in the loop's turn, as a task from
//! elsewhere. Promises and signals come in this way too.
//!
//! Whoever gets there before the channel does waits for it: a channel that is opened exists for its user at once, and comes
//! to its loop by a task, which may stand in another of the loop's queues than the call. What waits runs in order, when the
//! channel is registered and its bind or connect has begun; if it never will be, the calls are dropped, and tell whoever
//! waits for them. So an operation has the same outcome from everywhere.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use tidegate_sys::mem::Task;

use super::core::{Core, Root};
use super::lifetime::Life;
use super::nodes::NodeId;
use super::shared::{DETACHED, Shared};
use super::signal::{News, NewsDesk};
use crate::error::Error;
use crate::event_loop::{LoopCore, is_current};
use crate::future::{KeyTarget, ListenerHost};

impl Shared {
    // ---- finding the loop's side

    /// Makes `core` the loop's side of this channel.
    pub(crate) fn attach(&self, core: &Rc<Core>) {
        let slot = core.lp.attach(core.clone());
        let metadata = core.transport.borrow().metadata();
        self.take_after(metadata);
        self.slot.store(slot, Ordering::Relaxed);
    }

    /// The channel has ended.
    pub(crate) fn detach(&self, lp: &Rc<LoopCore>) {
        let slot = self.slot.swap(DETACHED, Ordering::Relaxed);
        if slot != DETACHED {
            lp.detach(slot);
        }
    }

    /// The loop's side, if this is its loop's turn and the channel has not ended.
    #[inline]
    pub(crate) fn core(&self) -> Option<Rc<Core>> {
        let slot = self.slot.load(Ordering::Relaxed);
        if slot == DETACHED {
            return None;
        }
        LoopCore::with_if_current(self.event_loop.id(), |lp| lp.attached(slot))??
            .into_any()
            .downcast::<Core>()
            .ok()
    }

    pub(crate) fn in_event_loop(&self) -> bool {
        is_current(self.event_loop.id())
    }

    /// Runs `call` on the loop with the channel's core: at once if this is its turn, else as a task, which a full queue takes as
    /// well, because nobody would hear of its loss. False if the channel or its loop has ended; then `call` is dropped.
    pub(crate) fn on_loop(self: &Arc<Self>, call: impl FnOnce(&Core) + Send + 'static) -> bool {
        if self.in_event_loop() {
            return self.meet(call);
        }
        self.submit_beyond(call)
    }

    /// In the loop's turn: runs `call` with the channel's core, at once or when the channel is registered. False if it has
    /// ended; then `call` is dropped.
    #[inline]
    pub(super) fn meet(self: &Arc<Self>, call: impl FnOnce(&Core) + Send + 'static) -> bool {
        match self.core() {
            Some(core) => {
                call(&core);
                true
            }
            None => self.wait(call),
        }
    }

    #[cold]
    fn wait(self: &Arc<Self>, call: impl FnOnce(&Core) + Send + 'static) -> bool {
        let shared = self.clone();
        self.wait_to_begin(move || _ = shared.meet(call))
    }

    // ---- before the registration

    /// Whether the channel is still to come to its loop. The far side of a relay is not waited for.
    pub(super) fn is_to_come(&self) -> bool {
        !self.is_registered() && self.life() == Life::Open && !self.serves_another()
    }

    /// Keeps `call` until the channel is registered, if that is still to come; else drops it and gives false.
    #[cold]
    pub(super) fn wait_to_begin(&self, call: impl FnOnce() + Send + 'static) -> bool {
        // Asked under the lock: the end publishes itself and then takes what waits (`give_up_waiting`).
        let refused = self
            .attributes()
            .put_waiting(Task::new(call), || self.is_to_come());
        refused.is_ok()
    }

    /// The channel is on its loop, or has ended there: what has waited for that runs.
    pub(super) fn run_waiting(&self) {
        for call in self.attributes().take_waiting() {
            call.run();
        }
    }

    /// The channel will never come to its loop, and that is published.
    pub(super) fn give_up_waiting(&self) {
        drop(self.attributes().take_waiting());
    }

    // ---- tasks

    /// Runs `call` as a task of the loop. Not waking: it runs when the loop is awake for another reason.
    pub(crate) fn submit(
        self: &Arc<Self>,
        call: impl FnOnce(&Core) + Send + 'static,
        wake: bool,
    ) -> bool {
        self.try_submit(call, wake).is_ok()
    }

    /// Runs `call` as a task of the loop, which is not refused for want of room: for what nobody would hear of.
    pub(crate) fn submit_beyond(
        self: &Arc<Self>,
        call: impl FnOnce(&Core) + Send + 'static,
    ) -> bool {
        let shared = self.clone();
        let task = self.event_loop.task(move || _ = shared.meet(call));
        self.event_loop.execute_beyond(task).is_ok()
    }

    /// As [`submit`](Self::submit), for who tells why it was refused.
    pub(crate) fn try_submit(
        self: &Arc<Self>,
        call: impl FnOnce(&Core) + Send + 'static,
        wake: bool,
    ) -> Result<(), Error> {
        let shared = self.clone();
        let task = move || _ = shared.meet(call);
        if wake {
            self.event_loop.execute(task)
        } else {
            self.event_loop.execute_lazy(task)
        }
    }

    /// Brings news to the loop's side: at once in the loop's turn, else as a task. Never refused, unless the channel or its
    /// loop has ended.
    #[inline]
    pub(super) fn tell_core(self: &Arc<Self>, tell: impl FnOnce(&Core) + Send + 'static) {
        if self.in_event_loop() {
            self.meet(tell);
            return;
        }
        let shared = self.clone();
        let task = Task::new(move || _ = shared.meet(tell));
        if let Err(task) = self.event_loop.execute_beyond(task) {
            self.event_loop.host().run_listener(task);
        }
    }

    /// Has the loop tell the pipeline, and see whether the bit is still right. Never refused.
    pub(crate) fn recheck_writability(self: &Arc<Self>) {
        let shared = self.clone();
        self.event_loop.host().run_listener(Task::new(move || {
            fence(Ordering::SeqCst);
            shared.meet(|core| core.enter(Core::recheck_writability));
        }));
    }
}

impl ListenerHost for Shared {
    fn run_listener(&self, job: Task) {
        if let Some(core) = self.core() {
            return core.push_root(Root::Listener(job));
        }
        // Not registered, ended, or another thread: the loop's own order has to do.
        self.event_loop.host().run_listener(job);
    }

    fn would_deadlock(&self) -> bool {
        self.event_loop.host().would_deadlock()
    }

    fn is_channel(&self) -> bool {
        !self.serves_another()
    }
}

impl KeyTarget for Shared {
    fn key_done(self: Arc<Self>, node: u64, key: u64, result: Result<(), Error>) {
        self.tell_core(move |core| {
            core.call_node(NodeId::from_bits(node), move |handler, ctx| {
                handler.write_done(ctx, key, result)
            });
        });
    }
}

impl NewsDesk for Shared {
    fn take_news(self: Arc<Self>, news: News) {
        self.tell_core(move |core| core.on_news(news));
    }
}
