//! How a handler that has more to emit comes back: `resume` (rule 7).
//!
//! The trampoline (`dispatch`) asks here what is next when nothing else waits; a read() that meets a parked resume is
//! consumed in `ops`.

use std::mem;

use super::super::core::{Core, Handler, attention, flag};
use super::super::node::{HEAD, Index, Node, Resume, Slab, State};
use super::super::slow::{Event, Inbound};
use super::visit::Visit;

/// At most this many `resume` callbacks in one dispatch; the rest go on from the ready list, so that one
/// connection's backlog can't keep the loop from the others.
const RESUMES_PER_DISPATCH: u16 = 1024;

#[cfg(not(feature = "sim"))]
pub(in crate::channel) fn resumes_max() -> u16 {
    RESUMES_PER_DISPATCH
}

/// A simulation may have fewer, so that short runs come to what is left over.
#[cfg(feature = "sim")]
pub(in crate::channel) fn resumes_max() -> u16 {
    tidegate_sys::os::sim::resumes_max().unwrap_or(RESUMES_PER_DISPATCH)
}

impl Core {
    /// A handler asks for its resume. The first one to ask while nothing waits gets the slot, which is looked at last: a
    /// decoder that hands on one message after the other costs no more than its callbacks. By events it cost 540
    /// instructions per message more than handing on all at once.
    pub(crate) fn ask_for_resume(&self, node: &Node<dyn Handler>) {
        if self.attention.get() & attention::REGROWN != 0 {
            let now = self.nodes.get(node.index());
            return self.ask_at(&now);
        }
        self.ask_at(node);
    }

    fn ask_at(&self, node: &Node<dyn Handler>) {
        // A handler that has left is not called any more.
        if node.resume() != Resume::Idle || node.state() == State::Removed {
            return;
        }
        node.set_resume(Resume::Asked);
        let has_slot = self.resume_last.get() == HEAD
            && self.attention.get() & (attention::LIST | attention::SUSPENDED) == 0
            && self.slow.with(|slow| slow.has_no_event()) != Some(false);
        if has_slot {
            self.resume_last.set(node.index());
            self.attend(attention::RESUMING | attention::JUST_ASKED);
        } else {
            self.attend(attention::RESUMING);
            self.emit_tail(Event::Resume {
                node: node.index(),
                unparked: false,
                emitted: false,
            });
        }
    }

    /// Takes the handler of the resume in the slot onto the stack, if it may run at once.
    #[inline]
    pub(super) fn claim_resume<'a>(&'a self, slab: &'a Slab<dyn Handler>) -> Option<Visit<'a>> {
        const IN_THE_WAY: u16 = attention::ROOTS | attention::SUSPENDED | attention::REGROWN;
        let index = self.resume_last.get();
        if index == HEAD
            || self.attention.get() & IN_THE_WAY != 0
            || self.resumes.get() >= resumes_max()
            || !self.reading_wanted(index)
        {
            return None;
        }
        let node = slab
            .get(usize::from(index))
            .filter(|node| node.resume() == Resume::Asked)?;
        let visit = Visit::begin(self, node)?;
        node.set_resume(Resume::Idle);
        self.empty_resume_slot();
        self.resumes.set(self.resumes.get() + 1);
        Some(visit)
    }

    #[inline]
    fn empty_resume_slot(&self) -> Index {
        self.attention
            .set(self.attention.get() & !attention::JUST_ASKED);
        self.resume_last.replace(HEAD)
    }

    /// The resume in the slot becomes an event like others, in its place among them.
    #[cold]
    #[inline(never)]
    pub(super) fn resume_in_turn(&self) {
        let event = Event::Resume {
            node: self.empty_resume_slot(),
            unparked: false,
            emitted: false,
        };
        self.with_slow(|slow| slow.tail.push(event));
        self.attend(attention::LIST);
    }

    pub(super) fn run_resume(&self, node: Index, unparked: bool, emitted: bool) -> bool {
        let state = self.nodes.get(node).resume();
        let (wanted, credit) = match state {
            Resume::AskedWithCredit => (true, true),
            Resume::Asked => (self.reading_wanted(node), false),
            Resume::Idle | Resume::Parked => {
                // The handler was taken out meanwhile. Who waits for the end of its chain need not know.
                if unparked && emitted {
                    self.end_chain(node);
                }
                return true;
            }
        };
        if !wanted {
            self.nodes.get(node).set_resume(Resume::Parked);
            self.parks.set(self.parks.get() + 1);
            if unparked && emitted {
                self.emit(Inbound::ReadComplete, node);
            }
            return true;
        }
        if self.resumes.get() >= resumes_max() {
            self.suspend(Event::Resume {
                node,
                unparked,
                emitted,
            });
            return false;
        }
        self.resumes.set(self.resumes.get() + 1);
        self.nodes.get(node).set_resume(Resume::Idle);
        self.call(node, |handler, ctx| {
            let result = handler.resume(ctx);
            self.resumed(node, unparked, emitted, credit);
            result
        });
        true
    }

