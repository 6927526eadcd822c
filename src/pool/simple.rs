//! [`ChannelPool`]: lends what is idle, and connects when nothing is.
//!
//! A channel that is lent bears a mark with the pool's number. Giving it back takes the mark away, in one step: so of
//! two who give back the same channel one is refused, and so is who gives it to another pool.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::health::Health;
use super::hooks::{PoolHandler, guarded};
use super::pooled::{Lender, PooledChannel};
use super::shelf::{Shelf, closed};
use crate::channel::{AttributeKey, Channel, ChannelFuture};
use crate::error::{Error, ErrorKind};
use crate::event_loop::EventLoop;
use crate::future::{Completion, Promise, TaskFuture, TaskPromise};

/// Which pool has lent the channel.
static LENT_BY: AttributeKey<u64> = AttributeKey::new("tidegate.pool.lent_by");

pub(super) type Connect = Box<dyn Fn() -> ChannelFuture + Send + Sync>;

/// A pool without a limit: an acquire takes the idle channel that was used last (or first, as the builder says), checks
/// it, and connects when there is none. Clones are handles of the same pool, for every thread; with the last of them
/// the idle channels are closed.
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
/// let first = channel.id();
/// channel.write_and_flush("a request");
/// channel.release().sync()?;
/// assert_eq!(pool.idle(), 1);
/// assert_eq!(pool.acquire().sync()?.id(), first);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct ChannelPool {
    inner: Arc<Inner>,
}

/// What a pool is made of; the builder fills it in.
pub(super) struct Parts {
    /// Where listeners of the pool's futures run, and its timers.
    pub(super) home: EventLoop,
    pub(super) connect: Connect,
    pub(super) hooks: Arc<dyn PoolHandler>,
    pub(super) health: Health,
    pub(super) health_check_timeout: Option<Duration>,
    pub(super) checks_on_release: bool,
    pub(super) shelf: Shelf,
}

impl Parts {
    fn check(&self, channel: &Channel, then: impl FnOnce(bool) + Send + 'static) {
        self.health.check(channel, self.health_check_timeout, then);
    }
}

struct Inner {
    id: u64,
    parts: Parts,
}

impl ChannelPool {
    pub(super) fn new(parts: Parts) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            inner: Arc::new(Inner { id, parts }),
        }
    }

    /// A channel that is connected and healthy. It goes back when it is dropped, and so does one that nobody takes out
    /// of the future.
    ///
    /// The future fails if the connect does or a hook does, and with [`ErrorKind::ChannelClosed`] once the pool is
    /// closed. Do not block on it on an event loop that channels of the pool live on.
    pub fn acquire(&self) -> TaskFuture<PooledChannel> {
        let (promise, future) = TaskPromise::pair(self.inner.parts.home.host());
        self.inner.acquire(promise);
        future
    }

    /// Gives a channel back, as [`PooledChannel::release`] does: for those who have the bare channel. One that is not
    /// healthy is closed, which is a success.
    ///
    /// The future fails, and the channel is closed, with [`ErrorKind::InvalidArgument`] if it was not acquired from
    /// this pool or has been given back, with [`ErrorKind::ChannelClosed`] if the pool is closed, with
    /// [`ErrorKind::Rejected`] if it has all the idle channels it may have, and with a hook's error.
    pub fn release(&self, channel: impl Into<Channel>) -> Completion {
        self.inner.clone().take_back(channel.into())
    }

    /// As [`release`](Self::release); a foreign channel is an error at once.
    pub(super) fn try_release(&self, channel: Channel) -> Result<Completion, Error> {
        self.inner.try_take_back(channel)
    }

    /// Closes the idle channels, and refuses what is asked from now on. Channels that are lent stay with their borrowers;
    /// given back, they are closed.
    pub fn close(&self) {
        self.inner.close();
    }

    /// How many channels are idle.
    pub fn idle(&self) -> usize {
        self.inner.parts.shelf.len()
    }

    /// True once the pool was closed.
    pub fn is_closed(&self) -> bool {
        self.inner.parts.shelf.is_closed()
    }

    pub(super) fn home(&self) -> &EventLoop {
        &self.inner.parts.home
    }
}

impl Inner {
    fn acquire(self: &Arc<Self>, promise: TaskPromise<PooledChannel>) {
        match self.parts.shelf.take() {
            Ok(Some(channel)) => {
                let event_loop = channel.event_loop().clone();
                let visit = Visit::new(self.clone(), channel, Purpose::Lend(promise));
                let _ = event_loop.execute(move || visit.arrive());
            }
            Ok(None) => self.connect(promise),
            Err(error) => {
                promise.try_failure(error);
            }
        }
    }

    fn connect(self: &Arc<Self>, promise: TaskPromise<PooledChannel>) {
        if promise.is_done() {
            return;
        }
        let connected = match guarded("the connector", || Ok((self.parts.connect)())) {
            Ok(connected) => connected,
            Err(error) => {
                promise.try_failure(error);
                return;
            }
        };
        let this = self.clone();
        connected.add_listener(move |channel, result| match result {
            Ok(()) => this.connected(channel.clone(), promise),
            Err(error) => {
                promise.try_failure(error.clone());
            }
        });
    }

