//! Timers in exact order: by deadline, then by the order in which they were set.
//!
//! A 4-ary heap of small entries, and a slab that keeps what each timer carries. The heap gives an
//! exact order and O(log n) for everything; the slab gives keys that stay valid while the heap moves
//! and that die with their timer. Called by the loop's core only; it reads no clock.
//!
//! Most timers are moved and never fire (an idle timeout is pushed back by every message). So moving
//! one to a later time writes its slab slot and leaves its heap entry where it is, too early. Such an
//! entry is put right when it reaches the top. Invariant: an entry is never later than its slot says.
//!
//! The path not taken: cancelling by a mark and sweeping later is faster per call, but the sweep
//! stops the loop for milliseconds with a million timers. A wheel is faster still and either late by
//! a tick or not in order.

use tidegate_sys::os::Time;

/// Children of one heap node. Four make the tree half as deep as two would, and four entries are
/// read from two cache lines.
const ARITY: usize = 4;

/// Ends the list of free slots.
const NO_SLOT: u32 = u32::MAX;

/// Names one timer. It is of no use once that timer has fired or was cancelled, even when the slot
/// carries another timer by then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct TimerKey {
    slot: u32,
    generation: u32,
}

impl TimerKey {
    /// The key as one word, for an atomic cell; zero is no key of ours.
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// The key that `to_bits` gave.
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self {
            slot: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }
}

/// When a timer is due, and its place among those due at the same time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    deadline: Time,
    seq: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    /// `due <= slots[slot].due`.
    due: Due,
    slot: u32,
}

struct Slot<T> {
    due: Due,
    generation: u32,
    /// `Some` exactly while the heap has an entry for this slot.
    value: Option<T>,
}

/// The timers of one loop, each carrying a `T`.
pub(crate) struct Timers<T> {
    heap: Vec<Entry>,
    /// Where the heap has the entry of a slot; for a free slot, the next free one. Apart from the
    /// slots because every step of a sift writes it: four bytes a timer stay in the cache.
    places: Vec<u32>,
    slots: Vec<Slot<T>>,
    free: u32,
    next_seq: u64,
}

impl<T> Timers<T> {
    pub(crate) fn new() -> Self {
        Self {
            heap: Vec::new(),
            places: Vec::new(),
            slots: Vec::new(),
            free: NO_SLOT,
            next_seq: 0,
        }
    }

    /// Sets a timer. Among equal deadlines the earlier set one is due first.
    pub(crate) fn insert(&mut self, deadline: Time, value: T) -> TimerKey {
        let due = self.stamp(deadline);
        let slot = if self.free == NO_SLOT {
            let slot = u32::try_from(self.slots.len()).expect("fewer than 2^32 timers");
            self.slots.push(Slot {
                due,
                generation: 1,
                value: Some(value),
            });
            self.places.push(0);
            slot
        } else {
            let slot = self.free;
            self.free = self.places[slot as usize];
            let reused = &mut self.slots[slot as usize];
            reused.due = due;
            reused.value = Some(value);
            slot
        };
        let place = self.heap.len();
        self.heap.push(Entry { due, slot });
        self.sift_up(place);
        TimerKey {
            slot,
            generation: self.slots[slot as usize].generation,
        }
    }

    /// Takes a timer away and returns what it carried; `None` if it has fired or was cancelled.
    pub(crate) fn remove(&mut self, key: TimerKey) -> Option<T> {
        self.live(key)?;
        let place = self.places[key.slot as usize] as usize;
        self.unlink(place);
        Some(self.release(key.slot))
    }

    /// Gives a timer a new deadline, as if it were set anew; false if it has fired or was cancelled.
    /// Later than before costs no search; earlier moves it up the heap.
    pub(crate) fn reschedule(&mut self, key: TimerKey, deadline: Time) -> bool {
        if self.live(key).is_none() {
            return false;
        }
        let due = self.stamp(deadline);
        self.slots[key.slot as usize].due = due;
        let place = self.places[key.slot as usize] as usize;
        if due < self.heap[place].due {
            self.heap[place].due = due;
            self.sift_up(place);
        }
        true
    }

    /// When the next timer is due.
    pub(crate) fn next_deadline(&mut self) -> Option<Time> {
        self.settle_top();
        self.heap.first().map(|top| top.due.deadline)
    }

    /// No timer is due before it; mostly one is at that time. [`Time::MAX`] if there is none.
    #[inline]
    pub(crate) fn first(&self) -> Time {
        self.heap.first().map_or(Time::MAX, |top| top.due.deadline)
    }

