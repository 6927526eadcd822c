//! poll(2): level-triggered, on every Unix. Used through [`super::Selector`] only.
//!
//! The list that the kernel reads is kept in one piece, so a wait costs one call and one look at each
//! entry. It is the reference for what the other backends have to report, and the way out on a system
//! where they fail; not a backend for thousands of descriptors.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use libc::{c_short, pollfd};

use super::contract::{Contract, Waited};
use crate::os::event::{Events, Interest, Ready};
use crate::os::syscall;
use crate::os::token::Token;

pub(super) struct Poll {
    /// What the kernel reads and writes.
    list: Vec<pollfd>,
    /// The token of each entry: tokens.len() == list.len().
    tokens: Vec<Token>,
    /// By descriptor number: where its entry is, or ABSENT. Descriptor numbers are small and dense.
    places: Vec<u32>,
    /// Where the next look through the list begins, so that a batch that is too small for all that is
    /// ready does not favour the front. cursor <= list.len().
    cursor: usize,
}

const ABSENT: u32 = u32::MAX;

/// Half closes are told apart where the system does so.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
const RDHUP: c_short = libc::POLLRDHUP;
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
const RDHUP: c_short = 0;

impl Poll {
    pub(super) fn new() -> Self {
        Self {
            list: Vec::new(),
            tokens: Vec::new(),
            places: Vec::new(),
            cursor: 0,
        }
    }

    fn place(&self, fd: RawFd) -> Option<usize> {
        let index = usize::try_from(fd).ok()?;
        match self.places.get(index) {
            None | Some(&ABSENT) => None,
            Some(&place) => Some(place as usize),
        }
    }

    fn set_place(&mut self, fd: RawFd, place: u32) {
        let index = fd as usize;
        if index >= self.places.len() {
            self.places.resize(index + 1, ABSENT);
        }
        self.places[index] = place;
    }

    fn remove(&mut self, place: usize) {
        let gone = self.list.swap_remove(place);
        self.tokens.swap_remove(place);
        self.set_place(gone.fd, ABSENT);
        if let Some(moved) = self.list.get(place) {
            self.set_place(moved.fd, place as u32);
        }
        self.cursor = self.cursor.min(self.list.len());
    }

    /// Takes events out of the list until the batch is full; the next look goes on from there.
    fn collect(&mut self, events: &mut Events, mut remaining: usize) -> usize {
        let mut has_closed = false;
        let mut reported = 0;
        let count = self.list.len();
        for step in 0..count {
            if remaining == 0 || reported == events.limit() {
                break;
            }
            let place = (self.cursor + step) % count;
            let entry = self.list[place];
            if entry.revents == 0 {
                continue;
            }
            remaining -= 1;
            if entry.revents & libc::POLLNVAL != 0 {
                has_closed = true;
                continue;
            }
            events.push(self.tokens[place], ready(entry.revents));
            reported += 1;
            if reported == events.limit() {
                self.cursor = (place + 1) % count;
            }
        }
        if has_closed {
            self.forget_closed();
        }
        reported
    }

    /// Closed while registered: the other backends forget such a descriptor silently.
    fn forget_closed(&mut self) {
        for place in (0..self.list.len()).rev() {
            if self.list[place].revents & libc::POLLNVAL != 0 {
                self.remove(place);
            }
        }
    }
}

impl Contract for Poll {
    fn register(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        #[cfg(feature = "sim")]
        crate::os::sim::meet(fd);
        let raw = fd.as_raw_fd();
        if let Some(place) = self.place(raw) {
            self.list[place].events = mask(interest);
            self.tokens[place] = token;
            return Ok(());
        }
        let place = u32::try_from(self.list.len()).map_err(|_| io::ErrorKind::OutOfMemory)?;
        self.list.push(pollfd {
            fd: raw,
            events: mask(interest),
            revents: 0,
        });
        self.tokens.push(token);
        self.set_place(raw, place);
        Ok(())
    }

    fn set_interest(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let Some(place) = self.place(fd.as_raw_fd()) else {
            return Err(io::Error::from_raw_os_error(libc::ENOENT));
        };
        self.list[place].events = mask(interest);
        self.tokens[place] = token;
        Ok(())
    }

    fn remask(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        self.set_interest(fd, token, interest)
    }

    fn deregister(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if let Some(place) = self.place(fd.as_raw_fd()) {
            self.remove(place);
        }
        Ok(())
    }

    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<Waited> {
        let ready = match poll(&mut self.list, timeout) {
            Ok(0) => return Ok(Waited::TimedOut),
            Ok(ready) => ready,
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => {
                return Ok(Waited::Interrupted);
            }
            Err(error) => return Err(error),
        };
        match self.collect(events, ready) {
            // Only closed descriptors: nothing to tell, and the time is not over.
            0 => Ok(Waited::Interrupted),
            reported => Ok(Waited::Events(reported)),
        }
    }

    fn register_waker(&mut self, fd: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        self.register(fd, token, Interest::READ)
    }
}

/// Urgent data is not asked for: level-triggered, a byte that nobody takes would be reported for ever.
fn mask(interest: Interest) -> c_short {
    let mut mask = 0;
    if interest.contains(Interest::READ) {
        mask |= libc::POLLIN | RDHUP;
    }
    if interest.contains(Interest::WRITE) {
        mask |= libc::POLLOUT;
    }
    mask
}

