//! [`Credentials`]: who stands at the other end of a connection.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::os::syscall::{self, simulated};

/// The process at the other end of a Unix connection, as it was when it connected, or began to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Credentials {
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
    /// Its number, where the system tells (Linux, macOS). It may have ended, and another one have its number now.
    pub pid: Option<u32>,
}

/// In a simulation both ends are this process's.
#[cfg(feature = "sim")]
fn own() -> Credentials {
    // SAFETY: neither takes a pointer nor fails.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    Credentials {
        uid,
        gid,
        pid: Some(std::process::id()),
    }
}

/// Asks who connected, or who listens: SO_PEERCRED on Linux, getpeereid(3) elsewhere.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn peer_credentials(fd: BorrowedFd<'_>) -> io::Result<Credentials> {
    simulated!("getsockopt", fd, |kernel, file| kernel
        .has_peer(file)
        .map(|()| own()));
    let mut told = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let mut length = syscall::socklen_of::<libc::ucred>();
    // SAFETY: `told` has room for `length` bytes, and any bytes are a value of it.
    syscall::retry(|| unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut told).cast(),
            &raw mut length,
        )
    })?;
    // A socket without a peer answers nobody (-1) instead of an error.
    if told.uid == u32::MAX {
        return Err(io::ErrorKind::NotConnected.into());
    }
    Ok(Credentials {
        uid: told.uid,
        gid: told.gid,
        // 0: a process of another namespace.
        pid: u32::try_from(told.pid).ok().filter(|pid| *pid > 0),
    })
}

/// Asks who connected, or who listens: SO_PEERCRED on Linux, getpeereid(3) elsewhere.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn peer_credentials(fd: BorrowedFd<'_>) -> io::Result<Credentials> {
    simulated!("getsockopt", fd, |kernel, file| kernel
        .has_peer(file)
        .map(|()| own()));
    let (mut uid, mut gid) = (0, 0);
    // SAFETY: both may be written.
    syscall::retry(|| unsafe { libc::getpeereid(fd.as_raw_fd(), &raw mut uid, &raw mut gid) })?;
    Ok(Credentials {
        uid,
        gid,
        pid: peer_pid(fd),
    })
}

#[cfg(target_vendor = "apple")]
fn peer_pid(fd: BorrowedFd<'_>) -> Option<u32> {
    let mut pid: libc::pid_t = 0;
    let mut length = syscall::socklen_of::<libc::pid_t>();
    // SAFETY: `pid` has room for `length` bytes.
    let returned = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_LOCAL,
            libc::LOCAL_PEERPID,
            (&raw mut pid).cast(),
            &raw mut length,
        )
    };
    (returned == 0)
        .then(|| u32::try_from(pid).ok())
        .flatten()
        .filter(|pid| *pid > 0)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn peer_pid(_fd: BorrowedFd<'_>) -> Option<u32> {
    None
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const _: () = {
    use memoffset::offset_of;

    // struct ucred of unix(7): three ints.
    assert!(size_of::<libc::ucred>() == 12);
    assert!(offset_of!(libc::ucred, pid) == 0);
    assert!(offset_of!(libc::ucred, uid) == 4);
    assert!(offset_of!(libc::ucred, gid) == 8);
};

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::os::net::unix;

    #[test]
    fn the_other_end_of_a_pair_is_this_process() {
        let (one, _other) = unix::stream_pair().unwrap();
        let told = peer_credentials(one.as_fd()).unwrap();
        // SAFETY: takes no pointer and can't fail.
        let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
        assert_eq!((told.uid, told.gid), (uid, gid));
        assert!(told.pid.is_none_or(|pid| pid == std::process::id()));
    }

    #[test]
    fn nobody_stands_at_the_other_end_of_a_socket_that_is_alone() {
        let alone = unix::stream_socket().unwrap();
        let error = peer_credentials(alone.as_fd()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    }
}
