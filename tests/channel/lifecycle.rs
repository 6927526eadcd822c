//! Registration, activity, closing, the end.

use std::sync::Arc;
use std::time::Duration;

use tidegate::channel::events::PeerClosing;
use tidegate::channel::options::{AUTO_CLOSE, AUTO_READ};
use tidegate::{
    Context, EmbeddedChannel, Error, ErrorKind, Failure, Fault, Handler, HandlerResult, Message,
    OptionSet, Promise,
};

use crate::support::{
    Hooks, Log, Recorder, hooked, hooked_with, kind, option, received, recorded, recorded_with,
    reset, sent, text, unconnected,
};

// ---- the beginning

/// Rules: A4, A46
#[test]
fn handlers_are_added_before_registered_comes_before_active() {
    let log = Log::default();
    let channel = EmbeddedChannel::new(|pipeline| {
        assert!(pipeline.channel().is_open());
        assert!(!pipeline.channel().is_active());
        let seen = log.clone();
        pipeline.add_last(Recorder(log.clone()))?;
        let hooks = Hooks::new()
            .on_registered(move |ctx| seen.add(format!("is_active {}", ctx.is_active())));
        pipeline.add_last(hooks)
    })
    .unwrap();
    // An accepted connection is active before its pipeline hears of anything.
    assert_eq!(
        log.take(),
        [
            "added",
            "registered",
            "is_active true",
            "active",
            "complete"
        ],
        "the last is auto-read's first look"
    );
    assert!(channel.channel().is_registered());
}

/// Rules: A6
#[test]
fn a_channel_whose_initializer_fails_never_becomes_active() {
    let log = Log::default();
    let opened = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Recorder(log.clone()))?;
        log.watch("closed", &pipeline.channel().close_future());
        Err::<(), Failure>(Failure::msg("no pipeline today"))
    });
    assert_eq!(opened.unwrap_err().to_string(), "no pipeline today");
    assert_eq!(log.take(), ["added", "closed", "removed"]);
}

/// Rules: A6, A26
#[test]
fn an_initializer_may_close_the_channel() {
    let log = Log::default();
    let opened = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Recorder(log.clone()))?;
        pipeline.channel().close();
        Ok::<(), Error>(())
    });
    assert_eq!(opened.unwrap_err().kind(), ErrorKind::ChannelClosed);
    assert_eq!(log.take(), ["added", "removed"]);
}

/// Rules: A46
#[test]
fn the_states_of_a_channel_follow_each_other() {
    let (mut embedded, _) = unconnected();
    let channel = embedded.channel().clone();
    let states = |channel: &tidegate::Channel| {
        (
            channel.is_registered(),
            channel.is_open(),
            channel.is_active(),
        )
    };
    assert_eq!(states(&channel), (true, true, false));
    embedded.set_connect(Some(tidegate::channel::Progress::Done));
    embedded.run(|channel| channel.connect("peer", None));
    assert_eq!(states(&channel), (true, true, true));
    embedded.close_later();
    embedded.close();
    assert_eq!(states(&channel), (true, false, false));
    let signal = embedded.signal();
    embedded.run(|_| signal.closed());
    assert_eq!(states(&channel), (false, false, false));
}

// ---- the order of a close

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
        let ask = |channel: &tidegate::Channel| {
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

/// Rules: A45
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
    assert_eq!(log.take(), ["closed", "close", "write: channel closed"]);
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

// ---- by the peer

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

// ---- the last events

/// Keeps what it reads and gives it on one at a time.
struct Parking(Vec<Message>);

impl Handler for Parking {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.0.push(msg);
        ctx.resume();
        Ok(())
    }

    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if !self.0.is_empty() {
            ctx.fire_channel_read(self.0.remove(0));
            ctx.resume();
        }
        Ok(())
    }
}

/// Rules: 6.7
///
/// Section 9: what was emitted or buffered comes before channel_inactive.
#[test]
fn parked_data_is_delivered_before_inactive() {
    let (mut embedded, log) = hooked_with(&option(AUTO_READ, false), Parking(Vec::new()));
    embedded.pipeline(|pipeline| {
        pipeline.fire_channel_read("a");
        pipeline.fire_channel_read("b");
        pipeline.fire_channel_read("c");
    });
    assert_eq!(log.take(), [""; 0], "nobody reads");
    embedded.run(|channel| channel.read());
    log.take();
    embedded.close();
    let log = log.take();
    assert_eq!(log.last().map(String::as_str), Some("removed"), "{log:?}");
    let inactive = log.iter().position(|what| what == "inactive").unwrap();
    let last = log.iter().rposition(|what| what == "read c").unwrap();
    assert!(last < inactive, "{log:?}");
    assert_eq!(received(&mut embedded), ["a", "b", "c"]);
}

