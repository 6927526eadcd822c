//! [`IpFilter`]: closes the connections of peers that the rules reject.

use std::net::IpAddr;

use super::gate::Gate;
use super::rules::IpRules;
use crate::buffer::Message;
use crate::channel::{ChannelFuture, Context, Handler, HandlerResult};

/// Closes the channel if the rules reject its peer; else it only leaves the pipeline.
///
/// Put it first in the pipeline of a server's children. The handlers behind it see `channel_active` and then
/// `channel_inactive` of a connection that is rejected, as of one that ends at once. A peer without an IP address gets what
/// peers get that no rule matches.
///
/// ```
/// use tidegate::handler::ip_filter::{IpFilter, IpRules};
/// use tidegate::{EmbeddedChannel, OptionSet, channel::Progress};
///
/// let rules = IpRules::new().reject("192.0.2.0/24")?;
/// let mut channel = EmbeddedChannel::unconnected(&OptionSet::new(), |pipeline| {
///     pipeline.add_last(IpFilter::new(&rules))
/// })?;
/// channel.set_connect(Some(Progress::Done));
/// channel.run(|channel| channel.connect("192.0.2.7:4711", None));
/// assert!(!channel.channel().is_open());
/// assert_eq!((rules.accepted(), rules.rejected()), (0, 1));
/// # Ok::<(), tidegate::Failure>(())
/// ```
#[derive(Debug)]
pub struct IpFilter {
    rules: IpRules,
    gate: Gate,
}

impl IpFilter {
    /// Goes by these rules, and counts in them.
    pub fn new(rules: &IpRules) -> Self {
        Self {
            rules: rules.clone(),
            gate: Gate::new(),
        }
    }

    /// Runs `hook` when the peer is rejected, with its address. The channel closes when the future that it gives is done,
    /// for a last word to the peer, else at once. Until then the handler stays, and drops what the peer sends.
    #[must_use]
    pub fn on_reject(
        mut self,
        hook: impl FnOnce(&mut Context<'_>, Option<IpAddr>) -> Option<ChannelFuture> + 'static,
    ) -> Self {
        self.gate.on_reject(Box::new(hook));
        self
    }
}

impl Handler for IpFilter {
    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if ctx.is_active() && ctx.channel().is_registered() {
            self.gate.decide_now(ctx, |_, ip| self.rules.admit(ip));
        }
        Ok(())
    }

    fn channel_registered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.gate.decide(ctx, |_, ip| self.rules.admit(ip));
        ctx.fire_channel_registered();
        Ok(())
    }

    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.gate.decide_now(ctx, |_, ip| self.rules.admit(ip));
        ctx.fire_channel_active();
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.gate.pass(ctx, msg);
        Ok(())
    }
}
