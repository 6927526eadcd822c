//! Back-pressure on the read side, and what peers do while nobody reads.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, send};
use tidegate::bootstrap::Bootstrap;
use tidegate::buffer::{Message, RecvAllocator};
use tidegate::channel::options::{AUTO_READ, MAX_MESSAGES_PER_READ, RECV_ALLOCATOR};
use tidegate::channel::{Context, Handler, HandlerResult};
use tidegate::error::Failure;

use crate::support::{
    DEADLINE, Probe, Seen, accept_plain, client_and_plain_peer, next, plain_listener, read_exactly,
    reset_on_close, so_far, until, wait_for, with_each_edge_triggered_group, with_each_group,
};

/// The others can't tell without reporting it over and over.
/// Rules: A38, A39
#[test]
fn with_auto_read_off_the_peers_end_is_told_at_edges_and_stays_in_the_kernel() {
    with_each_edge_triggered_group(|group| {
        let (client, mut peer, seen) =
            client_and_plain_peer(group, |bootstrap| bootstrap.option(AUTO_READ, false));
        peer.write_all(b"wait for me").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(next(&seen), Seen::Event("PeerClosing"));
        // Turns go by; nothing is read.
        for _ in 0..10 {
            client
                .event_loop()
                .submit(|| ())
                .sync_timeout(DEADLINE)
                .unwrap();
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

/// Rules: A38, D1
#[test]
fn with_auto_read_off_data_and_end_wait_for_a_read() {
    with_each_group(|group| {
        let (client, mut peer, seen) =
            client_and_plain_peer(group, |bootstrap| bootstrap.option(AUTO_READ, false));
        peer.write_all(b"wait for me").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        for _ in 0..10 {
            client
                .event_loop()
                .submit(|| ())
                .sync_timeout(DEADLINE)
                .unwrap();
        }
        let told = so_far(&seen);
        assert!(
            told.iter().all(|seen| *seen == Seen::Event("PeerClosing")),
            "{told:?}"
        );
        client.read();
        wait_for(&seen, &Seen::Read(b"wait for me".to_vec()));
        client.read();
        wait_for(&seen, &Seen::Inactive);
    });
}

/// Rules: D1, D2, D7
#[test]
fn each_read_gives_one_batch() {
    with_each_group(|group| {
        let (client, mut peer, seen) = client_and_plain_peer(group, |bootstrap| {
            bootstrap
                .option(AUTO_READ, false)
                .option(RECV_ALLOCATOR, RecvAllocator::Fixed(16))
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

/// Rules: A39
#[test]
fn a_reset_is_seen_even_while_nobody_reads() {
    with_each_group(|group| {
        let (client, peer, seen) =
            client_and_plain_peer(group, |bootstrap| bootstrap.option(AUTO_READ, false));
        reset_on_close(&peer);
        drop(peer);
        wait_for(&seen, &Seen::Inactive);
        client.close_future().sync_timeout(DEADLINE).unwrap();
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

/// Rules: D10, D16, D20
#[test]
fn more_than_one_batch_is_read_without_another_edge() {
    with_each_group(|group| {
        let (client, mut peer, seen) = client_and_plain_peer(group, |bootstrap| {
            bootstrap
                .option(RECV_ALLOCATOR, RecvAllocator::Fixed(64))
                .option(MAX_MESSAGES_PER_READ, 2)
        });
        let sent: Vec<u8> = (0..100_000_u32).map(|n| (n % 253) as u8).collect();
        peer.write_all(&sent).unwrap();
        assert_eq!(read_exactly(&seen, sent.len()), sent);
        client.close().sync_timeout(DEADLINE).unwrap();
    });
}

#[test]
fn an_idle_connection_costs_no_turns() {
    with_each_group(|group| {
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

/// Fails at every message.
struct Grumpy;

impl Handler for Grumpy {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.fire_channel_read(msg);
        Err(Failure::msg("I did not like that"))
    }
}

/// Rules: D26
#[test]
fn an_error_of_a_handler_does_not_stop_the_batch() {
    with_each_group(|group| {
        let (client, mut peer, seen) = client_and_plain_peer(group, |bootstrap| {
            bootstrap.option(RECV_ALLOCATOR, RecvAllocator::Fixed(16))
        });
        client
            .edit(|pipeline| pipeline.add_first(Grumpy))
            .sync_timeout(DEADLINE)
            .unwrap()
            .unwrap();
        peer.write_all(&[5; 64]).unwrap();
        let mut bytes = 0;
        let mut errors = 0;
        while (bytes, errors) != (64, 4) {
            match next(&seen) {
                Seen::Read(read) => bytes += read.len(),
                Seen::Error(text) => {
                    assert_eq!(text, "I did not like that");
                    errors += 1;
                }
                Seen::Complete => {}
                other => panic!("{other:?}"),
            }
            assert!(errors <= 4);
        }
        assert!(client.is_active());
        client.close().sync_timeout(DEADLINE).unwrap();
    });
}

/// Rules: D3
#[test]
fn a_read_asked_for_before_the_connect_is_kept() {
    with_each_group(|group| {
        let (listener, address) = plain_listener();
        let (tell, seen) = Probe::channel();
        let future = Bootstrap::new(group)
            .option(AUTO_READ, false)
            .handler(move |pipeline| {
                pipeline.channel().read();
                pipeline.add_last(Probe(tell.clone()))
            })
            .connect(address);
        let mut peer = accept_plain(&listener);
        peer.write_all(b"early").unwrap();
        future.sync_timeout(DEADLINE).unwrap();
        wait_for(&seen, &Seen::Read(b"early".to_vec()));
        future.channel().close().sync_timeout(DEADLINE).unwrap();
    });
}

/// Rules: D8
#[test]
fn a_tcp_channel_reads_sixteen_times_a_batch_unless_told_otherwise() {
    with_each_group(|group| {
        let (client, mut peer, seen) = client_and_plain_peer(group, |bootstrap| {
            bootstrap
                .option(AUTO_READ, false)
                .option(RECV_ALLOCATOR, RecvAllocator::Fixed(1))
        });
        assert_eq!(
            client
                .option(MAX_MESSAGES_PER_READ)
                .sync_timeout(DEADLINE)
                .unwrap(),
            16
        );
        peer.write_all(&[1; 40]).unwrap();
        client.read();
        wait_for(&seen, &Seen::Complete);
        client.set_auto_read(true);
        let mut batches = vec![0];
        while batches.iter().sum::<usize>() < 39 {
            match next(&seen) {
                Seen::Read(read) => *batches.last_mut().unwrap() += read.len(),
                Seen::Complete => batches.push(0),
                other => panic!("{other:?}"),
            }
        }
        // All of it had arrived when the first byte had, or soon after: no batch is longer.
        assert!(batches.iter().all(|batch| *batch <= 16), "{batches:?}");
        client.close().sync_timeout(DEADLINE).unwrap();
    });
}
