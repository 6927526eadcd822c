//! What a loop asks of the thread that it runs on: a name, a CPU, and no SIGPIPE.

use std::cell::Cell;
use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::thread::available_parallelism;

/// Names the calling thread for debuggers and perf. Cut at what the system keeps (15 bytes on Linux) and
/// at the first zero byte. `Unsupported` where threads have no names.
pub fn set_name(name: &str) -> io::Result<()> {
    let mut end = name.find('\0').unwrap_or(name.len()).min(NAME_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    let name = CString::new(&name[..end]).map_err(|_| io::ErrorKind::InvalidInput)?;
    name_this_thread(&name)
}

/// TASK_COMM_LEN of Linux without its zero; MAXTHREADNAMESIZE of macOS is 64, the BSDs cut by themselves.
const NAME_MAX: usize = if cfg!(any(target_os = "linux", target_os = "android")) {
    15
} else {
    31
};

#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "dragonfly"
))]
fn name_this_thread(name: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: the calling thread exists, and `name` ends with a zero byte.
    match unsafe { libc::pthread_setname_np(libc::pthread_self(), name.as_ptr()) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

#[cfg(target_vendor = "apple")]
fn name_this_thread(name: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: `name` ends with a zero byte.
    match unsafe { libc::pthread_setname_np(name.as_ptr()) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

#[cfg(target_os = "netbsd")]
fn name_this_thread(name: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: the first string is a format with one %s, for which the third argument is a string.
    let errno = unsafe {
        libc::pthread_setname_np(
            libc::pthread_self(),
            c"%s".as_ptr(),
            name.as_ptr().cast_mut().cast(),
        )
    };
    match errno {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

#[cfg(target_os = "openbsd")]
fn name_this_thread(name: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: the calling thread exists, and `name` ends with a zero byte.
    unsafe { libc::pthread_set_name_np(libc::pthread_self(), name.as_ptr()) };
    Ok(())
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "netbsd",
    target_os = "openbsd",
    target_vendor = "apple"
)))]
fn name_this_thread(_name: &std::ffi::CStr) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Keeps the calling thread on one CPU, counted from zero. `InvalidInput` if there is no such CPU or the
/// process may not use it; `Unsupported` on macOS and on NetBSD and OpenBSD.
pub fn set_affinity(cpu: usize) -> io::Result<()> {
    #[cfg(any(
        target_os = "linux",
        target_os = "android",
        target_os = "freebsd",
        target_os = "dragonfly"
    ))]
    {
        use nix::sched::{CpuSet, sched_setaffinity};
        use nix::unistd::Pid;

        let mut set = CpuSet::new();
        set.set(cpu)?;
        // Zero means the calling thread.
        Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
    }
    #[cfg(not(any(
        target_os = "linux",
        target_os = "android",
        target_os = "freebsd",
        target_os = "dragonfly"
    )))]
    {
        let _ = cpu;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// How many threads can run at the same time, by affinity, container limits and hardware; at least one.
pub fn cpu_count() -> usize {
    available_parallelism().map_or(1, usize::from)
}

thread_local! {
    /// Whether SIGPIPE is blocked on this thread for good.
    static PIPE_BLOCKED: Cell<bool> = const { Cell::new(false) };
}

/// Blocks SIGPIPE on the calling thread until it ends.
///
/// sendfile(2) has no flag against the signal. On the threads that Tidegate owns this makes
/// [`send_file`](super::send_file) one system call; on the host's threads it blocks the signal for each call.
pub fn block_sigpipe() -> io::Result<()> {
    change_mask(libc::SIG_BLOCK, &pipe_set())?;
    PIPE_BLOCKED.set(true);
    Ok(())
}

/// Makes a call during which SIGPIPE does not reach the process. A signal that the call raises is taken
/// back; one that was pending before stays.
pub(super) fn without_sigpipe<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    if PIPE_BLOCKED.get() {
        return call();
    }
    let pipe = pipe_set();
    let was_pending = is_pending()?;
    let before = change_mask(libc::SIG_BLOCK, &pipe)?;
    let answer = call();
    if let Err(error) = &answer
        && error.raw_os_error() == Some(libc::EPIPE)
        && !was_pending
    {
        take_back(&pipe);
    }
    change_mask(libc::SIG_SETMASK, &before)?;
    answer
}

fn pipe_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset fills the set, which sigaddset then changes; SIGPIPE is a signal number.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGPIPE);
        set.assume_init()
    }
}

fn is_pending() -> io::Result<bool> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigpending fills the set when it does not fail; only then it is read.
    unsafe {
        super::syscall::once(libc::sigpending(set.as_mut_ptr()))?;
        Ok(libc::sigismember(set.as_ptr(), libc::SIGPIPE) == 1)
    }
}

/// Changes the signal mask of the calling thread; the mask before.
fn change_mask(how: libc::c_int, set: &libc::sigset_t) -> io::Result<libc::sigset_t> {
    let mut before = MaybeUninit::uninit();
    // SAFETY: both are signal sets; the kernel fills `before` when the call does not fail.
    unsafe {
        match libc::pthread_sigmask(how, set, before.as_mut_ptr()) {
            0 => Ok(before.assume_init()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

/// Consumes a blocked SIGPIPE of this thread, if there is one.
fn take_back(pipe: &libc::sigset_t) {
    #[cfg(not(any(target_vendor = "apple", target_os = "openbsd")))]
    {
        let now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `pipe` and `now` outlive the call; a null pointer says that no details are wanted.
        let taken = super::syscall::retry(|| unsafe {
            libc::sigtimedwait(pipe, std::ptr::null_mut(), &raw const now)
        });
        // EAGAIN: the signal was ignored and never became pending.
        drop(taken);
    }
    // No sigtimedwait there; sigwait does not block on a signal that is pending.
    #[cfg(any(target_vendor = "apple", target_os = "openbsd"))]
    if let Ok(true) = is_pending() {
        let mut taken = 0;
        // SAFETY: `pipe` outlives the call, `taken` is an int that it may write.
        unsafe { libc::sigwait(pipe, &raw mut taken) };
    }
}
