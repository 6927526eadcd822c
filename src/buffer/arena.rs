//! [`Arena`]: the memory that one loop receives into.
//!
//! The transports of a loop read through it; handlers get what was read as `BytesMut` and never see
//! the arena. It makes no system call itself and knows no channel, so an idle connection holds
//! nothing of it.

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::BytesMut;

/// The size of a chunk in bytes.
///
/// Four times the largest adaptive read: at most a quarter of a chunk is lost when a read does not
/// fit behind the last one, and two chunks stay within a small second-level cache. It is also above
/// the size from which the usual allocators map memory, so that the pages of a chunk which no read
/// has reached cost nothing.
pub const CHUNK_SIZE: usize = 256 * 1024;

/// What was read begins on a cache line of its own: the kernel copies faster to an aligned address (a recv of 4 KiB takes
/// 100 cycles less, one of 16 or 32 KiB 130 to 210, of 5,000 to 8,000; below there is no difference), and a message that
/// went to another thread shares no line with the next one.
const LINE: usize = 64;

/// Only from this many bytes on does a read look whether it could start at the front again: small
/// messages walk through a part of the chunk that the first-level cache holds, and share the look.
const REWIND_AFTER: usize = 16 * 1024;

/// How many pinned chunks one call looks at. Bounded, because each look misses the cache.
const LOOKS_MAX: usize = 8;

/// A receive arena: reads go into the spare room of a chunk and are split off without copying.
///
/// Three things happen to a chunk. While messages read from it are alive, reads go on behind them.
/// When none is, reads soon start at its front again: a loop whose messages are handled one after
/// the other receives into the same few pages for ever. And when it is full while
/// messages still pin it, it is set aside until they are dropped, and another one takes its place.
/// A warm loop therefore receives without allocating.
///
/// One message pins its whole chunk. Who keeps a small part for long copies it; the outbound buffer
/// does so when a flush blocks, and decoders do it with what remains of a read.
#[derive(Debug, Default)]
pub struct Arena {
    /// Where the next read goes; one of no bytes if there is none.
    current: Chunk,
    /// One chunk without messages, so that two chunks in turn need no allocation.
    spare: Option<Chunk>,
    /// Chunks which were full of messages when last looked at, by ascending address.
    pinned: Vec<Chunk>,
    /// Where in `pinned` the next look begins.
    next_look: usize,
    /// Chunks allocated since the arena was made.
    allocated: u64,
    /// Told whenever a chunk comes, goes, or is set aside.
    gauges: Option<Arc<ArenaGauges>>,
}

/// The default is no memory, which is no room.
#[derive(Debug, Default)]
struct Chunk {
    /// Empty between calls. Its capacity is what is left behind the last message.
    room: BytesMut,
    /// The address of the first line; only compared, never followed.
    base: usize,
    /// Of all its lines, in bytes.
    size: usize,
}

/// The memory of an [`Arena`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArenaStats {
    /// All chunks, in bytes.
    pub live_bytes: usize,
    /// Those of them that are full and wait for their last message to be dropped, in bytes.
    pub pinned_bytes: usize,
    /// How many chunks there are.
    pub live_chunks: usize,
    /// How many of them are full and wait.
    pub pinned_chunks: usize,
    /// Chunks allocated so far; in a warm loop the number stands still.
    pub allocated: u64,
}

/// The same for other threads to read. Written where memory comes or goes, which no single message makes it do.
#[derive(Debug, Default)]
pub(crate) struct ArenaGauges {
    live_bytes: AtomicUsize,
    pinned_bytes: AtomicUsize,
    live_chunks: AtomicUsize,
    pinned_chunks: AtomicUsize,
    allocated: AtomicU64,
}

impl ArenaGauges {
    /// Each figure as of some moment of the call.
    pub(crate) fn stats(&self) -> ArenaStats {
        ArenaStats {
            live_bytes: self.live_bytes.load(Ordering::Relaxed),
            pinned_bytes: self.pinned_bytes.load(Ordering::Relaxed),
            live_chunks: self.live_chunks.load(Ordering::Relaxed),
            pinned_chunks: self.pinned_chunks.load(Ordering::Relaxed),
            allocated: self.allocated.load(Ordering::Relaxed),
        }
    }

    fn set(&self, stats: ArenaStats) {
        self.live_bytes.store(stats.live_bytes, Ordering::Relaxed);
        self.pinned_bytes
            .store(stats.pinned_bytes, Ordering::Relaxed);
        self.live_chunks.store(stats.live_chunks, Ordering::Relaxed);
        self.pinned_chunks
            .store(stats.pinned_chunks, Ordering::Relaxed);
        self.allocated.store(stats.allocated, Ordering::Relaxed);
    }
}

