//! Codecs for single datagrams: [`decode_datagrams`] and [`encode_datagrams`] run the codecs of streams on one datagram at a
//! time, and [`Addressed`] says whom a value came from or goes to.
//!
//! A datagram stands for itself: nothing of it is kept for the next one, and whatever it holds, the next one is decoded as if
//! it had never been. What is wrong with one is an error in `exception_caught`, behind the values that it gave before; a
//! channel of datagrams lives on.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;

use bytes::BytesMut;

use super::decoding::short_name;
use super::message_to_message::{MessageToMessageDecoder, MessageToMessageEncoder, Transform};
use super::room;
use crate::channel::{Address, Datagram};
use crate::codec::{Decoder, Encoder};
use crate::error::{Error, ErrorKind, Failure};

/// A decoder may give so many values in a row without taking bytes; after one more it counts as broken, and the rest of its
/// datagram is dropped. Some give an end marker.
const IDLE_VALUES_MAX: u32 = 16;

/// A value with whom it came from or goes to.
///
/// ```
/// use tidegate::handler::codec::Addressed;
///
/// let question = Addressed::new(String::from("what time is it?"), "192.0.2.7:123");
/// let answer = question.reply(12_u64);
/// assert_eq!(answer.peer, question.peer);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Addressed<T> {
    /// What was decoded, or is to be encoded.
    pub value: T,
    /// Received: who sent it. To be sent: to whom.
    pub peer: Address,
    /// See [`Datagram::local`].
    pub local: Option<IpAddr>,
}

impl<T> Addressed<T> {
    /// A value for `peer`.
    pub fn new(value: T, peer: impl Into<Address>) -> Self {
        Self {
            value,
            peer: peer.into(),
            local: None,
        }
    }

    /// An answer: to who sent this one, from the address it was sent to (if that is known).
    #[must_use]
    pub fn reply<U>(&self, value: U) -> Addressed<U> {
        Addressed {
            value,
            peer: self.peer.clone(),
            local: self.local,
        }
    }
}

/// A handler that makes [`Addressed`] values of the [`Datagram`]s that come in, with a new decoder for each; other messages
/// pass.
///
/// A datagram is all of its input: the decoder is told that no more will come
/// ([`WholeDecoder`](crate::codec::WholeDecoder) takes it as it is). All values of one are emitted, one at a time
/// as by [`MessageToMessageDecoder`]. What can't be decoded and bytes that are left over are errors of the peer, and the next
/// datagram is decoded afresh. One that is taken whole and gives nothing (an empty one, as some send to keep a way open)
/// is no error.
///
/// ```
/// use tidegate::codec::{LineDecoder, StringDecoder};
/// use tidegate::handler::codec::{Addressed, decode_datagrams};
/// use tidegate::transport::udp::Datagram;
/// use tidegate::{EmbeddedChannel, Message};
///
/// let mut channel = EmbeddedChannel::new(|pipeline| {
///     pipeline.add_last(decode_datagrams(|| StringDecoder::new(LineDecoder::new(100))))
/// })?;
/// channel.write_inbound(Message::new(Datagram::new("up\ndown\n", "192.0.2.7:514")))?;
/// let line: Addressed<String> = channel.read_inbound_as().unwrap();
/// assert_eq!(line.value, "up");
/// # Ok::<(), tidegate::Failure>(())
/// ```
pub fn decode_datagrams<D, F>(make: F) -> MessageToMessageDecoder<DecodeDatagrams<D, F>>
where
    D: Decoder,
    D::Item: Any + Send,
    F: FnMut() -> D,
{
    MessageToMessageDecoder::new(DecodeDatagrams {
        make,
        scratch: BytesMut::new(),
    })
}

