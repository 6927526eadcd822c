//! [`TrafficShaping`]: one channel's part in a shaper (rule H54).
//!
//! Writes: a message whose slot is near passes, another one waits with all that come behind it. The first of the queue
//! holds a slot, and one timer brings it.
//!
//! Reads: what has been read is passed on and paid for afterwards, by holding back the next `read()`. Netty switches
//! auto-read off and on again instead, and so undoes what a user who paused reading meant. A `read()` that is held
//! back touches no setting: one that auto-read has asked for is forgotten if auto-read is off when its time comes, one
//! that somebody has asked for himself is passed on. A batch that runs already is not cut short by it, so up to
//! `MAX_MESSAGES_PER_READ` reads come before the pause; they are paid for like everything else.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::meter::Meter;
use crate::buffer::{FileRegion, Message};
use crate::channel::{Context, DrainHold, Handler, HandlerResult};
use crate::error::{Error, ErrorKind};
use crate::event_loop::Time;
use crate::future::Promise;
use crate::handler::queue::relax;

/// The keys of the two timers.
const WRITE: u64 = 1;
const READ: u64 = 2;

struct Held {
    msg: Message,
    promise: Promise,
    size: u64,
}

type Sizes = Box<dyn Fn(&Message) -> u64>;

/// Who asked for the `read()` that is held back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    ByAutoRead,
    ByHand,
}

/// Keeps a channel within the limits of its [`TrafficShaper`](super::TrafficShaper).
///
/// While more than [`max_queued`](field@super::TrafficLimits::max_queued) bytes wait, or the last of them for longer than
/// [`max_delay`](field@super::TrafficLimits::max_delay), the channel is not writable. A
/// [drain](crate::EventLoopGroup::drain) waits for what waits here. Taken out of the pipeline, it
/// writes what waits; when the channel ends, what waits fails.
///
/// ```
/// use tidegate::handler::traffic::{TrafficLimits, TrafficShaper};
/// use tidegate::EmbeddedChannel;
///
/// // All channels together, and each for itself.
/// let all = TrafficShaper::global(TrafficLimits::new().write(10 << 20));
/// let one = TrafficShaper::for_channel(TrafficLimits::new().write(1 << 20));
/// let mut channel = EmbeddedChannel::new(|pipeline| {
///     pipeline.add_last(all.handler())?;
///     pipeline.add_last(one.handler())
/// })?;
/// channel.write_outbound("within the limits")?;
/// assert_eq!(all.traffic().bytes_written, one.traffic().bytes_written);
/// # Ok::<(), tidegate::Failure>(())
/// ```
pub struct TrafficShaping {
    meter: Arc<Meter>,
    /// `None`: [`size_of`].
    sizes: Option<Sizes>,
    queue: VecDeque<Held>,
    /// The sum of their sizes.
    queued: u64,
    /// How many of them were flushed.
    flushed: usize,
    /// The slot of the first, and the version of the limits that it goes by.
    write_at: Duration,
    write_version: u64,
    write_timed: bool,
    /// The channel's writability bit is cleared.
    is_full: bool,
    /// Nothing is asked for before this.
    read_at: Option<Duration>,
    read_version: u64,
    asked: Option<Asked>,
    read_timed: bool,
    has_ended: bool,
    /// A channel that is to be closed waits for the queue.
    drain: DrainHold,
}

impl TrafficShaping {
    pub(super) fn new(meter: Arc<Meter>) -> Self {
        Self {
            meter,
            sizes: None,
            queue: VecDeque::new(),
            queued: 0,
            flushed: 0,
            write_at: Duration::ZERO,
            write_version: 0,
            write_timed: false,
            is_full: false,
            read_at: None,
            read_version: 0,
            asked: None,
            read_timed: false,
            has_ended: false,
            drain: DrainHold::default(),
        }
    }

    /// Counts messages by `size`, in bytes, instead of buffers and file regions alone: for a handler that stands where
    /// messages are of other types, or on a channel of datagrams. A message of 0 bytes keeps its place and is free.
    #[must_use]
    pub fn sized_by(mut self, size: impl Fn(&Message) -> u64 + 'static) -> Self {
        self.sizes = Some(Box::new(size));
        self
    }

    /// How many messages wait.
    pub fn queued_messages(&self) -> usize {
        self.queue.len()
    }

    fn size(&self, msg: &Message) -> u64 {
        match &self.sizes {
            Some(size) => size(msg),
            None => size_of(msg),
        }
    }

    // ---- writing

    /// Takes a slot for so many bytes. True if it is now, or as good as now.
    fn take_slot(&mut self, size: u64, now: Duration) -> bool {
        let limits = &self.meter.limits;
        self.write_version = self.meter.write.version();
        self.write_at = self.meter.write.take(size, now, limits.max_wait).at;
        self.is_due(now)
    }

