//! What every internet socket has in common: its addresses and how it speaks of options.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use super::options::{self, Family};
use crate::channel::{Address, OptionId, OptionValue};
use crate::error::{Error, ErrorKind};

/// The socket address in `address`. `name` is the transport's, for the text.
pub(crate) fn inet(name: &str, address: &Address, verb: &str) -> Result<SocketAddr, Error> {
    address.as_inet().ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidArgument,
            format!("{name} can't {verb} {address}: it takes an IP address with a port; names go through a bootstrap's resolver"),
        )
    })
}

pub(crate) fn family(address: &SocketAddr) -> Family {
    match address {
        SocketAddr::V4(_) => Family::V4,
        SocketAddr::V6(_) => Family::V6,
    }
}

pub(crate) fn set(
    fd: BorrowedFd<'_>,
    family: Family,
    id: OptionId,
    value: &OptionValue,
) -> Result<(), Error> {
    options::set(fd, family, id, value)
        .map_err(|error| Error::io(format!("setting option {id} to {value:?}"), error))
}

pub(crate) fn get(fd: BorrowedFd<'_>, family: Family, id: OptionId) -> Result<OptionValue, Error> {
    options::get(fd, family, id).map_err(|error| Error::io(format!("reading option {id}"), error))
}

pub(crate) fn no_such_option(name: &str, id: OptionId) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("{name} has no option {id}; leave it out or use a transport that has it"),
    )
}
