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

use super::{Contract, Waited};
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

    fn slot(&mut self, fd: RawFd) -> &mut Slot {
        let index = fd as usize;
        if index >= self.slots.len() {
            self.slots.resize(index + 1, Slot::default());
        }
        &mut self.slots[index]
    }

    /// Adds and removes filters so that exactly those of `wanted` are there. What is wanted and there is
    /// added once more, and thereby evaluated anew, unless it is in `keep`.
    fn settle(&mut self, fd: RawFd, token: Token, wanted: u8, keep: u8) -> io::Result<()> {
        let has = self.slot(fd).filters;
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
        self.slot(fd).filters = filters;
        failed.map_or(Ok(()), Err)
    }

    /// What is known of a number ends with its registration.
    fn forget(&mut self, fd: RawFd) {
        self.slot(fd).filters = 0;
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
            if !matches!(event.filter(), Filter::Read | Filter::Write) {
                events.push(token, ready);
                continue;
            }
            let batch = self.batch;
            let slot = self.slot(event.ident() as RawFd);
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
        // Filters left over from an earlier registration of the number are added anew or deleted; of an
        // earlier descriptor there are none, which the deletion does not mind.
        let answer = self.settle(fd, token, READ | wanted_write(interest), 0);
        if answer.is_ok() {
            self.slot(fd).filters |= KNOWN;
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
        let has = self.slot(fd).filters;
        if has & KNOWN == 0 {
            return Err(io::Error::from_raw_os_error(libc::ENOENT));
        }
        self.settle(fd, token, has & READ | wanted_write(interest), READ | WRITE)
    }

    fn remask(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        let fd = fd.as_raw_fd();
        if self.slot(fd).filters & KNOWN == 0 {
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
        events.grow_if_full(told + reported);
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

/// Against the fake: what real kernels do differently cannot be had on demand from one of them.
#[cfg(all(test, not(tidegate_kqueue)))]
mod tests {
    use std::os::fd::{AsFd, OwnedFd};
    use std::thread;

    use super::*;
    use crate::os::fd;
    use crate::os::kqueue_sys::fake::{EVFILT_READ, EVFILT_WRITE, Fake, Readiness};

    const TOKEN: Token = Token::new(7, u32::MAX);
    const LONG: Duration = Duration::from_secs(10);

    fn open() -> (Kqueue, Fake) {
        let kqueue = Kqueue::open().unwrap();
        let fake = Fake::of(kqueue.queue().as_fd());
        (kqueue, fake)
    }

    /// Any descriptor: the fake looks at its number only.
    fn descriptor() -> OwnedFd {
        fd::open_reserve().unwrap()
    }

    fn wait(kqueue: &mut Kqueue) -> Vec<(Token, Ready)> {
        let mut events = Events::new();
        kqueue.wait(&mut events, Some(Duration::ZERO)).unwrap();
        events
            .iter()
            .map(|event| (event.token, event.ready))
            .collect()
    }

    fn data() -> Readiness {
        Readiness {
            data: 1,
            ..Readiness::default()
        }
    }

    fn end(errno: i32) -> Readiness {
        Readiness {
            is_eof: true,
            errno: errno as u32,
            ..Readiness::default()
        }
    }

    #[test]
    fn write_is_registered_only_while_wanted() {
        let (mut kqueue, fake) = open();
        let fd = descriptor();
        let raw = fd.as_raw_fd();
        kqueue.register(fd.as_fd(), TOKEN, Interest::READ).unwrap();
        assert_eq!(fake.filters(raw), [EVFILT_READ]);
        kqueue
            .set_interest(fd.as_fd(), TOKEN, Interest::BOTH)
            .unwrap();
        assert_eq!(fake.filters(raw), [EVFILT_READ, EVFILT_WRITE]);

        let before = fake.calls();
        kqueue
            .set_interest(fd.as_fd(), TOKEN, Interest::WRITE)
            .unwrap();
        kqueue
            .set_interest(fd.as_fd(), TOKEN, Interest::BOTH)
            .unwrap();
        assert_eq!(fake.calls(), before, "interest in reading costs no call");

        kqueue
            .set_interest(fd.as_fd(), TOKEN, Interest::NONE)
            .unwrap();
        assert_eq!(fake.filters(raw), [EVFILT_READ]);
        kqueue.deregister(fd.as_fd()).unwrap();
        assert!(fake.filters(raw).is_empty());
        kqueue.deregister(fd.as_fd()).unwrap();
        let unknown = kqueue.set_interest(fd.as_fd(), TOKEN, Interest::WRITE);
        assert_eq!(unknown.unwrap_err().kind(), io::ErrorKind::NotFound);
        let unknown = kqueue.remask(fd.as_fd(), TOKEN, Interest::WRITE);
        assert_eq!(unknown.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn both_filters_of_a_descriptor_become_one_event() {
        let (mut kqueue, fake) = open();
        let fds = [descriptor(), descriptor()];
        for (slot, fd) in (0..).zip(&fds) {
            kqueue
                .register(fd.as_fd(), Token::new(slot, 3), Interest::BOTH)
                .unwrap();
            fake.set_ready(fd.as_raw_fd(), EVFILT_READ, data());
            fake.set_ready(fd.as_raw_fd(), EVFILT_WRITE, data());
        }
        let both = Ready::READABLE | Ready::WRITABLE;
        assert_eq!(
            wait(&mut kqueue),
            [(Token::new(0, 3), both), (Token::new(1, 3), both)]
        );
        assert!(wait(&mut kqueue).is_empty(), "an edge is reported once");
        fake.set_ready(fds[0].as_raw_fd(), EVFILT_WRITE, data());
        assert_eq!(wait(&mut kqueue), [(Token::new(0, 3), Ready::WRITABLE)]);
    }

    #[test]
    fn the_end_comes_with_what_is_left_and_with_its_errno() {
        let cases = [
            (EVFILT_READ, end(0), Ready::READABLE | Ready::READ_CLOSED),
            (
                EVFILT_READ,
                end(libc::ECONNRESET),
                Ready::READABLE | Ready::READ_CLOSED | Ready::ERROR,
            ),
            (EVFILT_WRITE, end(0), Ready::WRITABLE | Ready::HANGUP),
            (
                EVFILT_WRITE,
                end(libc::ECONNREFUSED),
                Ready::WRITABLE | Ready::HANGUP | Ready::ERROR,
            ),
        ];
        for (filter, readiness, expected) in cases {
            let (mut kqueue, fake) = open();
            let fd = descriptor();
            kqueue.register(fd.as_fd(), TOKEN, Interest::BOTH).unwrap();
            fake.set_ready(fd.as_raw_fd(), filter, readiness);
            assert_eq!(wait(&mut kqueue), [(TOKEN, expected)]);
        }
    }

    #[test]
    fn remasking_evaluates_anew() {
        let (mut kqueue, fake) = open();
        let fd = descriptor();
        kqueue.register(fd.as_fd(), TOKEN, Interest::READ).unwrap();
        fake.set_ready(fd.as_raw_fd(), EVFILT_READ, data());
        assert_eq!(wait(&mut kqueue), [(TOKEN, Ready::READABLE)]);

        kqueue.remask(fd.as_fd(), TOKEN, Interest::NONE).unwrap();
        fake.set_ready(fd.as_raw_fd(), EVFILT_READ, data());
        assert!(wait(&mut kqueue).is_empty());
        kqueue
            .set_interest(fd.as_fd(), TOKEN, Interest::READ)
            .unwrap();
        assert!(
            wait(&mut kqueue).is_empty(),
            "only another remask gives reading back"
        );
        kqueue.remask(fd.as_fd(), TOKEN, Interest::READ).unwrap();
        assert_eq!(wait(&mut kqueue), [(TOKEN, Ready::READABLE)]);
    }

    #[test]
    fn failed_changes_are_seen_whichever_way_they_are_flagged() {
        for adds_bit in [false, true] {
            let (mut kqueue, fake) = open();
            if adds_bit {
                fake.adds_error_bit();
            }
            let fd = descriptor();
            fake.refuse(fd.as_raw_fd(), EVFILT_WRITE, libc::ENOMEM);
            let error = kqueue
                .register(fd.as_fd(), TOKEN, Interest::BOTH)
                .unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENOMEM));
            assert!(
                fake.filters(fd.as_raw_fd()).is_empty(),
                "not half of it stays"
            );

            kqueue.register(fd.as_fd(), TOKEN, Interest::READ).unwrap();
            assert_eq!(fake.filters(fd.as_raw_fd()), [EVFILT_READ]);
        }
    }

    #[test]
    fn closed_output_found_while_adding_is_told_as_an_event() {
        let (mut kqueue, fake) = open();
        let fd = descriptor();
        kqueue.register(fd.as_fd(), TOKEN, Interest::READ).unwrap();
        fake.refuse(fd.as_raw_fd(), EVFILT_WRITE, libc::EPIPE);
        kqueue
            .set_interest(fd.as_fd(), TOKEN, Interest::BOTH)
            .unwrap();
        assert_eq!(
            wait(&mut kqueue),
            [(TOKEN, Ready::WRITABLE | Ready::HANGUP)]
        );
        assert!(wait(&mut kqueue).is_empty());

        kqueue
            .set_interest(fd.as_fd(), TOKEN, Interest::BOTH)
            .unwrap();
        kqueue.deregister(fd.as_fd()).unwrap();
        assert!(
            wait(&mut kqueue).is_empty(),
            "nothing is told of what is deregistered"
        );
    }

    #[test]
    fn answers_in_a_wait_are_no_events_and_do_not_end_the_time() {
        let (mut kqueue, fake) = open();
        let mut events = Events::new();
        for errno in [0, libc::ENOENT, libc::EBADF] {
            fake.answer_late(3, EVFILT_READ, errno, 0);
            assert_eq!(
                kqueue.wait(&mut events, Some(LONG)).unwrap(),
                Waited::Interrupted
            );
        }
        fake.answer_late(3, EVFILT_READ, libc::ENOMEM, TOKEN.to_bits());
        assert_eq!(
            kqueue.wait(&mut events, Some(LONG)).unwrap(),
            Waited::Events(1)
        );
        assert_eq!((events[0].token, events[0].ready), (TOKEN, Ready::ERROR));
    }

    #[test]
    fn a_signal_and_a_timeout_are_told_apart() {
        let (mut kqueue, fake) = open();
        let mut events = Events::new();
        fake.interrupt();
        assert_eq!(
            kqueue.wait(&mut events, Some(LONG)).unwrap(),
            Waited::Interrupted
        );
        let timeout = Duration::from_millis(2);
        let before = crate::os::clock::now();
        assert_eq!(
            kqueue.wait(&mut events, Some(timeout)).unwrap(),
            Waited::TimedOut
        );
        assert!(crate::os::clock::now().saturating_since(before) >= timeout);
    }

    #[test]
    fn a_number_that_is_used_again_starts_afresh() {
        let (mut kqueue, fake) = open();
        let fd = descriptor();
        kqueue.register(fd.as_fd(), TOKEN, Interest::BOTH).unwrap();
        let again = Token::new(7, 0);
        kqueue.register(fd.as_fd(), again, Interest::READ).unwrap();
        assert_eq!(fake.filters(fd.as_raw_fd()), [EVFILT_READ]);
        fake.set_ready(fd.as_raw_fd(), EVFILT_READ, data());
        assert_eq!(wait(&mut kqueue), [(again, Ready::READABLE)]);
    }

    #[test]
    fn a_user_event_ends_a_wait_from_another_thread_and_coalesces() {
        let (mut kqueue, _fake) = open();
        let queue = Arc::clone(kqueue.queue());
        assert!(queue.trigger_user(TOKEN).is_err(), "nobody would wake up");
        queue.add_user(TOKEN).unwrap();
        let waker = thread::spawn(move || {
            for _ in 0..3 {
                queue.trigger_user(TOKEN).unwrap();
            }
        });
        let mut events = Events::new();
        assert_eq!(
            kqueue.wait(&mut events, Some(LONG)).unwrap(),
            Waited::Events(1)
        );
        assert_eq!((events[0].token, events[0].ready), (TOKEN, Ready::READABLE));
        waker.join().unwrap();
        wait(&mut kqueue);
        assert!(wait(&mut kqueue).is_empty());
    }
}
