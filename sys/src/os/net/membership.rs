//! Multicast groups: joining, leaving, and choosing sources, for both families by the one interface of RFC 3678. Called by
//! the datagram transport.

use std::ffi::CString;
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use super::option;
use crate::os::syscall::simulated;

/// What is to change about the groups of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MembershipChange {
    /// Receive what is sent to the group, from anybody or from the one source that is named.
    Join,
    /// No longer.
    Leave,
    /// Receive nothing from the source, of a group that was joined for everybody.
    Block,
    /// Receive from it again.
    Unblock,
}

/// A group, on one network interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Membership {
    /// A multicast address.
    pub group: IpAddr,
    /// The number of the interface (if_nametoindex(3)); 0: the kernel chooses.
    pub interface: u32,
    /// A sender, of the group's family.
    pub source: Option<IpAddr>,
}

impl Membership {
    /// Makes the change.
    ///
    /// # Errors
    /// What setsockopt(2) says: EADDRINUSE for a group that was joined already, EADDRNOTAVAIL for one that was not,
    /// EINVAL for an address that is no group, ENODEV for an unknown interface. `InvalidInput` if a source is missing or of
    /// another family; `Unsupported` where the system lacks the interface of RFC 3678.
    pub fn change(&self, fd: BorrowedFd<'_>, change: MembershipChange) -> io::Result<()> {
        // There is no multicast in a simulation.
        simulated!(fd, |_kernel, _file| Err(io::ErrorKind::Unsupported.into()));
        let needs_source = matches!(change, MembershipChange::Block | MembershipChange::Unblock);
        if self.source.is_none() && needs_source {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "blocking needs the address of a source",
            ));
        }
        if self
            .source
            .is_some_and(|source| source.is_ipv4() != self.group.is_ipv4())
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "group and source are of different families",
            ));
        }
        kernel::change(fd, self, change)
    }
}

/// The number of a network interface.
///
/// # Errors
/// ENODEV or ENXIO if there is none of that name; `InvalidInput` for a name with a zero byte.
pub fn interface_index(name: &str) -> io::Result<u32> {
    let name = CString::new(name)?;
    // SAFETY: `name` ends with a zero byte.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// Sends to multicast groups through the interface of this number; 0: the kernel chooses.
///
/// # Errors
/// ENODEV or EADDRNOTAVAIL for an unknown interface.
pub fn set_multicast_interface(fd: BorrowedFd<'_>, is_v6: bool, index: u32) -> io::Result<()> {
    simulated!(fd, |_kernel, _file| Err(io::ErrorKind::Unsupported.into()));
    if is_v6 {
        let index = i32::try_from(index).unwrap_or(i32::MAX);
        return option::set_int(fd, option::IPV6_MULTICAST_IF, index);
    }
    kernel::set_interface(fd, index)
}

#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_vendor = "apple"
))]
mod kernel {
    use std::io;
    use std::mem;
    use std::net::{IpAddr, SocketAddr};
    use std::os::fd::{AsRawFd, BorrowedFd};

    use libc::{c_int, group_req, group_source_req, sockaddr_storage};

    use super::{Membership, MembershipChange};
    use crate::os::net::addr::{Form, RawAddr};
    use crate::os::syscall::{self, socklen_of};

    pub(super) fn change(
        fd: BorrowedFd<'_>,
        membership: &Membership,
        change: MembershipChange,
    ) -> io::Result<()> {
        let level = match membership.group {
            IpAddr::V4(_) => libc::IPPROTO_IP,
            IpAddr::V6(_) => libc::IPPROTO_IPV6,
        };
        let number = match (change, membership.source) {
            (MembershipChange::Join, None) => libc::MCAST_JOIN_GROUP,
            (MembershipChange::Leave, None) => libc::MCAST_LEAVE_GROUP,
            (MembershipChange::Join, Some(_)) => libc::MCAST_JOIN_SOURCE_GROUP,
            (MembershipChange::Leave, Some(_)) => libc::MCAST_LEAVE_SOURCE_GROUP,
            (MembershipChange::Block, _) => libc::MCAST_BLOCK_SOURCE,
            (MembershipChange::Unblock, _) => libc::MCAST_UNBLOCK_SOURCE,
        };
        match membership.source {
            None => {
                // SAFETY: a C structure of integers, for which zeroes are values.
                let mut request: group_req = unsafe { mem::zeroed() };
                request.gr_interface = membership.interface;
                request.gr_group = storage(membership.group);
                set(fd, level, number, &request)
            }
            Some(source) => {
                // SAFETY: a C structure of integers, for which zeroes are values.
                let mut request: group_source_req = unsafe { mem::zeroed() };
                request.gsr_interface = membership.interface;
                request.gsr_group = storage(membership.group);
                request.gsr_source = storage(source);
                set(fd, level, number, &request)
            }
        }
    }

    pub(super) fn set_interface(fd: BorrowedFd<'_>, index: u32) -> io::Result<()> {
        // SAFETY: a C structure of integers, for which zeroes are values.
        let mut request: libc::ip_mreqn = unsafe { mem::zeroed() };
        request.imr_ifindex = index as c_int;
        set(fd, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &request)
    }

    fn storage(ip: IpAddr) -> sockaddr_storage {
        let raw = RawAddr::of(&SocketAddr::new(ip, 0));
        // SAFETY: a C structure of integers, for which zeroes are values.
        let mut storage: sockaddr_storage = unsafe { mem::zeroed() };
        // SAFETY: both are valid for the length of the shorter one, the address, and do not overlap.
        unsafe {
            std::ptr::copy_nonoverlapping(
                raw.as_ptr().cast::<u8>(),
                (&raw mut storage).cast::<u8>(),
                raw.len() as usize,
            );
        }
        // The BSDs look at the length of an address inside a structure.
        #[cfg(any(target_os = "freebsd", target_vendor = "apple"))]
        {
            storage.ss_len = raw.len() as u8;
        }
        storage
    }

    fn set<T: Copy>(fd: BorrowedFd<'_>, level: c_int, number: c_int, value: &T) -> io::Result<()> {
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
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_vendor = "apple"
)))]
mod kernel {
    use std::io;
    use std::os::fd::BorrowedFd;

    use super::{Membership, MembershipChange};

    pub(super) fn change(_: BorrowedFd<'_>, _: &Membership, _: MembershipChange) -> io::Result<()> {
        Err(unsupported())
    }

    pub(super) fn set_interface(_: BorrowedFd<'_>, _: u32) -> io::Result<()> {
        Err(unsupported())
    }

    fn unsupported() -> io::Error {
        io::Error::new(
            io::ErrorKind::Unsupported,
            "this system has no protocol-independent multicast options (RFC 3678)",
        )
    }
}
