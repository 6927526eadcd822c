//! TCP on threads.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use tidegate::buffer::FileRegion;
use tidegate::channel::options::{
    ALLOW_HALF_CLOSURE, AUTO_READ, CONNECT_TIMEOUT, RECV_ALLOCATOR, SO_LINGER, SO_RCVBUF,
    SO_SNDBUF, SO_TIMEOUT, TCP_NODELAY,
};
use tidegate::transport::{oio, tcp};
use tidegate::{ErrorKind, Fault, RecvAllocator, ServerBootstrap};
use tidegate_sys::os::net;

use crate::refusing::refusing;
use crate::support::{
    DEADLINE, Echo, Group, Seen, client, listener, names, next, read_exactly, recipe, until,
};

fn numbers(count: u32) -> Vec<u8> {
    (0..count).flat_map(u32::to_be_bytes).collect()
}

#[test]
fn what_is_sent_through_a_blocking_server_comes_back() {
    let group = Group::new();
    let server = ServerBootstrap::new(&group.loops, &group.loops)
        .transport::<oio::Tcp>()
        .child_option(SO_TIMEOUT, Duration::from_millis(5))
        .child_handler(|pipeline| pipeline.add_last(Echo))
        .bind("127.0.0.1:0")
        .sync_timeout(DEADLINE)
        .unwrap();
    let (bootstrap, seen) = recipe(&group);
    let client = bootstrap
        .connect(server.local_address().unwrap())
        .sync_timeout(DEADLINE)
        .unwrap();
    assert_eq!(next(&seen), Seen::Active);
    let sent = numbers(1 << 20);
    // Both directions are full most of the time: neither thread may wait for the other.
    for part in sent.chunks(100_000) {
        client.write_and_flush(part.to_vec());
    }
    assert!(read_exactly(&seen, sent.len()) == sent);
    if cfg!(target_os = "linux") {
        let names = names();
        let count = |start: &str| names.iter().filter(|name| name.starts_with(start)).count();
        assert_eq!(count("oio-accept-"), 1);
        assert_eq!((count("oio-read-"), count("oio-write-")), (2, 2));
        assert_eq!(oio::threads(), 5);
    }
    client.close().sync_timeout(DEADLINE).unwrap();
    server.close().sync_timeout(DEADLINE).unwrap();
}

#[test]
fn a_write_goes_out_while_a_read_waits() {
    let group = Group::new();
    let (client, mut peer, seen) = client(&group, |bootstrap| bootstrap);
    until("the read waits", || oio::threads() == 1);
    let written = client.write_and_flush("ping");
    let mut got = [0; 4];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"ping");
    written.sync_timeout(DEADLINE).unwrap();
    peer.write_all(b"pong").unwrap();
    assert_eq!(next(&seen), Seen::Read(b"pong".to_vec()));
}

/// The wait of a read ends many times, and nobody hears of it.
#[test]
fn a_read_that_times_out_is_tried_again_and_is_no_event() {
    let group = Group::new();
    let (client, mut peer, seen) = client(&group, |bootstrap| {
        bootstrap.option(SO_TIMEOUT, Duration::from_millis(1))
    });
    assert_eq!(
        client.option(SO_TIMEOUT).sync_timeout(DEADLINE).unwrap(),
        Duration::from_millis(1)
    );
    let begun = waits();
    until("several waits are over", || {
        waits() > begun + 5 || !cfg!(target_os = "linux")
    });
    // Not even the end of a batch.
    let events: Vec<Seen> = seen.try_iter().collect();
    assert_eq!(events, []);
    peer.write_all(b"late").unwrap();
    assert_eq!(next(&seen), Seen::Read(b"late".to_vec()));
    client
        .set_option(SO_TIMEOUT, Duration::from_secs(3))
        .sync_timeout(DEADLINE)
        .unwrap();
}

