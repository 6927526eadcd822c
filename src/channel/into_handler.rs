//! [`IntoHandler`]: what `pipeline.add_last(..)` and its sisters take.
//!
//! A handler is one as it is. Floors above add conversions for what they can wrap: codecs and typed handlers
//! (`handler::codec`, `handler::typed`). The parameter `M` only tells these conversions apart, so that each can be for all
//! types with a certain trait; it is always inferred. A type with two of those traits has two conversions, and whoever
//! adds it says which is meant by wrapping it. Encoders in general have none: the types that they encode could not be
//! inferred.
//!
//! What was added is found again by its own type: a conversion may name the value that it made a handler of
//! (`Handler::wrapped`), and names, look-ups and handles mean that one.

use std::any::Any;

use super::core::Handler;
use super::kind::Kind;

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

/// What a node knows of a handler's type.
pub(super) fn kind_of<H: Handler>(handler: &mut H) -> Kind {
    let wrapped = handler.wrapped();
    Kind::of::<H>(wrapped.map(|(value, name)| ((*value).type_id(), name)))
}

/// The handler as an `H`, or the `H` that it makes a handler of.
pub(super) fn as_type<H: Any>(handler: &mut dyn Handler) -> Option<&mut H> {
    let any: &dyn Any = handler;
    if any.is::<H>() {
        let any: &mut dyn Any = handler;
        return any.downcast_mut();
    }
    handler.wrapped()?.0.downcast_mut()
}

/// As [`as_type`], for a handler that has left its pipeline.
pub(super) fn into_type<H: Any>(handler: Box<dyn Handler>) -> Option<H> {
    let any: &dyn Any = &*handler;
    let value: Box<dyn Any> = if any.is::<H>() {
        handler
    } else {
        handler.into_wrapped()?
    };
    value.downcast().ok().map(|value| *value)
}
