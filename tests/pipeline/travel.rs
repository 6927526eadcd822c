//! How inbound events travel: trampolined, depth first, in program order, with `after` behind.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tidegate::{EmbeddedChannel, Error, Failure, Message};

use crate::common::{Log, Script, channel, inbound, manual, number};

/// Where the stack is now, in bytes; only differences mean something.
fn stack_depth() -> usize {
    let here = 0u8;
    std::hint::black_box(&raw const here) as usize
}

/// The span of stack that `note` was called on.
#[derive(Clone, Default)]
pub struct Span(Rc<Cell<Option<(usize, usize)>>>);

impl Span {
    pub fn note(&self) {
        let here = stack_depth();
        let (low, high) = self.0.get().unwrap_or((here, here));
        self.0.set(Some((low.min(here), high.max(here))));
    }

    pub fn bytes(&self) -> usize {
        let (low, high) = self.0.get().expect("noted at least once");
        high - low
    }
}

/// A message may go around 100,000 times without the stack noticing.
///
/// Rules: 6.1, B5, B11
#[test]
fn a_hundred_thousand_forwards_leave_the_stack_flat() {
    let span = Span::default();
    let log = Log::new();
    let noted = span.clone();
    let again = Script::new("again", &log).on_read(move |ctx, msg| {
        noted.note();
        match number(msg) {
            0 => ctx.fire_channel_read(Message::new(0u32)),
            left => ctx.pipeline().fire_channel_read(Message::new(left - 1)),
        }
        Ok(())
    });
    let mut channel = channel([again]);
    channel.write_inbound(Message::new(100_000u32)).unwrap();
    assert_eq!(inbound(&mut channel), ["0"]);
    assert!(span.bytes() < 4096, "{} bytes of stack", span.bytes());
}

/// Rules: 6.1
#[test]
fn a_row_of_a_thousand_handlers_is_walked_on_a_flat_stack() {
    let span = Span::default();
    let log = Log::new();
    let mut channel = EmbeddedChannel::new(|pipeline| {
        for _ in 0..1_000 {
            let noted = span.clone();
            pipeline.add_first(Script::new("hop", &log).on_read(move |ctx, msg| {
                noted.note();
                ctx.fire_channel_read(Message::new(number(msg) + 1));
                Ok(())
            }))?;
        }
        Ok::<(), Error>(())
    })
    .unwrap();
    channel.write_inbound(Message::new(0u32)).unwrap();
    assert_eq!(inbound(&mut channel), ["1000"]);
    assert!(span.bytes() < 4096, "{} bytes of stack", span.bytes());
}

