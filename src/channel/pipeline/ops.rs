//! How an outbound operation travels: nested calls toward the head.
//!
//! The stack of a pipeline holds at most one inbound handler and a strictly descending chain of outbound ones, so
//! each handler is entered at most once. An operation whose next hop is on the stack (it was started from the
//! channel's handle, at the tail) waits there, in order, and goes on when that handler has returned; operations
//! behind it may not overtake it, not even if the handler is taken out before it returns.

use super::super::address::Address;
use super::super::core::{Context, Core, attention};
use super::super::handler::HandlerResult;
use super::super::mask::{self, Mask};
use super::super::nodes::{HEAD, Index, Resume, State};
use super::super::op::Op;
use super::super::slow::{Event, Waited};
use super::dispatch::Visit;
use crate::buffer::Message;
use crate::error::{Error, Failure};
use crate::future::Promise;

/// The next hop of an operation.
enum Hop<'a> {
    Handler(Visit<'a>),
    Head,
    /// The node is on the stack, or operations wait at it already.
    Wait(Index),
}

impl Core {
    // ---- the operations, from the predecessor of `from` on

    #[inline]
    pub(crate) fn op_write(&self, from: Index, msg: Message, promise: Promise) {
        match self.claim_prev(from, mask::WRITE) {
            Hop::Handler(visit) => self.call_write(visit, msg, promise),
            Hop::Head => self.head_write(msg, promise),
            Hop::Wait(at) => self.wait(at, Op::Write(msg, promise)),
        }
    }

    #[inline(always)]
    fn call_write(&self, mut visit: Visit<'_>, msg: Message, promise: Promise) {
        let second = promise.second();
        let mut ctx = Context::new(self, visit.index);
        let result = visit.handler().write(&mut ctx, msg, promise);
        self.leave_with_promise(visit, result, second);
    }

    #[inline]
    pub(crate) fn op_flush(&self, from: Index) {
        match self.claim_prev(from, mask::FLUSH) {
            Hop::Handler(visit) => self.call_flush(visit),
            Hop::Head => self.head_flush(),
            Hop::Wait(at) => self.wait(at, Op::Flush),
        }
    }

    #[inline(always)]
    fn call_flush(&self, mut visit: Visit<'_>) {
        let mut ctx = Context::new(self, visit.index);
        let result = visit.handler().flush(&mut ctx);
        self.leave_outbound(visit, result);
    }

    #[inline]
    pub(crate) fn op_read(&self, from: Index) {
        if self.has_resumes() {
            let at = self.nodes.borrow().get(from).prev;
            return self.op_read_slow(at, from);
        }
        match self.claim_prev(from, mask::READ_OP) {
            Hop::Handler(visit) => self.call_read(visit),
            Hop::Head => self.head_read(),
            Hop::Wait(at) => self.wait(at, Op::Read),
        }
    }

    fn call_read(&self, mut visit: Visit<'_>) {
        let mut ctx = Context::new(self, visit.index);
        let result = visit.handler().read(&mut ctx);
        self.leave_outbound(visit, result);
    }

    #[inline]
    fn has_resumes(&self) -> bool {
        self.parks.get() != 0 || self.attention.get() & attention::RESUMING != 0
    }

    /// A read() with resumes about, that has come from `from` to `at`: the first node that has one, parked or asked
    /// for, consumes it.
    #[cold]
    fn op_read_slow(&self, mut at: Index, from: Index) {
        loop {
            let (state, resume, mask, prev) = {
                let nodes = self.nodes.borrow();
                let node = nodes.get(at);
                (node.state, node.resume, node.mask, node.prev)
            };
            match resume {
                Resume::Parked => {
                    self.nodes.borrow_mut().get_mut(at).resume = Resume::AskedWithCredit;
                    self.parks.set(self.parks.get() - 1);
                    self.emit_event(Event::Resume {
                        node: at,
                        unparked: true,
                        emitted: false,
                    });
                    return;
                }
                Resume::Asked => {
                    self.nodes.borrow_mut().get_mut(at).resume = Resume::AskedWithCredit;
                    return;
                }
                Resume::AskedWithCredit => return,
                Resume::Idle => {}
            }
            if let Some(waited) = self.waited_at(at, from) {
                return self.wait(waited, Op::Read);
            }
            if at == HEAD {
                return self.head_read();
            }
            if mask & mask::READ_OP != 0 {
                if state == State::Busy {
                    return self.wait(at, Op::Read);
                }
                if let Some(visit) = self.claim(at) {
                    return self.call_read(visit);
                }
            }
            at = prev;
        }
    }

