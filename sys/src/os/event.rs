//! The words between a selector and the reactor: [`Interest`] is what we ask, [`Ready`] what the kernel
//! says, [`Event`] the pair with its token, [`Events`] the batch of one wait.

use std::fmt;
use std::ops::{BitOr, BitOrAssign, Index};

use super::token::Token;

/// What a registration asks for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Interest(u8);

impl Interest {
    /// Nothing. A selector may still report errors and hang-ups.
    pub const NONE: Self = Self(0);
    /// Data, connections to accept, the end of the peer's data.
    pub const READ: Self = Self(1);
    /// Room for output, the end of a connect.
    pub const WRITE: Self = Self(2);
    /// [`Interest::READ`] and [`Interest::WRITE`].
    pub const BOTH: Self = Self(3);

    /// Whether all of `other` is in here.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether nothing is asked for.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Both of them, in a form that constants can use.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is left without `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Interest {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitOrAssign for Interest {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.union(other);
    }
}

impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            match (self.contains(Self::READ), self.contains(Self::WRITE)) {
                (false, false) => "NONE",
                (true, false) => "READ",
                (false, true) => "WRITE",
                (true, true) => "READ | WRITE",
            },
        )
    }
}

/// What the kernel reports of a descriptor.
///
/// [`Ready::READ_CLOSED`], [`Ready::HANGUP`] and [`Ready::ERROR`] are hints that it is worth reading now.
/// None of them ends a direction: data may still lie before the end, and backends differ in which of
/// them they can see. Only a read of zero bytes or an errno is the end.
///
/// | bit | name | epoll's bit |
/// |---|---|---|
/// | 0 | READABLE | EPOLLIN |
/// | 1 | PRIORITY | EPOLLPRI |
/// | 2 | WRITABLE | EPOLLOUT |
/// | 3 | ERROR | EPOLLERR |
/// | 4 | HANGUP | EPOLLHUP |
/// | 5 | READ_CLOSED | (EPOLLRDHUP is bit 13) |
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Ready(u8);

impl Ready {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// A read or an accept will not block.
    pub const READABLE: Self = Self(1);
    /// A write will not block, or a connect has ended.
    pub const WRITABLE: Self = Self(1 << 2);
    /// The peer sends no more; what it sent may still be unread. Comes with [`Ready::READABLE`].
    pub const READ_CLOSED: Self = Self(1 << 5);
    /// Both directions are over (epoll, poll), or output can go nowhere (kqueue).
    pub const HANGUP: Self = Self(1 << 4);
    /// An error waits to be taken by a read, a write or SO_ERROR.
    pub const ERROR: Self = Self(1 << 3);
    /// Urgent data. Edge-triggered epoll only: level-triggered it could not be silenced.
    pub const PRIORITY: Self = Self(1 << 1);

    /// The lowest bits of what epoll reports, which mean the same there and here.
    #[cfg(tidegate_epoll)]
    pub(super) const fn from_epoll(mask: u32) -> Self {
        Self(mask as u8 & 0x1f)
    }

    /// Whether all of `other` is in here.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in here.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether nothing was reported.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Both of them, in a form that constants can use.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is left without `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether a read would tell something: data, the end, or an error.
    pub const fn wants_read(self) -> bool {
        self.intersects(Self(
            Self::READABLE.0
                | Self::READ_CLOSED.0
                | Self::HANGUP.0
                | Self::ERROR.0
                | Self::PRIORITY.0,
        ))
    }

    /// Whether a write would not block: there is room, or it fails at once.
    pub const fn wants_write(self) -> bool {
        self.intersects(Self(Self::WRITABLE.0 | Self::HANGUP.0 | Self::ERROR.0))
    }

    /// The bits, for counters and logs.
    pub const fn bits(self) -> u8 {
        self.0
    }
}

impl BitOr for Ready {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitOrAssign for Ready {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.union(other);
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(Ready, &str); 6] = [
            (Ready::READABLE, "READABLE"),
            (Ready::WRITABLE, "WRITABLE"),
            (Ready::READ_CLOSED, "READ_CLOSED"),
            (Ready::HANGUP, "HANGUP"),
            (Ready::ERROR, "ERROR"),
            (Ready::PRIORITY, "PRIORITY"),
        ];
        let mut separator = "";
        for (bit, name) in NAMES {
            if self.contains(bit) {
                write!(f, "{separator}{name}")?;
                separator = " | ";
            }
        }
        if separator.is_empty() {
            f.write_str("NONE")?;
        }
        Ok(())
    }
}

