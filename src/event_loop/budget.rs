//! How long tasks may run after an I/O phase: the io_ratio arithmetic, without a clock of its own.
//!
//! The loop asks for an [`Allowance`] once per turn, reports each clock reading it was told to make
//! ([`Budget::next_reading`]), and settles at the end. What was not used or was overdrawn is carried
//! to later turns, within 10 ms either way: one long task makes the following turns frugal instead of
//! being forgotten, and an idle hour does not buy an hour of tasks.
//!
//! Zero is a budget like any other here, never "no limit": with it one task runs. Nor does a low ratio lift the limit: an
//! I/O phase that the machine held up for 0.3 s would at an io_ratio of 1 buy 30 s of tasks, and sockets would wait for
//! them. No phase of tasks is meant to last longer than 0.1 s.

/// Bound of what may be carried over, in both directions.
const CARRY_MAX_NS: i64 = 10_000_000;

/// The longest time that I/O waits for tasks by design, whatever the ratio.
const SHARE_MAX_NS: i64 = 100_000_000;

/// Tasks between two looks at I/O in a turn without any, and between two clock readings while tasks
/// are cheap.
pub(crate) const TASKS_PER_LOOK: u32 = 64;

/// Mean cost of a task above which the clock is read after each one. A reading costs about 25 ns, so
/// below it the readings would be a visible part of the work.
const CHEAP_TASK_NS: u64 = 1_000;

/// Time that tasks get in a turn without I/O: as long as 64 tasks at the border of cheap ones.
const IDLE_SHARE_NS: u64 = CHEAP_TASK_NS * TASKS_PER_LOOK as u64;

/// The share of a loop's time that I/O gets, in percent, 1 to 100; the ratio that tasks get is the
/// rest. At 100, tasks are not timed: those queued when their phase begins run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IoRatio(u8);

impl IoRatio {
    pub(crate) const DEFAULT: Self = Self(50);

    /// `None` outside of 1..=100.
    pub(crate) fn new(percent: u8) -> Option<Self> {
        (1..=100).contains(&percent).then_some(Self(percent))
    }

    pub(crate) fn percent(self) -> u8 {
        self.0
    }
}

/// What a task phase may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Allowance {
    /// Nanoseconds, which may be zero or (after an overdraft) less than nothing; one task runs in
    /// any case.
    Share { ns: i64 },
    /// There was no I/O to share with: so many nanoseconds, and at most so many tasks.
    Look { ns: i64, tasks: u32 },
    /// io_ratio 100: what is queued when the phase begins.
    Queued,
}

#[cfg(feature = "sim")]
impl Allowance {
    /// A simulation may have fewer tasks in a turn.
    pub(crate) fn in_simulation(self) -> Self {
        match tidegate_sys::os::sim::tasks_max() {
            Some(tasks) => Self::Look {
                ns: IDLE_SHARE_NS as i64,
                tasks,
            },
            None => self,
        }
    }
}

/// The account of one loop.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    /// `-CARRY_MAX_NS <= carry_ns <= CARRY_MAX_NS`.
    carry_ns: i64,
    /// Mean cost of a task, an eighth of each reading mixed in. It starts dear, so that the first
    /// tasks of a loop are timed one by one.
    mean_ns: u64,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self {
            carry_ns: 0,
            mean_ns: CHEAP_TASK_NS * 2,
        }
    }

    /// The allowance after an I/O phase of so long; `None` when the turn had nothing to do for I/O.
    #[inline]
    pub(crate) fn allot(&self, io_ns: Option<u64>, ratio: IoRatio) -> Allowance {
        if ratio.percent() == 100 {
            return Allowance::Queued;
        }
        let Some(io_ns) = io_ns else {
            return Allowance::Look {
                ns: IDLE_SHARE_NS as i64,
                tasks: TASKS_PER_LOOK,
            };
        };
        Allowance::Share {
            ns: share_ns(io_ns, ratio).saturating_add(self.carry_ns),
        }
    }

    /// Whether as much is carried over as may be: settling what was not used changes nothing then.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.carry_ns == CARRY_MAX_NS
    }

    /// How many tasks to run before the clock is read again, when so much of the allowance is left: one
    /// while tasks are dear, else as many as it will probably take to use that up.
    pub(crate) fn next_reading(&self, left_ns: i64) -> u32 {
        let Ok(left_ns) = u64::try_from(left_ns) else {
            return 1;
        };
        if self.mean_ns > CHEAP_TASK_NS {
            return 1;
        }
        let tasks = left_ns / self.mean_ns.max(1);
        tasks.clamp(1, u64::from(TASKS_PER_LOOK)) as u32
    }

    /// Notes that `tasks` tasks took so long between two readings.
    pub(crate) fn observe(&mut self, tasks: u32, spent_ns: u64) {
        if tasks == 0 {
            return;
        }
        let cost = spent_ns / u64::from(tasks);
        self.mean_ns = (self.mean_ns * 7 + cost.min(CARRY_MAX_NS as u64)).div_ceil(8);
    }

    /// Ends a phase that was allotted `allowance` and took so long.
    #[inline]
    pub(crate) fn settle(&mut self, allowance: Allowance, spent_ns: u64) {
        if let Allowance::Share { ns } = allowance {
            let spent = i64::try_from(spent_ns).unwrap_or(i64::MAX);
            self.carry_ns = ns.saturating_sub(spent).clamp(-CARRY_MAX_NS, CARRY_MAX_NS);
        }
    }
}

