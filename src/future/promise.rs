//! [`Promise`]: the end of whoever does the work, without a value.
//!
//! One word, because every write carries one through the pipeline and into the outbound buffer. The
//! void promise is that word empty: it costs nothing and tells nobody.

use std::fmt;
use std::ptr;
use std::sync::Arc;

use super::completion::{Completion, Held};
use super::host::{KeyTarget, ListenerHost, OnCaller};
use super::inner::{Failed, Inner, Shared};
use super::observers::Listener;
use super::pool;
use crate::error::{Error, ErrorKind};

/// The end of an operation that completes it: once, with success, failure or cancellation.
///
/// All methods take `&self` and may be called from any thread; the first completion counts. When the
/// last promise of an operation is dropped before it is complete, its future fails with
/// [`ErrorKind::Dropped`], so that nobody waits for ever.
///
/// A [void](Promise::void) promise stands for "nobody wants to know": completing it does nothing.
///
/// ```
/// use tidegate::error::{Error, ErrorKind};
/// use tidegate::future::{OnCaller, Promise};
///
/// let promise = Promise::new(OnCaller::host());
/// let completion = promise.completion();
/// assert!(promise.try_success());
/// assert!(!promise.try_failure(Error::new(ErrorKind::User, "too late")));
/// assert!(completion.is_success());
/// ```
#[derive(Default)]
pub struct Promise(pub(super) Option<Arc<Inner<()>>>);

/// Whether anybody learns of a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Witness {
    /// The promise was complete before; this failure was not recorded.
    AlreadyDone,
    /// The promise failed, and somebody waits for it or holds its future.
    Observed,
    /// The promise failed, and nobody will know unless the caller tells.
    Unobserved,
}

impl Promise {
    /// A promise whose listeners run at `host`.
    pub fn new(host: Arc<dyn ListenerHost>) -> Self {
        Self(Some(pool::take(host)))
    }

    /// The promise that nobody observes. Costs nothing.
    #[inline]
    pub const fn void() -> Self {
        Self(None)
    }

    /// Another end of the same promise. It is dropped for good when all of them are.
    #[must_use]
    pub fn second(&self) -> Promise {
        if let Some(inner) = &self.0 {
            inner.add_promise();
        }
        Self(self.0.clone())
    }

    /// This promise, or, if it is void, a new one at `host`: for handlers that must know the outcome.
    #[must_use]
    pub fn unvoid(self, host: &Arc<dyn ListenerHost>) -> Promise {
        if self.is_void() {
            Promise::new(host.clone())
        } else {
            self
        }
    }

    /// Completes the promise; false if it was complete before. Always true on a void promise.
    #[inline]
    pub fn try_success(&self) -> bool {
        let Some(inner) = &self.0 else { return true };
        match inner.mark_success() {
            None => false,
            Some(observed) => {
                if observed {
                    shared(inner).notify();
                }
                true
            }
        }
    }

    /// Fails the promise; false if it was complete before. Always true on a void promise. An error of
    /// kind [`Cancelled`](ErrorKind::Cancelled) makes it a cancelled promise.
    pub fn try_failure(&self, error: Error) -> bool {
        self.fail_observed(error) != Witness::AlreadyDone
    }

    /// Fails the promise like [`try_failure`](Promise::try_failure), and tells whether anybody will
    /// learn of it. A void promise is never observed.
    pub fn fail_observed(&self, error: Error) -> Witness {
        let Some(inner) = &self.0 else {
            return Witness::Unobserved;
        };
        match shared(inner).fail(error, Arc::strong_count(inner)) {
            Failed::AlreadyDone => Witness::AlreadyDone,
            Failed::Now { observed: true } => Witness::Observed,
            Failed::Now { observed: false } => Witness::Unobserved,
        }
    }

    /// As [`try_success`](Promise::try_success), for callers to whom a promise that is complete is a
    /// mistake.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyDone`]; the promise stays as it was.
    pub fn set_success(&self) -> Result<(), Error> {
        done_once(self.try_success())
    }

    /// As [`try_failure`](Promise::try_failure), for callers to whom a promise that is complete is a
    /// mistake.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyDone`]; the promise stays as it was.
    pub fn set_failure(&self, error: Error) -> Result<(), Error> {
        done_once(self.try_failure(error))
    }

    /// Completes the promise with the outcome of something else; false if it was complete before.
    pub fn complete(&self, result: &Result<(), Error>) -> bool {
        match result {
            Ok(()) => self.try_success(),
            Err(error) => self.try_failure(error.clone()),
        }
    }

    /// Says that the work begins: from here on it cannot be cancelled. False if it has been; then the
    /// work must not be done.
    #[inline]
    pub fn set_uncancellable(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|inner| inner.set_uncancellable())
    }

    /// True once the promise is complete; never for a void one.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.is_done())
    }

    /// True if the promise was cancelled.
    #[inline]
    pub fn is_cancelled(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.is_cancelled())
    }

    /// True if nobody can observe this promise.
    #[inline]
    pub const fn is_void(&self) -> bool {
        self.0.is_none()
    }

    /// True if listeners of this promise run at `host`, or if it is void and so fits everywhere.
    pub fn is_hosted_by(&self, host: &Arc<dyn ListenerHost>) -> bool {
        match self.0.as_ref().and_then(|inner| inner.host()) {
            None => true,
            Some(own) => ptr::addr_eq(Arc::as_ptr(own), Arc::as_ptr(host)),
        }
    }

    /// True if this is the promise of a channel, and that is at none of `homes`.
    pub(crate) fn is_of_another_channel(&self, homes: [*const (); 2]) -> bool {
        let host = self.0.as_ref().and_then(|inner| inner.host());
        host.is_some_and(|own| {
            own.is_channel()
                && !homes
                    .iter()
                    .any(|home| ptr::addr_eq(Arc::as_ptr(own), *home))
        })
    }

    /// The future of this promise.
    ///
    /// A void promise has none: the future given has failed with [`ErrorKind::Unsupported`]. Use
    /// [`unvoid`](Promise::unvoid) where the outcome matters.
    pub fn completion(&self) -> Completion {
        match &self.0 {
            Some(inner) => Completion::of(Held::Unit(inner.clone())),
            None => Completion::failed(
                OnCaller::host(),
                Error::new(
                    ErrorKind::Unsupported,
                    "a void promise has no future: pass a promise of your own, or unvoid() this one",
                ),
            ),
        }
    }

    /// Brings the outcome back to `target` by key, without an allocation. False for a void promise,
    /// which has no outcome to bring.
    pub fn add_keyed(&self, target: Arc<dyn KeyTarget>, node: u64, key: u64) -> bool {
        let Some(inner) = &self.0 else { return false };
        shared(inner).listen(Listener::Key { target, node, key });
        true
    }
}

impl Drop for Promise {
    #[inline]
    fn drop(&mut self) {
        if let Some(inner) = &mut self.0 {
            end(inner);
        }
    }
}

/// A promise end that is not void goes away.
#[inline(never)]
fn end(inner: &mut Arc<Inner<()>>) {
    if inner.drop_promise() {
        shared(inner).fail_dropped();
    }
    pool::give(inner);
}

impl fmt::Debug for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("Promise(void)"),
            Some(inner) => write!(f, "Promise({})", shared(inner).state_name()),
        }
    }
}

#[inline]
fn shared(inner: &Inner<()>) -> &Shared {
    inner
}

pub(super) fn done_once(first: bool) -> Result<(), Error> {
    if first {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::AlreadyDone,
            "the promise is complete already; use the try_ form where that is no mistake",
        ))
    }
}
