//! [`WriteTimeout`]: a write that is not done in time closes its channel. How long a peer may take nothing at all, however
//! much is written, is the matter of [`UnwritableGuard`](super::UnwritableGuard).

use std::collections::VecDeque;
use std::time::Duration;

use super::period::{Alarm, CAUGHT_UP, DUE, close, expire, period};
use crate::buffer::Message;
use crate::channel::{Context, Handler, HandlerResult};
use crate::event_loop::Time;
use crate::future::{Completion, Promise};
use crate::handler::queue::relax;

/// Closes the channel when a write has not been completed in time.
///
/// Each write has its own time, from the moment in which it passes this handler until the kernel has taken its last byte.
/// The pipeline sees an error of kind [`TimedOut`](crate::ErrorKind::TimedOut), once, and then the channel closes, which
/// fails the write (H37). One timer serves all writes; a write without a promise is given one.
///
/// A write that was never flushed is late too. What the kernel has room for by then is sent first: a loop that was held for
/// long does not blame the peer for it.
///
/// ```
/// use std::time::Duration;
/// use tidegate::handler::timeout::WriteTimeout;
/// use tidegate::{EmbeddedChannel, ErrorKind};
///
/// let limit = Duration::from_secs(10);
/// let mut channel = EmbeddedChannel::new(|pipeline| pipeline.add_last(WriteTimeout::new(limit)))?;
/// channel.block_writes(true);
/// channel.write_outbound("a peer that does not read")?;
/// channel.advance(limit);
/// assert_eq!(channel.check().unwrap_err().to_string(), "a write was not completed within 10s");
/// assert!(!channel.channel().is_open());
/// # Ok::<(), tidegate::Failure>(())
/// ```
#[derive(Debug)]
pub struct WriteTimeout {
    period: Option<Duration>,
    /// Set exactly while `pending` is not empty, until time is over for sure.
    alarm: Alarm,
    /// Oldest first; those that are done leave when somebody looks.
    pending: VecDeque<Pending>,
    is_over: bool,
}

#[derive(Debug)]
struct Pending {
    since: Time,
    completion: Completion,
    /// Nobody else waits for it: its promise was void.
    is_alone: bool,
}

impl WriteTimeout {
    /// Closes when a write takes so long. Zero: never.
    pub fn new(limit: Duration) -> Self {
        Self {
            period: period(limit),
            alarm: Alarm::default(),
            pending: VecDeque::new(),
            is_over: false,
        }
    }

    fn set(&mut self, ctx: &mut Context<'_>, left: Duration) {
        let oldest = self.pending.front();
        let since = oldest.map_or(Time::ZERO, |oldest| oldest.since);
        self.alarm.set(ctx, left, since, DUE);
    }

    /// Forgets the oldest writes that are done.
    fn prune(&mut self, ctx: &mut Context<'_>) {
        while let Some(oldest) = self.pending.front()
            && oldest.completion.is_done()
        {
            if oldest.is_alone
                && let Some(error) = oldest.completion.cause()
            {
                ctx.count_unobserved_failure(&error);
            }
            self.pending.pop_front();
        }
    }
}

impl Handler for WriteTimeout {
    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.alarm.cancel(ctx);
        self.prune(ctx);
        self.pending = VecDeque::new();
        Ok(())
    }

    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        let Some(period) = self.period.filter(|_| !self.is_over) else {
            ctx.write_with(msg, promise);
            return Ok(());
        };
        self.prune(ctx);
        let is_alone = promise.is_void();
        let promise = if is_alone { ctx.new_promise() } else { promise };
        self.pending.push_back(Pending {
            since: ctx.now(),
            completion: promise.completion(),
            is_alone,
        });
        if !self.alarm.is_set() {
            self.set(ctx, period);
        }
        ctx.write_with(msg, promise);
        Ok(())
    }

    fn after(&mut self, ctx: &mut Context<'_>, key: u64) -> HandlerResult {
        close(ctx, key)
    }

    fn timer(&mut self, ctx: &mut Context<'_>, key: u64) -> HandlerResult {
        self.prune(ctx);
        relax(&mut self.pending);
        let (Some(period), Some(oldest)) = (self.period, self.pending.front()) else {
            self.alarm.rings();
            return Ok(());
        };
        let left = self.alarm.left(period, oldest.since, ctx.now());
        if !left.is_zero() {
            self.set(ctx, left);
        } else if !ctx.channel().is_open() {
            self.alarm.rings();
        } else if !(key == DUE && ctx.catch_up(CAUGHT_UP)) {
            self.alarm.rings();
            self.is_over = true;
            expire(ctx, format!("a write was not completed within {period:?}"));
        }
        Ok(())
    }
}
