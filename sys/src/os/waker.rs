//! [`Waker`]: ends a wait of a selector from any thread. The reactor owns one per loop and shares it with
//! whoever hands tasks to that loop; how often it is used is decided there, not here.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
#[cfg(tidegate_kqueue)]
use std::sync::{Arc, Mutex, PoisonError};

use super::fd;
#[cfg(tidegate_kqueue)]
use super::kqueue_sys::Queue;
use super::selector::{Backend, Selector};
use super::token::Token;

/// Ends the current or the next wait of the selector that it was made for; many wake-ups before that wait
/// count as one.
///
/// | backend | made of | after an event |
/// |---|---|---|
/// | epoll | an eventfd, edge-triggered | nothing: each write is a new edge, nobody needs to read |
/// | kqueue | EVFILT_USER | nothing: it clears itself |
/// | poll | an eventfd, on Linux | `drain` empties it |
/// | any, where its own is missing | a pipe | `drain` empties it |
pub struct Waker {
    token: Token,
    kind: Kind,
    /// Of the selector; `reattach` keeps to it.
    backend: Backend,
    /// Of the selector that it was made for: no model moves to another one.
    #[cfg(loom)]
    bell: super::bell::Bell,
}

enum Kind {
    #[cfg(tidegate_epoll)]
    Counter(OwnedFd),
    /// The queue can change when the reactor rebuilds its selector; wake-ups are rare enough (one per
    /// sleep) for a lock.
    #[cfg(tidegate_kqueue)]
    User(Mutex<Arc<Queue>>),
    Pipe {
        reader: OwnedFd,
        writer: OwnedFd,
    },
}

impl Waker {
    /// Makes a waker and registers it: its wake-ups arrive as [`super::Ready::READABLE`] of `token`.
    ///
    /// Fails with what the kernel says, mostly that there are no descriptors left.
    pub fn new(selector: &mut Selector, token: Token) -> io::Result<Self> {
        #[cfg(tidegate_kqueue)]
        if let Some(queue) = selector.queue() {
            let queue = Arc::clone(queue);
            // NetBSD before 10 and old OpenBSD have no user events.
            if queue.add_user(token).is_ok() {
                return Ok(Self {
                    token,
                    kind: Kind::User(Mutex::new(queue)),
                    backend: selector.backend(),
                    #[cfg(loom)]
                    bell: selector.bell().clone(),
                });
            }
        }
        Self::with_kind(selector, token, Kind::best()?)
    }

    fn with_kind(selector: &mut Selector, token: Token, kind: Kind) -> io::Result<Self> {
        let waker = Self {
            token,
            kind,
            backend: selector.backend(),
            #[cfg(loom)]
            bell: selector.bell().clone(),
        };
        waker.attach(selector)?;
        Ok(waker)
    }

    /// Ends the wait. May be called from any thread, any number of times.
    ///
    /// Fails only when the kernel is out of memory or the descriptor was closed behind our back.
    pub fn wake(&self) -> io::Result<()> {
        #[cfg(loom)]
        return self.bell.ring(|| self.kick());
        #[cfg(not(loom))]
        self.kick()
    }

    /// How often `wake` was called, for models to compare.
    #[cfg(loom)]
    pub fn rings(&self) -> u64 {
        self.bell.rings()
    }

    #[inline]
    fn kick(&self) -> io::Result<()> {
        match &self.kind {
            #[cfg(tidegate_epoll)]
            Kind::Counter(counter) => match write_one(counter.as_fd()) {
                // The counter is at its end, after 2^64 - 2 wake-ups: start again.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    empty(counter.as_fd());
                    write_one(counter.as_fd())
                }
                answer => answer,
            },
            #[cfg(tidegate_kqueue)]
            Kind::User(queue) => {
                let queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
                queue.trigger_user(self.token)
            }
            Kind::Pipe { writer, .. } => match write_one(writer.as_fd()) {
                // Full of wake-ups that were not seen yet.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
                answer => answer,
            },
        }
    }

    /// To be called by the loop after an event of the waker's token: makes room for the next wake-up
    /// where that is needed, else does nothing.
    pub fn drain(&self) {
        match &self.kind {
            #[cfg(tidegate_epoll)]
            Kind::Counter(counter) => {
                if self.backend == Backend::Poll {
                    empty(counter.as_fd());
                }
            }
            #[cfg(tidegate_kqueue)]
            Kind::User(_) => {}
            Kind::Pipe { reader, .. } => empty(reader.as_fd()),
        }
    }

    /// Moves to another selector of the same backend, under the same token; the old one is about to be
    /// closed. A wake-up that was on its way to the old one is not lost: the new one is woken.
    ///
    /// `InvalidInput` if the backend is another one; else what the kernel says.
    pub fn reattach(&self, selector: &mut Selector) -> io::Result<()> {
        if selector.backend() != self.backend {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.attach(selector)?;
        self.wake()
    }

    fn attach(&self, selector: &mut Selector) -> io::Result<()> {
        match &self.kind {
            #[cfg(tidegate_epoll)]
            Kind::Counter(counter) => selector.register_waker(counter.as_fd(), self.token),
            #[cfg(tidegate_kqueue)]
            Kind::User(current) => {
                let Some(queue) = selector.queue() else {
                    return Err(io::ErrorKind::InvalidInput.into());
                };
                queue.add_user(self.token)?;
                *current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(queue);
                Ok(())
            }
            Kind::Pipe { reader, .. } => selector.register_waker(reader.as_fd(), self.token),
        }
    }
}

