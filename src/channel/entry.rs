//! Ways into a channel, and the small services around them. See `core` for the rules.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem;
use std::rc::Rc;
use std::sync::Arc;

use tidegate_sys::mem::prefetch;
use tidegate_sys::os::Ready;

use super::core::{Context, Core, Gate, Handler, Rare, Root, UNREGISTERED, attention, flag};
use super::future::ChannelFuture;
use super::handler::HandlerResult;
use super::lifetime::Life;
use super::mask::{self, Mask};
use super::node::{HEAD, Index, Node};
use super::nodes::{NodeId, Nodes};
use super::shared::{Channel, Shared};
use super::slow::{Inbound, Slow};
use super::spare::Lent;
use super::transport::{Io, Transport};
use crate::buffer::RecvPredictor;
use crate::error::{Error, ErrorKind, Failure};
use crate::event_loop::{LoopCore, TimerKey, boundary};
use crate::future::Promise;
use crate::reactor::{IoEvent, IoHandle};

/// A step of the transport outside of the catch boundary. Should it panic, the channel is not left as if it were still
/// entered: it closes.
struct Unguarded<'a> {
    core: &'a Core,
    depth: u32,
}

impl Drop for Unguarded<'_> {
    fn drop(&mut self) {
        self.core.running.set(false);
        self.core.lp.pipeline_depth.set(self.depth);
        let error = Error::new(
            ErrorKind::HandlerPanicked,
            "the transport panicked while it was flushed",
        );
        self.core.push_root(Root::Close(error, Promise::void()));
    }
}

/// What the log says of a panic that somebody has caught on its way through a pipeline.
pub(super) const CAUGHT: &str = "a handler panicked, and somebody on the stack caught that";

/// A call into a channel whose handlers are on the stack already. A panic that leaves it may end at another channel's boundary,
/// or be caught by a handler; then the handlers that it has passed must not be found in place by those that go on. Forgotten
/// when the call has returned.
pub(super) struct Passing<'a>(pub(super) &'a Core);

impl Drop for Passing<'_> {
    #[cold]
    fn drop(&mut self) {
        if self.0.attention.get() & attention::LOST != 0 {
            self.0.nodes.set_aside_lost();
        }
    }
}

impl Core {
    pub(crate) fn new(
        shared: Arc<Shared>,
        lp: Rc<LoopCore>,
        transport: Box<dyn Transport>,
        places: usize,
    ) -> Rc<Self> {
        let metadata = transport.metadata();
        let nodes = Nodes::new(places);
        let flags = if transport.outlives_errors() {
            flag::DEFAULT & !flag::CLOSE_ON_UNHANDLED
        } else {
            flag::DEFAULT
        };
        let attention = lp.sentry().map_or(0, |_| attention::WATCHED);
        Rc::new_cyclic(|me| Self {
            shared,
            lp,
            me: me.clone(),
            first_from: Cell::new(nodes.with(HEAD, Node::link)),
            nodes,
            first_msg: Cell::new(None),
            first_kind: Cell::new(Inbound::None),
            attention: Cell::new(attention),
            running: Cell::new(false),
            in_transport: Cell::new(false),
            life: Cell::new(Life::Open),
            resume_last: Cell::new(HEAD),
            parks: Cell::new(0),
            resumes: Cell::new(0),
            root_items: Cell::new(0),
            flags: Cell::new(flags),
            slow: Lent::none(),
            roots: Lent::none(),
            rare: Cell::new(None),
            transport: RefCell::new(transport),
            outbound: Lent::none(),
            predictor: Cell::new(RecvPredictor::default()),
            token: Cell::new(UNREGISTERED),
            outbound_memory: Cell::default(),
            write_spin: Cell::new(16),
            reads_max: Cell::new(metadata.max_messages_per_read),
            seen: Cell::new(Ready::NONE),
            wasted_edges: Cell::new(0),
            sends_bytes: Cell::new(false),
        })
    }

    // ---- entering

    /// Every way into a channel from outside. Nested entries (a handler of this channel is on the stack) just do
    /// their part; the outermost one is the catch boundary and runs what was caused.
    #[inline]
    pub(crate) fn enter(&self, work: impl FnOnce(&Self)) {
        self.enter_by::<false>(work);
    }

