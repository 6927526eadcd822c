//! [`Selector`]: asks the kernel which descriptors are ready. The reactor is its only caller. It knows
//! descriptors, tokens and interest, never channels, and it keeps no clock: a wait that ends early says
//! so, and the caller computes its timeout anew.
//!
//! One file per backend, its methods in the order of the trait `Contract`:
//!
//! * `epoll`: Linux and Android, edge-triggered (the default there) or level-triggered.
//! * `kqueue`: macOS, iOS, the BSDs.
//! * `poll`: any Unix, always compiled: the reference for the conformance suite (`tests/selector/`).
//!
//! # The contract
//!
//! 1. `register` makes the descriptor known under a token. Registering one that is registered already
//!    replaces its token and interest (kqueue and poll cannot tell the two cases apart, so epoll does
//!    not either). Register a socket after `listen` or `connect` was called: on Linux an unconnected one
//!    reports a hang-up at once.
//! 2. Edge-triggered backends report what is ready at registration, and then each time something new
//!    arrives. After an event, use the descriptor until it answers `WouldBlock`; only then another event
//!    is certain. More events than that may come; never count on a second one after a partial read or a
//!    partial accept.
//! 3. Level-triggered backends (`is_edge_triggered()` is false) report in every wait what is ready and
//!    asked for. Hang-ups and errors are reported whatever was asked for: who cannot use them now has to
//!    deregister.
//! 4. `set_interest` is told of every change of interest. Where the kernel keeps quiet anyway it costs
//!    nothing: edge-triggered epoll ignores it, kqueue adds or removes only the write filter (always on,
//!    it would fire on every ACK: 430 events instead of 60 in one measurement).
//!    Interest that was gained is evaluated at once, except on edge-triggered epoll, where the edge has
//!    been reported before: what an event said stays true until `WouldBlock`.
//! 5. `remask` changes what the kernel watches on every backend, for a descriptor that keeps sending edges
//!    nobody wants. Interest given back this way is evaluated anew: what is ready is reported.
//! 6. After `deregister` no later wait reports the token. Deregister before closing. A descriptor that is
//!    not registered, or is closed, is no error.
//! 7. `wait` fills the batch and ends with `Events`, with `TimedOut` not before the timeout, or with
//!    `Interrupted` when a signal arrived. No single wait is longer than a day.
//! 8. READ and WRITE readiness of one descriptor arrive as one event.

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
#[cfg(tidegate_kqueue)]
use std::sync::Arc;
use std::time::Duration;

use super::event::{Events, Interest};
use super::token::Token;

#[cfg(tidegate_epoll)]
mod epoll;
#[cfg(any(tidegate_kqueue, test))]
#[cfg_attr(not(tidegate_kqueue), allow(dead_code))]
mod kqueue;
mod poll;

mod contract;

pub use contract::{Backend, UnknownBackend, Waited};
use contract::{Contract, WAIT_MAX};

/// One readiness set of the kernel.
pub struct Selector {
    inner: Inner,
    #[cfg(loom)]
    bell: super::bell::Bell,
}

enum Inner {
    #[cfg(tidegate_epoll)]
    Epoll(epoll::Epoll),
    #[cfg(tidegate_kqueue)]
    Kqueue(kqueue::Kqueue),
    Poll(poll::Poll),
}

/// One match per call: a loop picks its backend at run time, and a branch that always goes the same way
/// costs less than a call through a table.
macro_rules! each {
    ($selector:expr, $backend:ident => $call:expr) => {
        match $selector {
            #[cfg(tidegate_epoll)]
            Inner::Epoll($backend) => $call,
            #[cfg(tidegate_kqueue)]
            Inner::Kqueue($backend) => $call,
            Inner::Poll($backend) => $call,
        }
    };
}

