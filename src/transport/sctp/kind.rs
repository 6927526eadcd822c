//! [`SctpKind`]: what makes a stream socket one of SCTP.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

use tidegate_sys::os::errno;
use tidegate_sys::os::net::{
    self, Connect, IntOption,
    sctp::{self, Received, Subscription},
};

use super::assembler::{Assembler, Part};
use super::message::SctpMessage;
use super::options::{self, SCTP_CONNECTX, SCTP_EVENTS, SCTP_MESSAGE_MAX, SCTP_NODELAY};
use crate::buffer::Message;
use crate::channel::stream::{Step, refuse_object};
use crate::channel::{Front, Inet, Io, OptionId, OptionType, OptionValue, OutboundBuffer, Read};
use crate::error::Error;
use crate::transport::socket;
use crate::transport::socket::kind::StreamKind;
use crate::transport::socket::options::{self as socket_options, Family};

/// An association. It reads and writes [`SctpMessage`]s; notifications are user events.
pub type Sctp = socket::Connection<SctpKind>;

/// A listening socket of SCTP.
pub type SctpServer = socket::Listener<SctpKind>;

/// An association that has no channel yet: what a [`SctpServer`] reads.
pub type Accepted = socket::Accepted<Inet>;

/// The most bytes of a message that is received, at first.
const MESSAGE_MAX: usize = 1 << 20;

/// What is subscribed to unless SCTP_EVENTS says otherwise: what a program can act on.
const SUBSCRIPTION: Subscription = Subscription {
    partial_delivery: false,
    adaptation: false,
    sender_dry: false,
    ..Subscription::ALL
};

/// What makes a stream socket one of SCTP, and what one association keeps for it.
#[derive(Debug)]
pub struct SctpKind {
    assembler: Assembler,
    /// Further addresses of the peer.
    peers: Vec<SocketAddr>,
    /// SCTP_NODELAY, and SCTP_EVENTS, were set on purpose.
    has_nodelay: bool,
    has_events: bool,
}

impl Default for SctpKind {
    fn default() -> Self {
        Self {
            assembler: Assembler::new(MESSAGE_MAX),
            peers: Vec::new(),
            has_nodelay: false,
            has_events: false,
        }
    }
}

impl StreamKind for SctpKind {
    type Domain = Inet;

    const NAME: &'static str = "sctp";
    const SERVER_NAME: &'static str = "sctp server";
    const TITLE: &'static str = "SCTP";
    const SERVER_DEFAULTS: &'static [(OptionId, IntOption)] =
        &[(OptionId::SoReuseaddr, net::SO_REUSEADDR)];
    /// Messages with their streams, and notifications among them.
    const RECEIVES_BYTES: bool = false;
    const SENDS_BYTES: bool = false;

    fn socket(name: &SocketAddr) -> io::Result<OwnedFd> {
        sctp::socket(name)
    }

    /// Nothing else has this option.
    fn recognize(socket: BorrowedFd<'_>) -> io::Result<()> {
        net::get_int(socket, net::SCTP_NODELAY).map(drop)
    }

    /// Best effort: the peer may have ended the association already.
    fn begin(&mut self, socket: BorrowedFd<'_>) {
        if !std::mem::replace(&mut self.has_nodelay, true) {
            let _ = net::set_int(socket, net::SCTP_NODELAY, 1);
        }
        if !std::mem::replace(&mut self.has_events, true) {
            let _ = sctp::subscribe(socket, SUBSCRIPTION);
        }
    }

    fn connect(&mut self, socket: BorrowedFd<'_>, name: &SocketAddr) -> io::Result<Connect> {
        if self.peers.is_empty() {
            return net::connect(socket, name);
        }
        let mut all = vec![*name];
        all.extend(self.peers.iter().filter(|peer| *peer != name));
        sctp::connect(socket, &all)
    }