    /// The same as a part of its caller, together with the flush at its end: two frames less on the stack of that.
    #[inline(always)]
    pub(crate) fn enter_flat(&self, work: impl FnOnce(&Self)) {
        self.enter_by::<true>(work);
    }

    #[inline(always)]
    fn enter_by<const FLAT: bool>(&self, work: impl FnOnce(&Self)) {
        if self.running.get() {
            let passing = Passing(self);
            work(self);
            return mem::forget(passing);
        }
        let depth = self.lp.pipeline_depth.get();
        self.lp.pipeline_depth.set(depth + 1);
        self.running.set(true);
        self.resumes.set(0);
        self.root_items.set(0);
        let mut result = boundary::catch(|| {
            work(self);
            // On another channel's stack only operations run; what they caused waits for the loop.
            if depth == 0 {
                self.settle();
            }
        });
        if result.is_ok() && self.attention.get() & attention::FLUSH != 0 {
            result = if FLAT {
                self.flush_at_the_end_flat(depth)
            } else {
                self.flush_at_the_end(depth)
            };
        }
        self.running.set(false);
        self.lp.pipeline_depth.set(depth);
        if let Err(panic) = result {
            self.panicked(panic);
        }
        if !attention::is_none(self.attention.get()) || self.first_kind.get() != Inbound::None {
            self.end_dispatch();
        }
    }

    /// Delivers what was emitted, then the root queue.
    pub(crate) fn settle(&self) {
        self.run();
        if self.attention.get() & attention::ROOTS != 0 {
            self.flush_put_off();
            self.run_roots();
        }
    }

    /// Does the flush that was asked for last, and what follows from it. The system call is made outside of the catch
    /// boundary, on the flattest stack there is: no code of a user runs in it.
    ///
    /// Tried: the sends of 2, 4, 8 or 16 channels of a batch of events together, behind the receives of all of them, so that
    /// each of the two finds its code in the first cache. 1.04 to 1.06 of a bare loop's time where this takes 1.04 (64 connections,
    /// +-0.015), and 1.15 to 1.19 where it takes 1.14 (1,000): nothing, and the first of them waits for the others.
    #[inline(never)]
    fn flush_at_the_end(&self, depth: u32) -> Result<(), Box<str>> {
        self.flush_at_the_end_flat(depth)
    }

    #[inline(always)]
    fn flush_at_the_end_flat(&self, depth: u32) -> Result<(), Box<str>> {
        let settled = self.flush_unguarded(depth);
        if !settled && self.attention.get() & attention::ROOTS == 0 {
            return Ok(());
        }
        self.after_flush(settled, depth)
    }

    /// True if there are writes to be settled.
    #[inline(always)]
    fn flush_unguarded(&self, depth: u32) -> bool {
        self.attention.set(self.attention.get() & !attention::FLUSH);
        let unguarded = Unguarded { core: self, depth };
        let settled = self.flush_kept(self.outbound.hold());
        mem::forget(unguarded);
        settled
    }

    /// What follows from a flush, which may be another one.
    #[inline(never)]
    fn after_flush(&self, settled: bool, depth: u32) -> Result<(), Box<str>> {
        let mut settled = settled;
        loop {
            boundary::catch(|| {
                if settled {
                    self.settle_writes();
                }
                if depth == 0 {
                    self.settle();
                }
            })?;
            if self.attention.get() & attention::FLUSH == 0 {
                return Ok(());
            }
            settled = self.flush_unguarded(depth);
            if !settled && self.attention.get() & attention::ROOTS == 0 {
                return Ok(());
            }
        }
    }

