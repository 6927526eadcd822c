//! [`FlushConsolidation`]: fewer flushes. It delays flushes, never writes, and none beyond the end of the batch of reads or
//! of the loop's turn in which it was asked for.

use std::time::Duration;

use crate::buffer::Message;
use crate::channel::{Context, Handler, HandlerResult};
use crate::error::Failure;
use crate::future::Promise;

/// Makes one flush of many: a flush is a system call, and handlers that answer each message of a batch often flush each
/// answer.
///
/// During a batch of reads flushes are counted, and one is done at the end of the batch, or with the 256th
/// ([`explicit_flush_after`](Self::explicit_flush_after)). Outside of one each is done at once, unless
/// [`consolidate_when_no_read_in_progress`](Self::consolidate_when_no_read_in_progress) has them wait until the loop comes
/// round. A flush that waits is done before a close, on an error, when the channel turns unwritable, and when this handler
/// is removed (H52).
///
/// Put it first: handlers before it flush past it.
///
/// ```
/// use tidegate::handler::flush::FlushConsolidation;
/// use tidegate::{Context, EmbeddedChannel, Handler, HandlerResult, Message};
///
/// struct Eager;
/// impl Handler for Eager {
///     fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
///         ctx.write_and_flush(msg);
///         Ok(())
///     }
/// }
///
/// let mut channel = EmbeddedChannel::new(|pipeline| {
///     pipeline.add_last(FlushConsolidation::new())?;
///     pipeline.add_last(Eager)
/// })?;
/// channel.pipeline(|pipeline| pipeline.fire_channel_read("one of a batch"));
/// assert!(channel.read_outbound().is_none());
/// channel.pipeline(|pipeline| pipeline.fire_channel_read_complete());
/// assert!(channel.read_outbound().is_some());
/// # Ok::<(), tidegate::Failure>(())
/// ```
#[derive(Debug)]
pub struct FlushConsolidation {
    limit: u32,
    consolidates_always: bool,
    /// A batch of reads is under way.
    is_reading: bool,
    /// Flushes that wait: fewer than `limit`.
    waiting: u32,
    /// The loop will come round for them.
    is_scheduled: bool,
}

impl FlushConsolidation {
    /// How many flushes are done as one at most, unless said otherwise: Netty's figure.
    pub const EXPLICIT_FLUSH_AFTER: u32 = 256;

    /// Consolidates the flushes of a batch of reads, up to 256.
    pub fn new() -> Self {
        Self {
            limit: Self::EXPLICIT_FLUSH_AFTER,
            consolidates_always: false,
            is_reading: false,
            waiting: 0,
            is_scheduled: false,
        }
    }

    /// Flushes with every `flushes`th flush at the latest, so that much output does not wait for the end of a long batch.
    /// 0 counts as 1: no consolidation.
    #[must_use]
    pub fn explicit_flush_after(mut self, flushes: u32) -> Self {
        self.limit = flushes.max(1);
        self
    }

    /// Has flushes wait also while no batch of reads is under way, until the loop has run what is due. Off by default, since
    /// it costs a timer each time and delays single answers a little.
    #[must_use]
    pub fn consolidate_when_no_read_in_progress(mut self, on: bool) -> Self {
        self.consolidates_always = on;
        self
    }

    fn flush_if_waiting(&mut self, ctx: &mut Context<'_>) {
        if self.waiting > 0 {
            self.waiting = 0;
            ctx.flush();
        }
    }

    fn end_batch(&mut self, ctx: &mut Context<'_>) {
        self.is_reading = false;
        self.flush_if_waiting(ctx);
    }
}

impl Default for FlushConsolidation {
    fn default() -> Self {
        Self::new()
    }
}

impl Handler for FlushConsolidation {
    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.end_batch(ctx);
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.is_reading = true;
        ctx.fire_channel_read(msg);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        // This may be the last event for long.
        self.end_batch(ctx);
        ctx.fire_channel_read_complete();
        Ok(())
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if !ctx.is_writable() {
            self.flush_if_waiting(ctx);
        }
        ctx.fire_channel_writability_changed();
        Ok(())
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        // The batch may never end.
        self.end_batch(ctx);
        ctx.fire_exception_caught(cause);
        Ok(())
    }

    fn disconnect(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
        self.end_batch(ctx);
        ctx.disconnect(promise);
        Ok(())
    }

    fn close(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
        self.end_batch(ctx);
        ctx.close_with(promise);
        Ok(())
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if !self.is_reading && !self.consolidates_always {
            ctx.flush();
            return Ok(());
        }
        self.waiting += 1;
        if self.waiting >= self.limit {
            self.flush_if_waiting(ctx);
        } else if !self.is_reading && !self.is_scheduled {
            self.is_scheduled = true;
            ctx.timer(Duration::ZERO, 0);
        }
        Ok(())
    }

    fn timer(&mut self, ctx: &mut Context<'_>, _key: u64) -> HandlerResult {
        self.is_scheduled = false;
        // Within a batch they wait for its end.
        if !self.is_reading {
            self.flush_if_waiting(ctx);
        }
        Ok(())
    }
}
