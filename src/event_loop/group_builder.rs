//! [`EventLoopGroupBuilder`]: the choices of a group, checked when it is built.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidegate_sys::os::thread::cpu_count;

use super::budget::IoRatio;
use super::config::{LoopConfig, loop_choices};
use super::group::{EventLoopGroup, launch};
use super::shared::{EventLoop, invalid_io_ratio};
use super::stall::Watcher;
use crate::error::{Error, ErrorKind};

/// Loops per processor when their number is not given. Netty's figure.
const LOOPS_PER_CPU: usize = 2;

/// The choices of an [`EventLoopGroup`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until build() is called"]
pub struct EventLoopGroupBuilder {
    threads: usize,
    name: Option<String>,
    io_ratio: u8,
    cpus: Vec<usize>,
    stall_limit: Option<Duration>,
    config: LoopConfig,
}

impl EventLoopGroup {
    /// A group of so many loops; 0 means two per processor that this process may use.
    ///
    /// # Errors
    /// An I/O error if a selector cannot be opened, mostly for want of descriptors.
    pub fn new(threads: usize) -> Result<Self, Error> {
        Self::builder().threads(threads).build()
    }

    /// A group with other choices than the defaults.
    pub fn builder() -> EventLoopGroupBuilder {
        EventLoopGroupBuilder {
            threads: 0,
            name: None,
            io_ratio: IoRatio::DEFAULT.percent(),
            cpus: Vec::new(),
            stall_limit: None,
            config: LoopConfig::named(""),
        }
    }
}

impl EventLoopGroupBuilder {
    /// How many loops, each with a thread of its own; 0, the default, means two per processor that this
    /// process may use.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// The name of the group. Its threads are called `<name>-1`, `<name>-2` and so on; Linux shows the
    /// first 15 bytes. A name with a NUL byte is refused by [`build`](Self::build).
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    loop_choices!();

    /// Binds each thread to one processor (counted from 0): the first thread to the first of the list
    /// and so on, over and over. A thread that cannot be bound runs anywhere, and a warning says so.
    pub fn affinity(mut self, cpus: impl IntoIterator<Item = usize>) -> Self {
        self.cpus = cpus.into_iter().collect();
        self
    }

    /// Watches for whoever holds a loop for longer than `limit`: one handler, task, timer or listener that does not return.
    /// While it still does, a warning names it: its type, and for a handler its callback and its channel. The warning comes
    /// again when the stall is twice as long, four times and so on, and once more when it ends.
    /// [`stalls`](super::MetricsSnapshot::stalls) counts them. Not by default.
    ///
    /// One thread for the group looks at its loops four times per limit, so a stall is told when it is between one and one
    /// and a quarter limits old; a limit below 1 ms counts as 1 ms. A loop that sleeps or polls is not held, nor is one whose
    /// process is stopped. With a watcher a loop stores who has it at each callback and each task; it reads no clock for it. A
    /// loop without one pays nothing.
    ///
    /// What counts is one event with all that follows from it, so also a handler that is called too often by one event.
    pub fn stall_watcher(mut self, limit: Duration) -> Self {
        self.stall_limit = Some(limit);
        self
    }

    /// Called on each thread before its first turn. A panic in it ends the loop.
    pub fn on_thread_start(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.config.on_thread_start = Some(Arc::new(hook));
        self
    }

    /// Called on each thread after its last turn.
    pub fn on_thread_stop(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.config.on_thread_stop = Some(Arc::new(hook));
        self
    }

    /// Opens the selectors. The threads start with the first task or channel that their loop gets.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an `io_ratio` outside of 1 to 100 and for a name with a NUL byte,
    /// [`ErrorKind::Unsupported`] for a selector that this system does not have; else an I/O error, mostly for want of
    /// descriptors.
    pub fn build(self) -> Result<EventLoopGroup, Error> {
        let Some(io_ratio) = IoRatio::new(self.io_ratio) else {
            return Err(invalid_io_ratio(self.io_ratio));
        };
        let threads = match self.threads {
            0 => (cpu_count() * LOOPS_PER_CPU).max(1),
            threads => threads,
        };
        let name = self.name.unwrap_or_else(next_name);
        if name.contains('\0') {
            let text = format!(
                "{name:?} can be no name of an event loop group: its threads bear it, and a thread's name has no NUL byte"
            );
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        let watcher = self.stall_limit.map(|limit| Watcher::new(&name, limit));
        let mut loops = Vec::with_capacity(threads);
        for index in 0..threads {
            let mut config = self.config.clone();
            config.name = format!("{name}-{}", index + 1);
            config.io_ratio = io_ratio;
            config.stall_watch = watcher.as_ref().map(Watcher::place);
            config.cpu = (!self.cpus.is_empty()).then(|| self.cpus[index % self.cpus.len()]);
            let parts = config.open()?;
            loops.push(EventLoop::idle(config, parts, launch));
        }
        Ok(EventLoopGroup::of(loops))
    }
}

fn next_name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    format!("tidegate-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
