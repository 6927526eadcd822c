//! [`TaskPromise`] and [`TaskFuture`]: the two ends of an operation that yields a value.
//!
//! The value has one taker: whoever awaits, syncs or asks for it by `on_result`. Others may observe the
//! same operation through [`TaskFuture::completion`], which does not see the value.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use super::completion::{self, Completion, Held};
use super::host::ListenerHost;
use super::inner::{Failed, Inner, Shared};
use super::promise::{Witness, done_once};
use super::sync::{Mutex, MutexGuard};
use crate::error::{Error, ErrorKind};

type Slot<T> = Mutex<Option<T>>;

/// The end of an operation that completes it with a value. There is one; when it is dropped before the
/// operation is complete, the future fails with [`ErrorKind::Dropped`].
///
/// ```
/// use tidegate::future::{OnCaller, TaskPromise};
///
/// let (promise, future) = TaskPromise::pair(OnCaller::host());
/// std::thread::spawn(move || promise.try_success(6 * 7));
/// assert_eq!(future.sync()?, 42);
/// # Ok::<(), tidegate::error::Error>(())
/// ```
pub struct TaskPromise<T: Send + 'static> {
    inner: Arc<Inner<Slot<T>>>,
}

impl<T: Send + 'static> TaskPromise<T> {
    /// Both ends of a new operation, whose listeners run at `host`.
    pub fn pair(host: Arc<dyn ListenerHost>) -> (TaskPromise<T>, TaskFuture<T>) {
        let inner = Arc::new(Inner::new(host, Mutex::new(None)));
        let future = TaskFuture {
            inner: inner.clone(),
            waker_key: 0,
        };
        (TaskPromise { inner }, future)
    }

    /// Completes the operation, or gives the value back if it was complete before.
    pub fn try_success(&self, value: T) -> Result<(), T> {
        // The slot is locked over the swap, so that nobody sees DONE and an empty slot.
        let mut slot = lock(&self.inner.value);
        let Some(observed) = self.inner.mark_success() else {
            drop(slot);
            return Err(value);
        };
        *slot = Some(value);
        drop(slot);
        if observed {
            self.shared().notify();
        }
        Ok(())
    }

    /// Fails the operation; false if it was complete before. An error of kind
    /// [`Cancelled`](ErrorKind::Cancelled) is a cancellation.
    pub fn try_failure(&self, error: Error) -> bool {
        self.fail_observed(error) != Witness::AlreadyDone
    }

    /// Fails the operation, and tells whether anybody will learn of it.
    pub fn fail_observed(&self, error: Error) -> Witness {
        match self.shared().fail(error, Arc::strong_count(&self.inner)) {
            Failed::AlreadyDone => Witness::AlreadyDone,
            Failed::Now { observed: true } => Witness::Observed,
            Failed::Now { observed: false } => Witness::Unobserved,
        }
    }

    /// As [`try_success`](TaskPromise::try_success), for callers to whom a complete promise is a mistake.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyDone`]; the value is lost.
    pub fn set_success(&self, value: T) -> Result<(), Error> {
        done_once(self.try_success(value).is_ok())
    }

    /// As [`try_failure`](TaskPromise::try_failure), for callers to whom a complete promise is a mistake.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyDone`].
    pub fn set_failure(&self, error: Error) -> Result<(), Error> {
        done_once(self.try_failure(error))
    }

    /// Completes the operation with the outcome of something else; false if it was complete before.
    pub fn complete(&self, result: Result<T, Error>) -> bool {
        match result {
            Ok(value) => self.try_success(value).is_ok(),
            Err(error) => self.try_failure(error),
        }
    }

    /// Says that the work begins: from here on it cannot be cancelled. False if it has been; then the
    /// work must not be done.
    pub fn set_uncancellable(&self) -> bool {
        self.inner.set_uncancellable()
    }

    /// True once the operation is complete.
    pub fn is_done(&self) -> bool {
        self.inner.is_done()
    }

    /// True if the operation was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.inner.is_cancelled()
    }

    /// The operation as a future without its value.
    pub fn completion(&self) -> Completion {
        Completion::of(Held::Value(self.inner.clone()))
    }

    /// Where its listeners run.
    pub(crate) fn host(&self) -> Option<&Arc<dyn ListenerHost>> {
        self.inner.host()
    }

    fn shared(&self) -> &Shared {
        &*self.inner
    }
}

impl<T: Send + 'static> Drop for TaskPromise<T> {
    fn drop(&mut self) {
        if self.inner.drop_promise() {
            self.shared().fail_dropped();
        }
    }
}

