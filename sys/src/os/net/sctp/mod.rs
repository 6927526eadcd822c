//! SCTP, one-to-one style (RFC 6458): an association is a socket as a TCP connection is one, and its reads and writes
//! are messages, each on a stream. Called by the SCTP transport.
//!
//! The library calls of RFC 6458 (sctp_bindx, sctp_connectx, sctp_sendv, …) are socket options and control data
//! underneath, which is what is used here; nothing links to libsctp. Linux is what this speaks to: elsewhere
//! [`socket`](fn@socket) answers `Unsupported`, and so does every call.
//!
//! * `calls`: the system calls. `absent` stands in for it where there is no SCTP.
//! * `control`: what travels beside a message: its stream and the rest of [`Info`].
//! * `notification`: [`Notification`], what the kernel tells between messages.
//! * `packed`: several addresses in a row, as bindx and connectx take them.
//!
//! Everything but `calls` is bytes in and values out, and is tested without a kernel that has SCTP.

#[cfg(not(target_os = "linux"))]
mod absent;
#[cfg(target_os = "linux")]
mod calls;
#[cfg(target_os = "linux")]
mod control;
mod notification;
#[cfg(target_os = "linux")]
mod packed;

#[cfg(not(target_os = "linux"))]
pub use absent::*;
#[cfg(target_os = "linux")]
pub use calls::*;
pub use notification::{AddressState, AssociationState, Notification};

/// What one message has beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// The stream.
    pub stream: u16,
    /// The payload protocol identifier, as IANA lists them; the network carries it with its high byte first.
    pub protocol: u32,
    /// It may overtake others of its stream, or has.
    pub is_unordered: bool,
}

/// What one receive brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// How many bytes; 0 is the end of the association.
    pub len: usize,
    /// They end a message, or a notification.
    pub is_end: bool,
    /// They are part of a notification, not of a message.
    pub is_notification: bool,
    /// What the kernel told beside them.
    pub info: Info,
}

/// How an association begins (SCTP_INITMSG); a zero leaves the kernel's own value. To be set before it does: on the
/// client before it connects, on the server before it listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Init {
    /// Streams that this side asks for.
    pub streams_out: u16,
    /// The most streams that the peer may have.
    pub streams_in_max: u16,
    /// The most INITs that are sent.
    pub attempts_max: u16,
    /// The longest time between two of them, in milliseconds.
    pub timeout_max_ms: u16,
}

/// Which notifications are wanted (SCTP_EVENTS).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    /// [`Notification::AssociationChange`].
    pub association: bool,
    /// [`Notification::AddressChange`].
    pub address: bool,
    /// [`Notification::SendFailed`].
    pub send_failure: bool,
    /// [`Notification::RemoteError`].
    pub remote_error: bool,
    /// [`Notification::Shutdown`].
    pub shutdown: bool,
    /// [`Notification::PartialDelivery`].
    pub partial_delivery: bool,
    /// [`Notification::Adaptation`].
    pub adaptation: bool,
    /// [`Notification::SenderDry`].
    pub sender_dry: bool,
}

impl Subscription {
    /// All of them.
    pub const ALL: Self = Self {
        association: true,
        address: true,
        send_failure: true,
        remote_error: true,
        shutdown: true,
        partial_delivery: true,
        adaptation: true,
        sender_dry: true,
    };
}
