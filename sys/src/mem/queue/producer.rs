//! The end that pushes.
//!
//! A loop's handles use it from any thread. It reserves, fills and, if the consumer sleeps, tells its
//! caller to wake it; it never blocks and never calls what a user wrote. The rules are the queue page's.

use std::fmt;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::Shared;
use super::sync::Arc;
use super::word::{CLOSED, FLAGS, SLEEPING, SPAN, STEP};
use crate::mem::task::{Parts, Task};

/// What a successful push asks of its caller.
#[must_use = "a sleeping consumer must be woken"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// Nothing: the consumer is awake, or somebody else was told to wake it.
    Awake,
    /// Wake the consumer. One caller per sleep gets this answer.
    MustWake,
}

/// Why a push was refused. The task comes back unharmed.
#[derive(Debug)]
pub enum Refused {
    /// As many tasks wait as the queue has capacity for.
    Full(Task),
    /// The queue is closed; no later push will be taken either.
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

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the task queue is full",
            Self::Closed(_) => "the task queue is closed",
        })
    }
}

impl std::error::Error for Refused {}

/// Whether the capacity counts.
#[derive(Clone, Copy)]
enum Room {
    Bounded,
    Any,
}

/// The end of a queue that pushes. One word; cheap to clone and usable from any thread.
#[derive(Clone)]
pub struct Producer {
    shared: Arc<Shared>,
}

// SAFETY: what is shared is atomics, and slots that rules 1 and 2 hand from one thread to another;
// the tasks in them are Send.
unsafe impl Send for Producer {}
// SAFETY: as above; every method takes &self and goes through the tail.
unsafe impl Sync for Producer {}

