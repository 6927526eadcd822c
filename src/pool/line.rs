//! [`Line`]: those who wait for a place of a [`FixedChannelPool`](super::FixedChannelPool), in the order in which they came.
//! Called under the pool's lock, by every acquire while all channels are lent; so no call looks at all who wait. It completes
//! nobody's promise and sets no timer.

use std::collections::BTreeMap;
use std::mem;

/// How many a line that is full looks at for somebody who has given up. Whoever gives up is taken out by a listener; this is
/// for the moment until it has run, in short lines.
const LOOKS_MAX: usize = 16;

/// One who waits.
pub(super) trait Waits {
    /// Whether nobody waits here any more.
    fn is_over(&self) -> bool;
}

/// In the order of their numbers, which never repeat.
pub(super) struct Line<W> {
    waiting: BTreeMap<u64, W>,
    next_id: u64,
}

impl<W: Waits> Line<W> {
    /// The number of the one who comes.
    pub(super) fn join(&mut self, waiter: W) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.waiting.insert(id, waiter);
        id
    }

    /// Whether one more may wait where no more than `most` may. Some of those who have given up are taken out for it; the
    /// caller drops them outside of its lock.
    pub(super) fn has_room(&mut self, most: usize, gone: &mut Vec<W>) -> bool {
        if self.waiting.len() < most {
            return true;
        }
        let first = self.waiting.iter().take(LOOKS_MAX);
        let over = first.filter(|(_, waiter)| waiter.is_over());
        let over: Vec<u64> = over.map(|(id, _)| *id).collect();
        gone.extend(over.iter().filter_map(|id| self.waiting.remove(id)));
        self.waiting.len() < most
    }

    /// The one who has waited the longest, and still does.
    pub(super) fn next(&mut self) -> Option<W> {
        while let Some((_, waiter)) = self.waiting.pop_first() {
            if !waiter.is_over() {
                return Some(waiter);
            }
        }
        None
    }

    pub(super) fn find(&mut self, id: u64) -> Option<&mut W> {
        self.waiting.get_mut(&id)
    }

    pub(super) fn leave(&mut self, id: u64) -> Option<W> {
        self.waiting.remove(&id)
    }

    /// Everybody, in order.
    pub(super) fn take(&mut self) -> impl Iterator<Item = W> + use<W> {
        mem::take(&mut self.waiting).into_values()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

impl<W> Default for Line<W> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            next_id: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    /// Somebody who may have given up, and how often that was asked of everybody.
    struct One {
        name: usize,
        is_over: GivenUp,
        looks: Rc<Cell<usize>>,
    }

    impl Waits for One {
        fn is_over(&self) -> bool {
            self.looks.set(self.looks.get() + 1);
            self.is_over.get()
        }
    }

    /// What the test keeps of one: it gives up by setting it.
    type GivenUp = Rc<Cell<bool>>;

    fn line_of(len: usize) -> (Line<One>, Vec<GivenUp>, Rc<Cell<usize>>) {
        let looks = Rc::<Cell<usize>>::default();
        let mut line = Line::default();
        let mut all = Vec::new();
        for name in 0..len {
            let is_over = GivenUp::default();
            all.push(is_over.clone());
            line.join(One {
                name,
                is_over,
                looks: looks.clone(),
            });
        }
        (line, all, looks)
    }

    /// A pool of few channels with 20,000 who waited took milliseconds for each acquire, under its lock.
    #[test]
    fn one_more_costs_no_look_at_all_who_wait() {
        const LEN: usize = 20_000;
        let (mut line, all, looks) = line_of(LEN);
        all[LEN - 1].set(true);
        let mut gone = Vec::new();
        assert!(line.has_room(LEN + 1, &mut gone));
        assert_eq!(looks.get(), 0, "there is room");
        for _ in 0..100 {
            assert!(!line.has_room(LEN, &mut gone));
        }
        assert!(looks.get() <= 100 * LOOKS_MAX, "{} looks", looks.get());
        looks.set(0);
        assert!(line.find(7).is_some() && line.leave(LEN as u64 - 1).is_some());
        assert_eq!(looks.get(), 0, "by its number");
        assert!(line.has_room(LEN, &mut gone));
        assert!(gone.is_empty());
    }

    #[test]
    fn who_has_given_up_in_a_short_line_makes_room_at_once() {
        let (mut line, all, _) = line_of(LOOKS_MAX);
        let mut gone = Vec::new();
        assert!(!line.has_room(LOOKS_MAX, &mut gone));
        all[LOOKS_MAX - 1].set(true);
        assert!(line.has_room(LOOKS_MAX, &mut gone));
        assert_eq!(gone.len(), 1);
    }

    #[test]
    fn the_others_have_their_turns_in_the_order_in_which_they_came() {
        let (mut line, all, _) = line_of(5);
        all[0].set(true);
        all[2].set(true);
        assert!(line.leave(3).is_some_and(|waiter| waiter.name == 3));
        let next = line.next().map(|waiter| waiter.name);
        assert_eq!((next, line.len()), (Some(1), 2));
        let rest: Vec<_> = line.take().map(|waiter| waiter.name).collect();
        assert_eq!((rest, line.len()), (vec![2, 4], 0));
    }
}
