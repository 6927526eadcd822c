//! SCTP, one-to-one style (RFC 6458): [`Sctp`] associations and [`SctpServer`] listeners, whose reads and writes are
//! [`SctpMessage`]s.
//!
//! On the machine of stream sockets: an association is opened, bound, connected, accepted and closed as a TCP connection
//! is, with the same bootstraps. What differs is said here in one kind: messages keep their borders, belong to streams and
//! may be unordered; an association may have several addresses on each side; and what the kernel tells between messages
//! comes as a user event, a [`Notification`]. There is no half-close: a side that ends its output ends the association.
//!
//! Linux has SCTP in a module, which may have to be loaded (`modprobe sctp`). Without it connecting and binding fail with
//! [`Unsupported`](crate::error::ErrorKind::Unsupported), and say so; the same on other systems.
//!
//! - `kind`: what makes a stream socket one of SCTP.
//! - `message`: [`SctpMessage`].
//! - `assembler`: messages and notifications out of the parts that the kernel gives.
//! - `options`: the options that only SCTP has.

mod assembler;
mod kind;
mod message;
mod options;

pub use kind::{Accepted, Sctp, SctpKind, SctpServer};
pub use message::SctpMessage;
pub use options::{
    SCTP_BINDX_ADD, SCTP_BINDX_REM, SCTP_CONNECTX, SCTP_DISABLE_FRAGMENTS, SCTP_EVENTS,
    SCTP_INITMSG, SCTP_LOCAL_ADDRS, SCTP_MESSAGE_MAX, SCTP_NODELAY, SCTP_PEER_ADDRS,
};
pub use tidegate_sys::os::net::sctp::{
    AddressState, AssociationState, Init, Notification, Subscription,
};
