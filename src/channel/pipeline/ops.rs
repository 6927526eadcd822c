//! How an outbound operation travels: nested calls toward the head.
//!
//! The stack of a pipeline holds at most one inbound handler and a strictly descending chain of outbound ones, so
//! each handler is entered at most once. An operation whose next hop is on the stack (it was started from the
//! channel's handle, at the tail) waits there, in order, and goes on when that handler has returned; operations
//! behind it may not overtake it, not even if the handler is taken out before it returns.

use std::mem::{self, ManuallyDrop};

use tidegate_sys::mem::in_place;

use super::super::address::Address;
use super::super::core::{Context, Core, Handler, attention};
use super::super::entry::Passing;
use super::super::handler::HandlerResult;
use super::super::mask::{self, Mask};
use super::super::node::{self, HEAD, Index, Loan, Node, Resume, State, TAIL};
use super::super::op::Op;
use super::super::slow::{Event, Waited};
use super::visit::Visit;
use crate::buffer::{IntoMessage, Message};
use crate::error::{Error, Failure};
use crate::future::Promise;

/// The next hop of an operation, once everything was looked at that may be in its way.
enum Hop {
    /// The handler is in place.
    Handler(Index),
    Head,
    /// The node is on the stack, or operations wait at it already.
    Wait(Index),
}

/// How an operation goes on from a context.
enum Start<'c, 'a> {
    Handler(Step<'c, 'a>),
    Head(&'a Core),
    /// The next handler is not in place, or there is no slab to go by: on from this node, with everything looked at.
    Detour(&'c mut Context<'a>),
}

/// One handler's call of the next. While it lives the next handler is on the stack, and the caller's context stands for it.
struct Step<'c, 'a> {
    ctx: &'c mut Context<'a>,
    caller: &'a Node<dyn Handler>,
    /// Whose the handler is.
    node: &'a Node<dyn Handler>,
    /// `Some` until [`end`](Self::end).
    handler: Option<Loan<'a, dyn Handler>>,
}

impl<'c, 'a> Step<'c, 'a> {
    #[inline(always)]
    fn begin(ctx: &'c mut Context<'a>, bit: Mask) -> Start<'c, 'a> {
        // Others wait for a handler on the stack, and this one may pass it. The next handler itself need not be looked at:
        // on the stack it is not in place, and when it leaves, what waits there is the first to go on.
        if ctx.node.passes_next(bit) && ctx.core.attention.get() & attention::WAITING != 0 {
            return Start::Detour(ctx);
        }
        if let Some(node) = node::prev_with(ctx.slab, ctx.node, bit) {
            if let Some(handler) = node.lend() {
                let caller = ctx.move_to(node);
                return Start::Handler(Self {
                    ctx,
                    caller,
                    node,
                    handler: Some(handler),
                });
            }
            if node.index() == HEAD {
                return Start::Head(ctx.core);
            }
        }
        Start::Detour(ctx)
    }

    #[inline(always)]
    fn parts(&mut self) -> (&mut dyn Handler, &mut Context<'a>) {
        match &mut self.handler {
            Some(handler) => (&mut **handler, self.ctx),
            None => unreachable!("a step holds its handler until it ends"),
        }
    }

    /// Puts the handler back into its node, and the context back to the caller's. `see_to` is for what few calls leave behind.
    #[inline(always)]
    fn end(
        mut self,
        result: HandlerResult,
        see_to: impl FnOnce(&Core, HandlerResult, &Node<dyn Handler>),
    ) {
        self.ctx.move_to(self.caller);
        drop(self.handler.take());
        if result.is_err() || self.node.is_awaited() {
            see_to(self.ctx.core, result, self.node);
        }
    }

    /// The whole of an operation without a promise. Err goes to the handler's own exception_caught.
    #[inline(always)]
    fn call(mut self, call: impl FnOnce(&mut dyn Handler, &mut Context<'_>) -> HandlerResult) {
        let (handler, ctx) = self.parts();
        let result = call(handler, ctx);
        self.end(result, Core::leave_plain_slow);
    }
}

/// Only does something while unwinding, as in [`Visit`].
impl Drop for Step<'_, '_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.handler.is_some() {
            self.ctx.move_to(self.caller).lose();
            self.ctx.core.attend(attention::LOST);
            // What is dropped on the way may have more to say through this context.
            self.ctx.slab = &[];
        }
    }
}

impl Context<'_> {
    /// The long way round for an operation that did not find the short one.
    #[cold]
    #[inline(never)]
    fn detour(&mut self, op: impl FnOnce(&Core, Index)) {
        op(self.core, self.node.index());
    }
}

