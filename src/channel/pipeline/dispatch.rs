//! How an inbound event travels: the trampoline.
//!
//! A callback's `ctx.fire_*` only records what it emits. The first emission goes to a slot in the core, further
//! ones to a list (`slow`). When the callback has returned, the trampoline delivers the slot,
//! then the list, each with all that follows from it, before anything that was waiting: depth first, in program
//! order, on a flat stack. So exactly one inbound handler of a pipeline is on the stack at any time, and `&mut self`
//! is never handed out twice.

use std::mem;

use super::super::core::{Context, Core, Handler, attention, flag};
use super::super::handler::HandlerResult;
use super::super::mask::{self, Mask};
use super::super::nodes::{Index, Resume, State, TAIL};
use super::super::root::Quiet;
use super::super::slow::{Event, Inbound};
use crate::buffer::Message;
use crate::error::Failure;

/// At most this many `resume` callbacks in one dispatch; the rest go on from the ready list, so that one
/// connection's backlog can't keep the loop from the others.
const RESUMES_PER_DISPATCH: u16 = 1024;

/// A handler on the stack. Its box is away from the node as long as this lives, which is what makes a second
/// entry impossible.
pub(crate) struct Visit<'a> {
    core: &'a Core,
    pub(crate) index: Index,
    handler: Option<Box<dyn Handler>>,
}

impl<'a> Visit<'a> {
    #[inline(always)]
    pub(crate) fn new(core: &'a Core, index: Index, handler: Box<dyn Handler>) -> Self {
        Self {
            core,
            index,
            handler: Some(handler),
        }
    }

    #[inline(always)]
    pub(crate) fn handler(&mut self) -> &mut dyn Handler {
        match &mut self.handler {
            Some(handler) => handler.as_mut(),
            None => unreachable!("a visit holds its handler until it ends"),
        }
    }

    /// Puts the handler back into its node.
    #[inline(always)]
    pub(crate) fn put_back(mut self) {
        let handler = self.handler.take();
        {
            let mut nodes = self.core.nodes.borrow_mut();
            let node = nodes.get_mut(self.index);
            // The old value is None by construction; forgetting it spares the drop check.
            mem::forget(mem::replace(&mut node.handler, handler));
            node.state = State::Here;
        }
        mem::forget(self);
    }

    /// Ends the visit of a handler that has left its node for good.
    pub(crate) fn into_handler(mut self) -> Option<Box<dyn Handler>> {
        self.handler.take()
    }
}

/// With a handler, only reached by unwinding: it goes back to its node, marked busy, and the catch boundary buries it.
impl Drop for Visit<'_> {
    fn drop(&mut self) {
        if let Some(handler) = self.handler.take() {
            let mut nodes = self.core.nodes.borrow_mut();
            let node = nodes.get_mut(self.index);
            node.handler = Some(handler);
            node.state = State::Busy;
        }
    }
}

impl Core {
    // ---- recording emissions

    /// Records an event without a payload that goes to the successor of `from`.
    #[inline]
    pub(crate) fn emit(&self, kind: Inbound, from: Index) {
        if self.first_kind.get() == Inbound::None {
            self.first_kind.set(kind);
            self.first_from.set(from);
        } else {
            self.emit_event(Event::Plain(kind, from));
        }
    }

    /// Records a message or user event that goes to the successor of `from`.
    #[inline]
    pub(crate) fn emit_message(&self, kind: Inbound, from: Index, msg: Message) {
        if self.first_kind.get() == Inbound::None {
            self.first_kind.set(kind);
            self.first_from.set(from);
            // The slot is empty while its kind is None; forgetting the old value spares the drop check.
            mem::forget(self.first_msg.replace(Some(msg)));
        } else {
            self.emit_event(Event::Message(kind, from, msg));
        }
    }

    /// Records any event behind what was emitted before.
    #[cold]
    #[inline(never)]
    pub(crate) fn emit_event(&self, event: Event) {
        if self.first_kind.get() == Inbound::None {
            self.first_kind.set(Inbound::Spilled);
        }
        self.slow().list.push(event);
        self.attend(attention::LIST);
    }

    /// Records what follows when everything emitted by the current callback was handled.
    pub(crate) fn emit_tail(&self, event: Event) {
        self.slow().tail.push(event);
        self.attend(attention::LIST);
    }

    // ---- delivering

