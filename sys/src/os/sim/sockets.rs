//! The system calls on sockets: which kind of socket is meant, what is noted of the call, and what all kinds have in
//! common. What happens then is in `tcp_calls`, `unix_calls` and `udp_calls`.

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};

use super::kernel::{FileId, Kernel, Kind, Socket, errno};
use super::options::Options;
use super::tcp::{OUT, Tcp};
use super::udp::Udp;
use super::udp_calls::Parcel;
use super::unix::Unix;
use crate::os::name::Name;

impl Kernel {
    pub(in crate::os) fn tcp_socket(&mut self, address: &SocketAddr) -> io::Result<OwnedFd> {
        let tcp = Tcp::new(address.is_ipv6(), &self.plan, &mut self.random);
        let end = self.add_end(tcp);
        let answer = self.open(Kind::Socket(Socket::Tcp(end)));
        if answer.is_err() {
            self.remove_end(end);
        }
        answer
    }

    pub(in crate::os) fn unix_socket(&mut self) -> io::Result<OwnedFd> {
        let unix = Unix::new(&self.plan, &mut self.random);
        let unix = self.add_unix(unix);
        let answer = self.open(Kind::Socket(Socket::Unix(unix)));
        if answer.is_err() {
            self.remove_unix(unix);
        }
        answer
    }

    // Names.

    pub(in crate::os) fn bind(&mut self, file: FileId, name: &Name) -> io::Result<()> {
        let answer = match (self.socket_of(file)?, name) {
            (Socket::Tcp(end), Name::Inet(address)) => self.bind_tcp(end, address),
            (Socket::Udp(udp), Name::Inet(address)) => self.bind_udp(udp, address),
            (Socket::Unix(unix), Name::Unix(name)) => self.bind_unix(unix, name),
            (Socket::Tcp(_) | Socket::Udp(_), Name::Unix(_)) => errno(libc::EAFNOSUPPORT),
            (Socket::Unix(_), Name::Inet(_)) => errno(libc::EINVAL),
        };
        self.noted("bind", file, number(name), answer, |()| 0)
    }

    pub(in crate::os) fn listen(&mut self, file: FileId, backlog: i32) -> io::Result<()> {
        let most = super::MAX_BACKLOG as usize;
        let asked = usize::try_from(backlog).unwrap_or(most).min(most);
        let answer = match self.socket_of(file)? {
            Socket::Tcp(end) => self.listen_tcp(end, asked),
            Socket::Unix(unix) => self.listen_unix(unix, asked),
            Socket::Udp(_) => errno(libc::EOPNOTSUPP),
        };
        let backlog = backlog.unsigned_abs().into();
        self.noted("listen", file, backlog, answer, |()| 0)
    }

    pub(in crate::os) fn accept(&mut self, file: FileId) -> io::Result<(OwnedFd, Name)> {
        let answer = self.try_accept(file);
        self.noted("accept", file, 0, answer, |(_, peer)| number(peer) as i64)
    }

    fn try_accept(&mut self, file: FileId) -> io::Result<(OwnedFd, Name)> {
        let socket = self.socket_of(file)?;
        // The number is taken first (__sys_accept4_file): without one, EMFILE also when nobody waits.
        if self.open_files >= self.plan.descriptors_max {
            return errno(libc::EMFILE);
        }
        match socket {
            Socket::Tcp(end) => {
                let (fd, peer) = self.accept_tcp(end)?;
                Ok((fd, Name::Inet(peer)))
            }
            Socket::Unix(unix) => self.accept_unix(unix),
            Socket::Udp(_) => errno(libc::EOPNOTSUPP),
        }
    }

    /// A fault: the machine lacks something, and who waits goes on waiting.
    pub(super) fn refuse_accept(&mut self) -> io::Result<()> {
        const WAYS: [i32; 4] = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
        if self.strikes("accept exhausted", self.faults.accept_exhausted) {
            return errno(WAYS[self.random.below(4) as usize]);
        }
        Ok(())
    }

