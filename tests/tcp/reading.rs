//! What only TCP shows: edges that nobody wants, urgent data, and budgets of bytes.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};

use nix::sys::socket::{MsgFlags, send};
use tidegate::bootstrap::Bootstrap;
use tidegate::buffer::{Message, RecvAllocator};
use tidegate::channel::options::{AUTO_READ, RECV_ALLOCATOR};
use tidegate::channel::{Context, Handler, HandlerResult};

use crate::plain::{accept_plain, plain_listener};
use crate::probe::{DEADLINE, read_exactly};
use crate::support::{client_and_plain_peer, with_each_group};

/// Asks for each batch at the end of the one before.
struct Asks {
    bytes: Arc<AtomicUsize>,
    /// How many bytes had come when the loop's first task after the first of them ran.
    at_first_task: Sender<usize>,
}

impl Handler for Asks {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        let come = msg.readable_bytes().unwrap_or(0);
        if self.bytes.fetch_add(come, Ordering::Relaxed) == 0 {
            let (bytes, tell) = (self.bytes.clone(), self.at_first_task.clone());
            ctx.event_loop().execute(move || {
                let _ = tell.send(bytes.load(Ordering::Relaxed));
            })?;
        }
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.read();
        Ok(())
    }
}

/// Rules: D10
///
/// Each batch here is one read, and the next one follows at once: the budget is one for all of them.
#[test]
fn a_budget_of_bytes_ends_batches_that_follow_each_other() {
    const BUDGET: usize = 1_000;
    with_each_group(|group| {
        let bytes = Arc::new(AtomicUsize::new(0));
        let (tell, told) = mpsc::channel();
        let (listener, address) = plain_listener();
        let client = Bootstrap::new(group)
            .option(AUTO_READ, false)
            .option(
                RECV_ALLOCATOR,
                RecvAllocator::MaxBytes {
                    per_loop: BUDGET,
                    per_read: 100,
                },
            )
            .handler({
                let bytes = bytes.clone();
                move |pipeline| {
                    pipeline.add_last(Asks {
                        bytes: bytes.clone(),
                        at_first_task: tell.clone(),
                    })
                }
            })
            .connect(address);
        let mut peer = accept_plain(&listener);
        let client = client.sync_timeout(DEADLINE).expect("connected");
        peer.write_all(&[7; 20 * BUDGET]).unwrap();
        client.read();
        let at_first_task = told.recv_timeout(DEADLINE).expect("the task runs");
        // An I/O phase is the selector's report and then the ready list.
        assert!(
            at_first_task <= 2 * BUDGET,
            "{at_first_task} bytes in one go"
        );
        while bytes.load(Ordering::Relaxed) < 20 * BUDGET {
            std::thread::yield_now();
        }
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
