//! TCP, eventfds, descriptors and waits.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use bytes::BytesMut;
use tidegate_sys::os::sim::{Faults, Plan, Simulation};
use tidegate_sys::os::timer::Timer;
use tidegate_sys::os::{
    Backend, Events, Interest, Selector, Time, Token, Waited, Waker, clock, io as sys, net,
};

use crate::kit::{address, client, listener, on_both, pair, pause, reset};

#[test]
fn a_socket_without_a_connection_hangs_up() {
    on_both(|stage| {
        let any = address("127.0.0.1:0");
        let socket = net::tcp_socket(&any).unwrap();
        stage.watch(&socket, 0, Interest::BOTH);
        stage.gather("fresh");
        stage.send("send", &socket, b"x");
        stage.receive("receive", &socket);
        stage.tell("shutdown", net::shutdown(socket.as_fd(), Shutdown::Write));
        stage.names("peer", &socket);
        stage.tell(
            "accept",
            net::accept::<SocketAddr>(socket.as_fd()).map(drop),
        );
        stage.tell(
            "error",
            net::take_error(socket.as_fd()).map(|error| error.is_some()),
        );
    });
}

#[test]
fn connecting_and_accepting() {
    on_both(|stage| {
        let (listener, address) = listener();
        stage.watch(&listener, 1, Interest::READ);
        stage.gather("nobody yet");
        stage.tell(
            "accept",
            net::accept::<SocketAddr>(listener.as_fd()).map(drop),
        );
        let near = client(&address);
        stage.watch(&near, 0, Interest::BOTH);
        stage.gather("connecting");
        stage.names("peer", &near);
        stage.tell("connect again", net::connect(near.as_fd(), &address));
        let (far, _) = net::accept::<SocketAddr>(listener.as_fd()).unwrap();
        stage.tell(
            "accept",
            net::accept::<SocketAddr>(listener.as_fd()).map(drop),
        );
        stage.watch(&far, 2, Interest::BOTH);
        stage.gather("accepted");
        let back = net::peer_addr::<SocketAddr>(far.as_fd()).unwrap();
        assert_eq!(back, net::local_addr::<SocketAddr>(near.as_fd()).unwrap());
        stage.receive("nothing to read", &far);
    });
}

#[test]
fn a_refused_connect() {
    on_both(|stage| {
        let (listener, address) = listener();
        drop(listener);
        let near = client(&address);
        stage.watch(&near, 0, Interest::BOTH);
        stage.gather("refused");
        stage.tell(
            "error",
            net::take_error(near.as_fd()).map(|e| e.and_then(|e| e.raw_os_error())),
        );
        stage.tell("error", net::take_error(near.as_fd()).map(|e| e.is_some()));
        stage.names("peer", &near);
        stage.gather("after the error was taken");
    });
}

#[test]
fn data_and_its_edges() {
    on_both(|stage| {
        let (_listener, near, far) = pair();
        stage.watch(&near, 0, Interest::READ);
        stage.watch(&far, 1, Interest::READ);
        stage.gather("idle");
        stage.send("send", &far, b"hello");
        stage.gather("one");
        stage.send("send", &far, b"world");
        stage.gather("two");
        stage.receive("read", &near);
        stage.receive("read", &near);
        stage.gather("read all");
        stage.send("answer", &near, b"x");
        stage.gather("answered");
    });
}

#[test]
fn the_end_of_data() {
    on_both(|stage| {
        let (_listener, near, far) = pair();
        stage.watch(&near, 0, Interest::BOTH);
        stage.gather("idle");
        stage.send("send", &far, b"bye");
        stage.tell("shutdown", net::shutdown(far.as_fd(), Shutdown::Write));
        stage.gather("half closed");
        stage.send("send after the end", &far, b"x");
        stage.receive("data", &near);
        stage.receive("end", &near);
        stage.send("the other direction", &near, b"still");
        pause();
        stage.receive("still", &far);
        stage.tell("shutdown", net::shutdown(near.as_fd(), Shutdown::Write));
        stage.gather("closed");
        stage.receive("end", &near);
        stage.send("send", &near, b"x");
        stage.names("peer", &near);
    });
}

