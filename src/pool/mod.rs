//! Connections kept for the next use (rule H62).
//!
//! A pool connects by a bootstrap, lends channels, checks them when they go and when they come back, and forgets those
//! that die. Handles are for every thread: what has to happen on a channel happens on its loop, and whoever waits
//! does so by a future.
//!
//! - `hooks`: [`PoolHandler`], what a user hears of the channels.
//! - `health`: who is fit to be lent.
//! - `builder`: [`PoolBuilder`] and [`FixedPoolBuilder`], what can be chosen.
//! - `shelf`: the idle channels.
//! - `pooled`: [`PooledChannel`], one that is lent.
//! - `simple`: [`ChannelPool`], which connects whenever nothing is idle.
//! - `fixed`: [`FixedChannelPool`], with a limit and a queue.
//! - `line`: those who wait for a place of it.
//! - `map`: [`Pool`], what they have in common, and [`ChannelPoolMap`], a pool for each key.
//!
//! No lock is held while a hook, a check, a connect or a listener runs.

mod builder;
mod fixed;
mod health;
mod hooks;
mod line;
mod map;
mod pooled;
mod shelf;
mod simple;

pub use builder::{FixedPoolBuilder, PoolBuilder};
pub use fixed::{AcquireTimeout, FixedChannelPool};
pub use hooks::PoolHandler;
pub use map::{ChannelPoolMap, Pool};
pub use pooled::PooledChannel;
pub use simple::ChannelPool;
