//! The line between a channel and a handler on another group's loop: how what the one says comes to the other, and what both
//! know of it. `relay` is the channel's end, `far_side` the handler's.
//!
//! Each side is reached by tasks. In the other's pipeline what arrives is an emission (from the head there, from the relay
//! here), and so stands behind what a suspended dispatch has left over. Operations go on at once, but for read(): a resume that
//! waits for its turn needs none and would use it up.
//!
//! What can't arrive and has nobody who waits for it ends the channel.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tidegate_sys::mem::Task;

use super::Channel;
use super::core::Core;
use super::errand::Load;
use super::handle::Place;
use super::lifetime::Life;
use super::node::Index;
use super::op::Op;
use super::pipeline::resumes_max;
use super::shared::Shared;
use super::signal::Signal;
use super::slow::Inbound;
use crate::error::{Error, ErrorKind};

/// Messages on their way to the other loop before reading pauses: four batches of reads.
pub(super) const UNDELIVERED_MAX: usize = 64;

/// Messages on their way before what was read already is kept back as well, until half of them were handled: as many as a
/// decoder has in one turn. They are small if they are so many.
pub(super) fn held_from() -> usize {
    usize::from(resumes_max())
}

/// The way from the channel's loop to the handler's.
pub(crate) struct Line {
    pub(super) channel: Channel,
    /// The handler's side.
    pub(super) remote: Arc<Shared>,
    /// Messages sent to the handler's loop that its callback has not returned from.
    pub(super) undelivered: AtomicUsize,
    /// Nothing on the handler's side waits for a read(). Written there.
    pub(super) ignores_reads: AtomicBool,
    /// Calls of read() between the two loops, in either direction.
    pub(super) reads_under_way: AtomicUsize,
    /// The [`stamp`](Self::stamp) of the read() that passes the handler's side just now. Only for the handler's loop.
    pub(super) passing: AtomicU16,
    /// A read() came back while too much was undelivered: its stamp. Only for the channel's loop.
    held: AtomicU16,
    /// Too much is undelivered, since when there was: who may not emit meanwhile. Only for the channel's loop, as `was_held`.
    holds: Mutex<Vec<Arc<Shared>>>,
    is_holding: AtomicBool,
    /// A line behind has held back what this one's handler has to emit, and no read() has come by since.
    pub(super) was_held: AtomicBool,
    /// Bits of [`INACTIVE`] and [`UNREGISTERED`]: what was sent to the handler's side, and what came back. Only for the
    /// channel's loop.
    pub(super) last_sent: AtomicU8,
    pub(super) last_passed: AtomicU8,
    /// The handler's side has ended before the channel.
    pub(super) is_dead: AtomicBool,
    /// The relay, once it is in the pipeline.
    pub(super) relay: OnceLock<Place>,
    /// Why the handler's side never came to be.
    pub(super) failure: OnceLock<Error>,
}

/// No stamp of a read().
pub(super) const UNSTAMPED: u16 = 0;

/// The last events.
pub(super) const INACTIVE: u8 = 1 << 0;
pub(super) const UNREGISTERED: u8 = 1 << 1;

impl Line {
    pub(super) fn new(channel: Channel, remote: Arc<Shared>) -> Self {
        Self {
            channel,
            remote,
            undelivered: AtomicUsize::new(0),
            ignores_reads: AtomicBool::new(false),
            reads_under_way: AtomicUsize::new(0),
            passing: AtomicU16::new(UNSTAMPED),
            held: AtomicU16::new(UNSTAMPED),
            holds: Mutex::default(),
            is_holding: AtomicBool::new(false),
            was_held: AtomicBool::new(false),
            last_sent: AtomicU8::new(0),
            last_passed: AtomicU8::new(0),
            is_dead: AtomicBool::new(false),
            relay: OnceLock::new(),
            failure: OnceLock::new(),
        }
    }

    /// Runs `call` with the handler's own pipeline, on its loop, unless that has ended. Where it can't be told that something
    /// is missing the channel ends.
    pub(super) fn send(&self, call: impl FnOnce(&Core) + Send + 'static) {
        if !self.try_send(call) {
            self.break_off();
        }
    }

    pub(super) fn try_send(&self, call: impl FnOnce(&Core) + Send + 'static) -> bool {
        self.remote.submit(move |core| core.enter(call), true)
    }

