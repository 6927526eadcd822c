//! UDP datagrams.

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use bytes::BytesMut;
use tidegate_sys::os::net::{self, Outgoing};
use tidegate_sys::os::{Interest, io as sys};

use crate::kit::{Stage, address, on_both, pause, settle};

fn socket() -> OwnedFd {
    net::udp_socket(&address("127.0.0.1:0")).unwrap()
}

/// A socket of loopback, and its address.
fn bound() -> (OwnedFd, SocketAddr) {
    let socket = socket();
    net::bind(socket.as_fd(), &address("127.0.0.1:0")).unwrap();
    let address = net::local_addr(socket.as_fd()).unwrap();
    (socket, address)
}

fn outgoing<'a>(slices: &'a [IoSlice<'a>], peer: Option<&'a SocketAddr>) -> Outgoing<'a> {
    Outgoing {
        slices,
        peer,
        segment: None,
        local: None,
        descriptors: &[],
    }
}

fn send_to(stage: &mut Stage, what: &str, fd: &OwnedFd, bytes: &[u8], to: Option<&SocketAddr>) {
    let slices = [IoSlice::new(bytes)];
    let sent = net::send_many(fd.as_fd(), &[outgoing(&slices, to)]);
    stage.tell(what, sent);
    pause();
}

/// Lengths, and whether they were cut.
fn receive(stage: &mut Stage, what: &str, fd: &OwnedFd, each: usize, most: usize) {
    let (mut room, mut out) = (BytesMut::new(), Vec::new());
    settle();
    let got = net::recv_many::<SocketAddr>(fd.as_fd(), &mut room, each, most, &mut out);
    let told: Vec<_> = out
        .iter()
        .map(|one| (one.len, one.is_truncated, one.segment, one.local, one.class))
        .collect();
    stage.tell(what, got.map(|got| (got, told, room)));
}

fn error(stage: &mut Stage, fd: &OwnedFd) {
    let error = net::take_error(fd.as_fd());
    stage.tell(
        "error",
        error.map(|error| error.and_then(|error| error.raw_os_error())),
    );
}

#[test]
fn a_socket_that_was_only_made() {
    on_both(|stage| {
        let one = socket();
        stage.watch(&one, 0, Interest::BOTH);
        stage.gather("fresh");
        stage.tell("name", net::local_addr::<SocketAddr>(one.as_fd()));
        stage.names("peer", &one);
        receive(stage, "receive", &one, 100, 4);
        send_to(stage, "to nobody", &one, b"x", None);
        stage.tell("listen", net::listen(one.as_fd(), 1));
        let accepted = net::accept::<SocketAddr>(one.as_fd()).map(drop);
        stage.tell("accept", accepted);
        send_to(
            stage,
            "to port 0",
            &one,
            b"x",
            Some(&address("127.0.0.1:0")),
        );
        send_to(stage, "to v6", &one, b"x", Some(&address("[::1]:9")));
        stage.tell(
            "connect to v6",
            net::connect(one.as_fd(), &address("[::1]:9")),
        );
        stage.tell("shutdown", net::shutdown(one.as_fd(), Shutdown::Both));
        stage.gather("shut");
        receive(stage, "receive", &one, 100, 4);
    });
}