    #[cold]
    fn end_dispatch(&self) {
        if self.attention.get() & attention::LOST != 0 {
            return self.panicked(CAUGHT.into());
        }
        // No handler is on the stack any more.
        if self.attention.get() & attention::REGROWN != 0 {
            self.nodes.forget_outgrown();
            self.attention
                .set(self.attention.get() & !attention::REGROWN);
        }
        let idle = self.first_kind.get() == Inbound::None
            && self.resume_last.get() == HEAD
            && self.slow.with(|slow| slow.is_idle()) != Some(false);
        if let Some(spare) = self.slow.take_if(Slow::is_spare) {
            spare.give_back();
            self.attention.set(self.attention.get() & !attention::SLOW);
        }
        if idle {
            self.attention
                .set(self.attention.get() & !attention::OF_DISPATCH);
            if self.attention.get() & attention::DEAD != 0 {
                self.nodes.free_dead();
                self.attention.set(self.attention.get() & !attention::DEAD);
            }
        }
        let suspended = self.attention.get() & attention::SUSPENDED != 0;
        if !suspended && (!idle || self.attention.get() & attention::ROOTS != 0) {
            self.push_root_fifo();
        }
    }

    /// Works on the slow parts of the pipeline, lent at their first use in a dispatch.
    pub(crate) fn with_slow<R>(&self, work: impl FnOnce(&mut Slow) -> R) -> R {
        self.attend(attention::SLOW);
        self.slow.with_lent(Slow::lend, work)
    }

    /// Changes what few channels have; a channel that has nothing there afterwards is one of the many again. `change`
    /// runs no code but ours.
    pub(crate) fn change_rare<T>(&self, change: impl FnOnce(&mut Rare) -> T) -> T {
        let mut rare = self.rare.take().unwrap_or_default();
        let result = change(&mut rare);
        if !rare.is_empty() {
            self.rare.set(Some(rare));
        }
        result
    }

    /// Looks at what few channels have, if this one has something of it.
    #[inline]
    pub(crate) fn look_at_rare<T>(&self, look: impl FnOnce(&mut Rare) -> Option<T>) -> Option<T> {
        let mut rare = self.rare.take()?;
        let result = look(&mut rare);
        if !rare.is_empty() {
            self.rare.set(Some(rare));
        }
        result
    }

    #[inline]
    pub(crate) fn attend(&self, bits: u16) {
        self.attention.set(self.attention.get() | bits);
    }

    #[inline]
    pub(crate) fn has(&self, flags: u32) -> bool {
        self.flags.get() & flags != 0
    }

    #[inline]
    pub(crate) fn set(&self, flags: u32) {
        self.flags.set(self.flags.get() | flags);
    }

    #[inline]
    pub(crate) fn clear(&self, flags: u32) {
        self.flags.set(self.flags.get() & !flags);
    }

