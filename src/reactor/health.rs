//! When a selector has to be opened anew: bookkeeping for the reactor, without kernel or clock.
//!
//! Three things end trust in a selector (DESIGN 5): waits that keep coming back early with nothing,
//! events that keep coming for registrations long ended (a duplicated descriptor keeps the kernel's
//! entry alive, and no call of ours reaches it any more), and waits that fail. A rebuild costs a system
//! call per channel, so there is at most one per second.

use std::fmt;
use std::time::Duration;

use tidegate_sys::os::Time;

/// Early, empty waits in a row that ask for a rebuild. Netty's figure.
pub(crate) const PREMATURE_WAITS_MAX: u32 = 512;

/// Events in total for registrations long ended that ask for a rebuild.
pub(crate) const GHOSTS_MAX: u32 = 64;

/// The least time between two rebuilds, and before a failed one is tried again.
pub(crate) const REBUILD_INTERVAL: Duration = Duration::from_secs(1);

/// Why a selector is opened anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    PrematureWaits,
    Ghosts,
    WaitFailed,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::PrematureWaits => "its waits keep ending early with nothing",
            Cause::Ghosts => "a duplicated descriptor keeps reporting events of a closed channel",
            Cause::WaitFailed => "a wait failed",
        })
    }
}

/// The state of one selector's health.
#[derive(Default)]
pub(crate) struct Health {
    premature_in_row: u32,
    ghosts: u32,
    wanted: Option<Cause>,
    last_attempt: Option<Time>,
}

impl Health {
    /// A wait with a timeout other than zero ended before it, with nothing to show for it.
    pub(crate) fn premature(&mut self) {
        self.premature_in_row += 1;
        if self.premature_in_row >= PREMATURE_WAITS_MAX {
            self.want(Cause::PrematureWaits);
        }
    }

    /// A wait ended for a reason.
    pub(crate) fn sound(&mut self) {
        self.premature_in_row = 0;
    }

    pub(crate) fn ghost(&mut self) {
        self.ghosts += 1;
        if self.ghosts >= GHOSTS_MAX {
            self.want(Cause::Ghosts);
        }
    }

    pub(crate) fn failed(&mut self) {
        self.want(Cause::WaitFailed);
    }

    /// The cause of a rebuild that is due now. The caller makes it and says how it went.
    pub(crate) fn due(&self, now: Time) -> Option<Cause> {
        let cause = self.wanted?;
        (self.retry_at()? <= now).then_some(cause)
    }

    /// When to come back for a rebuild that is wanted; `None` if none is.
    pub(crate) fn retry_at(&self) -> Option<Time> {
        self.wanted?;
        Some(
            self.last_attempt
                .map_or(Time::ZERO, |last| last + REBUILD_INTERVAL),
        )
    }

    /// Whether a wait that ended for a reason would change nothing, and no rebuild is wanted.
    pub(crate) fn is_calm(&self) -> bool {
        self.premature_in_row == 0 && self.wanted.is_none()
    }

    /// The selector was replaced: all is forgotten but the time.
    pub(crate) fn rebuilt(&mut self, now: Time) {
        *self = Self {
            last_attempt: Some(now),
            ..Self::default()
        };
    }

    /// The selector could not be replaced; it stays wanted.
    pub(crate) fn rebuild_failed(&mut self, now: Time) {
        self.last_attempt = Some(now);
    }

    fn want(&mut self, cause: Cause) {
        self.wanted.get_or_insert(cause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_nanos(5_000_000_000);

    /// Rules: E25.
    #[test]
    fn premature_waits_count_only_in_a_row() {
        let mut health = Health::default();
        for _ in 0..PREMATURE_WAITS_MAX - 1 {
            health.premature();
        }
        health.sound();
        assert_eq!(health.due(NOW), None);
        for _ in 0..PREMATURE_WAITS_MAX {
            health.premature();
        }
        assert_eq!(health.due(NOW), Some(Cause::PrematureWaits));
    }

    #[test]
    fn ghosts_count_in_total() {
        let mut health = Health::default();
        for _ in 0..GHOSTS_MAX {
            assert_eq!(health.due(NOW), None);
            health.ghost();
            health.sound();
        }
        assert_eq!(health.due(NOW), Some(Cause::Ghosts));
    }

    /// Rules: 5.6.
    #[test]
    fn there_is_at_most_one_rebuild_per_second() {
        let mut health = Health::default();
        health.failed();
        assert_eq!(health.due(NOW), Some(Cause::WaitFailed));
        health.rebuilt(NOW);
        assert_eq!(health.due(NOW), None);
        assert_eq!(health.retry_at(), None);
        health.failed();
        assert_eq!(health.due(NOW), None);
        assert_eq!(health.retry_at(), Some(NOW + REBUILD_INTERVAL));
        assert_eq!(health.due(NOW + REBUILD_INTERVAL), Some(Cause::WaitFailed));
    }

    /// Rules: E26.
    #[test]
    fn a_rebuild_that_failed_is_tried_again_later() {
        let mut health = Health::default();
        health.failed();
        health.rebuild_failed(NOW);
        assert_eq!(health.due(NOW), None);
        assert_eq!(health.due(NOW + REBUILD_INTERVAL), Some(Cause::WaitFailed));
    }
}
