//! What a handler sees of its channel during a callback.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::ptr;
use std::time::Duration;

use tidegate_sys::mem::in_place;

use super::address::Address;
use super::core::{Context, Core, Handler, flag};
use super::future::ChannelFuture;
use super::handle::{HandlerHandle, LocalHandle};
use super::mask::{self, Mask};
use super::node::{Index, Node, Slab};
use super::outbound::OutboundMark;
use super::pipeline::Pipeline;
use super::slow::{Event, Inbound};
use super::{Channel, ChannelOption};
use crate::buffer::{self, IntoMessage, Message};
use crate::error::{Error, ErrorKind, Failure};
use crate::event_loop::{EventLoop, Time, TimerKey};
use crate::future::{Promise, TaskFuture, TaskPromise};

impl<'a> Context<'a> {
    #[inline(always)]
    pub(crate) fn new(
        core: &'a Core,
        slab: &'a Slab<dyn Handler>,
        node: &'a Node<dyn Handler>,
    ) -> Self {
        Self { core, slab, node }
    }

    /// Moves on to another handler of the same pipeline. Returns the node that it stood for.
    #[inline(always)]
    pub(crate) fn move_to(&mut self, node: &'a Node<dyn Handler>) -> &'a Node<dyn Handler> {
        mem::replace(&mut self.node, node)
    }

    #[inline(always)]
    fn index(&self) -> Index {
        self.node.index()
    }

    /// A default body ran: the walk may skip this node for that event from now on.
    #[doc(hidden)]
    #[inline]
    pub(crate) fn learn_skip(&mut self, bit: Mask) {
        if !self.slab.is_empty() || self.learns_all_the_same() {
            self.core.learn_skip(self.index(), bit);
        }
    }

    /// Whether it has no slab only because handlers are named to the stall watcher: then what it has is the beginning of the
    /// pipeline's. A context for an inner handler has not even that.
    #[cold]
    fn learns_all_the_same(&self) -> bool {
        self.core.is_watched() && ptr::eq(self.slab.as_ptr(), self.core.nodes.slab().as_ptr())
    }

    /// At the end of the channel: this node has been told. A panic further on does not tell it twice, and what belongs before the
    /// end does not reach it any more. Messages do, of those who had more at hand than fits into one dispatch, unless the loop ends
    /// and waits for nobody.
    pub(crate) fn heard_of_the_end(&self, bit: Mask) {
        if self.core.has(flag::ENDING) {
            let begun = mask::REGISTERED | mask::ACTIVE;
            let before = mask::INACTIVE | mask::USER_EVENT | mask::WRITABILITY;
            let is_hurried = self.core.lp.gives_up_channels() || self.core.shared.serves_another();
            let messages = match is_hurried {
                true => mask::READ | mask::READ_COMPLETE,
                false => 0,
            };
            self.core
                .nodes
                .clear_mask(self.index(), bit | begun | before | messages);
        }
    }

    /// A context for calling an inner handler from this one's callbacks: what the inner one leaves to the default
    /// is not learned for the node.
    pub fn delegate(&mut self) -> Context<'_> {
        Context {
            core: self.core,
            slab: &[],
            node: self.node,
        }
    }

    // ---- inbound, to the next handler

    /// Pass `channel_registered` on.
    pub fn fire_channel_registered(&mut self) {
        self.core.emit_from(Inbound::Registered, self.node);
    }

    /// Pass `channel_unregistered` on.
    pub fn fire_channel_unregistered(&mut self) {
        self.core.emit_from(Inbound::Unregistered, self.node);
    }

    /// Pass `channel_active` on.
    pub fn fire_channel_active(&mut self) {
        self.core.emit_from(Inbound::Active, self.node);
    }

    /// Pass `channel_inactive` on.
    pub fn fire_channel_inactive(&mut self) {
        self.core.emit_from(Inbound::Inactive, self.node);
    }

