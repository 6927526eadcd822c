//! What a loop counts, and the snapshot that users read.
//!
//! The loop writes with plain stores; [`Metrics::snapshot`] may be called from any thread and sees
//! each number as of some moment of the call, not all of the same one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::reactor::counter::{Counter, ReactorCounters};

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

    fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            buckets: std::array::from_fn(|i| self.0[i].get()),
        }
    }
}

/// What the channels of a loop count.
#[derive(Debug, Default)]
pub(crate) struct ChannelCounters {
    /// Messages that no handler took.
    pub(crate) unhandled_messages: Counter,
    /// Errors that no handler took.
    pub(crate) unhandled_errors: Counter,
    /// Failed writes that nobody observed.
    pub(crate) unobserved_write_failures: Counter,
    /// Errors of exception_caught itself.
    pub(crate) failed_exception_caught: Counter,
    /// Callbacks that panicked.
    pub(crate) handler_panics: Counter,
}

/// What the listeners of a loop count.
#[derive(Debug, Default)]
pub(crate) struct AcceptCounters {
    /// Connections taken.
    pub(crate) accepted: Counter,
    /// Clients that were gone before they could be accepted.
    pub(crate) failed_clients: Counter,
    /// Times that accepting rested for want of descriptors or memory.
    pub(crate) rests: Counter,
    /// Clients told off because there was no descriptor for them.
    pub(crate) shed: Counter,
    /// Errors of the listening socket itself.
    pub(crate) failures: Counter,
    /// Connections closed because their loop took no more work.
    pub(crate) refused: Counter,
    /// Children closed before they began: an option or the handler failed.
    pub(crate) stillborn: Counter,
}

/// The counters of one loop.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) reactor: Arc<ReactorCounters>,
    pub(crate) turns: Counter,
    pub(crate) tasks_run: Counter,
    /// Of those, the ones that came from other threads.
    pub(crate) remote_tasks_run: Counter,
    pub(crate) wakes_sent: Counter,
    pub(crate) timers_run: Counter,
    pub(crate) io_ns: Counter,
    pub(crate) tasks_ns: Counter,
    pub(crate) spin_ns: Counter,
    pub(crate) sleep_ns: Counter,
    /// Waiting in the queue of local tasks at the end of the last turn.
    pub(crate) local_waiting: Counter,
    pub(crate) panics: Counter,
    pub(crate) timers_waiting: Counter,
    pub(crate) channels: Counter,
    /// What went wrong in pipelines and nobody was there to be told.
    pub(crate) channel: ChannelCounters,
    pub(crate) accept: AcceptCounters,
    pub(crate) timer_lateness: Histogram,
    pub(crate) queue_wait: Histogram,
    /// Counted by those who were refused, hence with many writers.
    pub(crate) rejected: AtomicU64,
}

impl Metrics {
    /// `remote_waiting` is the length of the cross-thread queue, which belongs to the caller.
    pub(crate) fn snapshot(&self, remote_waiting: usize) -> MetricsSnapshot {
        let reactor = &self.reactor;
        let wakes_sent = self.wakes_sent.get();
        MetricsSnapshot {
            turns: self.turns.get(),
            events: reactor.events.get(),
            stale_events: reactor.stale.get(),
            wakes_sent,
            wakes_saved: self.remote_tasks_run.get().saturating_sub(wakes_sent),
            tasks_run: self.tasks_run.get(),
            tasks_waiting: self.local_waiting.get() + remote_waiting as u64,
            timers_run: self.timers_run.get(),
            timers_waiting: self.timers_waiting.get(),
            channels: self.channels.get(),
            time_in_io: Duration::from_nanos(self.io_ns.get()),
            time_in_tasks: Duration::from_nanos(self.tasks_ns.get()),
            time_spinning: Duration::from_nanos(self.spin_ns.get()),
            time_asleep: Duration::from_nanos(self.sleep_ns.get()),
            timer_lateness: self.timer_lateness.snapshot(),
            queue_wait: self.queue_wait.snapshot(),
            premature_waits: reactor.premature.get(),
            failed_waits: reactor.failures.get(),
            ghost_events: reactor.ghosts.get(),
            rebuilds: reactor.rebuilds.get(),
            panics: self.panics.get(),
            unhandled_messages: self.channel.unhandled_messages.get(),
            unhandled_errors: self.channel.unhandled_errors.get(),
            unobserved_write_failures: self.channel.unobserved_write_failures.get(),
            failed_exception_caught: self.channel.failed_exception_caught.get(),
            handler_panics: self.channel.handler_panics.get(),
            rejected: self.rejected.load(Ordering::Relaxed),
            accepted: self.accept.accepted.get(),
            accept_failed_clients: self.accept.failed_clients.get(),
            accept_rests: self.accept.rests.get(),
            accept_shed: self.accept.shed.get(),
            accept_failures: self.accept.failures.get(),
            accept_refused: self.accept.refused.get(),
            accept_stillborn: self.accept.stillborn.get(),
        }
    }
}

