//! A handler that panics: what becomes of it, of the others, of its channel.

use std::cell::Cell;
use std::panic;
use std::rc::Rc;

use tidegate::{Context, EmbeddedChannel, ErrorKind, Failure};

use crate::common::telling::told;
use crate::common::{self, Dropped, Log, Script, inbound};

/// An active channel with these handlers, whose panics stay in it as on the wire.
pub fn channel(handlers: impl Into<Vec<Script>>) -> EmbeddedChannel {
    let mut channel = common::channel(handlers);
    channel.contain_panics();
    channel
}

/// Silences the panics that these tests cause on purpose, on this thread, while `work` runs.
pub fn quietly<R>(work: impl FnOnce() -> R) -> R {
    thread_local! {
        static QUIET: Cell<bool> = const { Cell::new(false) };
    }
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    QUIET.set(true);
    let result = work();
    QUIET.set(false);
    result
}

/// The handler on the stack is dropped without another callback; the others see the channel become inactive, and
/// it closes.
///
/// Rules: 5.8
#[test]
fn a_handler_that_panics_is_dropped_and_the_others_see_the_end() {
    let log = Log::new();
    let b = Script::new("b", &log)
        .loud()
        .on_read(|ctx, msg| {
            ctx.fire_channel_read(msg);
            panic!("out of order");
        })
        .holding(Dropped::tells("b", &log));
    let mut channel = channel([
        Script::new("a", &log).loud(),
        b,
        Script::new("c", &log).loud(),
    ]);
    log.take();
    let lines = told(|| quietly(|| channel.feed(["m", "never read"])));
    assert_eq!(
        log.take(),
        [
            "a read m",
            "b read m",
            "b dropped",
            "a inactive",
            "c inactive",
            "a unregistered",
            "c unregistered",
            "c removed",
            "a removed",
        ]
    );
    assert!(!channel.channel().is_open());
    assert_eq!(channel.unread(), 1);
    let wanted = ["handlers=\"b\"", "out of order"];
    assert!(
        lines
            .iter()
            .any(|line| wanted.iter().all(|word| line.contains(word))),
        "{lines:?}"
    );
}

/// Everything on the stack goes: the inbound handler and the outbound ones under it.
///
/// Rules: 5.8
#[test]
fn all_handlers_on_the_stack_go() {
    let log = Log::new();
    let a = Script::new("a", &log)
        .loud()
        .holding(Dropped::tells("a", &log));
    let b = Script::new("b", &log)
        .loud()
        .on_write(|_, _, _| panic!("in the write"))
        .holding(Dropped::tells("b", &log));
    let c = Script::new("c", &log)
        .loud()
        .holding(Dropped::tells("c", &log));
    let d = Script::new("d", &log)
        .loud()
        .holding(Dropped::tells("d", &log))
        .on_read(|ctx, msg| {
            ctx.write(msg);
            Ok(())
        });
    let e = Script::new("e", &log).loud();
    let mut channel = channel([a, b, c, d, e]);
    log.take();
    let lines = told(|| quietly(|| channel.pipeline(|pipeline| pipeline.fire_channel_read("m"))));
    assert_eq!(
        log.take(),
        [
            "a read m",
            "b read m",
            "c read m",
            "d read m",
            "c write m",
            "b write m",
            "b dropped",
            "c dropped",
            "d dropped",
            "a inactive",
            "e inactive",
            "a unregistered",
            "e unregistered",
            "e removed",
            "a removed",
            "a dropped",
        ]
    );
    assert!(
        lines.iter().any(|line| line.contains("b <- c <- d")),
        "{lines:?}"
    );
    assert_eq!(channel.event_loop().metrics().handler_panics, 1);
}

/// What is dropped while a panic comes by may still speak through its context or the channel. It does not come to a handler
/// that the panic has passed.
///
/// Rules: 5.8
#[test]
fn what_speaks_while_a_panic_comes_by_calls_no_handler_that_is_lost() {
    struct Speaks<'c, 'a>(&'c mut Context<'a>);
    impl Drop for Speaks<'_, '_> {
        fn drop(&mut self) {
            self.0.flush();
            self.0.write("by the context");
            self.0.channel().flush();
            self.0.channel().write("by the channel");
        }
    }
    let log = Log::new();
    let b = Script::new("b", &log)
        .loud()
        .on_write(|_, _, _| panic!("in the write"));
    let c = Script::new("c", &log).loud().on_read(|ctx, msg| {
        let speaks = Speaks(ctx);
        speaks.0.write(msg);
        Ok(())
    });
    let mut channel = channel([
        Script::new("a", &log).loud(),
        b,
        c,
        Script::new("d", &log).loud(),
    ]);
    log.take();
    quietly(|| channel.pipeline(|pipeline| pipeline.fire_channel_read("m")));
    let lines = log.take();
    let of_lost = |line: &&String| line.starts_with("b ") || line.starts_with("c ");
    let calls: Vec<_> = lines.iter().filter(of_lost).collect();
    assert_eq!(calls, ["b read m", "c read m", "b write m"], "{lines:?}");
    assert!(!channel.channel().is_open());
    assert_eq!(channel.event_loop().metrics().handler_panics, 1);
}

