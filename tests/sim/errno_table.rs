//! The table of errnos: what the manual pages list for each call, and what follows. `errno` next door tries every row and
//! writes docs/errno.md from it.
//!
//! The lists are those of the pages of Linux (man-pages 6) and of POSIX for what travels as the error of a connection.
//! EFAULT, ENOTSOCK and EBADF stand in them for completeness: the descriptors are owned and the pointers made here.

use tidegate::{ErrorKind, Fault};

use crate::errno::{self, Seen, Stage};

/// A system call, and what it is made for.
pub struct Call {
    /// As `tidegate::sim::Failing` names it.
    pub name: &'static str,
    /// What the program is doing.
    pub what: &'static str,
    /// The page.
    pub manual: &'static str,
    pub remark: &'static str,
    /// What each state means here.
    pub done: &'static str,
    pub open: &'static str,
    pub closed: &'static str,
    pub over: Where,
    pub story: fn(&mut Stage) -> Seen,
    pub rows: &'static [Row],
}

/// Selectors that make the call.
pub enum Where {
    All,
    Epoll,
    Levels,
    Poll,
}

pub struct Row {
    pub errnos: &'static [(&'static str, i32)],
    pub then: Then,
}

#[derive(Debug)]
pub enum Then {
    /// Nobody hears of it, and what was wanted comes about.
    Unheard,
    /// Nobody hears of it.
    Quietly(State),
    /// Somebody hears of it.
    Tells(ErrorKind, Fault, State),
    /// Nobody hears of it: it is asked again with the next readiness. If that does not come, time ends it.
    Later,
}

/// What became of what the call was made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It came about.
    Done,
    /// It did not, and what it was made on is as before.
    Open,
    /// It did not, and what it was made on is closed.
    Closed,
}

impl Then {
    pub fn allows(&self, seen: Seen) -> bool {
        match *self {
            Then::Unheard => seen == (None, State::Done),
            Then::Quietly(state) => seen == (None, state),
            Then::Tells(kind, fault, state) => seen == (Some((kind, fault)), state),
            Then::Later => {
                let too_late = (ErrorKind::ConnectTimeout, Fault::Peer);
                seen == (None, State::Done) || seen == (Some(too_late), State::Closed)
            }
        }
    }

    /// Who is told what, and what follows.
    pub fn words(&self, call: &Call) -> (String, &'static str) {
        let state = |state: &State| match state {
            State::Done => call.done,
            State::Open => call.open,
            State::Closed => call.closed,
        };
        match self {
            Then::Unheard => ("nobody".to_owned(), call.done),
            Then::Quietly(then) => ("nobody".to_owned(), state(then)),
            Then::Tells(kind, fault, then) => (format!("`{kind:?}`, fault: {fault}"), state(then)),
            Then::Later => (
                "nobody".to_owned(),
                "asked again: by edges with the next readiness, else after 5 ms; CONNECT_TIMEOUT ends it",
            ),
        }
    }
}

pub const HEAD: &str = "\
# What is done about each errno

Every system call that a program makes through Tidegate with TCP, Unix streams or UDP, each errno that its manual page lists, and what follows. The
page is written by a test (tests/sim/errno.rs), which makes the call fail in a simulation, over every selector, and
looks: `UPDATE=1 cargo test --features sim --test sim errno` writes it anew.

Whatever the errno, and also if the call goes on failing: no loop spins, nothing panics, no descriptor is left, and the next
client is served. What is told is an `ErrorKind` and whose fault it is; `EINTR` is repeated where the call is made, once
for all calls but `connect` and the waits.

Streams of the Unix domain have the outcomes of TCP wherever they make the same call; at the end stand the calls whose pages
say something else of them. Calls that have no errno to speak of (close, whose error nobody can use; clock_gettime), and those
about threads and files, are not here.
";

macro_rules! rows {
    ($($($errno:ident)+ => $then:expr;)+) => {
        &[$(Row { errnos: &[$((stringify!($errno), nix::libc::$errno)),+], then: $then }),+]
    };
}

