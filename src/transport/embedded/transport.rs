//! The transport of an embedded channel: queues on both sides, and the tail that collects.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use crate::buffer::Message;
use crate::channel::tail::Tail;
use crate::channel::{
    Address, Direction, Flush, Inbound, Io, Metadata, OptionId, OptionValue, OutboundBuffer,
    Progress, Read, Transport,
};
use crate::error::{Error, ErrorKind, Failure};

/// What the test and the transport share.
#[derive(Default)]
pub(super) struct Ends {
    /// Messages that reached the tail.
    pub(super) inbound: RefCell<VecDeque<Message>>,
    /// User events that reached the tail.
    pub(super) events: RefCell<VecDeque<Message>>,
    /// Messages that a flush took.
    pub(super) outbound: RefCell<VecDeque<Message>>,
    /// What reads bring, in order.
    pub(super) source: RefCell<VecDeque<Source>>,
    /// The first error that reached the tail.
    pub(super) error: RefCell<Option<Failure>>,
    /// Flushes take nothing while this is set.
    pub(super) blocked: Cell<bool>,
    /// What the next flush fails with.
    pub(super) write_error: RefCell<Option<Error>>,
    /// How often the transport was asked for a read.
    pub(super) reads: Cell<usize>,
    /// How many bytes flushes may still take; `None`: any number. The message that uses it up is taken whole.
    pub(super) room: Cell<Option<usize>>,
    /// How many messages one flush takes before it yields.
    pub(super) per_flush: Cell<usize>,
    pub(super) connect: Cell<Option<Progress>>,
    pub(super) shutdowns: RefCell<Vec<Direction>>,
    pub(super) close_later: Cell<bool>,
    active: Cell<bool>,
}

/// One thing to read.
pub(super) enum Source {
    Message(Message),
    Eof,
    Failed(Error),
}

pub(super) struct Embedded {
    ends: Rc<Ends>,
}

impl Embedded {
    /// `connected`: active from the start, like an accepted connection.
    pub(super) fn new(ends: Rc<Ends>, connected: bool) -> Self {
        ends.active.set(connected);
        Self { ends }
    }
}

impl Transport for Embedded {
    fn metadata(&self) -> Metadata {
        Metadata {
            name: "embedded",
            has_disconnect: false,
            max_messages_per_read: 16,
            is_server: false,
        }
    }

    fn is_active(&self) -> bool {
        self.ends.active.get()
    }

    fn connect(
        &mut self,
        _io: &mut Io<'_>,
        remote: &Address,
        _local: Option<&Address>,
    ) -> Result<Progress, Error> {
        match self.ends.connect.get() {
            Some(Progress::Done) => {
                self.ends.active.set(true);
                Ok(Progress::Done)
            }
            Some(Progress::Pending) => Ok(Progress::Pending),
            None => Err(Error::new(
                ErrorKind::ConnectRefused,
                format!("connection refused: {remote}"),
            )),
        }
    }

    fn check_connect(&mut self, _io: &mut Io<'_>) -> Result<Progress, Error> {
        self.ends.active.set(true);
        Ok(Progress::Done)
    }

    fn accepts(&self, _msg: &Message) -> bool {
        true
    }

    fn read(&mut self, _io: &mut Io<'_>) -> Result<Read, Error> {
        self.ends.reads.set(self.ends.reads.get() + 1);
        match self.ends.source.borrow_mut().pop_front() {
            Some(Source::Message(msg)) => Ok(Read::Message(msg)),
            Some(Source::Eof) => Ok(Read::Eof),
            Some(Source::Failed(error)) => Err(error),
            None => Ok(Read::WouldBlock),
        }
    }

    fn flush(&mut self, _io: &mut Io<'_>, out: &mut OutboundBuffer) -> Result<Flush, Error> {
        if let Some(error) = self.ends.write_error.borrow_mut().take() {
            return Err(error);
        }
        let mut taken = 0;
        while !self.ends.blocked.get() && self.ends.room.get() != Some(0) {
            let Some(msg) = out.take_front() else {
                return Ok(Flush::Drained);
            };
            if let Some(room) = self.ends.room.get() {
                self.ends
                    .room
                    .set(Some(room.saturating_sub(msg.estimated_size())));
            }
            self.ends.outbound.borrow_mut().push_back(msg);
            let _ = out.complete_taken(1);
            taken += 1;
            if taken == self.ends.per_flush.get() && out.flushed_len() > 0 {
                return Ok(Flush::Yielded);
            }
        }
        Ok(if out.flushed_len() == 0 {
            Flush::Drained
        } else {
            Flush::Blocked
        })
    }

    fn shutdown(&mut self, _io: &mut Io<'_>, direction: Direction) -> Result<(), Error> {
        self.ends.shutdowns.borrow_mut().push(direction);
        if direction == Direction::Input {
            // As with a socket: what has arrived can still be read, then comes the end.
            self.ends.source.borrow_mut().push_back(Source::Eof);
        }
        Ok(())
    }

    fn close(&mut self, _io: &mut Io<'_>) -> Result<Progress, Error> {
        self.ends.active.set(false);
        Ok(if self.ends.close_later.get() {
            Progress::Pending
        } else {
            Progress::Done
        })
    }

    fn set_option(&mut self, _id: OptionId, _value: &OptionValue) -> Result<(), Error> {
        // A test of handlers does not care for the options of sockets; those of the channel itself do not come here.
        Ok(())
    }

    fn local_address(&self) -> Option<Address> {
        Some(Address::from("embedded"))
    }

    fn remote_address(&self) -> Option<Address> {
        self.ends.active.get().then(|| Address::from("embedded"))
    }
}

/// Collects what reaches the tail.
pub(super) struct Collector(pub(super) Rc<Ends>);

impl Tail for Collector {
    fn message(&self, msg: Message) {
        self.0.inbound.borrow_mut().push_back(msg);
    }

    fn user_event(&self, event: Message) {
        self.0.events.borrow_mut().push_back(event);
    }

    fn exception(&self, cause: Failure) {
        let mut first = self.0.error.borrow_mut();
        if first.is_some() {
            tracing::warn!(error = %cause, "a further error reached the tail of an embedded channel");
        } else {
            *first = Some(cause);
        }
    }

    fn plain(&self, _kind: Inbound) {}
}
