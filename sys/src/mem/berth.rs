//! [`Berth`]: a place for a boxed value that is lent to one at a time.
//!
//! A pipeline's node keeps its handler in one. While the handler is on the stack nobody else may come to it, and somebody
//! will try: the handler itself causes the calls that come back. Taking the box out and putting it in again says the same
//! with no unsafe at all, and took two words of stores and two registers more in each of an event's hops (4 instructions of
//! 41; `make hops`).
//!
//! Unsafe here promises: the value is reached by one [`Loan`] at a time, or, while there is none, by value.

use std::cell::{Cell, UnsafeCell};
use std::ops::{Deref, DerefMut};

/// What is in a berth. In place is zero, which is the cheapest to test.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum State {
    InPlace,
    Lent,
    Empty,
}

/// A place for a boxed value, and what its user knows of the place.
///
/// Both together, so that the state's byte and one of the user's share the room that is left behind the box.
pub struct Berth<T: ?Sized, X> {
    /// `Some` unless `state` is Empty.
    place: UnsafeCell<Option<Box<T>>>,
    state: Cell<State>,
    /// A byte for the user. It means nothing here.
    pub tag: Cell<u8>,
    /// What the user keeps beside the value.
    pub known: X,
}

impl<T: ?Sized, X> Berth<T, X> {
    /// A place without a value.
    pub const fn empty(tag: u8, known: X) -> Self {
        Self {
            place: UnsafeCell::new(None),
            state: Cell::new(State::Empty),
            tag: Cell::new(tag),
            known,
        }
    }

    /// Lends the value until the loan is dropped; `None` if it is lent already or not there.
    #[inline(always)]
    pub fn lend(&self) -> Option<Loan<'_, T, X>> {
        if self.state.get() != State::InPlace {
            return None;
        }
        self.state.set(State::Lent);
        Some(Loan { berth: self })
    }

    /// Whether the value is there and not lent.
    #[inline]
    pub fn is_in_place(&self) -> bool {
        self.state.get() == State::InPlace
    }

    /// Takes the value out; `None` if it is lent or not there.
    #[inline]
    pub fn take(&self) -> Option<Box<T>> {
        if self.state.get() != State::InPlace {
            return None;
        }
        self.state.set(State::Empty);
        // SAFETY: it is not lent, so that nobody has a reference into the place, and none leaves this function.
        unsafe { (*self.place.get()).take() }
    }

    /// Puts a value into an empty place.
    ///
    /// # Panics
    /// If there is one, lent or not: to drop it here would run foreign code in the middle of its user's step.
    #[inline]
    pub fn put(&self, value: Box<T>) {
        assert!(
            self.state.get() == State::Empty,
            "a value is put where one is already"
        );
        // SAFETY: an empty place is not lent, so that nobody has a reference into it. What was in it is None, and nothing is
        // dropped.
        unsafe { *self.place.get() = Some(value) };
        self.state.set(State::InPlace);
    }
}

/// A value on loan. It is back in place when this is dropped; forgotten, it stays lent for ever.
pub struct Loan<'a, T: ?Sized, X> {
    /// Its state is Lent, and by this loan.
    berth: &'a Berth<T, X>,
}

impl<T: ?Sized, X> Deref for Loan<'_, T, X> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: as in `deref_mut`; the reference lives no longer than this borrow of the only loan.
        unsafe { (*self.berth.place.get()).as_deref().unwrap_unchecked() }
    }
}

impl<T: ?Sized, X> DerefMut for Loan<'_, T, X> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: while the state is Lent the berth gives no other loan and touches its place by nothing else, so this loan
        // is the only way to it, and the reference lives no longer than this borrow of the loan. A value that is lent is
        // Some: only one in place is lent, and only one in place is taken.
        unsafe { (*self.berth.place.get()).as_deref_mut().unwrap_unchecked() }
    }
}

