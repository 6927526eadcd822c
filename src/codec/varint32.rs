//! The framing of protobuf streams: [`Varint32FrameDecoder`] and [`Varint32Prepender`].
//!
//! A frame is a body with its length before it, seven bits to a byte, the low ones first. The length is a signed number
//! of 32 bits, as everywhere in protobuf, and so never takes more than five bytes.

use bytes::{Buf, BytesMut};

use crate::codec::cut::cut;
use crate::codec::header::{Header, Prepender, prepend};
use crate::codec::traits::{Decoder, Encoder};
use crate::error::{Error, ErrorKind};

/// 32 bits, seven to a byte.
const LENGTH_BYTES_MAX: usize = 5;

/// Cuts frames by the varint before each, which is stripped.
///
/// ```
/// use bytes::BytesMut;
/// use tidegate::codec::{Decoder, Varint32FrameDecoder};
///
/// let mut decoder = Varint32FrameDecoder::new(1 << 20);
/// let mut bytes = BytesMut::from(&b"\x05hello\x80"[..]);
/// assert_eq!(decoder.decode(&mut bytes)?.unwrap(), "hello");
/// assert_eq!(decoder.decode(&mut bytes)?, None);
/// # Ok::<(), tidegate::Error>(())
/// ```
///
/// A varint may be longer than it need be (`80 00` is 0), as protobuf's own readers have it.
///
/// # Errors of `decode`
/// - [`Malformed`](ErrorKind::Malformed): a varint of more than five bytes or 32 bits, or one that is negative. Its first five
///   bytes are skipped; what follows is read as a frame, and will hardly be one.
/// - [`TooLong`](ErrorKind::TooLong): a body of more than `body_max` bytes, once, as soon as its length is known. It is
///   discarded and decoding goes on behind it.
#[derive(Clone, Debug)]
pub struct Varint32FrameDecoder {
    body_max: usize,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// At a length.
    Head,
    /// At a body of so many bytes.
    Body(usize),
    /// In a body that is too long, with so many bytes of it to come.
    Discarding(usize),
}

impl Varint32FrameDecoder {
    /// Frames whose bodies have at most `body_max` bytes.
    pub const fn new(body_max: usize) -> Self {
        Self {
            body_max,
            state: State::Head,
        }
    }

    /// Takes a length off the input, if it is whole.
    #[inline]
    fn length(src: &mut BytesMut) -> Result<Option<usize>, Error> {
        let mut value = 0u64;
        for (at, byte) in src.iter().take(LENGTH_BYTES_MAX).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                src.advance(at + 1);
                return match i32::try_from(value) {
                    Ok(length) => Ok(Some(length as usize)),
                    Err(_) => Err(negative(value)),
                };
            }
        }
        if src.len() < LENGTH_BYTES_MAX {
            return Ok(None);
        }
        src.advance(LENGTH_BYTES_MAX);
        Err(Error::new(
            ErrorKind::Malformed,
            "the peer sent a varint32 length of more than 5 bytes",
        ))
    }

    #[cold]
    fn too_long(&self, length: usize) -> Error {
        Error::new(
            ErrorKind::TooLong,
            format!(
                "the peer announced a body of {length} bytes, more than the {} that Varint32FrameDecoder allows; it is discarded",
                self.body_max
            ),
        )
    }
}

#[cold]
fn negative(value: u64) -> Error {
    let text = match u32::try_from(value) {
        Ok(bits) => format!(
            "the peer sent a varint32 length of {}: a length cannot be negative",
            bits as i32
        ),
        Err(_) => "the peer sent a varint32 length of more than 32 bits".into(),
    };
    Error::new(ErrorKind::Malformed, text)
}

impl Decoder for Varint32FrameDecoder {
    type Item = BytesMut;
    type Error = Error;

    #[inline]
    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
        loop {
            match self.state {
                State::Head => {
                    let Some(length) = Self::length(src)? else {
                        return Ok(None);
                    };
                    if length > self.body_max {
                        self.state = State::Discarding(length);
                        return Err(self.too_long(length));
                    }
                    self.state = State::Body(length);
                }
                State::Body(length) => {
                    if src.len() < length {
                        return Ok(None);
                    }
                    self.state = State::Head;
                    return Ok(Some(cut(src, 0, length, 0)));
                }
                State::Discarding(left) => {
                    let here = left.min(src.len());
                    src.advance(here);
                    if here < left {
                        self.state = State::Discarding(left - here);
                        return Ok(None);
                    }
                    self.state = State::Head;
                }
            }
        }
    }
}

/// Puts the length of each message before it, as a varint.
///
/// # Errors of `encode` and `header`
/// [`Unencodable`](ErrorKind::Unencodable) for a message of 2 GiB or more: its length would be negative.
#[derive(Clone, Copy, Debug, Default)]
pub struct Varint32Prepender;

impl Varint32Prepender {
    /// The header as a word, its first byte lowest, and its length.
    #[inline]
    fn word(self, body: usize) -> Result<(u64, usize), Error> {
        let Ok(length) = i32::try_from(body) else {
            return Err(unencodable(body));
        };
        let mut rest = length as u32;
        let mut bytes = 0u64;
        let mut len = 0;
        while rest >= 0x80 {
            bytes |= u64::from(rest & 0x7f | 0x80) << (8 * len);
            rest >>= 7;
            len += 1;
        }
        bytes |= u64::from(rest) << (8 * len);
        Ok((bytes, len + 1))
    }
}

impl Prepender for Varint32Prepender {
    #[inline]
    fn header(&self, body: usize) -> Result<Header, Error> {
        let (word, len) = self.word(body)?;
        Ok(Header::of_word(word, len))
    }
}

impl<T: AsRef<[u8]>> Encoder<T> for Varint32Prepender {
    type Error = Error;

    #[inline]
    fn encode(&mut self, item: T, dst: &mut BytesMut) -> Result<(), Error> {
        let body = item.as_ref();
        let (word, len) = self.word(body.len())?;
        prepend(word, len, body, dst);
        Ok(())
    }
}

#[cold]
fn unencodable(body: usize) -> Error {
    Error::new(
        ErrorKind::Unencodable,
        format!(
            "a message of {body} bytes has no varint32 length, which ends at {}",
            i32::MAX
        ),
    )
}
