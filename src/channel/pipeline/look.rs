//! Finding handlers in a pipeline: by name, by type, by their place. What is found is looked into, or a handle of it is made
//! for coming back to it.
//!
//! Where two handlers of one type stand in a pipeline, the forms without a name find the one nearer to the head. Typed handlers
//! and codecs are found by their own type, and by that of the handler which they became: a decoder `D` by either `D` or
//! `ByteToMessage<D>`.

use std::any::Any;
use std::marker::PhantomData;

use super::super::handle::{HandlerHandle, LocalHandle};
use super::super::kind::short_type_name;
use super::super::node::Index;
use super::Pipeline;
use crate::error::{Error, ErrorKind};

impl Pipeline<'_> {
    /// The handlers' names, head to tail.
    pub fn names(&self) -> Vec<String> {
        let mut names = self.core.nodes.names();
        if self.core.shared.serves_another() {
            // Its ways back to the channel are no handlers of anybody's.
            let count = names.len();
            names = names.drain(1.min(count)..count.max(2) - 1).collect();
        }
        names
    }

    /// The name of the first handler, which is nearest to the head; `None` if the pipeline is empty.
    pub fn first(&self) -> Option<String> {
        let first = self.core.nodes.get(self.head()).next();
        (first != self.tail()).then(|| self.core.nodes.name(first))
    }

    /// The name of the last handler, which is nearest to the tail; `None` if the pipeline is empty.
    pub fn last(&self) -> Option<String> {
        let last = self.core.nodes.before(self.tail());
        (last != self.head()).then(|| self.core.nodes.name(last))
    }

    /// True if no handler is in the pipeline.
    pub fn is_empty(&self) -> bool {
        self.core.nodes.is_empty() || self.first().is_none()
    }

    /// True if a handler of that name is in the pipeline.
    pub fn contains(&self, name: &str) -> bool {
        self.core.nodes.find(name).is_some()
    }

    /// True if the handler of that name is an `H`; false if there is none.
    pub fn is_named<H: Any>(&self, name: &str) -> bool {
        let index = self.core.nodes.find(name);
        index.is_some_and(|index| self.core.nodes.get(index).kind().is::<H>())
    }

    /// True if a handler of that type is in the pipeline.
    pub fn contains_type<H: Any>(&self) -> bool {
        self.core.nodes.find_type::<H>().is_some()
    }

    /// Looks into the first handler of type `H`.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchHandler`] if there is none, [`ErrorKind::Busy`] if it is on the stack;
    /// [`ErrorKind::HandlerPanicked`] if `look` panicked outside of all callbacks, which ends the handler and the
    /// channel as if the handler had.
    pub fn with<H: Any, R>(&mut self, look: impl FnOnce(&mut H) -> R) -> Result<R, Error> {
        let index = self.index_of_type::<H>()?;
        self.look_at(index, look)
    }

    /// Looks into the handler of that name.
    ///
    /// # Errors
    /// As [`with`](Self::with); [`ErrorKind::NoSuchHandler`] also if the handler of that name is not an `H`.
    pub fn with_named<H: Any, R>(
        &mut self,
        name: &str,
        look: impl FnOnce(&mut H) -> R,
    ) -> Result<R, Error> {
        let index = self.index_of_both::<H>(name)?;
        self.look_at(index, look)
    }

    fn look_at<H: Any, R>(
        &mut self,
        index: Index,
        look: impl FnOnce(&mut H) -> R,
    ) -> Result<R, Error> {
        let mut seen = None;
        self.core
            .enter(|core| seen = Some(core.look_into(index, look)));
        seen.unwrap_or_else(|| {
            Err(Error::new(
                ErrorKind::HandlerPanicked,
                "the look into a handler panicked",
            ))
        })
    }

    /// A handle of the first handler of type `H`, for other threads.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchHandler`] if there is none.
    pub fn handle<H: Any>(&self) -> Result<HandlerHandle<H>, Error> {
        let index = self.index_of_type::<H>()?;
        Ok(self.core.handler_handle(index))
    }

    /// A handle of the handler of that name, for other threads. It is the handler's: who takes over the name later is
    /// another.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchHandler`] if there is none, or if it is not an `H`.
    pub fn handle_named<H: Any>(&self, name: &str) -> Result<HandlerHandle<H>, Error> {
        let index = self.index_of_both::<H>(name)?;
        Ok(self.core.handler_handle(index))
    }

    /// A handle of the first handler of type `H`, for this loop.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchHandler`] if there is none.
    pub fn local_handle<H: Any>(&self) -> Result<LocalHandle<H>, Error> {
        let index = self.index_of_type::<H>()?;
        Ok(self.local_handle_at(index))
    }

    /// A handle of the handler of that name, for this loop.
    ///
    /// # Errors
    /// As [`handle_named`](Self::handle_named).
    pub fn local_handle_named<H: Any>(&self, name: &str) -> Result<LocalHandle<H>, Error> {
        let index = self.index_of_both::<H>(name)?;
        Ok(self.local_handle_at(index))
    }

    fn local_handle_at<H: Any>(&self, index: Index) -> LocalHandle<H> {
        let id = self.core.nodes.id(index);
        LocalHandle::new(self.core.me.clone(), id, PhantomData)
    }

    // ---- places

    pub(super) fn index_of(&self, name: &str) -> Result<Index, Error> {
        let nodes = &self.core.nodes;
        nodes.find(name).ok_or_else(|| {
            Error::new(
                ErrorKind::NoSuchHandler,
                format!(
                    "no handler named {name:?} in the pipeline: {}",
                    nodes.describe()
                ),
            )
        })
    }

    pub(super) fn index_of_type<H: Any>(&self) -> Result<Index, Error> {
        let nodes = &self.core.nodes;
        nodes.find_type::<H>().ok_or_else(|| {
            Error::new(
                ErrorKind::NoSuchHandler,
                format!(
                    "no {} in the pipeline: {}",
                    short_type_name::<H>(),
                    nodes.describe()
                ),
            )
        })
    }

    /// The handler of that name, if it is an `H`.
    fn index_of_both<H: Any>(&self, name: &str) -> Result<Index, Error> {
        let index = self.index_of(name)?;
        let nodes = &self.core.nodes;
        let kind = nodes.get(index).kind();
        if kind.is::<H>() {
            return Ok(index);
        }
        Err(Error::new(
            ErrorKind::NoSuchHandler,
            format!(
                "the handler named {name:?} is a {}, not a {}: {}",
                kind.name(),
                short_type_name::<H>(),
                nodes.describe()
            ),
        ))
    }
}
