//! What carries a channel's bytes or messages: the contract between the pipeline's head and a transport.
//!
//! A transport is a set of steps that never block and never call back: each is asked for one thing and answers with
//! what happened. The channel owns the loops around them (read batches, flushes, the order of events), so a transport
//! needs no descriptor: a stream of a multiplexer is one as well as a TCP socket.
//!
//! | step | asked when | may finish later |
//! |---|---|---|
//! | `register` | the channel is on its loop | |
//! | `bind`, `connect` | the operation reached the head | connect: [`Progress::Pending`] |
//! | `check_connect` | readiness while connecting, or [`Signal::connected`] | yes |
//! | `read` | reading is wanted and the transport was readable | answers [`Read::WouldBlock`] |
//! | `flush` | something flushed waits | answers [`Flush::Blocked`] |
//! | `shutdown`, `close` | once each | close: [`Progress::Pending`], then [`Signal::closed`] |
//!
//! Later news comes by [`Signal`], from any thread, or, for transports with a descriptor, by readiness.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use bytes::BytesMut;
use tidegate_sys::os::Ready;

use super::address::Address;
use super::options::{OptionId, OptionValue};
use super::outbound::OutboundBuffer;
use super::signal::Signal;
use crate::buffer::{Arena, Message, RecvPredictor};
use crate::error::{Error, ErrorKind};
use crate::event_loop::{EventLoop, Metrics};

/// Facts about a transport that never change.
#[derive(Clone, Copy, Debug)]
pub struct Metadata {
    /// For logs: "tcp", "tcp server".
    pub name: &'static str,
    /// It can undo a connect; otherwise a disconnect is a close.
    pub has_disconnect: bool,
    /// Default of `MAX_MESSAGES_PER_READ`: 16 for sockets, 1 where a read drains everything (Netty's ChannelMetadata).
    pub max_messages_per_read: u16,
    /// It accepts channels instead of carrying data: it is never written to.
    pub is_server: bool,
}

/// Whether a step is done, or will be reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Done.
    Done,
    /// Not yet; a [`Signal`] or readiness will tell.
    Pending,
}

/// What one read brought.
#[derive(Debug)]
pub enum Read {
    /// A message; another read may bring more at once.
    Message(Message),
    /// A message that could not be received. It is told in `exception_caught`, and the channel lives; another read may bring
    /// more at once.
    Failed(Error),
    /// News that are no data, for `user_event_triggered`; another read may bring more at once.
    Event(Message),
    /// A message, and the source is known to be empty now (a short read).
    Last(Message),
    /// Nothing now.
    WouldBlock,
    /// Nothing yet: this read was handed on (to a thread, a device), and [`Signal::readable`] will tell. A batch that
    /// begins with this is none, and has no `channel_read_complete`.
    Asked,
    /// The peer ended its side.
    Eof,
    /// Nothing, for want of something that belongs to the process (descriptors): the channel tries again when a
    /// descriptor is closed, at the latest after this time.
    Paused(Duration),
}

/// How a flush ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// All that was flushed has been taken.
    Drained,
    /// The transport takes no more until it is writable again.
    Blocked,
    /// The spin count is used up; the channel goes on after others had their turn.
    Yielded,
}

/// Which direction a shutdown ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Nothing is read any more.
    Input,
    /// Nothing is written any more; the peer sees the end.
    Output,
}

