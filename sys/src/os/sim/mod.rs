//! A simulated kernel for the calling thread (cargo feature `sim`).
//!
//! While a [`Simulation`] is installed on a thread, the functions of [`os`](super) are answered by a machine that
//! exists in memory only: TCP sockets, Unix streams and UDP sockets with bounded buffers, epoll and poll(2), eventfds,
//! timer descriptors, a clock. Its network is slow, its buffers are small and its accepts fail as its [`Plan`] says, and
//! all of it follows from one seed: the same seed makes the same run, and the same [`log`](Simulation::log), byte for byte.
//! The clock moves when somebody waits: an hour of timeouts takes no time.
//!
//! What is simulated behaves as Linux 6 does; tests/sim/ runs the same programs on the real kernel and here, and
//! compares. What is not simulated is one of these:
//!
//! * [`Unsupported`](std::io::ErrorKind::Unsupported), because there is nothing like it in this machine: SCTP, datagrams of
//!   the Unix domain, multicast, kqueue, and [`io::wait`](super::io::wait), which would stop the clock for everybody.
//! * Never there: urgent data ([`io::recv_urgent`](super::io::recv_urgent) finds none), joined datagrams (UDP_GRO).
//! * Real, because it is about files: [`send_file`](super::send_file) reads a real file, and sends by the simulated socket.
//!   The files of Unix sockets are not: they are in the simulation, with their locks.
//! * Real, because it is about the thread or the process: names, affinity and signal masks
//!   ([`thread`](super::thread)), the limit of descriptors ([`fd::raise_nofile`](super::fd::raise_nofile); a plan has its
//!   own), the numbers of network interfaces. Signals come by the plan (`interrupt`).
//!
//! * A descriptor made in a simulation is a real one to its owner, an `OwnedFd` that is closed by dropping it
//!   (`keeper` tells how). It means nothing outside of its simulation: calls on it answer what an unused pipe does. A
//!   duplicate is known by its pipe.
//! * Everything happens on one thread. A descriptor may be closed on another one, but a loop of the simulation is
//!   not woken by other threads; then the order would not be the seed's.
//! * The queue of a listener, the edges of epoll and their order, what is written before a reset: all of it is Linux's.
//!
//! Whatever is shared by a whole process has to be the simulation's while one is installed: see [`is_installed`].
//!
//! The files: `random`, `plan` (what goes wrong), `failing` and `fates` (certain calls that fail), `log`, `keeper` (real
//! descriptors), `kernel` (the state), `tcp`, `unix` and `udp` (one socket), `options`, `ports`, `namespace` (names of Unix
//! sockets), `network` (packets), `sockets` and `waits` (the system calls), `tcp_calls`, `unix_calls`, `udp_calls` and
//! `counters` (what each does), `peer` ([`Peer`]: a program without a loop), `mutants` (only for `make mutants`). The system calls know of it through [`on`], [`anywhere`] and [`is_installed`]
//! only.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use kernel::FileId;
pub(super) use kernel::Kernel;
pub(super) use udp_calls::Parcel;
use waits::Polled;

mod counters;
mod failing;
mod fates;
mod keeper;
mod kernel;
mod log;
#[cfg(tidegate_mutants)]
mod mutants;
mod namespace;
mod network;
mod options;
mod peer;
mod plan;
mod ports;
mod random;
mod sockets;
mod tcp;
mod tcp_calls;
mod udp;
mod udp_calls;
mod unix;
mod unix_calls;
mod waits;

pub use super::name::Name;
pub use failing::{CALLS, Failing};
#[cfg(tidegate_mutants)]
pub use mutants::is_mutant;
pub use peer::{Peer, PeerListener};
pub use plan::{Faults, Plan};
pub use random::Random;

thread_local! {
    static CURRENT: RefCell<Option<Box<Kernel>>> = const { RefCell::new(None) };
}

/// somaxconn, net.core of Linux 5.4 and later.
pub(super) const MAX_BACKLOG: i32 = 4_096;

/// Whether the calling thread is in a simulation.
#[inline]
pub fn is_installed() -> bool {
    CURRENT
        .try_with(|slot| slot.try_borrow().is_ok_and(|slot| slot.is_some()))
        .unwrap_or(false)
}

