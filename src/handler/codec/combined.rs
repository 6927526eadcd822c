//! Two directions in one handler: [`Codec`] of a type that decodes and encodes, [`Combined`] of two handlers.

use std::any::{Any, type_name};
use std::fmt;
use std::marker::PhantomData;

use super::cumulation::Cumulator;
use super::decoding::Decoding;
use super::message_to_byte::{Encodes, encode_and_write};
use crate::buffer::Message;
use crate::channel::events::ChannelInputShutdown;
use crate::channel::{Address, Context, Handler, HandlerResult};
use crate::codec::{Decoder, Encoder};
use crate::error::{Error, Failure};
use crate::future::Promise;

/// A codec in both directions: what comes in is decoded as by [`ByteToMessage`](super::ByteToMessage), what is written is
/// encoded as by [`MessageToByte`](super::MessageToByte).
///
/// For types that are decoder and encoder at once and so remember in one direction what the other has seen.
/// [`Combined`] is for a decoder and an encoder that are two.
pub struct Codec<C, Items> {
    codec: C,
    decoding: Decoding,
    items: PhantomData<fn(Items)>,
}

impl<C, I> Codec<C, (I,)>
where
    C: Decoder + Encoder<I>,
    I: Any + Send,
{
    /// A handler of this codec, which encodes one type.
    pub fn new(codec: C) -> Self {
        Self::of(codec)
    }
}

impl<C, Items> Codec<C, Items>
where
    C: Decoder,
    Items: Encodes<C>,
{
    /// A handler of this codec, which encodes the types of a tuple: `Codec::<_, (Bytes, String)>::of(codec)`.
    pub fn of(codec: C) -> Self {
        Self {
            codec,
            decoding: Decoding::default(),
            items: PhantomData,
        }
    }

    /// How inputs are put together. Default [`Cumulator::Merge`].
    #[must_use]
    pub fn cumulator(mut self, cumulator: Cumulator) -> Self {
        self.decoding.set_cumulator(cumulator);
        self
    }

    /// As [`ByteToMessage::set_single_decode`](super::ByteToMessage::set_single_decode).
    pub fn set_single_decode(&mut self, yes: bool) {
        self.decoding.set_single_decode(yes);
    }

    /// As [`ByteToMessage::idle_messages_max`](super::ByteToMessage::idle_messages_max).
    #[must_use]
    pub fn idle_messages_max(mut self, count: u32) -> Self {
        self.decoding.set_idle_messages_max(count);
        self
    }

    /// How many bytes were received and not decoded yet.
    pub fn pending_bytes(&self) -> usize {
        self.decoding.pending_bytes()
    }

    /// The codec.
    pub fn codec(&self) -> &C {
        &self.codec
    }

    /// The codec, to be changed.
    pub fn codec_mut(&mut self) -> &mut C {
        &mut self.codec
    }
}

impl<C, Items> Handler for Codec<C, Items>
where
    C: Decoder + 'static,
    C::Item: Any + Send,
    Items: Encodes<C> + 'static,
{
    fn wrapped(&mut self) -> Option<(&mut dyn Any, &'static str)> {
        Some((&mut self.codec, type_name::<C>()))
    }

    fn into_wrapped(self: Box<Self>) -> Option<Box<dyn Any>> {
        Some(Box::new(self.codec))
    }

    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.decoding.removed(ctx);
        Ok(())
    }

    #[inline]
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.decoding.channel_read(&mut self.codec, ctx, msg);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.decoding.channel_read_complete(ctx);
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.decoding.end(&mut self.codec, ctx);
        ctx.fire_channel_inactive();
        Ok(())
    }

    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        if event.is::<ChannelInputShutdown>() {
            self.decoding.end(&mut self.codec, ctx);
        }
        ctx.fire_user_event_triggered(event);
        Ok(())
    }

    #[inline]
    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        encode_and_write::<C, Items>(&mut self.codec, ctx, msg, promise)
    }

    #[inline]
    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.decoding.resume(&mut self.codec, ctx);
        Ok(())
    }
}

impl<C: fmt::Debug, Items> fmt::Debug for Codec<C, Items> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec")
            .field("codec", &self.codec)
            .finish_non_exhaustive()
    }
}