    /// Takes the next timer if it is due at `now` and was set before `mark` (see [`Self::mark`]),
    /// with its deadline.
    pub(crate) fn pop_due(&mut self, now: Time, mark: u64) -> Option<(Time, T)> {
        // An entry is never later than its slot, so a top in the future needs no settling.
        if self.first() > now {
            return None;
        }
        self.settle_top();
        let top = *self.heap.first()?;
        if top.due.deadline > now || top.due.seq >= mark {
            return None;
        }
        self.unlink(0);
        Some((top.due.deadline, self.release(top.slot)))
    }

    /// What divides the timers set so far from those set or moved later. A phase that takes only
    /// timers from before its mark ends even if each sets another one that is due at once.
    pub(crate) fn mark(&self) -> u64 {
        self.next_seq
    }

    /// Takes away every timer whose value `which` names, and returns the values in no order.
    pub(crate) fn extract(&mut self, which: impl Fn(&T) -> bool) -> Vec<T> {
        let chosen: Vec<u32> = (0u32..)
            .zip(&self.slots)
            .filter(|(_, slot)| slot.value.as_ref().is_some_and(&which))
            .map(|(index, _)| index)
            .collect();
        let mut values = Vec::with_capacity(chosen.len());
        for slot in chosen {
            self.unlink(self.places[slot as usize] as usize);
            values.push(self.release(slot));
        }
        values
    }

