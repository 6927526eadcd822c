//! Timers with a million of them outstanding, and the idle-timeout pattern: moving one of 10,000.
//!
//! `make bench BENCH=timers`. Two ways to set one: a handler's timer, which calls the handler back and allocates nothing, and
//! a task scheduled on the loop, which gives a future. Deadlines are spread over an hour by a fixed generator. The
//! clock is the embedded channel's and stands still, so that nothing fires but where firing is what is measured.
//! Rivals: a `BTreeMap` by deadline, which is the ordered structure of std that can cancel, and a `BinaryHeap`,
//! which cannot.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use tidegate::event_loop::TimerKey;
use tidegate::{Context, EmbeddedChannel, Handler, HandlerResult, Message};

/// Timers that wait while others come and go.
const OUTSTANDING: u64 = 1_000_000;
/// Timers that are pushed back by their traffic.
const IDLE_TIMERS: usize = 10_000;
/// The spread of deadlines, in microseconds: an hour.
const SPREAD_US: u64 = 3_600_000_000;
/// Timers set or cancelled before the others come back.
const BATCH: u64 = 10_000;

/// Numbers that look random and are the same in every run (xorshift64).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn delay(&mut self) -> Duration {
        // At least a minute, so that what is to fire can be set before.
        Duration::from_micros(60_000_000 + self.next() % SPREAD_US)
    }
}

/// What the handler is asked to do and to time.
#[derive(Clone, Copy)]
enum Work {
    Outstanding(u64),
    Schedule(u64),
    Cancel(u64),
    Pair(u64),
    Move(u64),
    Soon(u64),
}

/// Sets and cancels timers.
struct Timed {
    noise: Noise,
    took: Duration,
    fired: u64,
}

impl Timed {
    fn batch(&mut self, ctx: &mut Context<'_>, count: u64) -> (Duration, Vec<TimerKey>) {
        let delays: Vec<_> = (0..count).map(|_| self.noise.delay()).collect();
        let mut keys = Vec::with_capacity(count as usize);
        let began = Instant::now();
        for delay in delays {
            keys.push(ctx.timer(delay, 0));
        }
        (began.elapsed(), keys)
    }

    /// In batches, whose timers are cancelled again: the number outstanding stays what it is.
    fn in_batches(&mut self, ctx: &mut Context<'_>, count: u64, cancels: bool) -> Duration {
        let mut took = Duration::ZERO;
        let mut left = count;
        while left > 0 {
            let now = left.min(BATCH);
            left -= now;
            let (scheduling, keys) = self.batch(ctx, now);
            let began = Instant::now();
            for key in keys {
                ctx.cancel_timer(key);
            }
            took += if cancels { began.elapsed() } else { scheduling };
        }
        took
    }

    fn pairs(&mut self, ctx: &mut Context<'_>, count: u64) -> Duration {
        let began = Instant::now();
        for _ in 0..count {
            let delay = self.noise.delay();
            let key = ctx.timer(delay, 0);
            ctx.cancel_timer(key);
        }
        began.elapsed()
    }

    fn moves(&mut self, ctx: &mut Context<'_>, count: u64) -> Duration {
        let timeout = Duration::from_secs(30);
        let mut keys = Vec::with_capacity(IDLE_TIMERS);
        for _ in 0..IDLE_TIMERS {
            keys.push(ctx.timer(timeout, 0));
        }
        let began = Instant::now();
        for moved in 0..count {
            let at = self.noise.next() as usize % IDLE_TIMERS;
            // The clock stands still: a message that comes later pushes its deadline further.
            ctx.move_timer(keys[at], timeout + Duration::from_nanos(moved));
        }
        let took = began.elapsed();
        for key in keys {
            ctx.cancel_timer(key);
        }
        took
    }
}

impl Handler for Timed {
    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        self.took = match event.downcast::<Work>() {
            Ok(Work::Outstanding(count)) => self.batch(ctx, count).0,
            Ok(Work::Schedule(count)) => self.in_batches(ctx, count, false),
            Ok(Work::Cancel(count)) => self.in_batches(ctx, count, true),
            Ok(Work::Pair(count)) => self.pairs(ctx, count),
            Ok(Work::Move(count)) => self.moves(ctx, count),
            Ok(Work::Soon(count)) => {
                for _ in 0..count {
                    let delay = Duration::from_nanos(self.noise.next() % 1_000_000);
                    ctx.timer(delay, 0);
                }
                Duration::ZERO
            }
            Err(_) => Duration::ZERO,
        };
        Ok(())
    }

    fn timer(&mut self, _ctx: &mut Context<'_>, _key: u64) -> HandlerResult {
        self.fired += 1;
        Ok(())
    }
}

