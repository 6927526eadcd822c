//! The queue that carries [`Task`]s from any thread to one loop.
//!
//! Many [`Producer`]s, one [`Consumer`], first in first out. The loop owns the consumer, every handle
//! to the loop has a producer. The queue wakes nobody itself: a push says whether its caller must.
//!
//! - `mod.rs`: the protocol, the shared words, construction.
//! - `producer.rs`, `consumer.rs`: the two ends.
//! - `chain.rs`: linking chunks, finding them, using them again.
//! - `chunk.rs`: a chunk of slots, the storage of one task.
//! - `word.rs`: the bits of the tail. `sync.rs`: std's atomics or loom's. `model.rs` (loom) and `tests.rs`: the tests.
//!
//! # Protocol
//!
//! Everything turns on one word, the *tail*:
//!
//! | bits | name | meaning |
//! |---|---|---|
//! | 2.. | position | slots handed out so far, wrapping |
//! | 1 | CLOSED | pushes are refused, for good |
//! | 0 | SLEEPING | the consumer sleeps, and nobody has been told to wake it |
//!
//! It changes by read-modify-write only, all of them acquire and release, so its changes have one
//! order that all threads agree on, and each sees what was done before the ones in front of it.
//! The *head* is the consumer's own position; others only read it.
//!
//! **Tasks**
//!
//! 1. A push adds one position to the tail. The slot of that position is this push's alone: it
//!    stores the task's payload, then the slot's code word (release). It then counts as *filled*;
//!    before, the push is *under way*.
//! 2. The consumer takes slots in the order of their positions and never passes one that is not
//!    filled; it reads the code word (acquire), then the payload. Hence tasks of one producer
//!    keep their order, and so do tasks of two producers if one push returned before the other began.
//! 3. Between reserving and filling nothing runs that a user wrote and nothing fails (running out of
//!    memory aborts the process). A thread may be preempted there; the consumer then waits,
//!    but never sleeps (rule 8).
//!
//! **Chunks**
//!
//! 4. A push that is under way keeps its chunk and all chunks behind it: the consumer gives back
//!    only what it has passed.
//! 5. A push looks for its chunk from `tail.chunk`, a hint, which it reads after reserving. The hint
//!    moves forward by one link at a time, by compare-and-swap, and only pushes under way move
//!    it. It may lag (follow `next`, link chunks that are missing, move the hint along) or be ahead
//!    (others went on: follow `prev`; rule 4 keeps all chunks on the way).
//! 6. Who moves the hint past a chunk reads the tail afterwards, by a read-modify-write, and stores the
//!    position it got in the chunk as `passed`. A push that can still reach the chunk has reserved a
//!    position below `passed`: it read the hint before it moved; if its reservation came after our
//!    reading of the tail, it would have acquired the moved hint with it. So the consumer gives a chunk
//!    back once it is consumed and `passed <= head`: all such pushes are filled then, and filling is
//!    the last thing that a push does with chunks.
//! 7. A chunk that is used again is not cleaned. The code words of its slots carry the chunk's lap (0
//!    or 1) in bit 0, every slot is filled once per lap, and the lap changes when the chunk is given
//!    back: a code word with the other lap reads as empty.
//!
//! **Sleep**
//!
//! 8. [`Consumer::prepare_sleep`] is one compare-and-swap from *no position beyond the head* to the same
//!    with SLEEPING. Looking for work and announcing the sleep are thus one step: a push either comes
//!    before it in the order of the tail, and the sleep is refused, or after it, and the push
//!    sees SLEEPING in the value that its own addition returns. No fence is needed, and an awake
//!    consumer costs a push the test of one bit in a register.
//! 9. A push that saw SLEEPING clears it after filling its slot; who finds it still set is told
//!    [`Pushed::MustWake`], everybody else [`Pushed::Awake`]. So one caller per sleep is told. The wake-up
//!    itself must stick (an eventfd, an unpark token), because it may come before the consumer blocks.
//! 10. [`Producer::push_lazy`] leaves SLEEPING alone: its task waits until the consumer wakes for
//!     another reason, but no later sleep begins before it was taken (rule 8).
//!
//! **Close**
//!
//! 11. Closing sets CLOSED. A push whose addition returns CLOSED is refused and takes its position
//!     back (one that the capacity binds looks before it adds). All others came first in the order of the tail and are
//!     taken by the final drain. So a push is either refused or its task is taken; when the queue
//!     is closed and the tail's position equals the head, nothing is left and nothing comes. A
//!     refused push may show as one position too many for a moment, which only delays that.
//! 12. Dropping the consumer closes the queue, drops the tasks left by rule 11, then frees all chunks:
//!     no push is under way, and later ones are refused before they look at a chunk.
//!
//! A full bounded queue is found by comparing tail and head, before anything is reserved. [`Producer::push_beyond`] does not
//! compare; the queue is full then until it has shrunk below its capacity.
//!
//! # Memory
//!
//! Nothing is allocated before the first push. A chunk is 16 KiB. Up to six consumed chunks are kept
//! for use, so a busy queue allocates nothing; each sleep gives up half of the spare ones,
//! down to one. An idle queue thus holds two.
//!
//! # Speed
//!
//! A push is one uncontended read-modify-write, the stores of the task straight into its slot, and a
//! prefetch; a pop is one copy of a line and a store. What counts beyond that is who owns which
//! cache line when: a line from the other core costs 80 to 150 ns, and because each push's addition waits
//! for the stores of the one before, a producer that has to fetch its slots cannot overlap them.
//!
//! Measured by `make queue` at real-time priority on two virtual processors (Xeon, Sapphire Rapids, 2.0 GHz), so that nothing else runs on
//! them; the closure captures an `Arc` and two words; million tasks per second (on a quieter day 57, 5.7 and 53 in the second column, and
//! the others as much faster):
//!
//! | | ours | ours, the task made before | SegQueue of `Task` | SegQueue, boxed | std mpsc, boxed |
//! |---|--:|--:|--:|--:|--:|
//! | one producer, `Arc` moved in | 35 | 33 | 13 | 3.0 | 3.0 |
//! | one producer, one `Arc` cloned for each task | 8.0 | 6.1 | 3.0 | 2.6 | 2.4 |
//! | two producers on one processor, `Arc` moved in | 34 | 33 | 11 | 6.5 | 4.4 |
//! | round trip of two polling threads, ns | 536 | 534 | 883 | 1109 | 1114 |
//!
//! On two of an EPYC, without the priority:
//!
//! | | ours | ours, the task made before | SegQueue of `Task` | SegQueue, boxed | std mpsc, boxed |
//! |---|--:|--:|--:|--:|--:|
//! | one producer, `Arc` moved in | 65 | 60 | 13 | 7.0 | 6.7 |
//! | one producer, one `Arc` cloned for each task | 8.8 | 7.5 | 11 | 5.8 | 5.6 |
//! | two producers on one processor, `Arc` moved in | 40 | 37 | 22 | 12 | 6.0 |
//! | round trip of two polling threads, ns | 415 | 410 | 768 | 829 | 820 |
//!
//! Its second row is the one in which another queue is ahead. The consumer there only polls, and keeps step with the producer; an
//! event loop, which does more between two looks, took 22 to 34 million such tasks a second (`make bench BENCH=tasks`).
//!
//! A push is shorter where the task is made in its slot ([`Producer::push_closure`]): a loop that also has to run the tasks took
//! 34 million a second instead of 29, in turns. And its run is shorter where the task never is a value of its own
//! ([`Consumer::run_next`]): 29 to 30 million instead of 27 to 29, in turns, on a slower day.
//!
//! In both tables the second row is the price of a reference count that two cores change in turns, whatever the queue.
//!
//! Tried and lost; ours is 1.00 with a consumer that only polls, then with one that makes a system call
//! whenever it finds nothing:
//!
//! - No prefetch by the push: 0.18, 0.17.
//! - Slots in the order of their positions: 0.42, 0.60. There are two stable states, 50 M/s far apart and
//!   10 M/s in lockstep, where the consumer's prefetchers take each line just before it is written. (A consumer
//!   that stays behind gains by the order: 1.24. It never stays there for long.)
//! - Strides that put neighbouring lines 3 to 13 positions apart: 1.0 where tasks share what they touch, 0.5
//!   where each has an `Arc` of its own.
//! - The consumer prefetching lines that may not be filled: 0.3, at any distance.
//! - The consumer looking at the tail when it has caught up, to work in rounds: 0.1 to 0.3. The tail's line
//!   is worse to lose than a slot's. Every 128 positions: 0.83. Once per chunk is what we do.
//! - The last pushes of a chunk prefetching the next chunk's lines: 0.64.
//! - Chunks of 128 slots: 0.93. Of 512: the same as 256.
//! - Keeping the task whole until the push can no longer fail, or writing its captures in one block: the compiler then builds it
//!   on the stack, two words are stored one by one and loaded as a pair, and each load waits until both stores are done. A
//!   call that may panic before the captures are moved is enough to keep them on the stack.

