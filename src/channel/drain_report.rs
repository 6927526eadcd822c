//! What a drain keeps: the report, and who is still waited for. How it goes is in `drain`; nothing here acts on a channel.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::mem;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tidegate_sys::os::{Time, clock};

use super::address::Address;
use super::shared::ChannelId;
use crate::event_loop::TimerKey;
use crate::future::TaskPromise;

/// What came of a [drain](crate::event_loop::EventLoopGroup::drain).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DrainReport {
    /// How many channels were drained, servers apart.
    pub channels: usize,
    /// How many of them the deadline closed before they had sent everything.
    pub late: usize,
    /// How many had sent everything, and were closed before their peer had ended its side: by the deadline while it was still
    /// sending, or by a shutdown of their loop. What they sent last may not have arrived: a peer that goes on sending to a
    /// closed connection gets a reset, and may drop for that what it has not read.
    pub cut: usize,
    /// How many had sent everything when the connection broke, before the peer had ended its side. What it has got of what
    /// was sent last nobody knows.
    pub broken: usize,
    /// How many had sent everything and were closed although their peer had not ended its side, because it had not sent
    /// anything either: for 5 s ([`DrainTimes::silence`](super::DrainTimes::silence)), or since the channel had sent everything
    /// when the deadline came before. Clients that keep idle connections, mostly. Nothing unread was there, so that
    /// closing resets nothing, and the kernel goes on sending what it has.
    pub silent: usize,
    /// What was left unsent, channel by channel, in the order in which they ended.
    pub unsent: Vec<Unsent>,
    /// How long it took.
    pub took: Duration,
}

impl DrainReport {
    /// True if nothing was left unsent, and no connection broke or was cut off while its peer was sending. Idle clients are no
    /// reason: those that were [`silent`](Self::silent) have been sent everything, and had asked for nothing more.
    pub fn is_complete(&self) -> bool {
        self.unsent.is_empty() && self.cut == 0 && self.broken == 0
    }

    /// What was left unsent, in bytes.
    pub fn unsent_bytes(&self) -> u64 {
        self.unsent.iter().map(|rest| rest.bytes).sum()
    }
}

/// `12 channels drained in 1.2s, 2 at the deadline, 2 cut off before their peers' end; 70000 bytes left unsent to 1; handlers
/// of 1 were not done`
impl fmt::Display for DrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} channels drained in {:.1?}", self.channels, self.took)?;
        if self.late > 0 {
            write!(f, ", {} at the deadline", self.late)?;
        }
        if self.cut > 0 {
            write!(f, ", {} cut off before their peers' end", self.cut)?;
        }
        if self.broken > 0 {
            write!(f, ", {} broken before their peers' end", self.broken)?;
        }
        if self.silent > 0 {
            write!(f, ", {} silent", self.silent)?;
        }
        // What a handler holds back is not in the bytes.
        let peers = self.unsent.iter().filter(|rest| rest.messages > 0).count();
        if peers > 0 {
            write!(f, "; {} bytes left unsent to {peers}", self.unsent_bytes())?;
        }
        let held = self.unsent.iter().filter(|rest| rest.is_held).count();
        if held > 0 {
            write!(f, "; handlers of {held} were not done")?;
        }
        Ok(())
    }
}

/// What one channel had not sent when it was closed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Unsent {
    /// The channel.
    pub channel: ChannelId,
    /// Its peer; none where messages have addresses of their own.
    pub remote: Option<Address>,
    /// Its own address.
    pub local: Option<Address>,
    /// Bytes that waited in the outbound buffer and were not taken by the kernel; of other messages their estimated size.
    pub bytes: u64,
    /// The messages that they belong to. The first may have been sent in part.
    pub messages: usize,
    /// A handler still held the [`Draining`](super::Draining) event: it had more to say than is counted here.
    pub is_held: bool,
}

/// `10.0.0.2:4711: 70000 bytes of 3 messages`
impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.remote {
            Some(remote) => write!(f, "{remote}")?,
            None => write!(f, "{}", self.channel)?,
        }
        write!(f, ": {} bytes of {} messages", self.bytes, self.messages)?;
        if self.is_held {
            f.write_str(", and a handler was not done")?;
        }
        Ok(())
    }
}

/// One drain, shared by the loops and by the channels that they wait for.
pub(crate) struct Drain {
    pub(crate) begun: Time,
    pub(crate) deadline: Time,
    /// How long a silent peer is waited for.
    pub(crate) silence: Duration,
    pub(crate) promise: TaskPromise<DrainReport>,
    pub(crate) report: Mutex<DrainReport>,
}

impl Drain {
    pub(crate) fn report(&self) -> MutexGuard<'_, DrainReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        let mut report = mem::take(&mut *self.report());
        report.took = clock::now().saturating_since(self.begun);
        let _ = self.promise.try_success(report);
    }
}

/// A loop's part of a drain. It lives as long as one of its channels does.
pub(crate) struct Tally {
    pub(crate) drain: Arc<Drain>,
    /// It is about one channel, and looks for no others.
    pub(crate) is_of_one: bool,
    /// Channels that have not ended.
    pub(crate) left: Cell<usize>,
    pub(crate) is_late: Cell<bool>,
    pub(crate) timer: Cell<Option<TimerKey>>,
}

/// What a draining channel carries.
pub(crate) struct Leaving {
    /// The drains that wait for it, each once, and the first that came first: one, but where drains overlap.
    pub(crate) tallies: Vec<Rc<Tally>>,
    /// Alive until the event has been let go of.
    pub(crate) held: Option<Weak<dyn Any + Send + Sync>>,
    /// The drain has asked for the close: nothing waited to be sent then.
    pub(crate) is_asked: bool,
    /// Everything was sent, and the peer's end is waited for.
    pub(crate) lingering: Option<Lingering>,
}

/// What a lingering channel carries; see `linger`.
#[derive(Clone, Copy)]
pub(crate) struct Lingering {
    /// When its peer last sent something.
    pub(crate) heard: Time,
    /// Whether it has sent anything since our end was sent.
    pub(crate) has_spoken: bool,
    /// Looks whether it has been silent for too long.
    pub(crate) timer: TimerKey,
}

/// How lingering ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lingered {
    /// The peer ended its side: it has got everything.
    Peer,
    /// It neither ended its side nor sent anything for long enough.
    Silent,
    /// The deadline came while it was sending, or the loop ends.
    Cut,
    /// The connection broke.
    Broken,
}

impl Leaving {
    /// The deadline of one of the drains is over.
    pub(crate) fn is_late(&self) -> bool {
        self.tallies.iter().any(|tally| tally.is_late.get())
    }

    /// Writes into the reports of all drains that wait for the channel.
    pub(crate) fn note(&self, note: impl Fn(&mut DrainReport)) {
        for tally in &self.tallies {
            note(&mut tally.drain.report());
        }
    }

    pub(crate) fn note_lingered(&self, how: Lingered) {
        self.note(|report| match how {
            Lingered::Peer => {}
            Lingered::Silent => report.silent += 1,
            Lingered::Cut => report.cut += 1,
            Lingered::Broken => report.broken += 1,
        });
    }

    pub(crate) fn is_held(&self) -> bool {
        let held = self.held.as_ref();
        held.is_some_and(|held| held.strong_count() > 0)
    }
}