#[test]
fn a_reset_is_an_error_once() {
    on_both(|stage| {
        let (_listener, near, far) = pair();
        stage.watch(&near, 0, Interest::BOTH);
        stage.gather("idle");
        reset(far);
        stage.gather("reset");
        stage.receive("read", &near);
        stage.receive("read", &near);
        stage.send("send", &near, b"x");
        stage.names("peer", &near);
        stage.tell("shutdown", net::shutdown(near.as_fd(), Shutdown::Both));
    });
    on_both(|stage| {
        let (_listener, near, far) = pair();
        stage.send("send", &far, b"before");
        pause();
        reset(far);
        pause();
        stage.watch(&near, 0, Interest::READ);
        stage.gather("data and a reset");
        stage.receive("read", &near);
        stage.send("send", &near, b"x");
        stage.send("send", &near, b"x");
        stage.receive("read", &near);
    });
}

/// Whoever reads is given the end, and nothing else.
#[test]
fn a_reset_behind_the_peers_end_is_told_by_so_error_alone() {
    on_both(|stage| {
        let (_listener, near, far) = pair();
        stage.tell("shutdown", net::shutdown(far.as_fd(), Shutdown::Write));
        pause();
        stage.watch(&near, 0, Interest::BOTH);
        stage.gather("half closed");
        stage.receive("end", &near);
        stage.tell("shutdown", net::shutdown(near.as_fd(), Shutdown::Read));
        stage.gather("own input");
        reset(far);
        stage.gather("reset");
        stage.receive("read", &near);
        stage.tell(
            "error",
            net::take_error(near.as_fd()).map(|e| e.and_then(|e| e.raw_os_error())),
        );
        stage.tell("error", net::take_error(near.as_fd()).map(|e| e.is_some()));
        stage.receive("read", &near);
        stage.send("send", &near, b"x");
    });
    on_both(|stage| {
        let (_listener, near, far) = pair();
        stage.tell("shutdown", net::shutdown(near.as_fd(), Shutdown::Read));
        stage.receive("own end", &near);
        reset(far);
        stage.watch(&near, 0, Interest::BOTH);
        stage.gather("reset");
        stage.receive("read", &near);
        stage.receive("read", &near);
    });
}

#[test]
fn closing_with_unread_data_is_a_reset() {
    on_both(|stage| {
        let (_listener, near, far) = pair();
        stage.send("send", &near, b"never read");
        pause();
        drop(far);
        stage.watch(&near, 0, Interest::BOTH);
        stage.gather("closed");
        stage.receive("read", &near);
    });
}

#[test]
fn sending_to_a_closed_peer() {
    on_both(|stage| {
        let (_listener, near, far) = pair();
        stage.watch(&near, 0, Interest::BOTH);
        stage.gather("idle");
        drop(far);
        stage.gather("closed");
        stage.send("send", &near, b"x");
        stage.gather("answered by a reset");
        stage.send("send", &near, b"x");
        stage.send("send", &near, b"x");
        stage.receive("read", &near);
    });
}

#[test]
fn closing_both_ways_hangs_up() {
    on_both(|stage| {
        let (_listener, near, far) = pair();
        stage.tell("shutdown", net::shutdown(near.as_fd(), Shutdown::Write));
        pause();
        stage.watch(&near, 0, Interest::BOTH);
        stage.gather("own half");
        drop(far);
        stage.gather("both");
        stage.receive("read", &near);
    });
    on_both(|stage| {
        let (_listener, near, _far) = pair();
        stage.watch(&near, 0, Interest::READ);
        stage.gather("idle");
        stage.tell("shutdown", net::shutdown(near.as_fd(), Shutdown::Read));
        stage.gather("own input");
        stage.receive("read", &near);
    });
}

