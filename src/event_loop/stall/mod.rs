//! The stall watcher: who holds a loop too long is named while it still does. Off unless a group was built with
//! `stall_watcher`.
//!
//! On the loop's side each entry into foreign code (an event, a task, a timer, a listener) is posted, and within it each
//! callback of a handler: stores of the loop's own thread, no lock and no clock. One thread for each group looks at
//! what is posted a few times per limit. An entry that it has seen for longer than the limit is a stall; the clock is the
//! watcher's alone. A loop that sleeps, spins or does its own work has nothing posted.
//!
//! - `names`: the names of types as numbers, which an atomic can hold.
//! - `post`: what a loop posts, and how another thread reads it without ever seeing half of it.
//! - `sentry`: the loop's side.
//! - `judge`: from looks to what is to be said. Pure.
//! - `watcher`: the thread.
//! - `model` (loom): every interleaving of the loop and a reader.

mod judge;
#[cfg(all(test, loom))]
mod model;
mod names;
mod post;
mod sentry;
mod watcher;

pub(crate) use post::Role;
pub(crate) use sentry::{Held, Sentry};
pub(crate) use watcher::{Place, Watcher};
