//! Buffers in which nothing waits, kept for the next channel that writes.
//!
//! The first write of a channel takes one from here, and when the last byte is gone the core gives it back. Only the
//! core comes here.

use super::OutboundBuffer;
use crate::channel::spare::Spares;

/// A burst of writes within one turn, at about 100 bytes each.
const SPARE_MAX: usize = 256;

/// Of these, so many keep the lists that they have: at most 7 KiB each.
const WITH_LISTS_MAX: usize = 16;

thread_local! {
    static SPARE: Spares<OutboundBuffer> = const { Spares::new(SPARE_MAX) };
}

impl OutboundBuffer {
    /// An empty buffer whose gathering writes start with the limit that another one gave at its end; 0 for none.
    pub(crate) fn lend(gather_max: u32) -> Box<Self> {
        let mut spare = Spares::take(&SPARE);
        spare.gather_max = gather_max;
        spare
    }

    /// Nothing waits in it, and nothing that is over.
    #[inline]
    pub(crate) fn is_spare(&self) -> bool {
        self.is_empty() && !self.has_settled()
    }

    /// Keeps it for the next channel that writes. The limit of its gathering writes is the channel's to remember.
    pub(crate) fn give_back(mut self: Box<Self>) -> u32 {
        debug_assert!(
            self.is_spare(),
            "a buffer in which something waits is its channel's"
        );
        let gather_max = self.gather_max;
        if Spares::count(&SPARE) >= WITH_LISTS_MAX {
            self.release_storage();
        }
        Spares::give(&SPARE, self);
        gather_max
    }
}
