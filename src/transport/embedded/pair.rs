//! [`EmbeddedPair`]: two embedded channels on one clock, with a [`Link`] between them.

use std::time::Duration;

use tidegate_sys::os::Time;

use super::channel::EmbeddedChannel;
use super::link::{Cut, Dice, Item, Link, Way, truncated};
use super::transport::Source;
use crate::buffer::Message;
use crate::channel::{Direction, OptionSet, Pipeline};
use crate::error::{Error, ErrorKind, Failure};
use crate::event_loop::ManualClock;

/// So many moments of arrival in one [`run_until_idle`](EmbeddedPair::run_until_idle) are taken for two sides that never
/// stop.
const ARRIVALS_MAX: usize = 100_000;

/// Two channels that talk to each other: what one flushes, the other reads, after what the [`Link`] does to it. For
/// tests of protocols against each other, with the network's accidents and without its chance.
///
/// The two sides share one clock, which [`advance`](Self::advance) and [`run_until_idle`](Self::run_until_idle) move;
/// nothing travels outside of these calls. To do something on a side, use [`client`](Self::client) and
/// [`server`](Self::server), whose own `advance` moves the clock for both but runs only their own timers.
///
/// Bytes arrive as `BytesMut`, as from a socket, whatever they were written as; other messages arrive as they are.
///
/// Closing a side, or its output, sends the end of input behind what it has flushed. Bytes that reach a closed side
/// come back as a reset, as from a kernel.
///
/// ```
/// use std::time::Duration;
/// use tidegate::transport::embedded::{EmbeddedPair, Link};
/// use tidegate::{Context, Handler, HandlerResult, Failure, Message};
///
/// struct Echo;
/// impl Handler for Echo {
///     fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
///         ctx.write_and_flush(msg);
///         Ok(())
///     }
/// }
///
/// let link = Link::seeded(1).delay(Duration::from_millis(50)).chop(1, 3);
/// let mut pair = EmbeddedPair::new(link, |_| Ok::<(), Failure>(()), |p| p.add_last(Echo))?;
/// pair.client().channel().write_and_flush("there and back");
/// pair.run_until_idle()?;
/// assert_eq!(pair.now(), Duration::from_millis(100));
/// let mut answer = Vec::new();
/// while let Some(piece) = pair.client().read_inbound() {
///     answer.extend_from_slice(piece.as_bytes().unwrap());
/// }
/// assert_eq!(answer, b"there and back");
/// # Ok::<(), Failure>(())
/// ```
#[derive(Debug)]
pub struct EmbeddedPair {
    /// The client, then the server.
    sides: [EmbeddedChannel; 2],
    /// What the side of the same number sends.
    ways: [Way; 2],
    clock: ManualClock,
    link: Link,
    dice: Dice,
    delivered: u64,
    cut: Option<Cut>,
}