impl Arena {
    /// An arena without memory; the first read allocates.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An arena that keeps `gauges` up to date.
    pub(crate) fn with_gauges(gauges: Arc<ArenaGauges>) -> Self {
        Self {
            gauges: Some(gauges),
            ..Self::new()
        }
    }

    /// Reads through `fill`, which appends at most the given number of bytes to the buffer, and
    /// splits off what it appended.
    ///
    /// Empty means that nothing was appended, which for a stream is the end of the input; nothing is
    /// used up then. `guess` is in bytes and may exceed [`CHUNK_SIZE`].
    ///
    /// # Errors
    /// What `fill` answers; nothing is used up then either.
    #[inline(always)]
    pub fn read(
        &mut self,
        guess: usize,
        fill: impl FnOnce(&mut BytesMut, usize) -> io::Result<usize>,
    ) -> io::Result<BytesMut> {
        let guess = guess.max(1);
        if !self.current.has_room(guess) {
            self.rotate(guess);
        }
        let chunk = &mut self.current;
        match fill(&mut chunk.room, guess) {
            Ok(_) if chunk.room.is_empty() => Ok(BytesMut::new()),
            Ok(_) => Ok(chunk.split()),
            Err(error) => {
                chunk.room.clear();
                Err(error)
            }
        }
    }

    /// Looks at a few of the pinned chunks and gives back those whose messages are gone, except one.
    ///
    /// The loop calls it once per turn; it costs next to nothing while no chunk is pinned.
    #[inline]
    pub fn trim(&mut self) {
        if !self.pinned.is_empty() {
            self.look_at_all();
        }
    }

    #[inline(never)]
    fn look_at_all(&mut self) {
        let pinned = self.pinned.len();
        self.look(usize::MAX);
        if self.pinned.len() < pinned {
            self.tell_gauges();
        }
    }

    /// Gives back all memory that no message pins.
    ///
    /// A loop does it at its end, and not before a long sleep: what two chunks keep is bounded, and little of it is
    /// resident. Measured with a release after 300 ms of sleep: a server of two loops that rests took 40 KiB less after
    /// messages of 64 bytes, 160 KiB less after 64 KiB to 200 peers at once, of 290 and 480 that it had grown by. The
    /// price was one more turn per rest, and page faults when the next peer speaks.
    pub fn release(&mut self) {
        self.pinned.retain_mut(|chunk| !chunk.is_free());
        self.pinned.shrink_to_fit();
        self.spare = None;
        if self.current.is_free() {
            self.current = Chunk::default();
        }
        self.tell_gauges();
    }

    /// Tells whether the first of these bytes lies in memory of this arena, so that keeping them
    /// pins a chunk.
    #[must_use]
    pub fn owns(&self, bytes: &[u8]) -> bool {
        let address = bytes.as_ptr().addr();
        let holds = |chunk: &Chunk| address.wrapping_sub(chunk.base) < chunk.size;
        if bytes.is_empty() {
            return false;
        }
        if holds(&self.current) {
            return true;
        }
        let behind = self.pinned.partition_point(|chunk| chunk.base <= address);
        behind > 0 && holds(&self.pinned[behind - 1])
    }

    /// The memory it holds now. Pinned chunks are counted as of the last look at each.
    #[must_use]
    pub fn stats(&self) -> ArenaStats {
        let pinned_bytes = self.pinned.iter().map(|chunk| chunk.size).sum();
        let current = Some(&self.current).filter(|chunk| chunk.size > 0);
        let open = || current.iter().copied().chain(&self.spare);
        ArenaStats {
            live_bytes: open().map(|chunk| chunk.size).sum::<usize>() + pinned_bytes,
            pinned_bytes,
            live_chunks: open().count() + self.pinned.len(),
            pinned_chunks: self.pinned.len(),
            allocated: self.allocated,
        }
    }

    #[cold]
    fn tell_gauges(&self) {
        if let Some(gauges) = &self.gauges {
            gauges.set(self.stats());
        }
    }

    /// Puts a chunk with room for `guess` bytes in the place of the current one.
    #[cold]
    fn rotate(&mut self, guess: usize) {
        let mut full = mem::take(&mut self.current);
        if full.is_free() {
            // Too small for this read, not pinned.
            self.keep_spare(full);
        } else {
            let at = self.pinned.partition_point(|chunk| chunk.base < full.base);
            self.pinned.insert(at, full);
        }
        if self.spare.as_ref().is_none_or(|spare| spare.size < guess) {
            self.look(guess);
        }
        self.current = match self.spare.take_if(|spare| spare.size >= guess) {
            Some(spare) => spare,
            None => {
                self.allocated += 1;
                Chunk::new(guess.max(CHUNK_SIZE))
            }
        };
        self.tell_gauges();
    }

