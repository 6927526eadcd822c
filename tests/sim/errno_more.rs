//! The table of errnos, continued: datagrams, streams of the Unix domain, timers as descriptors. The stories stand here, too.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tidegate::bootstrap::Bootstrap;
use tidegate::channel::Datagram;
use tidegate::sim::Peer;
use tidegate::transport::udp::Udp;
use tidegate::transport::unix::{Accepted, Descriptors, UnixAddress, UnixStream};
use tidegate::{Backend, Channel, ChannelFuture, ErrorKind, Fault, LocalEventLoop, Message};
use tidegate_sys::os::{Events, Interest, Selector, Token, Waited};

use crate::errno::{Count, Seen, Stage, after, receive, told};
use crate::errno_table::{Call, Row, State, Then, Where, rows};

use ErrorKind::*;
use Fault::{Caller, Machine, Peer as ThePeer, Us};
use State::{Closed, Done, Open};
use Then::{Tells, Unheard};

pub const CALLS: &[Call] = &[
    Call {
        name: "socket",
        what: "a datagram socket is bound",
        manual: "socket(2), udp(7)",
        remark: "",
        done: "binds",
        open: "",
        closed: "the bind fails, and the channel closes",
        over: Where::All,
        story: binding_udp,
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
        what: "a datagram socket is bound",
        manual: "bind(2), ip(7)",
        remark: "",
        done: "binds",
        open: "",
        closed: "the bind fails, and the channel closes",
        over: Where::All,
        story: binding_udp,
        rows: rows! {
            EACCES => Tells(PermissionDenied, Caller, Closed);
            EADDRINUSE => Tells(AddrInUse, Machine, Closed);
            EADDRNOTAVAIL => Tells(AddrNotAvailable, Caller, Closed);
            EINVAL => Tells(InvalidArgument, Caller, Closed);
            ENODEV => Tells(NotFound, Caller, Closed);
            EBADF EFAULT ENOTSOCK => Tells(Io, Us, Closed);
            EINTR => Unheard;
        },
    },
    Call {
        name: "connect",
        what: "a datagram socket is connected",
        manual: "connect(2), udp(7)",
        remark: "",
        done: "is connected",
        open: STAYS,
        closed: "the connect fails, and the channel closes",
        over: Where::All,
        story: connecting_udp,
        rows: rows! {
            EACCES EPERM => Tells(PermissionDenied, Caller, Closed);
            EADDRNOTAVAIL => Tells(AddrNotAvailable, Caller, Closed);
            EAFNOSUPPORT => Tells(Unsupported, Caller, Closed);
            EAGAIN => Tells(Exhausted, Machine, Closed);
            EINVAL => Tells(InvalidArgument, Caller, Closed);
            ENETUNREACH EHOSTUNREACH => Tells(Unreachable, ThePeer, Closed);
            EBADF EFAULT => Tells(Io, Us, Closed);
        },
    },
    Call {
        name: "connect",
        what: "a datagram socket is disconnected",
        manual: "connect(2)",
        remark: "A connect to nobody (AF_UNSPEC).",
        done: "has no peer",
        open: "keeps its peer",
        closed: "the channel closes",
        over: Where::All,
        story: disconnecting_udp,
        rows: rows! {
            EINVAL => Tells(InvalidArgument, Caller, Open);
            EAFNOSUPPORT => Tells(Unsupported, Caller, Open);
            ENOMEM ENOBUFS => Tells(Exhausted, Machine, Open);
            EBADF EFAULT => Tells(Io, Us, Open);
            EINTR => Unheard;
        },
    },
    Call {
        name: "sendmmsg",
        what: "a datagram is flushed",
        manual: "send(2), sendmmsg(2), udp(7), ip(7)",
        remark: "The error fails the write of that datagram and of no other.",
        done: "is sent, now or with the next readiness",
        open: "the channel lives",
        closed: "the channel closes",
        over: Where::All,
        story: sending_a_datagram,
        rows: rows! {
            EAGAIN EINTR => Unheard;
            ECONNREFUSED => Tells(ConnectRefused, ThePeer, Open);
            ECONNRESET EPIPE => Tells(ConnectionReset, ThePeer, Open);
            EHOSTUNREACH ENETUNREACH => Tells(Unreachable, ThePeer, Open);
            ENETDOWN => Tells(Unreachable, Machine, Open);
            EACCES EPERM => Tells(PermissionDenied, Caller, Open);
            EMSGSIZE EINVAL => Tells(InvalidArgument, Caller, Open);
            EADDRNOTAVAIL => Tells(AddrNotAvailable, Caller, Open);
            EAFNOSUPPORT EOPNOTSUPP => Tells(Unsupported, Caller, Open);
            EDESTADDRREQ ENOTCONN => Tells(NotYetConnected, Caller, Open);
            EISCONN => Tells(AlreadyConnected, Caller, Open);
            ENOBUFS ENOMEM => Tells(Exhausted, Machine, Open);
            EBADF EFAULT ENOTSOCK => Tells(Io, Us, Open);
        },
    },
    Call {
        name: "recvmmsg",
        what: "a datagram has come",
        manual: "recv(2), recvmmsg(2), udp(7)",
        remark: "What belongs to a datagram that was sent before, or to this moment, reaches `exception_caught`, and the channel \
                 lives, but for 256 of them in a row.",
        done: "the datagram is delivered",
        open: "the channel lives",
        closed: "the channel closes",
        over: Where::All,
        story: receiving_a_datagram,
        rows: rows! {
            EAGAIN EINTR => Unheard;
            ECONNREFUSED => Tells(ConnectRefused, ThePeer, Done);
            EHOSTUNREACH ENETUNREACH => Tells(Unreachable, ThePeer, Done);
            EMSGSIZE => Tells(InvalidArgument, Caller, Done);
            ENOMEM ENOBUFS => Tells(Exhausted, Machine, Done);
            ENOTCONN => Tells(NotYetConnected, Caller, Closed);
            EINVAL => Tells(InvalidArgument, Caller, Closed);
            EBADF EFAULT ENOTSOCK => Tells(Io, Us, Closed);
        },
    },
    Call {
        name: "bind",
        what: "a server of the Unix domain binds",
        manual: "bind(2), unix(7)",
        remark: "",
        done: "binds",
        open: "",
        closed: "the bind fails, and the channel closes",
        over: Where::All,
        story: binding_unix,
        rows: rows! {
            EACCES EROFS => Tells(PermissionDenied, Caller, Closed);
            EADDRINUSE => Tells(AddrInUse, Machine, Closed);
            EINVAL ELOOP ENAMETOOLONG => Tells(InvalidArgument, Caller, Closed);
            ENOENT ENOTDIR => Tells(NotFound, Caller, Closed);
            ENOMEM => Tells(Exhausted, Machine, Closed);
            EBADF EFAULT ENOTSOCK => Tells(Io, Us, Closed);
            EINTR => Unheard;
        },
    },
    Call {
        name: "accept",
        what: "a client of the Unix domain waits in the queue of a listener",
        manual: "accept(2), unix(7)",
        remark: "As with TCP.",
        done: "the client is accepted, now or after a rest",
        open: "",
        closed: "the client is not accepted",
        over: Where::All,
        story: accepting_unix,
        rows: rows! {
            EAGAIN EINTR ECONNABORTED EPERM EMFILE ENFILE ENOBUFS ENOMEM => Unheard;
            EINVAL => Tells(InvalidArgument, Caller, Done);
            EOPNOTSUPP => Unheard;
            EBADF EFAULT ENOTSOCK => Tells(Io, Us, Done);
        },
    },
    Call {
        name: "connect",
        what: "a client of the Unix domain connects",
        manual: "connect(2), unix(7)",
        remark: "EAGAIN says that the listener's queue is full.",
        done: "connects",
        open: STAYS,
        closed: "the connect fails, and its channel closes",
        over: Where::All,
        story: connecting_unix,
        rows: rows! {
            EACCES EPERM => Tells(PermissionDenied, Caller, Closed);
            EAFNOSUPPORT EPROTOTYPE => Tells(Unsupported, Caller, Closed);
            EAGAIN => Tells(Exhausted, Machine, Closed);
            ECONNREFUSED => Tells(ConnectRefused, ThePeer, Closed);
            ENOENT ENOTDIR => Tells(NotFound, Caller, Closed);
            EINVAL ELOOP ENAMETOOLONG => Tells(InvalidArgument, Caller, Closed);
            EISCONN => Tells(AlreadyConnected, Caller, Closed);
            ENOMEM => Tells(Exhausted, Machine, Closed);
            EBADF EFAULT => Tells(Io, Us, Closed);
        },
    },
    Call {
        name: "recvmsg",
        what: "bytes have come by a Unix stream",
        manual: "recv(2), recvmsg(2), unix(7)",
        remark: "As with TCP.",
        done: "the bytes are delivered",
        open: STAYS,
        closed: "the channel closes",
        over: Where::All,
        story: reading_unix,
        rows: rows! {
            EAGAIN EINTR => Unheard;
            ECONNRESET EPIPE => Tells(ConnectionReset, ThePeer, Closed);
            ENOTCONN => Tells(NotYetConnected, Caller, Closed);
            EMSGSIZE EINVAL => Tells(InvalidArgument, Caller, Closed);
            ENOMEM ENOBUFS => Tells(Exhausted, Machine, Closed);
            EBADF EFAULT ENOTSOCK => Tells(Io, Us, Closed);
        },
    },
    Call {
        name: "sendmsg",
        what: "descriptors are flushed",
        manual: "sendmsg(2), unix(7)",
        remark: "",
        done: "they are sent, now or with the next readiness",
        open: STAYS,
        closed: "the channel closes",
        over: Where::All,
        story: sending_descriptors,
        rows: rows! {
            EAGAIN EINTR => Unheard;
            ECONNRESET EPIPE => Tells(ConnectionReset, ThePeer, Closed);
            ENOTCONN => Tells(NotYetConnected, Caller, Closed);
            ETOOMANYREFS ENOBUFS ENOMEM => Tells(Exhausted, Machine, Closed);
            EPERM EACCES => Tells(PermissionDenied, Caller, Closed);
            EINVAL EMSGSIZE => Tells(InvalidArgument, Caller, Closed);
            EBADF EFAULT ENOTSOCK => Tells(Io, Us, Closed);
        },
    },
    Call {
        name: "socketpair",
        what: "a pair of Unix streams is made",
        manual: "socketpair(2)",
        remark: "",
        done: "is made",
        open: "",
        closed: "there is no pair",
        over: Where::All,
        story: making_a_pair,
        rows: rows! {
            EAFNOSUPPORT EOPNOTSUPP EPROTONOSUPPORT => Tells(Unsupported, Caller, Closed);
            EMFILE ENFILE => Tells(Exhausted, Machine, Closed);
            EFAULT => Tells(Io, Us, Closed);
            EINTR => Unheard;
        },
    },
    Call {
        name: "timerfd_create",
        what: "a local loop is asked for its descriptor",
        manual: "timerfd_create(2)",
        remark: "",
        done: "has one",
        open: "",
        closed: "the call fails; the loop goes on",
        over: Where::Epoll,
        story: nesting,
        rows: rows! {
            EINVAL => Tells(InvalidArgument, Caller, Closed);
            EMFILE ENFILE ENOMEM => Tells(Exhausted, Machine, Closed);
            ENODEV => Tells(NotFound, Caller, Closed);
            EPERM => Tells(PermissionDenied, Caller, Closed);
            EINTR => Unheard;
        },
    },
    Call {
        name: "timerfd_settime",
        what: "the deadline of a local loop is told to its descriptor",
        manual: "timerfd_settime(2)",
        remark: "",
        done: "is told",
        open: "logged; the descriptor tells of it when a turn has set it anew",
        closed: "the loop ends",
        over: Where::Epoll,
        story: arming,
        rows: rows! {
            EBADF ECANCELED EFAULT EINVAL => Then::Quietly(Open);
            EINTR => Unheard;
        },
    },
];

