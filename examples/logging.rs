//! An echo server whose log can be seen: what the library tells by itself, and every event of each connection.
//!
//! ```text
//! cargo run --release --example logging -- --port 9010
//! exec 3<>/dev/tcp/127.0.0.1/9010; echo hello >&3; head -n 1 <&3      # in another bash
//! echo oops >&3                                                       # an error that no handler takes
//! ```
//!
//! The library tells what happens through the crate `tracing` and shows nothing itself; `main` installs who shows it, here on
//! standard error. `--log warn` leaves what goes wrong, `--log tidegate::event_loop=debug,tidegate=warn` chooses by module.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use tidegate::handler::logging::Logging;
use tidegate::{
    Context, Error, EventLoopGroup, Failure, Handler, HandlerResult, Message, ServerBootstrap,
};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[path = "common/args.rs"]
mod args;
#[path = "common/stop.rs"]
mod stop;
#[path = "common/tell.rs"]
mod tell;

fn main() -> ExitCode {
    tell::run("logging", serve)
}

fn serve() -> Result<(), Error> {
    let mut args = args::Args::from_env("logging [--port N] [--log LEVEL or TARGET=LEVEL,...]");
    let port: u16 = args.get("port", 0);
    let everything = Targets::new().with_target("tidegate", Level::DEBUG);
    let wanted: Targets = args.get("log", everything);
    args.finish();
    // Before anything else of the library, or its first words are lost.
    tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().with_writer(io::stderr))
        .with(wanted)
        .init();
    let stop = stop::Stop::on_signals()?;
    let group = EventLoopGroup::new(1)?;
    let server = ServerBootstrap::new(&group, &group)
        .child_handler(|pipeline| {
            // The first: it sees what comes from the wire before the others do, and what goes there after them.
            pipeline.add_last(Logging::new(Level::DEBUG).dump_max(64))?;
            pipeline.add_last(Echo)
        })
        .bind(("127.0.0.1", port))
        .sync()?;
    if let Some(address) = server.local_address() {
        tell::say(&format!("listening on {address}"));
    }
    let stopped = stop.wait(Some(&server));
    group
        .shutdown_gracefully(Duration::ZERO, Duration::from_secs(5))
        .sync()?;
    stopped
}

/// Sends back what arrives, and fails where that begins with `oops`. It has no `exception_caught`: the end of the pipeline
/// logs the error and closes the channel.
struct Echo;

impl Handler for Echo {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        if msg
            .as_bytes()
            .is_some_and(|bytes| bytes.starts_with(b"oops"))
        {
            return Err(Failure::msg("the peer said oops"));
        }
        ctx.write(msg);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        Ok(())
    }
}
