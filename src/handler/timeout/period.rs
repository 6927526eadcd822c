//! What the watches of this folder have in common: their periods, and how those that close do it. They refuse nothing:
//! every duration has a meaning.

use std::time::Duration;

use crate::channel::{Context, HandlerResult};
use crate::error::{Error, ErrorKind, Fault};
use crate::event_loop::{Time, TimerKey};

/// The shortest period but zero (H31).
const MIN: Duration = Duration::from_millis(1);

/// The key of `after` by which a handler comes back to close, once the pipeline has heard why.
pub(super) const CLOSE: u64 = u64::MAX;

/// A period as it was asked for: none for zero, at least a millisecond.
pub(super) fn period(asked: Duration) -> Option<Duration> {
    (!asked.is_zero()).then(|| asked.max(MIN))
}

/// What is left at `now` of a period that began at `since`; zero if it is over.
pub(super) fn rest(period: Duration, since: Time, now: Time) -> Duration {
    period.saturating_sub(now.saturating_since(since))
}

/// The timer of a watch that counts from when something happened.
///
/// What happened is noted with the loop's cached time, which is older than it in a turn in which somebody held the loop. So a
/// timer that is late does not believe in a time that is over since something which happened after it was set: that counts
/// as if it had happened now.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    timer: Option<TimerKey>,
    due: Time,
    /// What had happened when it was set.
    counted: Time,
}

impl Alarm {
    pub(super) fn is_set(&self) -> bool {
        self.timer.is_some()
    }

    /// Sets it anew; `since` is when the last thing happened.
    pub(super) fn set(&mut self, ctx: &mut Context<'_>, left: Duration, since: Time, key: u64) {
        self.cancel(ctx);
        self.timer = Some(ctx.timer(left, key));
        self.due = ctx.now() + left;
        self.counted = since;
    }

    /// The timer has come.
    pub(super) fn rings(&mut self) {
        self.timer = None;
    }

    pub(super) fn cancel(&mut self, ctx: &mut Context<'_>) {
        cancel(ctx, &mut self.timer);
    }

    /// What is left of the period now that it has come; zero if it is over.
    pub(super) fn left(&self, period: Duration, since: Time, now: Time) -> Duration {
        let left = rest(period, since, now);
        if left.is_zero() && since != self.counted && now > self.due {
            return period;
        }
        left
    }
}

/// Shows the pipeline that time is over, and asks to be called back when that was handled, to close. An error that no
/// handler takes closes the channel at the tail, which makes it the reason that pending writes are given.
pub(super) fn expire(ctx: &mut Context<'_>, text: String) {
    let error = Error::new(ErrorKind::TimedOut, text).with_fault(Fault::Peer);
    ctx.fire_exception_caught(error);
    ctx.after(CLOSE);
}

/// The other half of [`expire`].
pub(super) fn close(ctx: &mut Context<'_>, key: u64) -> HandlerResult {
    if key == CLOSE {
        ctx.close();
    }
    Ok(())
}

/// True if a watch may begin: the channel is connected and its pipeline has been told so, or will be told no more.
pub(super) fn may_begin(ctx: &Context<'_>) -> bool {
    ctx.is_active() && ctx.channel().is_registered()
}

/// Keys of a watch's `timer`: its time is over; it is, and the channel has been looked at once more
/// ([`Context::catch_up`]).
pub(super) const DUE: u64 = 0;
pub(super) const CAUGHT_UP: u64 = 1;

/// Cancels a timer that may not be set.
pub(super) fn cancel(ctx: &mut Context<'_>, timer: &mut Option<TimerKey>) {
    if let Some(timer) = timer.take() {
        ctx.cancel_timer(timer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Zero is off, anything else at least a millisecond.
    ///
    /// Rules: H31
    #[test]
    fn periods_are_off_or_at_least_a_millisecond() {
        assert_eq!(period(Duration::ZERO), None);
        assert_eq!(period(Duration::from_nanos(1)), Some(MIN));
        assert_eq!(period(Duration::MAX), Some(Duration::MAX));
    }

    #[test]
    fn the_rest_of_a_period_is_never_negative() {
        let now = Time::ZERO + Duration::from_secs(5);
        let three = Duration::from_secs(3);
        assert_eq!(rest(three, now, now), three);
        assert_eq!(rest(three, Time::ZERO, now), Duration::ZERO);
        assert_eq!(rest(Duration::MAX, now, Time::ZERO), Duration::MAX);
    }
}
