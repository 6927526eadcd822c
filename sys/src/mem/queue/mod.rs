//! The queue that carries [`Task`]s from any thread to one loop.
//!
//! Many [`Producer`]s, one [`Consumer`]. The loop owns the consumer; every handle to the loop has
//! a producer. The queue does not know how to wake anybody: a push says whether the caller must.

mod chunk;
mod sync;
#[cfg(all(test, not(loom)))]
mod tests;

use std::fmt;
use std::ptr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use self::chunk::{Chunk, SLOTS};
use self::sync::{Arc, AtomicPtr, AtomicUsize, spin_loop, yield_now};
use crate::mem::task::Task;

/// Tail bit: the consumer sleeps, and nobody has been told to wake it.
const SLEEPING: usize = 1 << 0;
/// Tail bit: pushes are refused, for good.
const CLOSED: usize = 1 << 1;
const FLAGS: usize = SLEEPING | CLOSED;
/// One position.
const STEP: usize = 1 << 2;
/// Positions in a chunk.
const SPAN: usize = SLOTS * STEP;
/// Set in `Chunk::passed` beside a position.
const PASSED: usize = 1;
/// Empty chunks kept for use.
const SPARES: usize = 6;

/// Creates a queue. With a capacity, pushes are refused while that many tasks wait (0 counts as 1).
///
/// Allocates no storage for tasks before the first push.
#[must_use]
pub fn new(capacity: Option<usize>) -> (Producer, Consumer) {
    let shared = Arc::new(Shared {
        tail: Line(Tail {
            word: AtomicUsize::new(0),
            chunk: AtomicPtr::new(ptr::null_mut()),
            head_seen: AtomicUsize::new(0),
            capacity: capacity.map_or(usize::MAX, |n| n.clamp(1, usize::MAX / STEP / 2)),
        }),
        head: Line(AtomicUsize::new(0)),
        store: Line(Store {
            first: AtomicPtr::new(ptr::null_mut()),
            spare: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
        }),
    });
    let consumer = Consumer {
        head: 0,
        chunk: ptr::null_mut(),
        lap: 0,
        oldest: ptr::null_mut(),
        shared: Arc::clone(&shared),
    };
    (Producer { shared }, consumer)
}

/// What a successful push asks of its caller.
#[must_use = "a sleeping consumer must be woken"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// Nothing: the consumer is awake, or somebody else wakes it.
    Awake,
    /// Wake the consumer. One push per sleep gets this answer.
    MustWake,
}

/// Why a push was refused. Both give the task back.
#[derive(Debug)]
pub enum Refused {
    /// As many tasks wait as the queue was made for.
    Full(Task),
    /// The queue was closed.
    Closed(Task),
}

impl Refused {
    /// The task that was not taken.
    pub fn into_task(self) -> Task {
        match self {
            Self::Full(task) | Self::Closed(task) => task,
        }
    }
}

/// Two cache lines of its own: neighbours are fetched in pairs on the usual machines.
#[repr(align(128))]
struct Line<T>(T);

struct Tail {
    /// Positions handed out (in units of STEP), with SLEEPING and CLOSED below.
    word: AtomicUsize,
    /// The chunk that the next push most likely writes to; never behind a freed one (rule 4).
    chunk: AtomicPtr<Chunk>,
    /// A past value of the head, so that a bounded push rarely looks at the consumer's line.
    head_seen: AtomicUsize,
    /// In tasks; `usize::MAX` when unbounded.
    capacity: usize,
}

struct Store {
    /// The link to the first chunk of all.
    first: AtomicPtr<Chunk>,
    /// Consumed or unused chunks.
    spare: [AtomicPtr<Chunk>; SPARES],
}

struct Shared {
    tail: Line<Tail>,
    /// The position that the consumer takes next; stored by it alone.
    head: Line<AtomicUsize>,
    store: Line<Store>,
}

impl Shared {
    fn len(&self) -> usize {
        // Head first: it never overtakes the tail, so the difference is not negative.
        let head = self.head.0.load(Acquire);
        let tail = self.tail.0.word.load(Acquire) & !FLAGS;
        tail.wrapping_sub(head) / STEP
    }

