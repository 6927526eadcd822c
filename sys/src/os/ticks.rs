//! [`Ticks`]: the monotonic clock for the turns of a loop, mostly at the price of reading a register.
//!
//! Asking the vDSO takes 25 ns, and more of a processor that has just slept: a call through the C library, two pages of code and one
//! of data that are in no cache, and a fence. A turn asks twice. What the vDSO does is to scale the processor's counter from a
//! point that the kernel keeps; here the point is a reading of the clock that is at most a millisecond old. Two readings instead
//! of the clock's save 1 to 3 % of an echo on one connection (side by side, in turns).
//!
//! Three things hold whatever the counter does:
//!
//! - Nothing is told for longer than a millisecond from one reading, and the next one shows whether it was right. When a virtual
//!   machine moves, or sleeps, or the counter's rate changes, the error ends with that millisecond, and is no longer than it.
//! - While the rate stays the same what is told is not ahead of the clock. It is behind by an 8,192th of the millisecond and
//!   the half of a reading at most. So deadlines are counted from [`clock::now`], and what is due is looked up there once more.
//! - The counter counts only where the kernel itself goes by it (Linux on x86_64 with the clock source "tsc"), and as soon as
//!   its rate was measured over 2^26 ticks (16 to 40 ms). Before, and elsewhere, each reading is one of the clock.

use std::cell::Cell;

use super::clock::{self, Time};

/// Ticks for which a reading is good: a millisecond at 2.1 GHz.
const SPAN: u64 = 1 << 21;
/// Ticks over which the rate is measured, at least. A reading may be off by [`CLOSE`] at both ends, in most cases by 1/20 of that.
const WINDOW: u64 = 1 << 26;
/// Ticks that may lie between the counter's readings before and behind one of the clock: otherwise something else ran. As
/// nanoseconds, what they take at 1 GHz.
const CLOSE: u64 = 1 << 11;
/// A rate is in nanoseconds per 2^24 ticks.
const RATE_BITS: u32 = 24;
/// What a rate is made smaller by, as a shift: more than it can have been measured too large, [`CLOSE`] of [`WINDOW`] twice.
const CAUTION: u32 = 13;
/// By how much, as a shift, one rate may differ from the next; else the next is measured before anything is told.
const STEADY: u32 = 10;

const _: () = assert!(
    (2 * CLOSE) << CAUTION <= WINDOW,
    "a rate is never too large"
);

/// See the module's page. One for each loop.
#[derive(Debug)]
pub struct Ticks {
    /// Whether the counter may be gone by.
    is_the_clocks: bool,
    /// The counter, and the clock, when that was read.
    at: Cell<u64>,
    time: Cell<u64>,
    /// How long that is good for: [`SPAN`], or zero.
    span: Cell<u64>,
    /// Zero if it is not known.
    rate: Cell<u64>,
    /// Where the measuring of the rate began: the counter and the clock; zero if it did not.
    base: Cell<(u64, u64)>,
}

impl Ticks {
    /// Knows nothing yet but what the kernel goes by. That is asked for here, once in a process: one that locks itself in may not be
    /// able to later.
    pub fn new() -> Self {
        Self::of(counter::is_the_clocks())
    }

    fn of(is_the_clocks: bool) -> Self {
        Self {
            is_the_clocks,
            at: Cell::new(0),
            time: Cell::new(0),
            span: Cell::new(0),
            rate: Cell::new(0),
            base: Cell::new((0, 0)),
        }
    }

    /// The time, at most a few hundred nanoseconds ago.
    #[inline]
    pub fn now(&self) -> Time {
        #[cfg(feature = "sim")]
        if super::sim::now().is_some() {
            return clock::now();
        }
        if !counter::EXISTS {
            return clock::now();
        }
        // Read only where it is known to be the clock's: a process may be denied it.
        if self.span.get() != 0
            && let Some(nanos) = self.tell(counter::read())
        {
            return Time::from_nanos(nanos);
        }
        self.look()
    }

    #[inline]
    fn tell(&self, count: u64) -> Option<u64> {
        let passed = count.wrapping_sub(self.at.get());
        (passed < self.span.get())
            .then(|| self.time.get() + ((passed * self.rate.get()) >> RATE_BITS))
    }

