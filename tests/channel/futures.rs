//! The futures of a channel's operations: listeners on its loop, waiting, waking, passing on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use tidegate::{
    Channel, Context, EmbeddedChannel, Error, ErrorKind, Handler, HandlerResult, Message, Promise,
};

use crate::support::{DEADLINE, Hooks, Log, Recorder, hooked, kind, recorded, sent};

/// Rules: F1
#[test]
fn a_promise_is_completed_once() {
    let (embedded, _) = recorded();
    let promise = embedded.channel().new_promise();
    assert!(promise.try_success());
    assert!(!promise.try_failure(Error::new(ErrorKind::User, "late")));
    assert_eq!(
        promise.set_success().unwrap_err().kind(),
        ErrorKind::AlreadyDone
    );
    assert!(promise.completion().is_success());
    assert!(promise.completion().cause().is_none());
}

/// A handler asks somebody who answers with a value.
#[test]
fn a_handlers_promise_of_a_value_tells_on_its_loop() {
    let log = Log::default();
    let seen = log.clone();
    let hooks = Hooks::new().on_read(move |ctx, _| {
        let (promise, answer) = ctx.new_task_promise::<u32>();
        let (seen, there) = (seen.clone(), ctx.event_loop().clone());
        answer.on_result({
            let seen = seen.clone();
            move |answer| seen.add(format!("{answer:?}, here: {}", there.in_event_loop()))
        });
        promise.try_success(7).expect("the first");
        seen.add("answered");
    });
    let (mut embedded, _) = hooked(hooks);
    embedded.feed(["x"]);
    assert_eq!(log.take(), ["answered", "Ok(7), here: true"]);
}

/// Rules: F2
#[test]
fn what_has_begun_cannot_be_cancelled() {
    let (mut embedded, _) = recorded();
    embedded.block_writes(true);
    let flushed = embedded.run(|channel| channel.write_and_flush("x"));
    assert!(!flushed.cancel() && !flushed.is_cancelled());
    embedded.block_writes(false);
    assert!(flushed.is_success());
    assert!(!flushed.cancel(), "done");
}

/// Rules: F3
///
/// Section 12: listeners run from the root queue, never inside the call that completes the promise or adds them.
#[test]
fn listeners_run_in_order_and_never_inside_the_call() {
    let log = Log::default();
    let seen = log.clone();
    let hooks = Hooks::new().on_read(move |ctx, _| {
        let future = ctx.write_future("x");
        seen.watch("early 1", &future);
        seen.watch("early 2", &future);
        ctx.flush();
        assert!(future.is_done());
        seen.add("after flush");
        seen.watch("late", &future);
        seen.add("after add_listener");
    });
    let (mut embedded, _) = hooked(hooks);
    log.take();
    embedded.feed(["x"]);
    assert_eq!(
        log.take(),
        [
            "after flush",
            "after add_listener",
            "early 1",
            "early 2",
            "late"
        ]
    );
}

/// Rules: F3
#[test]
fn listeners_run_on_the_channels_loop_also_for_promises_of_other_threads() {
    let (mut embedded, log) = recorded();
    let promise = embedded.channel().new_promise();
    let (completion, event_loop) = (promise.completion(), embedded.event_loop().clone());
    let seen = log.clone();
    completion.add_listener(move |_| seen.add(format!("on loop {}", event_loop.in_event_loop())));
    thread::spawn(move || assert!(promise.try_success()))
        .join()
        .unwrap();
    assert_eq!(log.take(), [""; 0], "its loop has not turned yet");
    embedded.run_pending();
    assert_eq!(log.take(), ["on loop true"]);
}

/// Rules: F3, F4
#[test]
fn listeners_of_different_promises_run_in_the_order_of_completion() {
    let (mut embedded, log) = recorded();
    embedded.run(|channel| {
        let (first, second) = (channel.write_future("1"), channel.write_future("2"));
        log.watch("second", &second);
        log.watch("first", &first);
        channel.flush();
    });
    assert_eq!(log.take(), ["first", "second"]);
}

