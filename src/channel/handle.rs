//! Coming back to a handler from outside of its callbacks.

use std::any::Any;
use std::marker::PhantomData;
use std::rc::Weak;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::core::{Context, Core, Handler};
use super::handler::HandlerResult;
use super::into_handler::as_type;
use super::node::Index;
use super::nodes::NodeId;
use super::shared::Shared;
use crate::error::{Error, ErrorKind};
use crate::event_loop::EventLoop;

fn call<H: Any>(
    handler: &mut dyn Handler,
    ctx: &mut Context<'_>,
    run: impl FnOnce(&mut H, &mut Context<'_>) -> HandlerResult,
) -> HandlerResult {
    match as_type(handler) {
        Some(handler) => run(handler, ctx),
        None => Err(Error::new(
            ErrorKind::NoSuchHandler,
            format!(
                "the handle was made for a {}, but its handler is another",
                std::any::type_name::<H>()
            ),
        )
        .into()),
    }
}

/// A handler of a channel, from any thread.
pub struct HandlerHandle<H> {
    shared: Arc<Shared>,
    node: NodeId,
    /// False once the handler has left its pipeline; written by the channel's loop.
    is_there: Arc<AtomicBool>,
    handler: PhantomData<fn(&mut H)>,
}

impl<H> Clone for HandlerHandle<H> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            node: self.node,
            is_there: self.is_there.clone(),
            handler: PhantomData,
        }
    }
}

impl<H: Any> HandlerHandle<H> {
    /// Queues `run` onto the handler's loop. It is not run, and nothing tells so, if the handler goes before.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchHandler`] if the handler has left its pipeline, and as
    /// [`EventLoop::execute`](crate::EventLoop::execute): [`ErrorKind::Terminated`] if its loop has ended,
    /// [`ErrorKind::Rejected`] if the loop's queue is full.
    pub fn run(
        &self,
        run: impl FnOnce(&mut H, &mut Context<'_>) -> HandlerResult + Send + 'static,
    ) -> Result<(), Error> {
        if !self.is_alive() {
            return Err(gone());
        }
        let node = self.node;
        self.shared.try_submit(
            move |core| {
                core.call_node(node, move |handler, ctx| call(handler, ctx, run));
            },
            true,
        )
    }

    /// True while the handler is in its pipeline, as far as this thread can know.
    pub fn is_alive(&self) -> bool {
        self.is_there.load(Ordering::Acquire)
    }
}

/// A handler's place in its pipeline, from any thread: for what is done there without the handler.
#[derive(Clone)]
pub(crate) struct Place {
    shared: Arc<Shared>,
    node: NodeId,
    is_there: Arc<AtomicBool>,
}

impl Place {
    /// Queues `work` onto the loop. It is not run if the handler goes before. What it emits there comes behind what a suspended
    /// dispatch has left over, in order; operations go on at once. False if the loop takes no tasks.
    pub(crate) fn enter(&self, work: impl FnOnce(&Core, Index) + Send + 'static) -> bool {
        if !self.is_there.load(Ordering::Acquire) {
            return true;
        }
        let node = self.node;
        let work = move |core: &Core| {
            if let Some(index) = core.nodes.resolve(node) {
                core.enter(|core| work(core, index));
            }
        };
        self.shared.submit(work, true)
    }

    /// Whether the handler is in its pipeline, as far as this thread can know.
    pub(super) fn is_there(&self) -> bool {
        self.is_there.load(Ordering::Acquire)
    }

    pub(super) fn event_loop(&self) -> &EventLoop {
        &self.shared.event_loop
    }

    /// The place as the loop knows it, if the handler is still there.
    pub(crate) fn resolve(&self, core: &Core) -> Option<Index> {
        core.nodes.resolve(self.node)
    }
}

impl Core {
    pub(crate) fn place(&self, index: Index) -> Place {
        Place {
            shared: self.shared.clone(),
            node: self.nodes.id(index),
            is_there: self.nodes.presence(index),
        }
    }

    pub(crate) fn handler_handle<H: Any>(&self, index: Index) -> HandlerHandle<H> {
        let nodes = &self.nodes;
        HandlerHandle {
            shared: self.shared.clone(),
            node: nodes.id(index),
            is_there: nodes.presence(index),
            handler: PhantomData,
        }
    }
}

fn gone() -> Error {
    Error::new(
        ErrorKind::NoSuchHandler,
        "the handler has left its pipeline",
    )
}

/// A handler of a channel, on its own loop: no atomics, no box.
pub struct LocalHandle<H> {
    core: Weak<Core>,
    node: NodeId,
    handler: PhantomData<fn(&mut H)>,
}

impl<H> Clone for LocalHandle<H> {
    fn clone(&self) -> Self {
        Self {
            core: self.core.clone(),
            node: self.node,
            handler: PhantomData,
        }
    }
}

impl<H: Any> LocalHandle<H> {
    pub(crate) fn new(core: Weak<Core>, node: NodeId, handler: PhantomData<fn(&mut H)>) -> Self {
        Self {
            core,
            node,
            handler,
        }
    }

    /// Queues `run` onto the loop; it runs on nobody's stack. A closure of up to four words is not boxed.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchHandler`] if the handler is gone already.
    pub fn run(
        &self,
        run: impl FnOnce(&mut H, &mut Context<'_>) -> HandlerResult + 'static,
    ) -> Result<(), Error> {
        let core = self.core.upgrade().ok_or_else(gone)?;
        if core.nodes.resolve(self.node).is_none() {
            return Err(gone());
        }
        let (weak, node) = (self.core.clone(), self.node);
        core.lp
            .push_local(tidegate_sys::mem::LocalTask::new(move || {
                if let Some(core) = weak.upgrade() {
                    core.call_node(node, move |handler, ctx| call(handler, ctx, run));
                }
            }));
        Ok(())
    }

    /// True while the handler is in its pipeline.
    pub fn is_alive(&self) -> bool {
        self.core
            .upgrade()
            .is_some_and(|core| core.nodes.resolve(self.node).is_some())
    }
}
