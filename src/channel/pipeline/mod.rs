//! A channel's pipeline: handlers between a head (the transport) and a tail, and the rules by which events travel.
//!
//! 1. Inbound events are trampolined: `ctx.fire_*` records the event and returns; the next handler runs when the current
//!    one has returned. One inbound handler is on the stack at any time.
//! 2. Depth first: what a callback emitted is delivered in order, each with all that follows from it, before anything
//!    that was waiting. `ctx.after(key)` comes back when it was.
//! 3. Outbound operations are nested calls toward the head and have reached it when they return. A flush that nobody waits
//!    for is carried out there when the callback has returned, before anything else is delivered.
//! 4. Writability is an event from the root queue: every crossing to unwritable is followed by one once the channel is
//!    writable again.
//! 5. Operations of the channel's handle start at the tail at once. Where the next hop is on the stack, they wait there.
//! 6. The root queue takes what may not run in the middle of something.
//! 7. `ctx.resume()` emits one message at a time, while reading is wanted.
//! 8. Edits count for the next hop.
//! 9. Masks are learned: the default body of a callback takes its node out of that event's walk.
//! 10. Errors go to the failing handler's own `exception_caught`, after what the call had emitted.
//!
//! Files: `dispatch` (inbound), `resume` (rule 7), `ops` (outbound), `edit` (changes under way), `look` (finding handlers),
//! `end` (the tail), `visit` (a handler on the stack), `watch` (who is named to the stall watcher). What they work on stands a floor up: `nodes` (slab and links),
//! `slow` (events that wait), `core`.

pub(crate) mod dispatch;
mod edit;
mod end;
mod look;
mod ops;
mod resume;
#[cfg(test)]
mod tests;
mod visit;
mod watch;

use std::any::Any;
use std::fmt;

pub(super) use resume::resumes_max;

use super::Channel;
use super::core::{Core, Handler, Root};
use super::into_handler::{IntoHandler, into_type, kind_of};
use super::node::{HEAD, Index, TAIL};
use super::slow::Inbound;
use crate::buffer::{IntoMessage, Message};
use crate::error::{Error, ErrorKind, Failure};

/// The pipeline of a channel, on its loop: for edits, look-ups and events from the head.
pub struct Pipeline<'a> {
    core: &'a Core,
}

impl<'a> Pipeline<'a> {
    pub(crate) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    // ---- adding
    //
    // `M` is inferred: see `IntoHandler`. It stands among the parameters so that `add_before_type::<Base, _>` can be written.

    /// Adds a handler at the end, named by its type.
    ///
    /// # Errors
    /// [`ErrorKind::ChannelClosed`] once the channel has ended.
    pub fn add_last<M>(&mut self, handler: impl IntoHandler<M>) -> Result<(), Error> {
        self.insert_before(self.tail(), None, handler.into_handler())
    }

    /// Adds a handler at the end under a name.
    ///
    /// # Errors
    /// [`ErrorKind::DuplicateName`] if the name is taken, and as [`add_last`](Self::add_last).
    pub fn add_last_named<M>(
        &mut self,
        name: &str,
        handler: impl IntoHandler<M>,
    ) -> Result<(), Error> {
        self.insert_before(self.tail(), Some(name), handler.into_handler())
    }

    /// Adds a handler at the beginning, named by its type.
    ///
    /// # Errors
    /// As [`add_last`](Self::add_last).
    pub fn add_first<M>(&mut self, handler: impl IntoHandler<M>) -> Result<(), Error> {
        self.insert_after(self.head(), None, handler.into_handler())
    }

    /// Adds a handler at the beginning under a name.
    ///
    /// # Errors
    /// As [`add_last_named`](Self::add_last_named).
    pub fn add_first_named<M>(
        &mut self,
        name: &str,
        handler: impl IntoHandler<M>,
    ) -> Result<(), Error> {
        self.insert_after(self.head(), Some(name), handler.into_handler())
    }

