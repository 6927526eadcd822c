//! News from a transport that has no descriptor, or that finishes a step later.

use std::sync::Arc;

use super::core::{Core, News};
use super::shared::Shared;
use crate::error::Error;

/// Tells a channel what its transport has to report. Clone and Send; the channel acts on its own loop, never on the
/// caller's stack. News for a channel that has ended is dropped.
#[derive(Clone)]
pub struct Signal {
    shared: Arc<Shared>,
}

impl Signal {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn tell(&self, news: News) {
        self.shared.on_loop(move |core: &Core| core.on_news(news));
    }

    /// A read may bring something.
    pub fn readable(&self) {
        self.tell(News::Readable);
    }

    /// The peer has ended its side; what it sent before may still be there to read, and then the end. The pipeline is
    /// told at once while reading is paused, as with a socket.
    pub fn peer_closing(&self) {
        self.tell(News::PeerClosing);
    }

    /// A flush may get further.
    pub fn writable(&self) {
        self.tell(News::Writable);
    }

    /// A pending connect has ended; on `Ok` the transport's `check_connect` is asked.
    pub fn connected(&self, result: Result<(), Error>) {
        self.tell(News::Connected(result));
    }

    /// `count` entries that a flush had taken are done: their promises succeed.
    pub fn written(&self, count: usize) {
        self.tell(News::Written(count));
    }

    /// A pending close has ended.
    pub fn closed(&self) {
        self.tell(News::Closed);
    }

    /// The transport failed: the error is shown to the pipeline and the channel closes.
    pub fn failed(&self, error: Error) {
        self.tell(News::Failed(error));
    }
}
