//! The system calls of the bare loop and of the load generator, each with its arguments checked by types. This is the only
//! file of the package with unsafe code. Linux only, like epoll; `EINTR` is reported, not repeated.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

pub use libc::epoll_event as Event;

/// The peer has closed its half, or the connection is broken.
pub const GONE: u32 = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;

/// A selector by edges.
pub struct Epoll(OwnedFd);

impl Epoll {
    /// Opens one.
    ///
    /// # Errors
    /// Whatever epoll_create1(2) says.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes no pointer.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the kernel has just given it to us alone.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Registers a descriptor once, for reading, writing and its end.
    ///
    /// # Errors
    /// Whatever epoll_ctl(2) says.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let mut event = Event {
            events: (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET) as u32,
            u64: token,
        };
        let (epoll, added) = (self.0.as_raw_fd(), fd.as_raw_fd());
        // SAFETY: the event lives during the call; both descriptors are open.
        check(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, added, &raw mut event) })?;
        Ok(())
    }

    /// Waits at most so many milliseconds (-1: without end), and returns what has happened.
    ///
    /// # Errors
    /// Whatever epoll_wait(2) says.
    #[inline]
    pub fn wait<'a>(&self, events: &'a mut Events, timeout_ms: i32) -> io::Result<&'a [Event]> {
        let room = events.0.len() as i32;
        // SAFETY: the kernel writes at most `room` events into memory that is ours.
        let count = check(unsafe {
            libc::epoll_wait(self.0.as_raw_fd(), events.0.as_mut_ptr(), room, timeout_ms)
        })?;
        Ok(&events.0[..count as usize])
    }
}

/// Room for the events of one wait.
pub struct Events(Vec<Event>);

impl Events {
    /// Room for so many.
    pub fn new(room: usize) -> Self {
        Self(vec![Event { events: 0, u64: 0 }; room])
    }
}

/// A connected socket, read by recv(2) and written by send(2).
pub struct Socket(OwnedFd);

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self(stream.into())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Read for Socket {
    #[inline]
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        recv(self.as_fd(), into)
    }
}

impl Write for Socket {
    #[inline]
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        // SAFETY: the kernel reads at most the length of the slice.
        let sent = unsafe {
            libc::send(
                self.0.as_raw_fd(),
                from.as_ptr().cast(),
                from.len(),
                libc::MSG_NOSIGNAL,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Receives what is there.
///
/// # Errors
/// Whatever recv(2) says; `WouldBlock` if nothing is there.
#[inline]
pub fn recv(fd: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most the length of the slice.
    let received = unsafe { libc::recv(fd.as_raw_fd(), into.as_mut_ptr().cast(), into.len(), 0) };
    usize::try_from(received).map_err(|_| io::Error::last_os_error())
}

/// Makes close(2) reset the connection, so that no port stays unusable for a minute (TIME_WAIT).
///
/// # Errors
/// Whatever setsockopt(2) says.
pub fn reset_on_close(fd: BorrowedFd<'_>) -> io::Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let size = size_of::<libc::linger>() as libc::socklen_t;
    // SAFETY: the option is a linger, and its size is given.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size,
        )
    })?;
    Ok(())
}

/// Lets so many connections wait to be accepted (at most net.core.somaxconn). With the 128 of std, a thousand clients
/// at once lose their first packets, and try again after a second.
///
/// # Errors
/// Whatever listen(2) says.
pub fn set_backlog(listener: BorrowedFd<'_>, backlog: i32) -> io::Result<()> {
    // SAFETY: takes no pointer. On a socket that listens already it only changes the number.
    check(unsafe { libc::listen(listener.as_raw_fd(), backlog) })?;
    Ok(())
}

/// Binds the calling thread, and those that it will start, to one processor.
///
/// # Errors
/// Whatever sched_setaffinity(2) says: mostly that there is no such processor.
pub fn pin(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: a set of zero bytes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the number was compared with the size of the set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set lives during the call, and its size is given.
    check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) })?;
    Ok(())
}

/// Raises the limit on descriptors as far as the machine allows, and returns it.
///
/// # Errors
/// Whatever getrlimit(2) or setrlimit(2) say.
pub fn raise_descriptors() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the limit lives during the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the limit lives during the call.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(limit.rlim_max)
}

/// The processor time, user and system, that all threads of a process have used. Unlike the figures in
/// /proc/PID/stat, which count ticks of 10 ms, this is the scheduler's own account in nanoseconds.
///
/// # Errors
/// That there is no such process, or that it is none of ours.
pub fn process_cpu(pid: u32) -> io::Result<Duration> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: the clock's number lives during the call.
    let error = unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &raw mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the time lives during the call.
    check(unsafe { libc::clock_gettime(clock, &raw mut time) })?;
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// Turns -1 into the error that it stands for.
#[inline]
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}