/// A handler that makes [`Datagram`]s of the [`Addressed`] values that are written, one of each; other messages pass.
///
/// A value that the encoder refuses fails its own promise and nothing else. One of no bytes is an empty datagram. How many
/// bytes one may have, the transport says.
///
/// ```
/// use tidegate::codec::StringEncoder;
/// use tidegate::handler::codec::{Addressed, encode_datagrams};
/// use tidegate::transport::udp::Datagram;
/// use tidegate::{EmbeddedChannel, Message};
///
/// let mut channel = EmbeddedChannel::new(|pipeline| {
///     pipeline.add_last(encode_datagrams::<_, String>(StringEncoder))
/// })?;
/// let value = Addressed::new(String::from("noon"), "192.0.2.7:123");
/// channel.write_outbound(Message::new(value))?;
/// let datagram: Datagram = channel.read_outbound_as().unwrap();
/// assert_eq!(datagram.content, "noon");
/// # Ok::<(), tidegate::Failure>(())
/// ```
pub fn encode_datagrams<E, T>(encoder: E) -> MessageToMessageEncoder<EncodeDatagrams<E, T>>
where
    E: Encoder<T>,
    T: Any + Send,
{
    MessageToMessageEncoder::new(EncodeDatagrams {
        encoder,
        value: PhantomData,
    })
}

/// What [`decode_datagrams`] does with one datagram.
pub struct DecodeDatagrams<D, F: FnMut() -> D> {
    make: F,
    /// The bytes of the datagram that is decoded: its own lie in memory that others have a share in.
    scratch: BytesMut,
}

impl<D, F> Transform for DecodeDatagrams<D, F>
where
    D: Decoder,
    D::Item: Any + Send,
    F: FnMut() -> D,
{
    type In = Datagram;
    type Out = Addressed<D::Item>;
    type Error = Failure;

    fn transform(
        &mut self,
        datagram: Datagram,
        out: &mut VecDeque<Addressed<D::Item>>,
    ) -> Result<(), Failure> {
        let src = &mut self.scratch;
        src.clear();
        src.extend_from_slice(&datagram.content);
        let mut decoder = (self.make)();
        let mut idle_values = 0;
        let Datagram { peer, local, .. } = datagram;
        let size = src.len();
        loop {
            let before = src.len();
            let decoded = decoder.decode_eof(src);
            let took = src.len() != before;
            match decoded.map_err(Into::into)? {
                Some(value) => out.push_back(Addressed {
                    value,
                    peer: peer.clone(),
                    local,
                }),
                None if src.is_empty() => return Ok(()),
                // What was a comment, say, may have something behind it.
                None if took => continue,
                None => return Err(undecoded::<D>(src.len(), size, &peer).into()),
            }
            idle_values = if took { 0 } else { idle_values + 1 };
            if idle_values > IDLE_VALUES_MAX {
                return Err(no_progress::<D>().into());
            }
        }
    }
}

impl<D, F: FnMut() -> D> fmt::Debug for DecodeDatagrams<D, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecodeDatagrams")
            .field("decoder", &short_name::<D>())
            .finish_non_exhaustive()
    }
}

/// What [`encode_datagrams`] does with one value.
pub struct EncodeDatagrams<E, T> {
    encoder: E,
    value: PhantomData<fn(T)>,
}

impl<E, T> Transform for EncodeDatagrams<E, T>
where
    E: Encoder<T>,
    T: Any + Send,
{
    type In = Addressed<T>;
    type Out = Datagram;
    type Error = Failure;

    fn transform(
        &mut self,
        addressed: Addressed<T>,
        out: &mut VecDeque<Datagram>,
    ) -> Result<(), Failure> {
        let Addressed { value, peer, local } = addressed;
        let encoder = &mut self.encoder;
        let content = room::encode(|dst| encoder.encode(value, dst)).map_err(Into::into)?;
        let mut datagram = Datagram::new(content.freeze(), peer);
        datagram.local = local;
        out.push_back(datagram);
        Ok(())
    }
}

impl<E: fmt::Debug, T> fmt::Debug for EncodeDatagrams<E, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncodeDatagrams")
            .field("encoder", &self.encoder)
            .finish_non_exhaustive()
    }
}

#[cold]
fn undecoded<D>(left: usize, size: usize, peer: &Address) -> Error {
    let name = short_name::<D>();
    Error::new(
        ErrorKind::Truncated,
        format!(
            "{name} could make nothing of {left} of the {size} bytes of a datagram from {peer}"
        ),
    )
}

#[cold]
fn no_progress<D>() -> Error {
    let name = short_name::<D>();
    Error::new(
        ErrorKind::NoProgress,
        format!(
            "{name} goes on giving values without taking bytes; the rest of its datagram is dropped"
        ),
    )
}
