//! The queue's storage: a chunk of slots, each one cache line that holds one task.
//!
//! Only the queue uses it. A slot knows whether it is full for its chunk's current lap; who may
//! write or read a slot, and when a chunk may be used again, are rules of the queue.
//!
//! Unsafe here promises: a payload is read only after the code word that was stored behind it.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::sync::{AtomicPtr, AtomicUsize, UnsafeCell};
use crate::mem::task::{Payload, Task, Vtable};

/// Slots in a chunk. A power of two.
#[cfg(not(all(loom, test)))]
pub(super) const SLOTS: usize = 128;
#[cfg(all(loom, test))]
pub(super) const SLOTS: usize = 2;

/// The bit of a slot's code word that tells the lap in which it was written.
const LAP: usize = 1;

// A vtable's address must leave the lap bit free.
const _: () = assert!(align_of::<Vtable>() > LAP);

/// Storage for one task.
///
/// | word | meaning |
/// |---|---|
/// | 0 | address of the task's vtable, bit 0 = lap; zero in a new chunk |
/// | 1..=7 | the task's payload, valid when bit 0 of word 0 equals the chunk's lap |
#[repr(C, align(64))]
pub(super) struct Slot {
    code: AtomicPtr<Vtable>,
    payload: UnsafeCell<MaybeUninit<Payload>>,
}

#[cfg(not(all(loom, test)))]
const _: () = assert!(size_of::<Slot>() == 64);

impl Slot {
    /// Fills the slot.
    ///
    /// # Safety
    /// The caller has reserved this slot for `lap` (rule 2), and fills it once.
    #[inline]
    pub(super) unsafe fn fill(&self, lap: usize, task: Task) {
        let (vtable, payload) = task.into_parts();
        // SAFETY: the slot is the caller's alone until the code word below is stored.
        self.payload.with_mut(|p| unsafe {
            (*p).write(payload);
        });
        let code = ptr::from_ref(vtable).cast_mut();
        self.code.store(code.map_addr(|a| a | lap), Release);
    }

    /// Takes the task out, if it is there.
    ///
    /// # Safety
    /// The caller is the consumer, and takes from this slot once per lap.
    #[inline]
    pub(super) unsafe fn take(&self, lap: usize) -> Option<Task> {
        let code = self.code.load(Acquire);
        if code.is_null() || code.addr() & LAP != lap {
            return None;
        }
        // SAFETY: the code word of this lap was stored after the payload (release above), from
        // the address of a `&'static Vtable`; nobody writes the slot before the next lap.
        unsafe {
            let payload = self.payload.with(|p| (*p).assume_init_read());
            let vtable = &*code.map_addr(|a| a & !LAP);
            Some(Task::from_parts(vtable, payload))
        }
    }
}

/// A run of slots, linked to the next one.
#[repr(C, align(64))]
pub(super) struct Chunk {
    /// Position of the first slot, in units of the tail word.
    pub(super) base: AtomicUsize,
    /// 0 or 1; changes each time the chunk is used again, so that old code words read as empty.
    pub(super) lap: AtomicUsize,
    /// The chunk before this one; followed only by a producer whose slot is there or farther on.
    pub(super) prev: AtomicPtr<Chunk>,
    /// The chunk behind this one, once there is one.
    pub(super) next: AtomicPtr<Chunk>,
    /// 0, or the tail at a moment when no new producer could find this chunk any more (rule 4).
    pub(super) passed: AtomicUsize,
    slots: [Slot; SLOTS],
}

impl Chunk {
    /// A new chunk in its first lap.
    pub(super) fn allocate() -> *mut Self {
        let mut chunk = Box::<Self>::new_uninit();
        let p = chunk.as_mut_ptr();
        // SAFETY: every field of the box is written through its own pointer before it counts as
        // initialised.
        unsafe {
            (&raw mut (*p).base).write(AtomicUsize::new(0));
            (&raw mut (*p).lap).write(AtomicUsize::new(1));
            (&raw mut (*p).prev).write(AtomicPtr::new(ptr::null_mut()));
            (&raw mut (*p).next).write(AtomicPtr::new(ptr::null_mut()));
            (&raw mut (*p).passed).write(AtomicUsize::new(0));
            let slots = (&raw mut (*p).slots).cast::<Slot>();
            for i in 0..SLOTS {
                let slot = slots.add(i);
                (&raw mut (*slot).code).write(AtomicPtr::new(ptr::null_mut()));
                (&raw mut (*slot).payload).write(UnsafeCell::new(MaybeUninit::uninit()));
            }
            Box::into_raw(chunk.assume_init())
        }
    }

    /// Frees a chunk; tasks in its slots are not dropped.
    ///
    /// # Safety
    /// `chunk` comes from [`Chunk::allocate`] and nobody can reach it any more.
    pub(super) unsafe fn free(chunk: *mut Self) {
        // SAFETY: it was a box (caller), and this is its last use.
        drop(unsafe { Box::from_raw(chunk) });
    }

    /// Makes a consumed chunk ready for other tasks.
    pub(super) fn next_lap(&self) {
        self.lap.store(self.lap.load(Relaxed) ^ LAP, Relaxed);
    }

    #[inline]
    pub(super) fn slot(&self, index: usize) -> &Slot {
        &self.slots[index & (SLOTS - 1)]
    }
}