    /// Adds a handler before the one of that name.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchHandler`] if there is none, and as [`add_last_named`](Self::add_last_named).
    pub fn add_before<M>(
        &mut self,
        base: &str,
        name: Option<&str>,
        handler: impl IntoHandler<M>,
    ) -> Result<(), Error> {
        let base = self.index_of(base)?;
        self.insert_before(base, name, handler.into_handler())
    }

    /// Adds a handler after the one of that name.
    ///
    /// # Errors
    /// As [`add_before`](Self::add_before).
    pub fn add_after<M>(
        &mut self,
        base: &str,
        name: Option<&str>,
        handler: impl IntoHandler<M>,
    ) -> Result<(), Error> {
        let base = self.index_of(base)?;
        self.insert_after(base, name, handler.into_handler())
    }

    /// Adds a handler before the first one of type `B`.
    ///
    /// # Errors
    /// As [`add_before`](Self::add_before).
    pub fn add_before_type<B: Any, M>(
        &mut self,
        handler: impl IntoHandler<M>,
    ) -> Result<(), Error> {
        let base = self.index_of_type::<B>()?;
        self.insert_before(base, None, handler.into_handler())
    }

    /// Adds a handler after the first one of type `B`.
    ///
    /// # Errors
    /// As [`add_before`](Self::add_before).
    pub fn add_after_type<B: Any, M>(&mut self, handler: impl IntoHandler<M>) -> Result<(), Error> {
        let base = self.index_of_type::<B>()?;
        self.insert_after(base, None, handler.into_handler())
    }

    /// What stands before the first handler: in the pipeline of one elsewhere its way back to the channel.
    fn head(&self) -> Index {
        match self.core.shared.serves_another() {
            true => self.core.nodes.get(HEAD).next(),
            false => HEAD,
        }
    }

    /// What stands behind the last handler.
    fn tail(&self) -> Index {
        match self.core.shared.serves_another() {
            true => self.core.nodes.before(TAIL),
            false => TAIL,
        }
    }

    fn insert_before<H: Handler>(
        &mut self,
        base: Index,
        name: Option<&str>,
        handler: H,
    ) -> Result<(), Error> {
        let prev = self.core.nodes.before(base);
        self.insert_after(prev, name, handler)
    }

    fn insert_after<H: Handler>(
        &mut self,
        prev: Index,
        name: Option<&str>,
        mut handler: H,
    ) -> Result<(), Error> {
        let mut added = Ok(());
        let kind = kind_of(&mut handler);
        self.core.enter(|core| {
            added = core.insert(prev, Box::new(handler), name, kind).map(drop);
        });
        added
    }

    // ---- removing and replacing

    /// Removes the handler of that name.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchHandler`] if there is none.
    pub fn remove(&mut self, name: &str) -> Result<(), Error> {
        let index = self.index_of(name)?;
        self.core.enter(|core| drop(core.remove_node(index)));
        Ok(())
    }

