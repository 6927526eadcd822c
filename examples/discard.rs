//! A server that reads and forgets, prints how much that was each second, and the sum when SIGINT or SIGTERM stops it.
//!
//! ```text
//! cargo run --release --example discard -- --port 9009
//! head -c 1G /dev/zero > /dev/tcp/127.0.0.1/9009      # in another bash
//! ```
//!
//! Port 0, the default, lets the system choose; the first line says which it was.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidegate::{
    Context, Error, EventLoopGroup, Failure, Handler, HandlerResult, Message, ServerBootstrap,
};

#[path = "common/args.rs"]
mod args;
#[path = "common/limits.rs"]
mod limits;
#[path = "common/stop.rs"]
mod stop;
#[path = "common/tell.rs"]
mod tell;

fn main() -> ExitCode {
    tell::run("discard", serve)
}

fn serve() -> Result<(), Error> {
    let mut args = args::Args::from_env("discard [--port N]");
    let port: u16 = args.get("port", 0);
    args.finish();
    limits::raise_descriptors();
    let stop = stop::Stop::on_signals()?;
    let boss = EventLoopGroup::new(1)?;
    let workers = EventLoopGroup::builder().build()?;
    let totals = Arc::new(Totals::default());
    let counted = totals.clone();
    let server = ServerBootstrap::new(&boss, &workers)
        .child_handler(move |pipeline| pipeline.add_last(Discard(counted.clone())))
        .bind(("127.0.0.1", port))
        .sync()?;
    if let Some(address) = server.local_address() {
        tell::say(&format!("listening on {address}"));
    }
    let mut report = Report::new(totals.clone());
    let second = Duration::from_secs(1);
    boss.next()
        .schedule_at_fixed_rate(second, second, move || report.print());
    let stopped = stop.wait(Some(&server));
    for group in [&boss, &workers] {
        group
            .shutdown_gracefully(Duration::ZERO, Duration::from_secs(5))
            .sync()?;
    }
    let bytes = totals.bytes.load(Ordering::Relaxed);
    tell::say(&format!("forgot {bytes} bytes in all"));
    stopped
}

/// Drops what arrives.
struct Discard(Arc<Totals>);

/// What all connections have brought.
#[derive(Default)]
struct Totals {
    connections: AtomicU64,
    bytes: AtomicU64,
    messages: AtomicU64,
}

impl Handler for Discard {
    fn channel_active(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.0.connections.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn channel_read(&mut self, _ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        let bytes = msg.readable_bytes().unwrap_or(0) as u64;
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.0.messages.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn channel_inactive(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }

    /// Mostly a peer that broke off, which is no news to someone who does not listen.
    fn exception_caught(&mut self, ctx: &mut Context<'_>, _cause: Failure) -> HandlerResult {
        ctx.close();
        Ok(())
    }
}

/// Prints a line for each second in which something came.
struct Report {
    totals: Arc<Totals>,
    /// As of the last line.
    bytes: u64,
    messages: u64,
    since: Instant,
}

impl Report {
    fn new(totals: Arc<Totals>) -> Self {
        Self {
            totals,
            bytes: 0,
            messages: 0,
            since: Instant::now(),
        }
    }

    fn print(&mut self) {
        let seconds = self.since.elapsed().as_secs_f64();
        let bytes = self.totals.bytes.load(Ordering::Relaxed);
        let messages = self.totals.messages.load(Ordering::Relaxed);
        if messages > self.messages {
            tell::say(&format!(
                "{} connections, {:.1} MiB/s, {:.0} messages/s, {bytes} bytes in all",
                self.totals.connections.load(Ordering::Relaxed),
                (bytes - self.bytes) as f64 / f64::from(1 << 20) / seconds,
                (messages - self.messages) as f64 / seconds,
            ));
        }
        (self.bytes, self.messages, self.since) = (bytes, messages, Instant::now());
    }
}
