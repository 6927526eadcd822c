//! Socket options with an integer value, named as the man pages name them. The typed options of channels
//! stand on these; here a value is what the kernel takes, 1 for on and 0 for off.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use libc::c_int;

use super::raw_option::{UNIT_MAX, check_domain};
use crate::os::syscall::{self, simulated, socklen_of};

/// An option of sockets, or the knowledge that this system has none of that name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IntOption {
    name: &'static str,
    /// Level and number.
    raw: Option<(c_int, c_int)>,
    /// One of the constants below.
    is_listed: bool,
}

impl IntOption {
    /// An option that is not listed here, by its level and number on this system.
    pub const fn new(name: &'static str, level: i32, number: i32) -> Self {
        Self {
            name,
            raw: Some((level, number)),
            is_listed: false,
        }
    }

    /// The name in the man pages.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Whether this system knows it. A kernel may be older than this build and refuse it nevertheless.
    pub const fn is_supported(self) -> bool {
        self.raw.is_some()
    }

    /// Of sockets that no option here was meant for, others may lend memory to the kernel.
    fn check(self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if self.is_listed {
            return Ok(());
        }
        check_domain(fd)
    }

    fn raw(self) -> io::Result<(c_int, c_int)> {
        self.raw.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                format!("this system has no socket option {}", self.name),
            )
        })
    }
}

/// Defines the constants: each where its condition holds, perhaps under another system's name elsewhere,
/// else known by name only.
macro_rules! options {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident = $level:ident, $number:ident on $systems:meta
        $(, or $other:ident on $others:meta)?;
    )+) => {
        $(
            $(#[doc = $doc])+
            pub const $name: IntOption = IntOption {
                name: stringify!($name),
                #[cfg($systems)]
                raw: Some((libc::$level, libc::$number)),
                $(
                    #[cfg($others)]
                    raw: Some((libc::$level, libc::$other)),
                )?
                #[cfg(not(any($systems $(, $others)?)))]
                raw: None,
                is_listed: true,
            };
        )+
    };
}

