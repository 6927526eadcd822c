//! The turn of a loop: wait, I/O, due timers and tasks. Called by the thread of a group and by
//! `LocalEventLoop`; the same code for both.
//!
//! Roots are drained twice: in the I/O phase, and again after tasks. A task that writes and completes a
//! future would otherwise cost a whole extra turn, with its system call, before the loop may sleep.

use std::time::Duration;

use tidegate_sys::os::Time;

use super::budget::Allowance;
use super::core::{EndState, LoopCore};
use super::current::is_current;
use super::spin::{Found, SpinLimit};
use crate::reactor::{Outcome, Reactor};

impl LoopCore {
    /// One turn. Waits for at most `limit`; with zero, not at all. The caller has entered the loop, and has read the clock if it
    /// has called foreign code since the last turn. Two readings are left in a turn that sleeps, after the sleep and
    /// after the I/O.
    ///
    /// With one event it takes 370 instructions besides the handle's; what is asked once per turn lies in plain cells. What
    /// most turns do without is not inlined: after a sleep each line of code comes from the second cache at best.
    pub(crate) fn turn(&self, limit: Option<Duration>) {
        debug_assert!(
            is_current(self.id()),
            "a turn of a loop that was not entered"
        );
        self.metrics().turns.add(1);
        let ready = self.wait_phase(limit);
        let io = self.io_phase(ready);
        let began = self.cached_now();
        if self.has_tasks(began) {
            self.run_task_phase(self.allowance(io), began);
        } else if !self.budget.get().is_full() {
            self.save_for_tasks(io);
        }
        self.after_tasks();
        // A loop ends because it was asked to: nobody else begins with it.
        if self.handle().shared().is_closing() {
            self.closing_phase();
            // Channels were told to close, which may have taken any time.
            self.now();
        }
        self.metrics().local_waiting.set(self.local.len() as u64);
    }

    /// What tasks may take after an I/O phase that took so long.
    fn allowance(&self, io: Option<u64>) -> Allowance {
        let ratio = self.handle().shared().ratio();
        let allowance = self.budget.get().allot(io, ratio);
        #[cfg(feature = "sim")]
        let allowance = allowance.in_simulation();
        allowance
    }

    /// There are no tasks that would take it. A server that has few of them is soon at the bound of what is saved, and then a
    /// turn reckons nothing: 45 instructions, a division among them.
    #[inline(never)]
    fn save_for_tasks(&self, io: Option<u64>) {
        let allowance = self.allowance(io);
        self.change_budget(|budget| budget.settle(allowance, 0));
    }

    /// Waits as far as there is nothing to do; the reactor if it has events for handles. The clock has been read when it
    /// returns.
    #[inline]
    fn wait_phase(&self, limit: Option<Duration>) -> Option<&Reactor> {
        let Some(reactor) = self.reactor() else {
            self.now();
            return None;
        };
        let now = self.cached_now();
        let no_time = limit == Some(Duration::ZERO);
        let deadline = if no_time || self.has_work() {
            now
        } else {
            self.wake_at(limit, now)
        };
        let outcome = if deadline <= now {
            self.look(reactor)
        } else if let Some(found) = self.spin(reactor, deadline, now) {
            found
        } else {
            self.sleep(reactor, deadline)
        };
        (outcome == Outcome::Events).then_some(reactor)
    }

    /// Asks the kernel without waiting. Reads the clock afterwards.
    #[inline(never)]
    fn look(&self, reactor: &Reactor) -> Outcome {
        let outcome = reactor.poll();
        self.turn_now();
        outcome
    }

    /// Blocks in the kernel, unless something has come from another thread. Reads the clock afterwards.
    #[inline]
    fn sleep(&self, reactor: &Reactor, deadline: Time) -> Outcome {
        // False if there are tasks: nobody else needs to ask for them before.
        if !self.remote.borrow_mut().prepare_sleep() {
            return self.look(reactor);
        }
        let began = self.cached_now();
        // From here on a push or a request wakes us; one made before is seen here.
        let outcome = if self.must_not_sleep() {
            reactor.poll()
        } else {
            reactor.wait(deadline, began)
        };
        if self.remote.borrow_mut().wake_up() {
            self.metrics().wakes_sent.add(1);
        }
        // Without an event it is the time of a timer, by the kernel's reckoning.
        let now = match outcome {
            Outcome::Events => self.turn_now(),
            _ => self.now(),
        };
        let slept = now.nanos_since(began);
        self.metrics().sleep_ns.add(slept);
        if self.spins {
            self.note_sleep(slept);
        }
        outcome
    }

    /// Whoever spins learns from how long it has slept, in nanoseconds.
    #[inline(never)]
    fn note_sleep(&self, slept: u64) {
        let slept = Duration::from_nanos(slept);
        self.spinner.borrow_mut().slept(slept);
    }

    /// Polls for as long as the user's choice says; `None` if nothing was found. A task that was found has run. Reads the clock
    /// afterwards.
    #[inline]
    fn spin(&self, reactor: &Reactor, deadline: Time, began: Time) -> Option<Outcome> {
        if !self.spins {
            return None;
        }
        self.spin_for_long(reactor, deadline, began)
    }

