//! [`Meter`]: what a shaper and its handlers share.

use std::sync::Arc;

use super::bucket::Bucket;
use super::counter::Counter;
use super::limits::TrafficLimits;

pub(super) struct Meter {
    /// As they were at first: the rates of today are the buckets'.
    pub(super) limits: TrafficLimits,
    pub(super) read: Bucket,
    pub(super) write: Bucket,
    pub(super) counter: Arc<Counter>,
    /// The user-defined writability bit that the handlers use.
    pub(super) bit: u32,
}

impl Meter {
    pub(super) fn new(limits: TrafficLimits, bit: u32) -> Self {
        Self {
            read: Bucket::new(limits.read),
            write: Bucket::new(limits.write),
            limits,
            counter: Arc::default(),
            bit,
        }
    }
}
