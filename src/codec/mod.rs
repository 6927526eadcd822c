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
//! - `varint32`: the same with protobuf's lengths.
//! - `line`, `delimiter`: frames with a mark behind them. `fixed`: frames of one length. `json`: objects and arrays.
//! - `whole`: all of an input as one frame.
//! - `string`, `base64`: what a frame says, as text and as bytes.
//! - `replaying`: decoders written without length checks.
//! - `proxy_protocol`: who is behind a load balancer.
//! - `tokio`: codecs of tokio-util (feature `tokio-codec`).
//! - `cut`: how frames leave the input.

mod base64;
mod cut;
mod delimiter;
mod fixed;
mod header;
mod json;
mod length_field;
mod line;
mod prepender;
pub mod proxy_protocol;
mod replaying;
mod string;
// Tests have tokio-util anyway, so its adapters are tested without the feature.
#[cfg(any(feature = "tokio-codec", test))]
pub mod tokio;
mod traits;
mod varint32;
mod whole;

pub use base64::{Base64Decoder, Base64Encoder};
pub use delimiter::DelimiterDecoder;
pub use fixed::FixedLengthDecoder;
pub use header::{Header, Prepender};
pub use json::JsonDecoder;
pub use length_field::LengthFieldDecoder;
pub use line::{LineDecoder, LineEncoder};
pub use prepender::LengthFieldPrepender;
pub use replaying::{Halt, Input, Replay, Replaying};
pub use string::{StringDecoder, StringEncoder, utf8};
pub use traits::{Decoder, Encoder};
pub use varint32::{Varint32FrameDecoder, Varint32Prepender};
pub use whole::WholeDecoder;
