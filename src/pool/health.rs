//! [`Health`]: whether a channel is fit to be lent.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
    /// does a channel that is not active. One that has to ask, and has no answer within `limit`, means "no" as well.
    pub(super) fn check(
        &self,
        channel: &Channel,
        limit: Option<Duration>,
        then: impl FnOnce(bool) + Send + 'static,
    ) {
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
                Ok(answer) => match limit {
                    None => answer.on_result(move |answer| then(answer.unwrap_or(false))),
                    Some(limit) => wait(channel, answer, limit, then),
                },
                Err(_) => then(false),
            },
        }
    }
}

/// Calls `then` with the answer, or with "no" when the time is over or the loop goes down, whichever comes first.
fn wait<F>(channel: &Channel, answer: TaskFuture<bool>, limit: Duration, then: F)
where
    F: FnOnce(bool) + Send + 'static,
{
    let first = Arc::new(Mutex::new(Some(then)));
    let tell = move |is_healthy: bool| {
        let then = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(then) = then {
            then(is_healthy);
        }
    };
    let asked = answer.completion();
    let timer = channel.event_loop().schedule(limit, || {});
    let late = tell.clone();
    // Not in the task itself: a loop that goes down drops it.
    timer.completion().add_listener(move |_| {
        late(false);
        // Nobody wants to know any more: who looks at its promise may stop asking.
        asked.cancel();
    });
    answer.on_result(move |answer| {
        timer.cancel();
        tell(answer.unwrap_or(false));
    });
}
