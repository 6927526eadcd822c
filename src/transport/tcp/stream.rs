//! [`Tcp`]: the transport of a TCP connection.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use tidegate_sys::os::net::{self, Connect};

use super::accepted::Accepted;
use super::parts::Peer;
use super::server::TcpServer;
use crate::buffer::Message;
use crate::channel::{
    Address, Direction, Flush, Io, Metadata, OptionId, OptionSet, OptionValue, OutboundBuffer,
    Progress, Read, Transport,
};
use crate::error::{Error, ErrorKind};
use crate::transport::kind::{ChildTransport, ClientTransport};
use crate::transport::socket::inet::{family, get, inet, no_such_option, set};
use crate::transport::socket::options::{self, Family};
use crate::transport::socket::stream;

/// A TCP connection. As a client it has no socket before it connects or binds, because the socket's family is that
/// of the address; options set before are kept and applied then.
///
/// It sends [`Bytes`](bytes::Bytes), [`BytesMut`](bytes::BytesMut) and
/// [`FileRegion`](crate::buffer::FileRegion)s, and reads [`BytesMut`](bytes::BytesMut). `TCP_NODELAY` is on unless
/// it was set otherwise: the channel gathers small writes itself.
#[derive(Debug)]
pub struct Tcp {
    socket: Socket,
    peer: Peer,
    /// SO_LINGER was set to a time; looked at when the connection is closed.
    lingers: bool,
    is_connected: bool,
    /// TCP_NODELAY was set on purpose, or has its default.
    has_nodelay: bool,
}

const _: () = assert!(size_of::<Tcp>() <= 40, "one per connection");

#[derive(Debug)]
enum Socket {
    /// Not made yet; these wait for it. In a box, because there is only one of them in a connection's life.
    Unopened(Box<OptionSet>),
    Open(OwnedFd),
    Closed,
}

impl Tcp {
    #[inline]
    fn fd(&self) -> Result<BorrowedFd<'_>, Error> {
        match &self.socket {
            Socket::Open(fd) => Ok(fd.as_fd()),
            Socket::Unopened(_) | Socket::Closed => Err(self.no_fd()),
        }
    }

    #[cold]
    fn no_fd(&self) -> Error {
        match self.socket {
            Socket::Closed => Error::new(ErrorKind::ChannelClosed, "the TCP channel is closed"),
            _ => Error::new(
                ErrorKind::NotYetConnected,
                "the TCP channel is not connected",
            ),
        }
    }

    /// The socket, made now if there was none. If one of the options that waited can't be set there is none.
    fn open(&mut self, address: &SocketAddr) -> Result<(), Error> {
        let Socket::Unopened(waiting) = &self.socket else {
            return self.fd().map(drop);
        };
        let socket =
            net::tcp_socket(address).map_err(|error| Error::io("opening a TCP socket", error))?;
        for (id, value) in waiting.iter() {
            set(socket.as_fd(), family(address), id, value)?;
        }
        self.socket = Socket::Open(socket);
        self.default_nodelay();
        Ok(())
    }

    /// Best effort: nobody asked for it, and the peer may have reset the connection already.
    fn default_nodelay(&mut self) {
        if let (false, Ok(fd)) = (self.has_nodelay, self.fd()) {
            let _ = net::set_int(fd, net::TCP_NODELAY, 1);
        }
        self.has_nodelay = true;
    }

    fn family(&self) -> Family {
        let address = self
            .peer
            .address()
            .or_else(|| self.fd().ok().and_then(|fd| net::local_addr(fd).ok()));
        address.as_ref().map_or(Family::V4, family)
    }
}

impl From<Accepted> for Tcp {
    fn from(accepted: Accepted) -> Self {
        let lingers = lingers(accepted.linger());
        let (socket, peer) = accepted.into_parts();
        Self {
            socket: Socket::Open(socket),
            peer: Peer::from(peer),
            lingers,
            is_connected: true,
            has_nodelay: false,
        }
    }
}

impl ClientTransport for Tcp {
    fn unconnected() -> Self {
        Self {
            socket: Socket::Unopened(Box::default()),
            peer: Peer::Nobody,
            lingers: false,
            is_connected: false,
            has_nodelay: false,
        }
    }
}

impl ChildTransport for Tcp {
    type Server = TcpServer;
    type Accepted = Accepted;

