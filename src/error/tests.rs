//! What errors promise: who is at fault, how causes are kept, how errno is read.

use std::error::Error as _;
use std::io;

use super::*;

fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

#[test]
fn errors_of_the_system_tell_kind_and_fault() {
    use io::ErrorKind as Io;
    let table = [
        (
            Io::ConnectionRefused,
            ErrorKind::ConnectRefused,
            Fault::Peer,
        ),
        (Io::HostUnreachable, ErrorKind::Unreachable, Fault::Peer),
        (Io::NetworkUnreachable, ErrorKind::Unreachable, Fault::Peer),
        (Io::ConnectionReset, ErrorKind::ConnectionReset, Fault::Peer),
        (
            Io::ConnectionAborted,
            ErrorKind::ConnectionReset,
            Fault::Peer,
        ),
        (Io::BrokenPipe, ErrorKind::ConnectionReset, Fault::Peer),
        (Io::TimedOut, ErrorKind::TimedOut, Fault::Peer),
        (Io::NotConnected, ErrorKind::NotYetConnected, Fault::Caller),
        (Io::AddrInUse, ErrorKind::AddrInUse, Fault::Machine),
        (
            Io::AddrNotAvailable,
            ErrorKind::AddrNotAvailable,
            Fault::Caller,
        ),
        (
            Io::PermissionDenied,
            ErrorKind::PermissionDenied,
            Fault::Caller,
        ),
        (Io::NotFound, ErrorKind::NotFound, Fault::Caller),
        (Io::Unsupported, ErrorKind::Unsupported, Fault::Caller),
        (Io::InvalidInput, ErrorKind::InvalidArgument, Fault::Caller),
        (Io::OutOfMemory, ErrorKind::Exhausted, Fault::Machine),
        (Io::Other, ErrorKind::Io, Fault::Machine),
    ];
    for (from, kind, fault) in table {
        let error = Error::from(io::Error::from(from));
        assert_eq!((error.kind(), error.fault()), (kind, fault), "{from:?}");
        assert_eq!(error.io_kind(), Some(from));
    }
}

/// What the manual pages of the calls list, and what a program is told.
#[test]
fn every_documented_errno_has_a_kind_and_a_fault() {
    use ErrorKind::*;
    use tidegate_sys::os::errno::*;
    let table: [(ErrorKind, Fault, &[i32]); 19] = [
        (ConnectRefused, Fault::Peer, &[ECONNREFUSED]),
        (
            Unreachable,
            Fault::Peer,
            &[ENETUNREACH, EHOSTUNREACH, EHOSTDOWN],
        ),
        (Unreachable, Fault::Machine, &[ENETDOWN]),
        (
            ConnectionReset,
            Fault::Peer,
            &[ECONNRESET, ECONNABORTED, ENETRESET, EPIPE, EPROTO],
        ),
        (TimedOut, Fault::Peer, &[ETIMEDOUT]),
        (AlreadyConnected, Fault::Caller, &[EISCONN]),
        (ConnectionPending, Fault::Caller, &[EINPROGRESS, EALREADY]),
        (NotYetConnected, Fault::Caller, &[ENOTCONN, EDESTADDRREQ]),
        (OutputShutdown, Fault::Caller, &[ESHUTDOWN]),
        (AddrInUse, Fault::Machine, &[EADDRINUSE]),
        (AddrNotAvailable, Fault::Caller, &[EADDRNOTAVAIL]),
        (
            Exhausted,
            Fault::Machine,
            &[
                EMFILE,
                ENFILE,
                ENOMEM,
                ENOBUFS,
                ENOSPC,
                EDQUOT,
                ETOOMANYREFS,
            ],
        ),
        (PermissionDenied, Fault::Caller, &[EACCES, EPERM, EROFS]),
        (NotFound, Fault::Caller, &[ENOENT, ENOTDIR, ENXIO, ENODEV]),
        (
            InvalidArgument,
            Fault::Caller,
            &[
                EINVAL,
                EMSGSIZE,
                EDOM,
                E2BIG,
                EOVERFLOW,
                EFBIG,
                ELOOP,
                ENAMETOOLONG,
                EISDIR,
            ],
        ),
        (
            Unsupported,
            Fault::Caller,
            &[
                EAFNOSUPPORT,
                EPROTONOSUPPORT,
                EPROTOTYPE,
                ESOCKTNOSUPPORT,
                EOPNOTSUPP,
                ENOTSUP,
                ENOPROTOOPT,
                ENOSYS,
                ESPIPE,
            ],
        ),
        (Io, Fault::Machine, &[EIO]),
        (Io, Fault::Us, &[EBADF, EFAULT, ENOTSOCK, EINTR, EAGAIN]),
        // What nobody has documented is an error all the same.
        (Io, Fault::Machine, &[9_999]),
    ];
    for (kind, fault, numbers) in table {
        for number in numbers {
            let error = Error::io("a call", errno(*number));
            let text = errno(*number).to_string();
            assert_eq!((error.kind(), error.fault()), (kind, fault), "{text}");
            assert_eq!(error.raw_os_error(), Some(*number));
        }
    }
    for (number, kind, fault) in [
        (ETIMEDOUT, ConnectTimeout, Fault::Peer),
        (EAGAIN, Exhausted, Fault::Machine),
        (EINPROGRESS, ConnectionPending, Fault::Caller),
        (ENOTSOCK, InvalidArgument, Fault::Caller),
    ] {
        let error = Error::connect(&"192.0.2.1:80", errno(number));
        assert_eq!((error.kind(), error.fault()), (kind, fault));
    }
}

