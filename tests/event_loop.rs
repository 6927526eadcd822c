//! Loops with threads, through the public interface: on every backend, at three io_ratios, with and
//! without spinning. Nothing here waits for a time; everything waits for an event with a deadline.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tidegate::error::ErrorKind;
use tidegate::event_loop::{
    Backend, EventLoop, EventLoopGroup, EventLoopGroupBuilder, Rejection, Spin,
};

const DEADLINE: Duration = Duration::from_secs(30);

const SPINS: [Spin; 4] = [
    Spin::Off,
    Spin::Count(50),
    Spin::For(Duration::from_micros(50)),
    Spin::Adaptive {
        max: Duration::from_micros(200),
    },
];

/// Runs `test` for every way to build a group.
fn each_way(test: impl Fn(EventLoopGroupBuilder)) {
    for backend in Backend::available() {
        for io_ratio in [1, 50, 100] {
            for spin in SPINS {
                let builder = EventLoopGroup::builder()
                    .threads(1)
                    .selector(*backend)
                    .io_ratio(io_ratio)
                    .spin(spin);
                let outcome = catch_unwind(AssertUnwindSafe(|| test(builder)));
                assert!(
                    outcome.is_ok(),
                    "on {backend}, io_ratio {io_ratio}, {spin:?}"
                );
            }
        }
    }
}

fn end(group: &EventLoopGroup) {
    group
        .stop()
        .sync_timeout(DEADLINE)
        .expect("ends when it is stopped");
    assert!(group.is_terminated());
}

/// Whoever completes it, the listeners run on the loop that it was made for, and never on the completing thread.
#[test]
fn a_promise_of_a_loop_tells_its_listeners_there() {
    let group = EventLoopGroup::new(2).expect("built");
    let loops: Vec<_> = group.iter().cloned().collect();
    let (promise, answer) = loops[0].new_promise::<u32>();
    let (told, hears) = mpsc::channel();
    let there = loops[0].clone();
    answer.on_result(move |answer| told.send((answer.ok(), there.in_event_loop())).unwrap());
    let completed = loops[1].submit(move || promise.try_success(42));
    assert_eq!(completed.sync_timeout(DEADLINE).expect("ran"), Ok(()));
    assert_eq!(hears.recv_timeout(DEADLINE), Ok((Some(42), true)));

    let (promise, answer) = loops[0].new_promise::<u32>();
    drop(promise);
    assert_eq!(answer.sync().unwrap_err().kind(), ErrorKind::Dropped);
    end(&group);
}

#[test]
fn tasks_of_each_thread_run_once_and_in_order() {
    each_way(|builder| {
        const THREADS: u64 = 3;
        const TASKS: u64 = 2_000;
        let group = builder.build().expect("built");
        let (done, all_done) = mpsc::channel();
        let producers: Vec<_> = (0..THREADS)
            .map(|_| {
                let (event_loop, done) = (group.next(), done.clone());
                thread::spawn(move || {
                    let next = Arc::new(AtomicU64::new(0));
                    for number in 0..TASKS {
                        let (next, done) = (Arc::clone(&next), done.clone());
                        let task = move || {
                            if next.fetch_add(1, Ordering::Relaxed) != number {
                                let _ = done.send(false);
                            } else if number == TASKS - 1 {
                                let _ = done.send(true);
                            }
                        };
                        event_loop.execute(task).expect("the loop runs");
                    }
                })
            })
            .collect();
        for _ in 0..THREADS {
            assert!(
                all_done.recv_timeout(DEADLINE).expect("all tasks run"),
                "in order"
            );
        }
        for producer in producers {
            producer.join().expect("no panic");
        }
        let metrics = group.next().metrics();
        assert!(metrics.tasks_run >= THREADS * TASKS);
        assert_eq!(metrics.panics, 0);
        assert_eq!(metrics.premature_waits, 0);
        end(&group);
    });
}

/// Each round finds the loop on its way to sleep: a wake-up lost in between would hang.
///
/// Rules: E12, 5.1.
#[test]
fn no_wake_up_is_lost() {
    each_way(|builder| {
        let group = builder.build().expect("built");
        let event_loop = group.next();
        let (pong, ping) = mpsc::channel();
        for round in 0..300 {
            let pong = pong.clone();
            event_loop
                .execute(move || pong.send(round).expect("the test listens"))
                .expect("open");
            assert_eq!(ping.recv_timeout(DEADLINE).expect("the task runs"), round);
        }
        let metrics = event_loop.metrics();
        assert!(metrics.wakes_sent <= 300, "{metrics}");
        end(&group);
    });
}

