//! [`Failing`]: a fault that is not drawn: a certain call of a certain kind fails with a certain errno. For tables that
//! ask of each errno what is done about it. Data only; `fates` makes the calls fail.

/// The calls that can be made to fail, by the names that [`Failing::call`] takes. Those of peers without a loop
/// are not among the calls that count.
pub const CALLS: [&str; 31] = [
    "socket",
    "socketpair",
    "bind",
    "listen",
    "accept",
    "connect",
    "getsockname",
    "getpeername",
    "getsockopt",
    "getsockopt(SO_ERROR)",
    "setsockopt",
    "read",
    "recvmsg",
    "send",
    "sendmsg",
    "sendfile",
    "recvmmsg",
    "sendmmsg",
    "shutdown",
    "epoll_create",
    "epoll_ctl(ADD)",
    "epoll_ctl(MOD)",
    "epoll_ctl(DEL)",
    "epoll_wait",
    "poll",
    "eventfd",
    "read(eventfd)",
    "write(eventfd)",
    "pipe",
    "timerfd_create",
    "timerfd_settime",
];

/// Calls of one kind that fail, without having done anything. After `EAGAIN` readiness follows, as it does when there
/// was truly nothing to be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failing {
    /// Which kind, one of [`CALLS`].
    pub call: &'static str,
    /// How many go well before.
    pub after: u64,
    /// How many fail.
    pub times: u64,
    /// What they answer.
    pub errno: i32,
}
