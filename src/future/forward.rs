//! Passing an outcome on: from a future to a promise of another operation.

use super::completion::Completion;
use super::promise::Promise;
use crate::error::ErrorKind;

impl Completion {
    /// Completes `promise` as this operation is completed.
    pub fn forward_to(&self, promise: Promise) {
        if !promise.is_void() {
            self.add_listener(move |result| {
                promise.complete(result);
            });
        }
    }

    /// As [`forward_to`](Completion::forward_to); and cancelling `promise` cancels this operation.
    pub fn cascade_to(&self, promise: Promise) {
        if promise.is_void() {
            return;
        }
        let completion = promise.completion();
        let operation = self.clone();
        self.forward_to(promise);
        completion.add_listener(move |result| {
            if matches!(result, Err(error) if error.kind() == ErrorKind::Cancelled) {
                operation.cancel();
            }
        });
    }
}
