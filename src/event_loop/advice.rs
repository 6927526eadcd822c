//! What a loop's counters mean, in words: where its time went, and which knob to try. Pure arithmetic over two snapshots;
//! it changes nothing.
//!
//! Each rule states when it applies and from which figure on. The thresholds are judgements, not measurements: low enough
//! that what they name can be felt, high enough that a healthy loop hears nothing.

use std::fmt;
use std::time::Duration;

use super::histogram::HistogramSnapshot;
use super::snapshot::MetricsSnapshot;

/// Below this many turns the figures say nothing yet.
const TURNS_MIN: u64 = 100;
/// A loop that is at work for more of its time than this has no room for a burst.
const BUSY_SHARE: f64 = 0.9;
/// Of the working time: one kind of work that takes more starves the other if there is enough of it.
const LOPSIDED_SHARE: f64 = 0.75;
/// A timer that fires later than this, one time in a hundred, is felt.
const LATENESS_FELT: Duration = Duration::from_millis(1);
/// A task that waits longer than this, one time in a hundred, is felt.
const QUEUE_WAIT_FELT: Duration = Duration::from_millis(1);
/// One task that takes longer holds up every channel of its loop.
const TASK_LONG: Duration = Duration::from_micros(200);
/// Sleeps shorter than this cost more in being woken than they save; about what a wake-up takes.
const SLEEP_SHORT: Duration = Duration::from_micros(50);
/// A loop that sleeps for less of its time than this has no sleeps that polling could save.
const SLEEPING_SHARE: f64 = 0.25;
/// Polling that takes more of the time than this and finds work less often than once in a hundred turns is for nothing.
const SPIN_SHARE: f64 = 0.5;

/// One thing that a loop's counters tell, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Advice {
    /// What it is about.
    pub topic: Topic,
    /// What was seen, with its figures.
    pub seen: String,
    /// What to try.
    pub try_this: &'static str,
}

/// What an [`Advice`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Topic {
    /// There is more work than one loop can do.
    Saturated,
    /// Tasks take the time that sockets need, or the other way round: `io_ratio`.
    IoRatio,
    /// Single tasks take too long.
    LongTasks,
    /// One handler or task held the loop for longer than the limit of the stall watcher.
    Stalls,
    /// Tasks wait long for their turn.
    QueueWait,
    /// Timers fire late.
    Timers,
    /// Polling before sleeping would pay, or does not: `spin`.
    Spin,
    /// Descriptors or memory ran out while accepting.
    Descriptors,
    /// Work was refused or dropped.
    Refused,
    /// Nobody took a message, an error or a failed write.
    Unhandled,
    /// Something panicked.
    Panics,
    /// The selector misbehaves.
    Selector,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.seen, self.try_this)
    }
}

impl MetricsSnapshot {
    /// What the counters tell, the most pressing first; empty for a loop that is well. Usually asked of a difference:
    /// `now.since(&a_minute_ago).advice()`.
    ///
    /// ```
    /// use tidegate::EventLoopGroup;
    ///
    /// let group = EventLoopGroup::new(1)?;
    /// // The same loop both times: `next()` would give another one of a larger group.
    /// let event_loop = group.next();
    /// let before = event_loop.metrics();
    /// // ... the service at work ...
    /// for advice in event_loop.metrics().since(&before).advice() {
    ///     println!("{advice}");
    /// }
    /// # Ok::<(), tidegate::Error>(())
    /// ```
    #[must_use]
    pub fn advice(&self) -> Vec<Advice> {
        let mut all = Vec::new();
        self.broken(&mut all);
        self.short_of_something(&mut all);
        if self.turns >= TURNS_MIN {
            self.where_time_went(&mut all);
        }
        all
    }

    /// The whole time that the loop has accounted for. What a host does between the turns of its loop is none of the loop's
    /// work.
    fn whole(&self) -> Duration {
        self.at_work() + self.time_spinning + self.time_asleep + self.time_outside
    }

    fn at_work(&self) -> Duration {
        self.time_in_io + self.time_in_tasks
    }

