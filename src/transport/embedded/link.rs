//! [`Link`]: what a network does to bytes between two embedded channels. And [`Way`], one direction of it, which
//! [`EmbeddedPair`](super::EmbeddedPair) feeds and empties.
//!
//! Everything random comes from one seed, in an order that depends on nothing but the run itself: the same seed and the
//! same calls give the same run.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tidegate_sys::os::Time;

use crate::buffer::Message;

/// A network between the two sides of a pair. Without further words it delivers at once, in the pieces in which it
/// was flushed.
///
/// ```
/// use std::time::Duration;
/// use tidegate::transport::embedded::Link;
///
/// let slow_and_choppy = Link::seeded(7)
///     .delay(Duration::from_millis(40))
///     .jitter(Duration::from_millis(20))
///     .chop(1, 5);
/// # let _ = slow_and_choppy;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a link does nothing until a pair is made over it"]
pub struct Link {
    pub(super) seed: u64,
    pub(super) delay: Duration,
    pub(super) jitter: Duration,
    /// The smallest and the largest piece.
    pub(super) pieces: Option<(usize, usize)>,
    pub(super) room: usize,
    /// After so many bytes of both directions together.
    pub(super) cut_after: Option<(u64, Cut)>,
}

/// How a link ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// Both sides see a connection reset, at once; what was on its way is lost.
    Reset,
    /// Nobody sees anything: what is on its way, and whatever is sent from now on, is lost.
    Silence,
}

impl Link {
    /// A link whose accidents follow from `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self {
            seed,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            pieces: None,
            room: 64 << 10,
            cut_after: None,
        }
    }

    /// How long everything travels, each way.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Up to how much longer each piece travels. Pieces do not overtake each other.
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// Cuts what is flushed at random points, into pieces of `min` to `max` bytes (the last may be smaller); at least 1
    /// each. Without this, pieces arrive as they were flushed. Messages that are no bytes travel whole in any case.
    pub fn chop(mut self, min: usize, max: usize) -> Self {
        let min = min.max(1);
        self.pieces = Some((min, max.max(min)));
        self
    }

    /// How many bytes each direction holds, on the way and arrived but unread, before the sender has to wait, as with
    /// the buffers of sockets; 64 KiB by default, at least 1.
    pub fn room(mut self, bytes: usize) -> Self {
        self.room = bytes.max(1);
        self
    }

    /// Cuts the link once it has delivered so many bytes, both directions together; in the middle of a piece, if need
    /// be.
    pub fn cut_after(mut self, bytes: u64, how: Cut) -> Self {
        self.cut_after = Some((bytes, how));
        self
    }
}

/// The accidents of a link: splitmix64, whose every seed is a good one.
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From `min` to `max`, both possible; `max` is no smaller.
    fn between(&mut self, min: u64, max: u64) -> u64 {
        match (max - min).checked_add(1) {
            Some(choices) => min + self.next() % choices,
            None => self.next(),
        }
    }
}

/// What travels.
#[derive(Debug)]
pub(super) enum Item {
    Message(Message),
    /// The sender ended its output.
    End,
    /// The sender's side is gone, and was sent something.
    Reset,
}

/// One direction of a link.
#[derive(Default, Debug)]
pub(super) struct Way {
    /// In order; arrival times never fall.
    flight: VecDeque<(Time, Item)>,
    /// The arrival of what was sent last.
    last: Option<Time>,
    /// Whether the end was sent.
    pub(super) has_ended: bool,
    /// Whether it has arrived.
    pub(super) end_arrived: bool,
}

impl Way {
    /// Sends a message, in pieces if the link chops.
    pub(super) fn send(&mut self, msg: Message, now: Time, link: &Link, dice: &mut Dice) {
        let Some((min, max)) = link.pieces else {
            return self.launch(Item::Message(msg), now, link, dice);
        };
        match msg.into_bytes() {
            Ok(mut bytes) => {
                while !bytes.is_empty() {
                    let size = dice.between(min as u64, max as u64);
                    let size =
                        usize::try_from(size).map_or(bytes.len(), |size| size.min(bytes.len()));
                    let piece = Message::new(bytes.split_to(size));
                    self.launch(Item::Message(piece), now, link, dice);
                }
            }
            Err(msg) => self.launch(Item::Message(msg), now, link, dice),
        }
    }

    pub(super) fn launch(&mut self, item: Item, now: Time, link: &Link, dice: &mut Dice) {
        let jitter = u64::try_from(link.jitter.as_nanos()).unwrap_or(u64::MAX);
        let jitter = Duration::from_nanos(dice.between(0, jitter));
        let arrival = now + link.delay + jitter;
        let arrival = self.last.map_or(arrival, |last| last.max(arrival));
        self.last = Some(arrival);
        self.flight.push_back((arrival, item));
    }

    pub(super) fn next_arrival(&self) -> Option<Time> {
        self.flight.front().map(|(arrival, _)| *arrival)
    }

    /// What has arrived by `now`, one thing at a time.
    pub(super) fn receive(&mut self, now: Time) -> Option<Item> {
        if self.next_arrival()? > now {
            return None;
        }
        self.flight.pop_front().map(|(_, item)| item)
    }

    /// The bytes on the way.
    pub(super) fn bytes(&self) -> usize {
        self.flight
            .iter()
            .map(|(_, item)| match item {
                Item::Message(msg) => msg.estimated_size(),
                Item::End | Item::Reset => 0,
            })
            .sum()
    }

    pub(super) fn lose_everything(&mut self) {
        self.flight.clear();
    }
}

/// The first `limit` bytes of a message; a message that is no bytes counts as its estimated size, and is whole or
/// nothing.
pub(super) fn truncated(msg: Message, limit: u64) -> Option<Message> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    match msg.into_bytes() {
        Ok(mut bytes) => {
            bytes.truncate(limit);
            Some(bytes)
                .filter(|bytes: &Bytes| !bytes.is_empty())
                .map(Message::new)
        }
        Err(msg) => (msg.estimated_size() <= limit).then_some(msg),
    }
}
