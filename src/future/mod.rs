//! Promises and futures: the two ends of an operation that finishes later.
//!
//! Whoever does the work holds a [`Promise`] and completes it once; whoever asked holds a
//! [`Completion`], and may wait for it in four ways: a listener, a key that comes back to a handler,
//! `.await` on any executor, or [`Completion::sync`] on a thread that is not the loop's. The pair
//! [`TaskPromise`] and [`TaskFuture`] carries a value as well.
//!
//! Everything here may be used from any thread. Listeners never run inside the call that completes
//! the promise: each is handed to the promise's [`ListenerHost`], which is the event loop, in the
//! order of registration.
//!
//! - `host`: what a promise asks of its loop, and the host for promises that have none.
//! - `inner`: the shared state, and the rules by which threads share it.
//! - `observers`: who waits: listeners, keys, wakers, threads.
//! - `promise`, `completion`: the two ends without a value.
//! - `value`: the two ends with one.
//! - `pool`: promises to be used again, for operations that must not allocate.
//! - `combiner`: one promise for many futures.

mod combiner;
mod completion;
mod host;
mod inner;
mod observers;
mod pool;
mod promise;
#[cfg(test)]
mod tests;
mod value;

pub use combiner::Combiner;
pub use completion::Completion;
pub use host::{KeyTarget, ListenerHost, OnCaller};
pub use pool::PromisePool;
pub use promise::{Promise, Witness};
pub use value::{TaskFuture, TaskPromise};