#[test]
fn running_out_of_descriptors_is_the_machines_and_a_bad_one_ours() {
    let error = Error::io("accept", errno(24));
    assert_eq!(
        (error.kind(), error.fault()),
        (ErrorKind::Exhausted, Fault::Machine)
    );
    assert_eq!(error.raw_os_error(), Some(24));
    let error = Error::io("read", errno(9));
    assert_eq!((error.kind(), error.fault()), (ErrorKind::Io, Fault::Us));
}

/// A17, A22: a failed connect names the address and keeps the cause.
///
/// Rules: A17, A22
#[test]
fn a_failed_connect_names_the_address() {
    let refused = Error::connect(&"192.0.2.1:80", io::ErrorKind::ConnectionRefused.into());
    assert_eq!(refused.kind(), ErrorKind::ConnectRefused);
    assert_eq!(
        refused.to_string(),
        "connect to 192.0.2.1:80: connection refused"
    );
    assert_eq!(refused.io_kind(), Some(io::ErrorKind::ConnectionRefused));
    let late = Error::connect(&"192.0.2.1:80", io::ErrorKind::TimedOut.into());
    assert_eq!(
        (late.kind(), late.fault()),
        (ErrorKind::ConnectTimeout, Fault::Peer)
    );
    let missing = Error::connect(&"/run/none", io::ErrorKind::NotFound.into());
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[test]
fn clones_are_the_same_error() {
    let error = Error::new(ErrorKind::ChannelClosed, "write after close");
    let clone = error.clone();
    assert!(error.is_same(&clone));
    assert!(!error.is_same(&Error::new(ErrorKind::ChannelClosed, "write after close")));
    assert!(clone.source().is_none() && clone.io_kind().is_none());
}

#[test]
fn the_fault_can_be_corrected_with_and_without_clones() {
    let error = Error::io("write", io::ErrorKind::BrokenPipe.into());
    let shared = error.clone();
    let ours = error.with_fault(Fault::Us);
    assert_eq!(
        (ours.kind(), ours.fault()),
        (ErrorKind::ConnectionReset, Fault::Us)
    );
    assert_eq!(ours.to_string(), shared.to_string());
    assert_eq!(ours.io_kind(), Some(io::ErrorKind::BrokenPipe));
    assert_eq!(shared.fault(), Fault::Peer);
    let alone = Error::new(ErrorKind::TimedOut, "handshake").with_fault(Fault::Peer);
    assert_eq!((alone.fault(), alone.context()), (Fault::Peer, "handshake"));
}

#[test]
fn an_error_survives_a_trip_through_io() {
    let error = Error::new(ErrorKind::OutputShutdown, "write after shutdown");
    let through = io::Error::from(error.clone());
    assert_eq!(through.kind(), io::ErrorKind::BrokenPipe);
    let back = Error::io("copy", through);
    assert_eq!(back.kind(), ErrorKind::OutputShutdown);
    assert!(back.find::<Error>().is_some());
    assert_eq!(back.to_string(), "copy: write after shutdown");
    let reset = Error::io("read", io::ErrorKind::ConnectionReset.into());
    assert_eq!(
        io::Error::from(reset).kind(),
        io::ErrorKind::ConnectionReset
    );
}

#[test]
fn a_failure_gives_back_what_went_in() {
    let failure = Failure::from("x".parse::<u32>().unwrap_err());
    assert!(failure.is::<std::num::ParseIntError>());
    assert_eq!(
        (failure.kind(), failure.fault()),
        (ErrorKind::User, Fault::Caller)
    );
    let failure = failure.downcast::<io::Error>().unwrap_err();
    let error = failure.into_error();
    assert_eq!(
        (error.kind(), error.fault()),
        (ErrorKind::User, Fault::Caller)
    );
    assert!(error.find::<std::num::ParseIntError>().is_some());
    assert_eq!(error.to_string(), "invalid digit found in string");

    let inside = Error::new(ErrorKind::ChannelClosed, "gone");
    let failure = Failure::from(inside.clone());
    assert_eq!(failure.kind(), ErrorKind::ChannelClosed);
    let peers = Failure::from(inside.clone().with_fault(Fault::Peer));
    assert_eq!(
        (failure.fault(), peers.fault()),
        (Fault::Caller, Fault::Peer)
    );
    assert!(Error::from(failure).is_same(&inside));

    let text = Failure::msg(format!("frame of {} bytes", 7));
    assert_eq!(text.to_string(), "frame of 7 bytes");
    assert_eq!(text.as_error().to_string(), "frame of 7 bytes");
    assert!(
        Failure::from_boxed("boxed".into())
            .downcast_ref::<Error>()
            .is_none()
    );
}

#[test]
fn texts_are_never_empty() {
    assert_eq!(
        Error::new(ErrorKind::Busy, "").to_string(),
        ErrorKind::Busy.as_str()
    );
    let error = Error::with_source(ErrorKind::User, "decode", "bad length");
    assert_eq!(error.to_string(), "decode: bad length");
    assert_eq!(
        format!("{error:?}"),
        r#"Error { kind: User, fault: Caller, context: "decode", source: "bad length" }"#
    );
    assert_eq!(Fault::Us.to_string(), "tidegate");
}
