//! [`send_file`]: from a file to a socket without passing through this process. Re-exported by
//! [`super::io`]; the transports call it for file regions.
//!
//! Linux, FreeBSD and macOS each have a sendfile of their own; where there is none, or where the file
//! cannot be sent that way, the bytes are copied through a buffer.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

#[cfg(feature = "sim")]
use super::sim;
use super::syscall::{self, count};
use super::thread::without_sigpipe;

/// Sends up to `count` bytes of `file`, starting at `offset`, on the connected socket `socket`; how many
/// bytes the kernel took. `offset` moves on by as many. Zero means that the file ends at or before
/// `offset` (or that `count` is zero).
///
/// `WouldBlock` if the socket takes nothing now. `BrokenPipe` without a signal when the peer is gone.
pub fn send_file(
    socket: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    offset: &mut u64,
    count: usize,
) -> io::Result<usize> {
    let count = count.min(COUNT_MAX);
    let start = libc::off_t::try_from(*offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    #[cfg(feature = "sim")]
    if sim::on(socket, |_, _| ()).is_some() {
        match syscall::retry(|| sim::fate_on("sendfile", socket)) {
            Err(error) if !is_unsuitable(&error) => return Err(error),
            _ => {}
        }
        let sent = copy(socket, file, start, count)?;
        *offset += sent as u64;
        return Ok(sent);
    }
    let sent = match without_sigpipe(|| send(socket, file, start, count)) {
        Err(error) if is_unsuitable(&error) => copy(socket, file, start, count)?,
        answer => answer?,
    };
    *offset += sent as u64;
    Ok(sent)
}

/// Linux sends at most 0x7ffff000 bytes with one call (sendfile(2)).
const COUNT_MAX: usize = 0x7fff_f000;

/// This kind of file or socket cannot be sent from or to: EINVAL (the file has no pages to map), ENOSYS,
/// EOPNOTSUPP.
fn is_unsuitable(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP)
    ) || error.kind() == io::ErrorKind::Unsupported
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn send(
    socket: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    start: libc::off_t,
    wanted: usize,
) -> io::Result<usize> {
    let mut position = start;
    // SAFETY: both descriptors are borrowed; `position` is an off_t that the kernel may move.
    let returned = syscall::retry(|| unsafe {
        libc::sendfile(
            socket.as_raw_fd(),
            file.as_raw_fd(),
            &raw mut position,
            wanted,
        )
    })?;
    Ok(count(returned))
}

/// EAGAIN and EINTR come with a count of what was sent before: that count is the answer.
#[cfg(any(target_os = "freebsd", target_os = "dragonfly"))]
fn send(
    socket: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    start: libc::off_t,
    wanted: usize,
) -> io::Result<usize> {
    // Here a count of zero would mean "to the end of the file".
    if wanted == 0 {
        return Ok(0);
    }
    let mut sent: libc::off_t = 0;
    let answer = syscall::retry(|| {
        // A call that was interrupted before it sent anything is made again; see below for the others.
        if sent > 0 {
            return 0;
        }
        // SAFETY: both descriptors are borrowed; no header; `sent` is an off_t that the kernel writes.
        unsafe {
            libc::sendfile(
                file.as_raw_fd(),
                socket.as_raw_fd(),
                start,
                wanted,
                std::ptr::null_mut(),
                &raw mut sent,
                0,
            )
        }
    });
    match answer {
        Err(error) if sent == 0 => Err(error),
        _ => Ok(sent as usize),
    }
}

/// EAGAIN and EINTR come with a count of what was sent before: that count is the answer.
#[cfg(target_vendor = "apple")]
fn send(
    socket: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    start: libc::off_t,
    wanted: usize,
) -> io::Result<usize> {
    // Here a count of zero would mean "to the end of the file".
    if wanted == 0 {
        return Ok(0);
    }
    let mut sent: libc::off_t = 0;
    let answer = syscall::retry(|| {
        if sent > 0 {
            return 0;
        }
        let mut length = wanted as libc::off_t;
        // SAFETY: both descriptors are borrowed; no header; `length` is an off_t that the kernel reads
        // and writes.
        let returned = unsafe {
            libc::sendfile(
                file.as_raw_fd(),
                socket.as_raw_fd(),
                start,
                &raw mut length,
                std::ptr::null_mut(),
                0,
            )
        };
        // After EINVAL and the like the length is as it was.
        let is_partial = matches!(
            io::Error::last_os_error().raw_os_error(),
            Some(libc::EAGAIN | libc::EINTR)
        );
        if returned == 0 || is_partial {
            sent = length;
        }
        returned
    });
    match answer {
        Err(error) if sent == 0 => Err(error),
        _ => Ok(sent as usize),
    }
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_vendor = "apple"
)))]
fn send(
    _socket: BorrowedFd<'_>,
    _file: BorrowedFd<'_>,
    _start: libc::off_t,
    _wanted: usize,
) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The way without sendfile. What the socket does not take is read again next time: the file stays the
/// place where the bytes are kept.
fn copy(
    socket: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    start: libc::off_t,
    wanted: usize,
) -> io::Result<usize> {
    let mut buffer = [0_u8; 16 * 1024];
    let room = wanted.min(buffer.len());
    // SAFETY: `buffer` is valid for writes of `room` bytes.
    let returned = syscall::retry(|| unsafe {
        libc::pread(file.as_raw_fd(), buffer.as_mut_ptr().cast(), room, start)
    })?;
    match count(returned) {
        0 => Ok(0),
        read => super::io::send(socket, &buffer[..read]),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Every system has the way without sendfile, though most never take it.
    #[test]
    fn copying_sends_the_same_bytes() {
        let program = std::env::current_exe().unwrap();
        let bytes = std::fs::read(&program).unwrap();
        let file = File::open(&program).unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut got = vec![0; 100];
        let sent = copy(near.as_fd(), file.as_fd(), 50, got.len()).unwrap();
        assert_eq!(sent, got.len());
        far.read_exact(&mut got).unwrap();
        assert_eq!(got, bytes[50..150]);

        let behind_the_end = bytes.len() as libc::off_t;
        assert_eq!(
            copy(near.as_fd(), file.as_fd(), behind_the_end, 100).unwrap(),
            0
        );

        drop(far);
        let error = copy(near.as_fd(), file.as_fd(), 0, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    /// Files of /proc have no pages to send: sendfile answers EINVAL.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_cannot_be_mapped_is_copied() {
        let path = "/proc/self/limits";
        let text = std::fs::read(path).unwrap();
        let file = File::open(path).unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut offset = 0;
        while send_file(near.as_fd(), file.as_fd(), &mut offset, 1 << 20).unwrap() > 0 {}
        assert_eq!(offset, text.len() as u64);
        drop(near);
        let mut got = Vec::new();
        far.read_to_end(&mut got).unwrap();
        assert_eq!(got, text);
    }
}
