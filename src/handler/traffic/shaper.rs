//! [`TrafficShaper`]: limits and counters that any number of channels share. Kept by users, for changing and reading
//! from any thread; its handlers do the work.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::counter::Traffic;
use super::handler::TrafficShaping;
use super::limits::TrafficLimits;
use super::meter::Meter;
use crate::event_loop::{EventLoop, LoopId};

/// The user-defined writability bits of the handlers (rule H54).
const CHANNEL_BIT: u32 = 1;
const GLOBAL_BIT: u32 = 2;
const LOOP_BIT: u32 = 3;

/// Limits and counters, for one channel or for many on any loops. Clones are handles of the same.
///
/// Limits may change at any time: traffic goes by the new ones at once, what waits already within a check interval.
/// What has not been paid for is forgiven at a change.
///
/// ```
/// use std::time::Duration;
/// use tidegate::handler::traffic::{TrafficLimits, TrafficShaper};
/// use tidegate::EmbeddedChannel;
///
/// let shaper = TrafficShaper::for_channel(TrafficLimits::new().write(10));
/// let mut channel = EmbeddedChannel::new(|p| p.add_last(shaper.handler()))?;
/// let first = channel.run(|channel| channel.write_and_flush("ten bytes "));
/// let second = channel.run(|channel| channel.write_and_flush("and more"));
/// assert!(first.is_success() && !second.is_done());
/// assert_eq!(shaper.traffic().queued, 8);
/// channel.advance(Duration::from_secs(1));
/// assert!(second.is_success());
/// # Ok::<(), tidegate::Failure>(())
/// ```
#[derive(Clone)]
pub struct TrafficShaper {
    meter: Arc<Meter>,
}

impl TrafficShaper {
    /// For a channel of its own; uses the user-defined writability bit 1.
    pub fn for_channel(limits: TrafficLimits) -> Self {
        Self::with_bit(limits, CHANNEL_BIT)
    }

    /// For many channels together, on any loops; uses bit 2, so that one for the channel may stand in the same pipeline.
    pub fn global(limits: TrafficLimits) -> Self {
        Self::with_bit(limits, GLOBAL_BIT)
    }

    fn with_bit(limits: TrafficLimits, bit: u32) -> Self {
        Self {
            meter: Arc::new(Meter::new(limits, bit)),
        }
    }

    /// The handler by which a channel takes part. It counts bytes and file regions, so it stands near the head.
    pub fn handler(&self) -> TrafficShaping {
        TrafficShaping::new(self.meter.clone())
    }

    /// Sets the limit of bytes per second in; 0: none.
    pub fn set_read_limit(&self, bytes_per_second: u64) {
        self.meter.read.set_rate(bytes_per_second);
    }

    /// Sets the limit of bytes per second out; 0: none.
    pub fn set_write_limit(&self, bytes_per_second: u64) {
        self.meter.write.set_rate(bytes_per_second);
    }

    /// The limit of bytes per second in; 0: none.
    pub fn read_limit(&self) -> u64 {
        self.meter.read.rate()
    }

    /// The limit of bytes per second out; 0: none.
    pub fn write_limit(&self) -> u64 {
        self.meter.write.rate()
    }

    /// What has passed, how fast, and what waits.
    pub fn traffic(&self) -> Traffic {
        self.meter.counter.snapshot()
    }
}

impl fmt::Debug for TrafficShaper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrafficShaper")
            .field("read_limit", &self.read_limit())
            .field("write_limit", &self.write_limit())
            .field("traffic", &self.traffic())
            .finish_non_exhaustive()
    }
}

/// A shaper for each event loop, each with the same limits: the channels of one loop share theirs, and what they share
/// is touched by no other thread. Uses the user-defined writability bit 3.
///
/// ```
/// use tidegate::handler::traffic::{LoopTraffic, TrafficLimits};
/// use tidegate::EmbeddedChannel;
///
/// let traffic = LoopTraffic::new(TrafficLimits::new().read(1 << 20));
/// let shaping = traffic.clone();
/// let mut channel = EmbeddedChannel::new(move |pipeline| {
///     let channel = pipeline.channel();
///     pipeline.add_last(shaping.on(channel.event_loop()).handler())
/// })?;
/// channel.write_inbound("flood")?;
/// assert_eq!(traffic.on(channel.event_loop()).traffic().bytes_read, 5);
/// # Ok::<(), tidegate::Failure>(())
/// ```
#[derive(Clone)]
pub struct LoopTraffic {
    limits: TrafficLimits,
    /// Asked once per channel; the handlers have no part in it.
    shapers: Arc<Mutex<HashMap<LoopId, TrafficShaper>>>,
}

impl LoopTraffic {
    /// These limits for each loop.
    pub fn new(limits: TrafficLimits) -> Self {
        Self {
            limits,
            shapers: Arc::default(),
        }
    }

    /// The shaper of this loop.
    pub fn on(&self, event_loop: &EventLoop) -> TrafficShaper {
        let mut shapers = self.shapers.lock().unwrap_or_else(PoisonError::into_inner);
        shapers
            .entry(event_loop.id())
            .or_insert_with(|| TrafficShaper::with_bit(self.limits, LOOP_BIT))
            .clone()
    }

    /// The shapers that there are.
    pub fn all(&self) -> Vec<TrafficShaper> {
        let shapers = self.shapers.lock().unwrap_or_else(PoisonError::into_inner);
        shapers.values().cloned().collect()
    }
}

impl fmt::Debug for LoopTraffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopTraffic")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
