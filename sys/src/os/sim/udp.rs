//! [`Udp`]: one socket for UDP datagrams, as Linux keeps it. Data and questions; what happens to it is in `udp_calls`.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use super::options::Options;
use super::plan::Plan;
use super::ports::unspecified;
use super::random::Random;
use super::tcp::{ERR, HUP, IN, OUT, RDHUP};

/// The name of one socket, never used again.
pub(super) type UdpId = u32;

/// What a datagram counts for beside its bytes: an sk_buff with the smallest room for data (x86-64).
pub(super) const OVERHEAD: usize = 768;

pub(super) struct Udp {
    pub(super) file: Option<u32>,
    pub(super) is_v6: bool,
    pub(super) local: Option<SocketAddr>,
    /// What bind(2) was asked for: that stays when it is disconnected, and a port that the kernel chose does not.
    pub(super) asked: Option<SocketAddr>,
    /// Connected: it hears of nobody else.
    pub(super) remote: Option<SocketAddr>,
    /// SO_ERROR.
    pub(super) error: i32,
    pub(super) receive_shut: bool,
    pub(super) send_shut: bool,
    pub(super) options: Options,
    pub(super) received: VecDeque<Arrived>,
    /// What waits in `received`, with its overhead. A datagram is taken while held <= receive_max.
    pub(super) held: usize,
    pub(super) receive_max: usize,
    /// What has not left the machine, with its overhead. A datagram is taken while used < send_max.
    pub(super) used: usize,
    pub(super) send_max: usize,
    /// A fault: no memory for more, although there is room.
    pub(super) is_short: bool,
    /// When the last datagram of this socket arrives: the next one is not earlier.
    pub(super) path_free: u64,
}

/// A datagram on its way.
pub(super) struct Letter {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    /// Its traffic class.
    pub(super) class: u8,
    pub(super) bytes: Box<[u8]>,
}

/// A datagram that came.
pub(in crate::os) struct Arrived {
    pub(in crate::os) from: SocketAddr,
    pub(in crate::os) bytes: Box<[u8]>,
    /// Where it was sent to, if the socket was asked to tell.
    pub(in crate::os) to: Option<IpAddr>,
    /// Its traffic class, if the socket was asked to tell.
    pub(in crate::os) class: Option<u8>,
}

impl Arrived {
    pub(super) fn cost(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }
}

impl Udp {
    pub(super) fn new(is_v6: bool, plan: &Plan, random: &mut Random) -> Self {
        Self {
            file: None,
            is_v6,
            local: None,
            asked: None,
            remote: None,
            error: 0,
            receive_shut: false,
            send_shut: false,
            options: Options::default(),
            received: VecDeque::new(),
            held: 0,
            // As SO_RCVBUF and SO_SNDBUF answer it: the double.
            receive_max: random.within(&plan.recv_buffer).max(1) as usize * 2,
            used: 0,
            send_max: random.within(&plan.send_buffer).max(1) as usize * 2,
            is_short: false,
            path_free: 0,
        }
    }

    /// What it is called without a port.
    pub(super) fn unnamed(&self) -> SocketAddr {
        let any = SocketAddr::new(unspecified(self.is_v6), 0);
        self.asked.unwrap_or(any)
    }

    /// sock_writeable: half of the buffer is free.
    pub(super) fn is_writable(&self) -> bool {
        !self.is_short && self.used * 2 < self.send_max.max(1)
    }

    /// datagram_poll: what is ready now.
    pub(super) fn poll(&self) -> u32 {
        let mut mask = 0;
        if self.error != 0 {
            mask |= ERR;
        }
        if self.receive_shut {
            mask |= RDHUP | IN;
        }
        if self.receive_shut && self.send_shut {
            mask |= HUP;
        }
        if !self.received.is_empty() {
            mask |= IN;
        }
        if self.is_writable() {
            mask |= OUT;
        }
        mask
    }

    /// sock_error: the error is told once.
    pub(super) fn take_error(&mut self) -> Option<i32> {
        match std::mem::take(&mut self.error) {
            0 => None,
            errno => Some(errno),
        }
    }

    /// How well it suits a datagram (compute_score): not at all, or the more it has asked for the better.
    pub(super) fn suits(&self, to: &SocketAddr, from: &SocketAddr) -> Option<u32> {
        let local = self.local?;
        let is_there = local.port() == to.port()
            && local.is_ipv6() == to.is_ipv6()
            && (local.ip() == to.ip() || local.ip().is_unspecified());
        if !is_there || self.remote.is_some_and(|remote| remote != *from) {
            return None;
        }
        let names_address = u32::from(!local.ip().is_unspecified());
        Some(names_address + 2 * u32::from(self.remote.is_some()))
    }
}
