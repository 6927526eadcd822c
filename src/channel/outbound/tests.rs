//! The rules of the write path (C2, C7, C12 to C16, C18, C20), without a socket.

use std::{
    io::IoSlice,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{queue::KEPT_MAX, *};
use crate::{
    buffer::{Bytes, BytesMut, CHUNK_SIZE},
    error::ErrorKind,
    future::{Completion, OnCaller},
};

/// Names of writes in the order in which their promises completed; a `!` marks a failure.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn promise(&self, name: &str) -> Promise {
        let promise = Promise::new(OnCaller::host());
        let (log, name) = (self.clone(), name.to_string());
        promise.completion().add_listener(move |result| {
            let mark = if result.is_ok() { "" } else { "!" };
            log.0
                .lock()
                .expect("no panic")
                .push(format!("{name}{mark}"));
        });
        promise
    }

    fn take(&self) -> String {
        std::mem::take(&mut *self.0.lock().expect("no panic")).join(" ")
    }
}

fn bytes(text: &'static str) -> Message {
    Message::new(BytesMut::from(text))
}

fn frozen(text: &'static str) -> Message {
    Message::from(text)
}

fn error() -> Error {
    Error::new(ErrorKind::ChannelClosed, "test")
}

fn released(bytes: usize, entries: usize) -> Released {
    Released {
        bytes: bytes + entries * ENTRY_OVERHEAD,
        entries,
    }
}

/// Adds as the core does, with the estimated size.
fn add(out: &mut OutboundBuffer, message: Message, promise: Promise) {
    let size = message.estimated_size();
    assert_eq!(out.add(message, size, promise), size + ENTRY_OVERHEAD);
}

/// Finishes what is over, as the core does, and returns the failures that nobody observed.
fn settle(out: &mut OutboundBuffer) -> usize {
    let mut unobserved = 0;
    while let Some(settled) = out.take_settled() {
        unobserved += usize::from(settled.finish().is_some());
    }
    assert!(!out.has_settled());
    unobserved
}

