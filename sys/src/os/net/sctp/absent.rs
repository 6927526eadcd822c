//! Stands in for `calls` on systems whose SCTP is not spoken here: there is no socket, so nothing else is ever asked.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

use bytes::BytesMut;

use super::{Info, Init, Received, Subscription};
use crate::os::net::Connect;

fn none<T>() -> io::Result<T> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "SCTP is spoken on Linux only",
    ))
}

/// `Unsupported`.
pub fn socket(_address: &SocketAddr) -> io::Result<OwnedFd> {
    none()
}

/// `Unsupported`.
pub fn subscribe(_fd: BorrowedFd<'_>, _wanted: Subscription) -> io::Result<()> {
    none()
}

/// `Unsupported`.
pub fn subscription(_fd: BorrowedFd<'_>) -> io::Result<Subscription> {
    none()
}

/// `Unsupported`.
pub fn set_init(_fd: BorrowedFd<'_>, _init: Init) -> io::Result<()> {
    none()
}

/// `Unsupported`.
pub fn init(_fd: BorrowedFd<'_>) -> io::Result<Init> {
    none()
}

/// `Unsupported`.
pub fn bind_more(_fd: BorrowedFd<'_>, _addresses: &[SocketAddr]) -> io::Result<()> {
    none()
}

/// `Unsupported`.
pub fn unbind(_fd: BorrowedFd<'_>, _addresses: &[SocketAddr]) -> io::Result<()> {
    none()
}

/// `Unsupported`.
pub fn connect(_fd: BorrowedFd<'_>, _addresses: &[SocketAddr]) -> io::Result<Connect> {
    none()
}

/// `Unsupported`.
pub fn local_addrs(_fd: BorrowedFd<'_>) -> io::Result<Vec<SocketAddr>> {
    none()
}

/// `Unsupported`.
pub fn peer_addrs(_fd: BorrowedFd<'_>) -> io::Result<Vec<SocketAddr>> {
    none()
}

/// `Unsupported`.
pub fn recv(_fd: BorrowedFd<'_>, _room: &mut BytesMut, _max: usize) -> io::Result<Received> {
    none()
}

/// `Unsupported`.
pub fn send(_fd: BorrowedFd<'_>, _bytes: &[u8], _info: &Info) -> io::Result<usize> {
    none()
}
