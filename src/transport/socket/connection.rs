//! [`Connection`]: the transport of a connected stream socket.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use tidegate_sys::os::net::{self, Connect};

use super::accepted::Accepted;
use super::domain::{Domain, Peer, Place};
use super::kind::{NameOf, StreamKind};
use super::listener::Listener;
use super::options::{self, Family, Waiting};
use super::stream;
use crate::buffer::Message;
use crate::channel::{
    Address, Direction, Flush, Io, Metadata, OptionId, OptionValue, OutboundBuffer, Progress, Read,
    Transport,
};
use crate::error::{Error, ErrorKind};
use crate::transport::kind::{ChildTransport, ClientTransport};

/// A connection. As a client it has no socket before it connects or binds, because the socket's family is that of the
/// address; options set before are kept and applied then.
///
/// It sends [`Bytes`](bytes::Bytes), [`BytesMut`](bytes::BytesMut) and
/// [`FileRegion`](crate::buffer::FileRegion)s, and reads [`BytesMut`](bytes::BytesMut). What else there is, its kind tells:
/// [`Tcp`](crate::transport::tcp::Tcp), [`UnixStream`](crate::transport::unix::UnixStream).
pub struct Connection<K: StreamKind> {
    socket: Socket,
    peer: <K::Domain as Domain>::Peer,
    /// Where it was bound, if it was.
    place: <K::Domain as Domain>::Place,
    kind: K,
    /// SO_LINGER was set to a time; looked at when the connection is closed.
    lingers: bool,
    is_connected: bool,
}

#[derive(Debug)]
enum Socket {
    /// Not made yet; these wait for it. In a box, because there is only one of them in a connection's life.
    Unopened(Box<Waiting>),
    Open(OwnedFd),
    Closed,
}

impl Socket {
    #[inline]
    fn fd(&self, title: &str) -> Result<BorrowedFd<'_>, Error> {
        match self {
            Self::Open(fd) => Ok(fd.as_fd()),
            Self::Unopened(_) | Self::Closed => Err(self.no_fd(title)),
        }
    }

    #[cold]
    fn no_fd(&self, title: &str) -> Error {
        match self {
            Self::Closed => Error::new(
                ErrorKind::ChannelClosed,
                format!("the {title} channel is closed"),
            ),
            _ => Error::new(
                ErrorKind::NotYetConnected,
                format!("the {title} channel is not connected"),
            ),
        }
    }
}

impl<K: StreamKind> Connection<K> {
    fn fd(&self) -> Result<BorrowedFd<'_>, Error> {
        self.socket.fd(K::TITLE)
    }

    /// The socket, made now if there was none. If one of the options that waited can't be set there is none.
    fn open(&mut self, name: &NameOf<K>) -> Result<(), Error> {
        let Socket::Unopened(waiting) = &self.socket else {
            return self.fd().map(drop);
        };
        let socket = K::socket(name)
            .map_err(|error| Error::io(format!("opening a {} socket", K::TITLE), error))?;
        let family = K::Domain::family(Some(name.clone()));
        waiting.apply(|id, value| K::set_on(socket.as_fd(), family, id, value))?;
        self.kind.begin(socket.as_fd());
        self.socket = Socket::Open(socket);
        Ok(())
    }

    fn bind_to(&mut self, name: &NameOf<K>) -> Result<(), Error> {
        self.open(name)?;
        let socket = self.socket.fd(K::TITLE)?;
        let bound = self.place.bind(socket, name, || K::socket(name));
        self.place.ready();
        bound.map_err(|error| Error::io(format!("binding to {name}"), error))
    }

    fn family(&self) -> Family {
        let known = self.peer.name();
        K::Domain::family(known.or_else(|| net::local_addr(self.fd().ok()?).ok()))
    }
}

impl<K: StreamKind> From<Accepted<K::Domain>> for Connection<K> {
    fn from(accepted: Accepted<K::Domain>) -> Self {
        let lingers = lingers(accepted.linger());
        let (socket, peer) = accepted.into_parts();
        Self {
            socket: Socket::Open(socket),
            peer: Peer::of(peer),
            place: Default::default(),
            kind: K::default(),
            lingers,
            is_connected: true,
        }
    }
}

impl<K: StreamKind> ClientTransport for Connection<K> {
    type Family = K::Domain;

    fn unconnected() -> Self {
        Self {
            socket: Socket::Unopened(Box::default()),
            peer: Default::default(),
            place: Default::default(),
            kind: K::default(),
            lingers: false,
            is_connected: false,
        }
    }
}

impl<K: StreamKind> ChildTransport for Connection<K> {
    type Family = K::Domain;
    type Server = Listener<K>;
    type Accepted = Accepted<K::Domain>;

    fn server() -> Listener<K> {
        Listener::unbound()
    }

    fn child(accepted: Accepted<K::Domain>) -> Self {
        Self::from(accepted)
    }
}

impl<K: StreamKind> fmt::Debug for Connection<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(K::NAME)
            .field("socket", &self.socket)
            .field("peer", &self.peer)
            .field("is_connected", &self.is_connected)
            .finish_non_exhaustive()
    }
}

impl<K: StreamKind> Transport for Connection<K> {
    fn metadata(&self) -> Metadata {
        Metadata {
            name: K::NAME,
            has_disconnect: false,
            max_messages_per_read: 16,
            is_server: false,
        }
    }

