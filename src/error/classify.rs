//! How an error of the operating system becomes a kind and a fault.
//!
//! Called by [`Error::io`](super::Error::io) and its neighbours. An errno is looked up in a table of everything that the
//! manual pages of socket, bind, listen, accept, connect, read, write, sendmsg, sendfile, shutdown and setsockopt list
//! (Linux's, FreeBSD's, POSIX's); without one, and for what the table lacks, the portable `io::ErrorKind` decides.

use std::io;

use tidegate_sys::os::errno::*;

use super::kind::{ErrorKind, Fault};

/// Kind and fault of an error on a socket or a file.
pub(super) fn classify(error: &io::Error) -> (ErrorKind, Fault) {
    let listed = error.raw_os_error().and_then(classify_errno);
    listed.unwrap_or_else(|| classify_portable(error.kind()))
}

/// The same for an error of connect(2), or of a connection attempt's SO_ERROR.
pub(super) fn classify_connect(error: &io::Error) -> (ErrorKind, Fault) {
    match classify(error) {
        (ErrorKind::TimedOut, fault) => (ErrorKind::ConnectTimeout, fault),
        // connect(2) of Linux: no local port, or no room for the route; of Unix sockets, a full queue.
        _ if error.raw_os_error() == Some(EAGAIN) => (ErrorKind::Exhausted, Fault::Machine),
        // The path of a Unix socket leads to a file that is none (the BSDs; Linux refuses the connection).
        _ if error.raw_os_error() == Some(ENOTSOCK) => (ErrorKind::InvalidArgument, Fault::Caller),
        other => other,
    }
}

/// What the manual pages list.
fn classify_errno(errno: i32) -> Option<(ErrorKind, Fault)> {
    // On some systems these two are one number, on others not.
    const UNSUPPORTED: [i32; 2] = [EOPNOTSUPP, ENOTSUP];
    let kind = match errno {
        ECONNREFUSED => ErrorKind::ConnectRefused,
        ENETUNREACH | EHOSTUNREACH | EHOSTDOWN => ErrorKind::Unreachable,
        // The interface is this machine's.
        ENETDOWN => return Some((ErrorKind::Unreachable, Fault::Machine)),
        // EPROTO: accept(2), when the client broke off in the handshake.
        ECONNRESET | ECONNABORTED | ENETRESET | EPIPE | EPROTO => ErrorKind::ConnectionReset,
        // The retransmissions or the keep-alive probes of a live connection found no answer.
        ETIMEDOUT => return Some((ErrorKind::TimedOut, Fault::Peer)),
        EISCONN => ErrorKind::AlreadyConnected,
        EINPROGRESS | EALREADY => ErrorKind::ConnectionPending,
        ENOTCONN | EDESTADDRREQ => ErrorKind::NotYetConnected,
        ESHUTDOWN => ErrorKind::OutputShutdown,
        EADDRINUSE => ErrorKind::AddrInUse,
        EADDRNOTAVAIL => ErrorKind::AddrNotAvailable,
        // ETOOMANYREFS: unix(7), too many descriptors of this user are on their way.
        EMFILE | ENFILE | ENOMEM | ENOBUFS | ENOSPC | EDQUOT | ETOOMANYREFS => ErrorKind::Exhausted,
        EACCES | EPERM | EROFS => ErrorKind::PermissionDenied,
        ENOENT | ENOTDIR | ENXIO | ENODEV => ErrorKind::NotFound,
        EINVAL | EMSGSIZE | EDOM | E2BIG | EOVERFLOW | EFBIG | ELOOP | ENAMETOOLONG | EISDIR => {
            ErrorKind::InvalidArgument
        }
        EAFNOSUPPORT | EPROTONOSUPPORT | EPROTOTYPE | ESOCKTNOSUPPORT | ENOPROTOOPT | ENOSYS
        | ESPIPE => ErrorKind::Unsupported,
        errno if UNSUPPORTED.contains(&errno) => ErrorKind::Unsupported,
        EIO => ErrorKind::Io,
        // A descriptor or a pointer that is not ours to use, a call to be repeated: only a bug of this library lets one
        // of these out.
        EBADF | EFAULT | ENOTSOCK | EINTR | EAGAIN => return Some((ErrorKind::Io, Fault::Us)),
        _ => return None,
    };
    Some((kind, kind.fault()))
}

/// Errors without a number (made by std or by a stream of the user's), and numbers that the table lacks.
fn classify_portable(kind: io::ErrorKind) -> (ErrorKind, Fault) {
    let kind = match kind {
        io::ErrorKind::ConnectionRefused => ErrorKind::ConnectRefused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            ErrorKind::Unreachable
        }
        io::ErrorKind::NetworkDown => return (ErrorKind::Unreachable, Fault::Machine),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => ErrorKind::ConnectionReset,
        io::ErrorKind::NotConnected => ErrorKind::NotYetConnected,
        io::ErrorKind::AddrInUse => ErrorKind::AddrInUse,
        io::ErrorKind::AddrNotAvailable => ErrorKind::AddrNotAvailable,
        io::ErrorKind::Unsupported => ErrorKind::Unsupported,
        io::ErrorKind::InvalidInput => ErrorKind::InvalidArgument,
        io::ErrorKind::OutOfMemory | io::ErrorKind::StorageFull => ErrorKind::Exhausted,
        io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::TimedOut => return (ErrorKind::TimedOut, Fault::Peer),
        _ => ErrorKind::Io,
    };
    (kind, kind.fault())
}