/// `fire_*` hands over and returns; the code behind it runs before the next handler.
///
/// Rules: 6.1, 6.2, B1
#[test]
fn the_next_handler_runs_when_the_current_one_has_returned() {
    let log = Log::new();
    let told = log.clone();
    let a = Script::new("a", &log).on_read(move |ctx, msg| {
        ctx.fire_channel_read(msg);
        told.add("a goes on");
        Ok(())
    });
    let mut channel = channel([a, Script::new("b", &log).loud()]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    assert_eq!(log.take(), ["a read m", "a goes on", "b read m"]);
}

/// Each emission is delivered with all that follows from it before the next one.
///
/// Rules: 6.2
#[test]
fn emissions_are_delivered_in_order_each_with_all_that_follows() {
    let log = Log::new();
    let split = |name| {
        Script::new(name, &log).on_read(|ctx, msg| {
            let msg = crate::common::text(&msg);
            for part in ["1", "2", "3"] {
                ctx.fire_channel_read(Message::from(format!("{msg}{part}").into_bytes()));
            }
            Ok(())
        })
    };
    let mut channel = channel([split("a"), split("b"), Script::new("c", &log).loud()]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("x"));
    assert_eq!(
        log.take(),
        [
            "a read x",
            "b read x1",
            "c read x11",
            "c read x12",
            "c read x13",
            "b read x2",
            "c read x21",
            "c read x22",
            "c read x23",
            "b read x3",
            "c read x31",
            "c read x32",
            "c read x33",
        ]
    );
}

/// Every kind of inbound event keeps its place among the others, errors included.
///
/// Rules: 6.2, B1
#[test]
fn all_kinds_of_events_keep_program_order() {
    let log = Log::new();
    let a = Script::new("a", &log).on_read(|ctx, _| {
        ctx.fire_channel_read("m1");
        ctx.fire_user_event_triggered("e1".into());
        ctx.fire_channel_read_complete();
        ctx.fire_exception_caught(Failure::msg("f1"));
        ctx.fire_channel_writability_changed();
        ctx.fire_channel_registered();
        ctx.fire_channel_active();
        ctx.fire_channel_read("m2");
        ctx.fire_channel_inactive();
        ctx.fire_channel_unregistered();
        Ok(())
    });
    let b = Script::new("b", &log).loud();
    let mut channel = channel([a, b]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("go"));
    assert_eq!(
        log.take_of("b"),
        [
            "b read m1",
            "b event e1",
            "b read_complete",
            "b error f1",
            "b writable true",
            "b registered",
            "b active",
            "b read m2",
            "b inactive",
            "b unregistered",
        ]
    );
}

/// An error fired first is delivered first, though it never takes the short way.
///
/// Rules: 6.2
#[test]
fn an_error_that_was_fired_first_is_delivered_first() {
    let log = Log::new();
    let a = Script::new("a", &log).on_read(|ctx, msg| {
        ctx.fire_exception_caught(Failure::msg("first"));
        ctx.fire_channel_read(msg);
        ctx.fire_channel_read_complete();
        Ok(())
    });
    let b = Script::new("b", &log).loud();
    let mut channel = channel([a, b]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    assert_eq!(
        log.take_of("b"),
        ["b error first", "b read m", "b read_complete"]
    );
}

/// What outbound handlers emit while an inbound one runs stands in its program order.
///
/// Rules: 6.1, 6.2, 6.3
#[test]
fn emissions_of_outbound_handlers_stand_in_the_callers_order() {
    let log = Log::new();
    let codec = Script::new("codec", &log).on_write(|ctx, msg, promise| {
        ctx.fire_user_event_triggered("before the write".into());
        ctx.write_with(msg, promise);
        ctx.fire_user_event_triggered("after the write".into());
        Ok(())
    });
    let middle = Script::new("middle", &log).on_event(|ctx, event| {
        ctx.fire_user_event_triggered(event);
        Ok(())
    });
    let app = Script::new("app", &log).on_read(|ctx, _| {
        ctx.fire_channel_read("one");
        ctx.write("out");
        ctx.fire_channel_read("two");
        Ok(())
    });
    let end = Script::new("end", &log).loud();
    // app is on the stack while codec emits; the events pass it, too, once it has returned.
    let app = app.on_event(|ctx, event| {
        ctx.fire_user_event_triggered(event);
        Ok(())
    });
    let mut channel = channel([codec, middle, app, end]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("go"));
    assert_eq!(
        log.take(),
        [
            "app read go",
            "codec write out",
            "end read one",
            "middle event before the write",
            "app event before the write",
            "end event before the write",
            "middle event after the write",
            "app event after the write",
            "end event after the write",
            "end read two",
        ]
    );
}

/// `pipeline.fire_*` starts at the head and is one emission of the running handler among the others.
///
/// Rules: 6.1, 6.2, B1
#[test]
fn events_fired_from_the_head_are_emissions_of_the_running_handler() {
    let log = Log::new();
    let a = Script::new("a", &log).loud();
    let b = Script::new("b", &log).on_read(|ctx, msg| {
        if number(msg) == 1 {
            ctx.fire_channel_read(Message::new(10u32));
            ctx.pipeline().fire_channel_read(Message::new(2u32));
            ctx.pipeline().fire_user_event_triggered("e".into());
            ctx.pipeline().fire_exception_caught(Failure::msg("f"));
            ctx.pipeline().fire_channel_read_complete();
            ctx.fire_channel_read(Message::new(11u32));
        }
        Ok(())
    });
    let c = Script::new("c", &log).loud();
    let mut channel = channel([a, b, c]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read(Message::new(1u32)));
    assert_eq!(
        log.take(),
        [
            "a read 1",
            "b read 1",
            "c read 10",
            "a read 2",
            "b read 2",
            "a event e",
            "c event e",
            "a error f",
            "c error f",
            "a read_complete",
            "c read_complete",
            "c read 11",
        ]
    );
    channel.check().expect_err("the error went on to the tail");
}

/// The pipeline fires every inbound event from the head. They are events only: nothing becomes of the channel, and no
/// read() follows.
///
/// Rules: 6.1, B1
#[test]
fn every_inbound_event_can_be_fired_from_the_head() {
    let log = Log::new();
    let mut channel = channel([Script::new("a", &log).loud(), Script::new("b", &log).loud()]);
    log.take();
    channel.pipeline(|pipeline| {
        pipeline.fire_channel_unregistered();
        pipeline.fire_channel_registered();
        pipeline.fire_channel_inactive();
        pipeline.fire_channel_active();
        pipeline.fire_channel_read("m");
        pipeline.fire_channel_read_complete();
        pipeline.fire_user_event_triggered("e".into());
        pipeline.fire_channel_writability_changed();
        pipeline.fire_exception_caught(Failure::msg("f"));
    });
    let events = [
        "unregistered",
        "registered",
        "inactive",
        "active",
        "read m",
        "read_complete",
        "event e",
        "writable true",
        "error f",
    ];
    let expected: Vec<_> = events
        .iter()
        .flat_map(|event| ["a", "b"].map(|name| format!("{name} {event}")))
        .collect();
    assert_eq!(log.take(), expected);
    assert!(channel.check().is_err(), "the error has reached the tail");
}

/// A handler may send a message around again and again: no recursion, each round after the last.
///
/// Rules: 6.1, 6.2
#[test]
fn what_a_handler_sends_back_to_the_head_reaches_it_later_not_inside() {
    let log = Log::new();
    let inside = Rc::new(Cell::new(false));
    let flag = inside.clone();
    let a = Script::new("a", &log).on_read(move |ctx, msg| {
        assert!(!flag.replace(true), "entered while on the stack");
        let left = number(msg);
        if left > 0 {
            ctx.pipeline().fire_channel_read(Message::new(left - 1));
            ctx.pipeline().fire_channel_read(Message::new(0u32));
        }
        flag.set(false);
        Ok(())
    });
    let mut channel = channel([a]);
    channel.pipeline(|pipeline| pipeline.fire_channel_read(Message::new(3u32)));
    assert_eq!(
        log.take(),
        [
            "a read 3", "a read 2", "a read 1", "a read 0", "a read 0", "a read 0", "a read 0"
        ]
    );
}

/// `after` comes when all that was emitted, and all that followed from it, has been handled.
///
/// Rules: 6.2
#[test]
fn after_follows_everything_that_was_emitted() {
    let log = Log::new();
    let a = Script::new("a", &log)
        .on_read(|ctx, _| {
            ctx.after(1);
            ctx.fire_channel_read("m1");
            ctx.fire_channel_read("m2");
            ctx.after(2);
            Ok(())
        })
        .on_after(|ctx, key| {
            if key == 2 {
                ctx.fire_channel_read("late");
                ctx.after(3);
            }
            Ok(())
        });
    let b = Script::new("b", &log).on_read(|ctx, msg| {
        ctx.fire_channel_read(msg);
        ctx.fire_user_event_triggered("e".into());
        Ok(())
    });
    let c = Script::new("c", &log).loud();
    let mut channel = channel([a, b, c]);
    log.take();
    channel.pipeline(|pipeline| {
        pipeline.fire_channel_read("go");
        pipeline.fire_channel_read_complete();
    });
    assert_eq!(
        log.take(),
        [
            "a read go",
            "b read m1",
            "c read m1",
            "c event e",
            "b read m2",
            "c read m2",
            "c event e",
            "a after 1",
            "a after 2",
            "b read late",
            "c read late",
            "c event e",
            "a after 3",
            "c read_complete",
        ]
    );
}

/// `after` also waits for what an outbound handler under the callback emitted, and comes back to that handler,
/// too.
///
/// Rules: 6.2, 6.3
#[test]
fn after_of_an_outbound_handler_follows_its_emissions() {
    let log = Log::new();
    let codec = Script::new("codec", &log)
        .on_write(|ctx, _, _| {
            ctx.fire_user_event_triggered("e".into());
            ctx.after(7);
            Ok(())
        })
        .on_after(|_, _| Ok(()));
    let app = Script::new("app", &log).loud().on_read(|ctx, _| {
        ctx.write("w");
        ctx.after(8);
        Ok(())
    });
    let mut channel = channel([codec, app]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("go"));
    assert_eq!(
        log.take(),
        [
            "app read go",
            "codec write w",
            "app event e",
            "codec after 7",
            "app after 8"
        ]
    );
    // The same without an inbound handler on the stack.
    channel.run(|channel| channel.write("w"));
    assert_eq!(
        log.take(),
        [
            "app write w",
            "codec write w",
            "app event e",
            "codec after 7"
        ]
    );
}

/// The read() of auto-read is the head's own `after`: it goes through the pipeline when all of the batch's end has
/// been handled.
///
/// Rules: 6.2, B18, D1
#[test]
fn the_read_of_auto_read_follows_all_of_active_and_read_complete() {
    let log = Log::new();
    let a = Script::new("a", &log).on_read_op(|ctx| {
        ctx.read();
        Ok(())
    });
    let b = Script::new("b", &log).loud().on_read_complete(|ctx| {
        ctx.fire_channel_read_complete();
        ctx.fire_user_event_triggered("b was told".into());
        Ok(())
    });
    let c = Script::new("c", &log).loud();
    let mut channel = channel([a, b, c]);
    assert_eq!(
        log.take(),
        [
            "b added",
            "c added",
            "b registered",
            "c registered",
            "b active",
            "c active",
            "c read()",
            "b read()",
            "a read()",
            // A first look at the source, which has nothing.
            "b read_complete",
            "c read_complete",
            "c event b was told",
            "c read()",
            "b read()",
            "a read()",
        ]
    );
    channel.feed(["m"]);
    assert_eq!(
        log.take(),
        [
            "b read m",
            "c read m",
            "b read_complete",
            "c read_complete",
            "c event b was told",
            "c read()",
            "b read()",
            "a read()",
        ]
    );
}

/// A handler that was added behind the current one, and emits more than one event when it hears of it, keeps
/// the order of what follows from each.
///
/// Rules: 6.2, 6.8
#[test]
fn emissions_of_handler_added_are_delivered_depth_first() {
    let log = Log::new();
    let end = Script::new("end", &log).on_read(|ctx, msg| {
        ctx.fire_user_event_triggered(msg);
        ctx.fire_user_event_triggered("and".into());
        Ok(())
    });
    let last = Script::new("last", &log).loud();
    let spare = RefCell::new(Some(Script::new("new", &log).on_added(|ctx| {
        ctx.fire_channel_read("1");
        ctx.fire_channel_read("2");
        ctx.fire_channel_read("3");
        Ok(())
    })));
    let a = Script::new("a", &log).on_event(move |ctx, _| {
        if let Some(new) = spare.borrow_mut().take() {
            ctx.pipeline().add_after("a", None, new)?;
        }
        Ok(())
    });
    let mut channel = channel([a, end, last]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_user_event_triggered("go".into()));
    assert_eq!(
        log.take(),
        [
            "a event go",
            "new added",
            "end read 1",
            "last event 1",
            "last event and",
            "end read 2",
            "last event 2",
            "last event and",
            "end read 3",
            "last event 3",
            "last event and",
        ]
    );
}

/// The same for a read() that goes on from a handler with nothing to resume, and meets an outbound handler that
/// emits.
///
/// Rules: 6.2, 6.7
#[test]
fn emissions_under_a_read_that_goes_on_are_delivered_depth_first() {
    let log = Log::new();
    let queue = Script::new("queue", &log).on_read_op(|ctx| {
        ctx.fire_user_event_triggered("1".into());
        ctx.fire_user_event_triggered("2".into());
        Ok(())
    });
    let parked = Script::new("parked", &log)
        .on_read(|ctx, _| {
            ctx.resume();
            Ok(())
        })
        .on_resume(|_| Ok(()));
    let split = Script::new("split", &log).on_event(|ctx, event| {
        ctx.fire_user_event_triggered(event);
        ctx.fire_user_event_triggered("and".into());
        Ok(())
    });
    let end = Script::new("end", &log).loud();
    let mut channel = manual([queue, split, parked, end]);
    channel.pipeline(|pipeline| pipeline.fire_channel_read("go"));
    log.take();
    channel.run(|channel| channel.read());
    assert_eq!(
        log.take(),
        [
            "end read()",
            "parked resume",
            "queue read()",
            "split event 1",
            "end event 1",
            "end event and",
            "split event 2",
            "end event 2",
            "end event and",
        ]
    );
}