    /// Hand a message to the next handler.
    #[inline]
    pub fn fire_channel_read(&mut self, msg: impl IntoMessage) {
        self.core
            .emit_message_from(Inbound::Read, self.node, msg.into_message());
    }

    /// Pass the end of a batch of reads on.
    #[inline]
    pub fn fire_channel_read_complete(&mut self) {
        self.core.emit_from(Inbound::ReadComplete, self.node);
    }

    /// Hand a user event to the next handler.
    pub fn fire_user_event_triggered(&mut self, event: Message) {
        self.core
            .emit_message_from(Inbound::UserEvent, self.node, event);
    }

    /// Pass a change of writability on.
    pub fn fire_channel_writability_changed(&mut self) {
        self.core.emit_from(Inbound::Writability, self.node);
    }

    /// Hand an error to the next handler.
    pub fn fire_exception_caught(&mut self, cause: impl Into<Failure>) {
        self.core
            .emit_event(Event::Exception(self.index(), cause.into()));
    }

    // ---- outbound, to the previous handler

    /// Write a message; nobody waits for the result. A failure is counted and reported once per channel.
    #[inline(always)]
    pub fn write(&mut self, msg: impl IntoMessage) {
        in_place::keep(Core::op_write_along, self, msg, Promise::void());
    }

    /// Write a message and settle `promise` with the result.
    #[inline(always)]
    pub fn write_with(&mut self, msg: impl IntoMessage, promise: Promise) {
        in_place::keep(Core::op_write_along, self, msg, promise);
    }

    /// Write a message; the future tells when it was handed to the kernel. It says nothing before somebody flushes.
    pub fn write_future(&mut self, msg: impl IntoMessage) -> ChannelFuture {
        let (promise, future) = self.core.new_future();
        self.core
            .op_write(self.index(), msg.into_message(), promise);
        future
    }

    /// Send what was written. The call into the kernel is made when this callback has returned, before anything else is
    /// delivered: what takes long belongs behind it, into a task or [`after`](Self::after).
    ///
    /// It is made before this returns where a promise of the writes is somebody's, or the channel was not writable, so
    /// that its outcome can be looked at. Nothing that is asked for later overtakes it: no close, no end of the output, no
    /// option of the transport, no other peer.
    #[inline]
    pub fn flush(&mut self) {
        Core::op_flush_along(self);
    }

    /// Write and flush; nobody waits for the result, as with [`write`](Self::write).
    #[inline]
    pub fn write_and_flush(&mut self, msg: impl IntoMessage) {
        self.write(msg);
        self.flush();
    }

    /// Write and flush; the future tells when the message was handed to the kernel. Netty's `ctx.writeAndFlush(msg)`.
    ///
    /// | | flushes | tells |
    /// |---|---|---|
    /// | [`write`](Self::write) | no | nobody |
    /// | [`write_future`](Self::write_future) | no | its future |
    /// | [`write_and_flush`](Self::write_and_flush) | yes | nobody |
    /// | `write_and_flush_future` | yes | its future |
    ///
    /// It flushes though the write has failed. As with every [`flush`](Self::flush) behind a promise that is somebody's, the
    /// transport is called before this returns: if no handler kept the message and the kernel took all of it, the future is
    /// done by then. (Not on another group's loop, from where both travel.)
    pub fn write_and_flush_future(&mut self, msg: impl IntoMessage) -> ChannelFuture {
        let future = self.write_future(msg);
        self.flush();
        future
    }

    /// Ask for one read, where auto-read is off.
    #[inline]
    pub fn read(&mut self) {
        Core::op_read_along(self);
    }

    /// Close the channel. What was read before is delivered all the same, up to `channel_inactive`: the other messages of a
    /// packet still come to this handler, with [`is_active`](Self::is_active) false.
    pub fn close(&mut self) {
        self.core.op_close(self.index(), Promise::void());
    }

