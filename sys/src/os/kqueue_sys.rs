//! Every kqueue call and constant of the project, behind [`Queue`]. Called by the kqueue backend, by the
//! waker and by the timer; it keeps no registrations.
//!
//! The calls come from one of four places:
//!
//! * `native`: libc, on macOS and the BSDs.
//! * `shim` (`--cfg tidegate_kqueue_shim`, on Linux): a shared library named libkqueue, so that the same
//!   backend runs on any implementation of kqueue that the loader finds.
//! * `on_epoll` (`--cfg tidegate_kqueue_fake`, on Linux): one of our own made of epoll sets, with which every test
//!   of the project runs over the kqueue backend (`make kqueue`).
//! * `fake` (unit tests where there is no kqueue): an in-memory one of our own, which plays the differences
//!   between the real kernels.
//!
//! What holds on all of them:
//!
//! 1. Changes are made with EV_RECEIPT and room for every answer. A change that fails without room makes
//!    the call fail and leaves the changes after it undone; one that fails in a call that also waits
//!    ends it at once, without events: a silent hang if nobody looks (ponyc#5121).
//! 2. EV_ERROR is tested as a bit. FreeBSD sends it alone; NetBSD and XNU add it to the other flags.
//! 3. Once asked for, EV_RECEIPT stays in the flags of later events: flags are never compared whole.
//! 4. A call that ends with EINTR has made its changes (kqueue(2)): they are not made again.

// The fields have other types on other systems; a cast that is needed on one does nothing on the next.
#![allow(clippy::unnecessary_cast)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::syscall;
use super::token::Token;

#[cfg(all(tidegate_kqueue, not(any(tidegate_kqueue_shim, tidegate_kqueue_fake))))]
use native as imp;
#[cfg(tidegate_kqueue_fake)]
use on_epoll as imp;
#[cfg(tidegate_kqueue_shim)]
use shim as imp;

#[cfg(not(tidegate_kqueue))]
pub(super) mod fake;
#[cfg(not(tidegate_kqueue))]
use fake as imp;

#[cfg(tidegate_kqueue_fake)]
mod on_epoll;

/// A kernel queue. Shared by the selector, which waits, and the waker, which triggers: the number stays
/// ours until both are gone.
pub(super) struct Queue {
    fd: OwnedFd,
}

/// What a filter reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Filter {
    Read,
    Write,
    User,
    Other,
}

/// One entry of a kevent call: a change, its answer, or an event.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Kevent(imp::kevent);

// SAFETY: its one pointer is user data: a number that nobody follows. A selector may change threads.
unsafe impl Send for Kevent {}

/// The user event of the waker; there is one per queue.
const USER_IDENT: usize = 0;

/// The timer of a [`Timer`](super::timer::Timer); there is one per queue.
const TIMER_IDENT: usize = 0;

/// Timers are not set further ahead: kernels differ in the longest time that they take.
const TIMER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What timers count in, as a flag and in nanoseconds. FreeBSD and XNU have had the flag for long; NetBSD has it since 10 only
/// and OpenBSD not much longer, and what does not know it takes nanoseconds for milliseconds.
#[cfg(any(
    target_os = "freebsd",
    target_vendor = "apple",
    tidegate_kqueue_shim,
    tidegate_kqueue_fake,
    not(tidegate_kqueue)
))]
const TIMER_UNIT: (u32, u128) = (imp::NOTE_NSECONDS as u32, 1);
#[cfg(not(any(
    target_os = "freebsd",
    target_vendor = "apple",
    tidegate_kqueue_shim,
    tidegate_kqueue_fake,
    not(tidegate_kqueue)
)))]
const TIMER_UNIT: (u32, u128) = (0, 1_000_000);

