//! An outbound operation as a value: what waits at a busy handler, in the root queue, or travels to another thread.

use super::address::Address;
use crate::buffer::Message;
use crate::error::Error;
use crate::future::Promise;

/// One operation on its way to the head.
pub(crate) enum Op {
    Write(Message, Promise),
    Flush,
    Read,
    Close(Promise),
    Disconnect(Promise),
    Bind(Box<Address>, Promise),
    Connect(Box<(Address, Option<Address>)>, Promise),
}

impl Op {
    /// The operation will not happen.
    pub(crate) fn fail(self, error: Error) {
        match self {
            Self::Write(_, promise)
            | Self::Close(promise)
            | Self::Disconnect(promise)
            | Self::Bind(_, promise)
            | Self::Connect(_, promise) => {
                promise.try_failure(error);
            }
            Self::Flush | Self::Read => {}
        }
    }
}
