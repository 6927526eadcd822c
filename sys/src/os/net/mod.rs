//! Sockets: making, connecting, accepting, closing halves. Called by the transports and bootstraps; it
//! knows addresses and descriptors, and takes no decision about errors.
//!
//! * `accept`: [`AcceptFailure`], what a failed accept means.
//! * `addr`: [`SocketAddress`], and [`std::net::SocketAddr`] to and from the kernel's form.
//! * `control`: what the kernel tells beside a datagram.
//! * `datagram`: many datagrams with one call.
//! * `membership`: multicast groups.
//! * [`sctp`]: associations of SCTP.
//! * `option`: [`IntOption`] and the constants named like the man pages name them.
//! * `raw_option`: options whose values are bytes, by level and number.
//! * [`unix`]: the Unix domain.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

#[cfg(feature = "sim")]
use super::name::Name;
use super::syscall::{self, simulated};
use addr::Form;

mod accept;
mod addr;
mod control;
mod datagram;
mod membership;
mod option;
mod raw_option;
pub mod sctp;
pub mod unix;

pub use accept::AcceptFailure;
pub use addr::SocketAddress;
#[doc(hidden)]
pub use control::{ControlMessage, Told, read_control_messages};
pub use datagram::{
    DATAGRAMS_MAX, Outgoing, Received, disconnect, recv_many, send_many, udp_socket,
};
pub use membership::{Membership, MembershipChange, interface_index, set_multicast_interface};
pub use option::*;
pub use raw_option::{RAW_OPTION_MAX, TCP_INFO, get_bytes, set_bytes};

/// How a connect began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Connect {
    /// The socket is connected.
    Done,
    /// The socket will become writable when the connect has ended; [`take_error`] then tells how.
    InProgress,
}

/// A TCP socket of the family of this address: non-blocking, closed on exec, and without SIGPIPE where
/// the system says so per socket.
pub fn tcp_socket(address: &SocketAddr) -> io::Result<OwnedFd> {
    simulated!("socket", |kernel| kernel.tcp_socket(address));
    socket(address.family(), libc::SOCK_STREAM)
}

