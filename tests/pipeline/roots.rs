//! The root queue: what may not run in the middle of something, and when it runs.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tidegate::channel::WaterMark;
use tidegate::channel::options::WRITE_BUFFER_WATER_MARK;
use tidegate::{EmbeddedChannel, Message, OptionSet};

use crate::common::{Log, Script, channel, inbound, outbound, text};
use crate::resume::Words;

/// A listener that writes into a log of another thread's kind.
fn noting(
    notes: &std::sync::Arc<std::sync::Mutex<Vec<String>>>,
    what: &str,
) -> impl FnOnce(&tidegate::Channel, &Result<(), tidegate::Error>) + Send + 'static {
    let (notes, what) = (notes.clone(), what.to_owned());
    move |_, _| notes.lock().unwrap().push(what)
}

/// Listeners run when no handler of the pipeline is on the stack: after all that the event caused, in order.
///
/// Rules: 6.6, F3
#[test]
fn listeners_run_after_the_event_in_their_order() {
    let notes = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Log::new();
    let shown = notes.clone();
    let told = log.clone();
    let a = Script::new("a", &log).on_read(move |ctx, msg| {
        for what in ["one", "two"] {
            ctx.write_future(what).add_listener(noting(&shown, what));
        }
        ctx.flush();
        assert!(shown.lock().unwrap().is_empty(), "not inside the flush");
        ctx.fire_channel_read(msg);
        Ok(())
    });
    let shown = notes.clone();
    let b = Script::new("b", &log).on_read(move |_, _| {
        assert!(shown.lock().unwrap().is_empty(), "not between two handlers");
        told.add("b is done");
        Ok(())
    });
    let mut channel = channel([a, b]);
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    assert_eq!(log.take(), ["a read m", "b read m", "b is done"]);
    assert_eq!(*notes.lock().unwrap(), ["one", "two"]);
}

/// The queue is emptied after each event that the transport fires, so between two reads of one batch.
///
/// Rules: 6.6
#[test]
fn the_root_queue_runs_between_two_reads_of_a_batch() {
    let log = Log::new();
    let a = Script::new("a", &log)
        .on_read(|ctx, msg| {
            ctx.write_future(msg).add_listener(|channel, _| {
                channel.fire_user_event_triggered("listener".into());
            });
            ctx.flush();
            Ok(())
        })
        .on_event(|_, _| Ok(()))
        .on_read_complete(|_| Ok(()));
    let mut channel = channel([a]);
    log.take();
    channel.feed(["1", "2"]);
    assert_eq!(
        log.take(),
        [
            "a read 1",
            "a event listener",
            "a read 2",
            "a event listener",
            "a read_complete"
        ]
    );
}

/// The transport looks again after what the queue did: closed, or no longer read by itself.
///
/// Rules: 6.6, D7
#[test]
fn the_transport_looks_again_after_the_root_queue() {
    let log = Log::new();
    let stop = |what: fn(&tidegate::Channel)| {
        Script::new("a", &log)
            .on_read(move |ctx, msg| {
                ctx.write_future(msg)
                    .add_listener(move |channel, _| what(channel));
                ctx.flush();
                Ok(())
            })
            .on_read_complete(|_| Ok(()))
            .on_inactive(|_| Ok(()))
    };
    let mut paused = channel([stop(|channel| channel.set_auto_read(false))]);
    log.take();
    paused.feed(["1", "2"]);
    assert_eq!(log.take(), ["a read 1", "a read_complete"]);
    assert_eq!(paused.unread(), 1);

    let mut closed = channel([stop(|channel| {
        channel.close();
    })]);
    log.take();
    closed.feed(["1", "2"]);
    assert_eq!(log.take(), ["a read 1", "a inactive"]);
    assert_eq!(closed.unread(), 1);

    let mut shut = channel([stop(|channel| {
        channel.shutdown_input();
    })]);
    log.take();
    shut.feed(["1"]);
    // The end that the shutdown brings about is read like any other.
    assert_eq!(log.take(), ["a read 1", "a read_complete", "a inactive"]);
}

