//! What only TCP shows while nobody reads: edges that nobody wants, and urgent data.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, send};
use tidegate::channel::options::AUTO_READ;

use crate::probe::{DEADLINE, read_exactly};
use crate::support::{client_and_plain_peer, with_each_group};

/// Rules: D18, 4.4
#[test]
fn a_peer_that_keeps_sending_to_a_paused_channel_wakes_it_a_bounded_number_of_times() {
    with_each_group(|group| {
        let (client, mut peer, seen) =
            client_and_plain_peer(group, |bootstrap| bootstrap.option(AUTO_READ, false));
        let before = client.event_loop().metrics().events;
        let count = 400;
        for _ in 0..count {
            peer.write_all(b"x").unwrap();
            // Each of them is looked at before the next one comes.
            client
                .event_loop()
                .submit(|| ())
                .sync_timeout(DEADLINE)
                .unwrap();
        }
        let wasted = client.event_loop().metrics().events - before;
        assert!(
            wasted <= 40,
            "{wasted} events for {count} segments nobody wanted"
        );
        client.set_auto_read(true);
        assert_eq!(read_exactly(&seen, count).len(), count);
        // The edges are back.
        peer.write_all(b"again").unwrap();
        assert_eq!(read_exactly(&seen, 5), b"again");
        client.close().sync_timeout(DEADLINE).unwrap();
    });
}

/// Rules: D14
#[test]
fn urgent_data_is_survived() {
    with_each_group(|group| {
        let (client, mut peer, seen) = client_and_plain_peer(group, |bootstrap| bootstrap);
        peer.write_all(b"one").unwrap();
        send(peer.as_raw_fd(), b"!", MsgFlags::MSG_OOB).unwrap();
        peer.write_all(b"two").unwrap();
        assert_eq!(
            read_exactly(&seen, 6),
            b"onetwo",
            "the urgent byte is not in the stream"
        );
        let turns = client.event_loop().metrics().turns;
        peer.write_all(b"three").unwrap();
        assert_eq!(read_exactly(&seen, 5), b"three");
        let turns = client.event_loop().metrics().turns - turns;
        assert!(
            turns < 1000,
            "{turns} turns: the loop spins over the urgent byte"
        );
        client
            .write_and_flush("fine")
            .sync_timeout(DEADLINE)
            .unwrap();
        peer.read_exact(&mut [0; 4]).unwrap();
        client.close().sync_timeout(DEADLINE).unwrap();
    });
}
