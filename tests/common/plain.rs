//! TCP sockets that are not ours: what the tests of transports over TCP play against. Each test binary uses its part.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpMaxSeg;
use tidegate_sys::os::net;

use crate::probe::{DEADLINE, until};

/// Bytes in a segment, as on Ethernet. The loopback device has segments of 64 KiB, a handful in a [`SMALL`] buffer: where
/// the kernel remembers a slow moment of this route (`ip tcp_metrics`), each then waits 40 ms for a delayed
/// acknowledgement.
const SEGMENT: u32 = 1448;

/// A listener that is not ours.
pub fn plain_listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    setsockopt(&listener, TcpMaxSeg, &SEGMENT).expect("an option");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// A connection that is not ours; its reads give up at the deadline.
pub fn plain_client(address: SocketAddr) -> TcpStream {
    let socket = net::tcp_socket(&address).expect("a socket");
    setsockopt(&socket, TcpMaxSeg, &SEGMENT).expect("an option");
    net::connect(socket.as_fd(), &address).expect("on its way");
    until("connected", || {
        net::peer_addr::<SocketAddr>(socket.as_fd()).is_ok()
    });
    let client = TcpStream::from(socket);
    client.set_nonblocking(false).expect("an option");
    client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    client.set_nodelay(true).expect("an option");
    client
}

/// The other side of a connection to a plain listener.
pub fn accept_plain(listener: &TcpListener) -> TcpStream {
    let (peer, _) = listener.accept().expect("a client");
    peer.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    peer.set_nodelay(true).expect("an option");
    peer
}

/// Closing this one resets the connection.
pub fn reset_on_close(stream: &TcpStream) {
    net::set_linger(stream.as_fd(), Some(Duration::ZERO)).expect("an option");
}

/// The address of a listener that lets nobody in: its queue is full, so that a connect stays under way. There is one for
/// all tests, since it takes a while to see that the queue is full.
pub fn nobody_accepts() -> SocketAddr {
    static FULL: OnceLock<FullListener> = OnceLock::new();
    FULL.get_or_init(FullListener::new).address
}

struct FullListener {
    address: SocketAddr,
    _socket: OwnedFd,
    _queued: Vec<OwnedFd>,
}

impl FullListener {
    fn new() -> Self {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let socket = net::tcp_socket(&any).expect("a socket");
        net::bind(socket.as_fd(), &any).expect("a port");
        net::listen(socket.as_fd(), 0).expect("listening");
        let address: SocketAddr = net::local_addr(socket.as_fd()).expect("an address");
        let mut queued = Vec::new();
        // The queue takes one or two; the first that is not let in shows that it is full.
        loop {
            let client = net::tcp_socket(&address).expect("a socket");
            let _ = net::connect(client.as_fd(), &address).expect("on its way");
            let begun = Instant::now();
            let is_in = loop {
                // Asked first: when this thread was late, the answer is not.
                let is_late = begun.elapsed() > Duration::from_millis(200);
                if net::peer_addr::<SocketAddr>(client.as_fd()).is_ok() {
                    break true;
                }
                if is_late {
                    break false;
                }
                std::thread::yield_now();
            };
            queued.push(client);
            if !is_in {
                return Self {
                    address,
                    _socket: socket,
                    _queued: queued,
                };
            }
        }
    }
}