    /// What must not happen at all.
    fn broken(&self, all: &mut Vec<Advice>) {
        let panics = self.panics + self.handler_panics;
        if panics > 0 {
            all.push(Advice {
                topic: Topic::Panics,
                seen: format!(
                    "{} tasks and {} handlers panicked",
                    self.panics, self.handler_panics
                ),
                try_this: "the log names each; a channel whose handler panics is closed",
            });
        }
        if self.stalls > 0 {
            all.push(Advice {
                topic: Topic::Stalls,
                seen: format!(
                    "the loop was held up {} times, for {:.1?} altogether",
                    self.stalls, self.time_stalled
                ),
                try_this: "the log names who it was: nothing that blocks or computes for long belongs on a loop; give it to another group",
            });
        }
        if self.unhandled_errors > 0 {
            all.push(Advice {
                topic: Topic::Unhandled,
                seen: format!("{} errors reached the end of a pipeline", self.unhandled_errors),
                // The counters do not know whose they were.
                try_this: "add a handler with exception_caught at the end: a connection is closed by an error that nobody takes; \
                           a server, or a channel of datagrams, lives on",
            });
        }
        if self.failed_exception_caught > 0 {
            all.push(Advice {
                topic: Topic::Unhandled,
                seen: format!("{} errors came out of exception_caught itself", self.failed_exception_caught),
                try_this: "the log names the handlers: what exception_caught can't deal with it hands on, by fire_exception_caught",
            });
        }
        if self.unhandled_messages > 0 {
            all.push(Advice {
                topic: Topic::Unhandled,
                seen: format!("{} messages reached the end of a pipeline", self.unhandled_messages),
                try_this: "the log names their types: a handler is missing, or stands on the wrong side of another",
            });
        }
        if self.unobserved_write_failures > 0 {
            all.push(Advice {
                topic: Topic::Unhandled,
                seen: format!("{} failed writes that nobody asked about", self.unobserved_write_failures),
                try_this: "use write_future() where the outcome matters; channel_inactive tells of the rest",
            });
        }
        if self.rebuilds + self.failed_waits > 0 || self.premature_waits > self.turns / 10 {
            all.push(Advice {
                topic: Topic::Selector,
                seen: format!(
                    "{} selector rebuilds, {} failed and {} premature waits, {} ghost events",
                    self.rebuilds, self.failed_waits, self.premature_waits, self.ghost_events
                ),
                try_this: "look for descriptors that are duplicated or closed behind the library's back (fork, dup, a C library)",
            });
        }
    }

    /// Limits that were met.
    fn short_of_something(&self, all: &mut Vec<Advice>) {
        if self.accept_rests + self.accept_shed > 0 {
            all.push(Advice {
                topic: Topic::Descriptors,
                seen: format!(
                    "accepting rested {} times for want of descriptors or memory, {} clients were told off",
                    self.accept_rests, self.accept_shed
                ),
                try_this: "raise the limit on descriptors (ulimit -n), or close idle connections",
            });
        }
        let refused = self.rejected + self.accept_refused;
        if refused > 0 {
            all.push(Advice {
                topic: Topic::Refused,
                seen: format!(
                    "{} tasks and {} accepted connections were refused",
                    self.rejected, self.accept_refused
                ),
                try_this: "slow their producers down, or raise max_pending_tasks",
            });
        }
        if self.oversized_datagrams > 0 {
            all.push(Advice {
                topic: Topic::Refused,
                seen: format!(
                    "{} datagrams were longer than their channels take, and dropped",
                    self.oversized_datagrams
                ),
                try_this: "raise MAX_DATAGRAM_PAYLOAD_SIZE, 2,048 bytes by default, to the most that peers send",
            });
        }
        if self.accept_stillborn > 0 {
            all.push(Advice {
                topic: Topic::Refused,
                seen: format!(
                    "{} accepted connections ended before they began",
                    self.accept_stillborn
                ),
                try_this: "the log names the child option or the initializer that failed",
            });
        }
    }

