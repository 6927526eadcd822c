//! [`Udp`]: the transport of a UDP socket.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bytes::BytesMut;
use tidegate_sys::os::net::{self, Received};

use super::options::{change_membership, membership_change};
use crate::buffer::Message;
use crate::channel::{
    Address, Flush, Inet, Io, Metadata, OptionId, OptionValue, OutboundBuffer, Progress, Read,
    Transport,
};
use crate::error::{Error, ErrorKind};
use crate::transport::datagram::{Datagram, Receiver, Sender};
use crate::transport::kind::{ClientTransport, DatagramTransport};
use crate::transport::socket::domain::Domain;
use crate::transport::socket::options::{self, Family, Waiting, get, no_such_option, set};

const NAME: &str = "udp";

/// The most bytes of a datagram that is received, unless MAX_DATAGRAM_PAYLOAD_SIZE says otherwise. Netty's figure.
const SIZE_MAX: usize = 2048;

/// A UDP socket. It has none before it is bound or connected, because the socket's family is that of the address;
/// options set before are kept and applied then.
///
/// It reads [`Datagram`]s and sends them. Connected, it also sends [`Bytes`](bytes::Bytes) and
/// [`BytesMut`](bytes::BytesMut) to its peer, and receives from that one alone. It is active once it is bound.
///
/// What goes wrong with one datagram stays with it: a failed send fails its own write; what the network answered to an
/// earlier one (ICMP) and a datagram that was too long are errors in `exception_caught`, and the channel lives, also if no
/// handler takes them (`CLOSE_ON_UNHANDLED_ERROR` is off by default here).
///
/// One call receives and one sends up to 32 datagrams; datagrams of one length to one peer that are flushed together go
/// through the kernel as one and are cut at its end (UDP_SEGMENT). The option `UDP_GRO` asks for the same on the way in.
#[derive(Debug)]
pub struct Udp {
    socket: Option<OwnedFd>,
    /// What was set before there was a socket.
    waiting: Waiting,
    family: Family,
    /// Where it was bound, with the port that the kernel chose.
    bound: Option<SocketAddr>,
    peer: Option<SocketAddr>,
    is_closed: bool,
    receiver: Receiver,
    sender: Sender,
}

impl Udp {
    fn fd(&self) -> Result<BorrowedFd<'_>, Error> {
        match &self.socket {
            Some(socket) => Ok(socket.as_fd()),
            None if self.is_closed => Err(Error::new(
                ErrorKind::ChannelClosed,
                "the UDP channel is closed",
            )),
            None => Err(Error::new(
                ErrorKind::NotYetConnected,
                "the UDP channel is neither bound nor connected",
            )),
        }
    }

    /// The socket, made now if there was none. If one of the options that waited can't be set there is none.
    fn open(&mut self, address: &SocketAddr) -> Result<(), Error> {
        if self.socket.is_some() || self.is_closed {
            return self.fd().map(drop);
        }
        let socket =
            net::udp_socket(address).map_err(|error| Error::io("opening a UDP socket", error))?;
        self.family = Inet::family(Some(*address));
        if self.family == Family::V4 {
            // Linux would hand this socket the datagrams of groups that others have joined; nobody expects that.
            let _ = net::set_int(socket.as_fd(), net::IP_MULTICAST_ALL, 0);
        }
        // A group can be joined only when the socket has its address, so those wait on.
        for (id, value) in self.waiting.iter() {
            if membership_change(id).is_none() {
                set(socket.as_fd(), Inet::family(Some(*address)), id, value)?;
            }
        }
        self.socket = Some(socket);
        Ok(())
    }

    /// A read, with whatever receives; see [`Receiver::read_by`].
    pub(in crate::transport) fn read_by(
        &mut self,
        receive: impl FnOnce(usize, usize, &mut Vec<Received>) -> io::Result<BytesMut>,
    ) -> Result<Read, Error> {
        self.receiver.read_by(receive)
    }

    /// The bytes of the longest datagram, and how many of them one call has room for.
    pub(in crate::transport) fn receive_room(&self) -> (usize, usize) {
        self.receiver.room()
    }

    fn join_waiting(&self) -> Result<(), Error> {
        let socket = self.fd()?;
        self.waiting.iter().try_for_each(|(id, value)| {
            membership_change(id).map_or(Ok(()), |change| {
                change_membership(socket, id, change, value)
            })
        })
    }

    /// Gives the socket up after a bind or connect that failed half way.
    fn undo<T>(&mut self, result: Result<T, Error>, was_open: bool) -> Result<T, Error> {
        if result.is_err() && !was_open {
            self.socket = None;
        }
        result
    }
}