/// A handler that has made the pipeline larger and panics is found in what it was before.
///
/// Rules: 5.8
#[test]
fn a_handler_that_has_added_others_and_panics_is_dropped() {
    let log = Log::new();
    let (told, late) = (Dropped::tells("b", &log), log.clone());
    let b = Script::new("b", &log)
        .loud()
        .holding(told)
        .on_read(move |ctx, _| {
            for _ in 0..9 {
                ctx.pipeline().add_last(Script::new("late", &late).loud())?;
            }
            panic!("out of order");
        });
    let mut channel = channel([Script::new("a", &log).loud(), b]);
    log.take();
    quietly(|| channel.pipeline(|pipeline| pipeline.fire_channel_read("m")));
    let lines = log.take();
    let count = |what: &str| lines.iter().filter(|line| *line == what).count();
    assert_eq!(count("b read m"), 1, "{lines:?}");
    assert_eq!(count("b dropped"), 1, "{lines:?}");
    assert_eq!(count("a inactive"), 1, "{lines:?}");
    assert_eq!(count("b inactive"), 0, "{lines:?}");
    assert!(!channel.channel().is_open());
}

/// A drop that panics, too, changes nothing for the others.
///
/// Rules: 5.8
#[test]
fn a_drop_that_panics_too_is_contained() {
    let log = Log::new();
    let b = Script::new("b", &log)
        .loud()
        .on_read(|_, _| panic!("first"))
        .holding(Dropped::panics("b", &log));
    let mut channel = channel([
        Script::new("a", &log).loud(),
        b,
        Script::new("c", &log).loud(),
    ]);
    log.take();
    let lines = told(|| quietly(|| channel.pipeline(|pipeline| pipeline.fire_channel_read("m"))));
    assert_eq!(
        log.take(),
        [
            "a read m",
            "b read m",
            "b dropped",
            "a inactive",
            "c inactive",
            "a unregistered",
            "c unregistered",
            "c removed",
            "a removed",
        ]
    );
    assert!(
        lines.iter().any(|line| line.contains("once more")),
        "{lines:?}"
    );
}

/// A handler that panics in handler_removed, and again in its drop.
///
/// Rules: 5.8, B8
#[test]
fn a_panic_in_handler_removed_is_contained() {
    for by_itself in [false, true] {
        let log = Log::new();
        let b = Script::new("b", &log)
            .loud()
            .on_removed(|_| panic!("will not go"))
            .on_event(move |ctx, event| {
                if by_itself {
                    ctx.pipeline().remove("b")?;
                }
                ctx.fire_user_event_triggered(event);
                Ok(())
            })
            .holding(Dropped::panics("b", &log));
        let c = Script::new("c", &log).loud();
        let mut channel = channel([Script::new("a", &log).loud(), b, c]);
        log.take();
        quietly(|| {
            channel.pipeline(|pipeline| {
                if by_itself {
                    pipeline.fire_user_event_triggered("go".into());
                } else {
                    pipeline.remove("b").unwrap();
                }
            });
        });
        let lines = log.take();
        let from = lines.iter().position(|line| line == "b removed").unwrap();
        assert_eq!(
            lines[from..],
            [
                "b removed",
                "b dropped",
                "a inactive",
                "c inactive",
                "a unregistered",
                "c unregistered",
                "c removed",
                "a removed",
            ]
        );
        assert!(!channel.channel().is_open());
    }
}

/// A panic in handler_added, inside the edit: the new handler goes, and with it whoever was on the stack.
///
/// Rules: 5.8, B7
#[test]
fn a_panic_in_handler_added_closes_the_channel() {
    let log = Log::new();
    let mut channel = channel([Script::new("a", &log).loud()]);
    log.take();
    let bad = Script::new("bad", &log)
        .loud()
        .on_added(|_| panic!("no"))
        .holding(Dropped::tells("bad", &log));
    quietly(|| channel.pipeline(|pipeline| pipeline.add_last(bad))).unwrap();
    assert_eq!(
        log.take(),
        [
            "bad added",
            "bad dropped",
            "a inactive",
            "a unregistered",
            "a removed"
        ]
    );
}

