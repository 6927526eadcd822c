//! Large things, piece by piece: what is too big to be written at once is pulled while the peer takes it.
//!
//! A [`Chunked`] message carries a [`ChunkedInput`]; the handler [`ChunkedWrite`] turns it into chunks. So at most the
//! high watermark and one chunk of it are in memory, however long it is.
//!
//! - `input`: [`ChunkedInput`] and what it answers; [`Resumer`], by which an input that had nothing calls again.
//! - `reader`: [`ChunkedReader`], [`ChunkedFile`] and [`ChunkedBytes`].
//! - `feed`: [`ChunkedFeed`], whose chunks another thread sends.
//! - `message`: [`Chunked`] and its [`Progress`].
//! - `transfer`: one of them under way.
//! - `handler`: [`ChunkedWrite`].

mod feed;
mod handler;
mod input;
mod message;
mod reader;
mod transfer;

pub use feed::{ChunkedFeed, FeedSender};
pub use handler::ChunkedWrite;
pub use input::{ChunkedInput, NextChunk, Resumer};
pub use message::{Chunked, Progress};
pub use reader::{ChunkedBytes, ChunkedFile, ChunkedReader};
