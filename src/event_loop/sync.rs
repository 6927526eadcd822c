//! What threads share of a loop, built on std's atomics, locks and thread-locals, or on loom's in a loom test (`make loom`).
//!
//! Only what decides whether a loop sleeps, wakes and ends, and what it posts for its watcher; counters stay std's, and reference counts too: loom's cannot be
//! made of a type whose size is unknown.

#[cfg(not(all(loom, test)))]
pub(super) use std::hint::spin_loop;
#[cfg(not(all(loom, test)))]
pub(super) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, fence};
#[cfg(not(all(loom, test)))]
pub(super) use std::sync::{Mutex, MutexGuard};
#[cfg(not(all(loom, test)))]
pub(super) use std::thread::{self, ThreadId};
#[cfg(not(all(loom, test)))]
pub(super) use std::thread_local;

#[cfg(all(loom, test))]
pub(super) use loom::hint::spin_loop;
#[cfg(all(loom, test))]
pub(super) use loom::sync::atomic::fence;
#[cfg(all(loom, test))]
pub(super) use loom::sync::{Mutex, MutexGuard};
#[cfg(all(loom, test))]
pub(super) use loom::thread::{self, ThreadId};
#[cfg(all(loom, test))]
pub(super) use tidegate_sys::mem::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize};

/// Loom's of std's form.
#[cfg(all(loom, test))]
macro_rules! loom_local {
    ($($(#[$attr:meta])* static $name:ident: $type:ty = const { $init:expr };)*) => {
        loom::thread_local! { $($(#[$attr])* static $name: $type = $init;)* }
    };
}
#[cfg(all(loom, test))]
pub(super) use loom_local as thread_local;