    fn is_active(&self) -> bool {
        self.is_connected
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd().ok()
    }

    fn register(&mut self, _io: &mut Io<'_>) -> Result<(), Error> {
        if self.is_connected
            && let Ok(socket) = self.socket.fd(K::TITLE)
        {
            self.kind.begin(socket);
        }
        Ok(())
    }

    fn bind(&mut self, _io: &mut Io<'_>, local: &Address) -> Result<(), Error> {
        self.bind_to(&K::Domain::name(K::TITLE, local, "bind to")?)
    }

    fn connect(
        &mut self,
        io: &mut Io<'_>,
        remote: &Address,
        local: Option<&Address>,
    ) -> Result<Progress, Error> {
        let name = K::Domain::name(K::TITLE, remote, "connect to")?;
        match local {
            Some(local) => self.bind(io, local)?,
            None => self.open(&name)?,
        }
        let socket = self.socket.fd(K::TITLE)?;
        let begun = self
            .kind
            .connect(socket, &name)
            .map_err(|error| Error::connect(&name, error))?;
        self.peer = Peer::of(name);
        self.is_connected = begun == Connect::Done;
        Ok(match begun {
            Connect::Done => Progress::Done,
            Connect::InProgress => Progress::Pending,
        })
    }

    fn check_connect(&mut self, _io: &mut Io<'_>) -> Result<Progress, Error> {
        let fd = self.fd()?;
        let failed = |error| Error::connect(&self.peer, error);
        if let Some(error) = net::take_error(fd).map_err(failed)? {
            return Err(failed(error));
        }
        match net::peer_addr::<NameOf<K>>(fd) {
            Ok(_) => {
                self.is_connected = true;
                Ok(Progress::Done)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotConnected => Ok(Progress::Pending),
            Err(error) => Err(failed(error)),
        }
    }

    #[inline]
    fn accepts(&self, msg: &Message) -> bool {
        K::accepts(msg)
    }

    #[inline]
    fn size_of(&self, msg: &Message) -> usize {
        K::size_of(msg)
    }

    #[inline]
    fn read(&mut self, io: &mut Io<'_>) -> Result<Read, Error> {
        let socket = self.socket.fd(K::TITLE)?;
        self.kind.read(socket, io, &self.peer)
    }

    #[inline]
    fn flush(&mut self, io: &mut Io<'_>, out: &mut OutboundBuffer) -> Result<Flush, Error> {
        let socket = self.socket.fd(K::TITLE)?;
        let (kind, peer) = (&mut self.kind, &self.peer);
        stream::flush(socket, io.write_spin_count(), out, peer, |out| {
            kind.send_object(socket, out, peer)
        })
    }

    fn shutdown(&mut self, _io: &mut Io<'_>, direction: Direction) -> Result<(), Error> {
        stream::shutdown(self.fd()?, direction, &self.peer)
    }

    fn close(&mut self, io: &mut Io<'_>) -> Result<Progress, Error> {
        let lingers = std::mem::take(&mut self.is_connected) && self.lingers;
        self.place.leave();
        match std::mem::replace(&mut self.socket, Socket::Closed) {
            Socket::Open(socket) => Ok(stream::close(socket, lingers, io)),
            Socket::Unopened(_) | Socket::Closed => Ok(Progress::Done),
        }
    }

    fn set_option(&mut self, id: OptionId, value: &OptionValue) -> Result<(), Error> {
        if self.place.set_option(id, value) || self.kind.set_option(id, value) {
            return Ok(());
        }
        let family = self.family();
        if !K::has_option(family, id) {
            return Err(options::no_such_option(K::NAME, id));
        }
        match &mut self.socket {
            Socket::Unopened(waiting) => waiting.set(id, value)?,
            Socket::Open(fd) => K::set_on(fd.as_fd(), family, id, value)?,
            Socket::Closed => return self.fd().map(drop),
        }
        if let (OptionId::SoLinger, OptionValue::Duration(linger)) = (id, value) {
            self.lingers = lingers(*linger);
        }
        Ok(())
    }

    fn option(&self, id: OptionId) -> Result<OptionValue, Error> {
        if let Some(value) = self.place.option(id) {
            return Ok(value);
        }
        let own = self.kind.option(id, self.fd().ok());
        let family = self.family();
        if own.is_none() && !K::has_option(family, id) {
            return Err(options::no_such_option(K::NAME, id));
        }
        match (&self.socket, own) {
            (Socket::Unopened(waiting), own) => waiting.get(id, own.transpose()?),
            (Socket::Open(_), Some(own)) => own,
            (_, _) => K::get_on(self.fd()?, family, id),
        }
    }

    fn local_address(&self) -> Option<Address> {
        let name: NameOf<K> = net::local_addr(self.fd().ok()?).ok()?;
        Some(name.into())
    }

    fn remote_address(&self) -> Option<Address> {
        self.peer
            .name()
            .filter(|_| self.is_connected)
            .map(Into::into)
    }
}

/// Whether a socket that has this for SO_LINGER waits in its close.
fn lingers(linger: Option<Duration>) -> bool {
    linger.is_some_and(|linger| !linger.is_zero())
}
