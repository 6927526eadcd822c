//! The atomics and locks that promises are built on: std's, or loom's in a loom test (`make loom`).
//!
//! Only what promises use. Reference counts stay std's: loom's cannot be made of a type whose size is unknown.

#[cfg(not(all(loom, test)))]
pub(super) use std::sync::atomic::AtomicU32;
#[cfg(not(all(loom, test)))]
pub(super) use std::sync::{Condvar, Mutex, MutexGuard};

#[cfg(all(loom, test))]
pub(super) use loom::sync::{Condvar, Mutex, MutexGuard};
#[cfg(all(loom, test))]
pub(super) use tidegate_sys::mem::atomic::AtomicU32;
