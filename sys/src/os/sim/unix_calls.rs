//! Stream sockets of the Unix domain, as Linux 6 has them (net/unix/af_unix.c). What is sent is at once in the queue of the
//! other side: there is no network, hence no delay, no packet and no loss.
//!
//! What differs from TCP, and matters to programs:
//!
//! * connect(2) is done at once, or fails with EAGAIN if the listener's queue is full, ECONNREFUSED if nobody listens, ENOENT
//!   if there is no such file.
//! * Room is counted at the sender until the other side has read a whole message of it; the socket is writable while a
//!   quarter of it is used.
//! * Who closes with unread data, or a listener with clients that were not accepted, leaves ECONNRESET to the peer. Data that
//!   was sent before can be read all the same.
//! * Ending the input ends the output of the peer: it gets EPIPE.
//! * A socket that was never connected polls as hung up; shutdown(2) of it succeeds.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use super::kernel::{Due, Kernel, Kind, Socket, errno};
use super::plan::SHORT_NS_MAX;
use super::tcp::{ANY, IN, OUT};
use super::unix::{Letter, State, Unix, UnixId};
use crate::os::name::Name;

/// What a message counts for beside its bytes: an sk_buff with the smallest room for data (x86-64).
const OVERHEAD: usize = 768;

impl Kernel {
    pub(super) fn unix(&mut self, id: UnixId) -> Option<&mut Unix> {
        self.unix.get_mut(id as usize)?.as_mut()
    }

    pub(super) fn add_unix(&mut self, unix: Unix) -> UnixId {
        self.unix.push(Some(unix));
        (self.unix.len() - 1) as UnixId
    }

    pub(super) fn remove_unix(&mut self, id: UnixId) -> Option<Unix> {
        self.unix.get_mut(id as usize)?.take()
    }

    fn wake_unix(&mut self, id: UnixId, key: u32) {
        if let Some(file) = self.unix(id).and_then(|unix| unix.file) {
            self.wake(file, key);
        }
    }

    // Names.

    pub(super) fn bind_unix(&mut self, id: UnixId, name: &[u8]) -> io::Result<()> {
        if self.unix(id).is_none_or(|unix| !unix.name.is_empty()) {
            return errno(libc::EINVAL);
        }
        let name = self.namespace.take(name, id)?;
        let Some(unix) = self.unix(id) else {
            return errno(libc::EBADF);
        };
        unix.name = name.clone();
        // A name that comes late is the peer's to see, too.
        let peer = unix.peer;
        if let Some(other) = peer.and_then(|peer| self.unix(peer)) {
            other.peer_name = name;
        }
        Ok(())
    }

    pub(super) fn listen_unix(&mut self, id: UnixId, backlog: usize) -> io::Result<()> {
        match self.unix(id) {
            Some(unix) if unix.state != State::Connected && !unix.name.is_empty() => {
                unix.state = State::Listening;
                unix.backlog = backlog;
                Ok(())
            }
            _ => errno(libc::EINVAL),
        }
    }

    pub(super) fn accept_unix(&mut self, id: UnixId) -> io::Result<(OwnedFd, Name)> {
        let child = match self.unix(id) {
            Some(unix) if unix.state == State::Listening => unix.queue.front().copied(),
            _ => return errno(libc::EINVAL),
        };
        let Some(child) = child else {
            return errno(libc::EAGAIN);
        };
        self.refuse_accept()?;
        if let Some(unix) = self.unix(id) {
            unix.queue.pop_front();
        }
        let fd = self.open(Kind::Socket(Socket::Unix(child)))?;
        let peer = self.unix(child).map(|unix| unix.peer_name.clone());
        Ok((fd, Name::Unix(peer.unwrap_or_default())))
    }

    pub(super) fn connect_unix(&mut self, id: UnixId, name: &[u8]) -> io::Result<()> {
        match self.unix(id).map(|unix| unix.state) {
            Some(State::Fresh) => {}
            Some(State::Connected) => return errno(libc::EISCONN),
            Some(State::Listening) | None => return errno(libc::EINVAL),
        }
        let found = self.namespace.find(name)?;
        if self.strikes("refuse", self.faults.refuse) {
            return errno(libc::ECONNREFUSED);
        }
        let listener_name = match self.unix(found) {
            Some(other) if other.state == State::Listening && !other.receive_shut => {
                if other.queue.len() > other.backlog {
                    return errno(libc::EAGAIN);
                }
                other.name.clone()
            }
            _ => return errno(libc::ECONNREFUSED),
        };
        let mut child = Unix::new(&self.plan, &mut self.random);
        child.state = State::Connected;
        child.peer = Some(id);
        child.name = listener_name.clone();
        child.peer_name = self
            .unix(id)
            .map(|unix| unix.name.clone())
            .unwrap_or_default();
        let child = self.add_unix(child);
        if let Some(unix) = self.unix(id) {
            unix.state = State::Connected;
            unix.peer = Some(child);
            unix.peer_name = listener_name;
        }
        if let Some(listener) = self.unix(found) {
            listener.queue.push_back(child);
        }
        self.wake_unix(found, IN);
        Ok(())
    }

