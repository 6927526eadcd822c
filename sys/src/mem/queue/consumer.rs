//! The end that pops, sleeps and wakes.
//!
//! A loop owns it. It decides when a chunk is used again and frees all storage at the end. The rules
//! are the queue page's.
//!
//! Unsafe here promises: a chunk is looked at only from its linking until this end gives it back.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::Shared;
use super::chain::Chain;
use super::chunk::{Chunk, READ_AHEAD, SLOTS};
use super::sync::{Arc, spin_loop, yield_now};
use super::word::{CLOSED, FLAGS, SLEEPING, SPAN, STEP};
use crate::mem::task::{Payload, Task, Vtable};

/// The end of a queue that pops. One per queue; it may change its thread but is not shared.
///
/// Dropping it closes the queue and drops the tasks that wait. A task whose destructor panics does
/// not keep the others from being dropped.
pub struct Consumer {
    /// The position to take next.
    head: usize,
    /// The chunk of the position before `head`; null before the first chunk.
    chunk: *mut Chunk,
    /// The lap of `chunk`.
    lap: usize,
    /// Up to here the slots some way on are in this chunk and were reserved when it was entered: they
    /// may be asked for early.
    ahead: usize,
    /// The first chunk that is not given back: `chunk`, or one in front of it.
    oldest: *mut Chunk,
    /// There may be more than one spare chunk.
    spares: bool,
    /// Announced, and not ended by `wake_up`.
    asleep: bool,
    shared: Arc<Shared>,
    /// Not Sync.
    _not_sync: PhantomData<*mut ()>,
}

// SAFETY: the chunks belong to the queue and to no thread; the tasks in them are Send.
unsafe impl Send for Consumer {}

