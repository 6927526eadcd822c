//! The queue's storage: a chunk of slots, each one cache line that holds one task.
//!
//! Only the queue uses it. A slot knows whether it is filled in its chunk's lap; who may fill or take
//! it, and when a chunk may be used again, are rules of the queue's page.
//!
//! Unsafe here promises: a payload is read only after the code word that was stored behind it.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::sync::{AtomicPtr, PlainPtr, PlainUsize, UnsafeCell};
use crate::mem::task::{Parts, Payload, Vtable};

/// Slots in a chunk. A power of two.
#[cfg(not(loom))]
pub(super) const SLOTS: usize = 256;
#[cfg(loom)]
pub(super) const SLOTS: usize = 2;

/// Consecutive positions are this many lines apart (odd, modulo SLOTS).
///
/// A consumer that has caught up reads the slot that is filled next. With neighbouring slots its
/// core's prefetchers see a stream and fetch the lines behind it too, away from the producer that is
/// about to write them. 109 gives steps that are neither small nor all in one direction, and puts
/// neighbouring lines 101 positions apart. Figures are on the queue's page.
const STRIDE: usize = 109;

/// How far in front of the slot that it fills a push asks for a line to write.
const WRITE_AHEAD: usize = 16;

/// How far in front of the slot that it takes the consumer asks for a line to read.
pub(super) const READ_AHEAD: usize = 8;

/// The bit of a slot's code word that tells the lap in which it was filled.
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
    code: PlainPtr<Vtable>,
    payload: UnsafeCell<MaybeUninit<Payload>>,
}

// One line per task is what the cost of a push was counted in.
#[cfg(not(loom))]
const _: () = assert!(size_of::<Slot>() == 64);

impl Slot {
    /// Fills the slot.
    ///
    /// # Safety
    /// The slot's position is reserved by the caller, and this is the one time that it fills it
    /// (rule 1).
    #[inline]
    pub(super) unsafe fn fill<T: Send>(&self, lap: usize, parts: Parts<T>) {
        let vtable = self.payload.with_mut(|p| {
            // SAFETY: the slot's own payload; nobody reads it until the code word below is stored (rule 2).
            unsafe { parts.write(p.cast::<Payload>()) }
        });
        let code = ptr::from_ref(vtable).cast_mut();
        self.code.store(code.map_addr(|a| a | lap), Release);
    }

    /// The task's code and its payload, if the slot is filled. Together they are one task, however often they are read.
    ///
    /// # Safety
    /// The caller is the consumer, and has not given the slot's chunk back in this lap.
    #[inline(always)]
    pub(super) unsafe fn read(&self, lap: usize) -> Option<(&'static Vtable, Payload)> {
        let code = self.code.load(Acquire);
        if code.is_null() || code.addr() & LAP != lap {
            return None;
        }
        // SAFETY: with this lap's code word the payload is there (rules 1 and 7), and nobody writes
        // it before the next lap.
        let payload = self.payload.with(|p| unsafe { (*p).assume_init_read() });
        // SAFETY: without the lap the code word is the address of a `&'static Vtable`, stored beside its payload.
        Some((unsafe { &*code.map_addr(|a| a & !LAP) }, payload))
    }

    /// Whether the slot is filled.
    #[inline]
    pub(super) fn is_filled(&self, lap: usize) -> bool {
        let code = self.code.load(Relaxed);
        !code.is_null() && code.addr() & LAP == lap
    }
}

/// A run of slots, linked to its neighbours.
#[repr(C, align(64))]
pub(super) struct Chunk {
    /// The position of the first slot.
    base: PlainUsize,
    /// 0 or 1 (rule 7).
    lap: PlainUsize,
    /// The chunk in front of this one; followed only by a push whose slot is there (rule 5).
    pub(super) prev: PlainPtr<Chunk>,
    /// The chunk behind this one, once it is linked.
    pub(super) next: AtomicPtr<Chunk>,
    /// 0, or a position with a mark, once the hint has moved on (rule 6).
    pub(super) passed: PlainUsize,
    /// Lets loom check rules 4 and 6: pushes read it, giving back writes it.
    #[cfg(loom)]
    alive: UnsafeCell<()>,
    slots: [Slot; SLOTS],
}

