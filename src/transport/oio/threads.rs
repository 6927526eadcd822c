//! [`Threads`]: the threads of one channel, and in which order they end.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::hand::{Hand, Last};
use super::input::Input;
use super::output::Output;
use crate::error::Error;

/// The reading thread (`R`: the loop's side of it) and the writing one. Dropped, they end: when the channel closes, and
/// also if its loop has ended before it could.
pub(super) struct Threads<R: Reader> {
    pub(super) input: R,
    pub(super) output: Output,
    /// Makes calls that wait return.
    wake: Option<Box<dyn FnOnce(Waiting)>>,
    last: Option<Arc<Last>>,
}

/// The loop's side of a reading thread.
pub(super) trait Reader {
    /// What the thread does is cut short when its call returns.
    fn stop(&self);
}

/// Who waits when threads are to end.
pub(super) struct Waiting {
    /// The writing thread, for room.
    pub(super) writer: bool,
}

impl<R: Reader> Threads<R> {
    pub(super) fn new(
        input: R,
        output: Output,
        last: Arc<Last>,
        wake: impl FnOnce(Waiting) + 'static,
    ) -> Self {
        Self {
            input,
            output,
            wake: Some(Box::new(wake)),
            last: Some(last),
        }
    }
}

/// The threads end when the fields are dropped, after this: so what they hold on to together is dropped by them, and
/// never here, where a close that lingers would hold the loop.
impl<R: Reader> Drop for Threads<R> {
    fn drop(&mut self) {
        self.input.stop();
        let writer = self.output.stop();
        if let Some(wake) = self.wake.take() {
            wake(Waiting { writer });
        }
        self.last = None;
    }
}

impl Reader for Input {
    fn stop(&self) {
        Input::stop(self);
    }
}

impl<J: Send + 'static> Reader for Hand<J> {
    fn stop(&self) {
        Hand::stop(self);
    }
}

/// A second descriptor of what a transport has: its threads keep it, and what it names is closed after they have ended.
pub(super) fn duplicate(fd: BorrowedFd<'_>) -> Result<Arc<OwnedFd>, Error> {
    fd.try_clone_to_owned().map(Arc::new).map_err(|error| {
        Error::io(
            "duplicating the descriptor for the channel's threads",
            error,
        )
    })
}