mod chain;
mod chunk;
mod consumer;
#[cfg(all(test, loom))]
mod model;
mod producer;
mod sync;
#[cfg(all(test, not(loom)))]
mod tests;
mod word;

use std::sync::atomic::Ordering::Acquire;

pub use self::consumer::Consumer;
pub use self::producer::{Producer, Pushed, Refused};

use self::chain::Chain;
use self::sync::{Arc, AtomicUsize, PlainUsize};
use self::word::{FLAGS, Line, STEP};
#[cfg(doc)]
use super::task::Task;

/// Creates a queue.
///
/// With a capacity (in tasks; 0 counts as 1) a push is refused while that many tasks wait, or more ([`Producer::push_beyond`]). Without
/// one the queue grows as long as there is memory.
#[must_use]
pub fn new(capacity: Option<usize>) -> (Producer, Consumer) {
    let shared = Arc::new(Shared {
        tail: Line(Tail {
            word: AtomicUsize::new(0),
            chain: Chain::new(),
            head_seen: AtomicUsize::new(0),
            capacity: capacity.map_or(usize::MAX, |n| n.clamp(1, usize::MAX / STEP / 2)),
        }),
        head: Line(PlainUsize::new(0)),
    });
    (Producer::new(Arc::clone(&shared)), Consumer::new(shared))
}

/// What both ends share.
struct Shared {
    tail: Line<Tail>,
    /// The position that the consumer takes next; it alone stores it.
    head: Line<PlainUsize>,
}

/// What every push touches, together.
struct Tail {
    word: AtomicUsize,
    chain: Chain,
    /// A head of the past, so that a bounded push rarely looks at the consumer's line.
    head_seen: AtomicUsize,
    /// In tasks; `usize::MAX` when unbounded.
    capacity: usize,
}

impl Shared {
    /// Tasks between the given head and the tail.
    #[inline]
    fn beyond(&self, head: usize) -> usize {
        let tail = self.tail.0.word.load(Acquire) & !FLAGS;
        tail.wrapping_sub(head) / STEP
    }
}
