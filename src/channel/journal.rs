//! What a channel's life leaves in the log at DEBUG: registered, active, closed with its cause. Called where the state
//! changes, a few times in a channel's life; nothing on the way of a message tells anything.
//!
//! There is no span for each channel: it would be entered for each event, and its id kept in each channel, whether anybody
//! listens or not. Every line has the channel's number instead.

use super::core::Core;
use crate::error::Error;

impl Core {
    #[cold]
    #[inline(never)]
    pub(crate) fn tell_registered(&self) {
        tracing::debug!(
            channel = %self.shared.id(),
            event_loop = self.lp.handle().name(),
            "a channel was registered"
        );
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn tell_active(&self) {
        tracing::debug!(
            channel = %self.shared.id(),
            local = self.shared.local_address().map(tracing::field::display),
            remote = self.shared.remote_address().map(tracing::field::display),
            "a channel is active"
        );
    }

    /// `cause` is why it closes.
    #[cold]
    #[inline(never)]
    pub(crate) fn tell_closed(&self, cause: &Error) {
        // The far side of a relay is no channel that anybody knows.
        if !self.shared.serves_another() {
            tracing::debug!(
                channel = %self.shared.id(),
                kind = ?cause.kind(),
                %cause,
                "a channel was closed"
            );
        }
    }
}
