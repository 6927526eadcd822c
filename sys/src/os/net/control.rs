//! What the kernel tells beside a datagram, in control messages (cmsg(3)): read by `datagram`, once for each that came. Kinds
//! that nobody asked for are passed over, and so is what was cut.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{OwnedFd, RawFd};

use libc::{c_int, cmsghdr, msghdr};

use super::unix::rights;

/// What the kernel told beside the bytes, as in [`Received`](super::Received).
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Told {
    /// The length of each datagram in it.
    pub segment: usize,
    /// To which address it was sent.
    pub local: Option<IpAddr>,
    /// Its traffic class.
    pub class: Option<u8>,
    /// Came with it.
    pub descriptors: Vec<OwnedFd>,
}

/// Reads what the kernel told beside the bytes. Once for each header: descriptors are taken from it.
pub(super) fn read_control(header: &msghdr, received: &mut Told) {
    // SAFETY: the kernel has just filled the header, and the descriptors are taken here only.
    unsafe { rights::take_descriptors(header, &mut received.descriptors) };
    read_values(header, received);
}

/// Everything but descriptors.
// Both lengths are of another type elsewhere.
#[allow(clippy::unnecessary_cast)]
fn read_values(header: &msghdr, received: &mut Told) {
    let end = header.msg_control as usize + header.msg_controllen as usize;
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
                let segment = unsafe { value::<c_int>(control, data, end) };
                received.segment = segment.map_or(0, |size| usize::try_from(size).unwrap_or(0));
            }
            #[cfg(any(target_os = "linux", target_os = "android"))]
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: the kernel gives an in_pktinfo of that kind (ip(7)).
                if let Some(info) = unsafe { value::<libc::in_pktinfo>(control, data, end) } {
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
                if let Some(address) = unsafe { value::<libc::in_addr>(control, data, end) } {
                    received.local = Some(Ipv4Addr::from(address.s_addr.to_ne_bytes()).into());
                }
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: the kernel gives an in6_pktinfo of that kind (RFC 3542).
                if let Some(info) = unsafe { value::<libc::in6_pktinfo>(control, data, end) } {
                    let local = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                    received.local = Some(local.to_canonical());
                }
            }
            // Linux gives it as IP_TOS, the BSDs and macOS as IP_RECVTOS; one byte.
            (libc::IPPROTO_IP, kind) if kind == libc::IP_TOS || is_recvtos(kind) => {
                // SAFETY: the kernel gives a byte of that kind.
                received.class = unsafe { value::<u8>(control, data, end) };
            }
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                // SAFETY: the kernel gives an int of that kind (RFC 3542).
                let class = unsafe { value::<c_int>(control, data, end) };
                received.class = class.and_then(|class| u8::try_from(class).ok());
            }
            _ => {}
        }
        // SAFETY: `next` is a control message of this header.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
}

/// The value of a control message; `None` if it is cut. Where the room for control data ends, the kernel writes the part of a
/// message that fits (MSG_CTRUNC): a timestamp that somebody asked for by the descriptor is enough. Linux and FreeBSD state
/// the length of that part, XNU that of the whole.
///
/// # Safety
/// `data` is that of `control`, which is as the kernel left it in control data that ends at `end`, and its bytes are a `T` if
/// there are enough of them.
#[allow(clippy::unnecessary_cast)] // As above.
pub(super) unsafe fn value<T: Copy>(control: &cmsghdr, data: *const u8, end: usize) -> Option<T> {
    let stated = std::ptr::from_ref(control) as usize + control.cmsg_len as usize;
    let bytes = stated.min(end).saturating_sub(data as usize);
    // SAFETY: the caller's promise; the place may not be aligned.
    (bytes >= size_of::<T>()).then(|| unsafe { data.cast::<T>().read_unaligned() })
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

/// One control message as tests and fuzzing make them.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct ControlMessage {
    level: c_int,
    kind: c_int,
    value: Vec<u8>,
    more: u16,
}

/// What kernels tell, level and kind. Nobody asks for a timestamp here.
const KINDS: &[(c_int, c_int)] = &[
    (libc::SOL_SOCKET, libc::SCM_TIMESTAMP),
    (libc::SOL_SOCKET, libc::SCM_RIGHTS),
    (libc::IPPROTO_IP, libc::IP_TOS),
    (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO),
    #[cfg(any(target_os = "linux", target_os = "android"))]
    (libc::SOL_UDP, libc::UDP_GRO),
    #[cfg(any(target_os = "linux", target_os = "android"))]
    (libc::IPPROTO_IP, libc::IP_PKTINFO),
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    (libc::IPPROTO_IP, libc::IP_RECVDSTADDR),
];

