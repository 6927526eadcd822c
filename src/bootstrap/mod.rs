//! Bootstraps: from options, handlers and an address to a channel that is connected or listens.
//!
//! A bootstrap is a recipe. [`Bootstrap::connect`] and [`ServerBootstrap::bind`] may be called any number of times,
//! from any thread and on any loop: they never block and never panic, and whatever is wrong, with the recipe or with
//! the world, comes through the future that they return. Each takes a copy of the recipe, so later changes do not
//! reach channels that exist.
//!
//! - `client`: [`Bootstrap`].
//! - `server`: [`ServerBootstrap`].
//! - `acceptor`: the last handler of a server's pipeline, which makes the children.
//! - `resolver`: [`Resolver`], names into addresses, off the loops.
//! - `look_ups`: who waits for which name of the system's. `hosts`: those that this machine knows by itself.
//! - `recipe`: what both kinds collect.
//! - `opening`: a new channel on its loop.
//! - `loops`: [`Loops`], where channels are to live.

mod acceptor;
mod client;
mod hosts;
mod look_ups;
mod loops;
mod opening;
mod recipe;
mod resolver;
mod server;

pub use client::Bootstrap;
pub use loops::Loops;
pub use resolver::{Resolver, SystemResolver};
pub use server::{SHARDS, ServerBootstrap};