/// What one loop has done since it was made. Counts never go back, except those that say how many
/// there are now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricsSnapshot {
    /// Rounds of wait, I/O and tasks.
    pub turns: u64,
    /// Readiness events handed to a channel.
    pub events: u64,
    /// Events for a channel that was already gone, dropped.
    pub stale_events: u64,
    /// Times that another thread had to wake the sleeping loop.
    pub wakes_sent: u64,
    /// Tasks from other threads that found the loop awake or already woken.
    pub wakes_saved: u64,
    /// Tasks that have run.
    pub tasks_run: u64,
    /// Tasks that wait now.
    pub tasks_waiting: u64,
    /// Timers that have fired.
    pub timers_run: u64,
    /// Timers that are set now.
    pub timers_waiting: u64,
    /// Channels of this loop now.
    pub channels: u64,
    /// Time spent on readiness, on channels with work left, and on what follows from both.
    pub time_in_io: Duration,
    /// Time spent on tasks and timers.
    pub time_in_tasks: Duration,
    /// Time spent polling for something to do.
    pub time_spinning: Duration,
    /// Time spent asleep in the kernel.
    pub time_asleep: Duration,
    /// How long after their deadline timers fired.
    pub timer_lateness: HistogramSnapshot,
    /// How long tasks waited between `execute` and their start; empty unless the loop was built with
    /// `measure_queue_wait`.
    pub queue_wait: HistogramSnapshot,
    /// Waits that came back early with nothing to report.
    pub premature_waits: u64,
    /// Waits that the kernel answered with an error.
    pub failed_waits: u64,
    /// Events of registrations that had long ended: some descriptor has a duplicate that is still open.
    pub ghost_events: u64,
    /// Times that the selector was opened anew.
    pub rebuilds: u64,
    /// Tasks, timers and listeners that panicked.
    pub panics: u64,
    /// Messages that no handler took.
    pub unhandled_messages: u64,
    /// Errors that no handler took.
    pub unhandled_errors: u64,
    /// Failed writes that nobody observed.
    pub unobserved_write_failures: u64,
    /// Errors that `exception_caught` itself returned.
    pub failed_exception_caught: u64,
    /// Callbacks of handlers that panicked.
    pub handler_panics: u64,
    /// Tasks that were refused because the queue was full or the loop had ended.
    pub rejected: u64,
    /// Connections that listeners of this loop have taken.
    pub accepted: u64,
    /// Clients that were gone before they could be accepted.
    pub accept_failed_clients: u64,
    /// Times that accepting rested for want of descriptors or memory.
    pub accept_rests: u64,
    /// Clients told off because there was no descriptor for them.
    pub accept_shed: u64,
    /// Errors of a listening socket itself.
    pub accept_failures: u64,
    /// Accepted connections closed because the loop chosen for them took no more work.
    pub accept_refused: u64,
    /// Accepted connections closed before they began, on this loop: an option or the handler failed.
    pub accept_stillborn: u64,
}

