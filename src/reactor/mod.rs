//! The reactor: one selector, the table of what is registered with it, and the waker that ends its
//! waits. It waits, hands readiness to handles, and repairs the selector when the kernel's answers stop
//! making sense. When to wait, and what else a turn does, is the event loop's business one floor up.
//!
//! - [`handle`]: what a channel is to the reactor: [`handle::IoHandle`], [`handle::IoEvent`].
//! - [`registry`]: tokens, slots and generations.
//! - [`health`]: when the selector has to be opened anew. Pure.
//! - [`poller`]: [`poller::Reactor`] itself.
//! - [`counter`]: numbers with one writer.

pub(crate) mod counter;
pub(crate) mod handle;
pub(crate) mod health;
pub(crate) mod poller;
pub(crate) mod registry;

pub(crate) use handle::{IoEvent, IoHandle};
pub(crate) use poller::{Outcome, Parts, Reactor};
