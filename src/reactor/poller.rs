//! [`Reactor`]: waits, then hands what happened to handles. Owned by a loop's core and called only from
//! its turn; channels reach it to register and deregister.
//!
//! A turn calls [`Reactor::wait`] and then [`Reactor::dispatch`]. Between the two the batch lies in the
//! reactor; while a handle runs, nothing of it is borrowed.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate_sys::mem::prefetch;
use tidegate_sys::os::{
    Backend, Event, Events, Interest, Ready, Selector, Time, Token, Waited, Waker, clock,
};
use tracing::{info, warn};

use super::counter::ReactorCounters;
use super::handle::{IoEvent, IoHandle};
use super::health::{Cause, Health};
use super::registry::{Lookup, Registration, Registry};

/// The waker's token: no slot has this number.
const WAKER: Token = Token::new(u32::MAX, u32::MAX);

/// What a loop whose selector is broken sleeps at a time, until it may be opened anew: tasks and timers
/// go on at this grain.
const BROKEN_PAUSE: Duration = Duration::from_millis(1);

/// From so many registrations on the handles of a batch are fetched ahead. Each takes about 4 KiB of the second cache with
/// the kernel's part, which has 1 or 2 MiB.
const AHEAD_FROM: usize = 256;

/// The parts of a reactor that may be made on another thread than the one that will use it.
pub(crate) struct Parts {
    selector: Selector,
    waker: Arc<Waker>,
}

impl Parts {
    /// Opens a selector and its waker. Fails with what the kernel says, or `Unsupported` if this build
    /// has no such backend.
    pub(crate) fn open(backend: Backend) -> io::Result<Self> {
        let mut selector = Selector::open(backend)?;
        let waker = Arc::new(Waker::new(&mut selector, WAKER)?);
        Ok(Self { selector, waker })
    }

    pub(crate) fn waker(&self) -> &Arc<Waker> {
        &self.waker
    }
}

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// There is something to dispatch.
    Events,
    /// Nothing; for a wait with a deadline, that deadline is over.
    Nothing,
    /// Nothing, and too early. The reactor keeps count.
    Premature,
}

/// One wait over the selector, dispatched to handles.
pub(crate) struct Reactor {
    selector: RefCell<Selector>,
    waker: Arc<Waker>,
    registry: RefCell<Registry>,
    health: RefCell<Health>,
    /// What the last wait reported. Taken out while it is dispatched.
    batch: RefCell<Events>,
    /// The next event of the batch: a dispatch that was left by a panic goes on behind it.
    next: Cell<usize>,
    /// Whether the last wait was one that blocks, and its deadline is not over: then it had to bring
    /// something.
    must_bring: Cell<bool>,
    /// Registrations whose readiness is assumed because the selector is new.
    assumed: RefCell<Vec<Token>>,
    counters: Arc<ReactorCounters>,
}

impl Reactor {
    pub(crate) fn new(parts: Parts, counters: Arc<ReactorCounters>) -> Self {
        let Parts { selector, waker } = parts;
        Self {
            selector: RefCell::new(selector),
            waker,
            registry: RefCell::new(Registry::new()),
            health: RefCell::new(Health::default()),
            batch: RefCell::new(Events::new()),
            next: Cell::new(0),
            must_bring: Cell::new(false),
            assumed: RefCell::new(Vec::new()),
            counters,
        }
    }

    /// Watches a descriptor for a handle. On an edge-triggered backend everything is watched from now
    /// on and `interest` only remembered.
    ///
    /// Fails with what the kernel says; nothing is registered then.
    pub(crate) fn register(
        &self,
        fd: BorrowedFd<'_>,
        interest: Interest,
        handle: Rc<dyn IoHandle>,
    ) -> io::Result<Token> {
        let registration = Registration {
            handle,
            fd: fd.as_raw_fd(),
            interest,
        };
        let token = self.registry.borrow_mut().insert(registration);
        let answer = self.selector.borrow_mut().register(fd, token, interest);
        if let Err(error) = answer {
            let removed = self.registry.borrow_mut().remove(token);
            drop(removed);
            return Err(error);
        }
        self.note_registrations();
        Ok(token)
    }

    /// Says what is wanted now. Costs a system call only where the backend needs one.
    ///
    /// `NotFound` if the registration has ended; else what the kernel says.
    pub(crate) fn set_interest(
        &self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.remember(token, interest)?;
        self.selector.borrow_mut().set_interest(fd, token, interest)
    }

    /// As `set_interest`, but the kernel is told on every backend: for a descriptor that keeps sending
    /// edges that nobody wants, and to take that back.
    pub(crate) fn remask(
        &self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.remember(token, interest)?;
        self.selector.borrow_mut().remask(fd, token, interest)
    }

