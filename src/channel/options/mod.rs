//! Channel options: typed constants, checked when set.
//!
//! Bootstraps collect options in an [`OptionSet`]; channels and transports read them from there and
//! take changes on a live channel as an [`OptionId`] with an [`OptionValue`]. This folder knows names,
//! types and ranges; what an option does is the business of the channel or of the kernel.
//!
//! - `value`: values with their type erased, and the types that may be values.
//! - `id`: options without their type: names, ranges, the kernel's units.
//! - `option`: an option with its type.
//! - `catalogue`: every option of this crate, with unit, default and source.
//! - `set`: the ordered collection.

mod catalogue;
mod id;
mod option;
mod set;
#[cfg(test)]
mod tests;
mod value;

pub use catalogue::*;
pub use id::{OptionId, SocketOption};
pub use option::ChannelOption;
pub use set::OptionSet;
pub use value::{AcceptOverload, OptionType, OptionValue, WaterMark};
