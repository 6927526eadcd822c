//! What a channel has been asked to write and has not written yet.
//!
//! The head of the pipeline adds messages, the transport takes from the front what was flushed and
//! reports how far it came. The buffer keeps order, accounts bytes and settles promises; it makes no
//! system call, decides nothing about writability, and runs no foreign code:
//!
//! 1. Whatever is over (written, failed, cancelled) is taken off the account at once, and the caller
//!    learns how much that was.
//! 2. Its promise is completed and its message dropped only in [`Settled::finish`]. The owner of the
//!    buffer takes these out, oldest first, with [`OutboundBuffer::take_settled`] whenever it has
//!    ended its borrow. A void promise with a `BytesMut` ends on the spot instead: there is nobody to
//!    tell and nothing foreign to drop.
//!
//! - `entry`: a pending write, and a settled one.
//! - `queue`: the order they stand in, and their storage.
//! - `mark`: where sending stands, to tell whether it gets on.
//! - `compact`: copying small buffers out of the receive arena when a flush blocks.
//! - `spare`: empty buffers, for the next channel that writes.

mod compact;
mod entry;
mod mark;
mod queue;
mod spare;
#[cfg(test)]
mod tests;

use std::{fmt, io::IoSlice};

pub use self::entry::{ENTRY_OVERHEAD, Settled};
pub use self::mark::OutboundMark;
pub(crate) use self::spare::Memory;
use self::{entry::Entry, queue::Queue};
use crate::{
    buffer::{self, Arena, FileRegion, Message},
    error::Error,
    future::Promise,
};

/// Gathering never shrinks below this many bytes by itself (C13).
const GATHER_MIN: usize = 4096;

/// The pending writes of one channel, in order: first those that were flushed, then the others.
///
/// It takes 96 bytes. One pending write needs nothing else; a channel without any has no buffer.
#[derive(Default)]
pub struct OutboundBuffer {
    queue: Queue,
    /// The sum of the sizes of all entries.
    total: usize,
    /// The first so many entries were flushed: 0 <= taken <= flushed <= queue.len()
    flushed: u32,
    /// The messages of the first so many entries are with the transport.
    taken: u32,
    /// The most bytes of one gathering write; 0 stands for no limit.
    gather_max: u32,
    /// Flushed entries that have left so far, wrapping. See [`OutboundMark`].
    gone: u32,
}

const _: () = assert!(
    size_of::<OutboundBuffer>() <= 96,
    "one for each channel that writes"
);

/// What came off the account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "the channel may have become writable"]
pub struct Released {
    /// Bytes, with the overhead of the entries.
    pub bytes: usize,
    /// Entries that are over.
    pub entries: usize,
}

