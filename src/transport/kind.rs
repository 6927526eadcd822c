//! How a bootstrap makes a transport. A few small traits beside [`Transport`], so that bootstraps are written once
//! for all kinds.

use std::any::Any;
use std::os::fd::OwnedFd;

use crate::channel::Transport;
use crate::error::Error;

/// A transport that connects: what a [`Bootstrap`](crate::bootstrap::Bootstrap) makes one of for each connect.
pub trait ClientTransport: Transport + Sized {
    /// The family of its addresses: [`Inet`](crate::channel::Inet), [`Unix`](crate::channel::Unix),
    /// [`Local`](crate::channel::Local), or one of your own.
    type Family;

    /// One that is not connected and has touched nothing of the system.
    fn unconnected() -> Self;
}

/// A transport that needs no peer: bound to an address it sends to anybody and receives from anybody, and
/// [`Bootstrap::bind`](crate::bootstrap::Bootstrap::bind) opens it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be bound by a `Bootstrap`",
    label = "needs a peer: only channels of datagrams are bound",
    note = "a server is bound by `ServerBootstrap`, a channel of UDP by `Bootstrap::new(..).transport::<Udp>()`",
    note = "to connect from an address of one's own there is `Bootstrap::local_address`"
)]
pub trait DatagramTransport: ClientTransport {}

/// A transport that a server accepts: what a [`ServerBootstrap`](crate::bootstrap::ServerBootstrap) makes one of
/// for each client.
pub trait ChildTransport: Transport + Sized {
    /// The family of its addresses, as of a [`ClientTransport`].
    type Family;

    /// The transport that listens.
    type Server: Transport;

    /// What the listening transport reads: a connection that has no channel yet. It travels through the server's
    /// pipeline and to the child's loop; dropped anywhere, it closes the connection.
    type Accepted: Any + Send;

    /// A listening transport that is not bound.
    fn server() -> Self::Server;

    /// The transport of a connection that was accepted.
    fn child(accepted: Self::Accepted) -> Self;
}

/// A transport that can be made of a socket which comes from elsewhere: one that listens already, for
/// [`ServerBootstrap::adopt`](crate::bootstrap::ServerBootstrap::adopt), or one of datagrams that has an address already, for
/// [`Bootstrap::adopt`](crate::bootstrap::Bootstrap::adopt).
pub trait Adoptable: Transport + Sized {
    /// One with this socket. It is active from the moment of its registration.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::error::ErrorKind::InvalidArgument) if it is no socket of the right kind, or does
    /// not listen or has no address, and what else the system says. The socket is closed then.
    fn adopt(socket: OwnedFd) -> Result<Self, Error>;
}
