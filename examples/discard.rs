//! A server that reads and forgets, and prints each second how much that was.
//!
//! ```text
//! cargo run --release --example discard -- --port 9009
//! head -c 1G /dev/zero > /dev/tcp/127.0.0.1/9009      # in another bash
//! ```
//!
//! Port 0, the default, lets the system choose; the first line says which it was.

use std::env;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidegate::{
    Context, EventLoopGroup, Failure, Handler, HandlerResult, Message, ServerBootstrap,
};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("discard: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let port = port()?;
    let boss = EventLoopGroup::new(1)?;
    let workers = EventLoopGroup::builder().build()?;
    let totals = Arc::new(Totals::default());
    let counted = totals.clone();
    let server = ServerBootstrap::new(&boss, &workers)
        .child_handler(move |pipeline| pipeline.add_last(Discard(counted.clone())))
        .bind(("127.0.0.1", port))
        .sync()?;
    if let Some(address) = server.local_address() {
        println!("listening on {address}");
    }
    report(&totals)
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
}

/// Prints a line for each second, until somebody ends the program.
fn report(totals: &Totals) -> ! {
    let (mut bytes, mut messages) = (0, 0);
    let mut since = Instant::now();
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let seconds = since.elapsed().as_secs_f64();
        since = Instant::now();
        let bytes_now = totals.bytes.load(Ordering::Relaxed);
        let messages_now = totals.messages.load(Ordering::Relaxed);
        println!(
            "{} connections, {:.1} MiB/s, {:.0} messages/s, {bytes_now} bytes in all",
            totals.connections.load(Ordering::Relaxed),
            (bytes_now - bytes) as f64 / f64::from(1 << 20) / seconds,
            (messages_now - messages) as f64 / seconds,
        );
        (bytes, messages) = (bytes_now, messages_now);
    }
}

/// What follows `--port`; 0 if nothing was given.
fn port() -> Result<u16, Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Ok(0),
        ["--port", port] => port
            .parse()
            .map_err(|_| Failure::msg(format!("--port {port}: give a number from 0 to 65535"))),
        _ => Err(Failure::msg("usage: discard [--port N]")),
    }
}
