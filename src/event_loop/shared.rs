//! The part of a loop that all threads see: [`EventLoop`] and what is behind it. What a loop does with
//! it is elsewhere; this file knows no turn and no core.
//!
//! # The life of a loop
//!
//! | phase | meaning | leaves it |
//! |---|---|---|
//! | idle | its thread was not started yet | the first task, or shutdown |
//! | running | turns are made | a shutdown request |
//! | closing | channels are closed, tasks still accepted | quiet period or timeout over |
//! | closed | tasks are refused, what is left is dropped | the loop itself |
//! | terminated | nothing will happen any more | never |
//!
//! Only forward. `closing` and `closed` are stored before the loop is woken, and the loop looks at the
//! phase again after it has announced that it sleeps: so a request is never slept through.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use tidegate_sys::mem::Task;
use tidegate_sys::mem::queue::{self, Consumer, Producer, Pushed};
use tidegate_sys::os::{Time, Waker};
use tracing::error;

use super::boundary;
use super::budget::IoRatio;
use super::config::{LoopConfig, PENDING_TASKS_MIN, Rejection};
use super::metrics::Metrics;
use super::snapshot::MetricsSnapshot;
use super::sync::{AtomicU8, AtomicUsize, Mutex, MutexGuard, ThreadId, thread};
use crate::error::{Error, ErrorKind};
use crate::future::{Completion, ListenerHost, Promise};
use crate::reactor::poller::Parts;

/// Names a loop among all of the process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct LoopId(u64);

impl LoopId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// A number; never zero.
    #[inline]
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

/// Where a loop is in its life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(crate) enum Phase {
    Idle,
    Running,
    Closing,
    Closed,
    Terminated,
}

const PHASES: [Phase; 5] = [
    Phase::Idle,
    Phase::Running,
    Phase::Closing,
    Phase::Closed,
    Phase::Terminated,
];

/// How a loop shall end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Closing {
    /// The loop ends when no task ran for so long.
    pub(crate) quiet: Duration,
    /// It ends in any case after so long.
    pub(crate) timeout: Duration,
    /// Since when that counts, by the loop's clock: the call. `None` where the clock cannot be read at the call; then since the
    /// loop has seen the request.
    pub(crate) asked: Option<Time>,
    /// Whether channels stay open for the quiet period: so when the last handle of a group is dropped.
    pub(crate) spares_channels: bool,
}

/// Starts the thread of a loop; it finds the rest in [`Shared::take_kit`].
pub(crate) type Launch = fn(&EventLoop) -> io::Result<()>;

/// What the thread of a loop needs and nobody else may have.
pub(crate) struct Kit {
    pub(crate) config: LoopConfig,
    pub(crate) tasks: Consumer,
    pub(crate) parts: Option<Parts>,
}

/// What is known of the thread that owns a loop. Apart from the rest so that the termination future can
/// ask for it without keeping the loop.
#[derive(Debug, Default)]
pub(crate) struct Owner(OnceLock<ThreadId>);

impl Owner {
    pub(crate) fn is_this_thread(&self) -> bool {
        self.0.get() == Some(&thread::current().id())
    }
}

/// Runs the listeners of termination futures: there is no loop left that could, so they run at once on
/// the thread that ends the loop.
pub(crate) struct EndHost {
    pub(crate) owners: Vec<Arc<Owner>>,
}

impl ListenerHost for EndHost {
    fn run_listener(&self, job: Task) {
        if let Err(panic) = boundary::catch(|| job.run()) {
            error!(panic, "a listener of a termination future panicked");
        }
    }

    fn would_deadlock(&self) -> bool {
        self.owners.iter().any(|owner| owner.is_this_thread())
    }
}

/// A handle of an event loop: one thread (or one host thread's turns) that runs channels, tasks and
/// timers, one at a time.
///
/// Clones are cheap and name the same loop. A handle does not keep the loop running: its group or its
/// [`LocalEventLoop`](super::LocalEventLoop) does.
#[derive(Clone)]
pub struct EventLoop {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    id: LoopId,
    name: String,
    tasks: Producer,
    waker: Option<Arc<Waker>>,
    metrics: Arc<Metrics>,
    phase: AtomicU8,
    io_ratio: AtomicU8,
    pub(crate) max_pending_tasks: Option<usize>,
    pub(crate) rejection: Rejection,
    pub(crate) measures_queue_wait: bool,
    /// Whether the loop's time is moved by hand and cannot be read elsewhere.
    pub(crate) has_manual_clock: bool,
    /// Tasks that must not be lost. Few enough for a lock; in order among themselves.
    insistent: Mutex<VecDeque<Task>>,
    /// The length of `insistent`, to be looked at without the lock.
    insistent_len: AtomicUsize,
    owner: Arc<Owner>,
    closing: Mutex<Option<Closing>>,
    /// `Some` until the thread was started or the loop ended without one.
    launch: Mutex<Option<Launch>>,
    kit: Mutex<Option<Kit>>,
    /// `Some` until the loop has terminated.
    ending: Mutex<Option<Promise>>,
    termination: Completion,
}