impl Chunk {
    /// A new chunk in its first lap.
    pub(super) fn allocate() -> *mut Self {
        let mut chunk = Box::<Self>::new_uninit();
        let p = chunk.as_mut_ptr();
        // SAFETY: each field is written through a pointer into the box before it counts as
        // initialised. Not by value: that would build 8 KiB on the stack first.
        unsafe {
            (&raw mut (*p).base).write(PlainUsize::new(0));
            (&raw mut (*p).lap).write(PlainUsize::new(1));
            (&raw mut (*p).prev).write(PlainPtr::new(ptr::null_mut()));
            (&raw mut (*p).next).write(AtomicPtr::new(ptr::null_mut()));
            (&raw mut (*p).passed).write(PlainUsize::new(0));
            #[cfg(loom)]
            (&raw mut (*p).alive).write(UnsafeCell::new(()));
            let slots = (&raw mut (*p).slots).cast::<Slot>();
            for i in 0..SLOTS {
                let slot = slots.add(i);
                (&raw mut (*slot).code).write(PlainPtr::new(ptr::null_mut()));
                (&raw mut (*slot).payload).write(UnsafeCell::new(MaybeUninit::uninit()));
            }
            Box::into_raw(chunk.assume_init())
        }
    }

    /// Frees a chunk. Tasks in its slots are not dropped.
    ///
    /// # Safety
    /// `chunk` comes from [`Chunk::allocate`], and nobody else can reach it any more.
    pub(super) unsafe fn free(chunk: *mut Self) {
        // SAFETY: it was a box, and this is its last use.
        drop(unsafe { Box::from_raw(chunk) });
    }

    /// Makes a chunk that nobody can reach ready to be linked behind `prev`.
    pub(super) fn prepare(&self, base: usize, prev: *mut Self) {
        self.base.store(base, Relaxed);
        self.prev.store(prev, Relaxed);
        self.next.store(ptr::null_mut(), Relaxed);
        self.passed.store(0, Relaxed);
        for nth in 0..WRITE_AHEAD {
            prefetch_write(self.slot(nth));
        }
    }

    /// Ends the lap of a chunk that is consumed and that nobody can reach.
    pub(super) fn end_lap(&self) {
        #[cfg(loom)]
        self.alive.with_mut(|_| ());
        self.lap.store(self.lap() ^ LAP, Relaxed);
    }

    /// Position of the first slot.
    #[inline]
    pub(super) fn base(&self) -> usize {
        #[cfg(loom)]
        self.alive.with(|_| ());
        self.base.load(Relaxed)
    }

    /// The lap that the chunk is in.
    #[inline]
    pub(super) fn lap(&self) -> usize {
        self.lap.load(Relaxed)
    }

    /// The slot of the `nth` position, counted from any chunk's first one.
    #[inline]
    pub(super) fn slot(&self, nth: usize) -> &Slot {
        &self.slots[nth.wrapping_mul(STRIDE) % SLOTS]
    }

    /// Asks for the line that a push some way behind the `nth` position will write.
    ///
    /// The next push waits in its read-modify-write until this one's stores are done, so a line that
    /// has to come from the consumer's core would cost each push the whole way: 100 to 150 ns instead
    /// of 20.
    #[inline]
    pub(super) fn want_to_write(&self, nth: usize) {
        let nth = nth % SLOTS + WRITE_AHEAD;
        if nth < SLOTS {
            prefetch_write(self.slot(nth));
        }
    }

    /// Asks for the line that the consumer takes some way behind the `nth` position. Not to be
    /// asked for before it is filled: it would be taken away from the push.
    #[inline]
    pub(super) fn want_to_read(&self, nth: usize) {
        prefetch_read(self.slot(nth + READ_AHEAD));
    }
}

/// Asks for a cache line that will be written.
#[inline]
fn prefetch_write(line: *const Slot) {
    // As assembly, because the intrinsic for it becomes a read prefetch unless the whole program is
    // compiled for processors that have it; those that have not take the instruction for a no-op.
    #[cfg(all(target_arch = "x86_64", not(any(miri, loom))))]
    // SAFETY: a prefetch neither faults nor changes memory, registers or flags.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) line,
            options(nostack, preserves_flags, readonly));
    }
    #[cfg(all(target_arch = "aarch64", not(any(miri, loom))))]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{}]", in(reg) line,
            options(nostack, preserves_flags, readonly));
    }
    let _ = line;
}

/// Asks for a cache line that will be read.
#[inline]
fn prefetch_read(line: *const Slot) {
    #[cfg(all(target_arch = "x86_64", not(any(miri, loom))))]
    // SAFETY: a prefetch neither faults nor changes memory, registers or flags.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(line.cast());
    }
    #[cfg(all(target_arch = "aarch64", not(any(miri, loom))))]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) line,
            options(nostack, preserves_flags, readonly));
    }
    let _ = line;
}
