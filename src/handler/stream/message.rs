//! [`Chunked`]: an input as a message. Users write it; [`ChunkedWrite`](super::ChunkedWrite) takes it apart.

use std::fmt;

use super::input::ChunkedInput;
use crate::buffer::Message;

/// How far a transfer has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// What the transport has taken so far, in the units of [`ChunkedInput::progress`]: bytes, for the inputs here.
    pub written: u64,
    /// What there is altogether, if the input knows.
    pub total: Option<u64>,
}

pub(super) type Observer = Box<dyn FnMut(Progress) + Send>;

/// A message that is sent in chunks: `channel.write(Chunked::new(input))`, with a
/// [`ChunkedWrite`](super::ChunkedWrite) in the pipeline. The write's promise is done when the last chunk was taken by
/// the transport, and only after the input was dropped.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use tidegate::handler::stream::{Chunked, ChunkedBytes, ChunkedWrite};
/// use tidegate::EmbeddedChannel;
///
/// let sent = Arc::new(AtomicU64::new(0));
/// let mut channel = EmbeddedChannel::new(|p| p.add_last(ChunkedWrite::new()))?;
/// let counter = sent.clone();
/// let upload = Chunked::new(ChunkedBytes::new(vec![7; 20_000]))
///     .on_progress(move |progress| counter.store(progress.written, Ordering::Relaxed));
/// channel.write_outbound(upload)?;
/// assert_eq!(sent.load(Ordering::Relaxed), 20_000);
/// # Ok::<(), tidegate::Failure>(())
/// ```
pub struct Chunked {
    pub(super) input: Box<dyn ChunkedInput>,
    pub(super) observer: Option<Observer>,
}

impl Chunked {
    /// A message that is made of this input's chunks.
    pub fn new(input: impl ChunkedInput) -> Self {
        Self {
            input: Box::new(input),
            observer: None,
        }
    }

    /// Calls `observer` on the channel's loop each time the transport has taken another chunk (rule C17).
    #[must_use]
    pub fn on_progress(mut self, observer: impl FnMut(Progress) + Send + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }
}

impl From<Chunked> for Message {
    fn from(chunked: Chunked) -> Self {
        Self::new(chunked)
    }
}

impl fmt::Debug for Chunked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunked")
            .field("progress", &self.input.progress())
            .field("length", &self.input.length())
            .finish()
    }
}
