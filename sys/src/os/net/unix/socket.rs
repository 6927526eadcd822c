//! Making sockets of the Unix domain: non-blocking and closed on exec, as all of this crate.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::c_int;

use crate::os::net;
use crate::os::syscall::{self, simulated};

/// A socket for connections, or for listening.
pub fn stream_socket() -> io::Result<OwnedFd> {
    simulated!("socket", |kernel| kernel.unix_socket());
    net::socket(libc::AF_UNIX, libc::SOCK_STREAM)
}

/// A socket for datagrams.
pub fn datagram_socket() -> io::Result<OwnedFd> {
    simulated!("socket", |_kernel| unsupported());
    net::socket(libc::AF_UNIX, libc::SOCK_DGRAM)
}

/// Both ends of a connection.
pub fn stream_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    simulated!("socketpair", |kernel| kernel.unix_pair());
    pair(libc::SOCK_STREAM)
}

/// Two sockets for datagrams that are connected to each other.
pub fn datagram_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    simulated!("socketpair", |_kernel| unsupported());
    pair(libc::SOCK_DGRAM)
}

/// Whether the socket itself has room to send now (poll(2), without waiting). If it has, and a send finds none, it is the
/// queue of the socket at the other end that is full.
pub fn has_room(fd: BorrowedFd<'_>) -> io::Result<bool> {
    simulated!("poll", fd, |kernel, file| Ok(kernel.has_room(file)));
    let mut asked = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: `asked` is a list of one.
    let ready = syscall::retry(|| unsafe { libc::poll(&raw mut asked, 1, 0) })?;
    Ok(ready > 0)
}

/// Datagrams of the Unix domain are not simulated.
#[cfg(feature = "sim")]
fn unsupported<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

fn pair(kind: c_int) -> io::Result<(OwnedFd, OwnedFd)> {
    #[cfg(not(target_vendor = "apple"))]
    let kind = kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let mut ends = [-1; 2];
    // SAFETY: `ends` has room for the two descriptors.
    syscall::retry(|| unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) })?;
    // SAFETY: the kernel has just made both for us alone.
    let ends = unsafe { ends.map(|end| OwnedFd::from_raw_fd(end)) };
    for end in &ends {
        net::settle(std::os::fd::AsFd::as_fd(end))?;
    }
    let [one, other] = ends;
    Ok((one, other))
}