impl<T: Send + 'static> fmt::Debug for TaskPromise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskPromise({})", self.shared().state_name())
    }
}

/// The future of an operation that yields a value: a task, a connect, a bind.
///
/// It is a [`std::future::Future`], so any executor can await it; it makes progress without being
/// polled. The value is taken once; a second taker gets [`ErrorKind::ValueTaken`].
pub struct TaskFuture<T: Send + 'static> {
    inner: Arc<Inner<Slot<T>>>,
    /// The key of this future's waker, 0 if it was never polled while pending.
    waker_key: u32,
}

impl<T: Send + 'static> TaskFuture<T> {
    /// One that is complete.
    pub fn ready(host: Arc<dyn ListenerHost>, result: Result<T, Error>) -> Self {
        let (promise, future) = TaskPromise::pair(host);
        promise.complete(result);
        future
    }

    /// True once the operation succeeded, failed or was cancelled.
    pub fn is_done(&self) -> bool {
        self.inner.is_done()
    }

    /// True once the operation succeeded.
    pub fn is_success(&self) -> bool {
        self.inner.is_success()
    }

    /// True if the operation was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.inner.is_cancelled()
    }

    /// Why the operation failed; `None` while it runs and when it succeeded.
    pub fn cause(&self) -> Option<Error> {
        self.shared().result()?.err()
    }

    /// Cancels the operation, if it has not begun. True if this call did it.
    pub fn cancel(&self) -> bool {
        self.shared().cancel()
    }

    /// A copy of the value, if it is there: not before success, and not after it was taken.
    pub fn get_now(&self) -> Option<T>
    where
        T: Clone,
    {
        if self.is_success() {
            lock(&self.inner.value).clone()
        } else {
            None
        }
    }

    /// Blocks this thread until the operation is done, and takes the value.
    ///
    /// # Errors
    /// As [`Completion::sync`]; and [`ErrorKind::ValueTaken`].
    pub fn sync(&self) -> Result<T, Error> {
        self.shared().wait(None)?;
        self.take()
    }

    /// Blocks this thread until the operation is done, but not for longer than `timeout`, and takes the
    /// value.
    ///
    /// # Errors
    /// As [`Completion::sync_timeout`]; and [`ErrorKind::ValueTaken`].
    pub fn sync_timeout(&self, timeout: Duration) -> Result<T, Error> {
        if self.wait_timeout(timeout)? {
            self.take()
        } else {
            Err(completion::still_running(timeout))
        }
    }

    /// Blocks this thread until the operation is done (true) or `timeout` is over (false). The value
    /// stays.
    ///
    /// # Errors
    /// As [`Completion::wait_timeout`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool, Error> {
        completion::wait_timeout(self.shared(), timeout)
    }

    /// Calls `listener` with the outcome but without the value, on the event loop of the operation; see
    /// [`Completion::add_listener`].
    pub fn add_listener<F>(&self, listener: F)
    where
        F: FnOnce(&Result<(), Error>) + Send + 'static,
    {
        self.completion().add_listener(listener);
    }

    /// Calls `taker` with the outcome and the value, on the event loop of the operation, in order with
    /// the listeners.
    pub fn on_result<F>(self, taker: F)
    where
        F: FnOnce(Result<T, Error>) + Send + 'static,
    {
        let completion = self.completion();
        completion.add_listener(move |_| taker(self.take()));
    }

    /// The operation as a future without its value, for any number of observers.
    pub fn completion(&self) -> Completion {
        Completion::of(Held::Value(self.inner.clone()))
    }

    /// Takes the outcome of an operation that is done.
    fn take(&self) -> Result<T, Error> {
        match self.shared().result() {
            Some(Err(error)) => Err(error),
            _ => lock(&self.inner.value).take().ok_or_else(|| {
                Error::new(
                    ErrorKind::ValueTaken,
                    "the value of this future was taken before; it can be taken once",
                )
            }),
        }
    }

    fn shared(&self) -> &Shared {
        &*self.inner
    }
}

impl<T: Send + 'static> Future for TaskFuture<T> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let shared: &Shared = &*this.inner;
        if shared.poll(&mut this.waker_key, cx.waker()) {
            Poll::Ready(this.take())
        } else {
            Poll::Pending
        }
    }
}

impl<T: Send + 'static> Drop for TaskFuture<T> {
    fn drop(&mut self) {
        if self.waker_key != 0 {
            self.shared().forget(self.waker_key);
        }
    }
}

impl<T: Send + 'static> fmt::Debug for TaskFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskFuture({})", self.shared().state_name())
    }
}

fn lock<T>(slot: &Slot<T>) -> MutexGuard<'_, Option<T>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
