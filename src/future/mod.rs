//! Promises and futures: the two ends of an operation that finishes later.
//!
//! Whoever does the work holds a [`Promise`] and completes it once; whoever asked holds a
//! [`Completion`], and may wait for it in four ways: a listener, a key that comes back to a handler,
//! `.await` on any executor, or [`Completion::sync`] on a thread that is not the loop's. The pair
//! [`TaskPromise`] and [`TaskFuture`] carries a value as well.
//!
//! The rules, by which tests and comments call them:
//!
//! - F1: incomplete, perhaps uncancellable, then for good one of success, failure or cancelled, which is
//!   a failure of kind [`Cancelled`](crate::error::ErrorKind::Cancelled). The first completion counts.
//! - F2: what has begun (`set_uncancellable`) cannot be cancelled, what was cancelled must not begin.
//! - F3: listeners never run inside the call that completes the promise or adds them: each is handed to
//!   the promise's [`ListenerHost`], which is the event loop, once and in the order of registration.
//! - F4: late listeners and listeners of listeners keep that order, and never nest.
//! - F5: a listener that panics does not keep the others from being told.
//! - F6: blocked threads and tasks are woken before the first listener is handed over. Completing what
//!   nobody listens to schedules nothing.
//! - F7: blocking a thread that has to do the work is an error, unless it is done already.
//! - F8: who waits gets the error itself, unwrapped.
//! - F9: outcomes can be passed on (`forward_to`, `cascade_to`) and combined ([`Combiner`]).
//! - F10: what listeners hold is freed once they were told. A promise that is dropped fails its future.
//!
//! Everything here may be used from any thread.
//!
//! - `host`: what a promise asks of its loop, and the host for promises that have none.
//! - `inner`: the shared state, and the rules by which threads share it.
//! - `observers`: who waits: listeners, keys, wakers, threads.
//! - `promise`, `completion`: the two ends without a value.
//! - `value`: the two ends with one.
//! - `forward`: passing an outcome on to another promise.
//! - `pool`: states of promises, used again by the thread that let go of them last.
//! - `combiner`: one promise for many futures.
//! - `sync`: std's atomics and locks or loom's. `model` (loom), `tests`: the tests.

mod combiner;
mod completion;
mod forward;
mod host;
mod inner;
#[cfg(all(test, loom))]
mod model;
mod observers;
mod pool;
mod promise;
mod sync;
#[cfg(all(test, not(loom)))]
mod tests;
mod value;

pub use combiner::Combiner;
pub use completion::Completion;
pub use host::{KeyTarget, ListenerHost, OnCaller};
pub use promise::{Promise, Witness};
pub use value::{TaskFuture, TaskPromise};
