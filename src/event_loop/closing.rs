//! How a loop ends (E18, E20 to E23, A45).
//!
//! 1. The request is seen: timers that users have set are dropped, tasks that wait at this moment run, once, and
//!    then every channel is told to close (unless the request came from dropping the last handle of a group; then
//!    they are told when the quiet period is over). So a write that was submitted before the request is made.
//! 2. Turns go on. Tasks are still accepted and run; each one restarts the quiet period.
//! 3. When no task ran for the quiet period, nothing waits and no channel is left, or when the timeout is
//!    over, channels that are left are told once more that the loop ends, and do not wait for their transports
//!    any longer: their last events come now.
//! 4. Then the queue is closed and what is left is dropped: promises among it fail with
//!    [`Terminated`](crate::error::ErrorKind::Terminated). Listeners still run.
//!
//! The timeout counts from the call, also where the loop sees it late. It cuts no task short that waited by then: so a queue
//! that takes longer is the end's only delay.
//!
//! There are no fixed pauses: a closing loop sleeps until the exact end of its quiet period. With a quiet
//! period of zero, everything that waits when the request is seen still runs, once. A loop that is dropped without a request
//! ends in the same order, all of it at once.

use std::time::Duration;

use tidegate_sys::os::Time;
use tracing::{debug, warn};

use super::core::{EndState, LoopCore, TimerJob};
use super::shared::{Closing, Phase};
use super::timers::Timers;
use crate::reactor::IoEvent;

/// Rounds over all queues before the loop ends in which only tasks and listeners run, and rounds of dropping. Bounded, because
/// a task may queue another one for ever.
const LAST_ROUNDS: usize = 16;

/// Rounds in which channels go on with what they have left over, 1,024 messages of a decoder each. All of that is delivered: to
/// this bound comes only a handler that always has more to emit. It is a receive buffer of 4 MiB in messages of one byte.
const LEFT_OVER_ROUNDS: usize = 4_096;

/// Rounds in which channels have other work, 64 listeners each. A channel's end lets only so much pass (`channel::root`); to
/// this bound comes who bothers a channel that can't end.
const ROOT_ROUNDS: usize = 65_536;

/// Who is given up while its transport closes may turn out to have more to emit than the end waits for.
const GIVE_UPS: usize = 2;

impl LoopCore {
    /// Goes on with ending, if that was asked for. The last step of every turn.
    #[cold]
    #[inline(never)]
    pub(super) fn closing_phase(&self) {
        match self.end.get() {
            EndState::Open if self.handle().shared().is_closing() => self.begin(),
            EndState::Closing { .. } => {}
            EndState::Open | EndState::Ended => return,
        }
        if let EndState::Closing {
            since,
            told_channels,
            ..
        } = self.end.get()
        {
            // The request may have been shortened meanwhile.
            let Some(closing) = self.handle().shared().closing() else {
                return;
            };
            self.end.set(EndState::Closing {
                closing,
                since,
                told_channels,
            });
            self.go_on(closing, since, told_channels);
        }
    }