    fn where_time_went(&self, all: &mut Vec<Advice>) {
        let busy = share(self.at_work(), self.whole());
        let tasks = share(self.time_in_tasks, self.at_work());
        let mean_task = mean(self.time_in_tasks, self.tasks_run + self.timers_run);
        if busy > BUSY_SHARE {
            all.push(Advice {
                topic: Topic::Saturated,
                seen: format!("at work for {:.0} % of the time", busy * 100.0),
                try_this: "use more loops, or move work off them (add_last_on); a saturated loop queues",
            });
            if tasks > LOPSIDED_SHARE {
                all.push(Advice {
                    topic: Topic::IoRatio,
                    seen: format!("tasks take {:.0} % of the working time", tasks * 100.0),
                    try_this: "raise io_ratio if sockets are to come first",
                });
            } else if tasks < 1.0 - LOPSIDED_SHARE && self.tasks_waiting > 0 {
                all.push(Advice {
                    topic: Topic::IoRatio,
                    seen: format!(
                        "I/O takes {:.0} % of the working time while {} tasks wait",
                        (1.0 - tasks) * 100.0,
                        self.tasks_waiting
                    ),
                    try_this: "lower io_ratio if tasks are to come first",
                });
            }
        }
        if mean_task > TASK_LONG {
            all.push(Advice {
                topic: Topic::LongTasks,
                seen: format!("a task takes {mean_task:.0?} on average"),
                try_this: "cut tasks into parts or run them on another group: while one runs, no channel of the loop is served; \
                           stall_watcher of the group's builder names the longest",
            });
        }
        late(
            &self.timer_lateness,
            LATENESS_FELT,
            Topic::Timers,
            "timers fire late",
            "look for the handler or task that holds the loop (stall_watcher of the group's builder names it); with spin off a \
             part of it is the time to wake up",
            all,
        );
        late(
            &self.queue_wait,
            QUEUE_WAIT_FELT,
            Topic::QueueWait,
            "tasks wait for their turn",
            "lower io_ratio, use more loops, or hand over fewer and larger tasks",
            all,
        );
        self.about_spin(all);
    }

    fn about_spin(&self, all: &mut Vec<Advice>) {
        let spinning = share(self.time_spinning, self.whole());
        // Sleeps are not counted: a turn that has work does not sleep. Where they are a good part of the time the mean of a
        // turn comes near theirs.
        let sleeping = share(self.time_asleep, self.whole());
        let asleep = mean(self.time_asleep, self.turns);
        let found = self.events + self.tasks_run + self.timers_run;
        if self.time_spinning.is_zero() {
            if sleeping > SLEEPING_SHARE
                && asleep < SLEEP_SHORT
                && share(self.at_work(), self.whole()) > 0.1
            {
                all.push(Advice {
                    topic: Topic::Spin,
                    seen: format!(
                        "a turn sleeps for {asleep:.1?} on average, about as long as waking up takes"
                    ),
                    try_this: "try Spin::Adaptive: it trades processor time for latency",
                });
            }
        } else if spinning > SPIN_SHARE && found < self.turns / 100 {
            all.push(Advice {
                topic: Topic::Spin,
                seen: format!(
                    "polling takes {:.0} % of the time, and {found} of {} turns found something",
                    spinning * 100.0,
                    self.turns
                ),
                try_this: "spin for a shorter time, or use Spin::Adaptive",
            });
        }
    }
}

fn late(
    histogram: &HistogramSnapshot,
    felt: Duration,
    topic: Topic,
    what: &str,
    try_this: &'static str,
    all: &mut Vec<Advice>,
) {
    // The bound of a bucket is up to twice the true figure.
    if histogram.quantile(0.99).is_some_and(|p99| p99 > 2 * felt) {
        all.push(Advice {
            topic,
            seen: format!("{what}: {histogram}"),
            try_this,
        });
    }
}

fn share(part: Duration, whole: Duration) -> f64 {
    if whole.is_zero() {
        0.0
    } else {
        part.as_secs_f64() / whole.as_secs_f64()
    }
}

