//! What the filters have in common: when they decide, and what happens to whom they reject. Which addresses those are, they
//! say themselves.

use std::fmt;
use std::net::IpAddr;

use crate::buffer::Message;
use crate::channel::{ChannelFuture, Context};
use crate::error::{Error, ErrorKind};

/// What is done with a peer that is rejected, before the channel closes.
pub(super) type OnReject =
    Box<dyn FnOnce(&mut Context<'_>, Option<IpAddr>) -> Option<ChannelFuture>>;

/// One decision.
pub(super) struct Gate {
    on_reject: Option<OnReject>,
    is_decided: bool,
    /// A peer that was rejected is told a last word; nothing that it sends gets past meanwhile.
    is_shut: bool,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self {
            on_reject: None,
            is_decided: false,
            is_shut: false,
        }
    }

    pub(super) fn on_reject(&mut self, hook: OnReject) {
        self.on_reject = Some(hook);
    }

    /// Decides if the peer's address is known, and takes the handler out of the pipeline. `accepts` is asked once.
    pub(super) fn decide(
        &mut self,
        ctx: &mut Context<'_>,
        accepts: impl FnOnce(&Context<'_>, Option<IpAddr>) -> bool,
    ) {
        if self.is_decided {
            return;
        }
        let Some(remote) = ctx.channel().remote_address() else {
            return;
        };
        self.is_decided = true;
        // An IPv4 peer of a socket that takes both families is an IPv4 peer.
        let ip = remote.as_inet().map(|remote| remote.ip().to_canonical());
        if accepts(ctx, ip) {
            leave(ctx);
        } else {
            self.reject(ctx, ip);
        }
    }

    /// As [`decide`](Self::decide), where there is no later: a peer whose address is unknown is an error and rejected.
    pub(super) fn decide_now(
        &mut self,
        ctx: &mut Context<'_>,
        accepts: impl FnOnce(&Context<'_>, Option<IpAddr>) -> bool,
    ) {
        self.decide(ctx, accepts);
        if !self.is_decided {
            self.is_decided = true;
            ctx.fire_exception_caught(Error::new(
                ErrorKind::Unsupported,
                "the ip filter can't decide: the channel is active and has no peer; a server's filter belongs to its children",
            ));
            self.reject(ctx, None);
        }
    }

    /// Hands a message on, unless it is from a peer that was rejected: that one is dropped.
    pub(super) fn pass(&self, ctx: &mut Context<'_>, msg: Message) {
        if !self.is_shut {
            ctx.fire_channel_read(msg);
        }
    }

    fn reject(&mut self, ctx: &mut Context<'_>, ip: Option<IpAddr>) {
        let last = self.on_reject.take().and_then(|hook| hook(ctx, ip));
        match last {
            Some(last) => {
                self.is_shut = true;
                last.close_when_done();
            }
            None => {
                leave(ctx);
                ctx.close();
            }
        }
    }
}

/// Takes the handler that is running out of its pipeline.
fn leave(ctx: &mut Context<'_>) {
    let name = ctx.name();
    // Somebody may have taken it out already.
    let _ = ctx.pipeline().remove(&name);
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("is_decided", &self.is_decided)
            .finish_non_exhaustive()
    }
}
