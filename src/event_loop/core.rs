//! [`LoopCore`]: what a loop is made of, without thread and without turn. Channels reach it through
//! [`LoopCore::current`]; the files beside this one add the phases of a turn to it.
//!
//! Loop-confined: everything is `Rc` and cells. No borrow is held while foreign code runs, so that a
//! task may queue, set timers and attach as it likes. A core without a reactor and with a clock moved by
//! hand is the whole loop of an embedded channel.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate_sys::mem::LocalTask;
use tidegate_sys::mem::queue::Consumer;
use tidegate_sys::os::{Ticks, Time, clock};

use super::attached::Attached;
use super::budget::Budget;
use super::config::LoopConfig;
use super::fifo::Fifo;
use super::futures::Futures;
use super::metrics::Metrics;
use super::shared::{Closing, EventLoop, Kit, LoopId};
use super::spin::{SpinLimit, Spinner};
use super::stall::Sentry;
use super::timers::{TimerKey, Timers};
use crate::buffer::Arena;
use crate::reactor::{IoHandle, Reactor};

/// Where a core's time comes from.
pub(crate) enum Clock {
    /// The monotonic clock, and what tells it between two readings.
    System(Ticks),
    /// Moved by its owner.
    Manual(ManualClock),
}

impl Clock {
    pub(crate) fn system() -> Self {
        Self::System(Ticks::new())
    }
}

/// A clock that stands still until it is moved.
#[derive(Clone, Debug, Default)]
pub(crate) struct ManualClock(Rc<Cell<Time>>);

impl ManualClock {
    #[cfg(all(test, not(loom)))]
    pub(crate) fn new(start: Time) -> Self {
        Self(Rc::new(Cell::new(start)))
    }

    pub(crate) fn now(&self) -> Time {
        self.0.get()
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0.set(self.0.get() + by);
    }
}

/// What a timer carries.
pub(crate) enum TimerJob {
    /// Set by a channel or by the loop for itself: lives until it fires or is cancelled.
    Internal(LocalTask),
    /// Set by a user on the loop: dropped when the loop begins to close (E21).
    Scheduled(LocalTask),
}

/// An entry of the root FIFO.
pub(crate) enum Root {
    Handle(Rc<dyn IoHandle>),
    /// A listener of a future.
    Job(LocalTask),
}

/// How far the end of a loop has come. Moved by `closing`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EndState {
    Open,
    /// Shutdown was seen.
    Closing {
        closing: Closing,
        since: Time,
        told_channels: bool,
    },
    /// Everything was dropped.
    Ended,
}

/// The core of one event loop. In the order of use: what each turn asks comes first, within reach of a short displacement.
#[repr(C)]
pub(crate) struct LoopCore {
    /// The handle's, one step nearer.
    metrics: Arc<Metrics>,
    handle: EventLoop,
    /// The time as of the last reading of this turn.
    pub(super) cached_now: Cell<Time>,
    /// No timer is due before it.
    pub(super) first_timer: Cell<Time>,
    /// How many pipelines are on this thread's stack; kept by the channel floor.
    pub(crate) pipeline_depth: Cell<u32>,
    /// Whether the loop may spin at all.
    pub(super) spins: bool,
    /// Which source of tasks the next phase begins with.
    pub(super) next_source: Cell<u8>,
    pub(super) budget: Cell<Budget>,
    pub(super) clock: Clock,
    pub(super) end: Cell<EndState>,
    pub(super) remote: RefCell<Consumer>,
    pub(super) local: Fifo<LocalTask>,
    pub(super) ready: Fifo<Rc<dyn IoHandle>>,
    pub(super) roots: Fifo<Root>,
    reactor: Option<Reactor>,
    arena: RefCell<Arena>,

    timers: RefCell<Timers<TimerJob>>,
    pub(super) attached: RefCell<Attached>,
    /// The futures that `spawn_local` was given.
    pub(super) futures: RefCell<Futures>,
    /// Handles that wait for a free descriptor.
    pub(super) waits_for_fd: RefCell<Vec<Rc<dyn IoHandle>>>,
    /// When a task last ran; counts for the quiet period.
    pub(super) last_task: Cell<Time>,
    pub(super) spinner: RefCell<Spinner>,
    /// Tells the stall watcher who holds the loop, if there is one.
    sentry: Option<Rc<Sentry>>,
    /// The first panic that was caught since somebody asked. Only where a test drives the loop, which asks.
    first_panic: Cell<Option<Box<str>>>,
}

