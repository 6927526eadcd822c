//! Decoders written as if everything had arrived: [`Replaying`] runs a [`Replay`], which takes what it needs from an
//! [`Input`] and lets `?` say that it is not there yet. What it had taken is then put back, and it is run again when more
//! has come.
//!
//! That is convenient, and slower than a decoder that looks first. Long messages want checkpoints: the state reached so far
//! is kept in the `Replay`, and what was taken before is not replayed.

use bytes::{Buf, BytesMut};
use memchr::memchr;

use crate::codec::traits::Decoder;
use crate::error::{Error, ErrorKind};

/// So many rounds in a row without a byte taken are taken for an endless loop. A decoder moves its state a few times
/// between two bytes, not a thousand.
const IDLE_ROUNDS_MAX: u32 = 1000;

/// A decoder without length checks. A closure `FnMut(&mut Input<'_>) -> Result<Option<T>, Halt>` is one too.
///
/// ```
/// use bytes::BytesMut;
/// use tidegate::codec::{Decoder, Halt, Input, Replay, Replaying};
///
/// /// A record: a count, and so many numbers. The count is a checkpoint, and so is each number.
/// #[derive(Default)]
/// struct Records {
///     missing: Option<u8>,
///     numbers: Vec<u16>,
/// }
///
/// impl Replay for Records {
///     type Item = Vec<u16>;
///
///     fn replay(&mut self, input: &mut Input<'_>) -> Result<Option<Vec<u16>>, Halt> {
///         let mut missing = match self.missing {
///             Some(missing) => missing,
///             None => input.take_u8()?,
///         };
///         while missing > 0 {
///             self.missing = Some(missing);
///             input.checkpoint();
///             self.numbers.push(input.take_u16()?);
///             missing -= 1;
///         }
///         self.missing = None;
///         Ok(Some(std::mem::take(&mut self.numbers)))
///     }
/// }
///
/// let mut decoder = Replaying::new(64, Records::default());
/// let mut bytes = BytesMut::from(&[2, 0, 1, 0][..]);
/// assert_eq!(decoder.decode(&mut bytes)?, None);
/// bytes.extend_from_slice(&[7]);
/// assert_eq!(decoder.decode(&mut bytes)?, Some(vec![1, 7]));
/// # Ok::<(), tidegate::Error>(())
/// ```
pub trait Replay {
    /// What comes out.
    type Item;

    /// The next value. `Ok(None)` means: nothing to give, run me again, as I have taken bytes or moved my state (and
    /// called [`Input::checkpoint`] to say so).
    ///
    /// # Errors
    /// [`Halt`] from the input, passed on by `?`, or an [`Error`] for what the protocol does not allow: what was taken
    /// until then is gone.
    fn replay(&mut self, input: &mut Input<'_>) -> Result<Option<Self::Item>, Halt>;
}

impl<T, F> Replay for F
where
    F: FnMut(&mut Input<'_>) -> Result<Option<T>, Halt>,
{
    type Item = T;

    fn replay(&mut self, input: &mut Input<'_>) -> Result<Option<T>, Halt> {
        self(input)
    }
}

/// Why a replay stopped; made by [`Input`], and from an [`Error`].
#[derive(Debug)]
pub struct Halt(Why);

#[derive(Debug)]
enum Why {
    /// So many bytes are needed at the front of the input to get further.
    More(usize),
    Failed(Error),
}

impl Halt {
    #[cold]
    fn more(bytes: usize) -> Self {
        Self(Why::More(bytes))
    }
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self(Why::Failed(error))
    }
}

/// Runs a [`Replay`] as a [`Decoder`].
///
/// # Errors of `decode`
/// - those of the `Replay`; decoding goes on behind what it had taken.
/// - [`TooLong`](ErrorKind::TooLong) if it needs more than `bytes_max` bytes from its last checkpoint on; everything
///   that follows is discarded, since nobody can tell where it could go on.
/// - [`NoProgress`](ErrorKind::NoProgress) if it gives nothing, takes nothing and makes no checkpoint.
#[derive(Clone, Debug)]
pub struct Replaying<R> {
    decoder: R,
    bytes_max: usize,
    /// A call is useless before so many bytes are there.
    wanted: usize,
    search: Search,
    overrun: bool,
}

/// A search that found nothing: it is not repeated over the same bytes.
#[derive(Clone, Copy, Default, Debug)]
struct Search {
    /// Where it began, which byte it was for, and where it ended; `begin == end` if there was none.
    begin: usize,
    byte: u8,
    end: usize,
}

impl<R> Replaying<R> {
    /// Runs `decoder`, which never needs more than `bytes_max` bytes to get from one checkpoint, or value, to the next.
    pub const fn new(bytes_max: usize, decoder: R) -> Self {
        Self {
            decoder,
            bytes_max,
            wanted: 0,
            search: Search {
                begin: 0,
                byte: 0,
                end: 0,
            },
            overrun: false,
        }
    }

