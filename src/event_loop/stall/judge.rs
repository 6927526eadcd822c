//! [`Judge`]: from what one look after another finds to what is to be said. Pure: it knows neither thread nor clock.
//!
//! Time is what passes between two looks that find the same entry, so an entry is at least as old as it is said to be, and
//! younger than that and one distance of looks. When the looks themselves come late (the process was stopped, by a
//! debugger or by SIGSTOP, or the machine slept), the loop's thread had no time either: no more than the distance that was
//! asked for counts.

use std::time::Duration;

use tidegate_sys::os::Time;

use super::post::Look;

/// Looks per limit.
const LOOKS: u32 = 4;

/// A stall that goes on is told again when it is this many times as old.
const AGAIN: u32 = 2;

/// What is to be said of a loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Nothing,
    /// It is held.
    Held {
        held: Duration,
        /// Of it, how long the same callback was found.
        in_it: Duration,
        /// Whether this stall was told before.
        again: bool,
    },
    /// A stall that was told is over.
    Over {
        held: Duration,
    },
}

/// The one entry that a look has found.
#[derive(Clone, Copy, Debug)]
struct Seen {
    entry: u64,
    change: u64,
    held: Duration,
    in_it: Duration,
    /// When it is told the next time.
    tell_at: Duration,
    is_told: bool,
}

/// What is known of one loop.
#[derive(Debug)]
pub(super) struct Judge {
    limit: Duration,
    looked: Time,
    seen: Option<Seen>,
}

impl Judge {
    pub(super) fn new(limit: Duration, now: Time) -> Self {
        Self {
            limit,
            looked: now,
            seen: None,
        }
    }

    /// How long after a look the next one should come. Less during a stall, so that its end is known well.
    pub(super) fn distance(&self) -> Duration {
        let calm = self.limit / LOOKS;
        if self.seen.is_some_and(|seen| seen.is_told) {
            calm / LOOKS
        } else {
            calm
        }
    }

