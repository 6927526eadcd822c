//! Ready-made handlers.
//!
//! - `codec`: codecs in a pipeline (bytes to messages and back, messages to messages, aggregation).
//! - `typed`: handlers that name their message type, closures as handlers, pipelines checked at compile time.
//! - `timeout`: idle connections, reads and writes that take too long, peers that do not read.
//! - `logging`, `pcap`: what passes, in words and as a capture.
//! - `flush`, `flow`: fewer flushes, one message per `read()`.
//! - `queue`: what those of them that let messages wait have in common.
//! - `stream`: large things, piece by piece.
//! - `traffic`: bandwidth limits.
//! - `ip_filter`, `proxy_protocol`: who may connect, and who it really is.

pub mod codec;
pub mod flow;
pub mod flush;
pub mod ip_filter;
pub mod logging;
pub mod pcap;
pub mod proxy_protocol;
mod queue;
pub mod stream;
pub mod timeout;
pub mod traffic;
pub mod typed;
