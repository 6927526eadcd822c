//! [`Receiver`]: a stream socket on its reading thread, which finds a reset that the writing thread was told of.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidegate_sys::os::{Interest, errno, net};

use super::patient::Patient;

/// See the module's page.
pub(super) struct Receiver {
    patient: Patient,
    /// The channel has ended its output, or is about to.
    is_output_over: Arc<AtomicBool>,
}

impl Receiver {
    pub(super) fn new(patient: Patient, is_output_over: Arc<AtomicBool>) -> Self {
        Self {
            patient,
            is_output_over,
        }
    }

    pub(super) fn wait_for_connect(&self) -> io::Result<bool> {
        self.patient.wait(Interest::WRITE)
    }

    /// Whether an end of input is what a reset looks like to the second who asks. A socket tells of a reset once, by
    /// ECONNRESET to whichever thread calls next; from then on a send is EPIPE and a read the end (tcp_recvmsg_locked,
    /// Linux 6). But it has no peer any more, which a connection has whose output is open, also behind the peer's FIN.
    fn is_reset(&self) -> bool {
        let peer = net::peer_addr::<SocketAddr>(self.patient.as_fd());
        peer.is_err_and(|error| error.kind() == io::ErrorKind::NotConnected)
            && !self.is_output_over.load(Ordering::SeqCst)
    }
}

impl io::Read for Receiver {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self.patient.read(room) {
            Ok(0) if self.is_reset() => Err(io::Error::from_raw_os_error(errno::ECONNRESET)),
            answer => answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use super::*;
    use crate::transport::oio::patient::Timeout;

    const DEADLINE: Duration = Duration::from_secs(20);

    /// Our end, with the socket's other descriptor as the writing thread has it, and the peer.
    fn pair() -> (Receiver, TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (peer, _) = listener.accept().unwrap();
        let fd = Arc::new(OwnedFd::from(ours.try_clone().unwrap()));
        let receiver = Receiver {
            patient: Patient::new(fd, Timeout::new(DEADLINE)),
            is_output_over: Arc::default(),
        };
        (receiver, ours, peer)
    }

    fn read(receiver: &mut Receiver) -> Result<usize, io::ErrorKind> {
        receiver
            .read(&mut [0; 100])
            .map_err(|error: io::Error| error.kind())
    }

    #[test]
    fn a_reset_that_the_writer_was_told_of_is_one_to_the_reader_too() {
        let (mut receiver, mut ours, mut peer) = pair();
        peer.write_all(b"before").unwrap();
        net::set_linger(peer.as_fd(), Some(Duration::ZERO)).unwrap();
        drop(peer);
        // The bytes are there, and so is the reset: a socket with an error polls as writable.
        while ours.take_error().unwrap().is_none() {
            assert!(receiver.patient.wait(Interest::READ).unwrap());
        }
        assert_eq!(
            ours.write(b"x").unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
        assert_eq!(
            read(&mut receiver),
            Ok(6),
            "what came before it is not lost"
        );
        assert_eq!(read(&mut receiver), Err(io::ErrorKind::ConnectionReset));
    }

    #[test]
    fn the_peers_end_is_no_reset() {
        let (mut receiver, _ours, peer) = pair();
        drop(peer);
        assert_eq!(read(&mut receiver), Ok(0));
    }

    #[test]
    fn the_end_of_both_directions_is_no_reset() {
        let (mut receiver, ours, mut peer) = pair();
        receiver.is_output_over.store(true, Ordering::SeqCst);
        ours.shutdown(Shutdown::Write).unwrap();
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
        drop(peer);
        assert_eq!(read(&mut receiver), Ok(0));
    }
}