    pub(crate) fn op_close(&self, from: Index, promise: Promise) {
        match self.claim_prev(from, mask::CLOSE) {
            Hop::Handler(visit) => self.call_close(visit, promise),
            Hop::Head => self.head_close(promise),
            Hop::Wait(at) => self.wait(at, Op::Close(promise)),
        }
    }

    fn call_close(&self, mut visit: Visit<'_>, promise: Promise) {
        let second = promise.second();
        let mut ctx = Context::new(self, visit.index);
        let result = visit.handler().close(&mut ctx, promise);
        self.leave_with_promise(visit, result, second);
    }

    pub(crate) fn op_disconnect(&self, from: Index, promise: Promise) {
        // Without a disconnect of its own the channel is closed, and handlers see a close (A32).
        if !self.metadata.has_disconnect {
            return self.op_close(from, promise);
        }
        match self.claim_prev(from, mask::DISCONNECT) {
            Hop::Handler(visit) => self.call_disconnect(visit, promise),
            Hop::Head => self.head_disconnect(promise),
            Hop::Wait(at) => self.wait(at, Op::Disconnect(promise)),
        }
    }

    fn call_disconnect(&self, mut visit: Visit<'_>, promise: Promise) {
        let second = promise.second();
        let mut ctx = Context::new(self, visit.index);
        let result = visit.handler().disconnect(&mut ctx, promise);
        self.leave_with_promise(visit, result, second);
    }

    pub(crate) fn op_bind(&self, from: Index, local: Address, promise: Promise) {
        match self.claim_prev(from, mask::BIND) {
            Hop::Handler(visit) => self.call_bind(visit, local, promise),
            Hop::Head => self.head_bind(local, promise),
            Hop::Wait(at) => self.wait(at, Op::Bind(Box::new(local), promise)),
        }
    }

    fn call_bind(&self, mut visit: Visit<'_>, local: Address, promise: Promise) {
        let second = promise.second();
        let mut ctx = Context::new(self, visit.index);
        let result = visit.handler().bind(&mut ctx, local, promise);
        self.leave_with_promise(visit, result, second);
    }

    pub(crate) fn op_connect(
        &self,
        from: Index,
        remote: Address,
        local: Option<Address>,
        promise: Promise,
    ) {
        match self.claim_prev(from, mask::CONNECT) {
            Hop::Handler(visit) => self.call_connect(visit, remote, local, promise),
            Hop::Head => self.head_connect(remote, local, promise),
            Hop::Wait(at) => self.wait(at, Op::Connect(Box::new((remote, local)), promise)),
        }
    }

    fn call_connect(
        &self,
        mut visit: Visit<'_>,
        remote: Address,
        local: Option<Address>,
        promise: Promise,
    ) {
        let second = promise.second();
        let mut ctx = Context::new(self, visit.index);
        let result = visit.handler().connect(&mut ctx, remote, local, promise);
        self.leave_with_promise(visit, result, second);
    }

    /// Any operation, from the predecessor of `from` on.
    pub(crate) fn op(&self, from: Index, op: Op) {
        match op {
            Op::Write(msg, promise) => self.op_write(from, msg, promise),
            Op::Flush => self.op_flush(from),
            Op::Read => self.op_read(from),
            Op::Close(promise) => self.op_close(from, promise),
            Op::Disconnect(promise) => self.op_disconnect(from, promise),
            Op::Bind(local, promise) => self.op_bind(from, *local, promise),
            Op::Connect(addresses, promise) => {
                self.op_connect(from, addresses.0, addresses.1, promise)
            }
        }
    }

    // ---- hops

