//! What every socket transport is made of.
//!
//! - `stream`: reading from and flushing to a connected stream, and ending it.
//! - `accept`: what to do with each outcome of an accept: go on, rest, shed.
//! - `inet`: internet addresses, and options with their errors.
//! - `options`: channel options as options of sockets.

pub(super) mod accept;
pub(super) mod inet;
pub(super) mod options;
pub(super) mod stream;
