//! The words between a selector and the reactor: [`Interest`] is what we ask, [`Ready`] what the kernel
//! says, [`Event`] the pair with its token, [`Events`] the batch of one wait.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

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

    /// What epoll's mask means.
    #[inline]
    pub(super) const fn from_mask(mask: u32) -> Self {
        let low = Self((mask & LOW_BITS) as u8);
        if mask & RDHUP == 0 {
            return low;
        }
        // RDHUP without IN happens while reading is masked out.
        low.union(Self::READ_CLOSED).union(Self::READABLE)
    }

    /// The mask with which epoll would say this.
    pub(super) const fn to_mask(self) -> u32 {
        let low = self.0 as u32 & LOW_BITS;
        if self.contains(Self::READ_CLOSED) {
            low | RDHUP
        } else {
            low
        }
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

/// The bits of epoll's mask that mean the same in [`Ready`], and the one that lies elsewhere. The numbers are the same on
/// every architecture (<linux/eventpoll.h>).
const LOW_BITS: u32 = 0x1f;
const RDHUP: u32 = 0x2000;

#[cfg(tidegate_epoll)]
const _: () = {
    assert!(libc::EPOLLIN as u32 == Ready::READABLE.to_mask());
    assert!(libc::EPOLLPRI as u32 == Ready::PRIORITY.to_mask());
    assert!(libc::EPOLLOUT as u32 == Ready::WRITABLE.to_mask());
    assert!(libc::EPOLLERR as u32 == Ready::ERROR.to_mask());
    assert!(libc::EPOLLHUP as u32 == Ready::HANGUP.to_mask());
    assert!(libc::EPOLLRDHUP as u32 == Ready::READ_CLOSED.to_mask());
};

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

/// An event as epoll reports it: a mask and the 64 bits of the registration. Its 12 bytes are what the kernel writes on
/// x86_64; with other backends it is merely a form.
#[cfg(tidegate_epoll)]
pub(super) type Report = libc::epoll_event;
#[cfg(not(tidegate_epoll))]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub(super) struct Report {
    pub(super) events: u32,
    pub(super) u64: u64,
}

const NOTHING: Report = Report { events: 0, u64: 0 };

/// The batch of one wait.
///
/// It does not grow, as Netty's does from 4,096 on: whatever waits for the end of a batch would wait for 30 to 50 ms where 4,096
/// channels are ready, and the larger batch saves nothing that can be measured (an echo on 1,000 and on 10,000 connections). What
/// does not fit is not lost, it comes with the next wait.
///
/// epoll writes into it, and what it wrote is translated event by event when it is asked for: a batch of one would
/// otherwise cost 50 instructions more, and one of 64 sixteen cache lines.
pub struct Events {
    /// The first `len` are the batch.
    list: Box<[Report]>,
    /// `len <= list.len()`
    len: usize,
}

impl Events {
    /// The room of a buffer whose owner does not care: 3 KiB.
    pub const ROOM: usize = 256;
    /// The largest room, 48 KiB.
    pub const LARGEST: usize = 4_096;

    /// An empty buffer for [`Events::ROOM`] events.
    pub fn new() -> Self {
        Self::with_limit(Self::ROOM)
    }

    /// An empty buffer for `limit` events (clamped to 1..=[`Events::LARGEST`]).
    pub fn with_limit(limit: usize) -> Self {
        let limit = limit.clamp(1, Self::LARGEST);
        Self {
            list: vec![NOTHING; limit].into_boxed_slice(),
            len: 0,
        }
    }

    /// How many events the last wait reported.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the last wait reported none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The event at this place of the batch, or none past its end. Walking by index keeps the buffer
    /// free between two events, so that a callback may use the selector.
    #[inline]
    pub fn get(&self, index: usize) -> Option<Event> {
        if index >= self.len {
            return None;
        }
        self.list.get(index).map(translate)
    }

    /// The events in the order of the kernel.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Event> + '_ {
        self.list[..self.len].iter().map(translate)
    }

    /// How many events a wait may report.
    #[inline]
    pub fn limit(&self) -> usize {
        self.list.len()
    }

    /// Forgets the batch; the room stays.
    #[inline]
    pub fn clear(&mut self) {
        self.len = 0;
    }

    pub(super) fn push(&mut self, token: Token, ready: Ready) {
        debug_assert!(self.len < self.limit(), "a wait asked for too many");
        self.list[self.len] = Report {
            events: ready.to_mask(),
            u64: token.to_bits(),
        };
        self.len += 1;
    }

    #[cfg(any(tidegate_kqueue, test))]
    pub(super) fn add_ready(&mut self, index: usize, ready: Ready) {
        self.list[index].events |= ready.to_mask();
    }

    /// Where the kernel may write as many events as a wait may report.
    #[cfg(tidegate_epoll)]
    #[inline]
    pub(super) fn room(&mut self) -> &mut [Report] {
        &mut self.list
    }

    /// The kernel has written so many events into the room.
    #[cfg(tidegate_epoll)]
    #[inline]
    pub(super) fn filled(&mut self, reported: usize) {
        debug_assert!(reported <= self.limit(), "a wait asked for too many");
        self.len = reported;
    }
}

#[inline]
fn translate(report: &Report) -> Event {
    Event {
        token: Token::from_bits(report.u64),
        ready: Ready::from_mask(report.events),
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

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
    fn every_bit_of_a_mask_has_a_meaning() {
        assert_eq!(Ready::from_mask(0), Ready::NONE);
        let all = Ready(0x3f);
        assert_eq!(Ready::from_mask(all.to_mask()), all);
        assert_eq!(Ready::from_mask(LOW_BITS | RDHUP), all);
        // EPOLLRDNORM and its kin say nothing new.
        assert_eq!(Ready::from_mask(0x3c0), Ready::NONE);
        assert!(Ready::from_mask(RDHUP).contains(Ready::READABLE));
    }
}
