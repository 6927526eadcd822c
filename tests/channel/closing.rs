//! The order of a close, and what else may happen around one.

use std::sync::Arc;

use tidegate::channel::options::{AUTO_CLOSE, AUTO_READ};
use tidegate::{
    Channel, Context, EmbeddedChannel, Error, ErrorKind, Handler, HandlerResult, Promise,
};

use crate::support::{Hooks, Log, hooked, kind, option, recorded, recorded_with, reset, sent};

/// Rules: A25, A26
#[test]
fn a_close_ends_in_its_fixed_order() {
    let (mut embedded, log) = recorded();
    embedded.block_writes(true);
    embedded.run(|channel| {
        log.watch("flushed 1", &channel.write_future("a"));
        log.watch("flushed 2", &channel.write_and_flush("b"));
        log.watch("unflushed 1", &channel.write_future("c"));
        log.watch("unflushed 2", &channel.write_future("d"));
        log.watch("closed", &channel.close_future());
    });
    embedded.close_later();
    embedded.run(|channel| {
        log.watch("close 1", &channel.close());
        log.watch("close 2", &channel.close());
    });
    assert_eq!(log.take(), [""; 0], "the transport has not closed yet");
    let signal = embedded.signal();
    embedded.run(|_| signal.closed());
    assert_eq!(
        log.take(),
        [
            "closed",
            "close 1",
            "close 2",
            "flushed 1: channel closed",
            "flushed 2: channel closed",
            "unflushed 1: channel closed",
            "unflushed 2: channel closed",
            "inactive",
            "unregistered",
            "removed",
        ]
    );
}

/// Rules: A26
#[test]
fn close_never_delivers_inactive_inside_the_call() {
    let log = Log::default();
    let seen = log.clone();
    let hooks = Hooks::new().on_read(move |ctx, _| {
        ctx.close();
        seen.add("after close");
    });
    let (mut embedded, events) = hooked(hooks);
    log.take();
    embedded.write_inbound("x").unwrap();
    assert_eq!(log.take(), ["after close"]);
    assert_eq!(
        events.take(),
        ["inactive", "unregistered", "removed"],
        "before anything that the test fires next"
    );
}

/// Rules: A27
#[test]
fn a_close_inside_a_flush_runs_when_the_flush_is_over() {
    struct CloseOnFlush(Log);
    impl Handler for CloseOnFlush {
        fn flush(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
            ctx.flush();
            ctx.close();
            self.0.add(format!("open {}", ctx.channel().is_open()));
            Ok(())
        }
    }
    let log = Log::default();
    let (mut embedded, events) = hooked(CloseOnFlush(log.clone()));
    let future = embedded.run(|channel| channel.write_and_flush("last words"));
    assert!(future.is_success());
    assert_eq!(sent(&mut embedded), ["last words"]);
    assert_eq!(log.take(), ["open false"]);
    assert_eq!(events.take(), ["inactive", "unregistered", "removed"]);
}

/// Rules: A25
#[test]
fn a_close_that_was_cancelled_on_its_way_closes_nothing() {
    let (mut embedded, log) = recorded();
    // From outside of the loop's turn the close is a task.
    let close = embedded.channel().close();
    assert!(close.cancel());
    embedded.run_pending();
    assert!(embedded.channel().is_active());
    assert_eq!(log.take(), [""; 0]);
}

/// Rules: A25, A29
#[test]
fn a_close_that_began_cannot_be_cancelled_nor_can_the_close_future() {
    let (mut embedded, _) = recorded();
    embedded.close_later();
    let close = embedded.close();
    assert!(!close.cancel());
    let all = embedded.channel().close_future();
    assert!(!all.cancel());
    assert!(!all.is_done());
    let signal = embedded.signal();
    embedded.run(|_| signal.closed());
    assert!(close.is_success() && all.is_success());
}

/// Rules: A29
#[test]
fn closing_what_is_closed_succeeds_from_anywhere() {
    let (mut embedded, log) = recorded();
    assert!(embedded.close().is_success());
    log.take();
    assert!(embedded.close().is_success(), "on the loop");
    assert!(embedded.run(|channel| channel.disconnect()).is_success());
    let outside = embedded.channel().close();
    embedded.run_pending();
    assert!(outside.is_success(), "from outside");
    let late = embedded.channel().close_future();
    assert!(late.is_success(), "the close future, asked for late");
    log.watch("late", &late);
    embedded.run_pending();
    assert_eq!(log.take(), ["late"], "no event comes twice");
}

