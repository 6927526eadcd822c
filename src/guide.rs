//! The guide for users, as pages of this reference; its text lives in docs/guide. No code: whoever reads it here and whoever
//! reads it in the checkout read the same, and its examples are tested.
//!
//! 1. [Pipelines](pipeline): how an event travels, and what a handler may do.
//! 2. [Back-pressure](back_pressure): what to do about a peer that is slower than you.
//! 3. [Testing](testing): protocols without sockets and without sleeping.
//! 4. [Tuning](tuning): the knobs, what each trades, and how to see which one to turn.
//! 5. [Restarting](restarting): the next version takes over, and no client notices.
//! 6. [For Netty users](from_netty): what is called what, and what is different.

#[doc = include_str!("../docs/guide/pipeline.md")]
pub mod pipeline {}

#[doc = include_str!("../docs/guide/back-pressure.md")]
pub mod back_pressure {}

#[doc = include_str!("../docs/guide/testing.md")]
pub mod testing {}

#[doc = include_str!("../docs/guide/tuning.md")]
pub mod tuning {}

#[doc = include_str!("../docs/guide/restarting.md")]
pub mod restarting {}

#[doc = include_str!("../docs/guide/from-netty.md")]
pub mod from_netty {}
