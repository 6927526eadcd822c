//! `ChunkedWrite`: order, pressure, failures, the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate::buffer::IntoMessage;
use tidegate::channel::WaterMark;
use tidegate::channel::options::WRITE_BUFFER_WATER_MARK;
use tidegate::handler::stream::{
    Chunked, ChunkedBytes, ChunkedInput, ChunkedWrite, NextChunk, Progress,
};
use tidegate::{
    ChannelFuture, Context, EmbeddedChannel, Error, ErrorKind, Failure, Handler, HandlerResult,
    Message, OptionSet, Promise,
};

use crate::support::{Log, Scripted, Step, outbound};

pub fn channel() -> EmbeddedChannel {
    EmbeddedChannel::new(|p| p.add_last(ChunkedWrite::new())).unwrap()
}

/// A channel that turns unwritable above `high` pending bytes, entries of 96 bytes included.
fn narrow(low: usize, high: usize, handler: ChunkedWrite) -> EmbeddedChannel {
    let mut options = OptionSet::new();
    options
        .set(WRITE_BUFFER_WATER_MARK, WaterMark::new(low, high).unwrap())
        .unwrap();
    EmbeddedChannel::with_options(&options, |p| p.add_last(handler)).unwrap()
}

pub fn chunked(input: impl ChunkedInput) -> Message {
    Message::new(Chunked::new(input))
}

fn bytes(content: &'static str, size: usize) -> Message {
    chunked(ChunkedBytes::new(content).chunk_size(size))
}

pub fn write(channel: &mut EmbeddedChannel, msg: impl IntoMessage) -> ChannelFuture {
    let msg = msg.into_message();
    channel.run(|channel| channel.write_future(msg))
}

pub fn flush(channel: &mut EmbeddedChannel) {
    channel.run(|channel| channel.flush());
}

pub fn kind(future: &ChannelFuture) -> ErrorKind {
    future.cause().expect("it has failed").kind()
}

/// Rules: H53
#[test]
fn a_chunked_message_waits_for_its_flush_and_arrives_in_chunks() {
    let mut channel = channel();
    let sent = write(&mut channel, bytes("abcdefg", 3));
    assert_eq!(outbound(&mut channel), [""; 0]);
    flush(&mut channel);
    assert_eq!(outbound(&mut channel), ["abc", "def", "g"]);
    assert!(sent.is_success());
}

/// Rules: H53
#[test]
fn plain_writes_stay_behind_chunks_and_pass_when_nothing_is_before_them() {
    let mut channel = channel();
    let log = Log::default();
    write(&mut channel, "first");
    write(
        &mut channel,
        chunked(Scripted::new(
            "input",
            &[Step::Chunk("a"), Step::Suspend, Step::Last("b")],
            &log,
        )),
    );
    let last = write(&mut channel, "last");
    write(&mut channel, bytes("cd", 1));
    flush(&mut channel);
    assert_eq!(outbound(&mut channel), ["first", "a"]);
    assert!(!last.is_done());
    flush(&mut channel);
    assert_eq!(outbound(&mut channel), ["b", "last", "c", "d"]);
    assert!(last.is_success());
}

/// What was not flushed stays unflushed, though what was before it is sent.
///
/// Rules: H53
#[test]
fn a_flush_counts_for_what_was_written_before_it() {
    let mut channel = channel();
    let log = Log::default();
    write(
        &mut channel,
        chunked(Scripted::new(
            "input",
            &[Step::Suspend, Step::Last("a")],
            &log,
        )),
    );
    flush(&mut channel);
    let plain = write(&mut channel, "plain");
    let second = write(&mut channel, bytes("bc", 1));
    resume(&mut channel);
    assert_eq!(outbound(&mut channel), ["a"]);
    assert!(!plain.is_done() && !second.is_done());
    flush(&mut channel);
    assert_eq!(outbound(&mut channel), ["plain", "b", "c"]);
}

pub fn resume(channel: &mut EmbeddedChannel) {
    let handle = channel.pipeline(|p| p.handle::<ChunkedWrite>()).unwrap();
    handle
        .run(|chunked, ctx| {
            chunked.resume_transfer(ctx);
            Ok(())
        })
        .unwrap();
    channel.run_pending();
}

/// An input that counts what was pulled from it.
struct Endless(Arc<AtomicUsize>, usize);

