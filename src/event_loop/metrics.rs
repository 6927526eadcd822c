//! What a loop counts, and the snapshot that users read.
//!
//! The loop writes with plain stores; [`Metrics::snapshot`] may be called from any thread and sees
//! each number as of some moment of the call, not all of the same one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::histogram::Histogram;
use super::snapshot::MetricsSnapshot;
use crate::buffer::ArenaGauges;
use crate::reactor::counter::{Counter, ReactorCounters};

/// What the channels of a loop count.
#[derive(Debug, Default)]
pub(crate) struct ChannelCounters {
    /// Messages that no handler took.
    pub(crate) unhandled_messages: Counter,
    /// Errors that no handler took.
    pub(crate) unhandled_errors: Counter,
    /// Failed writes that nobody observed.
    pub(crate) unobserved_write_failures: Counter,
    /// Datagrams that found too little room.
    pub(crate) oversized_datagrams: Counter,
    /// Errors of exception_caught itself.
    pub(crate) failed_exception_caught: Counter,
    /// Callbacks that panicked.
    pub(crate) handler_panics: Counter,
    /// User events that no handler kept.
    pub(crate) unhandled_user_events: Counter,
    /// Times that the kernel was told to be silent about input that nobody wanted.
    pub(crate) read_masks: Counter,
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
    /// Between the turns of a local loop.
    pub(crate) outside_ns: Counter,
    /// Waiting in the queue of local tasks at the end of the last turn.
    pub(crate) local_waiting: Counter,
    pub(crate) panics: Counter,
    pub(crate) timers_waiting: Counter,
    pub(crate) channels: Counter,
    /// What went wrong in pipelines and nobody was there to be told.
    pub(crate) channel: ChannelCounters,
    pub(crate) accept: AcceptCounters,
    pub(crate) arena: Arc<ArenaGauges>,
    /// Both by the stall watcher: how often the loop was held too long, and how long together.
    pub(crate) stalls: Counter,
    pub(crate) stalled_ns: Counter,
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
        let arena = self.arena.stats();
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
            time_outside: Duration::from_nanos(self.outside_ns.get()),
            timer_lateness: self.timer_lateness.snapshot(),
            queue_wait: self.queue_wait.snapshot(),
            premature_waits: reactor.premature.get(),
            failed_waits: reactor.failures.get(),
            ghost_events: reactor.ghosts.get(),
            rebuilds: reactor.rebuilds.get(),
            read_masks: self.channel.read_masks.get(),
            arena_bytes: arena.live_bytes as u64,
            arena_pinned_bytes: arena.pinned_bytes as u64,
            arena_chunks: arena.live_chunks as u64,
            arena_pinned_chunks: arena.pinned_chunks as u64,
            arena_allocations: arena.allocated,
            stalls: self.stalls.get(),
            time_stalled: Duration::from_nanos(self.stalled_ns.get()),
            panics: self.panics.get(),
            unhandled_messages: self.channel.unhandled_messages.get(),
            unhandled_user_events: self.channel.unhandled_user_events.get(),
            unhandled_errors: self.channel.unhandled_errors.get(),
            unobserved_write_failures: self.channel.unobserved_write_failures.get(),
            oversized_datagrams: self.channel.oversized_datagrams.get(),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

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

    #[test]
    fn what_listeners_count_is_among_the_words() {
        let metrics = Metrics::default();
        let accept = &metrics.accept;
        for (counter, n) in [
            (&accept.accepted, 11),
            (&accept.refused, 12),
            (&accept.stillborn, 13),
            (&accept.failed_clients, 14),
            (&accept.failures, 15),
            (&accept.rests, 16),
            (&accept.shed, 17),
        ] {
            counter.set(n);
        }
        let words = metrics.snapshot(0).to_string();
        let line = "accepted: 11 (12 refused, 13 stillborn); 14 failed clients, 15 failures, 16 rests, 17 shed";
        assert!(words.contains(line), "{words}");
    }

    #[test]
    fn the_sum_of_loops_is_that_of_their_figures() {
        let (one, other) = (Metrics::default(), Metrics::default());
        one.turns.set(3);
        other.turns.set(4);
        one.sleep_ns.set(10);
        other.sleep_ns.set(20);
        one.channels.set(1);
        other.timer_lateness.record(Duration::from_nanos(100));
        let snapshots = [one.snapshot(1), other.snapshot(2)];
        let sum: MetricsSnapshot = snapshots.iter().sum();
        assert_eq!((sum.turns, sum.channels, sum.tasks_waiting), (7, 1, 3));
        assert_eq!(sum.time_asleep, Duration::from_nanos(30));
        assert_eq!(sum.timer_lateness.count(), 1);
        // What is taken away again leaves the counts of the other, and how many there are now.
        let rest = sum.since(&snapshots[1]);
        assert_eq!((rest.turns, rest.timer_lateness.count()), (3, 0));
        assert_eq!(rest.tasks_waiting, 3);
        assert_eq!(snapshots.into_iter().sum::<MetricsSnapshot>(), sum);
    }
}
