//! Frames that end with a mark: [`DelimiterDecoder`]. For LF and CRLF alone, `LineDecoder` is the faster one.

use bytes::{Buf, BytesMut};
use memchr::memmem::Finder;

use crate::codec::cut::cut;
use crate::codec::traits::Decoder;
use crate::error::{Error, ErrorKind};

/// Searching for several delimiters begins with a window of this many bytes, which doubles: a delimiter that never comes
/// must not be searched for in the whole input at each frame. Any small power of two does.
const WINDOW: usize = 256;

/// Cuts the stream at any of several delimiters.
///
/// ```
/// use bytes::BytesMut;
/// use tidegate::codec::{Decoder, DelimiterDecoder};
///
/// let mut decoder = DelimiterDecoder::new(8192, ["\0", "--"]);
/// let mut bytes = BytesMut::from(&b"one--two\0three"[..]);
/// assert_eq!(decoder.decode(&mut bytes)?.unwrap(), "one");
/// assert_eq!(decoder.decode(&mut bytes)?.unwrap(), "two");
/// assert_eq!(decoder.decode(&mut bytes)?, None);
/// # Ok::<(), tidegate::Error>(())
/// ```
///
/// The delimiter that gives the shortest frame wins; if one stands inside another, the one that is complete first. (Netty
/// looks for the shortest frame in what has arrived, so that its choice there depends on how the bytes were cut into
/// reads.)
///
/// At the end of the stream a frame without its delimiter is left in the input.
///
/// # Errors of `decode`
/// - [`TooLong`](ErrorKind::TooLong), once per frame of more than `frame_max` bytes (its delimiter not counted), which is
///   discarded up to its delimiter: as soon as that is known, or with `fail_fast(false)` when the delimiter was
///   seen, and then with the length.
/// - [`InvalidArgument`](ErrorKind::InvalidArgument), as [`check`](Self::check).
#[derive(Clone, Debug)]
pub struct DelimiterDecoder {
    frame_max: usize,
    delimiters: Vec<Finder<'static>>,
    /// The length of the longest of them.
    longest: usize,
    strip: bool,
    fail_fast: bool,
    /// No delimiter begins and ends in the input's first bytes up to here, and none that is whole begins before.
    scanned: usize,
    /// The bytes that are gone of a frame that is too long and has not ended.
    discarded: Option<u64>,
}

impl DelimiterDecoder {
    /// Frames of at most `frame_max` bytes, not counting the delimiter.
    pub fn new<D: AsRef<[u8]>>(frame_max: usize, delimiters: impl IntoIterator<Item = D>) -> Self {
        let delimiters: Vec<_> = delimiters
            .into_iter()
            .map(|delimiter| Finder::new(delimiter.as_ref()).into_owned())
            .collect();
        let longest = delimiters
            .iter()
            .map(|delimiter| delimiter.needle().len())
            .max()
            .unwrap_or(0);
        Self {
            frame_max,
            delimiters,
            longest,
            strip: true,
            fail_fast: true,
            scanned: 0,
            discarded: None,
        }
    }

    /// Whether frames are given out without their delimiter. Default true.
    #[must_use]
    pub fn strip(mut self, yes: bool) -> Self {
        self.strip = yes;
        self
    }

    /// When a frame that is too long is reported: as soon as that is known (true, the default), or when its delimiter has
    /// come.
    #[must_use]
    pub fn fail_fast(mut self, yes: bool) -> Self {
        self.fail_fast = yes;
        self
    }

