//! [`TcpServer`]: the transport of a listening socket. It reads connections.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use tidegate_sys::os::net;

use super::accepted::Accepted;
use crate::buffer::Message;
use crate::channel::{
    Address, Flush, Io, Metadata, OptionId, OptionSet, OptionValue, OutboundBuffer, Progress, Read,
    Transport,
};
use crate::error::{Error, ErrorKind};
use crate::transport::socket::accept::{Accept, Acceptor};
use crate::transport::socket::inet::{family, get, inet, no_such_option, set};
use crate::transport::socket::options;

/// A listening TCP socket. It is made when it is bound; options set before are kept and applied then.
///
/// It reads [`Accepted`] connections, at most `MAX_MESSAGES_PER_READ` per readiness. `SO_REUSEADDR` is on unless it
/// was set otherwise, so that a server can be started again at once; `SO_BACKLOG` is the system's maximum.
#[derive(Debug)]
pub struct TcpServer {
    socket: Option<OwnedFd>,
    /// What was set before there was a socket.
    waiting: OptionSet,
    /// `None`: the system's maximum.
    backlog: Option<i32>,
    /// What accepted sockets have from birth.
    linger: Option<Duration>,
    local: Option<SocketAddr>,
    acceptor: Acceptor,
}

impl TcpServer {
    /// One that is not bound.
    pub fn unbound() -> Self {
        Self {
            socket: None,
            waiting: OptionSet::new(),
            backlog: None,
            linger: None,
            local: None,
            acceptor: Acceptor::default(),
        }
    }

    fn open(&self, address: &SocketAddr) -> Result<OwnedFd, Error> {
        let socket =
            net::tcp_socket(address).map_err(|error| Error::io("opening a TCP socket", error))?;
        if self.waiting.get_erased(OptionId::SoReuseaddr).is_none() {
            net::set_int(socket.as_fd(), net::SO_REUSEADDR, 1)
                .map_err(|error| Error::io("setting option SO_REUSEADDR", error))?;
        }
        for (id, value) in self.waiting.iter() {
            set(socket.as_fd(), family(address), id, value)?;
        }
        Ok(socket)
    }

    /// A read that begins with the outcome of an accept which was made elsewhere.
    pub(in crate::transport) fn read_after(
        &mut self,
        io: &mut Io<'_>,
        outcome: &mut Option<io::Result<(OwnedFd, SocketAddr)>>,
    ) -> Result<Read, Error> {
        let Some(socket) = &self.socket else {
            return Ok(Read::WouldBlock);
        };
        let accept = || {
            outcome
                .take()
                .unwrap_or_else(|| net::accept(socket.as_fd()))
        };
        let count = &io.metrics().accept;
        let accepted = self.acceptor.accept(accept, &Local(&self.local), count)?;
        Ok(match accepted {
            Accept::One((client, peer)) => {
                Read::Message(Message::new(Accepted::new(client, peer, self.linger)))
            }
            Accept::Empty => Read::WouldBlock,
            Accept::Rest(time) => Read::Paused(time),
        })
    }

    fn listen(&self, socket: BorrowedFd<'_>) -> Result<(), Error> {
        let backlog = self.backlog.unwrap_or_else(net::max_backlog);
        net::listen(socket, backlog)
            .map_err(|error| Error::io(format!("listening on {}", Local(&self.local)), error))
    }
}

impl Transport for TcpServer {
    fn metadata(&self) -> Metadata {
        Metadata {
            name: "tcp server",
            has_disconnect: false,
            max_messages_per_read: 16,
            is_server: true,
        }
    }

    fn is_active(&self) -> bool {
        self.socket.is_some()
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    fn bind(&mut self, _io: &mut Io<'_>, local: &Address) -> Result<(), Error> {
        if let Some(bound) = &self.local {
            let text = format!("binding to {local}: this server is bound to {bound} already");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        let address = inet("TCP", local, "bind to")?;
        let socket = self.open(&address)?;
        let failed = |error| Error::io(format!("binding to {local}"), error);
        net::bind(socket.as_fd(), &address).map_err(failed)?;
        let bound = net::local_addr(socket.as_fd()).map_err(failed)?;
        self.local = Some(bound);
        // Two sockets may bind one address before either listens: then this is where the second one fails.
        if let Err(error) = self.listen(socket.as_fd()) {
            self.local = None;
            return Err(error);
        }
        self.socket = Some(socket);
        Ok(())
    }

    fn accepts(&self, _msg: &Message) -> bool {
        false
    }

    fn read(&mut self, io: &mut Io<'_>) -> Result<Read, Error> {
        self.read_after(io, &mut None)
    }

    /// Nothing is ever buffered: see `accepts`.
    fn flush(&mut self, _io: &mut Io<'_>, _out: &mut OutboundBuffer) -> Result<Flush, Error> {
        Ok(Flush::Drained)
    }

    fn close(&mut self, _io: &mut Io<'_>) -> Result<Progress, Error> {
        drop(self.socket.take());
        // Gives the reserve back.
        self.acceptor = Acceptor::default();
        Ok(Progress::Done)
    }

    fn set_option(&mut self, id: OptionId, value: &OptionValue) -> Result<(), Error> {
        match (id, value) {
            (OptionId::SoBacklog, OptionValue::Int(backlog)) => {
                self.backlog = Some(*backlog);
                // A second listen(2) only changes the backlog.
                return self
                    .socket
                    .as_ref()
                    .map_or(Ok(()), |socket| self.listen(socket.as_fd()));
            }
            (OptionId::AcceptOverload, OptionValue::Overload(overload)) => {
                return self.acceptor.set_overload(*overload).map_err(|error| {
                    Error::io(
                        format!("setting option {id}: opening the reserve descriptor"),
                        error,
                    )
                });
            }
            _ if !options::is_socket_option(id) => return Err(no_such_option("tcp server", id)),
            _ => {}
        }
        match (&self.socket, &self.local) {
            (Some(socket), Some(local)) => set(socket.as_fd(), family(local), id, value)?,
            _ => self.waiting.set_erased(id, value.clone())?,
        }
        if let (OptionId::SoLinger, OptionValue::Duration(linger)) = (id, value) {
            self.linger = *linger;
        }
        Ok(())
    }

    fn option(&self, id: OptionId) -> Result<OptionValue, Error> {
        match id {
            OptionId::SoBacklog => {
                return Ok(OptionValue::Int(
                    self.backlog.unwrap_or_else(net::max_backlog),
                ));
            }
            OptionId::AcceptOverload => return Ok(OptionValue::Overload(self.acceptor.overload())),
            _ if !options::is_socket_option(id) => return Err(no_such_option("tcp server", id)),
            _ => {}
        }
        if let (Some(socket), Some(local)) = (&self.socket, &self.local) {
            return get(socket.as_fd(), family(local), id);
        }
        match (self.waiting.get_erased(id), id) {
            (Some(value), _) => Ok(value.clone()),
            (None, OptionId::SoReuseaddr) => Ok(OptionValue::Bool(true)),
            (None, _) => Err(Error::new(
                ErrorKind::NotYetConnected,
                format!(
                    "option {id} was not set, and there is no socket yet to ask for its default"
                ),
            )),
        }
    }

    fn local_address(&self) -> Option<Address> {
        self.local.map(Address::Inet)
    }
}

/// The listener in the text of an error.
struct Local<'a>(&'a Option<SocketAddr>);

impl fmt::Display for Local<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(local) => local.fmt(f),
            None => f.write_str("an address that is not known"),
        }
    }
}
