//! A kqueue for Linux, made of epoll sets (`--cfg tidegate_kqueue_fake`): so that the kqueue backend can carry real sockets
//! where there is no kqueue, and every test of the project can run over it (`make kqueue`). Only what the backend uses is
//! here, by the rules seen on FreeBSD 13 and NetBSD.
//!
//! A queue is three sets. `master` is the descriptor that everybody knows: it watches the other two, the counter of the
//! user event and the timer, of which there may be one, so it is readable whenever a wait would report something. `read` and `write` have one registration per
//! descriptor each, as a kernel has one note per filter: adding the one does not make the other fire.
//!
//! * EV_CLEAR is EPOLLET. Adding what is there evaluates it anew (EPOLL_CTL_MOD).
//! * EV_EOF of the reading filter comes with RDHUP or HUP, also while data is left; that of the writing filter with HUP or
//!   ERR. Its errno is always ECONNRESET: the true one cannot be seen without taking it.
//! * WRITE fires too often, as on the real ones, where each ACK makes it fire: with each report of a descriptor.
//! * Changes are answered by EV_RECEIPT; a call with answers does not wait.
//! * Closing a descriptor removes its notes, unless somebody has a duplicate: there the real ones differ from Linux.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use libc::{c_int, epoll_event};
use nix::errno::Errno;

use super::super::syscall;
pub(super) use super::declared::*;

struct Set {
    read: OwnedFd,
    write: OwnedFd,
    user: OwnedFd,
    timer: OwnedFd,
    notes: Mutex<Notes>,
}

/// The user data of each note, by descriptor and filter, and what was found and did not fit.
#[derive(Default)]
struct Notes {
    udata: HashMap<(usize, i16), usize>,
    late: VecDeque<kevent>,
}

// SAFETY: the pointers in it are user data: numbers that nobody follows.
unsafe impl Send for Notes {}

static QUEUES: Mutex<Option<HashMap<RawFd, Arc<Set>>>> = Mutex::new(None);

const READS: u32 = (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET) as u32;
const WRITES: u32 = (libc::EPOLLOUT | libc::EPOLLET) as u32;

/// # Safety
///
/// None is needed: it is unsafe because the real one is.
pub(super) unsafe fn kqueue() -> c_int {
    match open() {
        Ok((master, set)) => {
            let number = master.into_raw_fd();
            lock(&QUEUES)
                .get_or_insert_default()
                .insert(number, Arc::new(set));
            number
        }
        Err(error) => fail(&error),
    }
}

/// The queue of this number is about to be closed.
pub(super) fn forget(queue: RawFd) {
    let gone = lock(&QUEUES)
        .as_mut()
        .and_then(|queues| queues.remove(&queue));
    drop(gone);
}

/// # Safety
///
/// `changes` and `events` have as many entries as said (they may be the same); `timeout` is null or valid.
pub(super) unsafe fn kevent(
    queue: c_int,
    changes: *const kevent,
    change_count: c_int,
    events: *mut kevent,
    event_count: c_int,
    timeout: *const libc::timespec,
) -> c_int {
    let room = event_count as usize;
    let known = lock(&QUEUES)
        .as_ref()
        .and_then(|queues| queues.get(&queue))
        .cloned();
    let Some(set) = known else {
        Errno::EBADF.set();
        return -1;
    };
    let mut answers = Vec::new();
    for index in 0..change_count as usize {
        // SAFETY: the caller says that there are `change_count` of them.
        let change = unsafe { *changes.add(index) };
        let errno = set.change(&change);
        if errno == 0 && change.flags & EV_RECEIPT == 0 {
            continue;
        }
        if answers.len() == room {
            Errno::from_raw(errno).set();
            return -1;
        }
        answers.push(kevent {
            flags: EV_ERROR,
            data: errno as isize,
            ..change
        });
    }
    if answers.is_empty() && room > 0 {
        // SAFETY: the caller says that a timeout that is not null is valid.
        let timeout = unsafe { timeout.as_ref() }
            .map(|spec| Duration::new(spec.tv_sec as u64, spec.tv_nsec as u32));
        match set.wait(queue, timeout, room) {
            Ok(found) => answers = found,
            Err(error) => return fail(&error),
        }
    }
    for (index, answer) in answers.iter().enumerate() {
        // SAFETY: the caller says that there is room for `event_count` of them, and no more were taken.
        unsafe { *events.add(index) = *answer };
    }
    answers.len() as c_int
}