    fn is_due(&self, now: Duration) -> bool {
        // A wait of zero is none even if every wait counts.
        self.write_at <= now || self.write_at < now.saturating_add(self.meter.limits.min_wait)
    }

    fn pass(&self, ctx: &mut Context<'_>, msg: Message, promise: Promise, size: u64) {
        if size > 0 {
            self.meter.counter.add_written(size);
            self.tick(ctx);
        }
        ctx.write_with(msg, promise);
    }

    fn tick(&self, ctx: &Context<'_>) {
        let interval = self.meter.limits.check_interval;
        self.meter.counter.keep_ticking(ctx.event_loop(), interval);
    }

    /// Sends what is due, and sets the timer for the next.
    fn send_due(&mut self, ctx: &mut Context<'_>) {
        let now = now(ctx);
        let mut is_flushed = false;
        while let Some(first) = self.queue.front() {
            let size = first.size;
            if self.write_version != self.meter.write.version() {
                self.take_slot(size, now);
            }
            if !self.is_due(now) {
                break;
            }
            if self.flushed == 0 && is_flushed {
                // The flush that is due ends before this one.
                ctx.flush();
                is_flushed = false;
            }
            is_flushed |= self.flushed > 0;
            if let Some(first) = self.pop() {
                self.pass(ctx, first.msg, first.promise, first.size);
            }
            if let Some(next) = self.queue.front() {
                let size = next.size;
                self.take_slot(size, now);
            }
        }
        self.time_write(ctx, now);
        self.tell_writability(ctx, now);
        if is_flushed {
            ctx.flush();
        }
        if self.queue.is_empty() {
            self.drain.let_go();
        }
    }

    fn pop(&mut self) -> Option<Held> {
        let first = self.queue.pop_front()?;
        relax(&mut self.queue);
        self.flushed = self.flushed.saturating_sub(1);
        self.queued -= first.size;
        self.meter.counter.sub_queued(first.size);
        Some(first)
    }

    fn time_write(&mut self, ctx: &mut Context<'_>, now: Duration) {
        if !self.queue.is_empty() && !self.write_timed {
            self.write_timed = true;
            // Not longer than an interval, so that new limits are seen.
            let wait = self.write_at.saturating_sub(now);
            ctx.timer(wait.min(self.meter.limits.check_interval), WRITE);
        }
    }

    /// Clears or sets the channel's writability bit, where the queue has grown or shrunk enough.
    fn tell_writability(&mut self, ctx: &mut Context<'_>, now: Duration) {
        let limits = &self.meter.limits;
        // The last leaves when all before it have been paid for.
        let before_last = self.queued - self.queue.back().map_or(0, |last| last.size);
        let delay = self
            .write_at
            .saturating_sub(now)
            .saturating_add(self.meter.write.time_for(before_last));
        let together = self.meter.counter.queued() > limits.max_queued_together;
        let is_full = if self.queue.is_empty() {
            false
        } else if self.is_full {
            together || self.queued > limits.max_queued / 2 || delay > limits.max_delay / 2
        } else {
            together || self.queued > limits.max_queued || delay > limits.max_delay
        };
        if is_full != self.is_full {
            self.is_full = is_full;
            // The bit is one of the allowed ones.
            let _ = ctx.set_user_writability(self.meter.bit, !is_full);
        }
    }

    /// The slot of the first message will not be used.
    fn give_slot_back(&mut self) {
        if let Some(first) = self.queue.front() {
            self.meter.write.give_back(first.size, self.write_version);
        }
    }

    fn discard(&mut self) {
        self.has_ended = true;
        self.drain.let_go();
        self.asked = None;
        self.give_slot_back();
        let error = Error::new(
            ErrorKind::ChannelClosed,
            "the channel closed while the message waited for its share of the bandwidth",
        );
        while let Some(held) = self.pop() {
            drop(held.msg);
            held.promise.try_failure(error.clone());
        }
    }

    // ---- reading

    /// Something was read: when may the next be?
    fn charge_read(&mut self, ctx: &Context<'_>, size: u64) {
        let limits = &self.meter.limits;
        self.read_version = self.meter.read.version();
        if self.meter.read.rate() == 0 {
            self.read_at = None;
            return;
        }
        let now = now(ctx);
        let slot = self.meter.read.take(size, now, limits.max_wait);
        let paid_at = slot.paid_at.min(now.saturating_add(limits.max_wait));
        let is_soon = paid_at < now.saturating_add(limits.min_wait) || paid_at <= now;
        self.read_at = (!is_soon).then_some(paid_at);
    }

