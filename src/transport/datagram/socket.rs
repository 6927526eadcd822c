//! [`DatagramSocket`]: the transport of datagram sockets.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bytes::BytesMut;
use tidegate_sys::os::fd;
use tidegate_sys::os::net::{self, Received, Role};

use super::kind::{DatagramKind, NameOf};
use super::receive::Receiver;
use super::send::Sender;
use crate::buffer::{Message, RecvAllocator};
use crate::channel::Datagram;
use crate::channel::{
    Address, Flush, Io, Metadata, OptionId, OptionValue, OutboundBuffer, Progress, Read, Transport,
};
use crate::error::{Error, ErrorKind};
use crate::transport::kind::{Adoptable, ClientTransport, DatagramTransport};
use crate::transport::socket::Descriptors;
use crate::transport::socket::domain::{Domain, Place};
use crate::transport::socket::options::{self, Family, Waiting};

/// The most bytes that MAX_DATAGRAM_PAYLOAD_SIZE can be.
const SIZE_MAX: usize = 65_535;

/// A datagram socket. It has none before it is bound or connected, because the socket's family is that of the address;
/// options set before are kept and applied then. Or it comes from elsewhere, by [`adopt`](Self::adopt).
///
/// It reads [`Datagram`]s and sends them, up to 32 with one call. It is active once it is bound or connected. What goes wrong
/// with one datagram stays with it: a failed send fails its own write; one that was too long is an error in
/// `exception_caught`, and the channel lives, also if no handler takes that (`CLOSE_ON_UNHANDLED_ERROR` is off by default
/// here). What else there is, its kind tells: [`Udp`](crate::transport::udp::Udp),
/// [`UnixDatagram`](crate::transport::unix::UnixDatagram).
pub struct DatagramSocket<K: DatagramKind> {
    socket: Option<OwnedFd>,
    /// What was set before there was a socket.
    waiting: Waiting,
    family: Family,
    place: <K::Domain as Domain>::Place,
    /// Where it was bound, with the port that the kernel chose.
    bound: Option<NameOf<K>>,
    peer: Option<NameOf<K>>,
    is_closed: bool,
    receiver: Receiver<K>,
    sender: Sender<K>,
}

impl<K: DatagramKind> DatagramSocket<K> {
    /// One that has an address already: a socket from the process that was here before, from a supervisor (systemd's socket
    /// activation), or of the standard library. It is bound, connected or both, and active from its registration.
    ///
    /// It becomes non-blocking, for everybody who holds a duplicate, and closed on exec. Options are left as they are until
    /// they are set. Closing the channel closes this descriptor: others that hold one go on with the socket, and the file of a
    /// Unix socket stays.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if it is no datagram socket, has neither an address nor a peer, or is of another domain;
    /// otherwise what the system says. The socket is closed then.
    pub fn adopt(socket: impl Into<OwnedFd>) -> Result<Self, Error> {
        let socket = socket.into();
        let (bound, peer) = Self::recognize(socket.as_fd())?;
        fd::set_nonblocking(socket.as_fd())
            .and_then(|()| fd::set_cloexec(socket.as_fd()))
            .map_err(|error| Error::io(Self::adopting(), error))?;
        let family = K::Domain::family(Some(bound.clone()));
        let mut adopted = Self {
            family,
            bound: K::is_bound(&bound).then_some(bound),
            peer,
            ..Self::unconnected()
        };
        let joined = options::get(socket.as_fd(), family, OptionId::UdpGro);
        let is_joined = matches!(joined, Ok(OptionValue::Bool(true)));
        adopted.receiver.set_joined(is_joined);
        adopted.socket = Some(socket);
        Ok(adopted)
    }

    fn adopting() -> String {
        format!("adopting a {} socket", K::TITLE)
    }

    /// The addresses of a socket that comes from elsewhere, its own and its peer's, if it is what it should be.
    fn recognize(socket: BorrowedFd<'_>) -> Result<(NameOf<K>, Option<NameOf<K>>), Error> {
        let other = |error| Error::with_source(ErrorKind::InvalidArgument, Self::adopting(), error);
        let refused = |text| {
            let text = format!("{}: {text}", Self::adopting());
            Err(Error::new(ErrorKind::InvalidArgument, text))
        };
        if net::role(socket).map_err(other)? != Role::Datagram {
            return refused("it is no datagram socket");
        }
        let bound = net::local_addr(socket).map_err(other)?;
        let peer = net::peer_addr(socket).ok();
        if peer.is_none() && !K::is_bound(&bound) {
            return refused("it is neither bound nor connected");
        }
        Ok((bound, peer))
    }

