//! Reads and writes of descriptors that do not block. Called by the transports. EINTR is retried here,
//! never above; `WouldBlock` is handed out as it is. [`wait`] is for threads that may block.
//!
//! No function here raises SIGPIPE on a socket: the host of the library may be a program that does not
//! ignore it. [`write()`] and [`write_vectored`] are for what is not a socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use bytes::{BufMut, BytesMut};

use super::direct;
use super::event::Interest;
use super::syscall::{self, count, simulated};

/// How many slices one vectored call takes: IOV_MAX of Linux, macOS and the BSDs. More are left for the
/// next call.
pub const IOV_MAX: usize = 1024;

/// Bytes that a pipe which is ready for writing has room for: a write of more may block half way.
pub const PIPE_BUF: usize = libc::PIPE_BUF;

/// A peer that is gone answers EPIPE, not a signal. macOS has a socket option instead, set where sockets
/// are made.
#[cfg(not(target_vendor = "apple"))]
const NO_SIGNAL: libc::c_int = libc::MSG_NOSIGNAL;
#[cfg(target_vendor = "apple")]
const NO_SIGNAL: libc::c_int = 0;

/// recv(2): up to `max` bytes of a connected socket to the end of `buf`. Zero is the end of the data.
///
/// Reads into spare capacity. If there is less than `max` of it, the buffer first makes room for exactly
/// that (and may allocate); a caller that wants no allocation asks for no more than it has.
///
/// A `max` of zero is refused with `InvalidInput`: its answer would look like the end.
///
/// Not read(2), which goes the long way through the file system: 60 ns more (Linux 6.18).
#[inline]
pub fn recv_into(fd: BorrowedFd<'_>, buf: &mut BytesMut, max: usize) -> io::Result<usize> {
    // SAFETY: `into_spare` gives room that is valid for writes.
    into_spare(fd, buf, max, |fd, start, room| unsafe {
        direct::recv(fd, start, room)
    })
}

/// The same by read(2), for what is not a socket.
#[inline]
pub fn read_into(fd: BorrowedFd<'_>, buf: &mut BytesMut, max: usize) -> io::Result<usize> {
    // SAFETY: `into_spare` gives room that is valid for writes.
    into_spare(fd, buf, max, |fd, start, room| unsafe {
        libc::read(fd.as_raw_fd(), start.cast(), room)
    })
}

/// Has `call` write at most so many bytes to where it is told; it answers how many they were, or -1.
#[inline]
fn into_spare(
    fd: BorrowedFd<'_>,
    buf: &mut BytesMut,
    max: usize,
    call: impl Fn(BorrowedFd<'_>, *mut u8, usize) -> isize,
) -> io::Result<usize> {
    if max == 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    simulated!("read", fd, |kernel, file| kernel.receive(
        file,
        max,
        |front, back| {
            buf.reserve(max);
            buf.put_slice(front);
            buf.put_slice(back);
        }
    ));
    buf.reserve(max);
    // Valid for writes of `room` bytes: spare capacity of `buf`, which is borrowed mutably until the call
    // has returned.
    let spare = buf.spare_capacity_mut();
    let room = max.min(spare.len()).min(READ_MAX);
    let start = spare.as_mut_ptr();
    let read = count(syscall::retry(|| call(fd, start.cast(), room))?);
    // SAFETY: the kernel has written the first `read` bytes of the spare capacity, read <= room.
    unsafe { buf.advance_mut(read) };
    Ok(read)
}

/// read(2) into a slice. Zero is the end of the data (or an empty slice).
pub fn read(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    simulated!("read", fd, |kernel, file| kernel.receive(
        file,
        buf.len(),
        |front, back| {
            let (head, tail) = buf.split_at_mut(front.len());
            head.copy_from_slice(front);
            tail[..back.len()].copy_from_slice(back);
        }
    ));
    let room = buf.len().min(READ_MAX);
    // SAFETY: `buf` is valid for writes of `room` bytes.
    let returned =
        syscall::retry(|| unsafe { libc::read(fd.as_raw_fd(), buf.as_mut_ptr().cast(), room) })?;
    Ok(count(returned))
}

/// readv(2): fills the slices in order; at most [`IOV_MAX`] of them.
pub fn read_vectored(fd: BorrowedFd<'_>, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    simulated!("read", fd, |kernel, file| {
        let room = bufs.iter().take(IOV_MAX).map(|buf| buf.len()).sum();
        kernel.receive(file, room, |front, back| {
            let mut bytes = front.iter().chain(back);
            for slot in bufs.iter_mut().flat_map(|buf| buf.iter_mut()) {
                match bytes.next() {
                    Some(byte) => *slot = *byte,
                    None => break,
                }
            }
        })
    });
    let slices = bufs.len().min(IOV_MAX) as libc::c_int;
    // SAFETY: IoSliceMut is laid out as iovec (asserted below); each is valid for writes.
    let returned = syscall::retry(|| unsafe {
        libc::readv(
            fd.as_raw_fd(),
            bufs.as_mut_ptr().cast::<libc::iovec>(),
            slices,
        )
    })?;
    Ok(count(returned))
}

/// Sends on a connected socket; how many bytes the kernel took. `BrokenPipe` without a signal when the
/// peer is gone. Always a part of its caller: a return that follows the call is predicted wrong (see `direct`).
#[inline(always)]
pub fn send(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    simulated!("send", fd, |kernel, file| kernel
        .send(file, &[IoSlice::new(bytes)]));
    syscall::retry(
        #[inline(always)]
        || direct::send(fd, bytes, NO_SIGNAL),
    )
    .map(count)
}

