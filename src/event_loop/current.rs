//! Which loop the running code belongs to. "On its loop" means inside that loop's turn: several loops
//! may share a thread turn by turn, so the thread says nothing; a thread-local mark set for each turn
//! does.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::core::LoopCore;
use super::shared::LoopId;
use super::sync::thread_local;

thread_local! {
    /// The id beside the core: comparing it is all that most callers need, and costs one load.
    static CURRENT_ID: Cell<u64> = const { Cell::new(0) };
    static CURRENT: RefCell<Option<Rc<LoopCore>>> = const { RefCell::new(None) };
}

/// Whether the caller runs inside a turn of this loop.
#[inline]
pub(crate) fn is_current(id: LoopId) -> bool {
    // A thread that is being torn down runs no turn.
    CURRENT_ID
        .try_with(|current| current.get() == id.as_u64())
        .unwrap_or(false)
}

impl LoopCore {
    /// The loop whose turn this is.
    pub(crate) fn current() -> Option<Rc<LoopCore>> {
        CURRENT
            .try_with(|current| current.borrow().clone())
            .ok()
            .flatten()
    }

    /// Runs `f` with the loop whose turn this is; `None` outside of turns.
    #[inline]
    pub(crate) fn with_current<R>(f: impl FnOnce(&Rc<LoopCore>) -> R) -> Option<R> {
        // The reference leaves the cell before `f` runs, which may enter another loop.
        Self::current().map(|core| f(&core))
    }

    /// Runs `f` with the loop `id` if this is its turn.
    #[inline]
    pub(crate) fn with_if_current<R>(id: LoopId, f: impl FnOnce(&Rc<LoopCore>) -> R) -> Option<R> {
        if is_current(id) {
            Self::with_current(f)
        } else {
            None
        }
    }

    /// Makes this loop the current one until the guard is dropped, which restores the one before.
    pub(crate) fn enter(self: &Rc<Self>) -> Entered {
        let id = CURRENT_ID.with(|current| current.replace(self.id().as_u64()));
        // A local loop may be dropped by a thread that is being torn down, and its cell be gone.
        let this = Rc::clone(self);
        let core = CURRENT
            .try_with(|current| current.replace(Some(this)))
            .ok()
            .flatten();
        Entered { id, core }
    }
}

/// The turn of a loop, as far as the thread is concerned.
#[must_use = "the loop is current for as long as this lives"]
pub(crate) struct Entered {
    id: u64,
    core: Option<Rc<LoopCore>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT_ID.with(|current| current.set(self.id));
        let before = self.core.take();
        let left = CURRENT.try_with(|current| current.replace(before));
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::super::core::ManualClock;
    use super::*;

    #[test]
    fn turns_nest_and_restore() {
        let (one, two) = (
            LoopCore::embedded(ManualClock::default()),
            LoopCore::embedded(ManualClock::default()),
        );
        assert!(LoopCore::current().is_none());
        {
            let _one = one.enter();
            assert!(is_current(one.id()) && !is_current(two.id()));
            {
                let _two = two.enter();
                assert!(is_current(two.id()) && !is_current(one.id()));
                assert_eq!(LoopCore::with_current(|core| core.id()), Some(two.id()));
                assert_eq!(LoopCore::with_if_current(one.id(), |_| ()), None);
            }
            assert!(is_current(one.id()));
        }
        assert!(!is_current(one.id()) && LoopCore::current().is_none());
    }
}
