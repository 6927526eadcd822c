//! Coming back to a handler from outside of its callbacks: handles, timers, promises, looks.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tidegate::channel::{HandlerHandle, LocalHandle};
use tidegate::{Context, EmbeddedChannel, ErrorKind, Handler, HandlerResult, Message, Promise};

use crate::common::{Log, Script, channel, manual, outbound};

const SECOND: Duration = Duration::from_secs(1);

/// A handler that hands out its handle, and counts.
struct Counter {
    count: u32,
    handles: mpsc::Sender<HandlerHandle<Counter>>,
}

impl Handler for Counter {
    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let _ = self.handles.send(ctx.handle());
        Ok(())
    }
}

fn counter() -> (Counter, mpsc::Receiver<HandlerHandle<Counter>>) {
    let (handles, received) = mpsc::channel();
    (Counter { count: 0, handles }, received)
}

/// A handle takes a closure to the handler from any thread; it runs on the loop, with a context.
///
/// Rules: 6.11
#[test]
fn a_handle_runs_a_closure_from_another_thread() {
    let (counter, handles) = counter();
    let mut channel = EmbeddedChannel::new(|p| p.add_last(counter)).unwrap();
    let handle = handles.recv().unwrap();
    let again = handle.clone();
    thread::spawn(move || {
        for n in 1..=3u32 {
            again
                .run(move |counter, ctx| {
                    counter.count += n;
                    ctx.write_and_flush(Message::new(counter.count));
                    Ok(())
                })
                .unwrap();
        }
    })
    .join()
    .unwrap();
    assert_eq!(
        outbound(&mut channel),
        [""; 0],
        "nothing runs before the loop does"
    );
    channel.run_pending();
    assert_eq!(outbound(&mut channel), ["1", "3", "6"]);
    assert!(handle.is_alive());
}

/// Once the handler is gone a handle says so: removed, replaced, or with its channel.
///
/// Rules: 6.11
#[test]
fn a_handle_of_a_handler_that_is_gone_says_so() {
    let (counter, handles) = counter();
    let mut channel = EmbeddedChannel::new(|p| p.add_last_named("c", counter)).unwrap();
    let removed = handles.recv().unwrap();
    channel.pipeline(|pipeline| pipeline.remove("c")).unwrap();
    assert!(!removed.is_alive());
    assert_eq!(
        removed.run(|_, _| Ok(())).unwrap_err().kind(),
        ErrorKind::NoSuchHandler
    );

    let (counter, handles) = self::counter();
    channel
        .pipeline(|pipeline| pipeline.add_last_named("c", counter))
        .unwrap();
    let replaced = handles.recv().unwrap();
    let (counter, handles) = self::counter();
    channel
        .pipeline(|pipeline| pipeline.replace("c", Some("c"), counter))
        .unwrap();
    assert_eq!(
        replaced.run(|_, _| Ok(())).unwrap_err().kind(),
        ErrorKind::NoSuchHandler
    );

    let ended = handles.recv().unwrap();
    ended.run(|_, _| Ok(())).unwrap();
    channel.finish().unwrap();
    assert_eq!(
        ended.run(|_, _| Ok(())).unwrap_err().kind(),
        ErrorKind::NoSuchHandler
    );
}

/// A closure that is under way when the handler goes does not run, and nothing breaks.
///
/// Rules: 6.11
#[test]
fn a_closure_for_a_handler_that_goes_meanwhile_does_not_run() {
    let log = Log::new();
    let mut channel = channel([Script::new("a", &log)]);
    let (remote, local) = channel.pipeline(|pipeline| {
        (
            pipeline.handle::<Script>().unwrap(),
            pipeline.local_handle::<Script>().unwrap(),
        )
    });
    remote.run(|_, _| panic!("it is gone")).unwrap();
    local.run(|_, _| panic!("it is gone")).unwrap();
    channel.pipeline(|pipeline| pipeline.remove("a")).unwrap();
    channel.run_pending();
    assert!(channel.channel().is_open());
    assert!(!local.is_alive());
    assert_eq!(
        local.run(|_, _| Ok(())).unwrap_err().kind(),
        ErrorKind::NoSuchHandler
    );
}

