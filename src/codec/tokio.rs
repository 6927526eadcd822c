//! Codecs written for tokio-util, used unchanged, and ours used there. Feature `tokio-codec`; tokio's runtime does not
//! come with it.
//!
//! The traits are the same but for the error: tokio-util's must be made from an `io::Error`.

use bytes::BytesMut;
use tokio_util::codec as theirs;

use crate::codec::traits::{Decoder, Encoder, into_error};
use crate::error::{Error, ErrorKind, Failure};

/// A codec of tokio-util as one of ours.
///
/// ```
/// use bytes::BytesMut;
/// use tidegate::codec::tokio::FromTokio;
/// use tidegate::codec::{Decoder, Encoder};
/// use tokio_util::codec::LinesCodec;
///
/// let mut lines = FromTokio(LinesCodec::new());
/// let mut bytes = BytesMut::from("one\ntw");
/// assert_eq!(lines.decode(&mut bytes).unwrap().unwrap(), "one");
/// assert_eq!(lines.decode(&mut bytes).unwrap(), None);
/// lines.encode("two", &mut bytes).unwrap();
/// assert_eq!(bytes, "twtwo\n");
/// ```
///
/// Errors stay the codec's own, and can be found in what the pipeline reports by `downcast_ref`. A codec that does not
/// implement `decode_eof` has tokio-util's: bytes left at the end are an `io::Error`.
#[derive(Clone, Debug, Default)]
pub struct FromTokio<C>(pub C);

impl<C> Decoder for FromTokio<C>
where
    C: theirs::Decoder,
    C::Error: Into<Failure>,
{
    type Item = C::Item;
    type Error = C::Error;

    #[inline]
    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<C::Item>, C::Error> {
        self.0.decode(src)
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<C::Item>, C::Error> {
        self.0.decode_eof(src)
    }
}

impl<C, Item> Encoder<Item> for FromTokio<C>
where
    C: theirs::Encoder<Item>,
    C::Error: Into<Failure>,
{
    type Error = C::Error;

    #[inline]
    fn encode(&mut self, item: Item, dst: &mut BytesMut) -> Result<(), C::Error> {
        self.0.encode(item, dst)
    }
}

/// A codec of ours for tokio-util's `Framed` and its kin. Errors are [`Error`], also those of the transport.
///
/// As their traits want it, bytes that are left at the end of the stream are an error:
/// [`Truncated`](crate::error::ErrorKind::Truncated).
#[derive(Clone, Debug, Default)]
pub struct IntoTokio<C>(pub C);

impl<C: Decoder> theirs::Decoder for IntoTokio<C> {
    type Item = C::Item;
    type Error = Error;

    #[inline]
    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<C::Item>, Error> {
        self.0.decode(src).map_err(into_error)
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<C::Item>, Error> {
        let decoded = self.0.decode_eof(src).map_err(into_error)?;
        if decoded.is_none() && !src.is_empty() {
            let left = src.len();
            src.clear();
            return Err(Error::new(
                ErrorKind::Truncated,
                format!(
                    "the stream ended in the middle of a frame, of which {left} bytes had come"
                ),
            ));
        }
        Ok(decoded)
    }
}

impl<C, Item> theirs::Encoder<Item> for IntoTokio<C>
where
    C: Encoder<Item>,
{
    type Error = Error;

    #[inline]
    fn encode(&mut self, item: Item, dst: &mut BytesMut) -> Result<(), Error> {
        self.0.encode(item, dst).map_err(into_error)
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::codec::{LengthDelimitedCodec, LinesCodec, LinesCodecError};

    use super::*;
    use crate::codec::{LengthFieldDecoder, LengthFieldPrepender, LineDecoder, LineEncoder};

    fn all<D: Decoder>(decoder: &mut D, src: &mut BytesMut) -> Vec<D::Item>
    where
        D::Error: std::fmt::Debug,
    {
        std::iter::from_fn(|| decoder.decode(src).expect("good input")).collect()
    }

    #[test]
    fn their_codecs_run_as_ours_for_every_split() {
        let lines = b"one\r\ntwo\n\nfour\n";
        let frames = b"\0\0\0\x03abc\0\0\0\0\0\0\0\x01x";
        for at in 0..=lines.len() {
            let mut codec = FromTokio(LinesCodec::new());
            let mut src = BytesMut::from(&lines[..at]);
            let mut got = all(&mut codec, &mut src);
            src.extend_from_slice(&lines[at..]);
            got.extend(all(&mut codec, &mut src));
            assert_eq!(got, ["one", "two", "", "four"], "split at {at}");
        }
        for at in 0..=frames.len() {
            let mut codec = FromTokio(LengthDelimitedCodec::new());
            let mut src = BytesMut::from(&frames[..at]);
            let mut got = all(&mut codec, &mut src);
            src.extend_from_slice(&frames[at..]);
            got.extend(all(&mut codec, &mut src));
            assert_eq!(got, [&b"abc"[..], b"", b"x"], "split at {at}");
        }
    }

    #[test]
    fn what_theirs_writes_ours_reads_and_the_other_way_round() {
        let mut bytes = BytesMut::new();
        Encoder::encode(
            &mut FromTokio(LengthDelimitedCodec::new()),
            bytes::Bytes::from_static(b"abc"),
            &mut bytes,
        )
        .expect("it fits");
        let mut ours = LengthFieldDecoder::new(100, 0, 4).strip(4);
        assert_eq!(all(&mut ours, &mut bytes), [&b"abc"[..]]);

        theirs::Encoder::encode(
            &mut IntoTokio(LengthFieldPrepender::new(4)),
            "def",
            &mut bytes,
        )
        .expect("it fits");
        let mut codec = FromTokio(LengthDelimitedCodec::new());
        assert_eq!(all(&mut codec, &mut bytes), [&b"def"[..]]);

        theirs::Encoder::encode(&mut IntoTokio(LineEncoder::new()), "line", &mut bytes)
            .expect("it is one line");
        assert_eq!(all(&mut FromTokio(LinesCodec::new()), &mut bytes), ["line"]);
    }

    #[test]
    fn errors_of_theirs_stay_their_own() {
        let mut codec = FromTokio(LinesCodec::new_with_max_length(2));
        let mut src = BytesMut::from("long line\n");
        let failure: Failure = codec.decode(&mut src).expect_err("too long").into();
        assert!(matches!(
            failure.downcast_ref(),
            Some(LinesCodecError::MaxLineLengthExceeded)
        ));
    }

    #[test]
    fn ours_tell_theirs_what_was_cut_off() {
        let mut codec = IntoTokio(LineDecoder::new(100));
        let mut src = BytesMut::from("one\ntw");
        let decoded = theirs::Decoder::decode_eof(&mut codec, &mut src).expect("a line");
        assert_eq!(decoded.expect("a line"), "one");
        let error = theirs::Decoder::decode_eof(&mut codec, &mut src).expect_err("cut off");
        assert_eq!(error.kind(), ErrorKind::Truncated);
        assert!(
            theirs::Decoder::decode_eof(&mut codec, &mut src)
                .expect("nothing is left")
                .is_none()
        );
    }
}
