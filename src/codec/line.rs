//! Lines: [`LineDecoder`] and [`LineEncoder`].
//!
//! A line ends with LF or CRLF; a lone CR is part of the line. Nothing here looks at the text: invalid UTF-8 is the
//! matter of [`StringDecoder`](crate::codec::StringDecoder).

use bytes::{Buf, BytesMut};
use memchr::memchr;

use crate::codec::cut::cut;
use crate::codec::traits::{Decoder, Encoder};
use crate::error::{Error, ErrorKind};

/// Cuts the stream at LF or CRLF.
///
/// ```
/// use bytes::BytesMut;
/// use tidegate::codec::{Decoder, LineDecoder};
///
/// let mut decoder = LineDecoder::new(8192);
/// let mut bytes = BytesMut::from(&b"one\r\ntwo\nthr"[..]);
/// assert_eq!(decoder.decode(&mut bytes)?.unwrap(), "one");
/// assert_eq!(decoder.decode(&mut bytes)?.unwrap(), "two");
/// assert_eq!(decoder.decode(&mut bytes)?, None);
/// # Ok::<(), tidegate::Error>(())
/// ```
///
/// At the end of the stream a line without its end is left in the input, unless
/// [`last_line`](Self::last_line) asks for it.
///
/// # Errors of `decode`
/// [`TooLong`](ErrorKind::TooLong), once per line of more than `line_max` bytes (its end not counted). The line is
/// discarded as it arrives. The error comes when its end was seen and tells its length; with `fail_fast(true)`
/// it comes as soon as the line is known to be too long. Decoding goes on with the next line.
#[derive(Clone, Debug)]
pub struct LineDecoder {
    line_max: usize,
    strip: bool,
    fail_fast: bool,
    last_line: bool,
    /// The first bytes of the input that hold no LF. At most `src.len()`, or the input is another one.
    scanned: usize,
    discarding: Option<Discarding>,
}

/// A line that is too long, and has not ended.
#[derive(Clone, Copy, Debug)]
struct Discarding {
    /// The bytes of it that are gone.
    bytes: u64,
    /// Whether the last of them was a CR, which may belong to the end of the line.
    cr: bool,
}

impl LineDecoder {
    /// Lines of at most `line_max` bytes, not counting their end.
    pub const fn new(line_max: usize) -> Self {
        Self {
            line_max,
            strip: true,
            fail_fast: false,
            last_line: false,
            scanned: 0,
            discarding: None,
        }
    }

    /// Whether lines are given out without their LF or CRLF. Default true.
    #[must_use]
    pub const fn strip(mut self, yes: bool) -> Self {
        self.strip = yes;
        self
    }

    /// When a line that is too long is reported: as soon as that is known (true), or when its end has come (false, the
    /// default, as in Netty).
    #[must_use]
    pub const fn fail_fast(mut self, yes: bool) -> Self {
        self.fail_fast = yes;
        self
    }

    /// Whether what follows the last end of line counts as a line when the stream ends. Default false: it was cut off.
    #[must_use]
    pub const fn last_line(mut self, yes: bool) -> Self {
        self.last_line = yes;
        self
    }

    /// Finds the next line and leaves it where it is: its length, and that of its end.
    #[inline]
    fn next(&mut self, src: &mut BytesMut, ended: bool) -> Result<Option<(usize, usize)>, Error> {
        while let Some(discarding) = self.discarding {
            if src.is_empty() || !self.discard(src, discarding)? {
                return self.unended(src, ended);
            }
        }
        // The caller may have put another input in the place of the last one.
        let from = self.scanned.min(src.len());
        let Some(found) = memchr(b'\n', &src[from..]) else {
            return self.unended(src, ended);
        };
        self.scanned = 0;
        let lf = from + found;
        let line = self.line_length(&src[..lf]);
        if line > self.line_max {
            src.advance(lf + 1);
            return Err(self.too_long(Some(line as u64)));
        }
        Ok(Some((line, lf + 1 - line)))
    }

    /// No LF in the whole input: waits, or begins to discard, or makes an end of it.
    #[cold]
    fn unended(
        &mut self,
        src: &mut BytesMut,
        ended: bool,
    ) -> Result<Option<(usize, usize)>, Error> {
        self.scanned = src.len();
        if self.discarding.is_none() && self.line_length(src) > self.line_max {
            self.discarding = Some(Discarding {
                bytes: 0,
                cr: false,
            });
            self.swallow(src);
            if self.fail_fast {
                return Err(self.too_long(None));
            }
        }
        if !ended {
            return Ok(None);
        }
        if let Some(discarding) = self.discarding.take()
            && !self.fail_fast
        {
            return Err(self.too_long(Some(discarding.bytes)));
        }
        if !self.last_line || src.is_empty() {
            return Ok(None);
        }
        self.scanned = 0;
        if src.len() > self.line_max {
            // Only a CR at its end made it wait for more.
            let length = src.len() as u64;
            src.clear();
            return Err(self.too_long(Some(length)));
        }
        Ok(Some((src.len(), 0)))
    }