/// See the module's page.
pub trait Transport: 'static {
    /// Facts that never change.
    fn metadata(&self) -> Metadata;

    /// Errors of single messages do not end it, so one that no handler takes is only logged: the default of
    /// `CLOSE_ON_UNHANDLED_ERROR`.
    fn outlives_errors(&self) -> bool {
        false
    }

    /// True while connected (clients, children, streams) or bound (servers, datagrams).
    fn is_active(&self) -> bool;

    /// The descriptor whose readiness drives the channel, if there is one.
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// The channel is on its loop now.
    fn register(&mut self, io: &mut Io<'_>) -> Result<(), Error> {
        let _ = io;
        Ok(())
    }

    /// Whether the first read may bring something at once; asked when the channel becomes active. One that answers no
    /// signals when there is something. A descriptor's readiness tells it by itself, so those are not asked.
    fn starts_readable(&mut self) -> bool {
        true
    }

    /// Bind; afterwards `is_active` may be true. It may be asked again after it has failed.
    ///
    /// [`ErrorKind::AddrInUse`] whose [`io_kind`](Error::io_kind) is [`WouldBlock`](io::ErrorKind::WouldBlock) says that the
    /// address can't be had at this moment. Then this, or a `connect` that gives it, is asked again every 5 ms, and fails with
    /// that error after a second.
    fn bind(&mut self, io: &mut Io<'_>, local: &Address) -> Result<(), Error> {
        let _ = io;
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("{} can't bind to {local}", self.metadata().name),
        ))
    }

    /// Start to connect.
    fn connect(
        &mut self,
        io: &mut Io<'_>,
        remote: &Address,
        local: Option<&Address>,
    ) -> Result<Progress, Error> {
        let _ = (io, local);
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("{} can't connect to {remote}", self.metadata().name),
        ))
    }

    /// Look whether the connect has finished.
    fn check_connect(&mut self, io: &mut Io<'_>) -> Result<Progress, Error> {
        let _ = io;
        Ok(Progress::Done)
    }

    /// Undo a connect. Only asked where the metadata says so.
    fn disconnect(&mut self, io: &mut Io<'_>) -> Result<(), Error> {
        let _ = io;
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("{} can't disconnect", self.metadata().name),
        ))
    }

    /// Whether this message can be written at all; asked once per write, before it is buffered.
    fn accepts(&self, msg: &Message) -> bool;

    /// The bytes that a message counts for in the outbound buffer: none for a file region, 8 for what is no buffer, as in
    /// Netty.
    fn size_of(&self, msg: &Message) -> usize {
        msg.estimated_size()
    }

    /// The socket, if one read is one recv(2) of bytes from it and nothing else. The channel then begins its batches with
    /// that call by itself, without coming here: its code is shorter by 40 instructions, and by a return that the processor
    /// would predict wrong. What the call gives means the same as at a stream that answers by [`Transport::read`], which
    /// makes the other reads of a batch.
    fn receiver(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// The socket, if a message of bytes is sent by send(2) on it and counts for its length. The channel then sends a message
    /// that is alone by itself, for the same reason; [`Transport::flush`] does what is more than that.
    fn sender(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// One read.
    fn read(&mut self, io: &mut Io<'_>) -> Result<Read, Error>;

    /// For transports that grant credit to their peer, or read ahead. `wanted`: the first `read()` has come, of auto-read or of
    /// a user's, also before there is a connection. Not wanted: auto-read was switched off, and with it what was asked for and
    /// has not come; the next `read()` is told again. That a single `read()` without auto-read is used up is not told:
    /// `read` is not asked any more.
    fn reading(&mut self, io: &mut Io<'_>, wanted: bool) {
        let _ = (io, wanted);
    }

    /// Take as much of the flushed part of `out` as possible, with at most `io.write_spin_count()` system calls.
    fn flush(&mut self, io: &mut Io<'_>, out: &mut OutboundBuffer) -> Result<Flush, Error>;

    /// End one direction.
    fn shutdown(&mut self, io: &mut Io<'_>, direction: Direction) -> Result<(), Error> {
        let _ = io;
        Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "{} can't shut down its {direction:?} alone",
                self.metadata().name
            ),
        ))
    }

    /// Whether a drain may not close it plainly, because that could cost the peer what was sent last, as with TCP: then the
    /// output is ended first, and what still comes is read and dropped until the peer has ended its side too. By default what
    /// has a descriptor. One without has to tell by its [`Signal`] when a read may bring something, or the end.
    fn lingers(&self) -> bool {
        self.as_fd().is_some()
    }

    /// End. The descriptor has been deregistered before.
    fn close(&mut self, io: &mut Io<'_>) -> Result<Progress, Error>;

    /// Whether the transport goes by an option that the channel keeps for it: asked for `RECV_ALLOCATOR`
    /// ([`Io::read_bytes`]) and `WRITE_SPIN_COUNT` ([`Io::write_spin_count`]). One that does not is asked to set or read it
    /// itself, which refuses what it does not know: what is set does something, or is an error.
    fn goes_by(&self, id: OptionId) -> bool {
        let _ = id;
        true
    }

    /// Set an option of the transport.
    fn set_option(&mut self, id: OptionId, value: &OptionValue) -> Result<(), Error> {
        let _ = value;
        Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "{} has no option {id}; leave it out or use a transport that has it",
                self.metadata().name
            ),
        ))
    }

    /// Read an option of the transport.
    fn option(&self, id: OptionId) -> Result<OptionValue, Error> {
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("{} has no option {id}", self.metadata().name),
        ))
    }

    /// The local address, once there is one.
    fn local_address(&self) -> Option<Address> {
        None
    }

    /// The peer's address, once there is one.
    fn remote_address(&self) -> Option<Address> {
        None
    }
}

