//! Options of sockets whose values are bytes, by level and number: for those that have no name in `option`. Called by the
//! transports for what their users bring. It refuses long values, and other sockets, because of pointers.
//!
//! Promises, for whatever level, number and bytes:
//!
//! 0. Only sockets of the internet and of the Unix domain are asked. Others have options that lend memory to the kernel
//!    (XDP_UMEM_REG, RDS_GET_MR).
//! 1. Reading hands the kernel zeroes. An option whose value is also a question, with addresses that the kernel would write
//!    to (Linux' TCP_ZEROCOPY_RECEIVE), finds null there, where it writes nothing.
//! 2. Reading brings room for eight times the length that it names: Linux counts the length of SO_GET_FILTER in
//!    instructions, of eight bytes each.
//! 3. Setting hands over at most [`RAW_OPTION_MAX`] bytes. Values that hold an address for the kernel to write to are those
//!    of packet filters (Linux' IPT_SO_SET_REPLACE and its kin, from 96 bytes on). An address in a shorter one is only read
//!    from (SO_ATTACH_FILTER), by a kernel that checks it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::os::syscall::{self, simulated};

/// The most bytes that can be set. See the promises of this module's page.
pub const RAW_OPTION_MAX: usize = 64;

/// The longest value that is read, in bytes.
const READ_MAX: usize = 1024;

/// Rule 2.
pub(super) const UNIT_MAX: usize = 8;

/// Level and number of TCP_INFO, where its value is that of Linux.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub const TCP_INFO: Option<(i32, i32)> = Some((libc::IPPROTO_TCP, libc::TCP_INFO));
/// Level and number of TCP_INFO, where its value is that of Linux.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub const TCP_INFO: Option<(i32, i32)> = None;

/// Sets an option.
///
/// # Errors
/// `InvalidInput` for more than [`RAW_OPTION_MAX`] bytes; `Unsupported` for a socket of another domain than the internet's and
/// Unix'; what the kernel says.
pub fn set_bytes(fd: BorrowedFd<'_>, level: i32, number: i32, value: &[u8]) -> io::Result<()> {
    if value.len() > RAW_OPTION_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    simulated!("setsockopt", fd, |_kernel, _file| Err(unknown()));
    check_domain(fd)?;
    // SAFETY: `value` is valid for reads of its length, and by rules 0 and 3 the kernel writes nowhere.
    syscall::retry(|| unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            number,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    })?;
    Ok(())
}

/// Reads an option: as many bytes as the kernel has to tell, at most 1,024.
///
/// # Errors
/// As for [`set_bytes`].
pub fn get_bytes(fd: BorrowedFd<'_>, level: i32, number: i32) -> io::Result<Vec<u8>> {
    simulated!("getsockopt", fd, |_kernel, _file| Err(unknown()));
    check_domain(fd)?;
    let mut value = vec![0; READ_MAX * UNIT_MAX];
    let mut length = READ_MAX as libc::socklen_t;
    // SAFETY: `value` has room for `length` units of up to `UNIT_MAX` bytes (rule 2), and holds no address (rules 0 and 1).
    syscall::retry(|| unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            number,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    })?;
    value.truncate((length as usize).min(READ_MAX));
    Ok(value)
}

/// Rule 0. On Linux by the domain itself: an RDS socket gives an internet address for its name.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn check_domain(fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut domain: libc::c_int = 0;
    let mut length = syscall::socklen_of::<libc::c_int>();
    // SAFETY: `domain` has room for `length` bytes.
    syscall::retry(|| unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_DOMAIN,
            (&raw mut domain).cast(),
            &raw mut length,
        )
    })
    .map_err(|_| io::ErrorKind::Unsupported)?;
    matches!(domain, libc::AF_INET | libc::AF_INET6 | libc::AF_UNIX)
        .then_some(())
        .ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// Rule 0.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn check_domain(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: zeroes are a value of this structure of numbers.
    let mut name: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut length = syscall::socklen_of::<libc::sockaddr_storage>();
    // SAFETY: `name` has room for `length` bytes.
    syscall::retry(|| unsafe {
        libc::getsockname(fd.as_raw_fd(), (&raw mut name).cast(), &raw mut length)
    })
    .map_err(|_| io::ErrorKind::Unsupported)?;
    matches!(
        i32::from(name.ss_family),
        libc::AF_INET | libc::AF_INET6 | libc::AF_UNIX
    )
    .then_some(())
    .ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// A simulated kernel keeps numbers alone.
