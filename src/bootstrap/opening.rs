//! From a recipe to a channel on its loop (rules G2 to G4).

use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};

use super::recipe::Recipe;
use crate::channel::register::{self, Plan};
use crate::channel::shared::Shared;
use crate::channel::tries::Renew;
use crate::channel::{Channel, ChannelFuture, Pipeline, Transport};
use crate::error::{Error, Failure};
use crate::event_loop::EventLoop;
use crate::future::Promise;
use crate::transport::Adoptable;

/// Makes a channel on `event_loop`. When it is registered, `begin` binds or connects it and settles the promise that
/// the future given belongs to. A failure at any point closes the channel. `renew`: see [`Plan`].
pub(super) fn open(
    event_loop: &EventLoop,
    recipe: Recipe,
    renew: Option<Renew>,
    make: impl FnOnce() -> Box<dyn Transport> + Send + 'static,
    fill: impl FnOnce(&Recipe, &mut Pipeline<'_>) -> Result<(), Failure> + Send + 'static,
    begin: impl FnOnce(&Channel, Promise) + Send + 'static,
) -> ChannelFuture {
    let plan = Plan {
        parent: None,
        options: recipe.options.clone(),
        attributes: recipe.attributes.clone(),
        renew,
        places: recipe.places.clone(),
    };
    let fill = move |pipeline: &mut Pipeline<'_>| fill(&recipe, pipeline);
    register::open_on(event_loop, plan, make, fill, begin)
}

/// What [`open`] is to make and to begin with for a transport of a socket that comes from elsewhere. If that is refused, its
/// error is the future's, and the channel that closes is one over a transport `without` the socket.
pub(super) fn adopted<T: Adoptable>(
    socket: OwnedFd,
    without: impl FnOnce() -> T + Send + 'static,
) -> (
    impl FnOnce() -> Box<dyn Transport> + Send + 'static,
    impl FnOnce(&Channel, Promise) + Send + 'static,
) {
    let failure = Arc::new(OnceLock::new());
    let told = failure.clone();
    let make = move || -> Box<dyn Transport> {
        match T::adopt(socket) {
            Ok(transport) => Box::new(transport),
            Err(error) => {
                let _ = failure.set(error);
                Box::new(without())
            }
        }
    };
    let begin = move |_: &Channel, promise: Promise| {
        promise.complete(&told.get().cloned().map_or(Ok(()), Err));
    };
    (make, begin)
}

/// A future that has failed before there was a channel; its channel is closed from the start.
pub(super) fn refused(event_loop: &EventLoop, error: Error) -> ChannelFuture {
    register::refused(event_loop, None, error)
}

/// Makes a channel on the loop whose turn this is. If its options or its handlers fail it is closed, and the error
/// given back.
pub(super) fn open_here(
    shared: &Arc<Shared>,
    recipe: &Recipe,
    transport: Box<dyn Transport>,
    fill: impl FnOnce(&Recipe, &mut Pipeline<'_>) -> Result<(), Failure>,
) -> Result<(), Error> {
    register::open_here(
        shared,
        &recipe.options,
        &recipe.places,
        transport,
        |pipeline| fill(recipe, pipeline),
    )
}
