//! The atomics and cells that the queue is built on: std's, or loom's in a loom test.
//!
//! Only what the queue uses. The cell has loom's closure interface, which costs nothing on std.

#[cfg(not(all(loom, test)))]
pub(super) use std::sync::Arc;
#[cfg(not(all(loom, test)))]
pub(super) use std::sync::atomic::{AtomicPtr, AtomicUsize};

#[cfg(all(loom, test))]
pub(super) use loom::{
    cell::UnsafeCell,
    hint::spin_loop,
    sync::Arc,
    sync::atomic::{AtomicPtr, AtomicUsize},
    thread::yield_now,
};
#[cfg(not(all(loom, test)))]
pub(super) use std::{hint::spin_loop, thread::yield_now};

/// `std::cell::UnsafeCell` with loom's interface.
#[cfg(not(all(loom, test)))]
#[repr(transparent)]
pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(all(loom, test)))]
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
