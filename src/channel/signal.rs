//! News from a transport that has no descriptor, or that finishes a step later.

use std::sync::Arc;

use crate::error::Error;

/// What a [`Signal`] tells.
pub(crate) enum News {
    Readable,
    Writable,
    PeerClosing,
    Broken,
    Connected(Result<(), Error>),
    Written(usize),
    Closed,
    Failed(Error),
}

/// Where the news goes: a channel, on whatever thread its loop is.
pub(crate) trait NewsDesk: Send + Sync {
    /// Takes the news; never acts on the caller's stack.
    fn take_news(self: Arc<Self>, news: News);
}

/// Tells a channel what its transport has to report. Clone and Send; the channel acts on its own loop, never on the
/// caller's stack. News for a channel that has ended is dropped, and so is news of a transport that failed to connect and
/// was replaced by one for the next address of the name.
#[derive(Clone)]
pub struct Signal {
    desk: Arc<dyn NewsDesk>,
}

impl Signal {
    pub(crate) fn new(desk: Arc<dyn NewsDesk>) -> Self {
        Self { desk }
    }

    /// For tests of what only holds on to one.
    #[cfg(test)]
    pub(crate) fn to_nobody() -> Self {
        struct Nobody;
        impl NewsDesk for Nobody {
            fn take_news(self: Arc<Self>, _: News) {}
        }
        Self::new(Arc::new(Nobody))
    }

    fn tell(&self, news: News) {
        self.desk.clone().take_news(news);
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

    /// The connection broke. What had arrived is read out, whether reading is wanted or not, until
    /// [`read`](super::Transport::read) gives the error, as with a socket's errno.
    pub fn broken(&self) {
        self.tell(News::Broken);
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
