//! The system calls of the bare loop and of the load generator, one function each: libc's, through nix, which only checks
//! their arguments by types. Linux only, like epoll; `EINTR` is reported, not repeated.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::libc;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::epoll::{self, EpollCreateFlags, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{Backlog, MsgFlags, listen, recv as receive, send, setsockopt, sockopt};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// The peer has closed its half, or the connection is broken.
pub const GONE: EpollFlags = EpollFlags::EPOLLRDHUP
    .union(EpollFlags::EPOLLHUP)
    .union(EpollFlags::EPOLLERR);

/// What happened to which descriptor.
pub use nix::sys::epoll::EpollEvent as Event;

/// A selector by edges.
pub struct Epoll(epoll::Epoll);

impl Epoll {
    /// Opens one.
    ///
    /// # Errors
    /// Whatever epoll_create1(2) says.
    pub fn new() -> io::Result<Self> {
        Ok(Self(epoll::Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?))
    }

    /// Registers a descriptor once, for reading, writing and its end.
    ///
    /// # Errors
    /// Whatever epoll_ctl(2) says.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let all = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLET;
        Ok(self.0.add(fd, Event::new(all, token))?)
    }

    /// Waits at most so many milliseconds (-1: without end), and returns what has happened.
    ///
    /// # Errors
    /// Whatever epoll_wait(2) says.
    #[inline]
    pub fn wait<'a>(&self, events: &'a mut Events, timeout_ms: i32) -> io::Result<&'a [Event]> {
        let timeout = EpollTimeout::try_from(timeout_ms).unwrap_or(EpollTimeout::NONE);
        let count = self.0.wait(&mut events.0, timeout)?;
        Ok(&events.0[..count])
    }
}

/// Room for the events of one wait.
pub struct Events(Vec<Event>);

impl Events {
    /// Room for so many.
    pub fn new(room: usize) -> Self {
        Self(vec![Event::empty(); room])
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
        Ok(send(self.0.as_raw_fd(), from, MsgFlags::MSG_NOSIGNAL)?)
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
    Ok(receive(fd.as_raw_fd(), into, MsgFlags::empty())?)
}

/// Makes close(2) reset the connection, so that no port stays unusable for a minute (TIME_WAIT).
///
/// # Errors
/// Whatever setsockopt(2) says.
pub fn reset_on_close(fd: BorrowedFd<'_>) -> io::Result<()> {
    let at_once = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    Ok(setsockopt(&fd, sockopt::Linger, &at_once)?)
}

/// Lets so many connections wait to be accepted (at most net.core.somaxconn). With the 128 of std, a thousand clients
/// at once lose their first packets, and try again after a second.
///
/// # Errors
/// Whatever listen(2) says. On a socket that listens already it only changes the number.
pub fn set_backlog(listener: BorrowedFd<'_>, backlog: i32) -> io::Result<()> {
    let backlog = Backlog::new(backlog)?;
    Ok(listen(&listener, backlog)?)
}

/// Binds the calling thread, and those that it will start, to one processor.
///
/// # Errors
/// Whatever sched_setaffinity(2) says: mostly that there is no such processor.
pub fn pin(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Raises the limit on descriptors as far as the machine allows, and returns it.
///
/// # Errors
/// Whatever getrlimit(2) or setrlimit(2) say.
pub fn raise_descriptors() -> io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

/// Stops a process where it is (SIGSTOP), or lets it go on (SIGCONT).
///
/// # Errors
/// That there is no such process, or that it is none of ours.
pub fn let_run(pid: u32, runs: bool) -> io::Result<()> {
    let pid = i32::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    let signal = if runs {
        Signal::SIGCONT
    } else {
        Signal::SIGSTOP
    };
    Ok(kill(Pid::from_raw(pid), signal)?)
}

/// The processor time, user and system, that all threads of a process have used. Unlike the figures in
/// /proc/PID/stat, which count ticks of 10 ms, this is the scheduler's own account in nanoseconds.
///
/// # Errors
/// That there is no such process, or that it is none of ours.
pub fn process_cpu(pid: u32) -> io::Result<Duration> {
    let pid = i32::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    let clock = clock_getcpuclockid(Pid::from_raw(pid))?;
    Ok(clock_gettime(clock)?.into())
}

/// The most memory that a process has had resident, in KiB.
///
/// # Errors
/// That there is no such process.
pub fn peak_memory_kib(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::other("/proc/PID/status has no VmHWM"))
}
