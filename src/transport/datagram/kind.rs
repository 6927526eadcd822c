//! [`DatagramKind`]: what differs between kinds of datagram sockets, beside their domain.

use std::fmt::Debug;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::channel::{OptionId, OptionValue};
use crate::error::Error;
use crate::transport::socket::domain::Domain;
use crate::transport::socket::options::Family;

/// A kind of datagram sockets.
pub trait DatagramKind: Default + Debug + 'static {
    /// The domain of its addresses.
    type Domain: Domain;

    /// For logs and texts: "udp".
    const NAME: &'static str;

    /// In the middle of a sentence: "UDP".
    const TITLE: &'static str;

    /// The most bytes of a datagram that is received, unless MAX_DATAGRAM_PAYLOAD_SIZE says otherwise.
    const SIZE_MAX: usize;

    /// The kernel may cut what is sent as one (UDP_SEGMENT).
    const IS_CUT: bool;

    /// Descriptors go along.
    const HAS_DESCRIPTORS: bool;

    /// A new socket for this address.
    fn socket(name: &NameOf<Self>) -> io::Result<OwnedFd>;

    /// Whether a socket that has this address is bound: what the system says of one that is not has this form, too.
    fn is_bound(local: &NameOf<Self>) -> bool;

    /// The socket is there. Nothing was set yet.
    fn begin(socket: BorrowedFd<'_>, family: Family) {
        let _ = (socket, family);
    }

    /// Sets an option of its own that needs a socket with an address; `None` if it is none of those.
    fn set_late(
        socket: BorrowedFd<'_>,
        id: OptionId,
        value: &OptionValue,
    ) -> Option<Result<(), Error>> {
        let _ = (socket, id, value);
        None
    }

    /// Whether this is one of those.
    fn is_late(id: OptionId) -> bool {
        let _ = id;
        false
    }

    /// The socket has no peer any more. `bound` is where it was bound.
    fn disconnected(socket: BorrowedFd<'_>, bound: Option<&NameOf<Self>>) -> io::Result<()> {
        let _ = (socket, bound);
        Ok(())
    }

    /// A send found no room, and was to a peer of its own: whether that peer's queue is full, of whose end the socket will
    /// tell nothing.
    fn is_peer_full(socket: BorrowedFd<'_>) -> bool {
        let _ = socket;
        false
    }
}

/// The addresses of a kind.
pub(crate) type NameOf<K> = <<K as DatagramKind>::Domain as Domain>::Name;
