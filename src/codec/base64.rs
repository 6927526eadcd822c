//! Base64 (RFC 4648) both ways: [`Base64Decoder`] around any frame decoder, and [`Base64Encoder`]. The alphabets are the
//! matter of the crate `base64`.

use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError, DecodeSliceError, Engine};
use bytes::BytesMut;

use crate::codec::traits::{Decoder, Encoder, into_error};
use crate::error::{Error, ErrorKind};

/// With padding or without, both are read.
fn engine(alphabet: &Alphabet, padding: bool) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new()
        .with_encode_padding(padding)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config)
}

/// Decodes each frame of another decoder; padding may be there or not.
///
/// ```
/// use bytes::BytesMut;
/// use tidegate::codec::{Base64Decoder, Decoder, LineDecoder};
///
/// let mut decoder = Base64Decoder::new(LineDecoder::new(8192));
/// let mut bytes = BytesMut::from("aGVsbG8=\r\n");
/// assert_eq!(decoder.decode(&mut bytes)?.unwrap(), "hello");
/// # Ok::<(), tidegate::Error>(())
/// ```
///
/// # Errors of `decode`
/// Those of the framing, and [`Malformed`](ErrorKind::Malformed), with the offset in the frame, for what is no base64: that
/// frame is skipped. Line breaks within a frame are no base64.
#[derive(Clone, Debug)]
pub struct Base64Decoder<D> {
    frames: D,
    engine: GeneralPurpose,
}

impl<D> Base64Decoder<D> {
    /// What each frame of `frames` stands for, in the standard alphabet (`+` and `/`).
    pub fn new(frames: D) -> Self {
        Self {
            frames,
            engine: engine(&STANDARD, true),
        }
    }

    /// Uses the alphabet for URLs and file names (`-` and `_`).
    #[must_use]
    pub fn url_safe(mut self) -> Self {
        self.engine = engine(&URL_SAFE, true);
        self
    }
}

/// The bytes that the text stands for.
fn decode(engine: &GeneralPurpose, text: &[u8]) -> Result<BytesMut, Error> {
    // Four characters are three bytes; the estimate counts a part of four as four.
    let mut bytes = BytesMut::zeroed(base64::decoded_len_estimate(text.len()));
    match engine.decode_slice(text, &mut bytes) {
        Ok(len) => {
            bytes.truncate(len);
            Ok(bytes)
        }
        Err(error) => Err(not_base64(error, text.len())),
    }
}

impl<D> Decoder for Base64Decoder<D>
where
    D: Decoder,
    D::Item: AsRef<[u8]>,
{
    type Item = BytesMut;
    type Error = Error;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
        let (frames, engine) = (&mut self.frames, &self.engine);
        let bytes = frames.decode_with(src, false, |text| decode(engine, text));
        bytes.map_err(into_error)?.transpose()
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
        let (frames, engine) = (&mut self.frames, &self.engine);
        let bytes = frames.decode_with(src, true, |text| decode(engine, text));
        bytes.map_err(into_error)?.transpose()
    }
}

#[cold]
fn not_base64(error: DecodeSliceError, len: usize) -> Error {
    let what = match error {
        DecodeSliceError::DecodeError(
            DecodeError::InvalidByte(at, byte) | DecodeError::InvalidLastSymbol(at, byte),
        ) => format!("byte 0x{byte:02x} at offset {at}"),
        DecodeSliceError::DecodeError(DecodeError::InvalidPadding) => {
            format!("wrong padding at its end, offset {len}")
        }
        _ => format!("it ends inside a group of four, at offset {len}"),
    };
    Error::new(
        ErrorKind::Malformed,
        format!("the peer's text is not base64: {what}"),
    )
}

/// Writes bytes as base64, without line breaks and without a frame around it.
#[derive(Clone, Debug)]
pub struct Base64Encoder {
    engine: GeneralPurpose,
}

impl Default for Base64Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Base64Encoder {
    /// The standard alphabet (`+` and `/`), with padding.
    pub fn new() -> Self {
        Self {
            engine: engine(&STANDARD, true),
        }
    }

    /// The alphabet for URLs and file names (`-` and `_`), without padding, as is usual there.
    pub fn url_safe() -> Self {
        Self {
            engine: engine(&URL_SAFE, false),
        }
    }
}

impl<T: AsRef<[u8]>> Encoder<T> for Base64Encoder {
    type Error = Error;

    fn encode(&mut self, item: T, dst: &mut BytesMut) -> Result<(), Error> {
        let bytes = item.as_ref();
        let unencodable = || {
            Error::new(
                ErrorKind::Unencodable,
                format!("base64 of {} bytes would not fit into memory", bytes.len()),
            )
        };
        let before = dst.len();
        let text = base64::encoded_len(bytes.len(), true).ok_or_else(unencodable)?;
        dst.resize(before + text, 0);
        match self.engine.encode_slice(bytes, &mut dst[before..]) {
            Ok(len) => {
                dst.truncate(before + len);
                Ok(())
            }
            Err(_) => {
                dst.truncate(before);
                Err(unencodable())
            }
        }
    }
}
