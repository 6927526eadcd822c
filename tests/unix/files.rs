//! Files of sockets: a stale one is removed if that was asked for, a live one never, and ours when we close.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixListener};

use tidegate::transport::unix::{UNLINK_ON_CLOSE, UNLINK_STALE, UnixStream};
use tidegate::{Bootstrap, Channel, ErrorKind, LocalEventLoop, ServerBootstrap};
use tidegate_sys::os::net;
use tidegate_sys::os::net::unix::{DirectoryLock, stream_socket};

use crate::support::*;

#[test]
fn a_stale_file_stands_in_the_way_unless_it_may_be_removed() {
    with_each_group(|group, folder| {
        let path = folder.path("stale");
        leave_stale(&path);
        let plain = server(group, || Echo);
        assert_eq!(failed(plain.bind(&path)).kind(), ErrorKind::AddrInUse);
        assert!(path.exists());
        ok(plain.option(UNLINK_STALE, true).bind(&path));
        let (bootstrap, seen) = client(group);
        let client = ok(bootstrap.connect(&path));
        ok(client.write_and_flush("alive"));
        assert_eq!(read_exactly(&seen, 5), b"alive");
    });
}

#[test]
fn a_live_socket_and_what_is_none_are_never_removed() {
    with_each_group(|group, folder| {
        let eager = server(group, || Echo).option(UNLINK_STALE, true);
        let live = folder.path("live");
        let listener = UnixListener::bind(&live).unwrap();
        assert_eq!(failed(eager.bind(&live)).kind(), ErrorKind::AddrInUse);
        listener.set_nonblocking(true).unwrap();
        assert_eq!(
            listener.accept().unwrap_err().kind(),
            io::ErrorKind::WouldBlock,
            "a live one is not asked"
        );
        // It is of another kind: that is no sign of death either.
        let datagrams = folder.path("datagrams");
        let _other = UnixDatagram::bind(&datagrams).unwrap();
        assert_eq!(failed(eager.bind(&datagrams)).kind(), ErrorKind::AddrInUse);
        let file = folder.path("file");
        fs::write(&file, "precious").unwrap();
        let error = failed(eager.bind(&file));
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().contains("no socket"), "{error}");
        assert_eq!(fs::read(&file).unwrap(), b"precious");
        let (bootstrap, _) = client(group);
        ok(bootstrap.connect(&live));
        drop(listener);
        assert!(live.exists() && datagrams.exists());
    });
}

/// As a story: two servers started at once, one of them without the lock. What it had bound and did not listen at yet refused
/// connections as one that is dead, and was removed. (On macOS and the BSDs so does one whose queue is full.)
#[test]
fn a_socket_that_refuses_connections_is_not_removed_while_somebody_has_it() {
    with_each_group(|group, folder| {
        let path = folder.path("not yet");
        let address = tidegate_sys::os::net::unix::UnixAddress::path(&path);
        let socket = stream_socket().unwrap();
        net::bind(socket.as_fd(), &address).unwrap();
        let eager = server(group, || Echo).option(UNLINK_STALE, true);
        assert_eq!(failed(eager.bind(&path)).kind(), ErrorKind::AddrInUse);
        assert!(path.exists());
        drop(socket);
        ok(ok(eager.bind(&path)).close());
    });
}

#[test]
fn ours_is_removed_when_we_close_unless_another_one_has_taken_its_place() {
    with_each_group(|group, folder| {
        let path = folder.path("ours");
        let bootstrap = server(group, || Echo);
        let bind = || ok(bootstrap.bind(&path));
        ok(bind().close());
        assert!(!path.exists());

        // Somebody else's, at the same path.
        let first = bind();
        fs::rename(&path, folder.path("moved")).unwrap();
        let second = UnixListener::bind(&path).unwrap();
        ok(first.close());
        assert!(path.exists());
        drop(second);
        fs::remove_file(&path).unwrap();

        // Removed already.
        let third = bind();
        fs::remove_file(&path).unwrap();
        ok(third.close());

        // Kept on purpose, for a process that goes on with the descriptor.
        let kept = ok(bootstrap.clone().option(UNLINK_ON_CLOSE, false).bind(&path));
        let on = kept.option(UNLINK_ON_CLOSE).sync_timeout(DEADLINE).unwrap();
        assert!(!on);
        ok(kept.close());
        assert!(path.exists());
    });
}

