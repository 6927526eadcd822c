//! A small seeded generator, and mutations of inputs. The same seed gives the same inputs on every machine.

/// Xorshift64* (Vigna 2014): three shifts and a multiplication, good enough to choose mutations.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        // Any state but zero will do; neighbouring seeds should not begin alike.
        Self((seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1)
    }

    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`; 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 {
            return 0;
        }
        ((self.word() >> 32) as usize) % end
    }

    fn byte(&mut self) -> u8 {
        self.word().to_be_bytes()[0]
    }
}

/// Bytes at which parsers turn: the ends of ranges, marks, and what stands in other parsers' grammars.
const TURNING: &[u8] = b"\0\x01\x04\x05\x7f\x80\xfe\xff\r\n\t \"\\{}[],:=0-A\xc3\xa9";

/// No input is longer. Long enough for every limit of the subjects to be passed.
const INPUT_MAX: usize = 2048;

/// A new input in `out`, made from one or two seeds.
pub fn mutate(seeds: &[Vec<u8>], random: &mut Random, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&seeds[random.below(seeds.len())]);
    match random.below(8) {
        // The end of another, to stand where it never stood.
        0 => {
            let other = &seeds[random.below(seeds.len())];
            out.truncate(random.below(out.len() + 1));
            out.extend_from_slice(&other[random.below(other.len() + 1)..]);
        }
        // Many in a row: long inputs, and states left behind by the one before.
        1 => {
            while out.len() < INPUT_MAX / 4 {
                let other = &seeds[random.below(seeds.len())];
                if other.is_empty() {
                    break;
                }
                out.extend_from_slice(other);
            }
        }
        _ => {}
    }
    for _ in 0..random.below(6) {
        change(random, out);
    }
    out.truncate(INPUT_MAX);
}

fn change(random: &mut Random, out: &mut Vec<u8>) {
    let at = random.below(out.len());
    let run = 1 + random.below(16).min(random.below(64));
    match random.below(8) {
        0 if !out.is_empty() => out[at] ^= 1 << random.below(8),
        1 if !out.is_empty() => out[at] = random.byte(),
        2 | 3 if !out.is_empty() => out[at] = TURNING[random.below(TURNING.len())],
        4 => {
            let byte = TURNING[random.below(TURNING.len())];
            out.splice(at..at, std::iter::repeat_n(byte, run));
        }
        5 => {
            let end = (at + run).min(out.len());
            out.drain(at..end);
        }
        6 => {
            let end = (at + run).min(out.len());
            let copy = out[at..end].to_vec();
            let to = random.below(out.len() + 1);
            out.splice(to..to, copy);
        }
        _ => {
            let bytes: Vec<u8> = (0..run).map(|_| random.byte()).collect();
            out.splice(at..at, bytes);
        }
    }
}
