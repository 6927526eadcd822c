//! Unix domain sockets: made here, then used by the same calls as those of the internet. Called by the Unix transports; it
//! removes no file and decides nothing about descriptors that come.
//!
//! * `address`: [`UnixAddress`]: a path, an abstract name, or none.
//! * `socket`: making sockets, and pairs of them.
//! * `credentials`: [`Credentials`], who stands at the other end.
//! * `rights`: descriptors as messages (SCM_RIGHTS).
//! * `file`: the lock and the identity by which files of sockets are told apart.

mod address;
mod credentials;
mod file;
pub(super) mod rights;
mod socket;

pub use address::{PATH_MAX, UnixAddress};
pub use credentials::{Credentials, peer_credentials};
pub use file::{DirectoryLock, FileIdentity};
pub use rights::{DESCRIPTORS_MAX, Part, recv_with_descriptors, send_with_descriptors};
pub use socket::{datagram_pair, datagram_socket, has_room, stream_pair, stream_socket};