#[test]
fn a_server_that_is_dropped_with_its_loop_leaves_no_file() {
    let folder = Folder::new();
    let path = folder.path("dropped");
    let group = tidegate::EventLoopGroup::new(1).unwrap();
    ok(server(&group, || Echo).bind(&path));
    assert!(path.exists());
    group.stop();
    assert!(group.await_termination(DEADLINE).unwrap());
    assert!(!path.exists());
    drop(unbound());
}

/// The race in which two programs find the same stale file: one of them gets the address, and it is alive.
#[test]
fn of_several_that_start_at_once_one_has_the_address() {
    let folder = Folder::new();
    let path = folder.path("contended");
    let group = tidegate::EventLoopGroup::new(4).unwrap();
    let bootstrap = server(&group, || Echo).option(UNLINK_STALE, true);
    for _ in 0..20 {
        leave_stale(&path);
        let binds: Vec<_> = (0..4).map(|_| bootstrap.bind(&path)).collect();
        let bound: Vec<Channel> = binds
            .into_iter()
            .filter_map(|bind| bind.sync_timeout(DEADLINE).ok())
            .collect();
        assert_eq!(bound.len(), 1);
        let (client, seen) = client(&group);
        let client = ok(client.connect(&path));
        ok(client.write_and_flush("alive"));
        assert_eq!(read_exactly(&seen, 5), b"alive");
        ok(bound[0].close());
        assert!(!path.exists());
    }
}

/// Another program may hold the lock of the folder, or be stopped while it does. The loop goes on meanwhile, and the bind
/// does when the lock is free.
#[test]
fn a_bind_that_waits_for_its_turn_does_not_hold_the_loop() {
    let folder = Folder::new();
    let path = folder.path("turn");
    leave_stale(&path);
    let local = LocalEventLoop::new().unwrap();
    let bootstrap = ServerBootstrap::new(&local, &local)
        .transport::<UnixStream>()
        .option(UNLINK_STALE, true)
        .child_handler(|pipeline| pipeline.add_last(Echo));
    let held = DirectoryLock::of_parent(&path).unwrap();
    let bind = bootstrap.bind(&path);
    for _ in 0..5 {
        local.turn(Some(DEADLINE));
    }
    assert!(!bind.is_done(), "somebody else has the turn");
    drop(held);
    let bound = local.block_on(bind).unwrap();
    let bound = bound.expect("the turn has come");
    local.block_on(bound.close()).unwrap().unwrap();
    assert!(!path.exists());

    // A client with a name of its own waits as well.
    let listener = UnixListener::bind(folder.path("there")).unwrap();
    let held = DirectoryLock::of_parent(&path).unwrap();
    leave_stale(&path);
    let connect = Bootstrap::new(&local)
        .transport::<UnixStream>()
        .option(UNLINK_STALE, true)
        .handler(|pipeline| pipeline.add_last(Echo))
        .local_address(&path)
        .connect(folder.path("there"));
    for _ in 0..5 {
        local.turn(Some(DEADLINE));
    }
    assert!(!connect.is_done(), "somebody else has the turn");
    drop(held);
    let client = local.block_on(connect).unwrap().expect("its turn");
    let (_peer, name) = listener.accept().unwrap();
    assert_eq!(name.as_pathname(), Some(path.as_path()));
    local.block_on(client.close()).unwrap().unwrap();

    // Whoever closes the channel waits no longer.
    let held = DirectoryLock::of_parent(&path).unwrap();
    let bind = bootstrap.bind(&path);
    local.turn(Some(DEADLINE));
    bind.channel().close();
    let error = local.block_on(bind).unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ChannelClosed);

    // Nobody waits for ever.
    let bind = bootstrap.bind(&path);
    let error = local.block_on(bind).unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains("lock"), "{error}");
    drop(held);
}