    /// Finds the chunk of a reserved position, linking chunks as needed.
    ///
    /// # Safety
    /// The caller has reserved a position in that chunk and not filled it yet.
    #[cold]
    #[inline(never)]
    unsafe fn find(&self, base: usize) -> *mut Chunk {
        let tail = &self.tail.0;
        let mut chunk = tail.chunk.load(Acquire);
        loop {
            if !chunk.is_null() {
                // SAFETY: chunk was reached from tail.chunk after the reservation (rule 4).
                let at = unsafe { &*chunk };
                let ahead = base.wrapping_sub(at.base.load(Relaxed)).cast_signed();
                if ahead == 0 {
                    return chunk;
                }
                if ahead < 0 {
                    // Others have gone on between our reservation and our look at tail.chunk.
                    chunk = at.prev.load(Relaxed);
                    continue;
                }
            }
            // SAFETY: as above.
            let next = unsafe { self.after(chunk) };
            if tail
                .chunk
                .compare_exchange(chunk, next, AcqRel, Relaxed)
                .is_ok()
                && !chunk.is_null()
            {
                // An RMW, not a load: rule 4 needs the newest value.
                let passed = tail.word.fetch_add(0, AcqRel) & !FLAGS;
                // SAFETY: as above.
                unsafe { (*chunk).passed.store(passed | PASSED, Release) };
            }
            chunk = next;
        }
    }

    /// The chunk behind `chunk` (null: the first of all), made if there is none.
    ///
    /// # Safety
    /// As for `find`: the chunk is reachable by the caller's reservation.
    unsafe fn after(&self, chunk: *mut Chunk) -> *mut Chunk {
        let (link, base) = if chunk.is_null() {
            (&self.store.0.first, 0)
        } else {
            // SAFETY: the caller's reservation keeps it (rule 4).
            let chunk = unsafe { &*chunk };
            (&chunk.next, chunk.base.load(Relaxed).wrapping_add(SPAN))
        };
        let next = link.load(Acquire);
        if !next.is_null() {
            return next;
        }
        let new = self.unshelve().unwrap_or_else(Chunk::allocate);
        // SAFETY: new is ours alone until it is linked.
        unsafe {
            (*new).base.store(base, Relaxed);
            (*new).prev.store(chunk, Relaxed);
            (*new).next.store(ptr::null_mut(), Relaxed);
            (*new).passed.store(0, Relaxed);
        }
        match link.compare_exchange(ptr::null_mut(), new, AcqRel, Acquire) {
            Ok(_) => new,
            Err(next) => {
                self.shelve(new);
                next
            }
        }
    }

    /// Takes a spare chunk.
    fn unshelve(&self) -> Option<*mut Chunk> {
        self.store.0.spare.iter().find_map(|spare| {
            if spare.load(Relaxed).is_null() {
                return None;
            }
            let chunk = spare.swap(ptr::null_mut(), Acquire);
            (!chunk.is_null()).then_some(chunk)
        })
    }

    /// Keeps a chunk that nobody can reach, or frees it.
    fn shelve(&self, chunk: *mut Chunk) {
        for spare in &self.store.0.spare {
            if spare.load(Relaxed).is_null()
                && spare
                    .compare_exchange(ptr::null_mut(), chunk, Release, Relaxed)
                    .is_ok()
            {
                return;
            }
        }
        // SAFETY: nobody can reach it (callers), and it is not a spare.
        unsafe { Chunk::free(chunk) };
    }
}

/// The side that pushes. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Producer {
    shared: Arc<Shared>,
}

// SAFETY: all shared state is atomics and slots, which the rules hand from one thread to another;
// tasks are Send.
unsafe impl Send for Producer {}
// SAFETY: as for Send; every method takes &self and synchronises by the tail word.
unsafe impl Sync for Producer {}

impl Producer {
    /// Queues a task. The answer says whether the caller has to wake the consumer.
    ///
    /// # Errors
    /// The task comes back when the queue is full or closed.
    #[inline]
    pub fn push(&self, task: Task) -> Result<Pushed, Refused> {
        let tail = self.fill(task)?;
        if tail & SLEEPING != 0 && self.claim_wake() {
            return Ok(Pushed::MustWake);
        }
        Ok(Pushed::Awake)
    }

    /// Queues a task that is in no hurry: nobody is woken for it.
    ///
    /// A sleeping consumer runs it when something else wakes it; an awake one runs it before it
    /// sleeps.
    ///
    /// # Errors
    /// The task comes back when the queue is full or closed.
    #[inline]
    pub fn push_lazy(&self, task: Task) -> Result<(), Refused> {
        self.fill(task).map(|_| ())
    }