fn socket(family: libc::c_int, kind: libc::c_int) -> io::Result<OwnedFd> {
    #[cfg(not(target_vendor = "apple"))]
    let kind = kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: takes no pointer.
    let raw = syscall::retry(|| unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    settle(socket.as_fd())?;
    Ok(socket)
}

/// What every new socket gets that its system could not give it when it was made.
fn settle(fd: BorrowedFd<'_>) -> io::Result<()> {
    #[cfg(target_vendor = "apple")]
    set_birth_flags(fd)?;
    disarm_sigpipe(fd);
    Ok(())
}

/// What SOCK_NONBLOCK and SOCK_CLOEXEC are where they exist.
#[cfg(target_vendor = "apple")]
fn set_birth_flags(fd: BorrowedFd<'_>) -> io::Result<()> {
    super::fd::set_nonblocking(fd)?;
    super::fd::set_cloexec(fd)
}

/// Best effort: on macOS every setsockopt on a socket that the peer has reset meanwhile is EINVAL, and
/// such a socket has nobody to write to (swift-nio#1030).
fn disarm_sigpipe(fd: BorrowedFd<'_>) {
    if SO_NOSIGPIPE.is_supported() {
        let _ = set_int(fd, SO_NOSIGPIPE, 1);
    }
}

/// Gives the socket a local address.
pub fn bind<A: SocketAddress>(fd: BorrowedFd<'_>, address: &A) -> io::Result<()> {
    simulated!("bind", fd, |kernel, file| kernel
        .bind(file, &name_of(address)?));
    let raw = A::Form::new(address)?;
    // SAFETY: `raw` is a socket address of the length that it names.
    syscall::retry(|| unsafe { libc::bind(fd.as_raw_fd(), raw.as_ptr(), raw.len()) })?;
    Ok(())
}

/// Lets the kernel accept connections: up to `backlog` wait to be taken, at most [`max_backlog`].
pub fn listen(fd: BorrowedFd<'_>, backlog: i32) -> io::Result<()> {
    simulated!("listen", fd, |kernel, file| kernel.listen(file, backlog));
    // SAFETY: takes no pointer.
    syscall::retry(|| unsafe { libc::listen(fd.as_raw_fd(), backlog) })?;
    Ok(())
}

/// Takes one connection: its socket, non-blocking and closed on exec, and its peer.
///
/// `WouldBlock` when none is waiting; other errors may be the peer's (ECONNABORTED, EPROTO, and on Linux
/// any error of the network), or the machine's (EMFILE, ENFILE, ENOBUFS, ENOMEM): the caller decides.
pub fn accept<A: SocketAddress>(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, A)> {
    simulated!("accept", fd, |kernel, file| {
        let (accepted, peer) = kernel.accept(file)?;
        Ok((accepted, told(peer)?))
    });
    let mut raw = A::Form::room();
    let mut length = raw.len();
    #[cfg(not(target_vendor = "apple"))]
    // SAFETY: `raw` has room for `length` bytes, and both may be written.
    let accepted = syscall::retry(|| unsafe {
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        libc::accept4(fd.as_raw_fd(), raw.as_mut_ptr(), &raw mut length, flags)
    })?;
    #[cfg(target_vendor = "apple")]
    // SAFETY: `raw` has room for `length` bytes, and both may be written.
    let accepted = syscall::retry(|| unsafe {
        libc::accept(fd.as_raw_fd(), raw.as_mut_ptr(), &raw mut length)
    })?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    let accepted = unsafe { OwnedFd::from_raw_fd(accepted) };
    #[cfg(target_vendor = "apple")]
    {
        // XNU hands out sockets that the peer has reset already: without an address, or with EINVAL for
        // whatever is set (swift-nio#1030). That is the peer's doing, not the listener's.
        let aborted = || io::Error::from_raw_os_error(libc::ECONNABORTED);
        if length == 0 {
            return Err(aborted());
        }
        set_birth_flags(accepted.as_fd()).map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => aborted(),
            _ => error,
        })?;
    }
    disarm_sigpipe(accepted.as_fd());
    let peer = raw.decode(length)?;
    Ok((accepted, peer))
}

/// Begins to connect.
pub fn connect<A: SocketAddress>(fd: BorrowedFd<'_>, address: &A) -> io::Result<Connect> {
    #[cfg(feature = "sim")]
    if let Err(error) = syscall::once(super::sim::fate_on("connect", fd)) {
        return begun(Err(error));
    }
    simulated!(fd, |kernel, file| begun(
        kernel.connect(file, &name_of(address)?)
    ));
    let raw = A::Form::new(address)?;
    // SAFETY: `raw` is a socket address of the length that it names.
    let returned = syscall::once(unsafe { libc::connect(fd.as_raw_fd(), raw.as_ptr(), raw.len()) });
    begun(returned.map(drop))
}

fn begun(answer: io::Result<()>) -> io::Result<Connect> {
    match answer {
        Ok(()) => Ok(Connect::Done),
        // After a signal the connect goes on by itself; asking again would answer EALREADY.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => {
            Ok(Connect::InProgress)
        }
        Err(error) => Err(error),
    }
}

/// Takes the error that waits on the socket (SO_ERROR), if there is one.
pub fn take_error(fd: BorrowedFd<'_>) -> io::Result<Option<io::Error>> {
    simulated!("getsockopt(SO_ERROR)", fd, |kernel, file| kernel
        .take_error(file));
    match option::get(fd, libc::SOL_SOCKET, libc::SO_ERROR)? {
        0 => Ok(None),
        errno => Ok(Some(io::Error::from_raw_os_error(errno))),
    }
}

/// What a socket is that comes from elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// A stream's, and it listens.
    Listener,
    /// A stream's: connected, bound, or neither.
    Stream,
    /// One of datagrams: bound, connected, or neither.
    Datagram,
    /// One of another kind.
    Other,
}

