//! The root queue (rule 6): what may not run in the middle of something.
//!
//! It runs when no handler of the pipeline is on the stack and no transport is borrowed: after each event that the
//! transport fires, and otherwise when the loop's FIFO of channels with root work comes round.

use tidegate_sys::mem::Task;

use super::core::{Core, Root, attention, flag};
use super::nodes::HEAD;
use super::slow::{Event, Inbound};
use crate::error::Error;
use crate::event_loop::boundary;

/// Items of one pipeline in one go; others have their turn before the rest.
const ITEMS_PER_TURN: usize = 64;

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
        for _ in 0..ITEMS_PER_TURN {
            if self.in_transport.get() || self.attention.get() & attention::SUSPENDED != 0 {
                return;
            }
            let Some(root) = self.next_root() else { return };
            self.run_root(root);
            self.run();
        }
        if self.roots.borrow().is_empty() {
            self.attention.set(self.attention.get() & !attention::ROOTS);
        }
    }

    fn next_root(&self) -> Option<Root> {
        let mut roots = self.roots.borrow_mut();
        let root = roots.pop_front();
        if root.is_none() {
            self.attention.set(self.attention.get() & !attention::ROOTS);
            // A queue that was long once is not kept: there are many channels.
            if roots.capacity() > ITEMS_PER_TURN {
                roots.shrink_to_fit();
            }
        }
        root
    }

    fn run_root(&self, root: Root) {
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
            Root::End { was_active } => self.end(was_active),
            Root::Call(gate) => gate.open(self),
        }
    }

    /// A listener that panics is its own affair (F5), unless it had called into a handler of this pipeline.
    fn run_listener(&self, job: Task) {
        let Err(panic) = boundary::catch(|| job.run()) else {
            return;
        };
        if self.nodes.borrow().any_busy() {
            std::panic::resume_unwind(Box::new(panic));
        }
        self.lp.metrics().panics.add(1);
        tracing::error!(channel = %self.shared.id(), panic, "a listener panicked");
    }
}

impl Root {
    /// The channel is gone: promises fail, listeners still run.
    pub(crate) fn abandon(self, error: &Error) {
        match self {
            Self::Listener(job) => job.run(),
            Self::HeadOp(op) => op.fail(error.clone()),
            Self::Close(_, promise) => {
                promise.try_success();
            }
            _ => {}
        }
    }
}