const STAYS: &str = "the channel stays as it is";

// ---- datagrams

fn udp(stage: &Stage) -> Bootstrap<Udp> {
    let heard = stage.heard.clone();
    Bootstrap::new(&stage.event_loop)
        .transport::<Udp>()
        .handler(move |pipeline| pipeline.add_last(Count(heard.clone())))
}

fn any() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 0))
}

/// A socket that works.
fn bound_udp(stage: &mut Stage) -> (Channel, SocketAddr) {
    let bound = udp(stage).bind(any());
    assert!(stage.wait(|| bound.is_success()));
    let channel = bound.channel().clone();
    let address = channel.local_address().and_then(|name| name.as_inet());
    (channel, address.expect("a bound socket has an address"))
}

/// Whether a datagram from there comes here.
fn hears(stage: &mut Stage, from: &Channel, to: SocketAddr) -> bool {
    let before = stage.heard.received();
    from.write_and_flush(Message::new(Datagram::new("?", to)));
    let heard = stage.heard.clone();
    stage.wait(|| heard.received() > before)
}

fn binding_udp(stage: &mut Stage) -> Seen {
    stage.fail();
    let bound = udp(stage).bind(any());
    stage.wait(|| bound.is_done());
    let cause = bound.cause();
    let address = bound
        .channel()
        .local_address()
        .and_then(|name| name.as_inet());
    let state = match address.filter(|_| cause.is_none()) {
        Some(address) => {
            let channel = bound.channel().clone();
            match hears(stage, &channel, address) {
                true => State::Done,
                false => after(&channel),
            }
        }
        None => after(bound.channel()),
    };
    (cause.as_ref().map(told), state)
}

