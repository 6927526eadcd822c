//! The root queue (rule 6): what may not run in the middle of something.
//!
//! It runs when no handler of the pipeline is on the stack and no transport is borrowed: after each event that the
//! transport fires, and otherwise when the loop's FIFO of channels with root work comes round.

use std::collections::VecDeque;

use tidegate_sys::mem::{Task, task};

use super::core::{Core, Gate, Root, Roots, attention, flag};
use super::node::HEAD;
use super::slow::{Event, Inbound};
use crate::error::Error;
use crate::event_loop::boundary;

/// Items of one pipeline in one go; others have their turn before the rest.
const ITEMS_PER_TURN: u8 = 64;

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

impl Core {
    /// Queues an item. It runs before the outermost entry returns, or from the loop's FIFO.
    pub(crate) fn push_root(&self, root: Root) {
        self.roots
            .with_lent(Roots::lend, |roots| roots.0.push_back(root));
        self.attend(attention::ROOTS);
        if !self.running.get() {
            self.push_root_fifo();
        }
    }

    /// Runs `call` now or, if the limit of resumes has suspended the dispatch, when it has been gone through: before
    /// anything else that is queued, so that nothing comes between.
    pub(crate) fn at_rest(&self, call: impl FnOnce(&Self) + 'static) {
        if self.attention.get() & attention::SUSPENDED == 0 {
            return call(self);
        }
        let rest = Root::Rest(Gate::new(call));
        self.roots.with_lent(Roots::lend, |Roots(queue)| {
            queue.insert(resting(queue), rest);
        });
        self.attend(attention::ROOTS);
    }

    /// What was to follow is not to follow any more.
    pub(crate) fn forget_rest(&self) {
        let is_else = |root: &Root| !matches!(root, Root::Rest(_));
        self.roots.with(|roots| roots.0.retain(is_else));
    }

    /// What the transport reported is of no interest any more.
    pub(super) fn forget_news(&self) {
        let is_else = |root: &Root| !matches!(root, Root::News(_));
        self.roots.with(|roots| roots.0.retain(is_else));
    }

    /// Runs queued items, each with all that follows from it.
    #[cold]
    pub(crate) fn run_roots(&self) {
        while self.root_items.get() < ITEMS_PER_TURN || self.is_rest_next() {
            // After a panic that a listener caught, say, everything waits until the channel has looked after it.
            const STOP: u16 = attention::SUSPENDED | attention::LOST;
            if self.in_transport.get() || self.attention.get() & STOP != 0 {
                return;
            }
            let Some(root) = self.next_root() else {
                break;
            };
            self.root_items.set(self.root_items.get().saturating_add(1));
            self.run_root(root);
            self.run();
            self.flush_put_off();
        }
        self.end_roots();
    }

    /// What a dispatch is to be followed by is followed by that alone: nothing is read and nothing comes from elsewhere
    /// before the last of it, however many they are. They are as many as have come while the dispatch was suspended.
    fn is_rest_next(&self) -> bool {
        let is_rest = |roots: &mut Roots| matches!(roots.0.front(), Some(Root::Rest(_)));
        self.roots.with(is_rest) == Some(true)
    }

    fn next_root(&self) -> Option<Root> {
        self.roots.with(Roots::next).flatten()
    }

    /// If the queue is empty, gives it up.
    fn end_roots(&self) {
        if self.roots.with(|roots| roots.0.is_empty()) != Some(false) {
            if let Some(spare) = self.roots.take() {
                spare.give_back();
            }
            self.attention.set(self.attention.get() & !attention::ROOTS);
        }
    }

    /// The next item that may run before a resume: all but the end and what follows, which wait for what
    /// the resume still has.
    #[cold]
    pub(crate) fn root_before_resume(&self) -> Quiet {
        let place = |Roots(queue): &mut Roots| {
            let place = resting(queue);
            let waits = |root: &Root| matches!(root, Root::End { .. });
            queue
                .get(place)
                .is_some_and(|root| !waits(root))
                .then_some(place)
        };
        // Between the last events comes nothing else.
        if self.has(flag::ENDING) {
            return Quiet::Nothing;
        }
        let Some(place) = self.roots.with(place).flatten() else {
            return Quiet::Nothing;
        };
        if self.root_items.get() >= ITEMS_PER_TURN {
            return Quiet::Enough;
        }
        self.root_items.set(self.root_items.get() + 1);
        let item = self.roots.with(|Roots(queue)| queue.remove(place));
        item.flatten().map_or(Quiet::Nothing, Quiet::Item)
    }

    pub(crate) fn run_root(&self, root: Root) {
        match root {
            Root::Listener(job) => self.run_listener(job),
            Root::HeadOp(op) => self.head_op(op),
            // The last events may be under way on other loops. Nothing comes behind them.
            Root::Fire(_) if self.has(flag::ENDING) => {}
            Root::Message(Inbound::Read, msg) if self.has(flag::ENDING) => self.tail_message(msg),
            Root::Message(_, event) if self.has(flag::ENDING) => self.tail_user_event(event),
            Root::Exception(cause) if self.has(flag::ENDING) => self.tail_exception(cause),
            Root::Fire(kind) => self.emit(kind, HEAD),
            Root::Message(kind, msg) => self.emit_message(kind, HEAD, msg),
            Root::Exception(cause) => self.emit_event(Event::Exception(HEAD, cause)),
            Root::Writability => {
                self.clear(flag::WRITABILITY_QUEUED);
                if !self.has(flag::ENDING) {
                    self.emit_from_head(Inbound::Writability);
                }
            }
            Root::Active => self.fire_active(),
            Root::Drain => self.release_parked(),
            Root::Close(cause, promise) => self.close_because(cause, promise),
            Root::End { .. } => {
                self.set(flag::ENDING);
                self.end();
            }
            Root::News(news) => self.act_on_news(news),
            Root::Call(gate) | Root::Rest(gate) => gate.open(self),
        }
    }

    /// A listener that panics is its own affair (F5), unless it had called into a handler of this pipeline.
    fn run_listener(&self, job: Task) {
        let _held = self.hold_for_listener(job.type_name());
        let Err(panic) = boundary::catch(|| job.run()) else {
            return;
        };
        if self.nodes.any_busy() {
            std::panic::resume_unwind(Box::new(String::from(panic)));
        }
        self.lp.metrics().panics.add(1);
        self.lp.keep_panic(&panic);
        let listener = task::take_panicked();
        tracing::error!(channel = %self.shared.id(), listener, panic, "a listener panicked");
    }
}

/// How many items at the front of the queue wait until a dispatch that was suspended has been gone through.
fn resting(queue: &VecDeque<Root>) -> usize {
    let is_rest = |root: &&Root| matches!(root, Root::Rest(_));
    queue.iter().take_while(is_rest).count()
}

impl Roots {
    /// The oldest item, but the end only when nothing is queued behind it, or after so many rounds.
    fn next(&mut self) -> Option<Root> {
        let roots = &mut self.0;
        let root = roots.pop_front();
        let Some(Root::End { rounds }) = root else {
            return root;
        };
        if rounds >= END_ROUNDS || roots.is_empty() {
            return root;
        }
        roots.push_back(Root::End { rounds: rounds + 1 });
        roots.pop_front()
    }
}

impl Root {
    /// The channel is gone: promises fail, listeners still run.
    pub(crate) fn abandon(self, error: &Error) {
        match self {
            Self::Listener(job) => job.run(),
            Self::HeadOp(op) => op.fail(error.clone()),
            Self::Close(_, promise) => {
                promise.try_failure(error.clone());
            }
            _ => {}
        }
    }
}
