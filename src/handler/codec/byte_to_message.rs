//! [`ByteToMessage`]: a decoder as a handler. Its work is in `decoding`.

use std::any::{Any, type_name};

use super::cumulation::Cumulator;
use super::decoding::Decoding;
use crate::buffer::Message;
use crate::channel::events::ChannelInputShutdown;
use crate::channel::{Context, Handler, HandlerResult, IntoHandler};
use crate::codec::Decoder;

/// Makes messages of the bytes that come in; messages that are no bytes pass, in order.
///
/// A decoder given to `pipeline.add_last(..)` becomes one of these, also if it is an encoder as well: what is written is
/// then left alone ([`Codec`](super::Codec) does both). The pipeline calls it by the decoder's type, and finds it by that as well
/// as by its own. By hand it is made to set what differs:
///
/// ```
/// use bytes::{Buf, BytesMut};
/// use tidegate::codec::Decoder;
/// use tidegate::handler::codec::{ByteToMessage, Cumulator};
/// use tidegate::{EmbeddedChannel, Error};
///
/// struct Numbers;
///
/// impl Decoder for Numbers {
///     type Item = u16;
///     type Error = Error;
///
///     fn decode(&mut self, src: &mut BytesMut) -> Result<Option<u16>, Error> {
///         Ok((src.len() >= 2).then(|| src.get_u16()))
///     }
/// }
///
/// let mut channel = EmbeddedChannel::new(|pipeline| {
///     pipeline.add_last(ByteToMessage::new(Numbers).cumulator(Cumulator::Composite))
/// })?;
/// channel.write_inbound(&[0, 1, 0])?;
/// channel.write_inbound(&[2])?;
/// assert_eq!(channel.read_inbound_as::<u16>(), Some(1));
/// assert_eq!(channel.read_inbound_as::<u16>(), Some(2));
/// # Ok::<(), tidegate::Failure>(())
/// ```
///
/// Messages leave one at a time: the handlers after this one have dealt with one before the next is decoded, and while
/// reading is not wanted none is. Where the handler is removed the bytes that are left go on as they are; where it is
/// replaced they go to the new handler.
///
/// Errors of the decoder reach the next handler's `exception_caught` between the messages before and after them. When the
/// peer ends its input with bytes that make no message, that is an error too
/// ([`Truncated`](crate::error::ErrorKind::Truncated), of the peer); Netty drops them without a word. A reset, or a close of this
/// side, is no end of the input: `decode_eof` is not asked then, and a part of a message is dropped.
#[derive(Debug)]
pub struct ByteToMessage<D> {
    decoder: D,
    decoding: Decoding,
}

impl<D> ByteToMessage<D> {
    /// A handler of this decoder.
    pub fn new(decoder: D) -> Self {
        Self {
            decoder,
            decoding: Decoding::default(),
        }
    }

    /// How inputs are put together. Default [`Cumulator::Merge`].
    #[must_use]
    pub fn cumulator(mut self, cumulator: Cumulator) -> Self {
        self.decoding.set_cumulator(cumulator);
        self
    }

    /// See [`set_single_decode`](Self::set_single_decode).
    #[must_use]
    pub fn single_decode(mut self, yes: bool) -> Self {
        self.decoding.set_single_decode(yes);
        self
    }

    /// How many messages in a row the decoder may give without taking bytes; after one more it counts as broken
    /// ([`NoProgress`](crate::error::ErrorKind::NoProgress)). Default 0, as in Netty. For decoders that
    /// make several messages of the same bytes.
    #[must_use]
    pub fn idle_messages_max(mut self, count: u32) -> Self {
        self.decoding.set_idle_messages_max(count);
        self
    }

    /// With `true`, each input gives at most one message, and what is left waits for the next input or for the removal of
    /// the handler. Default false.
    ///
    /// Removing or replacing the handler on its first message needs no such care here: messages leave one at a time.
    pub fn set_single_decode(&mut self, yes: bool) {
        self.decoding.set_single_decode(yes);
    }

    /// Whether each input gives at most one message.
    pub fn is_single_decode(&self) -> bool {
        self.decoding.is_single_decode()
    }

    /// How many bytes were received and not decoded yet.
    pub fn pending_bytes(&self) -> usize {
        self.decoding.pending_bytes()
    }

    /// The decoder.
    pub fn decoder(&self) -> &D {
        &self.decoder
    }

    /// The decoder, to be changed.
    pub fn decoder_mut(&mut self) -> &mut D {
        &mut self.decoder
    }
}

impl<D> Handler for ByteToMessage<D>
where
    D: Decoder + 'static,
    D::Item: Any + Send,
{
    fn wrapped(&mut self) -> Option<(&mut dyn Any, &'static str)> {
        Some((&mut self.decoder, type_name::<D>()))
    }

    fn into_wrapped(self: Box<Self>) -> Option<Box<dyn Any>> {
        Some(Box::new(self.decoder))
    }

    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.decoding.removed(ctx);
        Ok(())
    }

    #[inline]
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.decoding.channel_read(&mut self.decoder, ctx, msg);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.decoding.channel_read_complete(ctx);
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.decoding.end(&mut self.decoder, ctx);
        ctx.fire_channel_inactive();
        Ok(())
    }

    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        if event.is::<ChannelInputShutdown>() {
            self.decoding.end(&mut self.decoder, ctx);
        }
        ctx.fire_user_event_triggered(event);
        Ok(())
    }

    #[inline]
    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.decoding.resume(&mut self.decoder, ctx);
        Ok(())
    }
}

/// Marks the conversion of a decoder into a [`ByteToMessage`].
#[derive(Debug)]
pub enum ForDecoder {}

impl<D> IntoHandler<ForDecoder> for D
where
    D: Decoder + 'static,
    D::Item: Any + Send,
{
    type Handler = ByteToMessage<D>;

    fn into_handler(self) -> ByteToMessage<D> {
        ByteToMessage::new(self)
    }
}
