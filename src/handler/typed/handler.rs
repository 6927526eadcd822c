//! [`TypedHandler`]: a handler of one type of message. The pipeline sees it through [`Typed`].

use std::any::{Any, type_name};

use crate::buffer::Message;
use crate::channel::{Address, Context, Handler, HandlerResult, IntoHandler};
use crate::error::{Error, Failure};
use crate::future::Promise;

/// A handler that takes messages of one type; others pass it.
///
/// `pipeline.add_last(..)` takes it as it is. It has every callback that [`Handler`] has, with the same
/// defaults: what it leaves out is learned and costs nothing.
///
/// ```
/// use tidegate::handler::typed::TypedHandler;
/// use tidegate::{Context, EmbeddedChannel, Failure, HandlerResult, Message};
///
/// struct Double;
///
/// impl TypedHandler for Double {
///     type In = u64;
///
///     fn channel_read(&mut self, ctx: &mut Context<'_>, msg: u64) -> HandlerResult {
///         ctx.fire_channel_read(Message::new(2 * msg));
///         Ok(())
///     }
/// }
///
/// let mut channel = EmbeddedChannel::new(|pipeline| pipeline.add_last(Double))?;
/// channel.write_inbound(Message::new(4_u64))?;
/// channel.write_inbound(Message::new("no number"))?;
/// assert_eq!(channel.read_inbound_as::<u64>(), Some(8));
/// assert_eq!(channel.read_inbound_as::<&str>(), Some("no number"));
/// # Ok::<(), Failure>(())
/// ```
pub trait TypedHandler: Any {
    /// What it takes. Where that is `BytesMut` or `Bytes`, either will do ([`Message::into_value`]): sockets give `BytesMut`,
    /// what comes from this process may be `Bytes`.
    type In: Any + Send;

    /// A message of this type arrived.
    ///
    /// # Errors
    /// As for [`Handler::channel_read`]: to its own `exception_caught`, then on.
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Self::In) -> HandlerResult;

    /// As [`Handler::handler_added`].
    fn handler_added(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        Ok(())
    }

    /// As [`Handler::handler_removed`].
    fn handler_removed(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        Ok(())
    }

    /// As [`Handler::channel_registered`].
    fn channel_registered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        Rest.channel_registered(ctx)
    }

    /// As [`Handler::channel_unregistered`].
    fn channel_unregistered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        Rest.channel_unregistered(ctx)
    }

    /// As [`Handler::channel_active`].
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        Rest.channel_active(ctx)
    }

    /// As [`Handler::channel_inactive`].
    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        Rest.channel_inactive(ctx)
    }

    /// As [`Handler::channel_read_complete`].
    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        Rest.channel_read_complete(ctx)
    }

    /// As [`Handler::user_event_triggered`].
    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        Rest.user_event_triggered(ctx, event)
    }

    /// As [`Handler::channel_writability_changed`].
    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        Rest.channel_writability_changed(ctx)
    }

    /// As [`Handler::exception_caught`].
    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        Rest.exception_caught(ctx, cause)
    }

    /// As [`Handler::bind`].
    fn bind(&mut self, ctx: &mut Context<'_>, local: Address, promise: Promise) -> HandlerResult {
        Rest.bind(ctx, local, promise)
    }

    /// As [`Handler::connect`].
    fn connect(
        &mut self,
        ctx: &mut Context<'_>,
        remote: Address,
        local: Option<Address>,
        promise: Promise,
    ) -> HandlerResult {
        Rest.connect(ctx, remote, local, promise)
    }

    /// As [`Handler::disconnect`].
    fn disconnect(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
        Rest.disconnect(ctx, promise)
    }

    /// As [`Handler::close`].
    fn close(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
        Rest.close(ctx, promise)
    }

    /// As [`Handler::read`].
    fn read(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        Rest.read(ctx)
    }

    /// As [`Handler::write`]: what is written may be of any type.
    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        Rest.write(ctx, msg, promise)
    }

    /// As [`Handler::flush`].
    fn flush(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        Rest.flush(ctx)
    }

    /// As [`Handler::after`].
    fn after(&mut self, _ctx: &mut Context<'_>, _key: u64) -> HandlerResult {
        Ok(())
    }

    /// As [`Handler::resume`].
    fn resume(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        Ok(())
    }

    /// As [`Handler::timer`].
    fn timer(&mut self, _ctx: &mut Context<'_>, _key: u64) -> HandlerResult {
        Ok(())
    }

    /// As [`Handler::write_done`].
    fn write_done(
        &mut self,
        _ctx: &mut Context<'_>,
        _key: u64,
        _result: Result<(), Error>,
    ) -> HandlerResult {
        Ok(())
    }
}