fn ready(mask: c_short) -> Ready {
    const MAP: [(c_short, Ready); 5] = [
        (libc::POLLIN, Ready::READABLE),
        (libc::POLLOUT, Ready::WRITABLE),
        (RDHUP, Ready::READ_CLOSED.union(Ready::READABLE)),
        (libc::POLLHUP, Ready::HANGUP),
        (libc::POLLERR, Ready::ERROR),
    ];
    let mut ready = Ready::NONE;
    for (bit, meaning) in MAP {
        if mask & bit != 0 {
            ready |= meaning;
        }
    }
    ready
}

/// ppoll(2): nanoseconds, and no 32-bit limit.
#[cfg(not(target_vendor = "apple"))]
fn poll(list: &mut [pollfd], timeout: Option<Duration>) -> io::Result<usize> {
    #[cfg(feature = "sim")]
    {
        syscall::once(crate::os::sim::fate("poll"))?;
        if let Some(answer) = crate::os::sim::poll(list, timeout) {
            return answer;
        }
    }
    let spec = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_nsec: timeout.subsec_nanos() as _,
    });
    let spec = spec.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the list is exactly as long as said; `spec` is null or a timespec that outlives the call; a
    // null signal mask leaves the mask as it is.
    let ready = syscall::once(unsafe {
        libc::ppoll(
            list.as_mut_ptr(),
            list.len() as libc::nfds_t,
            spec,
            std::ptr::null(),
        )
    })?;
    Ok(ready as usize)
}

/// macOS has no ppoll: milliseconds, rounded up so that a wait is never short.
#[cfg(target_vendor = "apple")]
fn poll(list: &mut [pollfd], timeout: Option<Duration>) -> io::Result<usize> {
    #[cfg(feature = "sim")]
    {
        syscall::once(crate::os::sim::fate("poll"))?;
        if let Some(answer) = crate::os::sim::poll(list, timeout) {
            return answer;
        }
    }
    let timeout_ms = timeout.map_or(-1, |timeout| {
        libc::c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
    });
    // SAFETY: the list is exactly as long as said.
    let ready = syscall::once(unsafe {
        libc::poll(list.as_mut_ptr(), list.len() as libc::nfds_t, timeout_ms)
    })?;
    Ok(ready as usize)
}

const _: () = {
    use memoffset::offset_of;

    assert!(size_of::<pollfd>() == 8);
    assert!(offset_of!(pollfd, fd) == 0);
    assert!(offset_of!(pollfd, events) == 4);
    assert!(offset_of!(pollfd, revents) == 6);
};

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::os::fd;

    fn token(slot: u32) -> Token {
        Token::new(slot, 0)
    }

    #[test]
    fn a_small_batch_goes_round_the_list() {
        let mut poll = Poll::new();
        let pipes: Vec<_> = (0..5).map(|_| fd::pipe().unwrap()).collect();
        for (slot, (_, writer)) in (0..).zip(&pipes) {
            poll.register(writer.as_fd(), token(slot), Interest::WRITE)
                .unwrap();
        }
        // A batch of one must still show all of them in turn.
        let mut seen = Vec::new();
        for _ in 0..pipes.len() {
            let mut events = Events::with_limit(1);
            poll.wait(&mut events, None).unwrap();
            seen.push(events.get(0).unwrap().token.slot());
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn removing_keeps_the_places_of_the_others() {
        let mut poll = Poll::new();
        let pipes: Vec<_> = (0..4).map(|_| fd::pipe().unwrap()).collect();
        for (slot, (_, writer)) in (0..).zip(&pipes) {
            poll.register(writer.as_fd(), token(slot), Interest::NONE)
                .unwrap();
        }
        poll.deregister(pipes[0].1.as_fd()).unwrap();
        poll.deregister(pipes[0].1.as_fd()).unwrap();
        poll.set_interest(pipes[3].1.as_fd(), token(30), Interest::WRITE)
            .unwrap();
        let mut events = Events::new();
        assert_eq!(poll.wait(&mut events, None).unwrap(), Waited::Events(1));
        assert_eq!(events.get(0).unwrap().token, token(30));
        let unknown = poll.set_interest(pipes[0].1.as_fd(), token(0), Interest::WRITE);
        assert_eq!(unknown.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_descriptor_closed_while_registered_is_forgotten() {
        let mut poll = Poll::new();
        let (reader, writer) = fd::pipe().unwrap();
        poll.register(reader.as_fd(), token(1), Interest::READ)
            .unwrap();
        poll.register(writer.as_fd(), token(2), Interest::NONE)
            .unwrap();
        // Stands for a close without deregister; a number this high is open nowhere.
        poll.list[0].fd = 1 << 20;
        poll.set_place(1 << 20, 0);
        let mut events = Events::new();
        assert_eq!(poll.wait(&mut events, None).unwrap(), Waited::Interrupted);
        assert_eq!(poll.list.len(), 1);
        assert_eq!(poll.place(writer.as_raw_fd()), Some(0));
    }
}
