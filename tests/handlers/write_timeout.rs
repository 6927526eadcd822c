//! `WriteTimeout`, on a clock that the test moves.

use std::time::Duration;

use tidegate::handler::timeout::WriteTimeout;
use tidegate::{EmbeddedChannel, ErrorKind, Fault};

use crate::common::telling::told;
use crate::common::{Log, Script};

const SECOND: Duration = Duration::from_secs(1);

fn channel(limit: Duration, log: &Log) -> EmbeddedChannel {
    let last = Script::new("last", log).on_error(|_, _| Ok(()));
    EmbeddedChannel::new(|p| {
        p.add_last(WriteTimeout::new(limit))?;
        p.add_last(last)
    })
    .unwrap()
}

/// A write that is not done in time is an error, once; then the channel closes and the write fails.
///
/// Rules: H37
#[test]
fn a_write_that_takes_too_long_closes_the_channel() {
    let log = Log::new();
    let mut channel = channel(2 * SECOND, &log);
    channel.block_writes(true);
    let slow = channel.run(|channel| channel.write_and_flush("slow"));
    channel.advance(SECOND);
    let later = channel.run(|channel| channel.write_and_flush("later"));
    channel.advance(SECOND - Duration::from_nanos(1));
    assert!(channel.channel().is_open());
    channel.advance(10 * SECOND);
    assert_eq!(
        log.take(),
        ["last error a write was not completed within 2s"]
    );
    assert!(!channel.channel().is_open());
    assert!(!slow.is_success() && slow.is_done());
    assert!(!later.is_success() && later.is_done());
    assert_eq!(channel.next_timer(), None);
}

/// Where nobody takes the error, it is what the write fails with. Its text says how long, and the fault is the peer's.
///
/// Rules: H37
#[test]
fn the_error_blames_the_peer() {
    let mut channel = EmbeddedChannel::new(|p| p.add_last(WriteTimeout::new(SECOND))).unwrap();
    channel.block_writes(true);
    channel.run(|channel| channel.write_and_flush("slow"));
    channel.advance(SECOND);
    let error = channel.check().unwrap_err().into_error();
    assert_eq!(
        (error.kind(), error.fault()),
        (ErrorKind::TimedOut, Fault::Peer)
    );
}

/// Writes that are done in time are forgotten, and each has its own time: one timer follows the oldest.
///
/// Rules: H37
#[test]
fn each_write_has_its_own_time() {
    let log = Log::new();
    let mut channel = channel(3 * SECOND, &log);
    for _ in 0..4 {
        channel.write_outbound("quick").unwrap();
        channel.advance(SECOND);
    }
    assert!(channel.channel().is_open());
    channel.advance(3 * SECOND);
    assert_eq!(channel.next_timer(), None, "nothing is pending");

    channel.yield_after(1);
    channel.block_writes(true);
    channel.run(|channel| channel.write_and_flush("first"));
    channel.advance(2 * SECOND);
    channel.block_writes(false);
    channel.block_writes(true);
    channel.run(|channel| channel.write_and_flush("second"));
    channel.advance(2 * SECOND);
    assert!(channel.channel().is_open(), "the first was done");
    channel.advance(SECOND);
    assert!(!channel.channel().is_open());
}

/// A void write is watched like any other, and its failure is still reported.
///
/// Rules: H37
#[test]
fn a_void_write_is_watched_and_reported() {
    let log = Log::new();
    let mut channel = channel(SECOND, &log);
    channel.block_writes(true);
    let lines = told(|| {
        channel.run(|channel| {
            channel.write("void");
            channel.flush();
        });
        channel.advance(SECOND);
    });
    assert!(!channel.channel().is_open());
    let reports = lines
        .iter()
        .filter(|line| line.contains("nobody observes it"));
    assert_eq!(reports.count(), 1, "{lines:?}");
}

/// A handler that is taken out lets the writes go on, and leaves no timer.
///
/// Rules: H37
#[test]
fn a_removed_handler_keeps_nothing() {
    let log = Log::new();
    let mut channel = channel(SECOND, &log);
    channel.block_writes(true);
    let write = channel.run(|channel| channel.write_and_flush("m"));
    channel
        .pipeline(|p| p.remove_type::<WriteTimeout>())
        .unwrap();
    assert_eq!(channel.next_timer(), None);
    channel.advance(5 * SECOND);
    assert!(!write.is_done());
    channel.block_writes(false);
    assert!(write.is_success());
}

/// Zero is off, and a limit beyond the clock is never reached.
///
/// Rules: H31, H37
#[test]
fn odd_limits_are_harmless() {
    let log = Log::new();
    for limit in [Duration::ZERO, Duration::MAX] {
        let mut channel = channel(limit, &log);
        channel.block_writes(true);
        channel.run(|channel| channel.write_and_flush("m"));
        channel.advance(Duration::from_secs(1 << 33));
        assert!(channel.channel().is_open());
    }
}
