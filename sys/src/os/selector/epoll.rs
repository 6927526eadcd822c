//! epoll, edge-triggered or level-triggered. Used through [`super::Selector`] only.
//!
//! Edge-triggered, a descriptor is registered once for everything that can happen to it, and a change of
//! interest costs nothing: an edge is sent once, and the channel remembers it. Level-triggered, the
//! mask follows the interest with one epoll_ctl each.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libc::epoll_event;

use super::contract::{Contract, Waited};
use crate::os::direct;
use crate::os::event::{Events, Interest};
use crate::os::syscall::{self, simulated};
use crate::os::token::Token;

/// How often readiness is reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trigger {
    /// Once, when it begins.
    Edge,
    /// In every wait while it lasts.
    Level,
}

pub(super) struct Epoll {
    fd: OwnedFd,
    trigger: Trigger,
    /// Whether waits go by epoll_pwait2.
    is_precise: bool,
}

const IN: u32 = libc::EPOLLIN as u32;
const OUT: u32 = libc::EPOLLOUT as u32;
const PRI: u32 = libc::EPOLLPRI as u32;
const RDHUP: u32 = libc::EPOLLRDHUP as u32;
const ET: u32 = libc::EPOLLET as u32;

/// Set once a kernel or a seccomp filter has refused epoll_pwait2, so that later selectors do not ask.
static NO_PWAIT2: AtomicBool = AtomicBool::new(false);

impl Epoll {
    pub(super) fn open(trigger: Trigger) -> io::Result<Self> {
        Ok(Self {
            fd: create()?,
            trigger,
            is_precise: !NO_PWAIT2.load(Ordering::Relaxed),
        })
    }

    pub(super) fn trigger(&self) -> Trigger {
        self.trigger
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) fn use_coarse_waits(&mut self) {
        self.is_precise = false;
    }

    /// What the kernel shall watch for this interest.
    fn mask(&self, interest: Interest) -> u32 {
        let mut mask = 0;
        if interest.contains(Interest::WRITE) {
            mask |= OUT;
        }
        match self.trigger {
            Trigger::Edge => {
                // The end of the peer's data is one edge, and worth knowing while reading is paused.
                mask |= RDHUP | ET;
                if interest.contains(Interest::READ) {
                    mask |= IN | PRI;
                }
            }
            Trigger::Level => {
                // No PRI: urgent data that no recv(MSG_OOB) takes stays reported, so that one byte
                // from a peer would make the loop spin.
                if interest.contains(Interest::READ) {
                    mask |= IN | RDHUP;
                }
            }
        }
        mask
    }

    fn control(&self, op: i32, fd: BorrowedFd<'_>, mask: u32, token: Token) -> io::Result<()> {
        simulated!(control_name(op), self.fd.as_fd(), |kernel, set| {
            kernel.epoll_ctl(set, op, fd, mask, token.to_bits())
        });
        let mut event = epoll_event {
            events: mask,
            u64: token.to_bits(),
        };
        // SAFETY: `event` is an epoll_event that outlives the call; both descriptors are borrowed.
        syscall::retry(|| unsafe {
            libc::epoll_ctl(self.fd.as_raw_fd(), op, fd.as_raw_fd(), &raw mut event)
        })?;
        Ok(())
    }