    #[inline]
    fn give(&self, src: &mut BytesMut, (line, end): (usize, usize)) -> BytesMut {
        if self.strip {
            cut(src, 0, line, end)
        } else {
            cut(src, 0, line + end, 0)
        }
    }

    /// The least length of a line that begins with `part`: a CR at the end may turn out not to belong to it.
    fn line_length(&self, part: &[u8]) -> usize {
        part.len() - usize::from(part.last() == Some(&b'\r'))
    }

    /// Throws away a part of a line that does not hold its end.
    fn swallow(&mut self, src: &mut BytesMut) {
        if let (Some(discarding), Some(last)) = (&mut self.discarding, src.last()) {
            discarding.bytes += src.len() as u64;
            discarding.cr = *last == b'\r';
            src.clear();
        }
        self.scanned = 0;
    }

    /// Goes on discarding; true once the end of the line has come.
    #[cold]
    fn discard(&mut self, src: &mut BytesMut, before: Discarding) -> Result<bool, Error> {
        let Some(lf) = memchr(b'\n', src) else {
            self.swallow(src);
            return Ok(false);
        };
        let cr = if lf > 0 {
            src[lf - 1] == b'\r'
        } else {
            before.cr
        };
        src.advance(lf + 1);
        self.discarding = None;
        if self.fail_fast {
            return Ok(true);
        }
        Err(self.too_long(Some(before.bytes + lf as u64 - u64::from(cr))))
    }

    #[cold]
    fn too_long(&self, length: Option<u64>) -> Error {
        let max = self.line_max;
        let text = match length {
            // Under fail_fast the length is not told even where it is known: the same text for every split of the stream.
            Some(length) if !self.fail_fast => format!(
                "the peer sent a line of {length} bytes, more than the {max} that LineDecoder allows; it was discarded"
            ),
            _ => format!(
                "the peer sent a line of more than the {max} bytes that LineDecoder allows; it is discarded"
            ),
        };
        Error::new(ErrorKind::TooLong, text)
    }
}

impl Decoder for LineDecoder {
    type Item = BytesMut;
    type Error = Error;

    #[inline]
    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
        match self.next(src, false)? {
            Some(line) => Ok(Some(self.give(src, line))),
            None => Ok(None),
        }
    }

    /// As `decode`, and then the last line if it is wanted. A line that is too long, was not reported yet and now
    /// ends with the stream is reported.
    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
        match self.next(src, true)? {
            Some(line) => Ok(Some(self.give(src, line))),
            None => Ok(None),
        }
    }

    #[inline]
    fn decode_with<R>(
        &mut self,
        src: &mut BytesMut,
        ended: bool,
        look: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, Error> {
        let Some((line, end)) = self.next(src, ended)? else {
            return Ok(None);
        };
        let seen = look(&src[..if self.strip { line } else { line + end }]);
        src.advance(line + end);
        Ok(Some(seen))
    }
}

/// Ends each message with LF or CRLF.
///
/// # Errors of `encode`
/// [`Unencodable`](ErrorKind::Unencodable) if the message itself holds an end of line: the peer would see two lines, which
/// is how commands are smuggled into text protocols. Split such a text before.
#[derive(Clone, Debug, Default)]
pub struct LineEncoder {
    crlf: bool,
}

impl LineEncoder {
    /// Ends lines with LF.
    pub const fn new() -> Self {
        Self { crlf: false }
    }

    /// Ends lines with CRLF.
    #[must_use]
    pub const fn crlf(mut self) -> Self {
        self.crlf = true;
        self
    }
}

impl<T: AsRef<[u8]>> Encoder<T> for LineEncoder {
    type Error = Error;

    #[inline]
    fn encode(&mut self, item: T, dst: &mut BytesMut) -> Result<(), Error> {
        let line = item.as_ref();
        let end: &[u8] = if self.crlf { b"\r\n" } else { b"\n" };
        if let Some(at) = memchr(b'\n', line) {
            return Err(unencodable(at, "an LF, which would end the line there"));
        }
        // Behind it the LF would make a CRLF, and the CR would be lost.
        if !self.crlf && line.last() == Some(&b'\r') {
            return Err(unencodable(
                line.len() - 1,
                "a CR at its end, which would be taken for a part of the CRLF",
            ));
        }
        dst.reserve(line.len() + end.len());
        dst.extend_from_slice(line);
        dst.extend_from_slice(end);
        Ok(())
    }
}

#[cold]
fn unencodable(at: usize, what: &str) -> Error {
    Error::new(
        ErrorKind::Unencodable,
        format!("LineEncoder: byte {at} of the message is {what}"),
    )
}