    /// Close the channel and settle `promise`.
    pub fn close_with(&mut self, promise: Promise) {
        if self.core.admit(&promise) {
            self.core.op_close(self.index(), promise);
        }
    }

    /// Disconnect; a close where the transport can't.
    pub fn disconnect(&mut self, promise: Promise) {
        if self.core.admit(&promise) {
            self.core.op_disconnect(self.index(), promise);
        }
    }

    /// Bind to a local address.
    pub fn bind(&mut self, local: impl Into<Address>, promise: Promise) {
        if self.core.admit(&promise) {
            self.core.op_bind(self.index(), local.into(), promise);
        }
    }

    /// Connect to a remote address.
    pub fn connect(
        &mut self,
        remote: impl Into<Address>,
        local: Option<Address>,
        promise: Promise,
    ) {
        if self.core.admit(&promise) {
            self.core
                .op_connect(self.index(), remote.into(), local, promise);
        }
    }

    // ---- coming back

    /// Have `after(key)` called when everything emitted in this callback has been handled.
    pub fn after(&mut self, key: u64) {
        self.core.emit_tail(Event::After(self.index(), key));
    }

    /// Have `resume` called when everything emitted was handled and reading is wanted. Asking twice is asking once.
    pub fn resume(&mut self) {
        self.core.ask_for_resume(self.node);
    }

    /// Have `timer(key)` called after `delay`, unless the handler is gone by then. Never early. Allocates nothing.
    pub fn timer(&mut self, delay: Duration, key: u64) -> TimerKey {
        self.core.handler_timer(self.index(), delay, key)
    }

    /// Cancel a timer. False if it has run or was cancelled.
    pub fn cancel_timer(&mut self, timer: TimerKey) -> bool {
        self.core.lp.cancel_timer(timer)
    }

    /// Move a timer so that it is due `delay` from now. False if it has run or was cancelled.
    pub fn move_timer(&mut self, timer: TimerKey, delay: Duration) -> bool {
        self.core.lp.move_timer(timer, self.core.lp.now() + delay)
    }

    /// Asks whether there is something for this channel that its loop has not seen to: bytes, an end or an error that lie in
    /// the kernel, or room for what waits to be sent. If so `timer(key)` is called once that was dealt with, and this is true.
    ///
    /// For a `timer` that is about to take silence for a fault. A loop that a task or another channel has held comes to its
    /// timers before it has asked for everything; a peer is not to be blamed for that. Ask once, and decide when called back.
    /// It costs a system call.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidegate::{Context, Handler, HandlerResult, Message};
    ///
    /// const OVER: u64 = 0;
    /// const SURELY_OVER: u64 = 1;
    ///
    /// /// Waits so long for the first bytes.
    /// struct Impatient(Duration, bool);
    ///
    /// impl Handler for Impatient {
    ///     fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
    ///         ctx.timer(self.0, OVER);
    ///         ctx.fire_channel_active();
    ///         Ok(())
    ///     }
    ///
    ///     fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
    ///         self.1 = true;
    ///         ctx.fire_channel_read(msg);
    ///         Ok(())
    ///     }
    ///
    ///     fn timer(&mut self, ctx: &mut Context<'_>, key: u64) -> HandlerResult {
    ///         if !self.1 && !(key == OVER && ctx.catch_up(SURELY_OVER)) {
    ///             ctx.close();
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn catch_up(&mut self, key: u64) -> bool {
        self.core.catch_up(self.index(), key)
    }

    /// The loop's time as of its last reading: since the phase of its turn began, or newer. Costs a load; for
    /// remembering when something happened.
    #[inline]
    pub fn now(&self) -> Time {
        self.core.lp.cached_now()
    }