impl EmbeddedPair {
    /// Two active channels over `link`; the closures fill the pipelines of the client and of the server.
    ///
    /// # Errors
    /// As [`EmbeddedChannel::new`], of either side.
    pub fn new<E: Into<Failure>, F: Into<Failure>>(
        link: Link,
        client: impl FnOnce(&mut Pipeline<'_>) -> Result<(), E>,
        server: impl FnOnce(&mut Pipeline<'_>) -> Result<(), F>,
    ) -> Result<Self, Failure> {
        Self::with_options(link, &OptionSet::new(), client, server)
    }

    /// As [`new`](Self::new), with the same options set on both sides before.
    ///
    /// # Errors
    /// As [`EmbeddedChannel::with_options`], of either side.
    pub fn with_options<E: Into<Failure>, F: Into<Failure>>(
        link: Link,
        options: &OptionSet,
        client: impl FnOnce(&mut Pipeline<'_>) -> Result<(), E>,
        server: impl FnOnce(&mut Pipeline<'_>) -> Result<(), F>,
    ) -> Result<Self, Failure> {
        let clock = ManualClock::default();
        let sides = [
            EmbeddedChannel::on_clock(options, clock.clone(), client)?,
            EmbeddedChannel::on_clock(options, clock.clone(), server)?,
        ];
        let mut pair = Self {
            sides,
            ways: [Way::default(), Way::default()],
            clock,
            dice: Dice::new(link.seed),
            link,
            delivered: 0,
            cut: None,
        };
        pair.grant_room();
        Ok(pair)
    }

    /// The first side.
    pub fn client(&mut self) -> &mut EmbeddedChannel {
        &mut self.sides[0]
    }

    /// The second side.
    pub fn server(&mut self) -> &mut EmbeddedChannel {
        &mut self.sides[1]
    }

    /// The time on the clock of both, since they were made.
    pub fn now(&self) -> Duration {
        self.clock.now().saturating_since(Time::ZERO)
    }

    /// How many bytes have arrived, both directions together.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// How many bytes are on the way, both directions together.
    pub fn in_flight(&self) -> usize {
        self.ways.iter().map(Way::bytes).sum()
    }

    /// How the link was cut, if it was.
    pub fn is_cut(&self) -> Option<Cut> {
        self.cut
    }

    /// Runs both sides and delivers, moving the clock from one arrival to the next, until nothing is on the way. Timers
    /// that become due meanwhile run; nothing waits for others.
    ///
    /// # Errors
    /// [`ErrorKind::NoProgress`] after 100,000 different moments of arrival: the two sides go on for ever.
    pub fn run_until_idle(&mut self) -> Result<(), Error> {
        for _ in 0..ARRIVALS_MAX {
            self.settle();
            let Some(next) = self.next_arrival() else {
                return Ok(());
            };
            self.pass_until(next);
            self.deliver_due();
        }
        Err(Error::new(
            ErrorKind::NoProgress,
            "the two sides of an EmbeddedPair did not come to rest within 100,000 moments of arrival",
        ))
    }

    /// Moves the clock, and does what becomes due on either side and between them, in the order of time.
    pub fn advance(&mut self, by: Duration) {
        let end = self.clock.now() + by;
        self.settle();
        loop {
            let arrival = self.next_arrival().filter(|at| *at <= end);
            self.pass_until(arrival.unwrap_or(end));
            if arrival.is_none() {
                // A timer that was due last may have sent something that arrives at once.
                if self.next_arrival().is_none_or(|at| at > end) {
                    return;
                }
            }
            self.deliver_due();
            self.settle();
        }
    }

    /// Cuts the link for good.
    pub fn cut(&mut self, how: Cut) {
        if self.cut.is_some() {
            return;
        }
        self.collect();
        self.cut = Some(how);
        for way in &mut self.ways {
            way.lose_everything();
        }
        for to in [0, 1] {
            let side = &mut self.sides[to];
            // What is sent into silence is taken, as by a kernel that hopes.
            side.ends().room.set(None);
            side.signal().writable();
            if how == Cut::Reset {
                break_off(side, self.ways[1 - to].end_arrived);
            }
        }
        self.settle();
    }

    // ---- the two sides

    /// Runs both sides until neither has anything to do now, and takes what they have flushed.
    fn settle(&mut self) {
        self.collect();
        self.grant_room();
        loop {
            for side in &mut self.sides {
                side.run_pending();
            }
            self.collect();
            if !self.grant_room() {
                return;
            }
        }
    }

    /// Lets the clock pass to `to`, which is no later than the next arrival, with every timer before it.
    fn pass_until(&mut self, to: Time) {
        loop {
            let timers = self.sides.iter().filter_map(EmbeddedChannel::next_timer);
            let now = self.clock.now();
            let next = timers.min().map(|wait| now + wait);
            let step = next.filter(|at| *at <= to).unwrap_or(to);
            self.clock.advance(step.saturating_since(now));
            self.settle();
            // What a timer has sent may arrive before the others are due.
            let is_overtaken = self.next_arrival().is_some_and(|at| at <= step);
            if step == to && next.is_none_or(|at| at > to) || is_overtaken {
                return;
            }
        }
    }

    // ---- what travels

    fn next_arrival(&self) -> Option<Time> {
        self.ways.iter().filter_map(Way::next_arrival).min()
    }

    /// Takes what was flushed, and the ends.
    fn collect(&mut self) {
        let now = self.clock.now();
        for (side, way) in self.sides.iter().zip(&mut self.ways) {
            let ends = side.ends();
            loop {
                let sent = ends.outbound.borrow_mut().pop_front();
                let Some(msg) = sent else { break };
                if self.cut.is_none() {
                    way.send(msg, now, &self.link, &mut self.dice);
                }
            }
            let has_ended =
                !side.channel().is_open() || ends.shutdowns.borrow().contains(&Direction::Output);
            if has_ended && !way.has_ended && self.cut.is_none() {
                way.has_ended = true;
                way.launch(Item::End, now, &self.link, &mut self.dice);
            }
        }
    }

    fn deliver_due(&mut self) {
        let now = self.clock.now();
        for from in [0, 1] {
            while let Some(item) = self.ways[from].receive(now) {
                self.deliver(1 - from, item);
            }
        }
    }

    fn deliver(&mut self, to: usize, item: Item) {
        let is_open = self.sides[to].channel().is_open();
        match item {
            Item::Message(msg) => {
                let size = msg.estimated_size() as u64;
                let (msg, cut) = match self.link.cut_after {
                    Some((limit, how)) if self.delivered + size >= limit => (
                        truncated(msg, limit.saturating_sub(self.delivered)),
                        Some(how),
                    ),
                    _ => (Some(msg), None),
                };
                self.delivered += msg.as_ref().map_or(0, |msg| msg.estimated_size() as u64);
                if is_open {
                    self.sides[to].feed(msg.map(as_read));
                } else if cut.is_none() {
                    self.answer_with_reset(to);
                }
                if let Some(how) = cut {
                    self.cut(how);
                }
            }
            Item::End => {
                self.ways[1 - to].end_arrived = true;
                if is_open {
                    self.sides[to].feed_eof();
                }
            }
            Item::Reset => break_off(&mut self.sides[to], self.ways[1 - to].end_arrived),
        }
    }

    /// Bytes came to a side that is closed.
    fn answer_with_reset(&mut self, from: usize) {
        let now = self.clock.now();
        self.ways[from].launch(Item::Reset, now, &self.link, &mut self.dice);
    }

    /// Tells both sides how much they may send now. True if one of them had to wait for it.
    fn grant_room(&mut self) -> bool {
        let mut has_waited = false;
        if self.cut.is_some() {
            return false;
        }
        for from in [0, 1] {
            let unread = unread(&self.sides[1 - from]);
            let used = self.ways[from].bytes() + unread;
            let side = &self.sides[from];
            let room = self.link.room.saturating_sub(used);
            let was_blocked = side.ends().room.replace(Some(room)) == Some(0);
            if was_blocked && room > 0 {
                has_waited = true;
                side.signal().writable();
            }
        }
        has_waited
    }
}

/// Bytes as a socket gives them, in memory that is the reader's: `BytesMut`, whatever was written. Other messages stay what
/// they are.
fn as_read(msg: Message) -> Message {
    msg.into_bytes_mut()
        .map_or_else(|other| other, Message::from)
}

/// Bytes that have arrived and that nobody has read.
fn unread(side: &EmbeddedChannel) -> usize {
    let source = side.ends().source.borrow();
    source
        .iter()
        .map(|each| match each {
            Source::Message(msg) => msg.estimated_size(),
            Source::Eof | Source::Failed(_) => 0,
        })
        .sum()
}

/// A reset comes behind the data that is there to read; a side that does not read, or has read to the end, learns of it
/// all the same.
fn break_off(side: &mut EmbeddedChannel, end_arrived: bool) {
    if !side.channel().is_open() {
        return;
    }
    let error = Error::new(
        ErrorKind::ConnectionReset,
        "the link of the embedded pair was cut, or its other side is closed",
    );
    if side.channel().is_auto_read() && !end_arrived {
        side.feed_error(error);
    } else {
        side.signal().failed(error);
        side.run_pending();
    }
}
