//! [`Pool`], what pools have in common, and [`ChannelPoolMap`], which has one for each key.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::fixed::FixedChannelPool;
use super::pooled::PooledChannel;
use super::simple::ChannelPool;
use crate::channel::Channel;
use crate::future::{Completion, TaskFuture};

/// A handle of a pool of either kind.
pub trait Pool: Clone + Send + Sync + 'static {
    /// A channel that is connected and healthy.
    fn acquire(&self) -> TaskFuture<PooledChannel>;

    /// Gives a channel back.
    fn release(&self, channel: impl Into<Channel>) -> Completion;

    /// Closes the idle channels, and refuses what is asked from now on.
    fn close(&self);
}

impl Pool for ChannelPool {
    fn acquire(&self) -> TaskFuture<PooledChannel> {
        Self::acquire(self)
    }

    fn release(&self, channel: impl Into<Channel>) -> Completion {
        Self::release(self, channel)
    }

    fn close(&self) {
        Self::close(self);
    }
}

impl Pool for FixedChannelPool {
    fn acquire(&self) -> TaskFuture<PooledChannel> {
        Self::acquire(self)
    }

    fn release(&self, channel: impl Into<Channel>) -> Completion {
        Self::release(self, channel)
    }

    fn close(&self) {
        Self::close(self);
    }
}

/// A pool for each key (mostly an address), made when it is first asked for. Clones are handles of the same map, for
/// every thread.
///
/// ```
/// use std::net::SocketAddr;
/// use tidegate::pool::{ChannelPool, ChannelPoolMap};
/// use tidegate::{Bootstrap, Error, EventLoopGroup};
///
/// let group = EventLoopGroup::new(1)?;
/// let bootstrap = Bootstrap::new(&group).handler(|_pipeline| Ok::<_, Error>(()));
/// let pools = ChannelPoolMap::new(move |peer: &SocketAddr| {
///     ChannelPool::builder(&bootstrap, *peer).fixed(4).build()
/// });
///
/// let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
/// let pool = pools.pool(&listener.local_addr().unwrap());
/// let channel = pool.acquire().sync()?;
/// drop(channel);
/// assert_eq!(pools.len(), 1);
/// pools.close();
/// # Ok::<(), Error>(())
/// ```
pub struct ChannelPoolMap<K, P> {
    inner: Arc<Inner<K, P>>,
}

struct Inner<K, P> {
    make: Box<dyn Fn(&K) -> P + Send + Sync>,
    pools: Mutex<HashMap<K, P>>,
}

impl<K, P> ChannelPoolMap<K, P>
where
    K: Eq + Hash + Clone + Send + 'static,
    P: Pool,
{
    /// A map whose pools `make` makes.
    pub fn new(make: impl Fn(&K) -> P + Send + Sync + 'static) -> Self {
        Self {
            inner: Arc::new(Inner {
                make: Box::new(make),
                pools: Mutex::default(),
            }),
        }
    }

    /// The pool of this key. Of two threads that ask for a new one at the same time both get the same.
    pub fn pool(&self, key: &K) -> P {
        if let Some(pool) = self.find(key) {
            return pool;
        }
        // Foreign code; a pool that is not needed after all has no channels yet.
        let made = (self.inner.make)(key);
        let mut pools = self.lock();
        let pool = pools.entry(key.clone()).or_insert_with(|| made.clone());
        pool.clone()
    }

    /// The pool of this key, if it was made.
    pub fn find(&self, key: &K) -> Option<P> {
        self.lock().get(key).cloned()
    }

    /// Takes a pool out and closes it. False if there is none.
    pub fn remove(&self, key: &K) -> bool {
        let removed = self.lock().remove(key);
        removed.inspect(P::close).is_some()
    }

    /// How many pools there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// True if no pool was made.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes all pools out and closes them.
    pub fn close(&self) {
        let pools = std::mem::take(&mut *self.lock());
        for pool in pools.values() {
            pool.close();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, P>> {
        let pools = self.inner.pools.lock();
        pools.unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, P> Clone for ChannelPoolMap<K, P> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl<K: fmt::Debug, P> fmt::Debug for ChannelPoolMap<K, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pools = self.inner.pools.lock();
        let pools = pools.unwrap_or_else(PoisonError::into_inner);
        f.debug_set().entries(pools.keys()).finish()
    }
}
