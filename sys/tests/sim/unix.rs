//! Streams of the Unix domain.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::BytesMut;
use tidegate_sys::os::net::unix::{self, DirectoryLock, FileIdentity, UnixAddress};
use tidegate_sys::os::{Interest, io as sys, net};

use crate::kit::{Stage, on_both};

/// A name that nobody has.
fn free_name() -> UnixAddress {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    UnixAddress::abstract_name(format!("tidegate-sim-{}-{number}", std::process::id()))
}

fn listener(backlog: i32) -> (OwnedFd, UnixAddress) {
    let name = free_name();
    let socket = unix::stream_socket().unwrap();
    net::bind(socket.as_fd(), &name).unwrap();
    net::listen(socket.as_fd(), backlog).unwrap();
    (socket, name)
}

fn client(name: &UnixAddress) -> OwnedFd {
    let socket = unix::stream_socket().unwrap();
    net::connect(socket.as_fd(), name).unwrap();
    socket
}

/// (listener, client, accepted)
fn pair() -> (OwnedFd, OwnedFd, OwnedFd) {
    let (listener, name) = listener(16);
    let near = client(&name);
    let (far, _) = net::accept::<UnixAddress>(listener.as_fd()).unwrap();
    (listener, near, far)
}

fn names(stage: &mut Stage, what: &str, fd: &OwnedFd) {
    let is_named = |name: UnixAddress| name != UnixAddress::Unnamed;
    stage.tell(what, net::local_addr(fd.as_fd()).map(is_named));
    stage.tell(what, net::peer_addr(fd.as_fd()).map(is_named));
}

fn error(stage: &mut Stage, fd: &OwnedFd) {
    let error = net::take_error(fd.as_fd());
    stage.tell(
        "error",
        error.map(|error| error.and_then(|error| error.raw_os_error())),
    );
}

#[test]
fn a_socket_without_a_connection() {
    on_both(|stage| {
        let socket = unix::stream_socket().unwrap();
        stage.watch(&socket, 0, Interest::BOTH);
        stage.gather("fresh");
        stage.send("send", &socket, b"x");
        stage.receive("receive", &socket);
        names(stage, "names", &socket);
        let nobody = net::accept::<UnixAddress>(socket.as_fd()).map(drop);
        stage.tell("accept", nobody);
        stage.tell("listen", net::listen(socket.as_fd(), 1));
        stage.tell("shutdown", net::shutdown(socket.as_fd(), Shutdown::Both));
        stage.gather("shut");
        stage.receive("receive", &socket);
        stage.send("send", &socket, b"x");
        error(stage, &socket);
    });
}

#[test]
fn connecting_and_accepting() {
    on_both(|stage| {
        let (listener, name) = listener(4);
        stage.watch(&listener, 1, Interest::READ);
        stage.gather("nobody yet");
        let nobody = net::accept::<UnixAddress>(listener.as_fd()).map(drop);
        stage.tell("accept", nobody);
        let near = unix::stream_socket().unwrap();
        stage.watch(&near, 0, Interest::BOTH);
        stage.gather("before");
        stage.tell("connect", net::connect(near.as_fd(), &name));
        stage.gather("connected");
        stage.tell("connect again", net::connect(near.as_fd(), &name));
        let (far, peer) = net::accept::<UnixAddress>(listener.as_fd()).unwrap();
        stage.tell("peer", Ok(peer));
        names(stage, "near", &near);
        names(stage, "far", &far);
        stage.tell("bind", net::bind(near.as_fd(), &name));
        stage.tell("autobind", net::bind(near.as_fd(), &UnixAddress::Unnamed));
        names(stage, "near", &near);
        names(stage, "far", &far);
        stage.tell("listen", net::listen(near.as_fd(), 1));
        stage.tell("connect a listener", net::connect(listener.as_fd(), &name));
        stage.tell(
            "own",
            unix::peer_credentials(near.as_fd()).map(|who| who.pid),
        );
    });
}

