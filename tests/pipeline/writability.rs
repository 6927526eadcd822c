//! Writability: every crossing to unwritable is followed by a call once the channel is writable again.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tidegate::channel::WaterMark;
use tidegate::channel::options::WRITE_BUFFER_WATER_MARK;
use tidegate::{EmbeddedChannel, ErrorKind, OptionSet};

use crate::common::{Log, Script, outbound};

/// Marks that one entry of 4 bytes (100 with its overhead) stays below and two do not.
fn small() -> OptionSet {
    let mut options = OptionSet::new();
    options
        .set(WRITE_BUFFER_WATER_MARK, WaterMark::new(100, 150).unwrap())
        .unwrap();
    options
}

fn watched(log: &Log, options: &OptionSet, app: Script) -> EmbeddedChannel {
    let log = log.clone();
    let watcher = Script::new("watcher", &log).on_writability(|ctx| {
        ctx.fire_channel_writability_changed();
        Ok(())
    });
    EmbeddedChannel::with_options(options, |pipeline| {
        pipeline.add_last_named("watcher", watcher)?;
        pipeline.add_last_named("app", app)
    })
    .unwrap()
}

/// The event comes from the root queue: not inside the write that crossed the mark, but after the callback.
///
/// Rules: 6.4, 6.6, C3
#[test]
fn the_event_comes_after_the_callback_that_crossed_the_mark() {
    let log = Log::new();
    let told = log.clone();
    let app = Script::new("app", &log).on_read(move |ctx, _| {
        ctx.write("four");
        ctx.write("four");
        assert!(!ctx.is_writable());
        told.add("app goes on");
        Ok(())
    });
    let mut channel = watched(&log, &small(), app);
    channel.pipeline(|pipeline| pipeline.fire_channel_read("go"));
    assert_eq!(
        log.take(),
        ["app read go", "app goes on", "watcher writable false"]
    );
    channel.run(|channel| channel.flush());
    assert_eq!(log.take(), ["watcher writable true"]);
}

/// There and back within one dispatch: one call, and it sees the channel as it is.
///
/// Rules: 6.4
#[test]
fn crossing_there_and_back_in_one_dispatch_is_one_call_that_sees_writable() {
    let log = Log::new();
    let app = Script::new("app", &log).on_read(|ctx, _| {
        for _ in 0..5 {
            ctx.write("four");
            ctx.write("four");
            assert!(!ctx.is_writable());
            ctx.flush();
            assert!(ctx.is_writable());
        }
        Ok(())
    });
    let mut channel = watched(&log, &small(), app);
    channel.pipeline(|pipeline| pipeline.fire_channel_read("go"));
    assert_eq!(log.take(), ["app read go", "watcher writable true"]);
}

/// Who crosses the mark again while handling the event is called back again: no crossing is lost, and nothing
/// recurses.
///
/// Rules: 6.4
#[test]
fn a_crossing_made_by_the_event_itself_is_followed_by_another() {
    let log = Log::new();
    let rounds = Cell::new(3);
    let app = Script::new("app", &log).on_writability(move |ctx| {
        if ctx.is_writable() && rounds.replace(rounds.get() - 1) > 0 {
            ctx.write("four");
            ctx.write("four");
            ctx.flush();
        }
        Ok(())
    });
    let mut channel = watched(&log, &small(), app);
    channel.block_writes(true);
    channel.run(|channel| {
        channel.write("four");
        channel.write("four");
        channel.flush();
    });
    assert_eq!(log.take(), ["watcher writable false", "app writable false"]);
    channel.block_writes(false);
    // Each round crosses there and back.
    assert_eq!(
        log.take(),
        [
            "watcher writable true",
            "app writable true",
            "watcher writable true",
            "app writable true",
            "watcher writable true",
            "app writable true",
            "watcher writable true",
            "app writable true",
        ]
    );
    assert_eq!(outbound(&mut channel).len(), 8);
}