impl Consumer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            head: 0,
            chunk: ptr::null_mut(),
            lap: 0,
            ahead: 0,
            oldest: ptr::null_mut(),
            spares: false,
            asleep: false,
            shared,
            _not_sync: PhantomData,
        }
    }

    /// Takes the oldest task.
    ///
    /// `None` if no task waits, or if the push of the oldest one is still under way.
    ///
    /// A consumer that polls an empty queue without a pause between takes the line away from the push
    /// that is about to fill it; do something else before asking again.
    #[inline]
    pub fn pop(&mut self) -> Option<Task> {
        let (vtable, payload) = self.next_filled()?;
        self.advance();
        // SAFETY: the code word was stored beside the payload, and head has moved on: the pair is used up once.
        Some(unsafe { Task::from_parts(vtable, payload) })
    }

    /// Takes the oldest task and runs it, with `before` in between; false if there is none to take, as [`pop`](Self::pop) says. A
    /// panic of the task comes through. One of `before` loses the task, whose captures are leaked.
    ///
    /// Nothing of the queue is borrowed while foreign code runs. What the task has captured is copied once, out of its slot: a
    /// task that comes as a value is copied once more on its way to its run.
    #[inline(always)]
    pub fn run_next(this: &RefCell<Self>, before: impl FnOnce()) -> bool {
        let mut consumer = this.borrow_mut();
        let Some((vtable, mut payload)) = consumer.next_filled() else {
            return false;
        };
        consumer.advance();
        drop(consumer);
        before();
        // SAFETY: the code word was stored beside the payload, and head has moved on: the pair is used up once.
        unsafe { vtable.run(&raw mut payload) };
        true
    }

    /// What the slot of `head` holds. It counts as taken when `head` moves on, and not before.
    #[inline(always)]
    fn next_filled(&mut self) -> Option<(&'static Vtable, Payload)> {
        if self.head & (SPAN - 1) == 0 && !self.enter_chunk() {
            return None;
        }
        // SAFETY: chunk is the one of head, linked and not given back.
        let chunk = unsafe { &*self.chunk };
        let nth = self.head / STEP;
        if self.ahead.wrapping_sub(self.head).cast_signed() > 0 {
            chunk.want_to_read(nth);
        }
        // SAFETY: this is the consumer, at its next slot, whose chunk has not been given back.
        unsafe { chunk.slot(nth).read(self.lap) }
    }

    #[inline(always)]
    fn advance(&mut self) {
        self.head = self.head.wrapping_add(STEP);
        self.shared.head.0.store(self.head, Release);
    }

    /// Whether [`pop`](Self::pop) would give a task now.
    ///
    /// For a consumer that polls: it looks at the slot that is filled next, not at the tail, whose line is
    /// worth 100 ns to a producer that has it to itself. A push under way may go unnoticed; rule 8 sees it.
    #[inline]
    pub fn has_next(&mut self) -> bool {
        if self.head & (SPAN - 1) == 0 && !self.enter_chunk() {
            return false;
        }
        // SAFETY: chunk is the one of head, linked and not given back.
        let chunk = unsafe { &*self.chunk };
        chunk.slot(self.head / STEP).is_filled(self.lap)
    }

    /// Closes the queue, then takes the oldest task, waiting for one whose push is under way.
    ///
    /// `None` means that no task is left and none will come.
    pub fn pop_last(&mut self) -> Option<Task> {
        self.close();
        let mut turns = 0_u32;
        loop {
            if let Some(task) = self.pop() {
                return Some(task);
            }
            if self.is_empty() {
                return None;
            }
            // A push is under way, or a refused one takes its position back: a few instructions,
            // unless its thread was preempted.
            turns += 1;
            if turns < 64 && cfg!(not(loom)) {
                spin_loop();
            } else {
                yield_now();
            }
        }
    }

    /// Announces that the consumer is about to sleep.
    ///
    /// `true`: nothing waits, and from now on a push answers `MustWake`, once; block until woken (or for
    /// as long as you like), then call [`wake_up`](Self::wake_up). `false`: a task waits or its push is under
    /// way; do not block.
    #[must_use = "who blocks in spite of a refusal is not woken for the work that waits"]
    #[inline]
    pub fn prepare_sleep(&mut self) -> bool {
        let word = &self.shared.tail.0.word;
        let now = word.load(Relaxed);
        // Rule 8.
        let announced = now & !FLAGS == self.head
            && word
                .compare_exchange(now, now | SLEEPING, AcqRel, Relaxed)
                .is_ok();
        if announced {
            self.asleep = true;
            self.tidy();
        } else if !self.is_next_filled() {
            // Rule 3: give the processor to the thread that we wait for, which may need ours.
            yield_now();
        }
        announced
    }

    /// Ends a sleep. `true` if somebody was told to wake us, so that a wake-up came or will come.
    ///
    /// Without a sleep it does nothing and says `false`.
    #[inline]
    pub fn wake_up(&mut self) -> bool {
        if !self.asleep {
            return false;
        }
        self.asleep = false;
        self.shared.tail.0.word.fetch_and(!SLEEPING, AcqRel) & SLEEPING == 0
    }

    /// Refuses all further pushes. Tasks that were pushed stay.
    pub fn close(&mut self) {
        let word = &self.shared.tail.0.word;
        if word.load(Relaxed) & CLOSED == 0 {
            word.fetch_or(CLOSED, AcqRel);
        }
    }

    /// Whether pushes are refused for good.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.tail.0.word.load(Acquire) & CLOSED != 0
    }

    /// Whether no task waits and no push is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many tasks wait, counting pushes under way.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.shared.beyond(self.head)
    }

    /// Makes `chunk` the one of `head`, which is the first position of a chunk. `false` if that is not
    /// linked yet.
    #[cold]
    #[inline(never)]
    fn enter_chunk(&mut self) -> bool {
        let chain = &self.shared.tail.0.chain;
        // SAFETY: chunk is linked and not given back.
        let next = match unsafe { self.chunk.as_ref() } {
            None => chain.first(),
            Some(chunk) if chunk.base() == self.head => return true,
            Some(chunk) => chunk.next.load(Acquire),
        };
        // SAFETY: a chunk that is linked at the head is not given back.
        let Some(chunk) = (unsafe { next.as_ref() }) else {
            return false;
        };
        self.lap = chunk.lap();
        self.chunk = next;
        // Looking at the tail takes it away from the producers, so once per chunk is enough. The newest
        // two may be under way.
        let known = self.len().min(SLOTS).saturating_sub(READ_AHEAD + 2);
        self.ahead = self.head.wrapping_add(known * STEP);
        if self.oldest.is_null() {
            self.oldest = next;
        }
        self.give_back();
        true
    }

    /// Gives back the consumed chunks that no push can reach any more.
    pub(super) fn give_back(&mut self) {
        while self.oldest != self.chunk {
            // SAFETY: oldest is linked and not given back.
            let chunk = unsafe { &*self.oldest };
            if !Chain::is_unreachable(chunk, self.head) {
                return;
            }
            let next = chunk.next.load(Acquire);
            chunk.end_lap();
            // SAFETY: consumed and unreachable (rule 6), so ours; oldest moves on.
            unsafe { self.shared.tail.0.chain.keep_spare(self.oldest) };
            self.oldest = next;
            self.spares = true;
        }
    }

    /// Makes the storage of a queue that goes to sleep smaller.
    #[inline]
    fn tidy(&mut self) {
        if self.oldest != self.chunk {
            self.give_back();
        }
        if self.spares {
            self.spares = !self.shared.tail.0.chain.trim_spares();
        }
    }

    /// Chunks allocated: those with positions, those to be given back and the spare ones.
    #[cfg(all(test, not(loom)))]
    pub(super) fn chunks(&self) -> usize {
        let chain = &self.shared.tail.0.chain;
        let mut count = chain.spares();
        let mut at = if self.oldest.is_null() {
            chain.first()
        } else {
            self.oldest
        };
        // SAFETY: from the oldest one on no chunk is given back.
        while let Some(chunk) = unsafe { at.as_ref() } {
            count += 1;
            at = chunk.next.load(Acquire);
        }
        count
    }

    /// Whether the slot at the head is filled.
    fn is_next_filled(&self) -> bool {
        // SAFETY: chunk is linked and not given back.
        unsafe { self.chunk.as_ref() }.is_some_and(|chunk| {
            // At the end of a chunk the next one is not looked up: a wrong no costs one yield.
            self.head.wrapping_sub(chunk.base()) < SPAN
                && chunk.slot(self.head / STEP).is_filled(self.lap)
        })
    }

    /// Frees all storage of a queue that is closed and empty (rule 12).
    fn free(&mut self) {
        let chain = &self.shared.tail.0.chain;
        if self.oldest.is_null() {
            self.oldest = chain.first();
        }
        while !self.oldest.is_null() {
            // SAFETY: nobody but us looks at a chunk any more.
            unsafe {
                let next = (*self.oldest).next.load(Acquire);
                Chunk::free(self.oldest);
                self.oldest = next;
            }
        }
        while let Some(spare) = chain.take_spare() {
            // SAFETY: a spare chunk belongs to who takes it.
            unsafe { Chunk::free(spare) };
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        /// Goes on where a panicking destructor stopped, then frees the storage.
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
            .field("asleep", &self.asleep)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
