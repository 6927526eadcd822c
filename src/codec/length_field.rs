//! Frames that say how long they are: [`LengthFieldDecoder`]. Its other half is [`LengthFieldPrepender`].
//!
//! It refuses nothing that Netty's decoder accepts. A frame that is too long is thrown away as it arrives, so it never
//! occupies memory.
//!
//! [`LengthFieldPrepender`]: crate::codec::LengthFieldPrepender

use bytes::{Buf, BytesMut};

use crate::codec::cut::cut;
use crate::codec::traits::Decoder;
use crate::error::{Error, ErrorKind};

/// Cuts frames by a length that each frame states in its header.
///
/// ```text
/// +-- offset --+-- length --+---------- length field + adjust ----------+
/// | any header | the field  | the rest of the header, the body          |
/// +------------+------------+-------------------------------------------+
/// |<-------------------- the frame; the first `strip` bytes are dropped |
/// ```
///
/// A length that counts the whole frame wants `adjust(-(offset + length))`; one that counts only the body behind a
/// further header of `n` bytes wants `adjust(n)`.
///
/// ```
/// use bytes::BytesMut;
/// use tidegate::codec::{Decoder, LengthFieldDecoder};
///
/// let mut decoder = LengthFieldDecoder::new(1 << 20, 0, 2).strip(2);
/// let mut bytes = BytesMut::from(&b"\x00\x05hello\x00\x05wo"[..]);
/// assert_eq!(decoder.decode(&mut bytes)?.unwrap(), "hello");
/// assert_eq!(decoder.decode(&mut bytes)?, None);
/// # Ok::<(), tidegate::Error>(())
/// ```
///
/// # Errors of `decode`
/// - [`Malformed`](ErrorKind::Malformed): a length below zero, before or after the adjustment (the header is skipped), or a
///   frame shorter than `strip` (the frame is skipped).
/// - [`TooLong`](ErrorKind::TooLong): once per frame of more than `frame_max` bytes, which is discarded. It comes as soon
///   as the length is known, or with `fail_fast(false)` after the frame's last byte.
/// - [`InvalidArgument`](ErrorKind::InvalidArgument): the parameters cannot work, as [`check`](Self::check) would
///   have said; nothing is consumed.
///
/// After each but the last, decoding goes on behind the bytes that were skipped.
#[derive(Clone, Debug)]
pub struct LengthFieldDecoder {
    frame_max: usize,
    offset: usize,
    length: usize,
    adjust: i64,
    strip: usize,
    little_endian: bool,
    fail_fast: bool,
    state: State,
}

/// Where in the stream the next byte of the input stands.
#[derive(Clone, Copy, Debug)]
enum State {
    /// At the head of a frame, and the parameters have not been looked at.
    Unchecked,
    /// At the head of a frame.
    Head,
    /// At the head of a frame whose length is known, and allowed.
    Frame(usize),
    /// In a frame of `total` bytes that is too long, with `left` of them to come.
    Discarding { total: u64, left: u64 },
}

impl LengthFieldDecoder {
    /// A decoder of frames of at most `frame_max` bytes, header and length field included, whose field of `length` bytes
    /// (1, 2, 3, 4 or 8; most significant first) stands `offset` bytes after the start.
    ///
    /// Fields of up to 4 bytes are unsigned, 8 bytes are signed. Parameters that cannot work are reported by the first
    /// `decode`, and by [`check`](Self::check) to those who want to know at once.
    pub const fn new(frame_max: usize, offset: usize, length: usize) -> Self {
        Self {
            frame_max,
            offset,
            length,
            adjust: 0,
            strip: 0,
            little_endian: false,
            fail_fast: true,
            state: State::Unchecked,
        }
    }

    /// Adds `bytes` to the length in the field, so that it counts what follows the field. Default 0.
    #[must_use]
    pub const fn adjust(mut self, bytes: i64) -> Self {
        self.adjust = bytes;
        self
    }

    /// Drops the first `bytes` of each frame; `offset + length` leaves the body alone. Default 0.
    #[must_use]
    pub const fn strip(mut self, bytes: usize) -> Self {
        self.strip = bytes;
        self
    }

    /// Reads the field with its least significant byte first.
    #[must_use]
    pub const fn little_endian(mut self) -> Self {
        self.little_endian = true;
        self
    }

    /// When a frame that is too long is reported: as soon as its length is known (true, the default), or after it has been
    /// discarded.
    #[must_use]
    pub const fn fail_fast(mut self, yes: bool) -> Self {
        self.fail_fast = yes;
        self
    }