impl Queue {
    pub(super) fn open() -> io::Result<Self> {
        // SAFETY: takes no pointer.
        let raw = syscall::retry(|| unsafe { imp::kqueue() })?;
        // SAFETY: the kernel has just made this descriptor for us alone.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        // A fork does not inherit it, but an exec without a fork does. kqueue1 is missing on macOS.
        super::fd::set_cloexec(fd.as_fd())?;
        Ok(Self { fd })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Makes the changes and puts the answer of each in its place: see [`Kevent::failure`].
    pub(super) fn apply(&self, changes: &mut [Kevent]) -> io::Result<()> {
        let length = changes.len();
        // A timeout of zero, not none: OpenBSD waits for some receipts (libkqueue's list of differences).
        let now = timespec(Duration::ZERO);
        let list = changes.as_mut_ptr().cast::<imp::kevent>();
        // SAFETY: `list` has `length` entries for reading and for writing, the same by rule 1; kevent
        // copies each change in before it writes an answer. `now` outlives the call.
        let returned = syscall::once(unsafe {
            imp::kevent(
                self.fd.as_raw_fd(),
                list,
                length as _,
                list,
                length as _,
                &raw const now,
            )
        });
        let answered = match returned {
            Ok(answered) => answered as usize,
            // Rule 4.
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => 0,
            Err(error) => return Err(error),
        };
        for unanswered in &mut changes[answered..] {
            unanswered.0.flags = 0;
        }
        Ok(())
    }

    /// Waits for events, at most as many as the buffer holds. EINTR is an error here.
    pub(super) fn wait(
        &self,
        buffer: &mut [Kevent],
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        // kevent returns at once, whatever the timeout, if it may report nothing.
        debug_assert!(!buffer.is_empty(), "a wait needs room for events");
        let spec = timeout.map(timespec);
        let spec = spec.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: no changes; the buffer has room for as many events as said; `spec` is null or outlives
        // the call.
        let returned = syscall::once(unsafe {
            imp::kevent(
                self.fd.as_raw_fd(),
                std::ptr::null(),
                0,
                buffer.as_mut_ptr().cast::<imp::kevent>(),
                buffer.len() as _,
                spec,
            )
        })?;
        Ok(returned as usize)
    }

    /// Makes the user event known. Fails where the system has none.
    pub(super) fn add_user(&self, token: Token) -> io::Result<()> {
        self.change_user(imp::EV_ADD as u32 | imp::EV_CLEAR as u32, 0, token)
    }

    /// Fires the user event; several times before a wait count as one. The token comes along because a
    /// trigger overwrites the user data.
    pub(super) fn trigger_user(&self, token: Token) -> io::Result<()> {
        self.change_user(0, imp::NOTE_TRIGGER as u32, token)
    }

    /// Makes the queue readable after `delay`, rounded up to [`TIMER_UNIT`], and after a day at the latest. `None` takes it back,
    /// also if it has come.
    #[cfg_attr(not(tidegate_kqueue), allow(dead_code))]
    pub(super) fn set_timer(&self, delay: Option<Duration>) -> io::Result<()> {
        let flags = imp::EV_ADD as u32 | imp::EV_ONESHOT as u32;
        let change = |flags| {
            let token = Token::from_bits(0);
            Kevent::new(TIMER_IDENT, imp::EVFILT_TIMER as i64, flags, token)
        };
        // Adding one that has come would leave it in the queue.
        self.take_back(change(imp::EV_DELETE as u32))?;
        let Some(delay) = delay else { return Ok(()) };
        let mut set = change(flags);
        let delay = delay.min(TIMER_MAX);
        set.0.fflags = TIMER_UNIT.0 as _;
        set.0.data = delay.as_nanos().div_ceil(TIMER_UNIT.1) as _;
        self.change(set)
    }

    /// Makes the queue readable while `fd` is, whose data nobody reads, or no longer.
    #[cfg_attr(not(tidegate_kqueue), allow(dead_code))]
    pub(super) fn set_full(&self, fd: BorrowedFd<'_>, is_full: bool) -> io::Result<()> {
        let fd = fd.as_raw_fd();
        match is_full {
            true => self.change(Kevent::add(fd, Filter::Read, Token::from_bits(0))),
            false => self.take_back(Kevent::delete(fd, Filter::Read)),
        }
    }

    /// One change that deletes what may be there.
    fn take_back(&self, change: Kevent) -> io::Result<()> {
        match self.change(change) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            done => done,
        }
    }

    fn change(&self, change: Kevent) -> io::Result<()> {
        let mut changes = [change];
        self.apply(&mut changes)?;
        match changes[0].failure() {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Ok(()),
        }
    }

    fn change_user(&self, flags: u32, fflags: u32, token: Token) -> io::Result<()> {
        let mut change = Kevent::new(USER_IDENT, imp::EVFILT_USER as i64, flags, token);
        change.0.fflags = fflags as _;
        self.change(change)
    }
}

#[cfg(tidegate_kqueue_fake)]
impl Drop for Queue {
    fn drop(&mut self) {
        imp::forget(self.fd.as_raw_fd());
    }
}

impl Kevent {
    /// Nothing, for filling buffers.
    pub(super) fn empty() -> Self {
        // SAFETY: a C structure of integers and a pointer, for which zeroes are a value.
        Self(unsafe { std::mem::zeroed() })
    }

    /// A change that adds a filter, or evaluates it anew if it is there (EV_ENABLE does not, on NetBSD).
    pub(super) fn add(fd: RawFd, filter: Filter, token: Token) -> Self {
        let flags = imp::EV_ADD as u32 | imp::EV_CLEAR as u32;
        Self::new(fd as usize, filter.number(), flags, token)
    }