/// Set in one task, so that none fires before all are set. Whoever takes the processor away meanwhile moves deadlines, and so
/// each is known to lie between two readings of the clock.
///
/// Rules: E15, 5.7.
#[test]
fn timers_are_in_order_and_never_early() {
    each_way(|builder| {
        let group = builder.build().expect("built");
        let event_loop = group.next();
        let (sender, fired) = mpsc::channel();
        let given = event_loop.clone();
        let set = event_loop.submit(move || {
            let set_one = |millis| {
                let delay = Duration::from_millis(millis);
                let sender = sender.clone();
                let earliest = Instant::now() + delay;
                given.schedule(delay, move || {
                    let _ = sender.send((millis, Instant::now() >= earliest));
                });
                (millis, (earliest, Instant::now() + delay))
            };
            [9, 3, 0, 6, 4].map(set_one)
        });
        let deadlines = BTreeMap::from(set.sync_timeout(DEADLINE).expect("all are set"));
        let mut latest_start = None;
        for _ in 0..deadlines.len() {
            let (millis, is_due) = fired.recv_timeout(DEADLINE).expect("fires");
            assert!(is_due, "{millis} ms was early");
            let (earliest, latest) = deadlines[&millis];
            assert!(latest_start <= Some(latest), "{millis} ms was overtaken");
            latest_start = latest_start.max(Some(earliest));
        }
        assert_eq!(event_loop.metrics().timers_run, 5);
        end(&group);
    });
}

/// Rules: E5, 5.1.
#[test]
fn tasks_and_timers_go_on_beside_each_other() {
    each_way(|builder| {
        let group = builder.build().expect("built");
        let event_loop = group.next();
        // A task that queues itself for ever must not keep a timer from firing.
        fn for_ever(event_loop: &EventLoop) {
            let next = event_loop.clone();
            let _until_the_end = event_loop.execute(move || for_ever(&next));
        }
        for_ever(&event_loop);
        let fired = event_loop.schedule(Duration::from_millis(5), || 7);
        assert_eq!(fired.sync_timeout(DEADLINE).expect("fires"), 7);
        end(&group);
    });
}

/// Rules: E18, E20, E21, E22.
#[test]
fn a_shutdown_waits_for_quiet_and_leaves_nothing_unanswered() {
    each_way(|builder| {
        let group = builder.build().expect("built");
        let event_loop = group.next();
        let (before, ran) = mpsc::channel();
        event_loop
            .execute(move || before.send(()).expect("the test listens"))
            .expect("open");
        let never = event_loop.schedule(Duration::from_secs(3600), || ());
        let quiet = Duration::from_millis(10);
        let began = Instant::now();
        let ended = group.shutdown_gracefully(quiet, Duration::from_secs(20));
        assert!(group.is_shutting_down());
        ended.sync_timeout(DEADLINE).expect("ends");
        assert!(began.elapsed() >= quiet);
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "by quiet, not by timeout"
        );
        ran.try_recv().expect("what was queued before has run");
        let error = never.sync_timeout(DEADLINE).expect_err("it never ran");
        assert_eq!(error.kind(), ErrorKind::Terminated);
        let error = event_loop.execute(|| {}).expect_err("it has ended");
        assert_eq!(error.kind(), ErrorKind::Terminated);
        let error = event_loop.submit(|| ()).sync().expect_err("it has ended");
        assert_eq!(error.kind(), ErrorKind::Terminated);
        assert!(event_loop.is_terminated() && event_loop.is_shutdown());
    });
}

