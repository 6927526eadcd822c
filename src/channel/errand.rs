//! What travels from another thread to a channel's loop with a promise in it. Used by the channel's handle only.
//!
//! A task that a loop refuses, or drops when it ends, is dropped in silence. An errand that is dropped on the way says
//! why to whoever waits for its promise, and so does one that arrives when its channel is gone. One that arrives before its
//! channel waits for it (`reach`).

use std::sync::Arc;

use super::core::Core;
use super::lifetime::Life;
use super::node::TAIL;
use super::op::Op;
use super::shared::Shared;
use crate::error::{Error, ErrorKind};
use crate::future::{Promise, TaskPromise};

/// What an errand carries.
pub(crate) trait Load {
    /// It will not be done. `closed`: the channel has closed before, which is all that a close can wish for.
    fn give_up(self, error: Error, closed: bool);
}

/// See the module's page.
pub(crate) struct Errand<L: Load> {
    shared: Arc<Shared>,
    /// None once it has arrived.
    load: Option<L>,
}

// A task holds seven words without a box: write, flush and close travel as they are.
const _: () = assert!(size_of::<Errand<Op>>() <= 7 * 8);

impl<L: Load> Errand<L> {
    pub(crate) fn new(shared: &Arc<Shared>, load: L) -> Self {
        Self {
            shared: shared.clone(),
            load: Some(load),
        }
    }

    /// Hands the load to the channel's core, whose loop's turn this is. It is given up if the channel has ended.
    pub(crate) fn arrive(mut self, act: impl FnOnce(&Core, L) + Send + 'static)
    where
        L: Send + 'static,
    {
        let Some(core) = self.shared.core() else {
            let shared = self.shared.clone();
            // Dropped if there is nothing to wait for.
            shared.wait_to_begin(move || self.arrive(act));
            return;
        };
        if let Some(load) = self.load.take() {
            core.enter(|core| act(core, load));
        }
    }

    fn error(&self) -> Error {
        let (kind, text) = if self.shared.life() == Life::Closed {
            (ErrorKind::ChannelClosed, "the channel has ended")
        } else if self.shared.event_loop().is_shutdown() {
            (
                ErrorKind::ChannelClosed,
                "the event loop of the channel has ended",
            )
        } else if self.shared.is_registered() {
            (
                ErrorKind::Rejected,
                "the task queue of the channel's event loop is full",
            )
        } else {
            (
                ErrorKind::NotRegistered,
                "the channel is not on its event loop yet",
            )
        };
        Error::new(kind, text)
    }
}

impl Errand<Op> {
    /// An operation begins at the tail.
    pub(crate) fn operate(self) {
        self.arrive(|core, op| core.op(TAIL, op));
    }
}

impl<L: Load> Drop for Errand<L> {
    #[inline]
    fn drop(&mut self) {
        if let Some(load) = self.load.take() {
            load.give_up(self.error(), self.shared.life() == Life::Closed);
        }
    }
}

impl Load for Op {
    fn give_up(self, error: Error, closed: bool) {
        match self {
            Op::Close(promise) | Op::Disconnect(promise) if closed => {
                promise.try_success();
            }
            op => op.fail(error),
        }
    }
}

impl Load for Promise {
    fn give_up(self, error: Error, _closed: bool) {
        self.try_failure(error);
    }
}

impl<T: Send + 'static> Load for TaskPromise<T> {
    fn give_up(self, error: Error, _closed: bool) {
        self.try_failure(error);
    }
}