/// Has the default body of every callback. Called with the context of a typed handler's node, a default forwards from
/// there and takes the node out of the event's walk, as it would for a handler that left it out itself.
struct Rest;

impl Handler for Rest {}

/// A [`TypedHandler`] as a pipeline has it. One need not name it: the pipeline calls it by the inner type and finds it by that
/// (`pipeline.with(|mine: &mut MyHandler| mine.state())`, `ctx.handle::<MyHandler>()`), in logs as well.
#[derive(Debug)]
pub struct Typed<T>(
    /// The handler.
    pub T,
);

impl<T: TypedHandler> Handler for Typed<T> {
    fn wrapped(&mut self) -> Option<(&mut dyn Any, &'static str)> {
        Some((&mut self.0, type_name::<T>()))
    }

    fn into_wrapped(self: Box<Self>) -> Option<Box<dyn Any>> {
        Some(Box::new(self.0))
    }

    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.handler_added(ctx)
    }

    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.handler_removed(ctx)
    }

    fn channel_registered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.channel_registered(ctx)
    }

    fn channel_unregistered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.channel_unregistered(ctx)
    }

    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.channel_active(ctx)
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.channel_inactive(ctx)
    }

    #[inline]
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        match msg.into_value::<T::In>() {
            Ok(msg) => self.0.channel_read(ctx, msg),
            Err(other) => {
                ctx.fire_channel_read(other);
                Ok(())
            }
        }
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.channel_read_complete(ctx)
    }

    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        self.0.user_event_triggered(ctx, event)
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.channel_writability_changed(ctx)
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        self.0.exception_caught(ctx, cause)
    }

    fn bind(&mut self, ctx: &mut Context<'_>, local: Address, promise: Promise) -> HandlerResult {
        self.0.bind(ctx, local, promise)
    }

    fn connect(
        &mut self,
        ctx: &mut Context<'_>,
        remote: Address,
        local: Option<Address>,
        promise: Promise,
    ) -> HandlerResult {
        self.0.connect(ctx, remote, local, promise)
    }

    fn disconnect(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
        self.0.disconnect(ctx, promise)
    }

    fn close(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
        self.0.close(ctx, promise)
    }

    fn read(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.read(ctx)
    }

    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        self.0.write(ctx, msg, promise)
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.flush(ctx)
    }

    fn after(&mut self, ctx: &mut Context<'_>, key: u64) -> HandlerResult {
        self.0.after(ctx, key)
    }

    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.resume(ctx)
    }

    fn timer(&mut self, ctx: &mut Context<'_>, key: u64) -> HandlerResult {
        self.0.timer(ctx, key)
    }

    fn write_done(
        &mut self,
        ctx: &mut Context<'_>,
        key: u64,
        result: Result<(), Error>,
    ) -> HandlerResult {
        self.0.write_done(ctx, key, result)
    }
}

/// Marks the conversion of a typed handler into a [`Typed`].
#[derive(Debug)]
pub enum ForTyped {}

impl<T: TypedHandler> IntoHandler<ForTyped> for T {
    type Handler = Typed<T>;

    fn into_handler(self) -> Typed<T> {
        Typed(self)
    }
}