    /// Looks at up to [`LOOKS_MAX`] pinned chunks, one after the other over the calls, and ends when
    /// the spare one has `enough` bytes.
    fn look(&mut self, enough: usize) {
        for _ in 0..LOOKS_MAX.min(self.pinned.len()) {
            if self.next_look >= self.pinned.len() {
                self.next_look = 0;
            }
            if self.pinned[self.next_look].is_free() {
                let free = self.pinned.remove(self.next_look);
                self.keep_spare(free);
                if self
                    .spare
                    .as_ref()
                    .is_some_and(|spare| spare.size >= enough)
                {
                    return;
                }
            } else {
                self.next_look += 1;
            }
        }
    }

    /// Keeps the larger of two free chunks.
    fn keep_spare(&mut self, free: Chunk) {
        let spare = self.spare.as_ref();
        if spare.map_or(0, |spare| spare.size) < free.size {
            self.spare = Some(free);
        }
    }
}

impl Chunk {
    fn new(size: usize) -> Self {
        // Growing an empty buffer, rather than making it with this capacity, keeps the size out of
        // what `bytes` calls the original capacity: a handler that appends to a message would else
        // get a new buffer of 64 KiB for it.
        let mut room = BytesMut::new();
        let size = size.next_multiple_of(LINE);
        room.reserve(size + LINE - 1);
        let base = room.as_ptr().addr().next_multiple_of(LINE);
        let mut this = Self { room, base, size };
        this.align();
        this
    }

    /// Leaves out what is in front of the first line: allocators give memory at multiples of 16, and what they have mapped
    /// for it begins 16 bytes behind a page.
    fn align(&mut self) {
        let start = self.room.as_ptr().addr();
        if start < self.base {
            self.room = self.room.split_off(self.base - start);
        }
    }

    /// Bytes behind the last message.
    #[inline]
    fn left(&self) -> usize {
        let end = self.base + self.size;
        end.saturating_sub(self.room.as_ptr().addr())
    }

    /// Makes room for `guess` bytes, at the front if no message is alive and it is time to look.
    #[inline]
    fn has_room(&mut self, guess: usize) -> bool {
        let left = self.left();
        (left >= guess && self.size - left < REWIND_AFTER) || self.has_room_in_front(guess)
    }

    #[inline(never)]
    fn has_room_in_front(&mut self, guess: usize) -> bool {
        let left = self.left();
        (self.is_free() && self.size >= guess) || left >= guess
    }

    /// Tells whether all messages were dropped; if so, all of the chunk is room again.
    fn is_free(&mut self) -> bool {
        let is_free = self.room.try_reclaim(self.size);
        if is_free {
            self.align();
        }
        is_free
    }

