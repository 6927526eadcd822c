//! [`Listener`]: the transport of a listening socket. It reads connections.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use tidegate_sys::os::fd;
use tidegate_sys::os::net::{self, Role};

use super::accept::{Accept, Acceptor};
use super::accepted::Accepted;
use super::domain::{Domain, Place};
use super::kind::{NameOf, StreamKind};
use super::options::{self, Waiting};
use crate::buffer::Message;
use crate::channel::{
    Address, Flush, Io, Metadata, OptionId, OptionValue, OutboundBuffer, Progress, Read, Transport,
};
use crate::error::{Error, ErrorKind};
use crate::transport::kind::Adoptable;

/// A listening socket. It is made when it is bound, and options set before are kept and applied then; or it comes from
/// elsewhere, by [`adopt`](Self::adopt).
///
/// It reads [`Accepted`] connections, at most `MAX_MESSAGES_PER_READ` per readiness, or as many as the turn serves channels if
/// those are more. `SO_BACKLOG` is the system's maximum
/// unless it was set otherwise; on a TCP server `SO_REUSEADDR` is on, so that it can be started again at once.
pub struct Listener<K: StreamKind> {
    socket: Option<OwnedFd>,
    place: <K::Domain as Domain>::Place,
    /// What was set before there was a socket.
    waiting: Waiting,
    /// `None`: the system's maximum.
    backlog: Option<i32>,
    /// What accepted sockets have from birth.
    linger: Option<Duration>,
    local: Option<NameOf<K>>,
    acceptor: Acceptor,
}

impl<K: StreamKind> Listener<K> {
    /// One that is not bound.
    pub fn unbound() -> Self {
        Self {
            socket: None,
            place: Default::default(),
            waiting: Waiting::default(),
            backlog: None,
            linger: None,
            local: None,
            acceptor: Acceptor::default(),
        }
    }

    /// One that listens already: a socket from the process that was here before, from a supervisor (systemd's socket
    /// activation), or of the standard library. It need not be bound, and is active from its registration.
    ///
    /// It becomes non-blocking, for everybody who holds a duplicate, and closed on exec. Options are left as they are until
    /// they are set; `SO_BACKLOG` too, which the system does not tell. Closing the channel closes this descriptor: others
    /// that hold one go on listening, and the file of a Unix socket stays.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if it is no stream socket, does not listen, or is of another domain or protocol;
    /// otherwise what the system says. The socket is closed then.
    pub fn adopt(socket: impl Into<OwnedFd>) -> Result<Self, Error> {
        let socket = socket.into();
        let local = Self::recognize(socket.as_fd())?;
        let prepared = fd::set_nonblocking(socket.as_fd())
            .and_then(|()| fd::set_cloexec(socket.as_fd()))
            .and_then(|()| net::get_linger(socket.as_fd()));
        let linger = prepared.map_err(|error| Error::io(Self::adopting(), error))?;
        Ok(Self {
            socket: Some(socket),
            linger,
            local: Some(local),
            ..Self::unbound()
        })
    }

    fn adopting() -> String {
        format!("adopting a listening {} socket", K::TITLE)
    }

    /// The address of a socket that comes from elsewhere, if it is what it should be.
    fn recognize(socket: BorrowedFd<'_>) -> Result<NameOf<K>, Error> {
        let other = |error| Error::with_source(ErrorKind::InvalidArgument, Self::adopting(), error);
        let refused = |text| {
            let text = format!("{}: {text}", Self::adopting());
            Err(Error::new(ErrorKind::InvalidArgument, text))
        };
        match net::role(socket).map_err(other)? {
            Role::Listener => {}
            Role::Stream => return refused("it does not listen; call listen(2) before"),
            Role::Datagram | Role::Other => return refused("it is no stream socket"),
        }
        let local = net::local_addr(socket).map_err(other)?;
        K::recognize(socket).map_err(other)?;
        Ok(local)
    }

