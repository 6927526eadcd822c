//! Writing and flushing: order, promises, cancellation, blocked and yielding flushes, listeners that write.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tidegate::channel::ENTRY_OVERHEAD;
use tidegate::channel::WaterMark;
use tidegate::channel::options::WRITE_BUFFER_WATER_MARK;
use tidegate::{Channel, Context, ErrorKind, FileRegion, Handler, HandlerResult, Message, Promise};

use crate::support::{Hooks, Log, hooked, kind, recorded, reset, sent};

/// Rules: C1
#[test]
fn nothing_is_sent_before_a_flush() {
    let (mut embedded, _) = recorded();
    let (one, two) = embedded.run(|channel| (channel.write_future("1"), channel.write_future("2")));
    assert!(!one.is_done() && !two.is_done());
    assert_eq!(sent(&mut embedded), [""; 0]);
    embedded.run(Channel::flush);
    assert!(one.is_success() && two.is_success());
    assert_eq!(sent(&mut embedded), ["1", "2"]);
}

/// Rules: C1, C23
#[test]
fn write_after_close_fails_its_promise() {
    let (mut embedded, _) = recorded();
    embedded.close_later();
    embedded.close();
    let closing = embedded.run(|channel| channel.write_future("x"));
    assert_eq!(kind(&closing), ErrorKind::ChannelClosed);
    let signal = embedded.signal();
    embedded.run(|_| signal.closed());
    let closed = embedded.run(|channel| channel.write_future("x"));
    assert_eq!(kind(&closed), ErrorKind::ChannelClosed);
}

/// Rules: C16
#[test]
fn promises_are_done_in_the_order_of_the_writes() {
    let (mut embedded, log) = recorded();
    embedded.run(|channel| {
        log.watch("1", &channel.write_future("1"));
        log.watch("2, empty", &channel.write_future(""));
        log.watch("3", &channel.write_future("3"));
        channel.flush();
    });
    assert_eq!(log.take(), ["1", "2, empty", "3"]);
}

/// Rules: C7
#[test]
fn a_write_can_be_cancelled_until_it_is_flushed() {
    let (mut embedded, log) = recorded();
    embedded.block_writes(true);
    let futures = embedded.run(|channel| {
        let futures = ["1", "2", "3"].map(|msg| channel.write_future(msg));
        log.watch("2", &futures[1]);
        futures
    });
    assert!(futures[1].cancel());
    embedded.run(Channel::flush);
    assert!(!futures[0].cancel() && !futures[2].cancel(), "flushed");
    embedded.block_writes(false);
    assert!(futures[0].is_success() && futures[2].is_success());
    assert!(futures[1].is_cancelled());
    assert_eq!(sent(&mut embedded), ["1", "3"]);
    assert_eq!(log.take(), ["2: cancelled"]);
}

/// Rules: C7, C2
#[test]
fn a_cancelled_write_gives_its_bytes_back() {
    let (mut embedded, log) = recorded();
    let (first, second) = embedded.run(|channel| {
        (
            channel.write_future(vec![0; 60_000]),
            channel.write_future(vec![0; 10_000]),
        )
    });
    assert!(first.cancel() && second.cancel());
    assert_eq!(log.take(), ["unwritable"]);
    embedded.run(Channel::flush);
    assert_eq!(log.take(), ["writable"]);
    assert!(embedded.channel().is_writable());
    assert!(embedded.read_outbound().is_none());
}

/// Rules: C7
#[test]
fn cancelling_everything_sends_nothing() {
    let (mut embedded, _) = recorded();
    let future = embedded.run(|channel| channel.write_future("x"));
    assert!(future.cancel());
    embedded.run(Channel::flush);
    embedded.run(Channel::flush);
    assert_eq!(sent(&mut embedded), [""; 0]);
    embedded.run(|channel| channel.write_and_flush("y"));
    assert_eq!(sent(&mut embedded), ["y"]);
}

/// Rules: C8, C9
#[test]
fn a_flush_while_the_transport_is_full_waits_for_it() {
    let (mut embedded, _) = recorded();
    embedded.block_writes(true);
    let first = embedded.run(|channel| channel.write_and_flush("1"));
    let second = embedded.run(|channel| channel.write_and_flush("2"));
    let third = embedded.run(|channel| channel.write_future("3, not flushed"));
    assert!(!first.is_done() && !second.is_done());
    embedded.block_writes(false);
    assert!(first.is_success() && second.is_success());
    assert!(!third.is_done());
    assert_eq!(sent(&mut embedded), ["1", "2"]);
}

