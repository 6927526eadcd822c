//! Plain futures on a loop: `spawn_local`. Each wake-up queues the future at most once; from other
//! threads it comes through the task queue, from the loop itself through the local one.

use std::any::type_name;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Wake, Waker};

use tidegate_sys::mem::{LocalTask, Task};

use super::boundary;
use super::core::LoopCore;
use super::futures::FutureKey;
use super::handle::Job;
use super::shared::EventLoop;
use super::stall::Role;
use super::sync::AtomicBool;
use crate::error::ErrorKind;
use crate::future::{TaskFuture, TaskPromise};

impl EventLoop {
    /// Runs a future on the loop. `make` is called there, so the future itself need not be `Send`.
    ///
    /// The result comes with what the future yields. It fails with [`ErrorKind::TaskPanicked`] if the
    /// future panics and with [`ErrorKind::Terminated`] if the loop ends before; cancelling it drops the
    /// future.
    pub fn spawn_local<M, F>(&self, make: M) -> TaskFuture<F::Output>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        let (promise, future) = TaskPromise::pair(self.host());
        let job = Job::new(promise);
        let start = move || {
            LoopCore::with_current(|core| match boundary::catch(make) {
                Ok(future) => start(core, job, future),
                Err(panic) => job.finish(Err(panic), type_name::<M>()),
            });
        };
        match self.execute(start) {
            Ok(()) => future,
            Err(error) => TaskFuture::ready(self.host(), Err(error)),
        }
    }
}

/// Puts a future into the loop and polls it for the first time.
fn start<F>(core: &Rc<LoopCore>, job: Job<F::Output>, future: F)
where
    F: Future + 'static,
    F::Output: Send + 'static,
{
    let Some(completion) = job.promise().map(TaskPromise::completion) else {
        return;
    };
    let key = core.futures.borrow_mut().reserve();
    let waker = Arc::new(FutureWaker {
        handle: core.handle().clone(),
        key,
        name: type_name::<F>(),
        is_queued: AtomicBool::new(true),
    });
    let cancelled = Arc::clone(&waker);
    completion.add_listener(move |result| {
        if result
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::Cancelled)
        {
            cancelled.wake();
        }
    });
    let driven = async move {
        let mut future = pin!(future);
        let outcome = poll_fn(|cx| {
            if job.promise().is_none_or(TaskPromise::is_cancelled) {
                return Poll::Ready(None);
            }
            match boundary::catch(|| future.as_mut().poll(cx)) {
                Ok(poll) => poll.map(|value| Some(Ok(value))),
                Err(panic) => Poll::Ready(Some(Err(panic))),
            }
        })
        .await;
        if let Some(outcome) = outcome {
            job.finish(outcome, type_name::<F>());
        }
    };
    core.futures.borrow_mut().put_back(key, Box::pin(driven));
    waker.poll(core);
}

/// Queues one future of one loop when it is woken.
struct FutureWaker {
    handle: EventLoop,
    key: FutureKey,
    /// Of the future's type.
    name: &'static str,
    /// Whether a poll is on its way. Cleared before the poll: a wake-up during it queues another.
    is_queued: AtomicBool,
}

impl FutureWaker {
    fn poll(self: Arc<Self>, core: &LoopCore) {
        let key = self.key;
        // Acquire: what was done before the wake-up is seen by the poll.
        self.is_queued.swap(false, Ordering::AcqRel);
        let taken = core.futures.borrow_mut().take(key);
        let Some(mut future) = taken else { return };
        let _held = core
            .sentry()
            .map(|sentry| sentry.hold_for_job(Role::Task, self.name));
        let waker = Waker::from(self);
        let poll = future.as_mut().poll(&mut Context::from_waker(&waker));
        let left = if poll.is_pending() {
            core.futures.borrow_mut().put_back(key, future)
        } else {
            core.futures.borrow_mut().remove(key);
            Some(future)
        };
        // Behind all borrows: its destructor may come back here.
        drop(left);
    }
}

impl Wake for FutureWaker {
    fn wake(self: Arc<Self>) {
        if self.is_queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let handle = self.handle.clone();
        let poll = move || {
            LoopCore::with_current(|core| self.poll(core));
        };
        if handle.in_event_loop() {
            LoopCore::with_current(|core| core.push_local(LocalTask::new(poll)));
        } else {
            // Refused only when the loop has ended, and its futures with it.
            let _gone = handle.shared().push_insistent(Task::new(poll));
        }
    }
}