    #[inline(never)]
    fn spin_for_long(&self, reactor: &Reactor, deadline: Time, began: Time) -> Option<Outcome> {
        if self.is_called() {
            return Some(self.look(reactor));
        }
        let (limit, looks) = {
            let spinner = self.spinner.borrow();
            (spinner.limit(), spinner.looks())
        };
        let (mut polls_left, ends) = match limit {
            SpinLimit::None => return None,
            SpinLimit::Polls(polls) => (polls, Time::MAX),
            SpinLimit::Time(time) => (u32::MAX, began + time),
        };
        let ends = deadline.min(ends);
        let mut found = None;
        while polls_left > 0 && found.is_none() && self.cached_now() < ends {
            polls_left -= 1;
            if reactor.poll() == Outcome::Events {
                found = Some(Found::Event);
                self.now();
            } else if self.is_called_soon(looks) {
                found = Some(Found::Task);
            }
        }
        let has_events = found == Some(Found::Event);
        let now = self.cached_now();
        if found == Some(Found::Task) {
            self.run_found_task();
        }
        self.metrics().spin_ns.add(now.nanos_since(began));
        if deadline <= now {
            found = found.or(Some(Found::Event));
        }
        self.spinner.borrow_mut().paid(found?);
        Some(if has_events {
            Outcome::Events
        } else {
            Outcome::Nothing
        })
    }

    /// Whether another thread wants something.
    #[inline]
    fn is_called(&self) -> bool {
        self.has_remote() || self.must_not_sleep()
    }

    /// The same, asked so many times. The clock is read in front of each look: it is the pause that leaves the line to whoever
    /// writes it, and what is found then has the time of a moment ago (without: 60 ns more from `execute` to the task).
    #[inline]
    fn is_called_soon(&self, looks: u32) -> bool {
        for _ in 0..looks {
            self.now();
            if self.is_called() {
                return true;
            }
        }
        false
    }

    /// Dispatches readiness, then the ready list, then the roots. Returns how many nanoseconds that took,
    /// or `None` if there was nothing of it.
    #[inline]
    fn io_phase(&self, ready: Option<&Reactor>) -> Option<u64> {
        let began = self.cached_now();
        let mut called = 0;
        if let Some(reactor) = ready {
            called += self.dispatch(reactor);
        }
        called += self.run_ready();
        called += self.run_roots();
        // A wake-up is an event, but there was nothing to do for I/O.
        if called == 0 {
            return None;
        }
        let spent = self.turn_now().nanos_since(began);
        self.metrics().io_ns.add(spent);
        Some(spent)
    }

    /// Hands readiness to handles; returns how many were called.
    #[inline]
    fn dispatch(&self, reactor: &Reactor) -> usize {
        // A panic leaves the dispatch; the next call goes on with the next event.
        let mut called = 0;
        let mut is_done = false;
        while !is_done {
            called += 1;
            self.protect("a channel", || {
                called += reactor.dispatch();
                called -= 1;
                is_done = true;
            });
        }
        called
    }

    /// What tasks have left for the roots.
    #[inline]
    fn after_tasks(&self) {
        if !self.roots.is_empty() {
            self.run_late_roots();
        }
        self.arena().borrow_mut().trim();
    }

    #[inline(never)]
    fn run_late_roots(&self) {
        let began = self.cached_now();
        self.run_roots();
        let spent = self.now().nanos_since(began);
        self.metrics().io_ns.add(spent);
    }

    /// When to wake up by oneself; [`Time::MAX`] if never.
    #[inline]
    pub(super) fn wake_at(&self, limit: Option<Duration>, now: Time) -> Time {
        let mut first = self.next_deadline().unwrap_or(Time::MAX);
        if let Some(limit) = limit {
            first = first.min(now + limit);
        }
        if let Some(retry) = self.reactor().and_then(Reactor::retry_at) {
            first = first.min(retry);
        }
        first
    }

    /// When the loop has something to do by itself: a timer, or the end of the quiet period.
    #[inline]
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        let timer = self.next_timer();
        if self.handle().shared().is_closing() {
            return self.or_closing_deadline(timer);
        }
        timer
    }

    #[cold]
    fn or_closing_deadline(&self, timer: Option<Time>) -> Option<Time> {
        [timer, self.closing_deadline()].into_iter().flatten().min()
    }

    /// Whether something has to be seen to that is in none of the loop's own queues.
    #[inline]
    pub(super) fn must_not_sleep(&self) -> bool {
        let shared = self.handle().shared();
        let is_asked = shared.has_insistent() || shared.is_closing();
        is_asked && self.is_pressed()
    }

    #[cold]
    fn is_pressed(&self) -> bool {
        if self.handle().shared().has_insistent() {
            return true;
        }
        match self.end.get() {
            EndState::Open => self.handle().shared().is_closing(),
            EndState::Closing { .. } => self.closing_is_pressing(),
            EndState::Ended => true,
        }
    }

    /// Between the turns of a local loop: it counts as asleep. False if there is work.
    pub(super) fn begin_nap(&self) -> bool {
        self.remote.borrow_mut().prepare_sleep()
    }

    pub(super) fn end_nap(&self, was_asleep: bool) {
        if was_asleep && self.remote.borrow_mut().wake_up() {
            self.metrics().wakes_sent.add(1);
        }
    }
}