    /// Claims the wake-up of a sleeping consumer without pushing: `true` means that the caller
    /// must wake it, `false` that it is awake or somebody else wakes it.
    ///
    /// What the caller stored before is visible to a consumer that has returned from
    /// [`Consumer::prepare_sleep`] when this says `false`.
    #[cold]
    #[inline(never)]
    pub fn claim_wake(&self) -> bool {
        self.shared.tail.0.word.fetch_and(!SLEEPING, AcqRel) & SLEEPING != 0
    }

    /// Refuses all further pushes. `MustWake` if the consumer sleeps.
    pub fn close(&self) -> Pushed {
        self.shared.tail.0.word.fetch_or(CLOSED, AcqRel);
        if self.claim_wake() {
            Pushed::MustWake
        } else {
            Pushed::Awake
        }
    }

    /// Whether pushes are refused for good.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.tail.0.word.load(Acquire) & CLOSED != 0
    }

    /// Tasks that wait, as of some moment during the call.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.len()
    }

    /// Whether no task waits, as of some moment during the call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reserves a slot and fills it; gives the tail word as it was.
    #[inline]
    fn fill(&self, task: Task) -> Result<usize, Refused> {
        let tail = &self.shared.tail.0;
        let position = if tail.capacity == usize::MAX {
            tail.word.fetch_add(STEP, AcqRel)
        } else {
            match self.reserve_bounded() {
                Some(position) => position,
                None => return Err(Refused::Full(task)),
            }
        };
        if position & CLOSED != 0 {
            if tail.capacity == usize::MAX {
                tail.word.fetch_sub(STEP, AcqRel);
            }
            return Err(Refused::Closed(task));
        }
        let base = position & !(SPAN - 1);
        let mut chunk = tail.chunk.load(Acquire);
        // SAFETY: the position is reserved and not filled, so what tail.chunk shows is kept (rule 4).
        unsafe {
            if chunk.is_null() || (*chunk).base.load(Relaxed) != base {
                chunk = self.shared.find(base);
            }
            let lap = (*chunk).lap.load(Relaxed);
            (*chunk).slot(position / STEP).fill(lap, task);
        }
        Ok(position)
    }

    /// Reserves a position if fewer than `capacity` wait; on a closed queue reserves nothing.
    fn reserve_bounded(&self) -> Option<usize> {
        let tail = &self.shared.tail.0;
        // Head before tail, so that head <= tail and the difference is a count.
        let mut head = tail.head_seen.load(Acquire);
        let mut word = tail.word.load(Acquire);
        loop {
            if word & CLOSED != 0 {
                return Some(word);
            }
            if (word & !FLAGS).wrapping_sub(head) / STEP >= tail.capacity {
                let now = self.shared.head.0.load(Acquire);
                if now == head {
                    return None;
                }
                head = now;
                tail.head_seen.store(head, Release);
                word = tail.word.load(Acquire);
                continue;
            }
            match tail
                .word
                .compare_exchange_weak(word, word.wrapping_add(STEP), AcqRel, Acquire)
            {
                Ok(_) => return Some(word),
                Err(now) => word = now,
            }
        }
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("len", &self.len())
            .field("closed", &self.is_closed())
            .finish()
    }
}

/// The side that pops. One per queue; it may move to another thread but not be shared.
///
/// Dropping it closes the queue and drops the tasks that wait.
pub struct Consumer {
    /// The position to take next, in units of STEP.
    head: usize,
    /// The chunk of the position before `head`, or null before the first.
    chunk: *mut Chunk,
    /// The lap of `chunk`.
    lap: usize,
    /// The first chunk that is not given back yet; `chunk` or one before it.
    oldest: *mut Chunk,
    shared: Arc<Shared>,
}

// SAFETY: the chunks belong to the queue, not to a thread; the tasks in them are Send.
unsafe impl Send for Consumer {}

impl Consumer {
    /// Takes the oldest task, if there is one.
    ///
    /// `None` also while the push of the oldest one is still under way on its thread.
    #[inline]
    pub fn pop(&mut self) -> Option<Task> {
        if self.head & (SPAN - 1) == 0 && !self.advance() {
            return None;
        }
        // SAFETY: chunk holds the slot of head; head moves on with each take.
        let task = unsafe { (*self.chunk).slot(self.head / STEP).take(self.lap) }?;
        self.head = self.head.wrapping_add(STEP);
        self.shared.head.0.store(self.head, Release);
        Some(task)
    }

