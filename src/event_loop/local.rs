//! [`LocalEventLoop`]: a loop in the host's own thread, turn by turn.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::future::Future;
use std::os::fd::BorrowedFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use tidegate_sys::os::Time;
use tracing::debug;

use super::boundary;
use super::budget::IoRatio;
use super::config::{LoopConfig, loop_choices};
use super::core::{Clock, LoopCore};
use super::current::Entered;
use super::nest::Nest;
use super::shared::{EventLoop, invalid_io_ratio};
use super::sync::AtomicBool;
use crate::error::{Error, ErrorKind};

/// An event loop without a thread of its own: the thread that made it makes its turns.
///
/// Between turns it counts as asleep, and the time is its host's:
/// [`time_outside`](super::MetricsSnapshot::time_outside). It nests in another loop: watch [`as_fd`](Self::as_fd) there and
/// call `turn(Some(Duration::ZERO))` whenever it is readable.
///
/// Dropping it ends it at once, in the order of [`EventLoop::stop`]: tasks that wait run first, operations on channels
/// included; then channels are closed and have their last events; what is left is dropped, timers too. What the kernel does
/// not take in that moment is not sent: to have it sent and received, `local.block_on(local.handle().drain(within))` before.
pub struct LocalEventLoop {
    core: Rc<LoopCore>,
    nest: OnceCell<Nest>,
    /// Whether the queue was told that the loop sleeps.
    is_asleep: Cell<bool>,
    /// When the last turn ended, by the loop's clock: what comes before the next one is the host's time.
    left_at: Cell<Time>,
}

/// The choices of a [`LocalEventLoop`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until build() is called"]
pub struct LocalEventLoopBuilder {
    io_ratio: u8,
    config: LoopConfig,
}

impl LocalEventLoop {
    /// A loop with the default choices.
    ///
    /// # Errors
    /// An I/O error if the selector cannot be opened, mostly for want of descriptors.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// A loop with other choices.
    pub fn builder() -> LocalEventLoopBuilder {
        LocalEventLoopBuilder {
            io_ratio: IoRatio::DEFAULT.percent(),
            config: LoopConfig::named("local"),
        }
    }

    /// The handle that other threads use.
    pub fn handle(&self) -> &EventLoop {
        self.core.handle()
    }

    /// Makes one turn: waits for at most `timeout` (`None`: until something happens), then serves I/O,
    /// timers and tasks. With a timeout of zero it does what can be done now.
    ///
    /// False once the loop has ended: further turns do nothing. Not to be called inside a turn of this
    /// loop; such a call does nothing.
    pub fn turn(&self, timeout: Option<Duration>) -> bool {
        if self.may_turn() {
            let stay = self.stay();
            self.core.turn(timeout);
            drop(stay);
        }
        !self.core.has_ended()
    }

    /// Makes turns until the loop has ended, which someone has to ask for through
    /// [`handle`](Self::handle). Inside a turn of this loop it does nothing.
    ///
    /// One turn follows the other as on the thread of a group, with nothing of the host's in between: what
    /// [`as_fd`](Self::as_fd) lends says nothing until it returns. In a process without other threads the kernel looks up
    /// descriptors with less care, which a server with few connections notices: the [tuning page](crate::guide::tuning) has
    /// figures.
    pub fn run(&self) {
        if self.may_turn() {
            let stay = self.stay();
            while !self.core.has_ended() {
                self.core.turn(None);
            }
            drop(stay);
        }
    }

    /// Makes turns until `future` is done. The future need not be `Send`; it is polled on this thread,
    /// in between.
    ///
    /// # Errors
    /// [`ErrorKind::Terminated`] if the loop ends before; [`ErrorKind::Blocking`] inside a turn of this
    /// loop.
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, Error> {
        if self.handle().in_event_loop() {
            let text = "block_on inside a turn of the loop that it would have to drive";
            return Err(Error::new(ErrorKind::Blocking, text));
        }
        let mut future = pin!(future);
        let signal = Arc::new(Signal {
            handle: self.handle().clone(),
            is_set: AtomicBool::new(true),
        });
        let waker = Waker::from(Arc::clone(&signal));
        // Behind the future, which is so dropped by its host. Whether it is done or panics, it may have left work to the loop.
        let _stay = self.stay();
        loop {
            if signal.is_set.swap(false, Ordering::AcqRel) {
                let began = self.core.cached_now();
                let poll = future.as_mut().poll(&mut Context::from_waker(&waker));
                self.note_outside(began);
                if let Poll::Ready(value) = poll {
                    return Ok(value);
                }
            }
            if self.core.has_ended() {
                let text = "the event loop ended before the future that it was driven for";
                return Err(Error::new(ErrorKind::Terminated, text));
            }
            // Woken while it was polled: look at I/O, but do not wait.
            let is_set = signal.is_set.load(Ordering::Acquire);
            self.core.turn(is_set.then_some(Duration::ZERO));
        }
    }

