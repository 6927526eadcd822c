//! Closing one direction, by either side.

use tidegate::ErrorKind;
use tidegate::channel::Direction;
use tidegate::channel::options::{ALLOW_HALF_CLOSURE, AUTO_READ};

use crate::support::{kind, option, recorded, recorded_with, reset, sent};

fn half_closing() -> tidegate::OptionSet {
    option(ALLOW_HALF_CLOSURE, true)
}

/// Rules: A36
#[test]
fn with_half_closure_the_end_of_input_is_two_events_and_no_close() {
    let (mut embedded, log) = recorded_with(&half_closing());
    embedded.feed(["last words"]);
    embedded.feed_eof();
    assert_eq!(
        log.take(),
        [
            "read last words",
            "complete",
            "complete",
            "input shutdown",
            "input shutdown read complete",
        ]
    );
    assert_eq!(embedded.shutdowns(), [Direction::Input]);
    assert!(embedded.channel().is_active() && embedded.channel().is_writable());
    let answer = embedded.run(|channel| channel.write_and_flush("answer"));
    assert!(answer.is_success());
    assert_eq!(sent(&mut embedded), ["answer"]);
}

/// Rules: A36
///
/// A half-closed channel that looked again and again kept a core busy elsewhere.
#[test]
fn after_the_end_of_input_nothing_is_read_any_more() {
    let (mut embedded, log) = recorded_with(&half_closing());
    embedded.feed_eof();
    log.take();
    let reads = embedded.reads();
    embedded.feed_eof();
    embedded.feed(["ghost"]);
    embedded.run(|channel| {
        channel.read();
        channel.set_auto_read(false);
        channel.set_auto_read(true);
        channel.read();
    });
    let signal = embedded.signal();
    embedded.run(|_| signal.readable());
    assert_eq!(embedded.reads(), reads);
    assert_eq!(log.take(), [""; 0], "each event once");
}

/// Rules: A36, A38
#[test]
fn with_half_closure_a_paused_channel_keeps_the_end_for_later() {
    let mut options = half_closing();
    options.set(AUTO_READ, false).unwrap();
    let (mut embedded, log) = recorded_with(&options);
    embedded.feed(["data"]);
    embedded.feed_eof();
    assert_eq!(log.take(), ["peer closing"]);
    embedded.run(|channel| channel.read());
    embedded.run(|channel| channel.read());
    assert_eq!(
        log.take(),
        [
            "read data",
            "complete",
            "complete",
            "input shutdown",
            "input shutdown read complete",
        ]
    );
}

/// Rules: A41
#[test]
fn shutting_the_output_fails_what_waits_and_leaves_the_input() {
    let (mut embedded, log) = recorded();
    embedded.block_writes(true);
    let (flushed, unflushed) = embedded.run(|channel| {
        let flushed = channel.write_and_flush("flushed");
        (flushed, channel.write_future("unflushed"))
    });
    embedded.run(|channel| {
        log.watch("shutdown", &channel.shutdown_output());
        log.watch("flushed", &flushed);
        log.watch("unflushed", &unflushed);
    });
    assert_eq!(
        log.take(),
        [
            "output shutdown",
            "shutdown",
            "flushed: output shut down",
            "unflushed: output shut down",
        ]
    );
    assert_eq!(embedded.shutdowns(), [Direction::Output]);
    let channel = embedded.channel().clone();
    assert!(channel.is_open() && channel.is_active() && channel.is_registered());
    embedded.feed(["still read"]);
    assert_eq!(log.take(), ["read still read", "complete"]);
}

/// Rules: A41
#[test]
fn the_promise_of_a_shutdown_is_done_before_the_writes_fail() {
    let (mut embedded, log) = recorded();
    embedded.block_writes(true);
    embedded.run(|channel| {
        log.watch("write", &channel.write_and_flush("x"));
        log.watch("shutdown", &channel.shutdown_output());
    });
    // The listener of the shutdown was added last and could not be earlier: the write's was there before.
    assert_eq!(
        log.take(),
        ["write: output shut down", "output shutdown", "shutdown"]
    );
    let (mut embedded, log) = recorded();
    embedded.block_writes(true);
    let writes = log.clone();
    embedded.run(move |channel| writes.watch("write", &channel.write_and_flush("x")));
    // As a task, so that the listener is there before the shutdown begins.
    log.watch("shutdown", &embedded.channel().shutdown_output());
    embedded.run_pending();
    assert_eq!(
        log.take(),
        ["shutdown", "write: output shut down", "output shutdown"]
    );
}

