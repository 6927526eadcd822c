//! [`Patient`]: a descriptor whose calls wait, for as long as SO_TIMEOUT says, on the thread that makes them. And
//! [`Descriptor`], the same for users: a pipe, a terminal, a device.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate_sys::os::Interest;
use tidegate_sys::os::io as sys;

use crate::channel::{OptionId, OptionValue};

/// How long a blocking call waits at first. Netty's figure for its blocking channels.
pub(super) const TIMEOUT: Duration = Duration::from_secs(1);

/// The longest wait without a time-out, and the longest of all where a thread would not see that it is not needed any
/// more, because shutdown(2) does not wake it. Nobody can tell one wait from two.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// SO_TIMEOUT of one channel, for all its threads.
#[derive(Clone, Debug)]
pub(super) struct Timeout(Arc<AtomicU64>);

impl Timeout {
    pub(super) fn new(time: Duration) -> Self {
        let timeout = Self(Arc::default());
        timeout.set(time);
        timeout
    }

    pub(super) fn set(&self, time: Duration) {
        // Rounded up, so that a time above zero does not become "none".
        let ms = u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        self.0.store(ms, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }

    /// Sets the channel's option; false if it is another one.
    pub(super) fn set_option(&self, id: OptionId, value: &OptionValue) -> bool {
        if let (OptionId::SoTimeout, OptionValue::Duration(Some(time))) = (id, value) {
            self.set(*time);
            return true;
        }
        false
    }

    /// The channel's option, if it is this one.
    pub(super) fn option(&self, id: OptionId) -> Option<OptionValue> {
        (id == OptionId::SoTimeout).then(|| OptionValue::Duration(Some(self.get())))
    }

    fn of_one_wait(&self) -> Duration {
        let time = self.get();
        if time.is_zero() || (!sys::SHUTDOWN_WAKES && time > WAIT_MAX) {
            WAIT_MAX
        } else {
            time
        }
    }
}

/// See the module's page. Its descriptor does not block.
#[derive(Clone)]
pub(super) struct Patient {
    fd: Arc<OwnedFd>,
    timeout: Timeout,
}

impl Patient {
    pub(super) fn new(fd: Arc<OwnedFd>, timeout: Timeout) -> Self {
        Self { fd, timeout }
    }

    /// Blocks this thread; false if the time is over.
    pub(super) fn wait(&self, interest: Interest) -> io::Result<bool> {
        sys::wait(self.fd.as_fd(), interest, Some(self.timeout.of_one_wait()))
    }

    /// Makes a call that does not block, after a wait if it finds nothing. `TimedOut` if there is nothing in that time.
    pub(super) fn call<T>(
        &self,
        mut call: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        match call(self.fd.as_fd()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            answer => return answer,
        }
        if !self.wait(Interest::READ)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match call(self.fd.as_fd()) {
            // Somebody else was faster, or it was a datagram with a wrong checksum.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(io::ErrorKind::TimedOut.into())
            }
            answer => answer,
        }
    }
}

impl AsFd for Patient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl io::Read for Patient {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.call(|fd| sys::read(fd, room))
    }
}

/// One direction of a pipe, a terminal or a device, for a [`Stream`](super::Stream): each read and write waits for it
/// first, at most for a time, so that the thread which makes them can end. The mode of the descriptor, which other
/// processes may share, is not changed.
///
/// A read that finds nothing in that time fails with [`TimedOut`](io::ErrorKind::TimedOut), which streams take for
/// "again"; so does a write that finds no room. Where the system can't wait for the descriptor (devices on macOS) the
/// calls block for as long as they do.
///
/// Writes are of at most PIPE_BUF bytes (4 KiB on Linux, 512 elsewhere): a pipe that shows room may have no more.
#[derive(Debug)]
pub struct Descriptor {
    fd: OwnedFd,
    timeout: Duration,
}

impl Descriptor {
    /// For standard input: `Descriptor::new(std::io::stdin().as_fd().try_clone_to_owned()?)`.
    pub fn new(fd: impl Into<OwnedFd>) -> Self {
        Self {
            fd: fd.into(),
            timeout: TIMEOUT,
        }
    }

    /// How long one call may wait; 1 s otherwise. At least a millisecond.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.max(Duration::from_millis(1));
        self
    }

    fn wait(&self, interest: Interest) -> io::Result<()> {
        match sys::wait(self.fd.as_fd(), interest, Some(self.timeout)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(io::ErrorKind::TimedOut.into()),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl io::Read for Descriptor {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.wait(Interest::READ)?;
        sys::read(self.fd.as_fd(), room)
    }
}

impl io::Write for Descriptor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wait(Interest::WRITE)?;
        sys::write(self.fd.as_fd(), &bytes[..bytes.len().min(sys::PIPE_BUF)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
