//! [`PoolHandler`]: what a pool tells of its channels.

use crate::channel::Channel;
use crate::error::{Error, ErrorKind, Failure};
use crate::event_loop::boundary;

/// Hears of a pool's channels, on each channel's own loop. All methods do nothing by themselves.
///
/// Pipelines are filled by the bootstrap's handler; this is for what concerns the pool: counting, a login on a new
/// connection, leaving a clean state behind.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use tidegate::pool::{ChannelPool, PoolHandler};
/// use tidegate::{Bootstrap, Channel, Error, EventLoopGroup, Failure};
///
/// static CREATED: AtomicUsize = AtomicUsize::new(0);
///
/// struct Count;
/// impl PoolHandler for Count {
///     fn created(&self, _channel: &Channel) -> Result<(), Failure> {
///         CREATED.fetch_add(1, Ordering::Relaxed);
///         Ok(())
///     }
/// }
///
/// let group = EventLoopGroup::new(1)?;
/// let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
/// let bootstrap = Bootstrap::new(&group).handler(|_pipeline| Ok::<_, Error>(()));
/// let pool = ChannelPool::builder(&bootstrap, listener.local_addr().unwrap())
///     .handler(Count)
///     .build();
/// for _ in 0..3 {
///     pool.acquire().sync()?.release().sync()?;
/// }
/// assert_eq!(CREATED.load(Ordering::Relaxed), 1);
/// # Ok::<(), Error>(())
/// ```
pub trait PoolHandler: Send + Sync + 'static {
    /// A channel was connected, and is about to be lent for the first time.
    ///
    /// # Errors
    /// An error closes the channel and fails the acquire.
    fn created(&self, channel: &Channel) -> Result<(), Failure> {
        let _ = channel;
        Ok(())
    }

    /// A channel is about to be lent, a new one or one that was idle.
    ///
    /// # Errors
    /// An error closes the channel and fails the acquire.
    fn acquired(&self, channel: &Channel) -> Result<(), Failure> {
        let _ = channel;
        Ok(())
    }

    /// A channel came back, before it is checked; it may be closed by now.
    ///
    /// # Errors
    /// An error closes the channel and fails the release.
    fn released(&self, channel: &Channel) -> Result<(), Failure> {
        let _ = channel;
        Ok(())
    }
}

/// Hears nothing.
pub(super) struct NoHooks;

impl PoolHandler for NoHooks {}

/// Runs foreign code of a pool; a panic of it is an error.
pub(super) fn guarded<R>(what: &str, run: impl FnOnce() -> Result<R, Failure>) -> Result<R, Error> {
    match boundary::catch(run) {
        Ok(result) => result.map_err(Failure::into_error),
        Err(panic) => Err(Error::new(
            ErrorKind::TaskPanicked,
            format!("{what} of a channel pool panicked: {panic}"),
        )),
    }
}