/// Rules: C10, C11
#[test]
fn a_flush_that_used_up_its_share_goes_on_after_others_had_their_turn() {
    let (mut embedded, log) = recorded();
    embedded.yield_after(2);
    embedded.run(|channel| {
        for msg in ["1", "2", "3", "4", "5"] {
            let log = log.clone();
            channel
                .write_future(msg)
                .add_listener(move |_, _| log.add(msg));
        }
        let log = log.clone();
        channel
            .event_loop()
            .execute(move || log.add("a task"))
            .unwrap();
        channel.flush();
    });
    let log = log.take();
    assert_eq!(log[..2], ["1", "2"]);
    assert_eq!(log.len(), 6);
    assert_ne!(log[5], "a task", "{log:?}");
    assert_eq!(sent(&mut embedded), ["1", "2", "3", "4", "5"]);
}

/// Rules: C11
#[test]
fn a_flush_may_yield_and_then_find_the_transport_full() {
    let (mut embedded, _) = recorded();
    embedded.yield_after(1);
    embedded.block_writes(true);
    let futures = embedded.run(|channel| {
        let futures = ["1", "2", "3"].map(|msg| channel.write_future(msg));
        channel.flush();
        futures
    });
    embedded.block_writes(false);
    assert!(futures.iter().all(|future| future.is_success()));
    assert_eq!(sent(&mut embedded), ["1", "2", "3"]);
}

/// Rules: C18, A30
#[test]
fn a_close_fails_what_waits_in_order() {
    let (mut embedded, log) = recorded();
    embedded.block_writes(true);
    embedded.run(|channel| {
        for n in 0..100 {
            let log = log.clone();
            channel
                .write_future("x")
                .add_listener(move |_, result| log.add(format!("{n} {}", result.is_err())));
            if n == 49 {
                channel.flush();
            }
        }
    });
    embedded.close();
    let expected: Vec<String> = (0..100).map(|n| format!("{n} true")).collect();
    assert_eq!(log.take()[..100], expected);
}

/// Rules: C19
#[test]
fn a_failed_write_without_a_promise_disturbs_nobody() {
    let (mut embedded, log) = recorded();
    embedded.block_writes(true);
    embedded.run(|channel| {
        channel.write("nobody waits");
        channel.write("for these");
        channel.flush();
        channel.shutdown_output();
        channel.write("nor for this");
    });
    assert_eq!(log.take(), ["output shutdown"], "no error is fired");
    assert!(embedded.channel().is_active());
}

/// Rules: C19
#[test]
fn a_promise_can_be_brought_along() {
    let (mut embedded, _) = recorded();
    let promise = embedded.channel().new_promise();
    let done = promise.completion();
    embedded.run(|channel| channel.write_with("x", promise));
    embedded.run(Channel::flush);
    assert!(done.is_success());
    let used = embedded.channel().new_promise();
    used.try_success();
    embedded.run(|channel| {
        channel.write_with("a promise that is done", used);
        channel.flush();
    });
    assert_eq!(sent(&mut embedded), ["x"], "is not performed");
}

/// Rules: C20, C1
#[test]
fn a_file_region_counts_only_its_entry() {
    let (mut embedded, _) = recorded();
    let before = embedded.channel().bytes_before_unwritable();
    let after = embedded.run(|channel| {
        channel.write(FileRegion::lazy("unused", 0, 1 << 30));
        channel.bytes_before_unwritable()
    });
    assert_eq!(before - after, ENTRY_OVERHEAD);
    let after = embedded.run(|channel| {
        channel.write(Message::new(7u32));
        channel.bytes_before_unwritable()
    });
    assert_eq!(
        before - after,
        2 * ENTRY_OVERHEAD + 8,
        "8 for what is no buffer"
    );
}

// ---- listeners and handlers that write

/// Rules: C24, F3
#[test]
fn a_listener_may_write_and_flush_and_the_order_holds() {
    let (mut embedded, _) = recorded();
    embedded.run(|channel| {
        channel.write_future("1").add_listener(|channel, _| {
            channel.write_and_flush("3").add_listener(|channel, _| {
                channel.write_and_flush("4");
            });
        });
        channel.write("2");
        channel.flush();
    });
    assert_eq!(sent(&mut embedded), ["1", "2", "3", "4"]);
}

/// Rules: C24
///
/// A listener's flush that was swallowed by a guard left its message in the buffer for ever, elsewhere.
#[test]
fn a_thousand_listeners_that_write_do_not_nest() {
    fn next(channel: &Channel, left: u32) {
        if left > 0 {
            channel
                .write_and_flush(left.to_string())
                .add_listener(move |channel, _| next(channel, left - 1));
        }
    }
    let (mut embedded, _) = recorded();
    embedded.run(|channel| next(channel, 20_000));
    assert_eq!(sent(&mut embedded).len(), 20_000);
}

/// Rules: C24
#[test]
fn a_listener_that_closes_fails_the_writes_behind_it_and_no_others() {
    let (mut embedded, log) = recorded();
    embedded.yield_after(1);
    embedded.run(|channel| {
        log.watch("1", &channel.write_future("1"));
        let second = channel.write_future("2");
        second.add_listener(|channel, _| {
            channel.close();
        });
        log.watch("2", &second);
        log.watch("3", &channel.write_future("3"));
        log.watch("4", &channel.write_future("4"));
        channel.flush();
    });
    let log = log.take();
    assert_eq!(
        log[..4],
        ["1", "2", "3: channel closed", "4: channel closed"]
    );
    assert_eq!(sent(&mut embedded), ["1", "2"]);
}

