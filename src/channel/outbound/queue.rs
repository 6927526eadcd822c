//! The queue under an outbound buffer: entries in order, and those that are over but not handed out.
//!
//! Most channels have at most one write pending at a time. That one lives in the queue itself; only a
//! second one allocates. It knows nothing of flushing or accounting.

use std::{collections::VecDeque, mem};

use super::entry::{Entry, Settled};
use crate::{
    buffer::{BytesMut, Message},
    error::Error,
    future::Promise,
};

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
    /// Somebody waits for one of the entries, or for one before them.
    observed: bool,
}

impl More {
    /// As [`Queue::remove_cancelled`], for `entries`.
    fn remove_cancelled(&mut self, start: usize) -> (usize, usize) {
        let goes_on = |entry: &Entry| entry.promise.set_uncancellable();
        let mut entries = self.entries.range(start..);
        let Some(first) = entries.position(|entry| !goes_on(entry)) else {
            return (0, 0);
        };
        // Swapping moves the cancelled ones to the end, in linear time.
        let mut kept = start + first;
        for index in kept + 1..self.entries.len() {
            if goes_on(&self.entries[index]) {
                self.entries.swap(kept, index);
                kept += 1;
            }
        }
        let removed = self.entries.len() - kept;
        let mut bytes = 0;
        for cancelled in self.entries.drain(kept..) {
            bytes += cancelled.size;
            self.settled.push_back(Settled::dropped(cancelled.message));
        }
        // Compaction may have to look again at some that moved forward.
        self.compacted = self.compacted.min(start);
        if self.entries.is_empty() {
            self.drained();
        }
        (bytes, removed)
    }

    /// Ends the front entry and returns its size.
    #[inline]
    fn settle_front(&mut self, failure: Option<Error>) -> Option<usize> {
        let entry = self.entries.pop_front()?;
        let size = entry.size;
        self.compacted = self.compacted.saturating_sub(1);
        if failure.is_none() && entry.ends_quietly() {
            entry.end_quietly();
        } else {
            self.settled.push_back(entry.into_settled(failure));
        }
        Some(size)
    }

    /// The last entry is gone.
    #[inline]
    fn drained(&mut self) {
        if self.block.capacity() > 0 {
            self.block = BytesMut::new();
        }
        if self.entries.capacity() > KEPT_MAX {
            self.entries = VecDeque::new();
        }
    }
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
    /// Appends an entry. It takes the parts, so that they are moved once, to where they stay.
    #[inline]
    pub(super) fn push(&mut self, message: Message, promise: Promise, size: usize) {
        self.observed |= !promise.is_void();
        if self.first_is == First::Absent && self.len == 0 && !self.more_settled {
            // It holds nothing; forgetting that saves the code that would drop it.
            mem::forget(self.first.replace(Entry {
                message,
                promise,
                size,
            }));
            self.first_is = First::Pending;
            self.len = 1;
        } else {
            self.push_more(Entry {
                message,
                promise,
                size,
            });
        }
    }

    #[inline(never)]
    fn push_more(&mut self, entry: Entry) {
        self.more.get_or_insert_default().entries.push_back(entry);
        self.len += 1;
    }

    /// The short way for the most common end: the only entry is a `BytesMut` of just `written` bytes
    /// that nobody waits for. Ends it and returns its size; otherwise it changes nothing.
    #[inline]
    pub(super) fn succeed_only(&mut self, written: usize) -> Option<usize> {
        if self.first_is != First::Pending {
            return None;
        }
        let only = self.first.as_ref()?;
        if !only.ends_quietly() || only.message.readable_bytes() != Some(written) {
            return None;
        }
        // Entries behind it that are not flushed do not mind.
        Some(self.end_first_quietly())
    }

