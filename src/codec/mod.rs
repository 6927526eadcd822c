//! Protocols as pure cores: bytes in, values out. Nothing here knows of channels, pipelines or I/O, so every codec
//! is tested with slices and works wherever there are bytes. The handlers that run codecs in a pipeline live in
//! `handler::codec`.
//!
//! The traits have the shape of tokio-util's: a codec written for it is ported by changing an import. Errors are
//! this crate's [`Error`](crate::error::Error), which is also made from an `io::Error`:
//! [`Malformed`](crate::error::ErrorKind::Malformed), [`TooLong`](crate::error::ErrorKind::TooLong) and
//! [`Truncated`](crate::error::ErrorKind::Truncated) are the peer's fault,
//! [`Unencodable`](crate::error::ErrorKind::Unencodable) is the caller's.

mod traits;

pub use traits::{Decoder, Encoder};
