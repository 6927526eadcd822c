//! Compaction: copying small pending buffers out of the receive arena.
//!
//! An echo to a slow peer keeps what it received, and each buffer of a few bytes pins a whole chunk of
//! the arena. When a flush blocks, the core asks for compaction; a fast peer never pays for it.

use std::mem;

use super::queue::Queue;
use crate::{
    buffer::{Arena, BytesMut, Message, pins},
    channel::outbound::entry::{Entry, Settled},
};

/// The smallest block, so that a trickle of tiny writes to a blocked peer shares allocations.
const BLOCK_MIN: usize = 2048;

impl Queue {
    /// Copies the small buffers that lie in `arena` and were not looked at before into one block.
    /// Returns the number of bytes copied.
    pub(super) fn compact(&mut self, arena: &Arena) -> usize {
        let small = |entry: &Entry| {
            let bytes = entry.message.as_bytes()?;
            pins(bytes, arena).then_some(bytes.len())
        };
        let first = self.pending_first().filter(|entry| small(entry).is_some());
        let first_len = first.map_or(0, |entry| entry.message.readable_bytes().unwrap_or(0));
        let mut unquiet = Vec::new();
        if first_len > 0
            && let Some(first) = self.front_mut()
        {
            replace(first, &mut BytesMut::with_capacity(first_len), &mut unquiet);
        }
        let mut copied = first_len;
        if let Some(more) = self.more.as_deref_mut() {
            let seen = mem::replace(&mut more.compacted, more.entries.len());
            let needed: usize = more.entries.range(seen..).filter_map(small).sum();
            if needed > more.block.capacity() {
                more.block = BytesMut::with_capacity(needed.max(BLOCK_MIN));
            }
            for entry in more.entries.range_mut(seen..) {
                if small(entry).is_some() {
                    replace(entry, &mut more.block, &mut unquiet);
                }
            }
            copied += needed;
        }
        for message in unquiet {
            self.settle(Settled::dropped(message));
        }
        copied
    }
}

/// Puts a copy of the entry's bytes, made at the end of `block`, in their place.
fn replace(entry: &mut Entry, block: &mut BytesMut, unquiet: &mut Vec<Message>) {
    let Some(bytes) = entry.message.as_bytes() else {
        return;
    };
    block.extend_from_slice(bytes);
    let old = mem::replace(&mut entry.message, block.split().into());
    if !old.drops_quietly() {
        unquiet.push(old);
    }
}
