//! How many bytes the next read should ask for: [`RecvAllocator`] is what a user sets on a channel,
//! [`RecvPredictor`] is the state that each channel keeps for it.
//!
//! The transports ask for a guess before each read and report what came. Nothing here allocates or
//! touches a buffer; the memory itself comes from the loop's [`Arena`](crate::buffer::Arena).

use crate::error::{Error, ErrorKind};

/// The smallest size the adaptive prediction goes down to, in bytes.
const ADAPTIVE_MIN: usize = 64;
/// The size of a channel's first read, in bytes.
const ADAPTIVE_INITIAL: usize = 2048;
/// The largest size the adaptive prediction goes up to, in bytes: 64 KiB less what an entry of the outbound buffer counts for
/// besides its bytes, and whole cache lines of it. Who passes on what one read has brought stays below the high watermark, of 64 KiB.
/// With Netty's 65,536 each full read of an echo or a proxy turned the channel unwritable and back, and auto-read with it:
/// 1.09 of a bare loop's time with 256 KiB in flight on each of 64 connections, against 1.00.
const ADAPTIVE_MAX: usize = 65_408;
/// The largest size that any variant may ask for: the end of the size table.
const SIZE_MAX: usize = 1 << 30;

/// How a channel chooses the size of its reads.
///
/// The default is `Adaptive` from 64 through 2,048 to 65,408 bytes: a read that is passed on as it is does not fill the outbound
/// buffer beyond the high watermark. (Netty's is 65,536, and there it does.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvAllocator {
    /// Grows after a read that filled its buffer, shrinks after two batches that needed much less.
    Adaptive {
        /// The smallest size in bytes, at least 1.
        min: usize,
        /// The size of the first read in bytes, between `min` and `max`.
        initial: usize,
        /// The largest size in bytes, at most 2^30.
        max: usize,
    },
    /// Every read asks for this many bytes, between 1 and 2^30.
    Fixed(usize),
    /// A budget of bytes for all reads of one readiness, and one for each of them.
    MaxBytes {
        /// The most bytes that one readiness may bring, at most 2^30.
        per_loop: usize,
        /// The most bytes that one read asks for, between 1 and `per_loop`.
        per_read: usize,
    },
}

impl RecvAllocator {
    /// Tells whether the sizes are in order and in range.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when a size is zero, above 2^30, or out of order with another.
    pub fn validate(&self) -> Result<(), Error> {
        let in_order = match *self {
            Self::Adaptive { min, initial, max } => {
                1 <= min && min <= initial && initial <= max && max <= SIZE_MAX
            }
            Self::Fixed(size) => (1..=SIZE_MAX).contains(&size),
            Self::MaxBytes { per_loop, per_read } => {
                1 <= per_read && per_read <= per_loop && per_loop <= SIZE_MAX
            }
        };
        if in_order {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("receive sizes must satisfy 1 <= min <= initial <= max <= 2^30, got {self:?}"),
        ))
    }
}

impl Default for RecvAllocator {
    fn default() -> Self {
        Self::Adaptive {
            min: ADAPTIVE_MIN,
            initial: ADAPTIVE_INITIAL,
            max: ADAPTIVE_MAX,
        }
    }
}

/// The prediction of one channel: 16 bytes, kept beside the channel's other state.
///
/// A batch is all the reads of one readiness. The transport calls [`reset`](Self::reset) before a
/// batch, [`room`](Self::room) and [`record`](Self::record) around each read of it, and
/// [`read_complete`](Self::read_complete) with the total after it.
///
/// No enum of three kinds: who keeps it in a `Cell` copies it for each call, and of a plain structure the compiler copies just
/// what the call needs.
#[derive(Clone, Copy, Debug)]
pub struct RecvPredictor {
    /// Adaptive: the guess, min <= next <= max. Fixed: the size. MaxBytes: what is left, next <= max.
    next: u32,
    /// Adaptive: the smallest guess. MaxBytes: the most of one read.
    min: u32,
    /// Adaptive: the largest guess. MaxBytes: the most of a batch.
    max: u32,
    /// Where the guess stands in the table.
    /// index <= index_max once it has moved up; index >= index_min once it has moved down.
    index: u8,
    index_min: u8,
    index_max: u8,
    mode: Mode,
}

/// How it predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Mode {
    Adaptive,
    /// The same, and the last batch was small; a second one shrinks.
    Shrinking,
    Fixed,
    MaxBytes,
}

const _: () = assert!(
    size_of::<RecvPredictor>() <= 16,
    "one predictor per idle connection"
);

