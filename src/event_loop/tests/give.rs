//! Giving work to a loop: execute, submit, schedule, spawn.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};

use super::*;
use crate::error::ErrorKind;
use crate::event_loop::config::Rejection;
use crate::future::{Promise, TaskPromise};

/// Rules: E14.
#[test]
fn a_task_given_on_the_loop_never_runs_inside_the_call() {
    let bench = Bench::new();
    let (handle, log) = (bench.handle(), bench.log.clone());
    let (sender, receiver) = mpsc::channel();
    bench.core.push_local(LocalTask::new(move || {
        assert!(handle.in_event_loop());
        handle
            .execute(move || sender.send(()).expect("the test listens"))
            .expect("open");
        log.note("outer");
        assert!(receiver.try_recv().is_err());
    }));
    bench.turn();
    assert_eq!(bench.log.take(), ["outer"]);
    assert!(!bench.handle().in_event_loop());
    assert_eq!(bench.handle().metrics().wakes_sent, 0);
}

/// Rules: E5.
#[test]
fn tasks_of_one_thread_keep_their_order() {
    let bench = Bench::new();
    let (sender, receiver) = mpsc::channel();
    let handle = bench.handle();
    std::thread::spawn(move || {
        for number in 0..1_000 {
            let sender = sender.clone();
            handle
                .execute(move || sender.send(number).expect("the test listens"))
                .expect("open");
        }
    })
    .join()
    .expect("no panic");
    while bench.core.run_tasks() > 0 {}
    assert_eq!(
        receiver.try_iter().collect::<Vec<_>>(),
        (0..1_000).collect::<Vec<_>>()
    );
}

/// Rules: E7, E17, E18.
#[test]
fn submit_gives_the_value_the_panic_or_the_end() {
    let bench = Bench::new();
    let value = bench.handle().submit(|| 6 * 7);
    let panicked = bench.handle().submit(|| -> u8 { panic!("no luck") });
    let cancelled = bench.handle().submit(|| 1);
    assert!(cancelled.cancel());
    bench.core.run_tasks();
    assert_eq!(value.get_now(), Some(42));
    assert!(!value.cancel());
    let error = panicked.cause().expect("failed");
    assert_eq!(error.kind(), ErrorKind::TaskPanicked);
    assert!(error.to_string().contains("no luck"), "{error}");
    assert!(cancelled.is_cancelled());
    let late = bench.handle().submit(|| 2);
    bench.core.end_now();
    assert_eq!(late.get_now(), Some(2), "it waited, so it ran");
    let refused = bench.handle().submit(|| 3);
    assert_eq!(
        refused.cause().map(|error| error.kind()),
        Some(ErrorKind::Terminated)
    );
}

/// Rules: E19.
#[test]
fn a_full_queue_refuses_and_counts() {
    let bench = Bench::with(|config| config.max_pending_tasks = Some(1));
    for _ in 0..16 {
        bench
            .handle()
            .execute(|| {})
            .expect("the bound is at least 16");
    }
    let error = bench.handle().execute(|| {}).expect_err("full");
    assert_eq!(error.kind(), ErrorKind::Rejected);
    let handle = bench.handle();
    bench.core.push_local(LocalTask::new(move || {
        for _ in 0..16 {
            handle
                .execute(|| {})
                .expect("the loop's own queue has room");
        }
        let error = handle.execute(|| {}).expect_err("and a bound as well");
        assert_eq!(error.kind(), ErrorKind::Rejected);
    }));
    bench.turn();
    assert_eq!(bench.handle().metrics().rejected, 2);
    assert_eq!(bench.handle().metrics().panics, 0);
}

/// Rules: E19.
#[test]
fn backing_off_tries_again_before_it_gives_up() {
    let retries = 3;
    let bench = Bench::with(|config| {
        config.max_pending_tasks = Some(16);
        config.rejection = Rejection::Backoff {
            retries,
            pause: Duration::ZERO,
        };
    });
    for _ in 0..16 {
        bench.handle().execute(|| {}).expect("room");
    }
    assert!(bench.handle().execute(|| {}).is_err());
    // Room is made while another thread tries.
    let handle = bench.handle();
    let patient = std::thread::spawn(move || {
        let mut attempts = 0;
        while handle.execute(|| {}).is_err() {
            attempts += 1;
            assert!(attempts < 1_000_000);
        }
    });
    bench.core.run_tasks();
    patient.join().expect("no panic");
    assert!(bench.handle().metrics().rejected >= 1);
}

