//! Loom's atomics, so that it tries what it forgets; compiled for `make loom` alone. The task queue, promises and loops are
//! built on them then, by aliases of their own.
//!
//! When a thread writes, loom asks whose access it has to be tried in front of, and looks at the newest one only. A thread
//! that loads a word before it writes it, as every compare-and-swap loop does, finds itself, and the loads of others in
//! front of that are never tried the other way round (<https://github.com/tokio-rs/loom/issues/166>, open as of loom 0.7.2; a
//! thread that is spawned to load and store makes one execution of two:
//! <https://github.com/tokio-rs/loom/issues/392>). So each load is announced by a store to a second word, which loom tries
//! against every other announcement. That store is relaxed and nobody loads it: it adds executions, and orders nothing. Large models
//! do without at one preemption more ([`announce_loads`]).

use std::cell::Cell;
use std::sync::atomic::Ordering;

use loom::sync::atomic;

thread_local! {
    /// Loom runs a model on one thread of the system.
    static ANNOUNCES: Cell<bool> = const { Cell::new(true) };
}

/// Whether the models that this thread runs from now on announce their loads. They do unless it is said otherwise.
pub fn announce_loads(announces: bool) {
    ANNOUNCES.set(announces);
}

#[track_caller]
fn announce(word: &atomic::AtomicU8) {
    if ANNOUNCES.get() {
        word.store(0, Ordering::Relaxed);
    }
}

macro_rules! announced {
    ($($name:ident($type:ty) { $($also:tt)* })*) => {$(
        #[doc = concat!("Loom's `", stringify!($name), "`, with loads that it does not forget.")]
        #[derive(Debug)]
        pub struct $name {
            announced: atomic::AtomicU8,
            word: atomic::$name,
        }

        impl $name {
            /// As std's.
            #[track_caller]
            pub fn new(value: $type) -> Self {
                Self {
                    announced: atomic::AtomicU8::new(0),
                    word: atomic::$name::new(value),
                }
            }

            announced!(methods $type);
            $($also)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new(<$type>::default())
            }
        }
    )*};
    (methods $type:ty) => {
        /// As std's.
        #[track_caller]
        pub fn load(&self, order: Ordering) -> $type {
            announce(&self.announced);
            self.word.load(order)
        }

        /// As std's.
        #[track_caller]
        pub fn store(&self, value: $type, order: Ordering) {
            self.word.store(value, order);
        }

        /// As std's.
        #[track_caller]
        pub fn swap(&self, value: $type, order: Ordering) -> $type {
            self.word.swap(value, order)
        }

        /// As std's.
        ///
        /// # Errors
        /// The value that was found instead.
        #[track_caller]
        pub fn compare_exchange(
            &self,
            current: $type,
            new: $type,
            success: Ordering,
            failure: Ordering,
        ) -> Result<$type, $type> {
            self.word.compare_exchange(current, new, success, failure)
        }

        /// As std's, but it does not fail without a reason.
        ///
        /// # Errors
        /// The value that was found instead.
        #[track_caller]
        pub fn compare_exchange_weak(
            &self,
            current: $type,
            new: $type,
            success: Ordering,
            failure: Ordering,
        ) -> Result<$type, $type> {
            self.word.compare_exchange(current, new, success, failure)
        }
    };
    (arithmetic $type:ty: $($method:ident)*) => {$(
        /// As std's.
        #[track_caller]
        pub fn $method(&self, value: $type, order: Ordering) -> $type {
            self.word.$method(value, order)
        }
    )*};
}

announced! {
    AtomicBool(bool) {}
    AtomicU8(u8) { announced!(arithmetic u8: fetch_max); }
    AtomicU32(u32) { announced!(arithmetic u32: fetch_add fetch_sub fetch_or); }
    AtomicU64(u64) {}
    AtomicUsize(usize) { announced!(arithmetic usize: fetch_add fetch_sub fetch_or fetch_and); }
}

/// Loom's `AtomicPtr`, with loads that it does not forget.
#[derive(Debug)]
pub struct AtomicPtr<T> {
    announced: atomic::AtomicU8,
    word: atomic::AtomicPtr<T>,
}

impl<T> AtomicPtr<T> {
    /// As std's.
    #[track_caller]
    pub fn new(value: *mut T) -> Self {
        Self {
            announced: atomic::AtomicU8::new(0),
            word: atomic::AtomicPtr::new(value),
        }
    }

    announced!(methods *mut T);
}