#[test]
fn a_full_socket_reports_room_once_there_is_some() {
    on_both(|stage| {
        let (_listener, near, far) = pair();
        let block = [7; 1 << 16];
        let mut sent = 0;
        let mut quiet = 0;
        // The real kernel moves bytes over, and makes the other side's buffer larger, as long as it likes.
        while quiet < 3 {
            let before = sent;
            while let Ok(count) = sys::send(near.as_fd(), &block) {
                sent += count;
            }
            pause();
            quiet = if sent == before { quiet + 1 } else { 0 };
        }
        stage.watch(&near, 0, Interest::BOTH);
        stage.gather("full");
        // A probe of the closed window may have made room for some bytes, too little to be told.
        while let Ok(count) = sys::send(near.as_fd(), &block) {
            sent += count;
        }
        stage.send("send", &near, b"x");
        let mut read = 0;
        while read < sent {
            let mut bytes = BytesMut::new();
            match sys::read_into(far.as_fd(), &mut bytes, 1 << 20) {
                Ok(count) => read += count,
                Err(_) => pause(),
            }
        }
        stage.gather("room");
        stage.send("send", &near, b"x");
    });
}

#[test]
fn a_listener_reports_arrivals_not_the_queue() {
    on_both(|stage| {
        let (listener, address) = listener();
        stage.watch(&listener, 0, Interest::READ);
        let clients: Vec<_> = (0..3).map(|_| client(&address)).collect();
        stage.gather("three");
        stage.tell(
            "accept",
            net::accept::<SocketAddr>(listener.as_fd()).map(drop),
        );
        stage.gather("one was taken");
        stage.tell(
            "accept",
            net::accept::<SocketAddr>(listener.as_fd()).map(drop),
        );
        stage.tell(
            "accept",
            net::accept::<SocketAddr>(listener.as_fd()).map(drop),
        );
        stage.tell(
            "accept",
            net::accept::<SocketAddr>(listener.as_fd()).map(drop),
        );
        let more = client(&address);
        stage.gather("one more");
        stage.watch(&more, 1, Interest::READ);
        drop(listener);
        stage.gather("the listener closed");
        stage.receive("read", &more);
        drop(clients);
    });
}

#[test]
fn addresses_are_taken_once() {
    on_both(|stage| {
        let (first, address) = listener();
        let second = net::tcp_socket(&address).unwrap();
        stage.tell("bind", net::bind(second.as_fd(), &address));
        drop(first);
        stage.tell("bind", net::bind(second.as_fd(), &address));
        stage.tell("bind", net::bind(second.as_fd(), &address));
        stage.tell("listen", net::listen(second.as_fd(), 1));
        stage.tell("listen", net::listen(second.as_fd(), 2));
        stage.tell("connect", net::connect(second.as_fd(), &address));
        let wrong = net::tcp_socket(&"[::1]:0".parse().unwrap()).unwrap();
        stage.tell(
            "family",
            net::bind(wrong.as_fd(), &address).map_err(|_| io::Error::other("refused")),
        );
    });
}

#[test]
fn a_mask_taken_away_and_given_back() {
    on_both(|stage| {
        let (_listener, near, far) = pair();
        stage.watch(&near, 0, Interest::READ);
        stage.gather("idle");
        let token = Token::new(0, 0);
        stage
            .selector
            .remask(near.as_fd(), token, Interest::NONE)
            .unwrap();
        stage.send("send", &far, b"x");
        stage.gather("masked");
        stage
            .selector
            .remask(near.as_fd(), token, Interest::READ)
            .unwrap();
        stage.gather("given back");
        stage.selector.deregister(near.as_fd()).unwrap();
        stage.send("send", &far, b"x");
        stage.gather("deregistered");
        stage.watch(&near, 3, Interest::READ);
        stage.gather("registered again");
    });
}

#[test]
fn wakers_wake() {
    on_both(|stage| {
        let waker = Waker::new(&mut stage.selector, Token::new(5, 0)).unwrap();
        stage.gather("idle");
        waker.wake().unwrap();
        waker.wake().unwrap();
        stage.gather("woken");
        waker.drain();
        stage.gather("drained");
        waker.wake().unwrap();
        stage.gather("woken");
    });
}

