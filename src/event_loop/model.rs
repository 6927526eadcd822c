//! A loop that goes to sleep, under loom: whole turns, with the queue, the promises and the waker that a real loop has.
//!
//! `make loom`. The selector and the eventfd are the kernel's; only the sleep in the kernel is loom's (`bell` in
//! tidegate-sys), and so is the clock. What a model waits for comes, or the loop would sleep for ever, which loom reports as
//! a deadlock (and then aborts, since what is dropped on the way asks loom again); and each sleep was ended by one wake-up
//! at most. Nothing asserts inside a task: a panic there is contained.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use loom::model::Builder;
use loom::sync::Mutex;
use loom::sync::atomic::AtomicUsize;
use loom::sync::atomic::Ordering::Relaxed;
use loom::thread;

use super::config::LoopConfig;
use super::core::{Clock, EndState, LoopCore};
use super::local::LocalEventLoop;
use super::shared::EventLoop;
use super::spin::Spin;
use crate::error::ErrorKind;
use crate::future::Promise;

/// Explores the executions of a model with at most so many preemptions: what ten seconds allow, two with three threads, three or
/// four with two.
fn explore(preemptions: usize, f: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    // A turn looks at some twenty shared words, and a model makes up to ten turns.
    builder.max_branches = 10_000;
    builder.check(f);
}

/// A loop on the model's first thread.
struct Bench {
    core: Rc<LoopCore>,
    handle: EventLoop,
    waker: Arc<tidegate_sys::os::Waker>,
}

impl Bench {
    fn new(spin: Spin) -> Self {
        let mut config = LoopConfig::named("model");
        config.spin = spin;
        let parts = config.open().expect("the kernel has descriptors");
        let waker = Arc::clone(parts.waker());
        let (handle, kit) = EventLoop::running(config, Some(parts));
        Self {
            core: LoopCore::new(handle.clone(), kit, Clock::system()),
            handle,
            waker,
        }
    }

    /// Makes turns, which sleep when there is nothing to do, until `is_done`.
    fn turn_until(&self, is_done: impl Fn() -> bool) {
        while !is_done() {
            self.core.now();
            let entered = self.core.enter();
            self.core.turn(None);
            drop(entered);
            if self.handle.shared().tasks().len() > 0 {
                // A push is under way: somebody else has to go on.
                thread::yield_now();
            }
        }
    }

    /// With the other threads gone: whoever was told to wake the loop did, and nobody else.
    fn assert_woken_once_per_sleep(&self) {
        // The loop counts the sleeps in which somebody else was told.
        assert_eq!(self.waker.rings(), self.core.metrics().wakes_sent.get());
        assert_eq!(self.core.metrics().panics.get(), 0);
    }
}

/// Counts what ran. Loom's, so that it also finds a task that does not see what was done before it was given.
#[derive(Clone)]
struct Count(Arc<AtomicUsize>);

impl Count {
    fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(0)))
    }

    fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn is(&self, count: usize) -> bool {
        self.0.load(Relaxed) == count
    }
}

fn two_producers(preemptions: usize, spin: Spin) {
    explore(preemptions, move || {
        let bench = Bench::new(spin);
        let ran = Count::new();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (handle, ran) = (bench.handle.clone(), ran.clone());
                thread::spawn(move || handle.execute(move || ran.add()).expect("it runs"))
            })
            .collect();
        bench.turn_until(|| ran.is(2));
        for thread in threads {
            thread.join().unwrap();
        }
        bench.assert_woken_once_per_sleep();
    });
}

#[test]
fn loom_two_producers_wake_a_loop() {
    two_producers(2, Spin::Off);
}

#[test]
fn loom_two_producers_wake_a_loop_that_polls_first() {
    two_producers(2, Spin::Count(2));
}

/// The time to poll grows and shrinks with what happens, by the model's clock. One preemption: at two it is a hundred seconds,
/// for code that differs from the model above by the clock alone.
#[test]
fn loom_two_producers_wake_a_loop_that_polls_as_long_as_it_pays() {
    let max = Duration::from_micros(2);
    two_producers(1, Spin::Adaptive { max });
}

#[test]
fn loom_one_producer_wakes_a_loop_twice() {
    explore(4, || {
        let bench = Bench::new(Spin::Off);
        let ran = Count::new();
        let (handle, counting) = (bench.handle.clone(), ran.clone());
        let producing = thread::spawn(move || {
            for _ in 0..2 {
                let ran = counting.clone();
                handle.execute(move || ran.add()).expect("it runs");
            }
        });
        bench.turn_until(|| ran.is(2));
        producing.join().unwrap();
        bench.assert_woken_once_per_sleep();
    });
}

/// A lazy task wakes nobody; the loop takes it with the one that does.
#[test]
fn loom_a_lazy_task_runs_with_the_next_one() {
    explore(2, || {
        let bench = Bench::new(Spin::Off);
        let (lazy, ran) = (Count::new(), Count::new());
        let (handle, counting) = (bench.handle.clone(), lazy.clone());
        let giving = thread::spawn(move || handle.execute_lazy(move || counting.add()));
        let (handle, counting) = (bench.handle.clone(), ran.clone());
        let waking = thread::spawn(move || {
            giving.join().unwrap().expect("it runs");
            handle.execute(move || counting.add()).expect("it runs");
        });
        bench.turn_until(|| ran.is(1));
        waking.join().unwrap();
        assert!(lazy.is(1), "it was given before");
        bench.assert_woken_once_per_sleep();
    });
}

