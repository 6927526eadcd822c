//! The table behind the tokens: which handle a slot names, and which generation of it.
//!
//! Pure bookkeeping for the reactor, which alone calls it: no kernel, no callbacks. After warm-up a
//! registration takes no allocation.
//!
//! A slot that is freed is not used again before the next wait. So an event whose token does not match
//! can be told apart: if its slot was freed since this wait began, the event was merely in the same
//! batch (stale); else the registration was gone before the kernel was asked, and the kernel should
//! have known (a ghost: a duplicate of the descriptor keeps the old registration alive).

use std::os::fd::RawFd;
use std::rc::Rc;

use tidegate_sys::os::{Interest, Token};

use super::handle::IoHandle;

/// A live registration.
pub(crate) struct Registration {
    pub(crate) handle: Rc<dyn IoHandle>,
    pub(crate) fd: RawFd,
    pub(crate) interest: Interest,
}

struct Slot {
    generation: u32,
    /// The wait during whose dispatch the slot was last freed, without its upper half: an event that comes 2^32 waits too
    /// late is counted as stale, not as a ghost.
    freed_in: u32,
    live: Option<Registration>,
}

const _: () = assert!(
    size_of::<Slot>() == 32,
    "one per connection, and up to two while the table grows"
);

/// Whom an event is for.
pub(crate) enum Lookup {
    Live(Rc<dyn IoHandle>),
    /// The registration ended after the wait had begun.
    Stale,
    /// The registration had ended before the wait began.
    Ghost,
}

pub(crate) struct Registry {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Freed since the wait began; they join `free` when the next one does.
    freed: Vec<u32>,
    wait: u32,
    live: usize,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            freed: Vec::new(),
            wait: 1,
            live: 0,
        }
    }

    /// A wait begins: what was freed before it may be used again.
    #[inline]
    pub(crate) fn begin_wait(&mut self) {
        self.wait = self.wait.wrapping_add(1);
        if !self.freed.is_empty() {
            self.reuse();
        }
    }

    #[inline(never)]
    fn reuse(&mut self) {
        self.free.append(&mut self.freed);
    }

    pub(crate) fn insert(&mut self, registration: Registration) -> Token {
        self.live += 1;
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.live = Some(registration);
            return Token::new(index, slot.generation);
        }
        let index = u32::try_from(self.slots.len()).expect("fewer than 2^32 descriptors");
        self.slots.push(Slot {
            generation: 0,
            freed_in: 0,
            live: Some(registration),
        });
        Token::new(index, 0)
    }

    /// Ends a registration; `None` if it has ended before.
    pub(crate) fn remove(&mut self, token: Token) -> Option<Registration> {
        let wait = self.wait;
        let slot = self.slot_mut(token)?;
        let registration = slot.live.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        slot.freed_in = wait;
        self.freed.push(token.slot());
        self.live -= 1;
        Some(registration)
    }

    pub(crate) fn get_mut(&mut self, token: Token) -> Option<&mut Registration> {
        self.slot_mut(token)?.live.as_mut()
    }

    /// The handle that a token means, for a look ahead.
    #[inline]
    pub(crate) fn peek(&self, token: Token) -> Option<&dyn IoHandle> {
        let slot = self.slots.get(token.slot() as usize)?;
        slot.live.as_ref().map(|registration| &*registration.handle)
    }

    #[inline]
    pub(crate) fn look_up(&self, token: Token) -> Lookup {
        let Some(slot) = self.slots.get(token.slot() as usize) else {
            return Lookup::Ghost;
        };
        let is_same = slot.generation == token.generation();
        #[cfg(tidegate_mutants)]
        let is_same = is_same || tidegate_sys::os::sim::is_mutant("B8-event-of-another");
        if is_same && let Some(registration) = &slot.live {
            return Lookup::Live(Rc::clone(&registration.handle));
        }
        self.look_up_dead(slot, token)
    }

    #[cold]
    fn look_up_dead(&self, slot: &Slot, token: Token) -> Lookup {
        // Within one batch a slot is freed at most once, so only its last generation can be stale.
        let last = token.generation().wrapping_add(1) == slot.generation;
        if last && slot.freed_in == self.wait {
            Lookup::Stale
        } else {
            Lookup::Ghost
        }
    }

    /// The tokens of all live registrations.
    pub(crate) fn tokens(&self) -> Vec<Token> {
        (0u32..)
            .zip(&self.slots)
            .filter(|(_, slot)| slot.live.is_some())
            .map(|(index, slot)| Token::new(index, slot.generation))
            .collect()
    }

    /// Ends all registrations.
    pub(crate) fn drain(&mut self) -> Vec<Registration> {
        self.tokens()
            .into_iter()
            .filter_map(|token| self.remove(token))
            .collect()
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    fn slot_mut(&mut self, token: Token) -> Option<&mut Slot> {
        self.slots
            .get_mut(token.slot() as usize)
            .filter(|slot| slot.generation == token.generation())
    }
}

#[cfg(test)]
mod tests {
    use std::any::Any;

    use super::super::handle::IoEvent;
    use super::*;

    struct Nobody;

    impl IoHandle for Nobody {
        fn on_event(self: Rc<Self>, _: IoEvent) {}

        fn into_any(self: Rc<Self>) -> Rc<dyn Any> {
            self
        }
    }

    fn registration() -> Registration {
        Registration {
            handle: Rc::new(Nobody),
            fd: 3,
            interest: Interest::READ,
        }
    }

    fn is_live(registry: &Registry, token: Token) -> bool {
        matches!(registry.look_up(token), Lookup::Live(_))
    }

    /// Rules: 4.7, D19
    #[test]
    fn a_slot_freed_in_a_batch_is_stale_there_and_a_ghost_later() {
        let mut registry = Registry::new();
        let token = registry.insert(registration());
        registry.begin_wait();
        assert!(is_live(&registry, token));
        assert!(registry.remove(token).is_some());
        assert!(registry.remove(token).is_none());
        assert!(matches!(registry.look_up(token), Lookup::Stale));
        registry.begin_wait();
        assert!(matches!(registry.look_up(token), Lookup::Ghost));
    }

    /// Rules: E28.
    #[test]
    fn a_new_registration_of_a_slot_never_sees_the_events_of_the_old_one() {
        let mut registry = Registry::new();
        let old = registry.insert(registration());
        registry.begin_wait();
        registry.remove(old);
        let same_batch = registry.insert(registration());
        assert_ne!(
            same_batch.slot(),
            old.slot(),
            "not reused before the next wait"
        );
        registry.begin_wait();
        let reused = registry.insert(registration());
        assert_eq!(reused.slot(), old.slot());
        assert!(is_live(&registry, reused));
        assert!(matches!(registry.look_up(old), Lookup::Ghost));
        assert!(registry.get_mut(old).is_none());
    }

    #[test]
    fn what_lives_is_listed() {
        let mut registry = Registry::new();
        let tokens: Vec<Token> = (0..4).map(|_| registry.insert(registration())).collect();
        registry.remove(tokens[1]);
        assert_eq!(registry.tokens(), [tokens[0], tokens[2], tokens[3]]);
        assert_eq!(registry.len(), 3);
        assert!(matches!(registry.look_up(Token::new(99, 0)), Lookup::Ghost));
        assert_eq!(registry.drain().len(), 3);
        assert_eq!(registry.len(), 0);
    }
}