/// The marks: unwritable strictly above the high one, writable strictly below the low one.
///
/// Rules: C2, C3, C6
#[test]
fn the_marks_are_strict() {
    let log = Log::new();
    let mut options = OptionSet::new();
    options
        .set(WRITE_BUFFER_WATER_MARK, WaterMark::new(100, 200).unwrap())
        .unwrap();
    let mut channel = watched(&log, &options, Script::new("app", &log));
    channel.block_writes(true);
    channel.run(|channel| {
        channel.write("four");
        channel.write("four");
        channel.flush();
    });
    assert!(channel.channel().is_writable(), "200 is not above 200");
    channel.run(|channel| channel.write("1"));
    assert!(!channel.channel().is_writable());
    assert_eq!(log.take(), ["watcher writable false"]);
    channel.yield_after(1);
    channel.block_writes(false);
    assert_eq!(
        log.take(),
        ["watcher writable true"],
        "when the second one was gone: 97 is below 100"
    );
    assert_eq!(channel.channel().bytes_before_unwritable(), 200 - 97 + 1);
}

/// The user's own bits count like the watermark's; only the crossing of all together is told.
///
/// Rules: 6.4, C3, C5
#[test]
fn user_defined_bits_make_a_channel_unwritable_too() {
    let log = Log::new();
    let mut channel = watched(&log, &small(), Script::new("app", &log));
    channel
        .run(|channel| channel.set_user_writability(3, false))
        .unwrap();
    assert_eq!(log.take(), ["watcher writable false"]);
    channel
        .run(|channel| channel.set_user_writability(31, false))
        .unwrap();
    channel
        .run(|channel| channel.set_user_writability(3, true))
        .unwrap();
    assert_eq!(log.take(), [""; 0]);
    channel
        .run(|channel| channel.set_user_writability(31, true))
        .unwrap();
    assert_eq!(log.take(), ["watcher writable true"]);
    for index in [0, 32] {
        let refused = channel.run(|channel| channel.set_user_writability(index, false));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}

/// A channel that ends says nothing about writability any more.
///
/// Rules: 6.4, C23
#[test]
fn a_closed_channel_is_unwritable_and_silent() {
    let log = Log::new();
    let app = Script::new("app", &log).on_read(|ctx, _| {
        ctx.write("four");
        ctx.write("four");
        ctx.close();
        assert!(!ctx.is_writable());
        assert_eq!(
            (ctx.bytes_before_unwritable(), ctx.bytes_before_writable()),
            (0, usize::MAX)
        );
        Ok(())
    });
    let mut channel = watched(&log, &small(), app);
    channel.pipeline(|pipeline| pipeline.fire_channel_read("go"));
    // What crossed before the close may still be told; nothing comes after it.
    assert_eq!(log.take_of("watcher writable true"), [""; 0]);
    assert!(!channel.channel().is_writable());
    assert_eq!(channel.channel().bytes_before_unwritable(), 0);
}

/// What another thread has submitted counts at once, and is told of; when it has gone out the channel is writable
/// again and says so.
///
/// Rules: 6.4, B24, C3
#[test]
fn submitted_bytes_count_before_they_arrive() {
    let log = Log::new();
    let mut channel = watched(&log, &small(), Script::new("app", &log));
    let handle = channel.channel().clone();
    let other = thread::spawn(move || {
        handle.write("four");
        assert!(handle.is_writable());
        handle.write("four");
        assert!(!handle.is_writable(), "submitted, not yet written");
        handle
    });
    let handle = other.join().unwrap();
    assert_eq!(log.take(), [""; 0], "the loop has not run");
    channel.run_pending();
    assert_eq!(log.take(), ["watcher writable false"]);
    assert!(!handle.is_writable(), "written, not flushed");
    handle.flush();
    channel.run_pending();
    assert_eq!(log.take(), ["watcher writable true"]);
    assert!(handle.is_writable());
    assert_eq!(outbound(&mut channel), ["four", "four"]);
}

/// Writes that a handler drops release what they had counted for.
///
/// Rules: 6.4, B24
#[test]
fn submitted_writes_that_a_handler_drops_make_the_channel_writable_again() {
    let log = Log::new();
    let app = Script::new("app", &log).on_write(|_, _, promise| {
        promise.try_success();
        Ok(())
    });
    let mut channel = watched(&log, &small(), app);
    let handle = channel.channel().clone();
    thread::spawn(move || {
        handle.write("four");
        handle.write("four");
        assert!(!handle.is_writable());
    })
    .join()
    .unwrap();
    channel.run_pending();
    assert!(channel.channel().is_writable());
    let told: Vec<String> = log
        .take()
        .into_iter()
        .filter(|line| line.starts_with("watcher"))
        .collect();
    assert_eq!(
        told.last().map(String::as_str),
        Some("watcher writable true")
    );
}

/// However a thread's writes interleave with the loop that sends them: once everything is sent the channel is
/// writable, and who saw that it was not has been called back.
///
/// Rules: 6.4, B24
#[test]
fn whoever_saw_unwritable_is_called_back() {
    const ROUNDS: usize = 100;
    // A single write crosses.
    let mut tiny = OptionSet::new();
    tiny.set(WRITE_BUFFER_WATER_MARK, WaterMark::new(10, 50).unwrap())
        .unwrap();
    let calls = Rc::new(Cell::new(0));
    let counted = calls.clone();
    let watcher = Script::new("watcher", &Log::new()).on_writability(move |ctx| {
        if ctx.is_writable() {
            counted.set(counted.get() + 1);
        }
        Ok(())
    });
    let mut channel = EmbeddedChannel::with_options(&tiny, |p| p.add_last(watcher)).unwrap();
    let (begun, written) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let saw_unwritable = Arc::new(AtomicUsize::new(0));
    let handle = channel.channel().clone();
    let (begin, end, saw) = (begun.clone(), written.clone(), saw_unwritable.clone());
    let writer = thread::spawn(move || {
        for round in 1..=ROUNDS {
            while begin.load(Ordering::Acquire) < round {
                thread::yield_now();
            }
            handle.write_and_flush("four");
            if !handle.is_writable() {
                saw.fetch_add(1, Ordering::Relaxed);
            }
            end.store(round, Ordering::Release);
        }
    });
    for round in 1..=ROUNDS {
        let calls_before = calls.get();
        let seen_before = saw_unwritable.load(Ordering::Relaxed);
        begun.store(round, Ordering::Release);
        // The loop runs all the time, so that it may take a write before its thread has gone on.
        while written.load(Ordering::Acquire) < round {
            channel.run_pending();
        }
        channel.run_pending();
        assert_eq!(outbound(&mut channel).len(), 1, "round {round}");
        assert!(
            channel.channel().is_writable(),
            "nothing waits any more in round {round}"
        );
        let seen = saw_unwritable.load(Ordering::Relaxed) > seen_before;
        assert!(
            !seen || calls.get() > calls_before,
            "called back in round {round}"
        );
    }
    writer.join().unwrap();
}

/// The user's part of a paused producer: stop at unwritable, go on at the event, until all is sent.
///
/// Rules: 6.4
#[test]
fn a_producer_that_stops_at_unwritable_sends_everything() {
    const TOTAL: u32 = 1000;
    let log = Log::new();
    let left = Rc::new(Cell::new(TOTAL));
    let produce = |left: &Rc<Cell<u32>>, ctx: &mut tidegate::Context<'_>| {
        while left.get() > 0 && ctx.is_writable() {
            left.set(left.get() - 1);
            ctx.write("four");
        }
        ctx.flush();
        Ok(())
    };
    let (start, go_on) = (left.clone(), left.clone());
    let app = Script::new("app", &log)
        .on_event(move |ctx, _| produce(&start, ctx))
        .on_writability(move |ctx| produce(&go_on, ctx));
    let mut channel = EmbeddedChannel::with_options(&small(), |p| p.add_last(app)).unwrap();
    let sent = RefCell::new(0);
    channel.block_writes(true);
    channel.pipeline(|pipeline| pipeline.fire_user_event_triggered("go".into()));
    for _ in 0..5 {
        channel.block_writes(false);
        *sent.borrow_mut() += outbound(&mut channel).len();
        channel.block_writes(true);
    }
    channel.block_writes(false);
    *sent.borrow_mut() += outbound(&mut channel).len();
    assert_eq!(*sent.borrow(), TOTAL as usize);
    assert_eq!(left.get(), 0);
}

/// New marks on a live channel take effect at once, in both directions.
///
/// Rules: 6.4, C3
#[test]
fn new_marks_on_a_live_channel_count_at_once() {
    let log = Log::new();
    let mut channel = watched(&log, &OptionSet::new(), Script::new("app", &log));
    channel.block_writes(true);
    channel.run(|channel| channel.write_and_flush("four"));
    assert_eq!(log.take(), [""; 0]);
    let mark = WaterMark::new(10, 50).unwrap();
    channel.run(|channel| channel.set_option(WRITE_BUFFER_WATER_MARK, mark));
    assert_eq!(log.take(), ["watcher writable false"]);
    let mark = WaterMark::new(1000, 5000).unwrap();
    channel.run(|channel| channel.set_option(WRITE_BUFFER_WATER_MARK, mark));
    assert_eq!(log.take(), ["watcher writable true"]);
}
