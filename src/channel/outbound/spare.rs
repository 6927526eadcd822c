//! Buffers in which nothing waits, kept for the next channel that writes.
//!
//! The first write of a channel takes one from here, and when the last byte is gone the core gives it back. Only the
//! core comes here.

use super::{OutboundBuffer, OutboundMark};
use crate::channel::spare::Spares;

/// A burst of writes within one turn, at about 100 bytes each.
const SPARE_MAX: usize = 256;

/// Of these, so many keep the lists that they have: at most 7 KiB each.
const WITH_LISTS_MAX: usize = 16;

thread_local! {
    static SPARE: Spares<OutboundBuffer> = const { Spares::new(SPARE_MAX) };
}

/// What a channel remembers between two buffers.
#[derive(Clone, Copy, Default)]
pub(crate) struct Lasting {
    gather_max: u32,
    gone: u32,
}

impl Lasting {
    /// Where sending stands without a buffer.
    pub(crate) fn mark(self) -> OutboundMark {
        OutboundMark {
            gone: self.gone,
            ..OutboundMark::default()
        }
    }
}

impl OutboundBuffer {
    /// An empty buffer that goes on from what the channel's last one has left.
    pub(crate) fn lend(lasting: Lasting) -> Box<Self> {
        let mut spare = Spares::take(&SPARE);
        spare.gather_max = lasting.gather_max;
        spare.gone = lasting.gone;
        spare
    }

    /// Nothing waits in it, and nothing that is over.
    #[inline]
    pub(crate) fn is_spare(&self) -> bool {
        self.is_empty() && !self.has_settled()
    }

    /// Keeps it for the next channel that writes.
    pub(crate) fn give_back(mut self: Box<Self>) -> Lasting {
        debug_assert!(
            self.is_spare(),
            "a buffer in which something waits is its channel's"
        );
        let lasting = Lasting {
            gather_max: self.gather_max,
            gone: self.gone,
        };
        if Spares::count(&SPARE) >= WITH_LISTS_MAX {
            self.release_storage();
        }
        Spares::give(&SPARE, self);
        lasting
    }
}
