//! How many threads the blocking channels have, and how many they may have.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::error::{Error, ErrorKind};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);
static CHANNELS: AtomicUsize = AtomicUsize::new(0);

/// How many threads the blocking channels of this process have now.
pub fn threads() -> usize {
    LIVE.load(Ordering::Acquire)
}

/// Bounds the threads of all blocking channels of this process together; without it only the system does. A channel that
/// would need one more fails with [`ErrorKind::Exhausted`]; those that exist are not touched.
pub fn limit_threads(most: usize) {
    LIMIT.store(most, Ordering::Relaxed);
}

/// A number for the names of one channel's threads.
pub(super) fn next_channel() -> usize {
    CHANNELS.fetch_add(1, Ordering::Relaxed)
}

/// Starts a thread, unless there are enough.
pub(super) fn start(name: String, life: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let place = Place::take(&name)?;
    let spawned = thread::Builder::new().name(name.clone()).spawn(move || {
        let _place = place;
        life();
    });
    match spawned {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::with_source(
            ErrorKind::Exhausted,
            format!(
                "the system refuses the thread {name} of a blocking channel, beside {} others; raise its limits (ulimit -u, \
                 cgroup pids.max) or use channels that share a loop",
                threads()
            ),
            error,
        )),
    }
}

/// One of the threads that there may be.
struct Place;

impl Place {
    fn take(name: &str) -> Result<Self, Error> {
        let before = LIVE.fetch_add(1, Ordering::AcqRel);
        let place = Self;
        let most = LIMIT.load(Ordering::Relaxed);
        if before < most {
            return Ok(place);
        }
        drop(place);
        Err(Error::new(
            ErrorKind::Exhausted,
            format!(
                "no thread {name} for a blocking channel: there are {before}, and oio::limit_threads() allows {most}"
            ),
        ))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::AcqRel);
    }
}
