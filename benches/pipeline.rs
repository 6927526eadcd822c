//! What a pipeline costs an event, in time: hops of each kind, and putting values into messages and taking them out.
//!
//! `make bench BENCH=pipeline`. `make hops` counts the instructions of the same hops. Each hop case sends one event
//! through 8 handlers, so a hop is an eighth of the figure, less what entering costs (the case with no handler).
//! Rivals: a row of boxed trait objects that call one another, which is what a pipeline without names, removal or
//! re-entrance rules would be; and `Box<dyn Any>` for messages.

use std::any::Any;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use tidegate::{Context, EmbeddedChannel, Handler, HandlerResult, Message, Pipeline, Promise};

/// Handlers in the row.
const HANDLERS: usize = 8;

/// Overrides what is measured and passes it on.
struct Forward;

impl Handler for Forward {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.fire_channel_read(msg);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.fire_channel_read_complete();
        Ok(())
    }

    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        ctx.write_with(msg, promise);
        Ok(())
    }
}

/// Overrides nothing.
struct Idle;

impl Handler for Idle {}

/// Keeps a message until it is called again, as decoders do with the second message of a buffer.
#[derive(Default)]
struct Resuming {
    kept: Option<Message>,
}

impl Handler for Resuming {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.kept = Some(msg);
        ctx.resume();
        Ok(())
    }

    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if let Some(msg) = self.kept.take() {
            ctx.fire_channel_read(msg);
        }
        Ok(())
    }
}

/// Ends every walk, from whichever side it comes.
struct Sink;

impl Handler for Sink {
    fn channel_read(&mut self, _ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        drop(black_box(msg));
        Ok(())
    }

    fn channel_read_complete(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        Ok(())
    }

    fn write(&mut self, _ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        drop(black_box(msg));
        promise.try_success();
        Ok(())
    }
}

/// A channel with so many handlers between two sinks.
fn channel<H: Handler>(handlers: usize, handler: impl Fn() -> H) -> EmbeddedChannel {
    EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Sink)?;
        for _ in 0..handlers {
            pipeline.add_last(handler())?;
        }
        pipeline.add_last(Inbound)
    })
    .expect("the handlers start")
}

/// The sink of inbound events alone, so that writes from the tail pass it.
struct Inbound;

impl Handler for Inbound {
    fn channel_read(&mut self, _ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        drop(black_box(msg));
        Ok(())
    }

    fn channel_read_complete(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        Ok(())
    }
}

/// As `channel`, without the sink at the head: for events that come from there.
fn inbound<H: Handler>(handlers: usize, handler: impl Fn() -> H) -> EmbeddedChannel {
    EmbeddedChannel::new(|pipeline| {
        for _ in 0..handlers {
            pipeline.add_last(handler())?;
        }
        pipeline.add_last(Inbound)
    })
    .expect("the handlers start")
}

/// How long `count` events take, each sent by `fire` to the head of the pipeline.
fn timed(channel: &mut EmbeddedChannel, count: u64, fire: impl Fn(&mut Pipeline<'_>)) -> Duration {
    channel.pipeline(|pipeline| {
        let began = Instant::now();
        for _ in 0..count {
            fire(pipeline);
        }
        began.elapsed()
    })
}

fn hops(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("8 hops");
    let bytes = Bytes::from_static(&[7; 64]);
    let read = |pipeline: &mut Pipeline<'_>| pipeline.fire_channel_read(black_box(bytes.clone()));
    let complete = |pipeline: &mut Pipeline<'_>| pipeline.fire_channel_read_complete();

    let mut row = inbound(0, || Forward);
    group.bench_function("none, only entering", |bench| {
        bench.iter_custom(|count| timed(&mut row, count, read));
    });
    let mut row = inbound(HANDLERS, || Forward);
    group.bench_function("inbound with a message", |bench| {
        bench.iter_custom(|count| timed(&mut row, count, read));
    });
    group.bench_function("inbound without", |bench| {
        bench.iter_custom(|count| timed(&mut row, count, complete));
    });
    let mut row = inbound(HANDLERS, || Idle);
    group.bench_function("skipped", |bench| {
        bench.iter_custom(|count| timed(&mut row, count, complete));
    });
    let mut row = inbound(HANDLERS, Resuming::default);
    group.bench_function("resumed", |bench| {
        bench.iter_custom(|count| timed(&mut row, count, read));
    });
    let mut row = channel(HANDLERS, || Forward);
    group.bench_function("outbound with a message", |bench| {
        bench.iter_custom(|count| {
            row.run(|channel| {
                let began = Instant::now();
                for _ in 0..count {
                    channel.write(black_box(bytes.clone()));
                }
                began.elapsed()
            })
        });
    });
    group.bench_function("rival: boxed calls", |bench| {
        let mut next: Box<dyn Call> = Box::new(Last);
        for _ in 0..HANDLERS {
            next = Box::new(Next(next));
        }
        bench.iter(|| next.call(Message::from(black_box(bytes.clone()))));
    });
    group.finish();
}

/// The rival of a hop.
trait Call {
    fn call(&mut self, msg: Message);
}

struct Next(Box<dyn Call>);

impl Call for Next {
    fn call(&mut self, msg: Message) {
        self.0.call(black_box(msg));
    }
}

struct Last;

impl Call for Last {
    fn call(&mut self, msg: Message) {
        drop(black_box(msg));
    }
}

/// A value that fits into a message, and one that needs a box.
type Small = [u64; 2];
type Large = [u64; 16];

fn messages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("message");
    group.bench_function("16 bytes in and out", |bench| {
        bench.iter(|| black_box(Message::new(black_box([1u64; 2]))).downcast::<Small>());
    });
    group.bench_function("16 bytes, rival: Box<dyn Any>", |bench| {
        bench.iter(|| {
            let erased: Box<dyn Any + Send> = Box::new(black_box([1u64; 2]));
            black_box(erased).downcast::<Small>()
        });
    });
    group.bench_function("128 bytes in and out", |bench| {
        bench.iter(|| black_box(Message::new(black_box([1u64; 16]))).downcast::<Large>());
    });
    group.bench_function("128 bytes, rival: Box<dyn Any>", |bench| {
        bench.iter(|| {
            let erased: Box<dyn Any + Send> = Box::new(black_box([1u64; 16]));
            black_box(erased).downcast::<Large>()
        });
    });
    let bytes = Bytes::from_static(&[7; 64]);
    group.bench_function("Bytes in and out", |bench| {
        bench.iter(|| black_box(Message::from(black_box(bytes.clone()))).into_bytes());
    });
    let wrong = Message::new([1u64; 2]);
    group.bench_function("another type asked for", |bench| {
        bench.iter(|| black_box(&wrong).downcast_ref::<Large>().is_none());
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30);
    targets = hops, messages
}
criterion_main!(benches);
