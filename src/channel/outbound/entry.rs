//! One pending write, and what is left of it once it is over.

use std::mem;

use crate::{
    buffer::{BytesMut, Message},
    error::Error,
    future::{Promise, Witness},
};

/// What one pending write counts beyond its message, in bytes (C2): what it costs to keep it.
pub const ENTRY_OVERHEAD: usize = 96;

/// A message that waits to be written.
pub(super) struct Entry {
    pub(super) message: Message,
    pub(super) promise: Promise,
    /// What it counts until it is over, in bytes, with the overhead; writing a part changes nothing.
    pub(super) size: usize,
}

impl Entry {
    /// Tells whether nobody but this library runs code when the entry succeeds and is dropped.
    #[inline]
    pub(super) fn ends_quietly(&self) -> bool {
        self.promise.is_void() && self.message.drops_quietly()
    }

    /// Its bytes, if it ends quietly.
    #[inline]
    pub(super) fn quiet_bytes(&self) -> Option<&[u8]> {
        self.ends_quietly().then_some(())?;
        self.message.as_bytes()
    }

    /// Ends an entry of which [`ends_quietly`](Self::ends_quietly) is true.
    #[inline]
    pub(super) fn end_quietly(self) {
        // A void promise owns nothing; forgetting it saves the code that would look.
        mem::forget(self.promise);
        self.message.drop_quietly();
    }

    /// Takes the message's bytes off the `left` that were written. Its size if that was all of it;
    /// otherwise, and if it has no bytes to write, the entry stays.
    #[inline]
    pub(super) fn written(&mut self, left: &mut usize) -> Option<usize> {
        let len = self.message.readable_bytes()?;
        if len > *left {
            self.message.advance(mem::take(left));
            return None;
        }
        *left -= len;
        Some(self.size)
    }

    /// Takes the message out; an empty one without memory stays.
    #[inline]
    pub(super) fn take_message(&mut self) -> Message {
        mem::replace(&mut self.message, Message::from(BytesMut::new()))
    }

    #[inline]
    pub(super) fn into_settled(self, failure: Option<Error>) -> Settled {
        Settled {
            message: self.message,
            promise: self.promise,
            failure,
        }
    }
}

/// A write that is over, whose promise does not know it yet and whose message is not dropped yet.
///
/// Both may run foreign code (a waker, the `Drop` of a message), and that may write to the same
/// channel. So the buffer hands them out, and its owner finishes them while it borrows nothing.
#[must_use = "the promise waits for its outcome: call finish()"]
pub struct Settled {
    /// Never read; it is dropped with the rest.
    #[expect(dead_code, reason = "kept only to be dropped where that is safe")]
    message: Message,
    promise: Promise,
    failure: Option<Error>,
}

impl Settled {
    /// A message to be dropped, of which no promise depends.
    pub(super) fn dropped(message: Message) -> Self {
        Self {
            message,
            promise: Promise::void(),
            failure: None,
        }
    }

    /// Completes the promise and drops the message. Returns the failure of which nobody else learns,
    /// because the promise is void or not observed.
    #[inline]
    pub fn finish(self) -> Option<Error> {
        // The promise first: should dropping the message panic, the write is still a success.
        let Some(error) = self.failure else {
            self.promise.try_success();
            return None;
        };
        match self.promise.fail_observed(error.clone()) {
            Witness::Unobserved => Some(error),
            Witness::Observed | Witness::AlreadyDone => None,
        }
    }
}
