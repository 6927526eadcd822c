//! What travels between two ends: packets, their order, what they do on arrival.

use std::ops::RangeInclusive;

use super::kernel::{Due, Kernel, Packet, Socket};
use super::log::What;
use super::tcp::{ANY, ERR, End, Fin, IN, OUT, State, Tcp};

/// tcp_syn_retries of Linux: sent again after 1, 2, 4, 8, 16 and 32 seconds; the end comes 64 seconds later.
const SYN_RETRIES: u32 = 6;
const SECOND_NS: u64 = 1_000_000_000;

/// When somebody whose packets are lost gives up. Linux takes 15 minutes; less keeps simulated time short.
const GIVE_UP_NS: RangeInclusive<u64> = SECOND_NS..=20 * SECOND_NS;

impl Kernel {
    /// Everything that is due by now happens.
    #[inline]
    pub(super) fn deliver(&mut self) {
        let now = self.now();
        while let Some(entry) = self.agenda.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let due = entry.remove();
            self.activity += 1;
            self.happen(due);
        }
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Packet { from, to, packet } => {
                let name = packet.name();
                self.note(What::Arrived { name, to });
                self.arrive(from, to, packet);
            }
            Due::Syn { from } => self.arrive_syn(from),
            Due::SynRetry(end) => self.retry_syn(end),
            Due::Relief(Socket::Tcp(end)) => {
                if let Some(tcp) = self.end(end) {
                    tcp.is_short = false;
                    self.tell_of_room(end);
                }
            }
            Due::Relief(Socket::Unix(unix)) => self.relieve_unix(unix),
            Due::Relief(Socket::Udp(udp)) => self.relieve_udp(udp),
            Due::Datagram {
                sender,
                letter,
                cost,
            } => self.arrive_datagram(sender, letter, cost),
            Due::Deadline { timer, times_set } => self.reach_deadline(timer, times_set),
            Due::Unreachable { from, to } => self.arrive_unreachable(from, to),
            Due::GiveUp(end) => self.give_up(end),
            Due::Again(file) => self.again(file),
            Due::Release(duplicate) => {
                drop(duplicate);
                self.sweep();
            }
        }
    }

    /// How long the next packet takes.
    pub(super) fn delay(&mut self) -> u64 {
        let delay = self.random.within(&self.plan.delay_ns.clone());
        if self.strikes("late", self.faults.late) {
            return delay * (1 + self.random.below(100));
        }
        delay
    }

    pub(super) fn send_packet(&mut self, from: End, to: End, packet: Packet) {
        let mut arrives = self.now() + self.delay();
        let is_lost = match self.end(from) {
            Some(tcp) => {
                arrives = arrives.max(tcp.path_free);
                tcp.path_free = arrives;
                tcp.is_lost
            }
            None => false,
        };
        self.note(What::Sent {
            name: packet.name(),
            from,
            to,
            length: packet.length() as u32,
            arrives: if is_lost { 0 } else { arrives },
        });
        if !is_lost {
            self.schedule(arrives, Due::Packet { from, to, packet });
        } else if matches!(packet, Packet::Data(_) | Packet::Fin) {
            self.begin_to_give_up(from);
        }
    }

    // The beginning of a connection.

    /// Sends the first packet, or sends it again.
    pub(super) fn send_syn(&mut self, end: End) {
        let Some(tcp) = self.end(end) else { return };
        let retries = tcp.syn_sent;
        tcp.syn_sent += 1;
        let wait = SECOND_NS << retries.min(SYN_RETRIES);
        self.schedule(self.now() + wait, Due::SynRetry(end));
        if !self.strikes("syn lost", self.faults.syn_lost) {
            let at = self.now() + self.delay();
            self.schedule(at, Due::Syn { from: end });
        }
    }

    fn retry_syn(&mut self, end: End) {
        let Some(tcp) = self.end(end) else { return };
        if tcp.state != State::Connecting {
            return;
        }
        if tcp.syn_sent > SYN_RETRIES {
            self.fail(end, libc::ETIMEDOUT);
        } else {
            self.send_syn(end);
        }
    }

    fn arrive_syn(&mut self, from: End) {
        let Some(client) = self.end(from) else { return };
        let (Some(wanted), Some(local), true) = (
            client.remote,
            client.local,
            client.state == State::Connecting && client.peer.is_none(),
        ) else {
            return;
        };
        let listener = self.listener_at(&wanted);
        let (Some(listener), false) = (listener, self.strikes("refuse", self.faults.refuse)) else {
            self.fail(from, libc::ECONNREFUSED);
            return;
        };
        let Some(tcp) = self.end(listener) else {
            return;
        };
        if tcp.queue.len() + tcp.greeting > tcp.backlog {
            // Linux drops it; the client asks again.
            self.note(What::Fault("backlog full"));
            return;
        }
        tcp.greeting += 1;
        let is_v6 = tcp.is_v6;
        let options = tcp.options.clone();
        let mut child = Tcp::new(is_v6, &self.plan, &mut self.random);
        child.options = options;
        child.state = State::Greeting;
        child.local = Some(wanted);
        child.remote = Some(local);
        child.peer = Some(from);
        child.listener = Some(listener);
        let child = self.add_end(child);
        self.send_packet(child, from, Packet::SynAck);
    }

    fn arrive(&mut self, from: End, to: End, packet: Packet) {
        match packet {
            Packet::SynAck => self.arrive_syn_ack(from, to),
            Packet::Established => self.arrive_established(from, to),
            Packet::Data(bytes) => self.arrive_data(from, to, &bytes),
            Packet::Ack(count) => {
                if let Some(tcp) = self.end(to) {
                    tcp.unacked = tcp.unacked.saturating_sub(count);
                    self.transmit(to);
                    self.tell_of_room(to);
                }
            }
            Packet::Window => {
                if let Some(sender) = self.end(from) {
                    sender.window_sent = false;
                }
                self.transmit(to);
            }
            Packet::Fin => self.arrive_fin(from, to),
            Packet::FinAck => self.arrive_fin_ack(to),
            Packet::Reset => self.arrive_reset(to),
        }
    }

    fn arrive_syn_ack(&mut self, from: End, to: End) {
        match self.end(to) {
            Some(client) if client.state == State::Connecting && client.peer.is_none() => {
                client.state = State::Connected;
                client.peer = Some(from);
                self.wake_end(to, ANY);
                self.send_packet(to, from, Packet::Established);
                self.transmit(to);
            }
            // Closed meanwhile, or answered twice.
            _ => self.send_packet(to, from, Packet::Reset),
        }
    }

    fn arrive_established(&mut self, from: End, to: End) {
        let Some(child) = self.end(to) else {
            self.send_packet(to, from, Packet::Reset);
            return;
        };
        if child.state != State::Greeting {
            return;
        }
        child.state = State::Connected;
        let listener = child.listener.take();
        if let Some(listener) = listener
            && let Some(tcp) = self.end(listener)
            && tcp.state == State::Listening
        {
            tcp.greeting -= 1;
            tcp.queue.push_back(to);
            self.wake_end(listener, IN);
        } else {
            self.remove_end(to);
            self.send_packet(to, from, Packet::Reset);
        }
    }

    // Data.

    /// Sends as much as the other side has room for.
    pub(super) fn transmit(&mut self, end: End) {
        loop {
            let Some(tcp) = self.end(end) else { return };
            let (State::Connected, Some(peer)) = (tcp.state, tcp.peer) else {
                return;
            };
            if tcp.is_lost && !tcp.unsent.is_empty() {
                // Also if the window is closed: nobody answers the probes.
                self.begin_to_give_up(end);
            }
            let Some(tcp) = self.end(end) else { return };
            if tcp.unsent.is_empty() {
                if tcp.fin == Fin::Queued {
                    tcp.fin = Fin::Sent;
                    self.send_packet(end, peer, Packet::Fin);
                }
                return;
            }
            let (waiting, on_wire) = (tcp.unsent.len(), tcp.on_wire);
            let window = self.end(peer).map_or(usize::MAX, |peer| {
                peer.receive_max
                    .saturating_sub(peer.received.len() + on_wire)
            });
            let segment = self.random.within(&self.plan.segment.clone()).max(1) as usize;
            let length = waiting.min(window).min(segment);
            if length == 0 {
                return;
            }
            if self.strikes("reset", self.faults.reset) {
                self.break_connection(end, peer);
                return;
            }
            if self.strikes("vanish", self.faults.vanish) {
                for each in [end, peer] {
                    self.lose(each);
                }
            }
            let Some(tcp) = self.end(end) else { return };
            let bytes: Vec<u8> = tcp.unsent.drain(..length).collect();
            tcp.unacked += length;
            tcp.on_wire += length;
            self.send_packet(end, peer, Packet::Data(bytes));
        }
    }

    /// Nothing that this end sends arrives any more. What it is waiting to have acknowledged it waits for in vain.
    fn lose(&mut self, end: End) {
        if let Some(tcp) = self.end(end) {
            tcp.is_lost = true;
            let waits = tcp.unacked > 0 || !tcp.unsent.is_empty() || tcp.fin == Fin::Sent;
            if waits {
                self.begin_to_give_up(end);
            }
        }
    }

    /// Something between the two resets both.
    fn break_connection(&mut self, one: End, other: End) {
        self.send_packet(one, other, Packet::Reset);
        self.send_packet(other, one, Packet::Reset);
    }

    fn arrive_data(&mut self, from: End, to: End, bytes: &[u8]) {
        if let Some(sender) = self.end(from) {
            sender.on_wire -= bytes.len();
        }
        match self.end(to) {
            Some(tcp) if tcp.state == State::Connected && !tcp.is_orphan => {
                tcp.received.extend(bytes);
                self.wake_end(to, IN);
                self.send_packet(to, from, Packet::Ack(bytes.len()));
            }
            // Nobody will ever read it.
            Some(tcp) if tcp.state == State::Connected => {
                self.remove_end(to);
                self.send_packet(to, from, Packet::Reset);
            }
            _ => self.send_packet(to, from, Packet::Reset),
        }
    }

    /// Whoever found the socket full hears of it when a third is free (sk_stream_write_space).
    fn tell_of_room(&mut self, end: End) {
        if let Some(tcp) = self.end(end)
            && tcp.no_space
            && tcp.is_writable()
        {
            tcp.no_space = false;
            self.wake_end(end, OUT);
        }
    }

    /// Somebody has read: the peer may send more.
    pub(super) fn open_window(&mut self, end: End) {
        let Some(tcp) = self.end(end) else { return };
        let (Some(peer), State::Connected, false) = (tcp.peer, tcp.state, tcp.window_sent) else {
            return;
        };
        if self.end(peer).is_some_and(|peer| !peer.unsent.is_empty()) {
            if let Some(tcp) = self.end(end) {
                tcp.window_sent = true;
            }
            self.send_packet(end, peer, Packet::Window);
        }
    }

    // The end.

    fn arrive_fin(&mut self, from: End, to: End) {
        let Some(tcp) = self.end(to).filter(|tcp| tcp.state == State::Connected) else {
            self.send_packet(to, from, Packet::Reset);
            return;
        };
        tcp.got_fin = true;
        tcp.receive_shut = true;
        self.send_packet(to, from, Packet::FinAck);
        self.wake_end(to, ANY);
        self.settle(to);
    }

    fn arrive_fin_ack(&mut self, to: End) {
        if let Some(tcp) = self.end(to).filter(|tcp| tcp.fin == Fin::Sent) {
            tcp.fin = Fin::Acked;
            self.wake_end(to, ANY);
            self.settle(to);
        }
    }

    /// Both directions are over.
    fn settle(&mut self, end: End) {
        let Some(tcp) = self.end(end) else { return };
        if tcp.fin == Fin::Acked && tcp.got_fin && tcp.state == State::Connected {
            tcp.state = State::Dead;
            tcp.send_shut = true;
            let is_orphan = tcp.is_orphan;
            self.wake_end(end, ANY);
            if is_orphan {
                self.remove_end(end);
            }
        }
    }

    fn arrive_reset(&mut self, to: End) {
        let Some(tcp) = self.end(to) else { return };
        match tcp.state {
            State::Connecting => self.fail(to, libc::ECONNREFUSED),
            State::Greeting => self.drop_greeting(to),
            State::Connected => {
                // tcp_reset: EPIPE in CLOSE_WAIT.
                let errno = if tcp.got_fin {
                    libc::EPIPE
                } else {
                    libc::ECONNRESET
                };
                self.fail(to, errno);
            }
            State::Fresh | State::Listening | State::Dead => {}
        }
    }

    fn drop_greeting(&mut self, end: End) {
        if let Some(child) = self.remove_end(end)
            && let Some(listener) = child.listener
            && let Some(tcp) = self.end(listener)
        {
            tcp.greeting -= 1;
        }
    }

    /// The connection is over, with an error for whoever asks.
    pub(super) fn fail(&mut self, end: End, errno: i32) {
        let Some(tcp) = self.end(end) else { return };
        if tcp.is_orphan {
            self.remove_end(end);
            return;
        }
        tcp.error = errno;
        tcp.state = State::Dead;
        tcp.receive_shut = true;
        tcp.send_shut = true;
        tcp.unsent.clear();
        tcp.unacked = 0;
        self.wake_end(end, ERR);
        self.wake_end(end, ANY);
    }

    fn begin_to_give_up(&mut self, end: End) {
        if let Some(tcp) = self.end(end).filter(|tcp| !tcp.gives_up) {
            tcp.gives_up = true;
            let wait = self.random.within(&GIVE_UP_NS);
            self.schedule(self.now() + wait, Due::GiveUp(end));
        }
    }

    fn give_up(&mut self, end: End) {
        if self
            .end(end)
            .is_some_and(|tcp| tcp.state == State::Connected)
        {
            self.fail(end, libc::ETIMEDOUT);
        }
    }
}
