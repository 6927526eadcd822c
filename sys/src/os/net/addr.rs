//! [`SocketAddress`]: what the socket calls of this folder take and give, and [`RawAddr`]: an internet address as the kernel
//! reads and writes it.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use libc::{sockaddr, sockaddr_in, sockaddr_in6, socklen_t};

use crate::os::name::Name;
use crate::os::syscall::socklen_of;

/// An address of sockets: [`SocketAddr`], or [`UnixAddress`](super::unix::UnixAddress). Nobody else can be one.
pub trait SocketAddress: Clone + PartialEq + Sized {
    /// How the kernel reads and writes it.
    #[doc(hidden)]
    type Form: Form<Self>;

    /// Its family: AF_INET, AF_INET6 or AF_UNIX.
    fn family(&self) -> libc::c_int;

    /// For the simulated kernel.
    #[doc(hidden)]
    fn name(&self) -> Name;

    /// An address that the simulated kernel gave; `None` if it is of another family.
    #[doc(hidden)]
    fn from_name(name: Name) -> Option<Self>;
}

impl SocketAddress for SocketAddr {
    type Form = RawAddr;

    fn family(&self) -> libc::c_int {
        match self {
            SocketAddr::V4(_) => libc::AF_INET,
            SocketAddr::V6(_) => libc::AF_INET6,
        }
    }

    fn name(&self) -> Name {
        Name::Inet(*self)
    }

    fn from_name(name: Name) -> Option<Self> {
        match name {
            Name::Inet(address) => Some(address),
            Name::Unix(_) => None,
        }
    }
}

/// Memory in which the kernel finds or leaves an address. What `as_ptr` and `as_mut_ptr` give is valid for at least `len()`
/// bytes, while the form stays where it is. The module is private, so no type from elsewhere can break that.
pub trait Form<A>: Sized {
    /// Room for what the kernel tells beside datagrams of this family, or is told.
    type Control: ControlRoom;

    /// The form of this address.
    fn new(address: &A) -> io::Result<Self>;

    /// Zeroes, as long as the longest address.
    fn room() -> Self;

    /// For the kernel to read.
    fn as_ptr(&self) -> *const sockaddr;

    /// For the kernel to write.
    fn as_mut_ptr(&mut self) -> *mut sockaddr;

    /// How many bytes count.
    fn len(&self) -> socklen_t;

    /// The address that the kernel has written, `length` bytes of it. `InvalidData` if it is of another family.
    fn decode(&self, length: socklen_t) -> io::Result<A>;
}

/// Room for control data.
pub trait ControlRoom {
    /// Room of which nothing was written.
    fn room() -> Self;

    /// All of it, at the alignment of a control message's header.
    fn bytes(&mut self) -> &mut [MaybeUninit<u8>];
}

/// Control data must begin at the alignment of its header.
#[repr(C, align(8))]
pub struct Control<const BYTES: usize>([MaybeUninit<u8>; BYTES]);

impl<const BYTES: usize> ControlRoom for Control<BYTES> {
    #[inline]
    fn room() -> Self {
        Self([MaybeUninit::uninit(); BYTES])
    }

    #[inline]
    fn bytes(&mut self) -> &mut [MaybeUninit<u8>] {
        &mut self.0
    }
}

/// Room for an internet address of either family: 28 bytes instead of the 128 of sockaddr_storage, which
/// every accept would have to clear.
pub struct RawAddr {
    form: Inet,
    len: socklen_t,
}

#[repr(C)]
union Inet {
    any: sockaddr,
    v4: sockaddr_in,
    v6: sockaddr_in6,
}

impl RawAddr {
    #[inline]
    pub(super) fn of(address: &SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => Self::v4(address),
            SocketAddr::V6(address) => Self::v6(address),
        }
    }

    // The BSDs begin with a length byte that their kernels set by themselves: it stays zero.
    fn v4(address: &SocketAddrV4) -> Self {
        let mut raw = Self::room();
        // SAFETY: `room` is all zeroes, which is a sockaddr_in; writing one field of it keeps it so.
        let form = unsafe { &mut raw.form.v4 };
        form.sin_family = libc::AF_INET as libc::sa_family_t;
        form.sin_port = address.port().to_be();
        form.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
        raw.len = socklen_of::<sockaddr_in>();
        raw
    }

    fn v6(address: &SocketAddrV6) -> Self {
        let mut raw = Self::room();
        // SAFETY: `room` is all zeroes, which is a sockaddr_in6; writing one field of it keeps it so.
        let form = unsafe { &mut raw.form.v6 };
        form.sin6_family = libc::AF_INET6 as libc::sa_family_t;
        form.sin6_port = address.port().to_be();
        form.sin6_flowinfo = address.flowinfo();
        form.sin6_addr.s6_addr = address.ip().octets();
        form.sin6_scope_id = address.scope_id();
        raw.len = socklen_of::<sockaddr_in6>();
        raw
    }
}

