//! Back-pressure on the read side, and what peers do while nobody reads.

use std::io::Write;
use std::time::{Duration, Instant};

use tidegate::bootstrap::Bootstrap;
use tidegate::buffer::Message;
use tidegate::channel::options::{AUTO_READ, MAX_MESSAGES_PER_READ};
use tidegate::channel::{Context, Handler, HandlerResult};
use tidegate::error::Failure;

use crate::place::{everywhere, everywhere_with, everywhere_with_edges, let_turns_pass};
use crate::probe::{DEADLINE, Probe, Seen, next, read_exactly, so_far, until, wait_for};
use crate::row::Feature;

/// The others can't tell without reporting it over and over.
/// Rules: A38, A39
#[test]
fn with_auto_read_off_the_peers_end_is_told_at_edges_and_stays_in_the_kernel() {
    everywhere_with_edges(|place| {
        let (client, mut peer, seen) =
            place.client_and_peer(|recipe| recipe.option(AUTO_READ, false));
        peer.write_all(b"wait for me").unwrap();
        peer.end_output();
        assert_eq!(next(&seen), Seen::Event("PeerClosing"));
        // Turns go by; nothing is read.
        let_turns_pass(&client);
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
    everywhere(|place| {
        let (client, mut peer, seen) =
            place.client_and_peer(|recipe| recipe.option(AUTO_READ, false));
        peer.write_all(b"wait for me").unwrap();
        peer.end_output();
        let_turns_pass(&client);
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
    everywhere(|place| {
        let (client, mut peer, seen) =
            place.client_and_peer(|recipe| place.bit_by_bit(recipe, 16).option(AUTO_READ, false));
        for _ in 0..4 {
            peer.write_all(&[1; 16]).unwrap();
        }
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

/// Rules: A39
#[test]
fn a_reset_is_seen_even_while_nobody_reads() {
    everywhere_with(&[Feature::HearsWhilePaused, Feature::Resets], |place| {
        let (client, mut peer, seen) =
            place.client_and_peer(|recipe| recipe.option(AUTO_READ, false));
        peer.reset_on_close();
        drop(peer);
        wait_for(&seen, &Seen::Inactive);
        client.close_future().sync_timeout(DEADLINE).unwrap();
    });
}

/// Rules: D10, D16, D20
#[test]
fn more_than_one_batch_is_read_without_another_edge() {
    everywhere(|place| {
        let (client, mut peer, seen) = place.client_and_peer(|recipe| {
            place
                .bit_by_bit(recipe, 64)
                .option(MAX_MESSAGES_PER_READ, 2)
        });
        let sent: Vec<u8> = (0..20_000_u32).map(|n| (n % 253) as u8).collect();
        for part in sent.chunks(64) {
            peer.write_all(part).unwrap();
        }
        assert_eq!(read_exactly(&seen, sent.len()), sent);
        client.close().sync_timeout(DEADLINE).unwrap();
    });
}

#[test]
fn an_idle_connection_costs_no_turns() {
    everywhere(|place| {
        let (client, mut peer, seen) = place.client_and_peer(|recipe| recipe);
        peer.write_all(b"x").unwrap();
        assert_eq!(read_exactly(&seen, 1), b"x");
        wait_for(&seen, &Seen::Complete);
        let turns = || client.event_loop().metrics().turns;
        // The loop has gone to sleep when its count stands still over a while of ours.
        let mut last = turns();
        until("the loop sleeps", || {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(20) {
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
    everywhere(|place| {
        let (client, mut peer, seen) = place.client_and_peer(|recipe| place.bit_by_bit(recipe, 16));
        client
            .edit(|pipeline| pipeline.add_first(Grumpy))
            .sync_timeout(DEADLINE)
            .unwrap()
            .unwrap();
        for _ in 0..4 {
            peer.write_all(&[5; 16]).unwrap();
        }
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
    everywhere(|place| {
        let listener = place.row.listen();
        let (tell, seen) = Probe::channel();
        let recipe = Bootstrap::new(place.group)
            .option(AUTO_READ, false)
            .handler(move |pipeline| {
                pipeline.channel().read();
                pipeline.add_last(Probe(tell.clone()))
            });
        let future = place.connect(recipe, listener.address());
        let mut peer = listener.accept();
        peer.write_all(b"early").unwrap();
        future.sync_timeout(DEADLINE).unwrap();
        wait_for(&seen, &Seen::Read(b"early".to_vec()));
        future.channel().close().sync_timeout(DEADLINE).unwrap();
    });
}

/// Rules: D8
#[test]
fn a_stream_reads_sixteen_times_a_batch_unless_told_otherwise() {
    everywhere(|place| {
        let (client, mut peer, seen) =
            place.client_and_peer(|recipe| place.bit_by_bit(recipe, 1).option(AUTO_READ, false));
        assert_eq!(
            client
                .option(MAX_MESSAGES_PER_READ)
                .sync_timeout(DEADLINE)
                .unwrap(),
            16
        );
        for _ in 0..40 {
            peer.write_all(&[1]).unwrap();
        }
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
