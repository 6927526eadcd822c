//! How blocking channels end, and their threads with them.

use std::io::{self, Read};
use std::sync::mpsc;
use std::time::Duration;

use tidegate::channel::options::{SO_SNDBUF, SO_TIMEOUT};
use tidegate::transport::oio::{self, Stream};
use tidegate::{Channel, Error, ErrorKind, ServerBootstrap};

use crate::support::{
    DEADLINE, Echo, Group, Probe, Seen, client, listener, next, no_threads, recipe, until,
};

/// Longer than any of these tests may take.
const FOREVER: Duration = Duration::from_secs(1_000);

#[test]
fn a_close_wakes_a_read_that_waits() {
    let group = Group::new();
    let (client, _peer, seen) = client(&group, |bootstrap| bootstrap.option(SO_TIMEOUT, FOREVER));
    client.close().sync_timeout(DEADLINE).unwrap();
    assert_eq!(next(&seen), Seen::Inactive);
    no_threads();
}

#[test]
fn a_close_wakes_a_write_that_waits_for_its_peer() {
    let group = Group::new();
    let (client, _peer, _seen) = client(&group, |bootstrap| {
        bootstrap
            .option(SO_TIMEOUT, FOREVER)
            .option(SO_SNDBUF, 8192)
    });
    let written = client.write_and_flush(vec![7; 10 << 20]);
    until("the thread writes", || oio::threads() == 2);
    client.close().sync_timeout(DEADLINE).unwrap();
    assert_eq!(
        written.sync_timeout(DEADLINE).unwrap_err().kind(),
        ErrorKind::ChannelClosed
    );
    no_threads();
}

/// As on a selector: what was flushed is with the kernel before the close is.
#[test]
fn what_was_flushed_before_a_close_goes_out() {
    let group = Group::new();
    for _ in 0..50 {
        let (client, mut peer, _seen) = client(&group, |bootstrap| bootstrap);
        client.write_and_flush(vec![7; 10_000]);
        client.close();
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        assert_eq!(got.len(), 10_000);
    }
}

#[test]
fn a_server_that_closes_wakes_its_accept() {
    let group = Group::new();
    let server = ServerBootstrap::new(&group.loops, &group.loops)
        .transport::<oio::Tcp>()
        .option(SO_TIMEOUT, FOREVER)
        .child_handler(|pipeline| pipeline.add_last(Echo))
        .bind("127.0.0.1:0")
        .sync_timeout(DEADLINE)
        .unwrap();
    until("it accepts", || oio::threads() == 1);
    server.close().sync_timeout(DEADLINE).unwrap();
    no_threads();
}

/// Rules: A45
#[test]
fn shutting_down_the_loops_ends_all_threads() {
    let group = Group::new();
    let (_client, _peer, seen) = client(&group, |bootstrap| bootstrap.option(SO_TIMEOUT, FOREVER));
    assert_eq!(oio::threads(), 1);
    group.loops.shutdown_gracefully(Duration::ZERO, DEADLINE);
    assert!(group.loops.await_termination(DEADLINE).unwrap());
    assert_eq!(next(&seen), Seen::Inactive);
    no_threads();
}

/// A loop that is stopped does not wait for its channels; their threads end all the same.
#[test]
fn stopping_the_loops_ends_all_threads() {
    let group = Group::new();
    let (_client, _peer, _seen) = client(&group, |bootstrap| bootstrap.option(SO_TIMEOUT, FOREVER));
    group.loops.stop();
    assert!(group.loops.await_termination(DEADLINE).unwrap());
    no_threads();
}

/// A thousand channels, one after the other, leave nothing.
#[test]
fn threads_do_not_pile_up() {
    let group = Group::new();
    let (listener, address) = listener();
    let (bootstrap, _seen) = recipe(&group);
    for _ in 0..1_000 {
        let connecting = bootstrap.connect(address);
        let (peer, _) = listener.accept().unwrap();
        let client = connecting.sync_timeout(DEADLINE).unwrap();
        let written = client.write_and_flush("x");
        (&peer).read_exact(&mut [0]).unwrap();
        written.sync_timeout(DEADLINE).unwrap();
        client.close().sync_timeout(DEADLINE).unwrap();
        // The last steps of a thread are behind the news of its end.
        until("few threads are left", || oio::threads() <= 4);
    }
    no_threads();
}

#[test]
fn without_a_thread_a_channel_fails_and_says_what_to_do() {
    let group = Group::new();
    let (listener, address) = listener();
    let (bootstrap, _seen) = recipe(&group);
    oio::limit_threads(1);
    let first = bootstrap.connect(address).sync_timeout(DEADLINE);
    let second = bootstrap.connect(address).sync_timeout(DEADLINE);
    // The one thread reads: there is none left to write.
    let first = first.unwrap();
    let written = first.write_and_flush("x").sync_timeout(DEADLINE);
    oio::limit_threads(usize::MAX);
    for error in [second.unwrap_err(), written.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Exhausted);
        assert!(
            error.to_string().contains("oio::limit_threads() allows 1"),
            "{error}"
        );
    }
    first.close_future().sync_timeout(DEADLINE).unwrap();
    drop(listener);
}

/// Waits in its read until the test lets go.
struct Stuck {
    begun: mpsc::Sender<()>,
    released: mpsc::Receiver<()>,
}

impl Read for Stuck {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        let _ = self.begun.send(());
        let _ = self.released.recv();
        Ok(0)
    }
}

#[test]
fn a_stream_whose_read_never_returns_closes_all_the_same() {
    let group = Group::new();
    let (release, released) = mpsc::channel();
    let (begun, begins) = mpsc::channel();
    let (tell, seen) = mpsc::channel();
    let stream = Channel::builder()
        .open_on(
            &group.loops.next(),
            move || Stream::new("stuck", Stuck { begun, released }, io::sink()),
            move |pipeline| pipeline.add_last(Probe(tell)),
        )
        .sync_timeout(DEADLINE)
        .unwrap();
    begins.recv_timeout(DEADLINE).unwrap();
    stream.close().sync_timeout(DEADLINE).unwrap();
    assert_eq!(next(&seen), Seen::Active);
    assert_eq!(next(&seen), Seen::Inactive);
    // It is announced, and it ends when its read does.
    assert_eq!(oio::threads(), 1);
    drop(release);
    no_threads();
}

#[test]
fn a_stream_that_can_be_interrupted_is_closed_when_its_threads_have_ended() {
    let group = Group::new();
    let (release, released) = mpsc::channel();
    let (begun, begins) = mpsc::channel();
    let stream = Channel::builder()
        .open_on(
            &group.loops.next(),
            move || {
                Stream::new("stuck", Stuck { begun, released }, io::sink())
                    .interrupt(move || drop(release))
            },
            |_| Ok::<_, Error>(()),
        )
        .sync_timeout(DEADLINE)
        .unwrap();
    begins.recv_timeout(DEADLINE).unwrap();
    stream.close().sync_timeout(DEADLINE).unwrap();
    no_threads();
}
