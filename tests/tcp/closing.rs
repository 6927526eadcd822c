//! SO_LINGER (rules A30, A31), and a reset behind the peer's end.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use tidegate::channel::options::{ALLOW_HALF_CLOSURE, AUTO_READ, SO_LINGER, SO_SNDBUF};

use crate::plain::reset_on_close;
use crate::probe::{DEADLINE, Seen, next, wait_for};
use crate::support::{client_and_plain_peer, with_each_group};

/// More than any socket buffers of this machine hold.
const A_LOT: usize = 64 << 20;

/// Rules: A30, A31
#[test]
fn a_lingering_close_ends_later_and_does_not_hold_the_loop() {
    with_each_group(|group| {
        let (client, mut peer, seen) = client_and_plain_peer(group, |bootstrap| {
            bootstrap
                .option(SO_LINGER, Some(Duration::from_secs(10)))
                .option(SO_SNDBUF, 64 << 10)
        });
        // The peer's buffers are full, and some of it is still in ours when we close.
        let pending = client.write_and_flush(vec![7_u8; A_LOT]);
        let writable = Seen::Writable(false);
        wait_for(&seen, &writable);
        let begun = Instant::now();
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
        assert!(begun.elapsed() < Duration::from_secs(10));
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
