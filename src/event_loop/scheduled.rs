//! Tasks for later: `schedule` and the two periodic forms, and the future that cancels them.
//!
//! A task scheduled from another thread travels through the task queue and sets its timer when it
//! arrives; its deadline counts from the call all the same (E15).

use std::any::type_name;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tidegate_sys::mem::{LocalTask, Task};
use tidegate_sys::os::{Time, clock};

use super::boundary;
use super::core::{LoopCore, TimerJob};
use super::handle::Job;
use super::shared::EventLoop;
use super::timers::TimerKey;
use crate::error::{Error, ErrorKind};
use crate::future::{Completion, TaskFuture, TaskPromise};

/// Where the timer of a scheduled task can be found, for who cancels it.
#[derive(Clone, Debug)]
enum Place {
    /// There is none: the loop is closing.
    Nowhere,
    /// Set on the loop itself, once.
    Known(TimerKey),
    /// Set later, or again and again.
    Told(Whereabouts),
}

/// The bits of a timer's key, zero before it is set.
type Whereabouts = Arc<AtomicU64>;

/// The outcome of a scheduled task. Dropping it does not cancel the task.
#[derive(Debug)]
pub struct ScheduledFuture<T: Send + 'static> {
    future: TaskFuture<T>,
    handle: EventLoop,
    place: Place,
}

impl EventLoop {
    /// Runs `f` on the loop once `delay` is over, never earlier. Tasks due at the same time run in the
    /// order in which they reached the loop. A delay beyond the end of the clock (584 years) means never.
    ///
    /// The task is dropped, and the future fails with [`ErrorKind::Terminated`], when the loop begins to
    /// shut down before.
    pub fn schedule<F, T>(&self, delay: Duration, f: F) -> ScheduledFuture<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (promise, future) = TaskPromise::pair(self.host());
        let job = Job::new(promise);
        let task = move || job.run(f);
        if self.in_event_loop() {
            let key =
                LoopCore::with_current(|core| set(core, core.now() + delay, LocalTask::new(task)));
            let place = key.flatten().map_or(Place::Nowhere, Place::Known);
            return self.scheduled(future, place, None);
        }
        let due = self.due_in(delay);
        let whereabouts = Whereabouts::default();
        let key = Arc::clone(&whereabouts);
        let refused = self.on_loop(move || arm(&key, due, LocalTask::new(task)));
        self.scheduled(future, Place::Told(whereabouts), refused)
    }

    /// Runs `f` after `initial_delay` and then every `period`, counted from deadline to deadline: runs
    /// that were missed are made up for, one right after the other. The future fails when `f` panics
    /// (with [`ErrorKind::TaskPanicked`]; `f` is not called again) and when the loop begins to shut
    /// down; it does not succeed.
    ///
    /// A `period` of zero fails the future with [`ErrorKind::InvalidArgument`].
    pub fn schedule_at_fixed_rate<F>(
        &self,
        initial_delay: Duration,
        period: Duration,
        f: F,
    ) -> ScheduledFuture<()>
    where
        F: FnMut() + Send + 'static,
    {
        self.schedule_periodic(initial_delay, Pace::Rate(period), f)
    }

    /// Runs `f` after `initial_delay` and then each time `delay` after its last run ended. Otherwise as
    /// [`schedule_at_fixed_rate`](Self::schedule_at_fixed_rate).
    pub fn schedule_with_fixed_delay<F>(
        &self,
        initial_delay: Duration,
        delay: Duration,
        f: F,
    ) -> ScheduledFuture<()>
    where
        F: FnMut() + Send + 'static,
    {
        self.schedule_periodic(initial_delay, Pace::Delay(delay), f)
    }

    fn schedule_periodic<F>(&self, initial: Duration, pace: Pace, f: F) -> ScheduledFuture<()>
    where
        F: FnMut() + Send + 'static,
    {
        if pace.duration().is_zero() {
            let error = Error::new(
                ErrorKind::InvalidArgument,
                "a periodic task needs a period or delay longer than zero",
            );
            let future = TaskFuture::ready(self.host(), Err(error));
            return ScheduledFuture {
                future,
                handle: self.clone(),
                place: Place::Nowhere,
            };
        }
        let place = Whereabouts::default();
        let (promise, future) = TaskPromise::pair(self.host());
        let due = self.due_in(initial);
        // Boxed once, so that setting the next timer allocates nothing.
        let periodic = Box::new(Periodic {
            job: Job::new(promise),
            place: Arc::clone(&place),
            deadline: Time::ZERO,
            pace,
            f,
        });
        let refused = self.on_loop(move || periodic.begin(due));
        self.scheduled(future, Place::Told(place), refused)
    }

    /// Runs `f` now if this is the loop, else as a task.
    fn on_loop(&self, f: impl FnOnce() + Send + 'static) -> Option<Error> {
        if self.in_event_loop() {
            f();
            return None;
        }
        self.execute_task(Task::new(f)).err()
    }

    fn scheduled<T: Send + 'static>(
        &self,
        future: TaskFuture<T>,
        place: Place,
        refused: Option<Error>,
    ) -> ScheduledFuture<T> {
        let future = match refused {
            None => future,
            Some(error) => TaskFuture::ready(self.host(), Err(error)),
        };
        ScheduledFuture {
            future,
            handle: self.clone(),
            place,
        }
    }

    /// When `delay` from now is over. A clock that is moved by hand can be read only on the loop, so there
    /// the delay counts from the arrival.
    fn due_in(&self, delay: Duration) -> Due {
        if self.in_event_loop() {
            return LoopCore::with_current(|core| Due::At(core.now() + delay))
                .unwrap_or(Due::In(delay));
        }
        if self.shared().has_manual_clock {
            return Due::In(delay);
        }
        Due::At(clock::now() + delay)
    }
}

