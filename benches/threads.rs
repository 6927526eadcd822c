//! Work that comes to a loop from its own thread and from others, and how long a loop takes to begin with it.
//!
//! `make bench BENCH=threads`. The loop runs on processor 0, the bench on processor 1 (two producers share it with
//! nobody else but each other); latencies want two processors that are otherwise idle. `make bench BENCH=tasks` measures
//! the throughput of one producer for longer and in turns. Rival: a thread that takes boxed closures from a
//! `std::sync::mpsc` channel, blocking in `recv`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidegate::{EventLoop, EventLoopGroup, Spin};
use tidegate_sys::os::thread::set_affinity;

/// Time enough for a loop to fall asleep.
const DOZE: Duration = Duration::from_micros(300);

/// A loop on processor 0, if it may have that one.
fn group(spin: Spin) -> EventLoopGroup {
    EventLoopGroup::builder()
        .threads(1)
        .affinity([0])
        .spin(spin)
        .build()
        .expect("a loop")
}

/// Waits until everything given to the loop so far has run.
fn drain(event_loop: &EventLoop) {
    event_loop.submit(|| ()).sync().expect("the loop runs");
}

fn throughput(criterion: &mut Criterion) {
    let mut group_of = criterion.benchmark_group("tasks");
    group_of.throughput(Throughput::Elements(1));
    let group = group(Spin::Count(1000));
    let event_loop = group.next();
    let sum = Arc::new(AtomicU64::new(0));
    group_of.bench_function("in the loop", |bench| {
        bench.iter_custom(|count| {
            let inner = event_loop.clone();
            let sum = sum.clone();
            let timed = event_loop.submit(move || {
                let began = Instant::now();
                for one in 0..count {
                    let sum = sum.clone();
                    let add = move || {
                        sum.fetch_add(one, Ordering::Relaxed);
                    };
                    inner.execute(add).expect("the loop takes tasks");
                }
                began
            });
            let began = timed.sync().expect("the loop runs");
            drain(&event_loop);
            began.elapsed()
        });
    });
    for producers in [1, 2] {
        group_of.bench_function(format!("producers: {producers}"), |bench| {
            bench.iter_custom(|count| produced(&event_loop, &sum, count, producers));
        });
    }
    group_of.bench_function("producers: 1, rival: mpsc of boxes", |bench| {
        bench.iter_custom(rival);
    });
    group_of.finish();
}

/// How long `count` tasks of so many threads take, until the last has run.
fn produced(event_loop: &EventLoop, sum: &Arc<AtomicU64>, count: u64, producers: u64) -> Duration {
    let began = Instant::now();
    thread::scope(|scope| {
        for number in 0..producers {
            let share = count / producers + u64::from(number < count % producers);
            scope.spawn(move || {
                for one in 0..share {
                    let sum = sum.clone();
                    let add = move || {
                        sum.fetch_add(one, Ordering::Relaxed);
                    };
                    event_loop.execute(add).expect("the loop takes tasks");
                }
            });
        }
    });
    drain(event_loop);
    began.elapsed()
}

fn rival(count: u64) -> Duration {
    let (sender, receiver) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
    let consumer = thread::spawn(move || receiver.into_iter().for_each(|task| task()));
    let sum = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    for one in 0..count {
        let sum = sum.clone();
        let add = move || {
            sum.fetch_add(one, Ordering::Relaxed);
        };
        sender.send(Box::new(add)).expect("the consumer lives");
    }
    drop(sender);
    consumer.join().expect("the consumer ends");
    began.elapsed()
}

/// From `execute` to the first instruction of the task.
fn wake_up(criterion: &mut Criterion) {
    // A machine with one processor measures something, too.
    let _ = set_affinity(1);
    let mut group_of = criterion.benchmark_group("submit to run");
    for (name, spin, doze) in [
        ("the loop sleeps", Spin::Off, DOZE),
        (
            "the loop spins",
            Spin::For(Duration::from_secs(1)),
            Duration::ZERO,
        ),
        (
            "the loop adapts",
            Spin::Adaptive {
                max: Duration::from_micros(50),
            },
            Duration::ZERO,
        ),
    ] {
        let group = group(spin);
        let event_loop = group.next();
        drain(&event_loop);
        group_of.bench_function(name, |bench| {
            bench.iter_custom(|count| (0..count).map(|_| one_way(&event_loop, doze)).sum());
        });
    }
    group_of.bench_function("the thread sleeps, rival: mpsc of boxes", |bench| {
        let (sender, receiver) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let consumer = thread::spawn(move || {
            let _ = set_affinity(0);
            receiver.into_iter().for_each(|task| task());
        });
        bench.iter_custom(|count| {
            let latency = |_| {
                thread::sleep(DOZE);
                let (seen, took) = stopwatch();
                sender.send(Box::new(seen)).expect("the consumer lives");
                took.recv().expect("the task runs")
            };
            (0..count).map(latency).sum()
        });
        drop(sender);
        consumer.join().expect("the consumer ends");
    });
    group_of.finish();
}

fn one_way(event_loop: &EventLoop, doze: Duration) -> Duration {
    if !doze.is_zero() {
        thread::sleep(doze);
    }
    let began = Instant::now();
    let took = Arc::new(AtomicU64::new(0));
    let seen = took.clone();
    let stop = move || seen.store(began.elapsed().as_nanos().max(1) as u64, Ordering::Release);
    event_loop.execute(stop).expect("the loop takes tasks");
    loop {
        match took.load(Ordering::Acquire) {
            0 => std::hint::spin_loop(),
            nanoseconds => return Duration::from_nanos(nanoseconds),
        }
    }
}

/// A closure that tells how long ago it was made.
fn stopwatch() -> (impl FnOnce() + Send + 'static, mpsc::Receiver<Duration>) {
    let (sender, receiver) = mpsc::channel();
    let began = Instant::now();
    let seen = move || {
        // Who asked is waiting.
        let _ = sender.send(began.elapsed());
    };
    (seen, receiver)
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20);
    targets = throughput, wake_up
}
criterion_main!(benches);
