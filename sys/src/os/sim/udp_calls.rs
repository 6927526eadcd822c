//! What the system calls do to sockets for UDP datagrams, with the answers that Linux gives (net/ipv4/udp.c), and how
//! datagrams travel: whole or not at all, each with its own delay, in order unless one is overtaken.
//!
//! What is lost is lost without a word: on the way (`lost`), or because the receiver's buffer is full. Where nobody has the
//! port a connected sender gets ECONNREFUSED, once, by whatever call comes next. There is no multicast, no broadcast, and
//! nobody joins datagrams (UDP_GRO); those that are sent as one (UDP_SEGMENT) are cut.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::OwnedFd;

use super::kernel::{Due, FileId, Kernel, Kind, Socket, errno};
use super::log::What;
use super::plan::SHORT_NS_MAX;
use super::ports::{PORTS, localhost};
use super::tcp::{ANY, ERR, IN, OUT};
use super::udp::{Arrived, Letter, OVERHEAD, Udp, UdpId};

/// The most bytes of a datagram: what a packet has room for after its headers.
const BYTES_MAX_V4: usize = 65_507;
const BYTES_MAX_V6: usize = 65_527;

/// The options by which a socket of IPv4 asks for the address and the class of what comes. Other systems than Linux spell
/// them differently, or have none: there a simulation does not tell.
#[cfg(any(target_os = "linux", target_os = "android"))]
const TELLS_ADDRESS_V4: (i32, i32) = (libc::IPPROTO_IP, libc::IP_PKTINFO);
#[cfg(any(target_os = "linux", target_os = "android"))]
const TELLS_CLASS_V4: (i32, i32) = (libc::IPPROTO_IP, libc::IP_RECVTOS);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const TELLS_ADDRESS_V4: (i32, i32) = (-1, -1);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const TELLS_CLASS_V4: (i32, i32) = (-1, -1);

/// UDP_MAX_SEGMENTS of Linux 6.2.
const SEGMENTS_MAX: usize = 128;

/// One datagram to send, or several of one length.
pub(in crate::os) struct Parcel<'a> {
    pub(in crate::os) slices: &'a [IoSlice<'a>],
    pub(in crate::os) to: Option<SocketAddr>,
    pub(in crate::os) from: Option<IpAddr>,
    pub(in crate::os) segment: Option<u16>,
}

impl Kernel {
    pub(in crate::os) fn udp_socket(&mut self, address: &SocketAddr) -> io::Result<OwnedFd> {
        let udp = Udp::new(address.is_ipv6(), &self.plan, &mut self.random);
        self.udp.push(Some(udp));
        let id = (self.udp.len() - 1) as UdpId;
        let answer = self.open(Kind::Socket(Socket::Udp(id)));
        if answer.is_err() {
            self.close_udp(id);
        }
        answer
    }

    pub(super) fn udp(&mut self, id: UdpId) -> Option<&mut Udp> {
        self.udp.get_mut(id as usize)?.as_mut()
    }

    fn known_udp(&mut self, id: UdpId) -> io::Result<&mut Udp> {
        let gone = || io::Error::from_raw_os_error(libc::EBADF);
        self.udp(id).ok_or_else(gone)
    }

    fn wake_udp(&mut self, id: UdpId, key: u32) {
        if let Some(file) = self.udp(id).and_then(|udp| udp.file) {
            self.wake(file, key);
        }
    }

    // Names.

    pub(super) fn bind_udp(&mut self, id: UdpId, address: &SocketAddr) -> io::Result<()> {
        let udp = self.known_udp(id)?;
        if udp.local.is_some() {
            return errno(libc::EINVAL);
        }
        if udp.is_v6 != address.is_ipv6() {
            return errno(libc::EAFNOSUPPORT);
        }
        let asked = *address;
        let mut address = asked;
        if address.port() == 0 {
            address.set_port(self.free_udp_port()?);
        } else if self.is_taken_from(id, &address) {
            return errno(libc::EADDRINUSE);
        }
        let udp = self.known_udp(id)?;
        udp.local = Some(address);
        udp.asked = Some(asked);
        Ok(())
    }