impl RecvPredictor {
    /// Starts a prediction. Sizes that [`RecvAllocator::validate`] would refuse are clamped.
    #[must_use]
    pub fn new(allocator: RecvAllocator) -> Self {
        let size = |bytes: usize| bytes.clamp(1, SIZE_MAX) as u32;
        match allocator {
            RecvAllocator::Adaptive { min, initial, max } => {
                let (min, initial) = (size(min), size(initial));
                let max = size(max).max(min);
                let index = index_at_most(initial.clamp(min, max));
                Self {
                    next: table(index).clamp(min, max),
                    min,
                    max,
                    index,
                    index_min: index_at_least(min),
                    index_max: index_at_most(max),
                    mode: Mode::Adaptive,
                }
            }
            RecvAllocator::Fixed(bytes) => Self::unlearned(Mode::Fixed, size(bytes), size(bytes)),
            RecvAllocator::MaxBytes { per_loop, per_read } => {
                Self::unlearned(Mode::MaxBytes, size(per_read), size(per_loop))
            }
        }
    }

    fn unlearned(mode: Mode, min: u32, max: u32) -> Self {
        Self {
            next: max,
            min,
            max,
            index: 0,
            index_min: 0,
            index_max: 0,
            mode,
        }
    }

    /// How it predicts. `initial` of an adaptive one is the size of the next read, which is what it begins with from here
    /// on.
    #[must_use]
    pub fn allocator(&self) -> RecvAllocator {
        let (min, max) = (self.min as usize, self.max as usize);
        match self.mode {
            Mode::Adaptive | Mode::Shrinking => RecvAllocator::Adaptive {
                min,
                initial: self.next as usize,
                max,
            },
            Mode::Fixed => RecvAllocator::Fixed(max),
            Mode::MaxBytes => RecvAllocator::MaxBytes {
                per_loop: max,
                per_read: min,
            },
        }
    }

    #[inline]
    fn adapts(&self) -> bool {
        self.mode < Mode::Fixed
    }

    /// Begins a batch: a byte budget is whole again. What was learned stays.
    #[inline]
    pub fn reset(&mut self) {
        if self.mode == Mode::MaxBytes {
            self.next = self.max;
        }
    }

    /// Notes that a read which was offered [`room`](Self::room) for so many bytes brought `bytes`.
    ///
    /// Returns true when the read filled it, so that more may be waiting (D13, D16).
    #[inline]
    pub fn record(&mut self, bytes: usize) -> bool {
        let filled = bytes >= self.room();
        if self.adapts() {
            if filled {
                self.adapt(bytes);
            }
        } else if self.mode == Mode::MaxBytes {
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            self.next = self.next.saturating_sub(bytes);
        }
        filled
    }

    /// Ends a batch which brought `total` bytes.
    #[inline]
    pub fn read_complete(&mut self, total: usize) {
        if self.adapts() {
            self.adapt(total);
        }
    }

    /// The size that the next read is expected to have, in bytes, never zero.
    #[inline]
    #[must_use]
    pub fn guess(&self) -> usize {
        if self.mode == Mode::MaxBytes {
            return self.min.min(self.next).max(1) as usize;
        }
        self.next as usize
    }

    /// The room to offer the next read, in bytes: twice the guess while it adapts, so that a message of just the guessed
    /// size does not look like the first part of more, which would cost a read that finds nothing.
    ///
    /// It is this that a read has to fill for the guess to grow, not the guess as in Netty, which offers no more than that. Messages
    /// of one size would go up four steps and down again for ever.
    #[inline]
    #[must_use]
    pub fn room(&self) -> usize {
        if !self.adapts() {
            return self.guess();
        }
        let guess = self.next;
        // min <= next <= max <= 2^30
        (guess * 2).min(self.max) as usize
    }

    /// The room to offer the first read of a batch, in bytes.
    #[inline]
    pub(crate) fn first_room(&self) -> usize {
        let mut first = *self;
        first.reset();
        first.room()
    }

    /// Tells whether the batch may go on after `reads` of at most `reads_max` reads.
    ///
    /// A byte budget takes the place of the count of reads (D10). Whether reading is still wanted,
    /// and whether more may be waiting, is the transport's to know.
    #[inline]
    #[must_use]
    pub fn may_continue(&self, reads: u32, reads_max: u32) -> bool {
        if self.mode == Mode::MaxBytes {
            return self.next > 0;
        }
        reads < reads_max
    }

    /// Whether a batch of just so many bytes changes nothing of what adapts: neither few nor all, or few where it is as small as it
    /// gets, which is what most connections come to.
    #[inline]
    fn learns_nothing(&self, bytes: usize) -> bool {
        let index = self.index;
        if bytes <= SMALL[usize::from(index & 63)] as usize {
            return index == self.index_min;
        }
        // Between the two it stays as it was: two small batches need not follow each other (D12).
        bytes < self.room()
    }