    /// A change that removes a filter.
    pub(super) fn delete(fd: RawFd, filter: Filter) -> Self {
        Self::new(
            fd as usize,
            filter.number(),
            imp::EV_DELETE as u32,
            Token::from_bits(0),
        )
    }

    fn new(ident: usize, filter: i64, flags: u32, token: Token) -> Self {
        let mut event = Self::empty();
        event.0.ident = ident as _;
        event.0.filter = filter as _;
        event.0.flags = (flags | imp::EV_RECEIPT as u32) as _;
        event.0.udata = token.to_bits() as usize as _;
        event
    }

    pub(super) fn ident(&self) -> usize {
        self.0.ident as usize
    }

    pub(super) fn token(&self) -> Token {
        Token::from_bits(self.0.udata as usize as u64)
    }

    pub(super) fn filter(&self) -> Filter {
        let number = self.0.filter as i64;
        [Filter::Read, Filter::Write, Filter::User]
            .into_iter()
            .find(|filter| filter.number() == number)
            .unwrap_or(Filter::Other)
    }

    /// Whether this is the answer to a change, not an event (rule 2).
    pub(super) fn is_answer(&self) -> bool {
        self.0.flags as u32 & imp::EV_ERROR as u32 != 0
    }

    /// The errno of a change that failed; none for one that was made, and for events.
    pub(super) fn failure(&self) -> Option<i32> {
        let errno = self.0.data as i32;
        (self.is_answer() && errno != 0).then_some(errno)
    }

    /// Whether the direction of the filter has ended.
    pub(super) fn is_eof(&self) -> bool {
        self.0.flags as u32 & imp::EV_EOF as u32 != 0
    }

    /// The socket's error that came with the end, or zero.
    pub(super) fn eof_errno(&self) -> u32 {
        if self.is_eof() {
            self.0.fflags as u32
        } else {
            0
        }
    }
}

impl Filter {
    fn number(self) -> i64 {
        match self {
            Filter::Read => imp::EVFILT_READ as i64,
            Filter::Write => imp::EVFILT_WRITE as i64,
            Filter::User => imp::EVFILT_USER as i64,
            Filter::Other => 0,
        }
    }
}

fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: duration.as_secs() as libc::time_t,
        tv_nsec: duration.subsec_nanos() as _,
    }
}

#[cfg(all(tidegate_kqueue, not(any(tidegate_kqueue_shim, tidegate_kqueue_fake))))]
mod native {
    #[cfg(any(target_os = "freebsd", target_vendor = "apple"))]
    pub(super) use libc::NOTE_NSECONDS;
    pub(super) use libc::{
        EV_ADD, EV_CLEAR, EV_DELETE, EV_EOF, EV_ERROR, EV_ONESHOT, EV_RECEIPT, EVFILT_READ,
        EVFILT_TIMER, EVFILT_USER, EVFILT_WRITE, NOTE_TRIGGER, kevent, kqueue,
    };
}

#[cfg(any(tidegate_kqueue_shim, tidegate_kqueue_fake, not(tidegate_kqueue)))]
mod declared;

#[cfg(tidegate_kqueue_shim)]
mod shim {
    pub(super) use super::declared::*;

    // Linked by build.rs.
    unsafe extern "C" {
        pub(super) fn kqueue() -> libc::c_int;
        pub(super) fn kevent(
            queue: libc::c_int,
            changes: *const kevent,
            change_count: libc::c_int,
            events: *mut kevent,
            event_count: libc::c_int,
            timeout: *const libc::timespec,
        ) -> libc::c_int;
    }
}

const _: () = {
    use imp::kevent;
    use memoffset::offset_of;

    // Out of each system's <sys/event.h>. NetBSD has wider filter and flags.
    let wide = cfg!(target_os = "netbsd");
    assert!(offset_of!(kevent, ident) == 0);
    assert!(offset_of!(kevent, filter) == 8);
    assert!(offset_of!(kevent, flags) == if wide { 12 } else { 10 });
    assert!(offset_of!(kevent, fflags) == if wide { 16 } else { 12 });
    assert!(offset_of!(kevent, data) == if wide { 24 } else { 16 });
    assert!(offset_of!(kevent, udata) == if wide { 32 } else { 24 });
    // FreeBSD from 12 on and NetBSD from 10 on have four more words at the end.
    let size = size_of::<kevent>();
    assert!(if wide {
        size == 40 || size == 72
    } else if cfg!(target_os = "freebsd") {
        size == 32 || size == 64
    } else {
        size == 32
    });
    assert!(size_of::<Kevent>() == size);
    // The token travels in a pointer; build.rs leaves kqueue out where pointers are shorter.
    assert!(size_of::<usize>() == 8);
};