    /// Ends a registration: no event of it arrives any more, not even one of the current batch. To be
    /// called before the descriptor is closed. A registration that has ended is left alone.
    pub(crate) fn deregister(&self, fd: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        let removed = self.registry.borrow_mut().remove(token);
        if removed.is_none() {
            return Ok(());
        }
        #[cfg(tidegate_mutants)]
        if tidegate_sys::os::sim::is_mutant("B4-channel-leaked") {
            std::mem::forget(removed.as_ref().map(|each| Rc::clone(&each.handle)));
        }
        #[cfg(tidegate_mutants)]
        if tidegate_sys::os::sim::is_mutant("B8-closed-but-registered")
            || tidegate_sys::os::sim::is_mutant("B8-event-of-another")
        {
            self.note_registrations();
            return Ok(());
        }
        let answer = self.selector.borrow_mut().deregister(fd);
        self.note_registrations();
        // Last, because dropping a handle may come back here.
        drop(removed);
        answer
    }

    /// Ends all registrations without telling the kernel, for the end of the loop: closing the selector
    /// does that.
    pub(crate) fn take_handles(&self) -> Vec<Rc<dyn IoHandle>> {
        let registrations = self.registry.borrow_mut().drain();
        self.note_registrations();
        registrations
            .into_iter()
            .map(|registration| registration.handle)
            .collect()
    }

    pub(crate) fn backend(&self) -> Backend {
        self.selector.borrow().backend()
    }

    #[cfg(test)]
    fn waker(&self) -> &Arc<Waker> {
        &self.waker
    }