/// Section 9: after channel_inactive only channel_unregistered and handler_removed.
#[test]
fn what_is_fired_in_inactive_stays_behind_unregistered() {
    let log = Log::default();
    let seen = log.clone();
    let hooks = Hooks::new().on_inactive(move |ctx| {
        let channel = ctx.channel();
        seen.watch("write", &channel.write_future("x"));
        channel.fire_user_event_triggered(Message::new(7u32));
    });
    let log2 = log.clone();
    let mut embedded = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(hooks)?;
        pipeline.add_last(Recorder(log2.clone()))
    })
    .unwrap();
    log.take();
    embedded.close();
    let log = log.take();
    assert_eq!(log[..3], ["inactive", "unregistered", "removed"]);
    assert!(log.contains(&"write: channel closed".to_string()));
    assert!(!log.contains(&"event u32".to_string()), "{log:?}");
}

struct Panics(&'static str);

impl Panics {
    fn at(&self, what: &str) {
        assert!(self.0 != what, "boom");
    }
}

impl Handler for Panics {
    fn handler_removed(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.at("removed");
        Ok(())
    }
    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.at("inactive");
        ctx.fire_channel_inactive();
        Ok(())
    }
    fn channel_unregistered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.at("unregistered");
        ctx.fire_channel_unregistered();
        Ok(())
    }
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.at("read");
        ctx.fire_channel_read(msg);
        Ok(())
    }
}

/// Section 5: a panic ends the handler, not the end of the channel.
#[test]
fn a_handler_that_panics_in_its_last_callbacks_does_not_keep_the_channel() {
    for place in ["read", "inactive", "unregistered", "removed"] {
        let log = Log::default();
        let mut embedded = EmbeddedChannel::new(|pipeline| {
            pipeline.add_last(Panics(place))?;
            pipeline.add_last(Recorder(log.clone()))
        })
        .unwrap();
        log.take();
        embedded.feed(["x"]);
        embedded.close();
        let log = log.take();
        assert!(log.contains(&"removed".to_string()), "{place}: {log:?}");
        assert!(
            place == "unregistered" || log.contains(&"unregistered".to_string()),
            "{place}: {log:?}"
        );
        assert!(!embedded.channel().is_registered(), "{place}");
    }
}

/// Section 5: a message whose drop panics does not keep the channel from ending.
#[test]
fn a_message_that_panics_when_dropped_does_not_keep_the_channel() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("boom");
        }
    }
    let (mut embedded, log) = recorded();
    embedded.block_writes(true);
    embedded.run(|channel| {
        channel.write(Message::new(Bomb));
        log.watch("write", &channel.write_and_flush("behind it"));
        log.watch("closed", &channel.close_future());
    });
    embedded.close();
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
}

/// Rules: A14, A46
#[test]
fn inactive_comes_once_however_often_the_end_is_asked_for() {
    let log = Log::default();
    let seen = log.clone();
    let hooks = Hooks::new().on_inactive(move |ctx| {
        ctx.close();
        ctx.channel().close();
        seen.add(format!("active {}", ctx.is_active()));
    });
    let (mut embedded, events) = hooked(hooks);
    log.take();
    embedded.run(|channel| {
        channel.close();
        channel.close();
        channel.disconnect();
    });
    embedded.feed_eof();
    assert_eq!(events.take(), ["inactive", "unregistered", "removed"]);
    assert_eq!(log.take(), ["active false"]);
}

/// A channel that was closed in channel_registered is told of both ends of its life.
#[test]
fn a_close_in_registered_still_pairs_active_with_inactive() {
    let log = Log::default();
    let mut embedded = EmbeddedChannel::with_options(&OptionSet::new(), |pipeline| {
        pipeline.add_last(Hooks::new().on_registered(|ctx| ctx.close()))?;
        pipeline.add_last(Recorder(log.clone()))
    })
    .unwrap();
    embedded.advance(Duration::ZERO);
    assert_eq!(
        log.take(),
        [
            "added",
            "registered",
            "active",
            "inactive",
            "unregistered",
            "removed"
        ]
    );
}

/// A handler may hold a close back, and go on with it later: rustls sends its goodbye this way.
#[test]
fn a_handler_may_write_before_it_lets_a_close_through() {
    let hooks = Hooks::new().on_close(|ctx, promise| {
        ctx.write_future("goodbye").add_listener(|_, _| {});
        ctx.flush();
        ctx.close_with(promise);
    });
    let (mut embedded, _) = hooked(hooks);
    let close = embedded.close();
    assert!(close.is_success());
    assert_eq!(sent(&mut embedded), ["goodbye"]);
    assert_eq!(text(&Message::from("goodbye")), "goodbye");
}
