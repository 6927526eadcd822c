//! [`Connection`]: the transport of a connected stream socket.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use tidegate_sys::os::net::{self, Connect};

use super::accepted::Accepted;
use super::domain::{Domain, Peer, Place};
use super::ending;
use super::kind::{NameOf, StreamKind};
use super::listener::Listener;
use super::options::{self, Family, Waiting};
use crate::buffer::Message;
use crate::channel::stream;
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
    /// None before it is made, and once it is closed.
    socket: Option<OwnedFd>,
    far: Far<<K::Domain as Domain>::Peer>,
    /// Where it was bound, if it was.
    place: <K::Domain as Domain>::Place,
    kind: K,
    /// SO_LINGER was set to a time; looked at when the connection is closed.
    lingers: bool,
    is_connected: bool,
}

/// The far side. What the time before there is a socket takes is in the room of the peer, in the niche of its tag, and the
/// descriptor has a niche of its own: an enum around both would take a word more than these two fields.
#[derive(Debug)]
enum Far<P> {
    /// No socket yet; these wait for it. In a box, because there is only one of them in a connection's life.
    Unopened(Box<Waiting>),
    /// The socket is or was there, and leads to this one.
    Peer(P),
}

/// Nobody.
impl<P: Default> Default for Far<P> {
    fn default() -> Self {
        Self::Peer(P::default())
    }
}

/// For the text of errors.
impl<P: Default + fmt::Display> fmt::Display for Far<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unopened(_) => P::default().fmt(f),
            Self::Peer(peer) => peer.fmt(f),
        }
    }
}

impl<K: StreamKind> Connection<K> {
    fn fd(&self) -> Result<BorrowedFd<'_>, Error> {
        opened(&self.socket, &self.far, K::TITLE)
    }

    /// The socket, made now if there was none. If one of the options that waited can't be set there is none.
    fn open(&mut self, name: &NameOf<K>) -> Result<(), Error> {
        let Far::Unopened(waiting) = &self.far else {
            return self.fd().map(drop);
        };
        let socket = K::socket(name)
            .map_err(|error| Error::io(format!("opening a {} socket", K::TITLE), error))?;
        let family = K::Domain::family(Some(name.clone()));
        waiting.apply(|id, value| K::set_on(socket.as_fd(), family, id, value))?;
        self.kind.begin(socket.as_fd());
        self.socket = Some(socket);
        self.far = Far::default();
        Ok(())
    }

    fn bind_to(&mut self, name: &NameOf<K>) -> Result<(), Error> {
        self.open(name)?;
        let socket = opened(&self.socket, &self.far, K::TITLE)?;
        let bound = self.place.bind(socket, name);
        self.place.ready();
        bound.map_err(|error| Error::io(format!("binding to {name}"), error))
    }

    fn family(&self) -> Family {
        let known = self.peer_name();
        K::Domain::family(known.or_else(|| net::local_addr(self.fd().ok()?).ok()))
    }

    fn peer_name(&self) -> Option<NameOf<K>> {
        match &self.far {
            Far::Unopened(_) => None,
            Far::Peer(peer) => peer.name(),
        }
    }
}

impl<K: StreamKind> From<Accepted<K::Domain>> for Connection<K> {
    fn from(accepted: Accepted<K::Domain>) -> Self {
        let lingers = lingers(accepted.linger());
        let (socket, peer) = accepted.into_parts();
        Self {
            socket: Some(socket),
            far: Far::Peer(Peer::of(peer)),
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
            socket: None,
            far: Far::Unopened(Box::default()),
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
            .field("far", &self.far)
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
            && let Ok(socket) = opened(&self.socket, &self.far, K::TITLE)
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
        let socket = opened(&self.socket, &self.far, K::TITLE)?;
        let begun = self
            .kind
            .connect(socket, &name)
            .map_err(|error| Error::connect(&name, error))?;
        self.far = Far::Peer(Peer::of(name));
        self.is_connected = begun == Connect::Done;
        Ok(match begun {
            Connect::Done => Progress::Done,
            Connect::InProgress => Progress::Pending,
        })
    }

    fn check_connect(&mut self, _io: &mut Io<'_>) -> Result<Progress, Error> {
        let fd = self.fd()?;
        let failed = |error| Error::connect(&self.far, error);
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
    fn receiver(&self) -> Option<BorrowedFd<'_>> {
        let socket = self.socket.as_ref().filter(|_| K::RECEIVES_BYTES)?;
        Some(socket.as_fd())
    }

    #[inline]
    fn sender(&self) -> Option<BorrowedFd<'_>> {
        let socket = self.socket.as_ref().filter(|_| K::SENDS_BYTES)?;
        Some(socket.as_fd())
    }

