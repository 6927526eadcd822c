//! [`ReadTimeout`]: a peer that sends nothing is closed. A peer that must only be told or asked is the matter of
//! [`IdleState`](super::IdleState).

use std::time::Duration;

use super::period::{Alarm, CAUGHT_UP, DUE, close, expire, may_begin, period};
use crate::buffer::Message;
use crate::channel::{Context, Handler, HandlerResult};
use crate::event_loop::Time;

/// Closes the channel when nothing was read for too long.
///
/// The pipeline sees an error of kind [`TimedOut`](crate::ErrorKind::TimedOut), once, and then the channel closes (H37).
/// While a batch of reads is under way nothing is late; what counts is the end of the batch. Time also runs while
/// auto-read is off and nobody asks for a read, and behind a peer's end where half closure is allowed. What has come by then is read first: a loop that was held for long does not
/// blame the peer for it.
///
/// ```
/// use std::time::Duration;
/// use tidegate::handler::timeout::ReadTimeout;
/// use tidegate::{EmbeddedChannel, ErrorKind};
///
/// let limit = Duration::from_secs(30);
/// let mut channel = EmbeddedChannel::new(|pipeline| pipeline.add_last(ReadTimeout::new(limit)))?;
/// channel.advance(limit);
/// let error = channel.check().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::TimedOut);
/// assert_eq!(error.to_string(), "nothing was read for 30s");
/// assert!(!channel.channel().is_open());
/// # Ok::<(), tidegate::Failure>(())
/// ```
#[derive(Debug)]
pub struct ReadTimeout {
    period: Option<Duration>,
    alarm: Alarm,
    has_begun: bool,
    is_reading: bool,
    last_read: Time,
}

impl ReadTimeout {
    /// Closes after so long without a read. Zero: never.
    pub fn new(limit: Duration) -> Self {
        Self {
            period: period(limit),
            alarm: Alarm::default(),
            has_begun: false,
            is_reading: false,
            last_read: Time::ZERO,
        }
    }

    fn begin(&mut self, ctx: &mut Context<'_>) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.last_read = ctx.now();
            if let Some(period) = self.period {
                self.set(ctx, period);
            }
        }
    }

    fn set(&mut self, ctx: &mut Context<'_>, left: Duration) {
        self.alarm.set(ctx, left, self.last_read, DUE);
    }
}

impl Handler for ReadTimeout {
    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if may_begin(ctx) {
            self.begin(ctx);
        }
        Ok(())
    }

    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.alarm.cancel(ctx);
        Ok(())
    }

    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.begin(ctx);
        ctx.fire_channel_active();
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.is_reading = true;
        ctx.fire_channel_read(msg);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if std::mem::take(&mut self.is_reading) {
            self.last_read = ctx.now();
        }
        ctx.fire_channel_read_complete();
        Ok(())
    }

    fn after(&mut self, ctx: &mut Context<'_>, key: u64) -> HandlerResult {
        close(ctx, key)
    }

    fn timer(&mut self, ctx: &mut Context<'_>, key: u64) -> HandlerResult {
        self.alarm.rings();
        let Some(period) = self.period else {
            return Ok(());
        };
        let left = if self.is_reading {
            period
        } else {
            self.alarm.left(period, self.last_read, ctx.now())
        };
        if !left.is_zero() {
            self.set(ctx, left);
        } else if ctx.channel().is_open() && !(key == DUE && ctx.catch_up(CAUGHT_UP)) {
            expire(ctx, format!("nothing was read for {period:?}"));
        }
        Ok(())
    }
}
