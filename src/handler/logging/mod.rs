//! What passes, in words.
//!
//! - `handler`: [`Logging`], which tells every event through `tracing` and passes it on.
//! - `hex`: bytes as people read them.

mod handler;
mod hex;

pub use handler::Logging;