    fn add(&self, fd: BorrowedFd<'_>, mask: u32, token: Token) -> io::Result<()> {
        match self.control(libc::EPOLL_CTL_ADD, fd, mask, token) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
                self.control(libc::EPOLL_CTL_MOD, fd, mask, token)
            }
            answer => answer,
        }
    }

    /// Waits once; the number of events now at the start of the room.
    #[inline]
    fn wait_once(
        &mut self,
        room: &mut [epoll_event],
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        simulated!(once "epoll_wait", self.fd.as_fd(), |kernel, set| {
            kernel.epoll_wait(set, room.len(), timeout, |place, (events, u64)| {
                room[place] = epoll_event { events, u64 };
            })
        });
        match timeout {
            None => self.wait_millis(room, -1),
            Some(Duration::ZERO) => self.wait_millis(room, 0),
            Some(timeout) => self.wait_timed(room, timeout),
        }
    }

    /// Waits for a time that is neither nothing nor for ever.
    fn wait_timed(&mut self, room: &mut [epoll_event], timeout: Duration) -> io::Result<usize> {
        if self.is_precise {
            match self.wait_nanos(room, timeout) {
                Err(error) if is_missing(&error) => {
                    NO_PWAIT2.store(true, Ordering::Relaxed);
                    self.is_precise = false;
                }
                answer => return answer,
            }
        }
        self.wait_millis(room, round_up_to_millis(timeout))
    }

    /// epoll_pwait2(2), Linux 5.11 and later. Called by number: not every libc has it.
    fn wait_nanos(&self, room: &mut [epoll_event], timeout: Duration) -> io::Result<usize> {
        let spec = KernelTimespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        // SAFETY: the kernel writes no more events than the room holds, `spec` outlives the call, and a
        // null signal mask of size zero leaves the mask as it is.
        let returned = syscall::once(unsafe {
            direct::by_number(
                libc::SYS_epoll_pwait2,
                self.fd.as_raw_fd(),
                room.as_mut_ptr().cast(),
                room.len(),
                (&raw const spec).expose_provenance(),
            )
        })?;
        Ok(returned as usize)
    }

    /// epoll_wait(2), by the call that every kernel has for it, and by number for the reason that `direct` gives.
    #[inline]
    fn wait_millis(&self, room: &mut [epoll_event], timeout_ms: libc::c_int) -> io::Result<usize> {
        // SAFETY: the kernel writes no more events than the room holds; a null signal mask of size zero leaves
        // the mask as it is.
        let returned = syscall::once(unsafe {
            direct::by_number(
                libc::SYS_epoll_pwait,
                self.fd.as_raw_fd(),
                room.as_mut_ptr().cast(),
                room.len(),
                timeout_ms as usize,
            )
        })?;
        Ok(returned as usize)
    }
}

/// What a simulation calls the three.
#[cfg(feature = "sim")]
fn control_name(op: i32) -> &'static str {
    match op {
        libc::EPOLL_CTL_ADD => "epoll_ctl(ADD)",
        libc::EPOLL_CTL_MOD => "epoll_ctl(MOD)",
        _ => "epoll_ctl(DEL)",
    }
}

fn create() -> io::Result<OwnedFd> {
    simulated!("epoll_create", |kernel| kernel.epoll_create());
    // SAFETY: takes no pointer.
    let fd = syscall::retry(|| unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

impl Contract for Epoll {
    fn register(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        let mask = match self.trigger {
            Trigger::Edge => self.mask(Interest::BOTH),
            Trigger::Level => self.mask(interest),
        };
        self.add(fd, mask, token)
    }

    #[inline]
    fn set_interest(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        match self.trigger {
            Trigger::Edge => Ok(()),
            Trigger::Level => self.remask(fd, token, interest),
        }
    }

    fn remask(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, self.mask(interest), token)
    }

    fn deregister(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        match self.control(libc::EPOLL_CTL_DEL, fd, 0, Token::from_bits(0)) {
            Err(error) if is_gone(&error) => Ok(()),
            answer => answer,
        }
    }

    #[inline]
    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<Waited> {
        let reported = match self.wait_once(events.room(), timeout) {
            Ok(0) => return Ok(Waited::TimedOut),
            Ok(reported) => reported,
            Err(error) => return interrupted_or(error),
        };
        events.filled(reported);
        Ok(Waited::Events(reported))
    }

    /// Edge-triggered under both triggers: an eventfd then fires once per write and never needs a read.
    fn register_waker(&mut self, fd: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        self.add(fd, IN | ET, token)
    }
}

/// What a wait that failed comes to.
#[cold]
fn interrupted_or(error: io::Error) -> io::Result<Waited> {
    if error.raw_os_error() == Some(libc::EINTR) {
        return Ok(Waited::Interrupted);
    }
    Err(error)
}

/// The kernel has no such call, or a seccomp filter of the time before it forbids it (EPERM).
fn is_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
}

