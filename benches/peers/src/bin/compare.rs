//! Every server under every scenario, in turns, and the tables of it (`make bench-peers`).
//!
//!     compare [--scenarios pp1,pp64] [--servers raw,tidegate] [--rounds 24] [--starts 4] [--seconds 0.25] [--warm-up 0.1]
//!             [--server-cpu 0] [--load-cpu 1] [--out FOLDER]
//!
//! Many short turns beside each other rather than few long ones: the speed of a shared machine changes from second to second, by
//! more than what is to be told apart, and what two turns have in common is gone from their ratio. 5 rounds of a second
//! gave 0.1 more or less for the same server twice, 24 of a quarter give 0.02. The servers stay between the rounds, stopped
//! while it is not their turn, but are started anew some times: where memory happens to lie is a chance of its own.
//!
//! Progress goes to standard error, the tables to standard output; with `--out` the folder gets peers.md, peers.json and
//! peers.svg. The reference is measured whether or not it is asked for.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use tidegate_peers::args::Args;
use tidegate_peers::choice::{chosen, seconds};
use tidegate_peers::plan::{REFERENCE, SCENARIOS, SERVERS, Scenario, Server};
use tidegate_peers::round::{Setting, Stander, Turn};
use tidegate_peers::stats::{Figure, Results};
use tidegate_peers::{machine, os, picture, report};

const USAGE: &str =
    "compare [--scenarios NAME,NAME] [--servers NAME,NAME] [--rounds N] [--starts N] [--seconds N] [--warm-up N]
    [--server-cpu N] [--load-cpu N] [--out FOLDER]";

/// Rounds of the scenario in which nothing happens.
const IDLE: &[usize] = &[5];

fn main() -> io::Result<()> {
    let mut args = Args::from_env(USAGE);
    let scenarios = chosen(&mut args, "scenarios", SCENARIOS.iter(), |load| load.name);
    let mut servers = chosen(&mut args, "servers", SERVERS.iter(), |server| server.name);
    if !servers.iter().any(|server| server.name == REFERENCE) {
        servers.extend(SERVERS.iter().find(|server| server.name == REFERENCE));
        servers.rotate_right(1);
    }
    let rounds: usize = args.get("rounds", 24);
    let starts: usize = args.get("starts", 4);
    let setting = Setting {
        warm_up: seconds(&mut args, "warm-up", 0.1),
        time: seconds(&mut args, "seconds", 0.25),
        server_cpu: args.get("server-cpu", 0),
    };
    let load_cpu: usize = args.get("load-cpu", 1);
    let out: Option<PathBuf> = args.optional("out");
    args.finish();

    os::pin(load_cpu)?;
    os::raise_descriptors()?;
    // Rounds with the same processes, as evenly as they go.
    let blocks: Vec<usize> = (0..starts.clamp(1, rounds.max(1)))
        .map(|start| (rounds + start) / starts.clamp(1, rounds.max(1)))
        .collect();
    let results = measure(&scenarios, &servers, &blocks, &setting)?;
    let facts = machine::describe();
    let tables = report::tables(&results, &facts);
    print!("{tables}");
    if let Some(folder) = out {
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("peers.md"), &tables)?;
        fs::write(folder.join("peers.json"), report::json(&results, &facts))?;
        fs::write(folder.join("peers.svg"), picture::bars(&results, &facts))?;
        eprintln!("==> {}/peers.md, peers.json, peers.svg", folder.display());
    }
    Ok(())
}

/// Each block is so many rounds with processes of its own.
fn measure(
    scenarios: &[&'static Scenario],
    servers: &[&'static Server],
    blocks: &[usize],
    setting: &Setting,
) -> io::Result<Results> {
    let mut results = Results::default();
    let began = Instant::now();
    for scenario in scenarios {
        let takes_part = |server: &&&Server| scenario.is_for_polling || !server.is_polling;
        // A second in which nothing happens differs little from the next.
        let blocks = if scenario.is_idle { IDLE } else { blocks };
        let mut round = 0;
        for rounds in blocks {
            let rounds = &scenario.rounds_of(*rounds);
            let standers: io::Result<Vec<_>> = servers
                .iter()
                .filter(takes_part)
                .map(|server| Stander::start(server, setting.server_cpu))
                .collect();
            let standers = standers?;
            for _ in 0..*rounds {
                // Each is the first one in its turn.
                for place in 0..standers.len() {
                    let stander = &standers[(place + round) % standers.len()];
                    let figures = stander.turn(scenario, setting)?;
                    tell(scenario, round + 1, stander.server, &figures);
                    results.add(scenario, stander.server, figures);
                }
                round += 1;
            }
        }
        for server in servers.iter().filter(|_| !scenario.is_idle) {
            if let Some(ratio) = results.ratio(scenario.name, server.name, Figure::Cpu) {
                eprint!("  {} {ratio:.2}", server.name);
            }
        }
        eprintln!("  (CPU, {} s so far)", began.elapsed().as_secs());
    }
    Ok(results)
}

fn tell(scenario: &Scenario, round: usize, server: &Server, turn: &Turn) {
    let name = format!("{} {round} {}", scenario.name, server.name);
    if scenario.is_idle {
        eprintln!("{name:32} {:6.2} % of a processor", turn.cpu_ns / 1e7);
        return;
    }
    eprintln!(
        "{name:32} {:9.0}/s  CPU {:7.3} µs  p50 {:9.1} µs  p99 {:9.1} µs",
        turn.rate,
        turn.cpu_ns / 1e3,
        turn.p50_ns / 1e3,
        turn.p99_ns / 1e3,
    );
}
