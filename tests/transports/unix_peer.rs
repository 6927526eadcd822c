//! Foreign peers that are plain sockets of the Unix domain.

use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicU32, Ordering};

use tidegate::channel::{Address, UnixAddress};
use tidegate_sys::os::net::{self, unix};

use crate::probe::DEADLINE;
use crate::row::{Listening, Peer};

/// An address that nobody has. On Linux it leaves no file, so it refuses connections afterwards as a port does.
pub fn free() -> Address {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("tidegate-row-{}-{number}", std::process::id());
    if cfg!(target_os = "linux") {
        UnixAddress::abstract_name(name).into()
    } else {
        UnixAddress::path(std::env::temp_dir().join(name)).into()
    }
}

struct Plain {
    listener: UnixListener,
    address: UnixAddress,
}

pub fn listen() -> Box<dyn Listening> {
    let address = name(&free());
    let socket = unix::stream_socket().expect("a socket");
    net::bind(socket.as_fd(), &address).expect("a free address");
    net::listen(socket.as_fd(), net::max_backlog()).expect("listening");
    let listener = UnixListener::from(socket);
    listener.set_nonblocking(false).expect("an option");
    Box::new(Plain { listener, address })
}

pub fn visit(address: &Address) -> Box<dyn Peer> {
    let socket = unix::stream_socket().expect("a socket");
    net::connect(socket.as_fd(), &name(address)).expect("a connection");
    Box::new(patient(socket))
}

fn name(address: &Address) -> UnixAddress {
    address
        .as_unix()
        .expect("an address of this domain")
        .clone()
}

fn patient(socket: impl Into<OwnedFd>) -> UnixStream {
    let stream = UnixStream::from(socket.into());
    stream.set_nonblocking(false).expect("an option");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
    stream
}

impl Listening for Plain {
    fn address(&self) -> Address {
        self.address.clone().into()
    }

    fn accept(&self) -> Box<dyn Peer> {
        Box::new(patient(self.listener.accept().expect("a client").0))
    }
}

impl Peer for UnixStream {
    fn again(&self) -> Box<dyn Peer> {
        Box::new(self.try_clone().expect("a descriptor"))
    }

    fn end_output(&mut self) {
        self.shutdown(Shutdown::Write).expect("connected");
    }

    /// Only what was left unread resets these.
    fn reset_on_close(&mut self) {}
}