    /// What follows from a `resume` that has just returned.
    pub(super) fn resumed(&self, node: Index, unparked: bool, emitted: bool, credit: bool) {
        let emits_now = self.first_kind.get() != Inbound::None;
        let emits = emitted || emits_now;
        if self.resume_last.get() == node && (unparked || !emits_now) {
            self.resume_in_turn();
        }
        if credit && !emits_now {
            // Nothing came of the read() that this resume has consumed: it goes on.
            self.emit_tail(Event::ReadOp(node));
        }
        let mut asked = self.nodes.get(node).resume() != Resume::Idle;
        if asked && !emits_now {
            self.put_off(node);
            asked = false;
        }
        if asked {
            // The request is in the tail list; it inherits the chain.
            self.with_slow(|slow| {
                for event in &mut slow.tail {
                    if let Event::Resume {
                        node: at,
                        unparked: chain,
                        emitted: so_far,
                    } = event
                        && *at == node
                    {
                        *chain = unparked;
                        *so_far = emits;
                    }
                }
            });
        } else if unparked && emits {
            self.end_chain(node);
        }
    }

    /// A resume that emitted nothing and asks again would be asked for ever: it waits for a read(), or has ended with the
    /// input.
    fn put_off(&self, node: Index) {
        let is_else =
            |event: &Event| !matches!(event, Event::Resume { node: at, .. } if *at == node);
        self.with_slow(|slow| slow.tail.retain(is_else));
        let parked = !self.has(flag::DRAINING);
        let resume = if parked { Resume::Parked } else { Resume::Idle };
        let place = self.nodes.get(node);
        let was = place.resume();
        place.set_resume(resume);
        self.parks.set(self.parks.get() + u16::from(parked));
        if was == Resume::AskedWithCredit {
            // A read() that it made itself, and consumed by asking again.
            self.emit_tail(Event::ReadOp(node));
        }
    }

    /// A chain of resumes that a read() had set off has emitted, and stops.
    fn end_chain(&self, node: Index) {
        self.emit_tail(Event::Plain(Inbound::ReadComplete, node));
        if self.auto_read() {
            self.emit_tail(Event::ReadOp(node));
        }
    }

    /// The dispatch was suspended by the limit of resumes and goes on now.
    pub(crate) fn unsuspend(&self) {
        self.attention
            .set(self.attention.get() & !attention::SUSPENDED);
        self.resumes.set(0);
        self.queue_what_came();
    }

    /// The loop ends, and in the rounds that it had for it a handler has not come to the end of what it emits: it is not asked
    /// again, and cannot ask. What has been emitted is delivered, and the last events are behind it.
    #[cold]
    pub(in crate::channel) fn cut_off_resumes(&self) {
        if self.attention.get() & attention::SUSPENDED == 0 {
            return;
        }
        self.empty_resume_slot();
        self.with_slow(|slow| {
            let is_else = |event: &Event| !matches!(event, Event::Resume { .. });
            slow.stack.retain(is_else);
            slow.list.retain(is_else);
            slow.tail.retain(is_else);
        });
        tracing::warn!(
            channel = %self.shared.id(),
            pipeline = self.nodes.describe(),
            "a handler always had more to emit when its event loop ended; it was not resumed any more"
        );
    }

    /// The messages that `from` has emitted and that stand behind what is left over go nowhere.
    pub(in crate::channel) fn forget_left_over(&self, from: Index) {
        if self.attention.get() & attention::SUSPENDED == 0 {
            return;
        }
        if self.first_kind.get() == Inbound::Read && self.first_from.get().index() == from {
            // The slot stays taken, so that what comes stands behind the list.
            self.first_kind.set(Inbound::Spilled);
            drop(self.first_msg.take());
        }
        let is_else =
            |event: &Event| !matches!(event, Event::Message(Inbound::Read, at, _) if *at == from);
        let forget = |events: &mut Vec<Event>| {
            let (kept, gone) = mem::take(events).into_iter().partition(is_else);
            *events = kept;
            gone
        };
        let gone: [Vec<Event>; 2] =
            self.with_slow(|slow| [forget(&mut slow.list), forget(&mut slow.stack)]);
        drop(gone);
    }

    /// What was emitted while the dispatch stood still comes from outside of it, and so behind what is left over: a message
    /// behind the rest of the one before, the end of a batch behind its last message.
    fn queue_what_came(&self) {
        #[cfg(tidegate_mutants)]
        if tidegate_sys::os::sim::is_mutant("B7-end-overtakes-rest") {
            return;
        }
        let from = self.first_from.get().index();
        let first = match self.first_kind.replace(Inbound::None) {
            Inbound::None | Inbound::Spilled => None,
            kind @ (Inbound::Read | Inbound::UserEvent) => {
                let msg = self.first_msg.take();
                msg.map(|msg| Event::Message(kind, from, msg))
            }
            kind => Some(Event::Plain(kind, from)),
        };
        self.with_slow(|slow| {
            let rest = mem::take(&mut slow.stack);
            // The last of it is next.
            slow.stack.extend(slow.tail.drain(..).rev());
            slow.stack.extend(slow.list.drain(..).rev());
            slow.stack.extend(first);
            slow.stack.extend(rest);
        });
        self.attention.set(self.attention.get() & !attention::LIST);
    }

    /// Wakes every parked resume, those nearest to the tail first: what they hold is older.
    pub(crate) fn unpark_all(&self) {
        if self.parks.replace(0) == 0 {
            return;
        }
        let parked: Vec<Index> = {
            let is_parked = |index: &Index| self.nodes.get(*index).resume() == Resume::Parked;
            let parked: Vec<Index> = self.nodes.linked().filter(is_parked).collect();
            for index in &parked {
                self.nodes.get(*index).set_resume(Resume::AskedWithCredit);
            }
            parked
        };
        for node in parked.into_iter().rev() {
            self.emit_event(Event::Resume {
                node,
                unparked: true,
                emitted: false,
            });
        }
    }
}
