//! The one door to the kernel: every system call that Tidegate makes is one function of this folder.
//!
//! Each turns -1 into [`std::io::Error`] and retries EINTR in one place (`syscall`); only waits report
//! EINTR, because their caller has to look at its clock again. Descriptors are [`std::os::fd::OwnedFd`]
//! and [`std::os::fd::BorrowedFd`]. Nothing above this crate asks which operating system it runs on:
//! what a machine lacks is answered with [`std::io::ErrorKind::Unsupported`].
//!
//! * `token`, `event`: the words that everybody shares: [`Token`], [`Interest`], [`Ready`], [`Event`],
//!   [`Events`].
//! * `selector`: the contract [`Selector`] and its backends: epoll, kqueue, poll.
//! * `kqueue_sys`: every kqueue call and constant (and the seam for other implementations of it).
//! * `waker`: [`Waker`], which ends a wait from another thread.
//! * [`clock`]: the monotonic clock and [`Time`].
//! * `ticks`: the same by the processor's counter, for the turns of a loop ([`Ticks`]).
//! * [`timer`]: a deadline as a descriptor, for loops nested in other loops.
//! * [`thread`]: names, CPU affinity, signal masks.
//! * [`net`]: sockets, addresses, options.
//! * [`io`]: reads and writes; [`send_file`] for files.
//! * [`fd`]: descriptor limits and descriptors that are not sockets.
//! * [`errno`]: the numbers of errors.
//! * `syscall`: -1 and EINTR; `direct`: the calls that are made past the C library.
//! * `bell` (loom only): a sleep in the kernel that loom can see.
//! * `name`: addresses of any family in one type, for `sim`.
//! * `sim` (cargo feature `sim`): the same functions answered by a simulated kernel.

pub mod clock;
pub mod errno;
pub mod fd;
pub mod io;
pub mod net;
#[cfg(feature = "sim")]
#[cfg_attr(not(tidegate_epoll), allow(dead_code))]
pub mod sim;
pub mod thread;
mod ticks;
pub mod timer;

#[cfg(loom)]
mod bell;
mod direct;
mod event;
mod name;
mod selector;
mod sendfile;
mod syscall;
mod token;
mod waker;

// Unit tests run it everywhere, over a fake where there is no kqueue.
#[cfg(any(tidegate_kqueue, test))]
mod kqueue_sys;

pub use clock::Time;
pub use event::{Event, Events, Interest, Ready};
pub use selector::{Backend, Selector, UnknownBackend, Waited};
pub use sendfile::send_file;
pub use ticks::Ticks;
pub use token::Token;
pub use waker::Waker;
