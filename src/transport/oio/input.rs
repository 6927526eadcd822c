//! [`Input`]: bytes that a thread reads and the loop takes out, portion by portion.
//!
//! One read is made for each time that the channel asks and finds nothing; what it brought stays in the thread's buffer
//! until the channel has taken all of it, in the sizes of its receive allocator, into the memory of its loop. That copy
//! buys that reads in flight pin no memory of the loop, and that predictors work as they do with sockets.

use std::io::{self, Read as _};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::hand::{Hand, Last, Stop, Tell, Work};
use super::receiver::Receiver;
use crate::buffer::Message;
use crate::channel::{Io, Read, Signal};
use crate::error::Error;

/// Room of a portion at first, and the most it grows to when reads fill it: the ends of the adaptive receive allocator.
const ROOM_MIN: usize = 2 << 10;
const ROOM_MAX: usize = 64 << 10;

/// How long after an answer of "nothing now" that took no time a source is asked again.
const NOTHING_REST: Duration = Duration::from_millis(10);

/// The loop's side.
pub(super) struct Input {
    hand: Option<Hand<Portion>>,
    /// Not with the thread.
    here: Option<Portion>,
}

/// What one call brought.
pub(super) struct Portion {
    room: Vec<u8>,
    /// taken <= filled <= room.len()
    taken: usize,
    filled: usize,
    state: State,
}

enum State {
    /// To be read into.
    Wanted,
    /// To wait for the end of a connect, and before that for a time if it seemed to have come already.
    Connecting {
        rests: bool,
    },
    /// It has bytes.
    Filled,
    Ended,
    Broken(Error),
}

impl Input {
    /// Reads from `source`; `name` is the channel's in texts.
    pub(super) fn start(
        thread: String,
        name: Arc<str>,
        source: Source,
        signal: Signal,
        last: Arc<Last>,
    ) -> Result<Self, Error> {
        let hand = Hand::start(thread, Reading { name, source }, signal, last)?;
        Ok(Self {
            hand: Some(hand),
            here: Some(Portion {
                room: Vec::new(),
                taken: 0,
                filled: 0,
                state: State::Wanted,
            }),
        })
    }

    /// The thread waits for the end of the connect, and the channel is told of it.
    pub(super) fn await_connect(&mut self) {
        if let (Some(mut portion), Some(hand)) = (self.take(), &self.hand) {
            let rests = matches!(portion.state, State::Connecting { .. });
            portion.state = State::Connecting { rests };
            hand.give(portion);
        }
    }

    /// What is there, or a call of the thread for more.
    pub(super) fn read(&mut self, io: &mut Io<'_>) -> Result<Read, Error> {
        let Some(mut portion) = self.take() else {
            return Ok(match self.hand {
                Some(_) => Read::Asked,
                None => Read::Eof,
            });
        };
        match portion.state {
            State::Wanted | State::Connecting { .. } => {
                portion.state = State::Wanted;
                match &self.hand {
                    Some(hand) => hand.give(portion),
                    None => return Ok(Read::Eof),
                }
                Ok(Read::Asked)
            }
            State::Filled => {
                let left = &portion.room[portion.taken..portion.filled];
                let read = io.read_bytes(|room, max| {
                    let count = left.len().min(max);
                    room.extend_from_slice(&left[..count]);
                    Ok(count)
                });
                let bytes = read
                    .map_err(|error| Error::io("taking what was read", error))?
                    .bytes;
                portion.taken += bytes.len();
                if portion.taken == portion.filled {
                    portion.state = State::Wanted;
                }
                self.here = Some(portion);
                Ok(Read::Message(Message::from(bytes)))
            }
            State::Ended => {
                self.here = Some(portion);
                Ok(Read::Eof)
            }
            State::Broken(ref error) => {
                let error = error.clone();
                self.here = Some(portion);
                Err(error)
            }
        }
    }

    /// The thread looks up from what it waits for as soon as that returns.
    pub(super) fn stop(&self) {
        if let Some(hand) = &self.hand {
            hand.stop();
        }
    }

    /// Reads no more: what a call still brings is dropped, and the next read finds the end.
    pub(super) fn end(&mut self) {
        self.hand = None;
        self.here = None;
    }

    fn take(&mut self) -> Option<Portion> {
        let hand = &self.hand;
        self.here.take().or_else(|| hand.as_ref()?.take())
    }
}

/// Where bytes come from.
pub(super) enum Source {
    /// A socket that does not block, and a wait before.
    Socket(Receiver),
    /// Anything else.
    Any(Box<dyn io::Read + Send>),
}

/// The thread's side.
struct Reading {
    name: Arc<str>,
    source: Source,
}

impl Work for Reading {
    type Job = Portion;

    fn run(&mut self, portion: &mut Portion, stop: &Stop) -> Tell {
        while !stop.is_set() {
            if let State::Connecting { rests } = &mut portion.state {
                if std::mem::take(rests) {
                    thread::sleep(NOTHING_REST);
                }
                match self.source.wait_for_connect() {
                    Ok(false) => continue,
                    // Ending the input wakes the wait as well.
                    Ok(true) if stop.is_set() => continue,
                    // An error of the wait shows in the socket as well.
                    Ok(true) | Err(_) => return Tell::Connected,
                }
            }
            match portion.fill(&mut self.source) {
                Ok(Filled::Bytes) => return Tell::Readable,
                Ok(Filled::End) => return Tell::PeerClosing,
                Ok(Filled::Nothing) => {}
                Err(error) => {
                    let error = Error::io(format!("reading from {}", self.name), error);
                    portion.state = State::Broken(error);
                    return Tell::Broken;
                }
            }
        }
        portion.state = State::Ended;
        Tell::Readable
    }
}

enum Filled {
    Bytes,
    End,
    Nothing,
}

impl Portion {
    fn fill(&mut self, source: &mut Source) -> io::Result<Filled> {
        let was_full = self.filled == self.room.len();
        if was_full && self.room.len() < ROOM_MAX {
            let room = (self.room.len() * 2).clamp(ROOM_MIN, ROOM_MAX);
            self.room.resize(room, 0);
        }
        (self.taken, self.filled) = (0, 0);
        let begun = std::time::Instant::now();
        let read = match source {
            Source::Socket(receiver) => receiver.read(&mut self.room),
            Source::Any(source) => source.read(&mut self.room),
        };
        match read {
            Ok(0) => {
                self.state = State::Ended;
                Ok(Filled::End)
            }
            // A `Read` that claims more than it had room for is not believed.
            Ok(count) => {
                self.filled = count.min(self.room.len());
                self.state = State::Filled;
                Ok(Filled::Bytes)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted | io::ErrorKind::TimedOut => Ok(Filled::Nothing),
                // A source that does not block is one that is asked again and again.
                io::ErrorKind::WouldBlock => {
                    if begun.elapsed() < NOTHING_REST {
                        thread::sleep(NOTHING_REST);
                    }
                    Ok(Filled::Nothing)
                }
                _ => Err(error),
            },
        }
    }
}

impl Source {
    fn wait_for_connect(&self) -> io::Result<bool> {
        match self {
            Self::Socket(receiver) => receiver.wait_for_connect(),
            Self::Any(_) => Ok(true),
        }
    }
}
