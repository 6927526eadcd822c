//! Channels inside this process: a server and its clients on any loops of any groups, with no kernel between them.
//!
//! - `stream`: [`Local`], one side of a connection, made by connecting or by being accepted.
//! - `server`: [`LocalServer`], which is bound to a name and accepts.
//! - `accepted`: [`Accepted`], a connection that has no channel yet.
//! - `address`: [`LocalAddress`], a name.
//! - `registry`: who is bound to which name.
//! - `backlog`: the clients that wait to be accepted.
//! - `end`, `way`: a connection, seen from one side; one direction of it.
//!
//! # What crosses, and when a write is done
//!
//! Messages cross as they are, of any type, whole and uncopied: a `Bytes` that is written is the `Bytes` that is read, and
//! a [`FileRegion`](crate::buffer::FileRegion) arrives as one. A [`Message`](crate::buffer::Message) holds values that are
//! `Send`; one that is not can't be put into a message, and that does not compile:
//!
//! ```compile_fail,E0277
//! use tidegate::Message;
//!
//! let of_this_thread = std::rc::Rc::new(5);
//! let _ = Message::new(of_this_thread);
//! ```
//!
//! A write's promise succeeds when the reader's queue has the message, as with a socket it does when the kernel has it.
//! That the reader's handlers have seen it is not said. The queue takes messages until it holds half of the reader's
//! `SO_RCVBUF` (each counts its size and the 96 bytes of an entry), and the reader takes a whole queue at once: so a reader
//! that stops holds at most that option's bytes and two messages. The rest waits in the writer's outbound buffer, which
//! turns unwritable by its own marks. What is sent to a side that has ended its input is dropped and counts as written, as
//! with TCP.
//!
//! # Walks
//!
//! *A byte.* The writer's flush locks the way for a moment and moves what there is room for. If the reader had found the
//! queue empty, it is signalled: on its own loop its channel joins the ready list, on another a task is queued there. The
//! reader's next read swaps the queue for its empty one, under the same lock, and tells a writer that had found it full.
//! Neither runs code of the other's pipeline, and no lock is held while one signals.
//!
//! *A close in the middle of a flush.* The reader's side closes: its way takes nothing any more, and what was not read is
//! dropped. If something was not read, or the writer is waiting for room, the writer sees a reset: it reads what had
//! arrived for it, then the error; flushed writes fail with it, in order, and later ones as on a closed channel. If all was
//! read, the writer sees the end of input, and a write fails with `ChannelClosed`. Whichever it is, data that had
//! arrived at the writer is read before its channel ends.
//!
//! *Both loops shut down.* Each closes its channels, in any order; a signal to a loop that has ended is dropped.
//!
//! *One loop dies.* Channels that could not be closed are dropped with it, and their peers see a reset. A name is free as
//! soon as the server's transport is gone, and clients that waited there are reset.
//!
//! *A handler connects to a server of its own loop.* The connect joins the server's backlog and is done; the server is
//! signalled and accepts from the ready list, when the handler has returned.

mod accepted;
mod address;
mod backlog;
mod end;
mod registry;
mod server;
mod stream;
mod way;

pub use accepted::Accepted;
pub use address::LocalAddress;
pub use server::LocalServer;
pub use stream::Local;
