//! [`Combiner`]: one promise for many futures.
//!
//! For encoders that make several writes out of one: the promise of that one write is done when all
//! of them are.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use super::completion::Completion;
use super::host::ListenerHost;
use super::promise::Promise;
use super::sync::AtomicU32;
use crate::error::Error;

/// Completes a promise when all of the futures added are done: with the first failure, if there is
/// one, otherwise with success.
///
/// Nothing can be added once the promise is given, since [`finish`](Combiner::finish) takes the
/// combiner. A combiner that is dropped instead does nothing.
///
/// ```
/// use tidegate::future::{Combiner, OnCaller, Promise};
///
/// let combiner = Combiner::new();
/// let head = combiner.promise(OnCaller::host());
/// let body = combiner.promise(OnCaller::host());
/// let both = Promise::new(OnCaller::host());
/// let done = both.completion();
/// combiner.finish(both);
/// body.try_success();
/// assert!(!done.is_done());
/// head.try_success();
/// assert!(done.is_success());
/// ```
pub struct Combiner {
    members: Arc<Members>,
}

struct Members {
    /// Futures not done, and one for the combiner until it is finished.
    left: AtomicU32,
    first_failure: OnceLock<Error>,
    /// Set before the combiner's own share of `left` is given up.
    promise: OnceLock<Promise>,
}

impl Combiner {
    /// One without futures.
    pub fn new() -> Self {
        Self {
            members: Arc::new(Members {
                left: AtomicU32::new(1),
                first_failure: OnceLock::new(),
                promise: OnceLock::new(),
            }),
        }
    }

    /// Adds a future.
    pub fn add(&self, completion: &Completion) {
        let members = self.members.clone();
        members.left.fetch_add(1, Ordering::Relaxed);
        completion.add_listener(move |result| members.one_done(result));
    }

    /// Adds a new promise at `host`, and gives it out.
    pub fn promise(&self, host: Arc<dyn ListenerHost>) -> Promise {
        let promise = Promise::new(host);
        self.add(&promise.completion());
        promise
    }

    /// Says that these are all, and which promise to complete.
    pub fn finish(self, promise: Promise) {
        // The combiner is consumed here, so the cell is empty.
        let _ = self.members.promise.set(promise);
        self.members.one_done(&Ok(()));
    }
}

impl Members {
    fn one_done(&self, result: &Result<(), Error>) {
        if let Err(error) = result {
            // Later failures find the cell taken: the first one wins.
            let _ = self.first_failure.set(error.clone());
        }
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(promise) = self.promise.get()
        {
            match self.first_failure.get() {
                None => promise.try_success(),
                Some(error) => promise.try_failure(error.clone()),
            };
        }
    }
}

impl Default for Combiner {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Combiner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Combiner")
            .field("left", &self.members.left.load(Ordering::Relaxed))
            .field("first_failure", &self.members.first_failure.get())
            .finish()
    }
}
