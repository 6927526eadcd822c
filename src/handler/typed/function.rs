//! Closures as handlers: [`handler_fn`] for messages, [`event_fn`] for user events.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;

use super::handler::TypedHandler;
use crate::buffer::Message;
use crate::channel::{Context, Handler, HandlerResult};

/// A handler that is a closure; see [`handler_fn`].
pub struct HandlerFn<F, In> {
    call: F,
    takes: PhantomData<fn(In)>,
}

/// A handler of messages of type `In`; others pass it. As for every typed handler, `BytesMut` and `Bytes` are one.
///
/// ```
/// use tidegate::handler::typed::handler_fn;
/// use tidegate::{EmbeddedChannel, Failure, Message};
///
/// let mut channel = EmbeddedChannel::new(|pipeline| {
///     let mut sum = 0;
///     pipeline.add_last(handler_fn(move |ctx, number: u64| {
///         sum += number;
///         ctx.write_and_flush(Message::new(sum));
///         Ok(())
///     }))
/// })?;
/// channel.write_inbound(Message::new(3_u64))?;
/// channel.write_inbound(Message::new(4_u64))?;
/// assert_eq!(channel.read_outbound_as::<u64>(), Some(3));
/// assert_eq!(channel.read_outbound_as::<u64>(), Some(7));
/// # Ok::<(), Failure>(())
/// ```
pub fn handler_fn<F, In>(call: F) -> HandlerFn<F, In>
where
    F: FnMut(&mut Context<'_>, In) -> HandlerResult + 'static,
    In: Any + Send,
{
    HandlerFn {
        call,
        takes: PhantomData,
    }
}

impl<F, In> TypedHandler for HandlerFn<F, In>
where
    F: FnMut(&mut Context<'_>, In) -> HandlerResult + 'static,
    In: Any + Send,
{
    type In = In;

    #[inline]
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: In) -> HandlerResult {
        (self.call)(ctx, msg)
    }
}

impl<F, In> fmt::Debug for HandlerFn<F, In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerFn").finish_non_exhaustive()
    }
}

/// A handler of user events that is a closure; see [`event_fn`].
pub struct EventFn<F, Event> {
    call: F,
    takes: PhantomData<fn(Event)>,
}

/// A handler of user events of type `Event`; others pass it.
///
/// ```
/// use tidegate::channel::events::PeerClosing;
/// use tidegate::handler::typed::event_fn;
/// use tidegate::{EmbeddedChannel, Failure, Message};
///
/// let mut channel = EmbeddedChannel::new(|pipeline| {
///     pipeline.add_last(event_fn(|ctx, _: PeerClosing| {
///         ctx.close();
///         Ok(())
///     }))
/// })?;
/// channel.pipeline(|pipeline| pipeline.fire_user_event_triggered(Message::new(PeerClosing)));
/// assert!(!channel.channel().is_open());
/// # Ok::<(), Failure>(())
/// ```
pub fn event_fn<F, Event>(call: F) -> EventFn<F, Event>
where
    F: FnMut(&mut Context<'_>, Event) -> HandlerResult + 'static,
    Event: Any + Send,
{
    EventFn {
        call,
        takes: PhantomData,
    }
}

impl<F, Event> Handler for EventFn<F, Event>
where
    F: FnMut(&mut Context<'_>, Event) -> HandlerResult + 'static,
    Event: Any + Send,
{
    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        match event.downcast::<Event>() {
            Ok(event) => (self.call)(ctx, event),
            Err(other) => {
                ctx.fire_user_event_triggered(other);
                Ok(())
            }
        }
    }
}

impl<F, Event> fmt::Debug for EventFn<F, Event> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventFn").finish_non_exhaustive()
    }
}