/// channel_inactive and channel_unregistered never run in the middle of something, and nothing comes behind them
/// but handler_removed, from the tail to the head.
///
/// Rules: 6.6, A25, A26, B19
#[test]
fn inactive_and_unregistered_come_last() {
    let log = Log::new();
    let told = log.clone();
    let a = Script::new("a", &log).loud();
    let b = Script::new("b", &log).loud().on_read(move |ctx, msg| {
        let closing = ctx.channel().write_future("lost");
        let events = ctx.channel();
        closing.add_listener(move |_, _| events.fire_user_event_triggered("write failed".into()));
        ctx.close();
        told.add("closed");
        assert!(!ctx.channel().is_open() && !ctx.is_active());
        ctx.fire_channel_read(msg);
        ctx.fire_channel_read_complete();
        Ok(())
    });
    let c = Script::new("c", &log).loud();
    let mut channel = channel([a, b, c]);
    let events = channel.channel().clone();
    channel.channel().close_future().add_listener(move |_, _| {
        events.fire_user_event_triggered("close future".into());
    });
    log.take();
    channel.feed(["m", "never read"]);
    assert_eq!(
        log.take(),
        [
            "a read m",
            "b read m",
            "c write lost",
            "a close",
            "closed",
            "b write lost",
            "a write lost",
            "c read m",
            "c read_complete",
            // The close future first, then the failed write, as they were completed.
            "a event close future",
            "b event close future",
            "c event close future",
            "a event write failed",
            "b event write failed",
            "c event write failed",
            "a inactive",
            "b inactive",
            "c inactive",
            "a unregistered",
            "b unregistered",
            "c unregistered",
            "c removed",
            "b removed",
            "a removed",
        ]
    );
    assert_eq!(channel.unread(), 1);
}

/// A pipeline that always has something for its root queue leaves room for others after 64 items.
///
/// Rules: 6.6
#[test]
fn sixty_four_items_a_turn_leave_room_for_others() {
    let log = Log::new();
    let count = Rc::new(Cell::new(0u32));
    let seen = count.clone();
    let at_task = Rc::new(Cell::new(0u32));
    let noted = at_task.clone();
    let a = Script::new("a", &Log::new())
        .on_read(move |ctx, _| {
            for _ in 0..200 {
                let promise = ctx.new_promise();
                promise.completion().add_listener(|_| {});
                ctx.notify(&promise, 0);
                promise.try_success();
            }
            let (seen, noted) = (seen.clone(), noted.clone());
            ctx.local_handle::<Script>().run(move |_, _| {
                noted.set(seen.get());
                Ok(())
            })?;
            Ok(())
        })
        .on_write_done({
            let count = count.clone();
            move |_, _, _| {
                count.set(count.get() + 1);
                Ok(())
            }
        });
    let mut channel = channel([a]);
    channel.pipeline(|pipeline| pipeline.fire_channel_read("go"));
    assert_eq!(count.get(), 200);
    // 400 items, half of them ours: 64 before the event returned, 64 in the loop's round over such channels.
    assert_eq!(at_task.get(), 64, "the task had its turn in between");
    let _ = log;
}

/// The root queue runs before each resume: a listener may stop the next message.
///
/// Rules: 6.6, 6.7
#[test]
fn the_root_queue_runs_before_each_resume() {
    let log = Log::new();
    let app = Script::new("app", &log)
        .on_read(|ctx, msg| {
            ctx.write_future(msg).add_listener(|channel, _| {
                channel.fire_user_event_triggered("sent".into());
            });
            ctx.flush();
            Ok(())
        })
        .on_event(|_, _| Ok(()))
        .on_read_complete(|_| Ok(()));
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Words::new(&log))?;
        pipeline.add_last(app)
    })
    .unwrap();
    log.take();
    channel.feed(["a b"]);
    assert_eq!(
        log.take(),
        [
            "app read a",
            "app event sent",
            "words resume",
            "app read b",
            "app event sent",
            "words resume",
            "app read_complete",
        ]
    );
}