    /// Makes a message ready to be kept, for handlers that let messages wait. A `BytesMut` of less than 32 KiB is copied, and
    /// so is a `Bytes` of less that lies in memory which this loop has received into: few bytes would hold on to a block of
    /// 256 KiB for as long as they wait. Everything else is given back as it is; the type stays the same in any case.
    ///
    /// A message that is passed on within the callback needs no such thing, and what was written to the channel is seen to
    /// there.
    ///
    /// ```
    /// use std::collections::VecDeque;
    /// use tidegate::{Context, EmbeddedChannel, Handler, HandlerResult, Message, Promise};
    ///
    /// /// Sends nothing before the peer has greeted.
    /// #[derive(Default)]
    /// struct Polite(VecDeque<(Message, Promise)>, bool);
    ///
    /// impl Handler for Polite {
    ///     fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
    ///         if self.1 {
    ///             ctx.write_with(msg, promise);
    ///         } else {
    ///             self.0.push_back((ctx.compact(msg), promise));
    ///         }
    ///         Ok(())
    ///     }
    ///
    ///     fn channel_read(&mut self, ctx: &mut Context<'_>, _greeting: Message) -> HandlerResult {
    ///         self.1 = true;
    ///         for (msg, promise) in self.0.drain(..) {
    ///             ctx.write_with(msg, promise);
    ///         }
    ///         ctx.flush();
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let mut channel = EmbeddedChannel::new(|pipeline| pipeline.add_last(Polite::default()))?;
    /// assert!(!channel.write_outbound("after you")?);
    /// channel.write_inbound("hello")?;
    /// assert_eq!(channel.read_outbound().unwrap().as_bytes(), Some(&b"after you"[..]));
    /// # Ok::<(), tidegate::Failure>(())
    /// ```
    pub fn compact(&self, msg: Message) -> Message {
        buffer::compact(msg, &self.core.lp.arena().borrow())
    }

    /// A promise of this channel, for its operations. For work that ends with a value:
    /// [`new_task_promise`](Self::new_task_promise).
    pub fn new_promise(&self) -> Promise {
        self.core.new_promise()
    }