/// Tasks that race with the end either run or come back; none is lost.
///
/// Rules: E18, E22.
#[test]
fn every_task_given_during_the_end_runs_or_is_refused() {
    for backend in Backend::available() {
        for round in 0..20 {
            let group = EventLoopGroup::builder()
                .threads(1)
                .selector(*backend)
                .build()
                .expect("built");
            let event_loop = group.next();
            event_loop.submit(|| ()).sync().expect("runs");
            let answered = Arc::new(AtomicU32::new(0));
            let giver = {
                let (event_loop, answered) = (event_loop.clone(), Arc::clone(&answered));
                thread::spawn(move || {
                    let mut accepted = 0;
                    loop {
                        // A queue without end would only measure memory.
                        while accepted > 1_000 + answered.load(Ordering::Acquire) {
                            thread::yield_now();
                        }
                        let future = event_loop.submit(|| ());
                        let answered = Arc::clone(&answered);
                        let refused = future
                            .cause()
                            .is_some_and(|error| error.kind() == ErrorKind::Terminated);
                        future.add_listener(move |_| {
                            answered.fetch_add(1, Ordering::Release);
                        });
                        accepted += 1;
                        if refused {
                            return accepted;
                        }
                    }
                })
            };
            for _ in 0..round * 10 {
                thread::yield_now();
            }
            end(&group);
            let given = giver.join().expect("no panic");
            let deadline = Instant::now() + DEADLINE;
            while answered.load(Ordering::Acquire) < given {
                assert!(Instant::now() < deadline, "a promise was never completed");
                thread::yield_now();
            }
        }
    }
}

/// Rules: E1, E20.
#[test]
fn a_group_that_was_never_used_ends_at_once() {
    let group = EventLoopGroup::new(3).expect("built");
    let ended = group.shutdown();
    assert!(ended.is_success(), "there is no thread to wait for");
    assert!(group.is_terminated());
    let error = group.next().execute(|| {}).expect_err("ended");
    assert_eq!(error.kind(), ErrorKind::Terminated);
}

#[test]
fn dropping_the_last_handle_of_a_group_ends_it_without_blocking() {
    let group = EventLoopGroup::new(1).expect("built");
    let other = group.clone();
    let event_loop = group.next();
    event_loop.submit(|| ()).sync().expect("runs");
    drop(group);
    assert!(!event_loop.is_shutting_down());
    drop(other);
    assert!(event_loop.is_shutting_down());
    event_loop
        .submit(|| ())
        .sync()
        .expect("tasks still run in the quiet period");
    event_loop
        .termination_future()
        .sync_timeout(DEADLINE)
        .expect("ends after the quiet period");
}

/// Rules: E24.
#[test]
fn a_group_hands_out_its_loops_in_turn() {
    for threads in [1, 3, 4] {
        let group = EventLoopGroup::new(threads).expect("built");
        let loops: Vec<EventLoop> = group.iter().cloned().collect();
        assert_eq!(loops.len(), group.len());
        let given: Vec<EventLoop> = (0..threads * 2).map(|_| group.next()).collect();
        assert_eq!(given[..threads], loops);
        assert_eq!(given[threads..], loops);
        end(&group);
    }
    assert!(EventLoopGroup::new(0).expect("built").len() >= 2);
}