impl LoopCore {
    /// The core of a loop, from what its handle was made with. Without a selector in the kit it never
    /// waits.
    pub(crate) fn new(handle: EventLoop, kit: Kit, clock: Clock) -> Rc<Self> {
        let Kit {
            config,
            tasks,
            parts,
        } = kit;
        let metrics = Arc::clone(handle.shared().metrics());
        let counters = Arc::clone(&metrics.reactor);
        let arena = Arena::with_gauges(Arc::clone(&metrics.arena));
        let spinner = Spinner::new(config.spin);
        let core = Self {
            reactor: parts.map(|parts| Reactor::new(parts, counters)),
            handle,
            metrics,
            cached_now: Cell::new(Time::ZERO),
            clock,
            remote: RefCell::new(tasks),
            local: Fifo::new(),
            timers: RefCell::new(Timers::new()),
            first_timer: Cell::new(Time::MAX),
            ready: Fifo::new(),
            roots: Fifo::new(),
            attached: RefCell::new(Attached::new()),
            futures: RefCell::new(Futures::new()),
            waits_for_fd: RefCell::new(Vec::new()),
            end: Cell::new(EndState::Open),
            last_task: Cell::new(Time::ZERO),
            budget: Cell::new(Budget::new()),
            spins: spinner.limit() != SpinLimit::None,
            spinner: RefCell::new(spinner),
            next_source: Cell::new(0),
            arena: RefCell::new(arena),
            sentry: config.stall_watch.map(|place| Rc::new(place.sentry())),
            first_panic: Cell::new(None),
            pipeline_depth: Cell::new(0),
        };
        core.now();
        core.last_task.set(core.cached_now());
        Rc::new(core)
    }

    /// A core without thread and kernel, driven step by step by its owner: `run_ready`, `run_roots`,
    /// `run_timers`, `run_tasks`.
    pub(crate) fn embedded(clock: ManualClock) -> Rc<Self> {
        Self::embedded_with(LoopConfig::named("embedded"), clock)
    }

    pub(super) fn embedded_with(mut config: LoopConfig, clock: ManualClock) -> Rc<Self> {
        config.has_manual_clock = true;
        let (handle, kit) = EventLoop::running(config, None);
        Self::new(handle, kit, Clock::Manual(clock))
    }

    /// The handle that other threads use.
    #[inline]
    pub(crate) fn handle(&self) -> &EventLoop {
        &self.handle
    }

    pub(crate) fn id(&self) -> LoopId {
        self.handle.id()
    }

    /// The time, read afresh. What is due is measured from it: a deadline counted from a stale reading
    /// would be early.
    #[inline(never)]
    pub(crate) fn now(&self) -> Time {
        let now = match &self.clock {
            Clock::System(_) => clock::now(),
            Clock::Manual(clock) => clock.now(),
        };
        self.cached_now.set(now);
        now
    }

    /// The same for the turn itself, which reads it twice: by the processor's counter where that is the clock's, a moment behind.
    #[inline]
    pub(super) fn turn_now(&self) -> Time {
        let now = match &self.clock {
            Clock::System(ticks) => ticks.now(),
            Clock::Manual(clock) => clock.now(),
        };
        self.cached_now.set(now);
        now
    }

    /// The time as of the last reading: since the phase began, or newer. Good for remembering when
    /// something happened (idle times), not for setting deadlines.
    #[inline]
    pub(crate) fn cached_now(&self) -> Time {
        self.cached_now.get()
    }

    /// The reactor; `None` in an embedded core.
    #[inline]
    pub(crate) fn reactor(&self) -> Option<&Reactor> {
        self.reactor.as_ref()
    }

    /// How many events the last wait has brought.
    pub(crate) fn batch_len(&self) -> usize {
        self.reactor().map_or(0, Reactor::batch_len)
    }

    #[inline]
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Where to say who holds the loop; `None` if nobody watches.
    #[inline]
    pub(crate) fn sentry(&self) -> Option<&Rc<Sentry>> {
        self.sentry.as_ref()
    }

    /// The memory that channels of this loop receive into.
    #[inline]
    pub(crate) fn arena(&self) -> &RefCell<Arena> {
        &self.arena
    }

    /// Calls the handle with `Continue` in the next I/O phase. It may be queued more than once.
    pub(crate) fn push_ready(&self, handle: Rc<dyn IoHandle>) {
        self.ready.push(handle);
    }

