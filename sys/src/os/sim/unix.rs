//! [`Unix`]: one stream socket of the Unix domain, as Linux keeps it. Data and questions; what happens to it is in
//! `unix_calls`.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use super::options::Options;
use super::plan::Plan;
use super::random::Random;
use super::tcp::{ERR, HUP, IN, OUT, RDHUP};

/// The name of one socket, never used again.
pub(super) type UnixId = u32;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// TCP_CLOSE: made, bound perhaps.
    Fresh,
    Listening,
    Connected,
}

pub(super) struct Unix {
    pub(super) state: State,
    /// The descriptor; `None` before it is accepted.
    pub(super) file: Option<u32>,
    pub(super) name: Box<[u8]>,
    /// Named still when it is gone.
    pub(super) peer: Option<UnixId>,
    pub(super) peer_name: Box<[u8]>,
    /// SO_ERROR.
    pub(super) error: i32,
    pub(super) receive_shut: bool,
    pub(super) send_shut: bool,
    pub(super) options: Options,
    pub(super) received: VecDeque<Letter>,
    /// What the peer has not read, with its overhead. A message is taken while used < send_max.
    pub(super) used: usize,
    pub(super) send_max: usize,
    /// A fault: no memory for more, although there is room.
    pub(super) is_short: bool,
    pub(super) backlog: usize,
    pub(super) queue: VecDeque<UnixId>,
}

/// One sk_buff.
pub(super) struct Letter {
    pub(super) bytes: Vec<u8>,
    /// read < bytes.len()
    pub(super) read: usize,
    pub(super) cost: usize,
    pub(super) descriptors: Vec<OwnedFd>,
}

impl Unix {
    pub(super) fn new(plan: &Plan, random: &mut Random) -> Self {
        Self {
            state: State::Fresh,
            file: None,
            name: Box::default(),
            peer: None,
            peer_name: Box::default(),
            error: 0,
            receive_shut: false,
            send_shut: false,
            options: Options::default(),
            received: VecDeque::new(),
            used: 0,
            // As SO_SNDBUF answers it: the double.
            send_max: random.within(&plan.send_buffer).max(1) as usize * 2,
            is_short: false,
            backlog: 0,
            queue: VecDeque::new(),
        }
    }

    /// unix_writable
    pub(super) fn is_writable(&self) -> bool {
        self.state != State::Listening && !self.is_short && self.used * 4 <= self.send_max
    }

    /// unix_poll: what is ready now.
    pub(super) fn poll(&self) -> u32 {
        let mut mask = 0;
        if self.error != 0 {
            mask |= ERR;
        }
        if self.receive_shut && self.send_shut {
            mask |= HUP;
        }
        if self.receive_shut {
            mask |= RDHUP | IN;
        }
        if !self.received.is_empty() || !self.queue.is_empty() {
            mask |= IN;
        }
        if self.state == State::Fresh {
            mask |= HUP;
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
}
