//! Errors that say what was being done, who is at fault and what lies underneath.
//!
//! Every floor above speaks these two types. [`Error`] is what the library gives out: cheap to clone,
//! because one cause (a reset connection) fails many promises. [`Failure`] is what handlers give in:
//! opaque, made from any error by `?`.
//!
//! - `kind`: the words of the vocabulary, [`ErrorKind`] and [`Fault`].
//! - `value`: [`Error`] itself.
//! - `classify`: how errors of the operating system become kinds and faults.
//! - `failure`: [`Failure`].

mod classify;
mod failure;
mod kind;
#[cfg(test)]
mod tests;
mod value;

pub use failure::Failure;
pub use kind::{ErrorKind, Fault};
pub use value::Error;
