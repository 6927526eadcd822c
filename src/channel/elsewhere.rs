//! Adding handlers that live on another group's loop: `pipeline.add_last_on(&group, || handler)` and its sisters.
//!
//! What stands in the channel's pipeline is a `relay`, which is a handler like any other: so it may stand anywhere, and is
//! removed and replaced by name like any other. Whatever `add_last` takes may be built there.

use super::attributes::AttributeKey;
use super::into_handler::IntoHandler;
use super::pipeline::Pipeline;
use super::relay::Relay;
use super::shared::Channel;
use crate::error::Error;
use crate::event_loop::{EventLoop, EventLoopGroup, LoopId};

/// Which loop of a group a channel's handlers are on, so that all of one group share one (B12).
static EXECUTORS: AttributeKey<Vec<(LoopId, EventLoop)>> = AttributeKey::new("tidegate.executors");

// `H` is what the closure makes, `M` is inferred: see `IntoHandler`.
impl Pipeline<'_> {
    /// Adds a handler at the end that lives on a loop of `group`. `make` builds it there: a handler, or whatever else
    /// [`add_last`](Pipeline::add_last) takes.
    ///
    /// All its callbacks run on that loop, in order. In its `Context`, operations and `fire_*` travel back as tasks;
    /// `is_writable` is a snapshot; `pipeline()` is the handler's own part, the channel's is reached by
    /// `channel().edit(..)`. Handlers of one channel on the same group share a loop, unless `SINGLE_EXECUTOR_PER_GROUP`
    /// is off.
    ///
    /// In the channel's pipeline it is known by its name: its type there is that of what stands for it. Once it is removed,
    /// what it had fired and not got through is dropped, and operations on their way fail with
    /// [`ErrorKind::NoSuchHandler`](crate::error::ErrorKind::NoSuchHandler).
    ///
    /// ```
    /// use tidegate::codec::LineDecoder;
    /// use tidegate::{EmbeddedChannel, EventLoopGroup};
    ///
    /// let parsing = EventLoopGroup::new(1)?;
    /// let channel = EmbeddedChannel::new(|pipeline| {
    ///     pipeline.add_last_on(&parsing, || LineDecoder::new(80))
    /// })?;
    /// # Ok::<(), tidegate::Failure>(())
    /// ```
    ///
    /// # Errors
    /// As [`add_last`](Pipeline::add_last). What goes wrong later goes through the pipeline: if the group has ended, the
    /// handler is removed again and the error has kind [`ErrorKind::User`](crate::error::ErrorKind::User), for a
    /// `handler_added` that failed, and [`ErrorKind::Terminated`](crate::error::ErrorKind::Terminated) as its source.
    pub fn add_last_on<M, H: IntoHandler<M>>(
        &mut self,
        group: &EventLoopGroup,
        make: impl FnOnce() -> H + Send + 'static,
    ) -> Result<(), Error> {
        let relay = self.relay(group, make);
        self.add_last(relay)
    }

    /// As [`add_last_on`](Self::add_last_on), under a name.
    ///
    /// # Errors
    /// As [`add_last_on`](Self::add_last_on) and [`add_last_named`](Pipeline::add_last_named).
    pub fn add_last_on_named<M, H: IntoHandler<M>>(
        &mut self,
        group: &EventLoopGroup,
        name: &str,
        make: impl FnOnce() -> H + Send + 'static,
    ) -> Result<(), Error> {
        let relay = self.relay(group, make);
        self.add_last_named(name, relay)
    }

    /// Adds a handler at the beginning that lives on a loop of `group`; see [`add_last_on`](Self::add_last_on).
    ///
    /// # Errors
    /// As [`add_last_on`](Self::add_last_on).
    pub fn add_first_on<M, H: IntoHandler<M>>(
        &mut self,
        group: &EventLoopGroup,
        make: impl FnOnce() -> H + Send + 'static,
    ) -> Result<(), Error> {
        let relay = self.relay(group, make);
        self.add_first(relay)
    }

    /// As [`add_first_on`](Self::add_first_on), under a name.
    ///
    /// # Errors
    /// As [`add_last_on_named`](Self::add_last_on_named).
    pub fn add_first_on_named<M, H: IntoHandler<M>>(
        &mut self,
        group: &EventLoopGroup,
        name: &str,
        make: impl FnOnce() -> H + Send + 'static,
    ) -> Result<(), Error> {
        let relay = self.relay(group, make);
        self.add_first_named(name, relay)
    }

    /// Adds a handler before the one of that name that lives on a loop of `group`; see
    /// [`add_last_on`](Self::add_last_on).
    ///
    /// # Errors
    /// As [`add_last_on`](Self::add_last_on) and [`add_before`](Pipeline::add_before).
    pub fn add_before_on<M, H: IntoHandler<M>>(
        &mut self,
        group: &EventLoopGroup,
        base: &str,
        name: Option<&str>,
        make: impl FnOnce() -> H + Send + 'static,
    ) -> Result<(), Error> {
        let relay = self.relay(group, make);
        self.add_before(base, name, relay)
    }

    /// Adds a handler after the one of that name that lives on a loop of `group`; see
    /// [`add_last_on`](Self::add_last_on).
    ///
    /// # Errors
    /// As [`add_before_on`](Self::add_before_on).
    pub fn add_after_on<M, H: IntoHandler<M>>(
        &mut self,
        group: &EventLoopGroup,
        base: &str,
        name: Option<&str>,
        make: impl FnOnce() -> H + Send + 'static,
    ) -> Result<(), Error> {
        let relay = self.relay(group, make);
        self.add_after(base, name, relay)
    }

    fn relay<M, H: IntoHandler<M>>(
        &self,
        group: &EventLoopGroup,
        make: impl FnOnce() -> H + Send + 'static,
    ) -> Relay {
        let channel = self.channel();
        let event_loop = executor(&channel, group, self.single_executor());
        Relay::new(channel, event_loop, move |pipeline: &mut Pipeline<'_>| {
            pipeline.add_last(make())
        })
    }
}

/// The loop of `group` for this channel's handlers.
fn executor(channel: &Channel, group: &EventLoopGroup, single: bool) -> EventLoop {
    if !single {
        return group.next();
    }
    // A group is known by the first of its loops.
    let Some(first) = group.iter().next().map(EventLoop::id) else {
        return group.next();
    };
    let chosen = channel.attributes().update(&EXECUTORS, |before| {
        let mut list = before.cloned().unwrap_or_default();
        if !list.iter().any(|(id, _)| *id == first) {
            list.push((first, group.next()));
        }
        Some(list)
    });
    let chosen = chosen.and_then(|list| {
        list.iter()
            .find(|(id, _)| *id == first)
            .map(|(_, event_loop)| event_loop.clone())
    });
    chosen.unwrap_or_else(|| group.next())
}
