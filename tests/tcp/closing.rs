//! SO_LINGER (rules A30, A31), and a reset behind the peer's end.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use tidegate::channel::Channel;
use tidegate::channel::options::{ALLOW_HALF_CLOSURE, AUTO_CLOSE, AUTO_READ, SO_LINGER, SO_SNDBUF};
use tidegate::event_loop::EventLoopGroup;

use crate::plain::reset_on_close;
use crate::probe::{DEADLINE, Seen, next, wait_for};
use crate::support::{client_and_plain_peer, with_each_group};

/// More than any socket buffers of this machine hold.
const A_LOT: usize = 64 << 20;

/// Longer than any deadline here: what ends before was ended by the peer.
const FOR_EVER: Duration = Duration::from_secs(1_000);

/// Rules: A30, A31
#[test]
fn a_lingering_close_ends_later_and_does_not_hold_the_loop() {
    with_each_group(|group| {
        let (client, mut peer, seen) = client_and_plain_peer(group, |bootstrap| {
            bootstrap
                .option(SO_LINGER, Some(FOR_EVER))
                .option(SO_SNDBUF, 64 << 10)
        });
        // The peer's buffers are full, and some of it is still in ours when we close.
        let pending = client.write_and_flush(vec![7_u8; A_LOT]);
        let writable = Seen::Writable(false);
        wait_for(&seen, &writable);
        let close = client.close();
        // The loop goes on meanwhile.
        client
            .event_loop()
            .submit(|| 1)
            .sync_timeout(DEADLINE)
            .unwrap();
        assert!(!close.is_done());
        assert!(!client.is_open());
        // Once it has read on, the kernel's part of it is acknowledged and the close ends.
        let mut got = 0;
        let mut room = vec![0; 1 << 20];
        loop {
            match peer.read(&mut room).unwrap() {
                0 => break,
                count => got += count,
            }
        }
        drop(peer);
        close.sync_timeout(DEADLINE).unwrap();
        assert!(got < A_LOT);
        assert!(pending.sync_timeout(DEADLINE).is_err());
        wait_for(&seen, &Seen::Inactive);
    });
}

/// Rules: A36, A40
///
/// Linux reads the end to whoever asks, whatever comes behind it: such a channel stayed active until somebody wrote.
#[test]
fn a_reset_after_the_peers_end_is_an_error_and_the_end_of_the_channel() {
    with_each_group(|group| {
        let (client, peer, seen) = client_and_plain_peer(group, |bootstrap| {
            bootstrap.option(ALLOW_HALF_CLOSURE, true)
        });
        peer.shutdown(Shutdown::Write).unwrap();
        wait_for(&seen, &Seen::Event("ChannelInputShutdownReadComplete"));
        assert!(client.is_active());
        reset_on_close(&peer);
        drop(peer);
        let error = next(&seen);
        assert!(
            matches!(&error, Seen::Error(text) if text.starts_with("the connection with 127.0.0.1:")),
            "{error:?}"
        );
        assert_eq!(next(&seen), Seen::Inactive);
        client.close_future().sync_timeout(DEADLINE).unwrap();
    });
}

/// Rules: A36, A38, A40
///
/// The same with both there before the end was read: it is not reported again.
#[test]
fn a_reset_behind_an_end_that_nobody_has_read_is_an_error_too() {
    with_each_group(|group| {
        let (client, mut peer, seen) = client_and_plain_peer(group, |bootstrap| {
            bootstrap
                .option(ALLOW_HALF_CLOSURE, true)
                .option(AUTO_READ, false)
        });
        peer.write_all(b"last words").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        reset_on_close(&peer);
        drop(peer);
        // The errno is read out even while reading is paused, and what lies before it comes first.
        let mut told = Vec::new();
        loop {
            match next(&seen) {
                Seen::Inactive => break,
                Seen::Complete | Seen::Event("PeerClosing") => {}
                what => told.push(what),
            }
        }
        let [Seen::Read(words), Seen::Error(text)] = &told[..] else {
            panic!("{told:?}");
        };
        assert_eq!(words, b"last words");
        assert!(text.contains("after the end of its input"), "{text}");
        client.close_future().sync_timeout(DEADLINE).unwrap();
    });
}

/// Runs `work` in a turn of the loop in which a peer that has sent something resets the connection, and nobody has heard of
/// that yet. What the paused channel saw until its end.
fn seen_of_a_reset_that_comes_in_the_middle_of_a_turn<R: Send + 'static>(
    group: &EventLoopGroup,
    auto_close: bool,
    work: impl FnOnce(&Channel) -> R + Send + 'static,
) -> (R, Vec<Seen>) {
    let (client, mut peer, seen) = client_and_plain_peer(group, |bootstrap| {
        bootstrap
            .option(AUTO_READ, false)
            .option(ALLOW_HALF_CLOSURE, true)
            .option(AUTO_CLOSE, auto_close)
    });
    peer.write_all(b"last words").unwrap();
    reset_on_close(&peer);
    let channel = client.clone();
    let done = client.event_loop().submit(move || {
        drop(peer);
        work(&channel)
    });
    let done = done.sync_timeout(DEADLINE).unwrap();
    let mut all = Vec::new();
    while all.last() != Some(&Seen::Inactive) {
        all.push(next(&seen));
    }
    (done, all)
}

/// Rules: A40, A41
///
/// The kernel knows of the reset, and shutdown(2) is what tells us first.
#[test]
fn an_output_that_is_ended_after_a_reset_loses_nothing_that_came_before_that() {
    with_each_group(|group| {
        let (shut, seen) =
            seen_of_a_reset_that_comes_in_the_middle_of_a_turn(group, true, |channel| {
                channel.shutdown_output()
            });
        let read = Seen::Read(b"last words".to_vec());
        assert!(seen.contains(&read), "{seen:?}");
        let is_error = |seen: &&Seen| matches!(seen, Seen::Error(_));
        assert_eq!(seen.iter().filter(is_error).count(), 1, "{seen:?}");
        // Where the network takes its time the output was ended before.
        if let Err(error) = shut.sync_timeout(DEADLINE) {
            assert_eq!(error.io_kind(), Some(std::io::ErrorKind::NotConnected));
        }
    });
}

/// Rules: A44
#[test]
fn without_auto_close_a_write_that_finds_a_reset_costs_nothing_that_came_before_that() {
    with_each_group(|group| {
        let (written, seen) =
            seen_of_a_reset_that_comes_in_the_middle_of_a_turn(group, false, |channel| {
                channel.write_and_flush("too late")
            });
        let read = Seen::Read(b"last words".to_vec());
        assert!(seen.contains(&read), "{seen:?}");
        let _ = written.sync_timeout(DEADLINE);
    });
}
