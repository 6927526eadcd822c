//! Channels and their pipelines.
//!
//! - `options`: what can be set on a channel, typed and checked.
//! - `attributes`: what users attach to a channel.

pub mod attributes;
pub mod options;

pub use attributes::{AttributeKey, Attributes};
pub use options::{
    AcceptOverload, ChannelOption, OptionId, OptionSet, OptionType, OptionValue, WaterMark,
};
