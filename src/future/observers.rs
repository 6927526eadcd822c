//! Who waits for a promise: listeners, keys, wakers and blocked threads.
//!
//! All of it lives behind the one lock of `Inner`, which is never held while foreign code runs.

use std::mem;
use std::sync::Arc;
use std::task::Waker;

use tidegate_sys::mem::Task;

use super::host::KeyTarget;
use crate::error::Error;

/// What a promise keeps only when somebody looks at it, or when it failed.
#[derive(Default)]
pub(super) struct Slow {
    /// Set, once, by the call that fails the promise, before it gives the lock back.
    pub(super) failure: Option<Error>,
    pub(super) listeners: Few<Listener>,
    pub(super) wakers: Few<(u32, Waker)>,
    /// Threads inside `Inner::wait`.
    pub(super) waiting: u32,
    /// Somebody hands listeners over; nobody else may, or their order would be lost (rule 4).
    pub(super) notifying: bool,
    last_waker: u32,
}

impl Slow {
    /// Forgets a failure. The rest is empty: everybody was told, and nobody else is there.
    pub(super) fn reset(&mut self) {
        debug_assert!(self.listeners.is_empty() && self.wakers.is_empty());
        debug_assert!(self.waiting == 0 && !self.notifying);
        self.failure = None;
        self.last_waker = 0;
    }

    /// Registers `waker` under `key`, which is 0 for a future that was never polled. A future that is
    /// polled again replaces its waker, so that a promise never holds more wakers than futures. The
    /// waker that is not needed comes back, to be dropped without the lock.
    pub(super) fn register(&mut self, key: &mut u32, waker: Waker) -> Option<Waker> {
        if let Some((_, old)) = self.wakers.find(|(other, _)| other == key) {
            return Some(mem::replace(old, waker));
        }
        self.last_waker = self.last_waker.wrapping_add(1).max(1);
        *key = self.last_waker;
        self.wakers.push((*key, waker));
        None
    }

    /// Forgets the waker of a future that is dropped before the promise is done.
    pub(super) fn unregister(&mut self, key: u32) -> Option<Waker> {
        let (_, waker) = self.wakers.remove(|(other, _)| *other == key)?;
        Some(waker)
    }
}

/// One registered listener.
pub(super) enum Listener {
    /// A closure; it fetches the result itself.
    Call(Task),
    /// A key to be brought back to its target.
    Key {
        target: Arc<dyn KeyTarget>,
        node: u64,
        key: u64,
    },
}

impl Listener {
    /// The job for the host. Six words, so it stays inside the task.
    pub(super) fn into_job(self, result: &Result<(), Error>) -> Task {
        match self {
            Listener::Call(task) => task,
            Listener::Key { target, node, key } => {
                let result = result.clone();
                Task::new(move || target.key_done(node, key, result))
            }
        }
    }
}

/// A list that holds its first element itself: nearly every promise has none or one of a kind.
#[derive(Default)]
pub(super) enum Few<X> {
    #[default]
    None,
    One(X),
    Many(Vec<X>),
}

impl<X> Few<X> {
    pub(super) fn push(&mut self, item: X) {
        match self {
            Few::None => *self = Few::One(item),
            Few::Many(items) => items.push(item),
            Few::One(_) => {
                if let Few::One(first) = mem::take(self) {
                    *self = Few::Many(vec![first, item]);
                }
            }
        }
    }

    pub(super) fn take(&mut self) -> Self {
        mem::take(self)
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Few::None => true,
            Few::One(_) => false,
            Few::Many(items) => items.is_empty(),
        }
    }

    pub(super) fn for_each(self, mut f: impl FnMut(X)) {
        match self {
            Few::None => {}
            Few::One(item) => f(item),
            Few::Many(items) => items.into_iter().for_each(f),
        }
    }

    fn find(&mut self, mut is: impl FnMut(&X) -> bool) -> Option<&mut X> {
        match self {
            Few::None => None,
            Few::One(item) => is(item).then_some(item),
            Few::Many(items) => items.iter_mut().find(|item| is(item)),
        }
    }

    fn remove(&mut self, mut is: impl FnMut(&X) -> bool) -> Option<X> {
        match self {
            Few::None => None,
            Few::One(item) => {
                if !is(item) {
                    return None;
                }
                match mem::take(self) {
                    Few::One(item) => Some(item),
                    _ => None,
                }
            }
            Few::Many(items) => {
                let at = items.iter().position(is)?;
                Some(items.swap_remove(at))
            }
        }
    }
}
