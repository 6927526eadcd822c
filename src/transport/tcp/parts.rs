//! What a connection and a listener of TCP have in common: their addresses and how they speak of options.

use std::fmt;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::BorrowedFd;

use crate::channel::{Address, OptionId, OptionValue};
use crate::error::{Error, ErrorKind};
use crate::transport::socket::options::{self, Family};

/// The socket address in `address`.
pub(super) fn inet(address: &Address, verb: &str) -> Result<SocketAddr, Error> {
    address.as_inet().ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidArgument,
            format!("TCP can't {verb} {address}: it takes an IP address with a port; names go through a bootstrap's resolver"),
        )
    })
}

pub(super) fn family(address: &SocketAddr) -> Family {
    match address {
        SocketAddr::V4(_) => Family::V4,
        SocketAddr::V6(_) => Family::V6,
    }
}

/// Whom a connection leads to, in as few bytes as most of them need: a socket address is 32.
#[derive(Debug)]
pub(super) enum Peer {
    Nobody,
    V4(SocketAddrV4),
    V6(Box<SocketAddrV6>),
}

impl Peer {
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Nobody => None,
            Self::V4(address) => Some(SocketAddr::V4(*address)),
            Self::V6(address) => Some(SocketAddr::V6(**address)),
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => Self::V4(address),
            SocketAddr::V6(address) => Self::V6(Box::new(address)),
        }
    }
}

/// For the text of errors.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("nobody"),
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => address.fmt(f),
        }
    }
}

pub(super) fn set(
    fd: BorrowedFd<'_>,
    family: Family,
    id: OptionId,
    value: &OptionValue,
) -> Result<(), Error> {
    options::set(fd, family, id, value)
        .map_err(|error| Error::io(format!("setting option {id} to {value:?}"), error))
}

pub(super) fn get(fd: BorrowedFd<'_>, family: Family, id: OptionId) -> Result<OptionValue, Error> {
    options::get(fd, family, id).map_err(|error| Error::io(format!("reading option {id}"), error))
}

pub(super) fn no_such_option(name: &str, id: OptionId) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("{name} has no option {id}; leave it out or use a transport that has it"),
    )
}