/// What the plan of this thread's simulation says of resumes.
pub fn resumes_max() -> Option<u16> {
    with(|kernel| Some(kernel.plan.resumes_max))
}

/// What the plan of this thread's simulation says of tasks.
pub fn tasks_max() -> Option<u32> {
    with(|kernel| kernel.plan.tasks_max)
}

/// Until when somebody has waited, in nanoseconds of the clock of this thread's simulation, instead of working or being kept from
/// it. What is later than that is late because of work, or for want of a processor, not because nobody looked.
pub fn waited_until() -> Option<u64> {
    with(|kernel| Some(kernel.waited_until))
}

/// A call that names no descriptor: answered if there is a simulation.
#[inline]
pub(super) fn anywhere<R>(call: impl FnOnce(&mut Kernel) -> R) -> Option<R> {
    with(|kernel| {
        kernel.enter();
        Some(call(kernel))
    })
}

/// A call on a descriptor: answered if it was made in the simulation of this thread.
#[inline]
pub(super) fn on<R>(fd: BorrowedFd<'_>, call: impl FnOnce(&mut Kernel, FileId) -> R) -> Option<R> {
    with(|kernel| {
        kernel.enter();
        let file = kernel.file_behind(fd)?;
        Some(call(kernel, file))
    })
}

/// What comes of a call that names no descriptor: -1 with errno set if it was made to fail ([`Failing`]).
pub(super) fn fate(call: &'static str) -> libc::c_int {
    with(|kernel| (!kernel.failing.is_empty()).then(|| kernel.fate(call))).unwrap_or(0)
}

/// The same for a call on a descriptor; one that is not simulated goes its way.
#[inline]
pub(super) fn fate_on(call: &'static str, fd: BorrowedFd<'_>) -> libc::c_int {
    with(|kernel| {
        if kernel.failing.is_empty() {
            return None;
        }
        kernel.sweep();
        let file = kernel.file_behind(fd)?;
        Some(kernel.fate_on(call, file))
    })
    .unwrap_or(0)
}

/// The clock, in nanoseconds.
#[inline]
pub(super) fn now() -> Option<u64> {
    with(|kernel| Some(kernel.look_at_clock()))
}

/// A descriptor will be in the list of a poll(2), which has numbers only.
pub(super) fn meet(fd: BorrowedFd<'_>) {
    with(|kernel| kernel.file_behind(fd));
}

/// poll(2), if anything in its list is simulated.
pub(super) fn poll(
    list: &mut [libc::pollfd],
    timeout: Option<Duration>,
) -> Option<io::Result<usize>> {
    with(|kernel| {
        kernel.enter();
        let polled = |entry: &libc::pollfd| Polled {
            file: kernel.file_polled(entry.fd),
            asked: u32::from(entry.events.unsigned_abs()),
            ready: 0,
        };
        let mut simulated: Vec<Polled> = list.iter().map(polled).collect();
        if simulated.iter().all(|each| each.file.is_none()) {
            return None;
        }
        let answer = kernel.poll(&mut simulated, timeout);
        for (entry, each) in list.iter_mut().zip(simulated) {
            entry.revents = each.ready as libc::c_short;
        }
        Some(answer)
    })
}

/// Inside of the kernel itself, and while a thread ends, there is no simulation.
#[inline]
fn with<R>(call: impl FnOnce(&mut Kernel) -> Option<R>) -> Option<R> {
    let in_slot = |slot: &RefCell<Option<Box<Kernel>>>| {
        let mut slot = slot.try_borrow_mut().ok()?;
        call(slot.as_mut()?)
    };
    CURRENT.try_with(in_slot).ok()?
}

/// A simulated machine, installed on the calling thread until this is dropped.
///
/// Drop whatever has descriptors of it (loops, channels) first; [`open_descriptors`](Self::open_descriptors) tells
/// what is left.
pub struct Simulation {
    /// It belongs to its thread.
    here: PhantomData<*const ()>,
}

