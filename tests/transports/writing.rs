//! Gathering writes, full sockets, writability.

use std::io::Read;
use std::sync::mpsc;

use tidegate::bootstrap::ServerBootstrap;
use tidegate::buffer::Message;
use tidegate::channel::options::WRITE_BUFFER_WATER_MARK;
use tidegate::channel::{Context, Handler, HandlerResult, WaterMark};
use tidegate::error::ErrorKind;

use crate::place::{SMALL, SMALLEST, everywhere, everywhere_with};
use crate::probe::{DEADLINE, Seen, wait_for};
use crate::row::{Feature, Peer};

/// The bytes of so many numbers.
fn numbers(from: u32, count: u32) -> Vec<u8> {
    (from..from + count).flat_map(u32::to_be_bytes).collect()
}

fn read_to_end(mut peer: Box<dyn Peer>) -> Vec<u8> {
    let mut got = Vec::new();
    peer.read_to_end(&mut got).unwrap();
    got
}

/// Rules: C12, C16
#[test]
fn many_small_writes_leave_in_order_with_few_system_calls() {
    everywhere(|place| {
        let (client, peer, _seen) = place.client_and_peer(|recipe| recipe);
        let reading = std::thread::spawn(move || read_to_end(peer));
        // 5,000 messages of sizes 0 to 62, more than one list of slices holds.
        let mut expected = Vec::new();
        let (tell, told) = mpsc::channel();
        let messages: Vec<Vec<u8>> = (0..5_000_usize)
            .map(|n| vec![(n % 256) as u8; n % 63])
            .collect();
        for message in &messages {
            expected.extend_from_slice(message);
        }
        client
            .edit(move |pipeline| {
                let channel = pipeline.channel();
                for (number, message) in messages.into_iter().enumerate() {
                    let tell = tell.clone();
                    channel
                        .write_future(message)
                        .add_listener(move |_, result| {
                            tell.send((number, result.is_ok())).unwrap();
                        });
                }
                channel.flush();
            })
            .sync_timeout(DEADLINE)
            .unwrap();
        for number in 0..5_000 {
            assert_eq!(told.recv_timeout(DEADLINE).unwrap(), (number, true));
        }
        client.close().sync_timeout(DEADLINE).unwrap();
        assert!(reading.join().unwrap() == expected);
    });
}

/// Rules: C3, C9, C11
#[test]
fn a_peer_that_never_reads_turns_the_channel_unwritable_until_it_does() {
    everywhere(|place| {
        let (client, mut peer, seen) = place.client_and_peer(|recipe| {
            place.narrow(recipe, SMALLEST).option(
                WRITE_BUFFER_WATER_MARK,
                WaterMark::new(256 << 10, 1 << 20).unwrap(),
            )
        });
        let mut written = 0_u32;
        let mut last = None;
        while client.is_writable() {
            last = Some(client.write_and_flush(numbers(written, 4096)));
            written += 4096;
        }
        assert_eq!(client.bytes_before_unwritable(), 0);
        wait_for(&seen, &Seen::Writable(false));
        let last = last.unwrap();
        assert!(!last.is_done());
        let expected = numbers(0, written);
        let mut got = vec![0; expected.len()];
        peer.read_exact(&mut got).unwrap();
        assert!(got == expected);
        last.sync_timeout(DEADLINE).unwrap();
        wait_for(&seen, &Seen::Writable(true));
        assert!(client.is_writable());
        client.close().sync_timeout(DEADLINE).unwrap();
    });
}

/// Rules: C10, C11
#[test]
fn one_large_buffer_is_sent_in_parts() {
    everywhere(|place| {
        let (client, peer, _seen) =
            place.client_and_peer(|recipe| place.write_by_write(place.narrow(recipe, SMALL)));
        let reading = std::thread::spawn(move || read_to_end(peer));
        let sent = numbers(0, 1 << 20);
        client
            .write_and_flush(sent.clone())
            .sync_timeout(DEADLINE)
            .unwrap();
        client.close().sync_timeout(DEADLINE).unwrap();
        assert!(reading.join().unwrap() == sent);
    });
}

/// Rules: C10, C12, C13, C16
#[test]
fn large_and_small_buffers_mixed_keep_their_order() {
    everywhere(|place| {
        let (client, peer, _seen) = place.client_and_peer(|recipe| place.narrow(recipe, SMALL));
        let reading = std::thread::spawn(move || read_to_end(peer));
        let mut expected = Vec::new();
        let mut next = 0;
        let mut last = None;
        for round in 0..200_u32 {
            let count = if round % 7 == 0 { 20_000 } else { round % 5 };
            let part = numbers(next, count);
            next += count;
            expected.extend_from_slice(&part);
            last = Some(client.write_future(part));
            if round % 3 == 0 {
                client.flush();
            }
        }
        client.flush();
        last.unwrap().sync_timeout(DEADLINE).unwrap();
        client.close().sync_timeout(DEADLINE).unwrap();
        assert!(reading.join().unwrap() == expected);
    });
}

/// Sends without end as long as it may.
struct Pump {
    next: u32,
    total: u32,
}

impl Pump {
    fn fill(&mut self, ctx: &mut Context<'_>) {
        while ctx.is_writable() && self.next < self.total {
            let count = (self.total - self.next).min(1000);
            ctx.write(numbers(self.next, count));
            self.next += count;
        }
        ctx.flush();
        if self.next == self.total {
            self.total = u32::MAX;
            self.next = u32::MAX;
            let promise = ctx.new_promise();
            ctx.notify(&promise, 1);
            ctx.write_with(Vec::new(), promise);
            ctx.flush();
        }
    }
}

impl Handler for Pump {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.fill(ctx);
        Ok(())
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.fill(ctx);
        Ok(())
    }

    fn write_done(
        &mut self,
        ctx: &mut Context<'_>,
        _key: u64,
        result: Result<(), tidegate::error::Error>,
    ) -> HandlerResult {
        result?;
        ctx.close();
        Ok(())
    }
}

/// Rules: C3, C24
#[test]
fn a_handler_that_heeds_writability_sends_everything_and_never_holds_much() {
    everywhere(|place| {
        let total = 1 << 20;
        let recipe = ServerBootstrap::new(place.group, place.group)
            .child_handler(move |pipeline| pipeline.add_last(Pump { next: 0, total }));
        let server = place.bind(place.narrow_children(recipe, SMALL));
        let got = read_to_end(place.visit(&server));
        assert!(got == numbers(0, total));
        server.close().sync_timeout(DEADLINE).unwrap();
    });
}

/// Rules: C1
#[test]
fn what_is_no_bytes_is_refused_at_once() {
    everywhere_with(&[Feature::BytesOnly], |place| {
        let (client, _peer, _seen) = place.client_and_peer(|recipe| recipe);
        let error = client
            .write_and_flush(Message::new(42_u64))
            .sync_timeout(DEADLINE)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("u64"), "{error}");
        assert!(client.is_active());
        client.close().sync_timeout(DEADLINE).unwrap();
    });
}

/// Rules: C7
#[test]
fn a_cancelled_write_leaves_no_trace() {
    everywhere(|place| {
        let (client, mut peer, _seen) = place.client_and_peer(|recipe| recipe);
        let first = client.write_future("a");
        let second = client.write_future("b");
        let third = client.write_future("c");
        assert!(second.cancel());
        client.flush();
        third.sync_timeout(DEADLINE).unwrap();
        assert!(first.is_success() && second.is_cancelled());
        assert!(!third.cancel());
        let mut got = [0; 2];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"ac");
        client.close().sync_timeout(DEADLINE).unwrap();
    });
}
