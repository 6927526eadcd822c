//! [`FixedLengthDecoder`]: frames of one length.

use bytes::BytesMut;

use crate::codec::cut::cut;
use crate::codec::traits::Decoder;
use crate::error::{Error, ErrorKind};

/// Cuts the stream into frames of `length` bytes. At the end of the stream a part of a frame is left in the input.
///
/// # Errors of `decode`
/// [`InvalidArgument`](ErrorKind::InvalidArgument) if `length` is 0.
#[derive(Clone, Debug)]
pub struct FixedLengthDecoder {
    length: usize,
}

impl FixedLengthDecoder {
    /// Frames of `length` bytes. A length of 0 is reported by `decode`, and by [`check`](Self::check) to those who want
    /// to know at once.
    pub const fn new(length: usize) -> Self {
        Self { length }
    }

    /// Looks at the parameters.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if `length` is 0.
    pub fn check(&self) -> Result<(), Error> {
        if self.length > 0 {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InvalidArgument,
            "FixedLengthDecoder: frames of 0 bytes would never end; give the length of a frame",
        ))
    }
}

impl Decoder for FixedLengthDecoder {
    type Item = BytesMut;
    type Error = Error;

    #[inline]
    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
        if self.length == 0 {
            self.check()?;
        }
        if src.len() < self.length {
            return Ok(None);
        }
        Ok(Some(cut(src, 0, self.length, 0)))
    }

    fn needs(&self) -> usize {
        self.length
    }
}
