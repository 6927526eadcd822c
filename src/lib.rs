//! Tidegate is Netty for Rust: channels, pipelines, handlers, bootstraps and event loops on its own
//! reactor over raw epoll and kqueue.
//!
//! Begin with the [`guide`]; [`ServerBootstrap`] and [`Bootstrap`] have the first programs. What happens is told through
//! the crate `tracing`, and shown by the subscriber that a program installs: see [`guide::logging`].
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod bootstrap;
pub mod buffer;
pub mod channel;
pub mod codec;
pub mod error;
pub mod event_loop;
pub mod future;
pub mod guide;
pub mod handler;
pub mod pool;
mod reactor;
#[cfg(feature = "sim")]
pub mod sim;
pub mod transport;

pub use bootstrap::{Bootstrap, ServerBootstrap};
pub use buffer::{FileRegion, Message, RecvAllocator};
pub use channel::{
    Address, AttributeKey, Channel, ChannelFuture, ChannelGroup, ChannelOption, Context, Handler,
    HandlerResult, OptionSet, Pipeline,
};
pub use error::{Error, ErrorKind, Failure, Fault};
pub use event_loop::{Backend, EventLoop, EventLoopGroup, LocalEventLoop, Spin};
pub use future::Promise;
pub use transport::embedded::EmbeddedChannel;
