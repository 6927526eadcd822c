//! A TCP client is sent to a Unix domain socket, and a Unix server is bound to a port.

use std::net::SocketAddr;

use tidegate::transport::unix::{UnixAddress, UnixStream};
use tidegate::{Bootstrap, ServerBootstrap};

fn connect(tcp: &Bootstrap) {
    tcp.connect(UnixAddress::path("/run/tidegate.sock"));
}

fn bind(unix: &ServerBootstrap<UnixStream>, port: SocketAddr) {
    unix.bind(port);
}

fn main() {}
