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
use tracing::warn;

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
    /// What a wait reports into.
    batch: Events,
}

impl Parts {
    /// Opens a selector and its waker, for so many events of one wait. Fails with what the kernel says, or `Unsupported`
    /// if this build has no such backend.
    pub(crate) fn open(backend: Backend, events_max: usize) -> io::Result<Self> {
        let mut selector = Selector::open(backend)?;
        let waker = Arc::new(Waker::new(&mut selector, WAKER)?);
        let batch = Events::with_limit(events_max);
        Ok(Self {
            selector,
            waker,
            batch,
        })
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
    desk: RefCell<Desk>,
    health: RefCell<Health>,
    /// Whether there is nothing to look for in `health` and `assumed`.
    is_calm: Cell<bool>,
    /// Whether the last wait was one that blocks, and its deadline is not over: then it had to bring
    /// something.
    must_bring: Cell<bool>,
    /// Registrations whose readiness is assumed because the selector is new.
    assumed: RefCell<Vec<Token>>,
    counters: Arc<ReactorCounters>,
}

/// What each event needs, behind one borrow.
struct Desk {
    registry: Registry,
    /// What the last wait reported.
    batch: Events,
    /// The next event of the batch: a dispatch that was left by a panic goes on behind it.
    next: usize,
}

impl Reactor {
    pub(crate) fn new(parts: Parts, counters: Arc<ReactorCounters>) -> Self {
        let Parts {
            selector,
            waker,
            batch,
        } = parts;
        Self {
            selector: RefCell::new(selector),
            waker,
            desk: RefCell::new(Desk {
                registry: Registry::new(),
                batch,
                next: 0,
            }),
            health: RefCell::new(Health::default()),
            is_calm: Cell::new(true),
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
        let token = self.desk.borrow_mut().registry.insert(registration);
        let answer = self.selector.borrow_mut().register(fd, token, interest);
        if let Err(error) = answer {
            let removed = self.desk.borrow_mut().registry.remove(token);
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
        let removed = self.desk.borrow_mut().registry.remove(token);
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
        let registrations = self.desk.borrow_mut().registry.drain();
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
    #[inline]
    pub(crate) fn retry_at(&self) -> Option<Time> {
        if self.is_calm.get() {
            return None;
        }
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

    /// Waits until something happens or `deadline` is over; with [`Time::MAX`] for as long as it takes.
    /// Signals do not end it, and do not move the deadline.
    #[inline]
    pub(crate) fn wait(&self, deadline: Time, mut now: Time) -> Outcome {
        self.prepare();
        loop {
            if deadline <= now {
                return self.poll();
            }
            let timeout = (deadline != Time::MAX).then(|| deadline.saturating_since(now));
            let answer = self.ask(timeout);
            if self.has_batch() {
                self.must_bring.set(true);
                return Outcome::Events;
            }
            if let Some(outcome) = self.note_nothing(answer, deadline, &mut now) {
                return outcome;
            }
        }
    }

    /// A wait has brought nothing; `None` if it was a signal that ended it, so that it has to go on.
    #[cold]
    fn note_nothing(
        &self,
        answer: Option<Waited>,
        deadline: Time,
        now: &mut Time,
    ) -> Option<Outcome> {
        let at = clock::now();
        let is_over = at >= deadline;
        #[cfg(tidegate_mutants)]
        let at = if tidegate_sys::os::sim::is_mutant("B6-signal-restarts-wait") && !is_over {
            *now
        } else {
            at
        };
        *now = at;
        match answer {
            Some(Waited::Interrupted) if !is_over => None,
            // A broken selector is not premature: it has its own cause and was slept for.
            None => Some(Outcome::Nothing),
            _ if is_over => {
                self.change_health(Health::sound);
                Some(Outcome::Nothing)
            }
            Some(_) => {
                self.note_premature();
                Some(Outcome::Premature)
            }
        }
    }

    /// Hands the batch to the handles; returns how many were called. If one panics, calling it again
    /// goes on with the next.
    #[inline]
    pub(crate) fn dispatch(&self) -> usize {
        if !self.is_calm.get() {
            self.dispatch_assumed();
        }
        let mut called = 0;
        loop {
            // The borrow ends before the handle runs.
            let next = self.desk.borrow_mut().take_event();
            let Some((event, lookup)) = next else { break };
            match lookup {
                Lookup::Live(handle) => {
                    self.counters.events.add(1);
                    called += 1;
                    self.note_sound();
                    handle.on_event(IoEvent::Ready(event.ready));
                }
                Lookup::Stale => self.counters.stale.add(1),
                // A token without a slot is looked up in vain.
                Lookup::Ghost if event.token == WAKER => {
                    self.waker.drain();
                    self.counters.wakes.add(1);
                    self.note_sound();
                }
                Lookup::Ghost => self.note_ghost(event.token),
            }
        }
        // Events, but none for anybody alive.
        if self.must_bring.replace(false) {
            self.note_premature();
        }
        called
    }

    fn remember(&self, token: Token, interest: Interest) -> io::Result<()> {
        match self.desk.borrow_mut().registry.get_mut(token) {
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

    /// How many events the last wait has brought.
    pub(crate) fn batch_len(&self) -> usize {
        self.desk.borrow().batch.len()
    }

    #[inline]
    fn has_batch(&self) -> bool {
        let desk = self.desk.borrow();
        desk.next < desk.batch.len() || (!self.is_calm.get() && !self.assumed.borrow().is_empty())
    }

    /// Before the kernel is asked: a sick selector is replaced.
    #[inline]
    fn prepare(&self) {
        if !self.is_calm.get() {
            self.repair();
        }
    }

    #[cold]
    fn repair(&self) {
        if self.health.borrow().retry_at().is_some() {
            let now = clock::now();
            let due = self.health.borrow().due(now);
            if let Some(cause) = due {
                self.rebuild(cause, now);
            }
        }
    }

    /// One call of the selector; `None` if it failed.
    #[inline]
    fn ask(&self, timeout: Option<Duration>) -> Option<Waited> {
        let answer = {
            let mut desk = self.desk.borrow_mut();
            let desk = &mut *desk;
            desk.next = 0;
            // Slots that were freed before may be used again.
            desk.registry.begin_wait();
            if !self.is_calm.get() && !self.assumed.borrow().is_empty() {
                desk.batch.clear();
                return Some(Waited::Events(0));
            }
            self.selector.borrow_mut().wait(&mut desk.batch, timeout)
        };
        match answer {
            Ok(waited) => Some(waited),
            Err(error) => {
                self.desk.borrow_mut().batch.clear();
                self.note_failure(&error, timeout);
                None
            }
        }
    }

    #[cold]
    fn note_failure(&self, error: &io::Error, timeout: Option<Duration>) {
        self.counters.failures.add(1);
        let was_well = self.health.borrow().retry_at().is_none();
        self.change_health(Health::failed);
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
        if self.must_bring.replace(false) && !self.is_calm.get() {
            self.note_recovery();
        }
    }

    #[cold]
    fn note_recovery(&self) {
        self.change_health(Health::sound);
    }

    fn change_health(&self, change: impl FnOnce(&mut Health)) {
        change(&mut self.health.borrow_mut());
        self.note_calm();
    }

    fn note_calm(&self) {
        let is_calm = self.health.borrow().is_calm() && self.assumed.borrow().is_empty();
        self.is_calm.set(is_calm);
    }

    #[cold]
    fn note_premature(&self) {
        self.counters.premature.add(1);
        self.change_health(Health::premature);
    }

    #[cold]
    fn note_ghost(&self, token: Token) {
        self.counters.stale.add(1);
        self.counters.ghosts.add(1);
        self.change_health(Health::ghost);
        tracing::debug!(?token, "an event for a registration that had ended");
    }

    fn note_registrations(&self) {
        self.counters
            .registrations
            .set(self.desk.borrow().registry.len() as u64);
    }

    /// Replaces the selector and moves every registration.
    #[cold]
    fn rebuild(&self, cause: Cause, now: Time) {
        let opened = self.open_successor();
        let mut successor = match opened {
            Ok(successor) => successor,
            Err(error) => {
                self.change_health(|health| health.rebuild_failed(now));
                warn!(%cause, %error, "the selector cannot be replaced, trying again in a second");
                return;
            }
        };
        let tokens = self.desk.borrow().registry.tokens();
        for token in &tokens {
            let (fd, interest) = match self.desk.borrow_mut().registry.get_mut(*token) {
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
        self.counters.rebuilds.add(1);
        warn!(%cause, registrations = tokens.len(), "the selector was replaced");
        *self.assumed.borrow_mut() = tokens;
        self.change_health(|health| health.rebuilt(now));
    }

    fn open_successor(&self) -> io::Result<Selector> {
        let mut successor = Selector::open(self.backend())?;
        self.waker.reattach(&mut successor)?;
        Ok(successor)
    }

    /// Edges that the old selector had consumed are lost to the new one, so each handle looks once.
    #[cold]
    fn dispatch_assumed(&self) {
        loop {
            let Some(token) = self.assumed.borrow_mut().pop() else {
                self.note_calm();
                return;
            };
            let lookup = self.desk.borrow().registry.look_up(token);
            if let Lookup::Live(handle) = lookup {
                self.note_sound();
                handle.on_event(IoEvent::Ready(Ready::READABLE | Ready::WRITABLE));
            }
        }
    }
}

impl Desk {
    /// The next event of the batch, and whom it is for.
    #[inline]
    fn take_event(&mut self) -> Option<(Event, Lookup)> {
        let event = self.batch.get(self.next)?;
        self.next += 1;
        if self.registry.len() >= AHEAD_FROM {
            self.look_ahead();
        }
        Some((event, self.registry.look_up(event.token)))
    }

    /// Brings the next handles of the batch on their way into the cache, in two steps: first themselves, an event later what
    /// they lead to. With a thousand connections the kernel's work for one message has driven out what the next one
    /// needs, about a dozen lines: 4.31 µs of processor time for a ping-pong of 64 bytes instead of 4.67 (2 MiB of second
    /// cache). With 64 connections it makes no difference and costs 150 instructions.
    #[inline(never)]
    fn look_ahead(&self) {
        if let Some(event) = self.batch.get(self.next + 1)
            && let Some(handle) = self.registry.peek(event.token)
        {
            prefetch(handle);
        }
        if let Some(event) = self.batch.get(self.next)
            && let Some(handle) = self.registry.peek(event.token)
        {
            handle.approach();
        }
    }
}

#[cfg(test)]
mod tests;
