//! [`Peer`] and [`PeerListener`]: the other side of a connection as a script, without a loop. It does what real peers
//! do and libraries do not: resets, half closes, silence.

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use super::kernel::errno;
use super::{Simulation, anywhere, on};

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
        let fd = anywhere(|kernel| kernel.socket(&address)).unwrap_or_else(gone)?;
        match on(fd.as_fd(), |kernel, file| kernel.connect(file, &address)).unwrap_or_else(gone) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(Peer { fd }),
        }
    }

    /// Listens at an address; port zero is answered with a free one.
    ///
    /// # Errors
    /// `AddrInUse`, or `EMFILE` at the plan's limit.
    pub fn listen(&self, address: SocketAddr, backlog: i32) -> io::Result<PeerListener> {
        let fd = anywhere(|kernel| kernel.socket(&address)).unwrap_or_else(gone)?;
        on(fd.as_fd(), |kernel, file| {
            kernel.bind(file, &address)?;
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
        on(self.fd.as_fd(), |kernel, file| kernel.local_addr(file)).unwrap_or_else(gone)
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
    /// None while its simulation lives.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        on(self.fd.as_fd(), |kernel, file| kernel.local_addr(file)).unwrap_or_else(gone)
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

/// The simulation has ended.
fn gone<T>() -> io::Result<T> {
    errno(libc::EBADF)
}
