//! What can be chosen for a loop. Filled in by the builders, read by the loop.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tidegate_sys::os::{Backend, Events};

use super::budget::IoRatio;
use super::spin::Spin;
use super::stall::Place;
use crate::error::{Error, ErrorKind};
use crate::reactor::Parts;

/// The least bound of a task queue: with fewer places a loop could not even be shut down in good order.
pub(crate) const PENDING_TASKS_MIN: usize = 16;

/// What happens to a task that finds the queue full. Without a bound (`max_pending_tasks`) it is never
/// full.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Rejection {
    /// It is refused: `execute` fails with [`ErrorKind::Rejected`](crate::error::ErrorKind::Rejected).
    /// The default.
    #[default]
    Reject,
    /// The caller wakes the loop, pauses and tries again, and is refused after so many attempts. On the
    /// loop's own thread it is refused at once, because nobody would make room meanwhile.
    Backoff {
        /// Attempts after the first.
        retries: u32,
        /// Pause before each of them.
        pause: Duration,
    },
}

/// Called on each thread of a group.
pub(crate) type ThreadHook = Arc<dyn Fn() + Send + Sync>;

/// The choices of one loop.
#[derive(Clone)]
pub(crate) struct LoopConfig {
    pub(crate) name: String,
    pub(crate) backend: Backend,
    pub(crate) io_ratio: IoRatio,
    pub(crate) spin: Spin,
    /// `None`: what suits the backend.
    pub(crate) max_events: Option<usize>,
    pub(crate) max_pending_tasks: Option<usize>,
    pub(crate) rejection: Rejection,
    pub(crate) measures_queue_wait: bool,
    pub(crate) has_manual_clock: bool,
    /// Where the stall watcher looks for it.
    pub(crate) stall_watch: Option<Place>,
    /// The processor that the thread is bound to.
    pub(crate) cpu: Option<usize>,
    pub(crate) on_thread_start: Option<ThreadHook>,
    pub(crate) on_thread_stop: Option<ThreadHook>,
}

impl LoopConfig {
    pub(crate) fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            backend: Backend::default(),
            io_ratio: IoRatio::DEFAULT,
            spin: Spin::Off,
            max_events: None,
            max_pending_tasks: None,
            rejection: Rejection::Reject,
            measures_queue_wait: false,
            has_manual_clock: false,
            stall_watch: None,
            cpu: None,
            on_thread_start: None,
            on_thread_stop: None,
        }
    }

    /// The selector, its waker and room for a batch of events.
    pub(crate) fn open(&self) -> Result<Parts, Error> {
        Parts::open(self.backend, self.events_max()?)
            .map_err(|error| Error::io("opening the selector of an event loop", error))
    }

    fn events_max(&self) -> Result<usize, Error> {
        let max = match self.max_events {
            Some(max) => max,
            // Each poll(2) looks at every descriptor.
            None if self.backend == Backend::Poll => Events::LARGEST,
            None => Events::ROOM,
        };
        if (1..=Events::LARGEST).contains(&max) {
            return Ok(max);
        }
        let text = format!("max_events_per_turn is 1 to {}, not {max}", Events::LARGEST);
        Err(Error::new(ErrorKind::InvalidArgument, text))
    }
}

/// The choices that every loop has, as methods of a builder whose `self.config` is a [`LoopConfig`] and
/// whose `self.io_ratio` is a percentage to be checked by `build`.
macro_rules! loop_choices {
    () => {
        /// How the kernel is asked for readiness; by default the best that the machine has. `build`
        /// fails with [`Unsupported`](crate::error::ErrorKind::Unsupported) for one that is not among
        /// [`Backend::available`](super::Backend::available).
        pub fn selector(mut self, backend: super::Backend) -> Self {
            self.config.backend = backend;
            self
        }

        /// The share of time that I/O gets while there are tasks as well, in percent, 1 to 100; 50 by
        /// default. At 100 tasks are not timed: those that wait when their phase begins run. Below, I/O waits for
        /// tasks for at most 0.1 s at a time.
        pub fn io_ratio(mut self, percent: u8) -> Self {
            self.io_ratio = percent;
            self
        }

        /// How long to poll before sleeping; not at all by default.
        pub fn spin(mut self, spin: super::Spin) -> Self {
            self.config.spin = spin;
            self
        }

        /// The most readiness events that one turn takes from the kernel, 1 to 4,096; 256 by default, and 4,096 with poll,
        /// each of whose waits looks at every descriptor. Tasks, timers and clients that wait to be accepted have their turn
        /// when these are served: fewer shorten their wait on a loop with thousands of busy channels. The others come with the
        /// next turn. `build` fails with [`InvalidArgument`](crate::error::ErrorKind::InvalidArgument) for any other number.
        pub fn max_events_per_turn(mut self, max: usize) -> Self {
            self.config.max_events = Some(max);
            self
        }

        /// How many tasks may wait for one loop, at least 16; any number by default. It bounds what is told of a refusal:
        /// `execute` and its kin, and what other threads ask of channels with a future. What nobody would hear of
        /// (`flush`, `read`, `set_auto_read`, an event that is fired) takes its place in the queue beyond it.
        pub fn max_pending_tasks(mut self, max: usize) -> Self {
            self.config.max_pending_tasks = Some(max);
            self
        }

        /// What happens to a task that finds the queue full; by default it is refused.
        pub fn rejection(mut self, rejection: super::Rejection) -> Self {
            self.config.rejection = rejection;
            self
        }

        /// Whether to measure how long tasks wait in the queue; not by default, because it costs two
        /// clock readings per task.
        pub fn measure_queue_wait(mut self, is_on: bool) -> Self {
            self.config.measures_queue_wait = is_on;
            self
        }
    };
}
pub(super) use loop_choices;

impl fmt::Debug for LoopConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopConfig")
            .field("name", &self.name)
            .field("backend", &self.backend)
            .field("io_ratio", &self.io_ratio)
            .field("spin", &self.spin)
            .field("max_events", &self.max_events)
            .field("max_pending_tasks", &self.max_pending_tasks)
            .field("rejection", &self.rejection)
            .field("cpu", &self.cpu)
            .finish_non_exhaustive()
    }
}