    /// socketpair(2)
    pub(in crate::os) fn unix_pair(&mut self) -> io::Result<(OwnedFd, OwnedFd)> {
        let ends = [(); 2].map(|()| {
            let mut unix = Unix::new(&self.plan, &mut self.random);
            unix.state = State::Connected;
            self.add_unix(unix)
        });
        for (end, peer) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            if let Some(unix) = self.unix(end) {
                unix.peer = Some(peer);
            }
        }
        let one = self.open(Kind::Socket(Socket::Unix(ends[0])))?;
        let other = self.open(Kind::Socket(Socket::Unix(ends[1])))?;
        Ok((one, other))
    }

    pub(super) fn local_of_unix(&mut self, id: UnixId) -> io::Result<Box<[u8]>> {
        Ok(self
            .unix(id)
            .map(|unix| unix.name.clone())
            .unwrap_or_default())
    }

    /// It has a peer also when that has closed.
    pub(super) fn peer_of_unix(&mut self, id: UnixId) -> io::Result<Box<[u8]>> {
        match self.unix(id).filter(|unix| unix.peer.is_some()) {
            Some(unix) => Ok(unix.peer_name.clone()),
            None => errno(libc::ENOTCONN),
        }
    }

    // Data.

    /// unix_stream_sendmsg
    pub(super) fn send_unix(
        &mut self,
        id: UnixId,
        slices: &[IoSlice<'_>],
        offered: usize,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<usize> {
        let peer = match self.unix(id) {
            Some(unix) if unix.peer.is_none() => return errno(libc::ENOTCONN),
            Some(unix) if unix.send_shut => return errno(libc::EPIPE),
            Some(unix) => unix.peer,
            None => return errno(libc::EBADF),
        };
        // The peer gets duplicates, of real descriptors and of those of the simulation.
        let copies = descriptors.iter().map(BorrowedFd::try_clone_to_owned);
        let mut descriptors = copies.collect::<io::Result<Vec<OwnedFd>>>()?;
        let bytes: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.iter())
            .copied()
            .collect();
        let mut left = &bytes[..];
        if offered > 0 && self.strikes("no memory", self.faults.would_block) {
            self.run_short(id);
        } else if offered > 1 && self.strikes("short write", self.faults.short_write) {
            left = &left[..1 + self.random.below(offered as u64 - 1) as usize];
            self.run_short(id);
            if let Some(unix) = self.unix(id) {
                // For this call there still is some.
                unix.is_short = false;
            }
        }
        let mut sent = 0;
        while !left.is_empty() {
            let Some(unix) = self.unix(id) else {
                return errno(libc::EBADF);
            };
            if let Some(error) = unix.take_error() {
                return errno(error);
            }
            let is_full = unix.is_short || unix.used >= unix.send_max;
            let size = left
                .len()
                .min((unix.send_max / 2).saturating_sub(64).max(1));
            let takes = |other: &&mut Unix| !other.receive_shut;
            let peer = peer.filter(|peer| self.unix(*peer).filter(takes).is_some());
            if is_full || peer.is_none() {
                return match (sent, is_full) {
                    (0, true) => errno(libc::EAGAIN),
                    (0, false) => errno(libc::EPIPE),
                    _ => Ok(sent),
                };
            }
            let (part, rest) = left.split_at(size);
            let letter = Letter {
                bytes: part.to_vec(),
                read: 0,
                cost: size + OVERHEAD,
                // They go with the first part.
                descriptors: std::mem::take(&mut descriptors),
            };
            if let Some(unix) = self.unix(id) {
                unix.used += letter.cost;
            }
            if let Some(peer) = peer {
                if let Some(other) = self.unix(peer) {
                    other.received.push_back(letter);
                }
                self.wake_unix(peer, IN);
            }
            sent += size;
            left = rest;
        }
        Ok(sent)
    }

    /// A fault: for a while there is no memory to send more.
    fn run_short(&mut self, id: UnixId) {
        let wait = self.random.below(SHORT_NS_MAX);
        self.schedule(self.now() + wait, Due::Relief(Socket::Unix(id)));
        if let Some(unix) = self.unix(id) {
            unix.is_short = true;
        }
    }

    pub(super) fn relieve_unix(&mut self, id: UnixId) {
        if let Some(unix) = self.unix(id) {
            unix.is_short = false;
        }
        self.tell_unix_of_room(id);
    }

    /// unix_write_space: whoever waits is told whenever there is much room, also if there was before.
    fn tell_unix_of_room(&mut self, id: UnixId) {
        if self.unix(id).is_some_and(|unix| unix.is_writable()) {
            self.wake_unix(id, OUT);
        }
    }

    /// unix_stream_read_generic
    pub(super) fn receive_unix(
        &mut self,
        id: UnixId,
        max: usize,
        descriptors: &mut Vec<OwnedFd>,
        take: impl FnOnce(&[u8], &[u8]),
    ) -> io::Result<usize> {
        let Some(unix) = self.unix(id).filter(|unix| unix.state == State::Connected) else {
            return errno(libc::EINVAL);
        };
        if unix.received.is_empty() {
            return match (unix.take_error(), unix.receive_shut) {
                (Some(error), _) => errno(error),
                (None, true) => Ok(0),
                (None, false) => errno(libc::EAGAIN),
            };
        }
        let mut bytes = Vec::new();
        let mut freed = Vec::new();
        while bytes.len() < max
            && let Some(letter) = unix.received.front_mut()
        {
            let part = &letter.bytes[letter.read..];
            let part = &part[..part.len().min(max - bytes.len())];
            bytes.extend_from_slice(part);
            letter.read += part.len();
            // A message with descriptors ends the call.
            let is_last = !letter.descriptors.is_empty();
            descriptors.append(&mut letter.descriptors);
            if letter.read == letter.bytes.len() {
                freed.push(letter.cost);
                unix.received.pop_front();
            }
            if is_last {
                break;
            }
        }
        let peer = unix.peer;
        take(&bytes, &[]);
        for cost in freed {
            self.give_back(peer, cost);
        }
        Ok(bytes.len())
    }

    /// sock_wfree: what was sent does not count any more.
    fn give_back(&mut self, sender: Option<UnixId>, cost: usize) {
        let Some(sender) = sender else { return };
        if let Some(unix) = self.unix(sender) {
            unix.used -= cost;
            self.tell_unix_of_room(sender);
        }
    }

    /// unix_shutdown: what one side ends is over for the other one.
    pub(super) fn shutdown_unix(&mut self, id: UnixId, how: Shutdown) -> io::Result<()> {
        let Some(unix) = self.unix(id) else {
            return errno(libc::EBADF);
        };
        unix.receive_shut |= how != Shutdown::Write;
        unix.send_shut |= how != Shutdown::Read;
        let peer = unix.peer;
        self.wake_unix(id, ANY);
        if let Some(peer) = peer
            && let Some(other) = self.unix(peer)
        {
            other.receive_shut |= how != Shutdown::Read;
            other.send_shut |= how != Shutdown::Write;
            self.wake_unix(peer, ANY);
        }
        Ok(())
    }

    /// unix_release_sock
    pub(super) fn close_unix(&mut self, id: UnixId) {
        let Some(closed) = self.remove_unix(id) else {
            return;
        };
        if closed.state != State::Connected || closed.peer.is_some() {
            self.leave_name(id, &closed);
        }
        // Who was never accepted has nobody to read what it sent.
        let breaks = !closed.received.is_empty() || closed.file.is_none();
        if let Some(peer) = closed.peer
            && let Some(other) = self.unix(peer)
        {
            other.receive_shut = true;
            other.send_shut = true;
            if breaks {
                other.error = libc::ECONNRESET;
            }
            self.wake_unix(peer, ANY);
        }
        for letter in closed.received {
            self.give_back(closed.peer, letter.cost);
        }
        for child in closed.queue {
            self.close_unix(child);
        }
    }

    /// An accepted socket has the listener's name, but does not hold it.
    fn leave_name(&mut self, id: UnixId, closed: &Unix) {
        if self
            .namespace
            .find(&closed.name)
            .is_ok_and(|holder| holder == id)
        {
            self.namespace.leave(&closed.name);
        }
    }

    // Files.

    /// The number of the file of a socket.
    pub(in crate::os) fn inode_at(&mut self, path: &Path) -> io::Result<u64> {
        self.namespace.inode(path)
    }

    pub(in crate::os) fn unlink(&mut self, path: &Path) -> io::Result<()> {
        self.namespace.unlink(path)
    }

    /// flock(2) on a folder.
    pub(in crate::os) fn lock_folder(&mut self, folder: &Path) -> io::Result<OwnedFd> {
        let folder = std::path::absolute(folder)?;
        let is_it = |kind: &Kind| matches!(kind, Kind::Locked(locked) if *locked == folder);
        if self.kinds().any(is_it) {
            return errno(libc::EWOULDBLOCK);
        }
        self.open(Kind::Locked(folder))
    }
}
