//! [`End`]: a connection as one of its two sides has it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::address::LocalAddress;
use super::way::{self, Ending, Got, Sent, Way, discard};
use crate::buffer::Message;
use crate::channel::{OutboundBuffer, Signal};

/// The client's side, the server's side.
const CLIENT: usize = 0;
const SERVER: usize = 1;

/// What both sides share.
struct Wire {
    /// What the side of the same number writes.
    ways: [Way; 2],
    names: [LocalAddress; 2],
}

/// See the module's page. Dropped without a close it resets the other side.
pub(super) struct End {
    wire: Arc<Wire>,
    side: usize,
    has_closed: bool,
}

impl End {
    /// A new connection: the client's end, and the server's.
    pub(super) fn pair(client: LocalAddress, server: LocalAddress, room: usize) -> (Self, Self) {
        let wire = Arc::new(Wire {
            ways: [Way::new(room), Way::new(room)],
            names: [client, server],
        });
        let side = |side| Self {
            wire: Arc::clone(&wire),
            side,
            has_closed: false,
        };
        (side(CLIENT), side(SERVER))
    }

    /// This side's channel is on its loop. How its input has ended already, if it has.
    pub(super) fn attach(&self, signal: &Signal) -> Option<Ending> {
        self.outgoing().set_writer(signal.clone());
        self.incoming().set_reader(signal.clone())
    }

    pub(super) fn send(&self, out: &mut OutboundBuffer) -> Sent {
        self.outgoing().send(out)
    }

    pub(super) fn end_output(&self) {
        self.outgoing().end();
    }

    pub(super) fn take(&self, batch: &mut VecDeque<Message>) -> Got {
        self.incoming().take(batch)
    }

    pub(super) fn is_readable(&self) -> bool {
        self.incoming().is_readable()
    }

    /// Whether something waits to be read, and how the input ends behind it.
    pub(super) fn look(&self) -> (bool, Option<Ending>) {
        self.incoming().look()
    }

    pub(super) fn shut_input(&self) {
        self.incoming().shut();
    }

    /// How many bytes may wait to be read by this side.
    pub(super) fn set_room(&self, room: usize) {
        self.incoming().set_room(room);
    }

    /// Closes this side, with what it had taken and not read. The other one sees a reset if that was asked for, or if
    /// something that it sent was not read.
    pub(super) fn close(&mut self, batch: VecDeque<Message>, resets: bool) {
        if std::mem::replace(&mut self.has_closed, true) {
            return;
        }
        let unread = way::close(&self.wire.ways, self.side, resets || !batch.is_empty());
        discard(batch);
        discard(unread);
    }

    pub(super) fn local(&self) -> &LocalAddress {
        &self.wire.names[self.side]
    }

    pub(super) fn peer(&self) -> &LocalAddress {
        &self.wire.names[1 - self.side]
    }

    /// Whether these are the two ends of one connection.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.wire, &other.wire)
    }

    fn outgoing(&self) -> &Way {
        &self.wire.ways[self.side]
    }

    fn incoming(&self) -> &Way {
        &self.wire.ways[1 - self.side]
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.close(VecDeque::new(), true);
    }
}
