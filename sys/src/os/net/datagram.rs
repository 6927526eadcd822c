//! Datagrams: many with one system call, their addresses, and what the kernel tells about each. Called by the machine of
//! datagram sockets; it keeps nothing between calls.
//!
//! On Linux and Android a batch is one recvmmsg(2) or sendmmsg(2). Elsewhere it is a loop of recvmsg(2) and sendmsg(2):
//! FreeBSD and NetBSD have the batch calls as such loops in their C libraries, macOS has them only as private ones.
//!
//! Several datagrams of one length to one peer may travel through the kernel as one (UDP_SEGMENT, Linux 4.18), and may come
//! as one (UDP_GRO, Linux 5.0). [`Received::segment`] tells where such a one is to be cut; whoever turns UDP_GRO on has to
//! look at it.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use bytes::{BufMut, BytesMut};
use libc::{c_int, c_void, cmsghdr, iovec, msghdr};

use super::addr::{ControlRoom, Form, SocketAddress};
use super::control::{Told, read_control};
use super::unix::rights;
#[cfg(feature = "sim")]
use crate::os::name::Name;
#[cfg(feature = "sim")]
use crate::os::sim;
use crate::os::syscall::{self, simulated};

/// The most datagrams of one batch: what the arrays on the stack have room for.
pub const DATAGRAMS_MAX: usize = 32;

/// The most slices of one batch.
const SLICES_MAX: usize = 1024;

/// What the kernel told about one datagram, or about several of one length that it joined.
#[derive(Debug)]
pub struct Received<A = SocketAddr> {
    /// Who sent it.
    pub peer: A,
    /// Its bytes; they follow those of the datagram before it.
    pub len: usize,
    /// The length of each datagram in it (the last may be shorter); 0: it is one.
    pub segment: usize,
    /// It was longer than the room for it: the rest is lost.
    pub is_truncated: bool,
    /// The local address to which it was sent, if the socket was asked to tell (IP_PKTINFO).
    pub local: Option<IpAddr>,
    /// Its traffic class with the ECN bits, if the socket was asked to tell (IP_RECVTOS).
    pub class: Option<u8>,
    /// Descriptors that came with it, closed on exec. Only from Unix sockets.
    pub descriptors: Vec<OwnedFd>,
    /// More was told than there was room for. On Unix sockets: descriptors were sent that did not come, because this process
    /// can't have more (RLIMIT_NOFILE), or the system can't.
    pub lost_descriptors: bool,
}

/// One datagram to send, or several of one length to one peer.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a, A = SocketAddr> {
    /// Its bytes.
    pub slices: &'a [IoSlice<'a>],
    /// To whom; `None` on a connected socket.
    pub peer: Option<&'a A>,
    /// The length at which the kernel cuts it (UDP_SEGMENT); `None`: it is one datagram.
    pub segment: Option<u16>,
    /// From which of our addresses; `None`: the kernel chooses.
    pub local: Option<IpAddr>,
    /// Goes along; only on Unix sockets, and at most [`DESCRIPTORS_MAX`](super::unix::DESCRIPTORS_MAX).
    pub descriptors: &'a [BorrowedFd<'a>],
}

/// A UDP socket of the family of this address: non-blocking, closed on exec.
pub fn udp_socket(address: &SocketAddr) -> io::Result<OwnedFd> {
    simulated!("socket", |kernel| kernel.udp_socket(address));
    super::socket(address.family(), libc::SOCK_DGRAM)
}

