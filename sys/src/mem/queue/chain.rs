//! The chain of chunks: finding the chunk of a position, linking new ones, using old ones again.
//!
//! Both ends of the queue use it. The rules that its comments name are the ones of the queue's page.
//!
//! Unsafe here promises: a chunk is looked at only while rule 4 or rule 6 keeps it.

use std::ptr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::chunk::Chunk;
use super::sync::{AtomicPtr, AtomicUsize};
use super::word::{FLAGS, Line, SPAN};

/// Consumed chunks kept for use.
const SPARES: usize = 6;
/// Set in `Chunk::passed` beside a position, which may be zero.
const PASSED: usize = 1;

/// The links into the chunks.
pub(super) struct Chain {
    /// The chunk that the next push most likely fills; null before the first (rule 5).
    hint: AtomicPtr<Chunk>,
    store: Line<Store>,
}

struct Store {
    /// The first chunk of all.
    first: AtomicPtr<Chunk>,
    /// Chunks that nobody can reach.
    spare: [AtomicPtr<Chunk>; SPARES],
}

impl Chain {
    pub(super) fn new() -> Self {
        let null = || AtomicPtr::new(ptr::null_mut());
        Self {
            hint: null(),
            store: Line(Store {
                first: null(),
                spare: std::array::from_fn(|_| null()),
            }),
        }
    }

    /// The chunk of a reserved position.
    ///
    /// # Safety
    /// The caller's push is under way with a position in the chunk at `base`. The reference is good
    /// until it fills its slot (rule 4).
    #[inline]
    pub(super) unsafe fn chunk(&self, base: usize, tail: &AtomicUsize) -> &Chunk {
        let chunk = self.hint.load(Acquire);
        // SAFETY: a chunk that the hint names after the reservation is kept (rules 4 and 6).
        if let Some(chunk) = unsafe { chunk.as_ref() }
            && chunk.base() == base
        {
            return chunk;
        }
        // SAFETY: the caller's promise.
        unsafe { self.find(base, tail) }
    }

    /// The same where the hint is not the answer: once per chunk and push that comes early to it.
    #[cold]
    #[inline(never)]
    unsafe fn find(&self, base: usize, tail: &AtomicUsize) -> &Chunk {
        let mut at = self.hint.load(Acquire);
        loop {
            // SAFETY: every chunk on the way is kept (rules 4 to 6).
            let chunk = unsafe { at.as_ref() };
            if let Some(chunk) = chunk {
                let ahead = base.wrapping_sub(chunk.base()).cast_signed();
                if ahead == 0 {
                    return chunk;
                }
                if ahead < 0 {
                    at = chunk.prev.load(Relaxed);
                    continue;
                }
            }
            let next = self.behind(at, chunk);
            if self
                .hint
                .compare_exchange(at, next, AcqRel, Relaxed)
                .is_ok()
                && let Some(chunk) = chunk
            {
                // Not a load: rule 6 needs the newest value.
                let passed = tail.fetch_add(0, AcqRel) & !FLAGS;
                chunk.passed.store(passed | PASSED, Release);
            }
            at = next;
        }
    }

    /// The chunk behind the given one (behind none: the first of all), linked if it is missing.
    fn behind(&self, at: *mut Chunk, chunk: Option<&Chunk>) -> *mut Chunk {
        let (link, base) = match chunk {
            Some(chunk) => (&chunk.next, chunk.base().wrapping_add(SPAN)),
            None => (&self.store.0.first, 0),
        };
        let next = link.load(Acquire);
        if !next.is_null() {
            return next;
        }
        let new = self.take_spare().unwrap_or_else(Chunk::allocate);
        // SAFETY: a chunk that is not linked is its holder's.
        unsafe { (*new).prepare(base, at) };
        match link.compare_exchange(ptr::null_mut(), new, AcqRel, Acquire) {
            Ok(_) => new,
            Err(next) => {
                // SAFETY: it was not linked.
                unsafe { self.keep_spare(new) };
                next
            }
        }
    }

    /// The first chunk of all, or null. Only good until it was given back.
    pub(super) fn first(&self) -> *mut Chunk {
        self.store.0.first.load(Acquire)
    }

    /// Whether no push can reach a chunk any more, for a consumer at `head` that has passed it (rule 6).
    pub(super) fn is_unreachable(chunk: &Chunk, head: usize) -> bool {
        let passed = chunk.passed.load(Acquire);
        passed & PASSED != 0 && head.wrapping_sub(passed & !FLAGS).cast_signed() >= 0
    }

    /// Takes a spare chunk.
    pub(super) fn take_spare(&self) -> Option<*mut Chunk> {
        self.store.0.spare.iter().find_map(take)
    }

    /// Keeps a chunk as a spare one, or frees it if there are enough.
    ///
    /// # Safety
    /// The chunk is the caller's alone, and not used by it afterwards.
    pub(super) unsafe fn keep_spare(&self, chunk: *mut Chunk) {
        for spare in &self.store.0.spare {
            if spare.load(Relaxed).is_null()
                && spare
                    .compare_exchange(ptr::null_mut(), chunk, Release, Relaxed)
                    .is_ok()
            {
                return;
            }
        }
        // SAFETY: the caller's promise.
        unsafe { Chunk::free(chunk) };
    }

    /// How many spare chunks there are, about.
    pub(super) fn spares(&self) -> usize {
        let places = self.store.0.spare.iter();
        places
            .filter(|spare| !spare.load(Relaxed).is_null())
            .count()
    }

    /// Frees half of the spare chunks but not the last; `true` when no more than one is left.
    pub(super) fn trim_spares(&self) -> bool {
        let count = self.spares();
        for chunk in self
            .store
            .0
            .spare
            .iter()
            .rev()
            .filter_map(take)
            .take(count / 2)
        {
            // SAFETY: a spare chunk belongs to who takes it.
            unsafe { Chunk::free(chunk) };
        }
        count - count / 2 <= 1
    }
}

/// Takes the chunk out of one spare place.
fn take(spare: &AtomicPtr<Chunk>) -> Option<*mut Chunk> {
    if spare.load(Relaxed).is_null() {
        return None;
    }
    let chunk = spare.swap(ptr::null_mut(), Acquire);
    (!chunk.is_null()).then_some(chunk)
}
