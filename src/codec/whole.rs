//! [`WholeDecoder`]: all of an input as one frame. For datagrams, which are their own frames.

use bytes::BytesMut;

use crate::codec::traits::Decoder;
use crate::error::{Error, ErrorKind};

/// Gives all that came, at most so many bytes, when the input ends; nothing if it is empty. For datagrams, where each is an
/// input of its own.
///
/// ```
/// use bytes::BytesMut;
/// use tidegate::codec::{Decoder, StringDecoder, WholeDecoder};
///
/// let mut text = StringDecoder::new(WholeDecoder::new(100));
/// let mut datagram = BytesMut::from("no end of line");
/// assert_eq!(text.decode_eof(&mut datagram).unwrap().as_deref(), Some("no end of line"));
/// assert_eq!(text.decode_eof(&mut datagram).unwrap(), None);
/// ```
///
/// # Errors of `decode`
/// [`TooLong`](ErrorKind::TooLong), once, for an input of more bytes, all of which are discarded.
#[derive(Clone, Debug)]
pub struct WholeDecoder {
    length_max: usize,
    /// The input is too long, and that was said.
    discards: bool,
}

impl WholeDecoder {
    /// Inputs of at most `length_max` bytes.
    pub const fn new(length_max: usize) -> Self {
        Self {
            length_max,
            discards: false,
        }
    }
}

impl Decoder for WholeDecoder {
    type Item = BytesMut;
    type Error = Error;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
        if src.len() > self.length_max || self.discards {
            src.clear();
            if !std::mem::replace(&mut self.discards, true) {
                let text = format!("an input of more than {} bytes", self.length_max);
                return Err(Error::new(ErrorKind::TooLong, text));
            }
        }
        Ok(None)
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
        self.decode(src)?;
        self.discards = false;
        Ok((!src.is_empty()).then(|| src.split()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an input gives that comes in two pieces: the frame, or how often it failed.
    fn decode(input: &[u8], cut: usize) -> Result<Option<BytesMut>, usize> {
        let mut decoder = WholeDecoder::new(5);
        let mut src = BytesMut::new();
        let mut errors = 0;
        for piece in [&input[..cut], &input[cut..]] {
            src.extend_from_slice(piece);
            errors += usize::from(decoder.decode(&mut src).is_err());
        }
        match decoder.decode_eof(&mut src) {
            Ok(frame) if errors == 0 => Ok(frame),
            Ok(frame) => {
                assert_eq!(frame, None);
                Err(errors)
            }
            Err(_) => Err(errors + 1),
        }
    }

    #[test]
    fn the_frame_is_the_input_however_it_was_cut() {
        for cut in 0..=5 {
            assert_eq!(decode(b"12345", cut), Ok(Some(b"12345"[..].into())));
        }
        assert_eq!(decode(b"", 0), Ok(None));
    }

    #[test]
    fn an_input_that_is_too_long_fails_once_however_it_was_cut() {
        for cut in 0..=12 {
            assert_eq!(decode(b"123456789abc", cut), Err(1), "cut at {cut}");
        }
    }
}