fn connecting_udp(stage: &mut Stage) -> Seen {
    let (_peer, address) = bound_udp(stage);
    stage.fail();
    let connecting = udp(stage).connect(address);
    stage.wait(|| connecting.is_done());
    let cause = connecting.cause();
    let channel = connecting.channel().clone();
    let before = stage.heard.received();
    channel.write_and_flush("?");
    let heard = stage.heard.clone();
    let state = match stage.wait(|| heard.received() > before) {
        true => State::Done,
        false => after(&channel),
    };
    (cause.as_ref().map(told), state)
}

fn disconnecting_udp(stage: &mut Stage) -> Seen {
    let (_peer, address) = bound_udp(stage);
    let (other, _) = bound_udp(stage);
    let connecting = udp(stage).local_address(any()).connect(address);
    assert!(stage.wait(|| connecting.is_success()));
    let channel = connecting.channel().clone();
    let own = channel.local_address().and_then(|name| name.as_inet());
    stage.fail();
    let done = channel.disconnect();
    stage.wait(|| done.is_done());
    let cause = done.cause();
    // Who has no peer hears of everybody.
    let state = match own.is_some_and(|own| hears(stage, &other, own)) {
        true => State::Done,
        false => after(&channel),
    };
    (cause.as_ref().map(told), state)
}

