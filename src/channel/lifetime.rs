//! The states of a channel.

/// Where a channel stands. Only `life` moves it, forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Life {
    /// Open, not connected and not bound.
    Open,
    /// A connect is under way.
    Connecting,
    /// Connected or bound.
    Active,
    /// The transport is closing.
    Closing,
    /// Closed.
    Closed,
}
