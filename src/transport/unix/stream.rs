//! [`UnixStream`] and [`UnixServer`]: connections of the Unix domain.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tidegate_sys::os::net::{
    IntOption,
    unix::{self, Credentials},
};

use crate::channel::{ChannelOption, OptionId, OptionType, OptionValue, Unix, UnixAddress};
use crate::error::Error;
use crate::transport::socket;
use crate::transport::socket::kind::StreamKind;

/// A connection of the Unix domain.
pub type UnixStream = socket::Connection<UnixKind>;

/// A listening socket of the Unix domain. It has a file in the file system, unless its name is an abstract one; see
/// [`UNLINK_STALE`](super::UNLINK_STALE) and [`UNLINK_ON_CLOSE`](super::UNLINK_ON_CLOSE).
pub type UnixServer = socket::Listener<UnixKind>;

/// A connection of the Unix domain that has no channel yet: what a [`UnixServer`] reads.
pub type Accepted = socket::Accepted<Unix>;

/// Who stands at the other end of a connection, as the system says. Can't be set.
///
/// Source: unix(7); elsewhere getpeereid(3), which tells no process.
pub const SO_PEERCRED: ChannelOption<Credentials> = ChannelOption::named("SO_PEERCRED");

impl OptionType for Credentials {}

impl socket::Accepted<Unix> {
    /// Both ends of a connection, each for a channel, or for another process.
    ///
    /// # Errors
    /// What the system says if it has no descriptors left.
    pub fn pair() -> Result<(Self, Self), Error> {
        let (one, other) = unix::stream_pair()
            .map_err(|error| Error::io("making a pair of Unix sockets", error))?;
        Ok((Self::adopt(one)?, Self::adopt(other)?))
    }

    /// Who connected.
    ///
    /// # Errors
    /// What the system says.
    pub fn credentials(&self) -> Result<Credentials, Error> {
        credentials(self.as_fd())
    }
}

fn credentials(socket: BorrowedFd<'_>) -> Result<Credentials, Error> {
    unix::peer_credentials(socket)
        .map_err(|error| Error::io("asking who stands at the other end", error))
}

/// What makes a stream socket one of the Unix domain.
#[derive(Debug, Default)]
pub struct UnixKind;

impl StreamKind for UnixKind {
    type Domain = Unix;

    const NAME: &'static str = "unix stream";
    const SERVER_NAME: &'static str = "unix server";
    const TITLE: &'static str = "Unix";
    const SERVER_DEFAULTS: &'static [(OptionId, IntOption)] = &[];

    fn socket(_name: &UnixAddress) -> io::Result<OwnedFd> {
        unix::stream_socket()
    }

    fn option(
        &self,
        id: OptionId,
        socket: Option<BorrowedFd<'_>>,
    ) -> Option<Result<OptionValue, Error>> {
        let socket = socket.filter(|_| id == SO_PEERCRED.id())?;
        Some(credentials(socket).and_then(|found| SO_PEERCRED.erase(found)))
    }
}
