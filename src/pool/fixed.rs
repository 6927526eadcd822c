//! [`FixedChannelPool`]: no more than so many channels at once; who comes later waits in a queue, but not for ever.
//!
//! A place is taken before a channel is asked for, and freed when the channel came back (whatever became of it then) or
//! could not be had. So the number of places taken is never below the number of channels that are lent.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::line::{Line, Waits};
use super::pooled::{Lender, PooledChannel};
use super::shelf::closed;
use super::simple::ChannelPool;
use crate::channel::Channel;
use crate::error::{Error, ErrorKind};
use crate::event_loop::ScheduledFuture;
use crate::future::{Completion, Promise, TaskFuture, TaskPromise};

/// What happens to an acquire that has waited too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AcquireTimeout {
    /// It fails with [`ErrorKind::TimedOut`].
    Fail,
    /// It gets a channel all the same, beyond the limit: a new one, if none is idle.
    New,
}

/// A pool that lends at most so many channels at once.
///
/// A channel that dies while it is lent keeps its place until it is given back like any other.
///
/// ```
/// use std::time::Duration;
/// use tidegate::pool::{AcquireTimeout, ChannelPool};
/// use tidegate::{Bootstrap, Error, ErrorKind, EventLoopGroup};
///
/// let group = EventLoopGroup::new(1)?;
/// let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
/// let bootstrap = Bootstrap::new(&group).handler(|_pipeline| Ok::<_, Error>(()));
/// let pool = ChannelPool::builder(&bootstrap, listener.local_addr().unwrap())
///     .fixed(1)
///     .max_pending(1)
///     .acquire_timeout(Duration::from_secs(5), AcquireTimeout::Fail)
///     .build();
///
/// let channel = pool.acquire().sync()?;
/// let waiting = pool.acquire();
/// assert_eq!(pool.acquire().sync().unwrap_err().kind(), ErrorKind::Rejected);
/// drop(channel);
/// waiting.sync()?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct FixedChannelPool {
    inner: Arc<Inner>,
}

struct Inner {
    pool: ChannelPool,
    limits: Limits,
    state: Mutex<State>,
}

/// What the builder chooses.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// At least 1.
    pub(super) max: usize,
    pub(super) max_pending: usize,
    pub(super) timeout: Option<(Duration, AcquireTimeout)>,
}

#[derive(Default)]
struct State {
    /// Places taken; above the maximum only by [`AcquireTimeout::New`].
    taken: usize,
    pending: Line<Waiter>,
    is_closed: bool,
    /// Never due; it fails when the pool's loop begins to end, and then nobody is to wait any more. There is one as soon as
    /// somebody has waited.
    vigil: Option<ScheduledFuture<()>>,
}

struct Waiter {
    promise: TaskPromise<PooledChannel>,
    timer: Option<ScheduledFuture<()>>,
}

impl Waiter {
    fn promise(self) -> TaskPromise<PooledChannel> {
        if let Some(timer) = self.timer {
            timer.cancel();
        }
        self.promise
    }
}

impl Waits for Waiter {
    fn is_over(&self) -> bool {
        self.promise.is_done()
    }
}

impl FixedChannelPool {
    pub(super) fn new(pool: ChannelPool, limits: Limits) -> Self {
        Self {
            inner: Arc::new(Inner {
                pool,
                limits,
                state: Mutex::default(),
            }),
        }
    }

    /// A channel that is connected and healthy, as soon as there is a place. It goes back when it is dropped, and so does
    /// one that nobody takes out of the future.
    ///
    /// The future fails as that of [`ChannelPool::acquire`] does; with [`ErrorKind::Rejected`] if too many wait already;
    /// with [`ErrorKind::TimedOut`] if that was chosen; with [`ErrorKind::Terminated`] if the pool's loop begins to end while it
    /// waits. Do not block on it on an event loop that channels of the pool
    /// live on.
    pub fn acquire(&self) -> TaskFuture<PooledChannel> {
        let (promise, future) = TaskPromise::pair(self.inner.pool.home().host());
        Inner::acquire(&self.inner, promise);
        future
    }

    /// Gives a channel back, as [`PooledChannel::release`] does: for those who have the bare channel. Whoever waits is
    /// served before this future is done.
    ///
    /// The future fails as that of [`ChannelPool::release`] does. Only a foreign channel frees no place.
    pub fn release(&self, channel: impl Into<Channel>) -> Completion {
        self.inner.clone().take_back(channel.into())
    }

    /// Closes the idle channels, fails whoever waits, and refuses what is asked from now on.
    pub fn close(&self) {
        self.inner.close();
    }

    /// How many channels are lent or on their way.
    pub fn in_use(&self) -> usize {
        self.inner.lock().taken
    }

    /// How many wait for a place.
    pub fn pending(&self) -> usize {
        self.inner.lock().pending.len()
    }

    /// How many channels are idle.
    pub fn idle(&self) -> usize {
        self.inner.pool.idle()
    }

    /// True once the pool was closed.
    pub fn is_closed(&self) -> bool {
        self.inner.lock().is_closed
    }
}

