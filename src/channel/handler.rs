//! What handlers give back, and how they may declare what they override. The trait itself stands in `core`, with the
//! types that it needs and that need it.

use super::mask;
use crate::error::Failure;

/// What callbacks return: `Err` goes to the same handler's `exception_caught` for
/// inbound events, to the promise for outbound operations.
pub type HandlerResult = Result<(), Failure>;

/// Which callbacks a handler overrides, for handlers that would rather say it than have it learned.
///
/// Declaring is optional. A declared handler is not called for what it left out, and in debug builds a declared
/// callback that turns out to be the default body is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declared(pub(crate) mask::Mask);

impl Declared {
    /// Nothing yet; add callbacks with the other methods.
    pub const NONE: Self = Self(0);
    /// `channel_read`.
    pub const CHANNEL_READ: Self = Self(mask::READ);
    /// `channel_read_complete`.
    pub const CHANNEL_READ_COMPLETE: Self = Self(mask::READ_COMPLETE);
    /// `channel_active`.
    pub const CHANNEL_ACTIVE: Self = Self(mask::ACTIVE);
    /// `channel_inactive`.
    pub const CHANNEL_INACTIVE: Self = Self(mask::INACTIVE);
    /// `channel_registered`.
    pub const CHANNEL_REGISTERED: Self = Self(mask::REGISTERED);
    /// `channel_unregistered`.
    pub const CHANNEL_UNREGISTERED: Self = Self(mask::UNREGISTERED);
    /// `user_event_triggered`.
    pub const USER_EVENT_TRIGGERED: Self = Self(mask::USER_EVENT);
    /// `channel_writability_changed`.
    pub const CHANNEL_WRITABILITY_CHANGED: Self = Self(mask::WRITABILITY);
    /// `exception_caught`.
    pub const EXCEPTION_CAUGHT: Self = Self(mask::EXCEPTION);
    /// `bind`.
    pub const BIND: Self = Self(mask::BIND);
    /// `connect`.
    pub const CONNECT: Self = Self(mask::CONNECT);
    /// `disconnect`.
    pub const DISCONNECT: Self = Self(mask::DISCONNECT);
    /// `close`.
    pub const CLOSE: Self = Self(mask::CLOSE);
    /// `read`.
    pub const READ: Self = Self(mask::READ_OP);
    /// `write`.
    pub const WRITE: Self = Self(mask::WRITE);
    /// `flush`.
    pub const FLUSH: Self = Self(mask::FLUSH);

    /// Both sets together.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
