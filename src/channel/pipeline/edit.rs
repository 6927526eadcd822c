//! Changing a pipeline while events are in it (rule 8).
//!
//! Links change at once and count for the next hop. `handler_added` runs inside the edit if the handler stands
//! nearer to the head than every handler on the stack, else as an emission of the current callback, and at the
//! latest immediately before any other callback of that handler. `handler_removed` of a handler on the stack runs
//! right after it has returned.

use std::any::Any;
use std::mem;

use super::super::core::{Context, Core, Handler, Root, attention, flag};
use super::super::entry::Passing;
use super::super::into_handler::as_type;
use super::super::kind::Kind;
use super::super::mask::Mask;
use super::super::node::{Index, Resume, State};
use super::super::nodes::Nodes;
use super::super::slow::Event;
use super::visit::Visit;
use crate::error::{Error, ErrorKind, Failure};

impl Core {
    /// Links a handler behind `prev` and sees to its `handler_added`.
    pub(crate) fn insert(
        &self,
        prev: Index,
        handler: Box<dyn Handler>,
        name: Option<&str>,
        kind: Kind,
    ) -> Result<Index, Error> {
        if self.is_over() {
            return Err(self.closed_error());
        }
        self.check_name(name, None)?;
        let index = self.link(handler.as_ref(), |nodes, declared| {
            nodes.insert_after(prev, declared, name, kind)
        })?;
        self.announce(index, handler);
        Ok(index)
    }