/// Rules: A41, C23
#[test]
fn nobody_is_told_to_write_after_the_output_was_shut() {
    for full in [false, true] {
        let (mut embedded, log) = recorded();
        embedded.block_writes(true);
        if full {
            embedded.run(|channel| channel.write_and_flush(vec![0; 100_000]));
            assert_eq!(log.take(), ["unwritable"]);
        }
        embedded.run(|channel| channel.shutdown_output());
        assert_eq!(log.take(), ["output shutdown"], "no writability event");
        let channel = embedded.channel().clone();
        assert!(!channel.is_writable());
        assert_eq!(channel.bytes_before_unwritable(), 0);
        assert_eq!(channel.bytes_before_writable(), usize::MAX);
        embedded.block_writes(false);
        let late = embedded.run(|channel| channel.write_and_flush("late"));
        assert_eq!(kind(&late), ErrorKind::ChannelClosed);
        embedded.channel().write_and_flush("late, from outside");
        embedded.run_pending();
        embedded.run(|channel| {
            let _ = channel.set_user_writability(1, false);
            let _ = channel.set_user_writability(1, true);
        });
        assert!(!channel.is_writable());
        assert_eq!(log.take(), [""; 0]);
        assert_eq!(sent(&mut embedded), [""; 0]);
    }
}

/// Rules: A41
#[test]
fn a_second_shutdown_of_the_output_fails() {
    let (mut embedded, log) = recorded();
    let (first, second) =
        embedded.run(|channel| (channel.shutdown_output(), channel.shutdown_output()));
    assert!(first.is_success());
    assert_eq!(kind(&second), ErrorKind::ChannelClosed);
    assert_eq!(log.take(), ["output shutdown"]);
    assert_eq!(embedded.shutdowns(), [Direction::Output]);
}

/// Rules: A42
#[test]
fn after_a_shutdown_of_the_input_reading_finds_the_end() {
    let (mut embedded, log) = recorded();
    let (first, second) =
        embedded.run(|channel| (channel.shutdown_input(), channel.shutdown_input()));
    assert!(first.is_success() && second.is_success());
    assert_eq!(embedded.shutdowns(), [Direction::Input]);
    assert_eq!(
        log.take(),
        ["complete", "inactive", "unregistered", "removed"]
    );
}

/// Rules: A42, A36
#[test]
fn a_shutdown_of_the_input_with_half_closure_keeps_the_channel() {
    let mut options = half_closing();
    options.set(AUTO_READ, false).unwrap();
    let (mut embedded, log) = recorded_with(&options);
    embedded.feed(["already here"]);
    let future = embedded.run(|channel| channel.shutdown_input());
    assert!(future.is_success());
    assert_eq!(log.take(), [""; 0], "nobody reads");
    embedded.run(|channel| channel.set_auto_read(true));
    assert_eq!(
        log.take(),
        [
            "read already here",
            "complete",
            "input shutdown",
            "input shutdown read complete",
        ]
    );
    assert_eq!(embedded.shutdowns(), [Direction::Input], "asked once");
    assert!(embedded.channel().is_active());
}

/// Rules: A43
#[test]
fn a_shutdown_of_both_ends_the_output_first() {
    let (mut embedded, log) = recorded_with(&half_closing());
    let future = embedded.run(|channel| channel.shutdown());
    assert!(future.is_success());
    assert_eq!(embedded.shutdowns(), [Direction::Output, Direction::Input]);
    let log = log.take();
    assert!(log.contains(&"output shutdown".to_string()));
    assert!(log.contains(&"input shutdown".to_string()));
    let again = embedded.run(|channel| channel.shutdown());
    assert_eq!(kind(&again), ErrorKind::ChannelClosed, "the output's cause");
}

/// Rules: A36, A41
#[test]
fn both_ends_shut_is_not_yet_a_close() {
    let (mut embedded, _) = recorded_with(&half_closing());
    embedded.feed_eof();
    embedded.run(|channel| channel.shutdown_output());
    assert!(embedded.channel().is_open());
    assert!(embedded.close().is_success());
}

/// Section 12: an error while reading closes, with half closure as well.
#[test]
fn a_read_error_closes_a_half_closing_channel() {
    let (mut embedded, log) = recorded_with(&half_closing());
    embedded.feed_error(reset());
    assert_eq!(
        log.take(),
        [
            "complete",
            "error connection reset",
            "inactive",
            "unregistered",
            "removed"
        ]
    );
}