impl EventLoop {
    /// A loop whose thread `launch` will start.
    pub(crate) fn idle(config: LoopConfig, parts: Parts, launch: Launch) -> Self {
        let (this, kit) = Self::make(config, Some(parts), Phase::Idle, Some(launch));
        *lock(&this.shared.kit) = Some(kit);
        this
    }

    /// A loop that the calling thread owns from the start.
    pub(crate) fn running(config: LoopConfig, parts: Option<Parts>) -> (Self, Kit) {
        let (this, kit) = Self::make(config, parts, Phase::Running, None);
        this.shared.own();
        (this, kit)
    }

    fn make(
        mut config: LoopConfig,
        parts: Option<Parts>,
        phase: Phase,
        launch: Option<Launch>,
    ) -> (Self, Kit) {
        config.max_pending_tasks = config
            .max_pending_tasks
            .map(|max| max.max(PENDING_TASKS_MIN));
        let (producer, consumer) = queue::new(config.max_pending_tasks);
        let owner = Arc::new(Owner::default());
        let host = Arc::new(EndHost {
            owners: vec![Arc::clone(&owner)],
        });
        let ending = Promise::new(host);
        // The end of a loop is a fact, not an offer.
        ending.set_uncancellable();
        let shared = Shared {
            id: LoopId::next(),
            name: config.name.clone(),
            tasks: producer,
            waker: parts.as_ref().map(|parts| Arc::clone(parts.waker())),
            metrics: Arc::new(Metrics::default()),
            phase: AtomicU8::new(phase as u8),
            io_ratio: AtomicU8::new(config.io_ratio.percent()),
            max_pending_tasks: config.max_pending_tasks,
            rejection: config.rejection,
            measures_queue_wait: config.measures_queue_wait,
            has_manual_clock: config.has_manual_clock,
            insistent: Mutex::new(VecDeque::new()),
            insistent_len: AtomicUsize::new(0),
            owner,
            closing: Mutex::new(None),
            launch: Mutex::new(launch),
            kit: Mutex::new(None),
            termination: ending.completion(),
            ending: Mutex::new(Some(ending)),
        };
        (
            Self {
                shared: Arc::new(shared),
            },
            Kit {
                config,
                tasks: consumer,
                parts,
            },
        )
    }

    /// Names this loop among all of the process.
    #[inline]
    pub fn id(&self) -> LoopId {
        self.shared.id
    }

    /// The name of the loop, which is also that of its thread.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What the loop has done so far. Callable from any thread.
    pub fn metrics(&self) -> MetricsSnapshot {
        let waiting = self.shared.tasks.len() + self.shared.insistent_len();
        self.shared.metrics.snapshot(waiting)
    }

    /// The share of time that I/O gets, in percent.
    pub fn io_ratio(&self) -> u8 {
        self.shared.io_ratio.load(Ordering::Relaxed)
    }

    /// Sets the share of time that I/O gets while there are tasks as well, from the next turn on. At 100
    /// tasks are not timed: those that wait when their phase begins run.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] outside of 1 to 100.
    pub fn set_io_ratio(&self, percent: u8) -> Result<(), Error> {
        let ratio = IoRatio::new(percent).ok_or_else(|| invalid_io_ratio(percent))?;
        self.shared
            .io_ratio
            .store(ratio.percent(), Ordering::Relaxed);
        Ok(())
    }

    /// Done when the loop has ended and everything of it is gone.
    pub fn termination_future(&self) -> Completion {
        self.shared.termination.clone()
    }

    /// Whether shutdown was asked for.
    pub fn is_shutting_down(&self) -> bool {
        self.shared.is_closing()
    }

    /// Whether tasks are refused.
    pub fn is_shutdown(&self) -> bool {
        self.shared.phase() >= Phase::Closed
    }

    /// Whether the loop has ended.
    pub fn is_terminated(&self) -> bool {
        self.shared.phase() == Phase::Terminated
    }

    #[inline]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Whether the loop has ever had something to do.
    pub(crate) fn has_started(&self) -> bool {
        !self.shared.is_idle()
    }

    /// Starts the thread if that was not done yet.
    #[inline]
    pub(crate) fn ensure_started(&self) -> Result<(), Error> {
        if self.shared.is_idle() {
            self.start()
        } else {
            Ok(())
        }
    }

    #[cold]
    fn start(&self) -> Result<(), Error> {
        let mut launch = lock(&self.shared.launch);
        let Some(start) = *launch else { return Ok(()) };
        // The phase first: the thread may be asked to close before this call returns.
        self.shared.advance(Phase::Running);
        match start(self) {
            Ok(()) => {
                *launch = None;
                Ok(())
            }
            Err(error) => {
                self.shared
                    .phase
                    .store(Phase::Idle as u8, Ordering::Release);
                Err(Error::io("starting the thread of an event loop", error))
            }
        }
    }

