//! [`ChunkedInput`]: where chunks come from. Implemented by the inputs beside this file and by users; asked by
//! [`ChunkedWrite`](super::ChunkedWrite) alone, on the channel's loop.

use std::fmt;
use std::sync::Arc;

use crate::buffer::Message;
use crate::error::Failure;

/// What an input answers when it is asked for more.
#[derive(Debug)]
pub enum NextChunk {
    /// A chunk; there may be more.
    Chunk(Message),
    /// A chunk after which there is nothing more.
    Last(Message),
    /// Nothing now. The input is asked again after [`Resumer::resume`] or
    /// [`ChunkedWrite::resume_transfer`](super::ChunkedWrite::resume_transfer), and whenever the handler has another
    /// reason to look: a flush, or a channel that turned writable.
    Suspended,
    /// Nothing any more.
    End,
}

/// Something that is sent in chunks.
///
/// It is closed by being dropped: once, as soon as its last chunk was taken, it failed, or its channel ended, and
/// before the promise of the write is done. It is asked on the channel's loop, so it must not block.
///
/// ```
/// use tidegate::handler::stream::{Chunked, ChunkedInput, ChunkedWrite, NextChunk};
/// use tidegate::{EmbeddedChannel, Failure};
///
/// /// Counts down, a line a number.
/// struct Countdown(u64, u64);
///
/// impl ChunkedInput for Countdown {
///     fn next_chunk(&mut self) -> Result<NextChunk, Failure> {
///         if self.0 == 0 {
///             return Ok(NextChunk::End);
///         }
///         let line = format!("{}\n", self.0);
///         self.0 -= 1;
///         self.1 += line.len() as u64;
///         Ok(NextChunk::Chunk(line.into_bytes().into()))
///     }
///     fn progress(&self) -> u64 {
///         self.1
///     }
/// }
///
/// let mut channel = EmbeddedChannel::new(|p| p.add_last(ChunkedWrite::new()))?;
/// channel.write_outbound(Chunked::new(Countdown(2, 0)))?;
/// assert_eq!(channel.read_outbound().unwrap().as_bytes(), Some(&b"2\n"[..]));
/// assert_eq!(channel.read_outbound().unwrap().as_bytes(), Some(&b"1\n"[..]));
/// # Ok::<(), Failure>(())
/// ```
pub trait ChunkedInput: Send + 'static {
    /// The next chunk.
    ///
    /// # Errors
    /// Whatever kept it from being made. The input is dropped then, and the write fails with this.
    fn next_chunk(&mut self) -> Result<NextChunk, Failure>;

    /// How much there is altogether, if that is known: bytes, or whatever [`progress`](Self::progress) counts.
    fn length(&self) -> Option<u64> {
        None
    }

    /// How much of it was handed out.
    fn progress(&self) -> u64;

    /// Called once, before the first chunk is asked for, with the way to be asked again after
    /// [`NextChunk::Suspended`]. For inputs that are filled from elsewhere.
    fn begin(&mut self, resumer: Resumer) {
        let _ = resumer;
    }
}

/// Brings a suspended transfer back to life, from any thread.
#[derive(Clone)]
pub struct Resumer(Arc<dyn Fn() + Send + Sync>);

impl Resumer {
    pub(super) fn new(resume: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(resume))
    }

    /// Has the handler ask its inputs again, soon, on its loop. Does nothing if the handler is gone.
    pub fn resume(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Resumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resumer")
    }
}