    /// When the loop wants its next turn though nothing may happen: now if work is left, else when the
    /// next timer is due. `None`: not before something happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        let wanted = self.wants_turn_at()?;
        Some(Instant::now() + wanted.saturating_since(self.core.now()))
    }

    /// A descriptor that is readable whenever a turn would do something: I/O, a timer that is due, a
    /// task from another thread, work left over. Nothing has to be read from it. It stays the same while
    /// the loop lives.
    ///
    /// Readable is a state here, as poll(2) and level-triggered selectors tell it: a turn that leaves something to the next one
    /// leaves the descriptor readable. A host that is told of changes only (mio, tokio's `AsyncFd`, `EPOLLET`) hears nothing
    /// then, since nothing has changed, and the loop would stand still until something else happens. Such a host has to make
    /// turns until the descriptor is not readable any more, which poll(2) with a timeout of zero tells it, and may wait for the
    /// next change only then (with tokio: `clear_ready()` only then).
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] with the selector poll, which has no descriptor; an I/O error when descriptors are short.
    pub fn as_fd(&self) -> Result<BorrowedFd<'_>, Error> {
        if self.nest.get().is_none() {
            let nest = Nest::new(&self.core)?;
            // Somebody may look at it before the next turn.
            nest.arm(&self.core, self.wants_turn_at());
            let _first = self.nest.set(nest);
        }
        match self.nest.get() {
            Some(nest) => Ok(nest.as_fd()),
            None => Err(Error::new(
                ErrorKind::Unsupported,
                "this loop has no descriptor",
            )),
        }
    }

    /// How long until the loop wants its next turn by itself, by the clock of the machine that it runs on.
    #[cfg(feature = "sim")]
    pub(crate) fn wants_turn_in(&self) -> Option<Duration> {
        let wanted = self.wants_turn_at()?;
        Some(wanted.saturating_since(self.core.now()))
    }

    fn wants_turn_at(&self) -> Option<Time> {
        if self.core.has_ended() {
            return None;
        }
        if self.core.has_work() || self.core.remote_len() > 0 || self.core.must_not_sleep() {
            return Some(Time::ZERO);
        }
        let wanted = self.core.wake_at(None, Time::ZERO);
        (wanted != Time::MAX).then_some(wanted)
    }

    /// Whether turns can be made: the loop has not ended, and this is not inside one of them.
    fn may_turn(&self) -> bool {
        !self.core.has_ended() && !self.handle().in_event_loop()
    }

    /// Takes over from the host, whose time it has been until now. Not inside a turn.
    fn stay(&self) -> Stay<'_> {
        self.core.end_nap(self.is_asleep.replace(false));
        self.note_outside(self.left_at.get());
        Stay {
            local: self,
            had_ended: self.core.has_ended(),
            entered: Some(self.core.enter()),
        }
    }

    /// Everything since then was the host's. The clock has been read when it returns.
    fn note_outside(&self, began: Time) {
        let outside = self.core.now().nanos_since(began);
        self.core.metrics().outside_ns.add(outside);
    }

    /// From now on whoever gives the loop a task makes its descriptor readable.
    fn fall_asleep(&self) {
        self.is_asleep.set(self.core.begin_nap());
        if let Some(nest) = self.nest.get() {
            nest.arm(&self.core, self.wants_turn_at());
        }
    }

    fn finish(&self) {
        if let Some(nest) = self.nest.get() {
            nest.arm(&self.core, None);
        }
        debug!(loop_name = self.handle().name(), "an event loop has ended");
        self.handle().shared().terminate(Ok(()));
    }
}

impl LocalEventLoopBuilder {
    /// The name of the loop in logs; `local` by default.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = name.into();
        self
    }

    loop_choices!();

    /// Opens the selector. The calling thread is the one that makes the turns.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an `io_ratio` outside of 1 to 100,
    /// [`ErrorKind::Unsupported`] for a selector that this system does not have; else an I/O error,
    /// mostly for want of descriptors.
    pub fn build(mut self) -> Result<LocalEventLoop, Error> {
        self.config.io_ratio =
            IoRatio::new(self.io_ratio).ok_or_else(|| invalid_io_ratio(self.io_ratio))?;
        let parts = self.config.open()?;
        let (handle, kit) = EventLoop::running(self.config, Some(parts));
        let core = LoopCore::new(handle, kit, Clock::system());
        let this = LocalEventLoop {
            left_at: Cell::new(core.cached_now()),
            core,
            nest: OnceCell::new(),
            is_asleep: Cell::new(false),
        };
        this.fall_asleep();
        debug!(
            loop_name = this.handle().name(),
            "an event loop has started"
        );
        Ok(this)
    }
}

impl Drop for LocalEventLoop {
    fn drop(&mut self) {
        if !self.core.has_ended() {
            let entered = self.core.enter();
            // Nothing of a channel may unwind out of a destructor.
            let _logged = boundary::catch(|| self.core.end_now());
            drop(entered);
            self.finish();
        }
    }
}

impl fmt::Debug for LocalEventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalEventLoop")
            .field("handle", self.handle())
            .finish_non_exhaustive()
    }
}

/// Turns that follow from each other; gives the thread back to the host when it is dropped.
struct Stay<'a> {
    local: &'a LocalEventLoop,
    /// Whether there was nothing left to end.
    had_ended: bool,
    /// `Some` until the drop.
    entered: Option<Entered>,
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        let local = self.local;
        drop(self.entered.take());
        // A reading that came after the last foreign code.
        local.left_at.set(local.core.cached_now());
        if !local.core.has_ended() {
            local.fall_asleep();
        } else if !self.had_ended {
            local.finish();
        }
    }
}

/// Wakes a loop that is driven for a future.
struct Signal {
    handle: EventLoop,
    is_set: AtomicBool,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_set.swap(true, Ordering::AcqRel) {
            self.handle.interrupt();
        }
    }
}
