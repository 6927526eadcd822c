//! [`FlowControl`]: one message per `read()`, for pipelines in which one read of the transport becomes many messages. It
//! holds messages, never bytes, and asks for nothing by itself.

use std::collections::VecDeque;
use std::mem;

use super::queue::relax;
use crate::buffer::{Bytes, Message};
use crate::channel::{Context, Handler, HandlerResult};

/// Lets one message pass for each `read()` while auto-read is off, and keeps the others (H51). With auto-read on all pass,
/// one after the other, until somebody switches it off: then the next one waits already.
///
/// A `read()` is answered by a message that waits, and only if there is none it goes on to the transport. The message is
/// followed by a `channel_read_complete`, so a handler may ask for the next one there; the `channel_read_complete` of a
/// batch that brought only messages that wait stays here. (In Netty it comes when the last one that waits is gone.)
///
/// What waits is emitted before the end of input and before `channel_inactive`, and when the handler is removed. How much
/// can wait is what one read becomes: nothing more is read while something waits. Bytes that wait are copied out of the memory
/// that the loop receives into, and the room of a long queue is given back when it has become short.
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
    /// The first so many of them were made our own: 0 <= kept <= queue.len()
    kept: usize,
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

    /// What waits when a batch has ended waits for somebody's read(), perhaps for long: it is to pin no receive arena.
    #[cold]
    fn keep(&mut self, ctx: &Context<'_>) {
        for msg in self.queue.iter_mut().skip(self.kept) {
            let came = mem::replace(msg, Bytes::new().into());
            *msg = ctx.compact(came);
        }
        self.kept = self.queue.len();
    }
}

impl Handler for FlowControl {
    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.kept = 0;
        if !self.queue.is_empty() {
            for msg in mem::take(&mut self.queue) {
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
        if !self.queue.is_empty() {
            self.keep(ctx);
        }
        if mem::take(&mut self.has_emitted) || self.queue.is_empty() {
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
            self.kept = self.kept.saturating_sub(1);
            relax(&mut self.queue);
            ctx.fire_channel_read(msg);
        }
        if !self.queue.is_empty() {
            ctx.resume();
        }
        Ok(())
    }
}
