//! The Unix domain: sockets between the programs of one machine.
//!
//! - `stream`: [`UnixStream`] and [`UnixServer`].
//! - `domain`: addresses, and the files of sockets: [`UNLINK_STALE`], [`UNLINK_ON_CLOSE`].

mod domain;
mod stream;

pub use domain::{UNLINK_ON_CLOSE, UNLINK_STALE};
pub use stream::{Accepted, SO_PEERCRED, UnixServer, UnixStream};
pub use tidegate_sys::os::net::unix::{Credentials, UnixAddress};