impl Core {
    // ---- the operations that are many, from a context on
    //
    // The way from handler to handler is inlined into these, so that it ends up in the handler that writes: one frame per
    // hop instead of two, and the handler's own context serves the next one for the time of the call. With a frame for the
    // operation and a context for each hop a write cost 93 instructions per handler, with one frame and a context 76, with
    // one frame and the caller's context 58. Now it is 40, and a flush 38: the handler is lent where it is (a box that was taken
    // out and put back took 4 more), the message stays where it lies (`in_place`: 7), no word of the core is looked at
    // before (unless a handler is passed over, or the context was left without a slab) or after (the node knows), the
    // step and not the context tells which node it was (1), what is seen to behind the call gets the core and not the
    // context, which else is moved to where that call would have it (1), and unwinding past it calls nothing, which leaves a register
    // free. Should that cleanup grow by a few instructions, LLVM makes a function of it, the step lives in memory, and all
    // of this is lost again: `make hops` shows it. Of what is left, 14 are the frame's own and 3 a check of the index.

    /// A write of anything that becomes a message. What is one already stays where it lies, all the way to the last handler.
    #[inline(always)]
    pub(crate) fn op_write_along<T: IntoMessage>(
        ctx: &mut Context<'_>,
        msg: ManuallyDrop<T>,
        promise: Promise,
    ) {
        match in_place::same(Self::op_write_message) {
            Some(op_write_message) => op_write_message(ctx, msg, promise),
            None => {
                let msg = ManuallyDrop::into_inner(msg).into_message();
                Self::op_write_message(ctx, ManuallyDrop::new(msg), promise);
            }
        }
    }

    #[inline(always)]
    fn op_write_message(ctx: &mut Context<'_>, msg: ManuallyDrop<Message>, promise: Promise) {
        if !promise.is_void() {
            let (core, from) = (ctx.core, ctx.node.index());
            return in_place::give_third(Self::op_write_observed, core, from, msg, promise);
        }
        // It owns nothing; forgetting it keeps it in a register.
        mem::forget(promise);
        match Step::begin(ctx, mask::WRITE) {
            Start::Handler(mut step) => {
                let (handler, ctx) = step.parts();
                let result =
                    in_place::give_third(<dyn Handler>::write, handler, ctx, msg, Promise::void());
                step.end(result, Core::leave_write_slow);
            }
            Start::Head(core) => in_place::give(Self::head_write, core, msg, Promise::void()),
            Start::Detour(ctx) => {
                let (core, from) = (ctx.core, ctx.node.index());
                in_place::give_third(Self::op_write, core, from, msg, Promise::void());
            }
        }
    }

    #[inline(always)]
    pub(crate) fn op_flush_along(ctx: &mut Context<'_>) {
        match Step::begin(ctx, mask::FLUSH) {
            Start::Handler(step) => step.call(|handler, ctx| handler.flush(ctx)),
            Start::Head(core) => core.head_flush(),
            Start::Detour(ctx) => ctx.detour(Core::op_flush),
        }
    }

    #[inline(always)]
    pub(crate) fn op_read_along(ctx: &mut Context<'_>) {
        if ctx.core.has_resumes() {
            // It may have to stop at a node that has no read() of its own, only a resume.
            return ctx.detour(Core::op_read);
        }
        match Step::begin(ctx, mask::READ_OP) {
            Start::Handler(step) => step.call(|handler, ctx| handler.read(ctx)),
            Start::Head(core) => core.head_read(),
            Start::Detour(ctx) => ctx.detour(Core::op_read),
        }
    }

    /// The read() of auto-read: from the tail, like one of a handler there. True if a handler was called, which may have
    /// emitted something.
    ///
    /// Few handlers have a read() of their own, and one more handler changes what is known: so a way on which there is none
    /// is remembered until then. Walked for each batch it took 94 instructions through four handlers.
    #[inline(always)]
    pub(crate) fn op_read_from_tail(&self) -> bool {
        let free = self.attention.get() & attention::BEFORE_OP == 0 && !self.has_resumes();
        if free && self.nodes.with(TAIL, Node::is_straight) {
            self.head_read();
            return false;
        }
        self.op_read_from_tail_along(free)
    }

    #[inline(never)]
    fn op_read_from_tail_along(&self, free: bool) -> bool {
        // What was flushed before does not wait for the handlers on the way.
        self.flush_put_off();
        let slab = self.nodes.slab();
        let tail = &slab[usize::from(TAIL)];
        let stop = node::prev_with(&slab, tail, mask::READ_OP).map(Node::index);
        tail.set_straight(free && stop == Some(HEAD));
        Self::op_read_along(&mut Context::new(self, self.slab_to_go_by(&slab), tail));
        true
    }