/// A duplicate keeps the connection, and its registration, as on Linux.
/// The descriptor of a selector is one that another selector can watch.
#[test]
fn a_selector_is_watched_by_another_one() {
    on_both(|stage| {
        let (_listener, near, far) = pair();
        let mut inner = Selector::open(Backend::EpollLevel).unwrap();
        let token = Token::new(3, 0);
        inner.register(near.as_fd(), token, Interest::READ).unwrap();
        let watched = inner.as_fd().unwrap().try_clone_to_owned().unwrap();
        stage.watch(&watched, 0, Interest::READ);
        stage.gather("nothing");
        stage.send("send", &far, b"x");
        stage.gather("sent");
        stage.receive("receive", &near);
        stage.gather("received");
        stage.send("send", &far, b"x");
        stage.gather("sent again");
        // Nobody closes it behind the stage's back.
        stage.selector.deregister(watched.as_fd()).unwrap();
    });
}

#[test]
fn timers_become_readable() {
    on_both(|stage| {
        let timer = Timer::new().unwrap();
        let token = Token::new(0, 0);
        stage
            .selector
            .register(timer.as_fd(), token, Interest::READ)
            .unwrap();
        stage.gather("fresh");
        let soon = clock::now() + Duration::from_millis(2);
        timer.set(Some(soon)).unwrap();
        stage.gather("set");
        assert!(clock::now() >= soon);
        timer.set(None).unwrap();
        stage.gather("taken back");
        timer
            .set(Some(clock::now() + Duration::from_millis(2)))
            .unwrap();
        timer
            .set(Some(clock::now() + Duration::from_secs(100)))
            .unwrap();
        stage.gather("set anew");
        timer.set(Some(Time::from_nanos(1))).unwrap();
        stage.gather("long ago");
        let mut room = [0; 8];
        let read = sys::read(timer.as_fd(), &mut room);
        stage.tell("read", read.map(|len| (len, u64::from_ne_bytes(room))));
        stage.tell("read again", sys::read(timer.as_fd(), &mut room));
        stage.gather("read");
        timer.set(Some(Time::MAX)).unwrap();
        stage.selector.deregister(timer.as_fd()).unwrap();
    });
}

#[test]
fn a_duplicate_keeps_the_connection_open() {
    on_both(|stage| {
        let (_listener, near, far) = pair();
        let copy = far.try_clone().unwrap();
        stage.watch(&near, 0, Interest::READ);
        stage.gather("idle");
        drop(far);
        stage.gather("one of two closed");
        drop(copy);
        stage.gather("both closed");
    });
}

#[test]
fn a_number_is_used_again_at_once() {
    let _simulation = Simulation::install(Plan::calm(1)).unwrap();
    let any = address("127.0.0.1:0");
    let first = net::tcp_socket(&any).unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&first);
    drop(first);
    // Other tests of this process open descriptors as well: one of a few tries is ours.
    let again = (0..64).map(|_| net::tcp_socket(&any).unwrap());
    let found: Vec<_> = again
        .map(|fd| std::os::fd::AsRawFd::as_raw_fd(&fd))
        .collect();
    assert!(found.contains(&number), "{number} is not among {found:?}");
}

#[test]
fn a_real_descriptor_stays_real() {
    let simulation = Simulation::install(Plan::calm(1)).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    assert_eq!(sys::write(writer.as_fd(), b"abc").unwrap(), 3);
    let mut room = [0; 8];
    assert_eq!(sys::read(reader.as_fd(), &mut room).unwrap(), 3);
    // A number that was simulated and now is not.
    let socket = net::tcp_socket(&address("127.0.0.1:0")).unwrap();
    drop(socket);
    let (reader, writer) = std::io::pipe().unwrap();
    assert_eq!(sys::write(writer.as_fd(), b"abc").unwrap(), 3);
    assert_eq!(sys::read(reader.as_fd(), &mut room).unwrap(), 3);
    assert!(simulation.open_descriptors().is_empty());
    assert!(Simulation::install(Plan::calm(2)).is_err());
}

#[test]
fn waiting_takes_no_time_and_moves_the_clock() {
    let simulation = Simulation::install(Plan::calm(1)).unwrap();
    let mut selector = Selector::open(Backend::Epoll).unwrap();
    let before = clock::now();
    let hour = Duration::from_secs(3600);
    let waited = selector.wait(&mut Events::new(), Some(hour)).unwrap();
    assert_eq!(waited, Waited::TimedOut);
    assert!(clock::now().saturating_since(before) >= hour);
    assert!(simulation.elapsed() < hour + Duration::from_secs(1));
}

