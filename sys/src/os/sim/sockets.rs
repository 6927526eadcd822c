//! The system calls on sockets and counters, each with the answers that Linux gives.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::os::fd::OwnedFd;

use super::kernel::{Due, FileId, Kernel, Kind, Packet, errno};
use super::tcp::{ANY, End, Fin, IN, State, Tcp};

/// Where ports are looked for that nobody asked for (ip_local_port_range of Linux ends before 61000).
const PORTS: std::ops::Range<u16> = 32_768..61_000;

/// The longest time without memory that `would_block` makes up.
const SHORT_NS_MAX: u64 = 5_000_000;

impl Kernel {
    pub(in crate::os) fn socket(&mut self, address: &SocketAddr) -> io::Result<OwnedFd> {
        let tcp = Tcp::new(address.is_ipv6(), &self.plan, &mut self.random);
        let end = self.add_end(tcp);
        let answer = self.open(Kind::Socket(end));
        if answer.is_err() {
            self.remove_end(end);
        }
        answer
    }

    // Names.

    pub(in crate::os) fn bind(&mut self, file: FileId, address: &SocketAddr) -> io::Result<()> {
        let answer = self.try_bind(file, address);
        self.noted("bind", file, u64::from(address.port()), answer, |()| 0)
    }

    fn try_bind(&mut self, file: FileId, address: &SocketAddr) -> io::Result<()> {
        let end = self.socket_of(file)?;
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
        let flag = |tcp: &Tcp, name| tcp.options.get(&(libc::SOL_SOCKET, name)).copied() == Some(1);
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
            let port = self.next_port;
            self.next_port = if port + 1 < PORTS.end {
                port + 1
            } else {
                PORTS.start
            };
            let address = SocketAddr::new(ip, port);
            let is_free = |tcp: &Tcp| tcp.local.is_none_or(|local| !overlap(&local, &address));
            if self.ends().all(|(_, tcp)| is_free(tcp)) {
                return Ok(port);
            }
        }
        errno(libc::EADDRINUSE)
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

    pub(in crate::os) fn listen(&mut self, file: FileId, backlog: i32) -> io::Result<()> {
        let answer = self.try_listen(file, backlog);
        self.noted(
            "listen",
            file,
            backlog.unsigned_abs().into(),
            answer,
            |()| 0,
        )
    }

