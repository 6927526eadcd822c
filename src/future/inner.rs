//! The state that a promise and its futures share, and the rules by which threads share it.
//!
//! The word `state`:
//!
//! | bit | name | meaning |
//! |---|---|---|
//! | 0 | DONE | complete; no other bit but OBSERVED changes any more |
//! | 1 | FAILED | complete with an error; `slow.failure` has it |
//! | 2 | CANCELLED | the error is a cancellation |
//! | 3 | UNCANCELLABLE | the work began; `cancel` is refused |
//! | 4 | OBSERVED | somebody waits, or has waited, for completion |
//!
//! Rules:
//!
//! 1. The compare-and-swap that sets DONE decides who completes the promise. It is the only step when
//!    it succeeds and OBSERVED is not set: success without an audience takes no lock.
//! 2. A failure swaps with the lock held and stores the error before it gives the lock back. Whoever
//!    sees FAILED takes the lock to read the error, so it is always there. `cancel` needs no lock: its
//!    error is always the same, and none is stored.
//! 3. Whoever wants to be told takes the lock, sets OBSERVED, and looks at what the word was before:
//!    not DONE means that the completing swap comes later, sees OBSERVED and calls `notify`, which has
//!    to wait for the lock; DONE means that the observer has to act itself.
//! 4. Listeners are handed over by one thread at a time (`slow.notifying`), in the order of the list,
//!    until the list is empty. Who finds it set only appends; so a late listener cannot overtake an
//!    earlier one, and a listener that adds a listener does not nest.
//! 5. Blocked threads and wakers are woken before the first listener is handed over.
//! 6. `promises` counts the promise ends while the promise is not done. The one that takes it to zero
//!    fails the promise. After DONE nobody counts.
//! 7. No foreign code (listeners, hosts, wakers, drops of values) runs under the lock.

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock, PoisonError};
use std::task::Waker;
use std::time::Instant;

use super::host::ListenerHost;
use super::observers::{Few, Listener, Slow};
use super::sync::{AtomicU32, Condvar, Mutex, MutexGuard};
use crate::error::{Error, ErrorKind};

const DONE: u32 = 1;
const FAILED: u32 = 1 << 1;
const CANCELLED: u32 = 1 << 2;
const UNCANCELLABLE: u32 = 1 << 3;
const OBSERVED: u32 = 1 << 4;

/// The shared state. `V` is `()` or the slot for a value; futures that do not care hold it as
/// [`Shared`].
pub(super) struct Inner<V: ?Sized> {
    state: AtomicU32,
    promises: AtomicU32,
    /// None only while the state rests in a pool.
    host: Option<Arc<dyn ListenerHost>>,
    slow: Mutex<Slow>,
    done: Condvar,
    pub(super) value: V,
}

/// The shared state with its value, if any, out of sight.
pub(super) type Shared = Inner<dyn Send + Sync>;

/// How a failure went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Failed {
    Now { observed: bool },
    AlreadyDone,
}

impl<V> Inner<V> {
    pub(super) fn new(host: Arc<dyn ListenerHost>, value: V) -> Self {
        Self {
            state: AtomicU32::new(0),
            promises: AtomicU32::new(1),
            host: Some(host),
            slow: Mutex::new(Slow::default()),
            done: Condvar::new(),
            value,
        }
    }

    /// As new, but without a host. For a state that is done and that nobody else holds.
    pub(super) fn reset(&mut self) {
        self.state.store(0, Ordering::Relaxed);
        self.promises.store(1, Ordering::Relaxed);
        self.host = None;
        self.slow
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .reset();
    }

    pub(super) fn set_host(&mut self, host: Arc<dyn ListenerHost>) {
        self.host = Some(host);
    }
}

impl<V: ?Sized> Inner<V> {
    #[inline]
    pub(super) fn is_done(&self) -> bool {
        self.state.load(Ordering::Acquire) & DONE != 0
    }

    #[inline]
    pub(super) fn is_success(&self) -> bool {
        self.state.load(Ordering::Acquire) & (DONE | FAILED) == DONE
    }

    #[inline]
    pub(super) fn is_cancelled(&self) -> bool {
        self.state.load(Ordering::Acquire) & CANCELLED != 0
    }