    /// Looks at the parameters.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if `frame_max` is 0, there is no delimiter, or one is empty.
    pub fn check(&self) -> Result<(), Error> {
        let text = if self.frame_max == 0 {
            "DelimiterDecoder: frame_max is 0, so no frame could pass; give the largest frame to be accepted"
        } else if self.delimiters.is_empty() {
            "DelimiterDecoder: without a delimiter no frame would ever end; give at least one"
        } else if self.delimiters.iter().any(|d| d.needle().is_empty()) {
            "DelimiterDecoder: an empty delimiter is everywhere; remove it"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidArgument, text))
    }

    /// Where the first delimiter in `bytes[from..]` begins, and its length.
    #[inline]
    fn find(&self, bytes: &[u8], from: usize) -> Option<(usize, usize)> {
        if let [only] = &self.delimiters[..] {
            let at = only.find(&bytes[from..])?;
            return Some((from + at, only.needle().len()));
        }
        let mut start = from;
        let mut window = WINDOW.max(2 * self.longest);
        loop {
            let end = bytes.len().min(start + window);
            if let Some((end, length)) = self.find_first(bytes, start, end) {
                return Some((end - length, length));
            }
            if end == bytes.len() {
                return None;
            }
            // What was cut in two by the end of the window is whole in the next.
            start = end - (self.longest - 1);
            window *= 2;
        }
    }

    /// The end and the length of the delimiter that ends first in `bytes[start..end]`; of two, the longer.
    fn find_first(&self, bytes: &[u8], start: usize, mut end: usize) -> Option<(usize, usize)> {
        let mut best: Option<(usize, usize)> = None;
        for delimiter in &self.delimiters {
            let length = delimiter.needle().len();
            let Some(at) = delimiter.find(&bytes[start..end]) else {
                continue;
            };
            let found = start + at + length;
            if best.is_none_or(|(best, than)| found < best || length > than) {
                best = Some((found, length));
                end = found;
            }
        }
        best
    }

    /// No delimiter in the whole input: waits, or begins to discard.
    fn unended(&mut self, src: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
        // A delimiter may have begun in the last bytes.
        self.scanned = src.len().saturating_sub(self.longest - 1);
        if self.scanned <= self.frame_max {
            return Ok(None);
        }
        self.discarded = Some(0);
        self.swallow(src);
        if self.fail_fast {
            return Err(self.too_long(None));
        }
        Ok(None)
    }

    /// Throws away what was searched and belongs to no delimiter.
    fn swallow(&mut self, src: &mut BytesMut) {
        src.advance(self.scanned);
        if let Some(discarded) = &mut self.discarded {
            *discarded += self.scanned as u64;
        }
        self.scanned = 0;
    }

    /// Goes on discarding; true once the delimiter has come.
    #[cold]
    fn discard(&mut self, src: &mut BytesMut, before: u64) -> Result<bool, Error> {
        let Some((at, length)) = self.find(src, 0) else {
            self.scanned = src.len().saturating_sub(self.longest - 1);
            self.swallow(src);
            return Ok(false);
        };
        src.advance(at + length);
        self.discarded = None;
        if self.fail_fast {
            return Ok(true);
        }
        Err(self.too_long(Some(before + at as u64)))
    }

    #[cold]
    fn too_long(&self, length: Option<u64>) -> Error {
        let max = self.frame_max;
        let text = match length {
            // Under fail_fast the length is not told even where it is known: the same text for every split of the stream.
            Some(length) if !self.fail_fast => format!(
                "the peer sent a frame of {length} bytes, more than the {max} that DelimiterDecoder allows; it was discarded"
            ),
            _ => format!(
                "the peer sent a frame of more than the {max} bytes that DelimiterDecoder allows; it is discarded"
            ),
        };
        Error::new(ErrorKind::TooLong, text)
    }
}

impl Decoder for DelimiterDecoder {
    type Item = BytesMut;
    type Error = Error;

    #[inline]
    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
        self.check()?;
        while let Some(before) = self.discarded {
            if !self.discard(src, before)? {
                return Ok(None);
            }
        }
        // The caller may have put another input in the place of the last one.
        let from = self.scanned.min(src.len());
        let Some((at, length)) = self.find(src, from) else {
            return self.unended(src);
        };
        self.scanned = 0;
        if at > self.frame_max {
            src.advance(at + length);
            return Err(self.too_long(Some(at as u64)));
        }
        Ok(Some(if self.strip {
            cut(src, 0, at, length)
        } else {
            cut(src, 0, at + length, 0)
        }))
    }

    /// As `decode`. A frame that is too long, was not reported yet and now ends with the stream is reported.
    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
        let decoded = self.decode(src)?;
        if decoded.is_none()
            && let Some(discarded) = self.discarded.take()
        {
            let length = discarded + src.len() as u64;
            src.clear();
            if !self.fail_fast {
                return Err(self.too_long(Some(length)));
            }
        }
        Ok(decoded)
    }
}
