//! One channel's life, reading, writing, futures and options, and groups of channels, without a socket: on embedded
//! channels, whose loop and clock the tests move.
//!
//! A test says in its doc comment which rules it pins: letters are Netty's rules of behaviour, numbers the clauses of
//! the design.

#[path = "channel/closing.rs"]
mod closing;
#[path = "channel/connecting.rs"]
mod connecting;
#[path = "channel/embedded.rs"]
mod embedded;
#[path = "channel/ending.rs"]
mod ending;
#[path = "channel/foreign.rs"]
mod foreign;
#[path = "channel/futures.rs"]
mod futures;
#[path = "channel/group.rs"]
mod group;
#[path = "channel/halves.rs"]
mod halves;
#[path = "channel/lifecycle.rs"]
mod lifecycle;
#[path = "channel/model.rs"]
mod model;
#[path = "channel/options.rs"]
mod options;
#[path = "channel/peer.rs"]
mod peer;
#[path = "channel/reading.rs"]
mod reading;
#[path = "channel/support.rs"]
mod support;
#[path = "channel/writability.rs"]
mod writability;
#[path = "channel/writing.rs"]
mod writing;
