//! [`MessageToByte`]: an encoder as a handler.

use std::any::{Any, type_name};
use std::fmt;
use std::marker::PhantomData;

use bytes::{Bytes, BytesMut};

use super::room;
use crate::buffer::Message;
use crate::channel::{Context, Handler, HandlerResult, IntoHandler};
use crate::codec::{Base64Encoder, Encoder, LineEncoder, StringEncoder};
use crate::error::Failure;
use crate::future::Promise;

/// Encodes what is written, if it is of the encoder's type; other messages pass.
///
/// The promise of a message is that of its bytes. A message that the encoder refuses fails its promise with the encoder's
/// error, and nothing of it is written. A message of no bytes writes an empty buffer, so that its promise
/// is done in its turn.
///
/// `Items` is a tuple of the types that are encoded. [`new`](Self::new) is for encoders of one type, which need not
/// be named; [`of`](Self::of) for those of several. Where one of them is `BytesMut` or `Bytes`, the other one is taken too
/// ([`Message::into_value`]); where both are, each is taken as it is.
///
/// ```
/// use bytes::{BufMut, Bytes, BytesMut};
/// use tidegate::codec::{Encoder, LineEncoder};
/// use tidegate::handler::codec::MessageToByte;
/// use tidegate::{EmbeddedChannel, Error, Message};
///
/// struct Numbers;
///
/// impl Encoder<u16> for Numbers {
///     type Error = Error;
///
///     fn encode(&mut self, item: u16, dst: &mut BytesMut) -> Result<(), Error> {
///         dst.put_u16(item);
///         Ok(())
///     }
/// }
///
/// let mut channel = EmbeddedChannel::new(|pipeline| {
///     pipeline.add_last(MessageToByte::new(Numbers))
/// })?;
/// channel.write_outbound(Message::new(258_u16))?;
/// assert_eq!(channel.read_outbound().unwrap().as_bytes(), Some(&[1, 2][..]));
///
/// // The same, said in full.
/// MessageToByte::<_, (u16,)>::of(Numbers);
/// // An encoder of several types: `new` could not say which (E0283).
/// MessageToByte::<_, (Bytes, String)>::of(LineEncoder::new());
/// # Ok::<(), tidegate::Failure>(())
/// ```
pub struct MessageToByte<E, Items> {
    encoder: E,
    items: PhantomData<fn(Items)>,
}

impl<E, I> MessageToByte<E, (I,)>
where
    E: Encoder<I>,
    I: Any + Send,
{
    /// A handler of this encoder, which encodes one type. For one of several types it does not compile ("type annotations
    /// needed"): name them with [`of`](Self::of).
    pub fn new(encoder: E) -> Self {
        Self::of(encoder)
    }
}

impl<E, Items> MessageToByte<E, Items>
where
    Items: Encodes<E>,
{
    /// A handler of this encoder for the types of a tuple: `MessageToByte::<_, (Bytes, String)>::of(encoder)`.
    pub fn of(encoder: E) -> Self {
        Self {
            encoder,
            items: PhantomData,
        }
    }

    /// The encoder.
    pub fn encoder(&self) -> &E {
        &self.encoder
    }

    /// The encoder, to be changed.
    pub fn encoder_mut(&mut self) -> &mut E {
        &mut self.encoder
    }
}

impl<E, Items> Handler for MessageToByte<E, Items>
where
    E: 'static,
    Items: Encodes<E> + 'static,
{
    fn wrapped(&mut self) -> Option<(&mut dyn Any, &'static str)> {
        Some((&mut self.encoder, type_name::<E>()))
    }

    fn into_wrapped(self: Box<Self>) -> Option<Box<dyn Any>> {
        Some(Box::new(self.encoder))
    }

    #[inline]
    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        encode_and_write::<E, Items>(&mut self.encoder, ctx, msg, promise)
    }
}

impl<E: fmt::Debug, Items> fmt::Debug for MessageToByte<E, Items> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageToByte")
            .field("encoder", &self.encoder)
            .finish_non_exhaustive()
    }
}

/// What `write` of a handler with an encoder does. An `Err` fails the promise.
#[inline]
pub(super) fn encode_and_write<E, Items: Encodes<E>>(
    encoder: &mut E,
    ctx: &mut Context<'_>,
    msg: Message,
    promise: Promise,
) -> HandlerResult {
    match Items::encode(encoder, msg) {
        Ok(encoded) => {
            ctx.write_with(encoded?, promise);
        }
        Err(other) => ctx.write_with(other, promise),
    }
    Ok(())
}

/// Tuples of types that an encoder encodes: `(A,)` up to `(A, B, C, D)`.
pub trait Encodes<E>: sealed::Sealed {
    /// The bytes of a message, or what the encoder said; `Err` with the message if it is of no type of the tuple.
    #[doc(hidden)]
    fn encode(encoder: &mut E, msg: Message) -> Result<Result<Message, Failure>, Message>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! encodes {
    ($($item:ident),+) => {
        impl<$($item),+> sealed::Sealed for ($($item,)+) {}

        impl<E, $($item),+> Encodes<E> for ($($item,)+)
        where
            $(E: Encoder<$item>, $item: Any + Send),+
        {
            #[inline]
            fn encode(encoder: &mut E, msg: Message) -> Result<Result<Message, Failure>, Message> {
                $(
                    let msg = match msg.downcast::<$item>() {
                        Ok(item) => return Ok(encode_item(encoder, item)),
                        Err(other) => other,
                    };
                )+
                if msg.as_bytes().is_none() {
                    return Err(msg);
                }
                // Bytes in the form that is not named.
                $(
                    let msg = match msg.into_value::<$item>() {
                        Ok(item) => return Ok(encode_item(encoder, item)),
                        Err(other) => other,
                    };
                )+
                Err(msg)
            }
        }
    };
}

impl<A> sealed::Sealed for (A,) {}

/// The one type; of the two types of bytes either, since encoders give `BytesMut` whatever the next one is for.
impl<E, A> Encodes<E> for (A,)
where
    E: Encoder<A>,
    A: Any + Send,
{
    #[inline]
    fn encode(encoder: &mut E, msg: Message) -> Result<Result<Message, Failure>, Message> {
        match msg.into_value::<A>() {
            Ok(item) => Ok(encode_item(encoder, item)),
            Err(other) => Err(other),
        }
    }
}

encodes!(A, B);
encodes!(A, B, C);
encodes!(A, B, C, D);

#[inline]
fn encode_item<E: Encoder<I>, I>(encoder: &mut E, item: I) -> Result<Message, Failure> {
    room::encode(|dst| encoder.encode(item, dst))
        .map(Message::from)
        .map_err(Into::into)
}

/// Marks the conversion of an encoder of this library into a [`MessageToByte`].
///
/// There is none for all encoders: nothing would say which of its types is meant by one that encodes several.
#[derive(Debug)]
pub enum ForEncoder {}

macro_rules! encoder_of {
    ($encoder:ty: $($item:ty),+) => {
        #[diagnostic::do_not_recommend]
        impl IntoHandler<ForEncoder> for $encoder {
            type Handler = MessageToByte<$encoder, ($($item,)+)>;

            fn into_handler(self) -> Self::Handler {
                MessageToByte::of(self)
            }
        }
    };
}

encoder_of!(LineEncoder: String, BytesMut, Bytes);
encoder_of!(StringEncoder: String);
encoder_of!(Base64Encoder: BytesMut, Bytes);