#[test]
fn listeners_arrive_whatever_the_bound_of_the_queue() {
    let bench = Bench::with(|config| config.max_pending_tasks = Some(16));
    let promise = Promise::new(bench.handle().host());
    let (sender, receiver) = mpsc::channel();
    for number in 0..40 {
        let sender = sender.clone();
        promise
            .completion()
            .add_listener(move |_| sender.send(number).expect("listening"));
    }
    for _ in 0..16 {
        bench.handle().execute(|| {}).expect("room");
    }
    promise.try_success();
    assert!(bench.core.must_not_sleep());
    while bench.core.run_tasks() > 0 {}
    assert_eq!(
        receiver.try_iter().collect::<Vec<_>>(),
        (0..40).collect::<Vec<_>>()
    );
}

/// Rules: F3, F4.
#[test]
fn listeners_on_the_loop_join_the_roots_and_after_the_end_run_at_once() {
    let bench = Bench::new();
    let promise = Promise::new(bench.handle().host());
    let (sender, receiver) = mpsc::channel();
    let first = sender.clone();
    promise
        .completion()
        .add_listener(move |_| first.send("first").expect("listening"));
    {
        let _turn = bench.core.enter();
        promise.try_success();
        assert!(receiver.try_recv().is_err());
        assert_eq!(bench.core.run_roots(), 1);
    }
    assert_eq!(receiver.try_recv(), Ok("first"));
    bench.core.end_now();
    promise
        .completion()
        .add_listener(move |_| sender.send("late").expect("listening"));
    assert_eq!(receiver.try_recv(), Ok("late"));
}

/// Rules: E23, F7.
#[test]
fn waiting_on_the_loop_s_own_thread_is_an_error() {
    let bench = Bench::new();
    let future = bench.handle().submit(|| 1);
    let error = future.sync().expect_err("nobody else makes the turn");
    assert_eq!(error.kind(), ErrorKind::Blocking);
    bench.turn();
    assert_eq!(future.sync().expect("done"), 1);
}

/// Rules: E17.
#[test]
fn scheduled_tasks_can_be_cancelled_wherever_they_are() {
    let bench = Bench::new();
    let on_its_way = bench.handle().schedule(MS, || ());
    assert!(on_its_way.cancel());
    bench.turn();
    let set = bench.handle().schedule(MS, || ());
    bench.turn();
    assert_eq!(bench.handle().metrics().timers_waiting, 1);
    assert!(set.cancel() && !set.cancel());
    bench.turn();
    assert_eq!(bench.handle().metrics().timers_waiting, 0);
    assert!(set.is_cancelled() && set.is_done() && !set.is_success());
}

/// Rules: E16, 5.7.
#[test]
fn fixed_rate_makes_up_for_missed_runs_and_fixed_delay_does_not() {
    let bench = Bench::new();
    let (rate, delay) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (rate2, delay2) = (Arc::clone(&rate), Arc::clone(&delay));
    let at_rate = bench.handle().schedule_at_fixed_rate(MS, 10 * MS, move || {
        rate2.fetch_add(1, Ordering::Relaxed);
    });
    let with_delay = bench
        .handle()
        .schedule_with_fixed_delay(MS, 10 * MS, move || {
            delay2.fetch_add(1, Ordering::Relaxed);
        });
    bench.turn();
    bench.clock.advance(31 * MS);
    for _ in 0..10 {
        bench.turn();
    }
    assert_eq!(rate.load(Ordering::Relaxed), 4, "at 1, 11, 21 and 31 ms");
    assert_eq!(delay.load(Ordering::Relaxed), 1);
    assert_eq!(
        bench.core.next_deadline(),
        Some(bench.clock.now() + 10 * MS)
    );
    assert!(at_rate.cancel() && with_delay.cancel());
    bench.clock.advance(SECOND);
    bench.turn();
    assert_eq!(rate.load(Ordering::Relaxed), 4);
    assert_eq!(bench.handle().metrics().timers_waiting, 0);
}

/// Rules: E16.
#[test]
fn a_periodic_task_that_panics_is_not_run_again() {
    let bench = Bench::new();
    let failed = bench
        .handle()
        .schedule_at_fixed_rate(MS, MS, || panic!("once"));
    let refused = bench
        .handle()
        .schedule_with_fixed_delay(MS, Duration::ZERO, || ());
    assert_eq!(
        refused.cause().map(|error| error.kind()),
        Some(ErrorKind::InvalidArgument)
    );
    bench.turn();
    bench.clock.advance(10 * MS);
    bench.turn();
    bench.turn();
    assert_eq!(
        failed.cause().map(|error| error.kind()),
        Some(ErrorKind::TaskPanicked)
    );
    assert_eq!(bench.handle().metrics().timers_run, 1);
}

