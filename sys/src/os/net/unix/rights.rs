//! Descriptors as messages (SCM_RIGHTS). They travel beside bytes: on a stream at least one.
//!
//! A descriptor that came is an [`OwnedFd`] before anything else is done, so whatever happens afterwards closes it. What a
//! control buffer has no room for, the kernel closes; ours has room for all that one message may carry.
//!
//! unix(7): what is received with one call ends behind the message that brought descriptors. Bytes from before may stand in
//! front of that message's, so descriptors come with, or before, the first byte that they were sent with; never later.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use bytes::{BufMut, BytesMut};
use libc::{c_int, cmsghdr, iovec, msghdr};

use crate::os::net::addr::{Control, ControlRoom};
#[cfg(feature = "sim")]
use crate::os::sim;
use crate::os::syscall::{self, count, simulated};

/// The most descriptors of one message: SCM_MAX_FD of Linux. The BSDs and macOS take one or two more or fewer, as their
/// buffers have room.
pub const DESCRIPTORS_MAX: usize = 253;

/// Room for a header and 256 descriptors, which is more than any of these systems sends.
pub type RightsControl = Control<1088>;

/// A peer that is gone answers EPIPE, not a signal; on macOS by an option of the socket.
#[cfg(not(target_vendor = "apple"))]
const SEND_FLAGS: c_int = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
#[cfg(target_vendor = "apple")]
const SEND_FLAGS: c_int = libc::MSG_DONTWAIT;

/// Descriptors are closed on exec from the moment they come. macOS has no flag for it: there it is set right after.
#[cfg(not(target_vendor = "apple"))]
pub(in crate::os::net) const RECEIVE_FLAGS: c_int = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
#[cfg(target_vendor = "apple")]
pub(in crate::os::net) const RECEIVE_FLAGS: c_int = libc::MSG_DONTWAIT;

/// What one receive brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Bytes; zero is the end of the data.
    pub len: usize,
    /// Descriptors were sent that did not come: nobody asked for them, or this process can't have more (RLIMIT_NOFILE), or
    /// the system can't.
    pub lost_descriptors: bool,
}

/// recvmsg(2) on a stream: up to `max` bytes to the end of `buf`, descriptors to the end of `out`. Without `out` the kernel
/// closes them, and tells that they are lost.
///
/// A message with descriptors ends the call, also if there is more behind it and room for that: only a short read without
/// any means that the socket is empty.
///
/// Makes room as [`read_into`](crate::os::io::read_into). Descriptors are closed on exec.
///
/// # Errors
/// `InvalidInput` for a `max` of zero, whose answer would look like the end.
pub fn recv_with_descriptors(
    fd: BorrowedFd<'_>,
    buf: &mut BytesMut,
    max: usize,
    out: Option<&mut Vec<OwnedFd>>,
) -> io::Result<Part> {
    if max == 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    #[cfg(feature = "sim")]
    if sim::on(fd, |_, _| ()).is_some() {
        return receive_simulated(fd, buf, max, out);
    }
    buf.reserve(max);
    let spare = buf.spare_capacity_mut();
    let mut slice = iovec {
        iov_base: spare.as_mut_ptr().cast(),
        iov_len: max.min(spare.len()),
    };
    let mut control = RightsControl::room();
    // SAFETY: a C structure of integers and pointers, for which zeroes are values.
    let mut header: msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut slice;
    header.msg_iovlen = 1;
    let returned = syscall::retry(|| {
        if out.is_some() {
            header.msg_control = control.bytes().as_mut_ptr().cast();
            header.msg_controllen = control.bytes().len() as _;
        }
        // SAFETY: `header` names spare capacity of `buf` and the control buffer, with their lengths.
        unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, RECEIVE_FLAGS) }
    })?;
    if let Some(out) = out {
        // SAFETY: the kernel has just filled the header and its control data, and nobody has looked at them yet.
        unsafe { take_descriptors(&header, out) };
    }
    let len = count(returned);
    // SAFETY: the kernel has written the first `len` bytes of the spare capacity, len <= room.
    unsafe { buf.advance_mut(len) };
    Ok(Part {
        len,
        lost_descriptors: header.msg_flags & libc::MSG_CTRUNC != 0,
    })
}

#[cfg(feature = "sim")]
fn receive_simulated(
    fd: BorrowedFd<'_>,
    buf: &mut BytesMut,
    max: usize,
    out: Option<&mut Vec<OwnedFd>>,
) -> io::Result<Part> {
    let mut came = Vec::new();
    let receive = |kernel: &mut sim::Kernel, file| {
        kernel.receive_message(file, max, &mut came, |front, back| {
            buf.reserve(max);
            buf.put_slice(front);
            buf.put_slice(back);
        })
    };
    syscall::retry(|| sim::fate_on("recvmsg", fd))?;
    let len = sim::on(fd, receive).unwrap_or_else(|| Err(io::ErrorKind::NotConnected.into()))?;
    let lost_descriptors = out.is_none() && !came.is_empty();
    if let Some(out) = out {
        out.append(&mut came);
    }
    Ok(Part {
        len,
        lost_descriptors,
    })
}