/// So does a change of writability: who reads it may pause the decoder after the message that filled the buffer.
///
/// Rules: 6.4, 6.6, 6.7
#[test]
fn writability_reaches_its_reader_before_the_next_message_of_a_decoder() {
    let log = Log::new();
    let mut options = OptionSet::new();
    options
        .set(WRITE_BUFFER_WATER_MARK, WaterMark::new(1, 150).unwrap())
        .unwrap();
    let app = Script::new("app", &log)
        .on_read(|ctx, msg| {
            ctx.write(msg);
            ctx.flush();
            Ok(())
        })
        .on_writability(|ctx| {
            ctx.set_auto_read(ctx.is_writable());
            Ok(())
        });
    let mut channel = EmbeddedChannel::with_options(&options, |pipeline| {
        pipeline.add_last(Words::new(&log))?;
        pipeline.add_last(app)
    })
    .unwrap();
    log.take();
    channel.block_writes(true);
    channel.feed(["a b c d e"]);
    assert_eq!(
        log.take(),
        [
            "app read a",
            "words resume",
            "app read b",
            "app writable false"
        ],
        "the second one filled the buffer"
    );
    channel.block_writes(false);
    assert_eq!(
        log.take(),
        [
            "app writable true",
            "words resume",
            "app read c",
            "words resume",
            "app read d",
            "words resume",
            "app read e",
            "words resume",
        ]
    );
    assert_eq!(outbound(&mut channel), ["a", "b", "c", "d", "e"]);
}

/// More messages than the root queue may have items in a turn: each listener still runs before the next message, and
/// others have their turn in between.
///
/// Rules: 6.6, 6.7
#[test]
fn root_items_before_each_resume_keep_to_their_limit_and_order() {
    const WORDS: usize = 200;
    let log = Log::new();
    let others = Rc::new(Cell::new(None));
    let (noted, seen) = (others.clone(), Rc::new(Cell::new(0)));
    let app = Script::new("app", &log)
        .on_read(move |ctx, msg| {
            seen.set(seen.get() + 1);
            if seen.get() == 1 {
                let (noted, seen) = (noted.clone(), seen.clone());
                ctx.local_handle::<Script>().run(move |_, _| {
                    noted.set(Some(seen.get()));
                    Ok(())
                })?;
            }
            ctx.write_future(msg).add_listener(|channel, _| {
                channel.fire_user_event_triggered("sent".into());
            });
            ctx.flush();
            Ok(())
        })
        .on_event(|_, _| Ok(()));
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Words::new(&Log::new()))?;
        pipeline.add_last(app)
    })
    .unwrap();
    log.take();
    channel.feed([vec!["w"; WORDS].join(" ").into_bytes()]);
    let lines = log.take();
    assert_eq!(lines.len(), 2 * WORDS);
    for pair in lines.chunks(2) {
        assert_eq!(pair, ["app read w", "app event sent"]);
    }
    // A listener and its event are two items.
    assert_eq!(
        others.get(),
        Some(33),
        "the task had its turn after 64 items"
    );
}

/// Who answers each failed write with another one does not keep the channel from ending.
///
/// Rules: 6.6, A25
#[test]
fn an_endless_retry_does_not_keep_the_channel_from_ending() {
    let log = Log::new();
    let app = Script::new("app", &log)
        .on_event(|ctx, _| {
            ctx.write_future("again").add_listener(|channel, result| {
                if result.is_err() {
                    channel.fire_user_event_triggered("retry".into());
                }
            });
            Ok(())
        })
        .on_inactive(|_| Ok(()))
        .on_removed(|_| Ok(()));
    let mut channel = channel([app]);
    channel.pipeline(|pipeline| pipeline.fire_user_event_triggered("first".into()));
    log.take();
    channel.close();
    let lines = log.take();
    assert!(
        lines.iter().any(|line| line == "app event retry"),
        "{lines:?}"
    );
    assert_eq!(lines[lines.len() - 2..], ["app inactive", "app removed"]);
    assert!(!channel.channel().is_registered());
}

