//! The queue under an outbound buffer: entries in order, and those that are over but not handed out.
//!
//! Most channels have at most one write pending at a time. That one lives in the queue itself; only a
//! second one allocates. It knows nothing of flushing or accounting.

use std::{collections::VecDeque, mem};

use super::entry::{Entry, Settled};
use crate::{buffer::BytesMut, error::Error};

/// Storage for more than this many entries is given back when the last of them is gone.
pub(super) const KEPT_MAX: usize = 64;

#[derive(Default)]
pub(super) struct Queue {
    /// The oldest entry, pending or over, if it came when there was no other.
    first: Option<Entry>,
    pub(super) more: Option<Box<More>>,
    /// Entries that are pending, wherever they are.
    len: u32,
    first_is: First,
    /// `more.settled` is not empty.
    more_settled: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum First {
    /// `first` is None.
    #[default]
    Absent,
    /// `first` is the front of the queue.
    Pending,
    /// `first` succeeded; it is older than everything in `more.settled`.
    Settled,
}

/// What only a channel with several pending writes needs.
#[derive(Default)]
pub(super) struct More {
    pub(super) entries: VecDeque<Entry>,
    pub(super) settled: VecDeque<Settled>,
    /// The first so many of `entries` were looked at by compaction: 0 <= compacted <= entries.len()
    pub(super) compacted: usize,
    /// Room left by compaction.
    pub(super) block: BytesMut,
}

impl Queue {
    #[inline]
    pub(super) fn push(&mut self, entry: Entry) {
        if self.first_is == First::Absent && self.len == 0 && !self.more_settled {
            // It holds nothing; forgetting that saves the code that would drop it.
            mem::forget(self.first.replace(entry));
            self.first_is = First::Pending;
        } else {
            self.push_more(entry);
        }
        self.len += 1;
    }

    #[inline(never)]
    fn push_more(&mut self, entry: Entry) {
        self.more.get_or_insert_default().entries.push_back(entry);
    }

    /// Ends the front entry with success and returns its size; nothing if there is none.
    #[inline]
    pub(super) fn succeed_front(&mut self) -> Option<usize> {
        if self.first_is != First::Pending {
            return self.settle_more(None);
        }
        let first = self.first.as_ref()?;
        let size = first.size;
        self.len -= 1;
        if first.ends_quietly() {
            self.first_is = First::Absent;
            self.first = None;
        } else {
            // It stays where it is until it is handed out.
            self.first_is = First::Settled;
        }
        Some(size)
    }

    /// Ends the front entry with an error and returns its size; nothing if there is none.
    pub(super) fn fail_front(&mut self, error: Error) -> Option<usize> {
        if self.first_is != First::Pending {
            return self.settle_more(Some(error));
        }
        self.first_is = First::Absent;
        let first = self.first.take()?;
        self.len -= 1;
        let size = first.size;
        self.settle(first.into_settled(Some(error)));
        Some(size)
    }

    #[inline(never)]
    fn settle_more(&mut self, failure: Option<Error>) -> Option<usize> {
        let more = self.more.as_deref_mut()?;
        let entry = more.entries.pop_front()?;
        more.compacted = more.compacted.saturating_sub(1);
        self.len -= 1;
        if more.entries.is_empty() {
            more.block = BytesMut::new();
            if more.entries.capacity() > KEPT_MAX {
                more.entries = VecDeque::new();
            }
        }
        let size = entry.size;
        if failure.is_some() || !entry.ends_quietly() {
            more.settled.push_back(entry.into_settled(failure));
            self.more_settled = true;
        }
        Some(size)
    }

