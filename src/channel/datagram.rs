//! [`Datagram`]: the message of channels that are not streams. Their transports read and write it; handlers for single
//! datagrams know it too.

use std::net::IpAddr;

use bytes::Bytes;

use super::address::Address;
use crate::buffer::Message;

/// One datagram, with whom it came from or goes to.
///
/// ```
/// use tidegate::transport::udp::Datagram;
///
/// let question = Datagram::new("what time is it?", "192.0.2.7:123");
/// let answer = question.reply("noon");
/// assert_eq!(answer.peer, question.peer);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Datagram {
    /// Its bytes; none is a datagram, too. A received one lies in memory that the loop shares: copy what you keep for long.
    pub content: Bytes,
    /// Received: who sent it. To be sent: to whom.
    pub peer: Address,
    /// Received: to which of our addresses, if `IP_PKTINFO` is on. To be sent: from which; `None` lets the kernel choose.
    pub local: Option<IpAddr>,
    /// Received: its traffic class, DSCP in the upper six bits and ECN in the lower two, if `IP_RECVTOS` is on. Of no
    /// meaning for one to be sent: `IP_TOS` counts for all.
    pub class: Option<u8>,
}

impl Datagram {
    /// A datagram to `peer`.
    pub fn new(content: impl Into<Bytes>, peer: impl Into<Address>) -> Self {
        Self {
            content: content.into(),
            peer: peer.into(),
            local: None,
            class: None,
        }
    }

    /// An answer: to who sent this one, from the address it was sent to (if that is known).
    #[must_use]
    pub fn reply(&self, content: impl Into<Bytes>) -> Self {
        Self {
            content: content.into(),
            peer: self.peer.clone(),
            local: self.local,
            class: None,
        }
    }
}

impl From<Datagram> for Message {
    fn from(datagram: Datagram) -> Self {
        Self::new(datagram)
    }
}
