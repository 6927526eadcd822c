//! [`Completion`]: the end of whoever asked, without a value.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tidegate_sys::mem::Task;

use super::host::{KeyTarget, ListenerHost};
use super::inner::{Inner, Shared};
use super::observers::Listener;
use super::pool;
use crate::error::{Error, ErrorKind};

/// The future of an operation without a value: a write, a close, a shutdown.
///
/// It is a handle: clones observe the same operation, and dropping all of them changes nothing. It is
/// a [`std::future::Future`], so any executor can await it; it makes progress without being polled.
pub struct Completion {
    inner: Held,
    /// The key of this handle's waker, 0 if it was never polled while pending.
    waker_key: u32,
}

impl Completion {
    pub(super) fn of(inner: Held) -> Self {
        Self {
            inner,
            waker_key: 0,
        }
    }

    /// One that has succeeded.
    pub fn succeeded(host: Arc<dyn ListenerHost>) -> Self {
        let inner = pool::take(host);
        // Nobody else has it yet, so there is nobody to tell.
        inner.mark_success();
        Self::of(Held::Unit(inner))
    }

    /// One that has failed with `error`.
    pub fn failed(host: Arc<dyn ListenerHost>, error: Error) -> Self {
        let inner = Held::Unit(pool::take(host));
        inner.fail(error, 1);
        Self::of(inner)
    }

    /// True once the operation succeeded, failed or was cancelled.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.inner.is_done()
    }

    /// True once the operation succeeded.
    #[inline]
    pub fn is_success(&self) -> bool {
        self.inner.is_success()
    }

    /// True if the operation was cancelled.
    #[inline]
    pub fn is_cancelled(&self) -> bool {
        self.inner.is_cancelled()
    }

    /// The outcome, if there is one yet.
    pub fn result(&self) -> Option<Result<(), Error>> {
        self.inner.result()
    }

    /// Why the operation failed; `None` while it runs and when it succeeded.
    pub fn cause(&self) -> Option<Error> {
        self.inner.result()?.err()
    }

    /// Cancels the operation, if it has not begun. True if this call did it.
    pub fn cancel(&self) -> bool {
        self.inner.cancel()
    }

    /// Blocks this thread until the operation is done.
    ///
    /// # Errors
    /// The operation's error; or [`ErrorKind::Blocking`], at once, where waiting would be waiting for
    /// oneself: on the thread of the event loop, and on a thread that owns a local loop which nobody
    /// drives meanwhile. What is done already is returned everywhere.
    pub fn sync(&self) -> Result<(), Error> {
        self.inner.wait(None)?;
        self.outcome()
    }

    /// Blocks this thread until the operation is done, but not for longer than `timeout`.
    ///
    /// # Errors
    /// As for [`sync`](Completion::sync); and [`ErrorKind::TimedOut`] when the time is over. The
    /// operation goes on. Where an operation may itself fail with that kind, use
    /// [`wait_timeout`](Completion::wait_timeout).
    pub fn sync_timeout(&self, timeout: Duration) -> Result<(), Error> {
        if self.wait_timeout(timeout)? {
            self.outcome()
        } else {
            Err(still_running(timeout))
        }
    }

    /// Blocks this thread until the operation is done (true) or `timeout` is over (false). A timeout of
    /// zero only looks, and so is allowed everywhere.
    ///
    /// # Errors
    /// [`ErrorKind::Blocking`], as for [`sync`](Completion::sync); never the operation's error.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool, Error> {
        wait_timeout(&self.inner, timeout)
    }

    /// Calls `listener` with the outcome, on the event loop of the operation; soon, if it is done.
    /// Listeners are called once each, in the order in which they were added.
    ///
    /// Without an allocation for the first listener of an operation that captures up to five words.
    pub fn add_listener<F>(&self, listener: F)
    where
        F: FnOnce(&Result<(), Error>) + Send + 'static,
    {
        let inner = self.inner.clone();
        self.inner.listen(Listener::Call(Task::new(move || {
            // The result is there: listeners are only handed over once the promise is done.
            if let Some(result) = inner.result() {
                listener(&result);
            }
        })));
    }

    /// Brings the outcome back to `target` by key, in order with the listeners, without an allocation
    /// for the first.
    pub fn add_keyed(&self, target: Arc<dyn KeyTarget>, node: u64, key: u64) {
        self.inner.listen(Listener::Key { target, node, key });
    }

    fn outcome(&self) -> Result<(), Error> {
        self.inner.result().unwrap_or(Ok(()))
    }
}

/// A hold of a state.
#[derive(Clone)]
pub(super) enum Held {
    /// Of an operation without a value: it is used again.
    Unit(Arc<Inner<()>>),
    /// The value, if any, is out of sight.
    Value(Arc<Shared>),
}

const _: () = assert!(
    size_of::<Held>() == size_of::<Arc<Shared>>(),
    "the two are told apart by a niche"
);

impl Deref for Held {
    type Target = Shared;

    #[inline]
    fn deref(&self) -> &Shared {
        match self {
            Held::Unit(inner) => &**inner,
            Held::Value(inner) => inner,
        }
    }
}

impl Drop for Held {
    #[inline]
    fn drop(&mut self) {
        if let Held::Unit(inner) = self {
            pool::give(inner);
        }
    }
}

impl Future for Completion {
    type Output = Result<(), Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.inner.poll(&mut this.waker_key, cx.waker()) {
            Poll::Ready(this.outcome())
        } else {
            Poll::Pending
        }
    }
}

impl Clone for Completion {
    fn clone(&self) -> Self {
        Self::of(self.inner.clone())
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if self.waker_key != 0 {
            self.inner.forget(self.waker_key);
        }
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Completion({})", self.inner.state_name())
    }
}

pub(super) fn wait_timeout(inner: &Shared, timeout: Duration) -> Result<bool, Error> {
    if timeout.is_zero() {
        return Ok(inner.is_done());
    }
    // A deadline that the clock cannot express is no deadline.
    inner.wait(Instant::now().checked_add(timeout))
}

pub(super) fn still_running(timeout: Duration) -> Error {
    Error::new(
        ErrorKind::TimedOut,
        format!("not done after {timeout:?}; the operation goes on"),
    )
}
