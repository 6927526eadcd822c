//! The monotonic clock. Every deadline of Tidegate is a [`Time`]; the wall clock is never asked, so that
//! setting it moves no timer.

use std::fmt;
use std::ops::{Add, AddAssign};
use std::time::Duration;

/// A point on the monotonic clock, in nanoseconds since an unspecified start.
///
/// Arithmetic saturates: a deadline past [`Time::MAX`] (584 years) is [`Time::MAX`], which means never.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The start of the clock.
    pub const ZERO: Self = Self(0);
    /// Later than anything: never.
    pub const MAX: Self = Self(u64::MAX);

    /// The point this many nanoseconds after [`Time::ZERO`].
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since [`Time::ZERO`].
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not.
    #[inline]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The same in nanoseconds: what a turn of a loop reckons with, since a Duration costs a division each way.
    #[inline]
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This much later, at most [`Time::MAX`].
    #[inline]
    pub const fn saturating_add(self, duration: Duration) -> Self {
        // A Duration holds up to 2^64 seconds: more nanoseconds than fit.
        let nanos = duration.as_nanos();
        if nanos > u64::MAX as u128 {
            return Self::MAX;
        }
        Self(self.0.saturating_add(nanos as u64))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        self.saturating_add(duration)
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, duration: Duration) {
        *self = self.saturating_add(duration);
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Time({}.{:09}s)", self.0 / NANOS, self.0 % NANOS)
    }
}

const NANOS: u64 = 1_000_000_000;

/// The time now: CLOCK_MONOTONIC, answered by the vDSO without entering the kernel.
#[inline]
pub fn now() -> Time {
    #[cfg(loom)]
    return Time(super::bell::now());
    #[cfg(not(loom))]
    kernel_now()
}

#[cfg(not(loom))]
#[inline]
fn kernel_now() -> Time {
    #[cfg(feature = "sim")]
    if let Some(nanos) = super::sim::now() {
        return Time(nanos);
    }
    let mut spec = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `spec` is a timespec that the kernel may write. CLOCK_MONOTONIC exists on every target, so
    // the call cannot fail.
    let returned = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut spec) };
    debug_assert_eq!(returned, 0, "CLOCK_MONOTONIC can always be read");
    Time(spec.tv_sec as u64 * NANOS + spec.tv_nsec as u64)
}

/// Lets the calling thread do nothing for this long, by the same clock.
pub fn pause(duration: Duration) {
    #[cfg(feature = "sim")]
    {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        if super::sim::anywhere(|kernel| kernel.lose_time(nanos)).is_some() {
            return;
        }
    }
    std::thread::sleep(duration);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        let time = Time::from_nanos(10);
        assert_eq!(time + Duration::from_nanos(5), Time::from_nanos(15));
        assert_eq!(time + Duration::MAX, Time::MAX);
        assert_eq!(Time::MAX + Duration::from_nanos(1), Time::MAX);
        assert_eq!(Time::ZERO.saturating_since(time), Duration::ZERO);
        assert_eq!(time.saturating_since(Time::ZERO), Duration::from_nanos(10));
        assert_eq!(
            (time.nanos_since(Time::ZERO), Time::ZERO.nanos_since(time)),
            (10, 0)
        );
        assert_eq!(
            format!("{:?}", Time::from_nanos(1_500_000_000)),
            "Time(1.500000000s)"
        );
    }

    #[test]
    fn the_clock_does_not_go_back() {
        let mut last = now();
        for _ in 0..10_000 {
            let next = now();
            assert!(next >= last);
            last = next;
        }
    }
}
