//! A loop in the host's own thread: turn by turn, driven for a future, nested in another loop.

use std::cell::Cell;
use std::os::fd::AsRawFd;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tidegate::error::ErrorKind;
use tidegate::event_loop::{Backend, LocalEventLoop, Spin};
use tidegate_sys::os::{Events, Interest, Selector, Token, Waited};

const DEADLINE: Duration = Duration::from_secs(30);

/// Runs `test` on every backend, with and without spinning.
fn each_way(test: impl Fn(LocalEventLoop)) {
    for backend in Backend::available() {
        for spin in [Spin::Off, Spin::Count(20)] {
            for io_ratio in [1, 50, 100] {
                let builder = LocalEventLoop::builder()
                    .selector(*backend)
                    .spin(spin)
                    .io_ratio(io_ratio);
                test(builder.build().expect("built"));
            }
        }
    }
}

/// Rules: E31.
#[test]
fn a_turn_without_time_does_what_can_be_done_now() {
    each_way(|local| {
        let value = local.handle().submit(|| 7);
        assert!(local.turn(Some(Duration::ZERO)));
        assert_eq!(value.get_now(), Some(7));
        assert!(
            local.turn(Some(Duration::ZERO)),
            "with nothing to do it returns at once"
        );
    });
}

#[test]
fn a_turn_ends_with_its_time() {
    each_way(|local| {
        let limit = Duration::from_millis(3);
        let began = Instant::now();
        assert!(local.turn(Some(limit)));
        assert!(began.elapsed() >= limit);
    });
}

#[test]
fn tasks_from_other_threads_end_a_turn_s_wait() {
    each_way(|local| {
        let handle = local.handle().clone();
        let giver = thread::spawn(move || handle.submit(|| 7).sync_timeout(DEADLINE));
        while local.handle().metrics().tasks_run == 0 {
            local.turn(Some(DEADLINE));
        }
        assert_eq!(giver.join().expect("no panic").expect("ran"), 7);
    });
}

#[test]
fn a_future_is_driven_on_the_calling_thread() {
    each_way(|local| {
        let handle = local.handle().clone();
        let not_send = Rc::new(Cell::new(0));
        let seen = Rc::clone(&not_send);
        let answer = local
            .block_on(async move {
                seen.set(handle.submit(|| 35).await.expect("runs"));
                let timer = handle.schedule(Duration::from_millis(1), || 7);
                seen.get() + timer.await.expect("fires")
            })
            .expect("driven to its end");
        assert_eq!((answer, not_send.get()), (42, 35));
    });
}

#[test]
fn a_future_that_wakes_itself_or_is_woken_from_afar_goes_on() {
    each_way(|local| {
        let mut polls = 0;
        let (wakers, to_wake) = mpsc::channel::<std::task::Waker>();
        let waking = thread::spawn(move || {
            for waker in to_wake {
                waker.wake();
            }
        });
        local
            .block_on(std::future::poll_fn(move |cx| {
                polls += 1;
                match polls {
                    1..=3 => cx.waker().wake_by_ref(),
                    4..=50 => wakers.send(cx.waker().clone()).expect("somebody wakes"),
                    _ => return std::task::Poll::Ready(()),
                }
                std::task::Poll::Pending
            }))
            .expect("driven to its end");
        waking.join().expect("no panic");
    });
}

/// Rules: E31.
#[test]
fn a_loop_that_ends_gives_up_on_the_future() {
    each_way(|local| {
        let handle = local.handle().clone();
        local
            .handle()
            .execute(move || drop(handle.stop()))
            .expect("open");
        let error = local
            .block_on(std::future::pending::<()>())
            .expect_err("ended");
        assert_eq!(error.kind(), ErrorKind::Terminated);
        assert!(!local.turn(None), "further turns do nothing");
        assert!(local.handle().is_terminated());
    });
}

#[test]
fn run_returns_when_the_loop_has_ended() {
    each_way(|local| {
        let handle = local.handle().clone();
        let ended = thread::spawn(move || {
            let ended = handle.shutdown_gracefully(Duration::ZERO, Duration::from_secs(20));
            ended.sync_timeout(DEADLINE)
        });
        local.run();
        ended.join().expect("no panic").expect("ended");
    });
}

#[test]
fn waiting_for_a_loop_that_only_this_thread_drives_is_an_error() {
    let local = LocalEventLoop::new().expect("built");
    let task = local.handle().submit(|| ());
    assert_eq!(
        task.sync().expect_err("would wait for ever").kind(),
        ErrorKind::Blocking
    );
    local.turn(Some(Duration::ZERO));
    task.sync().expect("done");
}

