//! The phases of a turn, each one a step that may also be made alone: the ready list, the root FIFO,
//! due timers, tasks. `turn` strings them together; an embedded channel calls them one by one.
//!
//! Each call into foreign code is a catch boundary. The budget of tasks is in `budget`.

use std::cell::Cell;

use tidegate_sys::mem::queue::Consumer;
use tidegate_sys::mem::{LocalTask, Task, task};
use tidegate_sys::os::Time;
use tracing::error;

use super::boundary;
use super::budget::{Allowance, Budget};
use super::core::{LoopCore, Root, TimerJob};
use super::stall::{Held, Role, Sentry};
use crate::reactor::IoEvent;

/// Listeners that may follow from each other in one pass over the roots. A chain of futures then
/// completes in one turn, and one that never ends does not hold the loop.
const LISTENERS_IN_A_ROW_MAX: usize = 64;

/// Tasks that one source gives before it is the next one's turn.
const SOURCE_QUANTUM: u32 = 16;

/// Where tasks come from, in the order of their turns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    Timers,
    Local,
    /// From other threads, and not to be lost: listeners, wake-ups.
    Insistent,
    Remote,
}

impl Source {
    /// Its place in [`SOURCES`], as a bit.
    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

const SOURCES: [Source; 4] = [
    Source::Timers,
    Source::Local,
    Source::Insistent,
    Source::Remote,
];

// `Source::bit` goes by it.
const _: () = {
    let mut place = 0;
    while place < SOURCES.len() {
        assert!(SOURCES[place] as usize == place);
        place += 1;
    }
};

/// What a task phase may still take from each source; counted down only with `Allowance::Queued`.
struct Quota {
    left: [usize; SOURCES.len()],
}

/// What a task phase has before its eyes.
struct TaskPhase {
    /// Timers due by now, and set before the mark, are taken.
    timers_due: Time,
    timer_mark: u64,
    quota: Option<Quota>,
    source: usize,
    in_quantum: u32,
    run: u32,
    since_reading: u32,
    /// How many tasks run between two readings.
    next_reading: u32,
    last_reading: Time,
    began: Time,
}

impl TaskPhase {
    /// It is the turn of the source so many places on.
    #[inline]
    fn pass_on(&mut self, places: usize) {
        self.source = (self.source + places) % SOURCES.len();
        self.in_quantum = 0;
    }
}

/// What a row of [`LoopCore::run_row`] consists of.
trait Job {
    fn run(self);

    fn type_name(&self) -> &'static str;
}

impl Job for Task {
    #[inline(always)]
    fn run(self) {
        Self::run(self);
    }

    fn type_name(&self) -> &'static str {
        Self::type_name(self)
    }
}

impl Job for LocalTask {
    #[inline(always)]
    fn run(self) {
        Self::run(self);
    }

    fn type_name(&self) -> &'static str {
        Self::type_name(self)
    }
}

/// How many tasks may run before the clock has to be read or the phase may be over; one at least.
#[inline]
fn until_decision(allowance: Allowance, phase: &TaskPhase) -> u32 {
    let reading = phase.next_reading.saturating_sub(phase.since_reading);
    let most = match allowance {
        Allowance::Look { tasks, .. } => reading.min(tasks.saturating_sub(phase.run)),
        Allowance::Share { .. } | Allowance::Queued => reading,
    };
    most.max(1)
}

/// A step of a row that takes its jobs as values.
#[inline(always)]
fn one_by_one<J>(
    mut next: impl FnMut() -> Option<J>,
    call: impl Fn(J),
) -> impl FnMut(&Cell<u32>) -> bool {
    move |run| {
        let Some(job) = next() else { return false };
        run.set(run.get() + 1);
        call(job);
        true
    }
}

/// A length as a number of things to run.
#[inline]
fn to_count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

impl LoopCore {
    /// Calls everything that was on the ready list; what joins it meanwhile waits for the next pass.
    #[inline]
    pub(crate) fn run_ready(&self) -> usize {
        if self.ready.is_empty() {
            return 0;
        }
        self.run_some_ready()
    }

    #[inline(never)]
    fn run_some_ready(&self) -> usize {
        let queued = self.ready.len();
        for _ in 0..queued {
            let Some(handle) = self.ready.pop() else {
                break;
            };
            let _held = self.hold_for_some_channel();
            self.protect("a channel", || handle.on_event(IoEvent::Continue));
        }
        queued
    }

    /// Calls everything that was in the root FIFO. Listeners that join it at the front are taken as
    /// well, within bounds; a handle that comes back waits for the next pass.
    #[inline]
    pub(crate) fn run_roots(&self) -> usize {
        if self.roots.is_empty() {
            return 0;
        }
        self.run_some_roots()
    }