    /// Whether a batch of one read that has not filled its room changes nothing.
    #[inline]
    pub(crate) fn learns_nothing_below_room(&self, bytes: usize) -> bool {
        if !self.adapts() {
            return self.mode == Mode::Fixed;
        }
        self.index == self.index_min || bytes > SMALL[usize::from(self.index & 63)] as usize
    }

    /// Rules D11 and D12. `min` and `max` need not be in the table, `next` honours them anyway.
    #[inline]
    fn adapt(&mut self, bytes: usize) {
        if !self.learns_nothing(bytes) {
            self.move_on(bytes);
        }
    }

    #[inline(never)]
    fn move_on(&mut self, bytes: usize) {
        let index = self.index;
        if bytes > SMALL[usize::from(index & 63)] as usize {
            self.set_index((index + INDEX_UP).min(self.index_max));
        } else if self.mode == Mode::Shrinking {
            self.set_index(index.saturating_sub(1).max(self.index_min));
        } else {
            self.mode = Mode::Shrinking;
        }
    }

    #[inline]
    fn set_index(&mut self, index: u8) {
        self.index = index;
        self.next = table(index).clamp(self.min, self.max);
        self.mode = Mode::Adaptive;
    }
}

impl Default for RecvPredictor {
    fn default() -> Self {
        Self::new(RecvAllocator::default())
    }
}

/// How far one read that filled its buffer moves up the table: 2,048 becomes 32,768.
const INDEX_UP: u8 = 4;

/// 16, 32, … 496 in steps of 16, then 512 doubling up to 2^30.
const LINEAR_STEP: u32 = 16;
const LINEAR_COUNT: u8 = 31;
const DOUBLING_FROM: u32 = 512;

/// For each index the entry before it: as many bytes are a small batch. As long as a power of two, so that an index
/// needs no check.
static SMALL: [u32; 64] = {
    let mut small = [table(0); 64];
    let mut index = 1;
    while index < 54 {
        small[index] = table(index as u8 - 1);
        index += 1;
    }
    small
};

const fn table(index: u8) -> u32 {
    if index < LINEAR_COUNT {
        LINEAR_STEP * (index as u32 + 1)
    } else {
        DOUBLING_FROM << (index - LINEAR_COUNT)
    }
}

/// The index of the smallest entry that is not below `size`.
fn index_at_least(size: u32) -> u8 {
    debug_assert!(size as usize <= SIZE_MAX);
    if size < DOUBLING_FROM {
        // 497..=511 lie above the linear part and get index 31, which is 512.
        return (size.max(1).div_ceil(LINEAR_STEP) - 1) as u8;
    }
    let doublings = size.next_power_of_two().ilog2() - DOUBLING_FROM.ilog2();
    LINEAR_COUNT + doublings as u8
}