pub(crate) use rows;

use ErrorKind::*;
use Fault::{Caller, Machine, Peer, Us};
use State::{Closed, Done, Open};
use Then::{Later, Quietly, Tells, Unheard};

const CONNECTS: &str = "connects";
const CONNECT_FAILS: &str = "the connect fails, and its channel closes";
const STAYS: &str = "the channel stays as it is";

pub const CALLS: &[Call] = &[
    Call {
        name: "socket",
        what: "a client connects",
        manual: "socket(2)",
        remark: "",
        done: CONNECTS,
        open: STAYS,
        closed: CONNECT_FAILS,
        over: Where::All,
        story: errno::connecting,
        rows: rows! {
            EACCES => Tells(PermissionDenied, Caller, Closed);
            EAFNOSUPPORT EPROTONOSUPPORT => Tells(Unsupported, Caller, Closed);
            EINVAL => Tells(InvalidArgument, Caller, Closed);
            EMFILE ENFILE ENOBUFS ENOMEM => Tells(Exhausted, Machine, Closed);
            EINTR => Unheard;
        },
    },
    Call {
        name: "bind",
        what: "a server binds",
        manual: "bind(2)",
        remark: "",
        done: "binds",
        open: STAYS,
        closed: "the bind fails, and the channel closes",
        over: Where::All,
        story: errno::binding,
        rows: rows! {
            EACCES => Tells(PermissionDenied, Caller, Closed);
            EADDRINUSE => Tells(AddrInUse, Machine, Closed);
            EADDRNOTAVAIL => Tells(AddrNotAvailable, Caller, Closed);
            EINVAL ELOOP ENAMETOOLONG => Tells(InvalidArgument, Caller, Closed);
            ENOENT ENOTDIR => Tells(NotFound, Caller, Closed);
            EROFS => Tells(PermissionDenied, Caller, Closed);
            ENOMEM => Tells(Exhausted, Machine, Closed);
            EBADF EFAULT ENOTSOCK => Tells(Io, Us, Closed);
            EINTR => Unheard;
        },
    },
    Call {
        name: "listen",
        what: "a server binds",
        manual: "listen(2)",
        remark: "",
        done: "binds",
        open: STAYS,
        closed: "the bind fails, and the channel closes",
        over: Where::All,
        story: errno::binding,
        rows: rows! {
            EADDRINUSE => Tells(AddrInUse, Machine, Closed);
            EOPNOTSUPP => Tells(Unsupported, Caller, Closed);
            EBADF ENOTSOCK => Tells(Io, Us, Closed);
            EINTR => Unheard;
        },
    },
    Call {
        name: "accept",
        what: "a client waits in the queue of a listener",
        manual: "accept(2)",
        remark: "The listener lives through all of it. Out of descriptors or memory it rests until a descriptor is closed, at \
                 most 50 ms; after an error of its own it tells its pipeline and rests for a second.",
        done: "the client is accepted, now or after a rest",
        open: "",
        closed: "the client is not accepted",
        over: Where::All,
        story: errno::accepting,
        rows: rows! {
            EAGAIN EINTR => Unheard;
            ECONNABORTED EPERM EPROTO ETIMEDOUT ENETDOWN ENOPROTOOPT EHOSTDOWN ENONET EHOSTUNREACH
                ENETUNREACH EOPNOTSUPP ENOSR ECONNRESET => Unheard;
            EMFILE ENFILE ENOBUFS ENOMEM => Unheard;
            EINVAL => Tells(InvalidArgument, Caller, Done);
            EPROTONOSUPPORT ESOCKTNOSUPPORT => Tells(Unsupported, Caller, Done);
            EBADF EFAULT ENOTSOCK => Tells(Io, Us, Done);
        },
    },
    Call {
        name: "connect",
        what: "a client connects",
        manual: "connect(2)",
        remark: "",
        done: CONNECTS,
        open: STAYS,
        closed: CONNECT_FAILS,
        over: Where::All,
        story: errno::connecting,
        rows: rows! {
            EACCES EPERM => Tells(PermissionDenied, Caller, Closed);
            EADDRINUSE => Tells(AddrInUse, Machine, Closed);
            EADDRNOTAVAIL => Tells(AddrNotAvailable, Caller, Closed);
            EAFNOSUPPORT EPROTOTYPE => Tells(Unsupported, Caller, Closed);
            EAGAIN => Tells(Exhausted, Machine, Closed);
            EALREADY => Tells(ConnectionPending, Caller, Closed);
            ECONNREFUSED => Tells(ConnectRefused, Peer, Closed);
            EISCONN => Tells(AlreadyConnected, Caller, Closed);
            ENETUNREACH EHOSTUNREACH => Tells(Unreachable, Peer, Closed);
            ETIMEDOUT => Tells(ConnectTimeout, Peer, Closed);
            ENOTSOCK => Tells(InvalidArgument, Caller, Closed);
            EBADF EFAULT => Tells(Io, Us, Closed);
        },
    },
    Call {
        name: "getsockopt(SO_ERROR)",
        what: "a connect has come to its end",
        manual: "connect(2), getsockopt(2)",
        remark: "The error of the connection itself comes as the value of this option; it has the same outcome as the same \
                 errno of the call.",
        done: CONNECTS,
        open: STAYS,
        closed: CONNECT_FAILS,
        over: Where::All,
        story: errno::connecting,
        rows: rows! {
            ECONNREFUSED => Tells(ConnectRefused, Peer, Closed);
            ECONNRESET => Tells(ConnectionReset, Peer, Closed);
            EHOSTUNREACH ENETUNREACH => Tells(Unreachable, Peer, Closed);
            ETIMEDOUT => Tells(ConnectTimeout, Peer, Closed);
            EINVAL => Tells(InvalidArgument, Caller, Closed);
            ENOPROTOOPT => Tells(Unsupported, Caller, Closed);
            ENOTSOCK => Tells(InvalidArgument, Caller, Closed);
            EBADF EFAULT => Tells(Io, Us, Closed);
            EINTR => Unheard;
        },
    },
    Call {
        name: "getpeername",
        what: "a connect has come to its end",
        manual: "getpeername(2)",
        remark: "",
        done: CONNECTS,
        open: STAYS,
        closed: CONNECT_FAILS,
        over: Where::All,
        story: errno::connecting,
        rows: rows! {
            ENOTCONN => Later;
            EINVAL => Tells(InvalidArgument, Caller, Closed);
            ENOBUFS => Tells(Exhausted, Machine, Closed);
            ENOTSOCK => Tells(InvalidArgument, Caller, Closed);
            EBADF EFAULT => Tells(Io, Us, Closed);
            EINTR => Unheard;
        },
    },
    Call {
        name: "getsockname",
        what: "a server binds",
        manual: "getsockname(2)",
        remark: "Of a connection the address is merely unknown then.",
        done: "binds",
        open: STAYS,
        closed: "the bind fails, and the channel closes",
        over: Where::All,
        story: errno::binding,
        rows: rows! {
            EINVAL => Tells(InvalidArgument, Caller, Closed);
            ENOBUFS => Tells(Exhausted, Machine, Closed);
            EBADF EFAULT ENOTSOCK => Tells(Io, Us, Closed);
            EINTR => Unheard;
        },
    },
    Call {
        name: "setsockopt",
        what: "a client connects with an option",
        manual: "setsockopt(2), socket(7), tcp(7)",
        remark: "TCP_NODELAY, if nobody asked for it, is tried and not missed.",
        done: CONNECTS,
        open: STAYS,
        closed: CONNECT_FAILS,
        over: Where::All,
        story: errno::connecting_with_an_option,
        rows: rows! {
            EACCES EPERM => Tells(PermissionDenied, Caller, Closed);
            EINVAL EDOM => Tells(InvalidArgument, Caller, Closed);
            ENOPROTOOPT => Tells(Unsupported, Caller, Closed);
            ENOMEM ENOBUFS => Tells(Exhausted, Machine, Closed);
            EBADF EFAULT ENOTSOCK => Tells(Io, Us, Closed);
            EINTR => Unheard;
        },
    },
    Call {
        name: "setsockopt",
        what: "a client is accepted with an option",
        manual: "setsockopt(2), socket(7), tcp(7)",
        remark: "EINVAL is what some systems answer for a client that is gone already.",
        done: "the client is served",
        open: STAYS,
        closed: "that client's channel closes, which is counted (`accept_stillborn`); the listener goes on",
        over: Where::All,
        story: errno::accepting_with_an_option,
        rows: rows! {
            EACCES EPERM EINVAL EDOM ENOPROTOOPT ENOMEM ENOBUFS EBADF EFAULT ENOTSOCK => Quietly(Closed);
            EINTR => Unheard;
        },
    },
    Call {
        name: "setsockopt",
        what: "an option of a connection is set",
        manual: "setsockopt(2), socket(7), tcp(7)",
        remark: "",
        done: "is set",
        open: STAYS,
        closed: "the channel closes",
        over: Where::All,
        story: errno::setting_an_option,
        rows: rows! {
            EACCES EPERM => Tells(PermissionDenied, Caller, Open);
            EINVAL EDOM => Tells(InvalidArgument, Caller, Open);
            ENOPROTOOPT => Tells(Unsupported, Caller, Open);
            ENOMEM ENOBUFS => Tells(Exhausted, Machine, Open);
            EBADF EFAULT ENOTSOCK => Tells(Io, Us, Open);
            EINTR => Unheard;
        },
    },
    Call {
        name: "getsockopt",
        what: "an option of a connection is asked for",
        manual: "getsockopt(2)",
        remark: "",
        done: "is told",
        open: STAYS,
        closed: "the channel closes",
        over: Where::All,
        story: errno::asking_for_an_option,
        rows: rows! {
            EINVAL => Tells(InvalidArgument, Caller, Open);
            ENOPROTOOPT => Tells(Unsupported, Caller, Open);
            EBADF EFAULT ENOTSOCK => Tells(Io, Us, Open);
            EINTR => Unheard;
        },
    },
    Call {
        name: "read",
        what: "bytes have come",
        manual: "read(2), recv(2), tcp(7)",
        remark: "What was read before is delivered; the error reaches `exception_caught`, then the channel closes.",
        done: "the bytes are delivered",
        open: STAYS,
        closed: "the channel closes",
        over: Where::All,
        story: errno::reading,
        rows: rows! {
            EAGAIN EINTR => Unheard;
            ECONNRESET EPIPE ENETRESET => Tells(ConnectionReset, Peer, Closed);
            ECONNREFUSED => Tells(ConnectRefused, Peer, Closed);
            EHOSTUNREACH ENETUNREACH => Tells(Unreachable, Peer, Closed);
            ETIMEDOUT => Tells(TimedOut, Peer, Closed);
            ENOTCONN => Tells(NotYetConnected, Caller, Closed);
            ENOMEM ENOBUFS => Tells(Exhausted, Machine, Closed);
            EINVAL EISDIR => Tells(InvalidArgument, Caller, Closed);
            EIO => Tells(Io, Machine, Closed);
            EBADF EFAULT ENOTSOCK => Tells(Io, Us, Closed);
        },
    },
    Call {
        name: "send",
        what: "one message is flushed",
        manual: "send(2), tcp(7)",
        remark: "The writes that were flushed fail with it, those that were not because the channel is closed.",
        done: "the message is sent, now or with the next readiness",
        open: STAYS,
        closed: "the channel closes",
        over: Where::All,
        story: errno::sending_one,
        rows: SENDING,
    },
    Call {
        name: "sendmsg",
        what: "several messages are flushed",
        manual: "sendmsg(2), tcp(7)",
        remark: "",
        done: "they are sent, now or with the next readiness",
        open: STAYS,
        closed: "the channel closes",
        over: Where::All,
        story: errno::sending_several,
        rows: SENDING,
    },
    Call {
        name: "sendfile",
        what: "a part of a file is flushed",
        manual: "sendfile(2)",
        remark: "A file that cannot be sent this way is copied.",
        done: "the file is sent, now or with the next readiness",
        open: STAYS,
        closed: "the write fails, and the channel closes: there would be a gap in the stream",
        over: Where::All,
        story: errno::sending_a_file,
        rows: rows! {
            EAGAIN EINTR => Unheard;
            EINVAL ENOSYS EOPNOTSUPP => Unheard;
            ECONNRESET EPIPE => Tells(ConnectionReset, Peer, Closed);
            ETIMEDOUT => Tells(TimedOut, Peer, Closed);
            EIO => Tells(Io, Machine, Closed);
            ENOMEM => Tells(Exhausted, Machine, Closed);
            EOVERFLOW => Tells(InvalidArgument, Caller, Closed);
            ESPIPE => Tells(Unsupported, Caller, Closed);
            EBADF EFAULT => Tells(Io, Us, Closed);
        },
    },
    Call {
        name: "shutdown",
        what: "the output of a connection is shut down",
        manual: "shutdown(2)",
        remark: "",
        done: "the peer sees the end of the stream",
        open: STAYS,
        closed: "the channel closes",
        over: Where::All,
        story: errno::shutting_down,
        rows: rows! {
            ENOTCONN => Tells(NotYetConnected, Caller, Closed);
            EINVAL => Tells(InvalidArgument, Caller, Closed);
            EBADF ENOTSOCK => Tells(Io, Us, Closed);
            EINTR => Unheard;
        },
    },
    Call {
        name: "epoll_create",
        what: "a loop is built",
        manual: "epoll_create1(2)",
        remark: "",
        done: "is built",
        open: "",
        closed: "there is no loop",
        over: Where::Epoll,
        story: errno::building,
        rows: rows! {
            EINVAL => Tells(InvalidArgument, Caller, Closed);
            EMFILE ENFILE ENOMEM => Tells(Exhausted, Machine, Closed);
            EINTR => Unheard;
        },
    },
    Call {
        name: "eventfd",
        what: "a loop is built",
        manual: "eventfd(2)",
        remark: "A sandbox that has none gets a pipe.",
        done: "is built",
        open: "",
        closed: "there is no loop",
        over: Where::All,
        story: errno::building,
        rows: rows! {
            ENOSYS EPERM => Unheard;
            EINVAL => Tells(InvalidArgument, Caller, Closed);
            ENODEV => Tells(NotFound, Caller, Closed);
            EMFILE ENFILE ENOMEM => Tells(Exhausted, Machine, Closed);
            EINTR => Unheard;
        },
    },
    Call {
        name: "pipe",
        what: "a loop is built where there are no eventfds",
        manual: "pipe2(2)",
        remark: "",
        done: "is built",
        open: "",
        closed: "there is no loop",
        over: Where::All,
        story: errno::building_with_a_pipe,
        rows: rows! {
            EINVAL => Tells(InvalidArgument, Caller, Closed);
            EMFILE ENFILE => Tells(Exhausted, Machine, Closed);
            ENOPKG => Tells(Io, Machine, Closed);
            EFAULT => Tells(Io, Us, Closed);
            EINTR => Unheard;
        },
    },
    Call {
        name: "epoll_ctl(ADD)",
        what: "a client connects",
        manual: "epoll_ctl(2)",
        remark: "A number that is registered already is taken over.",
        done: CONNECTS,
        open: STAYS,
        closed: CONNECT_FAILS,
        over: Where::Epoll,
        story: errno::connecting,
        rows: rows! {
            ENOMEM ENOSPC => Tells(Exhausted, Machine, Closed);
            EPERM => Tells(PermissionDenied, Caller, Closed);
            EINVAL ELOOP => Tells(InvalidArgument, Caller, Closed);
            ENOENT => Tells(NotFound, Caller, Closed);
            EBADF => Tells(Io, Us, Closed);
            EINTR => Unheard;
        },
    },
    Call {
        name: "epoll_ctl(MOD)",
        what: "a connection pauses reading",
        manual: "epoll_ctl(2)",
        remark: "By edges the call is made only after 16 events that nobody wanted, and a failure is ignored.",
        done: "pauses, and reads on later",
        open: STAYS,
        closed: "the channel closes",
        over: Where::Levels,
        story: errno::pausing,
        rows: rows! {
            ENOENT ENOMEM EPERM EINVAL ELOOP EBADF => Quietly(Closed);
            EINTR => Unheard;
        },
    },
    Call {
        name: "epoll_ctl(DEL)",
        what: "a connection is closed",
        manual: "epoll_ctl(2)",
        remark: "",
        done: "is closed: the kernel forgets what is closed",
        open: STAYS,
        closed: "",
        over: Where::Epoll,
        story: errno::closing,
        rows: rows! {
            ENOENT EBADF EINVAL EPERM ENOMEM EINTR => Unheard;
        },
    },
    Call {
        name: "epoll_wait",
        what: "a loop waits, and bytes come",
        manual: "epoll_wait(2)",
        remark: "The selector is replaced, at most once a second; until then tasks and timers go on. A signal only shortens \
                 the wait: what is left of the time is waited for anew.",
        done: "the bytes are delivered",
        open: STAYS,
        closed: "the channel closes",
        over: Where::Epoll,
        story: errno::waiting,
        rows: rows! {
            EINTR => Unheard;
            EBADF EFAULT EINVAL => Unheard;
        },
    },
    Call {
        name: "poll",
        what: "a loop waits, and bytes come",
        manual: "poll(2)",
        remark: "As for epoll.",
        done: "the bytes are delivered",
        open: STAYS,
        closed: "the channel closes",
        over: Where::Poll,
        story: errno::waiting,
        rows: rows! {
            EINTR => Unheard;
            EFAULT EINVAL ENOMEM => Unheard;
        },
    },
    Call {
        name: "write(eventfd)",
        what: "a loop that sleeps is given a task",
        manual: "eventfd(2), write(2)",
        remark: "",
        done: "the task runs at once",
        open: "logged; the task runs when something else ends the loop's sleep",
        closed: "the task never runs",
        over: Where::All,
        story: errno::waking,
        rows: rows! {
            EAGAIN EINTR => Unheard;
            EBADF EINVAL EIO ENOSPC => Quietly(Open);
        },
    },
    Call {
        name: "read(eventfd)",
        what: "a loop was woken",
        manual: "eventfd(2), read(2)",
        remark: "By epoll it is never read. A counter that is reported readable for ever and can never be read would keep the loop \
                 awake: that is the one errno that is not tried for ever.",
        done: "the task runs",
        open: STAYS,
        closed: "the task never runs",
        over: Where::Poll,
        story: errno::waking,
        rows: rows! {
            EAGAIN EINTR EINVAL EBADF => Unheard;
        },
    },
];

const SENDING: &[Row] = rows! {
    EAGAIN EINTR => Unheard;
    ECONNRESET EPIPE => Tells(ConnectionReset, Peer, Closed);
    ETIMEDOUT => Tells(TimedOut, Peer, Closed);
    EHOSTUNREACH ENETUNREACH => Tells(Unreachable, Peer, Closed);
    ENETDOWN => Tells(Unreachable, Machine, Closed);
    ENOTCONN EDESTADDRREQ => Tells(NotYetConnected, Caller, Closed);
    EALREADY => Tells(ConnectionPending, Caller, Closed);
    EISCONN => Tells(AlreadyConnected, Caller, Closed);
    EACCES => Tells(PermissionDenied, Caller, Closed);
    EINVAL EMSGSIZE => Tells(InvalidArgument, Caller, Closed);
    EOPNOTSUPP => Tells(Unsupported, Caller, Closed);
    ENOBUFS ENOMEM => Tells(Exhausted, Machine, Closed);
    EBADF EFAULT ENOTSOCK => Tells(Io, Us, Closed);
};
