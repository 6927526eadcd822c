//! [`Health`]: whether a channel is fit to be lent.

use std::sync::Arc;

use super::hooks::guarded;
use crate::channel::Channel;
use crate::future::TaskFuture;

type SlowCheck = dyn Fn(&Channel) -> TaskFuture<bool> + Send + Sync;

/// Asked on the channel's loop.
#[derive(Clone)]
pub(super) enum Health {
    /// Whoever is active is healthy: Netty's default.
    Active,
    Quick(Arc<dyn Fn(&Channel) -> bool + Send + Sync>),
    Slow(Arc<SlowCheck>),
}

impl Health {
    /// Calls `then` with the answer: at once, or when it is there. A check that fails or panics means "no", and so
    /// does a channel that is not active.
    pub(super) fn check(&self, channel: &Channel, then: impl FnOnce(bool) + Send + 'static) {
        if !channel.is_active() {
            return then(false);
        }
        match self {
            Self::Active => then(true),
            Self::Quick(check) => {
                let answer = guarded("the health check", || Ok(check(channel)));
                then(answer.unwrap_or(false));
            }
            Self::Slow(check) => match guarded("the health check", || Ok(check(channel))) {
                Ok(answer) => answer.on_result(move |answer| then(answer.unwrap_or(false))),
                Err(_) => then(false),
            },
        }
    }
}
