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

    /// The low `len` bytes of `value`, the most significant first. Callers keep `1 <= len <= 8`.
    #[inline]
    pub(super) fn big_endian(value: u64, len: usize) -> Self {
        Self {
            bytes: (value << (64 - 8 * len as u32)).to_be_bytes(),
            len: len as u8,
        }
    }

    /// The low `len` bytes of `value`, the least significant first. Callers keep `len <= 8`.
    #[inline]
    pub(super) fn little_endian(value: u64, len: usize) -> Self {
        Self {
            bytes: value.to_le_bytes(),
            len: len as u8,
        }
    }

    /// Appends the header and `body` to `dst`.
    #[inline]
    pub(super) fn prepend(&self, body: &[u8], dst: &mut BytesMut) {
        dst.reserve(8 + body.len());
        dst.extend_from_slice(self);
        dst.extend_from_slice(body);
    }
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
