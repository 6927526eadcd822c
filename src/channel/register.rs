//! How a channel begins: on its loop, with its options and attributes, its pipeline filled before anything else
//! happens to it (rules G2 to G4).
//!
//! Bootstraps and embedded channels come here, and [`ChannelBuilder`], for transports of one's own: a stream of a
//! multiplexer, a pipe in memory, a device.

use std::any::Any;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use tidegate_sys::mem::{LocalTask, Task};

use super::attributes::{AttributeKey, Attributes};
use super::core::Core;
use super::future::ChannelFuture;
use super::lifetime::Life;
use super::options::{ChannelOption, OptionSet, OptionType};
use super::pipeline::Pipeline;
use super::places::Places;
use super::shared::{Channel, Shared};
use super::transport::Transport;
use super::tries::{Renew, Tries};
use crate::error::{Error, ErrorKind, Failure};
use crate::event_loop::{EventLoop, LoopCore};
use crate::future::Promise;

/// Puts a transport of one's own on an event loop, as a channel with a pipeline.
///
/// The transport is asked by the channel and tells news by its [`Signal`](super::Signal); see [`Transport`]. What
/// lives inside another channel (its frames are messages of that channel) lives on that channel's loop, shares what it
/// has to share by `Rc`, and is opened in the loop's turn by [`open`](Self::open). Everything else can be opened from
/// anywhere by [`open_on`](Self::open_on).
///
/// Nothing of the new channel runs on the caller's stack: `init` and the first callbacks of its handlers have their own
/// turn.
///
/// ```
/// use tidegate::channel::{Flush, Io, Metadata, OutboundBuffer, Progress, Read, Transport};
/// use tidegate::{Channel, Error, EventLoopGroup, Message};
///
/// /// Swallows what is written, and never has anything to read.
/// struct Sink;
///
/// impl Transport for Sink {
///     fn metadata(&self) -> Metadata {
///         Metadata { name: "sink", has_disconnect: false, max_messages_per_read: 1, is_server: false }
///     }
///     fn is_active(&self) -> bool {
///         true
///     }
///     fn accepts(&self, _msg: &Message) -> bool {
///         true
///     }
///     fn read(&mut self, _io: &mut Io<'_>) -> Result<Read, Error> {
///         Ok(Read::WouldBlock)
///     }
///     fn flush(&mut self, _io: &mut Io<'_>, out: &mut OutboundBuffer) -> Result<Flush, Error> {
///         while out.flushed_len() > 0 {
///             let _ = out.complete_front();
///         }
///         Ok(Flush::Drained)
///     }
///     fn close(&mut self, _io: &mut Io<'_>) -> Result<Progress, Error> {
///         Ok(Progress::Done)
///     }
/// }
///
/// let group = EventLoopGroup::new(1)?;
/// let opened = Channel::builder().open_on(&group.next(), || Sink, |_pipeline| Ok::<_, Error>(()));
/// let channel = opened.sync()?;
/// channel.write_and_flush("gone").sync()?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Default)]
#[must_use = "the channel begins with open() or open_on()"]
pub struct ChannelBuilder {
    parent: Option<Channel>,
    options: OptionSet,
    attributes: Attributes,
    /// The first setting that was refused; told when the channel is opened.
    refused: Option<Error>,
}

impl Channel {
    /// A channel on a transport of one's own.
    pub fn builder() -> ChannelBuilder {
        ChannelBuilder::default()
    }
}

impl ChannelBuilder {
    /// The channel whose stream the new one is. Nothing else follows from it: whoever opens streams closes them when
    /// their parent ends.
    pub fn parent(mut self, parent: &Channel) -> Self {
        self.parent = Some(parent.clone());
        self
    }

    /// Sets an option before the pipeline is filled. A value that is out of range fails the opening.
    pub fn option<T: OptionType>(mut self, option: ChannelOption<T>, value: T) -> Self {
        if let Err(error) = self.options.set(option, value) {
            self.refused.get_or_insert(error);
        }
        self
    }

    /// Attaches a value.
    pub fn attribute<T: Any + Send + Sync>(self, key: &AttributeKey<T>, value: T) -> Self {
        self.attributes.set(key, value);
        self
    }