/// The index of the largest entry that is not above `size`, or of the first entry.
fn index_at_most(size: u32) -> u8 {
    let index = index_at_least(size);
    if table(index) > size {
        index.saturating_sub(1)
    } else {
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adaptive(min: usize, initial: usize, max: usize) -> RecvPredictor {
        RecvPredictor::new(RecvAllocator::Adaptive { min, initial, max })
    }

    #[test]
    fn the_size_table_has_netty_s_entries() {
        let all: Vec<u32> = (0..53).map(table).collect();
        assert_eq!(all[..4], [16, 32, 48, 64]);
        assert_eq!(all[29..34], [480, 496, 512, 1024, 2048]);
        assert_eq!(all[52], 1 << 30);
    }

    #[test]
    fn both_roundings_agree_with_a_search_of_the_table() {
        let all: Vec<u32> = (0..53).map(table).collect();
        for size in (1..5000).chain([65_535, 65_536, 65_537, (1 << 30) - 1, 1 << 30]) {
            let at_least = all
                .iter()
                .position(|&entry| entry >= size)
                .expect("in the table");
            let at_most = all.iter().rposition(|&entry| entry <= size).unwrap_or(0);
            assert_eq!(
                usize::from(index_at_least(size)),
                at_least,
                "at least {size}"
            );
            assert_eq!(usize::from(index_at_most(size)), at_most, "at most {size}");
        }
    }

    #[test]
    fn full_reads_climb_four_steps_at_a_time() {
        let mut predictor = adaptive(64, 512, 10 << 20);
        let mut guesses = vec![predictor.guess()];
        for _ in 0..5 {
            assert!(predictor.record(predictor.room()));
            guesses.push(predictor.guess());
        }
        assert_eq!(
            guesses,
            [512, 8192, 131_072, 2_097_152, 8_388_608, 8_388_608]
        );
    }

    #[test]
    fn small_batches_shrink_one_step_after_two_of_them() {
        let mut predictor = adaptive(64, 512, 10 << 20);
        let mut guesses = Vec::new();
        for total in [1024, 1110, 1200, 1300, 1500, 1700, 1550, 2000, 1900] {
            guesses.push(predictor.guess());
            predictor.read_complete(total);
        }
        assert_eq!(
            guesses,
            [512, 8192, 8192, 4096, 4096, 2048, 2048, 2048, 2048]
        );
    }

    #[test]
    fn a_batch_in_the_middle_does_not_forget_the_small_one_before() {
        let mut predictor = adaptive(64, 2048, 65_536);
        predictor.read_complete(100);
        predictor.read_complete(1500);
        assert_eq!(predictor.guess(), 2048);
        predictor.read_complete(100);
        assert_eq!(predictor.guess(), 1024);
    }

    #[test]
    fn a_partial_read_inside_a_batch_is_not_recorded() {
        let mut predictor = adaptive(64, 2048, 65_536);
        assert!(!predictor.record(10));
        assert!(!predictor.record(10));
        assert_eq!(predictor.guess(), 2048);
    }

    #[test]
    fn defaults_end_at_their_bounds() {
        let mut predictor = RecvPredictor::default();
        assert_eq!(predictor.guess(), 2048);
        for _ in 0..3 {
            predictor.record(predictor.room());
        }
        // The last entry of the table below the most, and as much room as there may be.
        assert_eq!((predictor.guess(), predictor.room()), (32_768, 65_408));
        for _ in 0..200 {
            predictor.read_complete(0);
        }
        assert_eq!(predictor.guess(), 64);
    }

    #[test]
    fn bounds_outside_the_table_are_honoured() {
        let mut predictor = adaptive(100, 110, 1000);
        assert_eq!(predictor.guess(), 100);
        for _ in 0..40 {
            predictor.record(predictor.room());
        }
        assert!((100..=1000).contains(&predictor.guess()));
        for _ in 0..80 {
            predictor.read_complete(1);
        }
        assert!((100..=1000).contains(&predictor.guess()));
        // No table entry lies between these bounds at all.
        let mut narrow = adaptive(100, 102, 105);
        for _ in 0..8 {
            narrow.record(narrow.room());
            assert!((100..=105).contains(&narrow.guess()));
        }
    }

    #[test]
    fn messages_of_one_size_come_to_rest() {
        for size in [1, 64, 100, 112, 1000, 1024, 1500, 16_384, 65_407] {
            let mut predictor = RecvPredictor::default();
            for _ in 0..200 {
                predictor.read_complete(size);
            }
            let room = predictor.room();
            assert!(
                room > size && (size <= 64 || room <= size * 4),
                "{room} for {size}"
            );
            for _ in 0..20 {
                assert!(predictor.learns_nothing(size), "{size}");
                predictor.read_complete(size);
                assert_eq!(predictor.room(), room, "for {size}");
            }
        }
    }

    #[test]
    fn fixed_never_moves() {
        let mut predictor = RecvPredictor::new(RecvAllocator::Fixed(2048));
        assert!(predictor.record(2048));
        predictor.read_complete(1 << 20);
        assert_eq!(predictor.guess(), 2048);
        assert!(predictor.may_continue(15, 16));
        assert!(!predictor.may_continue(16, 16));
    }

    #[test]
    fn max_bytes_spends_a_budget_per_batch() {
        let mut predictor = RecvPredictor::new(RecvAllocator::MaxBytes {
            per_loop: 1000,
            per_read: 400,
        });
        let mut guesses = Vec::new();
        let mut reads = 0;
        predictor.reset();
        loop {
            guesses.push(predictor.guess());
            predictor.record(predictor.guess());
            reads += 1;
            if !predictor.may_continue(reads, 1) {
                break;
            }
        }
        assert_eq!(guesses, [400, 400, 200]);
        predictor.reset();
        assert_eq!(predictor.guess(), 400);
    }

    #[test]
    fn sizes_out_of_order_or_range_are_refused() {
        let ok = |allocator: RecvAllocator| allocator.validate().is_ok();
        assert!(ok(RecvAllocator::default()));
        assert!(!ok(RecvAllocator::Fixed(0)));
        assert!(!ok(RecvAllocator::Fixed(SIZE_MAX + 1)));
        assert!(!ok(RecvAllocator::Adaptive {
            min: 0,
            initial: 1,
            max: 1
        }));
        assert!(!ok(RecvAllocator::Adaptive {
            min: 64,
            initial: 32,
            max: 128
        }));
        assert!(!ok(RecvAllocator::MaxBytes {
            per_loop: 10,
            per_read: 11
        }));
        // The predictor itself stays sane even with what was refused.
        assert_eq!(RecvPredictor::new(RecvAllocator::Fixed(0)).guess(), 1);
        assert_eq!(adaptive(64, 32, 16).guess(), 64);
    }
}