/// Rules: A29
#[test]
fn what_is_asked_of_an_ended_channel_fails_as_closed() {
    let (mut embedded, _) = recorded();
    embedded.close();
    for from_outside in [false, true] {
        let ask = |channel: &Channel| {
            [
                channel.write_future("x"),
                channel.write_and_flush("x"),
                channel.bind("somewhere"),
                channel.connect("somewhere", None),
                channel.shutdown_output(),
                channel.shutdown_input(),
                channel.shutdown(),
            ]
        };
        let futures = if from_outside {
            let futures = ask(embedded.channel());
            embedded.run_pending();
            futures
        } else {
            embedded.run(ask)
        };
        for (at, future) in futures.iter().enumerate() {
            assert_eq!(
                kind(future),
                ErrorKind::ChannelClosed,
                "operation {at}, from outside: {from_outside}"
            );
        }
        let channel = embedded.channel().clone();
        let edit = channel.edit(|pipeline| pipeline.names());
        let set = channel.set_option(AUTO_READ, false);
        let get = channel.option(AUTO_READ);
        embedded.run_pending();
        for cause in [edit.cause(), set.cause(), get.cause()] {
            assert_eq!(cause.unwrap().kind(), ErrorKind::ChannelClosed);
        }
    }
}

/// Rules: A30
#[test]
fn close_does_not_flush_and_a_listener_of_the_last_write_does() {
    let (mut embedded, _) = recorded();
    let lost = embedded.run(|channel| {
        let lost = channel.write_future("never sent");
        channel.close();
        lost
    });
    assert_eq!(kind(&lost), ErrorKind::ChannelClosed);
    assert_eq!(sent(&mut embedded), [""; 0]);

    let (mut embedded, log) = recorded();
    embedded.block_writes(true);
    embedded.run(|channel| {
        channel.write_and_flush("sent").close_when_done();
    });
    assert!(embedded.channel().is_open());
    embedded.block_writes(false);
    assert_eq!(sent(&mut embedded), ["sent"]);
    assert_eq!(log.take(), ["inactive", "unregistered", "removed"]);
}

/// Rules: A30
#[test]
fn after_a_write_error_only_the_flushed_writes_fail_with_it() {
    let (mut embedded, log) = recorded();
    embedded.fail_next_flush(reset());
    let (flushed, unflushed) = embedded.run(|channel| {
        let flushed = channel.write_future("flushed");
        channel.flush();
        (flushed, channel.write_future("too late"))
    });
    assert_eq!(kind(&flushed), ErrorKind::ConnectionReset);
    for late in [
        unflushed,
        embedded.run(|channel| channel.write_future("later")),
    ] {
        assert_eq!(kind(&late), ErrorKind::ChannelClosed);
    }
    assert_eq!(log.take(), ["inactive", "unregistered", "removed"]);
}

/// Rules: A30
#[test]
fn a_write_to_a_closing_channel_tells_why_it_closes() {
    let (mut embedded, _) = recorded();
    embedded.close_later();
    embedded.fail_next_flush(reset());
    let late = embedded.run(|channel| {
        channel.write_and_flush("fails");
        channel.write_future("late")
    });
    let error = late.cause().unwrap();
    assert_eq!(error.kind(), ErrorKind::ChannelClosed);
    let source = std::error::Error::source(&error).expect("the reason");
    let reason = source
        .downcast_ref::<Error>()
        .expect("an error of this crate");
    assert_eq!(reason.kind(), ErrorKind::ConnectionReset);
}

/// Rules: A32
#[test]
fn a_disconnect_arrives_as_a_close_where_there_is_none() {
    struct Watch(Log);
    impl Handler for Watch {
        fn close(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
            self.0.add("close");
            ctx.close_with(promise);
            Ok(())
        }
        fn disconnect(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
            self.0.add("disconnect");
            ctx.disconnect(promise);
            Ok(())
        }
    }
    let log = Log::default();
    let (mut embedded, _) = hooked(Watch(log.clone()));
    let future = embedded.run(|channel| channel.disconnect());
    assert!(future.is_success());
    assert_eq!(log.take(), ["close"]);
    assert!(!embedded.channel().is_open());
}

