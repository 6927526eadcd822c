//! How long a loop polls before it lets the kernel put it to sleep.
//!
//! Being woken costs tens of microseconds; polling costs a core. [`Spin`] is the user's choice,
//! [`Spinner`] its state in one loop, fed with what happened and asked before each wait. It reads no
//! clock.

use std::time::Duration;

/// Polling before sleeping.
///
/// While a loop polls it counts as awake: whoever gives it a task writes to no descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Spin {
    /// Sleep at once. The default.
    #[default]
    Off,
    /// Poll this many times without finding anything, then sleep. One poll is one system call,
    /// 0.2 to 0.5 µs.
    Count(u32),
    /// Poll for this long without finding anything, then sleep.
    For(Duration),
    /// Poll as long as it has paid lately, at most `max`: the time doubles when polling found
    /// something or a sleep was shorter than `max`, and halves when it found nothing and the sleep
    /// was longer.
    Adaptive {
        /// The longest time to poll.
        max: Duration,
    },
}

/// Looks at the task queue between two polls, at most. A poll of an empty epoll set takes 110 to 300 ns, a look and the reading
/// of the clock in front of it 30 to 55: then a task mostly meets a loop that looks, and is seen at once. [`Spinner::looks`] says
/// why not always.
const LOOKS_MAX: u32 = 16;

/// The adaptive time never halves below this part of its maximum, so that it can grow again.
const ADAPTIVE_FLOOR: u32 = 64;

/// The state of a loop's [`Spin`].
pub(crate) struct Spinner {
    spin: Spin,
    /// For [`Spin::Adaptive`]: how long to poll the next time.
    adaptive: Duration,
    /// 1 <= looks <= LOOKS_MAX
    looks: u32,
}

/// What polling has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// Readiness of a channel, or the time of a timer.
    Event,
    /// Something from another thread.
    Task,
}

/// When to stop polling.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SpinLimit {
    /// Do not begin.
    None,
    Polls(u32),
    Time(Duration),
}

impl Spinner {
    pub(crate) fn new(spin: Spin) -> Self {
        let adaptive = match spin {
            Spin::Adaptive { max } => max / ADAPTIVE_FLOOR,
            _ => Duration::ZERO,
        };
        Self {
            spin,
            adaptive,
            looks: 1,
        }
    }

    /// How long to poll now.
    pub(crate) fn limit(&self) -> SpinLimit {
        match self.spin {
            Spin::Off | Spin::Count(0) => SpinLimit::None,
            Spin::Count(polls) => SpinLimit::Polls(polls),
            Spin::For(time) if time.is_zero() => SpinLimit::None,
            Spin::For(time) => SpinLimit::Time(time),
            Spin::Adaptive { .. } if self.adaptive.is_zero() => SpinLimit::None,
            Spin::Adaptive { .. } => SpinLimit::Time(self.adaptive),
        }
    }

    /// How often to look at the task queue between two polls. What sockets bring is seen later by half of that time (0.1 µs
    /// of a round trip of 11), what comes from other threads sooner (a median of 0.27 µs instead of 0.39); so the looks
    /// follow what has come lately.
    pub(crate) fn looks(&self) -> u32 {
        self.looks
    }

    /// Polling found something to do.
    pub(crate) fn paid(&mut self, found: Found) {
        self.looks = match found {
            Found::Event => (self.looks / 2).max(1),
            Found::Task => LOOKS_MAX,
        };
        if let Spin::Adaptive { max } = self.spin {
            self.adaptive = (self.adaptive * 2).min(max);
        }
    }

    /// Polling found nothing, and the sleep after it took `slept`.
    pub(crate) fn slept(&mut self, slept: Duration) {
        if let Spin::Adaptive { max } = self.spin {
            self.adaptive = if slept < max {
                (self.adaptive * 2).min(max)
            } else {
                (self.adaptive / 2).max(max / ADAPTIVE_FLOOR)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_micros(64);

    #[test]
    fn fixed_limits_are_what_the_user_said() {
        assert_eq!(Spinner::new(Spin::Off).limit(), SpinLimit::None);
        assert_eq!(Spinner::new(Spin::Count(0)).limit(), SpinLimit::None);
        assert_eq!(Spinner::new(Spin::Count(9)).limit(), SpinLimit::Polls(9));
        assert_eq!(Spinner::new(Spin::For(MAX)).limit(), SpinLimit::Time(MAX));
        assert_eq!(
            Spinner::new(Spin::For(Duration::ZERO)).limit(),
            SpinLimit::None
        );
        let never = Spin::Adaptive {
            max: Duration::ZERO,
        };
        assert_eq!(Spinner::new(never).limit(), SpinLimit::None);
    }

    /// Rules: 5.4.
    #[test]
    fn adaptive_grows_while_it_pays_and_shrinks_when_it_does_not() {
        let mut spinner = Spinner::new(Spin::Adaptive { max: MAX });
        assert_eq!(spinner.limit(), SpinLimit::Time(MAX / 64));
        for _ in 0..10 {
            spinner.paid(Found::Event);
        }
        assert_eq!(spinner.limit(), SpinLimit::Time(MAX));
        spinner.slept(MAX * 10);
        assert_eq!(spinner.limit(), SpinLimit::Time(MAX / 2));
        spinner.slept(MAX / 2);
        assert_eq!(spinner.limit(), SpinLimit::Time(MAX));
        for _ in 0..20 {
            spinner.slept(MAX * 10);
        }
        assert_eq!(spinner.limit(), SpinLimit::Time(MAX / 64));
    }

    #[test]
    fn the_looks_at_tasks_follow_what_comes() {
        let mut spinner = Spinner::new(Spin::Count(9));
        assert_eq!(spinner.looks(), 1);
        spinner.paid(Found::Task);
        assert_eq!(spinner.looks(), LOOKS_MAX);
        spinner.paid(Found::Event);
        assert_eq!(spinner.looks(), LOOKS_MAX / 2);
        for _ in 0..9 {
            spinner.paid(Found::Event);
        }
        assert_eq!(spinner.looks(), 1);
    }
}