#[test]
fn a_full_backlog_is_told_at_once() {
    on_both(|stage| {
        let (listener, name) = listener(1);
        let clients: Vec<OwnedFd> = (0..3)
            .map(|number| {
                let socket = unix::stream_socket().unwrap();
                stage.tell(
                    &format!("connect {number}"),
                    net::connect(socket.as_fd(), &name),
                );
                socket
            })
            .collect();
        net::accept::<UnixAddress>(listener.as_fd()).unwrap();
        stage.tell("again", net::connect(clients[2].as_fd(), &name));
    });
}

#[test]
fn who_is_not_there() {
    on_both(|stage| {
        let connect = |name: &UnixAddress| {
            let socket = unix::stream_socket().unwrap();
            net::connect(socket.as_fd(), name)
        };
        stage.tell("no name", connect(&free_name()));
        stage.tell("unnamed", connect(&UnixAddress::Unnamed));
        let folder = std::env::temp_dir();
        let path = folder.join(format!("tidegate-sim-{}", std::process::id()));
        let file = UnixAddress::path(&path);
        stage.tell("no file", connect(&file));
        stage.tell(
            "no identity",
            FileIdentity::of(&path).map(|(_, is_socket)| is_socket),
        );
        let socket = unix::stream_socket().unwrap();
        let lock = DirectoryLock::of_parent(&path).unwrap();
        stage.tell("locked", DirectoryLock::of_parent(&path).map(drop));
        drop(lock);
        stage.tell("unlocked", DirectoryLock::of_parent(&path).map(drop));
        stage.tell("bind", net::bind(socket.as_fd(), &file));
        stage.tell("not listening", connect(&file));
        net::listen(socket.as_fd(), 1).unwrap();
        stage.tell("listening", connect(&file));
        let other = unix::stream_socket().unwrap();
        stage.tell("taken", net::bind(other.as_fd(), &file));
        let (identity, is_socket) = FileIdentity::of(&path).unwrap();
        stage.tell("identity", Ok(is_socket));
        drop(socket);
        stage.tell("stale", connect(&file));
        stage.tell("taken still", net::bind(other.as_fd(), &file));
        stage.tell("remove", identity.remove(&path));
        stage.tell("remove", identity.remove(&path));
        stage.tell("gone", connect(&file));
        stage.tell("bind", net::bind(other.as_fd(), &file));
        let (identity, _) = FileIdentity::of(&path).unwrap();
        stage.tell("remove", identity.remove(&path));
    });
}

#[test]
fn data_and_its_edges() {
    on_both(|stage| {
        let (_listener, near, far) = pair();
        stage.watch(&near, 0, Interest::BOTH);
        stage.watch(&far, 1, Interest::BOTH);
        stage.gather("connected");
        stage.send("send", &near, b"hello");
        stage.send("send", &near, b"world");
        stage.gather("sent");
        stage.receive("receive", &far);
        stage.receive("receive", &far);
        stage.gather("received");
    });
}

#[test]
fn the_end_of_each_direction() {
    on_both(|stage| {
        for how in [Shutdown::Write, Shutdown::Read, Shutdown::Both] {
            let (_listener, near, far) = pair();
            stage.watch(&near, 0, Interest::BOTH);
            stage.watch(&far, 1, Interest::BOTH);
            stage.send("send", &near, b"x");
            stage.send("send", &far, b"y");
            stage.gather("connected");
            stage.tell("shutdown", net::shutdown(near.as_fd(), how));
            stage.gather("shut");
            for each in [&near, &far] {
                stage.send("send", each, b"x");
                stage.receive("receive", each);
                stage.receive("receive", each);
                names(stage, "names", each);
            }
            stage.gather("read");
            for each in [&near, &far] {
                error(stage, each);
                stage.tell("again", net::shutdown(each.as_fd(), Shutdown::Both));
            }
            stage.gather("the end");
            for each in [near, far] {
                stage.selector.deregister(each.as_fd()).unwrap();
            }
        }
    });
}

