//! `ChunkedFeed`: chunks from another thread.

use std::thread;

use tidegate::handler::stream::{Chunked, ChunkedFeed, ChunkedWrite, FeedSender};
use tidegate::{ChannelFuture, EmbeddedChannel, ErrorKind, Failure, Message};

use crate::support::outbound;

fn feeding(room: usize) -> (EmbeddedChannel, FeedSender, ChannelFuture) {
    let mut channel = EmbeddedChannel::new(|p| p.add_last(ChunkedWrite::new())).unwrap();
    let (sender, feed) = ChunkedFeed::bounded(room);
    let message = Message::new(Chunked::new(feed));
    let sent = channel.run(|channel| channel.write_and_flush(message));
    (channel, sender, sent)
}

/// Rules: H53
#[test]
fn a_suspended_feed_goes_on_when_something_is_sent() {
    let (mut channel, sender, sent) = feeding(8);
    assert_eq!(outbound(&mut channel), [""; 0]);
    sender.send("a").unwrap();
    sender.send("b").unwrap();
    channel.run_pending();
    assert_eq!(outbound(&mut channel), ["a", "b"]);
    assert!(!sent.is_done());
    sender.finish();
    channel.run_pending();
    assert!(sent.is_success());
}

#[test]
fn a_sender_that_is_dropped_fails_the_write() {
    let (mut channel, sender, sent) = feeding(8);
    sender.send("half").unwrap();
    drop(sender);
    channel.run_pending();
    assert_eq!(outbound(&mut channel), ["half"]);
    assert_eq!(sent.cause().unwrap().kind(), ErrorKind::Dropped);
}

#[test]
fn a_sender_may_fail_the_write() {
    let (mut channel, sender, sent) = feeding(8);
    sender.fail(Failure::msg("the backend hung up"));
    channel.run_pending();
    let cause = sent.cause().unwrap();
    assert!(cause.to_string().contains("the backend hung up"), "{cause}");
}

#[test]
fn a_full_feed_gives_the_chunk_back_and_a_closed_one_too() {
    let (mut channel, sender, _sent) = feeding(1);
    sender.try_send("a").unwrap();
    let (chunk, error) = sender.try_send("b").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert_eq!(chunk.as_bytes(), Some(&b"b"[..]));
    channel.run_pending();
    sender.try_send(chunk).unwrap();
    channel.finish().unwrap();
    let (_, error) = sender.try_send("c").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ChannelClosed);
    assert!(sender.send("d").is_err());
}

/// Rules: H53
#[test]
fn a_thread_may_send_much_more_than_the_feed_holds() {
    const CHUNKS: u32 = 10_000;
    let (mut channel, sender, sent) = feeding(4);
    let worker = thread::spawn(move || {
        for number in 0..CHUNKS {
            sender.send(number.to_be_bytes().to_vec()).unwrap();
        }
        sender.finish();
    });
    let mut received = Vec::new();
    while !sent.is_done() {
        channel.run_pending();
        while let Some(msg) = channel.read_outbound() {
            received.extend_from_slice(msg.as_bytes().unwrap());
        }
        thread::yield_now();
    }
    worker.join().unwrap();
    assert!(sent.is_success());
    let expected: Vec<u8> = (0..CHUNKS).flat_map(u32::to_be_bytes).collect();
    assert_eq!(received, expected);
}