/// The oldest flushed message, as the transport has to treat it.
#[derive(Debug)]
pub enum Front<'a> {
    /// Nothing is flushed, or the transport has taken messages and not settled them.
    Empty,
    /// Bytes to send. When there are none, `advance(0)` goes on to the next.
    Bytes(&'a [u8]),
    /// A part of a file to send.
    Region(&'a mut FileRegion),
    /// Something else, for transports that carry objects.
    Object(&'a mut Message),
}

/// What comes in: adding and flushing.
impl OutboundBuffer {
    /// Appends a message that counts as `size` bytes, not flushed yet. Returns what the account grew
    /// by: `size` and [`ENTRY_OVERHEAD`] (C2).
    #[inline]
    pub fn add(&mut self, message: Message, size: usize, promise: Promise) -> usize {
        let size = size.saturating_add(ENTRY_OVERHEAD);
        // Wrapping, because a size is what an estimator says: nonsense must still cancel out.
        self.total = self.total.wrapping_add(size);
        self.queue.push(message, promise, size);
        size
    }

    /// Marks everything added so far as flushed if nobody waits for any of it, so that nobody can have cancelled any. False,
    /// and nothing is done, if somebody does.
    #[inline]
    pub(crate) fn flush_quietly(&mut self) -> bool {
        let is_quiet = !self.queue.is_observed();
        if is_quiet {
            self.flushed = self.queue.len() as u32;
        }
        is_quiet
    }

    /// Marks everything added so far as flushed; from here on it cannot be cancelled. What was
    /// cancelled before leaves the buffer, its promise untouched (C7).
    #[inline]
    pub fn add_flush(&mut self) -> Released {
        if self.flushed as usize == self.queue.len() {
            return Released::default();
        }
        let (bytes, entries) = self.queue.remove_cancelled(self.flushed as usize);
        self.total = self.total.wrapping_sub(bytes);
        self.flushed = self.queue.len() as u32;
        Released { bytes, entries }
    }
}

/// What a transport of bytes and files needs.
impl OutboundBuffer {
    /// The oldest flushed message.
    #[inline]
    pub fn front(&mut self) -> Front<'_> {
        let Some(entry) = self.flushed_front() else {
            return Front::Empty;
        };
        // Two looks at the message, because each part borrows it for as long as the result.
        if entry.message.readable_bytes().is_some() {
            return entry.message.as_bytes().map_or(Front::Empty, Front::Bytes);
        }
        if entry.message.is::<FileRegion>() {
            return entry
                .message
                .downcast_mut()
                .map_or(Front::Empty, Front::Region);
        }
        Front::Object(&mut entry.message)
    }

    /// The bytes of the oldest flushed message, if it has bytes.
    #[inline]
    #[must_use]
    pub fn front_bytes(&self) -> Option<&[u8]> {
        if self.flushed == 0 || self.taken > 0 {
            return None;
        }
        self.queue.front()?.message.as_bytes()
    }

    /// The bytes that are flushed, if they are one message and nobody waits for them.
    #[inline(always)]
    pub(crate) fn only_quiet(&self) -> Option<&[u8]> {
        if self.flushed != 1 || self.taken > 0 {
            return None;
        }
        self.queue.pending_first()?.quiet_bytes()
    }

    /// They were sent.
    #[inline(always)]
    pub(crate) fn end_only_quiet(&mut self) {
        let bytes = self.queue.end_first_quietly();
        self.flushed = 0;
        self.gone = self.gone.wrapping_add(1);
        self.total = self.total.wrapping_sub(bytes);
    }

    /// The flushed messages, the oldest first, for transports whose messages belong together.
    pub fn flushed(&self) -> impl Iterator<Item = &Message> {
        let count = if self.taken > 0 {
            0
        } else {
            self.flushed as usize
        };
        self.queue.iter().take(count).map(|entry| &entry.message)
    }

    /// The oldest flushed message, if it is a file region.
    #[inline]
    pub fn front_region(&mut self) -> Option<&mut FileRegion> {
        self.flushed_front()?.message.downcast_mut()
    }

    /// Hands `write` the slices of the flushed messages up to the first that has no bytes, within the
    /// system's number of slices and the adaptive number of bytes, together with that number (C12).
    ///
    /// Slices are never empty. The list is, when the front is not bytes, or all of them are empty.
    #[inline]
    pub fn gather<'a, R>(&'a self, write: impl FnOnce(&[IoSlice<'a>], usize) -> R) -> R {
        let flushed = if self.taken > 0 {
            0
        } else {
            self.flushed as usize
        };
        let buffers = self
            .queue
            .iter()
            .take(flushed)
            .map_while(|entry| entry.message.as_bytes());
        buffer::gather(buffers, flushed, self.gather_max(), write)
    }

    /// Notes that the first `written` of the flushed bytes were written: settles what that completes,
    /// and empty messages behind it, and shortens the next one (C14, C16).
    ///
    /// With 0 it settles empty messages at the front.
    #[inline]
    pub fn advance(&mut self, written: usize) -> Released {
        if self.flushed == 1
            && self.taken == 0
            && let Some(bytes) = self.queue.succeed_only(written)
        {
            self.flushed = 0;
            self.gone = self.gone.wrapping_add(1);
            self.total = self.total.wrapping_sub(bytes);
            return Released { bytes, entries: 1 };
        }
        self.advance_over(written)
    }

    #[inline(never)]
    fn advance_over(&mut self, written: usize) -> Released {
        let limit = if self.taken > 0 {
            0
        } else {
            self.flushed as usize
        };
        let (bytes, entries, left) = self.queue.succeed_written(limit, written);
        debug_assert!(
            left == 0,
            "a transport wrote {left} bytes more than were flushed"
        );
        self.flushed -= entries as u32;
        self.gone = self.gone.wrapping_add(entries as u32);
        self.total = self.total.wrapping_sub(bytes);
        Released { bytes, entries }
    }

    /// Settles the front entry with success, whatever it is: a region that was sent, an object that
    /// was handed over.
    #[inline]
    pub fn complete_front(&mut self) -> Released {
        debug_assert!(
            self.taken == 0,
            "messages that were taken are completed by complete_taken"
        );
        if self.flushed == 0 {
            return Released::default();
        }
        self.succeed_front()
    }

    /// Settles the front entry with an error, and no other (C21).
    pub fn fail_front(&mut self, error: Error) -> Released {
        if self.flushed == 0 {
            return Released::default();
        }
        self.taken = self.taken.saturating_sub(1);
        self.flushed -= 1;
        self.released(|queue| queue.fail_front(error))
    }

    /// The most bytes of one gathering write.
    #[inline]
    #[must_use]
    pub fn gather_max(&self) -> usize {
        match self.gather_max {
            0 => usize::MAX,
            bytes => bytes as usize,
        }
    }

    /// Sets the most bytes of one gathering write, where adaptation starts: twice the send buffer.
    pub fn set_gather_max(&mut self, bytes: usize) {
        self.gather_max = u32::try_from(bytes.max(1)).unwrap_or(u32::MAX);
    }

    /// Adapts the most bytes of one gathering write to a write that was offered `attempted` bytes and
    /// took `written` (C13).
    #[inline]
    pub fn adapt_gather_max(&mut self, attempted: usize, written: usize) {
        if attempted == written {
            let double = attempted.saturating_mul(2);
            if double > self.gather_max() {
                self.set_gather_max(double);
            }
        } else if attempted > GATHER_MIN && written < attempted / 2 {
            self.set_gather_max(attempted / 2);
        }
    }
}

/// What a transport needs that keeps messages until their completion: a peer in this process, a
/// stream within another channel, completion-based I/O.
impl OutboundBuffer {
    /// Takes the oldest flushed message that was not taken yet. Entry and account stay until
    /// [`complete_taken`](Self::complete_taken).
    pub fn take_front(&mut self) -> Option<Message> {
        if self.taken == self.flushed {
            return None;
        }
        let message = self.queue.get_mut(self.taken as usize)?.take_message();
        self.taken += 1;
        Some(message)
    }

    /// Puts back the message that was taken last, whole or what is left of it.
    pub fn put_back(&mut self, message: Message) {
        debug_assert!(
            self.taken > 0,
            "only a message that was taken can be put back"
        );
        if self.taken > 0
            && let Some(entry) = self.queue.get_mut(self.taken as usize - 1)
        {
            entry.message = message;
            self.taken -= 1;
        }
    }

    /// Settles the oldest `count` of the taken messages with success. None are left to settle after
    /// [`fail_flushed`](Self::fail_flushed); completions that come later than that are ignored.
    pub fn complete_taken(&mut self, count: usize) -> Released {
        let mut released = Released::default();
        for _ in 0..count.min(self.taken as usize) {
            self.taken -= 1;
            released += self.succeed_front();
        }
        released
    }

    /// How many messages are with the transport.
    #[must_use]
    pub fn taken_len(&self) -> usize {
        self.taken as usize
    }
}

/// What the channel's core needs.
impl OutboundBuffer {
    /// Fails what was flushed, in order, with the messages that the transport has taken.
    pub fn fail_flushed(&mut self, error: &Error) -> Released {
        let mut released = Released::default();
        while self.flushed > 0 {
            released += self.fail_front(error.clone());
        }
        released
    }

    /// Fails everything, in order: what was flushed, then what was not.
    pub fn fail_all(&mut self, error: &Error) -> Released {
        self.flushed = self.queue.len() as u32;
        self.fail_flushed(error)
    }

    /// Hands out the oldest write that is over. To be called, and [`finish`](Settled::finish) on what
    /// it gives, until nothing comes, each time a borrow of the buffer has ended.
    #[inline]
    pub fn take_settled(&mut self) -> Option<Settled> {
        self.queue.take_settled()
    }

    /// Tells whether [`take_settled`](Self::take_settled) would give something.
    #[inline]
    #[must_use]
    pub fn has_settled(&self) -> bool {
        self.queue.has_settled()
    }

    /// Copies small pending buffers out of the receive arena, so that a slow peer does not pin its
    /// chunks. For when a flush blocked, and for what is added until it goes on. Returns the number of
    /// bytes copied; what was looked at once costs nothing the next time.
    pub fn compact(&mut self, arena: &Arena) -> usize {
        self.queue.compact(arena)
    }

    /// Gives back what an empty buffer keeps for the next writes. It does so by itself after more than
    /// 64 pending writes.
    pub fn release_storage(&mut self) {
        self.queue.release_storage();
    }

    /// All that is pending, in bytes, with the overhead of each entry.
    #[inline]
    #[must_use]
    pub fn total_pending(&self) -> usize {
        self.total
    }

    /// Tells whether nothing is pending; something may still be settled and not handed out.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.len() == 0
    }

    /// The number of pending writes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// The number of pending writes that were flushed.
    #[inline]
    #[must_use]
    pub fn flushed_len(&self) -> usize {
        self.flushed as usize
    }

    /// The number of pending writes that were not flushed.
    #[inline]
    #[must_use]
    pub fn unflushed_len(&self) -> usize {
        self.queue.len() - self.flushed as usize
    }

    /// Whether a promise of these writes is anybody's, who may look at it as soon as they are flushed.
    #[inline]
    pub(crate) fn is_observed(&self) -> bool {
        self.queue.is_observed()
    }

    /// The promise of what is pending and was written last, and whether that is flushed. What was cancelled before it was
    /// is never sent (C7).
    pub(crate) fn last_promise(&mut self) -> Option<(&mut Promise, bool)> {
        let flushed = self.flushed as usize;
        let unsent = self.queue.iter().skip(flushed);
        let last = unsent
            .enumerate()
            .filter(|(_, entry)| !entry.promise.is_cancelled())
            .last()
            .map_or(flushed, |(at, _)| flushed + at + 1);
        let entry = self.queue.get_mut(last.checked_sub(1)?)?;
        Some((&mut entry.promise, last <= flushed))
    }

    /// What is pending, without overhead and without what was sent of it: bytes, or the estimated size where a message
    /// has none or is with the transport; and how many messages. Without what was cancelled before it was flushed.
    pub(crate) fn unsent(&self) -> (u64, usize) {
        let (taken, flushed) = (self.taken as usize, self.flushed as usize);
        let is_due = |(at, entry): &(usize, &Entry)| *at < flushed || !entry.promise.is_cancelled();
        let due = || self.queue.iter().enumerate().filter(is_due);
        let bytes = due().map(|(at, entry)| {
            let message = &entry.message;
            match (
                message.readable_bytes(),
                message.downcast_ref::<FileRegion>(),
            ) {
                _ if at < taken => entry.size.saturating_sub(ENTRY_OVERHEAD) as u64,
                (Some(bytes), _) => bytes as u64,
                (None, Some(region)) => region.remaining(),
                (None, None) => entry.size.saturating_sub(ENTRY_OVERHEAD) as u64,
            }
        });
        (bytes.sum(), due().count())
    }

    /// Where sending stands.
    #[must_use]
    pub fn mark(&self) -> OutboundMark {
        let message = self.queue.front().map(|entry| &entry.message);
        let rest = message.map_or(0, |message| match message.downcast_ref::<FileRegion>() {
            Some(region) => region.remaining(),
            None => message.readable_bytes().unwrap_or(0) as u64,
        });
        OutboundMark {
            waiting: self.flushed,
            gone: self.gone,
            taken: self.taken,
            rest,
        }
    }

    #[inline]
    fn flushed_front(&mut self) -> Option<&mut Entry> {
        if self.flushed == 0 || self.taken > 0 {
            return None;
        }
        self.queue.front_mut()
    }

    #[inline]
    fn succeed_front(&mut self) -> Released {
        self.flushed -= 1;
        self.released(Queue::succeed_front)
    }

    #[inline]
    fn released(&mut self, end: impl FnOnce(&mut Queue) -> Option<usize>) -> Released {
        match end(&mut self.queue) {
            None => Released::default(),
            Some(bytes) => {
                self.gone = self.gone.wrapping_add(1);
                self.total = self.total.wrapping_sub(bytes);
                Released { bytes, entries: 1 }
            }
        }
    }
}

impl std::ops::AddAssign for Released {
    #[inline]
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.entries += other.entries;
    }
}

impl fmt::Debug for OutboundBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundBuffer")
            .field("entries", &self.len())
            .field("flushed", &self.flushed)
            .field("total_pending", &self.total)
            .finish()
    }
}
