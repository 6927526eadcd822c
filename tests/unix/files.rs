//! Files of sockets: a stale one is removed if that was asked for, a live one never, and ours when we close.

use std::fs;
use std::os::unix::net::{UnixDatagram, UnixListener};

use tidegate::transport::unix::{UNLINK_ON_CLOSE, UNLINK_STALE};
use tidegate::{Channel, ErrorKind};

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
        // Its queue is full now, or it is of another kind: that is no sign of death either.
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
