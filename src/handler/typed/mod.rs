//! Handlers that name the type of message they take, and pipelines whose types are checked at compile time.
//!
//! - `handler`: [`TypedHandler`], and [`Typed`] that makes it a handler.
//! - `function`: closures as handlers: [`handler_fn`], [`event_fn`].
//! - `chain`: [`chain`] puts stages together whose neighbours agree on what they hand on.

mod chain;
mod function;
mod handler;

pub use chain::{Chain, End, Install, IsBytes, Longer, chain};
pub use function::{EventFn, HandlerFn, event_fn, handler_fn};
pub use handler::{ForTyped, Typed, TypedHandler};