fn mean(sum: Duration, count: u64) -> Duration {
    Duration::from_nanos((sum.as_nanos() as u64).checked_div(count).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::super::metrics::Metrics;
    use super::*;

    fn topics(change: impl FnOnce(&mut MetricsSnapshot)) -> Vec<Topic> {
        let mut snapshot = Metrics::default().snapshot(0);
        snapshot.turns = 1000;
        snapshot.events = 1000;
        snapshot.time_asleep = Duration::from_secs(1);
        change(&mut snapshot);
        snapshot
            .advice()
            .iter()
            .map(|advice| advice.topic)
            .collect()
    }

    #[test]
    fn a_healthy_loop_hears_nothing() {
        assert_eq!(topics(|_| {}), []);
        // Nor does one that has hardly run.
        let young = |now: &mut MetricsSnapshot| {
            now.turns = 2;
            now.time_in_tasks = Duration::from_secs(100);
        };
        assert_eq!(topics(young), []);
    }

    #[test]
    fn each_shortage_is_named() {
        type Change = fn(&mut MetricsSnapshot);
        let cases: [(Change, &[Topic]); 15] = [
            (|now| now.handler_panics = 1, &[Topic::Panics]),
            (|now| now.stalls = 1, &[Topic::Stalls]),
            (|now| now.unhandled_errors = 1, &[Topic::Unhandled]),
            (|now| now.failed_exception_caught = 1, &[Topic::Unhandled]),
            (|now| now.unhandled_messages = 1, &[Topic::Unhandled]),
            (|now| now.unobserved_write_failures = 1, &[Topic::Unhandled]),
            (|now| now.rebuilds = 1, &[Topic::Selector]),
            (|now| now.accept_rests = 1, &[Topic::Descriptors]),
            (|now| now.rejected = 1, &[Topic::Refused]),
            (|now| now.oversized_datagrams = 1, &[Topic::Refused]),
            (|now| now.accept_stillborn = 1, &[Topic::Refused]),
            (
                |now| now.time_in_io = Duration::from_secs(99),
                &[Topic::Saturated],
            ),
            (
                |now| {
                    now.time_in_tasks = Duration::from_secs(99);
                    now.tasks_run = 99_000_000;
                },
                &[Topic::Saturated, Topic::IoRatio],
            ),
            (
                |now| {
                    now.time_in_tasks = Duration::from_millis(300);
                    now.tasks_run = 1000;
                },
                &[Topic::LongTasks],
            ),
            (
                |now| {
                    now.time_spinning = Duration::from_secs(9);
                    now.events = 5;
                },
                &[Topic::Spin],
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(topics(change), expected);
        }
    }

    /// It was told as "0 errors reached the end of a pipeline".
    #[test]
    fn an_error_of_exception_caught_itself_is_told_as_what_it_is() {
        let mut snapshot = Metrics::default().snapshot(0);
        snapshot.failed_exception_caught = 3;
        let told: Vec<_> = snapshot.advice().into_iter().map(|one| one.seen).collect();
        assert_eq!(told, ["3 errors came out of exception_caught itself"]);
    }

    #[test]
    fn short_sleeps_of_a_busy_loop_call_for_polling() {
        let short = |now: &mut MetricsSnapshot| {
            now.time_asleep = Duration::from_millis(20);
            now.time_in_io = Duration::from_millis(10);
        };
        assert_eq!(topics(short), [Topic::Spin]);
    }

    #[test]
    fn a_loop_at_work_is_not_told_to_poll_though_the_mean_of_its_turns_sleeps_little() {
        let at_work = |now: &mut MetricsSnapshot| {
            now.time_asleep = Duration::from_millis(2);
            now.time_in_io = Duration::from_millis(998);
        };
        assert_eq!(topics(at_work), [Topic::Saturated]);
    }

    #[test]
    fn a_nested_loop_is_not_at_work_while_its_host_is() {
        let nested = |now: &mut MetricsSnapshot| {
            now.time_asleep = Duration::ZERO;
            now.time_in_tasks = Duration::from_millis(40);
            now.tasks_run = 1000;
            now.time_outside = Duration::from_millis(960);
        };
        assert_eq!(topics(nested), []);
    }

    #[test]
    fn late_timers_are_told_with_their_figures() {
        let metrics = Metrics::default();
        for _ in 0..100 {
            metrics.timer_lateness.record(Duration::from_millis(5));
        }
        let mut snapshot = metrics.snapshot(0);
        snapshot.turns = 1000;
        let advice = snapshot.advice();
        assert_eq!(advice.len(), 1);
        assert_eq!(advice[0].topic, Topic::Timers);
        assert!(advice[0].to_string().contains("p99 < "), "{}", advice[0]);
        // A difference forgets what was before.
        assert_eq!(snapshot.since(&snapshot).advice(), []);
    }
}