    /// Calls the handle with `Roots` when no pipeline is on the stack.
    pub(crate) fn push_root(&self, handle: Rc<dyn IoHandle>) {
        self.roots.push(Root::Handle(handle));
    }

    /// Runs a listener in order with the roots.
    pub(crate) fn push_listener(&self, job: LocalTask) {
        self.roots.push(Root::Job(job));
    }

    /// Remembers a panic of a handler, a listener or a task for whoever drives this loop by hand.
    #[cold]
    pub(crate) fn keep_panic(&self, panic: &str) {
        if let Clock::Manual(_) = &self.clock {
            let first = self.first_panic.take();
            self.first_panic.set(first.or_else(|| Some(panic.into())));
        }
    }

    /// The text of the first one since the last call.
    pub(crate) fn take_panic(&self) -> Option<Box<str>> {
        self.first_panic.take()
    }

    /// Queues a task behind the local ones. Not bounded: it is the loop's own.
    pub(crate) fn push_local(&self, task: LocalTask) {
        self.local.push(task);
    }

    /// Sets a timer. It lives until it fires or is cancelled, also while the loop is closing.
    pub(crate) fn add_timer(&self, deadline: Time, task: LocalTask) -> TimerKey {
        self.insert_timer(deadline, TimerJob::Internal(task))
    }

    /// Cancels a timer; false if it has fired or was cancelled.
    pub(crate) fn cancel_timer(&self, key: TimerKey) -> bool {
        // The task is dropped behind the borrow: its destructor may set timers.
        let removed = self.with_timers(|timers| timers.remove(key));
        removed.is_some()
    }

    /// Gives a timer another deadline; false if it has fired or was cancelled. Cheap when it is later
    /// than before.
    pub(crate) fn move_timer(&self, key: TimerKey, deadline: Time) -> bool {
        self.with_timers(|timers| timers.reschedule(key, deadline))
    }

    /// Makes a handle one of the loop's: it is told when the loop closes. The number takes it out again.
    /// If the loop is closing already, it is told in the next turn.
    pub(crate) fn attach(&self, handle: Rc<dyn IoHandle>) -> u32 {
        let mut attached = self.attached.borrow_mut();
        let key = attached.insert(handle);
        self.metrics().channels.set(attached.len() as u64);
        key
    }

    pub(crate) fn attached(&self, key: u32) -> Option<Rc<dyn IoHandle>> {
        self.attached.borrow().get(key)
    }

    /// All of them, for whoever has something to do with each.
    pub(crate) fn attached_handles(&self) -> Vec<Rc<dyn IoHandle>> {
        self.attached.borrow().all()
    }

    pub(crate) fn detach(&self, key: u32) {
        let mut attached = self.attached.borrow_mut();
        let removed = attached.remove(key);
        self.metrics().channels.set(attached.len() as u64);
        drop(attached);
        drop(removed);
    }

    /// How many handles are attached.
    pub(crate) fn attached_len(&self) -> usize {
        self.attached.borrow().len()
    }

    /// When the next timer is due.
    #[inline]
    pub(crate) fn next_timer(&self) -> Option<Time> {
        if self.first_timer.get() == Time::MAX {
            return None;
        }
        self.settled_timer()
    }

    #[inline(never)]
    fn settled_timer(&self) -> Option<Time> {
        self.with_timers(Timers::next_deadline)
    }

    /// For all that may change them.
    pub(super) fn with_timers<R>(&self, f: impl FnOnce(&mut Timers<TimerJob>) -> R) -> R {
        let mut timers = self.timers.borrow_mut();
        let answer = f(&mut timers);
        self.first_timer.set(timers.first());
        self.metrics.timers_waiting.set(timers.len() as u64);
        answer
    }

    /// See [`Timers::mark`].
    pub(super) fn timer_mark(&self) -> u64 {
        self.timers.borrow().mark()
    }

    pub(super) fn insert_timer(&self, deadline: Time, job: TimerJob) -> TimerKey {
        self.with_timers(|timers| timers.insert(deadline, job))
    }

    /// Whether the loop is not closing.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        matches!(self.end.get(), EndState::Open)
    }

    /// How many of the loop's own tasks wait.
    #[inline]
    pub(super) fn local_len(&self) -> usize {
        self.local.len()
    }

    /// Whether the loop must not sleep: something of its own waits.
    #[inline]
    pub(super) fn has_work(&self) -> bool {
        self.roots.len() | self.ready.len() | self.local.len() != 0
    }
}
