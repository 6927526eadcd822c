//! [`Peer`] and [`PeerListener`]: the other side of a connection as a script, without a loop. It does what real peers
//! do and libraries do not: resets, half closes, silence.

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use super::kernel::{Kernel, errno};
use super::{Simulation, anywhere, on};
use crate::os::name::Name;

/// A connection that is driven by hand. No call waits: `WouldBlock` says that it would.
#[derive(Debug)]
pub struct Peer {
    fd: OwnedFd,
}

/// A listening socket that is driven by hand.
#[derive(Debug)]
pub struct PeerListener {
    fd: OwnedFd,
}

impl Simulation {
    /// Begins to connect; [`Peer::is_connected`] tells when that has come about.
    ///
    /// # Errors
    /// `EMFILE` at the plan's limit, or what connect(2) says at once.
    pub fn connect(&self, address: SocketAddr) -> io::Result<Peer> {
        let fd = anywhere(|kernel| kernel.tcp_socket(&address)).unwrap_or_else(gone)?;
        let address = address.into();
        match on(fd.as_fd(), |kernel, file| kernel.connect(file, &address)).unwrap_or_else(gone) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(Peer { fd }),
        }
    }

    /// Connects by the Unix domain, from a name if one is given. A `&UnixAddress` turns into the name.
    ///
    /// # Errors
    /// `EMFILE` at the plan's limit, and what bind(2) and connect(2) say.
    pub fn connect_unix(&self, from: Option<Name>, to: impl Into<Name>) -> io::Result<Peer> {
        let to = to.into();
        let fd = anywhere(Kernel::unix_socket).unwrap_or_else(gone)?;
        on(fd.as_fd(), |kernel, file| {
            if let Some(from) = from {
                kernel.bind(file, &from)?;
            }
            kernel.connect(file, &to)
        })
        .unwrap_or_else(gone)?;
        Ok(Peer { fd })
    }

    /// Listens at an address; port zero is answered with a free one.
    ///
    /// # Errors
    /// `AddrInUse`, or `EMFILE` at the plan's limit.
    pub fn listen(&self, address: SocketAddr, backlog: i32) -> io::Result<PeerListener> {
        let fd = anywhere(|kernel| kernel.tcp_socket(&address)).unwrap_or_else(gone)?;
        on(fd.as_fd(), |kernel, file| {
            kernel.bind(file, &address.into())?;
            kernel.listen(file, backlog)
        })
        .unwrap_or_else(gone)?;
        Ok(PeerListener { fd })
    }
}

impl PeerListener {
    /// Where it listens.
    ///
    /// # Errors
    /// None while its simulation lives.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        local_addr(&self.fd)
    }

    /// Takes a connection.
    ///
    /// # Errors
    /// `WouldBlock` if none is waiting, and the plan's faults.
    pub fn accept(&self) -> io::Result<Peer> {
        let accepted = on(self.fd.as_fd(), |kernel, file| kernel.accept(file));
        let (fd, _) = accepted.unwrap_or_else(gone)?;
        Ok(Peer { fd })
    }
}

impl Peer {
    /// Whether there is a connection, not one that is coming about or over.
    pub fn is_connected(&self) -> bool {
        on(self.fd.as_fd(), |kernel, file| kernel.peer_addr(file))
            .is_some_and(|answer| answer.is_ok())
    }

    /// Where it connects from.
    ///
    /// # Errors
    /// `InvalidData` if it is no socket of the internet; else none while its simulation lives.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        local_addr(&self.fd)
    }

    /// Sends what there is room for.
    ///
    /// # Errors
    /// As send(2).
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let slices = [IoSlice::new(bytes)];
        on(self.fd.as_fd(), |kernel, file| kernel.send(file, &slices)).unwrap_or_else(gone)
    }

    /// Reads what has arrived; zero is the end.
    ///
    /// # Errors
    /// As recv(2).
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let max = buffer.len();
        let take = |front: &[u8], back: &[u8]| {
            let (head, tail) = buffer.split_at_mut(front.len());
            head.copy_from_slice(front);
            tail[..back.len()].copy_from_slice(back);
        };
        on(self.fd.as_fd(), |kernel, file| {
            kernel.receive(file, max, take)
        })
        .unwrap_or_else(gone)
    }

    /// Ends one or both directions.
    ///
    /// # Errors
    /// `NotConnected` if there is no connection.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        on(self.fd.as_fd(), |kernel, file| kernel.shutdown(file, how)).unwrap_or_else(gone)
    }

    /// Ends it by a reset: what is under way to the other side still arrives first.
    pub fn reset(self) {
        let _ = on(self.fd.as_fd(), |kernel, file| {
            kernel.set_linger(file, Some(0))
        });
    }
}

fn local_addr(fd: &OwnedFd) -> io::Result<SocketAddr> {
    let name = on(fd.as_fd(), |kernel, file| kernel.local_addr(file)).unwrap_or_else(gone)?;
    match name {
        Name::Inet(address) => Ok(address),
        Name::Unix(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The simulation has ended.
fn gone<T>() -> io::Result<T> {
    errno(libc::EBADF)
}
