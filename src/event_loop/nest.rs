//! The descriptor of a local loop: one that is readable whenever a turn would do something.
//!
//! It is a level-triggered epoll set of its own, which nobody waits on: it watches the loop's selector
//! (readiness, and wake-ups by other threads) and a timer descriptor. The timer stands for deadlines and,
//! set to a time long past, for work that a turn has left over. Both are set at the end of a turn, so
//! nothing has to be read to make the descriptor unreadable again.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tidegate_sys::os::timer::Timer;
use tidegate_sys::os::{Backend, Interest, Selector, Time, Token};
use tracing::warn;

use super::core::LoopCore;
use crate::error::{Error, ErrorKind};

const INNER: Token = Token::new(0, 0);
const TIMER: Token = Token::new(1, 0);

/// A time that has passed on every clock; zero itself would switch a timer off.
const LONG_AGO: Time = Time::from_nanos(1);

pub(super) struct Nest {
    outer: RefCell<Selector>,
    /// The same set as `outer`, to be lent.
    fd: OwnedFd,
    timer: Timer,
    armed: Cell<Option<Time>>,
    /// The rebuilds of the inner selector that `outer` knows of.
    rebuilds: Cell<u64>,
}

impl Nest {
    pub(super) fn new(core: &LoopCore) -> Result<Self, Error> {
        let failed = |error| Error::io("making the descriptor of a local event loop", error);
        let mut outer = Selector::open(Backend::EpollLevel).map_err(failed)?;
        let timer = Timer::new().map_err(failed)?;
        outer
            .register(timer.as_fd(), TIMER, Interest::READ)
            .map_err(failed)?;
        let lent = outer
            .as_fd()
            .map(|fd| fd.try_clone_to_owned())
            .transpose()
            .map_err(failed)?;
        let Some(fd) = lent else {
            return Err(no_descriptor());
        };
        let this = Self {
            outer: RefCell::new(outer),
            fd,
            timer,
            armed: Cell::new(None),
            rebuilds: Cell::new(0),
        };
        this.watch_inner(core)?;
        Ok(this)
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The loop wants its next turn at `wanted`.
    pub(super) fn arm(&self, core: &LoopCore, wanted: Option<Time>) {
        if self.rebuilds.get() != core.metrics().reactor.rebuilds.get()
            && let Err(error) = self.watch_inner(core)
        {
            warn!(%error, "a local event loop cannot be watched any more");
        }
        let wanted = wanted.map(|wanted| wanted.max(LONG_AGO));
        if self.armed.get() == wanted {
            return;
        }
        match self.timer.set(wanted) {
            Ok(()) => self.armed.set(wanted),
            Err(error) => warn!(%error, "the timer of a local event loop cannot be set"),
        }
    }

    /// Watches the loop's selector, the newest one.
    fn watch_inner(&self, core: &LoopCore) -> Result<(), Error> {
        let Some(reactor) = core.reactor() else {
            return Err(no_descriptor());
        };
        reactor.with_fd(|inner| {
            let Some(inner) = inner else {
                return Err(no_descriptor());
            };
            self.outer
                .borrow_mut()
                .register(inner, INNER, Interest::READ)
                .map_err(|error| Error::io("watching the selector of a local event loop", error))
        })?;
        self.rebuilds.set(core.metrics().reactor.rebuilds.get());
        Ok(())
    }
}

fn no_descriptor() -> Error {
    let text = "the selector of this event loop has no descriptor; choose one that is epoll";
    Error::new(ErrorKind::Unsupported, text)
}