    /// How long the next `read()` has to wait.
    fn read_wait(&mut self, ctx: &Context<'_>) -> Option<Duration> {
        let read_at = self.read_at?;
        let now = now(ctx);
        if read_at <= now || self.read_version != self.meter.read.version() {
            self.read_at = None;
            return None;
        }
        Some(read_at - now)
    }

    fn time_read(&mut self, ctx: &mut Context<'_>, wait: Duration) {
        if !self.read_timed {
            self.read_timed = true;
            ctx.timer(wait.min(self.meter.limits.check_interval), READ);
        }
    }

    /// Passes the `read()` on that was held back, if it is wanted still.
    fn let_read(&mut self, ctx: &mut Context<'_>) {
        match self.asked.take() {
            Some(Asked::ByHand) => ctx.read(),
            Some(Asked::ByAutoRead) if ctx.auto_read() => ctx.read(),
            Some(Asked::ByAutoRead) | None => {}
        }
    }
}

impl Handler for TrafficShaping {
    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        if self.has_ended {
            ctx.write_with(msg, promise);
            return Ok(());
        }
        let size = self.size(&msg);
        if self.queue.is_empty() {
            if self.meter.write.rate() == 0 {
                self.pass(ctx, msg, promise, size);
                return Ok(());
            }
            if self.take_slot(size, now(ctx)) {
                self.pass(ctx, msg, promise, size);
                return Ok(());
            }
        }
        let msg = ctx.compact(msg);
        self.queue.push_back(Held { msg, promise, size });
        self.drain.keep();
        self.queued += size;
        self.meter.counter.add_queued(size);
        self.tick(ctx);
        let now = now(ctx);
        self.time_write(ctx, now);
        self.tell_writability(ctx, now);
        Ok(())
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.flushed = self.queue.len();
        ctx.flush();
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        let size = self.size(&msg);
        if size > 0 {
            self.meter.counter.add_read(size);
            self.tick(ctx);
            self.charge_read(ctx, size);
        }
        ctx.fire_channel_read(msg);
        Ok(())
    }

    fn read(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let Some(wait) = self.read_wait(ctx) else {
            self.asked = None;
            ctx.read();
            return Ok(());
        };
        if !ctx.auto_read() {
            self.asked = Some(Asked::ByHand);
        } else if self.asked.is_none() {
            self.asked = Some(Asked::ByAutoRead);
        }
        self.time_read(ctx, wait);
        Ok(())
    }

    fn timer(&mut self, ctx: &mut Context<'_>, key: u64) -> HandlerResult {
        if key == WRITE {
            self.write_timed = false;
            if !self.has_ended {
                self.send_due(ctx);
            }
            return Ok(());
        }
        self.read_timed = false;
        if self.asked.is_some() {
            match self.read_wait(ctx) {
                Some(wait) => self.time_read(ctx, wait),
                None => self.let_read(ctx),
            }
        }
        Ok(())
    }

    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        if self.drain.hears(&event) && !self.queue.is_empty() {
            self.drain.keep();
            self.flush(ctx)?;
        }
        ctx.fire_user_event_triggered(event);
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.discard();
        ctx.fire_channel_inactive();
        Ok(())
    }

    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if !ctx.channel().is_open() {
            self.discard();
            return Ok(());
        }
        self.give_slot_back();
        let mut is_flushed = false;
        while !self.queue.is_empty() {
            if self.flushed == 0 && is_flushed {
                ctx.flush();
                is_flushed = false;
            }
            is_flushed |= self.flushed > 0;
            if let Some(held) = self.pop() {
                self.pass(ctx, held.msg, held.promise, held.size);
            }
        }
        if self.is_full {
            self.is_full = false;
            let _ = ctx.set_user_writability(self.meter.bit, true);
        }
        if is_flushed {
            ctx.flush();
        }
        self.let_read(ctx);
        Ok(())
    }
}

/// The handler may be dropped without a farewell: when it panics, or with a loop that ends.
impl Drop for TrafficShaping {
    fn drop(&mut self) {
        self.give_slot_back();
        self.meter.counter.sub_queued(self.queued);
    }
}

/// The loop's time as the buckets count it. It may be as old as the phase of the turn, so a wait may be longer by that;
/// it is never shorter.
fn now(ctx: &Context<'_>) -> Duration {
    ctx.now().saturating_since(Time::ZERO)
}

/// What a message costs: the bytes of a buffer or of a file region; nothing else is known to have any.
fn size_of(msg: &Message) -> u64 {
    match msg.downcast_ref::<FileRegion>() {
        Some(region) => region.remaining(),
        None => msg.readable_bytes().unwrap_or(0) as u64,
    }
}

impl fmt::Debug for TrafficShaping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrafficShaping")
            .field("queued_messages", &self.queue.len())
            .field("queued", &self.queued)
            .field("is_full", &self.is_full)
            .finish_non_exhaustive()
    }
}