    /// Runs `f` with the selector's descriptor, readable whenever a wait would report something; `None`
    /// on backends without one.
    pub(crate) fn with_fd<R>(&self, f: impl FnOnce(Option<BorrowedFd<'_>>) -> R) -> R {
        f(self.selector.borrow().as_fd())
    }

    /// When the reactor wants to be called again though nothing may happen: for a rebuild that has to
    /// wait.
    pub(crate) fn retry_at(&self) -> Option<Time> {
        self.health.borrow().retry_at()
    }

    /// Looks for events without waiting.
    pub(crate) fn poll(&self) -> Outcome {
        self.prepare();
        self.must_bring.set(false);
        self.ask(Some(Duration::ZERO));
        if self.has_batch() {
            Outcome::Events
        } else {
            Outcome::Nothing
        }
    }

    /// Waits until something happens or `deadline` is over; without a deadline for as long as it takes.
    /// Signals do not end it, and do not move the deadline.
    pub(crate) fn wait(&self, deadline: Option<Time>, mut now: Time) -> Outcome {
        self.prepare();
        loop {
            let timeout = deadline.map(|deadline| deadline.saturating_since(now));
            if timeout == Some(Duration::ZERO) {
                return self.poll();
            }
            let answer = self.ask(timeout);
            if self.has_batch() {
                self.must_bring.set(true);
                return Outcome::Events;
            }
            #[cfg(tidegate_mutants)]
            let began = now;
            now = clock::now();
            let is_over = deadline.is_some_and(|deadline| now >= deadline);
            #[cfg(tidegate_mutants)]
            if tidegate_sys::os::sim::is_mutant("B6-signal-restarts-wait") && !is_over {
                now = began;
            }
            match answer {
                Some(Waited::Interrupted) if !is_over => {}
                // A broken selector is not premature: it has its own cause and was slept for.
                None => return Outcome::Nothing,
                _ if is_over => {
                    self.health.borrow_mut().sound();
                    return Outcome::Nothing;
                }
                Some(_) => {
                    self.note_premature();
                    return Outcome::Premature;
                }
            }
        }
    }

    /// Hands the batch to the handles; returns how many were called. If one panics, calling it again
    /// goes on with the next.
    pub(crate) fn dispatch(&self) -> usize {
        self.dispatch_assumed();
        let mut called = 0;
        while let Some(event) = self.take_event() {
            if event.token == WAKER {
                self.waker.drain();
                self.counters.wakes.add(1);
                self.note_sound();
                continue;
            }
            self.look_ahead();
            // The borrow ends before the handle runs.
            let lookup = self.registry.borrow().look_up(event.token);
            match lookup {
                Lookup::Live(handle) => {
                    self.counters.events.add(1);
                    called += 1;
                    self.note_sound();
                    handle.on_event(IoEvent::Ready(event.ready));
                }
                Lookup::Stale => self.counters.stale.add(1),
                Lookup::Ghost => self.note_ghost(event.token),
            }
        }
        // Events, but none for anybody alive.
        if self.must_bring.replace(false) {
            self.note_premature();
        }
        called
    }

    /// Brings the next handles of the batch on their way into the cache, in two steps: first themselves, an event later what
    /// they lead to. With a thousand connections the kernel's work for one message has driven out what the next one
    /// needs, about a dozen lines: 4.31 µs of processor time for a ping-pong of 64 bytes instead of 4.67 (2 MiB of second
    /// cache). With 64 connections it makes no difference and costs 150 instructions.
    #[inline]
    fn look_ahead(&self) {
        let registry = self.registry.borrow();
        if registry.len() < AHEAD_FROM {
            return;
        }
        let batch = self.batch.borrow();
        let next = self.next.get();
        if next + 1 < batch.len()
            && let Some(handle) = registry.peek(batch[next + 1].token)
        {
            prefetch(handle);
        }
        if next < batch.len()
            && let Some(handle) = registry.peek(batch[next].token)
        {
            handle.approach();
        }
    }

    fn remember(&self, token: Token, interest: Interest) -> io::Result<()> {
        match self.registry.borrow_mut().get_mut(token) {
            Some(registration) => {
                registration.interest = interest;
                Ok(())
            }
            None => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the registration has ended",
            )),
        }
    }

    fn has_batch(&self) -> bool {
        self.next.get() < self.batch.borrow().len() || !self.assumed.borrow().is_empty()
    }

    fn take_event(&self) -> Option<Event> {
        let batch = self.batch.borrow();
        let index = self.next.get();
        if index >= batch.len() {
            return None;
        }
        self.next.set(index + 1);
        Some(batch[index])
    }

    /// Before the kernel is asked: old slots may be used again, and a sick selector is replaced.
    fn prepare(&self) {
        self.registry.borrow_mut().begin_wait();
        if self.health.borrow().retry_at().is_some() {
            let now = clock::now();
            let due = self.health.borrow().due(now);
            if let Some(cause) = due {
                self.rebuild(cause, now);
            }
        }
    }

    /// One call of the selector; `None` if it failed.
    fn ask(&self, timeout: Option<Duration>) -> Option<Waited> {
        self.next.set(0);
        let mut batch = self.batch.borrow_mut();
        if !self.assumed.borrow().is_empty() {
            batch.clear();
            return Some(Waited::Events(0));
        }
        let answer = self.selector.borrow_mut().wait(&mut batch, timeout);
        match answer {
            Ok(waited) => Some(waited),
            Err(error) => {
                batch.clear();
                drop(batch);
                self.note_failure(&error, timeout);
                None
            }
        }
    }

    #[cold]
    fn note_failure(&self, error: &io::Error, timeout: Option<Duration>) {
        self.counters.failures.add(1);
        let was_well = self.health.borrow().retry_at().is_none();
        self.health.borrow_mut().failed();
        if was_well {
            warn!(%error, "the selector failed");
        }
        let now = clock::now();
        if self.health.borrow().due(now).is_none() {
            // It may not be replaced yet: do not burn the processor meanwhile.
            clock::pause(timeout.unwrap_or(BROKEN_PAUSE).min(BROKEN_PAUSE));
        }
    }

    #[inline]
    fn note_sound(&self) {
        if self.must_bring.replace(false) {
            self.health.borrow_mut().sound();
        }
    }

    #[cold]
    fn note_premature(&self) {
        self.counters.premature.add(1);
        self.health.borrow_mut().premature();
    }

    #[cold]
    fn note_ghost(&self, token: Token) {
        self.counters.stale.add(1);
        self.counters.ghosts.add(1);
        self.health.borrow_mut().ghost();
        tracing::debug!(?token, "an event for a registration that had ended");
    }

    fn note_registrations(&self) {
        self.counters
            .registrations
            .set(self.registry.borrow().len() as u64);
    }

    /// Replaces the selector and moves every registration.
    #[cold]
    fn rebuild(&self, cause: Cause, now: Time) {
        let opened = self.open_successor();
        let mut successor = match opened {
            Ok(successor) => successor,
            Err(error) => {
                self.health.borrow_mut().rebuild_failed(now);
                warn!(%cause, %error, "the selector cannot be replaced, trying again in a second");
                return;
            }
        };
        let tokens = self.registry.borrow().tokens();
        for token in &tokens {
            let (fd, interest) = match self.registry.borrow_mut().get_mut(*token) {
                Some(registration) => (registration.fd, registration.interest),
                None => continue,
            };
            // A descriptor that cannot be moved gets the assumed readiness as well: the channel will
            // read, see the error and close.
            if let Err(error) = successor.adopt(fd, *token, interest) {
                warn!(%error, fd, "a registration could not be moved to the new selector");
            }
        }
        let predecessor = self.selector.replace(successor);
        drop(predecessor);
        self.health.borrow_mut().rebuilt(now);
        self.counters.rebuilds.add(1);
        info!(%cause, registrations = tokens.len(), "the selector was replaced");
        *self.assumed.borrow_mut() = tokens;
    }

    fn open_successor(&self) -> io::Result<Selector> {
        let mut successor = Selector::open(self.backend())?;
        self.waker.reattach(&mut successor)?;
        Ok(successor)
    }

    /// Edges that the old selector had consumed are lost to the new one, so each handle looks once.
    fn dispatch_assumed(&self) {
        loop {
            let Some(token) = self.assumed.borrow_mut().pop() else {
                return;
            };
            let lookup = self.registry.borrow().look_up(token);
            if let Lookup::Live(handle) = lookup {
                self.note_sound();
                handle.on_event(IoEvent::Ready(Ready::READABLE | Ready::WRITABLE));
            }
        }
    }
}

#[cfg(test)]
mod tests;