    /// The two ends of an operation that ends with a value, whose listeners run on this handler's loop:
    /// [`EventLoop::new_promise`].
    pub fn new_task_promise<T: Send + 'static>(&self) -> (TaskPromise<T>, TaskFuture<T>) {
        self.event_loop().new_promise()
    }

    /// Have `write_done(key, result)` called when `promise` is done. False for a void promise, which never tells.
    pub fn notify(&mut self, promise: &Promise, key: u64) -> bool {
        self.core.notify(self.index(), promise, key)
    }

    /// A handle of this handler that other threads can use: `ctx.handle::<Self>()`.
    pub fn handle<H: Any>(&self) -> HandlerHandle<H> {
        self.core.handler_handle(self.index())
    }

    /// A handle of this handler for use on this loop.
    pub fn local_handle<H: Any>(&self) -> LocalHandle<H> {
        LocalHandle::new(
            self.core.me.clone(),
            self.core.nodes.id(self.index()),
            PhantomData,
        )
    }

    // ---- the channel

    /// The pipeline, for edits and look-ups.
    pub fn pipeline(&mut self) -> Pipeline<'_> {
        Pipeline::new(self.core)
    }

    /// The channel's handle.
    pub fn channel(&self) -> Channel {
        self.core.channel()
    }

    /// The loop on which this handler runs.
    pub fn event_loop(&self) -> &EventLoop {
        self.core.lp.handle()
    }

    /// This handler's name in the pipeline.
    pub fn name(&self) -> String {
        self.core.nodes.name(self.index())
    }

    /// True once this handler was taken out.
    pub fn is_removed(&self) -> bool {
        self.core.is_removed(self.index())
    }

    /// Whether writing more is welcome: below the high watermark and no user-defined bit cleared.
    ///
    /// A handler that stops because of false should [`flush`](Self::flush) first. Bytes that were written and not
    /// flushed count, and nobody else sends them: the channel would stay unwritable, and the
    /// `channel_writability_changed` that the handler waits for would never come.
    #[inline]
    pub fn is_writable(&self) -> bool {
        self.core.is_writable()
    }

    /// How many more bytes may be written before the channel turns unwritable; 0 if it is.
    pub fn bytes_before_unwritable(&self) -> usize {
        self.core.bytes_before_unwritable()
    }

    /// How many bytes must be sent before the channel turns writable; 0 if it is.
    pub fn bytes_before_writable(&self) -> usize {
        self.core.bytes_before_writable()
    }

    /// Where sending stands: what waits, and whether the transport gets on. Only on the channel's own loop; a handler on
    /// another one sees nothing waiting.
    pub fn outbound_mark(&self) -> OutboundMark {
        self.core.outbound_mark()
    }

    /// Bytes that are still to be sent, flushed or not: what the peer waits for. Of file regions all that is left of them, of
    /// values that are no bytes their estimated size; without the overhead of entries. It looks at each message that waits. As
    /// [`outbound_mark`](Self::outbound_mark), only on the channel's own loop.
    pub fn unsent_bytes(&self) -> u64 {
        let outbound = self.core.outbound.hold();
        outbound
            .as_deref()
            .map_or(0, |outbound| outbound.unsent().0)
    }

    /// Bytes that wait to be sent, flushed or not, as they count for the water marks: with the overhead of each entry, and
    /// without what file regions have in their files. As [`outbound_mark`](Self::outbound_mark), only on the channel's own loop.
    pub fn pending_bytes(&self) -> usize {
        self.core.pending_bytes()
    }

    /// Reports that a write failed whose promise was void: counted, and told once per channel. For handlers that write
    /// on with a promise of their own in the place of a void one.
    pub fn count_unobserved_failure(&mut self, error: &Error) {
        self.core.count_void_failure(&self.name(), error);
    }

    /// Sets or clears one of the user-defined writability bits (1 to 31). From another group's loop it travels to the
    /// channel.
    pub fn set_user_writability(&mut self, index: u32, writable: bool) -> Result<(), Error> {
        self.core.set_user_writability(index, writable)
    }

    /// Whether the input ended before its end: this side has closed it or shut it, or the connection broke, and the peer had
    /// not ended it before. For who makes something of the last bytes, in `channel_inactive` or at
    /// [`ChannelInputShutdown`](super::events::ChannelInputShutdown): they are a part of something then.
    pub fn input_was_cut(&self) -> bool {
        self.core.face().input_was_cut()
    }

    /// True while the channel is connected or bound.
    pub fn is_active(&self) -> bool {
        self.core.is_active()
    }

    /// Whether reading goes on by itself.
    pub fn auto_read(&self) -> bool {
        self.core.auto_read()
    }

    /// Switch auto-read. Off: the message in hand is the last until [`read`](Self::read). On: asks for a read.
    ///
    /// From a handler on another group's loop it travels to the channel like any operation; messages that are on their
    /// way meanwhile still arrive.
    pub fn set_auto_read(&mut self, on: bool) {
        self.core.set_auto_read(on);
    }

    /// Set an option on the live channel.
    ///
    /// # Errors
    /// What the option or the transport says; [`ErrorKind::Unsupported`] on another group's loop, except for `AUTO_READ`.
    pub fn set_option<T: super::options::OptionType>(
        &mut self,
        option: ChannelOption<T>,
        value: T,
    ) -> Result<(), Error> {
        self.core.set_option(option.id(), &option.erase(value)?)
    }

    /// Read an option of the live channel.
    ///
    /// # Errors
    /// As [`set_option`](Self::set_option).
    pub fn option<T: super::options::OptionType>(
        &self,
        option: ChannelOption<T>,
    ) -> Result<T, Error> {
        option
            .restore(&self.core.option(option.id())?)
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidArgument,
                    format!("option {} has another type", option.name()),
                )
            })
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("channel", &self.core.shared.id())
            .field("handler", &self.name())
            .finish()
    }
}