    #[inline(never)]
    fn run_some_roots(&self) -> usize {
        let mut queued = self.roots.len();
        let mut extra = 0;
        let mut called = 0;
        loop {
            if called >= queued {
                let is_listener = self.roots.is_next(|root| matches!(root, Root::Job(_)));
                if !is_listener || extra >= LISTENERS_IN_A_ROW_MAX {
                    return called;
                }
                extra += 1;
                queued += 1;
            }
            match self.roots.pop() {
                Some(Root::Handle(handle)) => {
                    let _held = self.hold_for_some_channel();
                    self.protect("a channel", || handle.on_event(IoEvent::Roots));
                }
                Some(Root::Job(job)) => {
                    let _held = self
                        .sentry()
                        .map(|sentry| sentry.hold_for_job(Role::Listener, job.type_name()));
                    self.protect_task("a listener", || job.run());
                }
                None => return called,
            }
            called += 1;
        }
    }

    /// Runs every timer that is due now and was set before this call.
    pub(crate) fn run_timers(&self) -> usize {
        let now = self.now();
        self.run_due_timers(u32::MAX, now, self.timer_mark()) as usize
    }

    /// Runs the tasks that are queued now, the loop's own first.
    pub(crate) fn run_tasks(&self) -> usize {
        let remote = self.remote.borrow().len();
        let insistent = self.handle().shared().insistent_len();
        let local = self.run_local_tasks();
        let insistent = self.run_insistent(to_count(insistent));
        let remote = self.run_remote(to_count(remote));
        local + insistent as usize + remote as usize
    }

    /// Of those, only the loop's own.
    pub(super) fn run_local_tasks(&self) -> usize {
        self.run_local(to_count(self.local_len())) as usize
    }

    /// The task phase of a turn: due timers and tasks within the allowance, at least one if there is
    /// one. Returns how many ran.
    #[inline(never)]
    pub(super) fn run_task_phase(&self, allowance: Allowance, began: Time) -> u32 {
        let quota = matches!(allowance, Allowance::Queued).then(|| Quota {
            // Timers are bounded by their mark.
            left: [
                usize::MAX,
                self.local_len(),
                self.handle().shared().insistent_len(),
                self.remote.borrow().len(),
            ],
        });
        let tasks_before = self.metrics().tasks_run.get();
        // The clock decides, not the turn's reading of it: no timer is early.
        let timers_due = if self.first_timer.get() <= began {
            self.now()
        } else {
            began
        };
        #[cfg(tidegate_mutants)]
        let timers_due = if tidegate_sys::os::sim::is_mutant("B6-timer-early") {
            timers_due + std::time::Duration::from_micros(1)
        } else {
            timers_due
        };
        let mut phase = TaskPhase {
            timers_due,
            timer_mark: self.timer_mark(),
            quota,
            source: usize::from(self.next_source.get()),
            in_quantum: 0,
            run: 0,
            since_reading: 0,
            next_reading: match allowance {
                Allowance::Queued => u32::MAX,
                Allowance::Share { ns } | Allowance::Look { ns, .. } => {
                    self.budget.get().next_reading(ns)
                }
            },
            last_reading: began,
            began,
        };
        loop {
            let most = until_decision(allowance, &phase);
            if !self.run_some(&mut phase, most) || self.is_spent(allowance, &mut phase) {
                break;
            }
        }
        self.finish_reading(&mut phase);
        // The next phase begins with another source: with a budget for one task each comes in turn.
        self.next_source
            .set(((phase.source + 1) % SOURCES.len()) as u8);
        let spent = phase.last_reading.nanos_since(phase.began);
        self.change_budget(|budget| budget.settle(allowance, spent));
        if phase.run > 0 {
            self.metrics().tasks_ns.add(spent);
        }
        // Timers do not count: those of channels go on while a loop is closing.
        if self.metrics().tasks_run.get() != tasks_before {
            self.last_task.set(phase.last_reading);
        }
        phase.run
    }

    /// Runs the task from another thread that polling has found, at once: to the phase of tasks it would be 65 ns more. One, so that
    /// the phase decides how long sockets wait for the others.
    #[inline]
    pub(super) fn run_found_task(&self) {
        let began = self.cached_now();
        let run = self.run_remote(1);
        // None if it was a listener, or the end, that the loop was called for.
        if run > 0 {
            let now = self.now();
            let spent = now.nanos_since(began);
            self.change_budget(|budget| budget.observe(run, spent));
            self.metrics().tasks_ns.add(spent);
            self.last_task.set(now);
        }
    }

