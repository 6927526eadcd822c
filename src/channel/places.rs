//! [`Places`]: how many places the pipelines of one bootstrap begin with.
//!
//! They are all filled by the same closure, so what the last one took is a good guess for the next: a channel holds no
//! room that it does not use (32 bytes a place, and most channels are idle), and a long pipeline is made in one piece. A
//! pipeline that takes more grows, as any does.

use std::sync::atomic::{AtomicU16, Ordering};

/// For the first pipeline: the ends and four handlers. Debug builds have no room to spare, so that every test of an edit
/// is one of growing as well.
const START: u16 = if cfg!(debug_assertions) { 1 } else { 5 };

/// One pipeline may be long for a reason of its own; at most so many places are made for others because of it.
const MOST: u16 = 64;

/// See the module's page. Loops share it, and none waits for another's number.
#[derive(Debug)]
pub(crate) struct Places(AtomicU16);

impl Default for Places {
    fn default() -> Self {
        Self(AtomicU16::new(START))
    }
}

impl Places {
    /// How many to begin with.
    pub(crate) fn guess(&self) -> usize {
        self.0.load(Ordering::Relaxed).into()
    }

    /// So many were taken. Writes only what is new: the other loops read the same line of memory.
    pub(crate) fn learn(&self, taken: usize) {
        let taken = u16::try_from(taken).map_or(MOST, |taken| taken.min(MOST));
        if self.0.load(Ordering::Relaxed) != taken {
            self.0.store(taken, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_is_the_guess_unless_it_is_large() {
        let places = Places::default();
        assert_eq!(places.guess(), usize::from(START));
        for (taken, guess) in [(9, 9), (4, 4), (64, 64), (65, 64), (70_000, 64)] {
            places.learn(taken);
            assert_eq!(places.guess(), guess);
        }
    }
}