    // ---- the same from anywhere

    /// A write that somebody waits for, unless the promise says that it is not to be done. It goes the long way: beside
    /// the atomics of its second promise end nothing else shows.
    #[inline(never)]
    pub(crate) fn op_write_observed(&self, from: Index, msg: Message, promise: Promise) {
        if self.admit(&promise) {
            self.op_write(from, msg, promise);
        }
    }

    /// A write with any promise.
    #[inline(never)]
    pub(crate) fn op_write(&self, from: Index, msg: Message, promise: Promise) {
        match self.find_prev(from, mask::WRITE) {
            Hop::Handler(index) => {
                self.call_promised(index, promise, "write", |handler, ctx, promise| {
                    handler.write(ctx, msg, promise)
                });
            }
            Hop::Head => self.head_write(msg, promise),
            Hop::Wait(at) => self.wait(at, Op::Write(msg, promise)),
        }
    }

    pub(crate) fn op_flush(&self, from: Index) {
        match self.find_prev(from, mask::FLUSH) {
            Hop::Handler(index) => {
                self.call_plain(index, "flush", |handler, ctx| handler.flush(ctx))
            }
            Hop::Head => self.head_flush(),
            Hop::Wait(at) => self.wait(at, Op::Flush),
        }
    }

    pub(crate) fn op_read(&self, from: Index) {
        if self.has_resumes() {
            let (node, stops) = self.nodes.step_toward_head(from, mask::READ_OP);
            return self.op_read_slow(node.index(), stops);
        }
        match self.find_prev(from, mask::READ_OP) {
            Hop::Handler(index) => self.call_plain(index, "read", |handler, ctx| handler.read(ctx)),
            Hop::Head => self.head_read(),
            Hop::Wait(at) => self.wait(at, Op::Read),
        }
    }

    #[inline]
    pub(crate) fn has_resumes(&self) -> bool {
        self.parks.get() != 0 || self.attention.get() & attention::RESUMING != 0
    }

    /// A read() with resumes about, that has come to `at`, where it stops or not: the first node that has one, parked or
    /// asked for, consumes it.
    #[cold]
    fn op_read_slow(&self, mut at: Index, mut stops: bool) {
        loop {
            let node = self.nodes.get(at);
            match node.resume() {
                Resume::Parked => {
                    node.set_resume(Resume::AskedWithCredit);
                    self.parks.set(self.parks.get() - 1);
                    self.emit_event(Event::Resume {
                        node: at,
                        unparked: true,
                        emitted: false,
                    });
                    return;
                }
                Resume::Asked => return node.set_resume(Resume::AskedWithCredit),
                Resume::AskedWithCredit => return,
                Resume::Idle => {}
            }
            if at == HEAD {
                return self.head_read();
            }
            if self.is_waited_at(at) || stops && node.is_busy() {
                return self.wait(at, Op::Read);
            }
            if stops && self.is_ready(at) {
                return self.call_plain(at, "read", |handler, ctx| handler.read(ctx));
            }
            let (next, stops_next) = self.nodes.step_toward_head(at, mask::READ_OP);
            (at, stops) = (next.index(), stops_next);
        }
    }

    // ---- the operations that are few

    pub(crate) fn op_close(&self, from: Index, promise: Promise) {
        match self.find_prev(from, mask::CLOSE) {
            Hop::Handler(index) => self.call_close(index, promise),
            Hop::Head => self.head_close(promise),
            Hop::Wait(at) => self.wait(at, Op::Close(promise)),
        }
    }

    fn call_close(&self, index: Index, promise: Promise) {
        self.call_promised(index, promise, "close", |handler, ctx, promise| {
            handler.close(ctx, promise)
        });
    }

    pub(crate) fn op_disconnect(&self, from: Index, promise: Promise) {
        // Without a disconnect of its own the channel is closed, and handlers see a close (A32).
        if !self.shared.has_disconnect() {
            return self.op_close(from, promise);
        }
        match self.find_prev(from, mask::DISCONNECT) {
            Hop::Handler(index) => self.call_disconnect(index, promise),
            Hop::Head => self.head_disconnect(promise),
            Hop::Wait(at) => self.wait(at, Op::Disconnect(promise)),
        }
    }

    fn call_disconnect(&self, index: Index, promise: Promise) {
        self.call_promised(index, promise, "disconnect", |handler, ctx, promise| {
            handler.disconnect(ctx, promise)
        });
    }

