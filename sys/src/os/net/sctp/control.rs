//! What travels beside a message: [`Info`], as control data of the level IPPROTO_SCTP.
//!
//! Toward the kernel it is an sctp_sndinfo (RFC 6458, 5.3.4). From it, it is an sctp_rcvinfo (5.3.5, Linux 3.17), or an
//! sctp_sndrcvinfo (5.3.2) from those that are older.

use std::mem::MaybeUninit;

use libc::msghdr;

use super::Info;
use crate::os::net::addr::{Control, ControlRoom};
use crate::os::net::control::value;

/// Room for either of the two structures with its header, and to spare.
pub(super) type Room = Control<128>;

const _: () = {
    use memoffset::offset_of;

    // The kernel's own, of <linux/sctp.h>.
    assert!(size_of::<libc::sctp_sndinfo>() == 16);
    assert!(offset_of!(libc::sctp_sndinfo, snd_flags) == 2);
    assert!(offset_of!(libc::sctp_sndinfo, snd_ppid) == 4);
    assert!(size_of::<libc::sctp_rcvinfo>() == 28);
    assert!(offset_of!(libc::sctp_rcvinfo, rcv_flags) == 4);
    assert!(offset_of!(libc::sctp_rcvinfo, rcv_ppid) == 8);
    assert!(size_of::<libc::sctp_sndrcvinfo>() == 32);
    assert!(offset_of!(libc::sctp_sndrcvinfo, sinfo_flags) == 4);
};

/// Makes `room` the header's control data, with `info` in it.
pub(super) fn write(header: &mut msghdr, room: &mut Room, info: &Info) {
    let bytes: &mut [MaybeUninit<u8>] = room.bytes();
    bytes.fill(MaybeUninit::new(0));
    header.msg_control = bytes.as_mut_ptr().cast();
    header.msg_controllen = bytes.len() as _;
    let flags = if info.is_unordered {
        libc::SCTP_UNORDERED as u16
    } else {
        0
    };
    let sent = libc::sctp_sndinfo {
        snd_sid: info.stream,
        snd_flags: flags,
        snd_ppid: info.protocol.to_be(),
        snd_context: 0,
        snd_assoc_id: 0,
    };
    let size = size_of::<libc::sctp_sndinfo>() as libc::c_uint;
    // SAFETY: the header names control data that has room for the one message that is written into it; a place in it may
    // not be aligned for the structure, which `write_unaligned` allows.
    unsafe {
        let first = libc::CMSG_FIRSTHDR(header);
        (*first).cmsg_level = libc::IPPROTO_SCTP;
        (*first).cmsg_type = libc::SCTP_SNDINFO;
        (*first).cmsg_len = libc::CMSG_LEN(size) as _;
        libc::CMSG_DATA(first)
            .cast::<libc::sctp_sndinfo>()
            .write_unaligned(sent);
        header.msg_controllen = libc::CMSG_SPACE(size) as _;
    }
}