impl ChunkedInput for Endless {
    fn next_chunk(&mut self) -> Result<NextChunk, Failure> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(NextChunk::Chunk(vec![0; self.1].into()))
    }

    fn progress(&self) -> u64 {
        (self.0.load(Ordering::Relaxed) * self.1) as u64
    }
}

/// With a peer that takes nothing, the high watermark and one chunk of an endless input are in memory.
///
/// Rules: H53
#[test]
fn chunks_are_pulled_only_while_the_channel_is_writable() {
    let mut channel = narrow(2_000, 10_000, ChunkedWrite::new());
    channel.block_writes(true);
    let pulled = Arc::new(AtomicUsize::new(0));
    write(&mut channel, chunked(Endless(pulled.clone(), 904)));
    flush(&mut channel);
    // Entries of 904 + 96 bytes: the eleventh goes above 10,000.
    assert_eq!(pulled.load(Ordering::Relaxed), 11);
    for _ in 0..5 {
        flush(&mut channel);
        channel.run_pending();
    }
    assert_eq!(pulled.load(Ordering::Relaxed), 11);
    assert!(!channel.channel().is_writable());
}

/// Counts the bytes that were pulled.
struct Counted(ChunkedBytes, Arc<AtomicUsize>);

impl ChunkedInput for Counted {
    fn next_chunk(&mut self) -> Result<NextChunk, Failure> {
        let next = self.0.next_chunk();
        let progress = usize::try_from(self.0.progress()).unwrap();
        self.1.store(progress, Ordering::Relaxed);
        next
    }

    fn progress(&self) -> u64 {
        self.0.progress()
    }
}

/// However long the input, what was pulled and not sent stays below the mark and a chunk.
///
/// Rules: H53
#[test]
fn a_slow_peer_gets_all_of_it_in_bounded_memory() {
    const CHUNKS: usize = 500;
    let mut channel = narrow(3_000, 10_000, ChunkedWrite::new());
    let content: Vec<u8> = (0..CHUNKS * 904).map(|at| (at % 251) as u8).collect();
    channel.block_writes(true);
    let pulled = Arc::new(AtomicUsize::new(0));
    let input = Counted(
        ChunkedBytes::new(content.clone()).chunk_size(904),
        pulled.clone(),
    );
    let sent = write(&mut channel, chunked(input));
    flush(&mut channel);
    let mut received = Vec::new();
    while !sent.is_done() {
        let before = received.len();
        channel.yield_after(1);
        channel.block_writes(false);
        channel.block_writes(true);
        while let Some(msg) = channel.read_outbound() {
            received.extend_from_slice(msg.as_bytes().unwrap());
        }
        assert!(received.len() > before, "every turn brings something");
        let in_memory = pulled.load(Ordering::Relaxed) - received.len();
        assert!(in_memory <= 10_000, "{in_memory} bytes in memory");
    }
    assert!(sent.is_success());
    assert_eq!(received, content);
}

/// Counts flushes, nearer to the head.
struct Flushes(Arc<AtomicUsize>);

impl Handler for Flushes {
    fn flush(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.fetch_add(1, Ordering::Relaxed);
        ctx.flush();
        Ok(())
    }
}

/// Chunks go out together, so many per flush, and the loop is left between two rounds.
///
/// Rules: H53
#[test]
fn chunks_are_flushed_together() {
    let flushes = Arc::new(AtomicUsize::new(0));
    let counter = flushes.clone();
    let mut channel = EmbeddedChannel::new(move |p| {
        p.add_last(Flushes(counter))?;
        p.add_last(ChunkedWrite::new().chunks_per_flush(4))
    })
    .unwrap();
    let sent = write(&mut channel, bytes("0123456789", 1));
    flush(&mut channel);
    assert_eq!(outbound(&mut channel).len(), 10);
    assert!(sent.is_success());
    // The user's own, and three of 4, 4 and 2 chunks.
    assert_eq!(flushes.load(Ordering::Relaxed), 4);
}

/// Rules: H53
#[test]
fn a_suspended_input_is_asked_again_by_resume_transfer() {
    let mut channel = channel();
    let log = Log::default();
    let steps = [
        Step::Chunk("a"),
        Step::Suspend,
        Step::Suspend,
        Step::Chunk("b"),
        Step::End,
    ];
    let sent = write(&mut channel, chunked(Scripted::new("input", &steps, &log)));
    flush(&mut channel);
    assert_eq!(outbound(&mut channel), ["a"]);
    channel.run_pending();
    assert_eq!(log.take().len(), 2, "nobody asks meanwhile");
    resume(&mut channel);
    assert_eq!(outbound(&mut channel), [""; 0]);
    resume(&mut channel);
    assert_eq!(outbound(&mut channel), ["b"]);
    assert!(sent.is_success());
}