/// sendmsg(2): bytes with descriptors; how many bytes the kernel took. If it took any, it has taken the descriptors.
///
/// The peer gets duplicates: the caller's stay open.
///
/// # Errors
/// `InvalidInput` without a byte, or with more than [`DESCRIPTORS_MAX`] descriptors; ETOOMANYREFS if too many descriptors of
/// this user are on their way (Linux).
pub fn send_with_descriptors(
    fd: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    if bytes.is_empty() || descriptors.len() > DESCRIPTORS_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    simulated!("sendmsg", fd, |kernel, file| {
        kernel.send_message(file, &[io::IoSlice::new(bytes)], descriptors)
    });
    let mut slice = iovec {
        // The kernel does not write to it.
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let mut control = RightsControl::room();
    let used = put_descriptors(control.bytes(), descriptors);
    // SAFETY: a C structure of integers and pointers, for which zeroes are values.
    let mut header: msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut slice;
    header.msg_iovlen = 1;
    if used > 0 {
        header.msg_control = control.bytes().as_mut_ptr().cast();
        header.msg_controllen = used as _;
    }
    // SAFETY: `header` names `bytes` and the first `used` bytes of control data, which are one message.
    let returned =
        syscall::retry(|| unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const header, SEND_FLAGS) })?;
    Ok(count(returned))
}

