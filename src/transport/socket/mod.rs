//! What every socket transport is made of. A kind of socket is a domain, a few facts and hooks; see `kind`.
//!
//! - `connection`: [`Connection`], the transport of a connected stream.
//! - `listener`: [`Listener`], the transport of a listening socket.
//! - `accepted`: [`Accepted`], a connection that has no channel yet.
//! - `kind`: what differs between kinds of streams.
//! - `domain`: what differs between the internet and the Unix domain; `inet` is the former.
//! - `descriptors`: [`Descriptors`], what Unix sockets carry beside bytes.
//! - `ending`: how a connected stream ends.
//! - `accept`: what to do with each outcome of an accept: go on, rest, shed.
//! - `options`: channel options as options of sockets.

mod accept;
mod accepted;
mod connection;
pub(super) mod descriptors;
pub(super) mod domain;
mod ending;
mod inet;
pub(super) mod kind;
mod listener;
pub(super) mod options;

pub use accepted::Accepted;
pub use connection::Connection;
pub use descriptors::Descriptors;
pub use listener::Listener;