impl<T: ?Sized, X> Drop for Loan<'_, T, X> {
    #[inline(always)]
    fn drop(&mut self) {
        self.berth.state.set(State::InPlace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::rc::Rc;

    trait Talks {
        fn say(&mut self) -> String;
    }

    struct Word(String, #[expect(dead_code, reason = "counted")] Rc<()>);

    impl Talks for Word {
        fn say(&mut self) -> String {
            self.0.push('!');
            self.0.clone()
        }
    }

    fn word(alive: &Rc<()>) -> Box<dyn Talks> {
        Box::new(Word("a".into(), alive.clone()))
    }

    fn empty() -> Berth<dyn Talks, u16> {
        Berth::empty(7, 9)
    }

    #[test]
    fn what_is_lent_is_lent_once_and_cannot_be_taken() {
        let alive = Rc::new(());
        let berth = empty();
        assert!(berth.lend().is_none() && berth.take().is_none());
        berth.put(word(&alive));
        let mut loan = berth.lend().expect("it is in place");
        assert!(berth.lend().is_none() && berth.take().is_none() && !berth.is_in_place());
        assert_eq!(loan.say(), "a!");
        berth.tag.set(berth.tag.get() + 1);
        assert_eq!(loan.say(), "a!!");
        drop(loan);
        assert_eq!(berth.lend().expect("it is back").say(), "a!!!");
        let taken = berth.take();
        assert!(taken.is_some() && berth.lend().is_none());
        drop(taken);
        assert_eq!(Rc::strong_count(&alive), 1);
        assert_eq!((berth.tag.get(), berth.known), (8, 9));
    }

    #[test]
    fn a_panic_brings_the_value_back() {
        let alive = Rc::new(());
        let berth = empty();
        berth.put(word(&alive));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let mut loan = berth.lend().expect("it is in place");
            loan.say();
            panic!("on the way");
        }));
        assert!(panicked.is_err());
        assert_eq!(berth.lend().expect("it is back").say(), "a!!");
    }

    #[test]
    fn a_forgotten_loan_stays_and_the_value_goes_with_its_place() {
        let alive = Rc::new(());
        let berth = empty();
        berth.put(word(&alive));
        std::mem::forget(berth.lend());
        assert!(berth.lend().is_none() && berth.take().is_none());
        drop(berth);
        assert_eq!(Rc::strong_count(&alive), 1);
    }

    #[test]
    fn nothing_is_put_over_a_value() {
        let alive = Rc::new(());
        let berth = empty();
        berth.put(word(&alive));
        for lent in [false, true] {
            let loan = lent.then(|| berth.lend());
            let second = word(&alive);
            assert!(catch_unwind(AssertUnwindSafe(|| berth.put(second))).is_err());
            drop(loan);
        }
        assert_eq!(berth.lend().expect("the first").say(), "a!");
        drop(berth);
        assert_eq!(Rc::strong_count(&alive), 1);
    }

    /// A value that speaks to its own place, as a handler does to its pipeline, also while it is dropped.
    struct Reaches {
        place: Rc<Berth<dyn Talks, u16>>,
        goodbye: Option<Box<dyn Talks>>,
    }

    impl Talks for Reaches {
        fn say(&mut self) -> String {
            let place = self.place.clone();
            assert!(place.lend().is_none() && place.take().is_none() && !place.is_in_place());
            let over = catch_unwind(AssertUnwindSafe(|| place.put(word(&Rc::new(())))));
            assert!(over.is_err());
            place.tag.set(place.tag.get() + 1);
            self.goodbye.as_mut().map_or("gone".into(), |it| it.say())
        }
    }

    impl Drop for Reaches {
        fn drop(&mut self) {
            if let Some(goodbye) = self.goodbye.take() {
                self.place.put(goodbye);
            }
        }
    }

    #[test]
    fn a_value_on_loan_finds_its_own_place_closed() {
        let alive = Rc::new(());
        let place = Rc::new(empty());
        place.put(Box::new(Reaches {
            place: place.clone(),
            goodbye: Some(word(&alive)),
        }));
        let mut loan = place.lend().expect("it is in place");
        assert_eq!((loan.say(), loan.say()), ("a!".into(), "a!!".into()));
        drop(loan);
        assert_eq!(place.tag.get(), 9);
        // Its drop finds the place empty, and leaves something there.
        drop(place.take().expect("it is back"));
        assert_eq!(place.lend().expect("the goodbye").say(), "a!!!");
        drop(place);
        assert_eq!(Rc::strong_count(&alive), 1);
    }

    #[test]
    fn what_is_said_to_a_value_through_a_loan_of_another_reaches_it_alone() {
        let alive = Rc::new(());
        let berths = [empty(), empty(), empty()];
        for berth in &berths {
            berth.put(word(&alive));
        }
        // Outbound calls go down such a chain, and unwind or return in the reverse order.
        let mut loans: Vec<_> = berths.iter().map(|berth| berth.lend().unwrap()).collect();
        for round in 1..4 {
            for loan in &mut loans {
                assert_eq!(loan.say().len(), 1 + round);
            }
        }
        let middle = loans.remove(1);
        drop(loans);
        assert_eq!(
            berths.each_ref().map(Berth::is_in_place),
            [true, false, true]
        );
        drop(middle);
        assert!(berths.iter().all(Berth::is_in_place));
    }

    #[test]
    fn a_panic_passes_every_loan_on_its_way() {
        let alive = Rc::new(());
        let berths = [empty(), empty()];
        for berth in &berths {
            berth.put(word(&alive));
        }
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let mut outer = berths[0].lend().expect("it is in place");
            let mut inner = berths[1].lend().expect("it is in place");
            outer.say();
            inner.say();
            panic!("on the way");
        }));
        assert!(panicked.is_err());
        for berth in &berths {
            assert_eq!(berth.lend().expect("it is back").say(), "a!!");
            // A value that is taken after a panic is whole.
            assert_eq!(berth.take().expect("it is back").say(), "a!!!");
        }
        assert_eq!(Rc::strong_count(&alive), 1);
    }

    #[test]
    fn a_loan_is_read_while_its_place_is_looked_at() {
        let berth: Berth<[u32], ()> = Berth::empty(0, ());
        berth.put(Box::new([1, 2, 3]));
        let mut loan = berth.lend().expect("it is in place");
        let shared: &[u32] = &loan;
        assert!(!berth.is_in_place() && berth.lend().is_none());
        assert_eq!(shared, [1, 2, 3]);
        let exclusive: &mut [u32] = &mut loan;
        berth.tag.set(1);
        assert!(berth.take().is_none());
        exclusive[0] = 4;
        drop(loan);
        assert_eq!(*berth.take().expect("it is back"), [4, 2, 3]);
    }

    #[test]
    fn the_state_and_the_tag_are_in_the_room_behind_the_box() {
        assert_eq!(size_of::<Berth<dyn Talks, [u16; 7]>>(), 32);
    }
}
