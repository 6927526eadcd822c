//! What differs between the internet and the Unix domain, for the machines of this folder and of datagrams: how an address
//! is read, what is done when a socket gets one, and which options there are.

use std::fmt::{Debug, Display};
use std::io;
use std::os::fd::BorrowedFd;

use tidegate_sys::os::net::{self, SocketAddress};

use super::options::Family;
use crate::channel::{Address, OptionId, OptionValue};
use crate::error::Error;

/// A domain of sockets. Its type is also the family of its addresses, for bootstraps.
pub trait Domain: 'static {
    /// Addresses, as the system's calls take them.
    type Name: SocketAddress + Into<Address> + Debug + Display + Send + 'static;

    /// Whom a connection leads to, in as few bytes as most of them need.
    type Peer: Peer<Self::Name>;

    /// Where a socket is bound.
    type Place: Place<Self::Name>;

    /// The address of this domain in `address`. `transport` wants to `verb` it, for the text.
    fn name(transport: &str, address: &Address, verb: &str) -> Result<Self::Name, Error>;

    /// How the options of a socket are spelled whose address, or whose peer's, is this.
    fn family(name: Option<Self::Name>) -> Family;
}

/// See [`Domain::Peer`]. The default is nobody, and says so as text.
pub trait Peer<N>: Default + Debug + Display + 'static {
    /// Who has this address.
    fn of(name: N) -> Self;

    /// The address, if it is somebody.
    fn name(&self) -> Option<N>;
}

/// Where a socket is bound, and what that leaves in the world until the socket is closed. Dropping it leaves nothing.
pub trait Place<N: SocketAddress>: Default + Debug + 'static {
    /// Gives the socket its address.
    fn bind(&mut self, socket: BorrowedFd<'_>, name: &N) -> io::Result<()> {
        net::bind(socket, name)
    }

    /// The socket answers from now on.
    fn ready(&mut self) {}

    /// The socket is about to be closed.
    fn leave(&mut self) {}

    /// Sets an option of the place; false if it has none of that name.
    fn set_option(&mut self, id: OptionId, value: &OptionValue) -> bool {
        let _ = (id, value);
        false
    }

    /// Reads an option of the place.
    fn option(&self, id: OptionId) -> Option<OptionValue> {
        let _ = id;
        None
    }
}
