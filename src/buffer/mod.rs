//! What travels through pipelines and the memory under it.
//!
//! The floors above take all of it from here; nothing here knows a loop, a channel or the kernel.
//!
//! - `message`: [`Message`], the type-erased owned value that handlers pass on.
//! - `into_message`: [`IntoMessage`], what methods take where they want one.
//! - `region`: [`FileRegion`], a part of a file to be sent without copying.
//! - `recv`: [`RecvAllocator`] and [`RecvPredictor`], how much the next read asks for.
//! - `arena`: [`Arena`], the memory that one loop receives into.
//! - `compact`: how few bytes that wait let go of the arena.
//! - `gather`: [`gather()`], lists of slices for one gathering write.
//!
//! [`Bytes`] and [`BytesMut`] are those of the `bytes` crate, given out again so that a handler needs
//! no version of its own.

mod arena;
mod compact;
mod gather;
mod into_message;
mod message;
mod recv;
mod region;

pub use bytes::{Buf, BufMut, Bytes, BytesMut};

pub(crate) use self::{
    arena::ArenaGauges,
    compact::{SMALL_MAX, compact, pins},
};
pub use self::{
    arena::{Arena, ArenaStats, CHUNK_SIZE},
    gather::{SLICES_MAX, gather},
    into_message::IntoMessage,
    message::Message,
    recv::{RecvAllocator, RecvPredictor},
    region::FileRegion,
};
