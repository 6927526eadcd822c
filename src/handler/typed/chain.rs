//! [`chain`]: stages whose neighbours agree on the types of their messages, checked by the compiler.
//!
//! A [`Chain`] only remembers two types while it is put together: what comes out of it on the way in, and what may be
//! written into it on the way out. In the end it adds ordinary handlers to an ordinary pipeline, which can be edited like
//! any other; the checks cost nothing at run time, and hold for the chain, not for what is done to the pipeline later.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;

use bytes::{Bytes, BytesMut};

use super::handler::{Typed, TypedHandler};
use crate::buffer::Message;
use crate::channel::{Context, Handler, HandlerResult, IntoHandler, Pipeline};
use crate::codec::{Decoder, Encoder, Prepender};
use crate::error::{Error, Failure};
use crate::handler::codec::{
    ByteToMessage, Codec, MessageToByte, MessageToMessageDecoder, Prepend, Transform, map_read,
    map_write,
};

/// Handlers put together with their types; see [`chain`].
///
/// `In` comes out of the last stage on the way in, `Out` may be written into it on the way out.
#[must_use = "a chain does nothing before it is installed"]
pub struct Chain<In, Out, S> {
    stages: S,
    types: PhantomData<fn(Out) -> In>,
}

/// A chain with one more stage.
pub type Longer<In, Out, S, H> = Chain<In, Out, (S, H)>;

/// A chain without stages: bytes come in as the transport read them (`BytesMut`), and bytes may be written.
///
/// ```
/// use bytes::BytesMut;
/// use tidegate::codec::{LengthFieldDecoder, LengthFieldPrepender};
/// use tidegate::handler::typed::chain;
/// use tidegate::{EmbeddedChannel, Failure};
///
/// struct Request(String);
///
/// let mut channel = EmbeddedChannel::new(|pipeline| {
///     chain()
///         .decode(LengthFieldDecoder::new(1024, 0, 2).strip(2))
///         .prepend(LengthFieldPrepender::new(2))
///         .map(|frame: BytesMut| String::from_utf8(frame.to_vec()).map(Request))
///         .map_write(|reply: String| Ok::<_, Failure>(reply.into()))
///         .serve(|request: Request| Ok::<_, Failure>(request.0.to_uppercase()))
///         .install(pipeline)
/// })?;
/// channel.write_inbound(&[0, 2, b'h', b'i'])?;
/// assert_eq!(channel.read_outbound().unwrap().as_bytes(), Some(&b"\0\x02HI"[..]));
/// # Ok::<(), Failure>(())
/// ```
///
/// A stage that does not take what the one before it gives is refused by the compiler:
///
/// ```compile_fail,E0277
/// use tidegate::codec::{LengthFieldDecoder, LineDecoder, StringDecoder};
/// use tidegate::handler::typed::chain;
///
/// chain()
///     .decode(StringDecoder::new(LineDecoder::new(80)))
///     .decode(LengthFieldDecoder::new(1024, 0, 2)); // takes bytes, not text
/// ```
pub fn chain() -> Chain<BytesMut, Bytes, End> {
    Chain::of(End(()))
}

impl<In, Out, S: Install> Chain<In, Out, S> {
    fn of(stages: S) -> Self {
        Self {
            stages,
            types: PhantomData,
        }
    }

    fn add<NewIn, NewOut, H: Handler>(self, handler: H) -> Longer<NewIn, NewOut, S, H> {
        Chain::of((self.stages, handler))
    }

    // ---- on the way in

    /// Bytes become what the decoder makes of them.
    pub fn decode<D>(self, decoder: D) -> Longer<D::Item, Out, S, ByteToMessage<D>>
    where
        In: IsBytes,
        D: Decoder + 'static,
        D::Item: Any + Send,
    {
        self.add(ByteToMessage::new(decoder))
    }

    /// Each message becomes what the closure makes of it. Its error reaches the next `exception_caught`.
    pub fn map<F, NewIn, E>(self, map: F) -> Longer<NewIn, Out, S, impl Handler>
    where
        F: FnMut(In) -> Result<NewIn, E> + 'static,
        In: Any + Send,
        NewIn: Any + Send,
        E: Into<Failure> + 'static,
    {
        self.add(map_read(map))
    }

    /// Each message becomes any number of others.
    pub fn transform<T>(self, transform: T) -> Longer<T::Out, Out, S, MessageToMessageDecoder<T>>
    where
        T: Transform<In = In> + 'static,
    {
        self.add(MessageToMessageDecoder::new(transform))
    }

    // ---- on the way out

    /// What the encoder encodes may be written from here on.
    pub fn encode<E, NewOut>(self, encoder: E) -> Longer<In, NewOut, S, MessageToByte<E, (NewOut,)>>
    where
        Out: IsBytes,
        E: Encoder<NewOut> + 'static,
        NewOut: Any + Send,
    {
        self.add(MessageToByte::new(encoder))
    }

