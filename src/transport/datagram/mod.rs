//! The machine of datagram sockets: batches in, batches out, and errors that stay with their datagram. It knows a
//! descriptor; what kind of socket it is, is its callers' business.
//!
//! - `socket`: [`DatagramSocket`], the transport.
//! - `kind`: what differs between kinds of datagram sockets.
//! - `receive`: many datagrams with one call, handed out one by one.
//! - `send`: what was flushed, in as few calls as possible.

mod kind;
mod receive;
mod send;
mod socket;

pub use crate::channel::Datagram;
pub(super) use kind::DatagramKind;
pub(super) use send::Sender;
pub use socket::DatagramSocket;
