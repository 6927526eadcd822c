//! Who waits for a free descriptor: acceptors that ran out of them. When a channel of any loop closes
//! its own, all of them are told to try again.
//!
//! Closing is frequent and waiting is rare, so closing looks at one counter only.

use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use tidegate_sys::mem::Task;

use super::core::LoopCore;
use super::shared::EventLoop;
use crate::reactor::IoHandle;

/// Loops with handles that wait. Its length is in `WAITING`, to be read without the lock.
static LOOPS: Mutex<Vec<EventLoop>> = Mutex::new(Vec::new());
static WAITING: AtomicUsize = AtomicUsize::new(0);

// A simulated machine has descriptors of its own.
#[cfg(feature = "sim")]
thread_local! {
    static SIMULATED: std::cell::RefCell<Vec<EventLoop>> = const { std::cell::RefCell::new(Vec::new()) };
}

impl LoopCore {
    /// Calls the handle with `Continue` after the next descriptor of a channel was closed, on whatever
    /// loop. Only once, and maybe never: who waits also sets a timer.
    pub(crate) fn wait_for_fd(&self, handle: Rc<dyn IoHandle>) {
        let is_first = {
            let mut waiting = self.waits_for_fd.borrow_mut();
            // Its timer may have come before any descriptor was closed, again and again.
            if waiting.iter().any(|other| Rc::ptr_eq(other, &handle)) {
                return;
            }
            waiting.push(handle);
            waiting.len() == 1
        };
        if is_first {
            with_loops(|loops| loops.push(self.handle().clone()));
        }
    }

    /// To be called by who has closed a channel's descriptor.
    #[inline]
    pub(crate) fn fd_closed(&self) {
        if is_anybody_waiting() {
            tell_all();
        }
    }

    /// Nobody of this loop waits any more: it ends.
    pub(super) fn forget_fd_waiters(&self) -> Vec<Rc<dyn IoHandle>> {
        let waiting = std::mem::take(&mut *self.waits_for_fd.borrow_mut());
        if !waiting.is_empty() {
            with_loops(|loops| loops.retain(|event_loop| event_loop != self.handle()));
        }
        waiting
    }

    /// Those who wait here try again in the next I/O phase.
    fn retry_fd_waiters(&self) {
        let waiting = std::mem::take(&mut *self.waits_for_fd.borrow_mut());
        for handle in waiting {
            self.push_ready(handle);
        }
    }
}

#[inline]
fn is_anybody_waiting() -> bool {
    #[cfg(feature = "sim")]
    if tidegate_sys::os::sim::is_installed() {
        return SIMULATED.with_borrow(|loops| !loops.is_empty());
    }
    WAITING.load(Ordering::Acquire) > 0
}

fn with_loops<R>(edit: impl FnOnce(&mut Vec<EventLoop>) -> R) -> R {
    #[cfg(feature = "sim")]
    if tidegate_sys::os::sim::is_installed() {
        return SIMULATED.with_borrow_mut(edit);
    }
    let mut loops = LOOPS.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = edit(&mut loops);
    WAITING.store(loops.len(), Ordering::Release);
    answer
}

#[cold]
fn tell_all() {
    let loops = with_loops(std::mem::take);
    for event_loop in loops {
        let retry = || {
            LoopCore::with_current(|core| core.retry_fd_waiters());
        };
        if LoopCore::with_if_current(event_loop.id(), |core| core.retry_fd_waiters()).is_none() {
            // Refused only when the loop has ended.
            let _gone = event_loop.shared().push_insistent(Task::new(retry));
        }
    }
}