    /// F2: true if cancelling is ruled out from here on, or is too late; false if it has happened.
    #[inline]
    pub(super) fn set_uncancellable(&self) -> bool {
        self.try_update(|state| (state & DONE == 0).then_some(state | UNCANCELLABLE))
            .is_ok()
            || !self.is_cancelled()
    }

    /// The successful swap of rule 1, without telling anybody. `Some(observed)` if it was ours.
    #[inline]
    pub(super) fn mark_success(&self) -> Option<bool> {
        self.try_update(|state| (state & DONE == 0).then_some(state | DONE))
            .ok()
            .map(|before| before & OBSERVED != 0)
    }

    /// Rule 6. Called once by each promise end that goes away.
    #[inline]
    pub(super) fn drop_promise(&self) -> bool {
        self.state.load(Ordering::Relaxed) & DONE == 0
            && self.promises.fetch_sub(1, Ordering::AcqRel) == 1
    }

    pub(super) fn add_promise(&self) {
        self.promises.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn host(&self) -> Option<&Arc<dyn ListenerHost>> {
        self.host.as_ref()
    }

    /// A compare-and-swap loop; the value before, or the one that `change` refused.
    #[inline]
    fn try_update(&self, change: impl Fn(u32) -> Option<u32>) -> Result<u32, u32> {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let next = change(state).ok_or(state)?;
            match self
                .state
                .compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(before) => return Ok(before),
                Err(now) => state = now,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slow> {
        // Nothing panics under the lock, so a poisoned one is as good as any.
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    pub(super) fn result(&self) -> Option<Result<(), Error>> {
        let state = self.state.load(Ordering::Acquire);
        if state & DONE == 0 {
            None
        } else if state & FAILED == 0 {
            Some(Ok(()))
        } else {
            Some(outcome(state, &self.lock()))
        }
    }

    /// For `Debug`.
    pub(super) fn state_name(&self) -> &'static str {
        match self.state.load(Ordering::Relaxed) {
            state if state & CANCELLED != 0 => "cancelled",
            state if state & FAILED != 0 => "failed",
            state if state & DONE != 0 => "success",
            state if state & UNCANCELLABLE != 0 => "uncancellable",
            _ => "pending",
        }
    }

    /// Fails the promise (rule 2). A failure of kind `Cancelled` is a cancellation (F1). `holders` are
    /// the references to this state that exist.
    #[cold]
    pub(super) fn fail(&self, error: Error, holders: usize) -> Failed {
        let bits = if error.kind() == ErrorKind::Cancelled {
            DONE | FAILED | CANCELLED
        } else {
            DONE | FAILED
        };
        let promises = self.promises.load(Ordering::Relaxed) as usize;
        let mut slow = self.lock();
        match self.try_update(|state| (state & DONE == 0).then_some(state | bits)) {
            Err(_) => Failed::AlreadyDone,
            Ok(before) => {
                slow.failure = Some(error);
                drop(slow);
                let waited_for = before & OBSERVED != 0;
                if waited_for {
                    self.notify();
                }
                Failed::Now {
                    observed: waited_for || holders > promises,
                }
            }
        }
    }

    /// F2: cancels what has not begun.
    pub(super) fn cancel(&self) -> bool {
        let free = |state: u32| {
            (state & (DONE | UNCANCELLABLE) == 0).then_some(state | DONE | FAILED | CANCELLED)
        };
        let Ok(before) = self.try_update(free) else {
            return false;
        };
        if before & OBSERVED != 0 {
            self.notify();
        }
        true
    }

    /// The last promise end is gone and nobody completed it.
    #[cold]
    pub(super) fn fail_dropped(&self) {
        static ERROR: LazyLock<Error> = LazyLock::new(|| {
            Error::new(
                ErrorKind::Dropped,
                "the promise was dropped before it was completed: whoever takes a promise has to \
                 complete it or pass it on",
            )
        });
        self.fail(ERROR.clone(), 0);
    }

    /// Adds a listener (rules 3 and 4).
    pub(super) fn listen(&self, listener: Listener) {
        let mut slow = self.lock();
        let before = self.state.fetch_or(OBSERVED, Ordering::AcqRel);
        slow.listeners.push(listener);
        drop(slow);
        if before & DONE != 0 {
            self.notify();
        }
    }

    /// True if the promise is done; otherwise `waker` is registered under `key`.
    pub(super) fn poll(&self, key: &mut u32, waker: &Waker) -> bool {
        if self.is_done() {
            return true;
        }
        let waker = waker.clone();
        let mut slow = self.lock();
        if self.state.fetch_or(OBSERVED, Ordering::AcqRel) & DONE != 0 {
            drop(slow);
            return true;
        }
        let unneeded = slow.register(key, waker);
        drop(slow);
        drop(unneeded);
        false
    }

    /// The future registered under `key` is gone.
    pub(super) fn forget(&self, key: u32) {
        if key != 0 && !self.is_done() {
            let waker = self.lock().unregister(key);
            drop(waker);
        }
    }

    /// Blocks until the promise is done (true) or the time is over (false).
    pub(super) fn wait(&self, deadline: Option<Instant>) -> Result<bool, Error> {
        if self.is_done() {
            return Ok(true);
        }
        if self.host.as_ref().is_some_and(|host| host.would_deadlock()) {
            return Err(blocking());
        }
        let mut slow = self.lock();
        if self.state.fetch_or(OBSERVED, Ordering::AcqRel) & DONE != 0 {
            return Ok(true);
        }
        slow.waiting += 1;
        while !self.is_done() {
            slow = match deadline {
                None => self.done.wait(slow).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    self.done
                        .wait_timeout(slow, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
        slow.waiting -= 1;
        Ok(self.is_done())
    }

    /// Tells everybody who waits (rules 4 and 5). The promise is done.
    #[cold]
    pub(super) fn notify(&self) {
        let mut slow = self.lock();
        if slow.waiting > 0 {
            self.done.notify_all();
        }
        let wakers = slow.wakers.take();
        if slow.notifying {
            drop(slow);
            wake(wakers);
            return;
        }
        let mut listeners = slow.listeners.take();
        if wakers.is_empty() && listeners.is_empty() {
            return;
        }
        slow.notifying = true;
        let result = outcome(self.state.load(Ordering::Acquire), &slow);
        drop(slow);
        wake(wakers);
        loop {
            listeners.for_each(|listener| {
                let job = listener.into_job(&result);
                match &self.host {
                    Some(host) => contained("a listener", || host.run_listener(job)),
                    None => contained("a listener", || job.run()),
                }
            });
            let mut slow = self.lock();
            listeners = slow.listeners.take();
            if listeners.is_empty() {
                slow.notifying = false;
                return;
            }
        }
    }
}

#[cfg(test)]
impl<V: ?Sized> Inner<V> {
    pub(super) fn blocked_threads(&self) -> u32 {
        self.lock().waiting
    }

    pub(super) fn take_wakers(&self) -> usize {
        let mut count = 0;
        let mut slow = self.lock();
        slow.wakers.take().for_each(|_| count += 1);
        count
    }
}

/// The result of a promise that is done.
fn outcome(state: u32, slow: &Slow) -> Result<(), Error> {
    static CANCELLATION: LazyLock<Error> = LazyLock::new(|| {
        Error::new(
            ErrorKind::Cancelled,
            "the operation was cancelled before it was done",
        )
    });
    match &slow.failure {
        Some(error) => Err(error.clone()),
        None if state & CANCELLED != 0 => Err(CANCELLATION.clone()),
        None => Ok(()),
    }
}

fn wake(wakers: Few<(u32, Waker)>) {
    wakers.for_each(|(_, waker)| contained("a waker", || waker.wake()));
}

/// F5: what panics while being told does not keep the others from being told.
fn contained(what: &'static str, tell: impl FnOnce()) {
    if panic::catch_unwind(AssertUnwindSafe(tell)).is_err() {
        tracing::warn!("{what} of a promise panicked; the others are told as usual");
    }
}

#[cold]
fn blocking() -> Error {
    Error::new(
        ErrorKind::Blocking,
        "sync() on the thread that has to complete the promise would wait for ever: add a listener, \
         await the future, or wait on another thread",
    )
}
