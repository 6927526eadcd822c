//! Numbers that one thread writes and any thread reads. The reactor and the loop count with them.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number with one writer. Adding is a load and a store, no locked instruction: that a second
/// writer would lose counts is why it has only one.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.set(self.get().wrapping_add(n));
    }

    #[inline]
    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a reactor counts. Read from any thread; written by the reactor's.
#[derive(Debug, Default)]
pub(crate) struct ReactorCounters {
    /// Readiness events handed to a handle.
    pub(crate) events: Counter,
    /// Events for a registration that had ended, ghosts included.
    pub(crate) stale: Counter,
    /// Stale events whose registration had ended before the wait that brought them began.
    pub(crate) ghosts: Counter,
    /// Waits that came back early with nothing.
    pub(crate) premature: Counter,
    /// Times that the selector was opened anew.
    pub(crate) rebuilds: Counter,
    /// Waits that the waker ended.
    pub(crate) wakes: Counter,
    /// Waits that failed.
    pub(crate) failures: Counter,
    /// Live registrations.
    pub(crate) registrations: Counter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_and_sets() {
        let counter = Counter::default();
        counter.add(2);
        counter.add(40);
        assert_eq!(counter.get(), 42);
        counter.set(7);
        assert_eq!(counter.get(), 7);
    }
}