/// Two handlers in one place: inbound events go to the first, operations to the second.
///
/// ```
/// use tidegate::handler::codec::Combined;
/// use tidegate::{Context, EmbeddedChannel, Handler, HandlerResult, Message, Promise};
///
/// struct In;
/// impl Handler for In {
///     fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
///         ctx.write_and_flush(msg);
///         Ok(())
///     }
/// }
///
/// struct Out;
/// impl Handler for Out {
///     fn write(&mut self, ctx: &mut Context<'_>, _: Message, promise: Promise) -> HandlerResult {
///         ctx.write_with("written", promise);
///         Ok(())
///     }
/// }
///
/// let mut channel = EmbeddedChannel::new(|pipeline| pipeline.add_last(Combined::new(In, Out)))?;
/// channel.write_inbound("read")?;
/// // What the inbound half writes starts at this place, as from any handler: it does not meet the outbound half.
/// assert_eq!(channel.read_outbound().unwrap().as_bytes(), Some(&b"read"[..]));
/// channel.write_outbound("anything")?;
/// assert_eq!(channel.read_outbound().unwrap().as_bytes(), Some(&b"written"[..]));
/// # Ok::<(), tidegate::Failure>(())
/// ```
///
/// Errors go to the inbound half alone (in Netty they pass the outbound one too). Both halves are told of their addition and
/// removal. `after`, `timer`, `write_done` and `resume` belong to the place and not to
/// a half: both are called, so two halves that come back by keys use different ones.
#[derive(Debug)]
pub struct Combined<In, Out> {
    inbound: In,
    outbound: Out,
}

impl<In: Handler, Out: Handler> Combined<In, Out> {
    /// One handler of two.
    pub fn new(inbound: In, outbound: Out) -> Self {
        Self { inbound, outbound }
    }

    /// The half that sees inbound events.
    pub fn inbound(&mut self) -> &mut In {
        &mut self.inbound
    }

    /// The half that sees operations.
    pub fn outbound(&mut self) -> &mut Out {
        &mut self.outbound
    }
}

/// What one half leaves to the default is learned for the place: no other half would see it.
impl<In: Handler, Out: Handler> Handler for Combined<In, Out> {
    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.inbound.handler_added(ctx)?;
        self.outbound.handler_added(ctx)
    }

    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let inbound = self.inbound.handler_removed(ctx);
        self.outbound.handler_removed(ctx)?;
        inbound
    }

    fn channel_registered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.inbound.channel_registered(ctx)
    }

    fn channel_unregistered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.inbound.channel_unregistered(ctx)
    }

    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.inbound.channel_active(ctx)
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.inbound.channel_inactive(ctx)
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.inbound.channel_read(ctx, msg)
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.inbound.channel_read_complete(ctx)
    }

    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        self.inbound.user_event_triggered(ctx, event)
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.inbound.channel_writability_changed(ctx)
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        self.inbound.exception_caught(ctx, cause)
    }

    fn bind(&mut self, ctx: &mut Context<'_>, local: Address, promise: Promise) -> HandlerResult {
        self.outbound.bind(ctx, local, promise)
    }

    fn connect(
        &mut self,
        ctx: &mut Context<'_>,
        remote: Address,
        local: Option<Address>,
        promise: Promise,
    ) -> HandlerResult {
        self.outbound.connect(ctx, remote, local, promise)
    }

    fn disconnect(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
        self.outbound.disconnect(ctx, promise)
    }

    fn close(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
        self.outbound.close(ctx, promise)
    }

    fn read(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.outbound.read(ctx)
    }

    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        self.outbound.write(ctx, msg, promise)
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.outbound.flush(ctx)
    }

    fn after(&mut self, ctx: &mut Context<'_>, key: u64) -> HandlerResult {
        self.inbound.after(ctx, key)?;
        self.outbound.after(ctx, key)
    }

    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.inbound.resume(ctx)?;
        self.outbound.resume(ctx)
    }

    fn timer(&mut self, ctx: &mut Context<'_>, key: u64) -> HandlerResult {
        self.inbound.timer(ctx, key)?;
        self.outbound.timer(ctx, key)
    }

    fn write_done(
        &mut self,
        ctx: &mut Context<'_>,
        key: u64,
        result: Result<(), Error>,
    ) -> HandlerResult {
        self.inbound.write_done(ctx, key, result.clone())?;
        self.outbound.write_done(ctx, key, result)
    }
}
