//! Foreign peers that are plain sockets of std.

use std::any::Any;
use std::net::{Shutdown, TcpListener, TcpStream};

use tidegate::channel::Address;

use crate::plain::{accept_plain, nobody_accepts, plain_client, plain_listener, reset_on_close};
use crate::refusing;
use crate::row::{Listening, Peer};

pub fn listen() -> Box<dyn Listening> {
    Box::new(plain_listener().0)
}

/// The port of a socket that does not listen.
pub fn refusing() -> (Address, Box<dyn Any>) {
    let (socket, address) = refusing::refusing();
    (address.into(), Box::new(socket))
}

pub fn visit(address: &Address) -> Box<dyn Peer> {
    Box::new(plain_client(address.as_inet().expect("a socket address")))
}

pub fn full() -> Address {
    nobody_accepts().into()
}

impl Listening for TcpListener {
    fn address(&self) -> Address {
        self.local_addr().expect("an address").into()
    }

    fn accept(&self) -> Box<dyn Peer> {
        Box::new(accept_plain(self))
    }
}

impl Peer for TcpStream {
    fn again(&self) -> Box<dyn Peer> {
        Box::new(self.try_clone().expect("a descriptor"))
    }

    fn end_output(&mut self) {
        self.shutdown(Shutdown::Write).expect("connected");
    }

    fn reset_on_close(&mut self) {
        reset_on_close(self);
    }
}