    /// Delivers until nothing is left, or until the dispatch is suspended.
    pub(crate) fn run(&self) {
        // What is emitted while the dispatch is suspended stays in the slot and the list, in order.
        if self.attention.get() & attention::SUSPENDED != 0 {
            return;
        }
        if self.attention.get() & attention::LIST != 0 {
            self.spill();
        }
        loop {
            let from = self.first_from.get();
            match self.first_kind.replace(Inbound::None) {
                Inbound::Read => {
                    if let Some(msg) = self.first_msg.take() {
                        self.deliver_read(from, msg);
                    }
                }
                Inbound::ReadComplete => {
                    self.deliver(
                        from,
                        mask::READ_COMPLETE,
                        Inbound::ReadComplete,
                        |h, ctx| h.channel_read_complete(ctx),
                    );
                }
                Inbound::None | Inbound::Spilled => {
                    if !self.run_waiting() {
                        return;
                    }
                }
                kind => self.deliver_kind(kind, from),
            }
        }
    }

    #[inline(always)]
    fn deliver_read(&self, from: Index, msg: Message) {
        match self.claim_next(from, mask::READ) {
            Some(mut visit) => {
                let mut ctx = Context::new(self, visit.index);
                let result = visit.handler().channel_read(&mut ctx, msg);
                self.leave(visit, result);
            }
            None => self.tail_message(msg),
        }
    }

