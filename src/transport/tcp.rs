//! TCP: [`Tcp`] connections, [`TcpServer`] listeners, and [`Accepted`] connections that have no channel yet.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

use tidegate_sys::os::net::{self, IntOption};

pub use super::tcp_info::{TCP_INFO, TcpInfo};
use crate::channel::{Inet, OptionId, OptionValue};
use crate::error::Error;
use crate::transport::socket;
use crate::transport::socket::kind::StreamKind;

/// A TCP connection. `TCP_NODELAY` is on unless it was set otherwise: the channel gathers small writes itself.
pub type Tcp = socket::Connection<TcpKind>;

/// A listening TCP socket. `SO_REUSEADDR` is on unless it was set otherwise, so that a server can be started again at
/// once.
pub type TcpServer = socket::Listener<TcpKind>;

/// A TCP connection that has no channel yet: what a [`TcpServer`] reads.
pub type Accepted = socket::Accepted<Inet>;

const _: () = assert!(
    size_of::<Tcp>() <= 24,
    "one per connection; benches/idle.sh adds up"
);

/// What makes a stream socket one of TCP.
#[derive(Debug, Default)]
pub struct TcpKind {
    /// TCP_NODELAY was set on purpose, or has its default.
    has_nodelay: bool,
}

impl StreamKind for TcpKind {
    type Domain = Inet;

    const NAME: &'static str = "tcp";
    const SERVER_NAME: &'static str = "tcp server";
    const TITLE: &'static str = "TCP";
    const SERVER_DEFAULTS: &'static [(OptionId, IntOption)] =
        &[(OptionId::SoReuseaddr, net::SO_REUSEADDR)];
    const RECEIVES_BYTES: bool = true;
    const SENDS_BYTES: bool = true;

    fn socket(name: &SocketAddr) -> io::Result<OwnedFd> {
        net::tcp_socket(name)
    }

    /// Nothing else has this option.
    fn recognize(socket: BorrowedFd<'_>) -> io::Result<()> {
        net::get_int(socket, net::TCP_NODELAY).map(drop)
    }

    /// Best effort: nobody asked for it, and the peer may have reset the connection already.
    fn begin(&mut self, socket: BorrowedFd<'_>) {
        if !std::mem::replace(&mut self.has_nodelay, true) {
            let _ = net::set_int(socket, net::TCP_NODELAY, 1);
        }
    }

    fn set_option(&mut self, id: OptionId, _value: &OptionValue) -> bool {
        self.has_nodelay |= id == OptionId::TcpNodelay;
        false
    }

    fn option(
        &self,
        id: OptionId,
        socket: Option<BorrowedFd<'_>>,
    ) -> Option<Result<OptionValue, Error>> {
        let is_default = id == OptionId::TcpNodelay && socket.is_none();
        is_default.then_some(Ok(OptionValue::Bool(true)))
    }
}
