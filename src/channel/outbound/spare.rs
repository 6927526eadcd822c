//! Buffers in which nothing waits, kept for the next channel that writes.
//!
//! An idle channel has no buffer: there are many of them, and at any time few have something to send. The first write
//! takes one from here, and when the last byte is gone the core gives it back. So a channel that answers each
//! request at once allocates nothing, and a thousand of them share one buffer, with the lists that it may have grown.
//!
//! The spare ones are a thread's, not a loop's: loops on one thread take turns. Only the core comes here; a buffer
//! that is not empty is refused by [`OutboundBuffer::is_spare`].

use std::cell::RefCell;

use super::OutboundBuffer;

/// At most so many are kept: a burst of writes within one turn, at about 100 bytes each.
const SPARE_MAX: usize = 256;

/// Of these, so many keep the lists that they have: at most 7 KiB each.
const WITH_LISTS_MAX: usize = 16;

/// What a channel keeps of its outbound buffer while it has none; in four bytes, since each channel has one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// The limit of its gathering writes in KiB, rounded up; 0 for none. One above 64 MiB is learned again.
    gather_kib: u16,
    /// The lower half of how many flushed messages have left so far.
    pub(super) gone: u16,
}

thread_local! {
    #[expect(clippy::vec_box, reason = "what is kept is the allocation")]
    static SPARE: RefCell<Vec<Box<OutboundBuffer>>> = const { RefCell::new(Vec::new()) };
}

impl OutboundBuffer {
    /// An empty buffer that goes on where another one of its channel ended.
    pub(crate) fn spare(memory: Memory) -> Box<Self> {
        let spare = SPARE.try_with(|spare| spare.borrow_mut().pop());
        let mut spare = spare.ok().flatten().unwrap_or_default();
        spare.gather_max = u32::from(memory.gather_kib) << 10;
        spare.gone = memory.gone;
        spare
    }

    /// Nothing waits in it, and nothing that is over.
    #[inline]
    pub(crate) fn is_spare(&self) -> bool {
        self.is_empty() && !self.has_settled()
    }

    /// Keeps it for the next channel that writes. What is the channel's to remember is given out.
    pub(crate) fn give_back(mut self: Box<Self>) -> Memory {
        debug_assert!(
            self.is_spare(),
            "a buffer in which something waits is its channel's"
        );
        let memory = Memory {
            gather_kib: u16::try_from(self.gather_max.div_ceil(1024)).unwrap_or(u16::MAX),
            gone: self.gone,
        };
        // A thread that ends keeps nothing.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() >= WITH_LISTS_MAX {
                self.release_storage();
            }
            if spare.len() < SPARE_MAX {
                spare.push(self);
            }
        });
        memory
    }
}