/// Writes the control message for these descriptors; how many bytes it has. None without descriptors.
pub(in crate::os::net) fn put_descriptors(
    control: &mut [MaybeUninit<u8>],
    descriptors: &[BorrowedFd<'_>],
) -> usize {
    if descriptors.is_empty() {
        return 0;
    }
    let bytes = size_of_val(descriptors) as libc::c_uint;
    // SAFETY: only arithmetic.
    let (space, length) = unsafe {
        (
            libc::CMSG_SPACE(bytes) as usize,
            libc::CMSG_LEN(bytes) as usize,
        )
    };
    debug_assert!(
        descriptors.len() <= DESCRIPTORS_MAX,
        "the callers refuse more"
    );
    let place = &mut control[..space];
    place.fill(MaybeUninit::new(0));
    // SAFETY: a C structure of integers, for which zeroes are values. (musl pads it, so it is not written out.)
    let mut header: cmsghdr = unsafe { std::mem::zeroed() };
    header.cmsg_len = length as _;
    header.cmsg_level = libc::SOL_SOCKET;
    header.cmsg_type = libc::SCM_RIGHTS;
    let start = place.as_mut_ptr().cast::<u8>();
    // SAFETY: `place` has room for a header and the numbers behind it at the offset that the C library states; neither need
    // be aligned for these copies.
    unsafe {
        start.cast::<cmsghdr>().write_unaligned(header);
        let offset = libc::CMSG_DATA(start.cast::<cmsghdr>()).offset_from(start);
        let numbers = start.offset(offset);
        // A borrowed descriptor is its number (asserted below).
        std::ptr::copy_nonoverlapping(descriptors.as_ptr().cast(), numbers, bytes as usize);
    }
    space
}

/// Takes what the kernel has put into the control data of this header.
///
/// # Safety
/// The kernel has just filled the header and the control data that it names, and the descriptors in it were not taken
/// before.
pub(in crate::os::net) unsafe fn take_descriptors(header: &msghdr, out: &mut Vec<OwnedFd>) {
    let take = |number| {
        // SAFETY: the kernel has made this descriptor for us alone.
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        #[cfg(target_vendor = "apple")]
        let _ = crate::os::fd::set_cloexec(std::os::fd::AsFd::as_fd(&descriptor));
        out.push(descriptor);
    };
    // SAFETY: the caller's promise.
    unsafe { each_number(header, take) };
}

/// The numbers of the descriptors in the control data of this header.
///
/// # Safety
/// The header names control data of the length that it states, with control messages of lengths that a kernel states.
// Both lengths are of another type elsewhere.
#[allow(clippy::unnecessary_cast)]
pub(in crate::os::net) unsafe fn each_number(header: &msghdr, mut take: impl FnMut(RawFd)) {
    let control_end = header.msg_control.cast::<u8>() as usize + header.msg_controllen as usize;
    // SAFETY: the caller's promise.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: not null, hence a control message inside the control data.
        let (message, data) = unsafe { (next.read_unaligned(), libc::CMSG_DATA(next)) };
        if (message.cmsg_level, message.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            let stated = next as usize + message.cmsg_len as usize;
            // XNU states the length that was sent, also where it had to cut.
            let bytes = stated.min(control_end).saturating_sub(data as usize);
            for index in 0..bytes / size_of::<RawFd>() {
                // SAFETY: so many numbers stand here; they may not be aligned.
                take(unsafe { data.cast::<RawFd>().add(index).read_unaligned() });
            }
        }
        // SAFETY: `next` is a control message of this header.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
}

const _: () = {
    assert!(size_of::<BorrowedFd<'_>>() == size_of::<RawFd>());
    assert!(align_of::<RightsControl>() >= align_of::<cmsghdr>());
    // A header, its padding, and the numbers.
    assert!(size_of::<RightsControl>() >= size_of::<cmsghdr>() + 16 + 256 * size_of::<RawFd>());
};

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::os::{fd, io as sys, net::unix};

    fn receive(from: BorrowedFd<'_>) -> (Part, BytesMut, Vec<OwnedFd>) {
        let (mut bytes, mut descriptors) = (BytesMut::new(), Vec::new());
        let part = recv_with_descriptors(from, &mut bytes, 4096, Some(&mut descriptors)).unwrap();
        (part, bytes, descriptors)
    }

    /// Rules: 4.2
    #[test]
    fn descriptors_travel_with_their_bytes_and_are_closed_on_exec() {
        let (one, other) = unix::stream_pair().unwrap();
        let (reader, writer) = fd::pipe().unwrap();
        sys::send(one.as_fd(), b"before").unwrap();
        let sent = send_with_descriptors(one.as_fd(), b"with", &[reader.as_fd(), writer.as_fd()]);
        assert_eq!(sent.unwrap(), 4);
        sys::send(one.as_fd(), b"behind").unwrap();
        let mut all = BytesMut::new();
        let mut came = Vec::new();
        while all.len() < 16 {
            let (part, bytes, descriptors) = receive(other.as_fd());
            assert!(!part.lost_descriptors);
            assert!(
                descriptors.is_empty() || all.len() <= 6,
                "never later than their bytes"
            );
            all.extend_from_slice(&bytes);
            came.extend(descriptors);
        }
        assert_eq!(&all[..], b"beforewithbehind");
        assert_eq!(came.len(), 2);
        for descriptor in &came {
            // SAFETY: takes no pointer.
            let flags = unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_GETFD) };
            assert_ne!(flags & libc::FD_CLOEXEC, 0);
        }
        sys::write(came[1].as_fd(), b"x").unwrap();
        let mut byte = [0];
        assert_eq!(sys::read(reader.as_fd(), &mut byte).unwrap(), 1);
    }

    #[test]
    fn as_many_as_the_system_sends_come_and_one_more_is_refused() {
        let (one, other) = unix::stream_pair().unwrap();
        let (reader, _writer) = fd::pipe().unwrap();
        let many = vec![reader.as_fd(); DESCRIPTORS_MAX];
        send_with_descriptors(one.as_fd(), b"x", &many).unwrap();
        let (part, _, descriptors) = receive(other.as_fd());
        assert_eq!(descriptors.len(), DESCRIPTORS_MAX);
        assert_eq!((part.len, part.lost_descriptors), (1, false));
        for wrong in [&vec![reader.as_fd(); DESCRIPTORS_MAX + 1][..], &[]] {
            let bytes: &[u8] = if wrong.is_empty() { b"" } else { b"x" };
            let error = send_with_descriptors(one.as_fd(), bytes, wrong).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }

    /// What is told as lost is how a caller knows that the read ended early.
    #[test]
    fn what_nobody_asks_for_is_told_and_closed() {
        let (one, other) = unix::stream_pair().unwrap();
        let (reader, writer) = fd::pipe().unwrap();
        send_with_descriptors(one.as_fd(), b"with", &[writer.as_fd()]).unwrap();
        sys::send(one.as_fd(), b"behind").unwrap();
        drop(writer);
        let mut bytes = BytesMut::new();
        let part = recv_with_descriptors(other.as_fd(), &mut bytes, 4096, None).unwrap();
        assert!(part.lost_descriptors);
        assert_eq!(&bytes[..], b"with");
        assert_eq!(sys::read(reader.as_fd(), &mut [0; 8]).unwrap(), 0);
        let part = recv_with_descriptors(other.as_fd(), &mut bytes, 4096, None).unwrap();
        assert!(!part.lost_descriptors);
        assert_eq!(&bytes[..], b"withbehind");
    }

    /// The kernel closes what nobody asks for: the other end of the pipe sees its end.
    #[test]
    fn a_plain_read_leaves_no_descriptor_behind() {
        let (one, other) = unix::stream_pair().unwrap();
        let (reader, writer) = fd::pipe().unwrap();
        send_with_descriptors(one.as_fd(), b"x", &[writer.as_fd()]).unwrap();
        drop(writer);
        let mut byte = [0; 8];
        assert_eq!(sys::read(other.as_fd(), &mut byte).unwrap(), 1);
        assert_eq!(sys::read(reader.as_fd(), &mut byte).unwrap(), 0);
    }
}
