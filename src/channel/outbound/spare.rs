//! Buffers in which nothing waits, kept for the next channel that writes.
//!
//! The first write of a channel takes one from here, and when the last byte is gone the core gives it back. Only the
//! core comes here.

use super::OutboundBuffer;
use crate::channel::spare::{Part, Spares};

/// What a channel keeps of its outbound buffer while it has none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// The limit of its gathering writes; 0 for none.
    gather_max: u32,
    /// How many flushed messages have left so far, wrapping. Not fewer bits: where a multiple of 2^16 left between two
    /// looks, which takes a fast peer no time, it would look like one that takes nothing.
    pub(super) gone: u32,
}

thread_local! {
    static SPARE: Spares<OutboundBuffer> = const { Spares::new() };
}

impl Part for OutboundBuffer {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.queue.list_bytes()
    }
}

impl OutboundBuffer {
    /// An empty buffer that goes on where another one of its channel ended.
    #[inline]
    pub(crate) fn lend(memory: Memory) -> Box<Self> {
        let mut spare = Spares::take(&SPARE);
        spare.gather_max = memory.gather_max;
        spare.gone = memory.gone;
        spare
    }

    /// Nothing waits in it, and nothing that is over.
    #[inline]
    pub(crate) fn is_spare(&self) -> bool {
        self.is_empty() && !self.has_settled()
    }

    /// Keeps it for the next channel that writes. What is the channel's to remember is given out.
    #[inline(always)]
    pub(crate) fn give_back(self: Box<Self>) -> Memory {
        debug_assert!(
            self.is_spare(),
            "a buffer in which something waits is its channel's"
        );
        let mut spare = self;
        spare.queue.forget();
        let memory = Memory {
            gather_max: spare.gather_max,
            gone: spare.gone,
        };
        Spares::give(&SPARE, spare);
        memory
    }
}
