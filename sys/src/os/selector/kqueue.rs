//! kqueue with EV_CLEAR, which is edge triggering. Used through [`super::Selector`] only.
//!
//! A descriptor has one registration per filter. READ is there from `register` on, like everything on
//! edge-triggered epoll; WRITE only while output is pending, since the kernel fires it on every ACK that
//! frees space. Deleting on close is not needed by the kernel (it drops the filters of a closed number at
//! once), but the contract lets a descriptor stay open.
//!
//! Not done: collecting changes and handing them over with the next wait, as libuv and Netty do. It would
//! save a call per blocked flush, but an error would then arrive as an event, after the caller has gone on.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use super::contract::{Contract, Waited};
use crate::os::event::{Events, Interest, Ready};
use crate::os::kqueue_sys::{Filter, Kevent, Queue};
use crate::os::token::Token;

pub(super) struct Kqueue {
    queue: Arc<Queue>,
    /// By descriptor number: what is registered. Descriptor numbers are small and dense.
    slots: Vec<Slot>,
    /// What the kernel writes into; as long as the longest batch so far.
    buffer: Vec<Kevent>,
    /// Counts waits, for finding the two events of one descriptor in one batch.
    batch: u32,
    /// Registrations whose output was found closed when WRITE was to be added; told by the next wait.
    write_closed: Vec<(RawFd, Token)>,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    filters: u8,
    /// The wait that last reported the descriptor, and at which index.
    batch: u32,
    index: u32,
}

const READ: u8 = 1;
const WRITE: u8 = 1 << 1;
/// Registered, perhaps with both filters off.
const KNOWN: u8 = 1 << 2;

impl Kqueue {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self {
            queue: Arc::new(Queue::open()?),
            slots: Vec::new(),
            buffer: Vec::new(),
            batch: 0,
            write_closed: Vec::new(),
        })
    }

    pub(super) fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// What is registered of this number; nothing for one that was never seen.
    fn filters(&self, fd: RawFd) -> u8 {
        self.slots.get(fd as usize).map_or(0, |slot| slot.filters)
    }

    fn set_filters(&mut self, fd: RawFd, filters: u8) {
        let index = fd as usize;
        if index >= self.slots.len() {
            if filters == 0 {
                return;
            }
            self.slots.resize(index + 1, Slot::default());
        }
        self.slots[index].filters = filters;
    }

    /// Adds and removes filters so that exactly those of `wanted` are there. What is wanted and there is
    /// added once more, and thereby evaluated anew, unless it is in `keep`.
    fn settle(&mut self, fd: RawFd, token: Token, wanted: u8, keep: u8) -> io::Result<()> {
        let has = self.filters(fd);
        let mut list = [Kevent::empty(); 2];
        let mut bits = [0; 2];
        let mut count = 0;
        for (bit, filter) in [(READ, Filter::Read), (WRITE, Filter::Write)] {
            let is_there = has & bit != 0;
            list[count] = match wanted & bit != 0 {
                true if is_there && keep & bit != 0 => continue,
                true => Kevent::add(fd, filter, token),
                false if is_there => Kevent::delete(fd, filter),
                false => continue,
            };
            bits[count] = bit;
            count += 1;
        }
        if count == 0 {
            return Ok(());
        }
        self.queue.apply(&mut list[..count])?;

        let mut filters = has;
        let mut failed = None;
        for (answer, bit) in list[..count].iter().zip(bits) {
            match (answer.failure(), wanted & bit != 0) {
                (None, true) => filters |= bit,
                // Not there, or gone with its descriptor: what deleting wanted.
                (None | Some(libc::ENOENT | libc::EBADF), false) => filters &= !bit,
                // FreeBSD, and macOS in old versions, refuse WRITE on a pipe that nobody will read, instead
                // of reporting it (mio#582). The writer has to hear of it.
                (Some(libc::EPIPE), true) => {
                    filters &= !bit;
                    self.write_closed.push((fd, token));
                }
                (Some(errno), _) => failed = Some(io::Error::from_raw_os_error(errno)),
            }
        }
        self.set_filters(fd, filters);
        failed.map_or(Ok(()), Err)
    }

    /// What is known of a number ends with its registration.
    fn forget(&mut self, fd: RawFd) {
        self.set_filters(fd, 0);
        self.write_closed.retain(|&(closed, _)| closed != fd);
    }

    /// Translates what the kernel has reported; both filters of a descriptor become one event.
    fn collect(&mut self, events: &mut Events, reported: usize) {
        self.batch = self.batch.wrapping_add(1);
        for index in 0..reported {
            let event = self.buffer[index];
            let (token, ready) = (event.token(), ready(&event));
            if ready.is_empty() {
                continue;
            }
            let batch = self.batch;
            let slot = match event.filter() {
                Filter::Read | Filter::Write => self.slots.get_mut(event.ident()),
                Filter::User | Filter::Other => None,
            };
            let Some(slot) = slot else {
                events.push(token, ready);
                continue;
            };
            let earlier = slot.index as usize;
            let is_second = slot.batch == batch
                && events
                    .get(earlier)
                    .is_some_and(|earlier| earlier.token == token);
            if is_second {
                events.add_ready(earlier, ready);
            } else {
                (slot.batch, slot.index) = (batch, events.len() as u32);
                events.push(token, ready);
            }
        }
    }
}

