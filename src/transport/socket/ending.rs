//! How a connected stream ends: one direction, or all of it. How it reads and flushes is in the channel's floor (`stream`).

use std::fmt::Display;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tidegate_sys::os::net;

use crate::channel::{Direction, Io, Progress};
use crate::error::Error;
use crate::transport::blocking::Pool;

/// Ends one direction. A peer that is gone already is no error where nothing was promised to it (A37).
pub(crate) fn shutdown(
    socket: BorrowedFd<'_>,
    direction: Direction,
    peer: &dyn Display,
) -> Result<(), Error> {
    let (how, text) = match direction {
        Direction::Input => (Shutdown::Read, "input"),
        Direction::Output => (Shutdown::Write, "output"),
    };
    match net::shutdown(socket, how) {
        Err(error)
            if direction == Direction::Input && error.kind() == io::ErrorKind::NotConnected =>
        {
            Ok(())
        }
        Err(error) => Err(Error::io(
            format!("shutting down the {text} of the connection to {peer}"),
            error,
        )),
        Ok(()) => Ok(()),
    }
}

/// Threads that wait in close(2). Each may wait for its peer as long as SO_LINGER says, hence several.
static LINGERING: Pool = Pool::new("tidegate-linger", 16);

/// Ends the connection. One that lingers waits in close(2) until the peer has acknowledged everything, so that is
/// called on another thread, and the channel learns of the end by its signal (A31).
pub(crate) fn close(socket: OwnedFd, lingers: bool, io: &mut Io<'_>) -> Progress {
    if !lingers {
        drop(socket);
        return Progress::Done;
    }
    // The peer learns of the end now, also when many sockets linger and this one has to wait for a thread.
    let _ = net::shutdown(socket.as_fd(), Shutdown::Write);
    let signal = io.signal();
    let handed = LINGERING.run(socket, move |socket| {
        drop(socket);
        signal.closed();
    });
    match handed {
        Ok(_) => Progress::Pending,
        Err(socket) => {
            tracing::warn!(
                "no thread could be started to close a lingering socket; the kernel sends the rest in the background"
            );
            let _ = net::set_linger(socket.as_fd(), None);
            drop(socket);
            Progress::Done
        }
    }
}