/// A close between two messages of a decoder: the rest is emitted first, then the channel is inactive.
///
/// Rules: 6.6, 6.7
#[test]
fn a_close_between_two_messages_leaves_the_end_for_last() {
    let log = Log::new();
    let app = Script::new("app", &log)
        .on_read(|ctx, msg| {
            if text(&msg) == "b" {
                ctx.close();
            }
            Ok(())
        })
        .on_inactive(|_| Ok(()));
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Words::new(&log))?;
        pipeline.add_last(app)
    })
    .unwrap();
    log.take();
    channel.feed(["a b c d", "never read"]);
    let lines: Vec<String> = log
        .take()
        .into_iter()
        .filter(|line| !line.contains("resume"))
        .collect();
    assert_eq!(
        lines,
        [
            "app read a",
            "app read b",
            "app read c",
            "app read d",
            "app inactive"
        ]
    );
}

/// Events that a handler fires through the handle of its own channel come from the head when it has returned, and
/// after all that it had emitted.
///
/// Rules: 6.6
#[test]
fn events_fired_through_the_handle_wait_for_the_root_queue() {
    let log = Log::new();
    let a = Script::new("a", &log).loud();
    let b = Script::new("b", &log).on_read(|ctx, msg| {
        if text(&msg) == "1" {
            ctx.channel().fire_channel_read("2");
            ctx.channel().fire_channel_read_complete();
            ctx.channel()
                .fire_exception_caught(tidegate::Failure::msg("f"));
            ctx.fire_channel_read("emitted");
        }
        Ok(())
    });
    let c = Script::new("c", &log).loud();
    let mut channel = channel([a, b, c]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("1"));
    assert_eq!(
        log.take(),
        [
            "a read 1",
            "b read 1",
            "c read emitted",
            "a read 2",
            "b read 2",
            "a read_complete",
            "c read_complete",
            "a error f",
            "c error f",
        ]
    );
}

/// Timers, listeners and reads may interleave; none of them runs inside another.
///
/// Rules: 6.6, 6.11
#[test]
fn nothing_runs_on_a_handlers_stack() {
    let busy = Rc::new(Cell::new(false));
    let log = Log::new();
    let guard = |busy: &Rc<Cell<bool>>, work: &mut dyn FnMut()| {
        assert!(!busy.replace(true), "entered while on the stack");
        work();
        busy.set(false);
    };
    let (one, two, three, four) = (busy.clone(), busy.clone(), busy.clone(), busy.clone());
    let order = Rc::new(RefCell::new(Vec::new()));
    let (o1, o2, o3, o4) = (order.clone(), order.clone(), order.clone(), order.clone());
    let a = Script::new("a", &log)
        .on_read(move |ctx, msg| {
            guard(&one, &mut || {
                ctx.timer(Duration::ZERO, 1);
                let promise = ctx.new_promise();
                ctx.notify(&promise, 2);
                promise.try_success();
                let noted = o3.clone();
                let inside = three.clone();
                ctx.local_handle::<Script>()
                    .run(move |_, _| {
                        assert!(!inside.get());
                        noted.borrow_mut().push("run");
                        Ok(())
                    })
                    .unwrap();
                o1.borrow_mut().push("read");
            });
            ctx.fire_channel_read(msg);
            Ok(())
        })
        .on_timer(move |_, _| {
            guard(&two, &mut || o2.borrow_mut().push("timer"));
            Ok(())
        })
        .on_write_done(move |_, _, _| {
            guard(&four, &mut || o4.borrow_mut().push("write_done"));
            Ok(())
        });
    let mut channel = channel([a]);
    channel.feed(["m"]);
    assert_eq!(*order.borrow(), ["read", "write_done", "timer", "run"]);
    assert_eq!(inbound(&mut channel), ["m"]);
    let _ = Message::new(0u8);
}
