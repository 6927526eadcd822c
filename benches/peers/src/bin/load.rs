//! The load generator by itself: loads the echo server at an address, and prints what came of it on one line.
//!
//!     load --connect HOST:PORT [--connections N] [--size BYTES] [--window N] [--rate MESSAGES_PER_SECOND]
//!          [--warm-up SECONDS] [--seconds N | --messages N] [--rest SECONDS] [--cpu N] [--pid SERVER]
//!
//! `--rest` makes peers that read slowly: they rest so long before each look at their sockets.

use std::io;
use std::net::SocketAddr;

use tidegate_peers::args::Args;
use tidegate_peers::choice::seconds;
use tidegate_peers::load;
use tidegate_peers::os;
use tidegate_peers::plan::Plan;
use tidegate_peers::round::Turn;

const USAGE: &str = "load --connect HOST:PORT [--connections N] [--size BYTES] [--window N]
    [--rate MESSAGES_PER_SECOND] [--warm-up SECONDS] [--seconds N | --messages N]
    [--rest SECONDS] [--cpu N] [--pid SERVER]";

fn main() -> io::Result<()> {
    let mut args = Args::from_env(USAGE);
    let Some(address) = args.optional::<SocketAddr>("connect") else {
        args.refuse("--connect is missing");
    };
    let messages: Option<u64> = args.optional("messages");
    let plan = Plan {
        connections: args.get("connections", 1),
        size: args.get("size", 64),
        window: args.get("window", 1),
        rate: args.optional("rate"),
        warm_up: seconds(&mut args, "warm-up", 0.0),
        time: seconds(&mut args, "seconds", 1.0),
        messages,
        rest: seconds(&mut args, "rest", 0.0),
    };
    let server: Option<u32> = args.optional("pid");
    let cpu: Option<usize> = args.optional("cpu");
    let is_wrong = plan.connections == 0 || plan.size == 0 || plan.window == 0;
    if is_wrong || plan.rate.is_some_and(|rate| rate.is_nan() || rate <= 0.0) {
        args.refuse("connections, size and window are at least 1, and the rate is more than 0");
    }
    args.finish();
    if let Some(cpu) = cpu {
        os::pin(cpu)?;
    }
    os::raise_descriptors()?;
    let outcome = load::run(&plan, address, server)?;
    let turn = Turn::of(&outcome);
    println!(
        "messages {} in {:.3} s, {:.0}/s, latency µs p50 {:.1} p99 {:.1} p99.9 {:.1}, CPU µs per message {:.3}, \
         fewest of most {:.2}, all messages {}",
        outcome.messages,
        outcome.time.as_secs_f64(),
        turn.rate,
        turn.p50_ns / 1e3,
        turn.p99_ns / 1e3,
        turn.p999_ns / 1e3,
        turn.cpu_ns / 1e3,
        turn.fairness,
        outcome.messages_total,
    );
    Ok(())
}