/// Rules: E1, E24.
#[test]
fn threads_start_with_the_first_task_bear_names_and_run_hooks() {
    let (hook, hooked) = mpsc::channel();
    let stop_hook = hook.clone();
    let group = EventLoopGroup::builder()
        .threads(2)
        .name("named")
        .affinity([0])
        .on_thread_start(move || {
            let _ = hook.send(format!("start {:?}", thread::current().name()));
        })
        .on_thread_stop(move || {
            let _ = stop_hook.send(format!("stop {:?}", thread::current().name()));
        })
        .build()
        .expect("built");
    assert!(hooked.try_recv().is_err(), "no thread yet");
    let second = group.iter().nth(1).expect("two loops");
    assert_eq!(second.name(), "named-2");
    second.submit(|| ()).sync().expect("runs");
    end(&group);
    let all: Vec<String> = hooked.try_iter().collect();
    assert_eq!(all, [r#"start Some("named-2")"#, r#"stop Some("named-2")"#]);
}

/// Rules: E23, F7.
#[test]
fn waiting_for_its_own_loop_is_an_error_and_not_a_deadlock() {
    let group = EventLoopGroup::new(1).expect("built");
    let (event_loop, group2) = (group.next(), group.clone());
    let kinds = group
        .next()
        .submit(move || {
            let task = event_loop
                .submit(|| ())
                .sync()
                .map_err(|error| error.kind());
            let end = event_loop
                .termination_future()
                .sync()
                .map_err(|error| error.kind());
            let all = group2.sync().map_err(|error| error.kind());
            [task, end, all]
        })
        .sync_timeout(DEADLINE)
        .expect("runs");
    assert_eq!(kinds, [Err(ErrorKind::Blocking); 3]);
    end(&group);
}

/// Rules: E7, 5.8.
#[test]
fn a_panic_ends_the_task_and_not_the_loop() {
    each_way(|builder| {
        let group = builder.build().expect("built");
        let event_loop = group.next();
        event_loop.execute(|| panic!("on purpose")).expect("open");
        let error = event_loop
            .submit(|| panic!("on purpose as well"))
            .sync_timeout(DEADLINE)
            .map(|(): ()| ())
            .expect_err("panicked");
        assert_eq!(error.kind(), ErrorKind::TaskPanicked);
        assert_eq!(
            event_loop
                .submit(|| 1)
                .sync_timeout(DEADLINE)
                .expect("runs"),
            1
        );
        assert_eq!(event_loop.metrics().panics, 2);
        end(&group);
    });
}

/// One loop, with the smallest bound that there is.
fn group_of_16_places(rejection: Rejection) -> EventLoopGroup {
    let builder = EventLoopGroup::builder().threads(1).max_pending_tasks(16);
    builder.rejection(rejection).build().expect("built")
}

/// Rules: E19.
#[test]
fn a_full_queue_refuses_or_waits_as_chosen() {
    for rejection in [
        Rejection::Reject,
        Rejection::Backoff {
            retries: 3,
            pause: Duration::from_micros(10),
        },
    ] {
        let group = group_of_16_places(rejection);
        let event_loop = group.next();
        let (release, held) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        event_loop
            .execute(move || {
                begun.send(()).expect("the test listens");
                let _until_released = held.recv();
            })
            .expect("room");
        has_begun.recv_timeout(DEADLINE).expect("begins");
        for _ in 0..16 {
            event_loop.execute(|| {}).expect("room");
        }
        let error = event_loop.execute(|| {}).expect_err("full");
        assert_eq!(error.kind(), ErrorKind::Rejected);
        assert_eq!(event_loop.metrics().rejected, 1);
        release.send(()).expect("held");
        end(&group);
    }
}

#[test]
fn choices_that_are_not_possible_are_refused() {
    for io_ratio in [0, 101] {
        let error = EventLoopGroup::builder()
            .io_ratio(io_ratio)
            .build()
            .expect_err("out of range");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    for events in [0, 4_097] {
        let builder = EventLoopGroup::builder().max_events_per_turn(events);
        let error = builder.build().expect_err("out of range");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    // No thread can bear it. Told here, and not by a panic of the first task's giver, whose call starts the thread.
    let error = EventLoopGroup::builder()
        .name("front\0end")
        .threads(1)
        .build()
        .expect_err("a NUL byte");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains(r"front\0end"), "{error}");
    let all = [
        Backend::Epoll,
        Backend::EpollLevel,
        Backend::Kqueue,
        Backend::Poll,
    ];
    for backend in all
        .into_iter()
        .filter(|b| !Backend::available().contains(b))
    {
        let error = EventLoopGroup::builder()
            .selector(backend)
            .build()
            .expect_err("not here");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}

/// A loop that loses its processor until its timer is due has neither spun nor slept for it: then there is a further timer.
#[test]
fn metrics_say_where_the_time_went() {
    const SPIN: Duration = Duration::from_millis(2);
    let spin = Spin::For(SPIN);
    let group = EventLoopGroup::builder()
        .threads(1)
        .spin(spin)
        .measure_queue_wait(true)
        .build()
        .expect("built");
    let event_loop = group.next();
    event_loop.submit(|| ()).sync().expect("runs");
    let began = Instant::now();
    let mut timers = 0;
    let metrics = loop {
        timers += 1;
        event_loop
            .schedule(5 * SPIN, || ())
            .sync_timeout(DEADLINE)
            .expect("fires");
        let metrics = event_loop.metrics();
        if metrics.time_spinning >= SPIN && metrics.time_asleep > Duration::ZERO {
            break metrics;
        }
        assert!(began.elapsed() < DEADLINE, "{metrics}");
    };
    assert!(metrics.turns > 0 && metrics.tasks_run >= 1);
    assert_eq!(metrics.timer_lateness.count(), timers);
    assert!(metrics.queue_wait.count() >= 1);
    assert!(metrics.to_string().contains("turns"), "{metrics}");
    end(&group);
}

/// While it polls, a loop counts as awake: no producer pays for a wake-up.
///
/// Rules: E9, E12, 5.4.
#[test]
fn a_spinning_loop_is_not_woken() {
    for backend in Backend::available() {
        let group = EventLoopGroup::builder()
            .threads(1)
            .selector(*backend)
            .spin(Spin::For(Duration::from_secs(20)))
            .build()
            .expect("built");
        let event_loop = group.next();
        for _ in 0..100 {
            event_loop
                .submit(|| ())
                .sync_timeout(DEADLINE)
                .expect("runs");
        }
        let metrics = event_loop.metrics();
        assert_eq!(metrics.wakes_sent, 0, "on {backend}: {metrics}");
        assert_eq!(metrics.time_asleep, Duration::ZERO);
        end(&group);
    }
}

/// It runs where it is found, in front of the rest of the turn, and is a task like any other.
///
/// Rules: 5.4.
#[test]
fn a_task_that_polling_finds_is_timed_and_may_panic() {
    const BUSY: Duration = Duration::from_millis(5);
    let group = EventLoopGroup::builder()
        .threads(1)
        .spin(Spin::For(Duration::from_secs(20)))
        .build()
        .expect("built");
    let event_loop = group.next();
    let (sender, order) = mpsc::channel();
    for round in 0..20 {
        let (first, last) = (sender.clone(), sender.clone());
        let task = event_loop.submit(move || {
            first.send(round).expect("the test listens");
            // The time that the counters have to show.
            std::thread::sleep(BUSY);
            assert!(round % 2 == 0, "as every other one");
        });
        // Behind it, also if it comes while the other one runs.
        event_loop
            .execute(move || last.send(round).expect("the test listens"))
            .expect("open");
        let result = task.sync_timeout(DEADLINE);
        assert_eq!(result.is_ok(), round % 2 == 0, "{result:?}");
        for _ in 0..2 {
            assert_eq!(order.recv_timeout(DEADLINE), Ok(round));
        }
    }
    let metrics = event_loop.metrics();
    assert_eq!(metrics.panics, 10, "{metrics}");
    assert!(metrics.tasks_run >= 40, "{metrics}");
    assert!(metrics.time_in_tasks >= 20 * BUSY, "{metrics}");
    assert!(metrics.time_spinning > Duration::ZERO, "{metrics}");
    end(&group);
}

/// Rules: E14.
#[test]
fn a_lazy_task_waits_for_company() {
    let group = EventLoopGroup::new(1).expect("built");
    let event_loop = group.next();
    let (sender, order) = mpsc::channel();
    let lazy = sender.clone();
    event_loop
        .execute_lazy(move || lazy.send("lazy").expect("the test listens"))
        .expect("open");
    event_loop
        .execute(move || sender.send("prompt").expect("the test listens"))
        .expect("open");
    assert_eq!(order.recv_timeout(DEADLINE), Ok("lazy"));
    assert_eq!(order.recv_timeout(DEADLINE), Ok("prompt"));
    end(&group);
}

/// As a story: a loop slept over a queue full of lazy tasks, and refused all others for ever.
///
/// Rules: E14, E9.
#[test]
fn a_queue_full_of_lazy_tasks_wakes_the_loop() {
    let backoff = Rejection::Backoff {
        retries: 20_000,
        pause: Duration::from_millis(1),
    };
    for rejection in [Rejection::Reject, backoff] {
        let group = group_of_16_places(rejection);
        let event_loop = group.next();
        event_loop
            .submit(|| ())
            .sync_timeout(DEADLINE)
            .expect("runs");
        let (sender, run) = mpsc::channel();
        let mut given = 0;
        // Once the loop sleeps the queue is full after 16. It may still be on its way there, which nothing tells but a lazy task
        // that does not run; hence the pauses.
        let is_refused = loop {
            let sender = sender.clone();
            let lazy = event_loop.execute_lazy(move || sender.send(()).expect("the test listens"));
            match lazy {
                Ok(()) => given += 1,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Rejected);
                    break true;
                }
            }
            if rejection == backoff && given >= 40 {
                break false;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        assert_eq!(is_refused, rejection == Rejection::Reject);
        // Nobody asks for the loop but the one that was refused, or waited.
        let certain = if is_refused { given } else { given - 16 };
        for _ in 0..certain {
            run.recv_timeout(DEADLINE).expect("it runs");
        }
        event_loop
            .submit(|| ())
            .sync_timeout(DEADLINE)
            .expect("there is room");
        end(&group);
    }
}

#[test]
fn handles_are_shared_between_threads() {
    fn is_shared<T: Send + Sync + Clone>() {}
    is_shared::<EventLoop>();
    is_shared::<EventLoopGroup>();
}
