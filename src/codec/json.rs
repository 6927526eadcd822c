//! Objects of JSON cut out of a stream: [`JsonDecoder`].
//!
//! It counts brackets and skips strings, and leaves all else about JSON to the parser that gets the frames: `{]` is a
//! frame, and an error there.

use bytes::{Buf, BytesMut};
use memchr::memchr2;

use crate::codec::cut::cut;
use crate::codec::traits::Decoder;
use crate::error::{Error, ErrorKind};

/// Netty's limit for an object, 1 MiB.
const OBJECT_MAX: usize = 1 << 20;

/// Gives each object or array of a stream as a frame, from its first bracket to its last; the white space between them is
/// skipped.
///
/// ```
/// use bytes::BytesMut;
/// use tidegate::codec::{Decoder, JsonDecoder};
///
/// let mut decoder = JsonDecoder::default();
/// let mut bytes = BytesMut::from(r#"{"a":"}"} [1,2] {"#);
/// assert_eq!(decoder.decode(&mut bytes)?.unwrap(), r#"{"a":"}"}"#);
/// assert_eq!(decoder.decode(&mut bytes)?.unwrap(), "[1,2]");
/// assert_eq!(decoder.decode(&mut bytes)?, None);
///
/// let mut elements = JsonDecoder::new(100).stream_elements();
/// let mut bytes = BytesMut::from(r#"[ {"n":1}, 2 ]"#);
/// assert_eq!(elements.decode(&mut bytes)?.unwrap(), r#"{"n":1}"#);
/// assert_eq!(elements.decode(&mut bytes)?.unwrap(), "2");
/// # Ok::<(), tidegate::Error>(())
/// ```
///
/// # Errors of `decode`
/// - [`TooLong`](ErrorKind::TooLong): an object, or a streamed element with the white space behind it, of more than
///   `object_max` bytes; once, when so many have come. The rest of it is discarded, and decoding goes on behind it.
/// - [`Malformed`](ErrorKind::Malformed): something else than an object or an array, or between the elements of a streamed
///   one something else than an element. Everything that follows is discarded without a word, since nobody can
///   tell where the next object would begin.
/// - [`InvalidArgument`](ErrorKind::InvalidArgument) if `object_max` is 0.
#[derive(Clone, Debug)]
pub struct JsonDecoder {
    object_max: usize,
    stream_elements: bool,
    state: State,
    /// What is open in the value at the front of the input, its own brackets included.
    depth: usize,
    text: Text,
    /// The first bytes of the value that `depth` and `text` know of. At most `src.len()`.
    scanned: usize,
    /// The bytes taken off the stream so far; only for the texts of errors.
    position: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Between two objects.
    Between,
    /// In an object or array, which begins the input.
    Object,
    /// In a streamed array, before an element.
    BeforeElement {
        first: bool,
    },
    /// In an element, which begins the input.
    Element,
    /// In an object or an element that is too long; what was scanned of it is gone.
    DiscardObject,
    DiscardElement,
    /// After something that is no JSON.
    Corrupted,
}

/// Where in a string literal we are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Text {
    Outside,
    Inside,
    /// Behind a backslash.
    Escaped,
}

impl Default for JsonDecoder {
    /// Objects of at most 1 MiB, Netty's default.
    fn default() -> Self {
        Self::new(OBJECT_MAX)
    }
}

impl JsonDecoder {
    /// Objects of at most `object_max` bytes.
    pub const fn new(object_max: usize) -> Self {
        Self {
            object_max,
            stream_elements: false,
            state: State::Between,
            depth: 0,
            text: Text::Outside,
            scanned: 0,
            position: 0,
        }
    }

    /// Gives the elements of an outermost array one by one, without the white space around them, instead of the array. The
    /// limit then counts for each element.
    #[must_use]
    pub const fn stream_elements(mut self) -> Self {
        self.stream_elements = true;
        self
    }

