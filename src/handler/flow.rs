//! [`FlowControl`]: one message per `read()`, for pipelines in which one read of the transport becomes many messages. It
//! holds messages, never bytes, and asks for nothing by itself.

use std::collections::VecDeque;

use crate::buffer::Message;
use crate::channel::{Context, Handler, HandlerResult};

/// Lets one message pass for each `read()` while auto-read is off, and keeps the others (H51). With auto-read on all pass,
/// one after the other, until somebody switches it off: then the next one waits already.
///
/// A `read()` is answered by a message that waits, and only if there is none it goes on to the transport. The message is
/// followed by a `channel_read_complete`, so a handler may ask for the next one there; the `channel_read_complete` of a
/// batch that brought only messages that wait stays here. (In Netty it comes when the last one that waits is gone.)
///
/// What waits is emitted before the end of input and before `channel_inactive`, and when the handler is removed. How much
/// can wait is what one read becomes: nothing more is read while something waits.
///
/// ```
/// use tidegate::channel::options::AUTO_READ;
/// use tidegate::handler::flow::FlowControl;
/// use tidegate::{EmbeddedChannel, OptionSet};
///
/// let mut options = OptionSet::new();
/// options.set(AUTO_READ, false)?;
/// let mut channel = EmbeddedChannel::with_options(&options, |pipeline| pipeline.add_last(FlowControl::new()))?;
/// channel.pipeline(|pipeline| {
///     pipeline.fire_channel_read("one");
///     pipeline.fire_channel_read("two");
/// });
/// assert!(channel.read_inbound().is_none());
/// channel.run(|channel| channel.read());
/// assert!(channel.read_inbound().is_some());
/// assert!(channel.read_inbound().is_none());
/// # Ok::<(), tidegate::Failure>(())
/// ```
#[derive(Debug, Default)]
pub struct FlowControl {
    /// While it is not empty this handler's resume is asked for or parked; so a `read()` comes to it, not to `read`.
    queue: VecDeque<Message>,
    /// A read() went on to the transport and has not been answered.
    is_asked: bool,
    /// Something passed in this batch.
    has_emitted: bool,
}

impl FlowControl {
    /// Holds nothing yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Handler for FlowControl {
    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if !self.queue.is_empty() {
            for msg in self.queue.drain(..) {
                ctx.fire_channel_read(msg);
            }
            ctx.fire_channel_read_complete();
        }
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        if self.queue.is_empty() && (self.is_asked || ctx.auto_read()) {
            self.is_asked = false;
            self.has_emitted = true;
            ctx.fire_channel_read(msg);
        } else {
            self.queue.push_back(msg);
            ctx.resume();
        }
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if std::mem::take(&mut self.has_emitted) || self.queue.is_empty() {
            ctx.fire_channel_read_complete();
        }
        Ok(())
    }

    fn read(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        // Auto-read needs no permission for single messages; remembered, it would outlive being switched off.
        self.is_asked = !ctx.auto_read();
        ctx.read();
        Ok(())
    }

    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if let Some(msg) = self.queue.pop_front() {
            ctx.fire_channel_read(msg);
        }
        if !self.queue.is_empty() {
            ctx.resume();
        }
        Ok(())
    }
}
