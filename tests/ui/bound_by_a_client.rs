//! A TCP server is bound by the bootstrap of clients, as one of UDP is.

use tidegate::Bootstrap;

fn bind(tcp: &Bootstrap) {
    tcp.bind("127.0.0.1:8080");
}

fn main() {}
