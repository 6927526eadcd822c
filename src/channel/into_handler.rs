//! [`IntoHandler`]: what `pipeline.add_last(..)` and its sisters take.
//!
//! A handler is one as it is. Floors above add conversions for what they can wrap: codecs and typed handlers
//! (`handler::codec`, `handler::typed`). The parameter `M` only tells these conversions apart, so that each can be for all
//! types with a certain trait; it is always inferred. A type with two of those traits has two conversions, and whoever
//! adds it says which is meant by wrapping it. Encoders in general have none: the types that they encode could not be
//! inferred.

use super::core::Handler;

/// Becomes a handler when it is added to a pipeline.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be added to a pipeline",
    label = "neither a handler nor something that becomes one",
    note = "a pipeline takes types with `Handler`, `Decoder` (of items that are `Send + 'static`), `Prepender` or `TypedHandler`",
    note = "an `Encoder` is wrapped: `MessageToByte::new(encoder)`; a closure too: `handler_fn(|ctx, msg: Frame| ..)`"
)]
pub trait IntoHandler<M> {
    /// What is added.
    type Handler: Handler;

    /// The handler.
    fn into_handler(self) -> Self::Handler;
}

/// Marks the conversion of a handler into itself.
#[derive(Debug)]
pub enum Itself {}

impl<H: Handler> IntoHandler<Itself> for H {
    type Handler = H;

    #[inline]
    fn into_handler(self) -> H {
        self
    }
}
