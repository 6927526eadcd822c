//! [`RawAddr`]: an address as the kernel reads and writes it. Used by the socket calls of this folder.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use libc::{sockaddr, sockaddr_in, sockaddr_in6, socklen_t};

use crate::os::syscall::socklen_of;

/// The address family of an internet address.
pub(super) fn family(address: &SocketAddr) -> libc::c_int {
    match address {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    }
}

/// Room for an internet address of either family: 28 bytes instead of the 128 of sockaddr_storage, which
/// every accept would have to clear.
pub(super) struct RawAddr {
    form: Form,
    len: socklen_t,
}

#[repr(C)]
union Form {
    any: sockaddr,
    v4: sockaddr_in,
    v6: sockaddr_in6,
}

impl RawAddr {
    pub(super) fn new(address: &SocketAddr) -> Self {
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

    /// Zeroes, as long as the longest address.
    pub(super) fn room() -> Self {
        Self {
            // SAFETY: C structures of integers, for which zeroes are values.
            form: unsafe { std::mem::zeroed() },
            len: socklen_of::<Form>(),
        }
    }

    pub(super) fn as_ptr(&self) -> *const sockaddr {
        (&raw const self.form).cast()
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut sockaddr {
        (&raw mut self.form).cast()
    }

    /// How many bytes count.
    pub(super) fn len(&self) -> socklen_t {
        self.len
    }

    /// The address that the kernel has written, `length` bytes of it. `InvalidData` if it is none of the
    /// two families, which means that the descriptor is not an internet socket.
    pub(super) fn decode(&self, length: socklen_t) -> io::Result<SocketAddr> {
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
    assert!(size_of::<Form>() == 28);
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
            let raw = RawAddr::new(&address);
            assert_eq!(raw.decode(raw.len()).unwrap(), address);
        }
        let scoped = SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 7, 0x1234, 9));
        let raw = RawAddr::new(&scoped);
        assert_eq!(raw.decode(raw.len()).unwrap(), scoped);
    }

    #[test]
    fn what_is_no_internet_address_is_refused() {
        let none = RawAddr::room();
        assert_eq!(
            none.decode(0).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        let short = RawAddr::new(&"1.2.3.4:5".parse().unwrap());
        assert_eq!(
            short.decode(4).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }
}
