//! Work that comes to a loop from its own thread and from others, and how long a loop takes to begin with it.
//!
//! `make bench BENCH=threads`. The loop runs on processor 0, the bench on processor 1 (two producers share it with
//! nobody else but each other); latencies want two processors that are otherwise idle. `make bench BENCH=tasks` measures
//! the throughput of one producer for longer and in turns. Rival: a thread that takes boxed closures from a
//! `std::sync::mpsc` channel, blocking in `recv`.
//!
//! Criterion's figures are means, and a mean of latencies is mostly made of the few that met an interrupt. So "submit to
//! run" also prints quantiles of the way of one task: from just before `execute` in one thread to the first instruction of
//! the task on the loop's thread, one reading of the clock at each end (together about 25 ns of the figure). Beside it
//! stands what the machine can do: a number handed over by two threads that spin on it, through as many lines of memory as
//! the queue has slots, measured with the same two readings.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hdrhistogram::Histogram;
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
    quantiles();
}

/// One way of a task, and of a number between two spinning threads, in turns.
fn quantiles() {
    const ROUNDS: usize = 5;
    const SAMPLES: usize = 100_000;
    let cases = [
        ("the loop spins", Spin::For(Duration::from_secs(1))),
        (
            "the loop adapts",
            Spin::Adaptive {
                max: Duration::from_micros(50),
            },
        ),
    ];
    println!("one way, ns: medians of the quantiles of {ROUNDS} rounds of {SAMPLES}");
    println!("{:<36} {:>6} {:>6} {:>6}", "", "p10", "p50", "p99");
    let names = cases.iter().map(|case| case.0).chain([
        "a number between spinning threads",
        "the same, there and back",
    ]);
    let mut found = vec![Vec::new(); names.clone().count()];
    for _ in 0..ROUNDS {
        for (place, (_, spin)) in cases.into_iter().enumerate() {
            let group = group(spin);
            let event_loop = group.next();
            drain(&event_loop);
            found[place].push(spread(SAMPLES, || submit(&event_loop)));
            // The next one wants this processor for itself.
            group.stop().sync().expect("the loop ends");
        }
        let (one_way, there_and_back) = hand_over(SAMPLES);
        found[cases.len()].push(one_way);
        found[cases.len() + 1].push(there_and_back);
    }
    for (name, rounds) in names.zip(&found) {
        let quantile = |which: usize| {
            let mut values: Vec<_> = rounds.iter().map(|round| round[which]).collect();
            values.sort_unstable();
            values[values.len() / 2]
        };
        println!(
            "{name:<36} {:>6} {:>6} {:>6}",
            quantile(0),
            quantile(1),
            quantile(2)
        );
    }
}

/// p10, p50 and p99 of what `sample` answers, with pauses of 0 to 2 µs before each so that no two threads fall into step.
fn spread(samples: usize, mut sample: impl FnMut() -> u64) -> [u64; 3] {
    let mut histogram = Histogram::<u64>::new(3).expect("three digits");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..samples {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let pause = Duration::from_nanos(state % 2_000);
        let began = Instant::now();
        while began.elapsed() < pause {
            std::hint::spin_loop();
        }
        histogram.saturating_record(sample());
    }
    [0.1, 0.5, 0.99].map(|quantile| histogram.value_at_quantile(quantile))
}

/// What the last task has seen: how old it was. Zero before.
static SEEN: Apart = Apart(AtomicU64::new(0));

/// Alone on its cache lines.
#[repr(align(128))]
struct Apart(AtomicU64);

fn submit(event_loop: &EventLoop) -> u64 {
    SEEN.0.store(0, Ordering::Relaxed);
    let began = Instant::now();
    let task = move || {
        let age = began.elapsed().as_nanos() as u64;
        SEEN.0.store(age.max(1), Ordering::Release);
    };
    event_loop.execute(task).expect("the loop takes tasks");
    await_number(&SEEN.0)
}

/// Waits until it is not zero.
fn await_number(number: &AtomicU64) -> u64 {
    loop {
        match number.load(Ordering::Acquire) {
            0 => std::hint::spin_loop(),
            seen => return seen,
        }
    }
}

/// Where [`hand_over`] puts its numbers: as many lines as a chunk of the task queue has slots, since how far a line lies from both
/// processors differs by half from one to another.
static SENT: [Slot; 256] = [const { Slot(AtomicU64::new(0)) }; 256];

/// Alone on its cache line.
#[repr(align(64))]
struct Slot(AtomicU64);

/// The line after so many, in an order that no prefetcher follows.
fn nth_slot(number: usize) -> &'static AtomicU64 {
    &SENT[number.wrapping_mul(109) % SENT.len()].0
}

/// The floor: a number stored by one thread and seen by the other.
fn hand_over(samples: usize) -> ([u64; 3], [u64; 3]) {
    let origin = Instant::now();
    let now = move || origin.elapsed().as_nanos() as u64;
    // What ended the round before is still in one.
    for slot in &SENT {
        slot.0.store(0, Ordering::Relaxed);
    }
    let ready = Barrier::new(2);
    thread::scope(|scope| {
        let is_ready = &ready;
        scope.spawn(move || {
            let _ = set_affinity(0);
            is_ready.wait();
            for slot in (0..).map(nth_slot) {
                let sent = await_number(slot);
                if sent == u64::MAX {
                    return;
                }
                slot.store(0, Ordering::Relaxed);
                SEEN.0.store((now() - sent).max(1), Ordering::Release);
            }
        });
        // Not spinning yet: it may need this processor to get away from it.
        ready.wait();
        let mut slots = (0..).map(nth_slot);
        let mut send = |number: Option<u64>| {
            SEEN.0.store(0, Ordering::Relaxed);
            let slot = slots.next().expect("no end of numbers");
            slot.store(number.unwrap_or_else(now), Ordering::Release);
        };
        let mut send_and_wait = || {
            send(None);
            await_number(&SEEN.0)
        };
        let one_way = spread(samples, &mut send_and_wait);
        let round_trip = spread(samples, || {
            let began = now();
            send_and_wait();
            now() - began
        });
        send(Some(u64::MAX));
        (one_way, round_trip)
    })
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