impl Place {
    /// Takes the timer away, on its loop.
    fn remove(&self) {
        let key = match self {
            Place::Nowhere => return,
            Place::Known(key) => *key,
            // Zero: the task is still on its way and will see that it was cancelled.
            Place::Told(place) => match place.load(Ordering::Relaxed) {
                0 => return,
                bits => TimerKey::from_bits(bits),
            },
        };
        LoopCore::with_current(|core| core.cancel_timer(key));
    }
}

/// When a task is due, as far as is known where it is scheduled.
#[derive(Clone, Copy)]
enum Due {
    At(Time),
    In(Duration),
}

impl Due {
    fn resolve(self, core: &LoopCore) -> Time {
        match self {
            Due::At(time) => time,
            Due::In(delay) => core.now() + delay,
        }
    }
}

#[derive(Clone, Copy)]
enum Pace {
    Rate(Duration),
    Delay(Duration),
}

impl Pace {
    fn duration(self) -> Duration {
        let (Pace::Rate(duration) | Pace::Delay(duration)) = self;
        duration
    }
}

/// Sets the timer of a scheduled task, on its loop. A closing loop takes none: dropping the task fails
/// its promise.
fn set(core: &LoopCore, deadline: Time, task: LocalTask) -> Option<TimerKey> {
    core.is_open()
        .then(|| core.insert_timer(deadline, TimerJob::Scheduled(task)))
}

/// The same for one whose timer is looked for elsewhere.
fn arm(place: &Whereabouts, due: Due, task: LocalTask) {
    LoopCore::with_current(|core| {
        if let Some(key) = set(core, due.resolve(core), task) {
            place.store(key.to_bits(), Ordering::Relaxed);
        }
    });
}

/// A task that comes again.
struct Periodic<F> {
    job: Job<()>,
    place: Whereabouts,
    deadline: Time,
    pace: Pace,
    f: F,
}

impl<F: FnMut() + Send + 'static> Periodic<F> {
    fn begin(mut self: Box<Self>, due: Due) {
        if let Some(first) = LoopCore::with_current(|core| due.resolve(core)) {
            self.deadline = first;
        }
        self.arm_next();
    }

    fn fire(mut self: Box<Self>) {
        if self.is_cancelled() {
            return;
        }
        if let Err(panic) = boundary::catch(&mut self.f) {
            self.job.finish(Err(panic), type_name::<F>());
            return;
        }
        match self.pace {
            Pace::Rate(period) => self.deadline += period,
            Pace::Delay(delay) => {
                if let Some(now) = LoopCore::with_current(|core| core.now()) {
                    self.deadline = now + delay;
                }
            }
        }
        self.arm_next();
    }

    fn arm_next(self: Box<Self>) {
        if self.is_cancelled() {
            return;
        }
        let place = Arc::clone(&self.place);
        let due = Due::At(self.deadline);
        arm(&place, due, LocalTask::new(move || self.fire()));
    }

    fn is_cancelled(&self) -> bool {
        self.job.promise().is_none_or(TaskPromise::is_cancelled)
    }
}

impl<T: Send + 'static> ScheduledFuture<T> {
    /// Keeps the task from running, if it has not begun; a periodic task is not run again. True if this
    /// call did it.
    pub fn cancel(&self) -> bool {
        if !self.future.cancel() {
            return false;
        }
        if self.handle.in_event_loop() {
            self.place.remove();
        } else {
            let place = self.place.clone();
            // Nobody is woken for it: a cancelled task does nothing when its time comes either.
            let _gone_or_full = self.handle.execute_lazy(move || place.remove());
        }
        true
    }

    /// True once the task has run, failed or was cancelled.
    pub fn is_done(&self) -> bool {
        self.future.is_done()
    }

    /// True if the task has run.
    pub fn is_success(&self) -> bool {
        self.future.is_success()
    }

    /// True if the task was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.future.is_cancelled()
    }

    /// Why the task failed; `None` while it waits and when it succeeded.
    pub fn cause(&self) -> Option<Error> {
        self.future.cause()
    }

    /// Blocks this thread until the task is done, and takes its value.
    ///
    /// # Errors
    /// As [`TaskFuture::sync`].
    pub fn sync(&self) -> Result<T, Error> {
        self.future.sync()
    }

    /// As [`sync`](Self::sync), but not for longer than `timeout`.
    ///
    /// # Errors
    /// As [`TaskFuture::sync_timeout`].
    pub fn sync_timeout(&self, timeout: Duration) -> Result<T, Error> {
        self.future.sync_timeout(timeout)
    }

    /// Calls `listener` with the outcome, on the loop.
    pub fn add_listener<F>(&self, listener: F)
    where
        F: FnOnce(&Result<(), Error>) + Send + 'static,
    {
        self.future.add_listener(listener);
    }

    /// The task as a future without its value, for any number of observers.
    pub fn completion(&self) -> Completion {
        self.future.completion()
    }
}

impl<T: Send + 'static> Future for ScheduledFuture<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.future).poll(cx)
    }
}