    pub(super) fn change_budget(&self, change: impl FnOnce(&mut Budget)) {
        let mut budget = self.budget.get();
        change(&mut budget);
        self.budget.set(budget);
    }

    /// Whether there is anything for a task phase. Most turns of a server have nothing: 300 instructions less.
    #[inline]
    pub(super) fn has_tasks(&self, due: Time) -> bool {
        self.first_timer.get() <= due || self.local_len() > 0 || self.has_remote()
    }

    /// How many tasks from other threads wait.
    #[inline]
    pub(super) fn remote_len(&self) -> usize {
        self.remote.borrow().len() + self.handle().shared().insistent_len()
    }

    /// Whether a task from another thread can be run now.
    #[inline]
    pub(crate) fn has_remote(&self) -> bool {
        self.remote.borrow_mut().has_next() || self.handle().shared().has_insistent()
    }

    /// Runs the next tasks, one at least and `most` at most, all from one source; false if no source has one.
    ///
    /// In a row, because what is decided between two tasks was a third of what a short one costs the loop.
    fn run_some(&self, phase: &mut TaskPhase, most: u32) -> bool {
        if phase.in_quantum >= SOURCE_QUANTUM {
            phase.pass_on(1);
        }
        let mut candidates = self.sources_with_tasks(phase);
        while candidates != 0 {
            // Who has nothing is passed over, round the ring.
            let ring = candidates | candidates << SOURCES.len();
            let ahead = (ring >> phase.source).trailing_zeros();
            if ahead > 0 {
                phase.pass_on(ahead as usize);
            }
            let mut few = most.min(SOURCE_QUANTUM - phase.in_quantum);
            if let Some(quota) = &phase.quota {
                few = few.min(to_count(quota.left[phase.source]));
            }
            let run = match SOURCES[phase.source] {
                Source::Timers => self.run_due_timers(few, phase.timers_due, phase.timer_mark),
                Source::Local => self.run_local(few),
                Source::Insistent => self.run_insistent(few),
                Source::Remote => self.run_remote(few),
            };
            if let Some(quota) = &mut phase.quota {
                quota.left[phase.source] -= run as usize;
            }
            if run > 0 {
                phase.in_quantum += run;
                phase.run += run;
                phase.since_reading += run;
                return true;
            }
            // Timers set since the phase began, or a source that has given all it had at its beginning.
            candidates &= !SOURCES[phase.source].bit();
        }
        false
    }

    /// Which sources may give a task, a bit for each: most have none, and to enter foreign code for it costs more than a look.
    #[inline]
    fn sources_with_tasks(&self, phase: &TaskPhase) -> u32 {
        let bit = |source: Source, has: bool| if has { source.bit() } else { 0 };
        bit(Source::Timers, self.first_timer.get() <= phase.timers_due)
            | bit(Source::Local, self.local_len() > 0)
            | bit(Source::Insistent, self.handle().shared().has_insistent())
            | bit(Source::Remote, self.remote.borrow_mut().has_next())
    }

    /// Whether the phase has to end; reads the clock when the budget asks for it.
    #[inline]
    fn is_spent(&self, allowance: Allowance, phase: &mut TaskPhase) -> bool {
        let limit = match allowance {
            Allowance::Queued => return false,
            Allowance::Look { tasks, .. } if phase.run >= tasks => return true,
            Allowance::Share { ns } | Allowance::Look { ns, .. } => ns,
        };
        if phase.since_reading < phase.next_reading {
            return false;
        }
        // Nothing was left to begin with: the one task has run.
        if limit <= 0 {
            return true;
        }
        let spent = self.read_clock(phase);
        let left = limit.saturating_sub(i64::try_from(spent).unwrap_or(i64::MAX));
        phase.next_reading = self.budget.get().next_reading(left);
        left <= 0
    }

    fn finish_reading(&self, phase: &mut TaskPhase) {
        if phase.since_reading > 0 {
            self.read_clock(phase);
        }
    }

    /// Reads the clock; returns the nanoseconds since the phase began.
    fn read_clock(&self, phase: &mut TaskPhase) -> u64 {
        let now = self.now();
        let cost = now.nanos_since(phase.last_reading);
        self.change_budget(|budget| budget.observe(phase.since_reading, cost));
        phase.since_reading = 0;
        phase.last_reading = now;
        now.nanos_since(phase.began)
    }