    /// Looks at the parameters.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if `frame_max` is 0, `length` is not 1, 2, 3, 4 or 8, or a header of
    /// `offset + length` bytes is more than a frame may have.
    pub fn check(&self) -> Result<(), Error> {
        let text = if self.frame_max == 0 {
            "LengthFieldDecoder: frame_max is 0, so no frame could pass; give the largest frame to be accepted".into()
        } else if !matches!(self.length, 1 | 2 | 3 | 4 | 8) {
            format!(
                "LengthFieldDecoder: a length field of {} bytes is not supported; use 1, 2, 3, 4 or 8",
                self.length
            )
        } else if self.length > self.frame_max || self.offset > self.frame_max - self.length {
            format!(
                "LengthFieldDecoder: a field of {} bytes at offset {} lies outside of a frame of at most {} bytes; raise frame_max",
                self.length, self.offset, self.frame_max
            )
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidArgument, text))
    }

    /// The bytes up to the end of the length field. At least 1, once the parameters are checked.
    #[inline]
    fn header(&self) -> usize {
        self.offset + self.length
    }

    /// The field's value. `src` holds the whole header.
    #[inline]
    fn field(&self, src: &BytesMut) -> i64 {
        let mut word = [0; 8];
        let field = &src[self.offset..];
        // One load of eight bytes for every width, and a shift; only at the very end of the input is there less.
        match field.first_chunk() {
            Some(eight) => word = *eight,
            None => word[..field.len()].copy_from_slice(field),
        }
        let unused = 64 - 8 * self.length as u32;
        let value = if self.little_endian {
            u64::from_le_bytes(word) << unused >> unused
        } else {
            u64::from_be_bytes(word) >> unused
        };
        // Eight bytes are signed, as in Netty; the others fit.
        value as i64
    }

    /// Reads the header, which `src` holds, and says how long the frame is; what is wrong is skipped.
    #[inline]
    fn measure(&mut self, src: &mut BytesMut) -> Result<Measured, Error> {
        let header = self.header();
        let field = self.field(src);
        // A sum beyond 63 bits is as much too long as one of 63 bits.
        let total = field
            .saturating_add(self.adjust)
            .saturating_add(header as i64);
        if field < 0 || total < header as i64 {
            src.advance(header);
            return Err(self.malformed(field, total));
        }
        if total as u64 > self.frame_max as u64 {
            self.state = State::Discarding {
                total: total as u64,
                left: total as u64,
            };
            return if self.fail_fast {
                Err(self.too_long(total as u64))
            } else {
                Ok(Measured::Discard)
            };
        }
        Ok(Measured::Frame(total as usize))
    }

    /// Throws away what is here of a frame that is too long.
    #[cold]
    fn discard(&mut self, src: &mut BytesMut, total: u64, left: u64) -> Result<(), Error> {
        let here = left.min(src.len() as u64);
        src.advance(here as usize);
        let left = left - here;
        if left > 0 {
            self.state = State::Discarding { total, left };
            return Ok(());
        }
        self.state = State::Head;
        if self.fail_fast {
            Ok(())
        } else {
            Err(self.too_long(total))
        }
    }

    #[cold]
    fn malformed(&self, field: i64, total: i64) -> Error {
        let text = if field < 0 {
            format!("the peer's length field says {field}: a length cannot be negative")
        } else {
            format!(
                "the peer's length field says {field}, which with an adjustment of {} makes a frame of {total} bytes, less than its header of {}",
                self.adjust,
                self.header()
            )
        };
        Error::new(ErrorKind::Malformed, text)
    }

    #[cold]
    fn too_long(&self, total: u64) -> Error {
        Error::new(
            ErrorKind::TooLong,
            format!(
                "the peer announced a frame of {total} bytes, more than the {} that LengthFieldDecoder allows; it is discarded",
                self.frame_max
            ),
        )
    }

    #[cold]
    fn too_short(&self, total: usize) -> Error {
        Error::new(
            ErrorKind::Malformed,
            format!(
                "the peer sent a frame of {total} bytes, less than the {} that LengthFieldDecoder strips from each",
                self.strip
            ),
        )
    }
}

/// What a header said.
enum Measured {
    Frame(usize),
    Discard,
}

impl Decoder for LengthFieldDecoder {
    type Item = BytesMut;
    type Error = Error;

    #[inline]
    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
        loop {
            let total = match self.state {
                State::Frame(total) => total,
                State::Head => {
                    if src.len() < self.header() {
                        return Ok(None);
                    }
                    match self.measure(src)? {
                        Measured::Frame(total) => total,
                        Measured::Discard => continue,
                    }
                }
                State::Discarding { total, left } => {
                    if src.is_empty() {
                        return Ok(None);
                    }
                    self.discard(src, total, left)?;
                    continue;
                }
                State::Unchecked => {
                    self.check()?;
                    self.state = State::Head;
                    continue;
                }
            };
            // No room is reserved for the rest: a peer that announces much and sends nothing would cost memory.
            if src.len() < total {
                self.state = State::Frame(total);
                return Ok(None);
            }
            self.state = State::Head;
            if self.strip > total {
                src.advance(total);
                return Err(self.too_short(total));
            }
            return Ok(Some(cut(src, self.strip, total - self.strip, 0)));
        }
    }

    /// As `decode`. A frame that is too long, was not reported yet and now ends early is reported.
    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
        let decoded = self.decode(src)?;
        if decoded.is_none()
            && let State::Discarding { total, .. } = self.state
        {
            self.state = State::Head;
            if !self.fail_fast {
                return Err(self.too_long(total));
            }
        }
        Ok(decoded)
    }

    fn needs(&self) -> usize {
        match self.state {
            State::Frame(total) => total,
            State::Head => self.header(),
            State::Unchecked | State::Discarding { .. } => 0,
        }
    }
}
