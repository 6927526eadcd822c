//! The atomics and cells that the queue is built on: std's, or loom's under `--cfg loom`.
//!
//! Only what the queue uses. The cell has loom's closure interface, which costs nothing on std.

#[cfg(loom)]
pub(super) use crate::mem::atomic::{AtomicPtr, AtomicUsize};
// Words that no thread loads before it writes them, but for a chunk that is its alone: loom forgets nothing there, and has
// a third of the executions to try.
#[cfg(loom)]
pub(super) use loom::sync::atomic::{AtomicPtr as PlainPtr, AtomicUsize as PlainUsize};
#[cfg(not(loom))]
pub(super) use std::sync::atomic::{AtomicPtr as PlainPtr, AtomicUsize as PlainUsize};

#[cfg(not(loom))]
pub(super) use std::sync::Arc;
#[cfg(not(loom))]
pub(super) use std::sync::atomic::{AtomicPtr, AtomicUsize};

#[cfg(loom)]
pub(super) use loom::{cell::UnsafeCell, hint::spin_loop, sync::Arc, thread::yield_now};
#[cfg(not(loom))]
pub(super) use std::{hint::spin_loop, thread::yield_now};

/// `std::cell::UnsafeCell` with loom's interface.
#[cfg(not(loom))]
#[repr(transparent)]
pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(super) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(super) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    #[inline(always)]
    pub(super) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}
