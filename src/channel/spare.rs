//! [`Spares`]: parts that a channel has only while it uses them, kept between two uses for whichever channel is next.
//!
//! There are many channels, and at any time few have something to send, something that waits, or more to say than one
//! event. So the buffer for writes, the root queue and the lists of the trampoline are lent: a part is taken when it is
//! needed and given back when it is empty, with the room that its lists have grown. A warm loop allocates nothing for
//! them, and an idle channel holds none. In the channels they took about 900 bytes each after one `after` and one
//! listener.
//!
//! The spare parts are a thread's, not a loop's: loops on one thread take turns.

use std::cell::RefCell;
use std::thread::LocalKey;

/// Spare parts of one kind.
pub(super) struct Spares<T> {
    /// All of them empty. Their boxes are what is kept.
    parts: RefCell<Vec<Box<T>>>,
    /// `parts.len() <= max`
    max: usize,
}

impl<T: Default> Spares<T> {
    pub(super) const fn new(max: usize) -> Self {
        Self {
            parts: RefCell::new(Vec::new()),
            max,
        }
    }

    /// A spare part, else a new one.
    pub(super) fn take(from: &'static LocalKey<Self>) -> Box<T> {
        let spare = from.try_with(|spares| spares.parts.borrow_mut().pop());
        spare.ok().flatten().unwrap_or_default()
    }

    /// Keeps a part in which nothing is left, unless there are enough. Not at the end of a thread.
    pub(super) fn give(to: &'static LocalKey<Self>, part: Box<T>) {
        let _ = to.try_with(|spares| {
            let mut parts = spares.parts.borrow_mut();
            if parts.len() < spares.max {
                parts.push(part);
            }
        });
    }

    /// How many there are.
    pub(super) fn count(of: &'static LocalKey<Self>) -> usize {
        of.try_with(|spares| spares.parts.borrow().len())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    thread_local! {
        static LISTS: Spares<Vec<u8>> = const { Spares::new(2) };
    }

    #[test]
    fn a_part_comes_back_with_the_room_it_has_grown_and_a_few_are_kept() {
        let mut list = Spares::take(&LISTS);
        list.reserve(100);
        Spares::give(&LISTS, list);
        assert!(Spares::take(&LISTS).capacity() >= 100);
        assert_eq!(Spares::take(&LISTS).capacity(), 0, "there was one");
        for _ in 0..3 {
            Spares::give(&LISTS, Box::default());
        }
        assert_eq!(Spares::count(&LISTS), 2);
    }
}
