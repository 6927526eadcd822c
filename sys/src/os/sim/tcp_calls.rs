//! What the system calls do to TCP sockets, each with the answers that Linux gives. Called by `sockets`.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::OwnedFd;

use super::kernel::{Due, Kernel, Kind, Packet, Socket, errno};
use super::plan::SHORT_NS_MAX;
use super::ports::{PORTS, localhost, unspecified};
use super::tcp::{ANY, End, Fin, State, Tcp};

impl Kernel {
    // Names.

    pub(super) fn bind_tcp(&mut self, end: End, address: &SocketAddr) -> io::Result<()> {
        let mut address = *address;
        match self.end(end) {
            Some(tcp) if tcp.local.is_some() || tcp.state != State::Fresh => {
                return errno(libc::EINVAL);
            }
            Some(tcp) if tcp.is_v6 != address.is_ipv6() => return errno(libc::EAFNOSUPPORT),
            _ => {}
        }
        if address.port() == 0 {
            address.set_port(self.free_port(address.ip())?);
        } else if self.is_taken(end, &address, false) {
            return errno(libc::EADDRINUSE);
        }
        self.bound.push(end);
        if let Some(tcp) = self.end(end) {
            tcp.local = Some(address);
        }
        Ok(())
    }

    /// Whether a socket that was bound before forbids this address (inet_csk_get_port).
    fn is_taken(&mut self, end: End, address: &SocketAddr, to_listen: bool) -> bool {
        let flag =
            |tcp: &Tcp, name| tcp.options.set.get(&(libc::SOL_SOCKET, name)).copied() == Some(1);
        let Some(own) = self.end(end) else {
            return false;
        };
        let reuses = (flag(own, libc::SO_REUSEADDR), flag(own, libc::SO_REUSEPORT));
        let bound = std::mem::take(&mut self.bound);
        let is_taken = bound.iter().any(|&other| {
            let Some(tcp) = self.end(other).filter(|_| other != end) else {
                return false;
            };
            let overlaps = tcp.local.is_some_and(|local| overlap(&local, address));
            let shares_port = reuses.1 && flag(tcp, libc::SO_REUSEPORT);
            let shares_address =
                reuses.0 && flag(tcp, libc::SO_REUSEADDR) && tcp.state != State::Listening;
            let allows = shares_port || shares_address;
            overlaps && !allows && (!to_listen || tcp.state == State::Listening)
        });
        self.bound = bound;
        is_taken
    }

    fn free_port(&mut self, ip: IpAddr) -> io::Result<u16> {
        for _ in PORTS {
            let port = self.take_port();
            let address = SocketAddr::new(ip, port);
            let is_free = |tcp: &Tcp| tcp.local.is_none_or(|local| !overlap(&local, &address));
            if self.ends().all(|(_, tcp)| is_free(tcp)) {
                return Ok(port);
            }
        }
        errno(libc::EADDRINUSE)
    }