fn sending_a_datagram(stage: &mut Stage) -> Seen {
    let (_peer, to) = bound_udp(stage);
    let (channel, _) = bound_udp(stage);
    stage.fail();
    let written = channel.write_and_flush(Message::new(Datagram::new("?", to)));
    stage.wait(|| written.is_done());
    let heard = stage.heard.clone();
    let state = match stage.wait(|| heard.received() == 1) {
        true => State::Done,
        false => after(&channel),
    };
    (written.cause().as_ref().map(told), state)
}

fn receiving_a_datagram(stage: &mut Stage) -> Seen {
    let (channel, to) = bound_udp(stage);
    let (sender, _) = bound_udp(stage);
    stage.fail();
    let state = match hears(stage, &sender, to) {
        true => State::Done,
        false => after(&channel),
    };
    (stage.heard.told(), state)
}

// ---- streams of the Unix domain

fn unix_address() -> UnixAddress {
    UnixAddress::path("/run/errno.sock")
}

fn unix_server(stage: &mut Stage) -> ChannelFuture {
    stage
        .server()
        .transport::<UnixStream>()
        .bind(unix_address())
}

fn unix_client(stage: &mut Stage) -> ChannelFuture {
    stage
        .client()
        .transport::<UnixStream>()
        .connect(unix_address())
}

