//! TCP.
//!
//! - `stream`: [`Tcp`], a connection, made by connecting or by being accepted.
//! - `server`: [`TcpServer`], a listening socket.
//! - `accepted`: [`Accepted`], a connection that has no channel yet.
//! - `parts`: whom a connection leads to.

mod accepted;
mod parts;
mod server;
mod stream;

pub use accepted::Accepted;
pub use server::TcpServer;
pub use stream::Tcp;
