//! Changing a pipeline while events are in it (rule 8).
//!
//! Links change at once and count for the next hop. `handler_added` runs inside the edit if the handler stands
//! nearer to the head than every handler on the stack, else as an emission of the current callback, and at the
//! latest immediately before any other callback of that handler. `handler_removed` of a handler on the stack runs
//! right after it has returned.

use std::any::Any;
use std::mem;

use super::super::core::{Context, Core, Handler, Root, attention, flag};
use super::super::mask::{self, Mask};
use super::super::nodes::{HEAD, Index, Kind, Nodes, Resume, State, TAIL};
use super::super::slow::Event;
use super::dispatch::Visit;
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
        let mask = start_mask(handler.as_ref());
        let index = self
            .nodes
            .borrow_mut()
            .insert_after(prev, handler, mask, name, kind);
        let index = index.ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidArgument,
                "a pipeline holds at most 65,533 handlers",
            )
        })?;
        self.announce(index);
        Ok(index)
    }

    fn is_over(&self) -> bool {
        self.has(flag::ENDED)
    }

    /// Explicit names are unique; `besides` may keep its own.
    fn check_name(&self, name: Option<&str>, besides: Option<Index>) -> Result<(), Error> {
        let Some(name) = name else { return Ok(()) };
        let nodes = self.nodes.borrow();
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

    fn announce(&self, index: Index) {
        let blocked = {
            let nodes = self.nodes.borrow();
            nodes.any_busy() && !self.nearer_than_busy(&nodes, index)
        };
        if blocked {
            self.emit_event(Event::Added(index));
        } else {
            self.ensure_added(index);
        }
    }

    /// True if every handler on the stack stands nearer to the tail than `index`.
    fn nearer_than_busy(&self, nodes: &Nodes<dyn Handler>, index: Index) -> bool {
        !nodes.busy_toward_head(index)
    }

    /// Runs `handler_added` if it is still due.
    pub(crate) fn ensure_added(&self, index: Index) {
        let handler = {
            let mut nodes = self.nodes.borrow_mut();
            let node = nodes.get_mut(index);
            if node.state != State::Added {
                return;
            }
            // Before the callback, so that what it fires or asks for finds it in place (B3).
            node.state = State::Busy;
            node.handler.take()
        };
        let Some(handler) = handler else { return };
        let mut visit = Visit::new(self, index, handler);
        let mut ctx = Context::new(self, index);
        let result = visit.handler().handler_added(&mut ctx);
        visit.put_back();
        let failed = result.is_err();
        if let Err(failure) = result {
            self.added_failed(index, failure);
        }
        if !failed || self.attention.get() & attention::AFTER_OP != 0 {
            self.after_call(index);
        }
    }

    /// B7: the handler goes again, and the pipeline is told.
    #[cold]
    fn added_failed(&self, index: Index, failure: Failure) {
        let name = self.nodes.borrow().name(index);
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
        let state = self.nodes.borrow().get(index).state;
        match state {
            State::Busy => {
                self.slow().removed_busy.push((index, None));
                self.attend(attention::REMOVED_BUSY);
                // The walk passes it from now on; it is buried when it returns.
                self.nodes.borrow_mut().detach_links(index);
                None
            }
            State::Here | State::Added => {
                self.unpark_one(index);
                let told = state == State::Here;
                let handler = self.nodes.borrow_mut().unlink(index);
                self.attend(attention::DEAD);
                self.farewell(index, handler, told)
            }
            State::Vacant | State::Sentinel | State::Removed => None,
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
        let mask = start_mask(handler.as_ref());
        let state = self.nodes.borrow().get(old).state;
        let new = self
            .nodes
            .borrow_mut()
            .insert_after(old, handler, mask, name, kind);
        let new = new.ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidArgument,
                "a pipeline holds at most 65,533 handlers",
            )
        })?;
        if state == State::Busy {
            self.nodes.borrow_mut().detach_links_to(old, new);
            self.slow().removed_busy.push((old, Some(new)));
            self.attend(attention::REMOVED_BUSY);
            self.announce(new);
        } else {
            self.unpark_one(old);
            let told = state == State::Here;
            let removed = self.nodes.borrow_mut().supersede(old, new);
            self.attend(attention::DEAD);
            // The new one first, so that what the old one leaves behind finds it ready (B10).
            self.ensure_added(new);
            drop(self.farewell(old, removed, told));
        }
        Ok(new)
    }

    /// A handler that was taken out while on the stack has returned.
    #[cold]
    pub(crate) fn finish_removal(&self, index: Index) {
        let entry = {
            let mut slow = self.slow();
            let position = slow.removed_busy.iter().position(|(at, _)| *at == index);
            let entry = position.map(|position| slow.removed_busy.remove(position));
            if slow.removed_busy.is_empty() {
                self.attention
                    .set(self.attention.get() & !attention::REMOVED_BUSY);
            }
            entry
        };
        let Some((_, successor)) = entry else { return };
        if let Some(new) = successor {
            self.ensure_added(new);
        }
        self.unpark_one(index);
        let told = self.nodes.borrow().get(index).state == State::Here;
        let handler = self.nodes.borrow_mut().bury_detached(index);
        self.attend(attention::DEAD);
        drop(self.farewell(index, handler, told));
    }

    /// True for a handler that was taken out and has not returned yet.
    pub(crate) fn is_removed_busy(&self, index: Index) -> bool {
        self.attention.get() & attention::REMOVED_BUSY != 0
            && self.slow().removed_busy.iter().any(|(at, _)| *at == index)
    }

    /// Runs `look` with the handler of a linked node, which counts as being on the stack meanwhile.
    pub(crate) fn look_into<H: Handler, R>(
        &self,
        index: Index,
        look: impl FnOnce(&mut H) -> R,
    ) -> Result<R, Error> {
        let (handler, was) = {
            let mut nodes = self.nodes.borrow_mut();
            let node = nodes.get_mut(index);
            let was = node.state;
            let handler = match was {
                State::Here | State::Added => node.handler.take(),
                _ => None,
            };
            if handler.is_some() {
                node.state = State::Busy;
            }
            (handler, was)
        };
        let Some(handler) = handler else {
            let name = self.nodes.borrow().name(index);
            return Err(Error::new(
                ErrorKind::Busy,
                format!("{name} is on the stack; use its handle to come back later"),
            ));
        };
        let mut visit = Visit::new(self, index, handler);
        let any: &mut dyn Any = visit.handler();
        let result = any.downcast_mut::<H>().map(look);
        visit.put_back();
        // Its handler_added may still be due.
        self.nodes.borrow_mut().get_mut(index).state = was;
        self.after_call(index);
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
        // A visit, so that a handler which panics here is dropped where a second panic does no harm.
        let mut visit = Visit::new(self, index, handler?);
        let mut ctx = Context::new(self, index);
        if let Err(failure) = visit.handler().handler_removed(&mut ctx) {
            let error = Error::with_source(
                ErrorKind::User,
                format!(
                    "handler_removed of {} failed",
                    self.nodes.borrow().name(index)
                ),
                failure.into_error(),
            );
            self.push_root(Root::Exception(error.into()));
        }
        visit.into_handler()
    }

    /// A node that leaves takes its parked resume with it; a read() that it had consumed and not answered goes on.
    fn unpark_one(&self, index: Index) {
        let resume = {
            let mut nodes = self.nodes.borrow_mut();
            mem::replace(&mut nodes.get_mut(index).resume, Resume::Idle)
        };
        match resume {
            Resume::Parked => self.parks.set(self.parks.get() - 1),
            Resume::AskedWithCredit => self.emit_event(Event::ReadOp(index)),
            Resume::Idle | Resume::Asked => {}
        }
    }

    /// After a panic: the handlers that were on the stack leave without a callback. Their names, nearest to the tail
    /// (the inbound one) last, and the handlers, to be dropped with care.
    pub(crate) fn bury_busy(&self) -> (Vec<String>, Vec<Box<dyn Handler>>) {
        let mut names = Vec::new();
        let mut handlers = Vec::new();
        let mut nodes = self.nodes.borrow_mut();
        let mut at = nodes.get(HEAD).next;
        while at != TAIL {
            let next = nodes.get(at).next;
            if nodes.get(at).state == State::Busy {
                names.push(nodes.name(at));
                handlers.extend(nodes.unlink(at));
            }
            at = next;
        }
        for (name, handler) in nodes.bury_lost() {
            names.push(name);
            handlers.push(handler);
        }
        self.attend(attention::DEAD);
        (names, handlers)
    }
}

/// Everything, to be learned, or what the handler declares.
fn start_mask(handler: &dyn Handler) -> Mask {
    handler
        .declared()
        .map_or(mask::ALL, |declared| declared.0 | mask::DECLARED)
}
