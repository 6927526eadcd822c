//! A queue of the loop's own: what waits for its turn on this thread. The core has three of them.
//!
//! Its length lies beside the list, because a turn asks each queue several times whether it is empty, and mostly it is.
//! No borrow is held while foreign code runs: a taken element is the caller's.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

#[repr(C)]
pub(super) struct Fifo<T> {
    /// `len == list.len()`
    len: Cell<usize>,
    list: RefCell<VecDeque<T>>,
}

impl<T> Fifo<T> {
    pub(super) fn new() -> Self {
        Self {
            list: RefCell::new(VecDeque::new()),
            len: Cell::new(0),
        }
    }

    #[inline]
    pub(super) fn push(&self, element: T) {
        let mut list = self.list.borrow_mut();
        list.push_back(element);
        self.len.set(list.len());
    }

    #[inline]
    pub(super) fn pop(&self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let mut list = self.list.borrow_mut();
        let first = list.pop_front();
        self.len.set(list.len());
        first
    }

    /// Whether the next element is one that `which` names.
    pub(super) fn is_next(&self, which: impl Fn(&T) -> bool) -> bool {
        !self.is_empty() && self.list.borrow().front().is_some_and(which)
    }

    /// All elements, and the queue's memory.
    pub(super) fn take(&self) -> VecDeque<T> {
        self.len.set(0);
        self.list.take()
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len.get()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_follows_the_list() {
        let fifo = Fifo::new();
        assert!(fifo.is_empty() && fifo.pop().is_none());
        fifo.push(1);
        fifo.push(2);
        assert_eq!(fifo.len(), 2);
        assert!(fifo.is_next(|first| *first == 1) && !fifo.is_next(|first| *first == 2));
        assert_eq!(fifo.pop(), Some(1));
        assert_eq!(fifo.take(), [2]);
        assert!(fifo.is_empty() && !fifo.is_next(|_| true));
    }
}
