//! The guide for users, as pages of this reference; its text lives in docs/guide. No code: whoever reads it here and whoever
//! reads it in the checkout read the same, and its examples are tested.
//!
//! 1. [Pipelines](pipeline): how an event travels, and what a handler may do.
//! 2. [Codecs and handlers](handlers): what comes with the library.
//! 3. [UDP, Unix and local channels](transports): what carries a channel, and host names.
//! 4. [Back-pressure](back_pressure): what to do about a peer that is slower than you.
//! 5. [Testing](testing): protocols without sockets and without sleeping.
//! 6. [Logging](logging): where errors and panics are told, and how to see them.
//! 7. [Tuning](tuning): the knobs, what each trades, and how to see which one to turn.
//! 8. [Restarting](restarting): the next version takes over, and no client notices.
//! 9. [For Netty users](from_netty): what is called what, what is different, and what is not there.
//
// Pages name each other by labels. The label that is defined first counts: in the reference the one given here, with a page of
// the reference; in the checkout the one at the end of the page, with a file.

#[doc = "[logging]: crate::guide::logging"]
#[doc = ""]
#[doc = include_str!("../docs/guide/pipeline.md")]
pub mod pipeline {}

#[doc = "[logging]: crate::guide::logging"]
#[doc = "[testing]: crate::guide::testing"]
#[doc = ""]
#[doc = include_str!("../docs/guide/handlers.md")]
pub mod handlers {}

#[doc = "[testing]: crate::guide::testing"]
#[doc = ""]
#[doc = include_str!("../docs/guide/transports.md")]
pub mod transports {}

#[doc = include_str!("../docs/guide/back-pressure.md")]
pub mod back_pressure {}

#[doc = include_str!("../docs/guide/testing.md")]
pub mod testing {}

#[doc = "[tuning]: crate::guide::tuning"]
#[doc = ""]
#[doc = include_str!("../docs/guide/logging.md")]
pub mod logging {}

#[doc = "[logging]: crate::guide::logging"]
#[doc = ""]
#[doc = include_str!("../docs/guide/tuning.md")]
pub mod tuning {}

#[doc = include_str!("../docs/guide/restarting.md")]
pub mod restarting {}

#[doc = "[logging]: crate::guide::logging"]
#[doc = "[pipeline]: crate::guide::pipeline"]
#[doc = "[transports]: crate::guide::transports"]
#[doc = ""]
#[doc = include_str!("../docs/guide/from-netty.md")]
pub mod from_netty {}

/// Not for the reference: the programs of README.md, compiled as those of the guide are. tests/tidy.rs wants a line here for each
/// document that has a program in it.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