#[test]
fn closing_with_and_without_unread_data() {
    on_both(|stage| {
        for leaves_unread in [false, true] {
            let (_listener, near, far) = pair();
            stage.watch(&near, 0, Interest::BOTH);
            stage.send("send", &far, b"last words");
            if leaves_unread {
                stage.send("send", &near, b"unread");
            }
            stage.gather("before");
            drop(far);
            stage.gather("closed");
            stage.send("send", &near, b"x");
            stage.receive("receive", &near);
            stage.receive("receive", &near);
            stage.receive("receive", &near);
            names(stage, "names", &near);
            stage.gather("after");
            stage.selector.deregister(near.as_fd()).unwrap();
        }
    });
}

#[test]
fn a_listener_that_goes_resets_who_waits() {
    on_both(|stage| {
        let (listener, name) = listener(4);
        let near = client(&name);
        stage.watch(&near, 0, Interest::BOTH);
        stage.send("send", &near, b"hello");
        stage.gather("before");
        drop(listener);
        stage.gather("closed");
        stage.send("send", &near, b"x");
        stage.receive("receive", &near);
        stage.receive("receive", &near);
    });
}

/// How many messages fit is the kernel's business; when it tells of room is the program's.
#[test]
fn a_full_socket_reports_room_when_most_of_it_was_read() {
    on_both(|stage| {
        let (_listener, near, far) = pair();
        net::set_int(near.as_fd(), net::SO_SNDBUF, 20_000).unwrap();
        stage.tell("size", net::get_int(near.as_fd(), net::SO_SNDBUF));
        stage.watch(&near, 0, Interest::BOTH);
        stage.gather("connected");
        let mut sent = 0;
        let full = loop {
            match sys::send(near.as_fd(), &[7; 1000]) {
                Ok(count) => sent += count,
                Err(error) => break error,
            }
        };
        stage.tell("full", io::Result::<()>::Err(full));
        stage.gather("full");
        let mut bytes = BytesMut::new();
        sys::recv_into(far.as_fd(), &mut bytes, 1000).unwrap();
        stage.gather("read a little");
        while bytes.len() < sent {
            sys::recv_into(far.as_fd(), &mut bytes, 1000).unwrap();
        }
        stage.gather("read all");
        stage.send("send", &near, &[7; 1000]);
    });
}

#[test]
fn descriptors_come_with_their_bytes() {
    on_both(|stage| {
        let (one, other) = unix::stream_pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        sys::send(one.as_fd(), b"before").unwrap();
        let sent = unix::send_with_descriptors(one.as_fd(), b"with", &[file.as_fd(), file.as_fd()]);
        stage.tell("send", sent);
        sys::send(one.as_fd(), b"behind").unwrap();
        let (mut bytes, mut came) = (BytesMut::new(), Vec::new());
        for _ in 0..3 {
            let part = unix::recv_with_descriptors(other.as_fd(), &mut bytes, 99, Some(&mut came));
            stage.tell(
                "receive",
                part.map(|part| (part.lost_descriptors, came.len())),
            );
        }
        stage.tell("bytes", Ok(bytes));
        unix::send_with_descriptors(one.as_fd(), b"lost", &[file.as_fd()]).unwrap();
        let part = unix::recv_with_descriptors(other.as_fd(), &mut BytesMut::new(), 99, None);
        stage.tell("unasked", part);
        stage.tell("room", unix::has_room(one.as_fd()));
        // One that is the kernel's own, simulated or not.
        let (near, far) = unix::stream_pair().unwrap();
        unix::send_with_descriptors(one.as_fd(), b"x", &[far.as_fd()]).unwrap();
        drop(far);
        stage.send("to nobody yet", &near, b"hello");
        came.clear();
        unix::recv_with_descriptors(other.as_fd(), &mut BytesMut::new(), 9, Some(&mut came))
            .unwrap();
        stage.receive("received by the duplicate", &came[0]);
        stage.watch(&came[0], 1, Interest::READ);
        drop(near);
        stage.gather("closed");
        stage.selector.deregister(came[0].as_fd()).unwrap();
    });
}