/// Rules: E31.
#[test]
fn turns_do_not_nest() {
    let local = Rc::new(LocalEventLoop::new().expect("built"));
    let inner = Rc::clone(&local);
    let turns = Rc::new(Cell::new(0));
    let counted = Rc::clone(&turns);
    local
        .block_on(async move {
            assert!(
                inner.turn(None),
                "returns at once instead of waiting for itself"
            );
            inner.run();
            let error = inner.block_on(async {}).expect_err("inside a turn");
            assert_eq!(error.kind(), ErrorKind::Blocking);
            counted.set(1);
        })
        .expect("driven");
    assert_eq!(turns.get(), 1);
}

#[test]
fn dropping_it_answers_everybody() {
    each_way(|local| {
        let never = local.handle().schedule(Duration::from_secs(3600), || ());
        let ran = local.handle().submit(|| 7);
        local.turn(Some(Duration::ZERO));
        let handle = local.handle().clone();
        let last = handle.submit(|| 8);
        drop(local);
        assert_eq!(
            never.cause().map(|error| error.kind()),
            Some(ErrorKind::Terminated)
        );
        assert_eq!((ran.get_now(), last.get_now()), (Some(7), Some(8)));
        assert!(handle.termination_future().is_success());
        assert!(handle.execute(|| {}).is_err());
    });
}

#[test]
fn two_loops_share_a_thread_turn_by_turn() {
    let (one, two) = (
        LocalEventLoop::new().expect("built"),
        LocalEventLoop::new().expect("built"),
    );
    let (first, second) = (one.handle().clone(), two.handle().clone());
    let crossed = one.handle().submit(move || {
        assert!(first.in_event_loop() && !second.in_event_loop());
        second.submit(|| 7)
    });
    one.turn(Some(Duration::ZERO));
    two.turn(Some(DEADLINE));
    let inner = crossed.sync().expect("done");
    assert_eq!(inner.sync().expect("done"), 7);
}

#[test]
fn the_next_deadline_is_the_next_timer_or_now() {
    each_way(|local| {
        local.turn(Some(Duration::ZERO));
        assert_eq!(local.next_deadline(), None);
        let delay = Duration::from_secs(100);
        let began = Instant::now();
        local.handle().schedule(delay, || ());
        assert!(local.next_deadline().expect("a task waits") <= Instant::now());
        local.turn(Some(Duration::ZERO));
        let deadline = local.next_deadline().expect("a timer is set");
        // The conversion to an Instant reads two clocks one after the other.
        let slack = Duration::from_secs(20);
        assert!(deadline + slack > began + delay && deadline < began + delay + slack);
    });
}

/// The outer loop of these tests: waits for the descriptor.
struct Outer {
    selector: Selector,
    events: Events,
}

impl Outer {
    fn watching(local: &LocalEventLoop) -> Self {
        Self::of(Backend::Poll, local)
    }

    fn of(backend: Backend, local: &LocalEventLoop) -> Self {
        let mut selector = Selector::open(backend).expect("a selector");
        let fd = local.as_fd().expect("a descriptor");
        selector
            .register(fd, Token::new(0, 0), Interest::READ)
            .expect("registered");
        Self {
            selector,
            events: Events::new(),
        }
    }

    fn is_readable(&mut self) -> bool {
        self.wait(Duration::ZERO)
    }

    fn wait(&mut self, timeout: Duration) -> bool {
        loop {
            match self
                .selector
                .wait(&mut self.events, Some(timeout))
                .expect("waited")
            {
                Waited::Events(_) => return true,
                Waited::TimedOut => return false,
                Waited::Interrupted => {}
            }
        }
    }
}

fn nestable() -> impl Iterator<Item = LocalEventLoop> {
    let backends = [Backend::Epoll, Backend::EpollLevel, Backend::Kqueue];
    let here = backends
        .into_iter()
        .filter(|b| Backend::available().contains(b));
    here.map(|backend| {
        LocalEventLoop::builder()
            .selector(backend)
            .build()
            .expect("built")
    })
}

#[test]
fn its_descriptor_is_readable_when_a_turn_would_do_something() {
    for local in nestable() {
        let mut outer = Outer::watching(&local);
        local.turn(Some(Duration::ZERO));
        assert!(!outer.is_readable(), "nothing to do");

        // A task from another thread.
        let handle = local.handle().clone();
        thread::spawn(move || handle.execute(|| {}))
            .join()
            .expect("no panic")
            .expect("open");
        assert!(outer.wait(DEADLINE));
        local.turn(Some(Duration::ZERO));
        assert!(!outer.is_readable());

        // A task from this thread, between turns.
        local.handle().execute(|| {}).expect("open");
        assert!(outer.is_readable());
        local.turn(Some(Duration::ZERO));
        assert!(!outer.is_readable());

        // Work left over by a turn.
        let handle = local.handle().clone();
        let leaves = local.handle().submit(move || handle.execute(|| {}));
        local.turn(Some(Duration::ZERO));
        while local.handle().metrics().tasks_waiting > 0 {
            assert!(outer.is_readable());
            local.turn(Some(Duration::ZERO));
        }
        leaves.sync().expect("ran").expect("open");
        assert!(!outer.is_readable());

        // A timer.
        let fired = local.handle().schedule(Duration::from_millis(2), || ());
        local.turn(Some(Duration::ZERO));
        while !fired.is_done() {
            assert!(outer.wait(DEADLINE));
            local.turn(Some(Duration::ZERO));
        }
        assert!(!outer.is_readable());

        // The end.
        local.handle().stop();
        assert!(outer.wait(DEADLINE));
        assert!(!local.turn(Some(Duration::ZERO)));
        assert!(!outer.is_readable());
    }
}