impl ClientTransport for Udp {
    type Family = Inet;

    fn unconnected() -> Self {
        Self {
            socket: None,
            waiting: Waiting::default(),
            family: Family::V4,
            bound: None,
            peer: None,
            is_closed: false,
            receiver: Receiver::new(SIZE_MAX),
            sender: Sender::default(),
        }
    }
}

impl DatagramTransport for Udp {}

impl Transport for Udp {
    fn metadata(&self) -> Metadata {
        Metadata {
            name: NAME,
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
        let address = Inet::name(NAME, local, "bind to")?;
        let was_open = self.socket.is_some();
        self.open(&address)?;
        let bound = net::bind(self.fd()?, &address)
            .map_err(|error| Error::io(format!("binding to {local}"), error))
            .and_then(|()| self.join_waiting());
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
        let address = Inet::name(NAME, remote, "connect to")?;
        let was_open = self.socket.is_some();
        match local {
            Some(local) => self.bind(io, local)?,
            None => self.open(&address)?,
        }
        let connected =
            net::connect(self.fd()?, &address).map_err(|error| Error::connect(&address, error));
        self.undo(connected, was_open)?;
        if !was_open && local.is_none() {
            self.join_waiting()?;
        }
        self.peer = Some(address);
        Ok(Progress::Done)
    }

    fn disconnect(&mut self, _io: &mut Io<'_>) -> Result<(), Error> {
        let fd = self.fd()?;
        let failed = |error| Error::io("disconnecting", error);
        net::disconnect(fd).map_err(failed)?;
        // Linux takes back a port that it had chosen itself, and with it what others know of this socket.
        if let (Some(bound), Ok(now)) = (self.bound, net::local_addr::<SocketAddr>(fd))
            && now.port() == 0
        {
            net::bind(fd, &bound).map_err(failed)?;
        }
        self.peer = None;
        Ok(())
    }

    fn accepts(&self, msg: &Message) -> bool {
        msg.is::<Datagram>() || (self.peer.is_some() && msg.readable_bytes().is_some())
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
        self.peer = None;
        self.socket = None;
        Ok(Progress::Done)
    }

    fn set_option(&mut self, id: OptionId, value: &OptionValue) -> Result<(), Error> {
        let change = membership_change(id);
        if id == OptionId::MaxDatagramPayloadSize {
            if let OptionValue::Int(bytes) = value {
                self.receiver.set_size_max(*bytes as usize);
            }
            return Ok(());
        }
        if change.is_none() && !options::is_socket_option(self.family, id) {
            return Err(no_such_option(NAME, id));
        }
        match (&self.socket, change) {
            (Some(socket), Some(change)) => change_membership(socket.as_fd(), id, change, value)?,
            (Some(socket), None) => set(socket.as_fd(), self.family, id, value)?,
            (None, _) if self.is_closed => return self.fd().map(drop),
            (None, _) => self.waiting.set(id, value)?,
        }
        if let (OptionId::UdpGro, OptionValue::Bool(on)) = (id, value) {
            self.receiver.set_joined(*on);
        }
        Ok(())
    }

    fn option(&self, id: OptionId) -> Result<OptionValue, Error> {
        if id == OptionId::MaxDatagramPayloadSize {
            return Ok(OptionValue::Int(self.receiver.size_max() as i32));
        }
        if !options::is_socket_option(self.family, id) {
            return Err(no_such_option(NAME, id));
        }
        match &self.socket {
            None if !self.is_closed => self.waiting.get(id, None),
            _ => get(self.fd()?, self.family, id),
        }
    }

    fn local_address(&self) -> Option<Address> {
        net::local_addr(self.fd().ok()?).ok().map(Address::Inet)
    }

    fn remote_address(&self) -> Option<Address> {
        self.peer.map(Address::Inet)
    }
}
