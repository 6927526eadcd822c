//! Every server under every scenario, in turns, and the tables of it (`make bench-peers`).
//!
//!     compare [--scenarios pp1,pp64] [--servers raw,tidegate] [--rounds 5] [--seconds 1] [--warm-up 0.3]
//!             [--server-cpu 0] [--load-cpu 1] [--out FOLDER]
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
use tidegate_peers::round::{Setting, Turn, turn};
use tidegate_peers::stats::{Figure, Results};
use tidegate_peers::{machine, os, picture, report};

const USAGE: &str =
    "compare [--scenarios NAME,NAME] [--servers NAME,NAME] [--rounds N] [--seconds N] [--warm-up N]
    [--server-cpu N] [--load-cpu N] [--out FOLDER]";

fn main() -> io::Result<()> {
    let mut args = Args::from_env(USAGE);
    let scenarios = chosen(&mut args, "scenarios", SCENARIOS.iter(), |load| load.name);
    let mut servers = chosen(&mut args, "servers", SERVERS.iter(), |server| server.name);
    if !servers.iter().any(|server| server.name == REFERENCE) {
        servers.extend(SERVERS.iter().find(|server| server.name == REFERENCE));
        servers.rotate_right(1);
    }
    let rounds: usize = args.get("rounds", 5);
    let setting = Setting {
        warm_up: seconds(&mut args, "warm-up", 0.3),
        time: seconds(&mut args, "seconds", 1.0),
        server_cpu: args.get("server-cpu", 0),
    };
    let load_cpu: usize = args.get("load-cpu", 1);
    let out: Option<PathBuf> = args.optional("out");
    args.finish();

    os::pin(load_cpu)?;
    os::raise_descriptors()?;
    let results = measure(&scenarios, &servers, rounds, &setting)?;
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

fn measure(
    scenarios: &[&'static Scenario],
    servers: &[&'static Server],
    rounds: usize,
    setting: &Setting,
) -> io::Result<Results> {
    let mut results = Results::default();
    let began = Instant::now();
    for scenario in scenarios {
        for round in 1..=rounds {
            for server in servers {
                if server.is_polling && !scenario.is_for_polling {
                    continue;
                }
                let figures = turn(server, scenario, setting)?;
                tell(scenario, round, server, &figures);
                results.add(scenario, server, figures);
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
