//! [`StreamKind`]: what differs between kinds of stream sockets, beside their domain.

use std::fmt::{Debug, Display};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use tidegate_sys::os::net::{self, Connect, IntOption};

use super::domain::Domain;
use super::options::{self, Family};
use crate::buffer::Message;
use crate::channel::stream::{self, Step};
use crate::channel::{Io, OptionId, OptionValue, OutboundBuffer, Read};
use crate::error::Error;

/// A kind of stream sockets. A value of it is what one connection keeps for it.
pub trait StreamKind: Default + Debug + 'static {
    /// The domain of its addresses.
    type Domain: Domain;

    /// Of a connection, for logs and texts: "tcp".
    const NAME: &'static str;

    /// Of a listener: "tcp server".
    const SERVER_NAME: &'static str;

    /// In the middle of a sentence: "TCP".
    const TITLE: &'static str;

    /// Options that a listener has on unless they were set: by id, as the kernel knows them.
    const SERVER_DEFAULTS: &'static [(OptionId, IntOption)];

    /// One read is one recv(2) of bytes and nothing else, which the channel may make itself.
    const RECEIVES_BYTES: bool;

    /// A message of bytes is sent by send(2), which the channel may make itself, and counts for its length.
    const SENDS_BYTES: bool;

    /// A new socket for this address.
    fn socket(name: &NameOf<Self>) -> io::Result<OwnedFd>;

    /// What the system says if this stream socket of the domain, which comes from elsewhere, is of another kind.
    fn recognize(socket: BorrowedFd<'_>) -> io::Result<()> {
        let _ = socket;
        Ok(())
    }

    /// The socket is there, and the options that were asked for are set. Once.
    fn begin(&mut self, socket: BorrowedFd<'_>) {
        let _ = socket;
    }

    /// Begins to connect.
    fn connect(&mut self, socket: BorrowedFd<'_>, name: &NameOf<Self>) -> io::Result<Connect> {
        net::connect(socket, name)
    }

    /// One read.
    #[inline]
    fn read(
        &mut self,
        socket: BorrowedFd<'_>,
        io: &mut Io<'_>,
        peer: &dyn Display,
    ) -> Result<Read, Error> {
        stream::read(socket, io, peer)
    }

    /// Whether it can send this.
    #[inline]
    fn accepts(msg: &Message) -> bool {
        stream::accepts(msg)
    }

    /// The bytes that a message counts for.
    #[inline]
    fn size_of(msg: &Message) -> usize {
        msg.estimated_size()
    }

    /// Sends the oldest flushed message, which is neither bytes nor a part of a file.
    fn send_object(
        &mut self,
        socket: BorrowedFd<'_>,
        out: &mut OutboundBuffer,
        peer: &dyn Display,
    ) -> Result<Step, Error> {
        let _ = (socket, peer);
        // The head refuses those, so none is ever buffered.
        stream::refuse_object(out);
        Ok(Step::Went)
    }

    /// An option is set, of its own or of the socket: true if nobody else has to look at it.
    fn set_option(&mut self, id: OptionId, value: &OptionValue) -> bool {
        let _ = (id, value);
        false
    }

    /// Whether its sockets, or those of its listeners, have this option.
    fn has_option(family: Family, id: OptionId) -> bool {
        options::is_socket_option(family, id)
    }

    /// Sets an option that its sockets have.
    fn set_on(
        socket: BorrowedFd<'_>,
        family: Family,
        id: OptionId,
        value: &OptionValue,
    ) -> Result<(), Error> {
        options::set(socket, family, id, value)
    }

    /// Reads an option that its sockets have.
    fn get_on(socket: BorrowedFd<'_>, family: Family, id: OptionId) -> Result<OptionValue, Error> {
        options::get(socket, family, id)
    }

    /// Reads an option of its own. There may be no socket yet.
    fn option(
        &self,
        id: OptionId,
        socket: Option<BorrowedFd<'_>>,
    ) -> Option<Result<OptionValue, Error>> {
        let _ = (id, socket);
        None
    }
}

/// The addresses of a kind.
pub(crate) type NameOf<K> = <<K as StreamKind>::Domain as Domain>::Name;
