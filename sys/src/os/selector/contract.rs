//! What every backend is and does. The numbered rules are at the head of [`selector`](super).

use std::error::Error;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::str::FromStr;
use std::time::Duration;

use super::super::event::{Events, Interest};
use super::super::token::Token;

/// The ways to ask the kernel for readiness.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Backend {
    /// epoll with edge triggering.
    Epoll,
    /// epoll with level triggering.
    EpollLevel,
    /// kqueue with EV_CLEAR, which is edge triggering.
    Kqueue,
    /// poll(2): level-triggered, its cost grows with the number of descriptors.
    Poll,
}

impl Backend {
    /// What this build can use here, the default first or not; never empty.
    pub const fn available() -> &'static [Backend] {
        &[
            #[cfg(tidegate_epoll)]
            Backend::Epoll,
            #[cfg(tidegate_epoll)]
            Backend::EpollLevel,
            #[cfg(tidegate_kqueue)]
            Backend::Kqueue,
            Backend::Poll,
        ]
    }

    /// The name that [`FromStr`] and the environment variable `TIDEGATE_BACKEND` of the build know.
    pub const fn name(self) -> &'static str {
        match self {
            Backend::Epoll => "epoll",
            Backend::EpollLevel => "epoll-level",
            Backend::Kqueue => "kqueue",
            Backend::Poll => "poll",
        }
    }
}

/// The best of the target, unless the build was made with `TIDEGATE_BACKEND` set.
impl Default for Backend {
    fn default() -> Self {
        if cfg!(tidegate_default = "epoll") {
            Backend::Epoll
        } else if cfg!(tidegate_default = "epoll-level") {
            Backend::EpollLevel
        } else if cfg!(tidegate_default = "kqueue") {
            Backend::Kqueue
        } else {
            Backend::Poll
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Backend {
    type Err = UnknownBackend;

    fn from_str(name: &str) -> Result<Self, UnknownBackend> {
        match name {
            "epoll" => Ok(Backend::Epoll),
            "epoll-level" => Ok(Backend::EpollLevel),
            "kqueue" => Ok(Backend::Kqueue),
            "poll" => Ok(Backend::Poll),
            _ => Err(UnknownBackend),
        }
    }
}

/// The text names no [`Backend`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownBackend;

impl fmt::Display for UnknownBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a selector backend: use epoll, epoll-level, kqueue or poll")
    }
}

impl Error for UnknownBackend {}

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waited {
    /// This many events are in the batch; at least one.
    Events(usize),
    /// Nothing happened until the timeout.
    TimedOut,
    /// A signal ended the wait. Look at the clock and wait for the rest: a selector that restarted the
    /// full timeout by itself would starve the timers of a process under a profiler.
    Interrupted,
}

/// What each backend does; the numbered rules are at the head of the folder.
pub(super) trait Contract {
    fn register(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()>;
    fn set_interest(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> io::Result<()>;
    fn remask(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()>;
    fn deregister(&mut self, fd: BorrowedFd<'_>) -> io::Result<()>;
    /// Fills `events`, which is empty. `timeout` is at most [`WAIT_MAX`].
    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<Waited>;
    /// Watches the reading end of a waker: once per wake-up where the kernel can do that.
    fn register_waker(&mut self, fd: BorrowedFd<'_>, token: Token) -> io::Result<()>;
}

/// FreeBSD caps kevent's timeout at a day (kevent(2)); epoll_wait's milliseconds end at 24 days.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(86_399);