    pub(in crate::os) fn connect(&mut self, file: FileId, name: &Name) -> io::Result<()> {
        let answer = match (self.socket_of(file)?, name) {
            (Socket::Tcp(end), Name::Inet(address)) => self.connect_tcp(end, address),
            (Socket::Udp(udp), Name::Inet(address)) => self.connect_udp(udp, address),
            (Socket::Unix(unix), Name::Unix(name)) => self.connect_unix(unix, name),
            (Socket::Tcp(_) | Socket::Udp(_), Name::Unix(_)) => errno(libc::EAFNOSUPPORT),
            (Socket::Unix(_), Name::Inet(_)) => errno(libc::EINVAL),
        };
        self.noted("connect", file, number(name), answer, |()| 0)
    }

    pub(in crate::os) fn local_addr(&mut self, file: FileId) -> io::Result<Name> {
        match self.socket_of(file)? {
            Socket::Tcp(end) => self.local_of_tcp(end).map(Name::Inet),
            Socket::Unix(unix) => self.local_of_unix(unix).map(Name::Unix),
            Socket::Udp(udp) => self.local_of_udp(udp).map(Name::Inet),
        }
    }

    pub(in crate::os) fn peer_addr(&mut self, file: FileId) -> io::Result<Name> {
        match self.socket_of(file)? {
            Socket::Tcp(end) => self.peer_of_tcp(end).map(Name::Inet),
            Socket::Unix(unix) => self.peer_of_unix(unix).map(Name::Unix),
            Socket::Udp(udp) => self.peer_of_udp(udp).map(Name::Inet),
        }
    }

    /// SO_PEERCRED tells of somebody.
    pub(in crate::os) fn has_peer(&mut self, file: FileId) -> io::Result<()> {
        self.peer_addr(file).map(drop)
    }

    // Data.

    /// Several slices count as one row of bytes.
    pub(in crate::os) fn send(
        &mut self,
        file: FileId,
        slices: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        match self.write_counter(file, slices) {
            Some(answer) => answer,
            None => self.send_message(file, slices, &[]),
        }
    }

