//! [`MetricsSnapshot`]: what users read of a loop's counters, and what follows from two of them.

use std::fmt;
use std::iter::Sum;
use std::time::Duration;

use super::histogram::HistogramSnapshot;

/// What one loop has done since it was made. Counts never go back, except those that say how many
/// there are now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// Time spent asleep in the kernel. A sleep that is going on is not in it yet.
    pub time_asleep: Duration,
    /// Time between the turns of a [`LocalEventLoop`](super::LocalEventLoop), up to its last turn: its host's, and that of the
    /// future it is driven for. Always 0 for the loops of a group.
    pub time_outside: Duration,
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
    /// Times that the kernel was told not to report a channel's input any more, because 16 reports in a row came while the
    /// channel did not read. Reading on brings them back.
    pub read_masks: u64,
    /// Memory that the loop receives into, in bytes.
    pub arena_bytes: u64,
    /// Of it, what is full of messages that somebody keeps.
    pub arena_pinned_bytes: u64,
    /// The chunks of that memory.
    pub arena_chunks: u64,
    /// Of them, those that are full of messages that somebody keeps: one message keeps its whole chunk.
    pub arena_pinned_chunks: u64,
    /// Chunks that were allocated; in a loop that is warm the number stands still.
    pub arena_allocations: u64,
    /// Times that one handler, task, timer or listener held the loop for longer than the limit of the stall watcher; always 0
    /// without one. Counted while it still does.
    pub stalls: u64,
    /// How long those have held it together, as far as they have ended.
    pub time_stalled: Duration,
    /// Tasks, timers and listeners that panicked.
    pub panics: u64,
    /// Messages that no handler took.
    pub unhandled_messages: u64,
    /// User events that no handler kept, those of the library among them. Nothing is wrong with that: they are dropped in
    /// silence, as in Netty, and only counted.
    pub unhandled_user_events: u64,
    /// Errors that no handler took.
    pub unhandled_errors: u64,
    /// Failed writes that nobody observed.
    pub unobserved_write_failures: u64,
    /// Datagrams that had more bytes than the option
    /// [`MAX_DATAGRAM_PAYLOAD_SIZE`](crate::channel::options::MAX_DATAGRAM_PAYLOAD_SIZE) of their channel allows, and were
    /// dropped.
    pub oversized_datagrams: u64,
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

/// Sums and differences, field by field. The literals below want every field once.
macro_rules! figures {
    (since the beginning: $($count:ident)*; now: $($now:ident)*;) => {
        impl MetricsSnapshot {
            /// What happened between an earlier snapshot of the same loop and this one. What says how many there are now
            /// (`tasks_waiting`, `timers_waiting`, `channels`, memory) stays as it is.
            #[must_use]
            pub fn since(&self, earlier: &Self) -> Self {
                Self {
                    $($count: self.$count.minus(&earlier.$count),)*
                    $($now: self.$now,)*
                }
            }

            fn and(&self, other: &Self) -> Self {
                Self {
                    $($count: self.$count.plus(&other.$count),)*
                    $($now: self.$now.plus(&other.$now),)*
                }
            }
        }
    };
}

figures! {
    since the beginning:
        turns events stale_events wakes_sent wakes_saved tasks_run timers_run time_in_io time_in_tasks
        time_spinning time_asleep time_outside timer_lateness queue_wait premature_waits failed_waits ghost_events rebuilds
        stalls time_stalled
        read_masks arena_allocations panics unhandled_messages unhandled_user_events unhandled_errors
        unobserved_write_failures oversized_datagrams failed_exception_caught handler_panics rejected accepted
        accept_failed_clients accept_rests accept_shed accept_failures accept_refused accept_stillborn;
    now:
        tasks_waiting timers_waiting channels arena_bytes arena_pinned_bytes arena_chunks arena_pinned_chunks;
}

/// The loops of a group taken together. Times add up too: four loops that slept for a second have slept for four. What
/// [`advice`](Self::advice) says of a sum is about the average loop; one that has too much to do may hide among idle ones.
impl Sum for MetricsSnapshot {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, next| sum.and(&next))
    }
}

impl<'a> Sum<&'a Self> for MetricsSnapshot {
    fn sum<I: Iterator<Item = &'a Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, next| sum.and(next))
    }
}

/// What a field can be.
trait Figure {
    fn minus(&self, earlier: &Self) -> Self;
    fn plus(&self, other: &Self) -> Self;
}

impl Figure for u64 {
    fn minus(&self, earlier: &Self) -> Self {
        self.saturating_sub(*earlier)
    }

    fn plus(&self, other: &Self) -> Self {
        self.saturating_add(*other)
    }
}

impl Figure for Duration {
    fn minus(&self, earlier: &Self) -> Self {
        self.saturating_sub(*earlier)
    }

    fn plus(&self, other: &Self) -> Self {
        self.saturating_add(*other)
    }
}

impl Figure for HistogramSnapshot {
    fn minus(&self, earlier: &Self) -> Self {
        self.since(earlier)
    }

    fn plus(&self, other: &Self) -> Self {
        HistogramSnapshot::plus(self, other)
    }
}

impl fmt::Display for MetricsSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} turns; {:?} in I/O, {:?} in tasks, {:?} spinning, {:?} asleep",
            self.turns, self.time_in_io, self.time_in_tasks, self.time_spinning, self.time_asleep
        )?;
        if !self.time_outside.is_zero() {
            write!(f, ", {:?} outside", self.time_outside)?;
        }
        writeln!(f)?;
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
            "unhandled: {} messages, {} user events, {} errors, {} failed writes, {} failed exception_caught; \
             {} handlers panicked",
            self.unhandled_messages,
            self.unhandled_user_events,
            self.unhandled_errors,
            self.unobserved_write_failures,
            self.failed_exception_caught,
            self.handler_panics
        )?;
        writeln!(
            f,
            "accepted: {} ({} refused, {} stillborn); {} failed clients, {} failures, {} rests, {} shed",
            self.accepted,
            self.accept_refused,
            self.accept_stillborn,
            self.accept_failed_clients,
            self.accept_failures,
            self.accept_rests,
            self.accept_shed
        )?;
        writeln!(
            f,
            "receive memory: {} bytes in {} chunks, of which {} in {} are pinned; {} chunks allocated",
            self.arena_bytes,
            self.arena_chunks,
            self.arena_pinned_bytes,
            self.arena_pinned_chunks,
            self.arena_allocations
        )?;
        if self.oversized_datagrams > 0 {
            writeln!(
                f,
                "{} datagrams dropped, longer than MAX_DATAGRAM_PAYLOAD_SIZE",
                self.oversized_datagrams
            )?;
        }
        if self.stalls > 0 {
            writeln!(
                f,
                "held up {} times, for {:?} altogether",
                self.stalls, self.time_stalled
            )?;
        }
        write!(
            f,
            "{} premature waits, {} failed waits, {} selector rebuilds, {} read masks",
            self.premature_waits, self.failed_waits, self.rebuilds, self.read_masks
        )
    }
}