/// The end itself: a handler that panics in channel_inactive, channel_unregistered or handler_removed keeps nobody
/// behind it from hearing of the end, once.
///
/// Rules: 5.8, A25
#[test]
fn a_panic_in_the_last_events_keeps_nobody_from_hearing_of_the_end() {
    for stage in 0..3 {
        let log = Log::new();
        let at = |here: usize| {
            move |ctx: &mut tidegate::Context<'_>| {
                if stage == here {
                    panic!("at the end");
                }
                match here {
                    0 => ctx.fire_channel_inactive(),
                    1 => ctx.fire_channel_unregistered(),
                    _ => {}
                }
                Ok(())
            }
        };
        let b = Script::new("b", &log)
            .on_inactive(at(0))
            .on_unregistered(at(1))
            .on_removed(at(2))
            .holding(Dropped::panics("b", &log));
        let mut channel = channel([
            Script::new("a", &log).loud(),
            b,
            Script::new("c", &log).loud(),
        ]);
        let closed = channel.channel().close_future();
        log.take();
        let future = quietly(|| channel.close());
        let expected: &[&str] = match stage {
            0 => &[
                "c close",
                "a close",
                "a inactive",
                "b inactive",
                "b dropped",
                "c inactive",
                "a unregistered",
                "c unregistered",
                "c removed",
                "a removed",
            ],
            1 => &[
                "c close",
                "a close",
                "a inactive",
                "b inactive",
                "c inactive",
                "a unregistered",
                "b unregistered",
                "b dropped",
                "c unregistered",
                "c removed",
                "a removed",
            ],
            _ => &[
                "c close",
                "a close",
                "a inactive",
                "b inactive",
                "c inactive",
                "a unregistered",
                "b unregistered",
                "c unregistered",
                "c removed",
                "b removed",
                "b dropped",
                "a removed",
            ],
        };
        assert_eq!(log.take(), expected, "stage {stage}");
        assert!(future.is_success() && closed.is_success());
        assert!(!channel.channel().is_registered(), "the loop has let it go");
    }
}

/// Promises in the hands of the dead fail; those in the outbound buffer fail with the close.
///
/// Rules: 5.8
#[test]
fn promises_fail_when_their_handler_panics() {
    let log = Log::new();
    let b = Script::new("b", &log)
        .on_write(
            |ctx, msg, promise| match crate::common::text(&msg).as_str() {
                "buffered" => {
                    ctx.write_with(msg, promise);
                    Ok(())
                }
                _ => panic!("with a promise in hand"),
            },
        )
        .on_close(|ctx, promise| {
            ctx.close_with(promise);
            Ok(())
        });
    let app = Script::new("app", &log).on_read(|ctx, _| {
        // Waits at this handler when the panic comes.
        ctx.channel().write_future("waiting");
        Ok(())
    });
    let mut channel = channel([b, app]);
    let buffered = channel.run(|channel| channel.write_future("buffered"));
    let lost = quietly(|| channel.run(|channel| channel.write_future("lost")));
    assert!(lost.cause().is_some());
    let cause = buffered.cause().unwrap();
    assert!(cause.to_string().contains("panicked"), "{cause}");
    let late = channel.run(|channel| channel.write_future("late"));
    assert_eq!(late.cause().unwrap().kind(), ErrorKind::ChannelClosed);
}

/// An operation that waits at the handler which panics fails.
///
/// Rules: 5.8, 6.5
#[test]
fn operations_that_wait_at_a_handler_which_panics_fail() {
    let log = Log::new();
    let waiting = Rc::new(Cell::new(None));
    let note = waiting.clone();
    let a = Script::new("a", &log)
        .on_read(move |ctx, _| {
            let channel = ctx.channel();
            note.set(Some((channel.write_future("w"), channel.close())));
            panic!("before they went on");
        })
        .on_write(|_, _, _| Ok(()));
    let mut channel = channel([a]);
    quietly(|| channel.pipeline(|pipeline| pipeline.fire_channel_read("m")));
    let (written, closed) = waiting.take().unwrap();
    assert_eq!(written.cause().unwrap().kind(), ErrorKind::HandlerPanicked);
    assert!(closed.is_done());
    assert!(!channel.channel().is_open());
}

/// What was waiting in the dispatch goes with it; what was waiting in the root queue does not.
///
/// Rules: 5.8, 6.6
#[test]
fn listeners_that_were_due_still_run_after_a_panic() {
    let log = Log::new();
    let a = Script::new("a", &log)
        .on_read(|ctx, _| {
            let promise = ctx.new_promise();
            ctx.notify(&promise, 7);
            promise.try_success();
            ctx.fire_channel_read("on");
            Ok(())
        })
        .on_write_done(|_, _, _| Ok(()))
        .on_read_complete(|_| Ok(()));
    let b = Script::new("b", &log).on_read(|_, _| panic!("here"));
    let mut channel = channel([a, b]);
    log.take();
    quietly(|| channel.pipeline(|pipeline| pipeline.fire_channel_read("m")));
    assert_eq!(log.take(), ["a read m", "b read on", "a write_done 7 ok"]);
}

