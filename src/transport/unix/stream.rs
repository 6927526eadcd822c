//! [`UnixStream`] and [`UnixServer`]: connections of the Unix domain.

use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tidegate_sys::os::net::{
    IntOption,
    unix::{self, Credentials},
};

use crate::buffer::Message;
use crate::channel::stream::{self, Step};
use crate::channel::{
    ChannelOption, Front, Io, OptionId, OptionType, OptionValue, OutboundBuffer, Read, Unix,
    UnixAddress,
};
use crate::error::{Error, ErrorKind};
use crate::transport::socket;
use crate::transport::socket::descriptors::{self, Descriptors};
use crate::transport::socket::kind::StreamKind;

/// A connection of the Unix domain. Beside bytes it carries [`Descriptors`].
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

/// Take descriptors that the peer of a stream sends. Off, the system closes them; their bytes come all the same.
///
/// Default true. Source: this crate.
pub const RECEIVE_DESCRIPTORS: ChannelOption<bool> = ChannelOption::named("RECEIVE_DESCRIPTORS");

/// What makes a stream socket one of the Unix domain.
#[derive(Debug, Default)]
pub struct UnixKind {
    /// RECEIVE_DESCRIPTORS is off.
    ignores_descriptors: bool,
    /// The bytes behind descriptors that were just read.
    held: Option<Box<Read>>,
}

impl StreamKind for UnixKind {
    type Domain = Unix;

    const NAME: &'static str = "unix stream";
    const SERVER_NAME: &'static str = "unix server";
    const TITLE: &'static str = "Unix";
    const SERVER_DEFAULTS: &'static [(OptionId, IntOption)] = &[];
    /// Descriptors come with them.
    const RECEIVES_BYTES: bool = false;
    const SENDS_BYTES: bool = true;

    fn socket(_name: &UnixAddress) -> io::Result<OwnedFd> {
        unix::stream_socket()
    }

    /// Descriptors come in front of the bytes that were read with them.
    fn read(
        &mut self,
        socket: BorrowedFd<'_>,
        io: &mut Io<'_>,
        peer: &dyn Display,
    ) -> Result<Read, Error> {
        if let Some(held) = self.held.take() {
            return Ok(*held);
        }
        let mut came = Vec::new();
        let mut has_lost = false;
        let wanted = !self.ignores_descriptors;
        let read = stream::read_by(io, peer, |room, max| {
            let came = wanted.then_some(&mut came);
            let part = unix::recv_with_descriptors(socket, room, max, came)?;
            has_lost = part.lost_descriptors;
            Ok(part.len)
        })?;
        if came.is_empty() && !has_lost {
            return Ok(read);
        }
        // The call ended behind the message with descriptors, whatever else is there.
        let bytes = match read {
            Read::Last(bytes) => Read::Message(bytes),
            other => other,
        };
        if !wanted {
            return Ok(bytes);
        }
        self.held = Some(Box::new(bytes));
        // A part of what was sent together is worth nothing; it is closed here.
        Ok(if has_lost {
            Read::Failed(descriptors::lost(peer))
        } else {
            Read::Message(Descriptors::from_iter(came).into())
        })
    }

    fn accepts(msg: &Message) -> bool {
        stream::accepts(msg) || msg.is::<Descriptors>()
    }

    fn size_of(msg: &Message) -> usize {
        match msg.downcast_ref::<Descriptors>() {
            Some(descriptors) => descriptors.bytes().len(),
            None => msg.estimated_size(),
        }
    }

    fn send_object(
        &mut self,
        socket: BorrowedFd<'_>,
        out: &mut OutboundBuffer,
        peer: &dyn Display,
    ) -> Result<Step, Error> {
        let Some((descriptors, bytes)) = front(out) else {
            stream::refuse_object(out);
            return Ok(Step::Went);
        };
        let has_own = !descriptors.bytes().is_empty();
        let Some(bytes) = bytes else {
            let error = Error::new(
                ErrorKind::InvalidArgument,
                "descriptors travel with bytes: give them some (with_bytes), or flush them together with the message behind them",
            );
            let _ = out.fail_front(error);
            return Ok(Step::Went);
        };
        let bytes = &bytes[..bytes.len().min(stream::SEND_MAX)];
        let offered = bytes.len();
        let sent = unix::send_with_descriptors(socket, bytes, &descriptors.borrowed()?);
        stream::sent(offered, sent, peer, |sent| {
            if !has_own {
                let _ = out.complete_front();
                let _ = out.advance(sent);
            } else if let Front::Object(object) = out.front()
                && let Some(descriptors) = object.downcast_mut::<Descriptors>()
                && descriptors.advance(sent)
            {
                let _ = out.complete_front();
            }
        })
    }

    fn set_option(&mut self, id: OptionId, value: &OptionValue) -> bool {
        let is_ours = id == RECEIVE_DESCRIPTORS.id();
        if let (true, Some(on)) = (is_ours, RECEIVE_DESCRIPTORS.restore(value)) {
            self.ignores_descriptors = !on;
        }
        is_ours
    }

    fn option(
        &self,
        id: OptionId,
        socket: Option<BorrowedFd<'_>>,
    ) -> Option<Result<OptionValue, Error>> {
        if id == RECEIVE_DESCRIPTORS.id() {
            return Some(Ok(OptionValue::Bool(!self.ignores_descriptors)));
        }
        let socket = socket.filter(|_| id == SO_PEERCRED.id())?;
        Some(credentials(socket).and_then(|found| SO_PEERCRED.erase(found)))
    }
}

/// The oldest flushed message, if it is descriptors, and the bytes that they travel with.
fn front(out: &OutboundBuffer) -> Option<(&Descriptors, Option<&[u8]>)> {
    let mut flushed = out.flushed();
    let descriptors = flushed.next()?.downcast_ref::<Descriptors>()?;
    let bytes = match &descriptors.bytes()[..] {
        [] => flushed
            .map_while(Message::as_bytes)
            .find(|bytes| !bytes.is_empty()),
        own => Some(own),
    };
    Some((descriptors, bytes))
}
