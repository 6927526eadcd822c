//! [`UdpKind`]: what makes a datagram socket one of UDP.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

use tidegate_sys::os::net;

use super::options::{change_membership, membership_change};
use crate::channel::{Inet, OptionId, OptionValue};
use crate::error::Error;
use crate::transport::datagram::{DatagramKind, DatagramSocket};
use crate::transport::socket::options::Family;

/// A UDP socket. Connected, it also sends [`Bytes`](bytes::Bytes) and [`BytesMut`](bytes::BytesMut) to its peer, and receives
/// from that one alone.
///
/// What the network answered to an earlier datagram (ICMP) is an error in `exception_caught`, and the channel lives.
///
/// Datagrams of one length to one peer that are flushed together go through the kernel as one and are cut at its end
/// (UDP_SEGMENT). The option `UDP_GRO` asks for the same on the way in.
pub type Udp = DatagramSocket<UdpKind>;

/// See the module's page.
#[derive(Debug, Default)]
pub struct UdpKind;

impl DatagramKind for UdpKind {
    type Domain = Inet;

    const NAME: &'static str = "udp";
    const TITLE: &'static str = "UDP";
    /// Netty's figure.
    const SIZE_MAX: usize = 2048;
    const IS_CUT: bool = true;
    const HAS_DESCRIPTORS: bool = false;

    fn socket(name: &SocketAddr) -> io::Result<OwnedFd> {
        net::udp_socket(name)
    }

    fn is_bound(local: &SocketAddr) -> bool {
        local.port() != 0
    }

    fn begin(socket: BorrowedFd<'_>, family: Family) {
        if family == Family::V4 {
            // Linux would hand this socket the datagrams of groups that others have joined; nobody expects that.
            let _ = net::set_int(socket, net::IP_MULTICAST_ALL, 0);
        }
    }

    /// A group can be joined only when the socket has its address.
    fn set_late(
        socket: BorrowedFd<'_>,
        id: OptionId,
        value: &OptionValue,
    ) -> Option<Result<(), Error>> {
        let change = membership_change(id)?;
        Some(change_membership(socket, id, change, value))
    }

    fn is_late(id: OptionId) -> bool {
        membership_change(id).is_some()
    }

    /// Linux takes back a port that it had chosen itself, and with it what others know of this socket.
    fn disconnected(socket: BorrowedFd<'_>, bound: Option<&SocketAddr>) -> io::Result<()> {
        match (bound, net::local_addr::<SocketAddr>(socket)) {
            (Some(bound), Ok(now)) if now.port() == 0 => net::bind(socket, bound),
            _ => Ok(()),
        }
    }
}