/// Rules: H53
#[test]
fn the_input_is_closed_once_and_before_the_promise() {
    for steps in [
        vec![Step::Chunk("a"), Step::Last("b")],
        vec![Step::Chunk("a"), Step::End],
        vec![Step::End],
        vec![Step::Chunk("a"), Step::Fail],
    ] {
        let mut channel = channel();
        let log = Log::default();
        let sent = write(&mut channel, chunked(Scripted::new("input", &steps, &log)));
        let told = log.clone();
        sent.add_listener(move |_, result| told.add(format!("done {}", result.is_ok())));
        flush(&mut channel);
        let lines = log.take();
        let is_ok = !matches!(steps.last(), Some(Step::Fail));
        let end = &lines[lines.len() - 2..];
        assert_eq!(end, ["input closed", &format!("done {is_ok}")]);
        assert_eq!(
            lines.iter().filter(|line| *line == "input closed").count(),
            1
        );
    }
}

/// Rules: H53
#[test]
fn a_failing_input_fails_its_own_write_and_the_next_goes_on() {
    let mut channel = channel();
    let log = Log::default();
    let failed = write(
        &mut channel,
        chunked(Scripted::new(
            "input",
            &[Step::Chunk("a"), Step::Fail],
            &log,
        )),
    );
    let plain = write(&mut channel, "plain");
    let next = write(&mut channel, bytes("bc", 1));
    flush(&mut channel);
    assert_eq!(outbound(&mut channel), ["a", "plain", "b", "c"]);
    assert_eq!(kind(&failed), ErrorKind::User);
    assert!(
        failed
            .cause()
            .unwrap()
            .to_string()
            .contains("the disk is gone")
    );
    assert!(plain.is_success() && next.is_success());
    channel.check().unwrap();
}

/// Fails the write of "bad".
struct Picky;

impl Handler for Picky {
    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        if msg.as_bytes() == Some(b"bad") {
            return Err(Failure::msg("I don't like it"));
        }
        ctx.write_with(msg, promise);
        Ok(())
    }
}

/// A chunk that a handler nearer to the head refuses.
///
/// Rules: H53
#[test]
fn a_failing_chunk_closes_the_input_fails_the_write_and_the_next_goes_on() {
    let mut channel = EmbeddedChannel::new(|p| {
        p.add_last(Picky)?;
        p.add_last(ChunkedWrite::new().chunks_per_flush(1))
    })
    .unwrap();
    let log = Log::default();
    let steps = [
        Step::Chunk("good"),
        Step::Chunk("bad"),
        Step::Chunk("never"),
    ];
    let failed = write(&mut channel, chunked(Scripted::new("input", &steps, &log)));
    let next = write(&mut channel, bytes("next", 4));
    flush(&mut channel);
    assert_eq!(outbound(&mut channel), ["good", "next"]);
    assert_eq!(log.take(), ["input pulled", "input pulled", "input closed"]);
    assert_eq!(kind(&failed), ErrorKind::User);
    assert!(next.is_success());
}

/// A chunk that fails after the input was at its end.
///
/// Rules: H53
#[test]
fn a_late_failure_of_a_chunk_fails_the_write() {
    let mut channel = channel();
    channel.block_writes(true);
    let sent = write(&mut channel, bytes("abcd", 2));
    let next = write(&mut channel, "next");
    flush(&mut channel);
    channel.fail_next_flush(Error::new(ErrorKind::ConnectionReset, "cable cut"));
    channel.block_writes(false);
    assert_eq!(kind(&sent), ErrorKind::ConnectionReset);
    assert!(next.cause().is_some());
}

/// Rules: H53
#[test]
fn when_the_channel_ends_everything_is_closed_and_fails() {
    let mut channel = narrow(100, 200, ChunkedWrite::new());
    channel.block_writes(true);
    let log = Log::default();
    let out = write(
        &mut channel,
        bytes("all of it is in the outbound buffer", 99),
    );
    flush(&mut channel);
    let steps = [Step::Chunk("x"); 3];
    let input = Scripted::new("input", &steps, &log);
    let half = write(&mut channel, chunked(input));
    let plain = write(&mut channel, "plain");
    let unflushed = write(&mut channel, bytes("never", 1));
    flush(&mut channel);
    let _ = channel.finish();
    for future in [&out, &half, &plain, &unflushed] {
        assert_eq!(kind(future), ErrorKind::ChannelClosed);
    }
    assert!(log.take().ends_with(&["input closed".to_owned()]));
    // And what comes later.
    let late = write(&mut channel, bytes("late", 1));
    assert_eq!(kind(&late), ErrorKind::ChannelClosed);
    assert_eq!(outbound(&mut channel), [""; 0]);
}