impl Selector {
    /// Opens an empty set. `Unsupported` if this build has no such backend; else what the kernel says,
    /// mostly that the process or the machine is out of descriptors.
    pub fn open(backend: Backend) -> io::Result<Self> {
        #[cfg(feature = "sim")]
        if backend == Backend::Kqueue && super::sim::is_installed() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a simulation has no kqueue",
            ));
        }
        let inner = match backend {
            #[cfg(tidegate_epoll)]
            Backend::Epoll => Inner::Epoll(epoll::Epoll::open(epoll::Trigger::Edge)?),
            #[cfg(tidegate_epoll)]
            Backend::EpollLevel => Inner::Epoll(epoll::Epoll::open(epoll::Trigger::Level)?),
            #[cfg(tidegate_kqueue)]
            Backend::Kqueue => Inner::Kqueue(kqueue::Kqueue::open()?),
            Backend::Poll => Inner::Poll(poll::Poll::new()),
            #[allow(unreachable_patterns)]
            other => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!("the selector backend {other} does not exist on this system"),
                ));
            }
        };
        Ok(Self {
            inner,
            #[cfg(loom)]
            bell: super::bell::Bell::new(),
        })
    }

    /// Which backend this is.
    pub fn backend(&self) -> Backend {
        match &self.inner {
            #[cfg(tidegate_epoll)]
            Inner::Epoll(epoll) => match epoll.trigger() {
                epoll::Trigger::Edge => Backend::Epoll,
                epoll::Trigger::Level => Backend::EpollLevel,
            },
            #[cfg(tidegate_kqueue)]
            Inner::Kqueue(_) => Backend::Kqueue,
            Inner::Poll(_) => Backend::Poll,
        }
    }

    /// Whether rule 2 of the contract holds, not rule 3.
    pub fn is_edge_triggered(&self) -> bool {
        matches!(self.backend(), Backend::Epoll | Backend::Kqueue)
    }

    /// The descriptor of the set, readable whenever a wait would report something: for loops nested in
    /// another loop. poll(2) has none.
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.inner {
            #[cfg(tidegate_epoll)]
            Inner::Epoll(epoll) => Some(epoll.as_fd()),
            #[cfg(tidegate_kqueue)]
            Inner::Kqueue(kqueue) => Some(kqueue.queue().as_fd()),
            Inner::Poll(_) => None,
        }
    }

    /// Makes a descriptor known (rules 1 and 2). Fails with what the kernel says: no room (ENOSPC,
    /// ENOMEM), or a descriptor that cannot be waited for, such as a regular file (EPERM).
    pub fn register(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        each!(&mut self.inner, backend => backend.register(fd, token, interest))
    }

    /// Tells of a change of interest (rule 4). `NotFound` where the kernel is asked and does not know
    /// the descriptor.
    #[inline]
    pub fn set_interest(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        each!(&mut self.inner, backend => backend.set_interest(fd, token, interest))
    }

    /// Changes what the kernel watches, on every backend (rule 5). `NotFound` if the kernel does not
    /// know the descriptor.
    pub fn remask(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        each!(&mut self.inner, backend => backend.remask(fd, token, interest))
    }

    /// Forgets a descriptor (rule 6).
    pub fn deregister(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        each!(&mut self.inner, backend => backend.deregister(fd))
    }

    /// Makes a descriptor known by its number: for moving what another selector watches to this one, when
    /// nobody who owns the descriptors is at hand. Else as `register`; a number that is closed by now is
    /// refused (EBADF), except by poll, whose next wait forgets it.
    pub fn adopt(&mut self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        if fd < 0 {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        // SAFETY: the number is not -1 (checked above), and it is used for nothing but a registration,
        // which names an entry of the kernel's table and neither reads, writes nor closes it. Whoever
        // registered it first deregisters before closing (rule 6), so it is still theirs.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        self.register(fd, token, interest)
    }

    /// Waits for readiness (rule 7): without a timeout until something happens, with a timeout of zero
    /// not at all. Replaces what `events` held. An error means that the set itself is unusable.
    #[inline]
    pub fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<Waited> {
        events.clear();
        if let Some(timeout) = timeout {
            return self.wait_within(events, timeout.min(WAIT_MAX));
        }
        self.wait_at_most(events, None)
    }

    /// Apart, so that a turn that waits for as long as it takes has little code to fetch.
    #[inline(never)]
    fn wait_within(&mut self, events: &mut Events, timeout: Duration) -> io::Result<Waited> {
        self.wait_at_most(events, Some(timeout))
    }

    #[inline(always)]
    fn wait_at_most(
        &mut self,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> io::Result<Waited> {
        #[cfg(loom)]
        return self.bell.clone().wait(
            timeout,
            || each!(&mut self.inner, backend => backend.wait(events, Some(Duration::ZERO))),
            |answer| matches!(answer, Ok(Waited::TimedOut)),
        );
        #[cfg(not(loom))]
        each!(&mut self.inner, backend => backend.wait(events, timeout))
    }

    /// Makes waits end at full milliseconds, rounded up, as `open` does by itself on kernels that lack
    /// nanosecond waits (Linux before 5.11). Public so that the fallback can be tested everywhere.
    /// Changes nothing on backends other than epoll.
    pub fn use_coarse_waits(&mut self) {
        match &mut self.inner {
            #[cfg(tidegate_epoll)]
            Inner::Epoll(epoll) => epoll.use_coarse_waits(),
            #[cfg(tidegate_kqueue)]
            Inner::Kqueue(_) => {}
            Inner::Poll(_) => {}
        }
    }

    pub(super) fn register_waker(&mut self, fd: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        each!(&mut self.inner, backend => backend.register_waker(fd, token))
    }

    /// Where waits of a model sleep.
    #[cfg(loom)]
    pub(super) fn bell(&self) -> &super::bell::Bell {
        &self.bell
    }

    /// The queue that a user event can be sent to, if this is a kqueue.
    #[cfg(tidegate_kqueue)]
    pub(super) fn queue(&self) -> Option<&Arc<super::kqueue_sys::Queue>> {
        match &self.inner {
            Inner::Kqueue(kqueue) => Some(kqueue.queue()),
            Inner::Poll(_) => None,
        }
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selector")
            .field("backend", &self.backend())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_backends_agree() {
        for &backend in Backend::available() {
            assert_eq!(backend.to_string().parse(), Ok(backend));
            assert_eq!(Selector::open(backend).unwrap().backend(), backend);
        }
        assert!(Backend::available().contains(&Backend::default()));
        assert_eq!("select".parse::<Backend>(), Err(UnknownBackend));
    }

    #[test]
    fn selectors_change_threads_and_wakers_are_shared() {
        fn is_send<T: Send>() {}
        fn is_sync<T: Sync>() {}
        is_send::<Selector>();
        is_send::<Events>();
        is_send::<crate::os::Waker>();
        is_sync::<crate::os::Waker>();
    }

    #[test]
    fn a_backend_of_another_system_is_unsupported() {
        for backend in [Backend::Epoll, Backend::Kqueue] {
            if !Backend::available().contains(&backend) {
                let error = Selector::open(backend).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            }
        }
    }
}