/// Sends several slices with one call, at most [`IOV_MAX`] of them: sendmsg(2), which is writev with a
/// flag against SIGPIPE. macOS refuses more than 2 GiB at once (EINVAL).
#[inline]
pub fn send_vectored(fd: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    simulated!("sendmsg", fd, |kernel, file| {
        kernel.send(file, &slices[..slices.len().min(IOV_MAX)])
    });
    // SAFETY: msghdr is a C structure for which all zeroes means: no address, no slices, no control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = slices.as_ptr().cast::<libc::iovec>().cast_mut();
    message.msg_iovlen = slices.len().min(IOV_MAX) as _;
    // SAFETY: `message` names slices that are laid out as iovec (asserted below) and valid for reads; the
    // kernel does not write to them.
    let returned =
        syscall::retry(|| unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, NO_SIGNAL) })?;
    Ok(count(returned))
}

/// write(2), for pipes and files. On a socket it may raise SIGPIPE: use [`send`].
pub fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    simulated!("write", fd, |kernel, file| kernel
        .send(file, &[IoSlice::new(bytes)]));
    let length = bytes.len().min(READ_MAX);
    // SAFETY: `bytes` is valid for reads of `length` bytes.
    let returned =
        syscall::retry(|| unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), length) })?;
    Ok(count(returned))
}

/// writev(2), for pipes and files; at most [`IOV_MAX`] slices. On a socket it may raise SIGPIPE: use
/// [`send_vectored`].
pub fn write_vectored(fd: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    simulated!("write", fd, |kernel, file| {
        kernel.send(file, &slices[..slices.len().min(IOV_MAX)])
    });
    let taken = slices.len().min(IOV_MAX) as libc::c_int;
    // SAFETY: IoSlice is laid out as iovec (asserted below); each is valid for reads.
    let returned = syscall::retry(|| unsafe {
        libc::writev(fd.as_raw_fd(), slices.as_ptr().cast::<libc::iovec>(), taken)
    })?;
    Ok(count(returned))
}

/// One byte of urgent data (recv with MSG_OOB), or none if there is none to take now.
pub fn recv_urgent(fd: BorrowedFd<'_>) -> io::Result<Option<u8>> {
    // There is no urgent data in a simulation.
    simulated!(fd, |_kernel, _file| Ok(None));
    let mut byte = 0_u8;
    let returned = syscall::retry(|| {
        // SAFETY: `byte` is valid for a write of one byte.
        unsafe { libc::recv(fd.as_raw_fd(), (&raw mut byte).cast(), 1, libc::MSG_OOB) }
    });
    match returned {
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some(byte)),
        // EINVAL: no mark, or taken already. EAGAIN: announced, still on its way.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EAGAIN)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether shutdown(2) wakes whoever [`wait`]s for a listening socket, or for a datagram socket without a peer. Elsewhere
/// it does so for connections only.
pub const SHUTDOWN_WAKES: bool = cfg!(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd"
));

/// Blocks the calling thread until the descriptor has something for `interest`, an end or an error; false if the time
/// (forever without one) was over before, or a signal came. The kind of wait that blocking calls with a time-out are
/// made of; loops have selectors. With a timeout of zero it only asks.
///
/// `Unsupported` for descriptors that the system can't wait for: devices and terminals on macOS. Regular files are
/// always ready.
pub fn wait(fd: BorrowedFd<'_>, interest: Interest, timeout: Option<Duration>) -> io::Result<bool> {
    let mut events: libc::c_short = 0;
    if interest.contains(Interest::READ) {
        events |= libc::POLLIN;
    }
    if interest.contains(Interest::WRITE) {
        events |= libc::POLLOUT;
    }
    // A thread that waits would stop the simulation's clock; one that only asks does not.
    simulated!(fd, |kernel, file| match timeout {
        Some(Duration::ZERO) => Ok(kernel.is_ready(file, u32::from(events.unsigned_abs()))),
        _ => Err(io::ErrorKind::Unsupported.into()),
    });
    let mut entry = libc::pollfd {
        fd: fd.as_raw_fd(),
        events,
        revents: 0,
    };
    // Rounded up, or a wait of less than a millisecond would be none.
    let ms = timeout.map_or(-1, |timeout| {
        libc::c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
    });
    // SAFETY: one entry, valid for reads and writes.
    match syscall::once(unsafe { libc::poll(&raw mut entry, 1, ms) }) {
        Ok(_) if entry.revents & libc::POLLNVAL != 0 => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this system can't wait for such a descriptor",
        )),
        Ok(ready) => Ok(ready > 0),
        Err(error) if error.raw_os_error() == Some(libc::EINTR) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What one read or write may ask for: macOS and FreeBSD refuse more than INT_MAX, Linux stops there.
const READ_MAX: usize = libc::c_int::MAX as usize;

const _: () = {
    use memoffset::offset_of;

    // The standard library promises that IoSlice and IoSliceMut are "ABI compatible" with iovec; this is
    // the part of the promise that a compiler can check.
    assert!(size_of::<IoSlice<'_>>() == size_of::<libc::iovec>());
    assert!(align_of::<IoSlice<'_>>() == align_of::<libc::iovec>());
    assert!(size_of::<IoSliceMut<'_>>() == size_of::<libc::iovec>());
    assert!(align_of::<IoSliceMut<'_>>() == align_of::<libc::iovec>());
    assert!(offset_of!(libc::iovec, iov_base) == 0);
    assert!(offset_of!(libc::iovec, iov_len) == size_of::<usize>());
};
