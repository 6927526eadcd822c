//! [`Header`] and [`Prepender`]: the few bytes that go before a body, apart from the body.
//!
//! A prepender that is an [`Encoder`] copies the body behind the header. A handler that keeps the body as it is asks for
//! the header alone and writes two buffers, which leave in one gathering write.
//!
//! [`Encoder`]: crate::codec::Encoder

use std::fmt;
use std::ops::Deref;

use bytes::BytesMut;

use crate::error::Error;

/// What announces a body by its length alone.
///
/// ```
/// use tidegate::codec::{LengthFieldPrepender, Prepender};
///
/// let header = LengthFieldPrepender::new(4).header(1000)?;
/// assert_eq!(&header[..], [0, 0, 3, 0xe8]);
/// # Ok::<(), tidegate::Error>(())
/// ```
pub trait Prepender {
    /// The bytes that go before a body of `body` bytes.
    ///
    /// # Errors
    /// [`Unencodable`](crate::ErrorKind::Unencodable) if the length cannot be said in them.
    fn header(&self, body: usize) -> Result<Header, Error>;
}

/// At most eight bytes, without an allocation; read them as a slice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; 8],
    /// 0 <= len <= 8.
    len: u8,
}

impl Header {
    /// The header of these bytes, or `None` if there are more than eight.
    #[inline]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut header = Self {
            bytes: [0; 8],
            len: bytes.len() as u8,
        };
        header.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(header)
    }

    /// The header whose bytes are the low `len` of `word`, the lowest first. Callers keep `len <= 8`.
    #[inline]
    pub(super) fn of_word(word: u64, len: usize) -> Self {
        Self {
            bytes: word.to_le_bytes(),
            len: len as u8,
        }
    }
}

/// Appends the header that [`Header::of_word`] would be, and `body`, to `dst`.
///
/// Headers stay words on this path: a `Header` in a `Result` is copied in pieces that straddle its stores. Eight bytes are
/// written at once and cut off behind the header, which is faster than a copy whose length is not known.
#[inline]
pub(super) fn prepend(word: u64, len: usize, body: &[u8], dst: &mut BytesMut) {
    dst.reserve(8 + body.len());
    let end = dst.len() + len;
    dst.extend_from_slice(&word.to_le_bytes());
    dst.truncate(end);
    dst.extend_from_slice(body);
}

impl Deref for Header {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl AsRef<[u8]> for Header {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Header({:02x?})", &self[..])
    }
}