    /// Asks the loop to end. The first request counts; `stop` may shorten it.
    pub(crate) fn request_closing(&self, closing: Closing, overrides: bool) {
        {
            let mut launch = lock(&self.shared.launch);
            if launch.take().is_some() {
                // It never ran, so there is nothing to wait for and no thread to end it.
                drop(launch);
                self.shared.advance(Phase::Closed);
                let kit = lock(&self.shared.kit).take();
                let _nothing_in_it = boundary::catch(|| drop(kit));
                self.shared.terminate(Ok(()));
                return;
            }
        }
        let mut current = lock(&self.shared.closing);
        if current.is_none() || overrides {
            *current = Some(closing);
        }
        drop(current);
        self.shared.advance(Phase::Closing);
        if self.shared.tasks.claim_wake() {
            self.shared.wake();
        }
    }
}

impl Shared {
    pub(crate) fn id(&self) -> LoopId {
        self.id
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    #[inline]
    pub(crate) fn tasks(&self) -> &Producer {
        &self.tasks
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub(crate) fn owner(&self) -> &Arc<Owner> {
        &self.owner
    }

    /// The calling thread makes the turns of this loop from now on.
    pub(crate) fn own(&self) {
        self.owner.0.get_or_init(|| thread::current().id());
    }

    pub(crate) fn take_kit(&self) -> Option<Kit> {
        lock(&self.kit).take()
    }

    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        PHASES[self.phase.load(Ordering::Acquire) as usize]
    }

    /// Whether it was asked to end, or has ended.
    #[inline]
    pub(crate) fn is_closing(&self) -> bool {
        self.phase.load(Ordering::Acquire) >= Phase::Closing as u8
    }

    /// Whether its thread was not started yet. Where the compiler has to know that asking can't panic.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.phase.load(Ordering::Acquire) == Phase::Idle as u8
    }

    /// Goes to a later phase; an earlier one is ignored.
    pub(crate) fn advance(&self, to: Phase) {
        self.phase.fetch_max(to as u8, Ordering::AcqRel);
    }

    pub(crate) fn ratio(&self) -> IoRatio {
        IoRatio::new(self.io_ratio.load(Ordering::Relaxed)).unwrap_or(IoRatio::DEFAULT)
    }

    pub(crate) fn closing(&self) -> Option<Closing> {
        *lock(&self.closing)
    }

    /// Queues a task that must not be lost, from another thread: a listener, a wake-up. The bound of the
    /// queue does not count for it, and at the end of the loop it is run, not dropped. It comes back when
    /// the loop has ended.
    pub(crate) fn push_insistent(&self, task: Task) -> Result<(), Task> {
        {
            let mut insistent = lock(&self.insistent);
            // Under the lock: what is queued before the loop's last look is seen by it.
            if self.phase() >= Phase::Closed {
                return Err(task);
            }
            insistent.push_back(task);
            self.insistent_len.store(insistent.len(), Ordering::Release);
        }
        #[cfg(tidegate_mutants)]
        if tidegate_sys::os::sim::is_mutant("B6-listener-unwoken") {
            return Ok(());
        }
        if self.tasks.claim_wake() {
            self.wake();
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn insistent_len(&self) -> usize {
        self.insistent_len.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn has_insistent(&self) -> bool {
        self.insistent_len() > 0
    }

    pub(crate) fn pop_insistent(&self) -> Option<Task> {
        let mut insistent = lock(&self.insistent);
        let task = insistent.pop_front();
        self.insistent_len.store(insistent.len(), Ordering::Release);
        task
    }

    /// Acts on the answer of a push.
    #[inline]
    pub(crate) fn pushed(&self, pushed: Pushed) {
        #[cfg(tidegate_mutants)]
        if tidegate_sys::os::sim::is_mutant("B6-wake-up-lost") {
            return;
        }
        if pushed == Pushed::MustWake {
            self.wake();
        }
    }

    #[cold]
    pub(crate) fn wake(&self) {
        // A loop without a waker is driven by its host, who looks at the queue.
        let Some(waker) = &self.waker else { return };
        if let Err(error) = waker.wake() {
            error!(loop_name = self.name, %error, "an event loop could not be woken");
        }
    }

    /// The end: whoever waits for it learns of it.
    pub(crate) fn terminate(&self, outcome: Result<(), Error>) {
        self.advance(Phase::Terminated);
        // None are left unless the loop died.
        while let Some(task) = self.pop_insistent() {
            let _dead_anyway = boundary::catch(|| task.run());
        }
        let ending = lock(&self.ending).take();
        if let Some(ending) = ending {
            ending.complete(&outcome);
        }
    }

    #[cold]
    pub(crate) fn note_rejected(&self) {
        self.metrics.rejected.fetch_add(1, Ordering::Relaxed);
    }
}

impl PartialEq for EventLoop {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for EventLoop {}

impl Hash for EventLoop {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop")
            .field("name", &self.name())
            .field("phase", &self.shared.phase())
            .finish_non_exhaustive()
    }
}

pub(crate) fn invalid_io_ratio(percent: u8) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        format!("an io_ratio of {percent} is not possible; it is a percentage from 1 to 100"),
    )
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
