//! Messages made of messages: [`MessageToMessageDecoder`] on the way in, [`MessageToMessageEncoder`] on the way out, and
//! [`map_read`], [`map_write`] for closures that make one of one.

use std::any::{Any, type_name};
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;

use super::decoding::short_name;
use crate::buffer::Message;
use crate::channel::{Context, Handler, HandlerResult};
use crate::error::{Error, ErrorKind, Failure};
use crate::future::{Combiner, Promise};

/// Makes messages of one type of messages of another, in either direction.
///
/// ```
/// use std::collections::VecDeque;
/// use tidegate::handler::codec::{MessageToMessageDecoder, Transform};
/// use tidegate::{EmbeddedChannel, Failure, Message};
///
/// struct Words;
///
/// impl Transform for Words {
///     type In = String;
///     type Out = String;
///     type Error = Failure;
///
///     fn transform(&mut self, msg: String, out: &mut VecDeque<String>) -> Result<(), Failure> {
///         out.extend(msg.split(' ').map(str::to_owned));
///         Ok(())
///     }
/// }
///
/// let mut channel = EmbeddedChannel::new(|pipeline| {
///     pipeline.add_last(MessageToMessageDecoder::new(Words))
/// })?;
/// channel.write_inbound(Message::new(String::from("high tide")))?;
/// assert_eq!(channel.read_inbound_as::<String>().as_deref(), Some("high"));
/// assert_eq!(channel.read_inbound_as::<String>().as_deref(), Some("tide"));
/// # Ok::<(), Failure>(())
/// ```
pub trait Transform {
    /// What is taken; messages of other types pass. Where that is `BytesMut` or `Bytes`, either will do
    /// ([`Message::into_value`]).
    type In: Any + Send;
    /// What is made. `Message` where it is of several types.
    type Out: Any + Send;
    /// What goes wrong.
    type Error: Into<Failure>;

    /// Appends to `out`, which is empty, what `msg` becomes.
    ///
    /// # Errors
    /// When nothing can be made of it. What was appended before is emitted all the same on the way in, and dropped on the
    /// way out.
    fn transform(
        &mut self,
        msg: Self::In,
        out: &mut VecDeque<Self::Out>,
    ) -> Result<(), Self::Error>;
}

/// A [`Transform`] of what comes in.
///
/// What it makes leaves one message at a time, as from [`ByteToMessage`](super::ByteToMessage). If a batch of reads brought
/// messages of which it made nothing and auto-read is off, it asks for another read.
pub struct MessageToMessageDecoder<T: Transform> {
    transform: T,
    out: VecDeque<T::Out>,
    /// An error that follows what is in `out`.
    failure: Option<Failure>,
    /// What came while messages were held back.
    queue: VecDeque<Message>,
    waiting: bool,
    received: bool,
    fired: bool,
}

impl<T: Transform> MessageToMessageDecoder<T> {
    /// A handler of this transform.
    pub fn new(transform: T) -> Self {
        Self {
            transform,
            out: VecDeque::new(),
            failure: None,
            queue: VecDeque::new(),
            waiting: false,
            received: false,
            fired: false,
        }
    }

    /// The transform.
    pub fn transform(&mut self) -> &mut T {
        &mut self.transform
    }

    #[inline]
    fn take(&mut self, msg: T::In) {
        if !self.received {
            self.received = true;
            self.fired = false;
        }
        let result = self.transform.transform(msg, &mut self.out);
        self.failure = result.err().map(Into::into);
    }

    /// Emits one thing, if there is any, and asks to be resumed if there is more.
    #[inline]
    fn step(&mut self, ctx: &mut Context<'_>) {
        loop {
            if let Some(out) = self.out.pop_front() {
                self.fired = true;
                ctx.fire_channel_read(Message::new(out));
                break;
            }
            if let Some(failure) = self.failure.take() {
                ctx.fire_exception_caught(failure);
                break;
            }
            let Some(msg) = self.queue.pop_front() else {
                return;
            };
            match msg.into_value::<T::In>() {
                Ok(msg) => self.take(msg),
                Err(other) => {
                    ctx.fire_channel_read(other);
                    break;
                }
            }
        }
        if !self.out.is_empty() || self.failure.is_some() || !self.queue.is_empty() {
            self.waiting = true;
            ctx.resume();
        }
    }

    /// Emits all that is held back.
    fn drain(&mut self, ctx: &mut Context<'_>) -> bool {
        self.waiting = false;
        let mut fired = false;
        loop {
            for out in self.out.drain(..) {
                fired = true;
                ctx.fire_channel_read(Message::new(out));
            }
            if let Some(failure) = self.failure.take() {
                ctx.fire_exception_caught(failure);
            }
            let Some(msg) = self.queue.pop_front() else {
                return fired;
            };
            match msg.into_value::<T::In>() {
                Ok(msg) => self.take(msg),
                Err(other) => ctx.fire_channel_read(other),
            }
        }
    }
}

impl<T: Transform + 'static> Handler for MessageToMessageDecoder<T> {
    fn wrapped(&mut self) -> Option<(&mut dyn Any, &'static str)> {
        Some((&mut self.transform, type_name::<T>()))
    }

    fn into_wrapped(self: Box<Self>) -> Option<Box<dyn Any>> {
        Some(Box::new(self.transform))
    }

    /// What was made already goes on; what waits to be transformed goes on as it is.
    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let held = !self.out.is_empty() || !self.queue.is_empty();
        for out in self.out.drain(..) {
            ctx.fire_channel_read(Message::new(out));
        }
        for msg in self.queue.drain(..) {
            ctx.fire_channel_read(msg);
        }
        if held {
            ctx.fire_channel_read_complete();
        }
        Ok(())
    }

    #[inline]
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        if self.waiting {
            self.queue.push_back(msg);
            return Ok(());
        }
        match msg.into_value::<T::In>() {
            Ok(msg) => {
                self.take(msg);
                self.step(ctx);
            }
            Err(other) => ctx.fire_channel_read(other),
        }
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let starves = self.received && !self.fired && !self.waiting;
        self.received = false;
        self.fired = false;
        if starves && !ctx.auto_read() {
            ctx.read();
        }
        ctx.fire_channel_read_complete();
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if self.drain(ctx) {
            ctx.fire_channel_read_complete();
        }
        ctx.fire_channel_inactive();
        Ok(())
    }

    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if self.waiting {
            self.waiting = false;
            self.step(ctx);
        }
        Ok(())
    }
}