    /// udp_lib_get_port: both sides have to allow it.
    fn is_taken_from(&self, id: UdpId, address: &SocketAddr) -> bool {
        let has = |udp: &Udp, name| {
            let value = udp.options.set.get(&(libc::SOL_SOCKET, name));
            value.is_some_and(|value| *value != 0)
        };
        let Some(own) = self.udp.get(id as usize).and_then(Option::as_ref) else {
            return false;
        };
        let allows = |other: &Udp| {
            [libc::SO_REUSEADDR, libc::SO_REUSEPORT]
                .iter()
                .any(|name| has(own, *name) && has(other, *name))
        };
        let others = self.udp.iter().enumerate();
        let mut others = others.filter_map(|(name, udp)| Some((name as UdpId, udp.as_ref()?)));
        others.any(|(name, other)| {
            let overlaps = other.local.is_some_and(|local| {
                let is_any = local.ip().is_unspecified() || address.ip().is_unspecified();
                local.port() == address.port() && (is_any || local.ip() == address.ip())
            });
            name != id && other.is_v6 == own.is_v6 && overlaps && !allows(other)
        })
    }

    fn free_udp_port(&mut self) -> io::Result<u16> {
        for _ in PORTS {
            let port = self.take_port();
            let is_free = |udp: &Udp| udp.local.is_none_or(|local| local.port() != port);
            if self.udp.iter().flatten().all(is_free) {
                return Ok(port);
            }
        }
        errno(libc::EADDRINUSE)
    }

    /// Gives it a port if it has none (inet_autobind).
    fn name_udp(&mut self, id: UdpId) -> io::Result<SocketAddr> {
        let udp = self.known_udp(id)?;
        if let Some(local) = udp.local {
            return Ok(local);
        }
        let ip = udp.unnamed().ip();
        let local = SocketAddr::new(ip, self.free_udp_port()?);
        self.known_udp(id)?.local = Some(local);
        Ok(local)
    }

    /// There is nothing to wait for.
    pub(super) fn connect_udp(&mut self, id: UdpId, address: &SocketAddr) -> io::Result<()> {
        if self.known_udp(id)?.is_v6 != address.is_ipv6() {
            return errno(libc::EAFNOSUPPORT);
        }
        let mut local = self.name_udp(id)?;
        let mut address = *address;
        // Linux takes the unspecified address for this machine.
        if address.ip().is_unspecified() {
            address.set_ip(localhost(address.is_ipv6()));
        }
        if local.ip().is_unspecified() {
            local.set_ip(address.ip());
        }
        let udp = self.known_udp(id)?;
        udp.local = Some(local);
        udp.remote = Some(address);
        Ok(())
    }

    /// __udp_disconnect
    pub(in crate::os) fn disconnect(&mut self, file: FileId) -> io::Result<()> {
        let Socket::Udp(id) = self.socket_of(file)? else {
            return errno(libc::EOPNOTSUPP);
        };
        let udp = self.known_udp(id)?;
        udp.remote = None;
        udp.local = udp.asked.filter(|asked| asked.port() != 0);
        self.noted("disconnect", file, 0, Ok(()), |()| 0)
    }

    pub(super) fn local_of_udp(&mut self, id: UdpId) -> io::Result<SocketAddr> {
        let udp = self.known_udp(id)?;
        Ok(udp.local.unwrap_or_else(|| udp.unnamed()))
    }

    pub(super) fn peer_of_udp(&mut self, id: UdpId) -> io::Result<SocketAddr> {
        let not_connected = || io::Error::from_raw_os_error(libc::ENOTCONN);
        self.known_udp(id)?.remote.ok_or_else(not_connected)
    }

    // Sending.

