//! The end that the peer brings about: end of input, errors, closing while reading is paused.

use tidegate::channel::events::PeerClosing;
use tidegate::channel::options::AUTO_READ;
use tidegate::{ErrorKind, Fault};

use crate::support::{Hooks, hooked_with, kind, option, recorded, recorded_with, reset};

/// Rules: A35
#[test]
fn the_end_of_input_closes_after_everything_was_read() {
    let (mut embedded, log) = recorded();
    embedded.run(|channel| log.watch("closed", &channel.close_future()));
    embedded.feed(["a", "b"]);
    assert_eq!(log.take(), ["read a", "read b", "complete"]);
    embedded.feed_eof();
    assert_eq!(
        log.take(),
        ["complete", "closed", "inactive", "unregistered", "removed"]
    );
    let late = embedded.run(|channel| channel.write_future("x"));
    assert_eq!(kind(&late), ErrorKind::ChannelClosed);
}

/// Rules: A35, A38
#[test]
fn data_before_the_end_of_input_is_delivered_in_the_same_batch() {
    let (mut embedded, log) = recorded_with(&option(AUTO_READ, false));
    embedded.feed(["a", "b"]);
    embedded.feed_eof();
    log.take();
    embedded.run(|channel| channel.set_auto_read(true));
    assert_eq!(
        log.take(),
        [
            "read a",
            "read b",
            "complete",
            "inactive",
            "unregistered",
            "removed"
        ]
    );
}

/// Rules: A40
#[test]
fn a_read_error_comes_after_the_data_and_closes() {
    let (mut embedded, log) = recorded_with(&option(AUTO_READ, false));
    embedded.feed(["a"]);
    embedded.feed_error(reset());
    embedded.run(|channel| {
        log.watch("closed", &channel.close_future());
        channel.set_auto_read(true);
    });
    assert_eq!(
        log.take(),
        [
            "read a",
            "complete",
            "error connection reset",
            "closed",
            "inactive",
            "unregistered",
            "removed",
        ]
    );
    let error = embedded
        .run(|channel| channel.write_future("x"))
        .cause()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::ChannelClosed);
}

/// Rules: A38, A39
///
/// Section 12: data and end of input stay with the transport until read().
#[test]
fn a_peer_that_closes_while_reading_is_paused_is_told_once_and_nothing_is_read() {
    let (mut embedded, log) = recorded_with(&option(AUTO_READ, false));
    embedded.feed(["data"]);
    embedded.feed_eof();
    assert_eq!(log.take(), ["peer closing"]);
    assert!(embedded.read_event().unwrap().is::<PeerClosing>());
    let signal = embedded.signal();
    embedded.run(|_| signal.peer_closing());
    assert_eq!(log.take(), [""; 0], "once");
    assert_eq!((embedded.unread(), embedded.reads()), (2, 0));
    assert!(embedded.channel().is_active());
    embedded.run(|channel| channel.read());
    assert_eq!(log.take(), ["read data", "complete"]);
    assert!(embedded.channel().is_active(), "the end was not asked for");
    embedded.run(|channel| channel.read());
    assert_eq!(
        log.take(),
        ["complete", "inactive", "unregistered", "removed"]
    );
}

/// Rules: A39
#[test]
fn a_handler_may_answer_the_peers_closing_with_a_read() {
    let hooks = Hooks::new().on_event(|ctx, event| {
        assert!(event.is::<PeerClosing>());
        ctx.set_auto_read(true);
    });
    let (mut embedded, log) = hooked_with(&option(AUTO_READ, false), hooks);
    embedded.feed(["data"]);
    embedded.feed_eof();
    assert_eq!(
        log.take(),
        [
            "read data",
            "complete",
            "inactive",
            "unregistered",
            "removed"
        ]
    );
}

/// As an errno of a socket: what had arrived comes first, whether it is wanted or not.
///
/// Rules: A39, A40
#[test]
fn a_connection_that_breaks_is_read_out_while_reading_is_paused() {
    let (mut embedded, log) = recorded_with(&option(AUTO_READ, false));
    embedded.feed((0..40).map(|n| n.to_string()));
    embedded.feed_error(reset());
    assert_eq!(log.take(), [""; 0]);
    let signal = embedded.signal();
    embedded.run(|_| signal.broken());
    let mut log = log.take();
    log.retain(|line| line != "complete");
    let mut expected: Vec<_> = (0..40).map(|n| format!("read {n}")).collect();
    for last in [
        "error connection reset",
        "inactive",
        "unregistered",
        "removed",
    ] {
        expected.push(last.into());
    }
    assert_eq!(log, expected);
}

/// The reason of a close that the peer asked for is the peer's.
#[test]
fn a_close_by_the_peer_is_the_peers_fault() {
    let (mut embedded, _) = recorded();
    embedded.close_later();
    embedded.feed_eof();
    let late = embedded
        .run(|channel| channel.write_future("x"))
        .cause()
        .unwrap();
    assert_eq!(
        (late.kind(), late.fault()),
        (ErrorKind::ChannelClosed, Fault::Peer)
    );
}
