//! The root queue (rule 6): what may not run in the middle of something.
//!
//! It runs when no handler of the pipeline is on the stack and no transport is borrowed: after each event that the
//! transport fires, and otherwise when the loop's FIFO of channels with root work comes round.

use tidegate_sys::mem::Task;

use super::core::{Core, attention, flag};
use super::life::Gate;
use super::op::Op;
use super::pipeline::nodes::HEAD;
use super::pipeline::slow::{Event, Inbound};
use crate::buffer::Message;
use crate::error::{Error, Failure};
use crate::event_loop::boundary;
use crate::future::Promise;

/// Items of one pipeline in one go; others have their turn before the rest.
const ITEMS_PER_TURN: u16 = 64;

/// How often the end lets pass what was queued behind it: listeners of the last writes, the events they fire, and
/// what follows from those. Whoever always queues more does not keep the channel from ending.
const END_ROUNDS: u8 = 8;

/// What the root queue has to say before a resume.
pub(crate) enum Quiet {
    Nothing,
    Item(Root),
    /// There is more, but others come first.
    Enough,
}

/// One thing that waits for a quiet moment.
pub(crate) enum Root {
    /// A listener of a promise.
    Listener(Task),
    /// An operation that reached the head while the transport was busy with a step.
    HeadOp(Op),
    /// An event from the head.
    Fire(Inbound),
    /// A user event, or a message fired by another channel's handler, from the head.
    Message(Inbound, Message),
    /// An error from the head.
    Exception(Failure),
    /// Writability changed.
    Writability,
    /// The channel became active.
    Active,
    /// Parked resumes are to emit what they hold.
    Drain,
    /// Close, for this reason.
    Close(Error, Promise),
    /// channel_inactive, channel_unregistered, the end. It waits for what was queued behind it.
    End { was_active: bool },
    /// The same after the given number of such rounds.
    Ending { was_active: bool, rounds: u8 },
    /// Anything else, from a handle on another thread.
    Call(Gate),
}

impl Core {
    /// Queues an item. It runs before the outermost entry returns, or from the loop's FIFO.
    pub(crate) fn push_root(&self, root: Root) {
        self.roots.borrow_mut().push_back(root);
        self.attend(attention::ROOTS);
        if !self.running.get() {
            self.push_root_fifo();
        }
    }

    /// Runs queued items, each with all that follows from it.
    #[cold]
    pub(crate) fn run_roots(&self) {
        while self.root_items.get() < ITEMS_PER_TURN {
            if self.in_transport.get() || self.attention.get() & attention::SUSPENDED != 0 {
                return;
            }
            let Some(root) = self.next_root() else { return };
            self.root_items.set(self.root_items.get() + 1);
            self.run_root(root);
            self.run();
        }
        if self.roots.borrow().is_empty() {
            self.attention.set(self.attention.get() & !attention::ROOTS);
        }
    }

    fn next_root(&self) -> Option<Root> {
        let mut roots = self.roots.borrow_mut();
        let mut root = roots.pop_front();
        let (was_active, rounds) = match root {
            Some(Root::End { was_active }) => (was_active, 0),
            Some(Root::Ending { was_active, rounds }) => (was_active, rounds),
            _ => (false, END_ROUNDS),
        };
        if rounds < END_ROUNDS && !roots.is_empty() {
            roots.push_back(Root::Ending { was_active, rounds: rounds + 1 });
            root = roots.pop_front();
        }
        if root.is_none() {
            self.attention.set(self.attention.get() & !attention::ROOTS);
            // A queue that was long once is not kept: there are many channels.
            if roots.capacity() > usize::from(ITEMS_PER_TURN) {
                roots.shrink_to_fit();
            }
        }
        root
    }

    /// The next item that may run before a resume: all but the end, which waits for what the resume still has.
    #[cold]
    pub(crate) fn root_before_resume(&self) -> Quiet {
        match self.roots.borrow().front() {
            None | Some(Root::End { .. } | Root::Ending { .. }) => return Quiet::Nothing,
            Some(_) if self.root_items.get() >= ITEMS_PER_TURN => return Quiet::Enough,
            Some(_) => {}
        }
        self.root_items.set(self.root_items.get() + 1);
        self.next_root().map_or(Quiet::Nothing, Quiet::Item)
    }

    pub(crate) fn run_root(&self, root: Root) {
        match root {
            Root::Listener(job) => self.run_listener(job),
            Root::HeadOp(op) => self.head_op(op),
            Root::Fire(kind) => self.emit(kind, HEAD),
            Root::Message(kind, msg) => self.emit_message(kind, HEAD, msg),
            Root::Exception(cause) => self.emit_event(Event::Exception(HEAD, cause)),
            Root::Writability => {
                self.clear(flag::WRITABILITY_QUEUED);
                if !self.has(flag::ENDED) {
                    self.emit(Inbound::Writability, HEAD);
                }
            }
            Root::Active => self.fire_active(),
            Root::Drain => {
                self.set(flag::DRAINING);
                self.unpark_all();
            }
            Root::Close(cause, promise) => self.close_because(cause, promise),
            Root::End { was_active } | Root::Ending { was_active, .. } => {
                self.set(flag::ENDING);
                self.end(was_active);
            }
            Root::Call(gate) => gate.open(self),
        }
    }

    /// A listener that panics ends, and nothing else does (F5), unless it had entered a handler.
    fn run_listener(&self, job: Task) {
        if let Err(panic) = boundary::catch(|| job.run()) {
            if self.nodes.borrow().any_busy() {
                std::panic::resume_unwind(Box::new(panic));
            }
            self.lp.metrics().panics.add(1);
            tracing::error!(channel = %self.shared.id(), panic, "a listener panicked");
        }
    }
}
