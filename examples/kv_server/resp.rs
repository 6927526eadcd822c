//! RESP2, the protocol of Redis: [`Command`]s in, replies out. Bytes only: it knows neither the store nor channels.
//!
//! A command is an array of bulk strings (`*2\r\n$3\r\nGET\r\n$1\r\nk\r\n`) or, for people at a keyboard, a line of words.
//! Limits are Redis' own, except that one command may have 64 MiB in all where Redis allows one string 512 MiB.

use tidegate::buffer::{Bytes, BytesMut};
use tidegate::codec::Decoder;
use tidegate::{Error, ErrorKind};

/// The most bytes of one command (a request that is larger ends the connection).
const COMMAND_MAX: usize = 64 << 20;
/// The most words of one command.
const ARGUMENTS_MAX: i64 = 1 << 20;
/// The longest line: an inline command, or the number after `*` and `$`.
const LINE_MAX: usize = 64 << 10;

/// The words of a command; the first one is its name, and there is at least one.
#[derive(Debug, PartialEq, Eq)]
pub struct Command(pub Vec<Bytes>);

/// Cuts commands out of what was received. Each byte is looked at once, however the input was cut into pieces.
#[derive(Debug, Default)]
pub struct CommandDecoder {
    /// Words that the array under way still lacks.
    missing: usize,
    /// Bytes of the array under way that were understood; 0 between commands.
    at: usize,
    /// Bytes of the line under way that hold no line end.
    searched: usize,
    /// Where the words lie that were found.
    words: Vec<(usize, usize)>,
    /// The length of the word whose bytes come next, if its line was read.
    bulk: Option<usize>,
}

impl Decoder for CommandDecoder {
    type Item = Command;
    type Error = Error;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Command>, Error> {
        loop {
            if self.at > 0 {
                return self.array(src);
            }
            match src.first() {
                None => return Ok(None),
                Some(b'*') => {
                    let Some((words, end)) = self.number(src)? else {
                        return Ok(None);
                    };
                    if words > ARGUMENTS_MAX {
                        return Err(malformed("invalid multibulk length"));
                    }
                    // Redis skips an array of no words, too.
                    match usize::try_from(words) {
                        Err(_) | Ok(0) => drop(src.split_to(end)),
                        Ok(words) => {
                            self.missing = words;
                            self.at = end;
                        }
                    }
                }
                Some(_) => match self.inline(src)? {
                    Some(command) if command.0.is_empty() => {}
                    command => return Ok(command),
                },
            }
        }
    }
}

impl CommandDecoder {
    /// Goes on with an array whose first line was read.
    fn array(&mut self, src: &mut BytesMut) -> Result<Option<Command>, Error> {
        while self.missing > 0 {
            let length = match self.bulk {
                Some(length) => length,
                None => match src.get(self.at) {
                    None => return Ok(None),
                    Some(b'$') => {
                        let Some((length, end)) = self.number(src)? else {
                            return Ok(None);
                        };
                        let length = usize::try_from(length)
                            .ok()
                            .filter(|length| length.saturating_add(end) <= COMMAND_MAX)
                            .ok_or_else(|| malformed("invalid bulk length"))?;
                        self.at = end;
                        *self.bulk.insert(length)
                    }
                    Some(other) => {
                        let other = char::from(*other).escape_default();
                        return Err(malformed(format!("expected '$', got '{other}'")));
                    }
                },
            };
            let (from, to) = (self.at, self.at + length);
            match src.get(to..to + 2) {
                None => return Ok(None),
                Some(b"\r\n") => {}
                Some(_) => return Err(malformed("expected a line end after a bulk string")),
            }
            self.words.push((from, to));
            self.at = to + 2;
            self.bulk = None;
            self.missing -= 1;
        }
        let frame = src.split_to(self.at).freeze();
        self.at = 0;
        let words = self.words.drain(..);
        Ok(Some(Command(
            words.map(|(from, to)| frame.slice(from..to)).collect(),
        )))
    }

    /// The number behind the `*` or `$` at `self.at`, and where its line ends; `None` while the line is not complete.
    fn number(&mut self, src: &[u8]) -> Result<Option<(i64, usize)>, Error> {
        let Some((line, end)) = self.line(src)? else {
            return Ok(None);
        };
        let number = integer_of(&line[1..]);
        match number {
            Some(number) => Ok(Some((number, end))),
            None => Err(malformed("expected a number")),
        }
    }

    /// A line of words.
    fn inline(&mut self, src: &mut BytesMut) -> Result<Option<Command>, Error> {
        let Some((_, end)) = self.line(src)? else {
            return Ok(None);
        };
        let line = src.split_to(end).freeze();
        let words = line
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        Ok(Some(Command(
            words.map(|word| line.slice_ref(word)).collect(),
        )))
    }

    /// The line that begins at `self.at`, without its end, and where the next one begins.
    fn line<'a>(&mut self, src: &'a [u8]) -> Result<Option<(&'a [u8], usize)>, Error> {
        let rest = &src[self.at..];
        match memchr::memchr(b'\n', &rest[self.searched..]) {
            Some(found) => {
                let end = self.searched + found;
                self.searched = 0;
                let line = &rest[..end];
                Ok(Some((
                    line.strip_suffix(b"\r").unwrap_or(line),
                    self.at + end + 1,
                )))
            }
            None if rest.len() > LINE_MAX => Err(malformed("too big a request line")),
            None => {
                self.searched = rest.len();
                Ok(None)
            }
        }
    }
}

