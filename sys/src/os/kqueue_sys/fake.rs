//! An in-memory kqueue for unit tests on systems that have none: the seam of `kqueue_sys` with nothing of
//! a kernel behind it. A test states what is ready ([`Fake::set_ready`]) and how the kernel differs
//! ([`Fake::adds_error_bit`]); the rules are those observed on FreeBSD 13 and NetBSD.
//!
//! It refuses to be complete: only what the backend uses is here.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, RawFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use libc::c_int;
use nix::errno::Errno;

pub(in crate::os) use super::declared::*;

/// What a filter would report now.
#[derive(Clone, Copy, Default, Debug)]
pub(in crate::os) struct Readiness {
    pub(in crate::os) data: isize,
    pub(in crate::os) is_eof: bool,
    pub(in crate::os) errno: u32,
}

/// A handle on the state of one queue.
pub(in crate::os) struct Fake(RawFd);

#[derive(Default)]
struct State {
    notes: Vec<Note>,
    ready: HashMap<(usize, i16), Readiness>,
    refused: HashMap<(usize, i16), c_int>,
    error_is_added: bool,
    is_interrupted: bool,
    /// Answers that arrive in a wait, as from changes of another making.
    strays: Vec<kevent>,
    calls: usize,
    /// The flags and the time of each timer that was set.
    timers: Vec<(u32, isize)>,
}

struct Note {
    event: kevent,
    is_active: bool,
}

// SAFETY: the pointers in it are user data: numbers that nobody follows.
unsafe impl Send for State {}

static QUEUES: Mutex<Option<HashMap<RawFd, State>>> = Mutex::new(None);
static CHANGED: Condvar = Condvar::new();

impl Fake {
    pub(in crate::os) fn of(queue: BorrowedFd<'_>) -> Self {
        Self(queue.as_raw_fd())
    }

    /// Something has happened: the filter is ready from now on, and fires if it is registered.
    pub(in crate::os) fn set_ready(&self, ident: RawFd, filter: i16, readiness: Readiness) {
        self.with(|state| {
            state.ready.insert((ident as usize, filter), readiness);
            state.fire(ident as usize, filter);
        });
    }

    /// The flags and the time of each timer that was set.
    pub(in crate::os) fn timers(&self) -> Vec<(u32, isize)> {
        self.with(|state| state.timers.clone())
    }

    /// Adding this filter fails.
    pub(in crate::os) fn refuse(&self, ident: RawFd, filter: i16, errno: c_int) {
        self.with(|state| state.refused.insert((ident as usize, filter), errno));
    }

    /// As on NetBSD and XNU: EV_ERROR comes together with the flags of the change.
    pub(in crate::os) fn adds_error_bit(&self) {
        self.with(|state| state.error_is_added = true);
    }

    /// A signal arrives in the next wait.
    pub(in crate::os) fn interrupt(&self) {
        self.with(|state| state.is_interrupted = true);
    }

    /// The next wait brings the answer to a change.
    pub(in crate::os) fn answer_late(&self, ident: RawFd, filter: i16, errno: c_int, udata: u64) {
        self.with(|state| {
            state.strays.push(kevent {
                ident: ident as usize,
                filter,
                flags: EV_ERROR,
                fflags: 0,
                data: errno as isize,
                udata: udata as usize as *mut libc::c_void,
            });
        });
    }

    /// Which filters of this descriptor are registered.
    pub(in crate::os) fn filters(&self, ident: RawFd) -> Vec<i16> {
        self.with(|state| {
            let notes = state.notes.iter().map(|note| note.event);
            notes
                .filter(|event| event.ident == ident as usize)
                .map(|event| event.filter)
                .collect()
        })
    }

    /// How many calls were made so far.
    pub(in crate::os) fn calls(&self) -> usize {
        self.with(|state| state.calls)
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut queues = lock();
        let state = queues.as_mut().and_then(|queues| queues.get_mut(&self.0));
        let answer = change(state.expect("the queue is open"));
        CHANGED.notify_all();
        answer
    }
}