/// Each way in is a boundary of its own: timers, handles, after, resume, write_done, edits, looks.
///
/// Rules: 5.8, 6.11
#[test]
fn every_way_into_a_handler_is_contained() {
    type Enter = fn(&mut EmbeddedChannel);
    let ways: [(&str, Enter); 7] = [
        ("timer", |channel| {
            let handle = channel.pipeline(|p| p.local_handle::<Script>()).unwrap();
            handle
                .run(|_, ctx| {
                    ctx.timer(std::time::Duration::from_secs(1), 1);
                    Ok(())
                })
                .unwrap();
            channel.run_pending();
            channel.advance(std::time::Duration::from_secs(1));
        }),
        ("handle", |channel| {
            let handle = channel.pipeline(|p| p.handle::<Script>()).unwrap();
            handle.run(|_, _| panic!("in a run")).unwrap();
            channel.run_pending();
        }),
        ("local handle", |channel| {
            let handle = channel.pipeline(|p| p.local_handle::<Script>()).unwrap();
            handle.run(|_, _| panic!("in a run")).unwrap();
            channel.run_pending();
        }),
        ("after, resume", |channel| {
            channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
        }),
        ("write_done", |channel| {
            channel.pipeline(|pipeline| pipeline.fire_user_event_triggered("notify".into()));
        }),
        ("with", |channel| {
            let looked = channel.pipeline(|p| p.with(|_: &mut Script| panic!("in a look")));
            assert_eq!(looked.unwrap_err().kind(), ErrorKind::HandlerPanicked);
        }),
        ("error", |channel| {
            channel.pipeline(|pipeline| pipeline.fire_exception_caught(Failure::msg("f")));
        }),
    ];
    for (name, enter) in ways {
        let log = Log::new();
        let a = Script::new("a", &log)
            .on_timer(|_, _| panic!("in a timer"))
            .on_after(|_, _| panic!("in an after"))
            .on_write_done(|_, _, _| panic!("in a write_done"))
            .on_error(|_, _| panic!("in an exception_caught"))
            .on_read(|ctx, _| {
                ctx.after(1);
                Ok(())
            })
            .on_event(|ctx, _| {
                let promise = ctx.new_promise();
                ctx.notify(&promise, 1);
                promise.try_success();
                Ok(())
            })
            .holding(Dropped::tells("a", &log));
        let z = Script::new("z", &log).on_inactive(|_| Ok(()));
        let mut channel = channel([a, z]);
        log.take();
        quietly(|| enter(&mut channel));
        let lines = log.take();
        let end: Vec<&str> = lines
            .iter()
            .rev()
            .take(2)
            .rev()
            .map(String::as_str)
            .collect();
        assert_eq!(end, ["a dropped", "z inactive"], "{name}: {lines:?}");
        assert!(!channel.channel().is_open(), "{name}");
    }
}

/// A look that panics inside a callback takes the handler that looked and the one it looked into.
///
/// Rules: 5.8, 6.11
#[test]
fn a_look_that_panics_in_a_callback_takes_both() {
    struct Other(#[allow(dead_code, reason = "it tells when it is dropped")] Dropped);
    impl tidegate::Handler for Other {}
    let log = Log::new();
    let other = Other(Dropped::panics("other", &log));
    let a = Script::new("a", &log)
        .on_read(|ctx, _| {
            ctx.pipeline().with(|_: &mut Other| panic!("in a look"))?;
            Ok(())
        })
        .holding(Dropped::tells("a", &log));
    let z = Script::new("z", &log).on_inactive(|_| Ok(()));
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(a)?;
        pipeline.add_last(other)?;
        pipeline.add_last(z)
    })
    .unwrap();
    channel.contain_panics();
    quietly(|| channel.pipeline(|pipeline| pipeline.fire_channel_read("m")));
    assert_eq!(
        log.take(),
        ["a read m", "a dropped", "other dropped", "z inactive"]
    );
    assert_eq!(inbound(&mut channel), [""; 0]);
}

/// After a panic the loop and its tasks go on.
///
/// Rules: 5.8
#[test]
fn the_loop_goes_on_after_a_panic() {
    let log = Log::new();
    let a = Script::new("a", &log).on_read(|_, _| panic!("here"));
    let mut channel = channel([a]);
    quietly(|| channel.feed(["m"]));
    let answer = channel.event_loop().submit(|| 42);
    channel.run_pending();
    assert_eq!(answer.get_now(), Some(42));
}
