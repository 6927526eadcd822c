//! [`Spares`]: parts that a channel has only while it uses them, kept between two uses for whichever channel is next.
//!
//! There are many channels, and at any time few have something to send, something that waits, or more to say than one
//! event. So the buffer for writes, the root queue and the lists of the trampoline are lent: a part is taken when it is
//! needed and given back when it is empty, with the room that its lists have grown. A warm loop allocates nothing for
//! them, and an idle channel holds none. Kept in the channels they took about 900 bytes each after one `after` and one
//! listener.
//!
//! The spare parts are a thread's, not a loop's: loops on one thread take turns.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::thread::LocalKey;

/// What the spare parts of one kind may take on a thread. As much as a burst has needed at once is kept for the next one:
/// a thousand streams that each have a dozen frames to send need 2 MiB.
const BYTES_MAX: usize = 4 << 20;

/// What the part at hand may take, in bytes.
const AT_HAND_MAX: usize = 64 << 10;

/// Something that a channel has only while it uses it.
pub(super) trait Part: Default {
    /// The memory that it takes, in bytes, while nothing is in it.
    fn bytes(&self) -> usize;
}

/// The place of a part in a channel, in one word: with a `RefCell` it takes two, and there are many channels.
///
/// Whoever works on the part runs no code but ours meanwhile, and does not come here again.
pub(super) struct Lent<T>(Cell<Option<Box<T>>>);

impl<T> Lent<T> {
    pub(super) const fn none() -> Self {
        Self(Cell::new(None))
    }

    /// Works on the part, if the channel has it.
    #[inline]
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        let part = self.0.take()?;
        Some(self.work_on(part, work))
    }

    /// Works on the part, which `lend` gives if the channel has none.
    #[inline]
    pub(super) fn with_lent<R>(
        &self,
        lend: impl FnOnce() -> Box<T>,
        work: impl FnOnce(&mut T) -> R,
    ) -> R {
        let part = self.0.take().unwrap_or_else(lend);
        self.work_on(part, work)
    }

    #[inline]
    fn work_on<R>(&self, mut part: Box<T>, work: impl FnOnce(&mut T) -> R) -> R {
        let result = work(&mut part);
        let second = self.0.replace(Some(part));
        assert!(
            second.is_none(),
            "Tidegate's invariant broke: a part was lent while it was worked on"
        );
        result
    }

    /// Has the part in one's hands, if the channel has it, until the hold is dropped: for what may run code that panics.
    #[inline]
    pub(super) fn hold(&self) -> Holding<'_, T> {
        Holding {
            place: self,
            part: ManuallyDrop::new(self.0.take()),
        }
    }

    /// Takes the part away, if the channel has it.
    pub(super) fn take(&self) -> Option<Box<T>> {
        self.0.take()
    }

    /// Takes the part away if it is not needed any more.
    pub(super) fn take_if(&self, is_spare: impl FnOnce(&T) -> bool) -> Option<Box<T>> {
        let part = self.0.take()?;
        if is_spare(&part) {
            return Some(part);
        }
        self.0.set(Some(part));
        None
    }

    #[cfg(test)]
    pub(super) fn is_none(&self) -> bool {
        self.with(|_| ()).is_none()
    }
}

/// The part of a channel, or that it has none, in the hands of one who may give it one, or take it away.
pub(super) struct Holding<'a, T> {
    place: &'a Lent<T>,
    /// Taken out by the drop: without the wrapper it would be looked at once more behind that (7 instructions).
    part: ManuallyDrop<Option<Box<T>>>,
}

impl<T> Deref for Holding<'_, T> {
    type Target = Option<Box<T>>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.part
    }
}

impl<T> DerefMut for Holding<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.part
    }
}

impl<T> Drop for Holding<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(part) = self.part.take()
            && let Some(second) = self.place.0.replace(Some(part))
        {
            drop_second(second);
        }
    }
}

/// Whoever has lent it came where only our own code runs. It is not the one that others know of.
#[cold]
#[inline(never)]
fn drop_second<T>(second: Box<T>) {
    debug_assert!(
        std::thread::panicking(),
        "a part was lent while it was held"
    );
    drop(second);
}

/// Spare parts of one kind.
pub(super) struct Spares<T> {
    /// The one that was given back last: in most turns a channel takes one, gives it back, and the next one takes it.
    at_hand: Cell<Option<Box<T>>>,
    others: RefCell<Kept<T>>,
}

struct Kept<T> {
    /// All of them empty. Their boxes are kept with them.
    parts: Vec<Box<T>>,
    /// The sum of their bytes: `bytes <= BYTES_MAX`
    bytes: usize,
}

impl<T: Part> Spares<T> {
    pub(super) const fn new() -> Self {
        Self {
            at_hand: Cell::new(None),
            others: RefCell::new(Kept {
                parts: Vec::new(),
                bytes: 0,
            }),
        }
    }

    /// A spare part, else a new one.
    #[inline]
    pub(super) fn take(from: &'static LocalKey<Self>) -> Box<T> {
        let at_hand = from.try_with(|spares| spares.at_hand.take());
        match at_hand {
            Ok(Some(part)) => part,
            _ => Self::take_other(from),
        }
    }

    #[cold]
    fn take_other(from: &'static LocalKey<Self>) -> Box<T> {
        let spare = from.try_with(|spares| {
            let mut kept = spares.others.borrow_mut();
            let part = kept.parts.pop()?;
            kept.bytes -= part.bytes();
            Some(part)
        });
        spare.ok().flatten().unwrap_or_default()
    }

    /// Keeps a part in which nothing is left, unless there is enough. Not at the end of a thread.
    #[inline]
    pub(super) fn give(to: &'static LocalKey<Self>, part: Box<T>) {
        if part.bytes() > AT_HAND_MAX {
            return Self::give_other(to, part);
        }
        // The newest is at hand, because it is in the cache.
        if let Ok(Some(older)) = to.try_with(|spares| spares.at_hand.replace(Some(part))) {
            Self::give_other(to, older);
        }
    }

    #[cold]
    fn give_other(to: &'static LocalKey<Self>, part: Box<T>) {
        let _ = to.try_with(|spares| {
            let mut kept = spares.others.borrow_mut();
            let bytes = kept.bytes + part.bytes();
            if bytes <= BYTES_MAX {
                kept.bytes = bytes;
                kept.parts.push(part);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Part for Vec<u8> {
        fn bytes(&self) -> usize {
            self.capacity()
        }
    }

    thread_local! {
        static LISTS: Spares<Vec<u8>> = const { Spares::new() };
    }

    #[test]
    fn a_part_comes_back_with_the_room_it_has_grown_and_not_too_many_are_kept() {
        let large = BYTES_MAX / 2;
        for _ in 0..3 {
            Spares::give(&LISTS, Box::new(Vec::with_capacity(large)));
        }
        assert!(Spares::take(&LISTS).capacity() >= large);
        assert!(Spares::take(&LISTS).capacity() >= large);
        assert_eq!(Spares::take(&LISTS).capacity(), 0, "two are enough");
    }
}