impl MetricsSnapshot {
    /// What happened between an earlier snapshot of the same loop and this one. What says how many there are now
    /// (`tasks_waiting`, `timers_waiting`, `channels`) stays as it is.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            turns: self.turns.saturating_sub(earlier.turns),
            events: self.events.saturating_sub(earlier.events),
            stale_events: self.stale_events.saturating_sub(earlier.stale_events),
            wakes_sent: self.wakes_sent.saturating_sub(earlier.wakes_sent),
            wakes_saved: self.wakes_saved.saturating_sub(earlier.wakes_saved),
            tasks_run: self.tasks_run.saturating_sub(earlier.tasks_run),
            tasks_waiting: self.tasks_waiting,
            timers_run: self.timers_run.saturating_sub(earlier.timers_run),
            timers_waiting: self.timers_waiting,
            channels: self.channels,
            time_in_io: self.time_in_io.saturating_sub(earlier.time_in_io),
            time_in_tasks: self.time_in_tasks.saturating_sub(earlier.time_in_tasks),
            time_spinning: self.time_spinning.saturating_sub(earlier.time_spinning),
            time_asleep: self.time_asleep.saturating_sub(earlier.time_asleep),
            timer_lateness: self.timer_lateness.since(&earlier.timer_lateness),
            queue_wait: self.queue_wait.since(&earlier.queue_wait),
            premature_waits: self.premature_waits.saturating_sub(earlier.premature_waits),
            failed_waits: self.failed_waits.saturating_sub(earlier.failed_waits),
            ghost_events: self.ghost_events.saturating_sub(earlier.ghost_events),
            rebuilds: self.rebuilds.saturating_sub(earlier.rebuilds),
            panics: self.panics.saturating_sub(earlier.panics),
            unhandled_messages: self
                .unhandled_messages
                .saturating_sub(earlier.unhandled_messages),
            unhandled_errors: self
                .unhandled_errors
                .saturating_sub(earlier.unhandled_errors),
            unobserved_write_failures: self
                .unobserved_write_failures
                .saturating_sub(earlier.unobserved_write_failures),
            failed_exception_caught: self
                .failed_exception_caught
                .saturating_sub(earlier.failed_exception_caught),
            handler_panics: self.handler_panics.saturating_sub(earlier.handler_panics),
            rejected: self.rejected.saturating_sub(earlier.rejected),
            accepted: self.accepted.saturating_sub(earlier.accepted),
            accept_failed_clients: self
                .accept_failed_clients
                .saturating_sub(earlier.accept_failed_clients),
            accept_rests: self.accept_rests.saturating_sub(earlier.accept_rests),
            accept_shed: self.accept_shed.saturating_sub(earlier.accept_shed),
            accept_failures: self.accept_failures.saturating_sub(earlier.accept_failures),
            accept_refused: self.accept_refused.saturating_sub(earlier.accept_refused),
            accept_stillborn: self
                .accept_stillborn
                .saturating_sub(earlier.accept_stillborn),
        }
    }
}

impl fmt::Display for MetricsSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} turns; {:?} in I/O, {:?} in tasks, {:?} spinning, {:?} asleep",
            self.turns, self.time_in_io, self.time_in_tasks, self.time_spinning, self.time_asleep
        )?;
        writeln!(
            f,
            "{} channels, {} events ({} stale, {} of them ghosts)",
            self.channels, self.events, self.stale_events, self.ghost_events
        )?;
        writeln!(
            f,
            "{} tasks run, {} waiting, {} rejected, {} panicked; woken {} times, {} wake-ups saved",
            self.tasks_run,
            self.tasks_waiting,
            self.rejected,
            self.panics,
            self.wakes_sent,
            self.wakes_saved
        )?;
        writeln!(
            f,
            "{} timers run, {} waiting; lateness {}",
            self.timers_run, self.timers_waiting, self.timer_lateness
        )?;
        if self.queue_wait.count() > 0 {
            writeln!(f, "tasks waited {}", self.queue_wait)?;
        }
        writeln!(
            f,
            "unhandled: {} messages, {} errors, {} failed writes, {} failed exception_caught; \
             {} handlers panicked",
            self.unhandled_messages,
            self.unhandled_errors,
            self.unobserved_write_failures,
            self.failed_exception_caught,
            self.handler_panics
        )?;
        write!(
            f,
            "{} premature waits, {} failed waits, {} selector rebuilds",
            self.premature_waits, self.failed_waits, self.rebuilds
        )
    }
}

/// Durations counted by powers of two of a nanosecond.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramSnapshot {
    buckets: [u64; BUCKETS],
}

impl HistogramSnapshot {
    /// What was recorded after an earlier snapshot of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            buckets: std::array::from_fn(|i| self.buckets[i].saturating_sub(earlier.buckets[i])),
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
    fn a_snapshot_reads_as_words() {
        let metrics = Metrics::default();
        metrics.turns.add(3);
        metrics.remote_tasks_run.add(10);
        metrics.tasks_run.add(12);
        metrics.wakes_sent.add(4);
        let snapshot = metrics.snapshot(2);
        assert_eq!((snapshot.wakes_saved, snapshot.tasks_waiting), (6, 2));
        let words = snapshot.to_string();
        assert!(words.contains("12 tasks run, 2 waiting"), "{words}");
        assert!(words.contains("lateness not measured"), "{words}");
    }
}