    /// Puts a node for `handler` into the pipeline.
    fn link(
        &self,
        handler: &dyn Handler,
        insert: impl FnOnce(&Nodes<dyn Handler>, Option<Mask>) -> Option<Index>,
    ) -> Result<Index, Error> {
        let declared = handler.declared().map(|declared| declared.0);
        let before = self.nodes.slab();
        let index = insert(&self.nodes, declared);
        self.relink_first();
        // Somebody on the stack goes by the slab that was.
        if self.nodes.is_outgrown(&before) && before.is_shared() {
            self.attend(attention::REGROWN);
            self.nodes.keep_outgrown(before);
        }
        index.ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidArgument,
                "a pipeline holds at most 65,534 handlers",
            )
        })
    }

    fn is_over(&self) -> bool {
        self.has(flag::ENDED)
    }

    /// Explicit names are unique; `besides` may keep its own.
    fn check_name(&self, name: Option<&str>, besides: Option<Index>) -> Result<(), Error> {
        let Some(name) = name else { return Ok(()) };
        let nodes = &self.nodes;
        let taken = name == "head"
            || name == "tail"
            || nodes.find(name).is_some_and(|at| Some(at) != besides);
        if taken {
            return Err(Error::new(
                ErrorKind::DuplicateName,
                format!(
                    "the pipeline has a handler named {name:?} already: {}",
                    nodes.describe()
                ),
            ));
        }
        Ok(())
    }

    fn announce(&self, index: Index, handler: Box<dyn Handler>) {
        if self.nodes.any_busy() && self.nodes.busy_toward_head(index) {
            self.nodes.keep_fresh(index, handler);
            self.emit_event(Event::Added(index));
        } else {
            self.call_added(index, handler);
        }
    }

    /// Runs `handler_added` if it is still due.
    pub(crate) fn ensure_added(&self, index: Index) {
        if self.nodes.get(index).state() != State::Added {
            return;
        }
        match self.nodes.take_fresh(index) {
            Some(handler) => self.call_added(index, handler),
            None => {
                panic!("Tidegate's invariant broke: a handler is gone before it was told of itself")
            }
        }
    }

    fn call_added(&self, index: Index, handler: Box<dyn Handler>) {
        if self.is_watched() {
            return self.named(index, "handler_added", || {
                self.call_added_now(index, handler);
            });
        }
        self.call_added_now(index, handler);
    }

    fn call_added_now(&self, index: Index, handler: Box<dyn Handler>) {
        let slab = self.nodes.slab();
        let node = &slab[usize::from(index)];
        // Before the callback, so that what it fires or asks for finds it in place (B3).
        node.set_state(State::Here);
        // An operation may have come here, and its caller may catch a panic.
        let passing = Passing(self);
        let mut visit = Visit::first(self, node, handler);
        let mut ctx = Context::new(self, self.slab_to_go_by(&slab), node);
        let result = visit.handler().handler_added(&mut ctx);
        let node = visit.put_back();
        mem::forget(passing);
        if self.attention.get() & attention::REGROWN != 0 {
            self.nodes.carry_over(node);
        }
        if let Err(failure) = result {
            self.added_failed(index, failure);
        }
        self.after_call(node);
    }

    /// B7: the handler goes again, and the pipeline is told.
    #[cold]
    fn added_failed(&self, index: Index, failure: Failure) {
        let name = self.nodes.name(index);
        // If it took itself out, its farewell is due as for any handler that was on the stack.
        if !self.is_removed_busy(index) {
            self.remove_node(index);
        }
        let error = Error::with_source(
            ErrorKind::User,
            format!("handler_added of {name} failed; the handler was removed"),
            failure.into_error(),
        );
        self.push_root(Root::Exception(error.into()));
    }

    /// Takes a handler out. One that is on the stack gets its `handler_removed` when it has returned.
    pub(crate) fn remove_node(&self, index: Index) -> Option<Box<dyn Handler>> {
        let node = self.nodes.get(index);
        let state = node.state();
        match state {
            State::Here | State::Lost if node.is_busy() => {
                if node.is_gone() {
                    return None;
                }
                self.with_slow(|slow| slow.removed_busy.push((index, None)));
                self.attend(attention::REMOVED_BUSY);
                // The walk passes it from now on; it is buried when it returns.
                self.nodes.take_out(index);
                None
            }
            State::Here | State::Added => {
                self.unpark_one(index);
                self.nodes.take_out(index);
                self.bury(index, state == State::Here)
            }
            State::Vacant | State::Sentinel | State::Removed | State::Lost => None,
        }
    }

    /// Puts `handler` in the place of `old`.
    pub(crate) fn replace_node(
        &self,
        old: Index,
        handler: Box<dyn Handler>,
        name: Option<&str>,
        kind: Kind,
    ) -> Result<Index, Error> {
        if self.is_over() {
            return Err(self.closed_error());
        }
        self.check_name(name, Some(old))?;
        let new = self.link(handler.as_ref(), |nodes, declared| {
            nodes.insert_for(old, declared, name, kind)
        })?;
        let node = self.nodes.get(old);
        let state = node.state();
        if node.is_busy() {
            self.with_slow(|slow| slow.removed_busy.push((old, Some(new))));
            self.attend(attention::REMOVED_BUSY);
            self.announce(new, handler);
        } else {
            self.unpark_one(old);
            // The new one first, so that what the old one leaves behind finds it ready (B10).
            self.call_added(new, handler);
            drop(self.bury(old, state == State::Here));
        }
        Ok(new)
    }

    /// A handler that was taken out while on the stack has returned.
    #[cold]
    pub(crate) fn finish_removal(&self, index: Index) {
        let entry = self.with_slow(|slow| {
            let position = slow.removed_busy.iter().position(|(at, _)| *at == index);
            let entry = position.map(|position| slow.removed_busy.remove(position));
            if slow.removed_busy.is_empty() {
                self.attention
                    .set(self.attention.get() & !attention::REMOVED_BUSY);
            }
            entry
        });
        let Some((_, successor)) = entry else { return };
        if let Some(new) = successor {
            self.ensure_added(new);
        }
        self.unpark_one(index);
        let told = self.nodes.get(index).state() == State::Here;
        drop(self.bury(index, told));
    }

    /// The end of a handler that was taken out, with its `handler_removed` if it knows of its addition.
    fn bury(&self, index: Index, told: bool) -> Option<Box<dyn Handler>> {
        let handler = self.nodes.bury(index);
        self.attend(attention::DEAD);
        let handler = self.farewell(index, handler, told);
        self.release(index);
        handler
    }

    /// Takes a buried node off the way of operations, unless some still wait there.
    pub(crate) fn release(&self, index: Index) {
        let is_buried = self.nodes.get(index).state() == State::Removed;
        if is_buried && !self.is_draining_at(index) {
            self.nodes.release(index);
        }
    }

    /// True for a handler that was taken out and has not returned yet.
    pub(crate) fn is_removed_busy(&self, index: Index) -> bool {
        self.attention.get() & attention::REMOVED_BUSY != 0
            && self.with_slow(|slow| slow.removed_busy.iter().any(|(at, _)| *at == index))
    }

    /// Runs `look` with the handler of a linked node, which counts as being on the stack meanwhile.
    pub(crate) fn look_into<H: Any, R>(
        &self,
        index: Index,
        look: impl FnOnce(&mut H) -> R,
    ) -> Result<R, Error> {
        let node = self.nodes.get(index);
        let was = node.state();
        let visit = match was {
            State::Added => {
                let fresh = self.nodes.take_fresh(index);
                fresh.map(|handler| Visit::first(self, &node, handler))
            }
            State::Lost => None,
            _ => Visit::begin(self, &node),
        };
        let Some(mut visit) = visit else {
            let name = self.nodes.name(index);
            return Err(Error::new(
                ErrorKind::Busy,
                format!("{name} is on the stack; use its handle to come back later"),
            ));
        };
        node.set_state(State::Here);
        let result = as_type(visit.handler()).map(look);
        if was != State::Added {
            visit.put_back();
        } else if let Some(handler) = visit.into_handler() {
            // Its handler_added is still due.
            self.nodes.get(index).set_state(State::Added);
            self.nodes.keep_fresh(index, handler);
        }
        // The look need not have been part of a dispatch, which would remember that the slab has changed.
        self.nodes.carry_over(&node);
        self.after_call(&node);
        result.ok_or_else(|| Error::new(ErrorKind::NoSuchHandler, "the handler is of another type"))
    }

    /// `handler_removed`, with the tombstone's links to act by. Gives the handler back.
    fn farewell(
        &self,
        index: Index,
        handler: Option<Box<dyn Handler>>,
        told: bool,
    ) -> Option<Box<dyn Handler>> {
        if !told {
            return handler;
        }
        if self.is_watched() {
            return self.named(index, "handler_removed", || {
                self.farewell_now(index, handler)
            });
        }
        self.farewell_now(index, handler)
    }

    fn farewell_now(
        &self,
        index: Index,
        handler: Option<Box<dyn Handler>>,
    ) -> Option<Box<dyn Handler>> {
        // A visit, so that a handler which panics here is dropped where a second panic does no harm.
        let slab = self.nodes.slab();
        let node = &slab[usize::from(index)];
        let mut visit = Visit::first(self, node, handler?);
        let mut ctx = Context::new(self, self.slab_to_go_by(&slab), node);
        if let Err(failure) = visit.handler().handler_removed(&mut ctx) {
            let error = Error::with_source(
                ErrorKind::User,
                format!("handler_removed of {} failed", self.nodes.name(index)),
                failure.into_error(),
            );
            self.push_root(Root::Exception(error.into()));
        }
        visit.into_handler()
    }

    /// A node that leaves takes its parked resume with it; a read() that it had consumed and not answered goes on.
    fn unpark_one(&self, index: Index) {
        let node = self.nodes.get(index);
        let resume = node.resume();
        node.set_resume(Resume::Idle);
        match resume {
            Resume::Parked => self.parks.set(self.parks.get() - 1),
            Resume::AskedWithCredit => self.emit_event(Event::ReadOp(index)),
            Resume::Idle | Resume::Asked => {}
        }
    }
}
