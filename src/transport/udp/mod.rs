//! UDP: [`Udp`] carries channels that send and receive [`Datagram`]s.
//!
//! - `kind`: what makes a datagram socket one of UDP.
//! - `options`: what only datagram sockets have: multicast groups, packet info, joined datagrams.

mod kind;
mod options;

pub use crate::transport::datagram::Datagram;
pub use kind::{Udp, UdpKind};
pub use options::{
    IP_ADD_MEMBERSHIP, IP_BLOCK_SOURCE, IP_DROP_MEMBERSHIP, IP_UNBLOCK_SOURCE, Membership,
    interface_index,
};
