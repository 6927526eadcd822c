//! [`UnixDatagram`]: datagrams of the Unix domain.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use tidegate_sys::os::net::unix;

use crate::channel::{Unix, UnixAddress};
use crate::transport::datagram::{DatagramKind, DatagramSocket};

/// A datagram socket of the Unix domain. Connected, it also sends [`Bytes`](bytes::Bytes) and
/// [`BytesMut`](bytes::BytesMut) to its peer. [`Descriptors`](super::Descriptors) go with the datagram behind them, and come
/// in front of it.
///
/// Nothing gets lost on the way: a receiver whose queue is full has room for no more. A connected channel waits until it
/// has, and is not writable; a datagram with an address of its own fails, because the system tells nobody when there is room
/// (on the BSDs and macOS the former fails, too). Bind it to [`UnixAddress::Unnamed`] to get a name that answers can be sent
/// to (Linux).
pub type UnixDatagram = DatagramSocket<UnixDatagramKind>;

/// What makes a datagram socket one of the Unix domain.
#[derive(Debug, Default)]
pub struct UnixDatagramKind;

impl DatagramKind for UnixDatagramKind {
    type Domain = Unix;

    const NAME: &'static str = "unix datagram";
    const TITLE: &'static str = "Unix datagram";
    /// What syslog daemons take.
    const SIZE_MAX: usize = 8192;
    const IS_CUT: bool = false;
    const HAS_DESCRIPTORS: bool = true;

    fn socket(_name: &UnixAddress) -> io::Result<OwnedFd> {
        unix::datagram_socket()
    }

    fn is_bound(local: &UnixAddress) -> bool {
        *local != UnixAddress::Unnamed
    }

    fn is_peer_full(socket: BorrowedFd<'_>) -> bool {
        unix::has_room(socket).unwrap_or(false)
    }
}