#[test]
#[should_panic(expected = "nothing is under way that could end it")]
fn a_wait_that_nothing_can_end_is_told() {
    let _simulation = Simulation::install(Plan::calm(1)).unwrap();
    let mut selector = Selector::open(Backend::Epoll).unwrap();
    let _ = selector.wait(&mut Events::new(), None);
}

#[test]
fn a_full_table_of_descriptors_is_emfile() {
    let plan = Plan {
        descriptors_max: 3,
        ..Plan::calm(1)
    };
    let simulation = Simulation::install(plan).unwrap();
    let (listener, address) = listener();
    let peer = simulation.connect(address).unwrap();
    let third = net::tcp_socket(&address).unwrap();
    simulation.advance(Duration::from_millis(1));
    assert!(peer.is_connected());
    let errno = |error: io::Error| error.raw_os_error();
    let refused = net::accept::<SocketAddr>(listener.as_fd())
        .map_err(errno)
        .unwrap_err();
    assert_eq!(refused, Some(24));
    drop(third);
    let (accepted, _) = net::accept::<SocketAddr>(listener.as_fd()).unwrap();
    assert_eq!(sys::send(accepted.as_fd(), b"hello").unwrap(), 5);
    simulation.advance(Duration::from_millis(1));
    let mut room = [0; 8];
    assert_eq!(peer.receive(&mut room).unwrap(), 5);
    peer.reset();
    simulation.advance(Duration::from_millis(1));
    let gone = sys::send(accepted.as_fd(), b"x")
        .map_err(errno)
        .unwrap_err();
    assert_eq!(gone, Some(104));
}

#[test]
fn a_backlog_that_is_full_delays_a_connect_until_it_times_out() {
    let simulation = Simulation::install(Plan::calm(1)).unwrap();
    let listener = simulation.listen(address("10.0.0.1:80"), 0).unwrap();
    let first = simulation.connect(address("10.0.0.1:80")).unwrap();
    let second = simulation.connect(address("10.0.0.1:80")).unwrap();
    simulation.advance(Duration::from_millis(1));
    assert!(first.is_connected() && !second.is_connected());
    listener.accept().unwrap();
    simulation.advance(Duration::from_secs(1));
    assert!(second.is_connected());
    let third = simulation.connect(address("10.0.0.1:80")).unwrap();
    simulation.advance(Duration::from_secs(126));
    assert_eq!(
        third.send(b"x").unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    simulation.advance(Duration::from_secs(2));
    assert_eq!(
        third.send(b"x").unwrap_err().kind(),
        io::ErrorKind::TimedOut
    );
}

/// What a seed draws, it draws again; other seeds draw something else.
#[test]
fn the_same_seed_is_the_same_log() {
    let run = |seed| {
        let faults = Faults {
            reset: 0,
            vanish: 0,
            refuse: 0,
            ..Plan::stormy(seed).faults
        };
        let simulation = Simulation::install(Plan::stormy(seed).with_faults(faults)).unwrap();
        let listener = simulation.listen(address("10.0.0.1:80"), 16).unwrap();
        let near = simulation.connect(address("10.0.0.1:80")).unwrap();
        let mut far = None;
        let (mut sent, mut got) = (0, Vec::new());
        for _ in 0..2_000 {
            simulation.advance(Duration::from_millis(100));
            far = far.or_else(|| listener.accept().ok());
            let Some(far) = &far else { continue };
            let bytes: Vec<u8> = (sent..5_000).map(|at| at as u8).collect();
            sent += near.send(&bytes).unwrap_or(0);
            let mut room = [0; 100];
            let count = far.receive(&mut room).unwrap_or(0);
            got.extend_from_slice(&room[..count]);
        }
        if far.is_some() && near.is_connected() {
            let expected: Vec<u8> = (0..sent).map(|at| at as u8).collect();
            assert_eq!(got, expected);
        }
        (simulation.log(), simulation.digest())
    };
    let (log, digest) = run(3);
    assert!(log.lines().count() > 100);
    assert_eq!((log, digest), run(3));
    assert_ne!(run(4).1, digest);
}