    #[cold]
    #[inline(never)]
    fn look(&self) -> Time {
        if !self.is_the_clocks {
            return clock::now();
        }
        let before = counter::read();
        let now = clock::now();
        self.note(before, now.as_nanos(), counter::read());
        now
    }

    /// The clock was read, between these two readings of the counter.
    fn note(&self, before: u64, time: u64, after: u64) {
        self.span.set(0);
        if after.wrapping_sub(before) > CLOSE {
            return;
        }
        if self.rate.get() != 0 && !self.would_have_told(before, time) {
            self.forget();
        }
        let (base, base_time) = self.base.get();
        let ticks = after.wrapping_sub(base);
        if base_time == 0 {
            self.base.set((after, time));
        } else if ticks >= WINDOW {
            self.measure(time.saturating_sub(base_time), ticks);
            self.base.set((after, time));
        }
        // From behind the clock's reading on: what is told is late by what lies between.
        self.at.set(after);
        self.time.set(time);
        if self.rate.get() != 0 {
            self.span.set(SPAN);
        }
    }

    /// Whether what would have been told of this moment is right, however long ago the last reading was: not ahead, and behind
    /// by what the caution makes it, a reading, and the steering of the clock.
    fn would_have_told(&self, count: u64, time: u64) -> bool {
        let passed = u128::from(count.wrapping_sub(self.at.get()));
        let told =
            u128::from(self.time.get()) + ((passed * u128::from(self.rate.get())) >> RATE_BITS);
        let since = time.saturating_sub(self.time.get());
        let behind = u128::from(time).checked_sub(told);
        behind.is_some_and(|behind| behind <= u128::from((since >> STEADY) + CLOSE))
    }

    /// So many nanoseconds were so many ticks.
    fn measure(&self, nanos: u64, ticks: u64) {
        let rate = (u128::from(nanos) << RATE_BITS) / u128::from(ticks);
        // A counter of less than 1 MHz or more than 16 GHz is none, and a product of SPAN and the rate has 64 bits.
        let Some(rate) = u64::try_from(rate)
            .ok()
            .filter(|rate| (1 << 20..1 << 34).contains(rate))
        else {
            return self.rate.set(0);
        };
        let rate = rate - (rate >> CAUTION);
        let known = self.rate.get();
        let is_steady = known == 0 || known.abs_diff(rate) <= known >> STEADY;
        self.rate.set(if is_steady { rate } else { 0 });
    }

    /// Begins to measure anew.
    fn forget(&self) {
        self.span.set(0);
        self.rate.set(0);
        self.base.set((0, 0));
    }
}

impl Default for Ticks {
    fn default() -> Self {
        Self::new()
    }
}

/// The processor's counter.
#[cfg(all(target_arch = "x86_64", target_os = "linux", not(loom), not(miri)))]
mod counter {
    use std::fs;
    use std::sync::OnceLock;

    pub(super) const EXISTS: bool = true;

    /// For whom it is the clock's.
    #[inline]
    pub(super) fn read() -> u64 {
        // SAFETY: every x86_64 processor has the instruction. A process that is denied it (prctl PR_SET_TSC) has no vDSO with such a
        // clock source either: reading the clock would have ended it.
        unsafe { std::arch::x86_64::_rdtsc() }
    }

    /// Whether the kernel takes its time from it: then all processors count alike, whatever they do and however they sleep.
    pub(super) fn is_the_clocks() -> bool {
        const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        static IS: OnceLock<bool> = OnceLock::new();
        *IS.get_or_init(|| fs::read(SOURCE).is_ok_and(|source| source == b"tsc\n"))
    }
}

/// There is none that is known to be the clock's.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux", not(loom), not(miri))))]
mod counter {
    pub(super) const EXISTS: bool = false;

    pub(super) fn read() -> u64 {
        0
    }

    pub(super) fn is_the_clocks() -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A machine with a clock, and a counter that has two ticks in each nanosecond.
    struct Machine {
        ticks: Ticks,
        nanos: u64,
        count: u64,
        per_nano: u64,
        looks: u32,
    }

