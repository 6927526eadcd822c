//! [`PooledChannel`]: a channel that is lent, and that finds its way back.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::channel::Channel;
use crate::future::Completion;

/// Who has lent a channel.
pub(super) trait Lender: Send + Sync {
    fn take_back(self: Arc<Self>, channel: Channel) -> Completion;
}

/// A channel that was acquired from a pool. It is used like any channel, and goes back when this is dropped: so none is
/// lost, not even by a future of an acquire that is dropped with its channel inside.
///
/// Nothing of a request must be under way when it goes back: the next borrower gets the connection as it is.
///
/// ```
/// use tidegate::pool::ChannelPool;
/// use tidegate::{Bootstrap, Error, EventLoopGroup};
///
/// let group = EventLoopGroup::new(1)?;
/// let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
/// let bootstrap = Bootstrap::new(&group).handler(|_pipeline| Ok::<_, Error>(()));
/// let pool = ChannelPool::builder(&bootstrap, listener.local_addr().unwrap()).build();
///
/// let channel = pool.acquire().sync()?;
/// assert!(channel.is_active());
/// channel.release().sync()?;
/// // By hand, as with Netty's pools:
/// let bare = pool.acquire().sync()?.into_channel();
/// pool.release(bare).sync()?;
/// # Ok::<(), Error>(())
/// ```
pub struct PooledChannel {
    channel: Channel,
    /// `Some` until it went back, or is its borrower's to give back.
    lender: Option<Arc<dyn Lender>>,
}

impl PooledChannel {
    pub(super) fn new(channel: Channel, lender: Arc<dyn Lender>) -> Self {
        Self {
            channel,
            lender: Some(lender),
        }
    }

    /// Gives the channel back; the future tells what became of it, as that of
    /// [`ChannelPool::release`](super::ChannelPool::release).
    pub fn release(mut self) -> Completion {
        match self.lender.take() {
            Some(lender) => lender.take_back(self.channel.clone()),
            None => unreachable!("only what consumes a pooled channel takes its lender"),
        }
    }

    /// The channel without the way back: it has to be given to the pool's `release` by hand.
    pub fn into_channel(mut self) -> Channel {
        self.lender = None;
        self.channel.clone()
    }
}

impl Deref for PooledChannel {
    type Target = Channel;

    fn deref(&self) -> &Channel {
        &self.channel
    }
}

impl From<PooledChannel> for Channel {
    fn from(pooled: PooledChannel) -> Self {
        pooled.into_channel()
    }
}

impl Drop for PooledChannel {
    fn drop(&mut self) {
        if let Some(lender) = self.lender.take() {
            drop(lender.take_back(self.channel.clone()));
        }
    }
}

impl fmt::Debug for PooledChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PooledChannel({})", self.channel)
    }
}