    fn try_listen(&mut self, file: FileId, backlog: i32) -> io::Result<()> {
        let end = self.socket_of(file)?;
        let backlog = usize::try_from(backlog).unwrap_or(super::MAX_BACKLOG as usize);
        let backlog = backlog.min(super::MAX_BACKLOG as usize);
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

    pub(in crate::os) fn accept(&mut self, file: FileId) -> io::Result<(OwnedFd, SocketAddr)> {
        let answer = self.try_accept(file);
        self.noted("accept", file, 0, answer, |(_, peer)| {
            i64::from(peer.port())
        })
    }

    fn try_accept(&mut self, file: FileId) -> io::Result<(OwnedFd, SocketAddr)> {
        let listener = self.socket_of(file)?;
        // The number is taken first (__sys_accept4_file): without one, EMFILE also when nobody waits.
        if self.open_files >= self.plan.descriptors_max {
            return errno(libc::EMFILE);
        }
        let waiting = match self.end(listener) {
            Some(tcp) if tcp.state == State::Listening => tcp.queue.front().copied(),
            _ => return errno(libc::EINVAL),
        };
        let Some(child) = waiting else {
            return errno(libc::EAGAIN);
        };
        if self.strikes("accept exhausted", self.faults.accept_exhausted) {
            const WAYS: [i32; 4] = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
            return errno(WAYS[self.random.below(4) as usize]);
        }
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
        let fd = self.open(Kind::Socket(child))?;
        Ok((fd, remote))
    }

    pub(in crate::os) fn connect(&mut self, file: FileId, address: &SocketAddr) -> io::Result<()> {
        let answer = self.try_connect(file, address);
        self.noted("connect", file, u64::from(address.port()), answer, |()| 0)
    }

    fn try_connect(&mut self, file: FileId, address: &SocketAddr) -> io::Result<()> {
        let end = self.socket_of(file)?;
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

    pub(in crate::os) fn local_addr(&mut self, file: FileId) -> io::Result<SocketAddr> {
        let end = self.socket_of(file)?;
        let Some(tcp) = self.end(end) else {
            return errno(libc::EBADF);
        };
        let unnamed = SocketAddr::new(unspecified(tcp.is_v6), 0);
        Ok(tcp.local.unwrap_or(unnamed))
    }

    pub(in crate::os) fn peer_addr(&mut self, file: FileId) -> io::Result<SocketAddr> {
        let end = self.socket_of(file)?;
        let tcp = self.end(end).filter(|tcp| tcp.state == State::Connected);
        match tcp.and_then(|tcp| tcp.remote) {
            Some(remote) => Ok(remote),
            None => errno(libc::ENOTCONN),
        }
    }

    // Data.

    /// Several slices count as one row of bytes.
    pub(in crate::os) fn send(
        &mut self,
        file: FileId,
        slices: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        if let Some(answer) = self.write_counter(file, slices) {
            return answer;
        }
        let offered = slices.iter().map(|slice| slice.len()).sum();
        let answer = self.try_send(file, slices, offered);
        self.noted("send", file, offered as u64, answer, |&sent| sent as i64)
    }

    fn try_send(
        &mut self,
        file: FileId,
        slices: &[IoSlice<'_>],
        offered: usize,
    ) -> io::Result<usize> {
        let end = self.socket_of(file)?;
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
            self.schedule(self.now() + wait, Due::Relief(end));
            if let Some(tcp) = self.end(end) {
                tcp.is_short = true;
            }
            taken = 0;
        } else if taken > 1 && self.strikes("short write", faults.short_write) {
            // As when memory runs out on the way: the rest of the room comes back as news.
            taken = 1 + self.random.below(taken as u64 - 1) as usize;
            let wait = self.random.below(SHORT_NS_MAX);
            self.schedule(self.now() + wait, Due::Relief(end));
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

    /// What `take` gets is at most two slices, at most `max` bytes together.
    pub(in crate::os) fn receive(
        &mut self,
        file: FileId,
        max: usize,
        take: impl FnOnce(&[u8], &[u8]),
    ) -> io::Result<usize> {
        if let Some(answer) = self.read_counter(file, max) {
            let bytes = answer?.to_ne_bytes();
            take(&bytes, &[]);
            return Ok(bytes.len());
        }
        let answer = self.try_receive(file, max, take);
        self.noted("receive", file, max as u64, answer, |&read| read as i64)
    }

    fn try_receive(
        &mut self,
        file: FileId,
        max: usize,
        take: impl FnOnce(&[u8], &[u8]),
    ) -> io::Result<usize> {
        let end = self.socket_of(file)?;
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
        // tcp_recvmsg: the error, then the end, then whether there is a connection.
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

    pub(in crate::os) fn shutdown(&mut self, file: FileId, how: Shutdown) -> io::Result<()> {
        let answer = self.try_shutdown(file, how);
        self.noted("shutdown", file, how as u64, answer, |()| 0)
    }

    fn try_shutdown(&mut self, file: FileId, how: Shutdown) -> io::Result<()> {
        let end = self.socket_of(file)?;
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
    pub(super) fn close_socket(&mut self, end: End) {
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
            State::Connected if !tcp.received.is_empty() || tcp.linger == Some(0) => {
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

    // Options.

    pub(in crate::os) fn set_option(
        &mut self,
        file: FileId,
        name: (i32, i32),
        value: i32,
    ) -> io::Result<()> {
        let end = self.socket_of(file)?;
        let Some(tcp) = self.end(end) else {
            return errno(libc::EBADF);
        };
        // Linux keeps the double, for its own bookkeeping; half of it is data.
        let mut kept = value;
        if name == (libc::SOL_SOCKET, libc::SO_SNDBUF) {
            kept = value.max(2_304).saturating_mul(2);
            tcp.send_max = value.max(2_304) as usize;
        } else if name == (libc::SOL_SOCKET, libc::SO_RCVBUF) {
            kept = value.max(1_152).saturating_mul(2);
            tcp.receive_max = value.max(1_152) as usize;
        }
        tcp.options.insert(name, kept);
        Ok(())
    }

    pub(in crate::os) fn option(&mut self, file: FileId, name: (i32, i32)) -> io::Result<i32> {
        let end = self.socket_of(file)?;
        let Some(tcp) = self.end(end) else {
            return errno(libc::EBADF);
        };
        let unset = match name {
            (libc::SOL_SOCKET, libc::SO_SNDBUF) => tcp.send_max as i32 * 2,
            (libc::SOL_SOCKET, libc::SO_RCVBUF) => tcp.receive_max as i32 * 2,
            _ => 0,
        };
        Ok(tcp.options.get(&name).copied().unwrap_or(unset))
    }

    pub(in crate::os) fn take_error(&mut self, file: FileId) -> io::Result<Option<io::Error>> {
        let end = self.socket_of(file)?;
        let error = self.end(end).and_then(Tcp::take_error);
        let number = error.map_or(0, |errno| -i64::from(errno));
        let answer = Ok(error.map(io::Error::from_raw_os_error));
        self.noted("take_error", file, 0, answer, |_| number)
    }

    pub(in crate::os) fn set_linger(
        &mut self,
        file: FileId,
        seconds: Option<i32>,
    ) -> io::Result<()> {
        let end = self.socket_of(file)?;
        if let Some(tcp) = self.end(end) {
            tcp.linger = seconds;
        }
        Ok(())
    }

    pub(in crate::os) fn linger(&mut self, file: FileId) -> io::Result<Option<i32>> {
        let end = self.socket_of(file)?;
        Ok(self.end(end).and_then(|tcp| tcp.linger))
    }

    // Counters, and what is only held.

    pub(in crate::os) fn counter(&mut self) -> io::Result<OwnedFd> {
        self.open(Kind::Counter(0))
    }

    pub(in crate::os) fn reserve(&mut self) -> io::Result<OwnedFd> {
        self.open(Kind::Reserve)
    }

    /// Both ends of a pipe.
    pub(in crate::os) fn pipe(&mut self) -> io::Result<(OwnedFd, OwnedFd)> {
        let reader = self.open(Kind::Counter(0))?;
        let counter = self.last_file();
        let writer = self.open(Kind::CounterWriter(counter))?;
        Ok((reader, writer))
    }

    fn write_counter(&mut self, file: FileId, slices: &[IoSlice<'_>]) -> Option<io::Result<usize>> {
        let counter = match self.file(file)?.kind {
            Kind::Counter(_) => file,
            Kind::CounterWriter(counter) => counter,
            _ => return None,
        };
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let added = slices
            .first()
            .and_then(|slice| slice.first_chunk())
            .map_or(1, |bytes| u64::from_ne_bytes(*bytes));
        let answer = match self.file(counter).map(|file| &mut file.kind) {
            Some(Kind::Counter(count)) if *count > u64::MAX - 1 - added.min(u64::MAX - 1) => {
                errno(libc::EAGAIN)
            }
            Some(Kind::Counter(count)) => {
                *count += added;
                Ok(offered)
            }
            _ => errno(libc::EPIPE),
        };
        if answer.is_ok() {
            self.wake(counter, IN);
        }
        Some(self.noted("write", file, added, answer, |&written| written as i64))
    }

    fn read_counter(&mut self, file: FileId, max: usize) -> Option<io::Result<u64>> {
        let Kind::Counter(count) = &mut self.file(file)?.kind else {
            return None;
        };
        let answer = if max < size_of::<u64>() {
            errno(libc::EINVAL)
        } else if *count == 0 {
            errno(libc::EAGAIN)
        } else {
            Ok(std::mem::take(count))
        };
        Some(self.noted("read", file, max as u64, answer, |&count| count as i64))
    }
}

fn overlap(one: &SocketAddr, other: &SocketAddr) -> bool {
    let (a, b) = (one.ip(), other.ip());
    one.port() == other.port()
        && a.is_ipv6() == b.is_ipv6()
        && (a == b || a.is_unspecified() || b.is_unspecified())
}

fn unspecified(is_v6: bool) -> IpAddr {
    match is_v6 {
        true => Ipv6Addr::UNSPECIFIED.into(),
        false => Ipv4Addr::UNSPECIFIED.into(),
    }
}

fn localhost(is_v6: bool) -> IpAddr {
    match is_v6 {
        true => Ipv6Addr::LOCALHOST.into(),
        false => Ipv4Addr::LOCALHOST.into(),
    }
}