    impl Machine {
        fn new() -> Self {
            Self {
                ticks: Ticks::of(true),
                nanos: 5_000_000_000,
                // Soon goes over its end.
                count: u64::MAX - (1 << 30),
                per_nano: 2,
                looks: 0,
            }
        }

        fn pass(&mut self, nanos: u64) {
            self.nanos += nanos;
            self.count = self.count.wrapping_add(nanos * self.per_nano);
        }

        fn now(&mut self) -> u64 {
            let told = self.ticks.tell(self.count);
            told.unwrap_or_else(|| self.look(30))
        }

        /// Reads the clock, which takes so long.
        fn look(&mut self, nanos: u64) -> u64 {
            self.looks += 1;
            let before = self.count;
            self.pass(nanos / 2);
            let time = self.nanos;
            self.pass(nanos - nanos / 2);
            self.ticks.note(before, time, self.count);
            time
        }

        /// Goes on until the rate is known.
        fn measure(&mut self) {
            for _ in 0..100 {
                self.now();
                self.pass(1_000_000);
            }
            assert_ne!(self.ticks.rate.get(), 0);
            self.look(30);
        }
    }

    #[test]
    fn what_is_told_is_not_ahead_and_hardly_behind() {
        let mut machine = Machine::new();
        machine.measure();
        machine.looks = 0;
        for step in 0..1_000_000 {
            machine.pass(step % 977);
            let told = machine.now();
            let behind = machine.nanos.checked_sub(told).expect("never ahead");
            assert!(behind < 200, "{behind}");
        }
        // 488 ms have passed.
        assert!((400..500).contains(&machine.looks), "{}", machine.looks);
    }

    #[test]
    fn each_reading_is_one_of_the_clock_until_the_rate_is_known() {
        let mut machine = Machine::new();
        for looks in 1..300 {
            machine.now();
            assert_eq!(machine.looks, looks);
            machine.pass(100_000);
        }
        assert_eq!(machine.ticks.rate.get(), 0, "33 ms have not passed");
    }

    #[test]
    fn a_counter_that_changes_misleads_for_no_longer_than_a_reading_is_good() {
        for (per_nano, jump) in [
            (1, 0),
            (3, 0),
            (4, 0),
            (2, 1 << 40),
            (2, (1 << 40) - (1 << 41)),
        ] {
            let mut machine = Machine::new();
            machine.measure();
            machine.per_nano = per_nano;
            machine.count = machine.count.wrapping_add_signed(jump);
            for micros in 0..400_000 {
                machine.pass(1_000);
                let told = machine.now();
                let off = machine.nanos.abs_diff(told);
                // At one tick in a nanosecond it is good for 2.1 ms.
                let off_max = if micros < 2_100 { SPAN } else { 300 };
                assert!(off <= off_max, "{per_nano} {jump} {micros}: {off}");
                assert!(micros < 2_100 || told <= machine.nanos, "ahead");
            }
            assert_ne!(machine.ticks.rate.get(), 0, "the new one");
        }
    }

    #[test]
    fn a_reading_that_was_interrupted_is_not_gone_by() {
        let mut machine = Machine::new();
        machine.measure();
        machine.look(5_000);
        assert_eq!(machine.ticks.tell(machine.count), None);
        machine.look(30);
        assert!(machine.ticks.tell(machine.count).is_some());
    }

    #[test]
    fn no_rate_is_made_of_nonsense() {
        let ticks = Ticks::of(true);
        for (nanos, passed) in [
            (0, WINDOW),
            (u64::MAX, WINDOW),
            (1, u64::MAX),
            (u64::MAX, 1),
        ] {
            ticks.measure(nanos, passed);
            assert_eq!(ticks.rate.get(), 0);
        }
    }

    #[test]
    fn it_keeps_to_the_clock_of_this_machine() {
        // What it may be off whatever the kernel does meanwhile; 2.1 ms at 1 GHz.
        const OFF_MAX: Duration = Duration::from_micros(2_100);

        let ticks = Ticks::new();
        let end = clock::now() + Duration::from_millis(120);
        let mut before = clock::now();
        while before < end {
            let told = ticks.now();
            let after = clock::now();
            assert!(told + OFF_MAX >= before && told <= after + OFF_MAX);
            before = after;
        }
    }
}