/// Rules: E16.
#[test]
fn a_delay_beyond_the_clock_means_never() {
    let bench = Bench::new();
    let never = bench.handle().schedule(Duration::MAX, || ());
    bench.turn();
    bench.clock.advance(Duration::from_secs(1 << 33));
    bench.turn();
    assert!(!never.is_done());
}

#[test]
fn a_spawned_future_is_polled_once_per_wake_up() {
    let bench = Bench::new();
    let polls = Arc::new(AtomicU32::new(0));
    let (wakers, woken) = mpsc::channel::<Waker>();
    let polls2 = Arc::clone(&polls);
    let future = bench.handle().spawn_local(move || {
        poll_fn(move |cx| {
            wakers.send(cx.waker().clone()).expect("the test listens");
            match polls2.fetch_add(1, Ordering::Relaxed) {
                2 => Poll::Ready("done"),
                _ => Poll::Pending,
            }
        })
    });
    bench.turn();
    assert_eq!(polls.load(Ordering::Relaxed), 1);
    let waker = woken.recv().expect("polled");
    for _ in 0..10 {
        waker.wake_by_ref();
    }
    let other = waker.clone();
    std::thread::spawn(move || other.wake())
        .join()
        .expect("no panic");
    bench.turn();
    bench.turn();
    assert_eq!(polls.load(Ordering::Relaxed), 2);
    waker.wake_by_ref();
    bench.turn();
    assert_eq!(future.get_now(), Some("done"));
    waker.wake();
    bench.turn();
    assert_eq!(polls.load(Ordering::Relaxed), 3);
}

#[test]
fn a_spawned_future_that_panics_fails_and_one_that_is_cancelled_is_dropped() {
    let bench = Bench::new();
    let panicked = bench.handle().spawn_local(|| async { panic!("inside") });
    let unmade = bench
        .handle()
        .spawn_local(|| -> std::future::Ready<()> { panic!("before") });
    let (sender, receiver) = mpsc::channel::<()>();
    let cancelled = bench.handle().spawn_local(move || async move {
        let _alive = sender;
        std::future::pending::<()>().await;
    });
    bench.turn();
    let kind = |error: Option<crate::error::Error>| error.map(|error| error.kind());
    assert_eq!(kind(panicked.cause()), Some(ErrorKind::TaskPanicked));
    assert_eq!(kind(unmade.cause()), Some(ErrorKind::TaskPanicked));
    assert!(cancelled.cancel());
    bench.turn();
    bench.turn();
    assert_eq!(receiver.try_recv(), Err(mpsc::TryRecvError::Disconnected));
}

#[test]
fn a_spawned_future_need_not_be_send_and_may_spawn() {
    let bench = Bench::new();
    let handle = bench.handle();
    let (promise, inner) = TaskPromise::pair(bench.handle().host());
    let outer = bench.handle().spawn_local(move || {
        let local = Rc::new(7);
        async move {
            let nested = handle.spawn_local(|| async { 35 });
            promise.try_success(*local).expect("first");
            nested.await.expect("runs") + *local
        }
    });
    for _ in 0..4 {
        bench.turn();
    }
    assert_eq!(inner.get_now(), Some(7));
    assert_eq!(outer.get_now(), Some(42));
}

#[test]
fn queue_wait_is_measured_when_asked_for() {
    let bench = Bench::with(|config| config.measures_queue_wait = true);
    bench.handle().execute(|| {}).expect("open");
    bench.turn();
    assert_eq!(bench.handle().metrics().queue_wait.count(), 1);
}

#[test]
fn the_io_ratio_can_be_changed_while_running() {
    let bench = Bench::new();
    assert_eq!(bench.handle().io_ratio(), 50);
    bench.handle().set_io_ratio(100).expect("in range");
    for _ in 0..100 {
        bench.push("task");
    }
    bench.turn();
    assert_eq!(bench.log.take().len(), 100);
    for wrong in [0, 101] {
        let error = bench
            .handle()
            .set_io_ratio(wrong)
            .expect_err("out of range");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    assert_eq!(bench.handle().io_ratio(), 100);
}