fn lock() -> MutexGuard<'static, Option<HashMap<RawFd, State>>> {
    QUEUES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn fire(&mut self, ident: usize, filter: i16) {
        for note in &mut self.notes {
            if (note.event.ident, note.event.filter) == (ident, filter) {
                note.is_active = true;
            }
        }
    }

    /// One change; the errno that it fails with, or zero.
    fn change(&mut self, change: kevent) -> c_int {
        let key = (change.ident, change.filter);
        let place = self
            .notes
            .iter()
            .position(|note| (note.event.ident, note.event.filter) == key);
        if change.flags & EV_DELETE != 0 {
            return match place {
                Some(place) => {
                    self.notes.remove(place);
                    0
                }
                None => libc::ENOENT,
            };
        }
        if change.flags & EV_ADD != 0 {
            if let Some(&errno) = self.refused.get(&key) {
                return errno;
            }
            if change.filter == EVFILT_TIMER {
                self.timers.push((change.fflags, change.data));
            }
            let event = kevent {
                fflags: 0,
                ..change
            };
            let is_active = self.ready.contains_key(&key);
            match place {
                Some(place) => {
                    self.notes[place].event = event;
                    self.notes[place].is_active |= is_active;
                }
                None => self.notes.push(Note { event, is_active }),
            }
        } else if place.is_none() {
            return libc::ENOENT;
        }
        if change.filter == EVFILT_USER && change.fflags & NOTE_TRIGGER != 0 {
            for note in &mut self.notes {
                if (note.event.ident, note.event.filter) == key {
                    note.event.udata = change.udata;
                    note.is_active = true;
                }
            }
        }
        0
    }

    /// Takes what is active, at most `room` of it.
    fn take_events(&mut self, room: usize) -> Vec<kevent> {
        let mut taken: Vec<kevent> = self.strays.drain(..).collect();
        for note in &mut self.notes {
            if taken.len() == room {
                break;
            }
            if !note.is_active {
                continue;
            }
            let mut event = note.event;
            // EV_RECEIPT and EV_CLEAR stay visible in the flags.
            event.flags &= EV_RECEIPT | EV_CLEAR;
            if let Some(ready) = self.ready.get(&(event.ident, event.filter)) {
                event.data = ready.data;
                event.fflags = ready.errno;
                if ready.is_eof {
                    event.flags |= EV_EOF;
                }
            }
            note.is_active = note.event.flags & EV_CLEAR == 0;
            taken.push(event);
        }
        taken
    }
}

/// # Safety
///
/// None is needed: it is unsafe because the real one is.
pub(in crate::os) unsafe fn kqueue() -> c_int {
    // Only the number of the descriptor is used.
    let fd = match File::open("/dev/null") {
        Ok(file) => file.into_raw_fd(),
        Err(_) => return -1,
    };
    lock().get_or_insert_default().insert(fd, State::default());
    fd
}

/// # Safety
///
/// `changes` and `events` have as many entries as said (they may be the same); `timeout` is null or valid.
pub(in crate::os) unsafe fn kevent(
    queue: c_int,
    changes: *const kevent,
    change_count: c_int,
    events: *mut kevent,
    event_count: c_int,
    timeout: *const libc::timespec,
) -> c_int {
    let room = event_count as usize;
    let mut queues = lock();
    let Some(state) = queues.as_mut().and_then(|queues| queues.get_mut(&queue)) else {
        Errno::EBADF.set();
        return -1;
    };
    state.calls += 1;

    let mut answers = Vec::new();
    for index in 0..change_count as usize {
        // SAFETY: the caller says that there are `change_count` of them.
        let change = unsafe { *changes.add(index) };
        let errno = state.change(change);
        if errno == 0 && change.flags & EV_RECEIPT == 0 {
            continue;
        }
        if answers.len() == room {
            Errno::from_raw(errno).set();
            return -1;
        }
        let others = if state.error_is_added {
            change.flags
        } else {
            0
        };
        answers.push(kevent {
            flags: EV_ERROR | others,
            data: errno as isize,
            ..change
        });
    }
    CHANGED.notify_all();

    // SAFETY: the caller says that a timeout that is not null is valid.
    let timeout = unsafe { timeout.as_ref() }
        .map(|spec| Duration::new(spec.tv_sec as u64, spec.tv_nsec as u32));
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    while answers.is_empty() && room > 0 {
        let Some(state) = queues.as_mut().and_then(|queues| queues.get_mut(&queue)) else {
            break;
        };
        if change_count == 0 && std::mem::take(&mut state.is_interrupted) {
            Errno::EINTR.set();
            return -1;
        }
        answers = state.take_events(room);
        if !answers.is_empty() {
            break;
        }
        let remaining = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        queues = match remaining {
            Some(Duration::ZERO) => return 0,
            Some(remaining) => {
                let (guard, _) = CHANGED
                    .wait_timeout(queues, remaining)
                    .unwrap_or_else(PoisonError::into_inner);
                guard
            }
            None => CHANGED.wait(queues).unwrap_or_else(PoisonError::into_inner),
        };
    }
    for (index, answer) in answers.iter().enumerate() {
        // SAFETY: the caller says that there is room for `event_count` of them, and no more were taken.
        unsafe { *events.add(index) = *answer };
    }
    answers.len() as c_int
}
