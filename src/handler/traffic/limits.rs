//! [`TrafficLimits`]: what is allowed, and how it is watched. The defaults are Netty's (AbstractTrafficShapingHandler).

use std::time::Duration;

/// What a shaper allows.
///
/// ```
/// use tidegate::handler::traffic::TrafficLimits;
///
/// let limits = TrafficLimits::new().write(1 << 20).read(64 << 10);
/// assert_eq!(limits.max_queued, 4 << 20);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TrafficLimits {
    /// Bytes per second in; 0: no limit.
    pub read: u64,
    /// Bytes per second out; 0: no limit.
    pub write: u64,
    /// How often rates are computed, and how soon new limits concern what waits already: 1 s.
    pub check_interval: Duration,
    /// The longest wait for one message; what it does not pay for is forgiven: 15 s.
    pub max_wait: Duration,
    /// A shorter wait is none, for a timer costs more: 10 ms.
    pub min_wait: Duration,
    /// More bytes in a channel's queue make it unwritable, until half of them have left: 4 MiB.
    pub max_queued: u64,
    /// A longer wait for the last in the queue makes its channel unwritable, until it is half as long: 4 s.
    pub max_delay: Duration,
    /// More bytes in the queues of all channels of one shaper make every one with a queue unwritable: 400 MiB.
    pub max_queued_together: u64,
}

impl TrafficLimits {
    /// No limit in either direction.
    pub fn new() -> Self {
        Self {
            read: 0,
            write: 0,
            check_interval: Duration::from_secs(1),
            max_wait: Duration::from_secs(15),
            min_wait: Duration::from_millis(10),
            max_queued: 4 << 20,
            max_delay: Duration::from_secs(4),
            max_queued_together: 400 << 20,
        }
    }

    /// Bytes per second in; 0: no limit.
    #[must_use]
    pub fn read(mut self, bytes_per_second: u64) -> Self {
        self.read = bytes_per_second;
        self
    }

    /// Bytes per second out; 0: no limit.
    #[must_use]
    pub fn write(mut self, bytes_per_second: u64) -> Self {
        self.write = bytes_per_second;
        self
    }

    /// See [`check_interval`](field@Self::check_interval); at least 1 ms.
    #[must_use]
    pub fn check_interval(mut self, interval: Duration) -> Self {
        self.check_interval = interval.max(Duration::from_millis(1));
        self
    }

    /// See [`max_wait`](field@Self::max_wait).
    #[must_use]
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// See [`min_wait`](field@Self::min_wait).
    #[must_use]
    pub fn min_wait(mut self, wait: Duration) -> Self {
        self.min_wait = wait;
        self
    }

    /// See [`max_queued`](field@Self::max_queued).
    #[must_use]
    pub fn max_queued(mut self, bytes: u64) -> Self {
        self.max_queued = bytes;
        self
    }

    /// See [`max_delay`](field@Self::max_delay).
    #[must_use]
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// See [`max_queued_together`](field@Self::max_queued_together).
    #[must_use]
    pub fn max_queued_together(mut self, bytes: u64) -> Self {
        self.max_queued_together = bytes;
        self
    }
}

impl Default for TrafficLimits {
    fn default() -> Self {
        Self::new()
    }
}
