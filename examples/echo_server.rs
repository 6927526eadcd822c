//! An echo server whose knobs are all within reach, for measuring with `echo_client`.
//!
//!     cargo run --release --example echo_server -- --port 8007 --threads 2 --spin 50us
//!
//! It prints where it listens and runs until it is killed. With `--handlers 3` three handlers that pass everything
//! on stand in front of the echo; with `--stats 1` the counters of its loops are printed every second.

use std::str::FromStr;
use std::time::Duration;

use tidegate::channel::options::WRITE_SPIN_COUNT;
use tidegate::{
    Backend, Context, Error, EventLoopGroup, Handler, HandlerResult, Message, Promise,
    ServerBootstrap, Spin,
};

#[path = "common/args.rs"]
mod args;

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

fn main() -> Result<(), Error> {
    let mut args = args::Args::from_env(USAGE);
    let host: String = args.get("host", "127.0.0.1".to_owned());
    let port: u16 = args.get("port", 8007);
    let boss: usize = args.get("boss", 1);
    let handlers: usize = args.get("handlers", 0);
    let write_spin: i32 = args.get("write-spin", 16);
    let stats: Option<f64> = args.optional("stats");
    let workers = EventLoopGroup::builder()
        .name("worker")
        .threads(args.get("threads", 0))
        .io_ratio(args.get("io-ratio", 50))
        .spin(args.get("spin", SpinArg(Spin::Off)).0)
        .selector(args.get("backend", Backend::default()));
    args.finish();

    let boss = EventLoopGroup::builder()
        .name("boss")
        .threads(boss)
        .build()?;
    let workers = workers.build()?;
    let server = ServerBootstrap::new(&boss, &workers)
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
        println!("listening on {address}");
    }
    match stats {
        Some(seconds) => tell(&workers, Duration::from_secs_f64(seconds)),
        None => server.close_future().sync().map(drop),
    }
}

/// Prints the counters of every loop, for ever.
fn tell(workers: &EventLoopGroup, pause: Duration) -> ! {
    loop {
        std::thread::sleep(pause);
        for event_loop in workers.iter() {
            let now = event_loop.metrics();
            println!(
                "{}: {} channels, {} turns, {} events, {} tasks, {:.1?} I/O, {:.1?} spinning, {:.1?} asleep",
                event_loop.name(),
                now.channels,
                now.turns,
                now.events,
                now.tasks_run,
                now.time_in_io,
                now.time_spinning,
                now.time_asleep,
            );
        }
    }
}
