//! Work besides the echo, to see how a loop shares its time: while there are connections a task that gives itself to the loop
//! again and again, or a timer that notes how late it is; and handlers that take long over each read.

use std::hint;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tidegate::event_loop::MetricsSnapshot;
use tidegate::{Context, EventLoop, Handler, HandlerResult, Message};

/// The longest time that the histogram tells apart.
const LONGEST_NS: u64 = 60_000_000_000;

/// What one loop has to do besides, while it has connections. Everything happens on that loop; the atomics are only there because handlers are `Send`.
pub struct Tasks {
    of: EventLoop,
    /// How long each task takes, if there are any.
    time: Option<Duration>,
    /// How often a timer fires, if there is one.
    pace: Option<Duration>,
    /// How late it fired each time, in nanoseconds.
    late: Mutex<Histogram<u64>>,
    connections: AtomicUsize,
    /// Whether something was read since the first connection.
    has_begun: AtomicBool,
    /// Of all tasks since then, by their own clock readings.
    inside_ns: AtomicU64,
    since: Mutex<Option<(Instant, MetricsSnapshot)>>,
}

impl Tasks {
    /// What rests until the first [`Tally`] sees a message: tasks that take so long, a timer that fires so often.
    pub fn new(of: EventLoop, time: Option<Duration>, pace: Option<Duration>) -> Arc<Self> {
        let late = Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("bounds that it can have");
        Arc::new(Self {
            of,
            time,
            pace,
            late: Mutex::new(late),
            connections: AtomicUsize::new(0),
            has_begun: AtomicBool::new(false),
            inside_ns: AtomicU64::new(0),
            since: Mutex::new(None),
        })
    }

    fn run(self: Arc<Self>, time: Duration) {
        if self.connections.load(Relaxed) == 0 {
            return;
        }
        self.inside_ns
            .fetch_add(burn(time).as_nanos() as u64, Relaxed);
        let of = self.of.clone();
        // A loop that has ended takes no more tasks, as it should be.
        let _ = of.execute(move || self.run(time));
    }

    fn tick(self: Arc<Self>, due: Instant, pace: Duration) {
        let of = self.of.clone();
        let wait = due.saturating_duration_since(Instant::now());
        of.schedule(wait, move || {
            let now = Instant::now();
            self.late().saturating_record((now - due).as_nanos() as u64);
            if self.connections.load(Relaxed) > 0 {
                self.tick(now.max(due + pace), pace);
            }
        });
    }

    fn late(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(self: &Arc<Self>) {
        self.inside_ns.store(0, Relaxed);
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), self.of.metrics()));
        if let Some(time) = self.time {
            Arc::clone(self).run(time);
        }
        if let Some(pace) = self.pace {
            self.late().reset();
            Arc::clone(self).tick(Instant::now() + pace, pace);
        }
    }

    fn end(&self) {
        self.has_begun.store(false, Relaxed);
        let since = self
            .since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some((began, before)) = since else { return };
        if self.pace.is_some() {
            let late = self.late();
            let micros = |part| late.value_at_quantile(part) as f64 / 1e3;
            println!(
                "a timer fired {} times, late by {:.1} µs (p50), {:.1} µs (p99)",
                late.len(),
                micros(0.5),
                micros(0.99)
            );
        }
        if self.time.is_none() {
            return;
        }
        let spent = self.of.metrics().since(&before);
        let (io, tasks) = (
            spent.time_in_io.as_secs_f64(),
            spent.time_in_tasks.as_secs_f64(),
        );
        let inside = self.inside_ns.load(Relaxed) as f64 / 1e9;
        println!(
            "io share {:.2} % by the loop's counters, {:.2} % of the time outside of tasks, {} tasks",
            100.0 * io / (io + tasks),
            100.0 * (1.0 - inside / began.elapsed().as_secs_f64()),
            spent.tasks_run,
        );
    }
}

/// Counts connections: the first message starts tasks and timer, and when the last connection has gone it says on standard output
/// how the time between was shared, and how late the timer was.
pub struct Tally(pub Arc<Tasks>);

impl Handler for Tally {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.connections.fetch_add(1, Relaxed);
        ctx.fire_channel_active();
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        if !self.0.has_begun.swap(true, Relaxed) {
            self.0.begin();
        }
        ctx.fire_channel_read(msg);
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if self.0.connections.fetch_sub(1, Relaxed) == 1 {
            self.0.end();
        }
        ctx.fire_channel_inactive();
        Ok(())
    }
}

/// Takes so long over each read before it passes it on.
pub struct Slow(pub Duration);

impl Handler for Slow {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        burn(self.0);
        ctx.fire_channel_read(msg);
        Ok(())
    }
}

/// Works for so long, and returns how long it really was.
fn burn(time: Duration) -> Duration {
    let began = Instant::now();
    loop {
        let spent = began.elapsed();
        if spent >= time {
            return spent;
        }
        hint::spin_loop();
    }
}
