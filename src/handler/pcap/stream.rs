//! [`Stream`]: one connection as both of its ends would number it: SYN, data with its acknowledgements, FIN or RST. It says
//! what there would be to see, and is asked in the order in which things happen.

use std::net::SocketAddr;
use std::time::Duration;

use super::format::{ACK, FIN, PAYLOAD_MAX, PSH, RST, SYN, Segment, record};

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The channel.
    Local,
    /// Its peer.
    Remote,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Local => Self::Remote,
            Self::Remote => Self::Local,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct End {
    address: SocketAddr,
    /// The number of the byte that it sends next.
    next: u32,
    has_ended: bool,
}

/// See the module's page. Records are appended to a buffer that the caller brings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    local: End,
    remote: End,
}

impl Stream {
    /// A connection whose ends number their bytes from zero.
    pub(super) fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        let end = |address| End {
            address,
            next: 0,
            has_ended: false,
        };
        Self {
            local: end(local),
            remote: end(remote),
        }
    }

    /// The handshake, begun by `client`.
    pub(super) fn open(&mut self, out: &mut Vec<u8>, at: Duration, client: Side) {
        self.put(out, at, client, SYN, &[]);
        self.end(client).next = 1;
        self.put(out, at, client.other(), SYN | ACK, &[]);
        self.end(client.other()).next = 1;
        self.put(out, at, client, ACK, &[]);
    }

    /// Bytes from one end to the other, which acknowledges them.
    pub(super) fn data(&mut self, out: &mut Vec<u8>, at: Duration, from: Side, bytes: &[u8]) {
        for payload in bytes.chunks(PAYLOAD_MAX) {
            self.put(out, at, from, PSH | ACK, payload);
            self.skip(from, payload.len() as u64);
            self.put(out, at, from.other(), ACK, &[]);
        }
    }

    /// Bytes that were sent and nobody has seen: a gap in the capture.
    pub(super) fn skip(&mut self, from: Side, bytes: u64) {
        let end = self.end(from);
        // Numbers wrap at 2^32.
        end.next = end.next.wrapping_add(bytes as u32);
    }

    /// One end has sent everything. Once only.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>, at: Duration, from: Side) {
        if std::mem::replace(&mut self.end(from).has_ended, true) {
            return;
        }
        self.put(out, at, from, FIN | ACK, &[]);
        self.skip(from, 1);
        self.put(out, at, from.other(), ACK, &[]);
    }

    /// One end gives the connection up.
    pub(super) fn reset(&mut self, out: &mut Vec<u8>, at: Duration, from: Side) {
        self.put(out, at, from, RST | ACK, &[]);
        self.local.has_ended = true;
        self.remote.has_ended = true;
    }

    fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::Local => &mut self.local,
            Side::Remote => &mut self.remote,
        }
    }

    fn put(&mut self, out: &mut Vec<u8>, at: Duration, from: Side, flags: u8, payload: &[u8]) {
        let (from, to) = match from {
            Side::Local => (&self.local, &self.remote),
            Side::Remote => (&self.remote, &self.local),
        };
        let ack = if flags & ACK == 0 { 0 } else { to.next };
        let segment = Segment {
            from: from.address,
            to: to.address,
            seq: from.next,
            ack,
            flags,
            payload,
        };
        record(out, at, &segment);
    }
}
