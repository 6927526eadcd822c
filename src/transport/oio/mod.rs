//! Channels on threads of their own (Netty's OIO): for what no selector can watch, and for who wants it so.
//!
//! The channel lives on an event loop like any other, with the same pipeline, handlers, options and futures; only its
//! calls that wait are made elsewhere: reads on one thread, writes on another, which is started by the first write. So a
//! read that waits holds up neither a write nor the loop, and a loop can host channels of both kinds.
//!
//! - Reading: each time the channel asks for a read and finds nothing, the thread is asked for one call. While reading is
//!   paused (`AUTO_READ` off) no call is made, except for one that is under way: what that brings waits. So a paused
//!   channel does not notice that its peer has gone.
//! - Writing: what was flushed goes to the thread in batches, one at a time. It counts as pending until it is written.
//! - `SO_TIMEOUT` (1 s, as Netty's) is how long one call waits. When nothing came in that time the thread looks whether
//!   it is still needed, and calls again: that is no error and no event. A blocking call with a time-out is a call that
//!   does not block, and poll(2) before it, as in the JDK.
//! - Closing a socket wakes its threads (by shutdown(2); listeners and datagrams on macOS, NetBSD and OpenBSD within a
//!   second), and the channel is closed when they have ended and the socket is;
//!   a lingering close waits on the thread. A thread that waits in a plain [`Read`](std::io::Read) can't be woken: see
//!   [`Stream`] for what happens then. A batch that is being written when the channel closes is written on as long as
//!   that goes without waiting.
//! - Ending the output lets the batch that is being written out first.
//! - A drain closes a socket as one on a selector, once its peer has ended its side too. What there is behind a [`Stream`]
//!   nobody knows, so it is closed as soon as all is written.
//! - Threads are named `oio-read-N`, `oio-write-N` and `oio-accept-N`. [`threads`] counts them, [`limit_threads`]
//!   bounds them. Without a thread a channel fails, and says which limit to raise. They end with their channels, and so
//!   with the loops, which close their channels when they shut down.
//!
//! ```
//! use tidegate::transport::oio;
//! use tidegate::{Bootstrap, Error, EventLoopGroup};
//!
//! let group = EventLoopGroup::new(1)?;
//! let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
//! let channel = Bootstrap::new(&group)
//!     .transport::<oio::Tcp>()
//!     .handler(|_pipeline| Ok::<_, Error>(()))
//!     .connect(listener.local_addr().unwrap())
//!     .sync()?;
//! assert_eq!(oio::threads(), 1);
//! channel.close().sync()?;
//! # Ok::<(), Error>(())
//! ```
//!
//! A wrong pairing does not compile:
//!
//! ```compile_fail,E0277
//! # use tidegate::{Bootstrap, EventLoopGroup, transport::oio};
//! # let group = EventLoopGroup::new(1).unwrap();
//! let _ = Bootstrap::new(&group).transport::<oio::TcpServer>();
//! ```
//!
//! ```compile_fail,E0277
//! # use tidegate::{EventLoopGroup, ServerBootstrap, transport::oio};
//! # let group = EventLoopGroup::new(1).unwrap();
//! let _ = ServerBootstrap::new(&group, &group).transport::<oio::Udp>();
//! ```
//!
//! A thread per direction costs a stack, and each exchange two switches of threads. Sockets are better off with [`tcp`](super::tcp) and [`udp`](super::udp).
//!
//! - `socket`, `server`, `datagrams`: the transports of sockets. Each wraps its sibling on selectors, which opens,
//!   binds, connects and knows the options.
//! - `stream`: anything that reads and writes.
//! - `threads`: the two threads of a channel, and the order of their end.
//! - `input`, `output`: the two directions.
//! - `hand`: one thread and its tray.
//! - `patient`: calls that wait for a time. `receiver`: those of a stream socket's reads.
//! - `census`: how many threads there are.

mod census;
mod datagrams;
mod hand;
mod input;
mod output;
mod patient;
mod receiver;
mod server;
mod socket;
mod stream;
mod threads;

pub use census::{limit_threads, threads};
pub use datagrams::Udp;
pub use patient::Descriptor;
pub use server::{Server, TcpServer};
pub use socket::{Socket, Tcp};
pub use stream::Stream;