    /// Something between the two loops is lost: without it nothing that follows is right, and the channel might wait for it for
    /// ever.
    #[cold]
    pub(super) fn break_off(&self) {
        let loops = [&self.channel.shared().event_loop, &self.remote.event_loop];
        let (kind, text) = if loops.iter().any(|each| each.is_shutdown()) {
            (
                ErrorKind::Terminated,
                "something was lost on its way between the loops of two groups: one of them has ended",
            )
        } else {
            (
                ErrorKind::Rejected,
                "something was lost on its way between the loops of two groups: a task queue is full; raise max_pending_tasks",
            )
        };
        Signal::new(self.channel.shared().clone()).failed(Error::new(kind, text));
    }

    /// When a read() was made: the channel's number of switches of auto-read, never [`UNSTAMPED`].
    pub(super) fn stamp(&self) -> u16 {
        1 << 8 | u16::from(self.channel.shared().auto_read_switches())
    }

    /// Whether a read() is wanted still: to switch auto-read off takes back what was asked for before.
    fn is_wanted(&self, core: &Core, stamp: u16) -> bool {
        core.auto_read() || stamp == UNSTAMPED || stamp == self.stamp()
    }

    /// A read() through the handler's pipeline, behind what is left over there: a resume that waits for its turn needs none,
    /// and would use it up, so that nothing is read any more.
    pub(super) fn send_read(self: &Arc<Self>) {
        let (line, stamp) = (self.clone(), self.stamp());
        line.reads_under_way.fetch_add(1, Ordering::Relaxed);
        #[cfg(tidegate_mutants)]
        if tidegate_sys::os::sim::is_mutant("B7-read-elsewhere-used-up") {
            return self.send(|core| _ = core.op_read_from_tail());
        }
        self.send(move |core| {
            core.at_rest(move |core| {
                line.passing.store(stamp, Ordering::Relaxed);
                core.op_read_from_tail();
                line.passing.store(UNSTAMPED, Ordering::Relaxed);
                // Behind those that follow from it.
                line.reads_under_way.fetch_sub(1, Ordering::Release);
            });
        });
    }

    /// A read() of the handler's, or one that it let pass: on from the relay.
    pub(super) fn pass_read(&self, core: &Core, relay: Index, stamp: u16) {
        if !self.is_wanted(core, stamp) {
            return;
        }
        if self.undelivered.load(Ordering::Relaxed) >= UNDELIVERED_MAX || self.is_holding() {
            self.held.store(self.stamp(), Ordering::Relaxed);
        } else {
            core.op_read(relay);
        }
    }

    /// Takes the read() that was held, if it is wanted still.
    pub(super) fn take_held(&self, core: &Core) -> bool {
        let stamp = self.held.swap(UNSTAMPED, Ordering::Relaxed);
        stamp != UNSTAMPED && self.is_wanted(core, stamp)
    }

    pub(super) fn is_holding(&self) -> bool {
        self.is_holding.load(Ordering::Relaxed)
    }

    /// Read() is kept back, and these emit nothing more of what was read.
    pub(super) fn hold(&self, sides: Vec<Arc<Shared>>) {
        self.is_holding.store(true, Ordering::Relaxed);
        sides.iter().for_each(|side| side.hold());
        *self.holds() = sides;
    }

    /// The contrary. False if nothing was held.
    pub(super) fn let_go(&self) -> bool {
        let was_holding = self.is_holding.swap(false, Ordering::Relaxed);
        for side in mem::take(&mut *self.holds()) {
            side.unhold();
        }
        was_holding
    }

    fn holds(&self) -> MutexGuard<'_, Vec<Arc<Shared>>> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One message less is on its way; whether that is a reason to [`release`](Self::release).
    pub(super) fn one_less(&self) -> bool {
        let before = self.undelivered.fetch_sub(1, Ordering::Relaxed);
        before == UNDELIVERED_MAX / 2 || before == (held_from() / 2).max(1)
    }

    /// Half of what was too much has been handled. If it is too much again by now, that comes once more.
    pub(super) fn release(&self, core: &Core, relay: Index) {
        let undelivered = self.undelivered.load(Ordering::Relaxed);
        let was_holding = undelivered < held_from() && self.let_go();
        let is_read = undelivered < UNDELIVERED_MAX && self.take_held(core);
        // Who was held waits for a read(), even if none has come by.
        if is_read || was_holding && core.auto_read() {
            core.op_read(relay);
        }
    }

