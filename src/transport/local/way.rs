//! [`Way`]: one direction of a local connection, between a writer and a reader on any two loops.
//!
//! All of it is under one lock, which is held for moves of messages and nothing else: no signal is given, and no message
//! dropped, before it is released. Whoever finds nothing to do says so under the lock (`reader_waits`, `writer_waits`), and
//! whoever changes that clears the flag and signals: so there is one signal for each time that somebody waits, and none is
//! lost between the look and the wait. Only [`close`] holds the locks of both ways, the client's first.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::buffer::Message;
use crate::channel::{ENTRY_OVERHEAD, OutboundBuffer, Signal};
use crate::event_loop::boundary;

/// An empty queue keeps room for so many messages (10 KiB).
const KEPT_MAX: usize = 256;

/// How a way ends, behind the messages in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The writer has ended its output.
    End,
    /// The writer is gone, and what was sent to it may be lost.
    Reset,
}

/// What the writer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// All that was flushed has been taken.
    All,
    /// There is no room; the writer is signalled when there is.
    Full,
    /// The reader's side has closed.
    Gone,
}

/// What the reader is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Got {
    /// Messages.
    Some,
    /// None; the reader is signalled when there are.
    Nothing,
    /// None, and none will come.
    Ended(Ending),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    Reads,
    /// It has ended its input; what is sent to it is dropped.
    Shut,
    Gone,
}

/// See the module's page.
pub(super) struct Way(Mutex<State>);

struct State {
    queue: VecDeque<Message>,
    /// What `queue` counts, in bytes.
    waiting: usize,
    /// While `waiting` is less, another message is taken.
    room: usize,
    ending: Option<Ending>,
    reader: Reader,
    /// The reader has found nothing, and was not signalled since.
    reader_waits: bool,
    /// The writer has found no room, and was not signalled since.
    writer_waits: bool,
    /// The channels at both ends, once they are on their loops and until they close.
    tell_reader: Option<Signal>,
    tell_writer: Option<Signal>,
}

impl Way {
    pub(super) fn new(room: usize) -> Self {
        Self(Mutex::new(State {
            queue: VecDeque::new(),
            waiting: 0,
            room,
            ending: None,
            reader: Reader::Reads,
            reader_waits: false,
            writer_waits: false,
            tell_reader: None,
            tell_writer: None,
        }))
    }

    // ---- the writer's side

    /// The writer's channel is on its loop.
    pub(super) fn set_writer(&self, signal: Signal) {
        self.lock().tell_writer = Some(signal);
    }

    /// Takes what was flushed, as far as there is room.
    pub(super) fn send(&self, out: &mut OutboundBuffer) -> Sent {
        let mut dropped = Vec::new();
        let mut state = self.lock();
        let sent = loop {
            if state.reader == Reader::Gone && out.flushed_len() > 0 {
                break Sent::Gone;
            }
            if state.reader == Reader::Reads && state.waiting >= state.room && out.flushed_len() > 0
            {
                state.writer_waits = true;
                break Sent::Full;
            }
            let Some(msg) = out.take_front() else {
                break Sent::All;
            };
            let _ = out.complete_taken(1);
            if state.reader == Reader::Reads {
                state.waiting += size_of(&msg);
                state.queue.push_back(msg);
            } else {
                dropped.push(msg);
            }
        };
        let told = if state.queue.is_empty() {
            None
        } else {
            state.wake_reader()
        };
        drop(state);
        if let Some(reader) = told {
            reader.readable();
        }
        discard(dropped);
        sent
    }

    /// The writer has ended its output.
    pub(super) fn end(&self) {
        let told = self.lock().end(Ending::End);
        if let Some(reader) = told {
            tell(&reader, Ending::End);
        }
    }

    // ---- the reader's side

    /// The reader's channel is on its loop. How the way has ended meanwhile, if it has, the channel does not know yet.
    pub(super) fn set_reader(&self, signal: Signal) -> Option<Ending> {
        let mut state = self.lock();
        state.tell_reader = Some(signal);
        state.ending
    }

    pub(super) fn set_room(&self, room: usize) {
        let mut state = self.lock();
        state.room = room;
        let told = state.wake_writer();
        drop(state);
        if let Some(writer) = told {
            writer.writable();
        }
    }