    /// Whether the loop has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.end.get() == EndState::Ended
    }

    /// When ending goes on by itself.
    pub(super) fn closing_deadline(&self) -> Option<Time> {
        let EndState::Closing {
            closing,
            since,
            told_channels,
        } = self.end.get()
        else {
            return None;
        };
        #[cfg(tidegate_mutants)]
        if tidegate_sys::os::sim::is_mutant("B9-end-without-deadline") {
            return None;
        }
        let timeout = since + closing.timeout;
        // With the quiet period over, only the channels are missing, and they come by themselves.
        let waits_for_channels = told_channels && self.attached_len() > 0;
        if waits_for_channels {
            return Some(timeout);
        }
        Some(timeout.min(self.last_task.get() + closing.quiet))
    }

    /// Whether a closing loop has something to do that no deadline says.
    pub(super) fn closing_is_pressing(&self) -> bool {
        let EndState::Closing {
            closing,
            told_channels,
            ..
        } = self.end.get()
        else {
            return false;
        };
        let is_shortened = self.handle().shared().closing() != Some(closing);
        is_shortened || (told_channels && self.attached.borrow().has_untold())
    }

    fn begin(&self) {
        let Some(closing) = self.handle().shared().closing() else {
            return;
        };
        let now = self.now();
        self.last_task.set(now);
        self.end.set(EndState::Closing {
            closing,
            since: closing.asked.map_or(now, |asked| asked.min(now)),
            told_channels: false,
        });
        debug!(
            loop_name = self.handle().name(),
            ?closing,
            "event loop is closing"
        );
        let scheduled = {
            let is_scheduled = |job: &TimerJob| matches!(job, TimerJob::Scheduled(_));
            self.with_timers(|timers| timers.extract(is_scheduled))
        };
        for job in scheduled {
            self.protect("dropping a scheduled task", || drop(job));
        }
        if !closing.spares_channels {
            // One pass: other threads may go on giving faster than tasks can run.
            if self.run_tasks() > 0 {
                self.last_task.set(self.now());
            }
            self.tell_channels();
        }
    }

    fn go_on(&self, closing: Closing, since: Time, told_channels: bool) {
        if told_channels {
            self.tell_channels();
        }
        let now = self.cached_now();
        // Without a quiet period nobody waits for later tasks; what waits now runs in the end.
        let is_impatient = closing.quiet.is_zero();
        if now.saturating_since(since) >= closing.timeout {
            self.end_loop(is_impatient);
            return;
        }
        let is_quiet = now.saturating_since(self.last_task.get()) >= closing.quiet;
        let has_tasks = !self.local.is_empty() || self.remote_len() > 0;
        if !is_quiet || (has_tasks && !is_impatient) {
            return;
        }
        if !told_channels {
            self.tell_channels();
            return;
        }
        let is_settled = self.ready.is_empty() && self.roots.is_empty();
        if is_settled && self.attached_len() == 0 {
            self.end_loop(is_impatient);
        }
    }

    /// Each channel hears of the end once.
    fn tell_channels(&self) {
        if let EndState::Closing { closing, since, .. } = self.end.get() {
            self.end.set(EndState::Closing {
                closing,
                since,
                told_channels: true,
            });
        }
        let untold = self.attached.borrow_mut().take_untold();
        for handle in untold {
            self.protect("a channel", || handle.on_event(IoEvent::Shutdown));
        }
    }

    /// Whether channels have been told to close, or are being told: from now on none waits for its peer.
    pub(crate) fn ends_channels(&self) -> bool {
        match self.end.get() {
            EndState::Open => false,
            EndState::Closing { told_channels, .. } => told_channels,
            EndState::Ended => true,
        }
    }

    /// Whether the loop waits for its channels no longer: one that can't close by itself now is over all the same.
    pub(crate) fn gives_up_channels(&self) -> bool {
        self.attached.borrow().are_given_up()
    }

    /// Channels that were told and are still there hear it again, and know by it that nobody waits.
    fn give_up_channels(&self) {
        let left = self.attached.borrow_mut().give_up();
        for handle in left {
            self.protect("a channel", || handle.on_event(IoEvent::Shutdown));
        }
    }

    /// Ends without a request and without waiting.
    pub(crate) fn end_now(&self) {
        self.handle().shared().advance(Phase::Closing);
        if self.is_open() {
            let closing = Closing {
                quiet: Duration::ZERO,
                timeout: Duration::ZERO,
                asked: None,
                spares_channels: false,
            };
            self.end.set(EndState::Closing {
                closing,
                since: self.now(),
                told_channels: false,
            });
        }
        self.end_loop(true);
    }

    /// The end. Nothing is left when it returns.
    fn end_loop(&self, runs_tasks: bool) {
        // One pass over what waits at this moment, here as below: other threads may go on giving faster than tasks can run.
        if runs_tasks && !self.ends_channels() {
            // Operations on channels are tasks as well: what was asked for before the end is done before it.
            self.run_tasks();
        }
        self.tell_channels();
        if runs_tasks {
            self.run_tasks();
        }
        self.last_rounds();
        for _ in 0..GIVE_UPS {
            if self.attached_len() > 0 {
                self.give_up_channels();
                self.last_rounds();
            }
        }
        self.handle().shared().advance(Phase::Closed);
        self.end.set(EndState::Ended);
        self.remote.borrow_mut().close();
        let dropped = self.drop_leftovers();
        if dropped > 0 {
            warn!(
                loop_name = self.handle().name(),
                dropped, "tasks were left when the loop ended"
            );
        }
        self.arena().borrow_mut().release();
    }

    /// What follows from the last closes.
    fn last_rounds(&self) {
        let (mut of_tasks, mut left_over, mut of_roots) = (0, 0, 0);
        while of_tasks < LAST_ROUNDS && left_over < LEFT_OVER_ROUNDS && of_roots < ROOT_ROUNDS {
            // A task may have opened a channel.
            self.tell_channels();
            let has_channels = self.attached_len() > 0;
            let ready = self.run_ready();
            let roots = self.run_roots();
            let tasks = self.run_local_tasks();
            match has_channels {
                true if ready > 0 => left_over += 1,
                true if roots > 0 => of_roots += 1,
                _ if ready + roots + tasks > 0 => of_tasks += 1,
                _ => break,
            }
        }
    }

    /// Drops what waits, until dropping it leaves nothing new. Returns how many tasks there were.
    fn drop_leftovers(&self) -> usize {
        let mut dropped = 0;
        for _ in 0..LAST_ROUNDS {
            let before = dropped;
            self.run_roots();
            while let Some(task) = self.handle().shared().pop_insistent() {
                self.protect_task("a listener", || task.run());
            }
            loop {
                let next = self.local.pop();
                let Some(task) = next else { break };
                dropped += 1;
                self.protect("dropping a task", || drop(task));
            }
            loop {
                let next = self.remote.borrow_mut().pop_last();
                let Some(task) = next else { break };
                dropped += 1;
                self.protect("dropping a task", || drop(task));
            }
            let timers = self.with_timers(Timers::clear);
            let timers_left = timers.len();
            for job in timers {
                self.protect("dropping a timer", || drop(job));
            }
            let futures = self.futures.borrow_mut().clear();
            let futures_left = futures.len();
            for future in futures {
                self.protect("dropping a future", || drop(future));
            }
            let ready = self.ready.take();
            let waiting = self.forget_fd_waiters();
            self.protect("dropping a channel", || drop((ready, waiting)));
            let handles = self.attached.borrow_mut().drain();
            self.metrics().channels.set(0);
            for handle in handles {
                self.protect("dropping a channel", || drop(handle));
            }
            if let Some(reactor) = self.reactor() {
                for handle in reactor.take_handles() {
                    self.protect("dropping a channel", || drop(handle));
                }
            }
            let is_empty = self.roots.is_empty();
            if dropped == before && timers_left == 0 && futures_left == 0 && is_empty {
                break;
            }
        }
        dropped
    }
}

/// The quiet period and the timeout of a shutdown that names none.
pub(crate) const DEFAULT_QUIET: Duration = Duration::from_secs(2);
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);
