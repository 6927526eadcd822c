//! [`Bucket`]: one direction's rate, as the instant at which everything that passed has been paid for.
//!
//! Any number of channels on any threads take from it. Each takes a slot for the first message of its queue only, so
//! slots go round among the channels that wait, and a channel that dies gives one slot back.
//!
//! When the rate changes, debts are forgiven and the version counts up: whoever waits takes a new slot. A slot that is
//! taken while the rate changes may go by the old one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const NANOS: u128 = 1_000_000_000;

#[derive(Default)]
pub(super) struct Bucket {
    /// Bytes per second; 0: no limit.
    rate: AtomicU64,
    /// In nanoseconds of the loops' clock: from here on something may pass.
    free_at: AtomicU64,
    version: AtomicU64,
}

/// What a message was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slot {
    /// When it may pass.
    pub(super) at: Duration,
    /// When it will have been paid for: the next one's turn.
    pub(super) paid_at: Duration,
}

impl Bucket {
    pub(super) fn new(rate: u64) -> Self {
        Self {
            rate: AtomicU64::new(rate),
            ..Self::default()
        }
    }

    pub(super) fn rate(&self) -> u64 {
        self.rate.load(Ordering::Relaxed)
    }

    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(super) fn set_rate(&self, rate: u64) {
        self.rate.store(rate, Ordering::Relaxed);
        self.free_at.store(0, Ordering::Relaxed);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// A slot for so many bytes, at most `max_wait` from now.
    pub(super) fn take(&self, bytes: u64, now: Duration, max_wait: Duration) -> Slot {
        let rate = self.rate();
        if rate == 0 {
            return Slot {
                at: now,
                paid_at: now,
            };
        }
        let cost = cost(bytes, rate);
        let (now, latest) = (nanos(now), nanos(now.saturating_add(max_wait)));
        let slot = |free_at: u64| free_at.max(now).min(latest);
        let free_at =
            match self
                .free_at
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free_at| {
                    Some(slot(free_at).saturating_add(cost))
                }) {
                Ok(before) | Err(before) => slot(before),
            };
        Slot {
            at: Duration::from_nanos(free_at),
            paid_at: Duration::from_nanos(free_at.saturating_add(cost)),
        }
    }

    /// Gives a slot of this version back that was not used.
    pub(super) fn give_back(&self, bytes: u64, version: u64) {
        let rate = self.rate();
        if rate == 0 || version != self.version() {
            return;
        }
        let cost = cost(bytes, rate);
        let _ = self
            .free_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free_at| {
                Some(free_at.saturating_sub(cost))
            });
    }

    /// How long so many bytes take; none without a limit.
    pub(super) fn time_for(&self, bytes: u64) -> Duration {
        match self.rate() {
            0 => Duration::ZERO,
            rate => Duration::from_nanos(cost(bytes, rate)),
        }
    }
}

fn cost(bytes: u64, rate: u64) -> u64 {
    u64::try_from(u128::from(bytes) * NANOS / u128::from(rate)).unwrap_or(u64::MAX)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_message_delays_those_behind_it() {
        let bucket = Bucket::new(1000);
        let at = |bytes, now| bucket.take(bytes, now, LONG).at;
        assert_eq!(at(500, ms(0)), ms(0));
        assert_eq!(at(1, ms(100)), ms(500));
        assert_eq!(at(0, ms(100)), ms(501));
        // Time that nobody used is not saved up.
        assert_eq!(at(500, ms(9000)), ms(9000));
        assert_eq!(at(500, ms(9000)), ms(9500));
    }

    #[test]
    fn a_wait_that_is_too_long_is_cut_and_the_rest_forgiven() {
        let bucket = Bucket::new(1);
        bucket.take(1_000_000, ms(0), ms(15_000));
        assert_eq!(bucket.take(1, ms(0), ms(15_000)).at, ms(15_000));
        assert_eq!(bucket.take(1, ms(1_000), ms(15_000)).at, ms(16_000));
    }

    #[test]
    fn a_slot_that_is_given_back_is_somebody_elses() {
        let bucket = Bucket::new(1000);
        bucket.take(1000, ms(0), LONG);
        bucket.give_back(1000, bucket.version());
        assert_eq!(bucket.take(1, ms(0), LONG).at, ms(0));
        bucket.take(1000, ms(0), LONG);
        bucket.set_rate(2000);
        bucket.give_back(1000, 0);
        assert_eq!(bucket.take(2000, ms(0), LONG).at, ms(0));
        assert_eq!(bucket.take(1, ms(0), LONG).at, ms(1000));
    }

    #[test]
    fn numbers_beyond_the_clock_do_no_harm() {
        let bucket = Bucket::new(1);
        assert_eq!(bucket.take(u64::MAX, Duration::MAX, Duration::MAX).at, {
            Duration::from_nanos(u64::MAX)
        });
        assert_eq!(bucket.time_for(u64::MAX), Duration::from_nanos(u64::MAX));
        bucket.give_back(u64::MAX, 0);
    }

    /// What threads take together is what one would have taken.
    #[test]
    fn no_slot_is_given_twice() {
        let bucket = Bucket::new(1_000_000_000);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        bucket.take(10, ms(0), LONG);
                    }
                });
            }
        });
        let at = bucket.take(0, ms(0), LONG).at;
        assert_eq!(at, Duration::from_nanos(4 * 1000 * 10));
    }
}