    /// Takes all there is, for an empty `batch`.
    pub(super) fn take(&self, batch: &mut VecDeque<Message>) -> Got {
        debug_assert!(batch.is_empty(), "what it holds came earlier");
        let mut state = self.lock();
        if state.queue.is_empty() {
            let got = match (state.ending, state.reader) {
                (Some(ending), _) => Got::Ended(ending),
                (None, Reader::Reads) => {
                    state.reader_waits = true;
                    Got::Nothing
                }
                (None, Reader::Shut | Reader::Gone) => Got::Ended(Ending::End),
            };
            state.queue.shrink_to(KEPT_MAX);
            drop(state);
            batch.shrink_to(KEPT_MAX);
            return got;
        }
        std::mem::swap(&mut state.queue, batch);
        state.waiting = 0;
        let told = state.wake_writer();
        drop(state);
        if let Some(writer) = told {
            writer.writable();
        }
        Got::Some
    }

    /// The reader is about to read: whether there is something. If not it is signalled when there is.
    pub(super) fn is_readable(&self) -> bool {
        let mut state = self.lock();
        let is_readable = !state.queue.is_empty() || state.ending.is_some();
        state.reader_waits = !is_readable;
        is_readable
    }

    /// Whether messages wait here, and how the way ends behind them.
    pub(super) fn look(&self) -> (bool, Option<Ending>) {
        let state = self.lock();
        (!state.queue.is_empty(), state.ending)
    }

    /// The reader wants no more than there is.
    pub(super) fn shut(&self) {
        let mut state = self.lock();
        if state.reader == Reader::Reads {
            state.reader = Reader::Shut;
        }
        let told = state.wake_writer();
        drop(state);
        if let Some(writer) = told {
            writer.writable();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One side closes: it reads no more of one way and ends the other, at once, so that a writer that finds its reader gone
/// knows how its own input ends. What was not read comes back; it makes the end a reset, as does a writer that waits for
/// room, and `is_reset`.
///
/// Nobody else holds two locks.
pub(super) fn close(ways: &[Way; 2], side: usize, is_reset: bool) -> VecDeque<Message> {
    let (mut first, mut second) = (ways[0].lock(), ways[1].lock());
    let (outgoing, incoming) = if side == 0 {
        (&mut *first, &mut *second)
    } else {
        (&mut *second, &mut *first)
    };
    incoming.reader = Reader::Gone;
    incoming.waiting = 0;
    let unread = std::mem::take(&mut incoming.queue);
    let is_awaited = std::mem::take(&mut incoming.writer_waits);
    let ending = if is_reset || is_awaited || !unread.is_empty() {
        Ending::Reset
    } else {
        Ending::End
    };
    let told = outgoing.end(ending);
    let ours = (incoming.tell_reader.take(), outgoing.tell_writer.take());
    drop((first, second));
    drop(ours);
    if let Some(reader) = told {
        tell(&reader, ending);
    }
    unread
}

impl State {
    /// Ends the way; the reader, if that is news. A reset may follow an end.
    fn end(&mut self, ending: Ending) -> Option<Signal> {
        if self.ending == Some(ending) || self.ending == Some(Ending::Reset) {
            return None;
        }
        self.ending = Some(ending);
        self.reader_waits = false;
        self.tell_reader.clone()
    }

    /// The reader, if it waits.
    fn wake_reader(&mut self) -> Option<Signal> {
        if std::mem::take(&mut self.reader_waits) {
            self.tell_reader.clone()
        } else {
            None
        }
    }

    /// The writer, if it waits.
    fn wake_writer(&mut self) -> Option<Signal> {
        if std::mem::take(&mut self.writer_waits) {
            self.tell_writer.clone()
        } else {
            None
        }
    }
}

/// Tells a reader how its way has ended.
pub(super) fn tell(reader: &Signal, ending: Ending) {
    match ending {
        Ending::End => reader.peer_closing(),
        Ending::Reset => reader.broken(),
    }
}

/// Drops messages that nobody will read. They may be of the user's types, and their drop may panic.
pub(super) fn discard(messages: impl IntoIterator<Item = Message>) {
    for msg in messages {
        if let Err(panic) = boundary::catch(|| drop(msg)) {
            tracing::error!(panic, "dropping a message that nobody had read panicked");
        }
    }
}

fn size_of(msg: &Message) -> usize {
    msg.estimated_size().saturating_add(ENTRY_OVERHEAD)
}
