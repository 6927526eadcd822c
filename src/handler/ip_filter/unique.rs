//! [`UniqueIp`]: one connection per address.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::gate::Gate;
use crate::buffer::Message;
use crate::channel::{Channel, ChannelFuture, Context, Handler, HandlerResult};

/// The addresses that are connected, shared by the filters of many channels. Clones are the same set; any thread may ask.
#[derive(Clone, Default)]
pub struct UniqueIps {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    connected: Mutex<HashSet<IpAddr>>,
    accepted: AtomicU64,
    rejected: AtomicU64,
}

impl UniqueIps {
    /// Nobody is connected.
    pub fn new() -> Self {
        Self::default()
    }

    /// Addresses that are connected now.
    pub fn len(&self) -> usize {
        self.inner.lock().len()
    }

    /// True if nobody is connected now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if that address is connected now.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.inner.lock().contains(&ip.to_canonical())
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.inner.accepted.load(Ordering::Relaxed)
    }

    /// Connections rejected so far.
    pub fn rejected(&self) -> u64 {
        self.inner.rejected.load(Ordering::Relaxed)
    }

    /// Takes the address until the channel closes; false if it is taken. A peer without one is always accepted.
    fn admit(&self, channel: &Channel, ip: Option<IpAddr>) -> bool {
        if let Some(ip) = ip {
            if !self.inner.lock().insert(ip) {
                self.inner.rejected.fetch_add(1, Ordering::Relaxed);
                return false;
            }
            let inner = self.inner.clone();
            channel.close_future().add_listener(move |_, _| {
                inner.lock().remove(&ip);
            });
        }
        self.inner.accepted.fetch_add(1, Ordering::Relaxed);
        true
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, HashSet<IpAddr>> {
        // No foreign code runs under the lock.
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for UniqueIps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UniqueIps")
            .field("connected", &self.len())
            .field("accepted", &self.accepted())
            .field("rejected", &self.rejected())
            .finish()
    }
}

/// Closes the channel if its peer's address is connected already; else it only leaves the pipeline, and the address is free
/// again when the channel closes.
///
/// ```
/// use tidegate::handler::ip_filter::{UniqueIp, UniqueIps};
/// use tidegate::{EmbeddedChannel, Failure, OptionSet, channel::Progress};
///
/// let connected = UniqueIps::new();
/// let connect = || {
///     let mut channel = EmbeddedChannel::unconnected(&OptionSet::new(), |pipeline| {
///         pipeline.add_last(UniqueIp::new(&connected))
///     })?;
///     channel.set_connect(Some(Progress::Done));
///     channel.run(|channel| channel.connect("192.0.2.7:4711", None));
///     Ok::<_, Failure>(channel)
/// };
/// let (first, second) = (connect()?, connect()?);
/// assert!(first.channel().is_open() && !second.channel().is_open());
/// drop(first);
/// assert!(connect()?.channel().is_open());
/// # Ok::<(), Failure>(())
/// ```
#[derive(Debug)]
pub struct UniqueIp {
    ips: UniqueIps,
    gate: Gate,
}

impl UniqueIp {
    /// Goes by the addresses in `ips`, and adds its own.
    pub fn new(ips: &UniqueIps) -> Self {
        Self {
            ips: ips.clone(),
            gate: Gate::new(),
        }
    }

    /// As [`IpFilter::on_reject`](super::IpFilter::on_reject).
    #[must_use]
    pub fn on_reject(
        mut self,
        hook: impl FnOnce(&mut Context<'_>, Option<IpAddr>) -> Option<ChannelFuture> + 'static,
    ) -> Self {
        self.gate.on_reject(Box::new(hook));
        self
    }
}

impl Handler for UniqueIp {
    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if ctx.is_active() && ctx.channel().is_registered() {
            self.gate
                .decide_now(ctx, |ctx, ip| self.ips.admit(&ctx.channel(), ip));
        }
        Ok(())
    }

    fn channel_registered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.gate
            .decide(ctx, |ctx, ip| self.ips.admit(&ctx.channel(), ip));
        ctx.fire_channel_registered();
        Ok(())
    }

    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.gate
            .decide_now(ctx, |ctx, ip| self.ips.admit(&ctx.channel(), ip));
        ctx.fire_channel_active();
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.gate.pass(ctx, msg);
        Ok(())
    }
}