    /// sendmmsg: how many were taken; the error is the first one's.
    pub(in crate::os) fn send_datagrams(
        &mut self,
        file: FileId,
        batch: &[Parcel<'_>],
    ) -> io::Result<usize> {
        let answer = self.try_send_datagrams(file, batch);
        let offered = batch.len() as u64;
        self.noted("sendmmsg", file, offered, answer, |&sent| sent as i64)
    }

    fn try_send_datagrams(&mut self, file: FileId, batch: &[Parcel<'_>]) -> io::Result<usize> {
        let Socket::Udp(id) = self.socket_of(file)? else {
            return errno(libc::EOPNOTSUPP);
        };
        for (index, parcel) in batch.iter().enumerate() {
            match self.send_udp(id, parcel) {
                Ok(_) => {}
                Err(error) if index == 0 => return Err(error),
                Err(_) => return Ok(index),
            }
        }
        Ok(batch.len())
    }

    /// udp_sendmsg
    pub(super) fn send_udp(&mut self, id: UdpId, parcel: &Parcel<'_>) -> io::Result<usize> {
        let udp = self.known_udp(id)?;
        let is_v6 = udp.is_v6;
        let Some(mut to) = parcel.to.or(udp.remote) else {
            return errno(libc::EDESTADDRREQ);
        };
        if to.is_ipv6() != is_v6 {
            return errno(libc::EAFNOSUPPORT);
        }
        if to.port() == 0 {
            return errno(libc::EINVAL);
        }
        if to.ip().is_unspecified() {
            to.set_ip(localhost(is_v6));
        }
        let bytes: Vec<u8> = parcel
            .slices
            .iter()
            .flat_map(|slice| slice.iter())
            .copied()
            .collect();
        let most = if is_v6 { BYTES_MAX_V6 } else { BYTES_MAX_V4 };
        if bytes.len() > most {
            return errno(libc::EMSGSIZE);
        }
        let segment = parcel.segment.map_or(bytes.len(), usize::from).max(1);
        if bytes.len().div_ceil(segment) > SEGMENTS_MAX {
            return errno(libc::EINVAL);
        }
        // sock_alloc_send_pskb
        if let Some(error) = self.known_udp(id)?.take_error() {
            return errno(error);
        }
        if self.known_udp(id)?.send_shut {
            return errno(libc::EPIPE);
        }
        if self.strikes("no memory", self.faults.would_block) {
            let wait = self.random.below(SHORT_NS_MAX);
            self.schedule(self.now() + wait, Due::Relief(Socket::Udp(id)));
            self.known_udp(id)?.is_short = true;
        }
        let udp = self.known_udp(id)?;
        if udp.is_short || udp.used >= udp.send_max {
            return errno(libc::EAGAIN);
        }
        let mut from = self.name_udp(id)?;
        match parcel.from {
            Some(ip) => from.set_ip(ip),
            // Everything is on one machine.
            None if from.ip().is_unspecified() => from.set_ip(to.ip()),
            None => {}
        }
        let class_name = match is_v6 {
            true => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
            false => (libc::IPPROTO_IP, libc::IP_TOS),
        };
        let class = self
            .known_udp(id)?
            .options
            .set
            .get(&class_name)
            .copied()
            .unwrap_or(0) as u8;
        let mut parts = bytes.chunks(segment);
        // A datagram may be empty.
        let first = parts.next().unwrap_or(&[]);
        for part in std::iter::once(first).chain(parts) {
            self.post(
                id,
                Letter {
                    from,
                    to,
                    class,
                    bytes: part.into(),
                },
            );
        }
        Ok(bytes.len())
    }

    /// Sends one on its way.
    fn post(&mut self, id: UdpId, letter: Letter) {
        let mut arrives = self.now() + self.delay();
        let overtakes = self.strikes("overtake", self.faults.overtake);
        let is_lost = self.strikes("datagram lost", self.faults.lost);
        let Some(udp) = self.udp(id) else { return };
        udp.used += letter.bytes.len() + OVERHEAD;
        if !overtakes {
            arrives = arrives.max(udp.path_free);
            udp.path_free = arrives;
        }
        self.note(What::Sent {
            name: "datagram",
            from: id,
            to: letter.to.port().into(),
            length: letter.bytes.len() as u32,
            arrives,
        });
        let cost = letter.bytes.len() + OVERHEAD;
        let letter = (!is_lost).then_some(letter);
        let due = Due::Datagram {
            sender: id,
            letter,
            cost,
        };
        self.schedule(arrives, due);
    }

    // Arriving.

    /// A datagram has left the machine, and has come, if it was not lost.
    pub(super) fn arrive_datagram(&mut self, sender: UdpId, letter: Option<Letter>, cost: usize) {
        if let Some(udp) = self.udp(sender) {
            udp.used -= cost;
            self.tell_udp_of_room(sender);
        }
        let Some(letter) = letter else { return };
        let Some(receiver) = self.receiver_of(&letter) else {
            // ICMP, port unreachable. It finds a sender that is connected.
            let at = self.now() + self.delay();
            let (from, to) = (letter.from, letter.to);
            self.schedule(at, Due::Unreachable { from, to });
            return;
        };
        let Some(udp) = self.udp(receiver) else {
            return;
        };
        if udp.held > udp.receive_max {
            self.note(What::Fault("receive buffer full"));
            return;
        }
        let asks = |name: (i32, i32)| udp.options.set.get(&name).is_some_and(|value| *value != 0);
        let (tells_address, tells_class) = match udp.is_v6 {
            true => (
                (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
                (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS),
            ),
            false => (TELLS_ADDRESS_V4, TELLS_CLASS_V4),
        };
        let arrived = Arrived {
            from: letter.from,
            to: asks(tells_address).then(|| letter.to.ip()),
            class: asks(tells_class).then_some(letter.class),
            bytes: letter.bytes,
        };
        udp.held += arrived.cost();
        udp.received.push_back(arrived);
        self.wake_udp(receiver, IN);
    }

    /// The best of those that have the address; of several that share it always the same for one sender.
    fn receiver_of(&self, letter: &Letter) -> Option<UdpId> {
        let scores = self.udp.iter().enumerate().filter_map(|(id, udp)| {
            let score = udp.as_ref()?.suits(&letter.to, &letter.from)?;
            Some((score, id as UdpId))
        });
        let scores: Vec<(u32, UdpId)> = scores.collect();
        let best = scores.iter().map(|(score, _)| *score).max()?;
        let same: Vec<UdpId> = scores
            .into_iter()
            .filter_map(|(score, id)| (score == best).then_some(id))
            .collect();
        let lot = usize::from(letter.from.port()) % same.len();
        same.get(lot).copied()
    }

    pub(super) fn arrive_unreachable(&mut self, from: SocketAddr, to: SocketAddr) {
        let sent_it = |udp: &Udp| udp.remote == Some(to) && udp.local == Some(from);
        let Some(id) = self
            .udp
            .iter()
            .position(|udp| udp.as_ref().is_some_and(sent_it))
        else {
            return;
        };
        let id = id as UdpId;
        if let Some(udp) = self.udp(id) {
            udp.error = libc::ECONNREFUSED;
        }
        self.wake_udp(id, ERR);
    }

    pub(super) fn relieve_udp(&mut self, id: UdpId) {
        if let Some(udp) = self.udp(id) {
            udp.is_short = false;
        }
        self.tell_udp_of_room(id);
    }

    /// sock_def_write_space
    fn tell_udp_of_room(&mut self, id: UdpId) {
        if self.udp(id).is_some_and(|udp| udp.is_writable()) {
            self.wake_udp(id, OUT);
        }
    }

    // Receiving.

    /// recvmmsg: at least one, at most `most`.
    pub(in crate::os) fn receive_datagrams(
        &mut self,
        file: FileId,
        most: usize,
    ) -> io::Result<Vec<Arrived>> {
        let answer = self.try_receive_datagrams(file, most);
        self.noted("recvmmsg", file, most as u64, answer, |got| {
            got.len() as i64
        })
    }

    fn try_receive_datagrams(&mut self, file: FileId, most: usize) -> io::Result<Vec<Arrived>> {
        let Socket::Udp(id) = self.socket_of(file)? else {
            return errno(libc::EOPNOTSUPP);
        };
        let mut got = vec![self.receive_udp(id)?];
        while got.len() < most
            && let Ok(next) = self.receive_udp(id)
        {
            got.push(next);
        }
        Ok(got)
    }

    /// __skb_recv_udp: the error, then what is there.
    pub(super) fn receive_udp(&mut self, id: UdpId) -> io::Result<Arrived> {
        let udp = self.known_udp(id)?;
        if let Some(error) = udp.take_error() {
            return errno(error);
        }
        let Some(arrived) = udp.received.pop_front() else {
            return errno(libc::EAGAIN);
        };
        udp.held -= arrived.cost();
        Ok(arrived)
    }

    // The end.

    /// inet_shutdown: also done where it is an error.
    pub(super) fn shutdown_udp(&mut self, id: UdpId, how: Shutdown) -> io::Result<()> {
        let udp = self.known_udp(id)?;
        udp.receive_shut |= how != Shutdown::Write;
        udp.send_shut |= how != Shutdown::Read;
        let is_connected = udp.remote.is_some();
        self.wake_udp(id, ANY);
        match is_connected {
            true => Ok(()),
            false => errno(libc::ENOTCONN),
        }
    }

    pub(super) fn close_udp(&mut self, id: UdpId) {
        if let Some(place) = self.udp.get_mut(id as usize) {
            *place = None;
        }
    }
}
