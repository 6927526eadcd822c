//! [`Watcher`]: the thread that looks at the loops of a group. It runs as long as one of them does.

use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tidegate_sys::os::{Time, clock};
use tracing::warn;

use super::super::metrics::Metrics;
use super::judge::{Judge, Verdict};
use super::post::{Holder, Post, Role};
use super::sentry::Sentry;

/// The least limit: below it the looks would cost more than the stalls.
const LIMIT_MIN: Duration = Duration::from_millis(1);

/// Watches the loops of one group.
#[derive(Debug)]
pub(crate) struct Watcher {
    limit: Duration,
    /// Of the thread.
    name: String,
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_running: bool,
    /// Somebody has come or gone.
    is_rung: bool,
    arrivals: Vec<Arc<Watched>>,
}

/// One loop's place with the watcher, and with the loop's choices on its way to its thread.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    watcher: Arc<Watcher>,
    post: Arc<Post>,
}

/// A loop that has begun and not ended, as the watcher knows it.
#[derive(Debug)]
struct Watched {
    name: String,
    post: Arc<Post>,
    metrics: Arc<Metrics>,
    has_ended: AtomicBool,
}

/// The loop is watched as long as this lives.
#[must_use = "the loop is watched for as long as this lives"]
pub(crate) struct Watch {
    watcher: Arc<Watcher>,
    watched: Arc<Watched>,
}

impl Watcher {
    /// A watcher without a thread yet. A limit below a millisecond counts as one.
    pub(crate) fn new(group: &str, limit: Duration) -> Arc<Self> {
        Arc::new(Self {
            limit: limit.max(LIMIT_MIN),
            name: format!("{group}-watch"),
            state: Mutex::default(),
            bell: Condvar::new(),
        })
    }

    /// The place of one more loop.
    pub(crate) fn place(self: &Arc<Self>) -> Place {
        Place {
            watcher: Arc::clone(self),
            post: Arc::default(),
        }
    }

    fn run(&self) {
        let mut loops: Vec<(Arc<Watched>, Judge)> = Vec::new();
        let mut distance = Duration::ZERO;
        while self.wait(&mut loops, distance) {
            let now = clock::now();
            distance = Duration::MAX;
            for (watched, judge) in &mut loops {
                watched.look(judge, now);
                distance = distance.min(judge.distance());
            }
            loops.retain(|(watched, _)| !watched.has_ended.load(Ordering::Acquire));
        }
    }

    /// Waits for the next look; false when no loop is left.
    fn wait(&self, loops: &mut Vec<(Arc<Watched>, Judge)>, distance: Duration) -> bool {
        let mut state = self.lock();
        self.take_arrivals(&mut state, loops);
        if loops.is_empty() {
            state.is_running = false;
            return false;
        }
        let (mut state, _) = self
            .bell
            .wait_timeout_while(state, distance, |state| !state.is_rung)
            .unwrap_or_else(PoisonError::into_inner);
        state.is_rung = false;
        self.take_arrivals(&mut state, loops);
        true
    }

    fn take_arrivals(&self, state: &mut State, loops: &mut Vec<(Arc<Watched>, Judge)>) {
        let now = clock::now();
        let arrivals = mem::take(&mut state.arrivals);
        loops.extend(
            arrivals
                .into_iter()
                .map(|watched| (watched, Judge::new(self.limit, now))),
        );
    }

    fn ring(&self) {
        self.lock().is_rung = true;
        self.bell.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// What the loop posts with.
    pub(crate) fn sentry(&self) -> Sentry {
        Sentry::new(Arc::clone(&self.post))
    }

    /// The loop begins. Not to be watched is no reason not to run: it is said, and that is all.
    pub(crate) fn begin(&self, loop_name: &str, metrics: &Arc<Metrics>) -> Watch {
        let watched = Arc::new(Watched {
            name: loop_name.to_owned(),
            post: Arc::clone(&self.post),
            metrics: Arc::clone(metrics),
            has_ended: AtomicBool::new(false),
        });
        let mut state = self.watcher.lock();
        state.arrivals.push(Arc::clone(&watched));
        state.is_rung = true;
        if state.is_running {
            self.watcher.bell.notify_one();
        } else {
            match self.start() {
                Ok(()) => state.is_running = true,
                Err(error) => {
                    warn!(loop_name = watched.name, %error, "the stall watcher could not be started");
                }
            }
        }
        drop(state);
        Watch {
            watcher: Arc::clone(&self.watcher),
            watched,
        }
    }

    fn start(&self) -> io::Result<()> {
        let watcher = Arc::clone(&self.watcher);
        thread::Builder::new()
            .name(watcher.name.clone())
            .spawn(move || watcher.run())?;
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watched.has_ended.store(true, Ordering::Release);
        self.watcher.ring();
    }
}

impl Watched {
    fn look(&self, judge: &mut Judge, now: Time) {
        let look = self.post.look();
        let holder = look.map_or(Holder::NOBODY, |look| look.holder);
        match judge.look(now, look) {
            Verdict::Nothing => {}
            Verdict::Held { held, in_it, again } => {
                // Before it is told, so that whoever hears of it finds it counted.
                self.metrics.stalls.add(u64::from(!again));
                self.tell(holder, held, in_it);
            }
            Verdict::Over { held } => {
                let nanos = u64::try_from(held.as_nanos()).unwrap_or(u64::MAX);
                self.metrics.stalled_ns.add(nanos);
                warn!(
                    loop_name = self.name,
                    held = %format_args!("{held:.1?}"),
                    "an event loop that was held up goes on"
                );
            }
        }
    }

    fn tell(&self, holder: Holder, held: Duration, in_it: Duration) {
        let role = holder.role();
        let (handler, task) = match role {
            Role::Handler => (holder.name(), None),
            _ => (None, holder.name()),
        };
        let channel = holder.channel_number();
        warn!(
            loop_name = self.name,
            held = %format_args!("{held:.1?}"),
            in_it = %format_args!("{in_it:.1?}"),
            handler,
            callback = holder.callback(),
            task,
            channel = channel.map(|number| tracing::field::display(format!("#{number}"))),
            "an event loop is held up by {}: nothing else of it runs",
            role.words()
        );
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Waits until the thread has come or gone.
    fn until_running(watcher: &Watcher, is_running: bool) {
        while watcher.lock().is_running != is_running {
            thread::yield_now();
        }
    }

    #[test]
    fn the_thread_lives_as_long_as_one_of_its_loops() {
        let watcher = Watcher::new("test", Duration::from_secs(3600));
        let (one, other) = (watcher.place(), watcher.place());
        until_running(&watcher, false);
        let metrics = Arc::default();
        let first = one.begin("one", &metrics);
        until_running(&watcher, true);
        let second = other.begin("other", &metrics);
        drop(first);
        assert!(watcher.lock().is_running);
        drop(second);
        until_running(&watcher, false);
        // A loop that begins later finds a watcher as well.
        let third = one.begin("one", &metrics);
        until_running(&watcher, true);
        drop(third);
        until_running(&watcher, false);
        assert_eq!(metrics.stalls.get(), 0);
    }

    #[test]
    fn a_limit_of_nothing_is_one_of_a_millisecond() {
        assert_eq!(Watcher::new("test", Duration::ZERO).limit, LIMIT_MIN);
    }
}
