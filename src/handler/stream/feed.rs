//! [`ChunkedFeed`]: an input whose chunks come from elsewhere, mostly from a thread that may block.
//!
//! The protocol of the two ends:
//!
//! 1. The input finds the queue empty, says `is_waiting`, and looks once more before it answers "suspended".
//! 2. The sender queues first and then takes `is_waiting`; whoever finds it set resumes the transfer, once.
//!
//! So a chunk that was queued before or while the input gave up is never left behind, and a busy transfer costs the
//! sender no wake-up. Both sides of the flag are sequentially consistent, since each stores one thing and then loads
//! the other's.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};

use super::input::{ChunkedInput, NextChunk, Resumer};
use crate::buffer::{IntoMessage, Message};
use crate::error::{Error, ErrorKind, Failure};

enum Item {
    Chunk(Message),
    Failed(Failure),
    Finished,
}

#[derive(Default)]
struct Bell {
    is_waiting: AtomicBool,
    resumer: Mutex<Option<Resumer>>,
}

impl Bell {
    fn ring(&self) {
        if self.is_waiting.swap(false, Ordering::SeqCst) {
            let place = self.resumer.lock().unwrap_or_else(PoisonError::into_inner);
            let resumer = place.clone();
            drop(place);
            if let Some(resumer) = resumer {
                resumer.resume();
            }
        }
    }
}

/// An input that is fed by its [`FeedSender`]: the way to send what has to be waited for.
///
/// The transfer is suspended while nothing is there, and goes on by itself when something comes.
///
/// ```
/// use tidegate::EmbeddedChannel;
/// use tidegate::handler::stream::{Chunked, ChunkedFeed, ChunkedWrite};
///
/// let mut channel = EmbeddedChannel::new(|p| p.add_last(ChunkedWrite::new()))?;
/// let (sender, feed) = ChunkedFeed::bounded(16);
/// let sent = channel.run(|channel| channel.write_and_flush(Chunked::new(feed)));
/// let worker = std::thread::spawn(move || {
///     sender.send("from another thread").unwrap();
///     sender.finish();
/// });
/// worker.join().unwrap();
/// channel.run_pending();
/// assert!(sent.is_success());
/// # Ok::<(), tidegate::Failure>(())
/// ```
pub struct ChunkedFeed {
    items: Receiver<Item>,
    bell: Arc<Bell>,
    /// Bytes handed out; 8 for a chunk that is no bytes.
    progress: u64,
    length: Option<u64>,
}

impl ChunkedFeed {
    /// A feed that holds at most `chunks` chunks (at least one) between its sender and the channel.
    pub fn bounded(chunks: usize) -> (FeedSender, Self) {
        let (sender, items) = mpsc::sync_channel(chunks.max(1));
        let bell = Arc::new(Bell::default());
        let sender = FeedSender {
            sender: Some(sender),
            bell: bell.clone(),
        };
        let feed = Self {
            items,
            bell,
            progress: 0,
            length: None,
        };
        (sender, feed)
    }

    /// Says how many bytes will come, for those who watch the progress. It is not checked.
    #[must_use]
    pub fn length(mut self, bytes: u64) -> Self {
        self.length = Some(bytes);
        self
    }

    fn take(&mut self, item: Item) -> Result<NextChunk, Failure> {
        match item {
            Item::Chunk(chunk) => {
                self.progress += chunk.estimated_size() as u64;
                Ok(NextChunk::Chunk(chunk))
            }
            Item::Failed(failure) => Err(failure),
            Item::Finished => Ok(NextChunk::End),
        }
    }
}

impl ChunkedInput for ChunkedFeed {
    fn next_chunk(&mut self) -> Result<NextChunk, Failure> {
        let found = match self.items.try_recv() {
            Err(TryRecvError::Empty) => {
                self.bell.is_waiting.store(true, Ordering::SeqCst);
                self.items.try_recv()
            }
            found => found,
        };
        match found {
            Ok(item) => self.take(item),
            Err(TryRecvError::Empty) => Ok(NextChunk::Suspended),
            Err(TryRecvError::Disconnected) => Err(Error::new(
                ErrorKind::Dropped,
                "the sender of a ChunkedFeed was dropped before it called finish()",
            )
            .into()),
        }
    }

    fn length(&self) -> Option<u64> {
        self.length
    }

    fn progress(&self) -> u64 {
        self.progress
    }

    fn begin(&mut self, resumer: Resumer) {
        let mut place = self
            .bell
            .resumer
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *place = Some(resumer);
    }
}

impl fmt::Debug for ChunkedFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkedFeed")
            .field("progress", &self.progress)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// Feeds a [`ChunkedFeed`]. Dropped without [`finish`](Self::finish), it fails the write with
/// [`ErrorKind::Dropped`]: half of something must not pass for the whole.
pub struct FeedSender {
    /// `Some` until dropped.
    sender: Option<SyncSender<Item>>,
    bell: Arc<Bell>,
}

impl FeedSender {
    /// Sends a chunk; blocks the calling thread while the feed is full, which is how a fast source is slowed down to
    /// the speed of the peer. Not for event loops: use [`try_send`](Self::try_send) there.
    ///
    /// # Errors
    /// The chunk, if the input is gone: the channel has closed, or the transfer has failed.
    pub fn send(&self, chunk: impl IntoMessage) -> Result<(), Message> {
        self.give(Item::Chunk(chunk.into_message()))
    }

    /// Sends a chunk if there is room.
    ///
    /// # Errors
    /// The chunk, and [`ErrorKind::Rejected`] if the feed is full, [`ErrorKind::ChannelClosed`] if the input is gone.
    pub fn try_send(&self, chunk: impl IntoMessage) -> Result<(), (Message, Error)> {
        let chunk = chunk.into_message();
        let Some(sender) = &self.sender else {
            return Err((chunk, gone()));
        };
        let (item, error) = match sender.try_send(Item::Chunk(chunk)) {
            Ok(()) => {
                self.bell.ring();
                return Ok(());
            }
            Err(TrySendError::Full(item)) => (
                item,
                Error::new(
                    ErrorKind::Rejected,
                    "the ChunkedFeed is full; send again later",
                ),
            ),
            Err(TrySendError::Disconnected(item)) => (item, gone()),
        };
        match item {
            Item::Chunk(chunk) => Err((chunk, error)),
            Item::Failed(_) | Item::Finished => Ok(()),
        }
    }

    /// Says that all was sent. Waits for room as [`send`](Self::send) does.
    pub fn finish(self) {
        let _ = self.give(Item::Finished);
    }

    /// Fails the write with this cause. Waits for room as [`send`](Self::send) does.
    pub fn fail(self, cause: impl Into<Failure>) {
        let _ = self.give(Item::Failed(cause.into()));
    }

    fn give(&self, item: Item) -> Result<(), Message> {
        let Some(sender) = &self.sender else {
            return Ok(());
        };
        match sender.send(item) {
            Ok(()) => {
                self.bell.ring();
                Ok(())
            }
            Err(mpsc::SendError(Item::Chunk(chunk))) => Err(chunk),
            Err(_) => Ok(()),
        }
    }
}

fn gone() -> Error {
    Error::new(
        ErrorKind::ChannelClosed,
        "the input that this sender feeds is gone: its channel closed or its transfer failed",
    )
}

impl Drop for FeedSender {
    fn drop(&mut self) {
        // The queue must be seen to end before the bell rings.
        drop(self.sender.take());
        self.bell.ring();
    }
}

impl fmt::Debug for FeedSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FeedSender")
    }
}