    /// The same with descriptors.
    pub(in crate::os) fn send_message(
        &mut self,
        file: FileId,
        slices: &[IoSlice<'_>],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<usize> {
        let offered = slices.iter().map(|slice| slice.len()).sum();
        let answer = match self.socket_of(file)? {
            // What TCP can't send it ignores.
            Socket::Tcp(end) => self.send_tcp(end, slices, offered),
            Socket::Unix(unix) => self.send_unix(unix, slices, offered, descriptors),
            Socket::Udp(udp) => {
                let parcel = Parcel {
                    slices,
                    to: None,
                    from: None,
                    segment: None,
                };
                self.send_udp(udp, &parcel)
            }
        };
        self.noted("send", file, offered as u64, answer, |&sent| sent as i64)
    }

    /// What `take` gets is at most two slices, at most `max` bytes together.
    pub(in crate::os) fn receive(
        &mut self,
        file: FileId,
        max: usize,
        take: impl FnOnce(&[u8], &[u8]),
    ) -> io::Result<usize> {
        match self.read_counter(file, max) {
            Some(answer) => {
                let bytes = answer?.to_ne_bytes();
                take(&bytes, &[]);
                Ok(bytes.len())
            }
            // Descriptors that nobody asked for are closed.
            None => self.receive_message(file, max, &mut Vec::new(), take),
        }
    }

    /// The same with descriptors, which go to the end of `descriptors`.
    pub(in crate::os) fn receive_message(
        &mut self,
        file: FileId,
        max: usize,
        descriptors: &mut Vec<OwnedFd>,
        take: impl FnOnce(&[u8], &[u8]),
    ) -> io::Result<usize> {
        let answer = match self.socket_of(file)? {
            Socket::Tcp(end) => self.receive_tcp(end, max, take),
            Socket::Unix(unix) => self.receive_unix(unix, max, descriptors, take),
            Socket::Udp(udp) => self.receive_udp(udp).map(|arrived| {
                let bytes = &arrived.bytes[..arrived.bytes.len().min(max)];
                take(bytes, &[]);
                bytes.len()
            }),
        };
        self.noted("receive", file, max as u64, answer, |&read| read as i64)
    }

    pub(in crate::os) fn shutdown(&mut self, file: FileId, how: Shutdown) -> io::Result<()> {
        let answer = match self.socket_of(file)? {
            Socket::Tcp(end) => self.shutdown_tcp(end, how),
            Socket::Unix(unix) => self.shutdown_unix(unix, how),
            Socket::Udp(udp) => self.shutdown_udp(udp, how),
        };
        self.noted("shutdown", file, how as u64, answer, |()| 0)
    }

    /// Whether it polls as writable.
    pub(in crate::os) fn has_room(&mut self, file: FileId) -> bool {
        self.poll_file(file) & OUT != 0
    }

    // Options.

    fn options_of(&mut self, file: FileId) -> io::Result<&mut Options> {
        let options = match self.socket_of(file)? {
            Socket::Tcp(end) => self.end(end).map(|tcp| &mut tcp.options),
            Socket::Unix(unix) => self.unix(unix).map(|unix| &mut unix.options),
            Socket::Udp(udp) => self.udp(udp).map(|udp| &mut udp.options),
        };
        options.ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))
    }

    pub(in crate::os) fn set_option(
        &mut self,
        file: FileId,
        name: (i32, i32),
        value: i32,
    ) -> io::Result<()> {
        // Linux keeps the double, for its own bookkeeping; half of it is data.
        let value = match name {
            (libc::SOL_SOCKET, libc::SO_SNDBUF) => value.max(2_304),
            (libc::SOL_SOCKET, libc::SO_RCVBUF) => value.max(1_152),
            _ => {
                self.options_of(file)?.set.insert(name, value);
                return Ok(());
            }
        };
        let kept = value.saturating_mul(2);
        let is_send = name.1 == libc::SO_SNDBUF;
        match self.socket_of(file)? {
            Socket::Tcp(end) => {
                if let Some(tcp) = self.end(end) {
                    let max = match is_send {
                        true => &mut tcp.send_max,
                        false => &mut tcp.receive_max,
                    };
                    *max = value as usize;
                }
            }
            Socket::Unix(unix) => {
                if let Some(unix) = self.unix(unix).filter(|_| is_send) {
                    unix.send_max = kept as usize;
                }
            }
            Socket::Udp(udp) => {
                if let Some(udp) = self.udp(udp) {
                    let max = match is_send {
                        true => &mut udp.send_max,
                        false => &mut udp.receive_max,
                    };
                    *max = kept as usize;
                }
            }
        }
        self.options_of(file)?.set.insert(name, kept);
        Ok(())
    }

    pub(in crate::os) fn option(&mut self, file: FileId, name: (i32, i32)) -> io::Result<i32> {
        if let Some(value) = self.options_of(file)?.set.get(&name) {
            return Ok(*value);
        }
        let (send_max, receive_max) = match self.socket_of(file)? {
            Socket::Tcp(end) => self
                .end(end)
                .map_or((0, 0), |tcp| (tcp.send_max * 2, tcp.receive_max * 2)),
            // Those of the Unix domain have one, and do not look at it.
            Socket::Unix(unix) => self
                .unix(unix)
                .map_or((0, 0), |unix| (unix.send_max, 212_992)),
            Socket::Udp(udp) => self
                .udp(udp)
                .map_or((0, 0), |udp| (udp.send_max, udp.receive_max)),
        };
        Ok(match name {
            (libc::SOL_SOCKET, libc::SO_SNDBUF) => send_max as i32,
            (libc::SOL_SOCKET, libc::SO_RCVBUF) => receive_max as i32,
            _ => 0,
        })
    }

    pub(in crate::os) fn take_error(&mut self, file: FileId) -> io::Result<Option<io::Error>> {
        let error = match self.socket_of(file)? {
            Socket::Tcp(end) => self.end(end).and_then(Tcp::take_error),
            Socket::Unix(unix) => self.unix(unix).and_then(Unix::take_error),
            Socket::Udp(udp) => self.udp(udp).and_then(Udp::take_error),
        };
        let number = error.map_or(0, |errno| -i64::from(errno));
        let answer = Ok(error.map(io::Error::from_raw_os_error));
        self.noted("take_error", file, 0, answer, |_| number)
    }

    pub(in crate::os) fn set_linger(
        &mut self,
        file: FileId,
        seconds: Option<i32>,
    ) -> io::Result<()> {
        self.options_of(file)?.linger = seconds;
        Ok(())
    }

    pub(in crate::os) fn linger(&mut self, file: FileId) -> io::Result<Option<i32>> {
        Ok(self.options_of(file)?.linger)
    }
}

/// For the log: the port, or the length of the name.
fn number(name: &Name) -> u64 {
    match name {
        Name::Inet(address) => address.port().into(),
        Name::Unix(name) => name.len() as u64,
    }
}