/// Takes the peer of a connected datagram socket back.
pub fn disconnect(fd: BorrowedFd<'_>) -> io::Result<()> {
    simulated!("connect", fd, |kernel, file| kernel.disconnect(file));
    // SAFETY: C structure of integers, for which zeroes are values; the zero family is AF_UNSPEC.
    let mut none: libc::sockaddr = unsafe { std::mem::zeroed() };
    none.sa_family = libc::AF_UNSPEC as libc::sa_family_t;
    let length = syscall::socklen_of::<libc::sockaddr>();
    // SAFETY: `none` is a socket address of the length that is named.
    let done = syscall::retry(|| unsafe { libc::connect(fd.as_raw_fd(), &raw const none, length) });
    match done {
        // The BSDs disconnect and complain about the family.
        Err(error)
            if cfg!(not(any(target_os = "linux", target_os = "android")))
                && matches!(
                    error.raw_os_error(),
                    Some(libc::EAFNOSUPPORT | libc::EINVAL)
                ) =>
        {
            Ok(())
        }
        done => done.map(drop),
    }
}

/// Receives up to `most` datagrams (at most [`DATAGRAMS_MAX`]) of up to `each` bytes with as few calls as the system needs.
///
/// Their bytes are appended to `room` one after the other, what is told about each to `out`. Returns how many came: at
/// least one, fewer than asked if no more are there. `room` makes space for all of them first.
///
/// # Errors
/// `WouldBlock` if there is none; an error that belongs to an earlier datagram (ICMP), once.
pub fn recv_many<A: SocketAddress>(
    fd: BorrowedFd<'_>,
    room: &mut BytesMut,
    each: usize,
    most: usize,
    out: &mut Vec<Received<A>>,
) -> io::Result<usize> {
    let most = most.clamp(1, DATAGRAMS_MAX);
    let each = each.max(1);
    simulated!("recvmmsg", fd, |kernel, file| {
        let got = kernel.receive_datagrams(file, most)?;
        let count = got.len();
        for arrived in got {
            let len = arrived.bytes.len().min(each);
            room.extend_from_slice(&arrived.bytes[..len]);
            out.push(Received {
                peer: super::told(arrived.from.into())?,
                len,
                segment: 0,
                is_truncated: len < arrived.bytes.len(),
                local: arrived.to,
                class: arrived.class,
                descriptors: Vec::new(),
                lost_descriptors: false,
            });
        }
        Ok(count)
    });
    room.reserve(each * most);
    let start: *mut u8 = room.spare_capacity_mut().as_mut_ptr().cast();
    let mut places = Places::<A>::new();
    let mut headers = [const { MaybeUninit::<Header>::zeroed() }; DATAGRAMS_MAX];
    for (index, (header, place)) in headers.iter_mut().zip(&mut places.0).take(most).enumerate() {
        place.slice = iovec {
            // SAFETY: index * each + each <= most * each, which `reserve` made room for.
            iov_base: unsafe { start.add(index * each) }.cast(),
            iov_len: each,
        };
        // SAFETY: a C structure of integers and pointers, zeroed above.
        let header = message(unsafe { header.assume_init_mut() });
        header.msg_name = place.address.as_mut_ptr().cast();
        header.msg_namelen = place.address.len();
        header.msg_iov = &raw mut place.slice;
        header.msg_iovlen = 1;
        let control = place.control.bytes();
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = control.len() as _;
    }
    // SAFETY: the first `most` headers name places that live as long as this call: addresses, slices of spare capacity of
    // `room` that do not overlap, and control buffers.
    let got = unsafe { receive(fd, &mut headers[..most])? };
    let mut end = 0;
    let first = out.len();
    let mut failed = None;
    for (index, (header, place)) in headers.iter_mut().zip(&places.0).take(got).enumerate() {
        // SAFETY: zeroed, then filled above and by the kernel.
        let header = unsafe { header.assume_init_mut() };
        let len = received_len(header).min(each);
        let header = message(header);
        let mut told = Told::default();
        read_control(header, &mut told);
        if index > 0 && end != index * each {
            // SAFETY: both lie in the spare capacity; the kernel has written `len` bytes at the source, and the target
            // ends before the source ends. They may overlap, which `copy` allows.
            unsafe { std::ptr::copy(start.add(index * each), start.add(end), len) };
        }
        end += len;
        let peer = match place.address.decode(header.msg_namelen) {
            Ok(peer) => peer,
            // The others are looked at all the same: they may have descriptors.
            Err(error) => {
                failed = Some(error);
                continue;
            }
        };
        out.push(Received {
            peer,
            len,
            segment: told.segment,
            is_truncated: header.msg_flags & libc::MSG_TRUNC != 0,
            local: told.local,
            class: told.class,
            descriptors: told.descriptors,
            lost_descriptors: header.msg_flags & libc::MSG_CTRUNC != 0,
        });
    }
    if let Some(error) = failed {
        out.truncate(first);
        return Err(error);
    }
    // SAFETY: the first `end` bytes of the spare capacity were written by the kernel or copied from what it wrote.
    unsafe { room.advance_mut(end) };
    Ok(got)
}

