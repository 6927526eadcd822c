//! The system calls of SCTP.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use bytes::{BufMut, BytesMut};
use libc::{c_int, c_void};

use super::control::{self, Room};
use super::{Info, Init, Received, Subscription, packed};
use crate::os::net::addr::{ControlRoom, SocketAddress};
use crate::os::net::{Connect, begun};
use crate::os::syscall::{self, count, simulated, socklen_of};

// <linux/sctp.h>; libc leaves out what libsctp uses behind its functions.
const SCTP_SOCKOPT_BINDX_ADD: c_int = 100;
const SCTP_SOCKOPT_BINDX_REM: c_int = 101;
const SCTP_GET_PEER_ADDRS: c_int = 108;
const SCTP_GET_LOCAL_ADDRS: c_int = 109;
const SCTP_SOCKOPT_CONNECTX: c_int = 110;

/// struct sctp_getaddrs before its addresses: assoc_id, addr_num.
const GETADDRS_HEADER: usize = 8;

/// Room for the addresses of one side: more than any machine has that speaks SCTP.
const ADDRESSES_ROOM: usize = 8 << 10;

/// A one-to-one SCTP socket of the family of this address: non-blocking, closed on exec.
///
/// `Unsupported`, with the name of the module to load, if the kernel has no SCTP.
pub fn socket(address: &SocketAddr) -> io::Result<OwnedFd> {
    simulated!("socket", |_kernel| Err(io::ErrorKind::Unsupported.into()));
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: takes no pointer.
    let raw = syscall::retry(|| unsafe {
        libc::socket(address.family(), kind, libc::IPPROTO_SCTP)
    })
    .map_err(|error| match error.raw_os_error() {
        Some(libc::EPROTONOSUPPORT | libc::ESOCKTNOSUPPORT) => io::Error::new(
            io::ErrorKind::Unsupported,
            "this kernel has no SCTP; load its module (modprobe sctp), or build one with CONFIG_IP_SCTP",
        ),
        _ => error,
    })?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Has the kernel tell the stream of each message that is received (SCTP_RECVRCVINFO; before Linux 3.17 by the data_io
/// event), and what else is wanted.
pub fn subscribe(fd: BorrowedFd<'_>, wanted: Subscription) -> io::Result<()> {
    let has_info = set(fd, libc::SCTP_RECVRCVINFO, &1_i32.to_ne_bytes()).is_ok();
    // struct sctp_event_subscribe, as far as it went in the first kernels that had sender_dry.
    let events = [
        !has_info,
        wanted.association,
        wanted.address,
        wanted.send_failure,
        wanted.remote_error,
        wanted.shutdown,
        wanted.partial_delivery,
        wanted.adaptation,
        false,
        wanted.sender_dry,
    ];
    set(fd, libc::SCTP_EVENTS, &events.map(u8::from))
}

/// Which notifications are wanted.
pub fn subscription(fd: BorrowedFd<'_>) -> io::Result<Subscription> {
    let mut events = [0; 10];
    let length = get(fd, libc::SCTP_EVENTS, &mut events)?;
    let is_on = |event: usize| event < length && events[event] != 0;
    Ok(Subscription {
        association: is_on(1),
        address: is_on(2),
        send_failure: is_on(3),
        remote_error: is_on(4),
        shutdown: is_on(5),
        partial_delivery: is_on(6),
        adaptation: is_on(7),
        sender_dry: is_on(9),
    })
}

/// Sets how associations of this socket begin.
pub fn set_init(fd: BorrowedFd<'_>, init: Init) -> io::Result<()> {
    let fields = [
        init.streams_out,
        init.streams_in_max,
        init.attempts_max,
        init.timeout_max_ms,
    ];
    let bytes: Vec<u8> = fields
        .iter()
        .flat_map(|field| field.to_ne_bytes())
        .collect();
    set(fd, libc::SCTP_INITMSG, &bytes)
}

/// How associations of this socket begin.
pub fn init(fd: BorrowedFd<'_>) -> io::Result<Init> {
    let mut bytes = [0; size_of::<libc::sctp_initmsg>()];
    get(fd, libc::SCTP_INITMSG, &mut bytes)?;
    let field = |at: usize| u16::from_ne_bytes([bytes[2 * at], bytes[2 * at + 1]]);
    Ok(Init {
        streams_out: field(0),
        streams_in_max: field(1),
        attempts_max: field(2),
        timeout_max_ms: field(3),
    })
}

/// Gives a bound socket further addresses (sctp_bindx). Their port is 0 or that of the first.
pub fn bind_more(fd: BorrowedFd<'_>, addresses: &[SocketAddr]) -> io::Result<()> {
    set(fd, SCTP_SOCKOPT_BINDX_ADD, &packed::pack(addresses))
}

/// Takes addresses from a bound socket, which keeps at least one.
pub fn unbind(fd: BorrowedFd<'_>, addresses: &[SocketAddr]) -> io::Result<()> {
    set(fd, SCTP_SOCKOPT_BINDX_REM, &packed::pack(addresses))
}

/// Begins to connect to a peer that has several addresses (sctp_connectx).
pub fn connect(fd: BorrowedFd<'_>, addresses: &[SocketAddr]) -> io::Result<Connect> {
    let packed = packed::pack(addresses);
    // SAFETY: `packed` is valid for reads of its length. The call answers with the association's number.
    let returned = syscall::once(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_SCTP,
            SCTP_SOCKOPT_CONNECTX,
            packed.as_ptr().cast(),
            packed.len() as libc::socklen_t,
        )
    });
    begun(returned.map(drop))
}

