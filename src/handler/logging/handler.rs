//! [`Logging`]: every event of a channel in words, for people who look for what happens on the wire. It changes nothing.

use std::fmt::{self, Write};

use tracing::Level;

use super::hex;
use crate::buffer::Message;
use crate::channel::{Address, Context, Handler, HandlerResult};
use crate::error::Failure;
use crate::future::Promise;

/// Tells every event and operation that passes through `tracing`, at the level chosen, and passes it on (H57).
///
/// An event of `tracing` has the target `tidegate::handler::logging::handler`, the field `channel`, and a message: the event in
/// words, the bytes of a buffer as a hex dump of at most [`dump_max`](Self::dump_max) bytes, another message by its type.
/// While nobody listens at that level a callback costs one look at that. With the cargo feature `log` a record of the crate
/// `log` tells the same to programs that have no subscriber of `tracing`.
///
/// ```
/// use tidegate::handler::logging::Logging;
/// use tidegate::EmbeddedChannel;
/// use tracing::Level;
///
/// let mut channel = EmbeddedChannel::new(|pipeline| {
///     pipeline.add_last(Logging::new(Level::DEBUG).dump_max(64))
/// })?;
/// channel.write_inbound("the tide turns")?;
/// assert!(channel.read_inbound().is_some());
/// # Ok::<(), tidegate::Failure>(())
/// ```
#[derive(Debug, Clone)]
pub struct Logging {
    level: Level,
    dump_max: usize,
}

/// Whether somebody listens; `tracing` wants to know the level when it is compiled. It does not ask `log`: then each event has
/// to find out for itself, before it is put into words.
macro_rules! is_enabled {
    ($level:expr) => {
        cfg!(feature = "log")
            || match $level {
                Level::ERROR => tracing::enabled!(Level::ERROR),
                Level::WARN => tracing::enabled!(Level::WARN),
                Level::INFO => tracing::enabled!(Level::INFO),
                Level::DEBUG => tracing::enabled!(Level::DEBUG),
                Level::TRACE => tracing::enabled!(Level::TRACE),
            }
    };
}

/// A text that is made when somebody wants it.
struct Lazy<F>(F);

impl<F: Fn() -> String> fmt::Display for Lazy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&(self.0)())
    }
}

impl Logging {
    /// What is shown of a buffer, in bytes, unless said otherwise: 64 lines.
    pub const DUMP_MAX: usize = 1024;

    /// Tells everything at `level`, with at most 1,024 bytes of each buffer.
    pub fn new(level: Level) -> Self {
        Self {
            level,
            dump_max: Self::DUMP_MAX,
        }
    }

    /// Shows at most so many bytes of a buffer. 0: only its length.
    #[must_use]
    pub fn dump_max(mut self, bytes: usize) -> Self {
        self.dump_max = bytes;
        self
    }

    #[inline]
    fn tell(&self, ctx: &Context<'_>, text: impl Fn() -> String) {
        if is_enabled!(self.level) {
            self.say(ctx, &Lazy(text));
        }
    }

    #[inline]
    fn tell_plain(&self, ctx: &Context<'_>, text: &str) {
        if is_enabled!(self.level) {
            self.say(ctx, &text);
        }
    }

    #[inline]
    fn tell_message(&self, ctx: &Context<'_>, what: &str, msg: &Message) {
        if is_enabled!(self.level) {
            self.say(ctx, &Lazy(|| self.describe(what, msg)));
        }
    }

    #[cold]
    fn say(&self, ctx: &Context<'_>, text: &dyn fmt::Display) {
        let channel = ctx.channel();
        match self.level {
            Level::ERROR => tracing::error!(%channel, "{text}"),
            Level::WARN => tracing::warn!(%channel, "{text}"),
            Level::INFO => tracing::info!(%channel, "{text}"),
            Level::DEBUG => tracing::debug!(%channel, "{text}"),
            Level::TRACE => tracing::trace!(%channel, "{text}"),
        }
    }

    fn describe(&self, what: &str, msg: &Message) -> String {
        let mut text = String::new();
        // A String never refuses.
        let _ = match msg.as_bytes() {
            Some(bytes) => {
                let end = if bytes.len() == 1 { "" } else { "s" };
                write!(text, "{what} {} byte{end}", bytes.len())
            }
            None => write!(text, "{what} {msg:?}"),
        };
        if let Some(bytes) = msg.as_bytes() {
            hex::dump(&mut text, bytes, self.dump_max);
        }
        text
    }
}

fn connecting(remote: &Address, local: Option<&Address>) -> String {
    match local {
        Some(local) => format!("connect to {remote} from {local}"),
        None => format!("connect to {remote}"),
    }
}

impl Handler for Logging {
    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.tell(ctx, || format!("logging as {}", ctx.name()));
        Ok(())
    }

    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.tell_plain(ctx, "removed");
        Ok(())
    }

    fn channel_registered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.tell_plain(ctx, "registered");
        ctx.fire_channel_registered();
        Ok(())
    }

    fn channel_unregistered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.tell_plain(ctx, "unregistered");
        ctx.fire_channel_unregistered();
        Ok(())
    }

    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.tell_plain(ctx, "active");
        ctx.fire_channel_active();
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.tell_plain(ctx, "inactive");
        ctx.fire_channel_inactive();
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.tell_message(ctx, "read", &msg);
        ctx.fire_channel_read(msg);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.tell_plain(ctx, "read complete");
        ctx.fire_channel_read_complete();
        Ok(())
    }

    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        self.tell_message(ctx, "user event", &event);
        ctx.fire_user_event_triggered(event);
        Ok(())
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let text = if ctx.is_writable() {
            "writability changed: writable"
        } else {
            "writability changed: unwritable"
        };
        self.tell_plain(ctx, text);
        ctx.fire_channel_writability_changed();
        Ok(())
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        self.tell(ctx, || format!("error: {cause}"));
        ctx.fire_exception_caught(cause);
        Ok(())
    }

    fn bind(&mut self, ctx: &mut Context<'_>, local: Address, promise: Promise) -> HandlerResult {
        self.tell(ctx, || format!("bind to {local}"));
        ctx.bind(local, promise);
        Ok(())
    }

    fn connect(
        &mut self,
        ctx: &mut Context<'_>,
        remote: Address,
        local: Option<Address>,
        promise: Promise,
    ) -> HandlerResult {
        self.tell(ctx, || connecting(&remote, local.as_ref()));
        ctx.connect(remote, local, promise);
        Ok(())
    }

    fn disconnect(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
        self.tell_plain(ctx, "disconnect");
        ctx.disconnect(promise);
        Ok(())
    }

    fn close(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
        self.tell_plain(ctx, "close");
        ctx.close_with(promise);
        Ok(())
    }

    fn read(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.tell_plain(ctx, "read()");
        ctx.read();
        Ok(())
    }

    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        self.tell_message(ctx, "write", &msg);
        ctx.write_with(msg, promise);
        Ok(())
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.tell_plain(ctx, "flush");
        ctx.flush();
        Ok(())
    }
}