/// A local handle may carry what is not Send, is queued, and runs on nobody's stack.
///
/// Rules: 6.11
#[test]
fn a_local_handle_carries_what_is_not_send() {
    let log = Log::new();
    let kept: Rc<RefCell<Option<LocalHandle<Script>>>> = Rc::default();
    let keep = kept.clone();
    let told = log.clone();
    let a = Script::new("a", &log).on_read(move |ctx, msg| {
        let handle = ctx.local_handle::<Script>();
        *keep.borrow_mut() = Some(handle.clone());
        let told = told.clone();
        handle.run(move |script, ctx| {
            told.add(format_args!("{} in its own closure", script.name()));
            ctx.fire_channel_read("from the closure");
            Ok(())
        })?;
        ctx.fire_channel_read(msg);
        Ok(())
    });
    let mut channel = channel([a, Script::new("z", &log).loud()]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    assert_eq!(
        log.take(),
        [
            "a read m",
            "z read m",
            "a in its own closure",
            "z read from the closure"
        ]
    );
    assert!(kept.borrow().as_ref().unwrap().is_alive());
    // It does not keep the channel alive.
    drop(channel);
    let handle = kept.borrow_mut().take().unwrap();
    assert!(!handle.is_alive());
    assert_eq!(
        handle.run(|_, _| Ok(())).unwrap_err().kind(),
        ErrorKind::NoSuchHandler
    );
}

/// A handle made for another type of handler is an error of the one that asks, in its pipeline, and no panic.
///
/// Rules: 6.11
#[test]
fn a_handle_of_the_wrong_type_is_an_error() {
    let log = Log::new();
    let a = Script::new("a", &log)
        .on_error(|_, _| Ok(()))
        .on_read(|ctx, _| {
            ctx.local_handle::<Counter>().run(|counter, _| {
                counter.count += 1;
                Ok(())
            })?;
            Ok(())
        });
    let mut channel = channel([a]);
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    let lines = log.take();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[1].starts_with("a error the handle was made for"),
        "{lines:?}"
    );
}

/// Timers come back by their key, in the order of their deadlines, never early; cancelled ones do not.
///
/// Rules: 6.11
#[test]
fn timers_come_back_by_key() {
    let log = Log::new();
    let timers = Rc::new(RefCell::new(Vec::new()));
    let keep = timers.clone();
    let a = Script::new("a", &log)
        .on_read(move |ctx, _| {
            for (delay, key) in [(3, 30), (1, 10), (2, 20), (2, 21), (5, 50)] {
                keep.borrow_mut().push(ctx.timer(delay * SECOND, key));
            }
            Ok(())
        })
        .on_event(move |ctx, _| {
            let timers = timers.borrow();
            // 30 is put off, 50 is dropped.
            assert!(ctx.move_timer(timers[0], 6 * SECOND));
            assert!(ctx.cancel_timer(timers[4]));
            assert!(!ctx.cancel_timer(timers[4]));
            Ok(())
        })
        .on_timer(|ctx, key| {
            ctx.fire_user_event_triggered(Message::new(key as u32));
            Ok(())
        });
    let mut channel = channel([a, Script::new("z", &log).loud()]);
    channel.pipeline(|pipeline| {
        pipeline.fire_channel_read("m");
        pipeline.fire_user_event_triggered("change".into());
    });
    log.take();
    channel.advance(SECOND - Duration::from_nanos(1));
    assert_eq!(log.take(), [""; 0], "never early");
    channel.advance(2 * SECOND);
    assert_eq!(
        log.take(),
        [
            "a timer 10",
            "z event 10",
            "a timer 20",
            "z event 20",
            "a timer 21",
            "z event 21"
        ]
    );
    channel.advance(10 * SECOND);
    assert_eq!(log.take(), ["a timer 30", "z event 30"]);
}

/// A timer or a promise of a handler that is gone calls nobody.
///
/// Rules: 6.11
#[test]
fn nothing_comes_back_to_a_handler_that_is_gone() {
    let log = Log::new();
    let kept = Rc::new(Cell::new(None));
    let keep = kept.clone();
    let a = Script::new("a", &log)
        .on_read(move |ctx, _| {
            ctx.timer(SECOND, 1);
            let promise = ctx.new_promise();
            assert!(ctx.notify(&promise, 2));
            keep.set(Some(promise));
            ctx.pipeline().remove("a")?;
            // Made while it is on its way out: the same.
            ctx.timer(SECOND, 3);
            Ok(())
        })
        .on_removed(|ctx| {
            ctx.timer(SECOND, 4);
            let promise = ctx.new_promise();
            ctx.notify(&promise, 5);
            promise.try_success();
            Ok(())
        })
        .on_timer(|_, _| Ok(()))
        .on_write_done(|_, _, _| Ok(()));
    let mut channel = channel([a]);
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    kept.take().unwrap().try_success();
    channel.advance(2 * SECOND);
    assert_eq!(log.take(), ["a read m", "a removed"]);
}

/// A promise comes back by its key with its outcome, whoever settles it, when its loop has a quiet moment.
///
/// Rules: 6.11, F3
#[test]
fn promises_come_back_by_key() {
    let log = Log::new();
    let app = Script::new("app", &log)
        .on_read(|ctx, _| {
            for key in 1..=3 {
                let promise = ctx.new_promise();
                assert!(ctx.notify(&promise, key));
                match key {
                    3 => drop(promise),
                    _ => ctx.write_with(Message::new(key as u32), promise),
                }
            }
            assert!(
                !ctx.notify(&Promise::void(), 9),
                "a void promise never tells"
            );
            Ok(())
        })
        .on_write_done(|_, _, _| Ok(()));
    let mut channel = channel([app]);
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    assert_eq!(log.take(), ["app read m", "app write_done 3 Dropped"]);
    channel.block_writes(true);
    channel.run(|channel| channel.flush());
    assert_eq!(log.take(), [""; 0], "flushed, but not sent");
    channel.yield_after(1);
    channel.block_writes(false);
    assert_eq!(log.take(), ["app write_done 1 ok", "app write_done 2 ok"]);
    // A late one is told at once, from the root queue.
    let told = log.clone();
    let handle = channel
        .pipeline(|pipeline| pipeline.local_handle::<Script>())
        .unwrap();
    handle
        .run(move |_, ctx| {
            let promise = ctx.new_promise();
            promise.try_success();
            ctx.notify(&promise, 4);
            told.add("goes on");
            Ok(())
        })
        .unwrap();
    channel.run_pending();
    assert_eq!(log.take(), ["goes on", "app write_done 4 ok"]);
}

