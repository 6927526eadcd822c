//! [`Random`]: numbers that depend on a seed and on nothing else.

use std::ops::RangeInclusive;

/// SplitMix64 (Steele, Lea and Flood, 2014): small, fast, and the same on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// A number below `limit`; zero if there is none.
    pub fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.draw() % limit }
    }

    /// A number of the range.
    pub fn within(&mut self, range: &RangeInclusive<u64>) -> u64 {
        let span = range.end().saturating_sub(*range.start());
        range.start() + self.below(span.saturating_add(1))
    }

    /// True once in so many draws; with zero never, and without a draw.
    pub fn one_in(&mut self, chances: u32) -> bool {
        chances > 0 && self.below(u64::from(chances)) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_sequence() {
        let mut one = Random::new(7);
        let mut other = Random::new(7);
        assert!((0..100).all(|_| one.draw() == other.draw()));
        assert_ne!(Random::new(8).draw(), Random::new(7).draw());
        for _ in 0..100 {
            assert!((3..=5).contains(&one.within(&(3..=5))));
        }
        assert!(!one.one_in(0) && one.one_in(1));
        assert_eq!(one.below(0), 0);
    }
}
