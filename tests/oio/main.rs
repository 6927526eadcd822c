//! Channels on threads of their own: what is particular to them. Their behaviour as streams is that of all transports.

mod closing;
mod datagrams;
#[path = "../common/refusing.rs"]
mod refusing;
mod sockets;
mod streams;
mod support;
