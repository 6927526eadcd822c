//! An echo server whose knobs are all within reach, for measuring with `echo_client`.
//!
//!     cargo run --release --example echo_server -- --port 8007 --threads 2 --spin 50us
//!
//! It prints where it listens, and what it has served when SIGINT or SIGTERM stops it. With `--handlers 3` three handlers that pass everything
//! on stand in front of the echo; with `--stats 1` the counters of its loops are printed every second.

use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use tidegate::channel::events::ChannelInputShutdown;
use tidegate::channel::options::{ALLOW_HALF_CLOSURE, SO_BACKLOG, WRITE_SPIN_COUNT};
use tidegate::{
    Backend, Context, Error, EventLoop, EventLoopGroup, Failure, Handler, HandlerResult, Message,
    Promise, ServerBootstrap, Spin,
};

#[path = "common/args.rs"]
mod args;
#[path = "common/limits.rs"]
mod limits;
#[path = "common/stop.rs"]
mod stop;
#[path = "common/tell.rs"]
mod tell;

use tell::say;

const USAGE: &str =
    "echo_server [--host HOST] [--port N] [--threads N] [--boss N] [--io-ratio PERCENT]
    [--spin off|POLLS|MICROSECONDSus|adaptive] [--write-spin N] [--handlers N]
    [--backend epoll|epoll-level|kqueue|poll] [--stats SECONDS]";

/// The longest that `--spin adaptive` polls. About what it costs to be woken.
const ADAPTIVE_MAX: Duration = Duration::from_micros(50);

/// Sends back what it gets; stops reading while the peer does not take it.
struct Echo;

impl Handler for Echo {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.write(msg);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        if !ctx.is_writable() {
            ctx.set_auto_read(false);
        }
        Ok(())
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let writable = ctx.is_writable();
        ctx.set_auto_read(writable);
        Ok(())
    }

    /// The peer has said all that it will, and may still be reading: it gets the rest of its echo before the end.
    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        if event.is::<ChannelInputShutdown>() {
            // An empty write is done when all before it are.
            ctx.write_future("").close_when_done();
            ctx.flush();
        }
        Ok(())
    }

    /// Mostly a peer that broke off: there is nobody left to tell.
    fn exception_caught(&mut self, ctx: &mut Context<'_>, _cause: Failure) -> HandlerResult {
        ctx.close();
        Ok(())
    }
}

/// Passes on what it overrides, so that events really stop at it; the default bodies would be skipped.
struct Pass;

impl Handler for Pass {
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

/// `--spin`.
struct SpinArg(Spin);

impl FromStr for SpinArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u32>().map_err(|error| error.to_string());
        Ok(Self(match text {
            "off" => Spin::Off,
            "adaptive" => Spin::Adaptive { max: ADAPTIVE_MAX },
            _ => match text.strip_suffix("us") {
                Some(micros) => Spin::For(Duration::from_micros(number(micros)?.into())),
                None => Spin::Count(number(text)?),
            },
        }))
    }
}

fn main() -> ExitCode {
    tell::run("echo_server", serve)
}

fn serve() -> Result<(), Error> {
    let mut args = args::Args::from_env(USAGE);
    let host: String = args.get("host", "127.0.0.1".to_owned());
    let port: u16 = args.get("port", 8007);
    let listeners: usize = args.get("boss", 1);
    let threads: usize = args.get("threads", 0);
    let handlers: usize = args.get("handlers", 0);
    let write_spin: i32 = args.get("write-spin", 16);
    let stats: Option<Seconds> = args.optional("stats");
    let loops = EventLoopGroup::builder()
        .io_ratio(args.get("io-ratio", 50))
        .spin(args.get("spin", SpinArg(Spin::Off)).0)
        .selector(args.get("backend", Backend::default()));
    args.finish();

    limits::raise_descriptors();
    let stop = stop::Stop::on_signals()?;
    let boss = loops
        .clone()
        .name("boss")
        .threads(listeners.max(1))
        .build()?;
    let workers = loops.name("worker").threads(threads).build()?;
    let server = ServerBootstrap::new(&boss, &workers)
        .shards(boss.len())
        .option(SO_BACKLOG, 1024)
        .child_option(ALLOW_HALF_CLOSURE, true)
        .child_option(WRITE_SPIN_COUNT, write_spin)
        .child_handler(move |pipeline| {
            for _ in 0..handlers {
                pipeline.add_last(Pass)?;
            }
            pipeline.add_last(Echo)
        })
        .bind((host.as_str(), port))
        .sync()?;
    if let Some(address) = server.local_address() {
        say(&format!("listening on {address}"));
    }
    if let Some(Seconds(pause)) = stats {
        // Loops are named here, not held: the group still ends when it is asked to.
        let loops: Vec<EventLoop> = workers.iter().cloned().collect();
        boss.next()
            .schedule_at_fixed_rate(pause, pause, move || loops.iter().for_each(tell_loop));
    }
    let stopped = stop.wait(Some(&server));
    server.close().sync()?;
    for group in [&boss, &workers] {
        group
            .shutdown_gracefully(Duration::ZERO, Duration::from_secs(5))
            .sync()?;
    }
    let accepted: u64 = boss.iter().map(|each| each.metrics().accepted).sum();
    say(&format!("served {accepted} connections"));
    workers.iter().for_each(tell_loop);
    stopped
}

/// Prints the counters of a loop.
fn tell_loop(event_loop: &EventLoop) {
    let now = event_loop.metrics();
    if now.turns == 0 {
        // It has not even a thread yet.
        return;
    }
    say(&format!(
        "{}: {} channels, {} turns, {} events, {} tasks, {:.1?} I/O, {:.1?} spinning, {:.1?} asleep",
        event_loop.name(),
        now.channels,
        now.turns,
        now.events,
        now.tasks_run,
        now.time_in_io,
        now.time_spinning,
        now.time_asleep,
    ));
}

/// `--stats`.
struct Seconds(Duration);

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse().map(Duration::try_from_secs_f64) {
            Ok(Ok(time)) if !time.is_zero() => Ok(Self(time)),
            _ => Err("expected seconds, more than 0".to_owned()),
        }
    }
}
