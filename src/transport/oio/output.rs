//! [`Output`]: what was flushed, handed to a thread in batches that it writes out.
//!
//! A batch is taken from the channel's outbound buffer, whose entries stay there until the batch comes back: so what is
//! on its way counts for writability, and every promise is kept by the channel. The thread has an outbound buffer of its
//! own for the messages, so that the machines of sockets serve here as they are.
//!
//! A batch that the thread has when the channel closes is still written, as far as that goes without waiting: what was
//! flushed before a close has gone out then, as it has from a socket's channel on a selector.

use std::sync::Arc;

use super::census;
use super::hand::{Hand, Last, Stop, Tell, Work, drop_contained};
use crate::buffer::Message;
use crate::channel::{Flush, Io, OptionId, OutboundBuffer, Signal};
use crate::error::Error;
use crate::future::Promise;
use crate::transport::socket::options::no_such_option;

/// The most messages of one batch, and the bytes with which it is full: promises succeed batch by batch.
const MESSAGES_MAX: usize = 1024;
const BYTES_MAX: usize = 1 << 20;

/// Where messages go, on the thread.
pub(super) trait Sink: Send + 'static {
    /// One step: as a transport's flush with one system call. At most one message fails in it.
    fn step(&mut self, out: &mut OutboundBuffer) -> Result<Flush, Error>;

    /// After a step that found no room: waits for it, for a time.
    fn wait(&mut self) -> Result<(), Error>;

    /// After the last message of a batch.
    fn settle(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Whether code of a user runs when this is dropped, which may take its time.
    fn drops_slowly(&self) -> bool {
        false
    }
}

/// The loop's side.
pub(super) struct Output {
    state: State,
}

enum State {
    /// The thread is started with the first batch: many channels only read.
    Waiting(Box<Beginning>),
    Started {
        hand: Hand<Batch>,
        /// Not with the thread.
        here: Option<Batch>,
    },
    /// Nothing more is given to the thread.
    Finishing(Hand<Batch>),
    Ended,
}

/// What the thread begins with.
struct Beginning {
    thread: String,
    sink: Box<dyn Sink>,
    last: Arc<Last>,
}

impl Beginning {
    /// Nothing is to be written. What takes its time to drop is dropped on the thread all the same: it ends with that.
    fn leave(self) {
        let Self { thread, sink, last } = self;
        if !sink.drops_slowly() {
            return;
        }
        let left = census::start(thread, move || {
            drop_contained(sink);
            drop(last);
        });
        if let Err(error) = left {
            tracing::warn!(%error, "what a channel would have written to is dropped on its loop");
        }
    }
}

/// What the thread is to write, and what became of it.
#[derive(Default)]
pub(super) struct Batch {
    messages: Vec<Message>,
    /// What became of the messages from the first that failed on: one failed, then so many succeeded.
    outcomes: Vec<(Error, usize)>,
    /// The end of the output.
    broken: Option<Error>,
}

/// Whether this option limits what a channel may do of its loop's work with one flush. Here a thread does the work, so
/// there is nothing to limit.
pub(super) fn is_limit(id: OptionId) -> bool {
    matches!(id, OptionId::WriteSpinCount | OptionId::MaxMessagesPerWrite)
}

/// Refuses such an option.
pub(super) fn refuse_limit(name: &str, id: OptionId) -> Result<(), Error> {
    if is_limit(id) {
        return Err(no_such_option(name, id));
    }
    Ok(())
}

impl Output {
    pub(super) fn new(thread: String, sink: impl Sink, last: Arc<Last>) -> Self {
        Self {
            state: State::Waiting(Box::new(Beginning {
                thread,
                sink: Box::new(sink),
                last,
            })),
        }
    }

    /// For channels that write nothing.
    pub(super) fn none() -> Self {
        Self {
            state: State::Ended,
        }
    }

