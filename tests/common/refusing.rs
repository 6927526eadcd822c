//! A port where a connect is refused. One that a listener has had and given back may be another test's by then.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use tidegate_sys::os::net;

/// A port where nobody listens, and nobody else will while it is held.
pub fn refusing() -> (OwnedFd, SocketAddr) {
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let socket = net::tcp_socket(&any).expect("a socket");
    net::bind(socket.as_fd(), &any).expect("a port");
    let address = net::local_addr(socket.as_fd()).expect("an address");
    (socket, address)
}