impl Simulation {
    /// Installs a machine of this plan.
    ///
    /// # Errors
    /// `AlreadyExists` if the thread is in a simulation; else what the real kernel says to a few descriptors.
    pub fn install(plan: Plan) -> io::Result<Self> {
        if is_installed() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "this thread is in a simulation already",
            ));
        }
        let kernel = Box::new(Kernel::new(plan)?);
        CURRENT.with(|slot| *slot.borrow_mut() = Some(kernel));
        Ok(Self { here: PhantomData })
    }

    /// How much simulated time has passed.
    pub fn elapsed(&self) -> Duration {
        let passed = |kernel: &mut Kernel| kernel.now() - kernel::START_NS;
        Duration::from_nanos(self.ask(passed))
    }

    /// Lets time pass; packets arrive meanwhile.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.ask(|kernel| {
            kernel.sweep();
            let until = kernel.now().saturating_add(nanos);
            // One packet after the other, each at its time.
            while let Some((&(at, _), _)) = kernel.agenda.first_key_value()
                && at <= until
            {
                kernel.wait_until(at);
                kernel.deliver();
            }
            kernel.wait_until(until);
        });
    }

    /// How long until the next packet arrives, if one is under way.
    pub fn next_arrival(&self) -> Option<Duration> {
        self.ask(|kernel| {
            kernel.sweep();
            let next = kernel.agenda.first_key_value().map(|((at, _), _)| *at);
            next.map(|at| Duration::from_nanos(at.saturating_sub(kernel.now())))
        })
    }

    /// Counts events that waits have reported, and packets that have arrived: if it has not grown while every loop made
    /// a turn, no loop has anything to hear.
    pub fn activity(&self) -> u64 {
        self.ask(|kernel| kernel.activity)
    }

    /// What goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.ask(|kernel| kernel.faults = faults);
    }

    /// Makes certain calls fail from now on, next to those of the plan.
    ///
    /// # Errors
    /// `InvalidInput` if there is no call of that name in [`CALLS`].
    pub fn fail(&self, failing: Failing) -> io::Result<()> {
        if !CALLS.contains(&failing.call) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.ask(|kernel| kernel.failing.push(failing));
        Ok(())
    }

    /// How many calls have failed because they were made to ([`Failing`]).
    pub fn failed_calls(&self) -> u64 {
        self.ask(|kernel| kernel.failed_calls)
    }

    /// No call is made to fail from now on.
    pub fn fail_no_more(&self) {
        self.ask(|kernel| kernel.failing.clear());
    }

    /// Names who makes the calls from now on, for [`has_news_for`](Self::has_news_for).
    pub fn begin_turn_of(&self, who: usize) {
        self.ask(|kernel| kernel.waiter = who);
    }

    /// Whether the last wait that was made under this name would end now, if it were waiting still: what was ready then, or
    /// has become so. True for whoever has never waited.
    pub fn has_news_for(&self, who: usize) -> bool {
        self.ask(|kernel| kernel.has_news_for(who))
    }

    /// Puts a line of one's own into the log.
    pub fn note(&self, text: impl Into<String>) {
        let text = text.into().into_boxed_str();
        self.ask(|kernel| kernel.note(log::What::Note(text)));
    }

    /// Everything that happened so far, a line each; empty if the plan does not keep it.
    pub fn log(&self) -> String {
        self.ask(|kernel| kernel.log.to_string())
    }

    /// A number that follows from the whole log, kept or not: two runs that did the same have the same.
    pub fn digest(&self) -> u64 {
        self.ask(|kernel| kernel.log.digest())
    }

    /// The simulated descriptors that are open, a line each.
    pub fn open_descriptors(&self) -> Vec<String> {
        self.ask(Kernel::describe_open)
    }

    /// The files of sockets of the Unix domain that nobody has removed.
    pub fn socket_files(&self) -> Vec<PathBuf> {
        self.ask(|kernel| {
            kernel.sweep();
            kernel.namespace.files().cloned().collect()
        })
    }

    fn ask<R>(&self, question: impl FnOnce(&mut Kernel) -> R) -> R {
        let answer = with(|kernel| Some(question(kernel)));
        answer.expect("a simulation is installed while its guard lives, and nobody is in it")
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        let kernel = CURRENT.try_with(|slot| slot.take());
        drop(kernel);
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("elapsed", &self.elapsed())
            .finish_non_exhaustive()
    }
}
