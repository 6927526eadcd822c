//! The future of a channel's operation: a completion, and the channel it belongs to.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::Channel;
use crate::error::Error;
use crate::future::{Completion, Promise};

/// What `bind`, `connect`, `write_future` and `close` give: tells when the operation is done.
///
/// Block on it with [`sync`](Self::sync), `.await` it on any executor, or add a listener, which runs on the
/// channel's loop.
///
/// Dropping it ends nothing, also not halfway through an `.await`: the operation goes on, and a connect whose future was
/// dropped, by a timeout around it say, leaves a channel that is connected. Who gives up keeps a clone, and calls
/// [`cancel`](Self::cancel).
#[derive(Clone)]
pub struct ChannelFuture {
    channel: Channel,
    completion: Completion,
}

impl ChannelFuture {
    pub(crate) fn new(channel: Channel, completion: Completion) -> Self {
        Self {
            channel,
            completion,
        }
    }

    /// The channel.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// The outcome without the channel.
    pub fn completion(&self) -> &Completion {
        &self.completion
    }

    /// Waits for the outcome.
    ///
    /// # Errors
    /// The operation's error; [`ErrorKind::Blocking`](crate::error::ErrorKind::Blocking) on the channel's own loop,
    /// where waiting would never end.
    pub fn sync(&self) -> Result<Channel, Error> {
        self.completion.sync().map(|()| self.channel.clone())
    }

    /// Waits for the outcome, but not longer than `timeout`.
    ///
    /// # Errors
    /// As [`sync`](Self::sync), and [`ErrorKind::TimedOut`](crate::error::ErrorKind::TimedOut).
    pub fn sync_timeout(&self, timeout: Duration) -> Result<Channel, Error> {
        self.completion
            .sync_timeout(timeout)
            .map(|()| self.channel.clone())
    }

    /// True once there is an outcome.
    pub fn is_done(&self) -> bool {
        self.completion.is_done()
    }

    /// True if it succeeded.
    pub fn is_success(&self) -> bool {
        self.completion.is_success()
    }

    /// True if it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.completion.is_cancelled()
    }

    /// The error, if it failed.
    pub fn cause(&self) -> Option<Error> {
        self.completion.cause()
    }

    /// Cancels the operation if that is still possible: a write before its flush, a connect under way.
    pub fn cancel(&self) -> bool {
        self.completion.cancel()
    }

    /// Runs `listener` on the channel's loop when there is an outcome; never inside the call that brings it about.
    pub fn add_listener(
        &self,
        listener: impl FnOnce(&Channel, &Result<(), Error>) + Send + 'static,
    ) -> &Self {
        let channel = self.channel.clone();
        self.completion
            .add_listener(move |result: &Result<(), Error>| listener(&channel, result));
        self
    }

    /// Closes the channel when the operation is done, however it ended.
    pub fn close_when_done(&self) -> &Self {
        self.add_listener(|channel, _| {
            channel.close();
        })
    }

    /// Closes the channel if the operation fails.
    pub fn close_on_failure(&self) -> &Self {
        self.add_listener(|channel, result| {
            if result.is_err() {
                channel.close();
            }
        })
    }

    /// Shows a failure to the channel's pipeline, as `exception_caught` from the head.
    pub fn fire_exception_on_failure(&self) -> &Self {
        self.add_listener(|channel, result| {
            if let Err(error) = result {
                channel.fire_exception_caught(error.clone());
            }
        })
    }

    /// Completes `promise` as this future ends.
    pub fn forward_to(&self, promise: Promise) {
        self.completion.forward_to(promise);
    }
}

impl Future for ChannelFuture {
    type Output = Result<Channel, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let channel = self.channel.clone();
        Pin::new(&mut self.completion)
            .poll(cx)
            .map(|result| result.map(|()| channel))
    }
}

impl std::fmt::Debug for ChannelFuture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChannelFuture")
            .field("channel", &self.channel)
            .field("result", &self.completion.result())
            .finish()
    }
}
