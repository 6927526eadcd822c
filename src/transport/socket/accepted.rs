//! [`Accepted`]: what a listener reads.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use tidegate_sys::os::{fd, net};

use super::domain::Domain;
use crate::channel::Inet;
use crate::error::Error;

/// A connection that has no channel yet. It goes through the server's pipeline and to the child's loop; dropped on
/// the way, it closes the connection.
pub struct Accepted<D: Domain> {
    socket: OwnedFd,
    peer: D::Name,
    /// SO_LINGER in seconds, as the socket has it from birth: a listener hands its own down.
    linger_s: Option<u16>,
}

// With two pointers it makes a task that needs no box.
const _: () = assert!(size_of::<Accepted<Inet>>() <= 40);

impl<D: Domain> Accepted<D> {
    pub(super) fn new(socket: OwnedFd, peer: D::Name, linger: Option<Duration>) -> Self {
        let linger_s = linger.map(|linger| {
            let seconds = linger.as_secs() + u64::from(linger.subsec_nanos() > 0);
            u16::try_from(seconds).unwrap_or(u16::MAX)
        });
        Self {
            socket,
            peer,
            linger_s,
        }
    }

    pub(super) fn linger(&self) -> Option<Duration> {
        self.linger_s
            .map(|seconds| Duration::from_secs(seconds.into()))
    }

    /// A connection that comes from elsewhere: another process, a supervisor, the standard library.
    ///
    /// # Errors
    /// What the system says if this is no connected socket, or one of another domain.
    pub fn adopt(socket: impl Into<OwnedFd>) -> Result<Self, Error> {
        let socket = socket.into();
        let prepared = net::peer_addr(socket.as_fd()).and_then(|peer| {
            fd::set_nonblocking(socket.as_fd())?;
            fd::set_cloexec(socket.as_fd())?;
            Ok((peer, net::get_linger(socket.as_fd())?))
        });
        let (peer, linger) =
            prepared.map_err(|error| Error::io("adopting a connected socket", error))?;
        Ok(Self::new(socket, peer, linger))
    }

    /// The peer's address.
    pub fn peer(&self) -> D::Name {
        self.peer.clone()
    }

    /// The descriptor and the peer's address.
    pub fn into_parts(self) -> (OwnedFd, D::Name) {
        (self.socket, self.peer)
    }
}

impl<D: Domain> AsFd for Accepted<D> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<D: Domain> fmt::Debug for Accepted<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted")
            .field("socket", &self.socket)
            .field("peer", &self.peer)
            .field("linger_s", &self.linger_s)
            .finish()
    }
}
