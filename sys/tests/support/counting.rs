//! A global allocator that counts, for tests which promise that something does not allocate.
//!
//! A test binary declares this file as a module and makes [`Counting`] its global allocator. It counts
//! for each thread by itself, because a test harness has threads of its own.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// The system's allocator, counted.
pub struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Runs something and says how often it allocated (or grew an allocation) on this thread.
pub fn allocations<R>(run: impl FnOnce() -> R) -> (u64, R) {
    let before = ALLOCATIONS.get();
    let result = run();
    (ALLOCATIONS.get() - before, result)
}

// SAFETY: every call goes to the system's allocator unchanged; the counter neither allocates nor has a
// destructor.
unsafe impl GlobalAlloc for Counting {
    // The caller promises what GlobalAlloc asks of it.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise about the layout is passed on.
        unsafe { System.alloc(layout) }
    }

    // The caller promises what GlobalAlloc asks of it.
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises about the block and the size are passed on.
        unsafe { System.realloc(at, layout, size) }
    }

    // The caller promises what GlobalAlloc asks of it.
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise about the block is passed on.
        unsafe { System.dealloc(at, layout) }
    }
}
