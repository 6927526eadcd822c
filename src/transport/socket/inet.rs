//! The internet as a domain of sockets.

use std::fmt;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

use super::domain::{Domain, Peer, Place};
use super::options::Family;
use crate::channel::{Address, Inet};
use crate::error::{Error, ErrorKind};

impl Domain for Inet {
    type Name = SocketAddr;
    type Peer = InetPeer;
    type Place = Port;

    fn name(transport: &str, address: &Address, verb: &str) -> Result<SocketAddr, Error> {
        address.as_inet().ok_or_else(|| {
            let cure = match address {
                Address::Name(_) => "there is no port, or none from 0 to 65535, as in 127.0.0.1:80",
                _ => "it takes an IP address with a port; names go through a bootstrap's resolver",
            };
            Error::new(
                ErrorKind::InvalidArgument,
                format!("{transport} can't {verb} {address}: {cure}"),
            )
        })
    }

    fn family(name: Option<SocketAddr>) -> Family {
        match name {
            Some(SocketAddr::V6(_)) => Family::V6,
            Some(SocketAddr::V4(_)) | None => Family::V4,
        }
    }
}

/// An address of the internet leaves nothing in the world.
#[derive(Debug, Default)]
pub struct Port;

impl Place<SocketAddr> for Port {}

/// Whom a connection leads to: a socket address is 32 bytes.
#[derive(Debug, Default)]
pub enum InetPeer {
    #[default]
    Nobody,
    V4(SocketAddrV4),
    V6(Box<SocketAddrV6>),
}

impl Peer<SocketAddr> for InetPeer {
    fn of(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => Self::V4(address),
            SocketAddr::V6(address) => Self::V6(Box::new(address)),
        }
    }

    fn name(&self) -> Option<SocketAddr> {
        match self {
            Self::Nobody => None,
            Self::V4(address) => Some(SocketAddr::V4(*address)),
            Self::V6(address) => Some(SocketAddr::V6(**address)),
        }
    }
}

/// For the text of errors.
impl fmt::Display for InetPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("nobody"),
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => address.fmt(f),
        }
    }
}
