//! [`UnwritableGuard`]: a peer that takes nothing of what waits for it is closed, so that slow or malicious readers do not
//! hold memory for ever. A peer that takes a little now and then is let be.

use std::time::Duration;

use super::period::{CAUGHT_UP, DUE, cancel, close, expire, period, rest};
use crate::channel::{Context, Handler, HandlerResult, OutboundMark};
use crate::event_loop::{Time, TimerKey};

/// The guard looks this often in a period, so it closes at most an eighth of a period late, never early.
const LOOKS: u32 = 8;

/// Closes the channel of a peer that has not read for too long: something flushed waits, and the kernel has taken not a
/// byte of it.
///
/// The pipeline sees an error of kind [`TimedOut`](crate::ErrorKind::TimedOut), once, and then the channel closes. While
/// nothing waits no timer is set, and a flush costs one look at the outbound buffer. What is written and flushed while the
/// peer does not read gives it no more time. If the kernel has room when time is over, that is used before anybody is blamed.
///
/// It closes as `close` does: what the kernel has taken still goes out, and then an end. Where a peer could take that part for the
/// whole, a handler behind resets the connection in `exception_caught`: `SO_LINGER` of zero, then `close`.
///
/// Put it first, so that it sees the flushes of all others, and on the channel's own loop: it guards nothing when it was
/// added with `add_last_on`.
///
/// ```
/// use std::time::Duration;
/// use tidegate::handler::timeout::UnwritableGuard;
/// use tidegate::EmbeddedChannel;
///
/// let limit = Duration::from_secs(8);
/// let mut channel = EmbeddedChannel::new(|pipeline| pipeline.add_last(UnwritableGuard::new(limit)))?;
/// channel.block_writes(true);
/// channel.write_outbound("the peer does not read this")?;
/// channel.advance(Duration::from_secs(9));
/// let text = channel.check().unwrap_err().to_string();
/// assert_eq!(text, "the peer has read nothing for 8s, with 27 bytes waiting for it");
/// assert!(!channel.channel().is_open());
/// # Ok::<(), tidegate::Failure>(())
/// ```
#[derive(Debug)]
pub struct UnwritableGuard {
    period: Option<Duration>,
    timer: Option<TimerKey>,
    /// Where sending stood at the last look that saw it get on, and when that was.
    mark: OutboundMark,
    since: Time,
}

impl UnwritableGuard {
    /// Closes when the peer has read nothing for so long. Zero: never.
    pub fn new(limit: Duration) -> Self {
        Self {
            period: period(limit),
            timer: None,
            mark: OutboundMark::default(),
            since: Time::ZERO,
        }
    }

    /// Begins to look if something waits.
    fn begin(&mut self, ctx: &mut Context<'_>) {
        let Some(period) = self.period.filter(|_| self.timer.is_none()) else {
            return;
        };
        let mark = ctx.outbound_mark();
        if mark.is_waiting() {
            self.begin_at(ctx, period, mark);
        }
    }

    /// Its time begins now: by the clock that the timer has read.
    fn begin_at(&mut self, ctx: &mut Context<'_>, period: Duration, mark: OutboundMark) {
        self.mark = mark;
        self.timer = Some(ctx.timer(next_look(period, period), DUE));
        self.since = ctx.now();
    }

    fn look(&mut self, ctx: &mut Context<'_>, period: Duration, rung: Option<TimerKey>, key: u64) {
        let mark = ctx.outbound_mark();
        if !mark.is_waiting() || !ctx.channel().is_open() {
            return;
        }
        if mark.has_progressed_since(self.mark) {
            return self.begin_at(ctx, period, mark);
        }
        let left = rest(period, self.since, ctx.now());
        if !left.is_zero() {
            self.timer = Some(ctx.timer(next_look(period, left), DUE));
            return;
        }
        if key == DUE && ctx.catch_up(CAUGHT_UP) {
            // It counts as set: no flush begins anew meanwhile.
            self.timer = rung;
            return;
        }
        let waiting = ctx.unsent_bytes();
        expire(
            ctx,
            format!(
                "the peer has read nothing for {period:?}, with {waiting} bytes waiting for it"
            ),
        );
    }
}

fn next_look(period: Duration, left: Duration) -> Duration {
    left.min((period / LOOKS).max(Duration::from_millis(1)))
}

impl Handler for UnwritableGuard {
    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.begin(ctx);
        Ok(())
    }

    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        cancel(ctx, &mut self.timer);
        Ok(())
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.begin(ctx);
        ctx.fire_channel_writability_changed();
        Ok(())
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        self.begin(ctx);
        Ok(())
    }

    fn after(&mut self, ctx: &mut Context<'_>, key: u64) -> HandlerResult {
        close(ctx, key)
    }

    fn timer(&mut self, ctx: &mut Context<'_>, key: u64) -> HandlerResult {
        let rung = self.timer.take();
        if let Some(period) = self.period {
            self.look(ctx, period, rung, key);
        }
        Ok(())
    }
}
