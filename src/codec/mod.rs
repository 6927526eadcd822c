//! Protocols as pure cores: bytes in, values out. Nothing here knows of channels, pipelines or I/O, so every codec
//! is tested with slices and works wherever there are bytes. The handlers that run codecs in a pipeline live in
//! `handler::codec`.
//!
//! The traits have the shape of tokio-util's: a codec written for it is ported by changing an import. Errors are
//! this crate's [`Error`](crate::error::Error), which is also made from an `io::Error`:
//! [`Malformed`](crate::error::ErrorKind::Malformed), [`TooLong`](crate::error::ErrorKind::TooLong) and
//! [`Truncated`](crate::error::ErrorKind::Truncated) are the peer's fault,
//! [`Unencodable`](crate::error::ErrorKind::Unencodable) is the caller's.
//!
//! Three promises hold for every decoder here. What comes out, errors and their texts included, depends on the bytes
//! and never on how they were cut into reads. What a peer sends never occupies more than the limit that the decoder
//! was given: a frame above it is discarded as it arrives. And parameters that cannot work are an error
//! ([`InvalidArgument`](crate::error::ErrorKind::InvalidArgument)) of the first `decode`, never a panic; `check`
//! tells before.
//!
//! - `traits`: [`Decoder`] and [`Encoder`].
//! - `length_field`, `prepender`: frames with their length before them. `header`: what a prepender puts there.
//! - `line`, `fixed`: lines, and frames of one length.
//! - `string`: frames as text.
//! - `cut`: how frames leave the input.

mod cut;
mod fixed;
mod header;
mod length_field;
mod line;
mod prepender;
mod string;
mod traits;

pub use fixed::FixedLengthDecoder;
pub use header::{Header, Prepender};
pub use length_field::LengthFieldDecoder;
pub use line::{LineDecoder, LineEncoder};
pub use prepender::LengthFieldPrepender;
pub use string::{StringDecoder, StringEncoder, utf8};
pub use traits::{Decoder, Encoder};