impl Producer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Queues a task. The answer says whether the caller has to wake the consumer.
    ///
    /// # Errors
    /// Gives the task back when the queue is full or closed.
    #[inline]
    pub fn push(&self, task: Task) -> Result<Pushed, Refused> {
        let tail = self.enqueue(Room::Bounded, task.into_parts())?;
        Ok(self.pushed_on(tail))
    }

    /// Queues a closure as a task: the same as pushing [`Task::new`] of it, but its captures are written straight into their
    /// slot, where the compiler sees them made.
    ///
    /// # Errors
    /// Gives it back as a task when the queue is full or closed.
    #[inline(always)]
    pub fn push_closure<F>(&self, f: F) -> Result<Pushed, Refused>
    where
        F: FnOnce() + Send + 'static,
    {
        let tail = if const { Task::holds_inline::<F>() } {
            self.enqueue(Room::Bounded, Parts::inline(f))?
        } else {
            self.enqueue(Room::Bounded, Parts::boxed(f))?
        };
        Ok(self.pushed_on(tail))
    }

    /// Queues a task whatever the capacity: one that must not be lost, and has its place behind those that wait.
    ///
    /// # Errors
    /// Gives the task back when the queue is closed.
    pub fn push_beyond(&self, task: Task) -> Result<Pushed, Task> {
        match self.enqueue(Room::Any, task.into_parts()) {
            Ok(tail) => Ok(self.pushed_on(tail)),
            Err(refused) => Err(refused.into_task()),
        }
    }

    /// Queues a task that is in no hurry: nobody is woken for it.
    ///
    /// A sleeping consumer takes it when it wakes for another reason, an awake one before it
    /// sleeps (rule 10).
    ///
    /// # Errors
    /// Gives the task back when the queue is full or closed.
    #[inline]
    pub fn push_lazy(&self, task: Task) -> Result<(), Refused> {
        self.enqueue(Room::Bounded, task.into_parts()).map(|_| ())
    }

    /// Asks for the consumer to be awake, without pushing. `true`: it sleeps, and the caller must wake
    /// it. `false`: it is awake, or somebody else was told to wake it.
    ///
    /// For state that is shared beside the queue (a stop flag): store it, then call this. A consumer
    /// that looks at it after each successful [`Consumer::prepare_sleep`] cannot miss it, because
    /// both change the tail.
    ///
    /// [`Consumer::prepare_sleep`]: super::Consumer::prepare_sleep
    #[cold]
    #[inline(never)]
    pub fn claim_wake(&self) -> bool {
        self.shared.tail.0.word.fetch_and(!SLEEPING, AcqRel) & SLEEPING != 0
    }

    /// Refuses all further pushes, also those of other producers. Tasks that were pushed stay.
    ///
    /// `MustWake` if the consumer sleeps; it cannot know otherwise.
    pub fn close(&self) -> Pushed {
        let before = self.shared.tail.0.word.fetch_or(CLOSED, AcqRel);
        if before & SLEEPING != 0 && self.claim_wake() {
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

    /// How many tasks wait, counting pushes under way; as of some moment during the call.
    #[must_use]
    pub fn len(&self) -> usize {
        // Head first: the tail is never behind a head that was seen before it.
        let head = self.shared.head.0.load(Acquire);
        self.shared.beyond(head)
    }

    /// Whether no task waits, as of some moment during the call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of tasks that may wait, if there is a limit.
    #[must_use]
    pub fn capacity(&self) -> Option<usize> {
        let capacity = self.shared.tail.0.capacity;
        (capacity != usize::MAX).then_some(capacity)
    }

    /// Whom a push that found the tail so has to wake (rule 9).
    #[inline(always)]
    fn pushed_on(&self, tail: usize) -> Pushed {
        if tail & SLEEPING != 0 && self.claim_wake() {
            return Pushed::MustWake;
        }
        Pushed::Awake
    }

    /// Reserves a slot and fills it (rule 1). Gives the tail as it was.
    ///
    /// With nothing to drop on any way out of here, and only one on which the whole of a task has to be in memory, the
    /// compiler builds it in its slot and not on the stack.
    #[inline(always)]
    fn enqueue<T: Send>(&self, room: Room, parts: Parts<T>) -> Result<usize, Refused> {
        let before = match self.reserve(room) {
            Ok(before) => before,
            Err(why) => return Err(why(parts.into_task())),
        };
        let base = before & !(SPAN - 1);
        // SAFETY: this push is under way with a position in that chunk; it fills the slot of that
        // position, once and last.
        unsafe {
            let tail = &self.shared.tail.0;
            let chunk = tail.chain.chunk(base, &tail.word);
            let nth = before / STEP;
            chunk.want_to_write(nth);
            chunk.slot(nth).fill(chunk.lap(), parts);
        }
        Ok(before)
    }

    /// Reserves a position; gives the tail as it was, or how the push is refused.
    #[inline(always)]
    fn reserve(&self, room: Room) -> Result<usize, fn(Task) -> Refused> {
        let tail = &self.shared.tail.0;
        if matches!(room, Room::Bounded) && tail.capacity != usize::MAX {
            return self.reserve_bounded();
        }
        let before = tail.word.fetch_add(STEP, AcqRel);
        if before & CLOSED != 0 {
            self.take_back();
            return Err(Refused::Closed);
        }
        Ok(before)
    }

    /// Undoes the addition of a refused push (rule 11).
    #[cold]
    #[inline(never)]
    fn take_back(&self) {
        self.shared.tail.0.word.fetch_sub(STEP, AcqRel);
    }

    /// Reserves a position if fewer tasks wait than the capacity; as [`reserve`](Self::reserve).
    #[inline(never)]
    fn reserve_bounded(&self) -> Result<usize, fn(Task) -> Refused> {
        let tail = &self.shared.tail.0;
        // Head first, so that the tail is not behind it.
        let mut head = tail.head_seen.load(Acquire);
        let mut word = tail.word.load(Acquire);
        loop {
            if word & CLOSED != 0 {
                return Err(Refused::Closed);
            }
            if (word & !FLAGS).wrapping_sub(head) / STEP >= tail.capacity {
                let now = self.shared.head.0.load(Acquire);
                if now == head {
                    return Err(Refused::Full);
                }
                head = now;
                tail.head_seen.store(head, Release);
                word = tail.word.load(Acquire);
                continue;
            }
            match tail
                .word
                .compare_exchange_weak(word, word.wrapping_add(STEP), AcqRel, Relaxed)
            {
                Ok(_) => return Ok(word),
                // Not the word that the exchange saw: the tail must be acquired after the head.
                Err(_) => word = tail.word.load(Acquire),
            }
        }
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("closed", &self.is_closed())
            .finish()
    }
}
