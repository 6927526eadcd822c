//! The descriptor of a local loop: one that is readable whenever a turn would do something.
//!
//! It is a selector of its own, of the loop's kind, which nobody waits on: it watches the loop's selector (readiness, and
//! wake-ups by other threads) and a timer descriptor. The timer stands for deadlines and, set to a time long past, for work
//! that a turn has left over. Both are set at the end of a turn, so nothing has to be read to make the descriptor unreadable
//! again.
//!
//! A level-triggered epoll set looks at what it watches whenever somebody looks at it. A kqueue does not: what has come stays
//! in it until it is taken out. So it is emptied at the end of each turn, and what it watches evaluated anew.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use tidegate_sys::os::timer::Timer;
use tidegate_sys::os::{Backend, Events, Interest, Selector, Time, Token};
use tracing::warn;

use super::core::LoopCore;
use crate::error::{Error, ErrorKind};
use crate::reactor::Reactor;

const INNER: Token = Token::new(0, 0);
const TIMER: Token = Token::new(1, 0);

/// A time that has passed on every clock; zero itself would switch a timer off.
const LONG_AGO: Time = Time::from_nanos(1);

pub(super) struct Nest {
    outer: RefCell<Selector>,
    /// Whether what came has to be taken out of `outer`, into `events`.
    keeps_what_came: bool,
    events: RefCell<Events>,
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
        let kind = match core.reactor().map(Reactor::backend) {
            Some(Backend::Epoll | Backend::EpollLevel) => Backend::EpollLevel,
            Some(Backend::Kqueue) => Backend::Kqueue,
            _ => return Err(no_descriptor()),
        };
        let mut outer = Selector::open(kind).map_err(failed)?;
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
            keeps_what_came: kind == Backend::Kqueue,
            events: RefCell::default(),
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
        if self.armed.get() != wanted {
            self.set_timer(wanted);
        }
        if self.keeps_what_came
            && let Err(error) = self.look_again(core, wanted)
        {
            warn!(%error, "what a local event loop waits for cannot be seen any more");
        }
    }

    fn set_timer(&self, wanted: Option<Time>) {
        match self.timer.set(wanted) {
            Ok(()) => self.armed.set(wanted),
            Err(error) => warn!(%error, "the timer of a local event loop cannot be set"),
        }
    }

    /// Takes out what has come, and looks what of it is true still.
    fn look_again(&self, core: &LoopCore, wanted: Option<Time>) -> io::Result<()> {
        let mut outer = self.outer.borrow_mut();
        let mut events = self.events.borrow_mut();
        outer.wait(&mut events, Some(Duration::ZERO))?;
        if events.iter().any(|event| event.token == TIMER) {
            // It may have come before its time: see `Timer`.
            self.set_timer(wanted);
        }
        outer.remask(self.timer.as_fd(), TIMER, Interest::READ)?;
        let Some(reactor) = core.reactor() else {
            return Ok(());
        };
        reactor.with_fd(|inner| match inner {
            Some(inner) => outer.remask(inner, INNER, Interest::READ),
            None => Ok(()),
        })
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
    let text = "the selector of this event loop has no descriptor (poll); choose epoll or kqueue";
    Error::new(ErrorKind::Unsupported, text)
}
