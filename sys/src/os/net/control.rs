//! What the kernel tells beside a datagram, in control messages (cmsg(3)): read by `datagram`, once for each that came. Kinds
//! that nobody asked for are passed over, and so is what was cut.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use libc::{c_int, cmsghdr, msghdr};

use super::unix::rights;

/// What the kernel told beside the bytes, as in [`Received`](super::Received).
#[derive(Default)]
pub(super) struct Told {
    pub(super) segment: usize,
    pub(super) local: Option<IpAddr>,
    pub(super) class: Option<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
}

/// Reads what the kernel told beside the bytes. Once for each header: descriptors are taken from it.
pub(super) fn read_control(header: &msghdr, received: &mut Told) {
    // SAFETY: the kernel has just filled the header, and the descriptors are taken here only.
    unsafe { rights::take_descriptors(header, &mut received.descriptors) };
    // SAFETY: the kernel has written the header's control data, and its length into the header.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: not null, hence a control message inside the control data.
        let control = unsafe { &*next };
        // SAFETY: as above.
        let data = unsafe { libc::CMSG_DATA(next) };
        match (control.cmsg_level, control.cmsg_type) {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            (libc::SOL_UDP, libc::UDP_GRO) => {
                // SAFETY: the kernel gives an int of that kind (udp(7)).
                let segment = unsafe { value::<c_int>(control, data) };
                received.segment = segment.map_or(0, |size| usize::try_from(size).unwrap_or(0));
            }
            #[cfg(any(target_os = "linux", target_os = "android"))]
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: the kernel gives an in_pktinfo of that kind (ip(7)).
                if let Some(info) = unsafe { value::<libc::in_pktinfo>(control, data) } {
                    let local = Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes());
                    received.local = Some(local.into());
                }
            }
            #[cfg(any(
                target_os = "freebsd",
                target_os = "openbsd",
                target_os = "netbsd",
                target_os = "dragonfly",
                target_vendor = "apple"
            ))]
            (libc::IPPROTO_IP, libc::IP_RECVDSTADDR) => {
                // SAFETY: the kernel gives an in_addr of that kind (ip(4)).
                if let Some(address) = unsafe { value::<libc::in_addr>(control, data) } {
                    received.local = Some(Ipv4Addr::from(address.s_addr.to_ne_bytes()).into());
                }
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: the kernel gives an in6_pktinfo of that kind (RFC 3542).
                if let Some(info) = unsafe { value::<libc::in6_pktinfo>(control, data) } {
                    let local = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                    received.local = Some(local.to_canonical());
                }
            }
            // Linux gives it as IP_TOS, the BSDs and macOS as IP_RECVTOS; one byte.
            (libc::IPPROTO_IP, kind) if kind == libc::IP_TOS || is_recvtos(kind) => {
                // SAFETY: the kernel gives a byte of that kind.
                received.class = unsafe { value::<u8>(control, data) };
            }
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                // SAFETY: the kernel gives an int of that kind (RFC 3542).
                let class = unsafe { value::<c_int>(control, data) };
                received.class = class.and_then(|class| u8::try_from(class).ok());
            }
            _ => {}
        }
        // SAFETY: `next` is a control message of this header.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
}

/// The value of a control message; `None` if it is cut. Where the room for control data ends, the kernel writes the part of a
/// message that fits, and states that length (MSG_CTRUNC): a timestamp that somebody asked for by the descriptor is enough.
///
/// # Safety
/// `data` is that of `control`, which is as the kernel left it, and its bytes are a `T` if there are enough of them.
unsafe fn value<T: Copy>(control: &cmsghdr, data: *const u8) -> Option<T> {
    // SAFETY: only arithmetic.
    let whole = unsafe { libc::CMSG_LEN(size_of::<T>() as libc::c_uint) } as _;
    // SAFETY: the caller's promise; the place may not be aligned.
    (control.cmsg_len >= whole).then(|| unsafe { data.cast::<T>().read_unaligned() })
}

#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_vendor = "apple"
))]
fn is_recvtos(kind: c_int) -> bool {
    kind == libc::IP_RECVTOS
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_vendor = "apple"
)))]
fn is_recvtos(_kind: c_int) -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// What the control data that these bytes are tells. The memory ends where they do, so that a read behind it is found
    /// (`make asan`, `make valgrind`).
    fn told(bytes: &[u8]) -> Told {
        let mut words: Box<[u64]> = vec![0; bytes.len().div_ceil(8)].into();
        for (word, part) in words.iter_mut().zip(bytes.chunks(8)) {
            let mut whole = [0; 8];
            whole[..part.len()].copy_from_slice(part);
            *word = u64::from_ne_bytes(whole);
        }
        // SAFETY: a C structure of integers and pointers, for which zeroes mean: nothing.
        let mut header: msghdr = unsafe { std::mem::zeroed() };
        header.msg_control = words.as_mut_ptr().cast();
        header.msg_controllen = bytes.len() as _;
        let mut told = Told::default();
        read_control(&header, &mut told);
        told
    }

    /// One control message as the kernel writes it into `room` bytes: whole and padded, or cut, with the length that fits.
    fn message(level: c_int, kind: c_int, value: &[u8], room: usize) -> Vec<u8> {
        const HEAD: usize = size_of::<cmsghdr>();
        let length = (HEAD + value.len()).min(room);
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.truncate(length);
        bytes.resize(length.next_multiple_of(8).min(room), 0);
        bytes
    }

    /// Every kind that is read, with its value.
    fn kinds() -> Vec<(c_int, c_int, Vec<u8>)> {
        vec![
            (libc::SOL_UDP, libc::UDP_GRO, 1200_i32.to_ne_bytes().into()),
            (
                libc::IPPROTO_IP,
                libc::IP_PKTINFO,
                [&[0; 8][..], &[192, 0, 2, 1]].concat(),
            ),
            (
                libc::IPPROTO_IPV6,
                libc::IPV6_PKTINFO,
                [&[0x20; 16][..], &[0; 4]].concat(),
            ),
            (libc::IPPROTO_IP, libc::IP_TOS, vec![0xb8]),
            (
                libc::IPPROTO_IPV6,
                libc::IPV6_TCLASS,
                0xb8_i32.to_ne_bytes().into(),
            ),
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMP, vec![1; 16]),
        ]
    }

    #[test]
    fn control_data_is_read_whole_and_not_where_it_is_cut() {
        for (level, kind, value) in kinds() {
            let whole = message(level, kind, &value, 1024);
            let is_known = level != libc::SOL_SOCKET;
            let has = |told: &Told| {
                told.segment == 1200 || told.local.is_some() || told.class == Some(0xb8)
            };
            assert_eq!(has(&told(&whole)), is_known, "{level} {kind}");
            for room in size_of::<cmsghdr>()..size_of::<cmsghdr>() + value.len() {
                let cut = message(level, kind, &value, room);
                assert!(!has(&told(&cut)), "{level} {kind} in {room} bytes");
            }
        }
    }

    /// Rows of messages of random kinds and lengths, cut anywhere.
    #[test]
    fn random_control_data_is_never_a_panic() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut below = move |end: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as usize % end
        };
        for _ in 0..20_000 {
            let mut bytes = Vec::new();
            let room = below(160);
            while bytes.len() + size_of::<cmsghdr>() <= room && below(5) > 0 {
                let (level, kind, mut value) = kinds().swap_remove(below(6));
                value.truncate(below(value.len() + 4));
                bytes.extend(message(level, kind, &value, room - bytes.len()));
            }
            let told = told(&bytes);
            assert!(told.descriptors.is_empty());
        }
    }
}
