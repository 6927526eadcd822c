//! Text: [`StringDecoder`] around any frame decoder, [`StringEncoder`], and [`utf8`] for a frame by itself.
//!
//! Items are `String`s: a checked text over shared bytes would have to be checked again at each use, since this crate
//! holds no unsafe code. A handler that must not allocate calls [`utf8`] and borrows.

use std::str;

use bytes::BytesMut;

use crate::codec::traits::{Decoder, Encoder, into_error};
use crate::error::{Error, ErrorKind};

/// The frame as text.
///
/// ```
/// use tidegate::codec::utf8;
///
/// assert_eq!(utf8("grün".as_bytes())?, "grün");
/// let error = utf8(b"gr\xfcn").unwrap_err();
/// assert_eq!(error.to_string(), "the peer's text is not UTF-8: byte 0xfc at offset 2");
/// # Ok::<(), tidegate::Error>(())
/// ```
///
/// # Errors
/// [`Malformed`](ErrorKind::Malformed), with the first byte that is wrong, if the frame is not UTF-8.
#[inline]
pub fn utf8(frame: &[u8]) -> Result<&str, Error> {
    str::from_utf8(frame).map_err(|error| not_utf8(frame, &error))
}

#[cold]
fn not_utf8(frame: &[u8], error: &str::Utf8Error) -> Error {
    let at = error.valid_up_to();
    let text = if error.error_len().is_some() {
        format!(
            "the peer's text is not UTF-8: byte 0x{:02x} at offset {at}",
            frame[at]
        )
    } else {
        format!("the peer's text is not UTF-8: it ends inside the character at offset {at}")
    };
    Error::new(ErrorKind::Malformed, text)
}

/// Gives the frames of another decoder as `String`s.
///
/// ```
/// use bytes::BytesMut;
/// use tidegate::codec::{Decoder, LineDecoder, StringDecoder};
///
/// let mut decoder = StringDecoder::new(LineDecoder::new(8192));
/// let mut bytes = BytesMut::from("good evening\r\n");
/// assert_eq!(decoder.decode(&mut bytes)?.unwrap(), "good evening");
/// # Ok::<(), tidegate::Error>(())
/// ```
///
/// # Errors of `decode`
/// Those of the framing, and [`Malformed`](ErrorKind::Malformed) for a frame that is not UTF-8: that frame is
/// skipped.
#[derive(Clone, Debug)]
pub struct StringDecoder<D> {
    frames: D,
}

impl<D> StringDecoder<D> {
    /// The text in each frame of `frames`.
    pub const fn new(frames: D) -> Self {
        Self { frames }
    }
}

impl<D> Decoder for StringDecoder<D>
where
    D: Decoder,
    D::Item: AsRef<[u8]>,
{
    type Item = String;
    type Error = Error;

    #[inline]
    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<String>, Error> {
        let text = self.frames.decode_with(src, false, text);
        text.map_err(into_error)?.transpose()
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<String>, Error> {
        let text = self.frames.decode_with(src, true, text);
        text.map_err(into_error)?.transpose()
    }

    fn needs(&self) -> usize {
        self.frames.needs()
    }
}

#[inline]
fn text(frame: &[u8]) -> Result<String, Error> {
    utf8(frame).map(str::to_owned)
}

/// Writes text as it is, in UTF-8, without a frame around it.
#[derive(Clone, Copy, Debug, Default)]
pub struct StringEncoder;

impl<T: AsRef<str>> Encoder<T> for StringEncoder {
    type Error = Error;

    #[inline]
    fn encode(&mut self, item: T, dst: &mut BytesMut) -> Result<(), Error> {
        dst.extend_from_slice(item.as_ref().as_bytes());
        Ok(())
    }
}