/// One registration and what is ready of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// The token given to `register`.
    pub token: Token,
    /// What the kernel says.
    pub ready: Ready,
}

/// The batch of one wait.
///
/// It starts with room for 256 events and doubles, up to 4,096, whenever a wait fills it. It does not
/// start at 4,096 (Netty's figure) because a process may have many loops, most of them idle: 256 events
/// are 7 KiB with the kernel's own buffer, 4,096 are 112 KiB. A batch that does not fit is not lost, only
/// split over two waits.
pub struct Events {
    list: Vec<Event>,
    /// How many a wait may report. Events::SMALLEST <= limit <= Events::LARGEST, unless made smaller.
    limit: usize,
}

impl Events {
    /// The room of a new buffer.
    pub const SMALLEST: usize = 256;
    /// The room at which growing ends.
    pub const LARGEST: usize = 4_096;

    /// An empty buffer of [`Events::SMALLEST`] events.
    pub fn new() -> Self {
        Self::with_limit(Self::SMALLEST)
    }

    /// An empty buffer that starts at `limit` events (clamped to 1..=[`Events::LARGEST`]).
    pub fn with_limit(limit: usize) -> Self {
        let limit = limit.clamp(1, Self::LARGEST);
        Self {
            list: Vec::with_capacity(limit),
            limit,
        }
    }

    /// How many events the last wait reported.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether the last wait reported none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The event at this place of the batch, or none past its end. Walking by index keeps the buffer
    /// free between two events, so that a callback may use the selector.
    #[inline]
    pub fn get(&self, index: usize) -> Option<Event> {
        self.list.get(index).copied()
    }

    /// The events in the order of the kernel.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Event> + '_ {
        self.list.iter().copied()
    }

    /// How many events the next wait may report.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Forgets the batch; the room stays.
    pub fn clear(&mut self) {
        self.list.clear();
    }

    pub(super) fn push(&mut self, token: Token, ready: Ready) {
        debug_assert!(self.list.len() < self.limit, "a wait asked for too many");
        self.list.push(Event { token, ready });
    }

    /// As many pushes.
    #[cfg(tidegate_epoll)]
    #[inline]
    pub(super) fn extend(&mut self, events: impl ExactSizeIterator<Item = Event>) {
        debug_assert!(
            self.list.len() + events.len() <= self.limit,
            "a wait asked for too many"
        );
        self.list.extend(events);
    }

    #[cfg(any(tidegate_kqueue, test))]
    pub(super) fn add_ready(&mut self, index: usize, ready: Ready) {
        self.list[index].ready |= ready;
    }

    /// Doubles the limit if the kernel has filled its own buffer.
    #[inline]
    pub(super) fn grow_if_full(&mut self, reported: usize) {
        if reported >= self.limit && self.limit < Self::LARGEST {
            self.grow();
        }
    }

    #[cold]
    fn grow(&mut self) {
        self.limit = (self.limit * 2).min(Self::LARGEST);
        self.list.reserve_exact(self.limit - self.list.len());
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

impl Index<usize> for Events {
    type Output = Event;

    fn index(&self, index: usize) -> &Event {
        &self.list[index]
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.list).finish()
    }
}

const _: () = assert!(size_of::<Event>() == 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interest_is_a_small_set() {
        let mut interest = Interest::NONE;
        assert!(interest.is_empty());
        interest |= Interest::READ;
        assert!(interest.contains(Interest::READ) && !interest.contains(Interest::WRITE));
        assert_eq!(interest | Interest::WRITE, Interest::BOTH);
        assert_eq!(Interest::BOTH.without(Interest::READ), Interest::WRITE);
        assert_eq!(format!("{:?}", Interest::BOTH), "READ | WRITE");
    }

    #[test]
    fn hang_up_and_error_are_worth_a_read_and_a_write() {
        assert!(Ready::HANGUP.wants_read() && Ready::HANGUP.wants_write());
        assert!(Ready::ERROR.wants_read() && Ready::ERROR.wants_write());
        assert!(Ready::READ_CLOSED.wants_read() && !Ready::READ_CLOSED.wants_write());
        assert!(!Ready::WRITABLE.wants_read());
        assert_eq!(
            format!("{:?}", Ready::READABLE | Ready::READ_CLOSED),
            "READABLE | READ_CLOSED"
        );
    }

    #[test]
    fn a_filled_buffer_doubles_up_to_its_bound() {
        let mut events = Events::with_limit(2);
        events.grow_if_full(1);
        assert_eq!(events.limit(), 2);
        for expected in [4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 4096] {
            events.grow_if_full(events.limit());
            assert_eq!(events.limit(), expected);
        }
    }
}