    fn fd(&self) -> Result<BorrowedFd<'_>, Error> {
        match &self.socket {
            Some(socket) => Ok(socket.as_fd()),
            None if self.is_closed => Err(Error::new(
                ErrorKind::ChannelClosed,
                format!("the {} channel is closed", K::TITLE),
            )),
            None => Err(Error::new(
                ErrorKind::NotYetConnected,
                format!("the {} channel is neither bound nor connected", K::TITLE),
            )),
        }
    }

    /// The socket, made now if there was none. If one of the options that waited can't be set there is none.
    fn open(&mut self, name: &NameOf<K>) -> Result<(), Error> {
        if self.socket.is_some() || self.is_closed {
            return self.fd().map(drop);
        }
        let socket = K::socket(name)
            .map_err(|error| Error::io(format!("opening a {} socket", K::TITLE), error))?;
        self.family = K::Domain::family(Some(name.clone()));
        K::begin(socket.as_fd(), self.family);
        for (id, value) in self.waiting.iter() {
            if !K::is_late(id) {
                options::set(socket.as_fd(), self.family, id, value)?;
            }
        }
        self.socket = Some(socket);
        Ok(())
    }

    /// A read, with whatever receives; see [`Receiver::read_by`].
    pub(in crate::transport) fn read_by(
        &mut self,
        receive: impl FnOnce(usize, usize, &mut Vec<Received<NameOf<K>>>) -> io::Result<BytesMut>,
    ) -> Result<Read, Error> {
        // The caller knows better than the machine whether the socket is empty.
        self.receiver.read_by(0, receive)
    }

    /// The bytes of the longest datagram, and how many of them one call has room for.
    pub(in crate::transport) fn receive_room(&self) -> (usize, usize) {
        self.receiver.room()
    }

    fn set_waiting(&self) -> Result<(), Error> {
        let socket = self.fd()?;
        let mut waiting = self.waiting.iter();
        waiting.try_for_each(|(id, value)| K::set_late(socket, id, value).unwrap_or(Ok(())))
    }

    fn bind_to(&mut self, name: &NameOf<K>) -> Result<(), Error> {
        self.open(name)?;
        // Not `fd()`, which borrows everything.
        if let Some(socket) = &self.socket {
            let bound = self.place.bind(socket.as_fd(), name);
            self.place.ready();
            bound.map_err(|error| Error::io(format!("binding to {name}"), error))?;
        }
        self.set_waiting()
    }

    /// The BSDs disconnect before they look at the address to connect to (soconnect), so a connect that failed may have
    /// cost the peer that there was. Linux keeps it.
    fn has_lost_its_peer(&self) -> bool {
        let peer = self.fd().map(net::peer_addr::<NameOf<K>>);
        !matches!(peer, Ok(Ok(_)))
    }

    /// Gives the socket up after a bind or connect that failed half way.
    fn undo<T>(&mut self, result: Result<T, Error>, was_open: bool) -> Result<T, Error> {
        if result.is_err() && !was_open {
            self.place.leave();
            self.socket = None;
        }
        result
    }
}

impl<K: DatagramKind> ClientTransport for DatagramSocket<K> {
    type Family = K::Domain;

    fn unconnected() -> Self {
        Self {
            socket: None,
            waiting: Waiting::default(),
            family: K::Domain::family(None),
            place: Default::default(),
            bound: None,
            peer: None,
            is_closed: false,
            receiver: Receiver::new(),
            sender: Sender::new(),
        }
    }
}

impl<K: DatagramKind> DatagramTransport for DatagramSocket<K> {}

impl<K: DatagramKind> Adoptable for DatagramSocket<K> {
    fn adopt(socket: OwnedFd) -> Result<Self, Error> {
        Self::adopt(socket)
    }
}

