//! How an error of the operating system becomes a kind and a fault.
//!
//! Called by [`Error::io`](super::Error::io) and its neighbours. The portable `io::ErrorKind` decides
//! wherever it can; the few errnos that std leaves unsorted are named here.

use std::io;

use super::kind::{ErrorKind, Fault};

/// Kind and fault of an error on a socket or a file.
pub(super) fn classify(error: &io::Error) -> (ErrorKind, Fault) {
    let kind = match error.kind() {
        io::ErrorKind::ConnectionRefused => ErrorKind::ConnectRefused,
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown => ErrorKind::Unreachable,
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
        // The retransmissions or the keep-alive probes of a live connection found no answer.
        io::ErrorKind::TimedOut => return (ErrorKind::TimedOut, Fault::Peer),
        _ => return classify_errno(error.raw_os_error()),
    };
    (kind, kind.fault())
}

/// The same for an error of connect(2), or of a connection attempt's SO_ERROR.
pub(super) fn classify_connect(error: &io::Error) -> (ErrorKind, Fault) {
    match classify(error) {
        (ErrorKind::TimedOut, fault) => (ErrorKind::ConnectTimeout, fault),
        other => other,
    }
}

/// These five have had the same numbers on every Unix since the Seventh Edition.
fn classify_errno(errno: Option<i32>) -> (ErrorKind, Fault) {
    const ENXIO: i32 = 6;
    const EBADF: i32 = 9;
    const EFAULT: i32 = 14;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    match errno {
        Some(EMFILE | ENFILE) => (ErrorKind::Exhausted, Fault::Machine),
        // A descriptor or a pointer that is not ours to use: only a bug of this library gets there.
        Some(EBADF | EFAULT) => (ErrorKind::Io, Fault::Us),
        Some(ENXIO) => (ErrorKind::NotFound, Fault::Caller),
        _ => (ErrorKind::Io, Fault::Machine),
    }
}