    fn server() -> TcpServer {
        TcpServer::unbound()
    }

    fn child(accepted: Accepted) -> Self {
        Self::from(accepted)
    }
}

impl Transport for Tcp {
    fn metadata(&self) -> Metadata {
        Metadata {
            name: "tcp",
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
        if self.is_connected {
            self.default_nodelay();
        }
        Ok(())
    }

    fn bind(&mut self, _io: &mut Io<'_>, local: &Address) -> Result<(), Error> {
        let address = inet("TCP", local, "bind to")?;
        self.open(&address)?;
        net::bind(self.fd()?, &address)
            .map_err(|error| Error::io(format!("binding to {local}"), error))
    }

    fn connect(
        &mut self,
        io: &mut Io<'_>,
        remote: &Address,
        local: Option<&Address>,
    ) -> Result<Progress, Error> {
        let address = inet("TCP", remote, "connect to")?;
        match local {
            Some(local) => self.bind(io, local)?,
            None => self.open(&address)?,
        }
        let begun =
            net::connect(self.fd()?, &address).map_err(|error| Error::connect(&address, error))?;
        self.peer = Peer::from(address);
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
        match net::peer_addr(fd) {
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
        stream::accepts(msg)
    }

    #[inline]
    fn size_of(&self, msg: &Message) -> usize {
        msg.estimated_size()
    }

    #[inline]
    fn read(&mut self, io: &mut Io<'_>) -> Result<Read, Error> {
        stream::read(self.fd()?, io, &self.peer)
    }

    #[inline]
    fn flush(&mut self, io: &mut Io<'_>, out: &mut OutboundBuffer) -> Result<Flush, Error> {
        stream::flush(self.fd()?, io.write_spin_count(), out, &self.peer)
    }

    fn shutdown(&mut self, _io: &mut Io<'_>, direction: Direction) -> Result<(), Error> {
        stream::shutdown(self.fd()?, direction, &self.peer)
    }

    fn close(&mut self, io: &mut Io<'_>) -> Result<Progress, Error> {
        let lingers = std::mem::take(&mut self.is_connected) && self.lingers;
        match std::mem::replace(&mut self.socket, Socket::Closed) {
            Socket::Open(socket) => Ok(stream::close(socket, lingers, io)),
            Socket::Unopened(_) | Socket::Closed => Ok(Progress::Done),
        }
    }

    fn set_option(&mut self, id: OptionId, value: &OptionValue) -> Result<(), Error> {
        if !options::is_socket_option(id) {
            return Err(no_such_option("tcp", id));
        }
        let family = self.family();
        match &mut self.socket {
            Socket::Unopened(waiting) => waiting.set_erased(id, value.clone())?,
            Socket::Open(fd) => set(fd.as_fd(), family, id, value)?,
            Socket::Closed => return self.fd().map(drop),
        }
        match (id, value) {
            (OptionId::TcpNodelay, _) => self.has_nodelay = true,
            (OptionId::SoLinger, OptionValue::Duration(linger)) => self.lingers = lingers(*linger),
            _ => {}
        }
        Ok(())
    }

    fn option(&self, id: OptionId) -> Result<OptionValue, Error> {
        if !options::is_socket_option(id) {
            return Err(no_such_option("tcp", id));
        }
        if let Socket::Unopened(waiting) = &self.socket {
            return match (waiting.get_erased(id), id) {
                (Some(value), _) => Ok(value.clone()),
                (None, OptionId::TcpNodelay) => Ok(OptionValue::Bool(true)),
                (None, _) => Err(Error::new(
                    ErrorKind::NotYetConnected,
                    format!(
                        "option {id} was not set, and there is no socket yet to ask for its default"
                    ),
                )),
            };
        }
        get(self.fd()?, self.family(), id)
    }

    fn local_address(&self) -> Option<Address> {
        net::local_addr(self.fd().ok()?).ok().map(Address::Inet)
    }

    fn remote_address(&self) -> Option<Address> {
        self.peer
            .address()
            .filter(|_| self.is_connected)
            .map(Address::Inet)
    }
}

/// Whether a socket that has this for SO_LINGER waits in its close.
fn lingers(linger: Option<Duration>) -> bool {
    linger.is_some_and(|linger| !linger.is_zero())
}
