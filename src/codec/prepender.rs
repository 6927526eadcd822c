//! [`LengthFieldPrepender`]: writes the length that `LengthFieldDecoder` reads.

use bytes::BytesMut;

use crate::codec::header::{Header, Prepender, prepend};
use crate::codec::traits::Encoder;
use crate::error::{Error, ErrorKind};

/// Puts the length of each message before it.
///
/// ```
/// use bytes::BytesMut;
/// use tidegate::codec::{Encoder, LengthFieldPrepender};
///
/// let mut bytes = BytesMut::new();
/// LengthFieldPrepender::new(2).encode("hello", &mut bytes)?;
/// assert_eq!(&bytes[..], b"\x00\x05hello");
/// # Ok::<(), tidegate::Error>(())
/// ```
///
/// # Errors of `encode` and `header`
/// [`Unencodable`](ErrorKind::Unencodable) if the length is below zero after the adjustment, or does not fit the field;
/// [`InvalidArgument`](ErrorKind::InvalidArgument) if there is no field of that many bytes.
#[derive(Clone, Debug)]
pub struct LengthFieldPrepender {
    length: usize,
    adjust: i64,
    inclusive: bool,
    little_endian: bool,
}

impl LengthFieldPrepender {
    /// Writes a field of `length` bytes (1, 2, 3, 4 or 8), the most significant first. Another `length` is reported by
    /// `encode`, and by [`check`](Self::check) to those who want to know at once.
    pub const fn new(length: usize) -> Self {
        Self {
            length,
            adjust: 0,
            inclusive: false,
            little_endian: false,
        }
    }

    /// Adds `bytes` to the length that is written. Default 0.
    #[must_use]
    pub const fn adjust(mut self, bytes: i64) -> Self {
        self.adjust = bytes;
        self
    }

    /// Counts the field as part of the length.
    #[must_use]
    pub const fn inclusive(mut self) -> Self {
        self.inclusive = true;
        self
    }

    /// Writes the field with its least significant byte first.
    #[must_use]
    pub const fn little_endian(mut self) -> Self {
        self.little_endian = true;
        self
    }

    /// Looks at the parameters.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if `length` is not 1, 2, 3, 4 or 8.
    pub fn check(&self) -> Result<(), Error> {
        if matches!(self.length, 1 | 2 | 3 | 4 | 8) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InvalidArgument,
            format!(
                "LengthFieldPrepender: a length field of {} bytes is not supported; use 1, 2, 3, 4 or 8",
                self.length
            ),
        ))
    }

    /// The largest value of the field; 8 bytes are signed.
    #[inline]
    fn value_max(&self) -> i64 {
        i64::MAX >> (63 - (8 * self.length).min(63))
    }

    #[cold]
    fn unencodable(&self, body: usize, value: i64) -> Error {
        let text = if value < 0 {
            format!(
                "a message of {body} bytes with an adjustment of {} has length {value}: a length cannot be negative",
                self.adjust
            )
        } else {
            format!(
                "a message of {body} bytes has length {value}, which does not fit into a field of {} bytes",
                self.length
            )
        };
        Error::new(ErrorKind::Unencodable, text)
    }
}

impl LengthFieldPrepender {
    /// The header as a word, its first byte lowest.
    #[inline]
    fn word(&self, body: usize) -> Result<u64, Error> {
        if !matches!(self.length, 1 | 2 | 3 | 4 | 8) {
            self.check()?;
        }
        // A body lies in memory, so its length is below 2^63.
        let field = if self.inclusive {
            self.length as i64
        } else {
            0
        };
        let value = (body as i64)
            .saturating_add(self.adjust)
            .saturating_add(field);
        if value < 0 || value > self.value_max() {
            return Err(self.unencodable(body, value));
        }
        Ok(if self.little_endian {
            value as u64
        } else {
            (value as u64).swap_bytes() >> (64 - 8 * self.length as u32)
        })
    }
}

impl Prepender for LengthFieldPrepender {
    #[inline]
    fn header(&self, body: usize) -> Result<Header, Error> {
        Ok(Header::of_word(self.word(body)?, self.length))
    }
}

impl<T: AsRef<[u8]>> Encoder<T> for LengthFieldPrepender {
    type Error = Error;

    #[inline]
    fn encode(&mut self, item: T, dst: &mut BytesMut) -> Result<(), Error> {
        let body = item.as_ref();
        prepend(self.word(body.len())?, self.length, body, dst);
        Ok(())
    }
}