/// What the transport has taken is a success, though the channel ends at once.
///
/// Rules: H53
#[test]
fn an_input_that_was_sent_to_its_end_succeeds_before_the_channel_ends() {
    let mut channel = channel();
    let sent = channel.run(|channel| {
        let sent = channel.write_and_flush(bytes("abc", 2));
        channel.close();
        sent
    });
    assert!(sent.is_success());
    assert_eq!(outbound(&mut channel), ["ab", "c"]);
}

/// The handler leaves: what it holds goes on or fails, and nobody waits for ever.
///
/// Rules: H53
#[test]
fn a_handler_that_is_taken_out_lets_go_of_everything() {
    let mut channel = narrow(100, 300, ChunkedWrite::new());
    channel.block_writes(true);
    let log = Log::default();
    let out = write(&mut channel, bytes("ab", 1));
    flush(&mut channel);
    let steps = [Step::Chunk("0123456789"); 30];
    let half = write(&mut channel, chunked(Scripted::new("input", &steps, &log)));
    let plain = write(&mut channel, "plain");
    flush(&mut channel);
    channel
        .pipeline(|p| p.remove_type::<ChunkedWrite>())
        .unwrap();
    assert_eq!(kind(&half), ErrorKind::NoSuchHandler);
    assert!(log.take().contains(&"input closed".to_owned()));
    assert!(!out.is_done() && !plain.is_done());
    channel.block_writes(false);
    let sent = outbound(&mut channel);
    assert_eq!(sent[..2], ["a", "b"]);
    assert_eq!(sent.last().unwrap(), "plain");
    assert!(out.is_success() && plain.is_success());
}

/// A channel that never became active ends without `channel_inactive`.
///
/// Rules: H53
#[test]
fn a_channel_that_was_never_connected_fails_what_was_written() {
    let mut channel =
        EmbeddedChannel::unconnected(&OptionSet::new(), |p| p.add_last(ChunkedWrite::new()))
            .unwrap();
    let log = Log::default();
    let input = Scripted::new("input", &[Step::Chunk("a")], &log);
    let waiting = write(&mut channel, chunked(input));
    channel.finish().unwrap();
    assert_eq!(kind(&waiting), ErrorKind::ChannelClosed);
    assert_eq!(log.take(), ["input closed"]);
}

#[test]
fn a_write_that_was_cancelled_before_its_first_chunk_is_not_begun() {
    let mut channel = channel();
    let log = Log::default();
    let cancelled = write(
        &mut channel,
        chunked(Scripted::new("input", &[Step::Last("a")], &log)),
    );
    write(&mut channel, "next");
    assert!(cancelled.cancel());
    flush(&mut channel);
    assert_eq!(outbound(&mut channel), ["next"]);
    assert_eq!(log.take(), ["input closed"]);
}

#[test]
fn a_handler_that_joins_an_active_channel_works_at_once() {
    let mut channel = EmbeddedChannel::new(|_| Ok::<(), Failure>(())).unwrap();
    let refused = write(&mut channel, "before");
    channel
        .pipeline(|p| p.add_last(ChunkedWrite::new()))
        .unwrap();
    write(&mut channel, bytes("after", 5));
    flush(&mut channel);
    assert_eq!(outbound(&mut channel), ["before", "after"]);
    assert!(refused.is_success());
}

/// Rules: C17, H53
#[test]
fn progress_is_told_when_the_transport_has_taken_a_chunk() {
    let mut channel = channel();
    channel.block_writes(true);
    let log = Log::default();
    let told = log.clone();
    let message = Chunked::new(ChunkedBytes::new("abcdefg").chunk_size(3)).on_progress(
        move |Progress { written, total }| told.add(format!("{written} of {}", total.unwrap())),
    );
    write(&mut channel, Message::new(message));
    flush(&mut channel);
    assert_eq!(log.take(), [""; 0]);
    channel.block_writes(false);
    assert_eq!(log.take(), ["3 of 7", "6 of 7", "7 of 7"]);
}
