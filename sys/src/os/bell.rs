//! A thread's sleep in the kernel as loom can see it; compiled for `make loom` alone.
//!
//! Loom's threads take turns on one thread of the system, which therefore must not block in the kernel. So a model asks the
//! real kernel, real epoll set and real eventfd, without waiting, and waits here instead. [`Selector::wait`] and
//! [`Waker::wake`] share a bell and are its only callers.
//!
//! The lock makes each call one step, as the kernel's own locks do: a wake-up comes before a wait and is found by it, or
//! comes after it and ends it. It orders no more than the kernel would: a wait that finds nothing has only met wake-ups that
//! were found before.
//!
//! [`Selector::wait`]: super::Selector::wait
//! [`Waker::wake`]: super::Waker::wake

use std::cell::Cell;
use std::sync::PoisonError;
use std::time::Duration;

use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
use loom::thread;

/// What the waits and the wake-ups of one selector share.
#[derive(Clone)]
pub(super) struct Bell(Arc<Shared>);

struct Shared {
    /// Wake-ups so far, each a system call.
    rings: Mutex<u64>,
    rung: Condvar,
}

impl Bell {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared {
            rings: Mutex::new(0),
            rung: Condvar::new(),
        }))
    }

    /// Makes the system call of a wake-up.
    pub(super) fn ring<R>(&self, wake: impl FnOnce() -> R) -> R {
        let mut rings = self.lock();
        *rings += 1;
        let answer = wake();
        self.0.rung.notify_all();
        answer
    }

    /// Asks the kernel, and sleeps while it has nothing to say. A wait that may take some time takes all of it if there is
    /// nothing yet.
    pub(super) fn wait<R>(
        &self,
        timeout: Option<Duration>,
        mut ask: impl FnMut() -> R,
        is_nothing: impl Fn(&R) -> bool,
    ) -> R {
        if let Some(timeout) = timeout.filter(|timeout| !timeout.is_zero()) {
            thread::yield_now();
            advance(timeout);
        }
        let mut rings = self.lock();
        loop {
            let answer = ask();
            if timeout.is_some() || !is_nothing(&answer) {
                return answer;
            }
            rings = self
                .0
                .rung
                .wait(rings)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn rings(&self) -> u64 {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.0.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

thread_local! {
    /// The clock of models: a reading takes a microsecond, so that the same schedule is the same run. Loom runs a model on
    /// one thread of the system, and other models on others.
    static NANOS: Cell<u64> = const { Cell::new(1_000_000_000) };
}

/// The time of models, in nanoseconds.
pub(super) fn now() -> u64 {
    advance(Duration::from_micros(1));
    NANOS.get()
}

fn advance(duration: Duration) {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    NANOS.set(NANOS.get().saturating_add(nanos));
}