    #[inline(always)]
    fn claim_prev(&self, from: Index, bit: Mask) -> Hop<'_> {
        if self.attention.get() & attention::WAITING != 0 {
            return self.claim_prev_slow(from, bit);
        }
        let mut nodes = self.nodes.borrow_mut();
        let index = nodes.prev_with(from, bit);
        if index == HEAD {
            return Hop::Head;
        }
        let node = nodes.get_mut(index);
        if node.state == State::Here
            && let Some(handler) = node.handler.take()
        {
            node.state = State::Busy;
            return Hop::Handler(Visit::new(self, index, handler));
        }
        drop(nodes);
        self.claim_prev_slow(from, bit)
    }

    #[cold]
    #[inline(never)]
    fn claim_prev_slow(&self, from: Index, bit: Mask) -> Hop<'_> {
        let mut at = self.nodes.borrow().get(from).prev;
        loop {
            if let Some(waited) = self.waited_at(at, from) {
                return Hop::Wait(waited);
            }
            if at == HEAD {
                return Hop::Head;
            }
            let (state, mask, prev) = {
                let nodes = self.nodes.borrow();
                let node = nodes.get(at);
                (node.state, node.mask, node.prev)
            };
            if mask & bit != 0 {
                if state == State::Busy {
                    return Hop::Wait(at);
                }
                if let Some(visit) = self.claim(at) {
                    return Hop::Handler(visit);
                }
            }
            at = prev;
        }
    }

    /// The node whose waiting operations an operation that comes from `from` to `at` may not overtake: `at` itself,
    /// or one that was taken out and whose operations will go on to `at`.
    fn waited_at(&self, at: Index, from: Index) -> Option<Index> {
        if self.attention.get() & attention::WAITING == 0 {
            return None;
        }
        let nodes = self.nodes.borrow();
        let slow = self.slow();
        let leads_here = |waited: &&Waited| {
            waited.at != from && (waited.at == at || nodes.place_before(waited.at) == Some(at))
        };
        // The latest one stands farthest from the head.
        slow.waited
            .iter()
            .rev()
            .find(leads_here)
            .map(|waited| waited.at)
    }

    #[cold]
    fn wait(&self, at: Index, op: Op) {
        let mut slow = self.slow();
        if !slow.waited.iter().any(|waited| waited.at == at) {
            slow.waited.push(Waited {
                at,
                is_draining: false,
            });
        }
        slow.waiting.push_back((at, op));
        self.attend(attention::WAITING);
    }

    /// Lets the operations that waited at `index` go on, in order. Each leaves the node again; only the outermost
    /// call takes the next one, so that the stack stays flat.
    #[cold]
    pub(crate) fn run_waiting_ops(&self, index: Index) {
        match self
            .slow()
            .waited
            .iter_mut()
            .find(|waited| waited.at == index)
        {
            Some(waited) if !waited.is_draining => waited.is_draining = true,
            _ => return,
        }
        while let Some(op) = self.next_waiting_op(index) {
            self.op_at(index, op);
        }
    }

    fn next_waiting_op(&self, index: Index) -> Option<Op> {
        let mut slow = self.slow();
        let position = slow.waiting.iter().position(|(at, _)| *at == index);
        let next = position.and_then(|position| slow.waiting.remove(position));
        if next.is_none() {
            slow.waited.retain(|waited| waited.at != index);
            if slow.waited.is_empty() {
                self.attention
                    .set(self.attention.get() & !attention::WAITING);
            }
        }
        next.map(|(_, op)| op)
    }

    /// An operation whose next hop is the node `index` itself.
    fn op_at(&self, index: Index, op: Op) {
        let bit = match &op {
            Op::Write(..) => mask::WRITE,
            Op::Flush => mask::FLUSH,
            Op::Read => mask::READ_OP,
            Op::Close(_) => mask::CLOSE,
            Op::Disconnect(_) => mask::DISCONNECT,
            Op::Bind(..) => mask::BIND,
            Op::Connect(..) => mask::CONNECT,
        };
        if bit == mask::READ_OP && self.has_resumes() {
            return self.op_read_slow(index, index);
        }
        if !self.has_mask(index, bit) {
            return self.op(index, op);
        }
        let Some(visit) = self.claim(index) else {
            return self.op(index, op);
        };
        match op {
            Op::Write(msg, promise) => self.call_write(visit, msg, promise),
            Op::Flush => self.call_flush(visit),
            Op::Read => self.call_read(visit),
            Op::Close(promise) => self.call_close(visit, promise),
            Op::Disconnect(promise) => self.call_disconnect(visit, promise),
            Op::Bind(local, promise) => self.call_bind(visit, *local, promise),
            Op::Connect(addresses, promise) => {
                self.call_connect(visit, addresses.0, addresses.1, promise)
            }
        }
    }

    // ---- leaving

    #[inline(always)]
    fn leave_with_promise(&self, visit: Visit<'_>, result: HandlerResult, second: Promise) {
        let index = visit.index;
        visit.put_back();
        if let Err(failure) = result {
            self.fail_operation(index, failure, &second);
        }
        if self.attention.get() & attention::AFTER_OP != 0 {
            self.after_call(index);
        }
    }

    /// Err of flush and read goes to the handler's own exception_caught.
    #[inline(always)]
    fn leave_outbound(&self, visit: Visit<'_>, result: HandlerResult) {
        let index = visit.index;
        visit.put_back();
        if let Err(failure) = result {
            self.emit_event(Event::ExceptionAt(index, failure));
        }
        if self.attention.get() & attention::AFTER_OP != 0 {
            self.after_call(index);
        }
    }

    #[cold]
    fn fail_operation(&self, index: Index, failure: Failure, promise: &Promise) {
        let name = self.nodes.borrow().name(index);
        let error: Error = failure.into();
        if promise.is_void() {
            self.count_void_failure(&name, &error);
        } else if !promise.try_failure(error.clone()) {
            tracing::warn!(channel = %self.shared.id(), handler = name, %error, "an outbound operation failed after its promise was done");
        }
    }
}