impl Form<SocketAddr> for RawAddr {
    /// Packet info of either family (40 bytes), traffic class (24) and segment length (24), with room to spare.
    type Control = Control<128>;

    #[inline]
    fn new(address: &SocketAddr) -> io::Result<Self> {
        Ok(Self::of(address))
    }

    #[inline]
    fn room() -> Self {
        Self {
            // SAFETY: C structures of integers, for which zeroes are values.
            form: unsafe { std::mem::zeroed() },
            len: socklen_of::<Inet>(),
        }
    }

    fn as_ptr(&self) -> *const sockaddr {
        (&raw const self.form).cast()
    }

    fn as_mut_ptr(&mut self) -> *mut sockaddr {
        (&raw mut self.form).cast()
    }

    fn len(&self) -> socklen_t {
        self.len
    }

    fn decode(&self, length: socklen_t) -> io::Result<SocketAddr> {
        // SAFETY: the first fields of all three are the same, and zeroed or written by the kernel.
        let family = libc::c_int::from(unsafe { self.form.any.sa_family });
        match family {
            libc::AF_INET if length >= socklen_of::<sockaddr_in>() => {
                // SAFETY: the family says that the kernel has written a sockaddr_in.
                let form = unsafe { &self.form.v4 };
                let ip = Ipv4Addr::from(form.sin_addr.s_addr.to_ne_bytes());
                let port = u16::from_be(form.sin_port);
                Ok(SocketAddrV4::new(ip, port).into())
            }
            libc::AF_INET6 if length >= socklen_of::<sockaddr_in6>() => {
                // SAFETY: the family says that the kernel has written a sockaddr_in6.
                let form = unsafe { &self.form.v6 };
                let ip = Ipv6Addr::from(form.sin6_addr.s6_addr);
                let port = u16::from_be(form.sin6_port);
                Ok(SocketAddrV6::new(ip, port, form.sin6_flowinfo, form.sin6_scope_id).into())
            }
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the socket has no internet address",
            )),
        }
    }
}

const _: () = {
    use memoffset::offset_of;

    // One family byte after a length byte on the BSDs, two family bytes elsewhere: port and address
    // stand at the same place.
    assert!(size_of::<sockaddr_in>() == 16);
    assert!(offset_of!(sockaddr_in, sin_port) == 2);
    assert!(offset_of!(sockaddr_in, sin_addr) == 4);
    assert!(size_of::<sockaddr_in6>() == 28);
    assert!(offset_of!(sockaddr_in6, sin6_port) == 2);
    assert!(offset_of!(sockaddr_in6, sin6_flowinfo) == 4);
    assert!(offset_of!(sockaddr_in6, sin6_addr) == 8);
    assert!(offset_of!(sockaddr_in6, sin6_scope_id) == 24);
    assert!(offset_of!(sockaddr_in, sin_family) == offset_of!(sockaddr, sa_family));
    assert!(offset_of!(sockaddr_in6, sin6_family) == offset_of!(sockaddr, sa_family));
    assert!(size_of::<Inet>() == 28);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        for text in [
            "127.0.0.1:80",
            "0.0.0.0:0",
            "255.1.2.3:65535",
            "[::1]:443",
            "[fe80::1234:5678]:8080",
            "[::ffff:10.0.0.1]:1",
        ] {
            let address: SocketAddr = text.parse().unwrap();
            let raw = RawAddr::new(&address).unwrap();
            assert_eq!(raw.decode(raw.len()).unwrap(), address);
        }
        let scoped = SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 7, 0x1234, 9));
        let raw = RawAddr::new(&scoped).unwrap();
        assert_eq!(raw.decode(raw.len()).unwrap(), scoped);
    }

    #[test]
    fn what_is_no_internet_address_is_refused() {
        let none = RawAddr::room();
        assert_eq!(
            none.decode(0).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        let short = RawAddr::new(&"1.2.3.4:5".parse().unwrap()).unwrap();
        assert_eq!(
            short.decode(4).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }
}
