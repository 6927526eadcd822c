//! The futures that a loop drives: a slab, because a waker crosses threads and can carry a number but
//! not a future. The core owns it; `spawn` puts futures in and polls them.

use std::future::Future;
use std::pin::Pin;

/// A future of the loop; what it yields went into its promise.
pub(crate) type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

/// Names one future; of no use once that one is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FutureKey {
    slot: u32,
    generation: u32,
}

struct Slot {
    generation: u32,
    state: State,
}

enum State {
    Free,
    Waiting(LocalFuture),
    /// Taken out while it is polled, so that polling may spawn.
    Polled,
}

pub(crate) struct Futures {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Futures {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    /// A key for a future that is put in later by `put_back`.
    pub(crate) fn reserve(&mut self) -> FutureKey {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                state: State::Free,
            });
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 futures")
        });
        let place = &mut self.slots[slot as usize];
        place.state = State::Polled;
        FutureKey {
            slot,
            generation: place.generation,
        }
    }

    /// Takes a future out to poll it; `None` if it is gone or being polled.
    pub(crate) fn take(&mut self, key: FutureKey) -> Option<LocalFuture> {
        let place = self.place(key)?;
        match std::mem::replace(&mut place.state, State::Polled) {
            State::Waiting(future) => Some(future),
            other => {
                place.state = other;
                None
            }
        }
    }

    /// Puts a future back that is not done; it comes back if the slot was cleared meanwhile.
    pub(crate) fn put_back(&mut self, key: FutureKey, future: LocalFuture) -> Option<LocalFuture> {
        match self.place(key) {
            Some(place) => {
                place.state = State::Waiting(future);
                None
            }
            None => Some(future),
        }
    }

    /// Frees the slot of a future that is done.
    pub(crate) fn remove(&mut self, key: FutureKey) {
        if let Some(place) = self.place(key) {
            place.state = State::Free;
            place.generation = place.generation.wrapping_add(1);
            self.free.push(key.slot);
        }
    }

    /// Takes out all futures; their keys are of no use any more.
    pub(crate) fn clear(&mut self) -> Vec<LocalFuture> {
        let mut futures = Vec::new();
        for (index, place) in (0u32..).zip(&mut self.slots) {
            let state = std::mem::replace(&mut place.state, State::Free);
            if matches!(state, State::Free) {
                continue;
            }
            place.generation = place.generation.wrapping_add(1);
            self.free.push(index);
            if let State::Waiting(future) = state {
                futures.push(future);
            }
        }
        futures
    }

    fn place(&mut self, key: FutureKey) -> Option<&mut Slot> {
        let place = self.slots.get_mut(key.slot as usize)?;
        (place.generation == key.generation).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_die_with_their_future() {
        let mut futures = Futures::new();
        let key = futures.reserve();
        assert!(futures.take(key).is_none(), "being polled");
        assert!(futures.put_back(key, Box::pin(async {})).is_none());
        let future = futures.take(key).expect("waiting");
        futures.remove(key);
        assert!(futures.put_back(key, future).is_some());
        let again = futures.reserve();
        assert_ne!(again, key);
        assert!(futures.take(key).is_none());
        futures.put_back(again, Box::pin(async {}));
        assert_eq!(futures.clear().len(), 1);
        assert!(futures.take(again).is_none());
    }
}