impl Set {
    /// One change; the errno that it fails with, or zero.
    fn change(&self, change: &kevent) -> c_int {
        let key = (change.ident, change.filter);
        let udata = change.udata as usize;
        let (set, mask) = match change.filter {
            EVFILT_READ => (&self.read, READS),
            EVFILT_WRITE => (&self.write, WRITES),
            EVFILT_USER => return self.change_user(change),
            EVFILT_TIMER => return self.change_timer(change),
            _ => return libc::EINVAL,
        };
        let number = change.ident as RawFd;
        if change.flags & EV_DELETE != 0 {
            let mut notes = lock(&self.notes);
            notes.udata.remove(&key);
            notes
                .late
                .retain(|event| (event.ident, event.filter) != key);
            return errno_of(control(set, libc::EPOLL_CTL_DEL, number, 0));
        }
        let mut added = control(set, libc::EPOLL_CTL_ADD, number, mask);
        if errno_of_ref(&added) == libc::EEXIST {
            added = control(set, libc::EPOLL_CTL_MOD, number, mask);
        }
        if added.is_ok() {
            lock(&self.notes).udata.insert(key, udata);
        }
        errno_of(added)
    }

    fn change_user(&self, change: &kevent) -> c_int {
        let key = (change.ident, EVFILT_USER);
        let mut notes = lock(&self.notes);
        if change.flags & EV_ADD == 0 && !notes.udata.contains_key(&key) {
            return libc::ENOENT;
        }
        // A trigger overwrites the user data.
        notes.udata.insert(key, change.udata as usize);
        drop(notes);
        if change.fflags & NOTE_TRIGGER == 0 {
            return 0;
        }
        let one = 1_u64.to_ne_bytes();
        // SAFETY: `one` is valid for reads of its length.
        let written = unsafe { libc::write(self.user.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        errno_of(syscall::once(written).map(drop))
    }

    fn change_timer(&self, change: &kevent) -> c_int {
        let key = (change.ident, EVFILT_TIMER);
        let mut notes = lock(&self.notes);
        let unit = match change.fflags {
            NOTE_NSECONDS => 1,
            _ => 1_000_000,
        };
        let nanoseconds = if change.flags & EV_DELETE == 0 {
            notes.udata.insert(key, change.udata as usize);
            // Zero would switch it off.
            change.data.max(1) * unit
        } else if notes.udata.remove(&key).is_some() {
            0
        } else {
            return libc::ENOENT;
        };
        let mut spec = libc::itimerspec {
            it_interval: timespec(0),
            it_value: timespec(nanoseconds),
        };
        // SAFETY: the structure outlives the call, and no old value is asked for.
        let set = unsafe {
            let old = std::ptr::null_mut();
            libc::timerfd_settime(self.timer.as_raw_fd(), 0, &raw mut spec, old)
        };
        errno_of(syscall::once(set).map(drop))
    }

    /// Waits until there is something to report.
    fn wait(
        &self,
        master: RawFd,
        timeout: Option<Duration>,
        room: usize,
    ) -> io::Result<Vec<kevent>> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let found = self.take(room)?;
            if !found.is_empty() {
                return Ok(found);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let ready = poll(master, libc::POLLIN, left)?;
            if ready == 0 && left == Some(Duration::ZERO) {
                return Ok(Vec::new());
            }
        }
    }

    /// Takes what there is to report, as much as fits.
    fn take(&self, room: usize) -> io::Result<Vec<kevent>> {
        let is_triggered = empty(&self.user);
        let is_due = empty(&self.timer);
        let mut buffer = [epoll_event { events: 0, u64: 0 }; 256];
        let reading = collect(&self.read, &mut buffer)?;
        let mut found: Vec<(usize, i16, u32)> = Vec::new();
        for event in &buffer[..reading] {
            found.push((event.u64 as usize, EVFILT_READ, event.events));
        }
        let writing = collect(&self.write, &mut buffer)?;
        for event in &buffer[..writing] {
            found.push((event.u64 as usize, EVFILT_WRITE, event.events));
        }

        let mut notes = lock(&self.notes);
        // Too often, as an ACK would make it.
        let told: Vec<usize> = found.iter().map(|(ident, _, _)| *ident).collect();
        for ident in told {
            let is_told = found
                .iter()
                .any(|each| (each.0, each.1) == (ident, EVFILT_WRITE));
            if !is_told
                && notes.udata.contains_key(&(ident, EVFILT_WRITE))
                && poll(ident as RawFd, libc::POLLOUT, Some(Duration::ZERO))? == libc::POLLOUT
            {
                found.push((ident, EVFILT_WRITE, libc::EPOLLOUT as u32));
            }
        }
        for (ident, filter, mask) in found {
            if let Some(&udata) = notes.udata.get(&(ident, filter)) {
                notes.late.push_back(event(ident, filter, mask, udata));
            }
        }
        if is_triggered && let Some(&udata) = notes.udata.get(&(0, EVFILT_USER)) {
            notes.late.push_back(event(0, EVFILT_USER, 0, udata));
        }
        if is_due && let Some(udata) = notes.udata.remove(&(0, EVFILT_TIMER)) {
            notes.late.push_back(event(0, EVFILT_TIMER, 0, udata));
        }
        let count = notes.late.len().min(room);
        Ok(notes.late.drain(..count).collect())
    }
}

/// An event as a kernel would write it.
fn event(ident: usize, filter: i16, mask: u32, udata: usize) -> kevent {
    const RDHUP: u32 = libc::EPOLLRDHUP as u32;
    const HUP: u32 = libc::EPOLLHUP as u32;
    const ERR: u32 = libc::EPOLLERR as u32;
    let end = match filter {
        EVFILT_READ => RDHUP | HUP,
        EVFILT_WRITE => HUP | ERR,
        _ => 0,
    };
    let is_eof = mask & end != 0;
    let has_error = is_eof && mask & ERR != 0;
    kevent {
        ident,
        filter,
        // EV_RECEIPT stays visible in the flags.
        flags: EV_CLEAR | EV_RECEIPT | if is_eof { EV_EOF } else { 0 },
        fflags: if has_error {
            libc::ECONNRESET as u32
        } else {
            0
        },
        data: 1,
        udata: udata as *mut libc::c_void,
    }
}

fn open() -> io::Result<(OwnedFd, Set)> {
    let [master, read, write] = [epoll()?, epoll()?, epoll()?];
    // SAFETY: takes no pointer.
    let user = syscall::once(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    let user = unsafe { OwnedFd::from_raw_fd(user) };
    let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
    // SAFETY: takes no pointer.
    let timer = syscall::once(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) })?;
    // SAFETY: as above.
    let timer = unsafe { OwnedFd::from_raw_fd(timer) };
    for inner in [&read, &write, &user, &timer] {
        let number = inner.as_raw_fd();
        control(&master, libc::EPOLL_CTL_ADD, number, libc::EPOLLIN as u32)?;
    }
    let notes = Mutex::default();
    let set = Set {
        read,
        write,
        user,
        timer,
        notes,
    };
    Ok((master, set))
}

