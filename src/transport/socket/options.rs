//! Channel options as options of sockets. A transport asks here for what it does not keep itself.

use std::io;
use std::os::fd::BorrowedFd;

use tidegate_sys::os::net::{self, IntOption};

use crate::channel::{OptionId, OptionValue};

/// The kind of address of a socket; a few options are spelled differently.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Family {
    V4,
    V6,
}

/// Whether this is an option of sockets at all, on this system or another.
pub(crate) fn is_socket_option(id: OptionId) -> bool {
    matches!(id, OptionId::SoLinger | OptionId::IpMulticastIf)
        || int_option(id, Family::V4).is_some()
}

/// Sets an option. `Unsupported` where the system has none of that name.
pub(crate) fn set(
    socket: BorrowedFd<'_>,
    family: Family,
    id: OptionId,
    value: &OptionValue,
) -> io::Result<()> {
    if let (OptionId::IpMulticastIf, OptionValue::Int(index)) = (id, value) {
        return net::set_multicast_interface(socket, family == Family::V6, index.unsigned_abs());
    }
    if let (OptionId::SoLinger, OptionValue::Duration(linger)) = (id, value) {
        return net::set_linger(socket, *linger);
    }
    match (int_option(id, family), id.to_kernel(value)) {
        (Some(option), Some(number)) => net::set_int(socket, option, number),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Reads an option.
pub(crate) fn get(socket: BorrowedFd<'_>, family: Family, id: OptionId) -> io::Result<OptionValue> {
    if id == OptionId::SoLinger {
        return net::get_linger(socket).map(OptionValue::Duration);
    }
    let option = int_option(id, family).ok_or(io::ErrorKind::Unsupported)?;
    let number = net::get_int(socket, option)?;
    id.from_kernel(number)
        .ok_or_else(|| io::ErrorKind::Unsupported.into())
}

fn int_option(id: OptionId, family: Family) -> Option<IntOption> {
    Some(match id {
        OptionId::SoReuseaddr => net::SO_REUSEADDR,
        // On FreeBSD the plain one lets sockets share an address, but gives all connections to the last of them.
        OptionId::SoReuseport if net::SO_REUSEPORT_LB.is_supported() => net::SO_REUSEPORT_LB,
        OptionId::SoReuseport => net::SO_REUSEPORT,
        OptionId::SoKeepalive => net::SO_KEEPALIVE,
        OptionId::SoRcvbuf => net::SO_RCVBUF,
        OptionId::SoSndbuf => net::SO_SNDBUF,
        OptionId::SoBusyPoll => net::SO_BUSY_POLL,
        OptionId::SoIncomingCpu => net::SO_INCOMING_CPU,
        OptionId::SoPriority => net::SO_PRIORITY,
        OptionId::TcpNodelay => net::TCP_NODELAY,
        OptionId::TcpKeepidle => net::TCP_KEEPIDLE,
        OptionId::TcpKeepintvl => net::TCP_KEEPINTVL,
        OptionId::TcpKeepcnt => net::TCP_KEEPCNT,
        OptionId::TcpUserTimeout => net::TCP_USER_TIMEOUT,
        OptionId::TcpQuickack => net::TCP_QUICKACK,
        OptionId::TcpCork => net::TCP_CORK,
        OptionId::TcpNotsentLowat => net::TCP_NOTSENT_LOWAT,
        OptionId::TcpDeferAccept => net::TCP_DEFER_ACCEPT,
        OptionId::TcpFastopen => net::TCP_FASTOPEN,
        OptionId::TcpFastopenConnect => net::TCP_FASTOPEN_CONNECT,
        OptionId::TcpMaxseg => net::TCP_MAXSEG,
        OptionId::SoBroadcast => net::SO_BROADCAST,
        OptionId::UdpGro => net::UDP_GRO,
        OptionId::IpTtl if family == Family::V6 => net::IPV6_UNICAST_HOPS,
        OptionId::IpTtl => net::IP_TTL,
        OptionId::IpMulticastTtl if family == Family::V6 => net::IPV6_MULTICAST_HOPS,
        OptionId::IpMulticastTtl => net::IP_MULTICAST_TTL,
        OptionId::IpMulticastLoop if family == Family::V6 => net::IPV6_MULTICAST_LOOP,
        OptionId::IpMulticastLoop => net::IP_MULTICAST_LOOP,
        OptionId::IpPktinfo if family == Family::V6 => net::IPV6_RECVPKTINFO,
        OptionId::IpPktinfo => net::IP_PKTINFO,
        OptionId::IpRecvtos if family == Family::V6 => net::IPV6_RECVTCLASS,
        OptionId::IpRecvtos => net::IP_RECVTOS,
        OptionId::IpTos if family == Family::V6 => net::IPV6_TCLASS,
        OptionId::IpTos => net::IP_TOS,
        _ => return None,
    })
}
