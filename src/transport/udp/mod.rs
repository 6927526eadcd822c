//! UDP: [`Udp`] carries channels that send and receive [`Datagram`]s.
//!
//! - `socket`: the transport.
//! - `options`: what only datagram sockets have: multicast groups, packet info, joined datagrams.

mod options;
mod socket;

pub use crate::transport::datagram::Datagram;
pub use options::{
    IP_ADD_MEMBERSHIP, IP_BLOCK_SOURCE, IP_DROP_MEMBERSHIP, IP_UNBLOCK_SOURCE, Membership,
    interface_index,
};
pub use socket::Udp;
