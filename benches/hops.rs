//! What one more handler costs an event: the program whose instructions `benches/hops.sh` counts under callgrind.
//!
//! `hops CASE HANDLERS EVENTS` sends EVENTS events through an embedded channel of HANDLERS handlers. Everything but the
//! hops (entering the pipeline, making and dropping the message, the end of the walk) is the same for any number
//! of handlers and disappears in the difference of two runs.
//!
//! | case | event | each handler |
//! |---|---|---|
//! | inbound | `channel_read` with 64 bytes | overrides it and forwards the message |
//! | bare | `channel_read_complete` | overrides it and forwards |
//! | outbound | `write` of 64 bytes, void promise | overrides it and forwards message and promise |
//! | flush | `flush` | overrides it and forwards |
//! | skipped | `channel_read_complete` | leaves it to the default, which the pipeline learns at the first event |

use std::hint::black_box;
use std::process::ExitCode;

use bytes::Bytes;
use tidegate::{
    Context, EmbeddedChannel, Failure, Handler, HandlerResult, Message, Pipeline, Promise,
};

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

    fn flush(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        Ok(())
    }
}

/// Overrides nothing.
struct Idle;

impl Handler for Idle {}

/// Ends every walk, from whichever side it comes, and counts.
#[derive(Default)]
struct Sink {
    events: u64,
}

impl Handler for Sink {
    fn channel_read(&mut self, _ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.events += 1;
        drop(msg);
        Ok(())
    }

    fn channel_read_complete(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.events += 1;
        Ok(())
    }

    fn write(&mut self, _ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        self.events += 1;
        drop(msg);
        promise.try_success();
        Ok(())
    }

    fn flush(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.events += 1;
        Ok(())
    }
}

fn run(case: &str, handlers: usize, events: u64) -> Result<u64, Failure> {
    let outbound = matches!(case, "outbound" | "flush");
    let skipped = case == "skipped";
    let mut channel = EmbeddedChannel::new(|pipeline| {
        if outbound {
            pipeline.add_last(Sink::default())?;
        }
        for _ in 0..handlers {
            if skipped {
                pipeline.add_last(Idle)?;
            } else {
                pipeline.add_last(Forward)?;
            }
        }
        if outbound {
            Ok(())
        } else {
            pipeline.add_last(Sink::default())
        }
    })?;
    let counted = |pipeline: &mut Pipeline<'_>| pipeline.with(|sink: &mut Sink| sink.events);
    // Becoming active brought events of its own.
    let before = channel.pipeline(counted)?;
    let bytes = Bytes::from(vec![7; 64]);
    match case {
        "inbound" => channel.pipeline(|pipeline| {
            for _ in 0..events {
                pipeline.fire_channel_read(black_box(bytes.clone()));
            }
        }),
        "bare" | "skipped" => channel.pipeline(|pipeline| {
            for _ in 0..events {
                pipeline.fire_channel_read_complete();
            }
        }),
        "outbound" => channel.run(|channel| {
            for _ in 0..events {
                channel.write(black_box(bytes.clone()));
            }
        }),
        "flush" => channel.run(|channel| {
            for _ in 0..events {
                channel.flush();
            }
        }),
        _ => {
            return Err(Failure::msg(
                "the cases are inbound, bare, outbound, flush and skipped",
            ));
        }
    }
    Ok(channel.pipeline(counted)? - before)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let parsed = match arguments.as_slice() {
        // What a bare `cargo bench` does: every case once, to see that it runs.
        [] => return smoke(),
        [case, handlers, events] => handlers
            .parse()
            .ok()
            .zip(events.parse().ok())
            .map(|numbers| (case, numbers)),
        _ => None,
    };
    let Some((case, (handlers, events))) = parsed else {
        eprintln!("hops CASE HANDLERS EVENTS");
        return ExitCode::from(2);
    };
    finish(case, handlers, events)
}

fn smoke() -> ExitCode {
    let ok = ["inbound", "bare", "outbound", "skipped"]
        .iter()
        .all(|case| finish(case, 3, 1000) == ExitCode::SUCCESS);
    println!("instructions per hop are counted by `make hops`");
    if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn finish(case: &str, handlers: usize, events: u64) -> ExitCode {
    match run(case, handlers, events) {
        Ok(seen) if seen == events => ExitCode::SUCCESS,
        Ok(seen) => {
            eprintln!("hops {case}: {seen} of {events} events arrived");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("hops {case}: {error}");
            ExitCode::from(2)
        }
    }
}