fn timespec(nanoseconds: isize) -> libc::timespec {
    libc::timespec {
        tv_sec: (nanoseconds / 1_000_000_000) as libc::time_t,
        tv_nsec: (nanoseconds % 1_000_000_000) as libc::c_long,
    }
}

/// Takes what a counter has; whether there was something.
fn empty(counter: &OwnedFd) -> bool {
    let mut count = [0; 8];
    // SAFETY: `count` is valid for writes of its length.
    let read = unsafe { libc::read(counter.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    read == count.len() as isize
}

fn epoll() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointer.
    let raw = syscall::once(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

fn control(set: &OwnedFd, op: c_int, number: RawFd, mask: u32) -> io::Result<()> {
    let mut event = epoll_event {
        events: mask,
        u64: number as u64,
    };
    // SAFETY: `event` outlives the call; a number that is not open is an error, nothing else.
    let done = unsafe { libc::epoll_ctl(set.as_raw_fd(), op, number, &raw mut event) };
    syscall::once(done).map(drop)
}

fn collect(set: &OwnedFd, buffer: &mut [epoll_event]) -> io::Result<usize> {
    // SAFETY: the buffer has room for as many events as said.
    let found = syscall::retry(|| unsafe {
        libc::epoll_wait(
            set.as_raw_fd(),
            buffer.as_mut_ptr(),
            buffer.len() as c_int,
            0,
        )
    })?;
    Ok(found as usize)
}

/// What is ready of one descriptor, of what was asked, or anything that is told unasked.
fn poll(number: RawFd, asked: i16, timeout: Option<Duration>) -> io::Result<i16> {
    let mut entry = libc::pollfd {
        fd: number,
        events: asked,
        revents: 0,
    };
    let spec = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let spec = spec.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: one entry, which outlives the call, as does `spec` if it is not null; a null signal mask changes nothing.
    let done = unsafe { libc::ppoll(&raw mut entry, 1, spec, std::ptr::null()) };
    syscall::once(done)?;
    Ok(entry.revents)
}

fn errno_of(answer: io::Result<()>) -> c_int {
    errno_of_ref(&answer)
}

fn errno_of_ref(answer: &io::Result<()>) -> c_int {
    let errno = answer.as_ref().err().map(|error| error.raw_os_error());
    errno.map_or(0, |errno| errno.unwrap_or(libc::EIO))
}

fn fail(error: &io::Error) -> c_int {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)).set();
    -1
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