    /// Runs timers that are due, at most so many; how many it ran.
    fn run_due_timers(&self, most: u32, due: Time, mark: u64) -> u32 {
        self.run_row(Role::Timer, most, || {
            if self.first_timer.get() > due {
                return None;
            }
            let (deadline, job) = self.with_timers(|timers| timers.pop_due(due, mark))?;
            let metrics = self.metrics();
            metrics.timers_run.add(1);
            metrics
                .timer_lateness
                .record(self.cached_now().saturating_since(deadline));
            let (TimerJob::Internal(task) | TimerJob::Scheduled(task)) = job;
            Some(task)
        })
    }

    /// The same with tasks of the loop itself.
    fn run_local(&self, most: u32) -> u32 {
        let metrics = self.metrics();
        self.run_row(Role::Task, most, || {
            let task = self.local.pop()?;
            metrics.tasks_run.add(1);
            Some(task)
        })
    }

    /// The same with what may not be lost.
    fn run_insistent(&self, most: u32) -> u32 {
        let (shared, metrics) = (self.handle().shared(), self.metrics());
        self.run_row(Role::Listener, most, || {
            if !shared.has_insistent() {
                return None;
            }
            let task = shared.pop_insistent()?;
            metrics.tasks_run.add(1);
            Some(task)
        })
    }

    /// The same with tasks from other threads.
    fn run_remote(&self, most: u32) -> u32 {
        let metrics = self.metrics();
        // Whoever hears from the task finds it counted.
        let count = || {
            metrics.tasks_run.add(1);
            metrics.remote_tasks_run.add(1);
        };
        match self.sentry() {
            None => self.run_row_by(Role::Task, most, |run| {
                Consumer::run_next(&self.remote, || {
                    count();
                    run.set(run.get() + 1);
                })
            }),
            Some(sentry) => self.run_row_watched(sentry, Role::Task, most, || {
                let task = self.remote.borrow_mut().pop()?;
                count();
                Some(task)
            }),
        }
    }

    /// Runs what `next` gives, at most so many; how many it ran. A panic ends what panicked and nothing else.
    ///
    /// They share a catch boundary: 28 million short tasks a second from another thread became 37.
    #[inline(always)]
    fn run_row<J: Job>(&self, role: Role, most: u32, next: impl FnMut() -> Option<J>) -> u32 {
        match self.sentry() {
            None => self.run_row_by(role, most, one_by_one(next, J::run)),
            Some(sentry) => self.run_row_watched(sentry, role, most, next),
        }
    }

    /// The same on a loop whose holders are posted.
    #[inline(never)]
    fn run_row_watched<J: Job>(
        &self,
        sentry: &Sentry,
        role: Role,
        most: u32,
        next: impl FnMut() -> Option<J>,
    ) -> u32 {
        let call = |job: J| {
            let _held = sentry.hold_for_job(role, job.type_name());
            job.run();
        };
        self.run_row_by(role, most, one_by_one(next, call))
    }

    /// `step` takes one, counts it and runs it; false if there was none.
    #[inline(always)]
    fn run_row_by(&self, role: Role, most: u32, mut step: impl FnMut(&Cell<u32>) -> bool) -> u32 {
        let run = Cell::new(0);
        loop {
            let before = run.get();
            let mut is_over = false;
            self.protect_task(role.words(), || {
                while run.get() < most && step(&run) {}
                is_over = true;
            });
            // A panic before anything was taken is our own, and would only come again.
            if is_over || run.get() == before {
                return run.get();
            }
        }
    }

    /// Says that a channel has the loop, where somebody watches. Which one it is, its handlers say.
    #[inline]
    fn hold_for_some_channel(&self) -> Option<Held<'_>> {
        self.sentry().map(|sentry| sentry.hold_for_channel(0))
    }

    /// Enters foreign code. A panic in it is logged and counted, and goes no further.
    #[inline]
    pub(super) fn protect(&self, what: &'static str, f: impl FnOnce()) {
        if let Err(panic) = boundary::catch(f) {
            self.note_panic(what, None, &panic);
            self.keep_panic(&panic);
        }
    }

    /// The same where the foreign code is a task's or a listener's, whose type the log names.
    #[inline]
    pub(super) fn protect_task(&self, what: &'static str, f: impl FnOnce()) {
        if let Err(panic) = boundary::catch(f) {
            self.note_panic(what, task::take_panicked(), &panic);
            self.keep_panic(&panic);
        }
    }

    #[cold]
    pub(super) fn note_panic(&self, what: &'static str, task: Option<&'static str>, panic: &str) {
        self.metrics().panics.add(1);
        error!(
            loop_name = self.handle().name(),
            task, panic, "{what} panicked"
        );
    }
}
