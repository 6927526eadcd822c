//! A channel without a socket, for testing handlers: the real pipeline on the real loop core, driven by the caller, with
//! a clock that the test moves (rule H58).
//!
//! - `channel`: [`EmbeddedChannel`], what tests hold.
//! - `transport`: its two ends: what was written, and what there is to read.
//! - `link`: [`Link`], the network between two of them: delay, chopping, room, loss.
//! - `pair`: [`EmbeddedPair`], two channels that talk to each other over a link.

mod channel;
mod link;
mod pair;
mod transport;

pub use channel::EmbeddedChannel;
pub use link::{Cut, Link};
pub use pair::EmbeddedPair;
