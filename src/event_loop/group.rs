//! [`EventLoopGroup`]: loops with a thread each, started when first needed.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tidegate_sys::os;
use tracing::{debug, error, warn};

use super::boundary;
use super::closing::{DEFAULT_QUIET, DEFAULT_TIMEOUT};
use super::core::{Clock, LoopCore};
use super::shared::{Closing, EndHost, EventLoop, Kit};
use super::snapshot::MetricsSnapshot;
use crate::error::{Error, ErrorKind};
use crate::future::{Completion, Promise};

/// A fixed set of event loops, one thread each. Clones share it.
///
/// Dropping the last clone asks the loops to shut down and does not block: a loop goes on until no task
/// ran on it for two seconds (at most 15 s), then closes its channels and ends. Channels and
/// [`EventLoop`] handles do not keep it alive. Call [`shutdown_gracefully`](Self::shutdown_gracefully) to
/// say when and how instead.
#[derive(Clone)]
pub struct EventLoopGroup {
    group: Arc<Group>,
}

struct Group {
    loops: Vec<EventLoop>,
    next: AtomicUsize,
    termination: Completion,
}

impl EventLoopGroup {
    /// The next loop in turn.
    pub fn next(&self) -> EventLoop {
        let loops = &self.group.loops;
        let ticket = self.group.next.fetch_add(1, Ordering::Relaxed);
        let index = if loops.len().is_power_of_two() {
            ticket & (loops.len() - 1)
        } else {
            ticket % loops.len()
        };
        loops[index].clone()
    }

    /// The loops in the order of their numbers.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &EventLoop> {
        self.group.loops.iter()
    }

    /// How many loops there are; at least one.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.group.loops.len()
    }

    /// What all loops have done so far, added up; times as well. Each of them by itself tells more: see
    /// [`iter`](Self::iter) and [`EventLoop::metrics`].
    pub fn metrics(&self) -> MetricsSnapshot {
        self.iter().map(EventLoop::metrics).sum()
    }

    /// Asks every loop to end; see [`EventLoop::shutdown_gracefully`]. Done when all have ended. What
    /// channels have not sent fails; [`drain`](Self::drain) sends it before.
    pub fn shutdown_gracefully(&self, quiet: Duration, timeout: Duration) -> Completion {
        for event_loop in self.iter() {
            event_loop.shutdown_gracefully(quiet, timeout);
        }
        self.termination_future()
    }

    /// [`shutdown_gracefully`](Self::shutdown_gracefully) with a quiet period of 2 s and a timeout of
    /// 15 s.
    pub fn shutdown(&self) -> Completion {
        self.shutdown_gracefully(DEFAULT_QUIET, DEFAULT_TIMEOUT)
    }

    /// Asks every loop to end now; see [`EventLoop::stop`]. Nothing is sent that waits, and no close is
    /// waited for.
    pub fn stop(&self) -> Completion {
        for event_loop in self.iter() {
            event_loop.stop();
        }
        self.termination_future()
    }

    /// Done when all loops have ended.
    pub fn termination_future(&self) -> Completion {
        self.group.termination.clone()
    }

    /// Blocks this thread until all loops have ended; ask for that first.
    ///
    /// # Errors
    /// [`ErrorKind::Blocking`] on a thread of this group.
    pub fn sync(&self) -> Result<(), Error> {
        self.group.termination.sync()
    }

    /// Blocks this thread until all loops have ended (true) or `timeout` is over (false).
    ///
    /// # Errors
    /// [`ErrorKind::Blocking`] on a thread of this group.
    pub fn await_termination(&self, timeout: Duration) -> Result<bool, Error> {
        self.group.termination.wait_timeout(timeout)
    }

    /// Whether shutdown was asked for.
    pub fn is_shutting_down(&self) -> bool {
        self.iter().all(EventLoop::is_shutting_down)
    }

    /// Whether all loops have ended.
    pub fn is_terminated(&self) -> bool {
        self.iter().all(EventLoop::is_terminated)
    }

    /// `loops` has at least one.
    pub(crate) fn of(loops: Vec<EventLoop>) -> Self {
        let owners = loops
            .iter()
            .map(|l| Arc::clone(l.shared().owner()))
            .collect();
        let promise = Promise::new(Arc::new(EndHost { owners }));
        promise.set_uncancellable();
        let termination = promise.completion();
        let left = Arc::new((AtomicUsize::new(loops.len()), promise));
        for event_loop in &loops {
            let left = Arc::clone(&left);
            event_loop.termination_future().add_listener(move |_| {
                let (count, promise) = &*left;
                if count.fetch_sub(1, Ordering::AcqRel) == 1 {
                    promise.try_success();
                }
            });
        }
        Self {
            group: Arc::new(Group {
                loops,
                next: AtomicUsize::new(0),
                termination,
            }),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for event_loop in &self.loops {
            let closing = Closing {
                spares_channels: true,
                ..event_loop.closing(DEFAULT_QUIET, DEFAULT_TIMEOUT)
            };
            event_loop.request_closing(closing, false);
        }
    }
}

impl fmt::Debug for EventLoopGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Starts the thread of a loop.
pub(super) fn launch(event_loop: &EventLoop) -> io::Result<()> {
    let handle = event_loop.clone();
    thread::Builder::new()
        .name(handle.name().to_owned())
        .spawn(move || thread_main(handle))?;
    Ok(())
}

fn thread_main(handle: EventLoop) {
    handle.shared().own();
    let Some(kit) = handle.shared().take_kit() else {
        return;
    };
    let stop_hook = kit.config.on_thread_stop.clone();
    let watch = kit
        .config
        .stall_watch
        .as_ref()
        .map(|place| place.begin(handle.name(), handle.shared().metrics()));
    let outcome = boundary::catch(|| {
        prepare_thread(&handle, &kit);
        debug!(loop_name = handle.name(), "an event loop has started");
        let core = LoopCore::new(handle.clone(), kit, Clock::system());
        // Once for all turns: nothing else runs on this thread. And what is left of the loop in the end goes inside its
        // turn, so that destructors find it.
        let entered = core.enter();
        while !core.has_ended() {
            core.turn(None);
        }
        drop(core);
        drop(entered);
    });
    drop(watch);
    if let Some(hook) = stop_hook
        && let Err(panic) = boundary::catch(|| hook())
    {
        error!(
            loop_name = handle.name(),
            panic, "the hook of a thread's end panicked"
        );
    }
    if outcome.is_ok() {
        debug!(loop_name = handle.name(), "an event loop has ended");
    }
    match outcome {
        Ok(()) => handle.shared().terminate(Ok(())),
        Err(panic) => {
            error!(loop_name = handle.name(), panic, "an event loop died");
            let text = format!("the event loop {} died: {panic}", handle.name());
            handle
                .shared()
                .terminate(Err(Error::new(ErrorKind::TaskPanicked, text)));
        }
    }
}

/// What a thread of our own can have and a host's cannot. None of it is worth failing for.
fn prepare_thread(handle: &EventLoop, kit: &Kit) {
    if let Err(error) = os::thread::block_sigpipe() {
        warn!(loop_name = handle.name(), %error, "SIGPIPE could not be blocked");
    }
    if let Some(cpu) = kit.config.cpu
        && let Err(error) = os::thread::set_affinity(cpu)
    {
        warn!(loop_name = handle.name(), cpu, %error, "the thread could not be bound");
    }
    if let Some(hook) = &kit.config.on_thread_start {
        hook();
    }
}
