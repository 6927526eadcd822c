//! Giving work to a loop: `execute` and its kin. From the loop itself a task goes to the local queue,
//! from elsewhere through the cross-thread queue.

use std::any::type_name;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tidegate_sys::mem::queue::Refused;
use tidegate_sys::mem::{LocalTask, Task};
use tidegate_sys::os::clock;

use super::boundary;
use super::closing::{DEFAULT_QUIET, DEFAULT_TIMEOUT};
use super::config::Rejection;
use super::core::LoopCore;
use super::current;
use super::orphans;
use super::shared::{Closing, EventLoop, Shared};
use crate::error::{Error, ErrorKind};
use crate::future::{Completion, ListenerHost, TaskFuture, TaskPromise};

impl EventLoop {
    /// Runs `f` on the loop. Tasks of one thread run in the order in which it gave them.
    ///
    /// On the loop itself `f` runs after the current task, handler or callback, never inside this call.
    ///
    /// # Errors
    /// [`ErrorKind::Terminated`] when the loop has ended, [`ErrorKind::Rejected`] when its queue has a
    /// bound and is full; an I/O error if the thread of the loop cannot be started. `f` is dropped then.
    #[inline]
    pub fn execute<F>(&self, f: F) -> Result<(), Error>
    where
        F: FnOnce() + Send + 'static,
    {
        self.give(f).map_err(|(_, error)| error)
    }

    /// As [`execute`](Self::execute), but a sleeping loop is not woken for it: it runs with the next
    /// thing that happens there. If the queue is full the loop is woken.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub fn execute_lazy<F>(&self, f: F) -> Result<(), Error>
    where
        F: FnOnce() + Send + 'static,
    {
        let task = self.task(f);
        if self.in_event_loop() {
            return self.execute_task(task);
        }
        self.ensure_started()?;
        let queued = self.shared().tasks().push_lazy(task);
        queued.or_else(|refused| self.back_off(refused).map_err(|(_, error)| error))
    }