/// What one gathering write would send.
fn gathered(out: &OutboundBuffer) -> Vec<Vec<u8>> {
    out.gather(|slices, total| {
        assert_eq!(total, slices.iter().map(|slice| slice.len()).sum::<usize>());
        slices
            .iter()
            .map(|slice: &IoSlice<'_>| slice.to_vec())
            .collect()
    })
}

#[test]
fn each_entry_counts_its_size_and_96_bytes() {
    let mut out = OutboundBuffer::default();
    add(&mut out, bytes("hello"), Promise::void());
    add(&mut out, frozen("ab"), Promise::void());
    add(
        &mut out,
        Message::new(FileRegion::lazy("unused", 0, 1000)),
        Promise::void(),
    );
    add(&mut out, Message::new(1_u32), Promise::void());
    assert_eq!(out.total_pending(), 5 + 2 + 8 + 4 * 96);
    assert_eq!(
        (out.len(), out.flushed_len(), out.unflushed_len()),
        (4, 0, 4)
    );
}

#[test]
fn nothing_is_written_before_it_is_flushed() {
    let mut out = OutboundBuffer::default();
    add(&mut out, bytes("a"), Promise::void());
    assert!(matches!(out.front(), Front::Empty) && gathered(&out).is_empty());
    assert!(out.front_bytes().is_none() && out.take_front().is_none());
    assert_eq!(out.advance(0), Released::default());
    assert_eq!(out.complete_front(), Released::default());
    assert_eq!(out.fail_front(error()), Released::default());
    let _ = out.add_flush();
    add(&mut out, bytes("b"), Promise::void());
    assert_eq!(gathered(&out), [b"a"]);
    assert_eq!(out.advance(1), released(1, 1));
    assert!(matches!(out.front(), Front::Empty));
    assert_eq!((out.flushed_len(), out.unflushed_len()), (0, 1));
}

#[test]
fn a_write_can_be_cancelled_until_it_is_flushed() {
    let log = Log::default();
    let mut out = OutboundBuffer::default();
    let promises = ["a", "b", "c", "d", "e", "f"].map(|name| log.promise(name));
    let completions: Vec<Completion> = promises.iter().map(Promise::completion).collect();
    for (text, promise) in ["a", "b", "c", "d", "e", "f"].into_iter().zip(promises) {
        add(&mut out, bytes(text), promise);
    }
    for cancelled in [0, 2, 3, 5] {
        assert!(completions[cancelled].cancel());
    }
    assert_eq!(log.take(), "a! c! d! f!");
    assert_eq!(out.add_flush(), released(4, 4));
    assert!(
        !completions[1].cancel(),
        "flushed writes are past cancelling"
    );
    assert_eq!(gathered(&out), [b"b", b"e"]);
    assert_eq!(out.total_pending(), 2 * 97);
    assert_eq!(out.advance(2), released(2, 2));
    assert_eq!(settle(&mut out), 0);
    assert_eq!(log.take(), "b e");
}

#[test]
fn cancelling_every_write_leaves_an_empty_buffer() {
    for count in 1..4 {
        let mut out = OutboundBuffer::default();
        for _ in 0..count {
            let promise = Promise::new(OnCaller::host());
            assert!(promise.completion().cancel());
            add(&mut out, frozen("x"), promise);
        }
        assert_eq!(out.add_flush(), released(count, count));
        assert!(out.is_empty() && out.total_pending() == 0);
        assert_eq!(settle(&mut out), 0);
        assert_eq!(out.add_flush(), Released::default());
    }
}

#[test]
fn cancelling_spares_what_an_earlier_flush_covered() {
    let mut out = OutboundBuffer::default();
    add(&mut out, bytes("a"), Promise::void());
    add(&mut out, bytes("b"), Promise::void());
    let _ = out.add_flush();
    let promise = Promise::new(OnCaller::host());
    assert!(promise.completion().cancel());
    add(&mut out, bytes("c"), promise);
    add(&mut out, bytes("d"), Promise::void());
    assert_eq!(out.add_flush(), released(1, 1));
    assert_eq!(gathered(&out), [b"a", b"b", b"d"]);
}

/// What a model of the buffer says about the first `written` bytes of messages of these lengths.
fn expected(lengths: &[usize], written: usize) -> (usize, Option<usize>) {
    let (mut done, mut left) = (0, written);
    for &length in lengths {
        if length > left {
            return (done, Some(length - left));
        }
        left -= length;
        done += 1;
    }
    (done, None)
}

#[test]
fn advance_completes_what_was_written_at_every_split_point() {
    const LENGTHS: [&[usize]; 7] = [
        &[5],
        &[0],
        &[3, 0, 0, 2],
        &[0, 4],
        &[1, 1, 1],
        &[0, 2, 0, 3, 0],
        &[7, 0, 1, 0, 0],
    ];
    for lengths in LENGTHS {
        let total: usize = lengths.iter().sum();
        for written in 0..=total {
            for quiet in [true, false] {
                let log = Log::default();
                let mut out = OutboundBuffer::default();
                for (index, &length) in lengths.iter().enumerate() {
                    let text = BytesMut::from(&b"1234567"[..length]);
                    let (message, promise) = match quiet {
                        true => (Message::new(text), Promise::void()),
                        false => (text.freeze().into(), log.promise(&index.to_string())),
                    };
                    add(&mut out, message, promise);
                }
                let _ = out.add_flush();
                let (done, rest) = expected(lengths, written);
                let bytes = lengths[..done].iter().sum();
                assert_eq!(
                    out.advance(written),
                    released(bytes, done),
                    "{lengths:?} {written}"
                );
                assert_eq!(out.front_bytes().map(<[u8]>::len), rest);
                assert_eq!(out.flushed_len(), lengths.len() - done);
                assert_eq!(
                    out.total_pending(),
                    total - bytes + 96 * (lengths.len() - done)
                );
                assert_eq!(log.take(), "", "nobody is told inside");
                assert_eq!(settle(&mut out), 0);
                let names: Vec<_> = (0..done).map(|index| index.to_string()).collect();
                assert_eq!(
                    log.take(),
                    if quiet {
                        String::new()
                    } else {
                        names.join(" ")
                    }
                );
            }
        }
    }
}

#[test]
fn a_partial_write_goes_on_where_it_stopped() {
    let mut out = OutboundBuffer::default();
    add(&mut out, bytes("hello"), Promise::void());
    add(&mut out, frozen("world"), Promise::void());
    let _ = out.add_flush();
    let before = out.total_pending();
    assert_eq!(out.advance(2), Released::default());
    assert_eq!(gathered(&out), [&b"llo"[..], b"world"]);
    assert_eq!(
        out.total_pending(),
        before,
        "a part that was written changes no account"
    );
    assert_eq!(out.advance(5), released(5, 1));
    assert_eq!(gathered(&out), [b"rld"]);
    assert_eq!(out.advance(3), released(5, 1));
    assert_eq!(out.total_pending(), 0);
}

#[test]
fn empty_messages_wait_their_turn_and_go_with_the_write_before_them() {
    let log = Log::default();
    let mut out = OutboundBuffer::default();
    for (name, text) in [("a", "aa"), ("b", ""), ("c", "c"), ("d", ""), ("e", "")] {
        add(&mut out, bytes(text), log.promise(name));
    }
    let _ = out.add_flush();
    assert_eq!(gathered(&out), [&b"aa"[..], b"c"]);
    let _ = out.advance(1);
    settle(&mut out);
    assert_eq!(log.take(), "");
    let _ = out.advance(1);
    settle(&mut out);
    assert_eq!(log.take(), "a b");
    let _ = out.advance(1);
    settle(&mut out);
    assert_eq!(log.take(), "c d e");
}

#[test]
fn an_empty_message_behind_a_write_waits_for_its_flush() {
    let mut out = OutboundBuffer::default();
    add(&mut out, bytes("a"), Promise::void());
    let _ = out.add_flush();
    add(&mut out, bytes(""), Promise::void());
    assert_eq!(out.advance(1), released(1, 1));
    assert_eq!(out.len(), 1);
    let _ = out.add_flush();
    assert!(gathered(&out).is_empty() && matches!(out.front(), Front::Bytes(b"")));
    assert_eq!(out.advance(0), released(0, 1));
}

#[test]
fn regions_and_objects_stop_a_gathering_write_and_keep_their_place() {
    let log = Log::default();
    let mut out = OutboundBuffer::default();
    add(&mut out, bytes("a"), log.promise("a"));
    add(&mut out, frozen("b"), log.promise("b"));
    add(
        &mut out,
        FileRegion::lazy("unused", 0, 2).into(),
        log.promise("region"),
    );
    add(&mut out, bytes("c"), log.promise("c"));
    add(&mut out, Message::new(7_u32), log.promise("object"));
    let _ = out.add_flush();
    assert_eq!(gathered(&out), [b"a", b"b"]);
    assert_eq!(out.advance(2).entries, 2);
    assert!(gathered(&out).is_empty() && out.front_bytes().is_none());
    assert_eq!(
        out.advance(0),
        Released::default(),
        "a region is not an empty buffer"
    );

    let Front::Region(region) = out.front() else {
        panic!("the region is next")
    };
    region.advance(1);
    assert!(!out.front_region().expect("still next").is_done());
    out.front_region().expect("still next").advance(1);
    assert_eq!(out.complete_front(), released(0, 1));

    assert_eq!(out.advance(1), released(1, 1));
    let Front::Object(object) = out.front() else {
        panic!("the object is next")
    };
    assert!(object.is::<u32>());
    assert_eq!(out.complete_front(), released(8, 1));
    assert_eq!(settle(&mut out), 0);
    assert_eq!(log.take(), "a b region c object");
}

#[test]
fn the_gathering_cap_adapts_to_what_the_socket_takes() {
    let mut out = OutboundBuffer::default();
    assert_eq!(out.gather_max(), usize::MAX);
    out.set_gather_max(10_000);
    out.adapt_gather_max(4000, 4000);
    assert_eq!(out.gather_max(), 10_000, "twice as much still fits");
    out.adapt_gather_max(9000, 9000);
    assert_eq!(out.gather_max(), 18_000);
    out.adapt_gather_max(18_000, 9000);
    assert_eq!(out.gather_max(), 18_000, "half of it is good enough");
    out.adapt_gather_max(18_000, 8999);
    assert_eq!(out.gather_max(), 9000);
    out.adapt_gather_max(4096, 0);
    assert_eq!(out.gather_max(), 9000, "small writes say nothing");
    out.adapt_gather_max(usize::MAX, usize::MAX);
    assert_eq!(out.gather_max(), u32::MAX as usize);
}

#[test]
fn a_gathering_write_keeps_to_the_cap_but_takes_at_least_one() {
    let mut out = OutboundBuffer::default();
    for text in ["aaaa", "bb", "c"] {
        add(&mut out, bytes(text), Promise::void());
    }
    let _ = out.add_flush();
    out.set_gather_max(6);
    assert_eq!(gathered(&out), [&b"aaaa"[..], b"bb"]);
    out.set_gather_max(1);
    assert_eq!(gathered(&out), [b"aaaa"]);
}

#[test]
fn failing_goes_in_order_flushed_first() {
    let log = Log::default();
    let mut out = OutboundBuffer::default();
    for name in ["a", "b", "c", "d"] {
        add(&mut out, bytes("xx"), log.promise(name));
        if name == "b" {
            let _ = out.add_flush();
        }
    }
    let _ = out.advance(1);
    assert_eq!(out.fail_flushed(&error()), released(4, 2));
    assert_eq!((out.len(), out.flushed_len()), (2, 0));
    assert_eq!(settle(&mut out), 0, "listeners observe");
    assert_eq!(log.take(), "a! b!");
    assert_eq!(out.fail_all(&error()), released(4, 2));
    settle(&mut out);
    assert_eq!(log.take(), "c! d!");
    assert_eq!(out.total_pending(), 0);
}

#[test]
fn the_order_holds_over_success_and_failure_within_one_borrow() {
    let log = Log::default();
    let mut out = OutboundBuffer::default();
    for name in ["a", "b", "c", "d"] {
        add(&mut out, frozen("x"), log.promise(name));
    }
    let _ = out.add_flush();
    let _ = out.advance(2);
    let _ = out.fail_front(error());
    let _ = out.advance(1);
    settle(&mut out);
    assert_eq!(log.take(), "a b c! d");
}

#[test]
fn one_failure_leaves_the_others_alone() {
    let mut out = OutboundBuffer::default();
    add(&mut out, bytes("a"), Promise::void());
    add(&mut out, bytes("b"), Promise::void());
    let _ = out.add_flush();
    assert_eq!(out.fail_front(error()), released(1, 1));
    assert_eq!(gathered(&out), [b"b"]);
}

#[test]
fn failures_nobody_observes_are_told_to_the_caller() {
    let mut out = OutboundBuffer::default();
    add(&mut out, bytes("void"), Promise::void());
    let kept = Promise::new(OnCaller::host());
    add(&mut out, bytes("future dropped"), kept);
    let observed = Promise::new(OnCaller::host());
    let completion = observed.completion();
    add(&mut out, bytes("observed"), observed);
    let _ = out.fail_all(&error());
    assert_eq!(settle(&mut out), 2);
    assert_eq!(
        completion.cause().expect("failed").kind(),
        ErrorKind::ChannelClosed
    );
}

#[test]
fn taken_messages_stay_on_the_account_until_they_are_completed() {
    let log = Log::default();
    let mut out = OutboundBuffer::default();
    for (name, text) in [("a", "aa"), ("b", "bb"), ("c", "cc")] {
        add(&mut out, frozen(text), log.promise(name));
    }
    let _ = out.add_flush();
    let before = out.total_pending();
    assert_eq!(out.take_front().expect("a").as_bytes(), Some(&b"aa"[..]));
    assert_eq!(out.take_front().expect("b").as_bytes(), Some(&b"bb"[..]));
    assert_eq!((out.taken_len(), out.total_pending()), (2, before));
    assert!(matches!(out.front(), Front::Empty) && gathered(&out).is_empty());
    assert_eq!(out.advance(0), Released::default());

    assert_eq!(out.complete_taken(1), released(2, 1));
    settle(&mut out);
    assert_eq!(log.take(), "a");
    out.put_back(frozen("b"));
    assert_eq!(out.taken_len(), 0);
    assert_eq!(gathered(&out), [&b"b"[..], b"cc"]);
    assert_eq!(out.advance(3), released(4, 2));
    settle(&mut out);
    assert_eq!(log.take(), "b c");
    assert_eq!(out.total_pending(), 0);
}

#[test]
fn completions_after_a_failure_are_ignored() {
    let mut out = OutboundBuffer::default();
    add(&mut out, bytes("a"), Promise::void());
    add(&mut out, bytes("b"), Promise::void());
    let _ = out.add_flush();
    assert!(out.take_front().is_some() && out.take_front().is_some() && out.take_front().is_none());
    assert_eq!(out.fail_front(error()), released(1, 1));
    assert_eq!(out.taken_len(), 1);
    assert_eq!(out.fail_all(&error()), released(1, 1));
    assert_eq!(out.complete_taken(2), Released::default());
    assert_eq!(settle(&mut out), 2);
}

/// Writes to the buffer that its own message was in, as a `Drop` of a user's may.
struct WritesWhenDropped(Arc<Mutex<OutboundBuffer>>, Arc<AtomicUsize>);

impl Drop for WritesWhenDropped {
    fn drop(&mut self) {
        let mut out = self
            .0
            .try_lock()
            .expect("nobody borrows the buffer while foreign code runs");
        out.add(bytes("from drop"), 9, Promise::void());
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn no_message_is_dropped_while_the_buffer_is_borrowed() {
    let out = Arc::new(Mutex::new(OutboundBuffer::default()));
    let dropped = Arc::new(AtomicUsize::new(0));
    let lock = || out.lock().expect("no panic");
    let finish = || {
        loop {
            let settled = lock().take_settled();
            match settled {
                Some(settled) => drop(settled.finish()),
                None => break,
            }
        }
    };
    let guard = || WritesWhenDropped(Arc::clone(&out), Arc::clone(&dropped));

    let owner = Bytes::from_owner(Owner(guard()));
    lock().add(owner.into(), 1, Promise::void());
    lock().add(Message::new(guard()), 8, Promise::void());
    let cancelled = Promise::new(OnCaller::host());
    assert!(cancelled.completion().cancel());
    lock().add(Message::new(guard()), 8, cancelled);
    let _ = lock().add_flush();
    let _ = lock().advance(1);
    let _ = lock().complete_front();
    assert_eq!(dropped.load(Ordering::Relaxed), 0);
    finish();
    assert_eq!(dropped.load(Ordering::Relaxed), 3);
    assert_eq!(lock().len(), 3, "what was written meanwhile is kept");
    lock().add(Message::new(guard()), 8, Promise::void());
    let _ = lock().fail_all(&error());
    assert_eq!(dropped.load(Ordering::Relaxed), 3);
    finish();
    assert_eq!(lock().len(), 1);
    let _ = lock().fail_all(&error());
    finish();
}

struct Owner(#[expect(dead_code, reason = "its drop is what the test is about")] WritesWhenDropped);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        b"x"
    }
}

#[test]
fn writes_made_while_settling_complete_after_what_was_over_before() {
    let log = Log::default();
    let mut out = OutboundBuffer::default();
    for name in ["a", "b", "c"] {
        add(&mut out, frozen("x"), log.promise(name));
    }
    let _ = out.add_flush();
    let _ = out.advance(3);
    let first = out.take_settled().expect("a is over");
    add(&mut out, frozen("x"), log.promise("d"));
    let _ = out.add_flush();
    let _ = out.advance(1);
    first.finish();
    settle(&mut out);
    assert_eq!(log.take(), "a b c d");
}

#[test]
fn one_pending_write_needs_no_storage() {
    let mut out = OutboundBuffer::default();
    for _ in 0..3 {
        for message in [bytes("a"), frozen("b"), Message::new(1_u8)] {
            add(&mut out, message, Promise::new(OnCaller::host()));
            let _ = out.add_flush();
            let _ = out.complete_front();
            settle(&mut out);
            assert!(out.queue.is_inline());
        }
    }
}

#[test]
fn storage_is_given_back_after_a_burst() {
    let mut out = OutboundBuffer::default();
    for burst in [3, KEPT_MAX * 4] {
        for _ in 0..burst {
            add(&mut out, frozen("x"), Promise::void());
        }
        let _ = out.add_flush();
        let _ = out.advance(burst);
        settle(&mut out);
        let kept = out.queue.storage();
        assert!(kept <= 2 * KEPT_MAX, "{kept} entries kept");
        assert_eq!(kept > 0, burst < KEPT_MAX);
    }
    out.release_storage();
    assert!(out.queue.is_inline());
}

#[test]
fn releasing_storage_keeps_what_is_pending() {
    let mut out = OutboundBuffer::default();
    for text in ["a", "b", "c"] {
        add(&mut out, bytes(text), Promise::void());
    }
    out.release_storage();
    let _ = out.add_flush();
    assert_eq!(gathered(&out), [b"a", b"b", b"c"]);
}

fn received(arena: &mut Arena, text: &[u8]) -> BytesMut {
    let read = arena.read(2048, |room, _| {
        room.extend_from_slice(text);
        Ok(text.len())
    });
    read.expect("no error")
}

#[test]
fn compaction_frees_the_arena_and_keeps_every_byte() {
    let mut arena = Arena::new();
    let mut out = OutboundBuffer::default();
    let shared = Bytes::from(vec![b's'; 100]);
    let frozen_part = received(&mut arena, b"frozen").freeze();
    add(
        &mut out,
        received(&mut arena, b"first").into(),
        Promise::void(),
    );
    add(&mut out, frozen_part.into(), Promise::void());
    add(&mut out, bytes(""), Promise::void());
    add(&mut out, shared.clone().into(), Promise::void());
    add(&mut out, Message::new(5_u8), Promise::void());
    add(
        &mut out,
        received(&mut arena, b"last").into(),
        Promise::void(),
    );
    let _ = out.add_flush();
    let _ = out.advance(1);
    assert!(
        out.queue
            .iter()
            .any(|entry| entry.message.as_bytes().is_some_and(|b| arena.owns(b)))
    );

    assert_eq!(out.compact(&arena), 4 + 6 + 4);
    assert!(
        !out.queue
            .iter()
            .any(|entry| entry.message.as_bytes().is_some_and(|b| arena.owns(b)))
    );
    settle(&mut out);
    arena.release();
    assert_eq!(
        arena.stats().live_bytes,
        0,
        "nothing pins the arena any more"
    );
    assert_eq!(gathered(&out), [&b"irst"[..], b"frozen", &shared]);
    let kept = out
        .queue
        .iter()
        .nth(3)
        .and_then(|entry| entry.message.as_bytes());
    assert_eq!(
        kept.expect("bytes").as_ptr(),
        shared.as_ptr(),
        "what is shared is not copied"
    );
}

#[test]
fn compaction_looks_at_each_entry_once_and_leaves_large_ones() {
    let mut arena = Arena::new();
    let mut out = OutboundBuffer::default();
    let large = vec![1; CHUNK_SIZE / 8];
    add(
        &mut out,
        received(&mut arena, &large).into(),
        Promise::void(),
    );
    add(
        &mut out,
        received(&mut arena, b"one").into(),
        Promise::void(),
    );
    let _ = out.add_flush();
    assert_eq!(out.compact(&arena), 3);
    assert_eq!(out.compact(&arena), 0);
    add(
        &mut out,
        received(&mut arena, b"two").into(),
        Promise::void(),
    );
    assert_eq!(out.compact(&arena), 3);
    let _ = out.advance(0);
    let _ = out.add_flush();
    let _ = out.advance(large.len() + 3);
    assert_eq!(gathered(&out), [b"two"]);
    add(
        &mut out,
        received(&mut arena, b"three").into(),
        Promise::void(),
    );
    assert_eq!(out.compact(&arena), 5);
    let _ = out.add_flush();
    assert_eq!(gathered(&out), [&b"two"[..], b"three"]);
}

#[test]
fn a_trickle_to_a_blocked_peer_shares_one_block() {
    let mut arena = Arena::new();
    let mut out = OutboundBuffer::default();
    add(
        &mut out,
        received(&mut arena, b"0123456789").into(),
        Promise::void(),
    );
    for _ in 0..20 {
        add(
            &mut out,
            received(&mut arena, b"0123456789").into(),
            Promise::void(),
        );
        out.compact(&arena);
    }
    let addresses: Vec<usize> = out
        .queue
        .iter()
        .filter_map(|entry| Some(entry.message.as_bytes()?.as_ptr().addr()))
        .skip(1)
        .collect();
    assert!(
        addresses.windows(2).all(|pair| pair[1] - pair[0] == 10),
        "{addresses:?}"
    );
}

/// The buffer against a model: a queue of lengths, driven by a fixed stream of random numbers.
#[test]
fn any_mix_of_operations_keeps_order_and_account() {
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    let (mut out, mut arena, log) = (OutboundBuffer::default(), Arena::new(), Log::default());
    let (mut next, mut expected_log) = (0, Vec::new());
    let mut model: std::collections::VecDeque<(usize, usize, usize)> = Default::default();
    let (mut flushed, mut total) = (0, 0);
    for _ in 0..20_000 {
        match random(8) {
            0..=2 => {
                let length = random(6);
                let text = vec![b'a' + (next % 26) as u8; length];
                let message = match random(3) {
                    0 if length > 0 => received(&mut arena, &text).into(),
                    1 => Message::new(Bytes::from(text)),
                    _ => Message::new(BytesMut::from(&text[..])),
                };
                add(&mut out, message, log.promise(&next.to_string()));
                model.push_back((next, length, length));
                next += 1;
                total += length + ENTRY_OVERHEAD;
            }
            3 => {
                let _ = out.add_flush();
                flushed = model.len();
            }
            4 | 5 => {
                let offered: usize = gathered(&out).iter().map(Vec::len).sum();
                let left: usize = model.iter().take(flushed).map(|&(_, _, left)| left).sum();
                assert_eq!(offered, left);
                let mut written = random(offered + 1);
                let before = total;
                let done = out.advance(written);
                while flushed > 0 {
                    let (name, length, left) = &mut model[0];
                    if *left > written {
                        *left -= written;
                        break;
                    }
                    written -= *left;
                    expected_log.push(name.to_string());
                    total -= *length + ENTRY_OVERHEAD;
                    model.pop_front();
                    flushed -= 1;
                }
                assert_eq!(done.bytes, before - total);
            }
            6 => {
                out.compact(&arena);
            }
            _ if random(50) == 0 => {
                let _ = out.fail_flushed(&error());
                for (name, length, _) in model.drain(..flushed) {
                    expected_log.push(format!("{name}!"));
                    total -= length + ENTRY_OVERHEAD;
                }
                flushed = 0;
            }
            _ => {
                settle(&mut out);
            }
        }
        assert_eq!(out.total_pending(), total);
        assert_eq!((out.len(), out.flushed_len()), (model.len(), flushed));
    }
    settle(&mut out);
    assert_eq!(log.take(), expected_log.join(" "));
}