/// Rules: C24, 6.3
#[test]
fn a_handler_that_writes_within_a_write_keeps_the_order() {
    struct Twice;
    impl Handler for Twice {
        fn write(
            &mut self,
            ctx: &mut Context<'_>,
            msg: Message,
            promise: Promise,
        ) -> HandlerResult {
            ctx.write("before");
            ctx.write_with(msg, promise);
            ctx.write_and_flush("after");
            Ok(())
        }
    }
    let (mut embedded, _) = hooked(Twice);
    let future = embedded.run(|channel| channel.write_future("x"));
    assert!(future.is_success());
    assert_eq!(sent(&mut embedded), ["before", "x", "after"]);
}

/// Rules: C15, C24, 6.4
///
/// Flush, writability event, flush again: a livelock elsewhere.
#[test]
fn a_handler_that_fills_the_buffer_whenever_it_may_does_not_spin() {
    let written = Rc::new(Cell::new(0));
    let counter = written.clone();
    let hooks = Hooks::new().on_writability(move |ctx| {
        while ctx.is_writable() && counter.get() < 50 {
            counter.set(counter.get() + 1);
            ctx.write(vec![0; 40_000]);
        }
        ctx.flush();
    });
    let (mut embedded, log) = hooked(hooks);
    embedded.block_writes(true);
    embedded.run(|channel| channel.write_and_flush(vec![0; 70_000]));
    assert_eq!(log.take(), ["unwritable"]);
    embedded.block_writes(false);
    assert_eq!(written.get(), 50);
    let mut count = 0;
    while embedded.read_outbound().is_some() {
        count += 1;
    }
    assert_eq!(count, 51);
    assert!(embedded.channel().is_writable());
    assert_eq!(log.take().last().map(String::as_str), Some("writable"));
}

/// Rules: C24
#[test]
fn write_and_flush_inside_read_keeps_the_order_with_the_handles_writes() {
    let hooks = Hooks::new().on_read(|ctx, _| {
        ctx.write("context");
        ctx.channel().write("handle");
        ctx.write("context");
        ctx.flush();
    });
    let (mut embedded, _) = hooked(hooks);
    embedded.feed(["x"]);
    let sent = sent(&mut embedded);
    assert_eq!(sent.iter().filter(|msg| *msg == "context").count(), 2);
}

/// Rules: A44, C8
#[test]
fn a_write_error_in_the_middle_of_a_row_of_flushes_is_seen_once() {
    let (mut embedded, log) = recorded();
    let future = embedded.run(|channel| {
        let first = channel.write_and_flush("fine");
        assert!(first.is_success());
        first
    });
    assert!(future.is_success());
    embedded.fail_next_flush(reset());
    embedded.run(|channel| {
        log.watch("1", &channel.write_and_flush("x"));
        log.watch("2", &channel.write_and_flush("y"));
    });
    let log = log.take();
    assert!(log.contains(&"1: connection reset".to_string()), "{log:?}");
    assert!(log.contains(&"2: channel closed".to_string()), "{log:?}");
    assert_eq!(log.iter().filter(|what| *what == "inactive").count(), 1);
}

/// Rules: C10
///
/// Rules: 5.5
#[test]
fn a_row_of_yields_ends_with_everything_sent() {
    let (mut embedded, _) = recorded();
    embedded.yield_after(1);
    let futures = embedded.run(|channel| {
        let futures: Vec<_> = (0..500)
            .map(|n| channel.write_future(n.to_string()))
            .collect();
        channel.flush();
        futures
    });
    embedded.advance(Duration::ZERO);
    assert!(futures.iter().all(|future| future.is_success()));
    assert_eq!(sent(&mut embedded).len(), 500);
}

/// Rules: C8, C3
#[test]
fn writes_flushed_before_the_connect_tell_the_pipeline_that_room_is_left() {
    let log = Log::default();
    let mut set = tidegate::OptionSet::new();
    set.set(WRITE_BUFFER_WATER_MARK, WaterMark::new(100, 200).unwrap())
        .unwrap();
    let mut embedded = tidegate::EmbeddedChannel::unconnected(&set, |pipeline| {
        pipeline.add_last(crate::support::Recorder(log.clone()))
    })
    .unwrap();
    log.take();
    let early = embedded.run(|channel| channel.write_future(vec![0; 200]));
    assert_eq!(log.take(), ["unwritable"]);
    embedded.run(Channel::flush);
    assert_eq!(kind(&early), ErrorKind::NotYetConnected);
    assert_eq!(log.take(), ["writable"]);
}