    /// Whether the thread has a batch.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self.state, State::Started { here: None, .. })
    }

    /// Settles what the thread has written, and gives it the next batch.
    pub(super) fn flush(
        &mut self,
        io: &mut Io<'_>,
        out: &mut OutboundBuffer,
    ) -> Result<Flush, Error> {
        if let State::Waiting(_) = self.state {
            self.start(io.signal())?;
        }
        let State::Started { hand, here } = &mut self.state else {
            return Ok(Flush::Blocked);
        };
        let Some(mut batch) = here.take().or_else(|| hand.take()) else {
            return Ok(Flush::Blocked);
        };
        for (error, succeeded) in batch.outcomes.drain(..) {
            let _ = out.fail_front(error);
            let _ = out.complete_taken(succeeded);
        }
        if let Some(error) = batch.broken.take() {
            self.state = State::Ended;
            return Err(error);
        }
        let mut bytes = 0;
        while batch.messages.len() < MESSAGES_MAX
            && bytes < BYTES_MAX
            && let Some(message) = out.take_front()
        {
            bytes += message.estimated_size();
            batch.messages.push(message);
        }
        if batch.messages.is_empty() {
            *here = Some(batch);
            return Ok(Flush::Drained);
        }
        hand.give(batch);
        Ok(Flush::Blocked)
    }

    /// Takes nothing more; what the thread has is written to its end.
    pub(super) fn finish(&mut self) {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Started { hand, .. } => {
                hand.finish();
                self.state = State::Finishing(hand);
            }
            finished @ State::Finishing(_) => self.state = finished,
            State::Waiting(beginning) => beginning.leave(),
            State::Ended => {}
        }
    }

    /// A thread that nobody has needed is not needed any more. The reading thread is still there, and holds on to what both
    /// have in common: it must not end before, or the loop would be the last and close for it.
    pub(super) fn leave_unstarted(&mut self) {
        if let State::Waiting(_) = self.state {
            self.finish();
        }
    }

    /// Has the thread cut its batch short where it would have to wait. True if it waits now, and has to be woken.
    pub(super) fn stop(&self) -> bool {
        match &self.state {
            State::Started { hand, .. } | State::Finishing(hand) => hand.stop(),
            State::Waiting(_) | State::Ended => false,
        }
    }

    fn start(&mut self, signal: Signal) -> Result<(), Error> {
        let State::Waiting(beginning) = std::mem::replace(&mut self.state, State::Ended) else {
            return Ok(());
        };
        let Beginning { thread, sink, last } = *beginning;
        let writing = Writing {
            sink,
            out: OutboundBuffer::default(),
        };
        self.state = State::Started {
            hand: Hand::start(thread, writing, signal, last)?,
            here: Some(Batch::default()),
        };
        Ok(())
    }
}

/// The thread's side.
struct Writing {
    sink: Box<dyn Sink>,
    /// Empty between batches.
    out: OutboundBuffer,
}

impl Work for Writing {
    type Job = Batch;

    fn run(&mut self, batch: &mut Batch, stop: &Stop) -> Tell {
        for message in batch.messages.drain(..) {
            let size = message.estimated_size();
            self.out.add(message, size, Promise::void());
        }
        let _ = self.out.add_flush();
        let mut written = 0;
        batch.broken = self.write(&mut written, &mut batch.outcomes, stop).err();
        Tell::Written(written)
    }
}

impl Writing {
    fn write(
        &mut self,
        written: &mut usize,
        outcomes: &mut Vec<(Error, usize)>,
        stop: &Stop,
    ) -> Result<(), Error> {
        loop {
            let before = self.out.len();
            let step = self.sink.step(&mut self.out);
            let mut failed = None;
            while let Some(settled) = self.out.take_settled() {
                failed = settled.finish().or(failed);
            }
            let succeeded = before - self.out.len() - usize::from(failed.is_some());
            match outcomes.last_mut() {
                Some((_, after)) => *after += succeeded,
                None => *written += succeeded,
            }
            outcomes.extend(failed.map(|error| (error, 0)));
            match step? {
                Flush::Drained => return self.sink.settle(),
                Flush::Blocked => match stop.wait(|| self.sink.wait()) {
                    Some(waited) => waited?,
                    None => return Ok(()),
                },
                Flush::Yielded => {}
            }
        }
    }
}