    /// One step of the transport. No user code runs inside; operations that reach the head meanwhile wait.
    pub(crate) fn with_transport<R>(
        &self,
        step: impl FnOnce(&mut dyn Transport, &mut Io<'_>) -> R,
    ) -> R {
        struct Leave<'a>(&'a Cell<bool>);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.set(false);
            }
        }
        self.in_transport.set(true);
        let _leave = Leave(&self.in_transport);
        step(self.transport.borrow_mut().as_mut(), &mut self.io())
    }

    /// What a step of the transport goes by.
    #[inline]
    pub(super) fn io(&self) -> Io<'_> {
        Io {
            services: self,
            arena: self.lp.arena(),
            predictor: &self.predictor,
            seen: self.seen.get(),
            write_spin: self.write_spin.get(),
        }
    }

    // ---- loop lists

    /// To the ready list, once: reading, flushing or resuming goes on after others had their turn.
    pub(crate) fn push_ready(&self) {
        if !self.has(flag::IN_READY_LIST)
            && let Some(me) = self.me.upgrade()
        {
            self.set(flag::IN_READY_LIST);
            self.lp.push_ready(me);
        }
    }

    /// To the loop's FIFO of channels with root work, once.
    pub(crate) fn push_root_fifo(&self) {
        if !self.has(flag::IN_ROOT_FIFO)
            && let Some(me) = self.me.upgrade()
        {
            self.set(flag::IN_ROOT_FIFO);
            self.lp.push_root(me);
        }
    }

    // ---- small things for contexts and handles

    /// The channel that handlers see.
    #[inline]
    pub(crate) fn face(&self) -> &Arc<Shared> {
        self.shared.face()
    }

    pub(crate) fn channel(&self) -> Channel {
        Channel::new(self.face().clone())
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn learn_skip(&self, index: Index, bit: Mask) {
        self.nodes.clear_mask(index, bit);
        let node = self.nodes.get(index);
        if cfg!(debug_assertions) && node.is_declared() {
            tracing::error!(
                channel = %self.shared.id(),
                handler = node.kind().name(),
                callbacks = ?mask::names(bit),
                "declared callbacks are not overridden; take them out of declared()"
            );
        }
    }

    pub(crate) fn new_promise(&self) -> Promise {
        Promise::new(self.shared.clone())
    }

    pub(crate) fn new_future(&self) -> (Promise, ChannelFuture) {
        let promise = self.new_promise();
        let future = ChannelFuture::new(self.channel(), promise.completion());
        (promise, future)
    }

    /// Whether an operation with this promise is to be done (B23): not if it was cancelled, nor if it is done.
    #[inline]
    pub(crate) fn admit(&self, promise: &Promise) -> bool {
        promise.is_void() || self.admit_slow(promise)
    }

    fn admit_slow(&self, promise: &Promise) -> bool {
        if !promise.is_done() {
            let homes = [&self.shared, self.face()].map(|home| Arc::as_ptr(home).cast());
            return !refuse_foreign(promise, homes);
        }
        if !promise.is_cancelled() {
            tracing::warn!(
                channel = %self.shared.id(),
                "an operation was given a promise that is done already and is not performed; make one promise per operation"
            );
        }
        false
    }

    pub(crate) fn notify(&self, index: Index, promise: &Promise, key: u64) -> bool {
        let node = self.nodes.id(index).to_bits();
        promise.add_keyed(self.shared.clone(), node, key)
    }

    pub(crate) fn handler_timer(
        &self,
        index: Index,
        delay: std::time::Duration,
        key: u64,
    ) -> TimerKey {
        let node = self.nodes.id(index);
        let me = self.me.clone();
        self.lp.add_timer(
            self.lp.now() + delay,
            tidegate_sys::mem::LocalTask::new(move || {
                if let Some(core) = me.upgrade() {
                    core.call_node(node, move |handler, ctx| handler.timer(ctx, key));
                }
            }),
        )
    }

    /// Enters a handler from outside by its lasting name, unless it is gone. While the dispatch is suspended it
    /// waits, so that what it emits does not mix with what was emitted before.
    pub(crate) fn call_node(
        &self,
        node: NodeId,
        call: impl FnOnce(&mut dyn Handler, &mut Context<'_>) -> HandlerResult + 'static,
    ) {
        if self.attention.get() & attention::SUSPENDED != 0 {
            let gate = Gate::new(move |core| core.call_node(node, call));
            return self.push_root(Root::Call(gate));
        }
        self.enter(|core| {
            let index = core.nodes.resolve(node);
            if let Some(index) = index {
                core.call(index, call);
            }
        });
    }

    pub(crate) fn is_removed(&self, index: Index) -> bool {
        self.nodes.get(index).is_gone()
    }

    // ---- reports

    #[cold]
    pub(crate) fn report_failed_exception_caught(
        &self,
        index: Index,
        first: &str,
        second: &Failure,
    ) {
        self.lp.metrics().channel.failed_exception_caught.add(1);
        tracing::warn!(
            channel = %self.shared.id(),
            remote = self.shared.remote_address().map(tracing::field::display),
            handler = self.nodes.name(index),
            while_handling = first,
            error = %second,
            "exception_caught failed itself"
        );
    }

    #[cold]
    pub(crate) fn count_void_failure(&self, handler: &str, error: &Error) {
        self.lp.metrics().channel.unobserved_write_failures.add(1);
        if self.has(flag::VOID_FAILURE_TOLD) {
            return;
        }
        let channel = self.shared.id();
        // Handlers that hold writes fail them with an error of their own.
        let has_closed = error.kind() == ErrorKind::ChannelClosed;
        if error.comes_from_peer() || has_closed && self.closed_error().comes_from_peer() {
            // As at the tail: once per channel is a flood where peers break off by the thousand.
            tracing::debug!(%channel, at = handler, %error, "the peer let a write fail that nobody observes");
            if self.life.get() < Life::Closing {
                // More may fail here, and for another reason.
                return;
            }
        } else {
            tracing::warn!(
                %channel,
                remote = self.shared.remote_address().map(tracing::field::display),
                at = handler,
                %error,
                "a write failed and nobody observes it; said once per channel, counted in the loop's metrics"
            );
        }
        self.set(flag::VOID_FAILURE_TOLD);
    }

    /// What is not readiness of an active channel.
    #[inline(never)]
    fn on_rare_event(&self, event: IoEvent) {
        match event {
            IoEvent::Ready(ready) => self.inactive_ready(ready),
            IoEvent::Continue => self.on_continue(),
            IoEvent::Roots => {
                self.clear(flag::IN_ROOT_FIFO);
                self.enter(|_| {});
            }
            IoEvent::Shutdown => self.enter(|core| core.head_close(Promise::void())),
        }
    }

    /// A callback panicked: the handlers that were on the stack end without another callback, the channel closes.
    #[cold]
    fn panicked(&self, text: Box<str>) {
        if boundary::catch(|| self.flush_put_off()).is_err() {
            tracing::error!(channel = %self.shared.id(), "a message panicked while it was dropped");
        }
        let (names, dropped) = self.nodes.bury_lost();
        self.attend(attention::DEAD);
        self.lp.metrics().channel.handler_panics.add(1);
        self.lp.keep_panic(&text);
        // What it would have taken passes by, and is no news.
        self.set(flag::UNHANDLED_TOLD);
        tracing::error!(
            channel = %self.shared.id(),
            remote = self.shared.remote_address().map(tracing::field::display),
            handlers = names.join(" <- "),
            panic = &*text,
            "a handler panicked; it is dropped and the channel closes"
        );
        for handler in dropped {
            if boundary::catch(move || drop(handler)).is_err() {
                tracing::error!(channel = %self.shared.id(), "a handler panicked once more while it was dropped");
            }
        }
        let error = Error::new(
            ErrorKind::HandlerPanicked,
            format!(
                "handler {} panicked: {text}",
                names.first().map_or("(none)", String::as_str)
            ),
        );
        self.forget_emissions(&error);
        if self.has(flag::ENDING) && self.shared.is_registered() {
            // It was one of the last events: the handlers that have not heard of the end still do, and then comes what
            // follows it.
            self.forget_rest();
            self.push_root(Root::End { rounds: 0 });
        }
        self.enter(|core| core.close_because(error, Promise::void()));
    }

    /// Drops everything recorded or waiting in the dispatch.
    fn forget_emissions(&self, error: &Error) {
        self.first_kind.set(Inbound::None);
        self.resume_last.set(HEAD);
        let first = self.first_msg.take();
        let slow = self.slow.take();
        const KEPT: u16 = attention::ROOTS | attention::DEAD | attention::WATCHED;
        self.attention.set(self.attention.get() & KEPT);
        let waiting = boundary::catch(move || {
            drop(first);
            let Some(mut slow) = slow else {
                return VecDeque::new();
            };
            mem::take(&mut slow.waiting)
        });
        for (_, op) in waiting.unwrap_or_default() {
            op.fail(error.clone());
        }
    }
}

/// Fails a promise of another channel (B23): its listeners would run on that one's loop, and what it says would be
/// about this one.
pub(crate) fn refuse_foreign(promise: &Promise, homes: [*const (); 2]) -> bool {
    let is_foreign = promise.is_of_another_channel(homes);
    if is_foreign {
        promise.try_failure(Error::new(
            ErrorKind::InvalidArgument,
            "the promise given to this operation is another channel's; make it with new_promise() of the channel that does the work",
        ));
    }
    is_foreign
}

impl IoHandle for Core {
    fn on_event(self: Rc<Self>, event: IoEvent) {
        match event {
            IoEvent::Ready(ready) if self.life.get() == Life::Active => self.active_ready(ready),
            event => self.on_rare_event(event),
        }
    }

    fn approach(&self) {
        self.nodes.prefetch();
        prefetch(&*self.shared);
        if let Ok(transport) = self.transport.try_borrow() {
            prefetch(&**transport);
        }
    }

    fn into_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }
}
