//! The event loop: one thread that waits for readiness, serves channels, runs timers and tasks.
//!
//! Users meet [`EventLoopGroup`] (loops with threads), [`LocalEventLoop`] (a loop in the host's own
//! thread) and [`EventLoop`], the handle of either. Channels meet [`core::LoopCore`], the loop-confined
//! part.
//!
//! - `timers`: exact timers. Pure.
//! - `budget`: the io_ratio arithmetic. Pure.
//! - `spin`: polling before sleeping. Pure.
//! - `metrics`: counters. `histogram`: durations among them. `snapshot`: both as users read them.
//! - `advice`: what the counters mean, in words. Pure.
//! - `stall`: who holds a loop too long is named while it still does.
//! - `boundary`: where panics end.
//! - `config`: what can be chosen for a loop.
//! - `attached`, `futures`: the slabs of what a loop has to end and to poll. `fifo`: its queues.
//! - `shared`: what all threads see of a loop, and the phases of its life.
//! - [`core`]: the loop-confined core.
//! - `current`: which loop the running code belongs to.
//! - `phases`: ready list, roots, timers, tasks.
//! - `turn`: wait, I/O, tasks.
//! - `closing`: how a loop ends.
//! - `orphans`: listeners of a loop that has ended.
//! - `fd_waiters`: acceptors that wait for a free descriptor.
//! - `handle`, `scheduled`, `spawn`: giving work to a loop, now, later, as futures.
//! - `group`, `group_builder`: loops with threads.
//! - `local`, `nest`: a loop in the host's thread, and its descriptor.
//! - `sync`: std's atomics and locks or loom's. `model` (loom), `tests`: the tests.

mod advice;
mod attached;
pub(crate) mod boundary;
mod budget;
mod closing;
mod config;
pub(crate) mod core;
mod current;
mod fd_waiters;
mod fifo;
mod futures;
mod group;
mod group_builder;
mod handle;
mod histogram;
mod local;
mod metrics;
mod nest;
mod orphans;
mod phases;
mod scheduled;
mod shared;
mod snapshot;
mod spawn;
mod spin;
mod stall;
mod sync;
mod timers;
mod turn;

pub(crate) use self::core::{LoopCore, ManualClock};
pub(crate) use current::is_current;
pub(crate) use metrics::AcceptCounters;

pub use advice::{Advice, Topic};
pub use config::Rejection;
pub use group::EventLoopGroup;
pub use group_builder::EventLoopGroupBuilder;
pub use histogram::HistogramSnapshot;
pub use local::{LocalEventLoop, LocalEventLoopBuilder};
pub(crate) use metrics::Metrics;
pub use scheduled::ScheduledFuture;
pub use shared::{EventLoop, LoopId};
pub use snapshot::MetricsSnapshot;
pub use spin::Spin;
pub(crate) use stall::{Held, Role};
pub use tidegate_sys::os::{Backend, Time};
pub use timers::TimerKey;

#[cfg(all(test, loom))]
mod model;
#[cfg(all(test, not(loom)))]
mod tests;