    /// Runs `f` on the loop and gives what it returns. A panic of `f` fails the future with
    /// [`ErrorKind::TaskPanicked`], a loop that ends before `f` has run with [`ErrorKind::Terminated`].
    /// Cancelling the future before `f` has begun keeps it from running.
    pub fn submit<F, T>(&self, f: F) -> TaskFuture<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (promise, future) = TaskPromise::pair(self.host());
        let job = Job::new(promise);
        match self.give(move || job.run(f)) {
            Ok(()) => future,
            Err((_, error)) => TaskFuture::ready(self.host(), Err(error)),
        }
    }

    /// The two ends of an operation that ends with a value, whose listeners run on this loop: Netty's
    /// `eventLoop.newPromise()`. Whoever completes it may be on any thread, and runs no listener itself. (Once the loop has
    /// ended, or where its thread can't be started, there is nobody else to run them.)
    ///
    /// ```
    /// use tidegate::{Error, EventLoopGroup};
    ///
    /// let group = EventLoopGroup::new(1)?;
    /// let (promise, answer) = group.next().new_promise::<u32>();
    /// std::thread::spawn(move || promise.try_success(6 * 7));
    /// assert_eq!(answer.sync()?, 42);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn new_promise<T: Send + 'static>(&self) -> (TaskPromise<T>, TaskFuture<T>) {
        // Listeners of a loop that has not begun would run wherever the promise is completed.
        let _without_a_thread = self.ensure_started();
        TaskPromise::pair(self.host())
    }

    /// Whether the caller runs inside a turn of this loop.
    #[inline]
    pub fn in_event_loop(&self) -> bool {
        current::is_current(self.id())
    }

    /// Asks the loop to end: its channels are closed, then it goes on with tasks until none ran for
    /// `quiet`, but not for longer than `timeout`, which counts from this call. The first request counts; later ones only
    /// give the future. What is left then is dropped and its promises fail with [`ErrorKind::Terminated`].
    ///
    /// Tasks that wait when the loop sees the request run first, each of them, operations on channels included: they were
    /// accepted. That may take longer than `timeout`; then the loop ends right behind them. ([`drain`](Self::drain) keeps its
    /// time in front of any number of tasks.) Then channels are closed at once:
    /// what the kernel has not taken fails. To have it sent and received before, [`drain`](Self::drain) first. A close that
    /// takes its time (`SO_LINGER`, `oio`) is waited for up to the timeout; then it goes on as with [`stop`](Self::stop).
    ///
    /// Does not block, and may be called on the loop itself. A `timeout` shorter than `quiet` counts as
    /// `quiet`.
    pub fn shutdown_gracefully(&self, quiet: Duration, timeout: Duration) -> Completion {
        let closing = self.closing(quiet, timeout.max(quiet));
        self.request_closing(closing, false);
        self.termination_future()
    }

    /// [`shutdown_gracefully`](Self::shutdown_gracefully) with a quiet period of 2 s and a timeout of
    /// 15 s.
    pub fn shutdown(&self) -> Completion {
        self.shutdown_gracefully(DEFAULT_QUIET, DEFAULT_TIMEOUT)
    }

    /// Asks the loop to end now: what waits at this moment runs, operations on channels included, then channels
    /// are closed, and nothing more is waited for. Shortens a shutdown under way.
    ///
    /// That goes for closes that take their time as well (`SO_LINGER`, `oio`, a transport of one's own):
    /// their promises fail with [`ErrorKind::Terminated`], because nobody on the loop will know when the
    /// transport is done; it ends by itself, and its descriptor may be open until then. Handlers have
    /// their last events in any case, in order: `channel_inactive`, `channel_unregistered`,
    /// `handler_removed`. Those that stand behind a handler on another group's loop do not wait for what
    /// it has to say, which can't come back in time.
    pub fn stop(&self) -> Completion {
        let closing = self.closing(Duration::ZERO, Duration::ZERO);
        self.request_closing(closing, true);
        self.termination_future()
    }

    /// A request that is made now.
    pub(super) fn closing(&self, quiet: Duration, timeout: Duration) -> Closing {
        let asked = LoopCore::with_if_current(self.id(), |core| core.now());
        let can_read = !self.shared().has_manual_clock;
        Closing {
            quiet,
            timeout,
            asked: asked.or_else(|| can_read.then(clock::now)),
            spares_channels: false,
        }
    }

    /// As [`execute`](Self::execute); what is refused comes back as a task.
    ///
    /// Part of the caller's code: only where `f` is made can the compiler write its captures straight into their slot of the
    /// queue, and only as long as nothing can panic before. 34 million tasks a second instead of 29.
    #[inline(always)]
    fn give<F>(&self, f: F) -> Result<(), (Task, Error)>
    where
        F: FnOnce() + Send + 'static,
    {
        let shared = self.shared();
        if shared.measures_queue_wait || self.in_event_loop() || shared.is_idle() {
            return self.try_execute(self.task(f));
        }
        match shared.tasks().push_closure(f) {
            Ok(pushed) => {
                shared.pushed(pushed);
                Ok(())
            }
            Err(refused) => self.back_off(refused),
        }
    }

    /// As [`execute`](Self::execute), for a task made before.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    #[inline]
    pub(crate) fn execute_task(&self, task: Task) -> Result<(), Error> {
        self.try_execute(task).map_err(|(_, error)| error)
    }

    /// As [`execute_task`](Self::execute_task), but a refused task comes back.
    pub(crate) fn try_execute(&self, task: Task) -> Result<(), (Task, Error)> {
        if self.in_event_loop() {
            return self.execute_here(task);
        }
        if let Err(error) = self.ensure_started() {
            return Err((task, error));
        }
        match self.shared().tasks().push(task) {
            Ok(pushed) => {
                self.shared().pushed(pushed);
                Ok(())
            }
            Err(refused) => self.back_off(refused),
        }
    }

    /// As [`execute_task`](Self::execute_task), but not refused for want of room: for what nobody would hear of. It comes back
    /// when the loop has ended, or its thread can't be started.
    pub(crate) fn execute_beyond(&self, task: Task) -> Result<(), Task> {
        let queued = if self.in_event_loop() {
            self.queue_here(task, None).map_err(|(task, _)| task)
        } else {
            self.push_beyond(task)
        };
        if queued.is_err() {
            self.shared().note_rejected();
        }
        queued
    }

    /// Queues a task behind those that other threads have given so far, also in the loop's own turn. Not refused for want of
    /// room; once the loop has ended it goes where listeners do.
    pub(crate) fn execute_behind_others(&self, task: Task) {
        if let Err(task) = self.push_beyond(task) {
            self.host().run_listener(task);
        }
    }

    fn push_beyond(&self, task: Task) -> Result<(), Task> {
        if self.ensure_started().is_err() {
            return Err(task);
        }
        let pushed = self.shared().tasks().push_beyond(task)?;
        self.shared().pushed(pushed);
        Ok(())
    }

    /// The loop as the host of promises.
    pub(crate) fn host(&self) -> Arc<dyn ListenerHost> {
        Arc::clone(self.shared()) as Arc<dyn ListenerHost>
    }

    /// Makes the loop's next turn return, if the caller is not the loop itself.
    pub(super) fn interrupt(&self) {
        if !self.in_event_loop() {
            // Refused only when the loop has ended, and then nobody waits for a turn.
            let _gone = self.shared().push_insistent(Task::new(|| {}));
        }
    }

    fn execute_here(&self, task: Task) -> Result<(), (Task, Error)> {
        let queued = self.queue_here(task, self.shared().max_pending_tasks);
        if queued.is_err() {
            self.shared().note_rejected();
        }
        queued
    }

    /// Queues a task of the loop's own, unless so many wait.
    fn queue_here(&self, task: Task, max: Option<usize>) -> Result<(), (Task, Error)> {
        let mut task = Some(task);
        let refused = LoopCore::with_current(|core| {
            if core.has_ended() {
                return Some(terminated(self.name()));
            }
            if max.is_some_and(|max| core.local_len() >= max) {
                return Some(full(self.name()));
            }
            if let Some(task) = task.take() {
                core.push_local(LocalTask::from(task));
            }
            None
        });
        match (refused.flatten(), task) {
            (Some(error), Some(task)) => Err((task, error)),
            _ => Ok(()),
        }
    }

    /// What was refused is tried again, if it was for want of room and the user has said so. A loop that sleeps over a queue full
    /// of lazy tasks is woken in any case: nothing else would get through to it.
    #[cold]
    #[inline(never)]
    fn back_off(&self, refused: Refused) -> Result<(), (Task, Error)> {
        let mut task = match refused {
            Refused::Full(task) => task,
            Refused::Closed(_) => return Err(self.refuse(refused)),
        };
        self.wake_if_asleep();
        if let Rejection::Backoff { retries, pause } = self.shared().rejection {
            for _ in 0..retries {
                thread::park_timeout(pause);
                match self.shared().tasks().push(task) {
                    Ok(pushed) => {
                        self.shared().pushed(pushed);
                        return Ok(());
                    }
                    Err(Refused::Full(back)) => task = back,
                    Err(refused) => return Err(self.refuse(refused)),
                }
                self.wake_if_asleep();
            }
        }
        Err(self.refuse(Refused::Full(task)))
    }

    #[cold]
    fn refuse(&self, refused: Refused) -> (Task, Error) {
        self.shared().note_rejected();
        match refused {
            Refused::Full(task) => (task, full(self.name())),
            Refused::Closed(task) => (task, terminated(self.name())),
        }
    }

    fn wake_if_asleep(&self) {
        if self.shared().tasks().claim_wake() {
            self.shared().wake();
        }
    }

    /// `f` as a task, timed if that was asked for.
    #[inline(always)]
    pub(crate) fn task<F>(&self, f: F) -> Task
    where
        F: FnOnce() + Send + 'static,
    {
        if self.shared().measures_queue_wait {
            let queued = clock::now();
            return Task::new(move || {
                LoopCore::with_current(|core| {
                    let waited = clock::now().saturating_since(queued);
                    core.metrics().queue_wait.record(waited);
                });
                f();
            });
        }
        Task::new(f)
    }
}