/// What the control data of a header tells. Nothing is read behind its end, whatever the messages in it say of their length.
///
/// # Safety
/// The control data is valid for reads of the length that the header states, and all of that was written.
// The length is of another type elsewhere.
#[allow(clippy::unnecessary_cast)]
pub(super) unsafe fn read(header: &msghdr) -> Info {
    let mut info = Info::default();
    let end = header.msg_control as usize + header.msg_controllen as usize;
    // SAFETY: the caller's promise.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: not null, hence the header of a control message inside the control data.
        let message = unsafe { &*next };
        // SAFETY: as above.
        let data = unsafe { libc::CMSG_DATA(next) };
        let told = match (message.cmsg_level, message.cmsg_type) {
            (libc::IPPROTO_SCTP, libc::SCTP_RCVINFO) => {
                // SAFETY: the control data ends there; any bytes are one of these structures of integers.
                let told = unsafe { value::<libc::sctp_rcvinfo>(message, data, end) };
                told.map(|told| (told.rcv_sid, told.rcv_flags, told.rcv_ppid))
            }
            (libc::IPPROTO_SCTP, libc::SCTP_SNDRCV) => {
                // SAFETY: as above.
                let told = unsafe { value::<libc::sctp_sndrcvinfo>(message, data, end) };
                told.map(|told| (told.sinfo_stream, told.sinfo_flags, told.sinfo_ppid))
            }
            (libc::IPPROTO_SCTP, libc::SCTP_SNDINFO) => {
                // SAFETY: as above.
                let told = unsafe { value::<libc::sctp_sndinfo>(message, data, end) };
                told.map(|told| (told.snd_sid, told.snd_flags, told.snd_ppid))
            }
            _ => None,
        };
        if let Some((stream, flags, protocol)) = told {
            info = Info {
                stream,
                protocol: u32::from_be(protocol),
                is_unordered: flags & libc::SCTP_UNORDERED as u16 != 0,
            };
        }
        // SAFETY: `next` is a control message of this header.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    info
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> msghdr {
        // SAFETY: a C structure of integers and pointers, for which zeroes mean: nothing.
        unsafe { std::mem::zeroed() }
    }

    #[test]
    fn what_is_written_beside_a_message_is_read_again() {
        for info in [
            Info::default(),
            Info {
                stream: 65_535,
                protocol: 46,
                is_unordered: true,
            },
        ] {
            let (mut header, mut room) = (header(), Room::room());
            write(&mut header, &mut room, &info);
            // SAFETY: written just now.
            assert_eq!(unsafe { read(&header) }, info);
        }
    }

    /// As the kernel sends it: of its own kind, behind one that nobody asked for.
    #[test]
    fn what_the_kernel_tells_is_found_among_other_things() {
        let told = libc::sctp_rcvinfo {
            rcv_sid: 3,
            rcv_ssn: 1,
            rcv_flags: libc::SCTP_UNORDERED as u16,
            rcv_ppid: 60_u32.to_be(),
            rcv_tsn: 1,
            rcv_cumtsn: 0,
            rcv_context: 0,
            rcv_assoc_id: 5,
        };
        let (mut header, mut room) = (header(), Room::room());
        write(&mut header, &mut room, &Info::default());
        header.msg_controllen = room.bytes().len() as _;
        // SAFETY: the room has place for a second message behind the first, both zeroed before.
        unsafe {
            let first = libc::CMSG_FIRSTHDR(&raw const header);
            (*first).cmsg_level = libc::SOL_SOCKET;
            let second = libc::CMSG_NXTHDR(&raw const header, first);
            (*second).cmsg_level = libc::IPPROTO_SCTP;
            (*second).cmsg_type = libc::SCTP_RCVINFO;
            (*second).cmsg_len = libc::CMSG_LEN(28) as _;
            libc::CMSG_DATA(second)
                .cast::<libc::sctp_rcvinfo>()
                .write_unaligned(told);
        }
        let expected = Info {
            stream: 3,
            protocol: 60,
            is_unordered: true,
        };
        // SAFETY: written just now, and zeroes behind it.
        assert_eq!(unsafe { read(&header) }, expected);
    }

    /// Where the control data ends, a message is cut, and may still state the length of the whole: all but what is whole tells
    /// nothing, and nothing behind the end is read.
    #[test]
    fn a_message_that_is_cut_tells_nothing_whatever_length_it_states() {
        let told = libc::sctp_rcvinfo {
            rcv_sid: 3,
            rcv_ssn: 1,
            rcv_flags: 0,
            rcv_ppid: 60_u32.to_be(),
            rcv_tsn: 1,
            rcv_cumtsn: 0,
            rcv_context: 0,
            rcv_assoc_id: 5,
        };
        // SAFETY: takes no pointer.
        let whole = unsafe { libc::CMSG_LEN(28) } as usize;
        for stated in [whole, whole + 1, 128, 1 << 20] {
            for end in 0..=whole + 4 {
                let (mut header, mut room) = (header(), Room::room());
                write(&mut header, &mut room, &Info::default());
                // SAFETY: the room has place for one message, zeroed before.
                unsafe {
                    let first = libc::CMSG_FIRSTHDR(&raw const header);
                    (*first).cmsg_type = libc::SCTP_RCVINFO;
                    (*first).cmsg_len = stated as _;
                    libc::CMSG_DATA(first)
                        .cast::<libc::sctp_rcvinfo>()
                        .write_unaligned(told);
                }
                header.msg_controllen = end as _;
                // SAFETY: written just now, and zeroes behind it.
                let stream = unsafe { read(&header) }.stream;
                assert_eq!(stream, if end < whole { 0 } else { 3 }, "{stated}, {end}");
            }
        }
    }
}
