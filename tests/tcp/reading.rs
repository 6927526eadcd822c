//! Back-pressure on the read side, and what peers do while nobody reads.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, send};
use tidegate::buffer::RecvAllocator;
use tidegate::channel::options::{AUTO_READ, MAX_MESSAGES_PER_READ, RECV_ALLOCATOR};

use crate::support::{
    DEADLINE, Seen, client_and_plain_peer, next, read_exactly, reset_on_close, so_far, until, wait_for,
    with_each_backend, with_each_edge_triggered_backend,
};

/// The others can't tell without reporting it over and over.
#[test]
fn with_auto_read_off_the_peers_end_is_told_at_edges_and_stays_in_the_kernel() {
    with_each_edge_triggered_backend(|group| {
        let (client, mut peer, seen) = client_and_plain_peer(group, |bootstrap| bootstrap.option(AUTO_READ, false));
        peer.write_all(b"wait for me").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(next(&seen), Seen::Event("PeerClosing"));
        // Turns go by; nothing is read.
        for _ in 0..10 {
            client.event_loop().submit(|| ()).sync_timeout(DEADLINE).unwrap();
        }
        assert_eq!(so_far(&seen), []);
        assert!(client.is_active());
        client.read();
        assert_eq!(next(&seen), Seen::Read(b"wait for me".to_vec()));
        assert_eq!(next(&seen), Seen::Complete);
        client.read();
        wait_for(&seen, &Seen::Inactive);
        assert_eq!(next(&seen), Seen::Unregistered);
    });
}

#[test]
fn with_auto_read_off_data_and_end_wait_for_a_read() {
    with_each_backend(|group| {
        let (client, mut peer, seen) = client_and_plain_peer(group, |bootstrap| bootstrap.option(AUTO_READ, false));
        peer.write_all(b"wait for me").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        for _ in 0..10 {
            client.event_loop().submit(|| ()).sync_timeout(DEADLINE).unwrap();
        }
        let told = so_far(&seen);
        assert!(told.iter().all(|seen| *seen == Seen::Event("PeerClosing")), "{told:?}");
        client.read();
        wait_for(&seen, &Seen::Read(b"wait for me".to_vec()));
        client.read();
        wait_for(&seen, &Seen::Inactive);
    });
}

#[test]
fn each_read_gives_one_batch() {
    with_each_backend(|group| {
        let (client, mut peer, seen) = client_and_plain_peer(group, |bootstrap| {
            bootstrap.option(AUTO_READ, false).option(RECV_ALLOCATOR, RecvAllocator::Fixed(16))
        });
        peer.write_all(&[1; 64]).unwrap();
        for _ in 0..4 {
            client.read();
            assert_eq!(next(&seen), Seen::Read(vec![1; 16]));
            assert_eq!(next(&seen), Seen::Complete);
            assert_eq!(so_far(&seen), []);
        }
        client.set_auto_read(true);
        peer.write_all(&[2; 64]).unwrap();
        assert_eq!(read_exactly(&seen, 64), [2; 64]);
        client.close().sync_timeout(DEADLINE).unwrap();
    });
}

#[test]
fn a_peer_that_keeps_sending_to_a_paused_channel_wakes_it_a_bounded_number_of_times() {
    with_each_backend(|group| {
        let (client, mut peer, seen) = client_and_plain_peer(group, |bootstrap| bootstrap.option(AUTO_READ, false));
        let before = client.event_loop().metrics().events;
        let count = 400;
        for _ in 0..count {
            peer.write_all(b"x").unwrap();
            // Each of them is looked at before the next one comes.
            client.event_loop().submit(|| ()).sync_timeout(DEADLINE).unwrap();
        }
        let wasted = client.event_loop().metrics().events - before;
        assert!(wasted <= 40, "{wasted} events for {count} segments nobody wanted");
        client.set_auto_read(true);
        assert_eq!(read_exactly(&seen, count).len(), count);
        // The edges are back.
        peer.write_all(b"again").unwrap();
        assert_eq!(read_exactly(&seen, 5), b"again");
        client.close().sync_timeout(DEADLINE).unwrap();
    });
}

#[test]
fn a_reset_is_seen_even_while_nobody_reads() {
    with_each_backend(|group| {
        let (client, peer, seen) = client_and_plain_peer(group, |bootstrap| bootstrap.option(AUTO_READ, false));
        reset_on_close(&peer);
        drop(peer);
        wait_for(&seen, &Seen::Inactive);
        client.close_future().sync_timeout(DEADLINE).unwrap();
    });
}

#[test]
fn urgent_data_is_survived() {
    with_each_backend(|group| {
        let (client, mut peer, seen) = client_and_plain_peer(group, |bootstrap| bootstrap);
        peer.write_all(b"one").unwrap();
        send(peer.as_raw_fd(), b"!", MsgFlags::MSG_OOB).unwrap();
        peer.write_all(b"two").unwrap();
        assert_eq!(read_exactly(&seen, 6), b"onetwo", "the urgent byte is not in the stream");
        let turns = client.event_loop().metrics().turns;
        peer.write_all(b"three").unwrap();
        assert_eq!(read_exactly(&seen, 5), b"three");
        let turns = client.event_loop().metrics().turns - turns;
        assert!(turns < 1000, "{turns} turns: the loop spins over the urgent byte");
        client.write_and_flush("fine").sync_timeout(DEADLINE).unwrap();
        peer.read_exact(&mut [0; 4]).unwrap();
        client.close().sync_timeout(DEADLINE).unwrap();
    });
}

#[test]
fn more_than_one_batch_is_read_without_another_edge() {
    with_each_backend(|group| {
        let (client, mut peer, seen) = client_and_plain_peer(group, |bootstrap| {
            bootstrap.option(RECV_ALLOCATOR, RecvAllocator::Fixed(64)).option(MAX_MESSAGES_PER_READ, 2)
        });
        let sent: Vec<u8> = (0..100_000_u32).map(|n| (n % 253) as u8).collect();
        peer.write_all(&sent).unwrap();
        assert_eq!(read_exactly(&seen, sent.len()), sent);
        client.close().sync_timeout(DEADLINE).unwrap();
    });
}

#[test]
fn an_idle_connection_costs_no_turns() {
    with_each_backend(|group| {
        let (client, mut peer, seen) = client_and_plain_peer(group, |bootstrap| bootstrap);
        peer.write_all(b"x").unwrap();
        assert_eq!(read_exactly(&seen, 1), b"x");
        wait_for(&seen, &Seen::Complete);
        let turns = || client.event_loop().metrics().turns;
        // The loop has gone to sleep when its count stands still over a while of ours.
        let mut last = turns();
        until("the loop sleeps", || {
            let begun = std::time::Instant::now();
            while begun.elapsed() < std::time::Duration::from_millis(20) {
                std::thread::yield_now();
            }
            let now = turns();
            let still = now == last;
            last = now;
            still
        });
        client.close().sync_timeout(DEADLINE).unwrap();
    });
}
