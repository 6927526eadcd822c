//! Connections: addresses, credentials, halves, writes that fill the socket.

use std::fs;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net;
use std::sync::mpsc::Receiver;

use tidegate::channel::options::{
    ALLOW_HALF_CLOSURE, AUTO_READ, SO_KEEPALIVE, SO_RCVBUF, SO_SNDBUF, TCP_NODELAY,
};
use tidegate::transport::unix::{Accepted, SO_PEERCRED, UnixAddress, UnixStream};
use tidegate::{Address, Channel, ErrorKind, EventLoopGroup, FileRegion};

use crate::support::*;

#[test]
fn a_path_leads_to_a_server_and_back() {
    with_each_group(|group, folder| {
        let path = folder.path("echo");
        let server = ok(server(group, || Echo).bind(&path));
        assert_eq!(
            server.local_address(),
            Some(Address::Unix(UnixAddress::path(&path)))
        );
        let (bootstrap, seen) = client(group);
        let client = ok(bootstrap.connect(&path));
        assert_eq!(
            client
                .remote_address()
                .unwrap()
                .as_unix()
                .unwrap()
                .as_path(),
            Some(&*path)
        );
        // A client has no name unless it is bound.
        assert_eq!(
            client.local_address(),
            Some(Address::Unix(UnixAddress::Unnamed))
        );
        ok(client.write_and_flush("over the file system"));
        assert_eq!(read_exactly(&seen, 20), b"over the file system");
        ok(client.close());
        ok(server.close());
    });
}

#[cfg(target_os = "linux")]
#[test]
fn an_abstract_name_needs_no_file() {
    with_each_group(|group, folder| {
        let name = format!("@tidegate-{}", std::process::id());
        let server = ok(server(group, || Echo).bind(name.as_str()));
        assert_eq!(server.local_address().unwrap().to_string(), name);
        let (bootstrap, seen) = client(group);
        let client = ok(bootstrap.connect(name.as_str()));
        ok(client.write_and_flush("without a file"));
        assert_eq!(read_exactly(&seen, 14), b"without a file");
        assert!(folder.names().is_empty());
        ok(server.close());
        assert_eq!(
            failed(bootstrap.connect(name.as_str())).kind(),
            ErrorKind::ConnectRefused
        );
    });
}

#[cfg(target_os = "linux")]
#[test]
fn binding_to_no_name_asks_linux_for_one() {
    with_each_group(|group, _| {
        let server = ok(server(group, || Echo).bind(UnixAddress::Unnamed));
        let found = server.local_address().unwrap().as_unix().unwrap().clone();
        assert!(matches!(found, UnixAddress::Abstract(_)), "{found}");
        let (bootstrap, _) = client(group);
        ok(bootstrap.connect(found));
    });
}

#[test]
fn a_client_that_is_bound_has_a_name_and_leaves_no_file() {
    with_each_group(|group, folder| {
        let (tell, served) = Probe::channel();
        let listening = server(group, move || Probe(tell.clone()));
        ok(listening.bind(folder.path("server")));
        let (bootstrap, _) = client(group);
        let own = folder.path("client");
        let client = ok(bootstrap.local_address(&own).connect(folder.path("server")));
        let child = active(&served);
        assert_eq!(
            child.remote_address().unwrap().as_unix().unwrap().as_path(),
            Some(&*own)
        );
        ok(client.close());
        assert!(!own.exists());
    });
}

#[test]
fn both_ends_know_who_the_other_one_is() {
    with_each_group(|group, folder| {
        let (client, _, child, _) = connected(group, folder.path("who"), |server| server);
        for channel in [client, child] {
            let told = channel.option(SO_PEERCRED).sync_timeout(DEADLINE).unwrap();
            assert_eq!(told.uid, nix_uid());
            assert!(told.pid.is_none_or(|pid| pid == std::process::id()));
            let error = channel.set_option(SO_PEERCRED, told);
            assert_eq!(
                error.sync_timeout(DEADLINE).unwrap_err().kind(),
                ErrorKind::Unsupported
            );
        }
    });
}

fn nix_uid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    let probe = Folder::new();
    fs::metadata(probe.path("")).expect("our own folder").uid()
}

#[test]
fn a_half_that_is_closed_leaves_the_other_one_open() {
    with_each_group(|group, folder| {
        let (client, seen, child, served) = connected(group, folder.path("half"), |server| {
            server.child_option(ALLOW_HALF_CLOSURE, true)
        });
        ok(client.write_and_flush("question"));
        ok(client.shutdown_output());
        assert_eq!(read_exactly(&served, 8), b"question");
        while !matches!(next(&served), Seen::Event("ChannelInputShutdown")) {}
        ok(child.write_and_flush("answer"));
        assert_eq!(read_exactly(&seen, 6), b"answer");
        ok(child.close());
        wait_for_the_end(&seen);
    });
}

