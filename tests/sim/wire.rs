//! What carries the connections of a run: TCP, or streams of the Unix domain. A connection is named by a number that both
//! of its ends know: the client's port, or the number in the client's name.

use std::io;
use std::net::SocketAddr;

use tidegate::bootstrap::{Bootstrap, ServerBootstrap};
use tidegate::channel::{Address, UnixAddress};
use tidegate::sim::{Peer, Simulation};
use tidegate::transport::unix::UnixStream;
use tidegate::{Channel, ChannelFuture};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wire {
    Tcp,
    Unix,
}

/// The first number of scripts; clients have those below.
const SCRIPTS: usize = 1_000;

impl Wire {
    /// One run in seven goes over Unix streams. Seven has nothing in common with how many selectors there are, and with how
    /// many machines break nothing.
    pub fn of(seed: u64) -> Self {
        match seed % 7 {
            3 => Self::Unix,
            _ => Self::Tcp,
        }
    }

    pub fn bind(self, server: ServerBootstrap) -> ChannelFuture {
        match self {
            Self::Tcp => server.bind(tcp_address()),
            Self::Unix => server.transport::<UnixStream>().bind(unix_address()),
        }
    }

    /// Connects the client of this number.
    pub fn connect(self, client: Bootstrap, number: usize) -> ChannelFuture {
        match self {
            Self::Tcp => client.connect(tcp_address()),
            Self::Unix => client
                .transport::<UnixStream>()
                .local_address(client_name(number))
                .connect(unix_address()),
        }
    }

    /// Connects the peer of this number: itself, and what names the connection.
    pub fn connect_script(self, simulation: &Simulation, number: usize) -> io::Result<(Peer, u16)> {
        let number = SCRIPTS + number;
        match self {
            Self::Tcp => {
                let peer = simulation.connect(tcp_address())?;
                let port = peer.local_addr()?.port();
                Ok((peer, port))
            }
            Self::Unix => {
                let name = UnixAddress::abstract_name(format!("script-{number}"));
                let peer = simulation.connect_unix(Some((&name).into()), &unix_address())?;
                Ok((peer, number as u16))
            }
        }
    }
}

/// What names the connection of this channel.
pub fn number_of(channel: &Channel, is_client: bool) -> Option<u16> {
    let address = match is_client {
        true => channel.local_address(),
        false => channel.remote_address(),
    };
    match address? {
        Address::Unix(name) => name.to_string().rsplit('-').next()?.parse().ok(),
        other => other.as_inet().map(|inet| inet.port()),
    }
}

fn tcp_address() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 80))
}

fn unix_address() -> UnixAddress {
    UnixAddress::path("/run/tidegate.sock")
}

/// Every other client has a file.
fn client_name(number: usize) -> UnixAddress {
    let name = format!("client-{number}");
    match number % 2 {
        0 => UnixAddress::path(format!("/run/{name}")),
        _ => UnixAddress::abstract_name(name),
    }
}
