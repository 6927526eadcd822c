//! The Unix domain: sockets between the programs of one machine.
//!
//! - `stream`: [`UnixStream`] and [`UnixServer`].
//! - `datagram`: [`UnixDatagram`].
//! - `domain`: addresses, and the files of sockets: [`UNLINK_STALE`], [`UNLINK_ON_CLOSE`].

mod datagram;
mod domain;
mod stream;

pub use crate::transport::datagram::Datagram;
pub use crate::transport::socket::Descriptors;
pub use datagram::UnixDatagram;
pub use domain::{UNLINK_ON_CLOSE, UNLINK_STALE};
pub use stream::{Accepted, RECEIVE_DESCRIPTORS, SO_PEERCRED, UnixServer, UnixStream};
pub use tidegate_sys::os::net::unix::{Credentials, DESCRIPTORS_MAX, UnixAddress};