impl Kind {
    #[cfg(tidegate_epoll)]
    fn best() -> io::Result<Self> {
        match fd::event_counter() {
            Ok(counter) => Ok(Kind::Counter(counter)),
            // Sandboxes and emulated kernels may have none.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                Self::pipe()
            }
            Err(error) => Err(error),
        }
    }

    #[cfg(not(tidegate_epoll))]
    fn best() -> io::Result<Self> {
        Self::pipe()
    }

    fn pipe() -> io::Result<Self> {
        let (reader, writer) = fd::pipe()?;
        Ok(Kind::Pipe { reader, writer })
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker")
            .field("token", &self.token)
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

/// An eventfd takes eight bytes, and a pipe does not mind.
fn write_one(fd: BorrowedFd<'_>) -> io::Result<()> {
    super::io::write(fd, &1_u64.to_ne_bytes()).map(drop)
}

/// Reads until there is no more; an eventfd gives all of it at once.
fn empty(fd: BorrowedFd<'_>) {
    let mut sink = [0; 1024];
    while let Ok(1..) = super::io::read(fd, &mut sink) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::selector::Waited;
    use crate::os::{Events, Ready};
    use std::time::Duration;

    const TOKEN: Token = Token::new(0, 77);

    fn assert_woken(selector: &mut Selector) {
        let mut events = Events::new();
        let waited = selector
            .wait(&mut events, Some(Duration::from_secs(10)))
            .unwrap();
        assert_eq!(waited, Waited::Events(1), "{selector:?}");
        assert_eq!(events.get(0).unwrap().token, TOKEN);
        assert!(events.get(0).unwrap().ready.contains(Ready::READABLE));
    }

    fn assert_silent(selector: &mut Selector) {
        let mut events = Events::new();
        let waited = selector.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(waited, Waited::TimedOut, "{selector:?}");
    }

    /// The pipe is what a system without eventfd and EVFILT_USER uses; it must not rot on the others.
    ///
    /// Rules: 4.9
    #[test]
    fn a_pipe_wakes_every_backend() {
        for &backend in Backend::available() {
            let selector = &mut Selector::open(backend).unwrap();
            let waker = Waker::with_kind(selector, TOKEN, Kind::pipe().unwrap()).unwrap();
            assert_silent(selector);
            for _ in 0..3 {
                waker.wake().unwrap();
                waker.wake().unwrap();
                assert_woken(selector);
                waker.drain();
                assert_silent(selector);
            }
        }
    }

    #[test]
    fn a_full_pipe_is_no_error() {
        let selector = &mut Selector::open(Backend::Poll).unwrap();
        let waker = Waker::with_kind(selector, TOKEN, Kind::pipe().unwrap()).unwrap();
        for _ in 0..100_000 {
            waker.wake().unwrap();
        }
        assert_woken(selector);
        waker.drain();
        assert_silent(selector);
    }

    /// Rules: 4.9
    #[cfg(tidegate_epoll)]
    #[test]
    fn a_counter_at_its_end_still_wakes() {
        for &backend in Backend::available() {
            let selector = &mut Selector::open(backend).unwrap();
            let waker = Waker::new(selector, TOKEN).unwrap();
            let Kind::Counter(counter) = &waker.kind else {
                panic!("Linux wakes by eventfd");
            };
            super::super::io::write(counter.as_fd(), &(u64::MAX - 1).to_ne_bytes()).unwrap();
            assert_woken(selector);
            waker.wake().unwrap();
            assert_woken(selector);
        }
    }

    #[test]
    fn reattaching_needs_the_same_backend_and_wakes() {
        for &backend in Backend::available() {
            let mut old = Selector::open(backend).unwrap();
            let waker = Waker::new(&mut old, TOKEN).unwrap();
            let mut new = Selector::open(backend).unwrap();
            waker.reattach(&mut new).unwrap();
            drop(old);
            assert_woken(&mut new);
            waker.drain();
            assert_silent(&mut new);
            waker.wake().unwrap();
            assert_woken(&mut new);
            if backend != Backend::Poll {
                let mut other = Selector::open(Backend::Poll).unwrap();
                let error = waker.reattach(&mut other).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            }
        }
    }
}