    fn read(
        &mut self,
        socket: BorrowedFd<'_>,
        io: &mut Io<'_>,
        peer: &dyn Display,
    ) -> Result<Read, Error> {
        // As often as it takes to the end of a message, whose length is bounded.
        loop {
            let mut received = Received::default();
            let read = io.read_bytes(|room, max| {
                received = sctp::recv(socket, room, max)?;
                Ok(received.len)
            });
            let bytes = match read {
                Ok(read) if read.bytes.is_empty() => return Ok(Read::Eof),
                Ok(read) => read.bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Read::WouldBlock);
                }
                Err(error) => return Err(Error::io(format!("reading from {peer}"), error)),
            };
            match self.assembler.add(&received, bytes)? {
                Part::Open => {}
                Part::Message(message) => return Ok(Read::Message(Message::new(message))),
                Part::Notification(notification) => {
                    return Ok(Read::Event(Message::new(notification)));
                }
            }
        }
    }

    /// Bytes alone have no stream, and a gathering write would make one message of several.
    fn accepts(msg: &Message) -> bool {
        msg.is::<SctpMessage>()
    }

    fn size_of(msg: &Message) -> usize {
        match msg.downcast_ref::<SctpMessage>() {
            Some(message) => message.payload.len(),
            None => msg.estimated_size(),
        }
    }

    /// The kernel takes a message whole or not at all. One that it does not want fails its own write and no other.
    fn send_object(
        &mut self,
        socket: BorrowedFd<'_>,
        out: &mut OutboundBuffer,
        peer: &dyn Display,
    ) -> Result<Step, Error> {
        let sent = match out.front() {
            Front::Object(object) => object
                .downcast_ref::<SctpMessage>()
                .map(|message| sctp::send(socket, &message.payload, &message.info())),
            _ => None,
        };
        let Some(sent) = sent else {
            refuse_object(out);
            return Ok(Step::Went);
        };
        match sent {
            Ok(_) => {
                let _ = out.complete_front();
                Ok(Step::Went)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Step::Full),
            Err(error) => {
                let is_about_message = is_about_message(&error);
                let error = Error::io(format!("sending a message to {peer}"), error);
                if !is_about_message {
                    return Err(error);
                }
                let _ = out.fail_front(error);
                Ok(Step::Went)
            }
        }
    }

    fn set_option(&mut self, id: OptionId, value: &OptionValue) -> bool {
        if let (true, Some(peers)) = (id == SCTP_CONNECTX.id(), SCTP_CONNECTX.restore(value)) {
            self.peers = peers;
            return true;
        }
        if let (true, Some(bytes)) = (id == SCTP_MESSAGE_MAX.id(), SCTP_MESSAGE_MAX.restore(value))
        {
            self.assembler.size_max = bytes.max(1);
            return true;
        }
        self.has_nodelay |= id == SCTP_NODELAY.id();
        self.has_events |= id == SCTP_EVENTS.id();
        false
    }

    fn has_option(family: Family, id: OptionId) -> bool {
        options::is_own(id) || socket_options::is_socket_option(family, id)
    }

    fn set_on(
        socket: BorrowedFd<'_>,
        family: Family,
        id: OptionId,
        value: &OptionValue,
    ) -> Result<(), Error> {
        if options::is_own(id) {
            options::set(socket, id, value)
        } else {
            socket_options::set(socket, family, id, value)
        }
    }

    fn get_on(socket: BorrowedFd<'_>, family: Family, id: OptionId) -> Result<OptionValue, Error> {
        if options::is_own(id) {
            options::get(socket, id)
        } else {
            socket_options::get(socket, family, id)
        }
    }

    fn option(
        &self,
        id: OptionId,
        socket: Option<BorrowedFd<'_>>,
    ) -> Option<Result<OptionValue, Error>> {
        let value = if id == SCTP_CONNECTX.id() {
            self.peers.clone().into_value()
        } else if id == SCTP_MESSAGE_MAX.id() {
            self.assembler.size_max.into_value()
        } else if id == SCTP_NODELAY.id() && socket.is_none() {
            OptionValue::Bool(true)
        } else {
            return None;
        };
        Some(Ok(value))
    }
}

/// EMSGSIZE (too long for the send buffer, or for a packet where it must not be cut) and EINVAL (no such stream, or
/// nothing in it).
fn is_about_message(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(errno::EMSGSIZE | errno::EINVAL))
}
