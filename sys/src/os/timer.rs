//! [`Timer`]: a deadline as a descriptor. For a loop that is nested in another one: the outer loop waits
//! for the descriptor, so the deadline of the inner one has to make it readable. A loop on a thread of its
//! own never needs it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::clock::Time;

/// A descriptor that becomes readable at a point of the monotonic clock: timerfd on Linux and Android; on macOS and the BSDs
/// a kqueue of its own, on NetBSD and OpenBSD up to a millisecond late. A deadline more than a day ahead may come early there, and be set again.
#[derive(Debug)]
pub struct Timer {
    inner: imp::Timer,
}

impl Timer {
    /// A timer without a deadline. `Unsupported` where the system has no such descriptor.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            inner: imp::Timer::new()?,
        })
    }

    /// Readable from `deadline` on, at once if it has passed; never with `None`. Replaces what was set
    /// before, and makes the descriptor unreadable if that had come.
    pub fn set(&self, deadline: Option<Time>) -> io::Result<()> {
        self.inner.set(deadline)
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

#[cfg(all(any(target_os = "linux", target_os = "android"), not(tidegate_kqueue)))]
mod imp {
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd};
    use std::time::Duration;

    use nix::sys::time::TimeSpec;
    use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

    use crate::os::clock::Time;
    use crate::os::syscall::simulated;

    #[derive(Debug)]
    pub(super) enum Timer {
        Kernel(TimerFd),
        #[cfg(feature = "sim")]
        Simulated(std::os::fd::OwnedFd),
    }

    impl Timer {
        pub(super) fn new() -> io::Result<Self> {
            simulated!("timerfd_create", |kernel| kernel
                .timer()
                .map(Self::Simulated));
            let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
            let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
            Ok(Self::Kernel(timer))
        }

        pub(super) fn set(&self, deadline: Option<Time>) -> io::Result<()> {
            let deadline = deadline.filter(|&deadline| deadline != Time::MAX);
            simulated!("timerfd_settime", self.as_fd(), |kernel, file| {
                kernel.set_timer(file, deadline.map(Time::as_nanos))
            });
            let timer = match self {
                Self::Kernel(timer) => timer,
                // Its simulation has ended.
                #[cfg(feature = "sim")]
                Self::Simulated(_) => return Err(io::ErrorKind::Unsupported.into()),
            };
            let Some(deadline) = deadline else {
                return Ok(timer.unset()?);
            };
            // A deadline of zero would mean "disarm": the first nanosecond has passed as well.
            let since_start = Duration::from_nanos(deadline.as_nanos().max(1));
            let expiration = Expiration::OneShot(TimeSpec::from_duration(since_start));
            Ok(timer.set(expiration, TimerSetTimeFlags::TFD_TIMER_ABSTIME)?)
        }
    }

    impl AsFd for Timer {
        fn as_fd(&self) -> BorrowedFd<'_> {
            match self {
                Self::Kernel(timer) => timer.as_fd(),
                #[cfg(feature = "sim")]
                Self::Simulated(fd) => fd.as_fd(),
            }
        }
    }
}

#[cfg(tidegate_kqueue)]
mod imp {
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

    use crate::os::clock::{self, Time};
    use crate::os::fd;
    use crate::os::io as os_io;
    use crate::os::kqueue_sys::Queue;

    /// Nobody waits on the queue, so what is in it stays there until it is taken back.
    pub(super) struct Timer {
        queue: Queue,
        /// For a deadline that has passed: a timer of the kernel would come a moment later. There is a byte in it.
        full: OwnedFd,
        _writer: OwnedFd,
    }

    impl std::fmt::Debug for Timer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("Timer").finish_non_exhaustive()
        }
    }

    impl Timer {
        pub(super) fn new() -> io::Result<Self> {
            let (full, writer) = fd::pipe()?;
            os_io::write(writer.as_fd(), &[1])?;
            Ok(Self {
                queue: Queue::open()?,
                full,
                _writer: writer,
            })
        }

        pub(super) fn set(&self, deadline: Option<Time>) -> io::Result<()> {
            let delay = deadline
                .filter(|&deadline| deadline != Time::MAX)
                .map(|deadline| deadline.saturating_since(clock::now()));
            let is_due = delay.is_some_and(|delay| delay.is_zero());
            self.queue.set_full(self.full.as_fd(), is_due)?;
            self.queue.set_timer(delay.filter(|delay| !delay.is_zero()))
        }
    }

    impl AsFd for Timer {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.queue.as_fd()
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", tidegate_kqueue)))]
mod imp {
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd};

    use crate::os::clock::Time;

    /// There is none: the type cannot be made.
    #[derive(Debug)]
    pub(super) enum Timer {}

    impl Timer {
        pub(super) fn new() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(super) fn set(&self, _deadline: Option<Time>) -> io::Result<()> {
            match *self {}
        }
    }

    impl AsFd for Timer {
        fn as_fd(&self) -> BorrowedFd<'_> {
            match *self {}
        }
    }
}

#[cfg(all(test, any(target_os = "linux", target_os = "android", tidegate_kqueue)))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::os::clock;
    use crate::os::{Backend, Events, Interest, Selector, Token, Waited};

    #[test]
    fn readable_at_the_deadline_and_not_before() {
        let mut selector = Selector::open(Backend::Poll).unwrap();
        let timer = Timer::new().unwrap();
        let token = Token::new(5, 5);
        selector
            .register(timer.as_fd(), token, Interest::READ)
            .unwrap();
        let mut events = Events::new();

        let deadline = clock::now() + Duration::from_millis(3);
        timer.set(Some(deadline)).unwrap();
        let waited = selector
            .wait(&mut events, Some(Duration::from_secs(10)))
            .unwrap();
        assert_eq!(waited, Waited::Events(1));
        assert!(clock::now() >= deadline);

        for never in [None, Some(Time::MAX)] {
            timer.set(never).unwrap();
            let waited = selector.wait(&mut events, Some(Duration::ZERO)).unwrap();
            assert_eq!(waited, Waited::TimedOut, "disarming takes readiness back");
        }

        timer.set(Some(Time::ZERO)).unwrap();
        let waited = selector
            .wait(&mut events, Some(Duration::from_secs(10)))
            .unwrap();
        assert_eq!(
            waited,
            Waited::Events(1),
            "a deadline in the past is due at once"
        );
    }
}