    /// The decoder that is run.
    pub fn get_ref(&self) -> &R {
        &self.decoder
    }

    /// The decoder that is run; what it has taken and not given out yet is in its hands.
    pub fn into_inner(self) -> R {
        self.decoder
    }
}

impl<R: Replay> Replaying<R> {
    fn run(&mut self, src: &mut BytesMut, ended: bool) -> Result<Option<R::Item>, Error> {
        if self.overrun {
            src.clear();
            return Ok(None);
        }
        let mut idle = 0;
        loop {
            if src.len() < self.wanted.max(1) && !ended {
                return Ok(None);
            }
            let before = src.len();
            let mut input = Input {
                src,
                at: 0,
                bytes_max: self.bytes_max,
                ended,
                moved: false,
                search: &mut self.search,
            };
            let outcome = self.decoder.replay(&mut input);
            let moved = input.moved;
            match outcome {
                Ok(value) => {
                    input.checkpoint();
                    self.wanted = 0;
                    if value.is_some() {
                        return Ok(value);
                    }
                }
                Err(Halt(Why::More(bytes))) => return self.halted(bytes, src),
                Err(Halt(Why::Failed(error))) => {
                    input.checkpoint();
                    self.wanted = 0;
                    return Err(error);
                }
            }
            idle = if src.len() < before { 0 } else { idle + 1 };
            if idle > 0 && !moved || idle > IDLE_ROUNDS_MAX {
                return Err(no_progress());
            }
        }
    }

    /// The input was not enough. What was taken since the last checkpoint is still there.
    fn halted(&mut self, bytes: usize, src: &mut BytesMut) -> Result<Option<R::Item>, Error> {
        if bytes <= self.bytes_max {
            self.wanted = bytes;
            return Ok(None);
        }
        self.overrun = true;
        src.clear();
        Err(too_long(self.bytes_max))
    }
}

#[cold]
fn too_long(bytes_max: usize) -> Error {
    Error::new(
        ErrorKind::TooLong,
        format!(
            "the peer's message needs more than the {bytes_max} bytes that Replaying allows between two checkpoints; what follows is discarded"
        ),
    )
}

#[cold]
fn no_progress() -> Error {
    Error::new(
        ErrorKind::NoProgress,
        "a Replay gave nothing, took nothing and made no checkpoint: it would be run for ever; end it with a take that asks for more",
    )
}

impl<R: Replay> Decoder for Replaying<R> {
    type Item = R::Item;
    type Error = Error;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<R::Item>, Error> {
        self.run(src, false)
    }

    /// As `decode`, with [`Input::is_ended`] true. It is run with an empty input too.
    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<R::Item>, Error> {
        self.run(src, true)
    }
}

/// The bytes that a [`Replay`] reads. Everything that takes fails with a [`Halt`] if there is not enough; pass it on.
#[derive(Debug)]
pub struct Input<'a> {
    src: &'a mut BytesMut,
    /// The bytes taken since the last checkpoint; `at <= src.len()`.
    at: usize,
    /// `at <= bytes_max`, however much is here: the limit is not to depend on the reads.
    bytes_max: usize,
    ended: bool,
    /// Whether there was a checkpoint in this run.
    moved: bool,
    search: &'a mut Search,
}

macro_rules! numbers {
    ($($name:ident $name_le:ident $type:ty)*) => {$(
        /// The next number, most significant byte first.
        ///
        /// # Errors
        /// [`Halt`] if it is not all there.
        #[inline]
        pub fn $name(&mut self) -> Result<$type, Halt> {
            Ok(<$type>::from_be_bytes(self.take_array()?))
        }

        /// The next number, least significant byte first.
        ///
        /// # Errors
        /// [`Halt`] if it is not all there.
        #[inline]
        pub fn $name_le(&mut self) -> Result<$type, Halt> {
            Ok(<$type>::from_le_bytes(self.take_array()?))
        }
    )*};
}