    /// Ends the entry within the queue, of which [`Entry::ends_quietly`] is true, and returns its size.
    #[inline(always)]
    pub(super) fn end_first_quietly(&mut self) -> usize {
        let Some(first) = self.first.take() else {
            return 0;
        };
        self.first_is = First::Absent;
        self.len -= 1;
        let size = first.size;
        first.end_quietly();
        size
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
            self.first.take()?.end_quietly();
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
        let size = more.settle_front(failure)?;
        self.len -= 1;
        self.more_settled = !more.settled.is_empty();
        if more.entries.is_empty() {
            more.drained();
        }
        Some(size)
    }

    /// Ends with success, of the first `limit` entries, those of which the first `written` bytes are
    /// all there is, up to one that has no bytes; shortens the one behind them. Returns the sum of
    /// their sizes, how many they were, and what is left of `written`.
    pub(super) fn succeed_written(
        &mut self,
        limit: usize,
        written: usize,
    ) -> (usize, usize, usize) {
        let (mut bytes, mut ended, mut left) = (0, 0, written);
        if self.first_is == First::Pending && limit > 0 {
            match self
                .first
                .as_mut()
                .and_then(|entry| entry.written(&mut left))
            {
                Some(size) => (bytes, ended) = (size, 1),
                None => return (0, 0, left),
            }
            let _ = self.succeed_front();
        }
        let Some(more) = self.more.as_deref_mut() else {
            return (bytes, ended, left);
        };
        let before = ended;
        while ended < limit
            && let Some(size) = more
                .entries
                .front_mut()
                .and_then(|entry| entry.written(&mut left))
        {
            let _ = more.settle_front(None);
            bytes += size;
            ended += 1;
        }
        self.len -= (ended - before) as u32;
        self.more_settled = !more.settled.is_empty();
        if more.entries.is_empty() {
            more.drained();
        }
        (bytes, ended, left)
    }

    /// Rules out cancelling from the entry with number `start` on, and removes those that were
    /// cancelled before, without completing them. Returns the sum of their sizes and how many they
    /// were.
    pub(super) fn remove_cancelled(&mut self, start: usize) -> (usize, usize) {
        let (mut bytes, mut removed) = (0, 0);
        let mut start = start;
        if self.first_is == First::Pending {
            let cancelled = |entry: &mut Entry| start == 0 && !entry.promise.set_uncancellable();
            if let Some(entry) = self.first.take_if(cancelled) {
                self.first_is = First::Absent;
                (bytes, removed) = (entry.size, 1);
                self.settle(Settled::dropped(entry.message));
            }
            start = start.saturating_sub(1);
        }
        if let Some(more) = self.more.as_deref_mut() {
            let (more_bytes, more_removed) = more.remove_cancelled(start);
            bytes += more_bytes;
            removed += more_removed;
            self.more_settled = !more.settled.is_empty();
        }
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

    /// Whether somebody may wait for an entry. Forgotten with [`forget`](Self::forget) only.
    #[inline]
    pub(super) fn is_observed(&self) -> bool {
        self.observed
    }

    /// What comes is nothing to those who waited before.
    #[inline]
    pub(super) fn forget(&mut self) {
        self.observed = false;
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
    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        // Slices, because the iterator of a VecDeque costs twice as much for each entry.
        let (front, back) = match &self.more {
            Some(more) => more.entries.as_slices(),
            None => Default::default(),
        };
        self.pending_first().into_iter().chain(front).chain(back)
    }

    /// Gives back all storage that holds nothing.
    pub(super) fn release_storage(&mut self) {
        let empty = |more: &mut Box<More>| more.entries.is_empty() && more.settled.is_empty();
        drop(self.more.take_if(empty));
    }

    /// What the lists take while they are empty, in bytes.
    pub(super) fn list_bytes(&self) -> usize {
        self.more.as_deref().map_or(0, |more| {
            size_of::<More>()
                + more.entries.capacity() * size_of::<Entry>()
                + more.settled.capacity() * size_of::<Settled>()
        })
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
