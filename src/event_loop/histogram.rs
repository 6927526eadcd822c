//! Durations counted by powers of two: written by the loop with one store each, read by anybody.

use std::array;
use std::fmt;
use std::time::Duration;

use crate::reactor::counter::Counter;

/// Buckets of a histogram: the last one takes everything from 2^30 ns (about a second) on.
const BUCKETS: usize = 32;

/// Durations by powers of two, written by one thread.
#[derive(Debug, Default)]
pub(crate) struct Histogram([Counter; BUCKETS]);

impl Histogram {
    #[inline]
    pub(crate) fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - nanos.leading_zeros()) as usize;
        self.0[bucket.min(BUCKETS - 1)].add(1);
    }

    pub(super) fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            buckets: array::from_fn(|i| self.0[i].get()),
        }
    }
}

/// Durations counted by powers of two of a nanosecond.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramSnapshot {
    buckets: [u64; BUCKETS],
}

impl HistogramSnapshot {
    /// What was recorded after an earlier snapshot of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            buckets: array::from_fn(|i| self.buckets[i].saturating_sub(earlier.buckets[i])),
        }
    }

    /// What both have recorded.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            buckets: array::from_fn(|i| self.buckets[i].saturating_add(other.buckets[i])),
        }
    }

    /// How many durations were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// A duration that the given share of the recorded ones (0.0 to 1.0) did not reach; at most
    /// twice the true one. `None` if nothing was recorded. From a second on everything is counted
    /// together and [`Duration::MAX`] is the answer.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = ((count as f64 * share.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, n) in self.buckets.iter().enumerate().take(BUCKETS - 1) {
            seen += n;
            if seen >= rank {
                return Some(Duration::from_nanos(1 << bucket));
            }
        }
        Some(Duration::MAX)
    }

    /// Pairs of an upper bound (exclusive) and how many durations lie between the bound before and it.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        self.buckets.iter().enumerate().map(|(bucket, n)| {
            let bound = if bucket == BUCKETS - 1 {
                Duration::MAX
            } else {
                Duration::from_nanos(1 << bucket)
            };
            (bound, *n)
        })
    }
}

impl fmt::Display for HistogramSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
            match self.quantile(share) {
                None => return f.write_str("not measured"),
                Some(Duration::MAX) => write!(f, "{separator}{name} over a second")?,
                Some(bound) => write!(f, "{separator}{name} < {bound:?}")?,
            }
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_bound_what_was_recorded() {
        let histogram = Histogram::default();
        assert_eq!(histogram.snapshot().quantile(0.5), None);
        for _ in 0..99 {
            histogram.record(Duration::from_nanos(100));
        }
        histogram.record(Duration::from_secs(5));
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.count(), 100);
        assert_eq!(snapshot.quantile(0.5), Some(Duration::from_nanos(128)));
        assert_eq!(snapshot.quantile(1.0), Some(Duration::MAX));
        assert_eq!(snapshot.buckets().map(|(_, n)| n).sum::<u64>(), 100);
    }

    #[test]
    fn zero_and_the_powers_of_two_have_their_buckets() {
        let histogram = Histogram::default();
        histogram.record(Duration::ZERO);
        assert_eq!(
            histogram.snapshot().quantile(1.0),
            Some(Duration::from_nanos(1))
        );
        histogram.record(Duration::from_nanos(128));
        assert_eq!(
            histogram.snapshot().quantile(1.0),
            Some(Duration::from_nanos(256))
        );
    }

    #[test]
    fn the_sum_of_two_has_the_durations_of_both() {
        let (one, other) = (Histogram::default(), Histogram::default());
        one.record(Duration::from_nanos(100));
        other.record(Duration::from_nanos(100));
        other.record(Duration::from_secs(5));
        let sum = one.snapshot().plus(&other.snapshot());
        assert_eq!(sum.count(), 3);
        assert_eq!(sum.quantile(0.5), Some(Duration::from_nanos(128)));
        assert_eq!(sum.since(&other.snapshot()), one.snapshot());
    }
}