impl Input<'_> {
    /// Keeps what was taken so far out of the next replay. The state that was reached must be stored before.
    pub fn checkpoint(&mut self) {
        self.src.advance(self.at);
        self.at = 0;
        self.moved = true;
        *self.search = Search::default();
    }

    /// The bytes that are here and were not taken.
    pub fn remaining(&self) -> usize {
        self.src.len() - self.at
    }

    /// Whether no more bytes will come than are here.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The next byte, without taking it.
    ///
    /// # Errors
    /// [`Halt`] if there is none.
    pub fn peek_u8(&self) -> Result<u8, Halt> {
        Ok(self.src[self.end_of(1)? - 1])
    }

    /// The next byte.
    ///
    /// # Errors
    /// [`Halt`] if there is none.
    pub fn take_u8(&mut self) -> Result<u8, Halt> {
        let byte = self.peek_u8()?;
        self.at += 1;
        Ok(byte)
    }

    numbers! {
        take_u16 take_u16_le u16
        take_u32 take_u32_le u32
        take_u64 take_u64_le u64
        take_i16 take_i16_le i16
        take_i32 take_i32_le i32
        take_i64 take_i64_le i64
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`Halt`] if they are not all there.
    #[inline]
    pub fn take_array<const N: usize>(&mut self) -> Result<[u8; N], Halt> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    /// The next `len` bytes, where they are.
    ///
    /// # Errors
    /// [`Halt`] if they are not all there.
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&[u8], Halt> {
        let from = self.at;
        self.at = self.end_of(len)?;
        Ok(&self.src[from..self.at])
    }

    /// The next `len` bytes as a copy. [`split`](Self::split) copies nothing.
    ///
    /// # Errors
    /// [`Halt`] if they are not all there.
    pub fn take_bytes(&mut self, len: usize) -> Result<BytesMut, Halt> {
        Ok(BytesMut::from(self.take(len)?))
    }

    /// The next `len` bytes without copying them, and a [`checkpoint`](Self::checkpoint) behind them: bytes that were given
    /// away cannot be replayed. So take what belongs to them first, and store the state they lead to.
    ///
    /// # Errors
    /// [`Halt`] if they are not all there; there is no checkpoint then.
    pub fn split(&mut self, len: usize) -> Result<BytesMut, Halt> {
        self.end_of(len)?;
        self.checkpoint();
        Ok(self.src.split_to(len))
    }

    /// What stands before the next `byte`, which is taken as well and not given.
    ///
    /// # Errors
    /// [`Halt`] if there is no such byte yet. How far to look is limited by what [`Replaying`] allows.
    pub fn take_until(&mut self, byte: u8) -> Result<&[u8], Halt> {
        let from = self.at;
        let mut begin = from;
        if self.search.begin == from && self.search.byte == byte && self.search.end > from {
            begin = self.search.end.min(self.src.len());
        }
        let end = self.src.len().min(self.bytes_max);
        match memchr(byte, &self.src[begin.min(end)..end]) {
            Some(found) => {
                self.at = begin + found + 1;
                Ok(&self.src[from..begin + found])
            }
            None => {
                *self.search = Search {
                    begin: from,
                    byte,
                    end,
                };
                Err(Halt::more(end.saturating_add(1)))
            }
        }
    }

    /// Takes `len` bytes for nothing.
    ///
    /// # Errors
    /// [`Halt`] if they are not all there.
    pub fn skip(&mut self, len: usize) -> Result<(), Halt> {
        self.at = self.end_of(len)?;
        Ok(())
    }

    /// All that is left of the stream, which may be nothing.
    ///
    /// # Errors
    /// [`Halt`] until the stream has ended.
    pub fn take_rest(&mut self) -> Result<&[u8], Halt> {
        let end = self.end_of(self.remaining() + usize::from(!self.ended))?;
        let from = self.at;
        self.at = end;
        Ok(&self.src[from..])
    }

    /// Where the next `len` bytes end, if they are here. No length that a peer may name overflows.
    #[inline]
    fn end_of(&self, len: usize) -> Result<usize, Halt> {
        let end = self.at.saturating_add(len);
        if end > self.src.len() || end > self.bytes_max {
            return Err(Halt::more(end));
        }
        Ok(end)
    }
}