options! {
    /// Binding succeeds although old connections of the address linger.
    SO_REUSEADDR = SOL_SOCKET, SO_REUSEADDR on all();
    /// Several sockets may bind one address. On Linux the kernel spreads connections over them, on
    /// macOS it does not; FreeBSD needs [`SO_REUSEPORT_LB`] for that.
    SO_REUSEPORT = SOL_SOCKET, SO_REUSEPORT on all();
    /// FreeBSD: several sockets share an address and its connections.
    SO_REUSEPORT_LB = SOL_SOCKET, SO_REUSEPORT_LB on target_os = "freebsd";
    /// What kind of socket it is; only to be read.
    SO_TYPE = SOL_SOCKET, SO_TYPE on all();
    /// Whether it listens; only to be read.
    SO_ACCEPTCONN = SOL_SOCKET, SO_ACCEPTCONN on all();
    /// Probes a silent peer.
    SO_KEEPALIVE = SOL_SOCKET, SO_KEEPALIVE on all();
    /// Bytes that may wait to be read. Linux answers with the double of what was set.
    SO_RCVBUF = SOL_SOCKET, SO_RCVBUF on all();
    /// Bytes that may wait to be sent. Linux answers with the double of what was set.
    SO_SNDBUF = SOL_SOCKET, SO_SNDBUF on all();
    /// Bytes below which the socket is not readable.
    SO_RCVLOWAT = SOL_SOCKET, SO_RCVLOWAT on all();
    /// Datagrams may go to broadcast addresses.
    SO_BROADCAST = SOL_SOCKET, SO_BROADCAST on all();
    /// Urgent data stays in the stream.
    SO_OOBINLINE = SOL_SOCKET, SO_OOBINLINE on all();
    /// Microseconds to poll the network device in a read that finds nothing.
    SO_BUSY_POLL = SOL_SOCKET, SO_BUSY_POLL on target_os = "linux";
    /// The CPU that handles the packets of the socket.
    SO_INCOMING_CPU = SOL_SOCKET, SO_INCOMING_CPU on target_os = "linux";
    /// The queueing priority of what is sent.
    SO_PRIORITY = SOL_SOCKET, SO_PRIORITY on any(target_os = "linux", target_os = "android");
    /// A peer that is gone raises no signal. This crate sets it where it exists.
    SO_NOSIGPIPE = SOL_SOCKET, SO_NOSIGPIPE
        on any(target_vendor = "apple", target_os = "freebsd", target_os = "dragonfly", target_os = "netbsd");
    /// Small segments are sent at once.
    TCP_NODELAY = IPPROTO_TCP, TCP_NODELAY on all();
    /// The largest segment, in bytes.
    TCP_MAXSEG = IPPROTO_TCP, TCP_MAXSEG on all();
    /// Seconds of silence before the first probe (TCP_KEEPALIVE on macOS).
    TCP_KEEPIDLE = IPPROTO_TCP, TCP_KEEPIDLE on any(
        target_os = "linux", target_os = "android", target_os = "freebsd", target_os = "dragonfly",
        target_os = "netbsd"
    ), or TCP_KEEPALIVE on target_vendor = "apple";
    /// Seconds between probes.
    TCP_KEEPINTVL = IPPROTO_TCP, TCP_KEEPINTVL on not(target_os = "openbsd");
    /// Probes without an answer before the connection is dropped.
    TCP_KEEPCNT = IPPROTO_TCP, TCP_KEEPCNT on not(target_os = "openbsd");
    /// Milliseconds that sent data may stay unacknowledged.
    TCP_USER_TIMEOUT = IPPROTO_TCP, TCP_USER_TIMEOUT on any(target_os = "linux", target_os = "android");
    /// Acknowledges at once; the kernel takes it back when it sees fit.
    TCP_QUICKACK = IPPROTO_TCP, TCP_QUICKACK on any(target_os = "linux", target_os = "android");
    /// Holds incomplete segments back while it is set.
    TCP_CORK = IPPROTO_TCP, TCP_CORK on any(target_os = "linux", target_os = "android");
    /// Unsent bytes above which the socket is not writable.
    TCP_NOTSENT_LOWAT = IPPROTO_TCP, TCP_NOTSENT_LOWAT on target_os = "linux";
    /// Seconds that a connection may wait for its first data before it is accepted.
    TCP_DEFER_ACCEPT = IPPROTO_TCP, TCP_DEFER_ACCEPT on any(target_os = "linux", target_os = "android");
    /// Connections whose first packet brings data that may wait on a listener.
    TCP_FASTOPEN = IPPROTO_TCP, TCP_FASTOPEN on any(
        target_os = "linux", target_os = "android", target_os = "freebsd", target_vendor = "apple"
    );
    /// The first write goes with the connect.
    TCP_FASTOPEN_CONNECT = IPPROTO_TCP, TCP_FASTOPEN_CONNECT
        on any(target_os = "linux", target_os = "android");
    /// Small messages are sent at once.
    SCTP_NODELAY = IPPROTO_SCTP, SCTP_NODELAY on target_os = "linux";
    /// Messages that do not fit one packet are refused.
    SCTP_DISABLE_FRAGMENTS = IPPROTO_SCTP, SCTP_DISABLE_FRAGMENTS on target_os = "linux";
    /// Type of service of IPv4 packets.
    IP_TOS = IPPROTO_IP, IP_TOS on all();
    /// Hops of IPv4 packets.
    IP_TTL = IPPROTO_IP, IP_TTL on all();
    /// Hops of IPv4 packets to multicast groups.
    IP_MULTICAST_TTL = IPPROTO_IP, IP_MULTICAST_TTL on all();
    /// What this socket sends to IPv4 groups comes back to receivers on this machine.
    IP_MULTICAST_LOOP = IPPROTO_IP, IP_MULTICAST_LOOP on all();
    /// The socket gets datagrams of all groups that anyone on this machine has joined, not only of its own.
    IP_MULTICAST_ALL = IPPROTO_IP, IP_MULTICAST_ALL on any(target_os = "linux", target_os = "android");
    /// Tells with each datagram to which of our addresses it was sent.
    IP_PKTINFO = IPPROTO_IP, IP_PKTINFO
        on any(target_os = "linux", target_os = "android"),
        or IP_RECVDSTADDR on any(
            target_os = "freebsd", target_os = "dragonfly", target_os = "netbsd", target_os = "openbsd",
            target_vendor = "apple"
        );
    /// Tells with each datagram its type of service.
    IP_RECVTOS = IPPROTO_IP, IP_RECVTOS
        on any(target_os = "linux", target_os = "android", target_os = "freebsd", target_vendor = "apple");
    /// Hops of IPv6 packets.
    IPV6_UNICAST_HOPS = IPPROTO_IPV6, IPV6_UNICAST_HOPS on all();
    /// Hops of IPv6 packets to multicast groups.
    IPV6_MULTICAST_HOPS = IPPROTO_IPV6, IPV6_MULTICAST_HOPS on all();
    /// What this socket sends to IPv6 groups comes back to receivers on this machine.
    IPV6_MULTICAST_LOOP = IPPROTO_IPV6, IPV6_MULTICAST_LOOP on all();
    /// The number of the interface through which IPv6 groups are sent to.
    IPV6_MULTICAST_IF = IPPROTO_IPV6, IPV6_MULTICAST_IF on all();
    /// Tells with each datagram to which of our addresses it was sent.
    IPV6_RECVPKTINFO = IPPROTO_IPV6, IPV6_RECVPKTINFO on all();
    /// Tells with each datagram its traffic class.
    IPV6_RECVTCLASS = IPPROTO_IPV6, IPV6_RECVTCLASS on all();
    /// The kernel may hand over several datagrams of one length as one.
    UDP_GRO = IPPROTO_UDP, UDP_GRO on any(target_os = "linux", target_os = "android");
    /// Traffic class of IPv6 packets.
    IPV6_TCLASS = IPPROTO_IPV6, IPV6_TCLASS on all();
    /// The socket takes no IPv4 connections.
    IPV6_V6ONLY = IPPROTO_IPV6, IPV6_V6ONLY on all();
}