/// Not registered, or closed before: what deregistering wanted.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EBADF))
}

/// Up, so that a wait is never short: a wait that ends before its timer would be repeated with a timeout
/// of zero until the timer is due.
fn round_up_to_millis(timeout: Duration) -> libc::c_int {
    let millis = timeout.as_nanos().div_ceil(1_000_000);
    libc::c_int::try_from(millis).unwrap_or(libc::c_int::MAX)
}

/// The timespec of the kernel's own interface: 64-bit fields on every architecture.
#[repr(C)]
struct KernelTimespec {
    tv_sec: i64,
    tv_nsec: i64,
}

const _: () = {
    use memoffset::offset_of;

    // The kernel packs epoll_event on x86_64 and nowhere else (EPOLL_PACKED in <linux/eventpoll.h>).
    let packed = cfg!(target_arch = "x86_64");
    assert!(size_of::<epoll_event>() == if packed { 12 } else { 8 + align_of::<u64>() });
    assert!(offset_of!(epoll_event, events) == 0);
    assert!(offset_of!(epoll_event, u64) == if packed { 4 } else { align_of::<u64>() });
    assert!(size_of::<KernelTimespec>() == 16);
    assert!(offset_of!(KernelTimespec, tv_nsec) == 8);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_rounded_up() {
        assert_eq!(round_up_to_millis(Duration::ZERO), 0);
        assert_eq!(round_up_to_millis(Duration::from_nanos(1)), 1);
        assert_eq!(round_up_to_millis(Duration::from_millis(7)), 7);
        assert_eq!(round_up_to_millis(Duration::from_nanos(7_000_001)), 8);
        assert_eq!(round_up_to_millis(Duration::MAX), libc::c_int::MAX);
    }

    /// A kernel without epoll_pwait2, as far as the calling thread can see. False if the sandbox that we
    /// run in forbids filters.
    fn forbid_pwait2() -> bool {
        const fn step(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
            let code = code as u16;
            libc::sock_filter { code, jt, jf, k }
        }
        let load_number = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
        let jump_if_equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        let answer = libc::BPF_RET | libc::BPF_K;
        let mut steps = [
            step(load_number, 0, 0, 0),
            step(jump_if_equal, 0, 1, libc::SYS_epoll_pwait2 as u32),
            step(answer, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
            step(answer, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog {
            len: steps.len() as u16,
            filter: steps.as_mut_ptr(),
        };
        // SAFETY: `program` names the steps above; the kernel copies them. Only this thread is affected.
        unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(
                    libc::PR_SET_SECCOMP,
                    libc::SECCOMP_MODE_FILTER,
                    &raw const program,
                ) == 0
        }
    }

    /// Rules: 4.8
    #[test]
    fn a_kernel_without_pwait2_is_served_by_epoll_wait() {
        std::thread::spawn(|| {
            let mut epoll = Epoll::open(Trigger::Edge).unwrap();
            epoll.is_precise = true;
            if !forbid_pwait2() {
                return;
            }
            let mut events = Events::new();
            let before = crate::os::clock::now();
            let timeout = Duration::from_micros(1_500);
            let waited = epoll.wait(&mut events, Some(timeout)).unwrap();
            assert_eq!(waited, Waited::TimedOut);
            assert!(crate::os::clock::now().saturating_since(before) >= timeout);
            assert!(!epoll.is_precise, "it is not asked for again");
            assert!(!Epoll::open(Trigger::Level).unwrap().is_precise);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn level_triggering_asks_only_for_what_can_be_silenced() {
        let level = Epoll::open(Trigger::Level).unwrap();
        assert_eq!(level.mask(Interest::NONE), 0);
        assert_eq!(level.mask(Interest::READ), IN | RDHUP);
        let edge = Epoll::open(Trigger::Edge).unwrap();
        assert_eq!(edge.mask(Interest::BOTH), IN | OUT | RDHUP | PRI | ET);
        assert_eq!(edge.mask(Interest::NONE), RDHUP | ET);
    }
}