    pub(crate) fn op_bind(&self, from: Index, local: Address, promise: Promise) {
        match self.find_prev(from, mask::BIND) {
            Hop::Handler(index) => self.call_bind(index, local, promise),
            Hop::Head => self.head_bind(local, promise),
            Hop::Wait(at) => self.wait(at, Op::Bind(Box::new(local), promise)),
        }
    }

    fn call_bind(&self, index: Index, local: Address, promise: Promise) {
        self.call_promised(index, promise, "bind", |handler, ctx, promise| {
            handler.bind(ctx, local, promise)
        });
    }

    pub(crate) fn op_connect(
        &self,
        from: Index,
        remote: Address,
        local: Option<Address>,
        promise: Promise,
    ) {
        match self.find_prev(from, mask::CONNECT) {
            Hop::Handler(index) => self.call_connect(index, remote, local, promise),
            Hop::Head => self.head_connect(remote, local, promise),
            Hop::Wait(at) => self.wait(at, Op::Connect(Box::new((remote, local)), promise)),
        }
    }

    fn call_connect(
        &self,
        index: Index,
        remote: Address,
        local: Option<Address>,
        promise: Promise,
    ) {
        self.call_promised(index, promise, "connect", |handler, ctx, promise| {
            handler.connect(ctx, remote, local, promise)
        });
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

    /// Where an operation goes, with everything looked at that may be in its way.
    fn find_prev(&self, from: Index, bit: Mask) -> Hop {
        let mut at = from;
        loop {
            let (node, stops) = self.nodes.step_toward_head(at, bit);
            at = node.index();
            if at == HEAD {
                return Hop::Head;
            }
            if self.is_waited_at(at) || stops && node.is_busy() {
                return Hop::Wait(at);
            }
            if stops && self.is_ready(at) {
                return Hop::Handler(at);
            }
        }
    }

    /// Whether the handler of a node that is not on the stack can be called, after its `handler_added` if that is still
    /// due.
    fn is_ready(&self, at: Index) -> bool {
        self.ensure_added(at);
        let node = self.nodes.get(at);
        node.state() == State::Here && !node.is_busy()
    }

    /// A call of an operation that has no promise, of a handler that is known to be in place.
    fn call_plain(
        &self,
        index: Index,
        callback: &'static str,
        call: impl FnOnce(&mut dyn Handler, &mut Context<'_>) -> HandlerResult,
    ) {
        if self.is_watched() {
            return self.named(index, callback, || self.call_plain_now(index, call));
        }
        self.call_plain_now(index, call);
    }

    #[inline(always)]
    fn call_plain_now(
        &self,
        index: Index,
        call: impl FnOnce(&mut dyn Handler, &mut Context<'_>) -> HandlerResult,
    ) {
        let slab = self.nodes.slab();
        let node = &slab[usize::from(index)];
        // The caller's context, unlike that of a step, still has a slab to go by if it catches a panic.
        let passing = Passing(self);
        if let Some(mut visit) = Visit::begin(self, node) {
            let mut ctx = Context::new(self, self.slab_to_go_by(&slab), node);
            let result = call(visit.handler(), &mut ctx);
            let node = visit.put_back();
            mem::forget(passing);
            if result.is_err() || node.is_awaited() {
                self.leave_plain_slow(result, node);
            }
        }
    }

    /// The same with a promise.
    fn call_promised(
        &self,
        index: Index,
        promise: Promise,
        callback: &'static str,
        call: impl FnOnce(&mut dyn Handler, &mut Context<'_>, Promise) -> HandlerResult,
    ) {
        if self.is_watched() {
            return self.named(index, callback, || {
                self.call_promised_now(index, promise, call);
            });
        }
        self.call_promised_now(index, promise, call);
    }

    #[inline(always)]
    fn call_promised_now(
        &self,
        index: Index,
        promise: Promise,
        call: impl FnOnce(&mut dyn Handler, &mut Context<'_>, Promise) -> HandlerResult,
    ) {
        let slab = self.nodes.slab();
        let node = &slab[usize::from(index)];
        // As in `call_plain_now`.
        let passing = Passing(self);
        if let Some(mut visit) = Visit::begin(self, node) {
            let second = promise.second();
            let mut ctx = Context::new(self, self.slab_to_go_by(&slab), node);
            let result = call(visit.handler(), &mut ctx, promise);
            let node = visit.put_back();
            mem::forget(passing);
            if let Err(failure) = result {
                self.fail_operation(index, failure, &second);
            }
            if node.is_awaited() {
                self.after_call(node);
            }
        }
    }

    fn is_waited_at(&self, index: Index) -> bool {
        let waits = |waited: &Waited| waited.at == index && waited.ops > 0;
        self.slow.with(|slow| slow.waited.iter().any(waits)) == Some(true)
    }

    #[cold]
    fn wait(&self, at: Index, op: Op) {
        self.with_slow(|slow| {
            match slow.waited.iter_mut().find(|waited| waited.at == at) {
                Some(waited) => waited.ops += 1,
                None => slow.waited.push(Waited {
                    at,
                    ops: 1,
                    is_draining: false,
                }),
            }
            slow.waiting.push_back((at, op));
        });
        self.nodes.with(at, |node| node.set_awaited(true));
        self.attend(attention::WAITING);
    }

    /// True while operations wait at a node, or the last of them is going on.
    pub(crate) fn is_draining_at(&self, index: Index) -> bool {
        let waits = |waited: &Waited| waited.at == index;
        self.slow.with(|slow| slow.waited.iter().any(waits)) == Some(true)
    }

    /// Lets the operations that waited at `index` go on, in order. Each leaves the node again; only the outermost
    /// call takes the next one, so that the stack stays flat.
    #[cold]
    pub(crate) fn run_waiting_ops(&self, index: Index) {
        let begins = self.with_slow(|slow| {
            let mut waited = slow.waited.iter_mut();
            let waited = waited.find(|waited| waited.at == index);
            waited.is_some_and(|waited| !mem::replace(&mut waited.is_draining, true))
        });
        if !begins {
            return;
        }
        while let Some(op) = self.next_waiting_op(index) {
            self.op_at(index, op);
        }
    }

    fn next_waiting_op(&self, index: Index) -> Option<Op> {
        let next = self.with_slow(|slow| {
            let entry = slow.waited.iter().position(|waited| waited.at == index)?;
            if slow.waited[entry].ops > 0 {
                slow.waited[entry].ops -= 1;
                let position = slow.waiting.iter().position(|(at, _)| *at == index)?;
                return slow.waiting.remove(position).map(|(_, op)| Some(op));
            }
            slow.waited.remove(entry);
            self.nodes.with(index, |node| node.set_awaited(false));
            if slow.waited.is_empty() {
                self.attention
                    .set(self.attention.get() & !attention::WAITING);
            }
            Some(None)
        })?;
        if next.is_none() {
            self.release(index);
        }
        next
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
            return self.op_read_slow(index, self.nodes.has_mask(index, bit));
        }
        if !self.nodes.has_mask(index, bit) || !self.is_ready(index) {
            return self.op(index, op);
        }
        match op {
            Op::Write(msg, promise) => {
                self.call_promised(index, promise, "write", |handler, ctx, promise| {
                    handler.write(ctx, msg, promise)
                });
            }
            Op::Flush => self.call_plain(index, "flush", |handler, ctx| handler.flush(ctx)),
            Op::Read => self.call_plain(index, "read", |handler, ctx| handler.read(ctx)),
            Op::Close(promise) => self.call_close(index, promise),
            Op::Disconnect(promise) => self.call_disconnect(index, promise),
            Op::Bind(local, promise) => self.call_bind(index, *local, promise),
            Op::Connect(addresses, promise) => {
                self.call_connect(index, addresses.0, addresses.1, promise)
            }
        }
    }

    // ---- leaving

    /// Err of flush and read goes to the handler's own exception_caught.
    #[cold]
    #[inline(never)]
    fn leave_plain_slow(&self, result: HandlerResult, node: &Node<dyn Handler>) {
        if let Err(failure) = result {
            self.emit_event(Event::ExceptionAt(node.index(), failure));
        }
        self.after_call(node);
    }

    /// Err of a write whose promise is void is counted.
    #[cold]
    #[inline(never)]
    fn leave_write_slow(&self, result: HandlerResult, node: &Node<dyn Handler>) {
        if let Err(failure) = result {
            self.fail_operation(node.index(), failure, &Promise::void());
        }
        self.after_call(node);
    }

    #[cold]
    fn fail_operation(&self, index: Index, failure: Failure, promise: &Promise) {
        let name = self.nodes.name(index);
        let error: Error = failure.into();
        if promise.is_void() {
            self.count_void_failure(&name, &error);
        } else if !promise.try_failure(error.clone()) {
            tracing::warn!(channel = %self.shared.id(), handler = name, %error, "an outbound operation failed after its promise was done");
        }
    }
}