/// What one [`Io::read_bytes`] brought.
#[derive(Debug)]
pub struct ReadBytes {
    /// The bytes; empty at end of input.
    pub bytes: BytesMut,
    /// The read filled all the room it was given, so more is likely there.
    pub filled: bool,
}

impl ReadBytes {
    /// What a read into so much room has brought.
    #[inline]
    pub(crate) fn of(bytes: BytesMut, room: usize) -> Self {
        let filled = bytes.len() >= room;
        Self { bytes, filled }
    }
}

/// Room that a read appends to. The memory is the loop's: what a read that panics has appended must not become the beginning
/// of what the next channel reads.
struct Unread<'a>(&'a mut BytesMut);

impl Drop for Unread<'_> {
    /// Only reached by unwinding.
    #[cold]
    fn drop(&mut self) {
        self.0.clear();
    }
}

/// What the channel does for a step of its transport, and few steps ask for; [`Io`] is its face.
pub(crate) trait Services {
    fn event_loop(&self) -> &EventLoop;
    fn signal(&self) -> Signal;
    fn descriptor_closed(&self);
    fn metrics(&self) -> &Metrics;
}

/// The channel's services for a step of its transport.
///
/// What reads and writes need is here itself, so that it becomes one piece of code with the system call. Behind calls by
/// name of a trait a read cost 70 instructions more.
pub struct Io<'a> {
    pub(crate) services: &'a dyn Services,
    pub(crate) arena: &'a RefCell<Arena>,
    pub(crate) predictor: &'a Cell<RecvPredictor>,
    pub(crate) seen: Ready,
    pub(crate) write_spin: u16,
}

impl Io<'_> {
    /// One read into the loop's receive arena, with the room that the channel's receive allocator predicts.
    /// `read` appends at most the given number of bytes and answers how many; its error is passed on.
    ///
    /// # Errors
    /// What `read` gives.
    #[inline]
    pub fn read_bytes(
        &mut self,
        read: impl FnOnce(&mut BytesMut, usize) -> io::Result<usize>,
    ) -> io::Result<ReadBytes> {
        let mut predictor = self.predictor.get();
        let room = predictor.room();
        let bytes = self.read_room(room, read)?;
        if !bytes.is_empty() {
            predictor.record(bytes.len());
            self.predictor.set(predictor);
        }
        Ok(ReadBytes::of(bytes, room))
    }

    /// One read into the loop's receive arena with room for `bytes` bytes, whatever the channel's receive allocator
    /// predicts. For transports whose messages have a size of their own.
    ///
    /// # Errors
    /// What `read` gives.
    #[inline]
    pub fn read_room(
        &mut self,
        bytes: usize,
        read: impl FnOnce(&mut BytesMut, usize) -> io::Result<usize>,
    ) -> io::Result<BytesMut> {
        let mut arena = self.arena.borrow_mut();
        arena.read(bytes, |room, max| {
            let unread = Unread(room);
            let result = read(unread.0, max);
            mem::forget(unread);
            result
        })
    }

    /// False once the peer's closing, an error or urgent data was reported: then a short read no longer means that
    /// the source is empty.
    #[inline]
    pub fn short_read_drains(&self) -> bool {
        const MORE_TO_COME: Ready = Ready::READ_CLOSED
            .union(Ready::HANGUP)
            .union(Ready::ERROR)
            .union(Ready::PRIORITY);
        !self.seen.intersects(MORE_TO_COME)
    }

    /// `WRITE_SPIN_COUNT`: write calls per flush.
    #[inline]
    pub fn write_spin_count(&self) -> u32 {
        self.write_spin.into()
    }

    /// The channel's loop.
    pub fn event_loop(&self) -> &EventLoop {
        self.services.event_loop()
    }

    /// By which the transport reports later what it could not answer at once.
    pub fn signal(&self) -> Signal {
        self.services.signal()
    }

    /// What the loop counts, for our own transports.
    pub(crate) fn metrics(&self) -> &Metrics {
        self.services.metrics()
    }

    /// A descriptor of this process was closed: acceptors that ran out of them try again.
    pub fn descriptor_closed(&self) {
        self.services.descriptor_closed();
    }
}
