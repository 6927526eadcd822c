//! A new channel on its loop: made there by one task, with its options, attributes and handlers, before anything
//! else happens to it (rules G2 to G4).

use std::sync::Arc;

use tidegate_sys::mem::Task;

use super::recipe::Recipe;
use crate::channel::lifetime::Life;
use crate::channel::shared::Shared;
use crate::channel::{self, Channel, ChannelFuture, Pipeline, Transport};
use crate::error::{Error, ErrorKind, Failure};
use crate::event_loop::{EventLoop, LoopCore};
use crate::future::Promise;

/// Makes a channel on `event_loop`. When it is registered, `begin` binds or connects it and settles the promise that
/// the future given belongs to. A failure at any point closes the channel.
pub(super) fn open(
    event_loop: &EventLoop,
    recipe: Recipe,
    make: impl FnOnce() -> Box<dyn Transport> + Send + 'static,
    fill: impl FnOnce(&Recipe, &mut Pipeline<'_>) -> Result<(), Failure> + Send + 'static,
    begin: impl FnOnce(&Channel, Promise) + Send + 'static,
) -> ChannelFuture {
    let shared = Shared::new(event_loop.clone(), None, recipe.attributes.clone());
    let (promise, future) = Channel::new(shared.clone()).new_future();
    future.close_on_failure();
    let unopened = promise.second();
    let opening = Opening {
        shared,
        promise: Some(promise),
    };
    let task = Task::new(move || opening.run(recipe, make, fill, begin));
    if let Err((task, error)) = event_loop.try_execute(task) {
        unopened.try_failure(error);
        drop(task);
    }
    future
}

/// A future that has failed before there was a channel; its channel is closed from the start.
pub(super) fn refused(event_loop: &EventLoop, error: Error) -> ChannelFuture {
    let shared = Shared::new(event_loop.clone(), None, channel::Attributes::new());
    abandon(&shared);
    let (promise, future) = Channel::new(shared).new_future();
    promise.try_failure(error);
    future
}

/// Makes a channel on the loop whose turn this is. If its options or its handlers fail it is closed, and the error
/// given back.
pub(super) fn open_here(
    shared: &Arc<Shared>,
    recipe: &Recipe,
    transport: Box<dyn Transport>,
    fill: impl FnOnce(&Recipe, &mut Pipeline<'_>) -> Result<(), Failure>,
) -> Result<(), Error> {
    let Some(lp) = LoopCore::current() else {
        abandon(shared);
        return Err(ended(shared));
    };
    let core = channel::open(shared, &lp, transport);
    if let Err(error) = core.set_options(&recipe.options) {
        core.enter(|core| core.close_because(error.clone(), Promise::void()));
        return Err(error);
    }
    let registered = core.new_promise();
    core.register(|core| fill(recipe, &mut Pipeline::new(core)), &registered);
    match registered.completion().result() {
        Some(result) => result,
        // The core has reported the panic, and closes the channel.
        None => Err(Error::new(
            ErrorKind::HandlerPanicked,
            "a handler panicked while the pipeline was made",
        )),
    }
}

/// A channel on its way to its loop. Dropped before it got there, it is closed.
struct Opening {
    shared: Arc<Shared>,
    promise: Option<Promise>,
}

impl Opening {
    fn run(
        mut self,
        recipe: Recipe,
        make: impl FnOnce() -> Box<dyn Transport>,
        fill: impl FnOnce(&Recipe, &mut Pipeline<'_>) -> Result<(), Failure>,
        begin: impl FnOnce(&Channel, Promise),
    ) {
        let Some(promise) = self.promise.take_if(|promise| !promise.is_done()) else {
            return;
        };
        let channel = Channel::new(self.shared.clone());
        match open_here(&self.shared, &recipe, make(), fill) {
            Ok(()) => begin(&channel, promise),
            Err(error) => {
                promise.try_failure(error);
            }
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(promise) = self.promise.take() {
            abandon(&self.shared);
            promise.try_failure(ended(&self.shared));
        }
    }
}

/// The channel will never come to its loop: whoever waits for its end is told now.
fn abandon(shared: &Shared) {
    shared.publish_life(Life::Closed);
    shared.complete_close();
}

fn ended(shared: &Shared) -> Error {
    let name = shared.event_loop().name();
    Error::new(
        ErrorKind::Terminated,
        format!("the event loop {name} ended before the channel came to it"),
    )
}
