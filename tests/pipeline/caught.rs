//! A panic that somebody catches on its way: a handler, a farewell, a listener. It ends the channel all the same, and no handler
//! that it has passed is called again.

use std::cell::Cell;
use std::panic;

use tidegate::{Context, EmbeddedChannel, Error, Handler, HandlerResult, Message};

use crate::common::telling::told;
use crate::common::{Dropped, Log, Script};
use crate::panics::{channel, quietly};

/// Catches what its writes panic with, and goes on.
struct Careful {
    log: Log,
    by_context: bool,
}

impl Handler for Careful {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        for _ in 0..2 {
            let caught = panic::catch_unwind(panic::AssertUnwindSafe(|| {
                if self.by_context {
                    ctx.write("w");
                } else {
                    ctx.channel().write("w");
                }
            }));
            self.log
                .add(if caught.is_err() { "caught" } else { "passed" });
        }
        ctx.fire_channel_read(msg);
        Ok(())
    }
}

/// A panic that somebody catches before it has come to the channel ends the channel all the same, and the handlers that it
/// has passed are not called again: not by who has caught it, and not by the next event.
///
/// Rules: 5.8
#[test]
fn a_panic_that_is_caught_on_its_way_ends_the_channel_all_the_same() {
    for by_context in [true, false] {
        let log = Log::new();
        let b = Script::new("b", &log)
            .loud()
            .on_write(|ctx, msg, promise| {
                if crate::common::text(&msg) == "w" {
                    panic!("in the write");
                }
                ctx.write_with(msg, promise);
                Ok(())
            })
            .holding(Dropped::tells("b", &log));
        let c = Careful {
            log: log.clone(),
            by_context,
        };
        let mut channel = EmbeddedChannel::new(|pipeline| {
            pipeline.add_last(Script::new("a", &log).loud())?;
            pipeline.add_last(b)?;
            pipeline.add_last(c)?;
            pipeline.add_last(Script::new("d", &log).loud())
        })
        .unwrap();
        channel.contain_panics();
        // That the careful one has no write of its own is learned here.
        channel.run(|channel| channel.write("harmless"));
        log.take();
        quietly(|| channel.pipeline(|pipeline| pipeline.fire_channel_read("m")));
        let lines = log.take();
        let count = |what: &str| lines.iter().filter(|line| *line == what).count();
        assert_eq!(count("b write w"), 1, "{lines:?}");
        assert_eq!((count("caught"), count("passed")), (1, 1), "{lines:?}");
        assert_eq!(count("b dropped"), 1, "{lines:?}");
        assert_eq!(
            (count("d read m"), count("b inactive")),
            (0, 0),
            "{lines:?}"
        );
        assert_eq!(count("a inactive"), 1, "{lines:?}");
        assert!(!channel.channel().is_open());
        assert_eq!(channel.event_loop().metrics().handler_panics, 1);
    }
}

/// Also where it was caught in a `handler_added` while something waited, which goes on from there.
#[test]
fn a_handler_whose_panic_somebody_caught_is_not_called_with_what_waited() {
    let log = Log::new();
    let b = Script::new("b", &log)
        .on_write(|_, _, _| panic!("here"))
        .on_read(|ctx, msg| {
            ctx.fire_channel_read(msg);
            Ok(())
        });
    let (late, seen) = (Cell::new(true), log.clone());
    let a = Script::new("a", &log).on_read(move |ctx, _| {
        if late.take() {
            let catches = Script::new("late", &seen).on_added(|ctx| {
                let caught = panic::catch_unwind(panic::AssertUnwindSafe(|| ctx.write("x")));
                assert!(caught.is_err());
                Ok(())
            });
            ctx.pipeline().add_last(catches)?;
            ctx.pipeline().fire_channel_read("again");
        }
        Ok(())
    });
    let mut channel = channel([b, a]);
    quietly(|| channel.feed(["m"]));
    let lines = log.take();
    assert!(!lines.contains(&"b read again".to_owned()), "{lines:?}");
    assert!(lines.contains(&"b read m".to_owned()), "{lines:?}");
    assert!(!channel.channel().is_active());
}

/// Also one that was caught in the farewell of a handler that has taken itself out.
#[test]
fn a_handler_whose_panic_a_farewell_caught_is_not_called_any_more() {
    let log = Log::new();
    let b = Script::new("b", &log)
        .on_write(|_, _, _| panic!("here"))
        .on_read(|ctx, msg| {
            ctx.fire_channel_read(msg);
            Ok(())
        });
    let goes = Script::new("goes", &log)
        .on_read(|ctx, _| {
            ctx.pipeline().remove("goes")?;
            ctx.pipeline().fire_channel_read("again");
            Ok(())
        })
        .on_removed(|ctx| {
            let caught = panic::catch_unwind(panic::AssertUnwindSafe(|| ctx.write("x")));
            assert!(caught.is_err());
            Ok(())
        });
    let mut channel = channel([b, goes]);
    quietly(|| channel.feed(["m"]));
    let lines = log.take();
    assert!(lines.contains(&"b read m".to_owned()), "{lines:?}");
    assert!(!lines.contains(&"b read again".to_owned()), "{lines:?}");
    assert!(!channel.channel().is_active());
}

