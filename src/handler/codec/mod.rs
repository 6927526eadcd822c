//! Codecs in a pipeline: what turns bytes into messages and back.
//!
//! - `byte_to_message`, `decoding`, `cumulation`: a [`Decoder`](crate::codec::Decoder) as a handler.
//! - `message_to_byte`, `room`: an [`Encoder`](crate::codec::Encoder) as a handler.
//! - `prepend`: a header before bytes, without copying large bodies.
//! - `combined`: both in one place.
//! - `message_to_message`: messages of messages, in either direction.
//! - `datagram`: codecs for single datagrams.
//! - `aggregator`: whole messages of their parts.

mod aggregator;
mod byte_to_message;
mod combined;
mod cumulation;
mod datagram;
mod decoding;
mod message_to_byte;
mod message_to_message;
mod prepend;
mod room;

pub use aggregator::{Aggregate, Aggregator, Part};
pub use byte_to_message::{ByteToMessage, ForDecoder};
pub use combined::{Codec, Combined};
pub use cumulation::Cumulator;
pub use datagram::{
    Addressed, DecodeDatagrams, EncodeDatagrams, decode_datagrams, encode_datagrams,
};
pub use message_to_byte::{Encodes, ForEncoder, MessageToByte};
pub use message_to_message::{
    Map, MessageToMessageDecoder, MessageToMessageEncoder, Transform, map_read, map_write,
};
pub use prepend::{ForPrepender, Prepend};