    /// One look. `None` stands for one that found nothing certain.
    pub(super) fn look(&mut self, now: Time, look: Option<Look>) -> Verdict {
        let distance = self.distance();
        let mut passed = now.saturating_since(self.looked);
        self.looked = now;
        if passed > 2 * distance {
            passed = distance;
        }
        let Some(look) = look else {
            return Verdict::Nothing;
        };
        match &mut self.seen {
            Some(seen) if seen.entry == look.entry => {
                seen.held += passed;
                if seen.change == look.change {
                    seen.in_it += passed;
                } else {
                    seen.change = look.change;
                    seen.in_it = Duration::ZERO;
                }
                if seen.held < seen.tell_at {
                    return Verdict::Nothing;
                }
                seen.tell_at = seen.held * AGAIN;
                Verdict::Held {
                    held: seen.held,
                    in_it: seen.in_it,
                    again: std::mem::replace(&mut seen.is_told, true),
                }
            }
            _ => {
                let before = self.seen.take();
                self.seen = (look.entry != 0).then_some(Seen {
                    entry: look.entry,
                    change: look.change,
                    held: Duration::ZERO,
                    in_it: Duration::ZERO,
                    tell_at: self.limit,
                    is_told: false,
                });
                match before {
                    Some(Seen {
                        held,
                        is_told: true,
                        ..
                    }) => Verdict::Over { held },
                    _ => Verdict::Nothing,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::post::Holder;
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A judge with a limit of 100 ms and a clock.
    struct Bench {
        judge: Judge,
        now: Time,
    }

    impl Bench {
        fn new() -> Self {
            let now = Time::from_nanos(1);
            Self {
                judge: Judge::new(100 * MS, now),
                now,
            }
        }

        /// Looks after `ms` milliseconds.
        fn look(&mut self, ms: u32, entry: u64, change: u64) -> Verdict {
            self.now += ms * MS;
            let holder = Holder::NOBODY;
            let look = Look {
                change,
                entry,
                holder,
            };
            self.judge.look(self.now, Some(look))
        }
    }

    fn held(held: u32, in_it: u32, again: bool) -> Verdict {
        Verdict::Held {
            held: held * MS,
            in_it: in_it * MS,
            again,
        }
    }

    #[test]
    fn what_lasts_is_told_while_it_lasts_then_rarer_and_at_its_end() {
        let mut bench = Bench::new();
        assert_eq!(bench.look(25, 1, 2), Verdict::Nothing);
        for _ in 0..3 {
            assert_eq!(bench.look(25, 1, 2), Verdict::Nothing);
        }
        assert_eq!(bench.look(25, 1, 2), held(100, 100, false));
        let mut told = Vec::new();
        for look in 1..=100_u32 {
            if bench.look(10, 1, 2) != Verdict::Nothing {
                told.push(100 + 10 * look);
            }
        }
        assert_eq!(told, [200, 400, 800]);
        assert_eq!(bench.look(3, 0, 4), Verdict::Over { held: 1100 * MS });
        assert_eq!(bench.look(25, 0, 4), Verdict::Nothing);
    }

    #[test]
    fn a_loop_that_gets_on_is_never_told() {
        let mut bench = Bench::new();
        for entry in 1..1000 {
            assert_eq!(bench.look(25, entry, 2 * entry), Verdict::Nothing);
            assert_eq!(bench.look(25, entry, 2 * entry), Verdict::Nothing);
        }
        // Nor one that sleeps or spins: it is in nobody's code.
        for _ in 0..1000 {
            assert_eq!(bench.look(25, 0, 1), Verdict::Nothing);
        }
    }

    #[test]
    fn an_entry_that_goes_through_many_callbacks_is_a_stall_of_the_last_one() {
        let mut bench = Bench::new();
        bench.look(25, 1, 0);
        for change in 1..4 {
            assert_eq!(bench.look(25, 1, change), Verdict::Nothing);
        }
        assert_eq!(bench.look(25, 1, 4), held(100, 0, false));
        assert_eq!(bench.look(6, 1, 4), Verdict::Nothing);
        for _ in 0..9 {
            bench.look(10, 1, 4);
        }
        assert_eq!(bench.look(10, 1, 4), held(206, 106, true));
    }

    #[test]
    fn when_the_watcher_itself_had_no_time_nothing_is_said() {
        let mut bench = Bench::new();
        bench.look(25, 1, 2);
        // Stopped for an hour, and then it goes on.
        assert_eq!(bench.look(3_600_000, 1, 2), Verdict::Nothing);
        assert_eq!(bench.look(25, 1, 2), Verdict::Nothing);
        assert_eq!(bench.look(25, 0, 4), Verdict::Nothing);
        // In the middle of a stall: the hour is no part of it.
        for _ in 0..5 {
            bench.look(25, 3, 6);
        }
        assert_eq!(bench.look(3_600_000, 3, 6), Verdict::Nothing);
        assert_eq!(
            bench.look(6, 0, 8),
            Verdict::Over {
                held: 106_250 * MS / 1000
            }
        );
    }

    #[test]
    fn a_look_that_found_nothing_certain_changes_nothing() {
        let mut bench = Bench::new();
        bench.look(25, 1, 2);
        for _ in 0..3 {
            bench.look(25, 1, 2);
        }
        bench.now += 25 * MS;
        assert_eq!(bench.judge.look(bench.now, None), Verdict::Nothing);
        assert_eq!(bench.look(25, 1, 2), held(100, 100, false));
    }

    #[test]
    fn two_stalls_in_a_row_are_two() {
        let mut bench = Bench::new();
        for entry in [1, 2] {
            bench.look(25, entry, 2 * entry);
            for _ in 0..3 {
                bench.look(25, entry, 2 * entry);
            }
            assert_eq!(bench.look(25, entry, 2 * entry), held(100, 100, false));
            assert_eq!(bench.judge.distance(), 6_250 * MS / 1000);
        }
        assert_eq!(bench.look(5, 0, 9), Verdict::Over { held: 100 * MS });
        assert_eq!(bench.judge.distance(), 25 * MS);
    }
}
