//! What a failed accept means: whose doing it was, and so whether to go on at once, later, or not at all.

use std::io;

/// Why [`accept`](super::accept) gave no connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AcceptFailure {
    /// None is waiting.
    Empty,
    /// The one at the front of the queue is gone, or its network is, or a packet filter does not want it. It
    /// has left the queue; the next may be good.
    Client,
    /// This process, or the machine, is out of descriptors or memory. The client stays in the queue.
    Exhausted,
    /// Something is wrong with the listening socket itself.
    Listener,
}

impl AcceptFailure {
    /// Classifies an error of [`accept`](super::accept).
    pub fn of(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::WouldBlock {
            return Self::Empty;
        }
        let Some(errno) = error.raw_os_error() else {
            return Self::Listener;
        };
        match errno {
            libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => Self::Exhausted,
            // EPERM: the packet filter. The others: an error of the network that waited on the new socket, which
            // Linux hands out here (accept(2), "Error handling").
            libc::ECONNABORTED
            | libc::ECONNRESET
            | libc::EPERM
            | libc::EPROTO
            | libc::ENOPROTOOPT
            | libc::ENETDOWN
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::ETIMEDOUT
            | libc::EOPNOTSUPP => Self::Client,
            #[cfg(any(target_os = "linux", target_os = "android"))]
            libc::ENONET | libc::ENOSR => Self::Client,
            _ => Self::Listener,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_party_has_its_errors() {
        let of = |errno| AcceptFailure::of(&io::Error::from_raw_os_error(errno));
        assert_eq!(of(libc::EAGAIN), AcceptFailure::Empty);
        assert_eq!(of(libc::ECONNABORTED), AcceptFailure::Client);
        assert_eq!(of(libc::EPERM), AcceptFailure::Client);
        assert_eq!(of(libc::EMFILE), AcceptFailure::Exhausted);
        assert_eq!(of(libc::ENOBUFS), AcceptFailure::Exhausted);
        assert_eq!(of(libc::EINVAL), AcceptFailure::Listener);
        assert_eq!(of(libc::EBADF), AcceptFailure::Listener);
        let foreign = io::Error::from(io::ErrorKind::InvalidData);
        assert_eq!(AcceptFailure::of(&foreign), AcceptFailure::Listener);
    }
}