    /// The next port that nobody asked for, whoever has it already.
    pub(super) fn take_port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = if port + 1 < PORTS.end {
            port + 1
        } else {
            PORTS.start
        };
        port
    }

    /// Who listens there; one of them by lot, if several share it.
    pub(super) fn listener_at(&mut self, address: &SocketAddr) -> Option<End> {
        let listens = |end: &&End| {
            let tcp = self.ends_at(**end)?;
            let local = tcp.local?;
            (tcp.state == State::Listening && overlap(&local, address)).then_some(())
        };
        let found: Vec<End> = self
            .bound
            .iter()
            .filter(|end| listens(end).is_some())
            .copied()
            .collect();
        match found[..] {
            [] => None,
            [only] => Some(only),
            _ => Some(found[self.random.below(found.len() as u64) as usize]),
        }
    }

    pub(super) fn listen_tcp(&mut self, end: End, backlog: usize) -> io::Result<()> {
        let Some(tcp) = self.end(end) else {
            return errno(libc::EINVAL);
        };
        let local = match (tcp.state, tcp.local) {
            (State::Listening, _) => {
                tcp.backlog = backlog;
                return Ok(());
            }
            (State::Fresh, Some(local)) => local,
            (State::Fresh, None) => {
                let ip = unspecified(tcp.is_v6);
                let local = SocketAddr::new(ip, self.free_port(ip)?);
                self.bound.push(end);
                local
            }
            _ => return errno(libc::EINVAL),
        };
        if self.is_taken(end, &local, true) {
            return errno(libc::EADDRINUSE);
        }
        if let Some(tcp) = self.end(end) {
            tcp.local = Some(local);
            tcp.backlog = backlog;
            tcp.state = State::Listening;
        }
        Ok(())
    }

    pub(super) fn accept_tcp(&mut self, listener: End) -> io::Result<(OwnedFd, SocketAddr)> {
        let waiting = match self.end(listener) {
            Some(tcp) if tcp.state == State::Listening => tcp.queue.front().copied(),
            _ => return errno(libc::EINVAL),
        };
        let Some(child) = waiting else {
            return errno(libc::EAGAIN);
        };
        self.refuse_accept()?;
        if let Some(tcp) = self.end(listener) {
            tcp.queue.pop_front();
        }
        if self.strikes("accept failed", self.faults.accept_failed) {
            const WAYS: [i32; 3] = [libc::ECONNABORTED, libc::EPERM, libc::EPROTO];
            self.abort(child);
            return errno(WAYS[self.random.below(3) as usize]);
        }
        let remote = self.end(child).and_then(|tcp| tcp.remote);
        let Some(remote) = remote else {
            return errno(libc::ECONNABORTED);
        };
        let fd = self.open(Kind::Socket(Socket::Tcp(child)))?;
        Ok((fd, remote))
    }

    pub(super) fn connect_tcp(&mut self, end: End, address: &SocketAddr) -> io::Result<()> {
        let mut address = *address;
        // Linux takes the unspecified address for this machine.
        if address.ip().is_unspecified() {
            address.set_ip(localhost(address.is_ipv6()));
        }
        let Some(tcp) = self.end(end) else {
            return errno(libc::EBADF);
        };
        match tcp.state {
            State::Fresh if tcp.is_v6 != address.is_ipv6() => return errno(libc::EAFNOSUPPORT),
            State::Fresh => {}
            State::Connecting => return errno(libc::EALREADY),
            State::Connected if std::mem::take(&mut tcp.tells_of_connect) => return Ok(()),
            State::Connected | State::Listening | State::Greeting => return errno(libc::EISCONN),
            State::Dead => return errno(libc::ECONNABORTED),
        }
        let local = match tcp.local {
            Some(local) if !local.ip().is_unspecified() => local,
            Some(local) => SocketAddr::new(address.ip(), local.port()),
            None => SocketAddr::new(address.ip(), self.free_port(address.ip())?),
        };
        if let Some(tcp) = self.end(end) {
            tcp.local = Some(local);
            tcp.remote = Some(address);
            tcp.state = State::Connecting;
            tcp.tells_of_connect = true;
        }
        self.send_syn(end);
        errno(libc::EINPROGRESS)
    }

    pub(super) fn local_of_tcp(&mut self, end: End) -> io::Result<SocketAddr> {
        let Some(tcp) = self.end(end) else {
            return errno(libc::EBADF);
        };
        let unnamed = SocketAddr::new(unspecified(tcp.is_v6), 0);
        Ok(tcp.local.unwrap_or(unnamed))
    }

    pub(super) fn peer_of_tcp(&mut self, end: End) -> io::Result<SocketAddr> {
        let tcp = self.end(end).filter(|tcp| tcp.state == State::Connected);
        match tcp.and_then(|tcp| tcp.remote) {
            Some(remote) => Ok(remote),
            None => errno(libc::ENOTCONN),
        }
    }

    // Data.

    pub(super) fn send_tcp(
        &mut self,
        end: End,
        slices: &[IoSlice<'_>],
        offered: usize,
    ) -> io::Result<usize> {
        let faults = self.faults;
        let Some(tcp) = self.end(end) else {
            return errno(libc::EPIPE);
        };
        if tcp.error != 0 || tcp.send_shut {
            return errno(tcp.take_error().unwrap_or(libc::EPIPE));
        }
        match tcp.state {
            State::Connecting => return errno(libc::EAGAIN),
            State::Connected => {}
            _ => return errno(libc::EPIPE),
        }
        let mut taken = if tcp.is_short {
            0
        } else {
            offered.min(tcp.room())
        };
        if taken > 0 && self.strikes("no memory", faults.would_block) {
            let wait = self.random.below(SHORT_NS_MAX);
            self.schedule(self.now() + wait, Due::Relief(Socket::Tcp(end)));
            if let Some(tcp) = self.end(end) {
                tcp.is_short = true;
            }
            taken = 0;
        } else if taken > 1 && self.strikes("short write", faults.short_write) {
            // As when memory runs out on the way: the rest of the room comes back as news.
            taken = 1 + self.random.below(taken as u64 - 1) as usize;
            let wait = self.random.below(SHORT_NS_MAX);
            self.schedule(self.now() + wait, Due::Relief(Socket::Tcp(end)));
        }
        let Some(tcp) = self.end(end) else {
            return errno(libc::EPIPE);
        };
        if taken < offered {
            tcp.no_space = true;
        }
        if taken == 0 && offered > 0 {
            return errno(libc::EAGAIN);
        }
        let mut left = taken;
        for slice in slices {
            let part = &slice[..slice.len().min(left)];
            tcp.unsent.extend(part);
            left -= part.len();
        }
        self.transmit(end);
        Ok(taken)
    }

    pub(super) fn receive_tcp(
        &mut self,
        end: End,
        max: usize,
        take: impl FnOnce(&[u8], &[u8]),
    ) -> io::Result<usize> {
        let Some(tcp) = self.end(end) else {
            return errno(libc::ENOTCONN);
        };
        if !tcp.received.is_empty() {
            let count = max.min(tcp.received.len());
            let (front, back) = tcp.received.as_slices();
            let front = &front[..front.len().min(count)];
            take(front, &back[..count - front.len()]);
            tcp.received.drain(..count);
            self.open_window(end);
            return Ok(count);
        }
        // tcp_recvmsg: the peer's end, which hides an error (SOCK_DONE); the error; our own end; whether there is a
        // connection.
        if tcp.got_fin {
            return Ok(0);
        }
        if let Some(error) = tcp.take_error() {
            return errno(error);
        }
        if tcp.receive_shut {
            return Ok(0);
        }
        match tcp.state {
            State::Connected | State::Connecting | State::Greeting => errno(libc::EAGAIN),
            State::Fresh | State::Listening | State::Dead => errno(libc::ENOTCONN),
        }
    }

    pub(super) fn shutdown_tcp(&mut self, end: End, how: Shutdown) -> io::Result<()> {
        let Some(tcp) = self.end(end).filter(|tcp| tcp.state == State::Connected) else {
            return errno(libc::ENOTCONN);
        };
        if how != Shutdown::Write {
            tcp.receive_shut = true;
        }
        if how != Shutdown::Read {
            tcp.send_shut = true;
            if tcp.fin == Fin::None {
                tcp.fin = Fin::Queued;
            }
        }
        self.wake_end(end, ANY);
        self.transmit(end);
        Ok(())
    }

    // The end.

    /// tcp_close.
    pub(super) fn close_tcp(&mut self, end: End) {
        let Some(tcp) = self.end(end) else { return };
        tcp.file = None;
        tcp.is_orphan = true;
        match tcp.state {
            State::Fresh | State::Dead | State::Connecting | State::Greeting => {
                self.remove_end(end);
            }
            State::Listening => {
                let Some(listener) = self.remove_end(end) else {
                    return;
                };
                for child in listener.queue {
                    self.abort(child);
                }
            }
            // What was not read, or SO_LINGER of zero, makes it a reset.
            State::Connected if !tcp.received.is_empty() || tcp.options.linger == Some(0) => {
                self.abort(end);
            }
            State::Connected => {
                tcp.send_shut = true;
                tcp.receive_shut = true;
                if tcp.fin == Fin::None {
                    tcp.fin = Fin::Queued;
                }
                let is_over = tcp.fin == Fin::Acked && tcp.got_fin;
                self.bound.retain(|each| *each != end);
                if is_over {
                    self.remove_end(end);
                } else {
                    self.transmit(end);
                }
            }
        }
    }

    /// Ends a connection by a reset.
    pub(super) fn abort(&mut self, end: End) {
        let Some(peer) = self.end(end).map(|tcp| tcp.peer) else {
            return;
        };
        if let Some(peer) = peer {
            self.send_packet(end, peer, Packet::Reset);
        }
        self.remove_end(end);
    }
}

fn overlap(one: &SocketAddr, other: &SocketAddr) -> bool {
    let (a, b) = (one.ip(), other.ip());
    one.port() == other.port()
        && a.is_ipv6() == b.is_ipv6()
        && (a == b || a.is_unspecified() || b.is_unspecified())
}