impl ListenerHost for Shared {
    fn run_listener(&self, job: Task) {
        let mut job = Some(job);
        let is_queued = LoopCore::with_if_current(self.id(), |core| {
            if core.has_ended() {
                return false;
            }
            if let Some(job) = job.take() {
                core.push_listener(LocalTask::from(job));
            }
            true
        });
        let Some(job) = job else { return };
        let must_run_here = is_queued.is_some() || self.is_idle();
        let job = match if must_run_here {
            Err(job)
        } else {
            self.push_insistent(job)
        } {
            Ok(()) => return,
            Err(job) => job,
        };
        // The loop is gone or was never started: a listener must not be lost.
        orphans::run(self.name(), job);
    }

    fn would_deadlock(&self) -> bool {
        self.owner().is_this_thread()
    }

    fn name(&self) -> &str {
        Shared::name(self)
    }
}

/// A promise and the work that fulfils it. Dropped unrun, it says that the loop has ended.
pub(super) struct Job<T: Send + 'static> {
    /// Its host is the loop.
    promise: Option<TaskPromise<T>>,
}

impl<T: Send + 'static> Job<T> {
    pub(super) fn new(promise: TaskPromise<T>) -> Self {
        Self {
            promise: Some(promise),
        }
    }

    pub(super) fn promise(&self) -> Option<&TaskPromise<T>> {
        self.promise.as_ref()
    }

    /// Does the work unless it was cancelled, and completes the promise with what comes of it.
    pub(super) fn run<F: FnOnce() -> T>(mut self, f: F) {
        let Some(promise) = self.promise.take() else {
            return;
        };
        if !promise.set_uncancellable() {
            return;
        }
        match boundary::catch(f) {
            Ok(value) => drop(promise.try_success(value)),
            Err(panic) => fail_panicked(&promise, type_name::<F>(), &panic),
        }
    }

    /// Completes the promise. `name` is that of the work's type.
    pub(super) fn finish(mut self, outcome: Result<T, Box<str>>, name: &'static str) {
        let Some(promise) = self.promise.take() else {
            return;
        };
        match outcome {
            Ok(value) => drop(promise.try_success(value)),
            Err(panic) => fail_panicked(&promise, name, &panic),
        }
    }
}

impl<T: Send + 'static> Drop for Job<T> {
    fn drop(&mut self) {
        if let Some(promise) = self.promise.take()
            // Not so when it was cancelled: making the error takes longer than the rest of that.
            && !promise.is_done()
        {
            let name = promise.host().map_or("", |host| host.name());
            promise.try_failure(terminated(name));
        }
    }
}

#[cold]
fn fail_panicked<T: Send + 'static>(promise: &TaskPromise<T>, name: &'static str, panic: &str) {
    LoopCore::with_current(|core| core.note_panic("a task", Some(name), panic));
    let text = format!("the task panicked: {panic}");
    promise.try_failure(Error::new(ErrorKind::TaskPanicked, text));
}

fn terminated(name: &str) -> Error {
    Error::new(
        ErrorKind::Terminated,
        format!("the event loop {name} has ended"),
    )
}

fn full(name: &str) -> Error {
    let text = format!("the task queue of the event loop {name} is full");
    Error::new(ErrorKind::Rejected, text)
}
