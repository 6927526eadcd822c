//! [`Tcp`]: one end of a connection, or a listener, as Linux keeps it. Data and questions; what happens to it is in
//! `network` and `sockets`.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::options::Options;
use super::plan::Plan;
use super::random::Random;

/// The bits of epoll. poll(2) has the same numbers.
pub(super) const IN: u32 = 0x001;
pub(super) const PRI: u32 = 0x002;
pub(super) const OUT: u32 = 0x004;
pub(super) const ERR: u32 = 0x008;
pub(super) const HUP: u32 = 0x010;
pub(super) const RDHUP: u32 = 0x2000;

/// A wake-up that does not say what for: everybody who waits looks.
pub(super) const ANY: u32 = 0;

/// The name of one end, never used again.
pub(super) type End = u32;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Made; bound perhaps.
    Fresh,
    Listening,
    /// The first packet is under way.
    Connecting,
    /// A listener has answered, and waits for the client to answer that.
    Greeting,
    Connected,
    /// TCP_CLOSE: failed, reset, or ended in both directions.
    Dead,
}

/// How far our own end of data has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fin {
    None,
    /// To be sent behind the data.
    Queued,
    Sent,
    Acked,
}

pub(super) struct Tcp {
    pub(super) state: State,
    /// The descriptor; `None` before it is accepted and after it is closed.
    pub(super) file: Option<u32>,
    /// Nobody will ever have a descriptor of it again.
    pub(super) is_orphan: bool,
    pub(super) is_v6: bool,
    pub(super) local: Option<SocketAddr>,
    pub(super) remote: Option<SocketAddr>,
    pub(super) peer: Option<End>,
    /// SO_ERROR.
    pub(super) error: i32,
    pub(super) receive_shut: bool,
    pub(super) send_shut: bool,
    pub(super) options: Options,

    /// Taken from the program, not yet sent: the window of the peer is full.
    pub(super) unsent: VecDeque<u8>,
    /// Sent and not acknowledged. unsent.len() + unacked <= send_max.
    pub(super) unacked: usize,
    /// Sent and not arrived.
    pub(super) on_wire: usize,
    pub(super) send_max: usize,
    /// Somebody found the socket full, and is told of room (SOCK_NOSPACE).
    pub(super) no_space: bool,
    /// A fault: no memory for more, although there is room.
    pub(super) is_short: bool,
    pub(super) fin: Fin,
    /// When the last packet of this end arrives: the next one is not earlier.
    pub(super) path_free: u64,
    /// The path is gone: whatever this end sends is lost.
    pub(super) is_lost: bool,
    pub(super) gives_up: bool,

    /// Arrived and not read. received.len() + the peer's on_wire <= receive_max.
    pub(super) received: VecDeque<u8>,
    pub(super) receive_max: usize,
    pub(super) got_fin: bool,
    /// News of room for the peer is under way.
    pub(super) window_sent: bool,

    pub(super) backlog: usize,
    /// Connections that the client has not confirmed.
    pub(super) greeting: usize,
    pub(super) queue: VecDeque<End>,
    /// Where this connection will be accepted.
    pub(super) listener: Option<End>,
    pub(super) syn_sent: u32,
    /// A connect that was asked for again after it had come about (SS_CONNECTING): it says so once.
    pub(super) tells_of_connect: bool,
}

impl Tcp {
    pub(super) fn new(is_v6: bool, plan: &Plan, random: &mut Random) -> Self {
        Self {
            state: State::Fresh,
            file: None,
            is_orphan: false,
            is_v6,
            local: None,
            remote: None,
            peer: None,
            error: 0,
            receive_shut: false,
            send_shut: false,
            options: Options::default(),
            unsent: VecDeque::new(),
            unacked: 0,
            on_wire: 0,
            send_max: random.within(&plan.send_buffer).max(1) as usize,
            no_space: false,
            is_short: false,
            fin: Fin::None,
            path_free: 0,
            is_lost: false,
            gives_up: false,
            received: VecDeque::new(),
            receive_max: random.within(&plan.recv_buffer).max(1) as usize,
            got_fin: false,
            window_sent: false,
            backlog: 0,
            greeting: 0,
            queue: VecDeque::new(),
            listener: None,
            syn_sent: 0,
            tells_of_connect: false,
        }
    }

    /// Bytes that a send would find room for.
    pub(super) fn room(&self) -> usize {
        self.send_max
            .saturating_sub(self.unsent.len() + self.unacked)
    }

    /// Whether the socket reports OUT: a third of the buffer is free (sk_stream_is_writeable).
    pub(super) fn is_writable(&self) -> bool {
        let used = self.unsent.len() + self.unacked;
        !self.is_short && self.room() >= used.div_ceil(2) && self.room() > 0
    }

    /// tcp_poll of Linux 6: what is ready now. Whoever hears that there is no room will be told of it.
    pub(super) fn poll(&mut self) -> u32 {
        if self.state == State::Listening {
            return if self.queue.is_empty() { 0 } else { IN };
        }
        let mut mask = 0;
        if (self.receive_shut && self.send_shut) || matches!(self.state, State::Fresh | State::Dead)
        {
            mask |= HUP;
        }
        if self.receive_shut {
            mask |= IN | RDHUP;
        }
        if self.state != State::Connecting {
            if !self.received.is_empty() {
                mask |= IN;
            }
            if self.send_shut || self.is_writable() {
                mask |= OUT;
            } else {
                self.no_space = true;
            }
        }
        if self.error != 0 {
            mask |= ERR;
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
}
