//! Answers requests with their bytes backwards, each when it is ready: answers overtake each other.
//!
//! ```text
//! cargo run --release --example rpc_server -- --port 8017 --delay-ms 20
//! cargo run --release --example rpc_client -- --connect 127.0.0.1:8017
//! ```
//!
//! Requests of one connection are independent, so a slow one holds nobody up: with `--delay-ms N` every request waits
//! for 0 to N milliseconds, by its id, as if it asked another service.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use tidegate::channel::options::TCP_NODELAY;
use tidegate::handler::codec::Codec;
use tidegate::{
    Context, Error, EventLoopGroup, Failure, Handler, HandlerResult, Message, ServerBootstrap,
};

#[path = "common/args.rs"]
mod args;
#[path = "common/limits.rs"]
mod limits;
#[path = "common/rpc.rs"]
mod rpc;
#[path = "common/stop.rs"]
mod stop;
#[path = "common/tell.rs"]
mod tell;

use rpc::{Frame, FrameCodec};

/// Requests of one connection that may be under way; with more its reading pauses.
const UNDER_WAY_MAX: usize = 1024;

fn main() -> ExitCode {
    tell::run("rpc_server", serve)
}

fn serve() -> Result<(), Error> {
    let mut args = args::Args::from_env("rpc_server [--port N] [--delay-ms N]");
    let port: u16 = args.get("port", 8017);
    let delay_ms: u64 = args.get("delay-ms", 0);
    args.finish();
    limits::raise_descriptors();
    let stop = stop::Stop::on_signals()?;
    let boss = EventLoopGroup::new(1)?;
    let workers = EventLoopGroup::builder().build()?;
    let server = ServerBootstrap::new(&boss, &workers)
        .child_option(TCP_NODELAY, true)
        .child_handler(move |pipeline| {
            pipeline.add_last(Codec::new(FrameCodec::new()))?;
            pipeline.add_last(Answers {
                delay_ms,
                under_way: HashMap::new(),
            })
        })
        .bind(("127.0.0.1", port))
        .sync()?;
    if let Some(address) = server.local_address() {
        tell::say(&format!("listening on {address}"));
    }
    let stopped = stop.wait(Some(&server));
    server.close().sync()?;
    for group in [&boss, &workers] {
        group
            .shutdown_gracefully(Duration::ZERO, Duration::from_secs(5))
            .sync()?;
    }
    stopped
}

/// The requests of one connection.
struct Answers {
    delay_ms: u64,
    /// Requests that wait for their time, by their ids. A timer comes back with the id as its key.
    under_way: HashMap<u64, Frame>,
}

impl Answers {
    fn answer(&mut self, ctx: &mut Context<'_>, request: Frame) {
        let body = rpc::reversed(&request.body);
        ctx.write(Message::new(Frame { body, ..request }));
    }

    /// Reads on if there is room for more requests, and for their answers.
    fn pause_or_go_on(&self, ctx: &mut Context<'_>) {
        let has_room = self.under_way.len() < UNDER_WAY_MAX && ctx.is_writable();
        if has_room != ctx.auto_read() {
            ctx.set_auto_read(has_room);
        }
    }
}

impl Handler for Answers {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        let request = match msg.downcast::<Frame>() {
            Ok(request) => request,
            Err(other) => {
                ctx.fire_channel_read(other);
                return Ok(());
            }
        };
        if self.delay_ms == 0 {
            self.answer(ctx, request);
        } else {
            // Any mapping of ids to delays that isn't monotonous will do.
            let delay = request.id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
            let delay = Duration::from_millis(delay % (self.delay_ms + 1));
            let id = request.id;
            if self.under_way.insert(id, request).is_some() {
                return Err(Failure::msg(format!("request {id} is under way already")));
            }
            ctx.timer(delay, id);
            self.pause_or_go_on(ctx);
        }
        Ok(())
    }

    fn timer(&mut self, ctx: &mut Context<'_>, key: u64) -> HandlerResult {
        if let Some(request) = self.under_way.remove(&key) {
            self.answer(ctx, request);
            ctx.flush();
            self.pause_or_go_on(ctx);
        }
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        self.pause_or_go_on(ctx);
        Ok(())
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.pause_or_go_on(ctx);
        Ok(())
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        tell::say(&format!("{}: {cause}", ctx.channel().id()));
        ctx.close();
        Ok(())
    }
}