/// A handler that panicked is not called any more, whichever way the panic has come to who caught it: by the context that goes on
/// to be used, through an operation that somebody waits for.
///
/// Rules: 5.8
#[test]
fn a_handler_whose_panic_was_caught_is_not_called_by_the_same_context() {
    type Way = fn(&mut Context<'_>);
    let ways: [Way; 3] = [
        |ctx| drop(ctx.write_future("first")),
        |ctx| ctx.write_with("first", ctx.new_promise()),
        |ctx| ctx.close(),
    ];
    for way in ways {
        let log = Log::new();
        let a = Script::new("a", &log)
            .on_write(|_, _, _| panic!("in the write"))
            .on_close(|_, _| panic!("in the close"));
        let b = Script::new("b", &log).on_read(move |ctx, msg| {
            let caught = panic::catch_unwind(panic::AssertUnwindSafe(|| way(ctx)));
            assert!(caught.is_err());
            ctx.write(msg);
            Ok(())
        });
        let mut channel = channel([a, b]);
        quietly(|| channel.feed(["m"]));
        let lines = log.take();
        assert!(!lines.contains(&"a write m".to_owned()), "{lines:?}");
        assert!(lines.contains(&"b read m".to_owned()), "{lines:?}");
        assert!(!channel.channel().is_active());
    }
}

/// Also one that panics in a `handler_added` which an operation made due.
///
/// Rules: 5.8
#[test]
fn a_handler_that_panicked_in_its_late_addition_is_not_called_with_an_operation() {
    let log = Log::new();
    let (early, seen) = (Cell::new(true), log.clone());
    let a = Script::new("a", &log).on_flush(move |ctx| {
        if early.take() {
            let late = Script::new("late", &seen)
                .loud()
                .on_added(|_| panic!("in the addition"));
            ctx.pipeline().add_after("a", Some("late"), late)?;
        }
        Ok(())
    });
    let b = Script::new("b", &log).on_read(|ctx, msg| {
        ctx.flush();
        let caught = panic::catch_unwind(panic::AssertUnwindSafe(|| ctx.write("first")));
        assert!(caught.is_err());
        ctx.write(msg);
        Ok(())
    });
    // There is room for the late one, so that its neighbours go by the same slab as before.
    let mut channel = channel([Script::new("leaves", &log), a, b]);
    channel
        .pipeline(|pipeline| pipeline.remove("leaves"))
        .unwrap();
    log.take();
    quietly(|| channel.feed(["m"]));
    let lines = log.take();
    assert_eq!(lines, ["b read m", "a flush", "late added"]);
    assert!(!channel.channel().is_active());
}

/// Also one whose panic was caught in a `handler_added` that had to come before an event. Its handler takes itself out, so that
/// the one that has panicked would be the next for that event.
///
/// Rules: 5.8
#[test]
fn a_handler_whose_panic_a_late_addition_caught_is_not_called_in_its_place() {
    let log = Log::new();
    let (early, seen) = (Cell::new(true), log.clone());
    let a = Script::new("a", &log).on_read(move |ctx, msg| {
        ctx.fire_channel_read(msg);
        if early.take() {
            let catches = Script::new("late", &seen).on_added(|ctx| {
                let channel = ctx.channel();
                let caught = panic::catch_unwind(panic::AssertUnwindSafe(|| channel.write("w")));
                assert!(caught.is_err());
                ctx.pipeline().remove("late")?;
                Ok(())
            });
            ctx.pipeline().add_after("a", Some("late"), catches)?;
        }
        Ok(())
    });
    let b = Script::new("b", &log)
        .on_write(|_, _, _| panic!("in the write"))
        .on_read(|_, _| Ok(()));
    let mut channel = channel([a, b]);
    let said = told(|| quietly(|| channel.feed(["m"])));
    assert_eq!(log.take(), ["a read m", "late added", "b write w"]);
    assert!(
        !said.iter().any(|line| line.contains("invariant")),
        "{said:?}"
    );
    assert!(!channel.channel().is_active());
}

/// Also one whose panic a listener has caught, and which would be told that its write is done.
///
/// Rules: 5.8
#[test]
fn a_handler_whose_panic_a_listener_caught_is_not_told_of_its_writes() {
    let log = Log::new();
    let a = Script::new("a", &log)
        .on_write(|ctx, msg, promise| {
            if crate::common::text(&msg) == "w" {
                panic!("in the write");
            }
            ctx.write_with(msg, promise);
            Ok(())
        })
        .on_read(|ctx, msg| {
            let (channel, promise) = (ctx.channel(), ctx.new_promise());
            let listener = move |_: &Result<(), Error>| {
                let caught = panic::catch_unwind(panic::AssertUnwindSafe(|| channel.write("w")));
                assert!(caught.is_err());
            };
            promise.completion().add_listener(listener);
            ctx.notify(&promise, 7);
            ctx.write_with(msg, promise);
            ctx.flush();
            Ok(())
        })
        .on_write_done(|_, _, _| Ok(()));
    let mut channel = channel([a, Script::new("b", &log)]);
    let said = told(|| quietly(|| channel.feed(["m"])));
    assert_eq!(log.take(), ["a read m", "a write w"]);
    assert!(
        !said.iter().any(|line| line.contains("invariant")),
        "{said:?}"
    );
    assert!(!channel.channel().is_active());
}