#[cfg(feature = "sim")]
fn unknown() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOPROTOOPT)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::os::net;

    fn socket() -> std::os::fd::OwnedFd {
        net::udp_socket(&"127.0.0.1:0".parse().unwrap()).unwrap()
    }

    #[test]
    fn a_short_value_comes_back() {
        let socket = socket();
        let on = 1_i32.to_ne_bytes();
        set_bytes(socket.as_fd(), libc::SOL_SOCKET, libc::SO_BROADCAST, &on).unwrap();
        let read = get_bytes(socket.as_fd(), libc::SOL_SOCKET, libc::SO_BROADCAST);
        assert_eq!(read.unwrap(), on);
    }

    /// Rule 3.
    #[test]
    fn a_long_value_is_refused() {
        let socket = socket();
        let error = set_bytes(
            socket.as_fd(),
            libc::SOL_SOCKET,
            0,
            &[0; RAW_OPTION_MAX + 1],
        );
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    /// Rule 0.
    #[test]
    fn what_is_no_socket_of_ours_is_refused() {
        let (pipe, _end) = io::pipe().unwrap();
        // SAFETY: takes no pointer.
        let netlink = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW, 0) };
        // SAFETY: the kernel has just made this descriptor for us alone.
        let netlink =
            unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(netlink) };
        for fd in [pipe.as_fd(), netlink.as_fd()] {
            let read = get_bytes(fd, libc::SOL_SOCKET, libc::SO_TYPE);
            assert_eq!(read.unwrap_err().kind(), io::ErrorKind::Unsupported);
            let set = set_bytes(fd, libc::SOL_SOCKET, libc::SO_BROADCAST, &[0; 4]);
            assert_eq!(set.unwrap_err().kind(), io::ErrorKind::Unsupported);
        }
    }

    /// Rule 2: the kernel takes the length for a number of instructions, and gives back that of the filter's.
    #[test]
    fn a_filter_longer_than_its_length_says_finds_room() {
        const COUNT: u16 = 1000;
        let socket = socket();
        let accept = libc::sock_filter {
            code: (libc::BPF_RET | libc::BPF_K) as u16,
            jt: 0,
            jf: 0,
            k: u32::MAX,
        };
        let mut filter = vec![accept; COUNT.into()];
        let program = libc::sock_fprog {
            len: COUNT,
            filter: filter.as_mut_ptr(),
        };
        // SAFETY: both are valid for reads of their sizes.
        let set = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast(),
                syscall::socklen_of::<libc::sock_fprog>(),
            )
        };
        assert_eq!(set, 0);
        let read = get_bytes(socket.as_fd(), libc::SOL_SOCKET, libc::SO_GET_FILTER).unwrap();
        assert_eq!(read.len(), usize::from(COUNT));
        assert_eq!(read[4..8], u32::MAX.to_ne_bytes());
    }

    /// The same where a number is asked for: four bytes are four instructions.
    #[test]
    fn a_filter_that_is_read_as_a_number_finds_room() {
        let socket = socket();
        let accept = libc::sock_filter {
            code: (libc::BPF_RET | libc::BPF_K) as u16,
            jt: 0,
            jf: 0,
            k: u32::MAX,
        };
        let mut filter = [accept; 4];
        let program = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_mut_ptr(),
        };
        // SAFETY: both are valid for reads of their sizes.
        let set = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast(),
                syscall::socklen_of::<libc::sock_fprog>(),
            )
        };
        assert_eq!(set, 0);
        let option = net::IntOption::new("a filter", libc::SOL_SOCKET, libc::SO_GET_FILTER);
        let code = net::get_int(socket.as_fd(), option).unwrap();
        assert_eq!(code, i32::from((libc::BPF_RET | libc::BPF_K) as u16));
    }
}
