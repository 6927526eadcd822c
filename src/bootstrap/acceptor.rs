//! The last handler of a server's pipeline: it hands each accepted connection to a loop, where a child channel is
//! made of it. The handlers before it see the connection first, and may drop it (rule G8).

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidegate_sys::mem::Task;

use super::loops::Loops;
use super::opening;
use super::recipe::Recipe;
use crate::buffer::Message;
use crate::channel::shared::Shared;
use crate::channel::{Channel, Context, Handler, HandlerResult};
use crate::error::Error;
use crate::event_loop::{EventLoop, LoopCore};
use crate::transport::ChildTransport;

/// Where children live.
#[derive(Clone, Debug)]
pub(super) enum Nursery {
    /// On these loops, in turn.
    Spread(Loops),
    /// On the loop that accepted them.
    Here,
}

/// What all children of a server have in common.
pub(super) struct Children {
    pub(super) recipe: Recipe,
    /// A child that failed at once was logged.
    told: AtomicBool,
}

impl Children {
    pub(super) fn new(recipe: Recipe) -> Self {
        Self {
            recipe,
            told: AtomicBool::new(false),
        }
    }

    /// Each failure is counted; the first is logged, since all the others will be the same.
    #[cold]
    fn note(&self, server: &Channel, what: &'static str, error: &Error) {
        if self.told.swap(true, Ordering::Relaxed) {
            tracing::debug!(%server, %error, "{what}");
        } else {
            tracing::warn!(%server, %error, "{what}; said once per server, counted in the loop's metrics");
        }
    }
}

/// See the module's page.
pub(super) struct Acceptor<T> {
    nursery: Nursery,
    children: Arc<Children>,
    transport: PhantomData<fn() -> T>,
}

impl<T: ChildTransport> Acceptor<T> {
    pub(super) fn new(nursery: Nursery, children: Arc<Children>) -> Self {
        Self {
            nursery,
            children,
            transport: PhantomData,
        }
    }

    fn hand_over(&self, event_loop: &EventLoop, server: Channel, accepted: T::Accepted) {
        let children = self.children.clone();
        let parent = server.clone();
        let task = Task::new(move || begin::<T>(&children, parent, accepted));
        if let Err((task, error)) = event_loop.try_execute(task) {
            // Counted first: who sees the connection close may look at the count.
            LoopCore::with_current(|lp| lp.metrics().accept.refused.add(1));
            drop(task);
            self.children.note(
                &server,
                "a connection was closed because its loop takes no more work",
                &error,
            );
        }
    }
}

impl<T: ChildTransport> Handler for Acceptor<T> {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        match msg.downcast::<T::Accepted>() {
            Ok(accepted) => {
                let server = ctx.channel();
                match &self.nursery {
                    Nursery::Spread(loops) => self.hand_over(loops.next(), server, accepted),
                    Nursery::Here => self.hand_over(ctx.event_loop(), server, accepted),
                }
            }
            Err(other) => ctx.fire_channel_read(other),
        }
        Ok(())
    }
}

/// Makes the child, on its loop.
fn begin<T: ChildTransport>(children: &Children, parent: Channel, accepted: T::Accepted) {
    let Some(lp) = LoopCore::current() else {
        return;
    };
    let shared = Shared::new(
        lp.handle().clone(),
        Some(parent),
        children.recipe.attributes.clone(),
    );
    let begun = opening::open_here(
        &shared,
        &children.recipe,
        Box::new(T::child(accepted)),
        Recipe::fill,
    );
    if let (Err(error), Some(server)) = (begun, shared.parent()) {
        lp.metrics().accept.stillborn.add(1);
        children.note(
            server,
            "a child was closed before it began: an option or its handler failed",
            &error,
        );
    }
}