/// Whichever way the host has come back.
#[test]
fn its_descriptor_speaks_again_when_the_host_is_back() {
    for local in nestable() {
        let mut outer = Outer::watching(&local);
        let mut check = |what: &str| {
            while outer.is_readable() {
                local.turn(Some(Duration::ZERO));
            }
            let handle = local.handle().clone();
            thread::spawn(move || handle.execute(|| {}))
                .join()
                .expect("no panic")
                .expect("open");
            assert!(outer.wait(DEADLINE), "{what}");
        };
        let slept = local.handle().schedule(Duration::from_millis(1), || 7);
        assert_eq!(local.block_on(slept).expect("driven").expect("fired"), 7);
        check("the future is done");
        let panics = AssertUnwindSafe(|| local.block_on(async { panic!("the future's") }));
        assert!(panic::catch_unwind(panics).is_err());
        check("the future has panicked");
        local.handle().execute(|| {}).expect("open");
        local.block_on(async {}).expect("driven");
        assert!(outer.is_readable(), "a task waits");
    }
}

#[test]
fn work_from_before_the_descriptor_was_asked_for_shows() {
    for local in nestable() {
        local.handle().execute(|| {}).expect("open");
        let mut outer = Outer::watching(&local);
        assert!(outer.is_readable());
    }
}

/// A host that hears of changes only makes turns until the descriptor says that nothing is left. One turn for each change
/// would leave most of the tasks for ever.
#[test]
fn a_host_that_hears_of_changes_only_turns_until_nothing_is_left() {
    const TASKS: u64 = 10_000;
    if !Backend::available().contains(&Backend::Epoll) {
        return;
    }
    for local in nestable() {
        let mut state = Outer::watching(&local);
        let mut host = Outer::of(Backend::Epoll, &local);
        local.turn(Some(Duration::ZERO));
        while host.is_readable() {}
        let mut serve = |local: &LocalEventLoop| {
            assert!(host.wait(DEADLINE), "a change");
            let mut turns = 0;
            while turns == 0 || state.is_readable() {
                local.turn(Some(Duration::ZERO));
                turns += 1;
            }
            turns
        };
        for _ in 0..TASKS {
            local.handle().execute(|| {}).expect("open");
        }
        assert!(serve(&local) > 1, "one turn does not do it all");
        assert_eq!(local.handle().metrics().tasks_run, TASKS);
        for round in 1..=3 {
            local.handle().schedule(Duration::from_millis(1), || ());
            while local.handle().metrics().timers_run < round {
                serve(&local);
            }
        }
    }
}

#[test]
fn the_time_between_turns_is_the_host_s() {
    for local in nestable() {
        let mut outer = Outer::watching(&local);
        local.turn(Some(Duration::ZERO));
        let mut waited = Duration::ZERO;
        for _ in 0..5 {
            local.handle().schedule(Duration::from_millis(2), || ());
            local.turn(Some(Duration::ZERO));
            let began = Instant::now();
            assert!(outer.wait(DEADLINE), "the timer is due in 2 ms");
            waited += began.elapsed();
            local.turn(Some(Duration::ZERO));
        }
        let metrics = local.handle().metrics();
        assert!(
            metrics.time_outside >= waited,
            "{waited:?} waited: {metrics}"
        );
        assert!(metrics.to_string().contains(" outside"), "{metrics}");
    }
}

#[test]
fn so_is_the_time_of_the_future_that_it_is_driven_for() {
    // The future holds the thread, which is the very thing that is counted.
    const HELD: Duration = Duration::from_millis(3);
    each_way(|local| {
        let before = local.handle().metrics();
        local
            .block_on(async { thread::sleep(HELD) })
            .expect("driven");
        let spent = local.handle().metrics().since(&before);
        assert!(spent.time_outside >= HELD, "{spent}");
    });
}

#[test]
fn the_descriptor_stays_the_same() {
    for local in nestable() {
        let first = local.as_fd().expect("a descriptor").as_raw_fd();
        local.turn(Some(Duration::ZERO));
        assert_eq!(local.as_fd().expect("a descriptor").as_raw_fd(), first);
    }
}

#[test]
fn a_selector_without_a_descriptor_says_so() {
    let local = LocalEventLoop::builder()
        .selector(Backend::Poll)
        .build()
        .expect("built");
    assert_eq!(
        local.as_fd().expect_err("poll has none").kind(),
        ErrorKind::Unsupported
    );
}