    fn open(&self, name: &NameOf<K>) -> Result<OwnedFd, Error> {
        let socket = K::socket(name)
            .map_err(|error| Error::io(format!("opening a {} socket", K::TITLE), error))?;
        for (id, option) in K::SERVER_DEFAULTS {
            if !self.waiting.has(*id) {
                net::set_int(socket.as_fd(), *option, 1)
                    .map_err(|error| Error::io(format!("setting option {id}"), error))?;
            }
        }
        let family = K::Domain::family(Some(name.clone()));
        self.waiting
            .apply(|id, value| K::set_on(socket.as_fd(), family, id, value))?;
        Ok(socket)
    }

    fn listen(&self, socket: BorrowedFd<'_>) -> Result<(), Error> {
        let backlog = self.backlog.unwrap_or_else(net::max_backlog);
        net::listen(socket, backlog)
            .map_err(|error| Error::io(format!("listening on {}", Bound(&self.local)), error))
    }

    /// A read that begins with the outcome of an accept which was made elsewhere.
    pub(in crate::transport) fn read_after(
        &mut self,
        io: &mut Io<'_>,
        outcome: &mut Option<io::Result<(OwnedFd, NameOf<K>)>>,
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
        let accepted = self.acceptor.accept(accept, &Bound(&self.local), count)?;
        Ok(match accepted {
            Accept::One((client, peer)) => {
                let accepted = Accepted::<K::Domain>::new(client, peer, self.linger);
                Read::Message(Message::new(accepted))
            }
            Accept::Empty => Read::WouldBlock,
            Accept::Rest(time) => Read::Paused(time),
        })
    }

    /// A bound socket that listens, and its address in `local`.
    fn begin(&mut self, name: &NameOf<K>) -> Result<OwnedFd, Error> {
        let socket = self.open(name)?;
        let failed = |error| Error::io(format!("binding to {name}"), error);
        self.place.bind(socket.as_fd(), name).map_err(failed)?;
        self.local = Some(net::local_addr(socket.as_fd()).map_err(failed)?);
        // Two sockets may bind one address before either listens: then this is where the second one fails.
        self.listen(socket.as_fd())?;
        Ok(socket)
    }
}

impl<K: StreamKind> Adoptable for Listener<K> {
    fn adopt(socket: OwnedFd) -> Result<Self, Error> {
        Self::adopt(socket)
    }
}

impl<K: StreamKind> Transport for Listener<K> {
    fn metadata(&self) -> Metadata {
        Metadata {
            name: K::SERVER_NAME,
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
        let name = K::Domain::name(K::TITLE, local, "bind to")?;
        let begun = self.begin(&name);
        self.place.ready();
        match begun {
            Ok(socket) => self.socket = Some(socket),
            Err(error) => {
                self.local = None;
                self.place.leave();
                return Err(error);
            }
        }
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
        self.place.leave();
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
            _ => {}
        }
        if self.place.set_option(id, value) {
            return Ok(());
        }
        let family = K::Domain::family(self.local.clone());
        if !K::has_option(family, id) {
            return Err(options::no_such_option(K::SERVER_NAME, id));
        }
        match &self.socket {
            Some(socket) => K::set_on(socket.as_fd(), family, id, value)?,
            None => self.waiting.set(id, value)?,
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
            _ => {}
        }
        if let Some(value) = self.place.option(id) {
            return Ok(value);
        }
        let family = K::Domain::family(self.local.clone());
        if !K::has_option(family, id) {
            return Err(options::no_such_option(K::SERVER_NAME, id));
        }
        match &self.socket {
            Some(socket) => K::get_on(socket.as_fd(), family, id),
            None => {
                let is_on = K::SERVER_DEFAULTS.iter().any(|(other, _)| *other == id);
                self.waiting
                    .get(id, is_on.then_some(OptionValue::Bool(true)))
            }
        }
    }

    fn local_address(&self) -> Option<Address> {
        self.local.clone().map(Into::into)
    }
}

impl<K: StreamKind> fmt::Debug for Listener<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(K::SERVER_NAME)
            .field("socket", &self.socket)
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

/// The listener in the text of an error.
struct Bound<'a, N>(&'a Option<N>);

impl<N: fmt::Display> fmt::Display for Bound<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(local) => local.fmt(f),
            None => f.write_str("an address that is not known"),
        }
    }
}
