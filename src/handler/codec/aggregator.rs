//! [`Aggregator`]: whole messages of their parts, within a limit. What the parts are is said by an [`Aggregate`].

use std::any::{Any, type_name};

use super::decoding::short_name;
use crate::buffer::Message;
use crate::channel::events::ChannelInputShutdown;
use crate::channel::{Context, Handler, HandlerResult};
use crate::error::{Error, ErrorKind, Failure};

/// What a part of a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It begins a message, and others follow.
    First,
    /// It belongs to the message that has begun.
    Middle,
    /// It ends the message that has begun.
    Last,
    /// It begins a message and ends it.
    Only,
    /// It is no part, and passes as it is.
    None,
}

/// How messages are put together. The [`Aggregator`] keeps to the limit and to the order; this knows the protocol.
pub trait Aggregate {
    /// What comes in. Where that is `BytesMut` or `Bytes`, either will do ([`Message::into_value`]).
    type Part: Any + Send;
    /// What goes on.
    type Whole: Any + Send;

    /// What this part is.
    fn part(&self, part: &Self::Part) -> Part;

    /// How many bytes it counts against the limit.
    fn size(&self, part: &Self::Part) -> usize;

    /// A message that begins with this part ([`Part::First`] or [`Part::Only`]).
    ///
    /// # Errors
    /// When it cannot begin so. What follows is ignored up to the next beginning.
    fn begin(&mut self, part: Self::Part) -> Result<Self::Whole, Failure>;

    /// Adds a part ([`Part::Middle`] or [`Part::Last`]).
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    fn add(&mut self, whole: &mut Self::Whole, part: Self::Part) -> Result<(), Failure>;

    /// The message is complete and about to go on.
    ///
    /// # Errors
    /// When it may not go on.
    fn finish(&mut self, _whole: &mut Self::Whole) -> Result<(), Failure> {
        Ok(())
    }

    /// The message is larger than `limit` bytes; what has come of it is dropped, what follows ignored up to the next
    /// beginning. By default that is an error; a protocol may answer instead.
    ///
    /// # Errors
    /// What the handlers after the aggregator are told.
    fn oversized(
        &mut self,
        _ctx: &mut Context<'_>,
        _whole: Option<Self::Whole>,
        limit: usize,
    ) -> HandlerResult {
        Err(Error::new(
            ErrorKind::TooLong,
            format!("a message in parts is longer than {limit} bytes"),
        )
        .into())
    }
}

/// Puts messages together of their parts; other messages pass.
///
/// - A message above the limit is one [`TooLong`](ErrorKind::TooLong) error, as soon as that is known.
/// - A beginning within a message is [`Malformed`](ErrorKind::Malformed); both are dropped.
/// - A peer that ends its side within a message is [`Truncated`](ErrorKind::Truncated).
/// - Parts outside of a message (of one that was dropped) are ignored.
///
/// Errors reach the next handler's `exception_caught`. While a message is incomplete and auto-read is off, it asks
/// for reads itself.
///
/// ```
/// use tidegate::handler::codec::{Aggregate, Aggregator, Part};
/// use tidegate::{EmbeddedChannel, Failure, Message};
///
/// /// Texts that end with a period.
/// struct Sentences { open: bool }
///
/// impl Aggregate for Sentences {
///     type Part = String;
///     type Whole = String;
///
///     fn part(&self, part: &String) -> Part {
///         match (self.open, part.ends_with('.')) {
///             (false, false) => Part::First,
///             (false, true) => Part::Only,
///             (true, false) => Part::Middle,
///             (true, true) => Part::Last,
///         }
///     }
///     fn size(&self, part: &String) -> usize {
///         part.len()
///     }
///     fn begin(&mut self, part: String) -> Result<String, Failure> {
///         self.open = true;
///         Ok(part)
///     }
///     fn add(&mut self, whole: &mut String, part: String) -> Result<(), Failure> {
///         whole.push_str(&part);
///         Ok(())
///     }
///     fn finish(&mut self, _: &mut String) -> Result<(), Failure> {
///         self.open = false;
///         Ok(())
///     }
/// }
///
/// let mut channel = EmbeddedChannel::new(|pipeline| {
///     pipeline.add_last(Aggregator::new(Sentences { open: false }, 1000))
/// })?;
/// channel.write_inbound(Message::new(String::from("Time and ")))?;
/// channel.write_inbound(Message::new(String::from("tide wait.")))?;
/// assert_eq!(channel.read_inbound_as::<String>().as_deref(), Some("Time and tide wait."));
/// # Ok::<(), Failure>(())
/// ```
#[derive(Debug)]
pub struct Aggregator<A: Aggregate> {
    aggregate: A,
    limit: usize,
    whole: Option<A::Whole>,
    /// Of the message in `whole`, in bytes. size <= limit.
    size: usize,
    received: bool,
    fired: bool,
}