/// Rules: F4
#[test]
fn a_listener_added_by_a_listener_runs_after_the_others() {
    let (mut embedded, log) = recorded();
    embedded.run(|channel| {
        let future = channel.write_future("x");
        let (inner, again) = (log.clone(), future.clone());
        future.add_listener(move |_, _| {
            inner.add("1");
            inner.watch("added by 1", &again);
            inner.add("end of 1");
        });
        log.watch("2", &future);
        channel.flush();
    });
    assert_eq!(log.take(), ["1", "end of 1", "2", "added by 1"]);
}

/// Rules: F5
#[test]
fn a_listener_that_panics_is_its_own_affair() {
    let (mut embedded, log) = recorded();
    embedded.contain_panics();
    embedded.run(|channel| {
        let future = channel.write_future("x");
        log.watch("1", &future);
        future.add_listener(|_, _| panic!("boom"));
        log.watch("3", &future);
        channel.flush();
    });
    assert_eq!(log.take(), ["1", "3"]);
    assert!(embedded.channel().is_active(), "the channel lives on");
    embedded.feed(["more"]);
    assert_eq!(log.take(), ["read more", "complete"]);
}

/// Rules: F5
#[test]
fn a_handler_that_panics_under_a_listener_ends_as_a_handler() {
    struct PanicsOnWrite;
    impl Handler for PanicsOnWrite {
        fn write(&mut self, _: &mut Context<'_>, _: Message, _: Promise) -> HandlerResult {
            panic!("boom")
        }
    }
    let log = Log::default();
    let mut embedded = EmbeddedChannel::new(|pipeline| {
        // Nearer to the head, so that it is not on the stack with the other.
        pipeline.add_last(Recorder(log.clone()))?;
        pipeline.add_last(PanicsOnWrite)
    })
    .unwrap();
    log.take();
    let promise = embedded.channel().new_promise();
    let channel = embedded.channel().clone();
    promise
        .completion()
        .add_listener(move |_| channel.write("x"));
    embedded.contain_panics();
    embedded.run(|_| promise.try_success());
    assert_eq!(log.take(), ["inactive", "unregistered", "removed"]);
    assert!(!embedded.channel().is_registered());
}

/// Rules: F6
#[test]
fn a_blocked_thread_is_woken() {
    let (mut embedded, _) = recorded();
    embedded.block_writes(true);
    let future = embedded.run(|channel| channel.write_and_flush("x"));
    let (told, waits) = mpsc::channel();
    let waiter = thread::spawn(move || {
        told.send(()).unwrap();
        future.sync_timeout(DEADLINE).map(drop)
    });
    waits.recv().unwrap();
    embedded.block_writes(false);
    assert!(waiter.join().unwrap().is_ok());
}

/// Rules: F7
#[test]
fn waiting_on_the_loops_own_thread_is_an_error_unless_it_is_done() {
    let (mut embedded, _) = recorded();
    let pending = embedded.run(|channel| channel.write_future("x"));
    let inside = embedded.run(|_| pending.sync().map(drop));
    assert_eq!(inside.unwrap_err().kind(), ErrorKind::Blocking);
    // The thread of this test is the only one that turns the loop.
    let between_turns = pending.sync_timeout(DEADLINE).map(drop);
    assert_eq!(between_turns.unwrap_err().kind(), ErrorKind::Blocking);
    embedded.run(Channel::flush);
    assert_eq!(pending.sync().unwrap(), *embedded.channel());
}

/// Rules: F8
#[test]
fn waiting_gives_the_error_itself() {
    let (mut embedded, _) = recorded();
    embedded.fail_next_flush(crate::support::reset());
    let future = embedded.run(|channel| channel.write_and_flush("x"));
    let error = future.sync().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(error.to_string(), crate::support::reset().to_string());
    let (mut embedded, _) = recorded();
    let pending = embedded.run(|channel| channel.write_future("x"));
    let timed_out = thread::spawn(move || pending.sync_timeout(Duration::ZERO).map(drop))
        .join()
        .unwrap();
    assert_eq!(timed_out.unwrap_err().kind(), ErrorKind::TimedOut);
}