/// Rules: A36, A39
///
/// There is no error that a read or the socket would tell: such a channel stayed active until somebody wrote.
#[test]
fn a_peer_that_closes_behind_its_end_is_the_end_of_a_half_closed_channel() {
    with_each_group(|group, folder| {
        let (client, seen, peer) = half_closing(group, folder, true);
        peer.shutdown(Shutdown::Write).unwrap();
        while !matches!(next(&seen), Seen::Event("ChannelInputShutdownReadComplete")) {}
        assert!(client.is_active());
        drop(peer);
        assert!(matches!(next(&seen), Seen::Inactive));
        client.close_future().sync_timeout(DEADLINE).unwrap();
    });
}

/// Rules: A36, A38, A39
///
/// The same with all of it there before the end was read: it need not be reported again.
#[test]
fn a_peer_that_has_closed_before_its_end_was_read_is_the_end_as_well() {
    with_each_group(|group, folder| {
        let (client, seen, mut peer) = half_closing(group, folder, false);
        peer.write_all(b"last words").unwrap();
        drop(peer);
        while !matches!(next(&seen), Seen::Event("PeerClosing")) {}
        client.set_auto_read(true);
        assert_eq!(read_exactly(&seen, 10), b"last words");
        while !matches!(next(&seen), Seen::Event("ChannelInputShutdownReadComplete")) {}
        assert!(matches!(next(&seen), Seen::Inactive));
        client.close_future().sync_timeout(DEADLINE).unwrap();
    });
}

/// A client that may be half-closed, what it sees, and the other end.
fn half_closing(
    group: &EventLoopGroup,
    folder: &Folder,
    auto_read: bool,
) -> (Channel, Receiver<Seen>, net::UnixStream) {
    let path = folder.path("peer");
    let listener = net::UnixListener::bind(&path).unwrap();
    let (bootstrap, seen) = client(group);
    let bootstrap = bootstrap
        .option(ALLOW_HALF_CLOSURE, true)
        .option(AUTO_READ, auto_read);
    let client = ok(bootstrap.connect(&path));
    active(&seen);
    fs::remove_file(path).unwrap();
    (client, seen, listener.accept().unwrap().0)
}

/// Many buffers of many sizes, a part of a file among them, through a socket that is soon full.
#[test]
fn what_fills_the_socket_arrives_whole_and_in_order() {
    with_each_group(|group, folder| {
        let (client, _, _child, served) = connected(group, folder.path("full"), |server| server);
        let set = client.set_option(SO_SNDBUF, 16 << 10);
        set.sync_timeout(DEADLINE).unwrap();
        let file = folder.path("file");
        fs::write(&file, vec![b'f'; 50_000]).unwrap();
        let mut expected = Vec::new();
        for index in 0..300_usize {
            let bytes = vec![index as u8; index * 17 % 5_000];
            expected.extend_from_slice(&bytes);
            client.write(bytes);
            if index == 150 {
                let region = FileRegion::new(fs::File::open(&file).unwrap(), 0, 50_000);
                expected.extend_from_slice(&[b'f'; 50_000]);
                client.write(region);
            }
        }
        let last = client.write_and_flush("end");
        expected.extend_from_slice(b"end");
        assert!(read_exactly(&served, expected.len()) == expected);
        ok(last);
    });
}

#[test]
fn a_pair_becomes_two_channels() {
    with_each_group(|group, _| {
        let (one, other) = Accepted::pair().unwrap();
        assert_eq!(one.peer(), UnixAddress::Unnamed);
        assert_eq!(one.credentials().unwrap().uid, nix_uid());
        let open = |accepted: Accepted| {
            let (tell, seen) = Probe::channel();
            let opened = Channel::builder().open_on(
                &group.next(),
                move || UnixStream::from(accepted),
                |pipeline| pipeline.add_last(Probe(tell)),
            );
            (ok(opened), seen)
        };
        let (one, _) = open(one);
        let (_other, seen) = open(other);
        ok(one.write_and_flush("through a pair"));
        assert_eq!(read_exactly(&seen, 14), b"through a pair");
    });
}

#[test]
fn options_of_sockets_are_there_and_those_of_tcp_are_not() {
    with_each_group(|group, folder| {
        let path = folder.path("options");
        ok(server(group, || Echo)
            .option(SO_RCVBUF, 8 << 10)
            .bind(&path));
        let (bootstrap, _) = client(group);
        let client = ok(bootstrap.clone().option(SO_SNDBUF, 32 << 10).connect(&path));
        let buffer = client.option(SO_SNDBUF).sync_timeout(DEADLINE).unwrap();
        assert!(buffer >= 32 << 10, "{buffer}");
        for error in [
            failed(bootstrap.clone().option(TCP_NODELAY, true).connect(&path)),
            failed(bootstrap.option(SO_KEEPALIVE, true).connect(&path)),
            failed(server(group, || Echo).option(TCP_NODELAY, true).bind(&path)),
        ] {
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains("has no option"), "{error}");
        }
    });
}