/// Rules: A44, A30
#[test]
fn without_auto_close_a_write_error_ends_only_the_output() {
    let (mut embedded, log) = recorded_with(&option(AUTO_CLOSE, false));
    embedded.fail_next_flush(reset());
    let (flushed, unflushed) = embedded.run(|channel| {
        let flushed = channel.write_future("flushed");
        channel.flush();
        (flushed, channel.write_future("not sent"))
    });
    assert_eq!(kind(&flushed), ErrorKind::OutputShutdown);
    assert_eq!(kind(&unflushed), ErrorKind::ChannelClosed);
    assert_eq!(log.take(), ["output shutdown"]);
    assert!(embedded.channel().is_active());
    embedded.feed(["still read"]);
    assert_eq!(log.take(), ["read still read", "complete"]);
}

/// Rules: A45
#[test]
fn the_end_of_the_loop_closes_its_channels_in_order() {
    let (mut embedded, log) = recorded();
    embedded.block_writes(true);
    let channel = embedded.channel().clone();
    embedded.run(|channel| {
        log.watch("closed", &channel.close_future());
        log.watch("write", &channel.write_and_flush("x"));
    });
    drop(embedded);
    assert_eq!(
        log.take(),
        [
            "closed",
            "write: channel closed",
            "inactive",
            "unregistered",
            "removed"
        ]
    );
    assert!(channel.close().is_done(), "nobody is left to ask");
}

/// Rules: A26, A45
#[test]
fn a_loop_that_ends_before_its_channel_could_close_leaves_nobody_waiting() {
    let (mut embedded, log) = recorded();
    embedded.close_later();
    embedded.block_writes(true);
    embedded.run(|channel| {
        log.watch("write", &channel.write_and_flush("x"));
        log.watch("closed", &channel.close_future());
        log.watch("close", &channel.close());
    });
    assert_eq!(log.take(), [""; 0]);
    drop(embedded);
    assert_eq!(
        log.take(),
        [
            "closed",
            "close: event loop terminated",
            "write: channel closed",
            "inactive",
            "unregistered",
            "removed"
        ]
    );
}

/// Dropping a channel that is open frees its handlers and its loop.
#[test]
fn an_embedded_channel_that_is_dropped_leaks_nothing() {
    struct Holds(#[expect(dead_code, reason = "kept to be counted")] Arc<()>);
    impl Handler for Holds {}
    for pending_close in [false, true] {
        let held = Arc::new(());
        let mut embedded =
            EmbeddedChannel::new(|pipeline| pipeline.add_last(Holds(held.clone()))).unwrap();
        if pending_close {
            embedded.close_later();
        }
        drop(embedded);
        assert_eq!(
            Arc::strong_count(&held),
            1,
            "with a pending close: {pending_close}"
        );
    }
}

// ---- a close that takes its time

/// Section 2: a transport may finish a close later.
#[test]
fn while_a_close_is_pending_nothing_is_read_and_nothing_is_written() {
    let (mut embedded, log) = recorded();
    embedded.close_later();
    embedded.block_writes(true);
    let waiting = embedded.run(|channel| channel.write_and_flush("waiting"));
    let close = embedded.close();
    embedded.feed(["not read"]);
    embedded.block_writes(false);
    let late = embedded.run(|channel| channel.write_and_flush("late"));
    assert_eq!(kind(&late), ErrorKind::ChannelClosed);
    assert!(!waiting.is_done() && !close.is_done());
    assert_eq!((embedded.unread(), embedded.reads()), (1, 1));
    assert_eq!(log.take(), [""; 0]);
    let signal = embedded.signal();
    embedded.run(|_| {
        signal.closed();
        signal.closed();
    });
    assert_eq!(kind(&waiting), ErrorKind::ChannelClosed);
    assert!(close.is_success());
    assert_eq!(sent(&mut embedded), [""; 0]);
    assert_eq!(log.take(), ["inactive", "unregistered", "removed"]);
}

/// Signals of a transport that come too late change nothing.
#[test]
fn news_for_a_closed_channel_is_dropped() {
    let (mut embedded, log) = recorded();
    embedded.close();
    log.take();
    let signal = embedded.signal();
    embedded.run(|_| {
        signal.readable();
        signal.writable();
        signal.peer_closing();
        signal.connected(Ok(()));
        signal.connected(Err(reset()));
        signal.written(3);
        signal.failed(reset());
    });
    assert_eq!(log.take(), [""; 0]);
    embedded.check().unwrap();
}

/// A transport that fails shows its error, then the channel closes.
#[test]
fn a_failing_transport_shows_its_error_and_closes() {
    let (mut embedded, log) = recorded();
    let signal = embedded.signal();
    embedded.run(|_| signal.failed(reset()));
    assert_eq!(
        log.take(),
        [
            "error connection reset",
            "inactive",
            "unregistered",
            "removed"
        ]
    );
}