fn unix_peer(stage: &mut Stage) -> Peer {
    stage
        .world
        .simulation()
        .connect_unix(None, &unix_address())
        .unwrap()
}

/// A server, one connection to it, and its channel there.
fn unix_connection(stage: &mut Stage) -> (Peer, Channel) {
    let bound = unix_server(stage);
    assert!(stage.wait(|| bound.is_success()));
    let peer = unix_peer(stage);
    let heard = stage.heard.clone();
    assert!(stage.wait(|| heard.child().is_some()));
    (peer, heard.child().unwrap())
}

fn binding_unix(stage: &mut Stage) -> Seen {
    stage.fail();
    let bound = unix_server(stage);
    stage.wait(|| bound.is_done());
    let cause = bound.cause();
    let state = match &cause {
        None => {
            let peer = unix_peer(stage);
            match stage.answers(&peer) {
                true => State::Done,
                false => after(bound.channel()),
            }
        }
        Some(_) => after(bound.channel()),
    };
    (cause.as_ref().map(told), state)
}

fn connecting_unix(stage: &mut Stage) -> Seen {
    let bound = unix_server(stage);
    assert!(stage.wait(|| bound.is_success()));
    stage.fail();
    let connecting = unix_client(stage);
    stage.after_connect(&connecting)
}

fn accepting_unix(stage: &mut Stage) -> Seen {
    let bound = unix_server(stage);
    assert!(stage.wait(|| bound.is_success()));
    stage.fail();
    let peer = unix_peer(stage);
    let state = match stage.answers(&peer) {
        true => State::Done,
        false => State::Closed,
    };
    (stage.heard.told(), state)
}

fn reading_unix(stage: &mut Stage) -> Seen {
    let (peer, child) = unix_connection(stage);
    stage.fail();
    let state = match stage.answers(&peer) {
        true => State::Done,
        false => after(&child),
    };
    (stage.heard.told(), state)
}

fn sending_descriptors(stage: &mut Stage) -> Seen {
    let (peer, child) = unix_connection(stage);
    stage.fail();
    let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let descriptors = Descriptors::from_iter([file]).with_bytes("?");
    let written = child.write_and_flush(Message::from(descriptors));
    stage.wait(|| written.is_done());
    let state = match stage.wait(|| receive(&peer) == Some(1)) {
        true => State::Done,
        false => after(&child),
    };
    (written.cause().as_ref().map(told), state)
}

fn making_a_pair(stage: &mut Stage) -> Seen {
    stage.fail();
    match Accepted::pair() {
        Ok(_) => (None, State::Done),
        Err(error) => (Some(told(&error)), State::Closed),
    }
}

// ---- timers

/// Whether the descriptor is readable when a timer of the loop is due.
fn arming(stage: &mut Stage) -> Seen {
    let builder = LocalEventLoop::builder().selector(stage.backend);
    let nested = builder.build().unwrap();
    let handle = nested.handle();
    nested.as_fd().unwrap();
    stage.fail();
    let _timer = handle.schedule(Duration::from_millis(20), || ());
    // The turn tells the timer.
    nested.turn(Some(Duration::ZERO));
    let is_told = |nested: &LocalEventLoop| {
        let mut outer = Selector::open(Backend::EpollLevel).unwrap();
        let fd = nested.as_fd().unwrap();
        outer
            .register(fd, Token::new(0, 0), Interest::READ)
            .unwrap();
        let mut events = Events::new();
        let waited = outer.wait(&mut events, Some(Duration::from_millis(30)));
        matches!(waited, Ok(Waited::Events(_)))
    };
    let state = match is_told(&nested) {
        true => State::Done,
        false => State::Open,
    };
    (None, state)
}

fn nesting(stage: &mut Stage) -> Seen {
    stage.fail();
    let nested = LocalEventLoop::builder()
        .selector(stage.backend)
        .build()
        .unwrap();
    match nested.as_fd() {
        Ok(_) => (None, State::Done),
        Err(error) => (Some(told(&error)), State::Closed),
    }
}