fn channel() -> EmbeddedChannel {
    EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Timed {
            noise: Noise(0x9e37_79b9_7f4a_7c15),
            took: Duration::ZERO,
            fired: 0,
        })
    })
    .expect("the handler starts")
}

/// Has the handler do it, and returns how long that took.
fn run(channel: &mut EmbeddedChannel, work: Work) -> Duration {
    channel.pipeline(|pipeline| {
        pipeline.fire_user_event_triggered(Message::new(work));
        pipeline
            .with(|handler: &mut Timed| handler.took)
            .expect("the handler is there")
    })
}

fn handlers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timer");
    let mut few = channel();
    group.bench_function("move one of 10,000", |bench| {
        bench.iter_custom(|count| run(&mut few, Work::Move(count)));
    });
    let mut many = channel();
    run(&mut many, Work::Outstanding(OUTSTANDING));
    group.bench_function("schedule, 1 million outstanding", |bench| {
        bench.iter_custom(|count| run(&mut many, Work::Schedule(count)));
    });
    group.bench_function("cancel, 1 million outstanding", |bench| {
        bench.iter_custom(|count| run(&mut many, Work::Cancel(count)));
    });
    group.bench_function("schedule and cancel, 1 million outstanding", |bench| {
        bench.iter_custom(|count| run(&mut many, Work::Pair(count)));
    });
    group.bench_function("fire, 1 million outstanding", |bench| {
        bench.iter_custom(|count| {
            let mut took = Duration::ZERO;
            let mut left = count;
            while left > 0 {
                let now = left.min(BATCH);
                left -= now;
                run(&mut many, Work::Soon(now));
                let began = Instant::now();
                many.advance(Duration::from_millis(1));
                took += began.elapsed();
            }
            took
        });
    });
    group.finish();
}

/// Tasks on the loop: each has a future and a box.
fn tasks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scheduled task");
    let mut channel = channel();
    run(&mut channel, Work::Outstanding(OUTSTANDING));
    let event_loop = channel.event_loop().clone();
    let mut noise = Noise(7);
    group.bench_function("schedule and cancel, 1 million outstanding", |bench| {
        bench.iter_custom(|count| {
            channel.run(|_| {
                let began = Instant::now();
                for _ in 0..count {
                    let task = event_loop.schedule(noise.delay(), || black_box(()));
                    task.cancel();
                }
                began.elapsed()
            })
        });
    });
    group.finish();
}

fn rivals(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timer, rivals");
    let mut noise = Noise(7);
    let mut tree: BTreeMap<(Duration, u64), u64> = BTreeMap::new();
    for number in 0..OUTSTANDING {
        tree.insert((noise.delay(), number), 0);
    }
    let mut number = OUTSTANDING;
    group.bench_function(
        "BTreeMap: schedule and cancel, 1 million outstanding",
        |bench| {
            bench.iter(|| {
                number += 1;
                let key = (noise.delay(), number);
                tree.insert(key, 0);
                tree.remove(&key)
            });
        },
    );
    let mut idle: BTreeMap<(Duration, u64), u64> = BTreeMap::new();
    let mut keys: Vec<_> = (0..IDLE_TIMERS as u64)
        .map(|n| (Duration::ZERO, n))
        .collect();
    idle.extend(keys.iter().map(|key| (*key, 0)));
    let mut clock = Duration::ZERO;
    group.bench_function("BTreeMap: move one of 10,000", |bench| {
        bench.iter(|| {
            clock += Duration::from_nanos(1);
            let at = noise.next() as usize % IDLE_TIMERS;
            let value = idle.remove(&keys[at]);
            keys[at].0 = clock;
            idle.insert(keys[at], value.unwrap_or_default());
        });
    });
    let mut heap: BinaryHeap<_> = (0..OUTSTANDING)
        .map(|number| Reverse((noise.delay(), number)))
        .collect();
    group.bench_function(
        "BinaryHeap: schedule and fire, 1 million outstanding",
        |bench| {
            bench.iter(|| {
                number += 1;
                heap.push(Reverse((
                    Duration::from_nanos(noise.next() % 1_000_000),
                    number,
                )));
                heap.pop()
            });
        },
    );
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20);
    targets = handlers, tasks, rivals
}
criterion_main!(benches);
