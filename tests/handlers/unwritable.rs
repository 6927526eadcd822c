//! `UnwritableGuard`, on a clock that the test moves.

use std::time::Duration;

use tidegate::buffer::FileRegion;
use tidegate::handler::timeout::UnwritableGuard;
use tidegate::{EmbeddedChannel, Error, ErrorKind, Fault};

use crate::common::{Log, Script};

const SECOND: Duration = Duration::from_secs(1);

fn channel(limit: Duration, log: &Log) -> EmbeddedChannel {
    let last = Script::new("last", log).on_error(|_, _| Ok(()));
    EmbeddedChannel::new(|p| {
        p.add_last(UnwritableGuard::new(limit))?;
        p.add_last(last)
    })
    .unwrap()
}

/// A peer that takes nothing is closed after the limit, at most an eighth of it later, and the error says so.
#[test]
fn a_peer_that_reads_nothing_is_closed() {
    let log = Log::new();
    let mut channel = channel(8 * SECOND, &log);
    channel.block_writes(true);
    let write = channel.run(|channel| channel.write_and_flush("four"));
    channel.advance(8 * SECOND - Duration::from_nanos(1));
    assert!(channel.channel().is_open(), "never early");
    channel.advance(SECOND);
    assert_eq!(
        log.take(),
        ["last error the peer has read nothing for 8s, with 4 bytes waiting for it"]
    );
    assert!(!channel.channel().is_open());
    assert!(write.is_done() && !write.is_success());
    assert_eq!(channel.next_timer(), None);
}

/// The error told of 96 bytes, which is what a region counts for the water marks.
#[test]
fn what_waits_is_told_with_what_is_left_of_files() {
    let log = Log::new();
    let mut channel = channel(SECOND, &log);
    channel.block_writes(true);
    let file = FileRegion::lazy("unused", 0, 30 << 20);
    channel.run(|channel| {
        channel.write("four");
        channel.write_and_flush(file);
    });
    channel.advance(2 * SECOND);
    let bytes = 4 + (30 << 20);
    assert_eq!(
        log.take(),
        [format!(
            "last error the peer has read nothing for 1s, with {bytes} bytes waiting for it"
        )]
    );
}

/// What is written meanwhile gives the peer no more time: it is not the peer's doing.
#[test]
fn writing_more_is_no_progress() {
    let log = Log::new();
    let mut channel = channel(8 * SECOND, &log);
    channel.block_writes(true);
    for _ in 0..18 {
        channel.run(|channel| channel.write_and_flush("more"));
        channel.advance(SECOND / 2);
    }
    assert!(!channel.channel().is_open());
}

/// A peer that takes something now and then is let be, even if what waits looks the same at every look.
#[test]
fn a_slow_peer_is_let_be() {
    let log = Log::new();
    let mut channel = channel(8 * SECOND, &log);
    for _ in 0..10 {
        // What waited is taken, and as much of the same comes.
        channel.block_writes(false);
        channel.block_writes(true);
        for _ in 0..3 {
            channel.run(|channel| channel.write_and_flush("alike"));
        }
        channel.advance(7 * SECOND);
        assert!(channel.channel().is_open());
    }
    assert_eq!(log.take(), [""; 0]);
    channel.advance(2 * SECOND);
    assert!(!channel.channel().is_open());
}

/// While nothing waits there is no timer, and a write that was not flushed is not the peer's fault.
#[test]
fn nothing_is_watched_while_nothing_waits() {
    let log = Log::new();
    let mut channel = channel(8 * SECOND, &log);
    assert_eq!(channel.next_timer(), None);
    channel.write_outbound("taken at once").unwrap();
    assert_eq!(channel.next_timer(), None);
    channel.run(|channel| channel.write("not flushed"));
    channel.advance(20 * SECOND);
    assert!(channel.channel().is_open());

    channel.block_writes(true);
    channel.run(|channel| channel.flush());
    assert_eq!(channel.next_timer(), Some(SECOND));
    channel.block_writes(false);
    channel.advance(SECOND);
    assert_eq!(channel.next_timer(), None, "it was taken");
}

/// Added while something waits it begins at once; taken out it leaves no timer.
#[test]
fn it_may_come_late_and_go_early() {
    let mut channel = EmbeddedChannel::new(|_| Ok::<(), Error>(())).unwrap();
    channel.block_writes(true);
    channel.run(|channel| channel.write_and_flush("m"));
    channel
        .pipeline(|p| p.add_first(UnwritableGuard::new(SECOND)))
        .unwrap();
    assert!(channel.next_timer().is_some());
    channel
        .pipeline(|p| p.remove_type::<UnwritableGuard>())
        .unwrap();
    assert_eq!(channel.next_timer(), None);
    channel
        .pipeline(|p| p.add_first(UnwritableGuard::new(SECOND)))
        .unwrap();
    channel.advance(2 * SECOND);
    let error = channel.check().unwrap_err().into_error();
    assert_eq!(
        (error.kind(), error.fault()),
        (ErrorKind::TimedOut, Fault::Peer)
    );
}

/// Zero is off, the shortest limits are one millisecond, and one beyond the clock is never reached.
#[test]
fn odd_limits_are_harmless() {
    let log = Log::new();
    for limit in [Duration::ZERO, Duration::MAX] {
        let mut channel = channel(limit, &log);
        channel.block_writes(true);
        channel.run(|channel| channel.write_and_flush("m"));
        channel.advance(1000 * SECOND);
        assert!(channel.channel().is_open());
    }
    let mut channel = channel(Duration::from_nanos(1), &log);
    channel.block_writes(true);
    channel.run(|channel| channel.write_and_flush("m"));
    channel.advance(Duration::from_millis(1));
    assert!(!channel.channel().is_open());
}