    #[inline]
    fn read(&mut self, io: &mut Io<'_>) -> Result<Read, Error> {
        let socket = opened(&self.socket, &self.far, K::TITLE)?;
        self.kind.read(socket, io, &self.far)
    }

    #[inline]
    fn flush(&mut self, io: &mut Io<'_>, out: &mut OutboundBuffer) -> Result<Flush, Error> {
        let socket = opened(&self.socket, &self.far, K::TITLE)?;
        let (kind, peer) = (&mut self.kind, &self.far);
        stream::flush(socket, io.write_spin_count(), out, peer, |out| {
            kind.send_object(socket, out, peer)
        })
    }

    fn shutdown(&mut self, _io: &mut Io<'_>, direction: Direction) -> Result<(), Error> {
        ending::shutdown(self.fd()?, direction, &self.far)
    }

    fn close(&mut self, io: &mut Io<'_>) -> Result<Progress, Error> {
        let lingers = std::mem::take(&mut self.is_connected) && self.lingers;
        self.place.leave();
        if matches!(self.far, Far::Unopened(_)) {
            self.far = Far::default();
        }
        Ok(match self.socket.take() {
            Some(socket) => ending::close(socket, lingers, io),
            None => Progress::Done,
        })
    }

    fn set_option(&mut self, id: OptionId, value: &OptionValue) -> Result<(), Error> {
        if self.place.set_option(id, value) || self.kind.set_option(id, value) {
            return Ok(());
        }
        let family = self.family();
        if !K::has_option(family, id) {
            return Err(options::no_such_option(K::NAME, id));
        }
        match &mut self.far {
            Far::Unopened(waiting) => waiting.set(id, value)?,
            Far::Peer(_) => K::set_on(self.fd()?, family, id, value)?,
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
        match (&self.far, own) {
            (Far::Unopened(waiting), own) => waiting.get(id, own.transpose()?),
            (Far::Peer(_), Some(own)) if self.socket.is_some() => own,
            (Far::Peer(_), _) => K::get_on(self.fd()?, family, id),
        }
    }

    fn local_address(&self) -> Option<Address> {
        let name: NameOf<K> = net::local_addr(self.fd().ok()?).ok()?;
        Some(name.into())
    }

    fn remote_address(&self) -> Option<Address> {
        self.peer_name()
            .filter(|_| self.is_connected)
            .map(Into::into)
    }
}

/// The descriptor, beside a mutable kind.
#[inline]
fn opened<'a, P>(
    socket: &'a Option<OwnedFd>,
    far: &Far<P>,
    title: &str,
) -> Result<BorrowedFd<'a>, Error> {
    match socket {
        Some(socket) => Ok(socket.as_fd()),
        None => Err(not_open(far, title)),
    }
}

#[cold]
fn not_open<P>(far: &Far<P>, title: &str) -> Error {
    match far {
        Far::Unopened(_) => Error::new(
            ErrorKind::NotYetConnected,
            format!("the {title} channel is not connected"),
        ),
        Far::Peer(_) => Error::new(
            ErrorKind::ChannelClosed,
            format!("the {title} channel is closed"),
        ),
    }
}

/// Whether a socket that has this for SO_LINGER waits in its close.
fn lingers(linger: Option<Duration>) -> bool {
    linger.is_some_and(|linger| !linger.is_zero())
}