/// How often reading threads gave up their processor.
fn waits() -> u64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return 0;
    };
    let waits = |task: std::io::Result<std::fs::DirEntry>| {
        let path = task.ok()?.path();
        let name = std::fs::read_to_string(path.join("comm")).ok()?;
        let status = std::fs::read_to_string(path.join("status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        name.starts_with("oio-read")
            .then(|| line.trim().parse::<u64>().ok())?
    };
    tasks.filter_map(waits).sum::<u64>()
}

/// Rules: D2, D3
#[test]
fn without_auto_read_there_is_one_read_for_each_that_is_asked_for() {
    let group = Group::new();
    let (client, mut peer, seen) = client(&group, |bootstrap| {
        bootstrap
            .option(AUTO_READ, false)
            .option(RECV_ALLOCATOR, RecvAllocator::Fixed(4))
    });
    peer.write_all(b"onetwo").unwrap();
    client.read();
    assert_eq!(next(&seen), Seen::Read(b"onet".to_vec()));
    client.read();
    assert_eq!(next(&seen), Seen::Read(b"wo".to_vec()));
    client.read();
    peer.write_all(b"more").unwrap();
    assert_eq!(next(&seen), Seen::Read(b"more".to_vec()));
}

/// Rules: A36
#[test]
fn after_the_end_of_its_input_a_channel_still_writes() {
    let group = Group::new();
    let (client, mut peer, seen) = client(&group, |bootstrap| {
        bootstrap.option(ALLOW_HALF_CLOSURE, true)
    });
    peer.write_all(b"last words").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(next(&seen), Seen::Read(b"last words".to_vec()));
    assert_eq!(next(&seen), Seen::Event("ChannelInputShutdown".to_owned()));
    assert_eq!(
        next(&seen),
        Seen::Event("ChannelInputShutdownReadComplete".to_owned())
    );
    client
        .write_and_flush("heard")
        .sync_timeout(DEADLINE)
        .unwrap();
    client.close().sync_timeout(DEADLINE).unwrap();
    let mut got = String::new();
    peer.read_to_string(&mut got).unwrap();
    assert_eq!(got, "heard");
}

#[test]
fn ending_the_output_lets_out_what_is_being_written() {
    let group = Group::new();
    let (client, mut peer, _seen) = client(&group, |bootstrap| bootstrap.option(SO_SNDBUF, 8192));
    let sent = numbers(200_000);
    client.write_and_flush(sent.clone());
    until("the thread writes", || oio::threads() == 2);
    client.shutdown_output().sync_timeout(DEADLINE).unwrap();
    let mut got = Vec::new();
    peer.read_to_end(&mut got).unwrap();
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
    drop(peer);
    client.close_future().sync_timeout(DEADLINE).unwrap();
}

/// Rules: A41
#[test]
fn ending_the_output_is_what_the_peer_sees() {
    let group = Group::new();
    let (client, mut peer, seen) = client(&group, |bootstrap| bootstrap);
    client
        .write_and_flush("bye")
        .sync_timeout(DEADLINE)
        .unwrap();
    client.shutdown_output().sync_timeout(DEADLINE).unwrap();
    let mut got = String::new();
    peer.read_to_string(&mut got).unwrap();
    assert_eq!(got, "bye");
    assert_eq!(next(&seen), Seen::Event("ChannelOutputShutdown".to_owned()));
    peer.write_all(b"and you").unwrap();
    assert_eq!(next(&seen), Seen::Read(b"and you".to_vec()));
}

/// Rules: C16, C20
#[test]
fn regions_and_buffers_go_out_in_the_order_of_their_writes() {
    let group = Group::new();
    let (client, mut peer, _seen) = client(&group, |bootstrap| bootstrap);
    let path = std::env::temp_dir().join(format!("tidegate-oio-{}", std::process::id()));
    let contents = numbers(100_000);
    std::fs::write(&path, &contents).unwrap();
    client.write("head ");
    client.write(FileRegion::whole(&path).unwrap());
    let written = client.write_and_flush(" tail");
    let mut got = vec![0; contents.len() + 10];
    peer.read_exact(&mut got).unwrap();
    std::fs::remove_file(&path).unwrap();
    written.sync_timeout(DEADLINE).unwrap();
    let expected = [b"head ", &contents[..], b" tail"].concat();
    assert!(got == expected);
    // A file that is shorter than its region leaves a gap in the stream: the connection ends.
    std::fs::write(&path, "short").unwrap();
    let written = client.write_and_flush(FileRegion::lazy(&path, 0, 100));
    let error = written.sync_timeout(DEADLINE).unwrap_err();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(error.kind(), ErrorKind::FileTooShort);
    client.close_future().sync_timeout(DEADLINE).unwrap();
}

/// Rules: A17
#[test]
fn a_refused_connect_names_the_address() {
    let group = Group::new();
    let (_held, address) = refusing();
    let (bootstrap, _seen) = recipe(&group);
    let error = bootstrap
        .connect(address)
        .sync_timeout(DEADLINE)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectRefused);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

/// Rules: A19, A21
#[test]
fn a_connect_without_an_answer_ends_with_its_timeout_or_a_close() {
    let group = Group::new();
    // TEST-NET-1 of RFC 5737 has no hosts; a machine without a route says so at once.
    let (bootstrap, _seen) = recipe(&group);
    let connecting = bootstrap
        .option(CONNECT_TIMEOUT, Duration::from_millis(10))
        .connect("192.0.2.1:9");
    let error = connecting.sync_timeout(DEADLINE).unwrap_err();
    assert!(
        matches!(
            error.kind(),
            ErrorKind::ConnectTimeout | ErrorKind::Unreachable | ErrorKind::ConnectRefused
        ),
        "{error}"
    );
    connecting
        .channel()
        .close_future()
        .sync_timeout(DEADLINE)
        .unwrap();
}

/// Rules: A40
#[test]
fn a_reset_is_told_and_closes() {
    let group = Group::new();
    let (client, peer, seen) = client(&group, |bootstrap| bootstrap);
    net::set_linger(peer.as_fd(), Some(Duration::ZERO)).unwrap();
    drop(peer);
    let Seen::Error(text) = next(&seen) else {
        panic!("not an error")
    };
    assert!(text.contains("reading from 127.0.0.1:"), "{text}");
    assert_eq!(next(&seen), Seen::Inactive);
    client.close_future().sync_timeout(DEADLINE).unwrap();
}

/// Rules: A44
#[test]
fn a_write_that_fails_on_the_thread_fails_its_promise_and_closes() {
    let group = Group::new();
    let (client, peer, _seen) = client(&group, |bootstrap| {
        bootstrap.option(AUTO_READ, false).option(SO_SNDBUF, 8192)
    });
    let written = client.write_and_flush(numbers(1 << 20));
    until("the thread writes", || oio::threads() == 2);
    net::set_linger(peer.as_fd(), Some(Duration::ZERO)).unwrap();
    drop(peer);
    let error = written.sync_timeout(DEADLINE).unwrap_err();
    assert_eq!(error.fault(), Fault::Peer, "{error}");
    client.close_future().sync_timeout(DEADLINE).unwrap();
}

#[test]
fn options_are_those_of_the_socket_and_the_time_of_a_wait() {
    let group = Group::new();
    let (client, _peer, _seen) = client(&group, |bootstrap| {
        bootstrap
            .option(SO_RCVBUF, 100_000)
            .option(TCP_NODELAY, false)
    });
    assert!(client.option(SO_RCVBUF).sync_timeout(DEADLINE).unwrap() >= 100_000);
    assert!(!client.option(TCP_NODELAY).sync_timeout(DEADLINE).unwrap());
    // Netty's default.
    assert_eq!(
        client.option(SO_TIMEOUT).sync_timeout(DEADLINE).unwrap(),
        Duration::from_secs(1)
    );
    client
        .set_option(SO_LINGER, Some(Duration::ZERO))
        .sync_timeout(DEADLINE)
        .unwrap();
    // The selectors' TCP does not wait.
    let (listener, address) = listener();
    let refused = tidegate::Bootstrap::new(&group.loops)
        .transport::<tcp::Tcp>()
        .option(SO_TIMEOUT, Duration::from_secs(1))
        .handler(|_| Ok::<_, tidegate::Error>(()))
        .connect(address)
        .sync_timeout(DEADLINE)
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    drop(listener);
}

/// Rules: A31
#[test]
fn zero_linger_resets_the_peer_of_a_blocking_channel() {
    let group = Group::new();
    let (client, mut peer, _seen) = client(&group, |bootstrap| {
        bootstrap.option(SO_LINGER, Some(Duration::ZERO))
    });
    client.close().sync_timeout(DEADLINE).unwrap();
    let error = peer.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn clients_of_a_blocking_server_each_have_a_thread_and_leave_none() {
    let group = Group::new();
    let server = ServerBootstrap::new(&group.loops, &group.loops)
        .transport::<oio::Tcp>()
        .child_handler(|pipeline| pipeline.add_last(Echo))
        .bind("127.0.0.1:0")
        .sync_timeout(DEADLINE)
        .unwrap();
    let address = server.local_address().unwrap().as_inet().unwrap();
    let mut clients: Vec<TcpStream> = (0..20)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    for client in &mut clients {
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
    }
    assert_eq!(oio::threads(), 41);
    // One stays: it keeps the port from being somebody else's when the server has closed.
    let _last = clients.pop();
    drop(clients);
    until("the listener and one client have threads", || {
        oio::threads() == 3
    });
    server.close().sync_timeout(DEADLINE).unwrap();
    assert!(TcpStream::connect(address).is_err());
}