impl ControlMessage {
    /// Of the kind of that number, counted round. `value` is what it tells, whole or not. Where there is no room for all of
    /// that, it says that it has so much `more` than what there is: nothing on Linux, the rest on XNU.
    pub fn new(kind: usize, value: &[u8], more: u16) -> Self {
        let (level, kind) = KINDS[kind % KINDS.len()];
        Self {
            level,
            kind,
            value: value.to_vec(),
            more,
        }
    }
}

/// What is read out of these messages in `room` bytes of control data, of which the last message that fits at all may be
/// cut; and the numbers of descriptors, which nobody has given to anybody.
#[doc(hidden)]
pub fn read_control_messages(messages: &[ControlMessage], room: usize) -> (Told, Vec<RawFd>) {
    let mut bytes = Vec::new();
    for message in messages {
        let size = message.value.len() as libc::c_uint;
        // SAFETY: only arithmetic.
        let (head, length, space) = unsafe {
            let [head, length] = [0, size].map(|size| libc::CMSG_LEN(size) as usize);
            (head, length, libc::CMSG_SPACE(size) as usize)
        };
        let left = room.saturating_sub(bytes.len());
        if left < head {
            break;
        }
        // SAFETY: a C structure of integers, for which zeroes are values.
        let mut header: cmsghdr = unsafe { std::mem::zeroed() };
        header.cmsg_len = match length > left {
            true => left + usize::from(message.more),
            false => length,
        } as _;
        header.cmsg_level = message.level;
        header.cmsg_type = message.kind;
        let start = bytes.len();
        bytes.resize(start + head, 0);
        // SAFETY: `head` bytes follow, at least as many as a header has; their place need not be aligned.
        unsafe {
            let place = bytes.as_mut_ptr().add(start);
            place.cast::<cmsghdr>().write_unaligned(header);
        }
        bytes.extend(&message.value);
        bytes.resize(start + space, 0);
        bytes.truncate(room);
    }
    read_bytes(&bytes)
}

/// Reads control data that no kernel has written. The memory ends where the bytes do, at the next eight at most, so that a
/// read behind it is found (`make asan`, `make valgrind`, libFuzzer).
fn read_bytes(bytes: &[u8]) -> (Told, Vec<RawFd>) {
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
    let (mut told, mut numbers) = (Told::default(), Vec::new());
    // SAFETY: control data of the length that the header states; numbers stay numbers.
    unsafe { rights::each_number(&header, |number| numbers.push(number)) };
    read_values(&header, &mut told);
    (told, numbers)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn told(bytes: &[u8]) -> Told {
        read_bytes(bytes).0
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

    /// As XNU does it: the part that fits, and the length of the whole. What stands behind the room is nobody's.
    #[test]
    fn a_cut_message_that_states_its_whole_length_is_not_read_past_its_room() {
        for (level, kind, value) in kinds() {
            let mut messages = [ControlMessage {
                level,
                kind,
                value,
                more: 0,
            }];
            let whole = messages[0].value.len();
            let (seen, _) = read_control_messages(&messages, 1024);
            let is_known = level != libc::SOL_SOCKET;
            let has = |told: &Told| {
                told.segment == 1200 || told.local.is_some() || told.class == Some(0xb8)
            };
            assert_eq!(has(&seen), is_known, "{level} {kind}");
            for part in 0..whole {
                messages[0].more = (whole - part) as u16;
                let (cut, _) = read_control_messages(&messages, size_of::<cmsghdr>() + part);
                assert!(!has(&cut), "{level} {kind}, {part} of {whole} bytes");
            }
        }
        let three = [7_i32, 8, 9].map(i32::to_ne_bytes).concat();
        let rights = |more| ControlMessage {
            level: libc::SOL_SOCKET,
            kind: libc::SCM_RIGHTS,
            value: three.clone(),
            more,
        };
        let numbers = |more, room| read_control_messages(&[rights(more)], room).1;
        let head = size_of::<cmsghdr>();
        assert_eq!(numbers(0, 1024), [7, 8, 9]);
        assert_eq!(numbers(1, head + 11), [7, 8]);
        assert_eq!(numbers(12, head), []);
    }
}
