//! [`DrainTimes`]: how long a drain waits, in all and for a peer that says nothing. Users give it to the drains of groups, loops
//! and channels (`drain`); `linger` goes by the second.

use std::time::Duration;

/// A peer that sends nothing for so long, and does not end its side either, is not waited for any longer. nginx has the
/// same time (lingering_timeout). It is two round trips of a slow connection and two repetitions of a segment that was lost
/// (after 1 s and 2 s, RFC 6298); and nothing unread is there then, so the close itself resets nothing.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(5);

/// How long a drain waits. A [`Duration`] is one too: that deadline, and 5 s for a silent peer.
///
/// ```
/// use std::time::Duration;
/// use tidegate::EventLoopGroup;
/// use tidegate::channel::DrainTimes;
///
/// let group = EventLoopGroup::new(2)?;
/// // Clients keep idle connections, and all of them are in this building.
/// let times = DrainTimes::within(Duration::from_secs(10)).silence(Duration::from_millis(200));
/// let report = group.drain(times).sync()?;
/// assert!(report.is_complete());
/// # Ok::<(), tidegate::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "these are given to a drain"]
pub struct DrainTimes {
    pub(crate) within: Duration,
    pub(crate) silence: Duration,
}

impl DrainTimes {
    /// What is left after this time is closed.
    pub const fn within(deadline: Duration) -> Self {
        Self {
            within: deadline,
            silence: SILENCE_MAX,
        }
    }

    /// A peer that has neither ended its side nor sent anything for this time, once everything was sent to it, is not waited for
    /// any longer; 5 s by default, as long as nginx waits (lingering_timeout).
    ///
    /// Shorter makes the drain of idle clients faster. What it costs: a peer that had more to send, which arrives after
    /// that time, gets a reset and may lose for it what it has not read yet. Two round trips of the slowest client are
    /// the least that makes sense; a segment that is lost comes 1 s later (RFC 6298). With zero
    /// nobody is waited for.
    pub const fn silence(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }
}

impl From<Duration> for DrainTimes {
    fn from(deadline: Duration) -> Self {
        Self::within(deadline)
    }
}