    /// Looks at the parameters.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if `object_max` is 0.
    pub fn check(&self) -> Result<(), Error> {
        if self.object_max > 0 {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InvalidArgument,
            "JsonDecoder: object_max is 0, so no object could pass; give the largest object to be accepted",
        ))
    }

    fn step(&mut self, src: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
        loop {
            match self.state {
                State::Object => return self.object(src),
                State::Element => return self.element(src),
                State::Between => match self.next_byte(src) {
                    None => return Ok(None),
                    Some(b'[') if self.stream_elements => {
                        self.take(src, 1);
                        self.state = State::BeforeElement { first: true };
                    }
                    Some(b'{' | b'[') => self.begin(State::Object),
                    Some(other) => {
                        return Err(self.corrupted("an object or an array", other, self.position));
                    }
                },
                State::BeforeElement { first } => match self.next_byte(src) {
                    None => return Ok(None),
                    Some(b']') if first => {
                        self.take(src, 1);
                        self.state = State::Between;
                    }
                    Some(other @ (b',' | b']' | b'}')) => {
                        return Err(self.corrupted("an element", other, self.position));
                    }
                    Some(_) => self.begin(State::Element),
                },
                State::DiscardObject | State::DiscardElement => {
                    if !self.discard(src, self.state == State::DiscardElement)? {
                        return Ok(None);
                    }
                }
                State::Corrupted => return Ok(None),
            }
        }
    }

    fn take(&mut self, src: &mut BytesMut, bytes: usize) {
        self.position += bytes as u64;
        src.advance(bytes);
    }

    /// Skips white space (RFC 8259, section 2); the byte behind it.
    fn next_byte(&mut self, src: &mut BytesMut) -> Option<u8> {
        let space = src.iter().take_while(|byte| is_space(**byte)).count();
        self.take(src, space);
        src.first().copied()
    }

    fn begin(&mut self, state: State) {
        self.state = state;
        self.depth = 0;
        self.text = Text::Outside;
        self.scanned = 0;
    }

    /// Reads the value on, up to `limit` bytes of it; where its last bracket stands, or in an element the comma or bracket
    /// behind it.
    fn scan(&mut self, value: &[u8], limit: usize, element: bool) -> Option<usize> {
        let end = value.len().min(limit);
        let mut at = self.scanned.min(end);
        while at < end {
            match self.text {
                Text::Escaped => {
                    self.text = Text::Inside;
                    at += 1;
                    continue;
                }
                Text::Inside => {
                    let Some(found) = memchr2(b'"', b'\\', &value[at..end]) else {
                        break;
                    };
                    at += found;
                    self.text = if value[at] == b'"' {
                        Text::Outside
                    } else {
                        Text::Escaped
                    };
                    at += 1;
                    continue;
                }
                Text::Outside => {}
            }
            match value[at] {
                b'"' => self.text = Text::Inside,
                b'{' | b'[' => self.depth += 1,
                b',' | b'}' | b']' if element && self.depth == 0 => return Some(at),
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 && !element {
                        return Some(at);
                    }
                }
                _ => {}
            }
            at += 1;
        }
        self.scanned = end;
        None
    }

    /// At the front of an object. The first of its bytes is a bracket, so `depth` is never below 1 behind it.
    fn object(&mut self, src: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
        match self.scan(src, self.object_max, false) {
            Some(last) => {
                self.begin(State::Between);
                self.position += last as u64 + 1;
                Ok(Some(cut(src, 0, last + 1, 0)))
            }
            None if src.len() < self.object_max => Ok(None),
            None => {
                self.state = State::DiscardObject;
                Err(self.too_long())
            }
        }
    }

    /// At the front of an element.
    fn element(&mut self, src: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
        // The comma may stand behind as many bytes as are allowed.
        match self.scan(src, self.object_max.saturating_add(1), true) {
            Some(mark) => {
                let spaces = src[..mark].iter().rev().take_while(|b| is_space(**b));
                let end = mark - spaces.count();
                let state = self.behind(src[mark], self.position + mark as u64)?;
                self.begin(state);
                self.position += mark as u64 + 1;
                Ok(Some(cut(src, 0, end, mark + 1 - end)))
            }
            None if src.len() <= self.object_max => Ok(None),
            None => {
                self.state = State::DiscardElement;
                Err(self.too_long())
            }
        }
    }

    /// What comes behind the mark that ends an element.
    fn behind(&mut self, mark: u8, position: u64) -> Result<State, Error> {
        match mark {
            b',' => Ok(State::BeforeElement { first: false }),
            b']' => Ok(State::Between),
            other => Err(self.corrupted("a comma or ]", other, position)),
        }
    }

    /// Throws away what is here of a value that is too long; true once its end has come.
    fn discard(&mut self, src: &mut BytesMut, element: bool) -> Result<bool, Error> {
        match self.scan(src, usize::MAX, element) {
            Some(last) => {
                let state = if element {
                    self.behind(src[last], self.position + last as u64)?
                } else {
                    State::Between
                };
                self.begin(state);
                self.take(src, last + 1);
                Ok(true)
            }
            None => {
                self.take(src, src.len());
                self.scanned = 0;
                Ok(false)
            }
        }
    }

    #[cold]
    fn too_long(&self) -> Error {
        Error::new(
            ErrorKind::TooLong,
            format!(
                "the peer sent a JSON value of more than the {} bytes that JsonDecoder allows; it is discarded",
                self.object_max
            ),
        )
    }

    #[cold]
    fn corrupted(&mut self, expected: &str, found: u8, position: u64) -> Error {
        self.state = State::Corrupted;
        Error::new(
            ErrorKind::Malformed,
            format!(
                "the peer sent byte 0x{found:02x} at offset {position} of the stream, where JsonDecoder expects {expected}; what follows is discarded"
            ),
        )
    }
}

/// RFC 8259, section 2: ws.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

impl Decoder for JsonDecoder {
    type Item = BytesMut;
    type Error = Error;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
        self.check()?;
        let decoded = self.step(src);
        if self.state == State::Corrupted {
            src.clear();
        }
        decoded
    }
}
