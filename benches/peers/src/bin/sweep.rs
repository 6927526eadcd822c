//! Each knob of the tuning page at several values, in turns, and the curves of it (`make sweep`).
//!
//!     sweep [--curves spin,reads] [--rounds 5] [--seconds 0.6] [--warm-up 0.2] [--server-cpu 0] [--load-cpu 1] [--out FOLDER]
//!
//! Progress goes to standard error, the CSV to standard output. With `--out` (the folder docs) bench/sweep.csv and
//! bench/sweep.svg are written and the tables in guide/tuning.md renewed; all curves must be there then.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tidegate_peers::args::Args;
use tidegate_peers::choice::{chosen, seconds};
use tidegate_peers::curves::{self, Swept};
use tidegate_peers::round::Setting;
use tidegate_peers::sweep::{CURVES, Curve};
use tidegate_peers::{machine, os};

/// The page with the tables, in the folder docs.
const TUNING: &str = "guide/tuning.md";

const USAGE: &str = "sweep [--curves NAME,NAME] [--rounds N] [--seconds N] [--warm-up N]
    [--server-cpu N] [--load-cpu N] [--out FOLDER]";

fn main() -> io::Result<()> {
    let mut args = Args::from_env(USAGE);
    let wanted = chosen(&mut args, "curves", CURVES.iter(), |curve| curve.name);
    let rounds: usize = args.get("rounds", 5);
    let setting = Setting {
        warm_up: seconds(&mut args, "warm-up", 0.2),
        time: seconds(&mut args, "seconds", 0.6),
        server_cpu: args.get("server-cpu", 0),
    };
    let load_cpu: usize = args.get("load-cpu", 1);
    let out: Option<PathBuf> = args.optional("out");
    if out.is_some() && wanted.len() < CURVES.len() {
        args.refuse("--out wants all curves: a part would take the place of the whole");
    }
    args.finish();

    if let Some(docs) = &out {
        // A mark that is missing should not show after minutes.
        let empty: Vec<_> = CURVES.iter().map(Swept::new).collect();
        renewed(docs, &empty, &[])?;
    }
    os::pin(load_cpu)?;
    os::raise_descriptors()?;
    let mut all = Vec::new();
    let began = Instant::now();
    for curve in wanted {
        all.push(measure(curve, rounds, &setting)?);
        eprintln!("  ({} s so far)", began.elapsed().as_secs());
    }
    let mut facts = machine::describe();
    facts.push(("rounds", rounds.to_string()));
    print!("{}", curves::csv(&all, &facts));
    match out {
        Some(docs) => write(&docs, &all, &facts),
        None => Ok(()),
    }
}

fn measure(curve: &'static Curve, rounds: usize, setting: &Setting) -> io::Result<Swept> {
    let mut swept = Swept::new(curve);
    for round in 1..=rounds {
        for (point, (value, _)) in curve.points.iter().enumerate() {
            let sample = curve.turn(point, setting)?;
            eprint!("{:32}", format!("{} {round} {value}", curve.name));
            for figure in curve.figures {
                eprint!("  {} {:.2}", figure.title(), figure.of(&sample));
            }
            eprintln!();
            swept.samples[point].push(sample);
        }
    }
    Ok(swept)
}

fn write(docs: &Path, all: &[Swept], facts: &[(&str, String)]) -> io::Result<()> {
    let page = renewed(docs, all, facts)?;
    let bench = docs.join("bench");
    fs::create_dir_all(&bench)?;
    fs::write(bench.join("sweep.csv"), curves::csv(all, facts))?;
    fs::write(bench.join("sweep.svg"), curves::panels(all, facts))?;
    fs::write(docs.join(TUNING), page)?;
    eprintln!(
        "==> {0}/bench/sweep.csv and sweep.svg, the tables in {0}/guide/tuning.md",
        docs.display()
    );
    Ok(())
}

/// The tuning page with new tables.
fn renewed(docs: &Path, all: &[Swept], facts: &[(&str, String)]) -> io::Result<String> {
    let page = fs::read_to_string(docs.join(TUNING))?;
    curves::page(&page, all, facts).map_err(io::Error::other)
}