impl Inner {
    fn acquire(this: &Arc<Self>, promise: TaskPromise<PooledChannel>) {
        let mut gone = Vec::new();
        let mut state = this.lock();
        if state.is_closed {
            drop(state);
            promise.try_failure(closed());
            return;
        }
        if state.taken < this.limits.max {
            state.taken += 1;
            drop(state);
            return Self::fetch(this, promise);
        }
        let has_room = state.pending.has_room(this.limits.max_pending, &mut gone);
        if !has_room {
            drop(state);
            promise.try_failure(Error::new(
                ErrorKind::Rejected,
                format!(
                    "too many outstanding acquires: all {} channels are lent, and {} wait for one",
                    this.limits.max, this.limits.max_pending
                ),
            ));
            return;
        }
        let completion = promise.completion();
        let id = state.pending.join(Waiter {
            promise,
            timer: None,
        });
        drop(state);
        for waiter in gone {
            waiter.promise();
        }
        Self::heed_leave(this, id, &completion);
        this.set_timer(this, id);
        Self::keep_vigil(this);
    }

    /// Who gives up waits no more.
    fn heed_leave(this: &Arc<Self>, id: u64, completion: &Completion) {
        let pool = Arc::downgrade(this);
        completion.add_listener(move |result| {
            if let Err(error) = result
                && error.kind() == ErrorKind::Cancelled
                && let Some(pool) = pool.upgrade()
            {
                let left = pool.lock().pending.leave(id);
                drop(left.map(Waiter::promise));
            }
        });
    }

    /// With its loop the pool's channels end. Those that are lent may come back long after that, or never, so it is no use to
    /// wait for them.
    fn keep_vigil(this: &Arc<Self>) {
        let mut state = this.lock();
        if state.is_closed || state.vigil.as_ref().is_some_and(|vigil| !vigil.is_done()) {
            return;
        }
        let vigil = this.pool.home().schedule(Duration::MAX, || ());
        let ended = vigil.completion();
        state.vigil = Some(vigil);
        drop(state);
        let pool = Arc::downgrade(this);
        ended.add_listener(move |_| {
            if let Some(pool) = pool.upgrade() {
                pool.loop_ended();
            }
        });
    }

    fn loop_ended(&self) {
        let pending = self.lock().pending.take();
        for waiter in pending {
            waiter.promise().try_failure(Error::new(
                ErrorKind::Terminated,
                format!(
                    "the event loop {} of the channel pool ended before a channel came back",
                    self.pool.home().name()
                ),
            ));
        }
    }

    fn set_timer(&self, this: &Arc<Self>, id: u64) {
        let Some((timeout, action)) = self.limits.timeout else {
            return;
        };
        let pool = Arc::downgrade(this);
        let timer = self.pool.home().schedule(timeout, move || {
            if let Some(pool) = pool.upgrade() {
                Self::timed_out(&pool, id, timeout, action);
            }
        });
        let mut state = self.lock();
        match state.pending.find(id) {
            Some(waiter) => waiter.timer = Some(timer),
            // Its turn came meanwhile.
            None => {
                drop(state);
                timer.cancel();
            }
        }
    }

    fn timed_out(this: &Arc<Self>, id: u64, timeout: Duration, action: AcquireTimeout) {
        let mut state = this.lock();
        let Some(waiter) = state.pending.leave(id) else {
            return;
        };
        if action == AcquireTimeout::New {
            state.taken += 1;
        }
        drop(state);
        match action {
            AcquireTimeout::New => Self::fetch(this, waiter.promise),
            AcquireTimeout::Fail => {
                waiter.promise.try_failure(Error::new(
                    ErrorKind::TimedOut,
                    format!(
                        "no channel within {timeout:?}: all {} of the pool are lent",
                        this.limits.max
                    ),
                ));
            }
        }
    }

    /// Asks for a channel, for which a place was taken.
    fn fetch(this: &Arc<Self>, promise: TaskPromise<PooledChannel>) {
        let pool = this.clone();
        this.pool.acquire().on_result(move |result| match result {
            Ok(channel) => {
                let channel = PooledChannel::new(channel.into_channel(), pool);
                // If nobody waits any more it comes back at once.
                drop(promise.try_success(channel));
            }
            Err(error) => {
                Self::free_place(&pool);
                promise.try_failure(error);
            }
        });
    }

    /// A place is free: it is for whoever has waited the longest.
    fn free_place(this: &Arc<Self>) {
        let mut state = this.lock();
        state.taken = state.taken.saturating_sub(1);
        if state.taken >= this.limits.max {
            return;
        }
        if let Some(waiter) = state.pending.next() {
            state.taken += 1;
            drop(state);
            Self::fetch(this, waiter.promise());
        }
    }

    fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        let pending = state.pending.take();
        let vigil = state.vigil.take();
        drop(state);
        if let Some(vigil) = vigil {
            vigil.cancel();
        }
        self.pool.close();
        for waiter in pending {
            waiter.promise().try_failure(closed());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lender for Inner {
    fn take_back(self: Arc<Self>, channel: Channel) -> Completion {
        let host = self.pool.home().host();
        let returned = match self.pool.try_release(channel) {
            Ok(returned) => returned,
            Err(error) => return Completion::failed(host, error),
        };
        let promise = Promise::new(host);
        let completion = promise.completion();
        let pool = self;
        returned.add_listener(move |result| {
            Self::free_place(&pool);
            promise.complete(result);
        });
        completion
    }
}

/// Nobody can ask for a place any more, nor give one back.
impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for FixedChannelPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FixedChannelPool")
            .field("max", &self.inner.limits.max)
            .field("in_use", &self.in_use())
            .field("pending", &self.pending())
            .field("idle", &self.idle())
            .finish_non_exhaustive()
    }
}
