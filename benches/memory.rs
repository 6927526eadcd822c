//! The two pieces of memory that every message passes: the outbound buffer and the receive arena.
//!
//! `make bench BENCH=memory`. Figures are for one message of 64 bytes unless the name says otherwise. Rivals: a
//! `VecDeque` of bytes that is drained as the kernel takes them, and a fresh vector for each read.

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidegate::buffer::{Arena, Message};
use tidegate::channel::OutboundBuffer;
use tidegate::future::{OnCaller, Promise};

/// Bytes of a message.
const SIZE: usize = 64;
/// Writes before a flush.
const BATCH: usize = 16;

fn outbound(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("outbound buffer");
    let bytes = Bytes::from_static(&[7; SIZE]);
    let message = || Message::from(black_box(bytes.clone()));

    let mut buffer = OutboundBuffer::default();
    group.bench_function("add, flush, taken whole", |bench| {
        bench.iter(|| {
            buffer.add(message(), SIZE, Promise::void());
            let _ = buffer.add_flush();
            buffer.gather(|slices, _| black_box(slices.len()));
            let _ = buffer.advance(SIZE);
        });
    });
    let host = OnCaller::host();
    group.bench_function("the same with a promise", |bench| {
        bench.iter(|| {
            let promise = Promise::new(host.clone());
            buffer.add(message(), SIZE, promise);
            let _ = buffer.add_flush();
            let _ = buffer.advance(SIZE);
            while let Some(settled) = buffer.take_settled() {
                settled.finish();
            }
        });
    });
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("16 added, one flush, taken whole", |bench| {
        bench.iter(|| {
            for _ in 0..BATCH {
                buffer.add(message(), SIZE, Promise::void());
            }
            let _ = buffer.add_flush();
            let count = buffer.gather(|slices, _| black_box(slices.len()));
            let _ = buffer.advance(BATCH * SIZE);
            count
        });
    });
    group.bench_function(
        "16 added, one flush, taken in thirds of a message",
        |bench| {
            bench.iter(|| {
                for _ in 0..BATCH {
                    buffer.add(message(), SIZE, Promise::void());
                }
                let _ = buffer.add_flush();
                let mut left = BATCH * SIZE;
                while left > 0 {
                    let taken = left.min(SIZE / 3);
                    buffer.gather(|slices, _| black_box(slices.len()));
                    let _ = buffer.advance(taken);
                    left -= taken;
                }
            });
        },
    );
    group.bench_function("16 taken in thirds, rival: VecDeque<Bytes>", |bench| {
        let mut queue = VecDeque::new();
        bench.iter(|| {
            for _ in 0..BATCH {
                queue.push_back(black_box(bytes.clone()));
            }
            while let Some(front) = queue.front_mut() {
                let taken = front.len().min(SIZE / 3);
                front.advance(black_box(taken));
                if front.is_empty() {
                    queue.pop_front();
                }
            }
        });
    });
    group.finish();
}

fn arena(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("receive arena");
    let source = [7u8; 16 * 1024];
    for size in [64, 1024, 16 * 1024] {
        let mut arena = Arena::new();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("read {size} bytes, drop them"), |bench| {
            bench.iter(|| {
                let read = arena.read(2048.max(size), |room, _| {
                    room.put_slice(&source[..size]);
                    Ok(size)
                });
                arena.trim();
                black_box(read)
            });
        });
        group.bench_function(format!("read {size} bytes, rival: Vec"), |bench| {
            bench.iter(|| {
                let mut room = Vec::with_capacity(2048.max(size));
                room.put_slice(&source[..size]);
                black_box(room)
            });
        });
    }
    let mut arena = Arena::new();
    let mut kept = VecDeque::with_capacity(64);
    group.throughput(Throughput::Bytes(1024));
    group.bench_function("read 1024 bytes, keep the last 64 reads", |bench| {
        bench.iter(|| {
            let read = arena.read(2048, |room, _| {
                room.put_slice(&source[..1024]);
                Ok(1024)
            });
            if kept.len() == 64 {
                kept.pop_front();
            }
            kept.push_back(read);
            arena.trim();
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
    targets = outbound, arena
}
criterion_main!(benches);