impl<T: Transform + fmt::Debug> fmt::Debug for MessageToMessageDecoder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageToMessageDecoder")
            .field("transform", &self.transform)
            .finish_non_exhaustive()
    }
}

/// A [`Transform`] of what is written.
///
/// One message of one: the promise goes with it. Several: the promise is done when all are, with the first failure if there
/// is one. None is an error, since nothing could ever complete the promise.
pub struct MessageToMessageEncoder<T: Transform> {
    transform: T,
    /// Empty between calls.
    out: VecDeque<T::Out>,
}

impl<T: Transform> MessageToMessageEncoder<T> {
    /// A handler of this transform.
    pub fn new(transform: T) -> Self {
        Self {
            transform,
            out: VecDeque::new(),
        }
    }

    /// The transform.
    pub fn transform(&mut self) -> &mut T {
        &mut self.transform
    }

    fn write_all(&mut self, ctx: &mut Context<'_>, promise: Promise) {
        if promise.is_void() {
            for out in self.out.drain(..) {
                ctx.write(Message::new(out));
            }
            return;
        }
        let combiner = Combiner::new();
        for out in self.out.drain(..) {
            let part = ctx.new_promise();
            combiner.add(&part.completion());
            ctx.write_with(Message::new(out), part);
        }
        combiner.finish(promise);
    }
}

impl<T: Transform + 'static> Handler for MessageToMessageEncoder<T> {
    fn wrapped(&mut self) -> Option<(&mut dyn Any, &'static str)> {
        Some((&mut self.transform, type_name::<T>()))
    }

    fn into_wrapped(self: Box<Self>) -> Option<Box<dyn Any>> {
        Some(Box::new(self.transform))
    }

    #[inline]
    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        let msg = match msg.into_value::<T::In>() {
            Ok(msg) => msg,
            Err(other) => {
                ctx.write_with(other, promise);
                return Ok(());
            }
        };
        if let Err(error) = self.transform.transform(msg, &mut self.out) {
            self.out.clear();
            return Err(error.into());
        }
        match self.out.len() {
            0 => return Err(nothing::<T>().into()),
            1 => {
                if let Some(out) = self.out.pop_front() {
                    ctx.write_with(Message::new(out), promise);
                }
            }
            // From here on it is under way in parts.
            _ if !promise.set_uncancellable() => self.out.clear(),
            _ => self.write_all(ctx, promise),
        }
        Ok(())
    }
}

#[cold]
fn nothing<T>() -> Error {
    let name = short_name::<T>();
    Error::new(
        ErrorKind::Unencodable,
        format!("{name} must make at least one message of each that is written"),
    )
}

impl<T: Transform + fmt::Debug> fmt::Debug for MessageToMessageEncoder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageToMessageEncoder")
            .field("transform", &self.transform)
            .finish_non_exhaustive()
    }
}

/// The [`Transform`] of a closure that makes one message of one.
pub struct Map<F, In, Out> {
    map: F,
    types: PhantomData<fn(In) -> Out>,
}

impl<F, In, Out, E> Transform for Map<F, In, Out>
where
    F: FnMut(In) -> Result<Out, E>,
    In: Any + Send,
    Out: Any + Send,
    E: Into<Failure>,
{
    type In = In;
    type Out = Out;
    type Error = Failure;

    #[inline]
    fn transform(&mut self, msg: In, out: &mut VecDeque<Out>) -> Result<(), Failure> {
        out.push_back((self.map)(msg).map_err(Into::into)?);
        Ok(())
    }
}

impl<F, In, Out> fmt::Debug for Map<F, In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").finish_non_exhaustive()
    }
}

/// A handler that maps messages of type `In` on their way in.
///
/// ```
/// use tidegate::handler::codec::map_read;
/// use tidegate::{EmbeddedChannel, Failure, Message};
///
/// let mut channel = EmbeddedChannel::new(|pipeline| {
///     pipeline.add_last(map_read(|text: String| text.parse::<u64>()))
/// })?;
/// channel.write_inbound(Message::new(String::from("7")))?;
/// assert_eq!(channel.read_inbound_as::<u64>(), Some(7));
/// # Ok::<(), Failure>(())
/// ```
pub fn map_read<F, In, Out, E>(map: F) -> MessageToMessageDecoder<Map<F, In, Out>>
where
    F: FnMut(In) -> Result<Out, E>,
    In: Any + Send,
    Out: Any + Send,
    E: Into<Failure>,
{
    MessageToMessageDecoder::new(Map {
        map,
        types: PhantomData,
    })
}

/// A handler that maps messages of type `In` on their way out. An error fails the promise of the write.
pub fn map_write<F, In, Out, E>(map: F) -> MessageToMessageEncoder<Map<F, In, Out>>
where
    F: FnMut(In) -> Result<Out, E>,
    In: Any + Send,
    Out: Any + Send,
    E: Into<Failure>,
{
    MessageToMessageEncoder::new(Map {
        map,
        types: PhantomData,
    })
}