/// Sends datagrams in order; how many the kernel took, at least one.
///
/// # Errors
/// That of the first datagram; none was taken then. `WouldBlock` if there is no room, and on the BSDs and macOS ENOBUFS, if
/// it is the room of a Unix socket at the other end.
pub fn send_many<A: SocketAddress>(
    fd: BorrowedFd<'_>,
    batch: &[Outgoing<'_, A>],
) -> io::Result<usize> {
    simulated!("sendmmsg", fd, |kernel, file| {
        let parcels: io::Result<Vec<_>> = batch.iter().take(DATAGRAMS_MAX).map(parcel).collect();
        kernel.send_datagrams(file, &parcels?)
    });
    let mut places = Places::<A>::new();
    let mut headers = [const { MaybeUninit::<Header>::zeroed() }; DATAGRAMS_MAX];
    let mut slices = 0;
    let mut ready = 0;
    for ((outgoing, header), place) in batch.iter().zip(&mut headers).zip(&mut places.0) {
        slices += outgoing.slices.len();
        if ready > 0 && slices > SLICES_MAX {
            break;
        }
        if outgoing.descriptors.len() > rights::DESCRIPTORS_MAX {
            if ready > 0 {
                break;
            }
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: a C structure of integers and pointers, zeroed above.
        let header = message(unsafe { header.assume_init_mut() });
        if let Some(peer) = outgoing.peer {
            place.address = match A::Form::new(peer) {
                Ok(address) => address,
                Err(_) if ready > 0 => break,
                Err(error) => return Err(error),
            };
            header.msg_name = place.address.as_mut_ptr().cast();
            header.msg_namelen = place.address.len();
        }
        // The kernel does not write to them.
        header.msg_iov = outgoing.slices.as_ptr().cast::<iovec>().cast_mut();
        header.msg_iovlen = outgoing.slices.len() as _;
        write_control(header, place.control.bytes(), outgoing);
        ready += 1;
    }
    if ready == 0 {
        return Ok(0);
    }
    // SAFETY: the first `ready` headers name addresses, slices and control data that live as long as this call.
    unsafe { send(fd, &mut headers[..ready]) }
}

/// For the simulated kernel.
#[cfg(feature = "sim")]
fn parcel<'a, A: SocketAddress>(outgoing: &Outgoing<'a, A>) -> io::Result<sim::Parcel<'a>> {
    let to = match outgoing.peer.map(super::name_of).transpose()? {
        Some(Name::Inet(address)) => Some(address),
        Some(Name::Unix(_)) => return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
        None => None,
    };
    Ok(sim::Parcel {
        slices: outgoing.slices,
        to,
        from: outgoing.local,
        segment: outgoing.segment,
    })
}

/// What a header points to.
struct Place<A: SocketAddress> {
    address: A::Form,
    slice: iovec,
    control: <A::Form as Form<A>>::Control,
}

struct Places<A: SocketAddress>([Place<A>; DATAGRAMS_MAX]);

