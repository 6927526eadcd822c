//! A TCP proxy: for each client a connection to the real server, and two pipelines back to back.
//!
//!     cargo run --release --example tcp_proxy -- --listen 127.0.0.1:8008 --to 127.0.0.1:8007
//!
//! Bytes pass in `side`; this is what is around it.
//!
//! Back-pressure: a side is read only while the other side takes what it is given, so a slow reader costs at most a
//! watermark of memory per direction. Half-close: the end of one direction is passed on after everything that came
//! before it, and the other direction lives on. A connection that breaks, or can't be made, is no end: the other side is reset, so
//! that nobody takes a part for the whole. So are both when one reads nothing for `--patience` seconds of what waits for it: it
//! would hold the other for ever.
//!
//! Both sides live on the loop of the client's connection. They still speak through [`Channel`], whose calls are
//! direct on that loop and would be tasks between two.

use std::process::ExitCode;
use std::time::Duration;

use tidegate::{Error, EventLoopGroup};

#[path = "../common/args.rs"]
mod args;
#[path = "../common/limits.rs"]
mod limits;
mod side;
#[path = "../common/stop.rs"]
mod stop;
#[path = "../common/tell.rs"]
mod tell;

const USAGE: &str =
    "tcp_proxy [--listen HOST:PORT] [--to HOST:PORT] [--threads N] [--patience SECONDS]";

fn main() -> ExitCode {
    tell::run("tcp_proxy", serve)
}

fn serve() -> Result<(), Error> {
    let mut args = args::Args::from_env(USAGE);
    let listen: String = args.get("listen", "127.0.0.1:8008".to_owned());
    let to: String = args.get("to", "127.0.0.1:8007".to_owned());
    let threads: usize = args.get("threads", 0);
    let patience: u64 = args.get("patience", 60);
    args.finish();

    limits::raise_descriptors();
    let stop = stop::Stop::on_signals()?;
    let boss = EventLoopGroup::new(1)?;
    let workers = EventLoopGroup::new(threads)?;
    let server = side::server(&boss, &workers, to, Duration::from_secs(patience))
        .bind(listen.as_str())
        .sync()?;
    if let Some(address) = server.local_address() {
        tell::say(&format!("listening on {address}"));
    }
    let stopped = stop.wait(Some(&server));
    for group in [&boss, &workers] {
        group
            .shutdown_gracefully(Duration::ZERO, Duration::from_secs(5))
            .sync()?;
    }
    stopped
}