    /// On the loop of a new channel.
    fn connected(self: &Arc<Self>, channel: Channel, promise: TaskPromise<PooledChannel>) {
        let pool = Arc::downgrade(self);
        channel.close_future().add_listener(move |channel, _| {
            if let Some(pool) = pool.upgrade() {
                pool.parts.shelf.remove(channel);
            }
        });
        match guarded("the hook `created`", || self.parts.hooks.created(&channel)) {
            Ok(()) => self.lend(channel, promise),
            Err(error) => {
                channel.close();
                promise.try_failure(error);
            }
        }
    }

    /// A healthy channel for whoever waits.
    fn lend(self: &Arc<Self>, channel: Channel, promise: TaskPromise<PooledChannel>) {
        let hooked = if self.parts.shelf.is_closed() {
            Err(closed())
        } else {
            guarded("the hook `acquired`", || {
                self.parts.hooks.acquired(&channel)
            })
        };
        if let Err(error) = hooked {
            channel.close();
            promise.try_failure(error);
            return;
        }
        channel.attributes().set(&LENT_BY, self.id);
        // If nobody waits any more it comes back at once.
        drop(promise.try_success(PooledChannel::new(channel, self.clone())));
    }

    /// A foreign channel is an error at once.
    fn try_take_back(self: &Arc<Self>, channel: Channel) -> Result<Completion, Error> {
        let mark = channel.attributes().remove(&LENT_BY);
        if mark.as_deref() != Some(&self.id) {
            let error = Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "channel {channel} was not acquired from this pool, or was given back before; it is closed now"
                ),
            );
            channel.close();
            return Err(error);
        }
        let promise = Promise::new(self.parts.home.host());
        let completion = promise.completion();
        let event_loop = channel.event_loop().clone();
        let visit = Visit::new(self.clone(), channel, Purpose::Return(promise));
        // A refused task is dropped, and with it the visit, which sees to the rest.
        let _ = event_loop.execute(move || visit.arrive());
        Ok(completion)
    }

    /// A channel that came back, on its loop.
    fn returned(self: &Arc<Self>, channel: Channel, promise: Promise) {
        let hooked = guarded("the hook `released`", || {
            self.parts.hooks.released(&channel)
        });
        if let Err(error) = hooked {
            channel.close();
            promise.try_failure(error);
            return;
        }
        if !self.parts.checks_on_release {
            return self.keep(channel, &promise);
        }
        let this = self.clone();
        let checked = channel.clone();
        self.parts.check(&checked, move |is_healthy| {
            if is_healthy {
                this.keep(channel, &promise);
            } else {
                channel.close();
                promise.try_success();
            }
        });
    }

    fn keep(&self, channel: Channel, promise: &Promise) {
        let kept = self.parts.shelf.put(&channel);
        if kept.is_err() {
            channel.close();
        }
        promise.complete(&kept);
    }

    fn close(&self) {
        for channel in self.parts.shelf.close() {
            channel.close();
        }
    }
}

impl Lender for Inner {
    fn take_back(self: Arc<Self>, channel: Channel) -> Completion {
        match self.try_take_back(channel) {
            Ok(completion) => completion,
            Err(error) => Completion::failed(self.parts.home.host(), error),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// A channel on the way to its own loop.
struct Visit {
    /// `Some` until it arrives.
    luggage: Option<(Arc<Inner>, Channel, Purpose)>,
}

enum Purpose {
    Lend(TaskPromise<PooledChannel>),
    Return(Promise),
}

impl Visit {
    fn new(pool: Arc<Inner>, channel: Channel, purpose: Purpose) -> Self {
        Self {
            luggage: Some((pool, channel, purpose)),
        }
    }

    fn arrive(mut self) {
        let Some((pool, channel, purpose)) = self.luggage.take() else {
            return;
        };
        match purpose {
            Purpose::Return(promise) => pool.returned(channel, promise),
            Purpose::Lend(promise) => {
                let this = pool.clone();
                let checked = channel.clone();
                pool.parts.check(&checked, move |is_healthy| {
                    if is_healthy {
                        this.lend(channel, promise);
                    } else {
                        channel.close();
                        this.acquire(promise);
                    }
                });
            }
        }
    }
}

/// The loop of the channel takes no tasks any more, so the channel is as good as closed.
impl Drop for Visit {
    fn drop(&mut self) {
        let Some((pool, channel, purpose)) = self.luggage.take() else {
            return;
        };
        channel.close();
        match purpose {
            Purpose::Lend(promise) => pool.connect(promise),
            Purpose::Return(promise) => {
                promise.try_failure(Error::new(
                    ErrorKind::Terminated,
                    "the event loop of the channel takes no tasks; the channel is closed",
                ));
            }
        }
    }
}

impl fmt::Debug for ChannelPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelPool")
            .field("idle", &self.idle())
            .field("is_closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