impl Contract for Kqueue {
    fn register(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        let fd = fd.as_raw_fd();
        if self.filters(fd) != 0 {
            // Registered again, or the number was closed and is used again. Kernels forget the filters of
            // a closed number; libkqueue, above another kernel, does not hear of closing.
            let _ = self.settle(fd, token, 0, 0);
            self.forget(fd);
        }
        let answer = self.settle(fd, token, READ | wanted_write(interest), 0);
        if answer.is_ok() {
            self.set_filters(fd, self.filters(fd) | KNOWN);
        } else {
            // Not half of it; the first error is the one to tell.
            let _ = self.settle(fd, token, 0, 0);
            self.forget(fd);
        }
        answer
    }

    fn set_interest(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let fd = fd.as_raw_fd();
        let has = self.filters(fd);
        if has & KNOWN == 0 {
            return Err(io::Error::from_raw_os_error(libc::ENOENT));
        }
        self.settle(fd, token, has & READ | wanted_write(interest), READ | WRITE)
    }

    fn remask(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        let fd = fd.as_raw_fd();
        if self.filters(fd) & KNOWN == 0 {
            return Err(io::Error::from_raw_os_error(libc::ENOENT));
        }
        let read = if interest.contains(Interest::READ) {
            READ
        } else {
            0
        };
        self.settle(fd, token, read | wanted_write(interest), 0)
    }

    fn deregister(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let fd = fd.as_raw_fd();
        let answer = self.settle(fd, Token::from_bits(0), 0, 0);
        self.forget(fd);
        answer
    }

    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<Waited> {
        let limit = events.limit();
        if self.buffer.len() < limit {
            self.buffer.resize(limit, Kevent::empty());
        }
        let told = self.write_closed.len().min(limit);
        for (_, token) in self.write_closed.drain(..told) {
            events.push(token, Ready::WRITABLE | Ready::HANGUP);
        }
        if told == limit {
            return Ok(Waited::Events(told));
        }
        let timeout = if told > 0 {
            Some(Duration::ZERO)
        } else {
            timeout
        };

        let (reported, is_interrupted) =
            match self.queue.wait(&mut self.buffer[..limit - told], timeout) {
                Ok(reported) => (reported, false),
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => (0, true),
                Err(error) => return Err(error),
            };
        self.collect(events, reported);
        if !events.is_empty() {
            Ok(Waited::Events(events.len()))
        } else if reported > 0 || is_interrupted {
            // Late answers end a wait without an event, and the time is not over.
            Ok(Waited::Interrupted)
        } else {
            Ok(Waited::TimedOut)
        }
    }

    fn register_waker(&mut self, fd: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        self.register(fd, token, Interest::READ)
    }
}

fn wanted_write(interest: Interest) -> u8 {
    if interest.contains(Interest::WRITE) {
        WRITE
    } else {
        0
    }
}

/// What an event means; nothing for what is no event.
fn ready(event: &Kevent) -> Ready {
    if event.is_answer() {
        // We make changes with receipts, so these are not ours, or they are of a descriptor that was closed
        // meanwhile. Anything else is an error of the registration: reading tells.
        return match event.failure() {
            None | Some(libc::ENOENT | libc::EBADF) => Ready::NONE,
            Some(_) => Ready::ERROR,
        };
    }
    let (mut ready, end) = match event.filter() {
        // Data may lie before the end: the two come together.
        Filter::Read => (Ready::READABLE, Ready::READ_CLOSED),
        // Also after a shutdown of our own, so it must not be read as the peer's.
        Filter::Write => (Ready::WRITABLE, Ready::HANGUP),
        Filter::User => return Ready::READABLE,
        Filter::Other => return Ready::NONE,
    };
    if event.is_eof() {
        ready |= end;
    }
    if event.eof_errno() != 0 {
        ready |= Ready::ERROR;
    }
    ready
}

#[cfg(all(test, not(tidegate_kqueue)))]
mod tests;
