//! The handles of a loop: all that must hear of its end. A plain slab, two words a handle; the core owns it.

use std::rc::Rc;

use crate::reactor::IoHandle;

enum Place {
    Taken(Rc<dyn IoHandle>),
    Free { next: Option<u32> },
}

const _: () = assert!(size_of::<Place>() == 16, "one per connection");

/// Slots are used again at once: a key is its holder's until the holder gives it back.
pub(crate) struct Attached {
    places: Vec<Place>,
    /// Which keys' handles have heard that the loop is closing. Shorter than `places`, and empty as long as it is not.
    told: Vec<bool>,
    free: Option<u32>,
    len: usize,
    /// How many have not heard of the end; `untold <= len`.
    untold: usize,
    /// The loop waits for none of them any longer.
    are_given_up: bool,
}

impl Attached {
    pub(crate) fn new() -> Self {
        Self {
            places: Vec::new(),
            told: Vec::new(),
            free: None,
            len: 0,
            untold: 0,
            are_given_up: false,
        }
    }

    pub(crate) fn insert(&mut self, handle: Rc<dyn IoHandle>) -> u32 {
        self.len += 1;
        self.untold += 1;
        let taken = Place::Taken(handle);
        if let Some(key) = self.free {
            let place = &mut self.places[key as usize];
            if let Place::Free { next } = place {
                self.free = *next;
            }
            *place = taken;
            if let Some(told) = self.told.get_mut(key as usize) {
                *told = false;
            }
            return key;
        }
        let key = u32::try_from(self.places.len()).expect("fewer than 2^32 channels");
        self.places.push(taken);
        key
    }

    pub(crate) fn get(&self, key: u32) -> Option<Rc<dyn IoHandle>> {
        match self.places.get(key as usize)? {
            Place::Taken(handle) => Some(Rc::clone(handle)),
            Place::Free { .. } => None,
        }
    }

    pub(crate) fn remove(&mut self, key: u32) -> Option<Rc<dyn IoHandle>> {
        let place = self.places.get_mut(key as usize)?;
        if matches!(place, Place::Free { .. }) {
            return None;
        }
        let freed = std::mem::replace(place, Place::Free { next: self.free });
        self.free = Some(key);
        self.len -= 1;
        match freed {
            Place::Taken(handle) => {
                let is_told = self.told.get(key as usize).is_some_and(|told| *told);
                self.untold -= usize::from(!is_told);
                Some(handle)
            }
            Place::Free { .. } => None,
        }
    }

    /// Those that have not heard of the end; from now on they have.
    pub(crate) fn take_untold(&mut self) -> Vec<Rc<dyn IoHandle>> {
        let mut untold = Vec::with_capacity(self.untold);
        if !self.has_untold() {
            return untold;
        }
        self.untold = 0;
        self.told.resize(self.places.len(), false);
        for (place, told) in self.places.iter().zip(&mut self.told) {
            if let Place::Taken(handle) = place
                && !std::mem::replace(told, true)
            {
                untold.push(Rc::clone(handle));
            }
        }
        untold
    }

    pub(crate) fn all(&self) -> Vec<Rc<dyn IoHandle>> {
        let taken = |place: &Place| match place {
            Place::Taken(handle) => Some(Rc::clone(handle)),
            Place::Free { .. } => None,
        };
        self.places.iter().filter_map(taken).collect()
    }

    /// Waits for none of them any longer; gives those that are left.
    pub(crate) fn give_up(&mut self) -> Vec<Rc<dyn IoHandle>> {
        self.are_given_up = true;
        self.all()
    }

    pub(crate) fn are_given_up(&self) -> bool {
        self.are_given_up
    }

    /// Takes all of them out.
    pub(crate) fn drain(&mut self) -> Vec<Rc<dyn IoHandle>> {
        let keys = 0..self.places.len() as u32;
        keys.filter_map(|key| self.remove(key)).collect()
    }

    pub(crate) fn has_untold(&self) -> bool {
        self.untold > 0
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use std::any::Any;

    use super::*;
    use crate::reactor::IoEvent;

    struct Nobody;

    impl IoHandle for Nobody {
        fn on_event(self: Rc<Self>, _: IoEvent) {}

        fn into_any(self: Rc<Self>) -> Rc<dyn Any> {
            self
        }
    }

    #[test]
    fn keys_are_used_again_and_each_hears_of_the_end_once() {
        let mut attached = Attached::new();
        let first = attached.insert(Rc::new(Nobody));
        let second = attached.insert(Rc::new(Nobody));
        assert!(attached.remove(first).is_some());
        assert!(attached.remove(first).is_none());
        assert!(attached.get(first).is_none());
        assert_eq!(attached.insert(Rc::new(Nobody)), first);
        assert_eq!(attached.take_untold().len(), 2);
        assert!(!attached.has_untold());
        assert_eq!(attached.take_untold().len(), 0);
        attached.insert(Rc::new(Nobody));
        assert_eq!(attached.take_untold().len(), 1);
        assert!(attached.remove(first).is_some());
        assert_eq!(attached.insert(Rc::new(Nobody)), first);
        assert_eq!(
            attached.take_untold().len(),
            1,
            "the key is told, not its new holder"
        );
        assert!(attached.get(second).is_some());
        assert_eq!(attached.drain().len(), 3);
        assert_eq!(attached.len(), 0);
    }
}
