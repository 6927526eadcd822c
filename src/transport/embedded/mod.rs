//! A channel without a socket, for testing handlers: the real pipeline on the real loop core, driven by the caller, with
//! a clock that the test moves (rule H58).
//!
//! - `channel`: [`EmbeddedChannel`], what tests hold.
//! - `transport`: its two ends: what was written, and what there is to read.

mod channel;
mod transport;

pub use channel::EmbeddedChannel;