/// Sets an option. `Unsupported` if this system has none of that name; else what the kernel says, such as
/// `InvalidInput` for a value out of range.
pub fn set_int(fd: BorrowedFd<'_>, option: IntOption, value: i32) -> io::Result<()> {
    let (level, number) = option.raw()?;
    simulated!("setsockopt", fd, |kernel, file| kernel.set_option(
        file,
        (level, number),
        value
    ));
    option.check(fd)?;
    set(fd, level, number, &value)
}

/// Reads an option; errors as for [`set_int`].
pub fn get_int(fd: BorrowedFd<'_>, option: IntOption) -> io::Result<i32> {
    let (level, number) = option.raw()?;
    simulated!("getsockopt", fd, |kernel, file| kernel
        .option(file, (level, number)));
    option.check(fd)?;
    let mut value = [0; UNIT_MAX];
    let mut length = socklen_of::<c_int>();
    // SAFETY: `value` has room for `length` units of up to `UNIT_MAX` bytes: any option may be asked for, and Linux counts the
    // length of SO_GET_FILTER in instructions, of eight bytes each.
    syscall::retry(|| unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            number,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    })?;
    Ok(value[0])
}

/// What closing does with unsent data: `None` sends it in the background, `Some(d)` waits for up to `d`
/// (rounded up to seconds), and `Some(0)` drops it and resets the connection.
pub fn set_linger(fd: BorrowedFd<'_>, linger: Option<Duration>) -> io::Result<()> {
    let seconds = linger.map_or(0, |linger| {
        linger.as_secs() + u64::from(linger.subsec_nanos() > 0)
    });
    let value = libc::linger {
        l_onoff: c_int::from(linger.is_some()),
        // Some systems keep 16 bits of it.
        l_linger: seconds.min(i16::MAX as u64) as c_int,
    };
    simulated!("setsockopt", fd, |kernel, file| {
        kernel.set_linger(file, linger.map(|_| value.l_linger))
    });
    set(fd, libc::SOL_SOCKET, SO_LINGER, &value)
}

/// See [`set_linger`].
pub fn get_linger(fd: BorrowedFd<'_>) -> io::Result<Option<Duration>> {
    simulated!("getsockopt", fd, |kernel, file| {
        let seconds = |seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        Ok(kernel.linger(file)?.map(seconds))
    });
    let value: libc::linger = get(fd, libc::SOL_SOCKET, SO_LINGER)?;
    let seconds = u64::try_from(value.l_linger).unwrap_or(0);
    Ok((value.l_onoff != 0).then(|| Duration::from_secs(seconds)))
}

/// On macOS SO_LINGER counts in ticks; the other name counts in seconds.
#[cfg(target_vendor = "apple")]
const SO_LINGER: c_int = libc::SO_LINGER_SEC;
#[cfg(not(target_vendor = "apple"))]
const SO_LINGER: c_int = libc::SO_LINGER;

/// C values for which every pattern of bits is one, so that the kernel may fill them.
pub(super) trait Plain: Copy {
    const ZERO: Self;
}

impl Plain for c_int {
    const ZERO: Self = 0;
}

impl Plain for libc::linger {
    const ZERO: Self = libc::linger {
        l_onoff: 0,
        l_linger: 0,
    };
}

fn set<T: Plain>(fd: BorrowedFd<'_>, level: c_int, number: c_int, value: &T) -> io::Result<()> {
    // SAFETY: `value` is valid for reads of its size.
    syscall::retry(|| unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            number,
            std::ptr::from_ref(value).cast(),
            socklen_of::<T>(),
        )
    })?;
    Ok(())
}

pub(super) fn get<T: Plain>(fd: BorrowedFd<'_>, level: c_int, number: c_int) -> io::Result<T> {
    let mut value = T::ZERO;
    let mut length = socklen_of::<T>();
    // SAFETY: `value` has room for `length` bytes, and any bytes are a value of its type.
    syscall::retry(|| unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            number,
            (&raw mut value).cast(),
            &raw mut length,
        )
    })?;
    Ok(value)
}
