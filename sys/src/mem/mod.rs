//! Memory structures that need unsafe: inline closures, erased values, values on loan, arguments in place, counted slices, the task queue; and a hint to the cache.
//!
//! - [`task`]: a closure in one cache line, for this thread ([`LocalTask`]) or any thread ([`Task`]).
//! - [`erased`]: a value of any type in half a cache line ([`Erased`]).
//! - [`berth`]: a boxed value that is lent to one at a time ([`Berth`]).
//! - [`in_place`]: arguments that are handed on where they lie.
//! - [`prefetch()`]: a hint to the cache.
//! - [`RcSlice`]: a slice with several owners on one thread.
//! - [`queue`]: the many-producer, one-consumer queue that carries tasks to a loop.
//! - `atomic` (loom only): loom's atomics, with the loads that it forgets.
//!
//! The loop, futures and messages use them; nothing here knows the kernel, a loop or a channel.

#[cfg(loom)]
pub mod atomic;
pub mod berth;
pub mod erased;
pub mod in_place;
mod prefetch;
pub mod queue;
mod rc_slice;
pub mod task;

pub use berth::{Berth, Loan};
pub use erased::Erased;
pub use prefetch::prefetch;
pub use rc_slice::RcSlice;
pub use task::{LocalTask, Task};