    /// On the channel's loop, from the relay's place, when what is left over there has been handled: what is meant for `work`
    /// might be used up by a resume.
    pub(super) fn to_relay_at_rest(
        self: &Arc<Self>,
        relay: &Place,
        work: impl FnOnce(&Line, &Core, Index) + Send + 'static,
    ) {
        let (line, place) = (self.clone(), relay.clone());
        let arrived = relay.enter(move |core, _| {
            core.at_rest(move |core| {
                if let Some(index) = place.resolve(core) {
                    work(&line, core, index);
                }
            });
        });
        if !arrived {
            self.break_off();
        }
    }

    /// Runs `arrive` with the handler's own pipeline behind everything that was sent and the resumes that it has set off, or
    /// drops it at once if the handler's side has ended.
    pub(crate) fn pass(&self, arrive: impl FnOnce(&Core) + Send + 'static) {
        self.try_send(move |core| core.at_rest(arrive));
    }

    /// Runs `task` on the relay's loop behind all that has come from the handler's side so far, wherever this is.
    pub(crate) fn come_back(&self, task: Task) {
        // A relay may stand in the pipeline of a handler elsewhere.
        let relay = self.relay.get().map(Place::event_loop);
        let event_loop = relay.unwrap_or(self.channel.event_loop());
        if *event_loop != self.remote.event_loop {
            return event_loop.execute_behind_others(task);
        }
        // Both sides are on one loop, and all of it in that loop's own queue.
        if let Err(task) = event_loop.execute_beyond(task) {
            event_loop.host().run_listener(task);
        }
    }

    /// The handler's side is gone: what it has not said of the channel's end the relay says to those behind it.
    pub(crate) fn say_the_rest(&self, core: &Core) {
        let place = self.relay.get().and_then(|relay| relay.resolve(core));
        let Some(place) = place else { return };
        let sent = self.last_sent.load(Ordering::Relaxed);
        // Once: two markers may find it gone.
        let due = sent & !self.last_passed.fetch_or(sent, Ordering::Relaxed);
        for (bit, kind) in [
            (INACTIVE, Inbound::Inactive),
            (UNREGISTERED, Inbound::Unregistered),
        ] {
            if due & bit != 0 {
                core.emit(kind, place);
            }
        }
        core.run();
    }
}

/// Which way an operation goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    ToHandler,
    ToRelay,
}

/// An operation on its way between the two loops. If it never arrives, whoever waits for it learns why; a close of a
/// channel that has closed has what it wanted.
pub(super) struct Crossing {
    line: Arc<Line>,
    way: Way,
    /// None once it has arrived.
    op: Option<Op>,
}

impl Crossing {
    pub(super) fn new(line: &Arc<Line>, way: Way, op: Op) -> Self {
        Self {
            line: line.clone(),
            way,
            op: Some(op),
        }
    }

    /// It has arrived; it goes on from `from` toward the head.
    pub(super) fn land(mut self, core: &Core, from: Index) {
        if let Some(op) = self.op.take() {
            core.op(from, op);
        }
    }

    /// Why it did not arrive.
    fn error(&self, closed: bool) -> Error {
        let line = &*self.line;
        let failure = line.failure.get().filter(|_| self.way == Way::ToHandler);
        if let Some(failure) = failure {
            return failure.clone();
        }
        let relay = line.relay.get();
        let is_gone = line.is_dead.load(Ordering::Relaxed) || !relay.is_some_and(Place::is_there);
        let is_over = match self.way {
            Way::ToHandler => line.remote.event_loop.is_shutdown(),
            Way::ToRelay => relay.is_some_and(|relay| relay.event_loop().is_shutdown()),
        };
        let (kind, text) = if closed {
            (ErrorKind::ChannelClosed, "the channel has ended")
        } else if is_over {
            (
                ErrorKind::Terminated,
                "the event loop that an operation was on its way to has ended",
            )
        } else if is_gone {
            (
                ErrorKind::NoSuchHandler,
                "a handler on another group's loop has left before the operation passed it",
            )
        } else {
            (
                ErrorKind::Rejected,
                "an operation could not pass between the loops of two groups: a task queue is full; raise max_pending_tasks",
            )
        };
        Error::new(kind, text)
    }
}

impl Drop for Crossing {
    fn drop(&mut self) {
        let Some(op) = self.op.take() else { return };
        let closed = self.line.channel.shared().life() == Life::Closed;
        op.give_up(self.error(closed), closed);
    }
}