impl<A: SocketAddress> Places<A> {
    fn new() -> Self {
        Self(std::array::from_fn(|_| Place {
            address: A::Form::room(),
            slice: iovec {
                iov_base: std::ptr::null_mut(),
                iov_len: 0,
            },
            control: ControlRoom::room(),
        }))
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod batch {
    //! One call for all.

    use std::io;
    use std::mem::MaybeUninit;
    use std::os::fd::{AsRawFd, BorrowedFd};

    use libc::msghdr;

    use crate::os::net::unix::rights::RECEIVE_FLAGS;
    use crate::os::syscall::{self, count};

    pub(super) type Header = libc::mmsghdr;

    pub(super) fn message(header: &mut Header) -> &mut msghdr {
        &mut header.msg_hdr
    }

    pub(super) fn received_len(header: &Header) -> usize {
        header.msg_len as usize
    }

    /// # Safety
    /// Each header names memory that is valid for the length that it states, for this call.
    pub(super) unsafe fn receive(
        fd: BorrowedFd<'_>,
        headers: &mut [MaybeUninit<Header>],
    ) -> io::Result<usize> {
        let (first, most) = (headers.as_mut_ptr().cast(), headers.len() as _);
        let flags = RECEIVE_FLAGS as _;
        // SAFETY: the caller's promise; there is no timeout.
        let got = syscall::retry(|| unsafe {
            libc::recvmmsg(fd.as_raw_fd(), first, most, flags, std::ptr::null_mut())
        })?;
        Ok(count(got as isize))
    }

    /// # Safety
    /// As of [`receive`].
    pub(super) unsafe fn send(
        fd: BorrowedFd<'_>,
        headers: &mut [MaybeUninit<Header>],
    ) -> io::Result<usize> {
        let (first, most) = (headers.as_mut_ptr().cast(), headers.len() as _);
        let flags = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _;
        // SAFETY: the caller's promise.
        let sent =
            syscall::retry(|| unsafe { libc::sendmmsg(fd.as_raw_fd(), first, most, flags) })?;
        Ok(count(sent as isize))
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod batch {
    //! One call for each.

    use std::io;
    use std::mem::MaybeUninit;
    use std::os::fd::{AsRawFd, BorrowedFd};

    use libc::msghdr;

    use crate::os::net::unix::rights::RECEIVE_FLAGS;
    use crate::os::syscall::{self, count};

    #[repr(C)]
    pub(super) struct Header {
        message: msghdr,
        len: usize,
    }

    pub(super) fn message(header: &mut Header) -> &mut msghdr {
        &mut header.message
    }

    pub(super) fn received_len(header: &Header) -> usize {
        header.len
    }

    /// # Safety
    /// Each header names memory that is valid for the length that it states, for this call.
    pub(super) unsafe fn receive(
        fd: BorrowedFd<'_>,
        headers: &mut [MaybeUninit<Header>],
    ) -> io::Result<usize> {
        for (index, header) in headers.iter_mut().enumerate() {
            // SAFETY: zeroed, then filled by the caller.
            let header = unsafe { header.assume_init_mut() };
            // SAFETY: the caller's promise.
            let got = syscall::retry(|| unsafe {
                libc::recvmsg(fd.as_raw_fd(), &raw mut header.message, RECEIVE_FLAGS)
            });
            match got {
                Ok(got) => header.len = count(got),
                Err(error) if index == 0 => return Err(error),
                // An error that is no lack of datagrams is lost here; the next one of its kind is told. That is
                // what recvmmsg does, too.
                Err(_) => return Ok(index),
            }
        }
        Ok(headers.len())
    }

    /// # Safety
    /// As of [`receive`].
    pub(super) unsafe fn send(
        fd: BorrowedFd<'_>,
        headers: &mut [MaybeUninit<Header>],
    ) -> io::Result<usize> {
        for (index, header) in headers.iter_mut().enumerate() {
            // SAFETY: zeroed, then filled by the caller.
            let header = unsafe { header.assume_init_mut() };
            // SAFETY: the caller's promise.
            let sent = syscall::retry(|| unsafe {
                libc::sendmsg(
                    fd.as_raw_fd(),
                    &raw const header.message,
                    libc::MSG_DONTWAIT,
                )
            });
            match sent {
                Ok(_) => {}
                Err(error) if index == 0 => return Err(error),
                Err(_) => return Ok(index),
            }
        }
        Ok(headers.len())
    }
}

use batch::{Header, message, receive, received_len, send};

/// Writes what the kernel is to know beside the bytes. A header without any has no control data.
fn write_control<A>(
    header: &mut msghdr,
    control: &mut [MaybeUninit<u8>],
    outgoing: &Outgoing<'_, A>,
) {
    let mut used = rights::put_descriptors(control, outgoing.descriptors);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(segment) = outgoing.segment {
        put(
            control,
            &mut used,
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            segment,
        );
    }
    match outgoing.local {
        #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
        Some(IpAddr::V4(local)) => {
            let in_addr = libc::in_addr {
                s_addr: u32::from_ne_bytes(local.octets()),
            };
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: in_addr,
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            put(control, &mut used, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        #[cfg(any(
            target_os = "freebsd",
            target_os = "openbsd",
            target_os = "netbsd",
            target_os = "dragonfly"
        ))]
        Some(IpAddr::V4(local)) => {
            let in_addr = libc::in_addr {
                s_addr: u32::from_ne_bytes(local.octets()),
            };
            // IP_SENDSRCADDR is another name of it there.
            put(
                control,
                &mut used,
                libc::IPPROTO_IP,
                libc::IP_RECVDSTADDR,
                in_addr,
            );
        }
        Some(IpAddr::V6(local)) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: local.octets(),
                },
                ipi6_ifindex: 0,
            };
            put(
                control,
                &mut used,
                libc::IPPROTO_IPV6,
                libc::IPV6_PKTINFO,
                info,
            );
        }
        None => {}
    }
    if used > 0 {
        header.msg_control = control.as_mut_ptr().cast::<c_void>();
        header.msg_controllen = used as _;
    }
}