/// A promise settled on another thread comes back on the loop.
///
/// Rules: 6.11, F3
#[test]
fn a_promise_settled_elsewhere_comes_back_on_the_loop() {
    let log = Log::new();
    let (sender, receiver) = mpsc::channel();
    let a = Script::new("a", &log)
        .on_read(move |ctx, _| {
            let promise = ctx.new_promise();
            ctx.notify(&promise, 7);
            sender.send(promise).unwrap();
            Ok(())
        })
        .on_write_done(|_, _, _| Ok(()));
    let mut channel = channel([a]);
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    let promise: Promise = receiver.recv().unwrap();
    thread::spawn(move || promise.try_success()).join().unwrap();
    assert_eq!(log.take(), ["a read m"]);
    channel.run_pending();
    assert_eq!(log.take(), ["a write_done 7 ok"]);
}

/// Another handler may be looked into and changed; one on the stack is busy, and the error names it.
///
/// Rules: 6.11
#[test]
fn a_handler_may_be_looked_into_unless_it_is_on_the_stack() {
    struct Settings(u32);
    impl Handler for Settings {}
    let log = Log::new();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let note = seen.clone();
    let codec = Script::new("codec", &log).on_write(move |ctx, msg, promise| {
        // `Script` on the stack: the first one from the head is this one itself.
        let busy = ctx.pipeline().with(|_: &mut Script| ()).unwrap_err();
        note.borrow_mut().push((busy.kind(), busy.to_string()));
        ctx.write_with(msg, promise);
        Ok(())
    });
    let app = Script::new("app", &log).on_read(|ctx, msg| {
        let limit = ctx.pipeline().with(|settings: &mut Settings| {
            settings.0 += 1;
            settings.0
        })?;
        assert_eq!(limit, 8);
        ctx.write(msg);
        Ok(())
    });
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last_named("codec", codec)?;
        pipeline.add_last(Settings(7))?;
        pipeline.add_last_named("app", app)
    })
    .unwrap();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    let seen = seen.borrow();
    assert_eq!(seen[0].0, ErrorKind::Busy);
    assert!(seen[0].1.contains("codec"), "{}", seen[0].1);
    assert_eq!(
        channel
            .pipeline(|p| p.with(|settings: &mut Settings| settings.0))
            .unwrap(),
        8
    );
}

/// While it is looked into, a handler counts as being on the stack: what would reach it waits.
///
/// Rules: 6.11, 6.5
#[test]
fn what_would_reach_a_handler_that_is_looked_into_waits() {
    let log = Log::new();
    let told = log.clone();
    let a = Script::new("a", &log).loud();
    let mut channel = channel([a]);
    log.take();
    let handle = channel.channel().clone();
    channel.pipeline(|pipeline| {
        pipeline
            .with(|_: &mut Script| {
                handle.write("w");
                handle.flush();
                handle.fire_channel_read("m");
                told.add("the look ends");
            })
            .unwrap();
    });
    assert_eq!(
        log.take(),
        ["the look ends", "a write w", "a flush", "a read m"]
    );
    assert_eq!(outbound(&mut channel), ["w"]);
}

/// The context tells what the handler may want to know of its channel.
///
/// Rules: 6.11, B29
#[test]
fn the_context_knows_its_channel() {
    let key = tidegate::AttributeKey::<u32>::new("answer");
    let log = Log::new();
    let a = Script::new("a", &log).on_read(move |ctx, _| {
        assert_eq!(ctx.name(), "a");
        assert!(ctx.event_loop().in_event_loop());
        assert_eq!(ctx.channel().event_loop().id(), ctx.event_loop().id());
        assert!(ctx.is_active() && !ctx.auto_read() && ctx.is_writable() && !ctx.is_removed());
        ctx.channel().attributes().set(&key, 42);
        assert_eq!(ctx.channel().attr(&key).as_deref(), Some(&42));
        assert!(format!("{ctx:?}").contains("\"a\""));
        Ok(())
    });
    let mut channel = manual([a]);
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    assert_eq!(channel.channel().attr(&key).as_deref(), Some(&42));
    channel.check().unwrap();
    assert_eq!(log.take(), ["a read m"]);
}
