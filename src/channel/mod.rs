//! Channels and their pipelines.
//!
//! A [`Channel`] is the handle that people keep; the loop's side of it is the core, which nobody but its loop touches.
//!
//! - `options`, `attributes`, `address`, `family`, `datagram`, `events`: the vocabulary.
//! - `handler`, `into_handler`, `context`, `pipeline`, `handle`: what users write handlers with.
//! - `node`, `nodes`, `names`, `kind`, `slow`, `mask`, `op`: what a pipeline is made of; `spare`: what it is lent.
//! - `transport`, `signal`, `outbound`: what carries the bytes, and what waits to be sent; `stream`: how streams do.
//! - `register`: how a channel begins; `look_up`, `tries`: what it connects to. `journal`: what of its life is logged.
//! - `core`, `entry`, `life`, `gone`, `abandon`, `lifetime`, `bind`, `connect`, `reading`, `input_end`, `interest`, `writing`, `root`, `tail`,
//!   `configure`: one channel on its loop; `elsewhere`, `relay`, `line`, `far_side`: handlers on the loops of other groups.
//! - `shared`, `reach`, `channel`, `close_future`, `errand`, `future`: one channel for every thread.
//! - `catch_up`: what a channel hears before its silence is taken for a fault.
//! - `group`, `drain`, `drain_report`, `drain_times`, `drain_watch`, `linger`: many channels at once; letting them send what they have, and go.

mod abandon;
mod address;
pub mod attributes;
mod bind;
mod catch_up;
#[allow(
    clippy::module_inception,
    reason = "the handle has the module's name, as Netty's Channel has its package's"
)]
mod channel;
mod close_future;
mod configure;
mod connect;
mod context;
pub(crate) mod core;
mod datagram;
mod drain;
mod drain_report;
mod drain_times;
mod drain_watch;
mod elsewhere;
mod entry;
mod errand;
pub mod events;
mod family;
mod far_side;
mod future;
mod gone;
pub mod group;
mod handle;
mod handler;
mod input_end;
mod interest;
mod into_handler;
mod journal;
mod kind;
pub(crate) mod life;
pub(crate) mod lifetime;
mod line;
mod linger;
pub(crate) mod look_up;
mod mask;
mod names;
mod node;
mod nodes;
mod op;
pub mod options;
mod outbound;
mod pipeline;
pub(crate) mod places;
mod reach;
mod reading;
pub(crate) mod register;
mod relay;
mod root;
pub(crate) mod shared;
mod signal;
mod slow;
mod spare;
pub(crate) mod stream;
pub(crate) mod tail;
#[cfg(test)]
mod tests;
mod transport;
pub(crate) mod tries;
#[cfg(doctest)]
mod uncompilable;
mod writing;

pub use self::core::{Context, Handler};
pub use address::{Address, UnixAddress};
pub use attributes::{AttributeKey, Attributes};
pub use datagram::Datagram;
pub(crate) use drain::DrainHold;
pub use drain::Draining;
pub use drain_report::{DrainReport, Unsent};
pub use drain_times::DrainTimes;
pub use family::{Inet, IntoAddress, Local, Unix};
pub use future::ChannelFuture;
pub use group::{ChannelGroup, GroupFailures, GroupFuture, Selection};
pub use handle::{HandlerHandle, LocalHandle};
pub use handler::{Declared, HandlerResult};
pub use into_handler::{IntoHandler, Itself};
pub use options::{
    AcceptOverload, ChannelOption, OptionId, OptionSet, OptionType, OptionValue, WaterMark,
};
pub use outbound::{ENTRY_OVERHEAD, Front, OutboundBuffer, OutboundMark, Released, Settled};
pub use pipeline::Pipeline;
pub use register::ChannelBuilder;
pub use shared::{Channel, ChannelId};
pub use signal::Signal;
pub(crate) use slow::Inbound;
pub use transport::{Direction, Flush, Io, Metadata, Progress, Read, ReadBytes, Transport};
