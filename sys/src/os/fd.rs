//! Descriptors that are not sockets, and how many of them there may be. Called by the waker, by tests, and
//! above by the acceptor (its reserve) and by programs that hold many connections.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::rlim_t;
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::syscall::{self, simulated};

/// A descriptor of /dev/null, held so that it can be given back when descriptors have run out: then one
/// connection can be accepted, told off, and closed.
pub fn open_reserve() -> io::Result<OwnedFd> {
    simulated!(|kernel| kernel.reserve());
    Ok(File::open("/dev/null")?.into())
}

/// Raises the number of descriptors that this process may have open to `want`, or to as many as the hard
/// limit allows. Never lowers it. The limit that is in force now.
// A cast that FreeBSD needs does nothing elsewhere.
#[allow(clippy::unnecessary_cast)]
pub fn raise_nofile(want: u64) -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    // rlim_t is signed on FreeBSD.
    let goal = (want.min(rlim_t::MAX as u64) as rlim_t).min(hard);
    if goal <= soft {
        return Ok(soft as u64);
    }
    match setrlimit(Resource::RLIMIT_NOFILE, goal, hard) {
        Ok(()) => Ok(goal as u64),
        // macOS names an infinite hard limit but takes OPEN_MAX at most (setrlimit(2), macOS 10.5 on).
        Err(Errno::EINVAL) if goal > OPEN_MAX && OPEN_MAX > soft => {
            setrlimit(Resource::RLIMIT_NOFILE, OPEN_MAX, hard)?;
            Ok(OPEN_MAX as u64)
        }
        Err(error) => Err(error.into()),
    }
}

/// <sys/syslimits.h> of macOS.
const OPEN_MAX: rlim_t = 10_240;

/// A pipe, both ends non-blocking and closed on exec: (reader, writer).
pub(super) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    simulated!("pipe", |kernel| kernel.pipe());
    let mut ends = [-1; 2];
    #[cfg(not(target_vendor = "apple"))]
    {
        let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
        // SAFETY: `ends` has room for the two descriptors.
        syscall::retry(|| unsafe { libc::pipe2(ends.as_mut_ptr(), flags) })?;
    }
    #[cfg(target_vendor = "apple")]
    // SAFETY: `ends` has room for the two descriptors.
    syscall::retry(|| unsafe { libc::pipe(ends.as_mut_ptr()) })?;

    // SAFETY: the kernel has just made both for us alone.
    let (reader, writer) =
        unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
    #[cfg(target_vendor = "apple")]
    for end in [&reader, &writer] {
        set_nonblocking(std::os::fd::AsFd::as_fd(end))?;
        set_cloexec(std::os::fd::AsFd::as_fd(end))?;
    }
    Ok((reader, writer))
}

/// An eventfd at zero, non-blocking and closed on exec.
#[cfg(tidegate_epoll)]
pub(super) fn event_counter() -> io::Result<OwnedFd> {
    simulated!("eventfd", |kernel| kernel.counter());
    // SAFETY: takes no pointer.
    let fd =
        syscall::retry(|| unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes reads and writes answer `WouldBlock` instead of waiting. For descriptors that come from
/// elsewhere: those of this crate are non-blocking from birth.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    add_flag(fd, libc::F_GETFL, libc::F_SETFL, libc::O_NONBLOCK)
}

/// Makes the descriptor end with the process image.
pub fn set_cloexec(fd: BorrowedFd<'_>) -> io::Result<()> {
    add_flag(fd, libc::F_GETFD, libc::F_SETFD, libc::FD_CLOEXEC)
}

fn add_flag(fd: BorrowedFd<'_>, get: i32, set: i32, flag: i32) -> io::Result<()> {
    let raw = fd.as_raw_fd();
    // SAFETY: reads flags of a borrowed descriptor; takes no pointer.
    let flags = syscall::retry(|| unsafe { libc::fcntl(raw, get) })?;
    if flags & flag == 0 {
        // SAFETY: sets flags of a borrowed descriptor; takes no pointer.
        syscall::retry(|| unsafe { libc::fcntl(raw, set, flags | flag) })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn the_limit_is_raised_and_never_lowered() {
        let now = raise_nofile(0).unwrap();
        assert!(now > 0);
        assert_eq!(raise_nofile(now).unwrap(), now);
        assert!(raise_nofile(u64::MAX).unwrap() >= now);
    }

    /// Rules: 4.2
    #[test]
    fn flags_are_set_on_descriptors_from_elsewhere() {
        let (reader, _writer) = std::os::unix::net::UnixStream::pair().unwrap();
        set_nonblocking(reader.as_fd()).unwrap();
        set_nonblocking(reader.as_fd()).unwrap();
        set_cloexec(reader.as_fd()).unwrap();
        let mut byte = [0];
        let error = crate::os::io::read(reader.as_fd(), &mut byte).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_pipe_does_not_block() {
        let (reader, writer) = pipe().unwrap();
        let mut bytes = [0; 8];
        let error = crate::os::io::read(reader.as_fd(), &mut bytes).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(crate::os::io::write(writer.as_fd(), b"abc").unwrap(), 3);
        assert_eq!(crate::os::io::read(reader.as_fd(), &mut bytes).unwrap(), 3);
        assert!(open_reserve().is_ok());
    }
}