/// Appends one control message. The three kinds together are shorter than the buffer.
fn put<T: Copy>(
    control: &mut [MaybeUninit<u8>],
    used: &mut usize,
    level: c_int,
    kind: c_int,
    value: T,
) {
    // SAFETY: only arithmetic.
    let (space, length) = unsafe {
        let size = size_of::<T>() as libc::c_uint;
        (libc::CMSG_SPACE(size) as usize, libc::CMSG_LEN(size))
    };
    debug_assert!(
        *used + space <= control.len(),
        "a datagram has at most a segment length and a source address"
    );
    let place = &mut control[*used..*used + space];
    place.fill(MaybeUninit::new(0));
    // SAFETY: a C structure of integers, for which zeroes are values. (musl pads it, so it is not written out.)
    let mut header: cmsghdr = unsafe { std::mem::zeroed() };
    header.cmsg_len = length as _;
    header.cmsg_level = level;
    header.cmsg_type = kind;
    let data = place.as_mut_ptr().cast::<u8>();
    // SAFETY: `place` has room for a header and the value behind it at the offset that the C library states; neither
    // need be aligned for these writes.
    unsafe {
        data.cast::<cmsghdr>().write_unaligned(header);
        let offset = libc::CMSG_DATA(data.cast::<cmsghdr>()).offset_from(data);
        data.offset(offset).cast::<T>().write_unaligned(value);
    }
    *used += space;
}

const _: () = {
    use memoffset::offset_of;

    // The slices of an `Outgoing` are handed to the kernel as iovecs; `io` asserts their layout.
    assert!(offset_of!(iovec, iov_base) == 0);
    assert!(align_of::<super::addr::Control<8>>() >= align_of::<cmsghdr>());
};