/// Listeners come by a list beside the queue.
#[test]
fn loom_listeners_wake_their_loop() {
    explore(2, || {
        let bench = Bench::new(Spin::Off);
        let ran = Count::new();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let promise = Promise::new(bench.handle.host());
                let counting = ran.clone();
                promise.completion().add_listener(move |_| counting.add());
                thread::spawn(move || assert!(promise.try_success()))
            })
            .collect();
        bench.turn_until(|| ran.is(2));
        for thread in threads {
            thread.join().unwrap();
        }
        bench.assert_woken_once_per_sleep();
    });
}

/// The same for one that polls first: it has to look at that list while it polls, and once more before it sleeps.
#[test]
fn loom_a_listener_and_a_task_wake_a_loop_that_polls_first() {
    explore(2, || {
        let bench = Bench::new(Spin::Count(1));
        let ran = Count::new();
        let promise = Promise::new(bench.handle.host());
        let counting = ran.clone();
        promise.completion().add_listener(move |_| counting.add());
        let completing = thread::spawn(move || assert!(promise.try_success()));
        let (handle, counting) = (bench.handle.clone(), ran.clone());
        let giving =
            thread::spawn(move || handle.execute(move || counting.add()).expect("it runs"));
        bench.turn_until(|| ran.is(2));
        completing.join().unwrap();
        giving.join().unwrap();
        bench.assert_woken_once_per_sleep();
    });
}

/// A request to end is not slept through, and a task that races with it runs, or is refused.
#[test]
fn loom_a_loop_that_is_told_to_stop_ends() {
    explore(2, || {
        let bench = Bench::new(Spin::Off);
        let ran = Count::new();
        let handle = bench.handle.clone();
        let stopping = thread::spawn(move || drop(handle.stop()));
        let (handle, counting) = (bench.handle.clone(), ran.clone());
        let giving = thread::spawn(move || handle.execute(move || counting.add()).is_ok());
        bench.turn_until(|| bench.core.end.get() == EndState::Ended);
        stopping.join().unwrap();
        let given = giving.join().unwrap();
        assert!(given || ran.is(0));
        bench.assert_woken_once_per_sleep();
    });
}

/// A promise that is completed while its loop ends: the listener runs, on the loop or else where the promise is completed.
#[test]
fn loom_a_listener_survives_the_end_of_its_loop() {
    explore(3, || {
        let bench = Bench::new(Spin::Off);
        let ran = Count::new();
        let promise = Promise::new(bench.handle.host());
        let counting = ran.clone();
        promise.completion().add_listener(move |_| counting.add());
        let completing = thread::spawn(move || assert!(promise.try_success()));
        drop(bench.handle.stop());
        bench.turn_until(|| bench.core.has_ended());
        completing.join().unwrap();
        assert!(ran.is(1));
    });
}

/// The work of `submit` and its result cross: the loop sleeps until there is work, the thread until there is a result.
#[test]
fn loom_a_result_comes_back_to_who_waits_for_it() {
    explore(4, || {
        let bench = Bench::new(Spin::Off);
        let ran = Count::new();
        let (handle, counting) = (bench.handle.clone(), ran.clone());
        let asking = thread::spawn(move || {
            let future = handle.submit(move || {
                counting.add();
                7
            });
            future.sync().map_err(|error| error.kind())
        });
        bench.turn_until(|| ran.is(1));
        assert_eq!(asking.join().unwrap(), Ok::<i32, ErrorKind>(7));
        bench.assert_woken_once_per_sleep();
    });
}

/// What a future of the models waits for.
struct Gate {
    state: Mutex<(bool, Option<Waker>)>,
}

impl Gate {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new((false, None)),
        })
    }

    fn open(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 = true;
        let waker = state.1.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn passed(self: Arc<Self>) {
        poll_fn(|cx| {
            let mut state = self.state.lock().unwrap();
            if state.0 {
                return Poll::Ready(());
            }
            state.1 = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// A future on the loop, woken from elsewhere while it is polled, or while the loop falls asleep.
#[test]
fn loom_a_spawned_future_is_woken() {
    explore(4, || {
        let bench = Bench::new(Spin::Off);
        let (gate, done) = (Gate::new(), Count::new());
        let (waits, counting) = (Arc::clone(&gate), done.clone());
        let spawned = bench.handle.spawn_local(move || async move {
            waits.passed().await;
            counting.add();
        });
        let opening = thread::spawn(move || gate.open());
        bench.turn_until(|| done.is(1));
        opening.join().unwrap();
        assert!(spawned.is_done());
        bench.assert_woken_once_per_sleep();
    });
}

/// A loop driven for a future that belongs to nobody: woken while it is polled, between turns, or asleep.
#[test]
fn loom_a_future_that_a_local_loop_is_driven_for_is_woken() {
    explore(4, || {
        let local = LocalEventLoop::new().expect("the kernel has descriptors");
        let gate = Gate::new();
        let waits = Arc::clone(&gate);
        let opening = thread::spawn(move || gate.open());
        local.block_on(waits.passed()).expect("the loop goes on");
        opening.join().unwrap();
    });
}

/// A local loop is asleep between its turns.
#[test]
fn loom_tasks_between_the_turns_of_a_local_loop_run() {
    explore(2, || {
        let local = LocalEventLoop::new().expect("the kernel has descriptors");
        let ran = Count::new();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (handle, ran) = (local.handle().clone(), ran.clone());
                thread::spawn(move || handle.execute(move || ran.add()).expect("it runs"))
            })
            .collect();
        while !ran.is(2) {
            local.turn(None);
            thread::yield_now();
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
}