/// All addresses of this side.
pub fn local_addrs(fd: BorrowedFd<'_>) -> io::Result<Vec<SocketAddr>> {
    addresses(fd, SCTP_GET_LOCAL_ADDRS)
}

/// All addresses of the peer.
pub fn peer_addrs(fd: BorrowedFd<'_>) -> io::Result<Vec<SocketAddr>> {
    addresses(fd, SCTP_GET_PEER_ADDRS)
}

/// Receives a message, or as much of it as there is room for (at most `max` bytes), or a notification, to the end of
/// `room`.
pub fn recv(fd: BorrowedFd<'_>, room: &mut BytesMut, max: usize) -> io::Result<Received> {
    if max == 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    room.reserve(max);
    let spare = room.spare_capacity_mut();
    let mut slice = libc::iovec {
        iov_base: spare.as_mut_ptr().cast(),
        iov_len: max.min(spare.len()),
    };
    let mut beside = Room::room();
    let control: &mut [MaybeUninit<u8>] = beside.bytes();
    // SAFETY: a C structure of integers and pointers, for which zeroes mean: nothing.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut slice;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = control.len() as _;
    // SAFETY: the header names spare capacity of `room`, which is borrowed mutably, and control data of its length; both
    // live as long as the call.
    let returned = syscall::retry(|| unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, 0) })?;
    let len = count(returned);
    // SAFETY: the kernel has written the first `len` bytes of the spare capacity, len <= max.
    unsafe { room.advance_mut(len) };
    Ok(Received {
        len,
        is_end: header.msg_flags & libc::MSG_EOR != 0,
        is_notification: header.msg_flags & libc::MSG_NOTIFICATION != 0,
        // SAFETY: the kernel has filled the control data, and its length.
        info: unsafe { control::read(&header) },
    })
}

/// Sends a message: all of it, or none (`WouldBlock`). `BrokenPipe` without a signal when the association has ended;
/// EMSGSIZE and `InvalidInput` are about the message.
pub fn send(fd: BorrowedFd<'_>, bytes: &[u8], info: &Info) -> io::Result<usize> {
    let mut slice = libc::iovec {
        // The kernel does not write to it.
        iov_base: bytes.as_ptr().cast::<c_void>().cast_mut(),
        iov_len: bytes.len(),
    };
    // SAFETY: a C structure of integers and pointers, for which zeroes mean: nothing.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut slice;
    header.msg_iovlen = 1;
    let mut beside = Room::room();
    control::write(&mut header, &mut beside, info);
    // SAFETY: the header names bytes that are valid for reads and control data; both live as long as the call.
    let returned = syscall::retry(|| unsafe {
        libc::sendmsg(fd.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL)
    })?;
    Ok(count(returned))
}

fn addresses(fd: BorrowedFd<'_>, option: c_int) -> io::Result<Vec<SocketAddr>> {
    let mut bytes = vec![0; ADDRESSES_ROOM];
    let length = get(fd, option, &mut bytes)?;
    let number = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    let list = bytes.get(GETADDRS_HEADER..length).unwrap_or_default();
    packed::unpack(list, usize::try_from(number).unwrap_or(usize::MAX))
}

fn set(fd: BorrowedFd<'_>, option: c_int, value: &[u8]) -> io::Result<()> {
    // SAFETY: `value` is valid for reads of its length.
    syscall::retry(|| unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_SCTP,
            option,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    })?;
    Ok(())
}

/// How many bytes of `value` the kernel has written.
fn get(fd: BorrowedFd<'_>, option: c_int, value: &mut [u8]) -> io::Result<usize> {
    let mut length = value.len() as libc::socklen_t;
    // SAFETY: `value` is valid for writes of `length` bytes, any of which are values of its type.
    syscall::retry(|| unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_SCTP,
            option,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    })?;
    Ok((length as usize).min(value.len()))
}

const _: () = assert!(socklen_of::<libc::sctp_initmsg>() == 8);

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    /// On a kernel without SCTP this is all there is to see; on one with it, an association.
    #[test]
    fn a_socket_or_a_word_about_what_is_missing() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        match socket(&any) {
            Ok(socket) => {
                let wanted = Init {
                    streams_out: 3,
                    ..Init::default()
                };
                set_init(socket.as_fd(), wanted).unwrap();
                assert_eq!(init(socket.as_fd()).unwrap().streams_out, 3);
                subscribe(socket.as_fd(), Subscription::ALL).unwrap();
                assert_eq!(subscription(socket.as_fd()).unwrap(), Subscription::ALL);
            }
            Err(error) => {
                println!("skipped: {error}");
                assert_eq!(error.kind(), io::ErrorKind::Unsupported);
                assert!(error.to_string().contains("modprobe sctp"));
            }
        }
    }
}
