//! Unix domain channels: what only they have, on loops built every way that matters. The behaviour that they share with other
//! transports is pinned for all of them together elsewhere.

mod datagrams;
mod descriptors;
mod errors;
mod files;
mod stream;
mod support;
mod turns;
#[path = "../common/ways.rs"]
mod ways;
