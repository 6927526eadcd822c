//! The machine of datagram sockets: batches in, batches out, and errors that stay with their datagram. It knows a
//! descriptor; what kind of socket it is, is its callers' business.
//!
//! - `receive`: many datagrams with one call, handed out one by one.
//! - `send`: what was flushed, in as few calls as possible.

mod receive;
mod send;

pub use crate::channel::Datagram;
pub(super) use receive::Receiver;
pub(super) use send::Sender;