    /// Removes the entries from `start` on whose promise refuses, without completing them. Returns
    /// the sum of their sizes and how many they were.
    pub(super) fn remove_cancelled(&mut self, start: usize) -> (usize, usize) {
        let (mut bytes, mut removed) = (0, 0);
        let mut start = start;
        if self.first_is == First::Pending {
            if start == 0
                && let Some(cancelled) = self
                    .first
                    .take_if(|entry| !entry.promise.set_uncancellable())
            {
                self.first_is = First::Absent;
                bytes += cancelled.size;
                removed += 1;
                self.settle(Settled::dropped(cancelled.message));
            }
            start = start.saturating_sub(1);
        }
        let Some(more) = self.more.as_deref_mut() else {
            self.len -= removed as u32;
            return (bytes, removed);
        };
        let mut kept = start;
        for index in start..more.entries.len() {
            if more.entries[index].promise.set_uncancellable() {
                if kept != index {
                    // The cancelled ones go to the end, in linear time.
                    more.entries.swap(kept, index);
                }
                kept += 1;
            }
        }
        for cancelled in more.entries.drain(kept..) {
            bytes += cancelled.size;
            removed += 1;
            more.settled.push_back(Settled::dropped(cancelled.message));
            self.more_settled = true;
        }
        more.compacted = more.compacted.min(start);
        self.len -= removed as u32;
        (bytes, removed)
    }

    /// Keeps what is over until it is handed out.
    pub(super) fn settle(&mut self, settled: Settled) {
        self.more.get_or_insert_default().settled.push_back(settled);
        self.more_settled = true;
    }

    /// Hands out the oldest entry that is over.
    #[inline]
    pub(super) fn take_settled(&mut self) -> Option<Settled> {
        if self.first_is == First::Settled {
            self.first_is = First::Absent;
            return self.first.take().map(|entry| entry.into_settled(None));
        }
        if !self.more_settled {
            return None;
        }
        self.take_more_settled()
    }

    fn take_more_settled(&mut self) -> Option<Settled> {
        let more = self.more.as_deref_mut()?;
        let settled = more.settled.pop_front();
        if more.settled.is_empty() {
            self.more_settled = false;
            if more.settled.capacity() > KEPT_MAX {
                more.settled = VecDeque::new();
            }
        }
        settled
    }

    #[inline]
    pub(super) fn has_settled(&self) -> bool {
        self.first_is == First::Settled || self.more_settled
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// The oldest pending entry.
    #[inline]
    pub(super) fn front_mut(&mut self) -> Option<&mut Entry> {
        if self.first_is == First::Pending {
            return self.first.as_mut();
        }
        self.more.as_deref_mut()?.entries.front_mut()
    }

    /// The oldest pending entry if it is the one within the queue.
    #[inline]
    pub(super) fn pending_first(&self) -> Option<&Entry> {
        self.first
            .as_ref()
            .filter(|_| self.first_is == First::Pending)
    }

    /// The oldest pending entry.
    #[inline]
    pub(super) fn front(&self) -> Option<&Entry> {
        if self.first_is == First::Pending {
            return self.first.as_ref();
        }
        self.more.as_deref()?.entries.front()
    }

    /// The pending entry with this number, counted from the oldest.
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Entry> {
        let mut index = index;
        if self.first_is == First::Pending {
            if index == 0 {
                return self.first.as_mut();
            }
            index -= 1;
        }
        self.more.as_deref_mut()?.entries.get_mut(index)
    }

    /// The pending entries, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        let more = self
            .more
            .as_deref()
            .into_iter()
            .flat_map(|more| &more.entries);
        self.pending_first().into_iter().chain(more)
    }

    /// Gives back all storage that holds nothing.
    pub(super) fn release_storage(&mut self) {
        let empty = |more: &mut Box<More>| more.entries.is_empty() && more.settled.is_empty();
        drop(self.more.take_if(empty));
    }

    #[cfg(test)]
    pub(super) fn storage(&self) -> usize {
        self.more
            .as_deref()
            .map_or(0, |more| more.entries.capacity() + more.settled.capacity())
    }

    #[cfg(test)]
    pub(super) fn is_inline(&self) -> bool {
        self.more.is_none()
    }
}