    /// Removes the first handler of type `H`, and gives it back unless it is on the stack (then it is dropped when it
    /// has returned).
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchHandler`] if there is none.
    pub fn remove_type<H: Any>(&mut self) -> Result<Option<H>, Error> {
        let index = self.index_of_type::<H>()?;
        let mut removed = None;
        self.core.enter(|core| removed = core.remove_node(index));
        Ok(removed.and_then(into_type))
    }

    /// Removes the first handler.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchHandler`] if the pipeline is empty.
    pub fn remove_first(&mut self) -> Result<(), Error> {
        let first = self.core.nodes.get(self.head()).next();
        self.remove_at((first != self.tail()).then_some(first))
    }

    /// Removes the last handler.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchHandler`] if the pipeline is empty.
    pub fn remove_last(&mut self) -> Result<(), Error> {
        let last = self.core.nodes.before(self.tail());
        self.remove_at((last != self.head()).then_some(last))
    }

    fn remove_at(&mut self, index: Option<Index>) -> Result<(), Error> {
        let Some(index) = index else {
            return Err(Error::new(
                ErrorKind::NoSuchHandler,
                "the pipeline has no handlers",
            ));
        };
        self.core.enter(|core| drop(core.remove_node(index)));
        Ok(())
    }

    /// Puts a handler in the place of the one of that name; it may take over the name.
    ///
    /// # Errors
    /// As [`add_before`](Self::add_before).
    pub fn replace<M>(
        &mut self,
        old: &str,
        name: Option<&str>,
        handler: impl IntoHandler<M>,
    ) -> Result<(), Error> {
        let old = self.index_of(old)?;
        self.replace_at(old, name, handler.into_handler())
    }

    /// Puts a handler in the place of the first one of type `O`.
    ///
    /// # Errors
    /// As [`add_before`](Self::add_before).
    pub fn replace_type<O: Any, M>(&mut self, handler: impl IntoHandler<M>) -> Result<(), Error> {
        let old = self.index_of_type::<O>()?;
        self.replace_at(old, None, handler.into_handler())
    }

    fn replace_at<H: Handler>(
        &mut self,
        old: Index,
        name: Option<&str>,
        mut handler: H,
    ) -> Result<(), Error> {
        let mut replaced = Ok(());
        let kind = kind_of(&mut handler);
        self.core.enter(|core| {
            replaced = core
                .replace_node(old, Box::new(handler), name, kind)
                .map(drop);
        });
        replaced
    }

    /// Whether all handlers of this channel on one group share a loop of it.
    pub(crate) fn single_executor(&self) -> bool {
        !self.core.has(super::core::flag::SPREAD_EXECUTORS)
    }

    /// The channel.
    pub fn channel(&self) -> Channel {
        self.core.channel()
    }

    // ---- events from the head
    //
    // Each is the event and nothing else: the channel's state stays what it is, and no read() of auto-read follows.

    /// Sends channel_registered through the pipeline, from the head.
    pub fn fire_channel_registered(&mut self) {
        self.fire(Root::Fire(Inbound::Registered));
    }

    /// Sends channel_unregistered through the pipeline, from the head. The handlers stay.
    pub fn fire_channel_unregistered(&mut self) {
        self.fire(Root::Fire(Inbound::Unregistered));
    }

    /// Sends channel_active through the pipeline, from the head. The channel need not be active, and does not become so.
    pub fn fire_channel_active(&mut self) {
        self.fire(Root::Fire(Inbound::Active));
    }

    /// Sends channel_inactive through the pipeline, from the head. It closes nothing; when the channel does end, the
    /// handlers hear of it once more.
    pub fn fire_channel_inactive(&mut self) {
        self.fire(Root::Fire(Inbound::Inactive));
    }

    /// Sends a message through the pipeline, from the head.
    pub fn fire_channel_read(&mut self, msg: impl IntoMessage) {
        let msg = msg.into_message();
        self.fire(Root::Message(Inbound::Read, msg));
    }

    /// Sends channel_read_complete through the pipeline, from the head.
    pub fn fire_channel_read_complete(&mut self) {
        self.fire(Root::Fire(Inbound::ReadComplete));
    }

    /// Sends a user event through the pipeline, from the head.
    pub fn fire_user_event_triggered(&mut self, event: Message) {
        self.fire(Root::Message(Inbound::UserEvent, event));
    }

    /// Sends channel_writability_changed through the pipeline, from the head: "look at is_writable now".
    pub fn fire_channel_writability_changed(&mut self) {
        self.fire(Root::Fire(Inbound::Writability));
    }

    /// Sends an error through the pipeline, from the head.
    pub fn fire_exception_caught(&mut self, cause: impl Into<Failure>) {
        self.fire(Root::Exception(cause.into()));
    }

    /// As from the root queue, but at once.
    fn fire(&mut self, event: Root) {
        self.core.enter(|core| core.run_root(event));
    }
}

impl Core {
    /// An event from the head, fired by someone who is not in this pipeline: at once if nothing is on the stack of any
    /// pipeline of this thread, else from the root queue (rule 6).
    pub(crate) fn fire_from_outside(&self, root: Root) {
        self.push_root(root);
        if !self.running.get() && self.lp.pipeline_depth.get() == 0 {
            self.enter(|_| {});
        }
    }
}

/// The pipeline in one line.
impl fmt::Debug for Pipeline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.core.nodes.describe())
    }
}
