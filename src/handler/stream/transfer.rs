//! One [`Chunked`] message under way: its input while there is something to pull, and the chunks that are out.

use std::collections::VecDeque;

use super::input::{ChunkedInput, Resumer};
use super::message::{Chunked, Observer, Progress};
use crate::error::Error;
use crate::future::{Completion, Promise};

/// See the module's page. Kept by the handler; knows nothing of channels.
pub(super) struct Transfer {
    /// By which the outcomes of its chunks come back.
    pub(super) id: u64,
    /// `Some` while there may be more to pull.
    input: Option<Box<dyn ChunkedInput>>,
    observer: Option<Observer>,
    total: Option<u64>,
    promise: Promise,
    /// The input's progress after each chunk that is not done yet, in order.
    out: VecDeque<u64>,
    /// The last chunk that was written.
    last: Option<Completion>,
    has_begun: bool,
}

impl Transfer {
    pub(super) fn new(id: u64, message: Chunked, promise: Promise) -> Self {
        Self {
            id,
            total: message.input.length(),
            input: Some(message.input),
            observer: message.observer,
            promise,
            out: VecDeque::new(),
            last: None,
            has_begun: false,
        }
    }

    /// The input, if the transfer goes on: not after it was cancelled before its first chunk.
    pub(super) fn input(
        &mut self,
        resumer: impl FnOnce() -> Resumer,
    ) -> Option<&mut dyn ChunkedInput> {
        if !self.has_begun {
            if !self.promise.set_uncancellable() {
                return None;
            }
            self.has_begun = true;
            if let Some(input) = &mut self.input {
                input.begin(resumer());
            }
        }
        self.input.as_deref_mut()
    }

    /// A chunk is about to be written; its outcome will come.
    pub(super) fn wrote(&mut self, chunk: Completion) {
        let progress = self.input.as_ref().map_or(0, |input| input.progress());
        self.out.push_back(progress);
        self.last = Some(chunk);
    }

    /// Nothing more to pull: the input is closed.
    pub(super) fn close_input(&mut self) {
        self.input = None;
    }

    /// The oldest chunk that was out is done.
    pub(super) fn chunk_done(&mut self) {
        if let Some(written) = self.out.pop_front()
            && let Some(observer) = &mut self.observer
        {
            observer(Progress {
                written,
                total: self.total,
            });
        }
    }

    /// Whether everything was pulled and written.
    pub(super) fn is_done(&self) -> bool {
        self.input.is_none() && self.out.is_empty()
    }

    pub(super) fn succeed(self) {
        let Self { promise, input, .. } = self;
        drop(input);
        promise.try_success();
    }

    /// Ends the transfer. False if nobody observes it.
    pub(super) fn fail(self, error: &Error) -> bool {
        let Self { promise, input, .. } = self;
        drop(input);
        let is_observed = !promise.is_void();
        promise.try_failure(error.clone());
        is_observed
    }

    /// Nobody will hear of its chunks any more: the promise follows the last of them by itself. False, with nothing
    /// done, if something is left to pull.
    pub(super) fn let_go(&mut self) -> bool {
        if self.input.is_some() {
            return false;
        }
        if let Some(last) = self.last.take() {
            let promise = std::mem::replace(&mut self.promise, Promise::void());
            last.forward_to(promise);
        }
        true
    }
}
