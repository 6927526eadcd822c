//! Channel options as options of sockets. A transport asks here for what it does not keep itself.

use std::io;
use std::os::fd::BorrowedFd;

use tidegate_sys::os::net::{self, IntOption};

use crate::channel::{OptionId, OptionSet, OptionValue};
use crate::error::{Error, ErrorKind};

/// The kind of address of a socket; a few options are spelled differently, or there are none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4, with any transport above.
    V4,
    /// IPv6, with any transport above.
    V6,
    /// The Unix domain.
    Unix,
}

/// Whether this is an option of sockets of this family at all, on this system or another.
pub(crate) fn is_socket_option(family: Family, id: OptionId) -> bool {
    match id {
        OptionId::RawUnix(_) => true,
        OptionId::SoLinger | OptionId::IpMulticastIf => family != Family::Unix,
        _ => int_option(id, family).is_some(),
    }
}

/// Sets an option.
///
/// # Errors
/// `Unsupported` where the system has none of that name; what the kernel says.
pub(crate) fn set(
    socket: BorrowedFd<'_>,
    family: Family,
    id: OptionId,
    value: &OptionValue,
) -> Result<(), Error> {
    try_set(socket, family, id, value)
        .map_err(|error| Error::io(format!("setting option {id} to {value:?}"), error))
}

/// Reads an option.
///
/// # Errors
/// As [`set`].
pub(crate) fn get(fd: BorrowedFd<'_>, family: Family, id: OptionId) -> Result<OptionValue, Error> {
    try_get(fd, family, id).map_err(|error| Error::io(format!("reading option {id}"), error))
}

#[cold]
pub(crate) fn no_such_option(name: &str, id: OptionId) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("{name} has no option {id}; leave it out or use a transport that has it"),
    )
}

/// Options that were set before there is a socket.
#[derive(Debug, Default)]
pub(crate) struct Waiting(OptionSet);

impl Waiting {
    pub(crate) fn set(&mut self, id: OptionId, value: &OptionValue) -> Result<(), Error> {
        self.0.set_erased(id, value.clone())
    }

    pub(crate) fn has(&self, id: OptionId) -> bool {
        self.0.get_erased(id).is_some()
    }

    /// What was set, or else the default if it is known without a socket.
    pub(crate) fn get(
        &self,
        id: OptionId,
        default: Option<OptionValue>,
    ) -> Result<OptionValue, Error> {
        self.0.get_erased(id).cloned().or(default).ok_or_else(|| {
            let text = format!(
                "option {id} was not set, and there is no socket yet to ask for its default"
            );
            Error::new(ErrorKind::NotYetConnected, text)
        })
    }

    /// In the order in which they were set.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (OptionId, &OptionValue)> {
        self.0.iter()
    }

    /// Sets all of them.
    pub(crate) fn apply(
        &self,
        mut set: impl FnMut(OptionId, &OptionValue) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.iter().try_for_each(|(id, value)| set(id, value))
    }
}

fn try_set(
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
    if let (OptionId::RawUnix(option), OptionValue::Bytes(bytes)) = (id, value) {
        return net::set_bytes(socket, option.level(), option.number(), bytes);
    }
    refuse_family(id, family)?;
    match (int_option(id, family), id.to_kernel(value)) {
        (Some(option), Some(number)) => net::set_int(socket, option, number),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn try_get(socket: BorrowedFd<'_>, family: Family, id: OptionId) -> io::Result<OptionValue> {
    if id == OptionId::SoLinger {
        return net::get_linger(socket).map(OptionValue::Duration);
    }
    if let OptionId::RawUnix(option) = id {
        let bytes = net::get_bytes(socket, option.level(), option.number())?;
        return Ok(OptionValue::Bytes(bytes.into()));
    }
    refuse_family(id, family)?;
    let option = int_option(id, family).ok_or(io::ErrorKind::Unsupported)?;
    let number = net::get_int(socket, option)?;
    id.from_kernel(number)
        .ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// Before there is a socket its family is not known; afterwards the kernel's answer would be "protocol not available".
fn refuse_family(id: OptionId, family: Family) -> io::Result<()> {
    if id == OptionId::Ipv6V6only && family != Family::V6 {
        let text = "the socket is one of IPv4; bind it to an address of IPv6, as [::]";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    Ok(())
}

fn int_option(id: OptionId, family: Family) -> Option<IntOption> {
    if let OptionId::IntegerUnix(option) = id {
        let (level, number) = (option.level(), option.number());
        return Some(IntOption::new(option.name(), level, number));
    }
    if family == Family::Unix && !matches!(id, OptionId::SoRcvbuf | OptionId::SoSndbuf) {
        return None;
    }
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
        OptionId::Ipv6V6only => net::IPV6_V6ONLY,
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
