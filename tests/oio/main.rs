//! Channels on threads of their own: what is particular to them. Their behaviour as streams is that of all transports.

mod closing;
mod datagrams;
mod sockets;
mod streams;
mod support;
