//! [`Token`]: what a registration carries through the kernel and back. Made by the reactor; it knows
//! nothing of what it names.

use std::fmt;

/// Names one registration: a slot of the reactor's table and the generation of that slot.
///
/// It travels as the 64 bits of user data that epoll and kqueue keep beside a descriptor. A descriptor
/// number is used again as soon as it is closed, and events of the old one may still be in the batch
/// that is being dispatched; the generation tells them apart.
///
/// | bits | content |
/// |---|---|
/// | 0..32 | slot |
/// | 32..64 | generation |
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(u64);

impl Token {
    /// Packs a slot and its generation.
    pub const fn new(slot: u32, generation: u32) -> Self {
        Self((generation as u64) << 32 | slot as u64)
    }

    /// The token of a 64-bit word that [`Token::to_bits`] gave.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The place in the reactor's table.
    pub const fn slot(self) -> u32 {
        self.0 as u32
    }

    /// How often the slot had been used before.
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The word that travels through the kernel.
    pub const fn to_bits(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}#{})", self.slot(), self.generation())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rules: 4.7
    #[test]
    fn slot_and_generation_survive_the_packing() {
        for slot in [0, 1, 7, u32::MAX] {
            for generation in [0, 1, 1 << 31, u32::MAX] {
                let token = Token::new(slot, generation);
                assert_eq!((token.slot(), token.generation()), (slot, generation));
                assert_eq!(Token::from_bits(token.to_bits()), token);
            }
        }
        assert_eq!(format!("{:?}", Token::new(3, 9)), "Token(3#9)");
    }
}