    #[inline(always)]
    fn deliver(
        &self,
        from: Index,
        bit: Mask,
        kind: Inbound,
        call: impl FnOnce(&mut dyn Handler, &mut Context<'_>) -> HandlerResult,
    ) {
        match self.claim_next(from, bit) {
            Some(mut visit) => {
                let mut ctx = Context::new(self, visit.index);
                let result = call(visit.handler(), &mut ctx);
                self.leave(visit, result);
            }
            None => self.tail_plain(kind),
        }
    }

    fn deliver_kind(&self, kind: Inbound, from: Index) {
        match kind {
            Inbound::Registered => {
                self.deliver(from, mask::REGISTERED, kind, |h, ctx| {
                    h.channel_registered(ctx)
                });
            }
            Inbound::Unregistered => {
                self.deliver(from, mask::UNREGISTERED, kind, |h, ctx| {
                    ctx.heard_of_the_end(mask::UNREGISTERED);
                    h.channel_unregistered(ctx)
                });
            }
            Inbound::Active => {
                self.deliver(from, mask::ACTIVE, kind, |h, ctx| h.channel_active(ctx))
            }
            Inbound::Inactive => {
                self.deliver(from, mask::INACTIVE, kind, |h, ctx| {
                    ctx.heard_of_the_end(mask::INACTIVE);
                    h.channel_inactive(ctx)
                });
            }
            Inbound::Writability => {
                self.deliver(from, mask::WRITABILITY, kind, |h, ctx| {
                    h.channel_writability_changed(ctx)
                });
            }
            Inbound::ReadComplete => {
                self.deliver(from, mask::READ_COMPLETE, kind, |h, ctx| {
                    h.channel_read_complete(ctx)
                });
            }
            Inbound::UserEvent => {
                if let Some(event) = self.first_msg.take() {
                    self.deliver_user_event(from, event);
                }
            }
            Inbound::Read => {
                if let Some(msg) = self.first_msg.take() {
                    self.deliver_read(from, msg);
                }
            }
            Inbound::None | Inbound::Spilled => {}
        }
    }

    fn deliver_user_event(&self, from: Index, event: Message) {
        match self.claim_next(from, mask::USER_EVENT) {
            Some(mut visit) => {
                let mut ctx = Context::new(self, visit.index);
                let result = visit.handler().user_event_triggered(&mut ctx, event);
                self.leave(visit, result);
            }
            None => self.tail_user_event(event),
        }
    }

    fn deliver_exception(&self, from: Index, cause: Failure) {
        match self.claim_next(from, mask::EXCEPTION) {
            Some(visit) => self.call_exception_caught(visit, cause),
            None => self.tail_exception(cause),
        }
    }

    fn call_exception_caught(&self, mut visit: Visit<'_>, cause: Failure) {
        let text = cause.to_string();
        let mut ctx = Context::new(self, visit.index);
        let result = visit.handler().exception_caught(&mut ctx, cause);
        if let Err(second) = &result {
            self.report_failed_exception_caught(visit.index, &text, second);
        }
        // An error of exception_caught itself ends here.
        self.leave(visit, Ok(()));
    }

    /// Calls one handler by its node, from outside of the walk. False if it is not there to be called.
    pub(crate) fn call(
        &self,
        index: Index,
        call: impl FnOnce(&mut dyn Handler, &mut Context<'_>) -> HandlerResult,
    ) -> bool {
        match self.claim(index) {
            Some(mut visit) => {
                let mut ctx = Context::new(self, visit.index);
                let result = call(visit.handler(), &mut ctx);
                self.leave(visit, result);
                true
            }
            None => false,
        }
    }

    // ---- what waits

    /// Takes the next waiting event and delivers it. False when there is none or the dispatch is suspended.
    #[cold]
    fn run_waiting(&self) -> bool {
        if self.attention.get() & attention::LIST != 0 {
            self.spill();
        }
        let event = match self.slow.borrow_mut().as_mut() {
            Some(slow) => slow.stack.pop(),
            None => None,
        };
        let Some(event) = event else { return false };
        if matches!(event, Event::Resume { .. }) && self.attention.get() & attention::ROOTS != 0 {
            // What may not run in the middle of something runs before each resume (rule 6).
            match self.root_before_resume() {
                Quiet::Nothing => {}
                Quiet::Item(root) => {
                    self.slow().stack.push(event);
                    self.run_root(root);
                    self.spill_what_came();
                    return true;
                }
                Quiet::Enough => {
                    self.suspend(event);
                    return false;
                }
            }
        }
        match event {
            Event::Plain(kind, from) => self.deliver_kind(kind, from),
            Event::Message(Inbound::UserEvent, from, msg) => self.deliver_user_event(from, msg),
            Event::Message(_, from, msg) => self.deliver_read(from, msg),
            Event::Exception(from, cause) => self.deliver_exception(from, cause),
            Event::ExceptionAt(index, cause) => match self.claim(index) {
                Some(visit) if self.has_mask(index, mask::EXCEPTION) => {
                    self.call_exception_caught(visit, cause);
                }
                Some(visit) => {
                    self.leave(visit, Ok(()));
                    self.deliver_exception(index, cause);
                }
                None => self.deliver_exception(index, cause),
            },
            Event::Added(index) => self.ensure_added(index),
            Event::After(index, key) => {
                self.call(index, |handler, ctx| handler.after(ctx, key));
            }
            Event::Resume {
                node,
                unparked,
                emitted,
            } => return self.run_resume(node, unparked, emitted),
            Event::ReadOp(from) => self.op_read(from),
        }
        // What came about outside of a walk: no callback has left that would have seen to it.
        self.spill_what_came();
        true
    }

    fn spill_what_came(&self) {
        if self.attention.get() & attention::LIST != 0 {
            self.spill();
        }
    }

    /// Ends the dispatch before `event`; it goes on from the ready list.
    fn suspend(&self, event: Event) {
        self.slow().stack.push(event);
        self.attend(attention::SUSPENDED);
        self.push_ready();
    }

    /// Puts what the callback emitted beyond its first emission on the stack, last first.
    #[cold]
    #[inline(never)]
    fn spill(&self) {
        self.attention.set(self.attention.get() & !attention::LIST);
        let mut slow = self.slow();
        let slow = &mut **slow;
        while let Some(event) = slow.tail.pop() {
            slow.stack.push(event);
        }
        while let Some(event) = slow.list.pop() {
            slow.stack.push(event);
        }
        if self.first_kind.get() == Inbound::Spilled {
            self.first_kind.set(Inbound::None);
        }
    }

    // ---- resume (rule 7)

    fn run_resume(&self, node: Index, unparked: bool, emitted: bool) -> bool {
        let state = self.nodes.borrow().get(node).resume;
        let (wanted, credit) = match state {
            Resume::AskedWithCredit => (true, true),
            Resume::Asked => (self.reading_wanted(), false),
            Resume::Idle | Resume::Parked => {
                // The handler was taken out meanwhile. Who waits for the end of its chain need not know.
                if unparked && emitted {
                    self.end_chain(node);
                }
                return true;
            }
        };
        if !wanted {
            self.nodes.borrow_mut().get_mut(node).resume = Resume::Parked;
            self.parks.set(self.parks.get() + 1);
            if unparked && emitted {
                self.emit(Inbound::ReadComplete, node);
            }
            return true;
        }
        if self.resumes.get() >= RESUMES_PER_DISPATCH {
            self.suspend(Event::Resume {
                node,
                unparked,
                emitted,
            });
            return false;
        }
        self.resumes.set(self.resumes.get() + 1);
        self.nodes.borrow_mut().get_mut(node).resume = Resume::Idle;
        let Some(mut visit) = self.claim(node) else {
            return true;
        };
        let mut ctx = Context::new(self, node);
        let result = visit.handler().resume(&mut ctx);
        let emits_now = self.first_kind.get() != Inbound::None;
        let emits = emitted || emits_now;
        if credit && !emits_now {
            // Nothing came of the read() that this resume has consumed: it goes on.
            self.emit_tail(Event::ReadOp(node));
        }
        let mut asked = self.nodes.borrow().get(node).resume != Resume::Idle;
        if asked && !emits_now {
            self.put_off(node);
            asked = false;
        }
        if asked {
            // The request is in the tail list; it inherits the chain.
            for event in &mut self.slow().tail {
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
        } else if unparked && emits {
            self.end_chain(node);
        }
        self.leave(visit, result);
        true
    }

    /// A resume that emitted nothing and asks again would be asked for ever: it waits for a read(), or has ended with the
    /// input.
    fn put_off(&self, node: Index) {
        self.slow()
            .tail
            .retain(|event| !matches!(event, Event::Resume { node: at, .. } if *at == node));
        let parked = !self.has(flag::DRAINING);
        self.nodes.borrow_mut().get_mut(node).resume =
            if parked { Resume::Parked } else { Resume::Idle };
        self.parks.set(self.parks.get() + u16::from(parked));
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
    }

    /// Wakes every parked resume, those nearest to the tail first: what they hold is older.
    pub(crate) fn unpark_all(&self) {
        if self.parks.replace(0) == 0 {
            return;
        }
        let parked: Vec<Index> = {
            let mut nodes = self.nodes.borrow_mut();
            let parked: Vec<Index> = nodes
                .linked()
                .filter(|index| nodes.get(*index).resume == Resume::Parked)
                .collect();
            for index in &parked {
                nodes.get_mut(*index).resume = Resume::AskedWithCredit;
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

    // ---- entering and leaving handlers

    #[inline(always)]
    fn claim_next(&self, from: Index, bit: Mask) -> Option<Visit<'_>> {
        let mut nodes = self.nodes.borrow_mut();
        let index = nodes.next_with(from, bit);
        let node = nodes.get_mut(index);
        if node.state == State::Here
            && let Some(handler) = node.handler.take()
        {
            node.state = State::Busy;
            return Some(Visit::new(self, index, handler));
        }
        drop(nodes);
        self.claim_next_slow(from, bit)
    }

    #[cold]
    #[inline(never)]
    fn claim_next_slow(&self, from: Index, bit: Mask) -> Option<Visit<'_>> {
        loop {
            let index = self.nodes.borrow().next_with(from, bit);
            if index == TAIL {
                return None;
            }
            if let Some(visit) = self.claim(index) {
                return Some(visit);
            }
            // handler_added took the handler out again: look once more.
        }
    }

    /// Takes the handler of a linked node onto the stack, after its `handler_added` if that is still due.
    pub(crate) fn claim(&self, index: Index) -> Option<Visit<'_>> {
        self.ensure_added(index);
        let mut nodes = self.nodes.borrow_mut();
        let node = nodes.get_mut(index);
        match node.state {
            State::Here => {
                node.state = State::Busy;
                let handler = node.handler.take()?;
                Some(Visit::new(self, index, handler))
            }
            State::Busy => {
                panic!(
                    "Tidegate's invariant broke: an inbound event reached a handler that is on the stack"
                )
            }
            State::Added | State::Vacant | State::Sentinel | State::Removed => None,
        }
    }

    /// Ends an inbound callback.
    #[inline(always)]
    pub(crate) fn leave(&self, visit: Visit<'_>, result: HandlerResult) {
        let index = visit.index;
        visit.put_back();
        if result.is_err() || self.attention.get() & attention::AFTER_CALL != 0 {
            self.leave_slow(index, result);
        }
    }

    #[cold]
    #[inline(never)]
    fn leave_slow(&self, index: Index, result: HandlerResult) {
        if let Err(failure) = result {
            self.slow()
                .tail
                .insert(0, Event::ExceptionAt(index, failure));
            self.attend(attention::LIST);
        }
        self.after_call(index);
        if self.attention.get() & attention::LIST != 0 {
            self.spill();
        }
    }

    /// What is due when a handler has left the stack: its removal, and operations that waited for it.
    pub(crate) fn after_call(&self, index: Index) {
        if self.attention.get() & attention::REMOVED_BUSY != 0 {
            self.finish_removal(index);
        }
        if self.attention.get() & attention::WAITING != 0 {
            self.run_waiting_ops(index);
        }
    }

    pub(crate) fn has_mask(&self, index: Index, bit: Mask) -> bool {
        self.nodes.borrow().get(index).mask & bit != 0
    }
}