/// The number that these digits are, perhaps behind a minus.
fn integer_of(text: &[u8]) -> Option<i64> {
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1, digits),
        digits => (1, digits),
    };
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_i64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(sign * digit)
    })
}

fn malformed(what: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Malformed, what)
}

/// Appends a status: a short text of ours.
pub fn status(text: &str, out: &mut BytesMut) {
    line(b'+', text.as_bytes(), out);
}

/// Appends an error. Line ends would cut it short, so they are blanked.
pub fn error(text: &str, out: &mut BytesMut) {
    line(b'-', text.replace(['\r', '\n'], " ").as_bytes(), out);
}

/// Appends a number.
pub fn integer(number: i64, out: &mut BytesMut) {
    line(b':', number.to_string().as_bytes(), out);
}

/// Appends a string of any bytes, or the absence of one.
pub fn bulk(value: Option<&[u8]>, out: &mut BytesMut) {
    match value {
        None => out.extend_from_slice(b"$-1\r\n"),
        Some(value) => {
            bulk_head(value.len(), out);
            out.extend_from_slice(value);
            bulk_tail(out);
        }
    }
}

/// Appends what stands before a string of that many bytes.
pub fn bulk_head(length: usize, out: &mut BytesMut) {
    line(b'$', length.to_string().as_bytes(), out);
}

/// Appends what stands behind a string.
pub fn bulk_tail(out: &mut BytesMut) {
    out.extend_from_slice(b"\r\n");
}

/// Appends an array without elements.
pub fn nothing(out: &mut BytesMut) {
    line(b'*', b"0", out);
}

fn line(kind: u8, text: &[u8], out: &mut BytesMut) {
    out.reserve(text.len() + 3);
    out.extend_from_slice(&[kind]);
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out when the input comes in pieces of these sizes, the last one repeated; the error's text at the end.
    fn decode(input: &[u8], first: usize, then: usize) -> (Vec<Vec<String>>, Option<String>) {
        let mut decoder = CommandDecoder::default();
        let (mut src, mut commands) = (BytesMut::new(), Vec::new());
        let (mut rest, mut size) = (input, first);
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(size.min(rest.len()));
            src.extend_from_slice(piece);
            rest = later;
            size = then;
            loop {
                match decoder.decode(&mut src) {
                    Ok(Some(Command(words))) => commands.push(
                        words
                            .iter()
                            .map(|word| String::from_utf8_lossy(word).into_owned())
                            .collect(),
                    ),
                    Ok(None) => break,
                    Err(error) => return (commands, Some(error.to_string())),
                }
            }
        }
        (commands, None)
    }

    #[test]
    fn numbers_are_digits_with_a_sign_at_most() {
        assert_eq!(integer_of(b"0"), Some(0));
        assert_eq!(integer_of(b"-1"), Some(-1));
        let smallest = i64::MIN.to_string();
        assert_eq!(integer_of(smallest.as_bytes()), Some(i64::MIN));
        assert_eq!(integer_of(&smallest.as_bytes()[1..]), None, "one too large");
        for wrong in ["", "-", "+1", "1x", " 1", "--1"] {
            assert_eq!(integer_of(wrong.as_bytes()), None, "{wrong:?}");
        }
    }

    #[test]
    fn commands_are_the_same_however_they_were_cut() {
        let inputs: [&[u8]; 9] = [
            b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$4\r\nPING\r\n",
            b"PING\r\n\r\nSET a  b\nGET a\r\n",
            b"*0\r\n*-1\r\n*1\r\n$0\r\n\r\nPING\r\n",
            b"*1\r\n$7\r\na\r\nb\r\nc\r\n",
            b"*1\r\n$3\r\nGETxx",
            b"*1\r\n:3\r\n",
            b"*x\r\n",
            b"*1\r\n$-1\r\n",
            b"*1\r\n$99999999999\r\n",
        ];
        for input in inputs {
            let whole = decode(input, input.len(), 1);
            for first in 1..=input.len() {
                assert_eq!(decode(input, first, input.len()), whole, "cut at {first}");
                assert_eq!(decode(input, first, 1), whole, "bytes after {first}");
            }
        }
        let (commands, _) = decode(inputs[1], 1, 1);
        assert_eq!(commands[1], ["SET", "a", "b"]);
        assert_eq!(
            decode(inputs[3], 1, 1),
            (vec![vec!["a\r\nb\r\nc".to_owned()]], None)
        );
        let failed = |input| decode(input, 1, 1).1.unwrap();
        assert_eq!(failed(inputs[4]), "expected a line end after a bulk string");
        assert_eq!(failed(inputs[5]), "expected '$', got ':'");
        assert_eq!(failed(inputs[6]), "expected a number");
        assert_eq!(failed(inputs[7]), "invalid bulk length");
        assert_eq!(failed(inputs[8]), "invalid bulk length");
    }

    #[test]
    fn limits_hold_before_memory_is_taken() {
        assert_eq!(
            decode(b"*1048577\r\n", 1, 1).1.unwrap(),
            "invalid multibulk length"
        );
        let endless = vec![b'x'; LINE_MAX + 2];
        assert_eq!(
            decode(&endless, 1000, 1000).1.unwrap(),
            "too big a request line"
        );
    }
}