#[test]
fn datagrams_come_whole_and_in_order() {
    on_both(|stage| {
        let (one, _) = bound();
        let (other, to) = bound();
        stage.watch(&one, 0, Interest::BOTH);
        stage.watch(&other, 1, Interest::BOTH);
        stage.gather("bound");
        let parts: [&[u8]; 4] = [b"one", b"", b"three", b"fourth"];
        let slices: Vec<[IoSlice<'_>; 1]> = parts.map(|part| [IoSlice::new(part)]).into();
        let batch: Vec<Outgoing<'_>> = slices
            .iter()
            .map(|each| outgoing(each, Some(&to)))
            .collect();
        stage.tell("send", net::send_many(one.as_fd(), &batch));
        pause();
        stage.gather("sent");
        receive(stage, "two", &other, 100, 2);
        receive(stage, "cut", &other, 4, 2);
        receive(stage, "the rest", &other, 4, 2);
        receive(stage, "nothing", &other, 4, 2);
        stage.gather("received");
        let long = vec![7; 65_508];
        send_to(stage, "too long", &one, &long, Some(&to));
        send_to(stage, "longest", &one, &long[1..], Some(&to));
        receive(stage, "longest", &other, 10, 2);
    });
}

#[test]
fn what_the_kernel_tells_beside_the_bytes() {
    on_both(|stage| {
        let (one, _) = bound();
        let (other, to) = bound();
        net::set_int(one.as_fd(), net::IP_TOS, 0x28).unwrap();
        net::set_int(other.as_fd(), net::IP_PKTINFO, 1).unwrap();
        net::set_int(other.as_fd(), net::IP_RECVTOS, 1).unwrap();
        send_to(stage, "send", &one, b"x", Some(&to));
        receive(stage, "receive", &other, 100, 2);
        let bytes = [7; 250];
        let slices = [IoSlice::new(&bytes)];
        let cut = Outgoing {
            segment: Some(100),
            ..outgoing(&slices, Some(&to))
        };
        stage.tell("cut", net::send_many(one.as_fd(), &[cut]));
        pause();
        receive(stage, "parts", &other, 200, 8);
    });
}

#[test]
fn a_connected_socket_hears_of_its_peer_only_and_of_refusals() {
    on_both(|stage| {
        let (one, from) = bound();
        let (other, to) = bound();
        let (third, _) = bound();
        stage.watch(&one, 0, Interest::BOTH);
        stage.tell("connect", net::connect(one.as_fd(), &to));
        stage.names("peer", &one);
        send_to(stage, "third", &third, b"not heard", Some(&from));
        send_to(stage, "other", &other, b"heard", Some(&from));
        receive(stage, "receive", &one, 100, 4);
        sys::send(one.as_fd(), b"plain").unwrap();
        pause();
        receive(stage, "received", &other, 100, 4);
        stage.gather("connected");
        drop(other);
        send_to(stage, "to nobody", &one, b"x", None);
        stage.gather("refused");
        receive(stage, "told once", &one, 100, 4);
        receive(stage, "told once", &one, 100, 4);
        send_to(stage, "to nobody", &one, b"x", None);
        send_to(stage, "told to the next send", &one, b"x", None);
        send_to(stage, "and sent", &one, b"x", None);
        error(stage, &one);
        error(stage, &one);
        stage.tell("disconnect", net::disconnect(one.as_fd()));
        stage.names("peer", &one);
        let name = net::local_addr::<SocketAddr>(one.as_fd());
        stage.tell(
            "name",
            name.map(|name| (name == from, name.ip(), name.port() == 0)),
        );
        send_to(stage, "third", &third, b"heard again", Some(&from));
        receive(stage, "receive", &one, 100, 4);
        send_to(stage, "unconnected", &one, b"x", Some(&to));
        error(stage, &one);
    });
}

/// What autobind gave is gone with the peer.
#[test]
fn names_without_bind() {
    on_both(|stage| {
        let (_other, to) = bound();
        let one = socket();
        stage.tell("connect", net::connect(one.as_fd(), &to));
        let name = net::local_addr::<SocketAddr>(one.as_fd());
        stage.tell("name", name.map(|name| (name.ip(), name.port() == 0)));
        stage.tell("bind", net::bind(one.as_fd(), &address("127.0.0.1:0")));
        stage.tell("disconnect", net::disconnect(one.as_fd()));
        let name = net::local_addr::<SocketAddr>(one.as_fd());
        stage.tell("name", name.map(|name| (name.ip(), name.port() == 0)));
        let two = socket();
        send_to(stage, "send", &two, b"x", Some(&to));
        let name = net::local_addr::<SocketAddr>(two.as_fd());
        stage.tell("name", name.map(|name| (name.ip(), name.port() == 0)));
        let any = socket();
        net::bind(any.as_fd(), &address("0.0.0.0:0")).unwrap();
        net::connect(any.as_fd(), &to).unwrap();
        let name = net::local_addr::<SocketAddr>(any.as_fd());
        stage.tell("name", name.map(|name| (name.ip(), name.port() == 0)));
        net::disconnect(any.as_fd()).unwrap();
        let name = net::local_addr::<SocketAddr>(any.as_fd());
        stage.tell("name", name.map(|name| (name.ip(), name.port() == 0)));
    });
}

/// A socket on a port that a listener can have as well, which is answered too. Of ports of the real kernel some are other
/// programs', as a listener's or as anybody's, so one is looked for, on an address that few know.
fn bound_beside_a_listener() -> (OwnedFd, SocketAddr, io::Result<()>) {
    let mut tries = 0;
    loop {
        let one = socket();
        net::bind(one.as_fd(), &address("127.45.0.1:0")).unwrap();
        let name = net::local_addr(one.as_fd()).unwrap();
        let listener = net::tcp_socket(&name).unwrap();
        let answer = net::bind(listener.as_fd(), &name);
        tries += 1;
        if answer.is_ok() || tries == 100 {
            return (one, name, answer);
        }
    }
}

#[test]
fn ports_are_taken_once() {
    on_both(|stage| {
        let (_one, name, listener) = bound_beside_a_listener();
        stage.tell("tcp", listener);
        let other = socket();
        stage.tell("taken", net::bind(other.as_fd(), &name));
        net::set_int(other.as_fd(), net::SO_REUSEADDR, 1).unwrap();
        stage.tell("still", net::bind(other.as_fd(), &name));
        let any = SocketAddr::new(address("0.0.0.0:0").ip(), name.port());
        stage.tell("overlapping", net::bind(other.as_fd(), &any));
        let elsewhere = SocketAddr::new(address("127.45.0.2:0").ip(), name.port());
        stage.tell("elsewhere", net::bind(other.as_fd(), &elsewhere));
        stage.tell("twice", net::bind(other.as_fd(), &elsewhere));
        let third = socket();
        net::set_int(third.as_fd(), net::SO_REUSEADDR, 1).unwrap();
        stage.tell("shared", net::bind(third.as_fd(), &elsewhere));
    });
}

#[test]
fn shutting_a_connected_socket() {
    on_both(|stage| {
        let (one, from) = bound();
        let (other, to) = bound();
        net::connect(one.as_fd(), &to).unwrap();
        stage.watch(&one, 0, Interest::BOTH);
        stage.gather("connected");
        stage.tell("shutdown", net::shutdown(one.as_fd(), Shutdown::Write));
        send_to(stage, "send", &one, b"x", None);
        stage.gather("output shut");
        send_to(stage, "other", &other, b"y", Some(&from));
        receive(stage, "receive", &one, 100, 4);
        stage.tell("shutdown", net::shutdown(one.as_fd(), Shutdown::Read));
        stage.gather("both shut");
        receive(stage, "receive", &one, 100, 4);
    });
}

/// How many fit is the kernel's business; that they are lost without a word is the program's.
#[test]
fn what_does_not_fit_is_lost() {
    on_both(|stage| {
        let (one, _) = bound();
        let (other, to) = bound();
        net::set_int(other.as_fd(), net::SO_RCVBUF, 4_096).unwrap();
        stage.tell("size", net::get_int(other.as_fd(), net::SO_RCVBUF));
        stage.watch(&other, 0, Interest::READ);
        let bytes = [7; 1_000];
        let slices = [IoSlice::new(&bytes)];
        for _ in 0..100 {
            assert_eq!(
                net::send_many(one.as_fd(), &[outgoing(&slices, Some(&to))]).unwrap(),
                1
            );
        }
        pause();
        stage.gather("sent");
        let (mut room, mut out) = (BytesMut::new(), Vec::new());
        settle();
        let got = net::recv_many::<SocketAddr>(other.as_fd(), &mut room, 2_000, 32, &mut out);
        stage.tell("some", got.map(|got| got > 2 && got < 20));
        send_to(stage, "one more", &one, b"x", Some(&to));
        receive(stage, "one more", &other, 100, 4);
        let empty: io::Result<()> = Ok(());
        stage.tell("done", empty);
    });
}
