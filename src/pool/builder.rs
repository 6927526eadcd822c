//! [`PoolBuilder`] and [`FixedPoolBuilder`]: what can be chosen of a pool.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::fixed::{AcquireTimeout, FixedChannelPool, Limits};
use super::health::Health;
use super::hooks::{NoHooks, PoolHandler};
use super::shelf::Shelf;
use super::simple::{ChannelPool, Connect, Parts};
use crate::bootstrap::Bootstrap;
use crate::channel::{Address, Channel, ChannelFuture, IntoAddress};
use crate::event_loop::EventLoop;
use crate::future::TaskFuture;
use crate::transport::ClientTransport;

/// The choices of a [`ChannelPool`].
///
/// ```
/// use tidegate::pool::ChannelPool;
/// use tidegate::{Bootstrap, Error, EventLoopGroup};
///
/// let group = EventLoopGroup::new(1)?;
/// let bootstrap = Bootstrap::new(&group).handler(|_pipeline| Ok::<_, Error>(()));
/// let pool = ChannelPool::builder(&bootstrap, ("localhost", 6379))
///     .fifo()
///     .max_idle(8)
///     .healthy_if(|channel| channel.is_writable())
///     .build();
/// assert_eq!(pool.idle(), 0);
/// # Ok::<(), Error>(())
/// ```
#[must_use = "a builder does nothing until build() is called"]
pub struct PoolBuilder {
    home: EventLoop,
    connect: Connect,
    hooks: Arc<dyn PoolHandler>,
    health: Health,
    health_check_timeout: Option<Duration>,
    checks_on_release: bool,
    is_fifo: bool,
    max_idle: Option<usize>,
}

/// The choices of a [`FixedChannelPool`].
#[must_use = "a builder does nothing until build() is called"]
#[derive(Debug)]
pub struct FixedPoolBuilder {
    pool: PoolBuilder,
    max: usize,
    max_pending: usize,
    timeout: Option<(Duration, AcquireTimeout)>,
}

impl ChannelPool {
    /// A pool of connections to `remote`, made by this bootstrap as it is now.
    pub fn builder<T: ClientTransport>(
        bootstrap: &Bootstrap<T>,
        remote: impl IntoAddress<T::Family>,
    ) -> PoolBuilder {
        let bootstrap = bootstrap.clone();
        let remote: Address = remote.into_address();
        let home = bootstrap.next_loop();
        Self::connecting(&home, move || bootstrap.connect(remote.clone()))
    }

    /// A pool of channels that `connect` makes, whatever they are: connections that are ready only after a handshake,
    /// streams of a multiplexer. Listeners of the pool's futures, and its timers, run on `home`.
    pub fn connecting(
        home: &EventLoop,
        connect: impl Fn() -> ChannelFuture + Send + Sync + 'static,
    ) -> PoolBuilder {
        PoolBuilder {
            home: home.clone(),
            connect: Box::new(connect),
            hooks: Arc::new(NoHooks),
            health: Health::Active,
            health_check_timeout: None,
            checks_on_release: true,
            is_fifo: false,
            max_idle: None,
        }
    }
}

impl PoolBuilder {
    /// Who hears of the channels.
    pub fn handler(mut self, hooks: impl PoolHandler) -> Self {
        self.hooks = Arc::new(hooks);
        self
    }

    /// Lends only channels that are active and for which `check` says so. It runs on the channel's loop, so it must not
    /// block.
    pub fn healthy_if(mut self, check: impl Fn(&Channel) -> bool + Send + Sync + 'static) -> Self {
        self.health = Health::Quick(Arc::new(check));
        self
    }

    /// As [`healthy_if`](Self::healthy_if), for checks that have to ask the peer. An error means "no". Until the check has
    /// ended its channel is neither idle nor lent, and whoever acquires it waits: give it a
    /// [`health_check_timeout`](Self::health_check_timeout), unless it has a limit of its own.
    pub fn health_check(
        mut self,
        check: impl Fn(&Channel) -> TaskFuture<bool> + Send + Sync + 'static,
    ) -> Self {
        self.health = Health::Slow(Arc::new(check));
        self
    }

    /// How long a [`health_check`](Self::health_check) may take; for ever by default. One that has not answered by then means
    /// "no": its channel is closed, its future is cancelled, and an acquire goes on with the next channel.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidegate::pool::ChannelPool;
    /// # use tidegate::{Bootstrap, Channel, Error, EventLoopGroup};
    /// # use tidegate::future::TaskFuture;
    /// # fn ping(channel: &Channel) -> TaskFuture<bool> { channel.event_loop().new_promise().1 }
    /// # let group = EventLoopGroup::new(1)?;
    /// # let bootstrap = Bootstrap::new(&group).handler(|_pipeline| Ok::<_, Error>(()));
    /// let pool = ChannelPool::builder(&bootstrap, ("localhost", 6379))
    ///     .health_check(|channel| ping(channel))
    ///     .health_check_timeout(Duration::from_secs(1))
    ///     .build();
    /// # Ok::<(), Error>(())
    /// ```
    pub fn health_check_timeout(mut self, timeout: Duration) -> Self {
        self.health_check_timeout = Some(timeout);
        self
    }

    /// Whether channels are checked when they come back as well; true by default.
    pub fn check_on_release(mut self, on: bool) -> Self {
        self.checks_on_release = on;
        self
    }

    /// Lends the channel that has been idle for the longest. By default it is the one that was used last, so that
    /// connections that are not needed stay unused and the peer may drop them.
    pub fn fifo(mut self) -> Self {
        self.is_fifo = true;
        self
    }

    /// How many channels may be idle; any number by default.
    pub fn max_idle(mut self, channels: usize) -> Self {
        self.max_idle = Some(channels);
        self
    }

    /// A pool that lends at most `max` channels at once; at least 1.
    pub fn fixed(self, max: usize) -> FixedPoolBuilder {
        FixedPoolBuilder {
            pool: self,
            max: max.max(1),
            max_pending: usize::MAX,
            timeout: None,
        }
    }

    /// The pool. It connects when it is asked for a channel.
    pub fn build(self) -> ChannelPool {
        ChannelPool::new(Parts {
            home: self.home,
            connect: self.connect,
            hooks: self.hooks,
            health: self.health,
            health_check_timeout: self.health_check_timeout,
            checks_on_release: self.checks_on_release,
            shelf: Shelf::new(self.is_fifo, self.max_idle),
        })
    }
}

impl FixedPoolBuilder {
    /// How many may wait for a channel; any number by default.
    pub fn max_pending(mut self, acquires: usize) -> Self {
        self.max_pending = acquires;
        self
    }

    /// What happens to an acquire that has waited for so long; by default it waits on.
    pub fn acquire_timeout(mut self, timeout: Duration, action: AcquireTimeout) -> Self {
        self.timeout = Some((timeout, action));
        self
    }

    /// The pool. It connects when it is asked for a channel.
    pub fn build(self) -> FixedChannelPool {
        let limits = Limits {
            max: self.max,
            max_pending: self.max_pending,
            timeout: self.timeout,
        };
        FixedChannelPool::new(self.pool.build(), limits)
    }
}

impl fmt::Debug for PoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("home", &self.home.name())
            .field("is_fifo", &self.is_fifo)
            .field("max_idle", &self.max_idle)
            .field("checks_on_release", &self.checks_on_release)
            .finish_non_exhaustive()
    }
}
