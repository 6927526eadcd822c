//! [`Counter`]: what passed a shaper, and how fast. Written by the loops of its channels, read from anywhere.
//!
//! Rates are computed once per interval by a task on the loop of whichever channel was the first to have traffic. It
//! stops after an interval without any, so idle channels cost nothing; it belongs to no channel, so a rate falls to
//! zero also when the channel that made it is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::event_loop::EventLoop;

/// What a shaper has seen, at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Traffic {
    /// Bytes read since the shaper was made.
    pub bytes_read: u64,
    /// Bytes passed on toward the transport since the shaper was made.
    pub bytes_written: u64,
    /// Bytes per second read in the last full interval; 0 when there was none.
    pub read_rate: u64,
    /// Bytes per second written in the last full interval.
    pub write_rate: u64,
    /// Bytes that wait to be written, of all channels.
    pub queued: u64,
}

#[derive(Default)]
pub(super) struct Counter {
    read: AtomicU64,
    written: AtomicU64,
    queued: AtomicU64,
    read_rate: AtomicU64,
    write_rate: AtomicU64,
    /// The totals at the last tick; only the ticking task uses them.
    read_before: AtomicU64,
    written_before: AtomicU64,
    is_ticking: AtomicBool,
}

impl Counter {
    pub(super) fn add_read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_written(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_queued(&self, bytes: u64) {
        self.queued.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn sub_queued(&self, bytes: u64) {
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn queued(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
    }

    pub(super) fn snapshot(&self) -> Traffic {
        Traffic {
            bytes_read: self.read.load(Ordering::Relaxed),
            bytes_written: self.written.load(Ordering::Relaxed),
            read_rate: self.read_rate.load(Ordering::Relaxed),
            write_rate: self.write_rate.load(Ordering::Relaxed),
            queued: self.queued(),
        }
    }

    /// There is traffic: sees to it that rates are computed.
    pub(super) fn keep_ticking(self: &Arc<Self>, event_loop: &EventLoop, interval: Duration) {
        if self.is_ticking.load(Ordering::Relaxed) || self.is_ticking.swap(true, Ordering::AcqRel) {
            return;
        }
        Tick {
            counter: Some(self.clone()),
            event_loop: event_loop.clone(),
            interval,
        }
        .set();
    }

    /// An interval is over. False if nothing happened in it.
    fn roll(&self, interval: Duration) -> bool {
        let rate = |total: &AtomicU64, before: &AtomicU64| {
            let total = total.load(Ordering::Relaxed);
            let passed = total - before.swap(total, Ordering::Relaxed);
            let rate = u128::from(passed) * 1_000_000_000 / interval.as_nanos().max(1);
            u64::try_from(rate).unwrap_or(u64::MAX)
        };
        let read = rate(&self.read, &self.read_before);
        let written = rate(&self.written, &self.written_before);
        self.read_rate.store(read, Ordering::Relaxed);
        self.write_rate.store(written, Ordering::Relaxed);
        read > 0 || written > 0 || self.queued() > 0
    }
}

/// The task that computes the rates. Dropped, by its own decision or by a loop that ends, it leaves the place to
/// another one.
struct Tick {
    /// `Some` until it is handed to the next task.
    counter: Option<Arc<Counter>>,
    event_loop: EventLoop,
    interval: Duration,
}

impl Tick {
    fn set(self) {
        let event_loop = self.event_loop.clone();
        let interval = self.interval;
        // Dropping the future does not cancel the task.
        drop(event_loop.schedule(interval, move || self.fire()));
    }

    fn fire(mut self) {
        if let Some(counter) = self.counter.take_if(|counter| counter.roll(self.interval)) {
            Self {
                counter: Some(counter),
                event_loop: self.event_loop.clone(),
                interval: self.interval,
            }
            .set();
        }
    }
}

impl Drop for Tick {
    fn drop(&mut self) {
        if let Some(counter) = &self.counter {
            counter.read_rate.store(0, Ordering::Relaxed);
            counter.write_rate.store(0, Ordering::Relaxed);
            counter.is_ticking.store(false, Ordering::Release);
        }
    }
}