/// Rules: F9
#[test]
fn outcomes_are_passed_on() {
    let (mut embedded, log) = recorded();
    let copy = embedded.channel().new_promise();
    let copied = copy.completion();
    embedded.run(|channel| {
        channel.write_and_flush("x").forward_to(copy);
        let ok = channel.write_and_flush("y");
        ok.close_on_failure();
        ok.fire_exception_on_failure();
    });
    assert!(copied.is_success());
    assert!(embedded.channel().is_open());
    embedded.block_writes(true);
    embedded.run(|channel| {
        channel
            .write_and_flush("z")
            .fire_exception_on_failure()
            .close_on_failure();
        channel.shutdown_output();
    });
    assert_eq!(
        log.take(),
        [
            "output shutdown",
            "error output shut down",
            "inactive",
            "unregistered",
            "removed"
        ]
    );
}

/// Rules: F10
#[test]
fn what_a_listener_holds_is_freed_once_it_was_told() {
    let (mut embedded, _) = recorded();
    let held = Arc::new(());
    let future = embedded.run(|channel| {
        let future = channel.write_future("x");
        let holds = held.clone();
        future.add_listener(move |_, _| drop(holds));
        let holds = held.clone();
        channel.close_future().add_listener(move |_, _| drop(holds));
        future
    });
    assert_eq!(Arc::strong_count(&held), 3);
    embedded.run(Channel::flush);
    assert_eq!(Arc::strong_count(&held), 2);
    embedded.close();
    assert_eq!(Arc::strong_count(&held), 1);
    assert!(future.is_success());
}

/// Rules: F10
#[test]
fn a_promise_that_a_handler_drops_fails_its_future() {
    struct Swallows;
    impl Handler for Swallows {
        fn write(&mut self, _: &mut Context<'_>, _: Message, _: Promise) -> HandlerResult {
            Ok(())
        }
    }
    let (mut embedded, _) = hooked(Swallows);
    let future = embedded.run(|channel| channel.write_and_flush("x"));
    assert_eq!(kind(&future), ErrorKind::Dropped);
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// Rules: F6
#[test]
fn a_channels_future_can_be_polled_on_any_executor() {
    let (mut embedded, _) = recorded();
    embedded.block_writes(true);
    let mut future = Box::pin(embedded.run(|channel| channel.write_and_flush("x")));
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(flag.clone());
    let mut cx = TaskContext::from_waker(&waker);
    assert!(future.as_mut().poll(&mut cx).is_pending());
    embedded.block_writes(false);
    assert!(flag.0.load(Ordering::Acquire));
    match future.as_mut().poll(&mut cx) {
        Poll::Ready(Ok(channel)) => assert_eq!(channel, *embedded.channel()),
        other => panic!("{other:?}"),
    }
}

/// Rules: F3
///
/// More listeners than one turn of the root queue takes.
#[test]
fn very_many_listeners_keep_their_order() {
    let (mut embedded, log) = recorded();
    embedded.run(|channel| {
        let future = channel.write_future("x");
        for n in 0..1000 {
            let log = log.clone();
            future.add_listener(move |_, _| log.add(n));
        }
        channel.flush();
    });
    let expected: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    assert_eq!(log.take(), expected);
    assert_eq!(sent(&mut embedded), ["x"]);
}

/// Rules: 6.11, F4
#[test]
fn a_promise_comes_back_to_its_handler_by_key_in_order() {
    struct Keys(Log);
    impl Handler for Keys {
        fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
            for key in [7, 8] {
                let promise = ctx.new_promise();
                assert!(ctx.notify(&promise, key));
                ctx.write_with("x", promise);
            }
            ctx.flush();
            self.0.add("flushed");
            ctx.fire_channel_read(msg);
            Ok(())
        }
        fn write_done(
            &mut self,
            ctx: &mut Context<'_>,
            key: u64,
            result: Result<(), Error>,
        ) -> HandlerResult {
            assert!(
                !ctx.notify(&Promise::void(), 1),
                "a void promise never tells"
            );
            self.0.add(format!("{key} {}", result.is_ok()));
            Ok(())
        }
    }
    let log = Log::default();
    let mut embedded =
        EmbeddedChannel::new(|pipeline| pipeline.add_last(Keys(log.clone()))).unwrap();
    embedded.feed(["x"]);
    assert_eq!(log.take(), ["flushed", "7 true", "8 true"]);
}