impl<A: Aggregate> Aggregator<A> {
    /// Messages of at most `limit` bytes.
    pub fn new(aggregate: A, limit: usize) -> Self {
        Self {
            aggregate,
            limit,
            whole: None,
            size: 0,
            received: false,
            fired: false,
        }
    }

    /// True while a message has begun and not ended.
    pub fn is_aggregating(&self) -> bool {
        self.whole.is_some()
    }

    fn take(&mut self, ctx: &mut Context<'_>, msg: A::Part) -> HandlerResult {
        let part = self.aggregate.part(&msg);
        match part {
            Part::First | Part::Only => self.begin(ctx, msg, part == Part::Only),
            Part::Middle | Part::Last => self.add(ctx, msg, part == Part::Last),
            Part::None => {
                ctx.fire_channel_read(Message::new(msg));
                Ok(())
            }
        }
    }

    fn begin(&mut self, ctx: &mut Context<'_>, msg: A::Part, is_last: bool) -> HandlerResult {
        if self.whole.take().is_some() {
            return Err(Error::new(
                ErrorKind::Malformed,
                format!(
                    "{}: a message began before the last one had ended; both are dropped",
                    short_name::<A>()
                ),
            )
            .into());
        }
        self.size = self.aggregate.size(&msg);
        if self.size > self.limit {
            return self.aggregate.oversized(ctx, None, self.limit);
        }
        self.whole = Some(self.aggregate.begin(msg)?);
        if is_last { self.finish(ctx) } else { Ok(()) }
    }

    fn add(&mut self, ctx: &mut Context<'_>, msg: A::Part, is_last: bool) -> HandlerResult {
        let Some(whole) = &mut self.whole else {
            return Ok(());
        };
        self.size = self.size.saturating_add(self.aggregate.size(&msg));
        if self.size > self.limit {
            let whole = self.whole.take();
            return self.aggregate.oversized(ctx, whole, self.limit);
        }
        if let Err(failure) = self.aggregate.add(whole, msg) {
            self.whole = None;
            return Err(failure);
        }
        if is_last { self.finish(ctx) } else { Ok(()) }
    }

    /// No more parts will come.
    fn end(&mut self, ctx: &mut Context<'_>) {
        if self.whole.take().is_some() && !ctx.input_was_cut() {
            ctx.fire_exception_caught(Error::new(
                ErrorKind::Truncated,
                format!(
                    "the input ended within a message of {} bytes so far",
                    self.size
                ),
            ));
        }
    }

    fn finish(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if let Some(mut whole) = self.whole.take() {
            self.aggregate.finish(&mut whole)?;
            self.fired = true;
            ctx.fire_channel_read(Message::new(whole));
        }
        Ok(())
    }
}

impl<A: Aggregate + 'static> Handler for Aggregator<A> {
    fn wrapped(&mut self) -> Option<(&mut dyn Any, &'static str)> {
        Some((&mut self.aggregate, type_name::<A>()))
    }

    fn into_wrapped(self: Box<Self>) -> Option<Box<dyn Any>> {
        Some(Box::new(self.aggregate))
    }

    fn handler_removed(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.whole = None;
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        match msg.into_value::<A::Part>() {
            Ok(part) => {
                self.received = true;
                self.take(ctx, part)
            }
            Err(other) => {
                ctx.fire_channel_read(other);
                Ok(())
            }
        }
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let starves = self.received && !self.fired && self.whole.is_some();
        self.received = false;
        self.fired = false;
        if starves && !ctx.auto_read() {
            ctx.read();
        }
        ctx.fire_channel_read_complete();
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.end(ctx);
        ctx.fire_channel_inactive();
        Ok(())
    }

    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        if event.is::<ChannelInputShutdown>() {
            self.end(ctx);
        }
        ctx.fire_user_event_triggered(event);
        Ok(())
    }
}