impl<K: DatagramKind> fmt::Debug for DatagramSocket<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(K::NAME)
            .field("socket", &self.socket)
            .field("bound", &self.bound)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl<K: DatagramKind> Transport for DatagramSocket<K> {
    fn metadata(&self) -> Metadata {
        Metadata {
            name: K::NAME,
            has_disconnect: true,
            // Netty has 16 here. What one call brings is better handed out in one batch.
            max_messages_per_read: net::DATAGRAMS_MAX as u16,
            is_server: false,
        }
    }

    fn outlives_errors(&self) -> bool {
        true
    }

    fn is_active(&self) -> bool {
        self.socket.is_some()
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd().ok()
    }

    fn bind(&mut self, _io: &mut Io<'_>, local: &Address) -> Result<(), Error> {
        let name = K::Domain::name(K::NAME, local, "bind to")?;
        let was_open = self.socket.is_some();
        let bound = self.bind_to(&name);
        self.undo(bound, was_open)?;
        self.bound = net::local_addr(self.fd()?).ok();
        Ok(())
    }

    fn connect(
        &mut self,
        io: &mut Io<'_>,
        remote: &Address,
        local: Option<&Address>,
    ) -> Result<Progress, Error> {
        let name = K::Domain::name(K::NAME, remote, "connect to")?;
        let was_open = self.socket.is_some();
        match local {
            Some(local) => self.bind(io, local)?,
            None => self.open(&name)?,
        }
        let connected =
            net::connect(self.fd()?, &name).map_err(|error| Error::connect(&name, error));
        if connected.is_err() && self.has_lost_its_peer() {
            self.peer = None;
        }
        self.undo(connected, was_open)?;
        if !was_open && local.is_none() {
            self.set_waiting()?;
        }
        self.peer = Some(name);
        Ok(Progress::Done)
    }

    fn disconnect(&mut self, _io: &mut Io<'_>) -> Result<(), Error> {
        let fd = self.fd()?;
        let failed = |error| Error::io("disconnecting", error);
        net::disconnect(fd).map_err(failed)?;
        K::disconnected(fd, self.bound.as_ref()).map_err(failed)?;
        self.peer = None;
        Ok(())
    }

    fn accepts(&self, msg: &Message) -> bool {
        msg.is::<Datagram>()
            || (self.peer.is_some() && msg.readable_bytes().is_some())
            || (K::HAS_DESCRIPTORS && msg.is::<Descriptors>())
    }

    fn size_of(&self, msg: &Message) -> usize {
        match msg.downcast_ref::<Datagram>() {
            Some(datagram) => datagram.content.len(),
            None => msg.estimated_size(),
        }
    }

    fn read(&mut self, io: &mut Io<'_>) -> Result<Read, Error> {
        let Some(socket) = &self.socket else {
            return Ok(Read::WouldBlock);
        };
        self.receiver.read(socket.as_fd(), io)
    }

    fn flush(&mut self, io: &mut Io<'_>, out: &mut OutboundBuffer) -> Result<Flush, Error> {
        let Some(socket) = &self.socket else {
            return self.fd().map(|_| Flush::Drained);
        };
        Ok(self
            .sender
            .flush(socket.as_fd(), io.write_spin_count(), out))
    }

    fn close(&mut self, _io: &mut Io<'_>) -> Result<Progress, Error> {
        self.is_closed = true;
        self.place.leave();
        self.peer = None;
        self.socket = None;
        Ok(Progress::Done)
    }

    /// How much room a datagram needs can't be told from the one before, so nothing is predicted.
    fn goes_by(&self, id: OptionId) -> bool {
        id != OptionId::RecvAllocator
    }

    fn set_option(&mut self, id: OptionId, value: &OptionValue) -> Result<(), Error> {
        match (id, value) {
            (OptionId::RecvAllocator, OptionValue::Recv(allocator)) => {
                self.receiver.set_size_max(fixed_size(*allocator)?);
                return Ok(());
            }
            (OptionId::MaxDatagramPayloadSize, OptionValue::Int(bytes)) => {
                self.receiver.set_size_max(*bytes as usize);
                return Ok(());
            }
            (OptionId::MaxMessagesPerWrite, OptionValue::Int(messages)) => {
                self.sender.set_messages_max(*messages as usize);
                return Ok(());
            }
            _ => {}
        }
        if self.place.set_option(id, value) {
            return Ok(());
        }
        if !K::is_late(id) && !options::is_socket_option(self.family, id) {
            return Err(options::no_such_option(K::NAME, id));
        }
        match &self.socket {
            Some(socket) => match K::set_late(socket.as_fd(), id, value) {
                Some(set) => set?,
                None => options::set(socket.as_fd(), self.family, id, value)?,
            },
            None if self.is_closed => return self.fd().map(drop),
            None => self.waiting.set(id, value)?,
        }
        if let (OptionId::UdpGro, OptionValue::Bool(on)) = (id, value) {
            self.receiver.set_joined(*on);
        }
        Ok(())
    }

    fn option(&self, id: OptionId) -> Result<OptionValue, Error> {
        match id {
            OptionId::RecvAllocator => {
                let allocator = RecvAllocator::Fixed(self.receiver.size_max());
                return Ok(OptionValue::Recv(allocator));
            }
            OptionId::MaxDatagramPayloadSize => {
                return Ok(OptionValue::Int(self.receiver.size_max() as i32));
            }
            OptionId::MaxMessagesPerWrite => {
                return Ok(OptionValue::Int(self.sender.messages_max() as i32));
            }
            _ => {}
        }
        if let Some(value) = self.place.option(id) {
            return Ok(value);
        }
        if !options::is_socket_option(self.family, id) {
            return Err(options::no_such_option(K::NAME, id));
        }
        match &self.socket {
            None if !self.is_closed => self.waiting.get(id, None),
            _ => options::get(self.fd()?, self.family, id),
        }
    }

    fn local_address(&self) -> Option<Address> {
        let name: NameOf<K> = net::local_addr(self.fd().ok()?).ok()?;
        Some(name.into())
    }

    fn remote_address(&self) -> Option<Address> {
        self.peer.clone().map(Into::into)
    }
}

/// The most bytes of a datagram, of a receive allocator that says it. One that learns would cut what is longer than it
/// expects.
fn fixed_size(allocator: RecvAllocator) -> Result<usize, Error> {
    match allocator {
        RecvAllocator::Fixed(bytes) if bytes <= SIZE_MAX => Ok(bytes),
        other => Err(Error::new(
            ErrorKind::InvalidArgument,
            format!(
                "option RECV_ALLOCATOR: {other:?} is outside Fixed(1)..=Fixed({SIZE_MAX}), which is how many bytes a datagram may have to be received"
            ),
        )),
    }
}