    /// Takes away all timers.
    pub(crate) fn clear(&mut self) -> Vec<T> {
        self.extract(|_| true)
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    fn live(&self, key: TimerKey) -> Option<()> {
        let slot = self.slots.get(key.slot as usize)?;
        (slot.generation == key.generation && slot.value.is_some()).then_some(())
    }

    fn stamp(&mut self, deadline: Time) -> Due {
        let seq = self.next_seq;
        self.next_seq += 1;
        Due { deadline, seq }
    }

    /// Frees a slot whose heap entry is gone.
    fn release(&mut self, slot: u32) -> T {
        let freed = &mut self.slots[slot as usize];
        // Zero is skipped so that no key is all zeros.
        freed.generation = freed.generation.wrapping_add(1).max(1);
        let value = freed
            .value
            .take()
            .expect("a timer in the heap carries a value");
        self.places[slot as usize] = self.free;
        self.free = slot;
        value
    }

    /// Removes the heap entry at `place`.
    fn unlink(&mut self, place: usize) {
        self.heap.swap_remove(place);
        if place < self.heap.len() {
            // The last entry came here from another branch: it may belong higher as well as lower.
            if self.sift_up(place) == place {
                self.sift_down(place);
            }
        }
    }

    /// Puts the top entry right until it says what its slot says.
    fn settle_top(&mut self) {
        while let Some(top) = self.heap.first_mut() {
            let due = self.slots[top.slot as usize].due;
            if top.due == due {
                return;
            }
            top.due = due;
            self.sift_down(0);
        }
    }

    /// Moves the entry at `place` up to where it belongs; returns where that is.
    fn sift_up(&mut self, mut place: usize) -> usize {
        let entry = self.heap[place];
        while place > 0 {
            let parent = (place - 1) / ARITY;
            let above = self.heap[parent];
            if above.due <= entry.due {
                break;
            }
            self.put(place, above);
            place = parent;
        }
        self.put(place, entry);
        place
    }

    fn sift_down(&mut self, mut place: usize) {
        let entry = self.heap[place];
        loop {
            let first = place * ARITY + 1;
            let Some(children) = self.heap.get(first..) else {
                break;
            };
            let mut least = None;
            for (offset, child) in children.iter().take(ARITY).enumerate() {
                if least.is_none_or(|(_, due)| child.due < due) {
                    least = Some((first + offset, child.due));
                }
            }
            let Some((child, due)) = least else { break };
            if entry.due <= due {
                break;
            }
            self.put(place, self.heap[child]);
            place = child;
        }
        self.put(place, entry);
    }

    fn put(&mut self, place: usize, entry: Entry) {
        self.heap[place] = entry;
        self.places[entry.slot as usize] = place as u32;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    fn drain(timers: &mut Timers<u32>, now: u64) -> Vec<u32> {
        let mark = timers.mark();
        std::iter::from_fn(|| timers.pop_due(at(now), mark))
            .map(|(_, value)| value)
            .collect()
    }

    /// Rules: E15, 5.7.
    #[test]
    fn equal_deadlines_fire_in_the_order_they_were_set() {
        let mut timers = Timers::new();
        for value in 0..100 {
            timers.insert(at(7), value);
        }
        assert_eq!(drain(&mut timers, 7), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_timer_is_never_early() {
        let mut timers = Timers::new();
        timers.insert(at(10), 1);
        assert!(drain(&mut timers, 9).is_empty());
        assert_eq!(timers.next_deadline(), Some(at(10)));
        assert_eq!(drain(&mut timers, 10), [1]);
        assert_eq!(timers.next_deadline(), None);
    }

    #[test]
    fn a_timer_moved_later_fires_at_its_new_time_and_after_older_ones() {
        let mut timers = Timers::new();
        let moved = timers.insert(at(10), 1);
        timers.insert(at(20), 2);
        assert!(timers.reschedule(moved, at(20)));
        assert_eq!(timers.next_deadline(), Some(at(20)));
        assert!(drain(&mut timers, 19).is_empty());
        assert_eq!(drain(&mut timers, 20), [2, 1]);
    }

    #[test]
    fn a_timer_moved_earlier_fires_first() {
        let mut timers = Timers::new();
        timers.insert(at(10), 1);
        let moved = timers.insert(at(20), 2);
        assert!(timers.reschedule(moved, at(5)));
        assert_eq!(drain(&mut timers, 100), [2, 1]);
    }

    #[test]
    fn keys_die_with_their_timer() {
        let mut timers = Timers::new();
        let first = timers.insert(at(1), 1);
        assert_eq!(timers.remove(first), Some(1));
        assert_eq!(timers.remove(first), None);
        let second = timers.insert(at(2), 2);
        assert!(!timers.reschedule(first, at(9)));
        assert_eq!(timers.remove(first), None);
        assert_eq!(drain(&mut timers, 2), [2]);
        assert!(!timers.reschedule(second, at(9)));
        assert_eq!(TimerKey::from_bits(second.to_bits()), second);
    }

    #[test]
    fn timers_set_after_the_mark_wait_for_the_next_phase() {
        let mut timers = Timers::new();
        timers.insert(at(1), 1);
        let mark = timers.mark();
        timers.insert(at(1), 2);
        assert_eq!(timers.pop_due(at(5), mark), Some((at(1), 1)));
        assert_eq!(timers.pop_due(at(5), mark), None);
        assert_eq!(drain(&mut timers, 5), [2]);
    }

    #[test]
    fn extract_takes_the_named_ones_and_leaves_the_rest_in_order() {
        let mut timers = Timers::new();
        for value in 0..50 {
            timers.insert(at(u64::from(value * 7 % 50)), value);
        }
        assert_eq!(timers.extract(|value| value % 2 == 0).len(), 25);
        let rest = drain(&mut timers, 50);
        assert_eq!(rest.len(), 25);
        assert!(rest.is_sorted_by_key(|value| value * 7 % 50));
    }

    /// Every operation against a sorted map, over many small histories.
    #[test]
    fn behaves_as_a_sorted_map() {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        for _ in 0..200 {
            let mut timers = Timers::new();
            let mut model = BTreeMap::new();
            let mut keys = Vec::new();
            let mut seq = 0_u64;
            let mut now = 0;
            for value in 0..200_u32 {
                match random(10) {
                    0..=4 => {
                        let deadline = now + random(50);
                        keys.push((timers.insert(at(deadline), value), deadline, seq, value));
                        model.insert((deadline, seq), value);
                        seq += 1;
                    }
                    5..=6 if !keys.is_empty() => {
                        let index = random(keys.len() as u64) as usize;
                        let deadline = now + random(50);
                        let (key, old, old_seq, value) = keys[index];
                        let lives = model.remove(&(old, old_seq)).is_some();
                        assert_eq!(timers.reschedule(key, at(deadline)), lives);
                        if lives {
                            model.insert((deadline, seq), value);
                            keys[index] = (key, deadline, seq, value);
                            seq += 1;
                        }
                    }
                    7 if !keys.is_empty() => {
                        let (key, old, old_seq, _) =
                            keys.swap_remove(random(keys.len() as u64) as usize);
                        assert_eq!(timers.remove(key), model.remove(&(old, old_seq)));
                    }
                    _ => {
                        now += random(20);
                        let due: Vec<u32> = model
                            .range(..=(now, u64::MAX))
                            .map(|(_, value)| *value)
                            .collect();
                        model.retain(|(deadline, _), _| *deadline > now);
                        assert_eq!(drain(&mut timers, now), due);
                    }
                }
                assert_eq!(timers.len(), model.len());
                assert_eq!(
                    timers.next_deadline(),
                    model.keys().next().map(|(deadline, _)| at(*deadline))
                );
            }
        }
    }
}