/// What this socket is; ENOTSOCK if it is none. No simulated socket comes from elsewhere: those are `Other`.
pub fn role(fd: BorrowedFd<'_>) -> io::Result<Role> {
    Ok(match get_int(fd, SO_TYPE)? {
        libc::SOCK_DGRAM => Role::Datagram,
        libc::SOCK_STREAM if get_int(fd, SO_ACCEPTCONN)? == 0 => Role::Stream,
        libc::SOCK_STREAM => Role::Listener,
        _ => Role::Other,
    })
}

/// The address that the socket has here.
pub fn local_addr<A: SocketAddress>(fd: BorrowedFd<'_>) -> io::Result<A> {
    simulated!("getsockname", fd, |kernel, file| told(
        kernel.local_addr(file)?
    ));
    address_by(fd, libc::getsockname)
}

/// The address of the peer; `NotConnected` while there is none.
pub fn peer_addr<A: SocketAddress>(fd: BorrowedFd<'_>) -> io::Result<A> {
    simulated!("getpeername", fd, |kernel, file| told(
        kernel.peer_addr(file)?
    ));
    address_by(fd, libc::getpeername)
}

type AskAddress =
    unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

fn address_by<A: SocketAddress>(fd: BorrowedFd<'_>, ask: AskAddress) -> io::Result<A> {
    let mut raw = A::Form::room();
    let mut length = raw.len();
    // SAFETY: `ask` is getsockname or getpeername; `raw` has room for `length` bytes.
    syscall::retry(|| unsafe { ask(fd.as_raw_fd(), raw.as_mut_ptr(), &raw mut length) })?;
    raw.decode(length)
}

/// For the simulated kernel. What has no form is refused here, as the real one never sees it either.
#[cfg(feature = "sim")]
fn name_of<A: SocketAddress>(address: &A) -> io::Result<Name> {
    A::Form::new(address).map(|_| address.name())
}

/// What the simulated kernel gives.
#[cfg(feature = "sim")]
fn told<A: SocketAddress>(name: Name) -> io::Result<A> {
    A::from_name(name).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Ends one or both directions. `NotConnected` if the peer is gone already.
pub fn shutdown(fd: BorrowedFd<'_>, how: Shutdown) -> io::Result<()> {
    simulated!("shutdown", fd, |kernel, file| kernel.shutdown(file, how));
    let how = match how {
        Shutdown::Read => libc::SHUT_RD,
        Shutdown::Write => libc::SHUT_WR,
        Shutdown::Both => libc::SHUT_RDWR,
    };
    // SAFETY: takes no pointer.
    syscall::retry(|| unsafe { libc::shutdown(fd.as_raw_fd(), how) })?;
    Ok(())
}

/// How many connections a listener can have waiting: the system's own bound (somaxconn), and what the C
/// library says where that cannot be read.
pub fn max_backlog() -> i32 {
    #[cfg(feature = "sim")]
    if super::sim::is_installed() {
        return super::sim::MAX_BACKLOG;
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Ok(text) = std::fs::read_to_string("/proc/sys/net/core/somaxconn")
        && let Ok(bound) = text.trim().parse()
    {
        return bound;
    }
    #[cfg(any(
        target_os = "freebsd",
        target_os = "dragonfly",
        target_vendor = "apple"
    ))]
    {
        #[cfg(target_vendor = "apple")]
        let name = c"kern.ipc.somaxconn";
        #[cfg(not(target_vendor = "apple"))]
        let name = c"kern.ipc.soacceptqueue";
        let mut bound: libc::c_int = 0;
        let mut length = size_of::<libc::c_int>();
        // SAFETY: `name` ends with a zero byte; `bound` has room for `length` bytes; nothing is set.
        let returned = unsafe {
            libc::sysctlbyname(
                name.as_ptr(),
                (&raw mut bound).cast(),
                &raw mut length,
                std::ptr::null_mut(),
                0,
            )
        };
        if returned == 0 && length == size_of::<libc::c_int>() && bound > 0 {
            return bound;
        }
    }
    libc::SOMAXCONN
}