    /// Opens the channel on the loop whose turn this is. The handle can be used at once: what it is asked for waits until
    /// `init` has filled the pipeline, and the future tells when that is done. If it fails, or an option does, or the
    /// transport's `register`, the channel closes.
    ///
    /// # Errors
    /// [`ErrorKind::NotRegistered`] outside of a loop's turn, and what is wrong with an option's value.
    pub fn open<E: Into<Failure>>(
        self,
        transport: impl Transport,
        init: impl FnOnce(&mut Pipeline<'_>) -> Result<(), E> + 'static,
    ) -> Result<ChannelFuture, Error> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        let lp = LoopCore::current().ok_or_else(|| {
            Error::new(
                ErrorKind::NotRegistered,
                "open() was called outside of an event loop's turn; open_on() names the loop",
            )
        })?;
        let (opening, future) = Opening::new(lp.handle(), self.parent, self.attributes);
        let options = self.options;
        lp.push_local(LocalTask::new(move || {
            opening.run(
                &options,
                &Places::default(),
                None,
                || Box::new(transport),
                |pipeline| init(pipeline).map_err(Into::into),
                succeed,
            );
        }));
        Ok(future)
    }

    /// Opens the channel on `event_loop`, from any thread; `make` and `init` run there. The future tells when the
    /// pipeline is filled. If anything fails before, the channel closes.
    pub fn open_on<T: Transport, E: Into<Failure>>(
        self,
        event_loop: &EventLoop,
        make: impl FnOnce() -> T + Send + 'static,
        init: impl FnOnce(&mut Pipeline<'_>) -> Result<(), E> + Send + 'static,
    ) -> ChannelFuture {
        if let Some(error) = self.refused {
            return refused(event_loop, self.parent, error);
        }
        let plan = Plan {
            parent: self.parent,
            options: self.options,
            attributes: self.attributes,
            ..Plan::default()
        };
        open_on(
            event_loop,
            plan,
            move || Box::new(make()) as Box<dyn Transport>,
            |pipeline| init(pipeline).map_err(Into::into),
            succeed,
        )
    }
}

impl fmt::Debug for ChannelBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelBuilder")
            .field("parent", &self.parent)
            .field("options", &self.options)
            .field("attributes", &self.attributes)
            .finish_non_exhaustive()
    }
}

/// What a channel begins with, beside its transport and its handlers.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) parent: Option<Channel>,
    pub(crate) options: OptionSet,
    pub(crate) attributes: Attributes,
    /// For a channel whose peer's name is to be looked up: makes a transport for each address but the first.
    pub(crate) renew: Option<Renew>,
    /// Of all channels whose pipelines are filled by the same closure.
    pub(crate) places: Arc<Places>,
}