    /// Whether no task waits and no push is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tasks that wait, with those whose push is under way.
    #[must_use]
    pub fn len(&self) -> usize {
        let tail = self.shared.tail.0.word.load(Acquire) & !FLAGS;
        tail.wrapping_sub(self.head) / STEP
    }

    /// Announces that the consumer is about to sleep.
    ///
    /// `true`: from now on a push answers `MustWake` (once). `false`: there is work, or a push is under
    /// way; do not block.
    #[must_use = "sleeping with work in the queue loses it"]
    pub fn prepare_sleep(&mut self) -> bool {
        let word = &self.shared.tail.0.word;
        let now = word.load(Relaxed);
        (now & !FLAGS) == self.head
            && word
                .compare_exchange(now, now | SLEEPING, AcqRel, Relaxed)
                .is_ok()
    }

    /// Ends a sleep, or does nothing. `true` if somebody was told to wake us meanwhile.
    pub fn wake_up(&mut self) -> bool {
        self.shared.tail.0.word.fetch_and(!SLEEPING, AcqRel) & SLEEPING == 0
    }

    /// Refuses all further pushes.
    pub fn close(&mut self) {
        self.shared.tail.0.word.fetch_or(CLOSED, AcqRel);
    }

    /// Closes the queue, then takes the oldest task, waiting for pushes under way.
    ///
    /// `None` means that no task is left and none will come.
    pub fn pop_last(&mut self) -> Option<Task> {
        self.close();
        for spins in 0_u32.. {
            if let Some(task) = self.pop() {
                return Some(task);
            }
            if self.is_empty() {
                return None;
            }
            if spins < 64 && cfg!(not(loom)) {
                spin_loop();
            } else {
                yield_now();
            }
        }
        None
    }

    /// Moves to the chunk of `head`, which is the first position of a chunk.
    #[cold]
    #[inline(never)]
    fn advance(&mut self) -> bool {
        // SAFETY: chunk is the one before head's, given back only below.
        let next = unsafe {
            if self.chunk.is_null() {
                self.shared.store.0.first.load(Acquire)
            } else if (*self.chunk).base.load(Relaxed) == self.head {
                return true;
            } else {
                (*self.chunk).next.load(Acquire)
            }
        };
        if next.is_null() {
            return false;
        }
        self.chunk = next;
        // SAFETY: a linked chunk that is not consumed yet.
        self.lap = unsafe { (*next).lap.load(Relaxed) };
        if self.oldest.is_null() {
            self.oldest = next;
        }
        self.give_back();
        true
    }

    /// Gives consumed chunks back that no producer can reach any more (rule 4).
    fn give_back(&mut self) {
        while self.oldest != self.chunk {
            let oldest = self.oldest;
            // SAFETY: oldest is consumed and was not given back.
            let chunk = unsafe { &*oldest };
            let passed = chunk.passed.load(Acquire);
            if passed == 0 || (self.head.wrapping_sub(passed & !FLAGS)).cast_signed() < 0 {
                return;
            }
            self.oldest = chunk.next.load(Acquire);
            chunk.next_lap();
            self.shared.shelve(oldest);
        }
    }

    /// Frees all storage of a queue that is closed and whose last task is taken.
    fn free(&mut self) {
        // No push is under way and none will start: no producer touches a chunk any more (rule 5).
        // The first chunk may never have been reached by pop.
        if self.oldest.is_null() {
            self.oldest = self.shared.store.0.first.load(Acquire);
        }
        let mut chunk = self.oldest;
        while !chunk.is_null() {
            // SAFETY: the chain belongs to us alone now.
            unsafe {
                let next = (*chunk).next.load(Acquire);
                Chunk::free(chunk);
                chunk = next;
            }
        }
        while let Some(spare) = self.shared.unshelve() {
            // SAFETY: a spare belongs to who takes it.
            unsafe { Chunk::free(spare) };
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        /// Goes on where a panicking destructor of a task stopped, then frees the storage.
        struct Rest<'a>(&'a mut Consumer);
        impl Drop for Rest<'_> {
            fn drop(&mut self) {
                while let Some(task) = self.0.pop_last() {
                    drop(task);
                }
                self.0.free();
            }
        }
        let rest = Rest(self);
        while let Some(task) = rest.0.pop_last() {
            drop(task);
        }
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
