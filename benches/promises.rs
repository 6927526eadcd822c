//! Promises and futures: made, completed, listened to.
//!
//! `make bench BENCH=promises`. The rival of a promise that carries a value to another thread is a bounded channel of one.

use std::cell::Cell;
use std::hint::black_box;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tidegate::future::{Combiner, OnCaller, Promise, TaskPromise};

thread_local! {
    /// What listeners count into, so that they do something.
    static HEARD: Cell<u64> = const { Cell::new(0) };
}

fn heard() {
    HEARD.set(HEARD.get() + 1);
}

fn unit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("promise");
    let host = OnCaller::host();
    group.bench_function("void: made and completed", |bench| {
        bench.iter(|| black_box(Promise::void()).try_success());
    });
    group.bench_function("made, completed, dropped", |bench| {
        bench.iter(|| black_box(Promise::new(host.clone())).try_success());
    });
    group.bench_function("one listener", |bench| {
        bench.iter(|| {
            let promise = Promise::new(host.clone());
            promise.completion().add_listener(|_| heard());
            promise.try_success()
        });
    });
    group.bench_function("three listeners", |bench| {
        bench.iter(|| {
            let promise = Promise::new(host.clone());
            let completion = promise.completion();
            for _ in 0..3 {
                completion.add_listener(|_| heard());
            }
            promise.try_success()
        });
    });
    group.bench_function("8 combined into one", |bench| {
        bench.iter(|| {
            let combiner = Combiner::new();
            let parts: Vec<_> = (0..8).map(|_| Promise::new(host.clone())).collect();
            for part in &parts {
                combiner.add(&part.completion());
            }
            let whole = Promise::new(host.clone());
            let completion = whole.completion();
            combiner.finish(whole);
            for part in &parts {
                part.try_success();
            }
            completion.is_success()
        });
    });
    group.finish();
}

fn values(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("promise of a value");
    let host = OnCaller::host();
    group.bench_function("made, completed, taken", |bench| {
        bench.iter(|| {
            let (promise, future) = TaskPromise::pair(host.clone());
            let _ = promise.try_success(black_box(7u64));
            future.get_now()
        });
    });
    group.bench_function("rival: std sync_channel(1)", |bench| {
        bench.iter(|| {
            let (sender, receiver) = sync_channel(1);
            let _ = sender.send(black_box(7u64));
            receiver.try_recv()
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30);
    targets = unit, values
}
criterion_main!(benches);