/// Makes a channel on `event_loop`. When it is registered, `ready` binds or connects it and settles the promise that the
/// future given belongs to. A failure at any point closes the channel.
pub(crate) fn open_on(
    event_loop: &EventLoop,
    plan: Plan,
    make: impl FnOnce() -> Box<dyn Transport> + Send + 'static,
    fill: impl FnOnce(&mut Pipeline<'_>) -> Result<(), Failure> + Send + 'static,
    ready: impl FnOnce(&Channel, Promise) + Send + 'static,
) -> ChannelFuture {
    let Plan {
        parent,
        options,
        attributes,
        renew,
        places,
    } = plan;
    let (opening, future) = Opening::new(event_loop, parent, attributes);
    let unopened = opening.promise.as_ref().map(Promise::second);
    let task = Task::new(move || opening.run(&options, &places, renew, make, fill, ready));
    if let Err((task, error)) = event_loop.try_execute(task) {
        if let Some(promise) = unopened {
            promise.try_failure(error);
        }
        drop(task);
    }
    future
}

/// For a channel that has neither to be bound nor to be connected.
fn succeed(_: &Channel, promise: Promise) {
    promise.try_success();
}

/// A future that has failed before there was a channel; its channel is closed from the start.
pub(crate) fn refused(
    event_loop: &EventLoop,
    parent: Option<Channel>,
    error: Error,
) -> ChannelFuture {
    let shared = Shared::new(event_loop.clone(), parent, Attributes::new());
    abandon(&shared);
    let (promise, future) = Channel::new(shared).new_future();
    promise.try_failure(error);
    future
}

/// Makes a channel on the loop whose turn this is, with all that follows on the caller's stack. If its options or its
/// handlers fail it is closed, and the error given back.
pub(crate) fn open_here(
    shared: &Arc<Shared>,
    options: &OptionSet,
    places: &Places,
    transport: Box<dyn Transport>,
    fill: impl FnOnce(&mut Pipeline<'_>) -> Result<(), Failure>,
) -> Result<(), Error> {
    open_renewable(shared, options, places, None, transport, fill)
}

fn open_renewable(
    shared: &Arc<Shared>,
    options: &OptionSet,
    places: &Places,
    renew: Option<Renew>,
    transport: Box<dyn Transport>,
    fill: impl FnOnce(&mut Pipeline<'_>) -> Result<(), Failure>,
) -> Result<(), Error> {
    let Some(lp) = LoopCore::current() else {
        abandon(shared);
        return Err(ended(shared));
    };
    let core = attach_of(shared, &lp, transport, places);
    if let Some(renew) = renew {
        core.change_rare(|rare| rare.tries = Some(Box::new(Tries::renewing(renew))));
    }
    core.begin(options, fill)?;
    places.learn(core.nodes.taken());
    Ok(())
}

/// Puts a transport on the loop whose turn it is, as the channel `shared`. Nothing has run yet.
pub(crate) fn attach(
    shared: &Arc<Shared>,
    lp: &Rc<LoopCore>,
    transport: Box<dyn Transport>,
) -> Rc<Core> {
    attach_of(shared, lp, transport, &Places::default())
}

/// The same for one of several with equal pipelines.
fn attach_of(
    shared: &Arc<Shared>,
    lp: &Rc<LoopCore>,
    transport: Box<dyn Transport>,
    places: &Places,
) -> Rc<Core> {
    let core = Core::new(shared.clone(), lp.clone(), transport, places.guess());
    shared.attach(&core);
    core
}

impl Core {
    /// Sets the options, fills the pipeline and registers the channel. If one of them fails the channel is closed, and
    /// the error given back.
    pub(crate) fn begin(
        self: &Rc<Self>,
        options: &OptionSet,
        fill: impl FnOnce(&mut Pipeline<'_>) -> Result<(), Failure>,
    ) -> Result<(), Error> {
        if let Err(error) = self.set_options(options) {
            self.enter(|core| core.close_because(error.clone(), Promise::void()));
            return Err(error);
        }
        let registered = self.new_promise();
        self.register(|core| fill(&mut Pipeline::new(core)), &registered);
        match registered.completion().result() {
            Some(result) => result,
            // The core has reported it, and closes the channel.
            None => Err(panicked()),
        }
    }
}

/// A channel that has not begun. Dropped as such, whoever waits for it is told.
struct Opening {
    shared: Arc<Shared>,
    promise: Option<Promise>,
}

impl Opening {
    fn new(
        event_loop: &EventLoop,
        parent: Option<Channel>,
        attributes: Attributes,
    ) -> (Self, ChannelFuture) {
        let shared = Shared::new(event_loop.clone(), parent, attributes);
        let (promise, future) = Channel::new(shared.clone()).new_future();
        future.close_on_failure();
        let promise = Some(promise);
        (Self { shared, promise }, future)
    }

    /// On the loop, without a core yet.
    fn run(
        mut self,
        options: &OptionSet,
        places: &Places,
        renew: Option<Renew>,
        make: impl FnOnce() -> Box<dyn Transport>,
        fill: impl FnOnce(&mut Pipeline<'_>) -> Result<(), Failure>,
        ready: impl FnOnce(&Channel, Promise),
    ) {
        if self.promise.as_ref().is_none_or(Promise::is_done) {
            return;
        }
        // A panic passes through here, and finds the promise still in its place.
        let begun = open_renewable(&self.shared, options, places, renew, make(), fill);
        if let Some(promise) = self.promise.take() {
            match begun {
                Ok(()) => ready(&Channel::new(self.shared.clone()), promise),
                Err(error) => drop(promise.try_failure(error)),
            }
        }
        self.shared.run_waiting();
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        let is_panic = std::thread::panicking();
        if self.shared.is_to_come() {
            abandon(&self.shared);
        } else if is_panic {
            // What waits finds a channel that closes: the future has failed.
            let shared = self.shared.clone();
            let _ended = self
                .shared
                .event_loop()
                .execute(move || shared.run_waiting());
        }
        if let Some(promise) = self.promise.take() {
            promise.try_failure(if is_panic {
                panicked()
            } else {
                ended(&self.shared)
            });
        }
    }
}

/// The channel will never come to its loop: whoever waits for its end, or for an operation, is told now.
fn abandon(shared: &Shared) {
    shared.publish_life(Life::Closed);
    shared.complete_close();
    shared.give_up_waiting();
}

fn ended(shared: &Shared) -> Error {
    let name = shared.event_loop().name();
    Error::new(
        ErrorKind::Terminated,
        format!("the event loop {name} ended before the channel came to it"),
    )
}

fn panicked() -> Error {
    Error::new(
        ErrorKind::HandlerPanicked,
        "a handler panicked while the pipeline was made",
    )
}
