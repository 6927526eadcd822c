//! Bandwidth limits: so many bytes per second in and out, for a channel, for the channels of a loop, or for all.
//!
//! A [`TrafficShaper`] holds limits and counters; each channel it concerns has a [`TrafficShaping`] handler, made by
//! [`TrafficShaper::handler`]. The numbers are Netty's (rule H54); the arithmetic is not: Netty measures intervals and
//! rounds, we keep one instant per direction, the time at which everything so far has been paid for, and move it by
//! `bytes / rate` for each message. So the rate is exact over any time longer than a message's, however the messages
//! are cut, and a message's size never delays itself but those behind it.
//!
//! - `limits`: [`TrafficLimits`], what is allowed.
//! - `bucket`: that instant, shared by atomics.
//! - `counter`: what passed, and how fast, for every thread: [`Traffic`].
//! - `meter`: the limits, the buckets and the counter of one shaper.
//! - `shaper`: [`TrafficShaper`], and [`LoopTraffic`], which has one for each loop.
//! - `handler`: [`TrafficShaping`], with the queue of what has to wait.

mod bucket;
mod counter;
mod handler;
mod limits;
mod meter;
mod shaper;

pub use counter::Traffic;
pub use handler::TrafficShaping;
pub use limits::TrafficLimits;
pub use shaper::{LoopTraffic, TrafficShaper};
