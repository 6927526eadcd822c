//! What carries channels. The transports do not know each other; what they have in common lies below them.
//!
//! - `tcp`: connections and listeners of TCP.
//! - `tcp_info`: what the kernel knows of a connection.
//! - `unix`: connections, listeners and datagrams of the Unix domain.
//! - `embedded`: channels for tests, without a kernel.
//! - `local`: connections inside this process, between any two loops.
//! - `udp`: datagrams.
//! - `oio`: sockets, and anything that reads and writes, on threads of their own.
//! - `sctp`: associations of SCTP, on the machine of streams.
//! - `socket`: what every socket transport is made of: one machine for streams, one for listeners, one table of
//!   options. A further kind of socket adds an address, not a copy.
//! - `datagram`: the machine of datagram sockets.
//! - `kind`: how a bootstrap makes a transport: [`ClientTransport`], [`ChildTransport`], [`Adoptable`].
//! - `blocking`: a few threads for single system calls that wait, whatever the channel.

pub(crate) mod blocking;
mod datagram;
pub mod embedded;
mod kind;
pub mod local;
pub mod oio;
pub mod sctp;
mod socket;
pub mod tcp;
mod tcp_info;
pub mod udp;
pub mod unix;

pub use datagram::DatagramSocket;
pub use kind::{Adoptable, ChildTransport, ClientTransport, DatagramTransport};
pub use socket::{Accepted, Connection, Listener};