fn share_ns(io_ns: u64, ratio: IoRatio) -> i64 {
    let percent = u64::from(ratio.percent());
    let share = io_ns.saturating_mul(100 - percent) / percent;
    share.min(SHARE_MAX_NS as u64) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In nanoseconds, as everything here.
    const US: u64 = 1_000;
    const HOUR: u64 = 3_600_000_000_000;
    const MUCH: i64 = 1_000_000;

    fn ratio(percent: u8) -> IoRatio {
        IoRatio::new(percent).expect("in range")
    }

    #[test]
    fn tasks_get_what_the_ratio_leaves() {
        let budget = Budget::new();
        for (percent, io_us, task_ns) in [
            (50, 10, 10_000),
            (1, 10, 990_000),
            (99, 99, 1_000),
            (80, 100, 25_000),
        ] {
            let allowance = budget.allot(Some(US * io_us), ratio(percent));
            assert_eq!(
                allowance,
                Allowance::Share { ns: task_ns },
                "io_ratio {percent}"
            );
        }
    }

    #[test]
    fn ratio_is_one_to_a_hundred() {
        assert_eq!(IoRatio::new(0), None);
        assert_eq!(IoRatio::new(101), None);
        assert_eq!(ratio(1).percent(), 1);
        assert_eq!(Budget::new().allot(Some(US), ratio(100)), Allowance::Queued);
        assert_eq!(Budget::new().allot(None, ratio(100)), Allowance::Queued);
    }

    /// Rules: 5.3.
    #[test]
    fn no_io_time_is_no_licence_to_run_for_ever() {
        let budget = Budget::new();
        let allowance = budget.allot(Some(0), ratio(50));
        assert_eq!(allowance, Allowance::Share { ns: 0 });
        assert_eq!(
            budget.allot(None, ratio(50)),
            Allowance::Look {
                ns: 64_000,
                tasks: 64
            }
        );
    }

    /// Rules: 5.3.
    #[test]
    fn an_io_phase_that_was_held_up_buys_tasks_no_eternity() {
        let stalled = 300_000 * US;
        for percent in [1, 50] {
            assert_eq!(
                Budget::new().allot(Some(stalled), ratio(percent)),
                Allowance::Share { ns: SHARE_MAX_NS }
            );
        }
        assert_eq!(
            Budget::new().allot(Some(stalled), ratio(90)),
            Allowance::Share { ns: 33_333_333 }
        );
    }

    #[test]
    fn an_overdraft_is_paid_back_and_savings_are_kept() {
        let mut budget = Budget::new();
        let first = budget.allot(Some(US * 10), ratio(50));
        budget.settle(first, US * 30);
        assert_eq!(
            budget.allot(Some(US * 10), ratio(50)),
            Allowance::Share { ns: -10_000 }
        );
        let second = budget.allot(Some(US * 50), ratio(50));
        budget.settle(second, US * 5);
        assert_eq!(
            budget.allot(Some(US), ratio(50)),
            Allowance::Share { ns: 26_000 }
        );
    }

    /// Rules: 5.3.
    #[test]
    fn the_carry_is_bounded_both_ways() {
        let mut budget = Budget::new();
        let allowance = budget.allot(Some(US), ratio(50));
        budget.settle(allowance, HOUR);
        assert_eq!(
            budget.allot(Some(0), ratio(50)),
            Allowance::Share { ns: -CARRY_MAX_NS }
        );
        let allowance = budget.allot(Some(HOUR), ratio(1));
        assert!(!budget.is_full());
        budget.settle(allowance, 0);
        assert_eq!(
            budget.allot(Some(0), ratio(50)),
            Allowance::Share { ns: CARRY_MAX_NS }
        );
        assert!(budget.is_full());
        for io_ns in [None, Some(0), Some(HOUR)] {
            let unused = budget.allot(io_ns, ratio(50));
            budget.settle(unused, 0);
            assert!(budget.is_full());
        }
    }

    #[test]
    fn turns_without_io_leave_the_account_alone() {
        let mut budget = Budget::new();
        let look = budget.allot(None, ratio(50));
        budget.settle(look, HOUR);
        assert_eq!(
            budget.allot(Some(US), ratio(50)),
            Allowance::Share { ns: 1_000 }
        );
    }

    #[test]
    fn the_clock_is_read_rarely_only_once_tasks_have_proved_cheap() {
        let mut budget = Budget::new();
        assert_eq!(budget.next_reading(MUCH), 1);
        for _ in 0..64 {
            budget.observe(1, 100);
        }
        assert_eq!(budget.next_reading(MUCH), 64);
        assert_eq!(budget.next_reading(1_000), 9, "with means of about 100 ns");
        assert_eq!(budget.next_reading(0), 1);
        assert_eq!(budget.next_reading(-5), 1);
        budget.observe(64, 64 * 20 * US);
        assert_eq!(budget.next_reading(MUCH), 1);
        budget.observe(0, HOUR);
    }

    /// Over many turns the shares are exact whatever single turns did.
    ///
    /// Rules: 5.3.
    #[test]
    fn shares_are_exact_in_the_long_run() {
        let mut budget = Budget::new();
        let (mut io_ns, mut task_ns) = (0_u64, 0_u64);
        for turn in 0..10_000_u64 {
            let io = 2_000 + turn * 37 % 9_000;
            let allowance = budget.allot(Some(io), ratio(75));
            let Allowance::Share { ns } = allowance else {
                panic!("a share")
            };
            let cost = 300 + turn * 13 % 1_000;
            let mut spent = 0;
            loop {
                spent += cost;
                if spent as i64 >= ns {
                    break;
                }
            }
            budget.settle(allowance, spent);
            io_ns += io;
            task_ns += spent;
        }
        let wanted = io_ns / 3;
        assert!(
            task_ns.abs_diff(wanted) < 20_000,
            "{task_ns} against {wanted}"
        );
    }
}