    /// Each message of bytes that is written gets a header.
    pub fn prepend<P>(self, prepender: P) -> Longer<In, Out, S, Prepend<P>>
    where
        Out: IsBytes,
        P: Prepender + 'static,
    {
        self.add(Prepend::new(prepender))
    }

    /// What the closure takes may be written from here on. Its error fails the promise of the write.
    pub fn map_write<F, NewOut, E>(self, map: F) -> Longer<In, NewOut, S, impl Handler>
    where
        F: FnMut(NewOut) -> Result<Out, E> + 'static,
        Out: Any + Send,
        NewOut: Any + Send,
        E: Into<Failure> + 'static,
    {
        self.add(map_write(map))
    }

    // ---- both

    /// A codec for both ways: bytes become its items, and what it encodes may be written from here on.
    pub fn codec<C, NewOut>(self, codec: C) -> Longer<C::Item, NewOut, S, Codec<C, (NewOut,)>>
    where
        In: IsBytes,
        Out: IsBytes,
        C: Decoder + Encoder<NewOut> + 'static,
        C::Item: Any + Send,
        NewOut: Any + Send,
    {
        self.add(Codec::new(codec))
    }

    /// A handler that leaves messages what they are: logging, timeouts, anything untyped. The compiler takes your word.
    pub fn with<M, H: IntoHandler<M>>(self, handler: H) -> Longer<In, Out, S, H::Handler> {
        self.add(handler.into_handler())
    }

    // ---- the end

    /// A handler takes the messages.
    pub fn handle<T>(self, handler: T) -> Longer<In, Out, S, Typed<T>>
    where
        T: TypedHandler<In = In>,
    {
        self.add(Typed(handler))
    }

    /// Each message is answered by one: written at once, flushed when the batch of reads ends.
    pub fn serve<F, E>(self, answer: F) -> Longer<In, Out, S, Typed<impl TypedHandler>>
    where
        F: FnMut(In) -> Result<Out, E> + 'static,
        In: Any + Send,
        Out: Any + Send,
        E: Into<Failure> + 'static,
    {
        self.add(Typed(Serve {
            answer,
            types: PhantomData,
        }))
    }

    /// Adds the handlers at the end of a pipeline, in order.
    ///
    /// # Errors
    /// As [`Pipeline::add_last`].
    pub fn install(self, pipeline: &mut Pipeline<'_>) -> Result<(), Error> {
        self.stages.install(pipeline)
    }
}

impl<In, Out, S> fmt::Debug for Chain<In, Out, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").finish_non_exhaustive()
    }
}

/// The stages of a chain. Sealed.
pub trait Install: sealed::Sealed {
    #[doc(hidden)]
    fn install(self, pipeline: &mut Pipeline<'_>) -> Result<(), Error>;
}

/// No stages.
#[derive(Debug)]
pub struct End(());

impl Install for End {
    fn install(self, _: &mut Pipeline<'_>) -> Result<(), Error> {
        Ok(())
    }
}

impl<S: Install, H: Handler> Install for (S, H) {
    fn install(self, pipeline: &mut Pipeline<'_>) -> Result<(), Error> {
        self.0.install(pipeline)?;
        pipeline.add_last(self.1)
    }
}

/// What decoders take and encoders give: `Bytes` and `BytesMut`. Sealed.
#[diagnostic::on_unimplemented(
    message = "this stage needs bytes, but its neighbour has `{Self}`",
    label = "the stage before it gives, or takes, `{Self}`",
    note = "decoders and encoders stand next to the transport, or next to a stage of bytes; use `map`, `map_write` or `transform` for other messages"
)]
pub trait IsBytes: sealed::Sealed {}

impl IsBytes for Bytes {}
impl IsBytes for BytesMut {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for bytes::Bytes {}
    impl Sealed for bytes::BytesMut {}
    impl Sealed for super::End {}
    impl<S, H> Sealed for (S, H) {}
}

/// The handler behind [`Chain::serve`].
struct Serve<F, In, Out, E> {
    answer: F,
    types: PhantomData<fn(In) -> Result<Out, E>>,
}

impl<F, In, Out, E> TypedHandler for Serve<F, In, Out, E>
where
    F: FnMut(In) -> Result<Out, E> + 'static,
    In: Any + Send,
    Out: Any + Send,
    E: Into<Failure> + 'static,
{
    type In = In;

    #[inline]
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: In) -> HandlerResult {
        let answer = (self.answer)(msg).map_err(Into::into)?;
        ctx.write(Message::new(answer));
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        ctx.fire_channel_read_complete();
        Ok(())
    }
}
