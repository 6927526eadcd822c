//! [`Hand`]: one thread of a channel, and the tray by which the loop gives it one job at a time and gets it back.
//!
//! 1. A job is with the loop, on the tray, or with the thread: there is one, so what waits between them is bounded.
//! 2. The thread puts a finished job on the tray first and signals afterwards; who hears the signal finds the job.
//! 3. Nothing waits for the thread. Told to [`stop`](Hand::stop) it cuts its job short where that would have to wait;
//!    told that there are no more jobs it ends after this one. What it works with is dropped there, and what it was
//!    given to hold on to ([`Last`]) after that.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tidegate_sys::os::thread as os_thread;

use super::census;
use crate::channel::Signal;
use crate::error::{Error, ErrorKind};
use crate::event_loop::boundary;

/// What a thread does with its jobs.
pub(super) trait Work: Send + 'static {
    type Job: Send + 'static;

    /// One job, for as long as it takes. It may be cut short when `stop` is set.
    fn run(&mut self, job: &mut Self::Job, stop: &Stop) -> Tell;
}

/// What the channel is to be told about a finished job.
pub(super) enum Tell {
    Readable,
    PeerClosing,
    /// The next read finds an error.
    Broken,
    /// So many messages that the channel's buffer counts as taken are written, and there is room for more.
    Written(usize),
    Connected,
    Failed(Error),
}

/// Whether the thread is still needed.
#[derive(Default)]
pub(super) struct Stop {
    is_set: AtomicBool,
    is_waiting: AtomicBool,
}

impl Stop {
    pub(super) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::SeqCst)
    }

    /// A wait for the peer, unless the thread is to stop. Either this sees that, or who stops the thread sees it wait and
    /// can wake it: each writes its word before it reads the other's, in one order of all.
    pub(super) fn wait<T>(&self, wait: impl FnOnce() -> T) -> Option<T> {
        self.is_waiting.store(true, Ordering::SeqCst);
        let waited = (!self.is_set()).then(wait);
        self.is_waiting.store(false, Ordering::SeqCst);
        waited
    }
}

/// The loop's side.
pub(super) struct Hand<J> {
    tray: Arc<Tray<J>>,
}

struct Tray<J> {
    jobs: Mutex<Jobs<J>>,
    changed: Condvar,
    stop: Stop,
}

struct Jobs<J> {
    asked: Option<J>,
    done: Option<J>,
    /// No job comes after this.
    is_over: bool,
}

impl<J: Send + 'static> Hand<J> {
    /// Starts the thread. `last` is dropped when everything else of it is gone.
    ///
    /// # Errors
    /// [`ErrorKind::Exhausted`] beyond the limit of threads, or if the system refuses one.
    pub(super) fn start(
        name: String,
        work: impl Work<Job = J>,
        signal: Signal,
        last: Arc<Last>,
    ) -> Result<Self, Error> {
        let tray = Arc::new(Tray {
            jobs: Mutex::new(Jobs {
                asked: None,
                done: None,
                is_over: false,
            }),
            changed: Condvar::new(),
            stop: Stop::default(),
        });
        let theirs = tray.clone();
        census::start(name, move || {
            // Writes to a pipe that nobody reads must end in an error, as everywhere.
            let _ = os_thread::block_sigpipe();
            theirs.serve(work, &signal);
            drop(theirs);
            drop(last);
        })?;
        Ok(Self { tray })
    }

    /// Gives the thread its next job. It has none: see rule 1.
    pub(super) fn give(&self, job: J) {
        let mut jobs = self.tray.lock();
        debug_assert!(jobs.asked.is_none() && jobs.done.is_none(), "one job");
        jobs.asked = Some(job);
        drop(jobs);
        self.tray.changed.notify_one();
    }

    /// Takes the finished job back; `None` while the thread has it.
    pub(super) fn take(&self) -> Option<J> {
        self.tray.lock().done.take()
    }
}

impl<J> Hand<J> {
    /// The job that the thread has is cut short where it has to wait. True if it waits for its peer now, and has to be
    /// woken. The thread does not end by this.
    pub(super) fn stop(&self) -> bool {
        let stop = &self.tray.stop;
        stop.is_set.store(true, Ordering::SeqCst);
        stop.is_waiting.load(Ordering::SeqCst)
    }

    /// There will be no more jobs.
    pub(super) fn finish(&self) {
        self.tray.lock().is_over = true;
        self.tray.changed.notify_one();
    }
}

impl<J> Drop for Hand<J> {
    fn drop(&mut self) {
        self.stop();
        self.finish();
    }
}

impl<J> Tray<J> {
    /// The life of the thread.
    fn serve<W: Work<Job = J>>(&self, mut work: W, signal: &Signal) {
        while let Some(mut job) = self.next() {
            let told = match boundary::catch(|| work.run(&mut job, &self.stop)) {
                Ok(told) => told,
                // Only what users brought can panic: a `Read` or a `Write` of theirs.
                Err(panic) => Tell::Failed(Error::new(
                    ErrorKind::HandlerPanicked,
                    format!("what the channel reads from or writes to panicked: {panic}"),
                )),
            };
            self.lock().done = Some(job);
            match told {
                Tell::Readable => signal.readable(),
                Tell::PeerClosing => signal.peer_closing(),
                Tell::Broken => signal.broken(),
                Tell::Written(count) => {
                    if count > 0 {
                        signal.written(count);
                    }
                    signal.writable();
                }
                Tell::Connected => signal.connected(Ok(())),
                Tell::Failed(error) => signal.failed(error),
            }
        }
        drop_contained(work);
    }

    /// The next job; `None` when there will be no more.
    fn next(&self) -> Option<J> {
        let mut jobs = self.lock();
        loop {
            if let Some(job) = jobs.asked.take() {
                return Some(job);
            }
            if jobs.is_over {
                return None;
            }
            jobs = self
                .changed
                .wait(jobs)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Jobs<J>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops what a user may have brought.
pub(super) fn drop_contained<T>(work: T) {
    if let Err(panic) = boundary::catch(move || drop(work)) {
        tracing::error!(
            panic,
            "dropping what a channel read from or wrote to panicked"
        );
    }
}

/// What ends last: the threads of a channel share it, and whoever drops it last closes what it holds and tells the
/// channel.
pub(super) struct Last {
    held: Option<Box<dyn Any + Send + Sync>>,
    signal: Signal,
}

impl Last {
    pub(super) fn new(held: impl Any + Send + Sync, signal: Signal) -> Arc<Self> {
        Arc::new(Self {
            held: Some(Box::new(held)),
            signal,
        })
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        drop(self.held.take());
        self.signal.closed();
    }
}