    #[inline]
    fn split(&mut self) -> BytesMut {
        let end = self
            .room
            .len()
            .next_multiple_of(LINE)
            .min(self.room.capacity());
        let rest = self.room.split_off(end);
        mem::replace(&mut self.room, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arena: &mut Arena, guess: usize, bytes: usize) -> BytesMut {
        arena
            .read(guess, |room, max| {
                assert!(room.is_empty() && room.capacity() >= max);
                room.resize(bytes, 7);
                Ok(bytes)
            })
            .expect("the closure does not fail")
    }

    #[test]
    fn dropped_messages_keep_a_loop_within_a_few_pages() {
        let mut arena = Arena::new();
        let first = read(&mut arena, 2048, 64).as_ptr().addr();
        for size in [64, 1000, 2048].into_iter().cycle().take(10_000) {
            let address = read(&mut arena, 2048, size).as_ptr().addr();
            assert!((first..first + REWIND_AFTER + 2048).contains(&address));
            assert_eq!(address % LINE, 0, "also at the front again");
        }
        assert_eq!(arena.stats().allocated, 1);
    }

    #[test]
    fn messages_that_live_together_do_not_overlap_and_start_on_their_own_lines() {
        let mut arena = Arena::new();
        let one = read(&mut arena, 2048, 65);
        let two = read(&mut arena, 2048, 1);
        assert_eq!(two.as_ptr().addr() - one.as_ptr().addr(), 128);
        assert_eq!(one.as_ptr().addr() % LINE, 0);
        assert_eq!((one.len(), two.len()), (65, 1));
    }

    #[test]
    fn a_loop_that_holds_one_message_alternates_between_two_chunks() {
        let mut arena = Arena::new();
        let mut held = read(&mut arena, 2048, 1000);
        for _ in 0..10_000 {
            held = read(&mut arena, 2048, 1000);
        }
        drop(held);
        assert_eq!(arena.stats().allocated, 2);
    }

    #[test]
    fn nothing_is_used_up_by_an_error_or_the_end_of_the_input() {
        let mut arena = Arena::new();
        let held = read(&mut arena, 64, 64);
        let end = arena.read(64, |_, _| Ok(0)).expect("no error");
        assert!(end.is_empty());
        let error = arena.read(64, |room, _| {
            room.extend_from_slice(b"half");
            Err(io::ErrorKind::WouldBlock.into())
        });
        assert_eq!(
            error.expect_err("the closure fails").kind(),
            io::ErrorKind::WouldBlock
        );
        let next = read(&mut arena, 64, 1);
        assert_eq!(next.as_ptr().addr() - held.as_ptr().addr(), 64);
        assert_eq!(next, [7][..]);
    }

    #[test]
    fn pinned_chunks_are_counted_and_given_back() {
        let mut arena = Arena::new();
        let held: Vec<_> = (0..20)
            .map(|_| read(&mut arena, CHUNK_SIZE / 2 + 1, CHUNK_SIZE))
            .collect();
        assert_eq!(arena.stats().pinned_bytes, 19 * CHUNK_SIZE);
        assert_eq!(arena.stats().live_bytes, 20 * CHUNK_SIZE);
        arena.trim();
        assert_eq!(arena.stats().pinned_bytes, 19 * CHUNK_SIZE);
        drop(held);
        for _ in 0..3 {
            arena.trim();
        }
        assert_eq!(arena.stats().pinned_bytes, 0);
        assert_eq!(arena.stats().live_bytes, 2 * CHUNK_SIZE);
        arena.release();
        assert_eq!(arena.stats().live_bytes, 0);
    }

    #[test]
    fn gauges_say_at_any_time_what_the_arena_itself_would() {
        let gauges = Arc::new(ArenaGauges::default());
        let mut arena = Arena::with_gauges(Arc::clone(&gauges));
        let mut held = Vec::new();
        for round in 0..50 {
            held.push(read(&mut arena, CHUNK_SIZE / 2 + 1, CHUNK_SIZE));
            assert_eq!(gauges.stats(), arena.stats());
            if round % 8 == 0 {
                held.drain(..held.len() / 2);
            }
            arena.trim();
            assert_eq!(gauges.stats(), arena.stats());
        }
        assert!(gauges.stats().pinned_chunks > 0);
        drop(held);
        arena.release();
        assert_eq!(gauges.stats(), arena.stats());
        assert_eq!(gauges.stats().live_chunks, 0);
    }

    #[test]
    fn releasing_keeps_what_messages_pin() {
        let mut arena = Arena::new();
        let held = read(&mut arena, 2048, 10);
        arena.release();
        assert_eq!(arena.stats().live_bytes, CHUNK_SIZE);
        assert!(arena.owns(&held));
        drop(held);
        arena.release();
        assert_eq!(
            arena.stats(),
            ArenaStats {
                allocated: 1,
                ..ArenaStats::default()
            }
        );
    }

    #[test]
    fn a_guess_larger_than_a_chunk_gets_one_of_its_size_and_reuses_it() {
        let mut arena = Arena::new();
        drop(read(&mut arena, 2048, 10));
        for _ in 0..100 {
            assert_eq!(read(&mut arena, 1 << 20, 1 << 20).len(), 1 << 20);
            drop(read(&mut arena, 2048, 10));
        }
        assert_eq!(arena.stats().allocated, 2);
    }

    #[test]
    fn the_arena_knows_its_own_bytes() {
        let mut arena = Arena::new();
        let held: Vec<_> = (0..5)
            .map(|_| read(&mut arena, CHUNK_SIZE, CHUNK_SIZE))
            .collect();
        let foreign = BytesMut::from(&held[0][..64]);
        for bytes in &held {
            assert!(arena.owns(bytes) && arena.owns(&bytes[CHUNK_SIZE - 1..]));
            assert_eq!(bytes.as_ptr().addr() % LINE, 0);
        }
        assert!(!arena.owns(&foreign));
        assert!(!arena.owns(b"static"));
        assert!(!arena.owns(&held[0][..0]));
    }

    #[test]
    fn appending_to_a_message_copies_it_and_no_more() {
        let mut arena = Arena::new();
        let mut message = read(&mut arena, 2048, 100);
        message.extend_from_slice(&[7; 100]);
        assert!(message.capacity() < 1024, "grew to {}", message.capacity());
        assert!(!arena.owns(&message));
    }
}
