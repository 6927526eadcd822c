//! What a user implements: one handler of a pipeline.
//!
//! Every callback has a default body that passes the event on and lets the pipeline learn that this handler
//! need not be called for it again. Callbacks take `&mut self`: a handler is never entered while it is on the
//! stack (see the rules in [`pipeline`](super::pipeline)).

use std::any::Any;

use super::address::Address;
use super::context::Context;
use super::mask;
use crate::buffer::Message;
use crate::error::{Error, Failure};
use crate::future::Promise;

/// What callbacks return: `Err` goes to the same handler's [`exception_caught`](Handler::exception_caught) for
/// inbound events, to the promise for outbound operations.
pub type HandlerResult = Result<(), Failure>;

/// Which callbacks a handler overrides, for handlers that would rather say it than have it learned.
///
/// Declaring is optional. A declared handler is not called for what it left out, and in debug builds a declared
/// callback that turns out to be the default body is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declared(pub(crate) mask::Mask);

impl Declared {
    /// Nothing yet; add callbacks with the other methods.
    pub const NONE: Self = Self(0);
    /// `channel_read`.
    pub const CHANNEL_READ: Self = Self(mask::READ);
    /// `channel_read_complete`.
    pub const CHANNEL_READ_COMPLETE: Self = Self(mask::READ_COMPLETE);
    /// `channel_active`.
    pub const CHANNEL_ACTIVE: Self = Self(mask::ACTIVE);
    /// `channel_inactive`.
    pub const CHANNEL_INACTIVE: Self = Self(mask::INACTIVE);
    /// `channel_registered`.
    pub const CHANNEL_REGISTERED: Self = Self(mask::REGISTERED);
    /// `channel_unregistered`.
    pub const CHANNEL_UNREGISTERED: Self = Self(mask::UNREGISTERED);
    /// `user_event_triggered`.
    pub const USER_EVENT_TRIGGERED: Self = Self(mask::USER_EVENT);
    /// `channel_writability_changed`.
    pub const CHANNEL_WRITABILITY_CHANGED: Self = Self(mask::WRITABILITY);
    /// `exception_caught`.
    pub const EXCEPTION_CAUGHT: Self = Self(mask::EXCEPTION);
    /// `bind`.
    pub const BIND: Self = Self(mask::BIND);
    /// `connect`.
    pub const CONNECT: Self = Self(mask::CONNECT);
    /// `disconnect`.
    pub const DISCONNECT: Self = Self(mask::DISCONNECT);
    /// `close`.
    pub const CLOSE: Self = Self(mask::CLOSE);
    /// `read`.
    pub const READ: Self = Self(mask::READ_OP);
    /// `write`.
    pub const WRITE: Self = Self(mask::WRITE);
    /// `flush`.
    pub const FLUSH: Self = Self(mask::FLUSH);

    /// Both sets together.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One stage of a pipeline. Inbound callbacks run from head to tail, outbound ones from tail to head.
///
/// Handlers live on their channel's loop and need not be `Send`.
#[allow(unused_variables)]
pub trait Handler: Any {
    /// The callbacks this handler overrides, if it wants to declare them. `None` (the default): learned.
    fn declared(&self) -> Option<Declared> {
        None
    }

    // ---- being in a pipeline

    /// The handler was linked into a pipeline. Runs before any other callback of it.
    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        Ok(())
    }

    /// The handler was taken out, or its channel has ended. The last callback; what it emits goes to its old successor.
    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        Ok(())
    }

    // ---- inbound, head to tail

    /// The channel was registered with its loop.
    fn channel_registered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.learn_skip(mask::REGISTERED);
        ctx.fire_channel_registered();
        Ok(())
    }

    /// The channel left its loop; the last inbound event.
    fn channel_unregistered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.learn_skip(mask::UNREGISTERED);
        ctx.fire_channel_unregistered();
        Ok(())
    }

    /// The channel is connected or bound. At most once in a channel's life.
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.learn_skip(mask::ACTIVE);
        ctx.fire_channel_active();
        Ok(())
    }

    /// The channel ended. Exactly once if it ever was active; all that was read has been delivered before.
    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.learn_skip(mask::INACTIVE);
        ctx.fire_channel_inactive();
        Ok(())
    }

    /// A message arrived.
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.learn_skip(mask::READ);
        ctx.fire_channel_read(msg);
        Ok(())
    }

    /// A batch of reads ended: the moment to flush what was written.
    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.learn_skip(mask::READ_COMPLETE);
        ctx.fire_channel_read_complete();
        Ok(())
    }

    /// Something happened that is neither data nor life cycle; see [`events`](super::events) for the channel's own.
    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        ctx.learn_skip(mask::USER_EVENT);
        ctx.fire_user_event_triggered(event);
        Ok(())
    }

    /// Writability changed at least once since the last call: look at `ctx.is_writable()` now.
    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.learn_skip(mask::WRITABILITY);
        ctx.fire_channel_writability_changed();
        Ok(())
    }

    /// A callback of this handler or of one nearer to the head failed, or the transport did.
    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        ctx.learn_skip(mask::EXCEPTION);
        ctx.fire_exception_caught(cause);
        Ok(())
    }

    // ---- outbound, tail to head

    /// Bind to a local address.
    fn bind(&mut self, ctx: &mut Context<'_>, local: Address, promise: Promise) -> HandlerResult {
        ctx.learn_skip(mask::BIND);
        ctx.bind(local, promise);
        Ok(())
    }

    /// Connect to a remote address.
    fn connect(
        &mut self,
        ctx: &mut Context<'_>,
        remote: Address,
        local: Option<Address>,
        promise: Promise,
    ) -> HandlerResult {
        ctx.learn_skip(mask::CONNECT);
        ctx.connect(remote, local, promise);
        Ok(())
    }

    /// Undo a connect, on transports that can (datagrams). Elsewhere a disconnect arrives as `close`.
    fn disconnect(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
        ctx.learn_skip(mask::DISCONNECT);
        ctx.disconnect(promise);
        Ok(())
    }

    /// Close the channel.
    fn close(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
        ctx.learn_skip(mask::CLOSE);
        ctx.close_with(promise);
        Ok(())
    }

    /// Ask the transport for data.
    fn read(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.learn_skip(mask::READ_OP);
        ctx.read();
        Ok(())
    }

    /// Put a message into the outbound buffer.
    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        ctx.learn_skip(mask::WRITE);
        ctx.write_with(msg, promise);
        Ok(())
    }

    /// Send what was written.
    fn flush(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.learn_skip(mask::FLUSH);
        ctx.flush();
        Ok(())
    }

    // ---- coming back

    /// Everything that this handler had emitted when it called `ctx.after(key)` has been handled.
    fn after(&mut self, ctx: &mut Context<'_>, key: u64) -> HandlerResult {
        Ok(())
    }

    /// The handler asked by `ctx.resume()` to go on emitting, everything it emitted before was handled, and
    /// reading is wanted.
    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        Ok(())
    }

    /// A timer set by `ctx.timer(delay, key)` is due.
    fn timer(&mut self, ctx: &mut Context<'_>, key: u64) -> HandlerResult {
        Ok(())
    }

    /// A promise that was given `ctx.notify(&promise, key)` is done.
    fn write_done(&mut self, ctx: &mut Context<'_>, key: u64, result: Result<(), Error>) -> HandlerResult {
        Ok(())
    }
}
