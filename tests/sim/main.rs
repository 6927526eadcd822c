//! Random programs on a simulated kernel: connections over TCP or Unix streams that write, stop reading, half close, reset and edit their
//! pipelines, over small buffers, a slow network and every fault of a stormy plan, with edge- and level-triggered
//! selectors, and promises that must hold whatever happens.
//!
//! * Bytes come out as they went in, in order: all of them while both sides live, exactly a prefix when one dies.
//! * Whoever hears that its input has ended, and of no error, has had every byte that the kernel took from the other side.
//! * Every promise is settled once; after one write has failed none succeeds.
//! * A channel is registered, active, inactive, unregistered, removed, once each and in that order; after
//!   `channel_inactive` come only `channel_unregistered` and `handler_removed`.
//! * No loop is busy for long without getting anywhere, and a world that is left alone comes to rest.
//! * At rest nothing waits for an edge that was given already: what was flushed has been read.
//! * A task that a loop is given from outside of its turn runs: a sleeping loop is turned only if something ends its wait.
//! * Who pauses reading and asks for one message gets one, if one is there.
//! * No event reaches a channel that is another's, or whose descriptor was closed.
//! * Timers are never early, and nobody sleeps past one: what they are late by is work, or a processor that was not given.
//!   Whoever saw a channel unwritable hears of the change. No descriptor is left, no task panics.
//! * The same seed is the same run, byte for byte.
//!
//! Programs of handlers on several loops, with promises of their own, are in `relays`; those of loops that end in `last`.
//!
//! `make sim` runs 10,000 seeds; `SEED=7 make sim` one, with its log in target/sim.log. `SEEDS`, `FIRST` and `STEPS`
//! change how many, from where, and how long.

mod acts;
mod breaks;
mod datagrams;
mod endings;
mod errno;
mod errno_more;
mod errno_table;
mod handlers;
mod held;
mod last;
mod lingering;
mod model;
mod program;
mod relay_stages;
mod relays;
mod stories;
mod wire;

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use program::{Finding, run};

/// Seeds of a plain `cargo test`.
const SEEDS: u64 = 200;
const STEPS: u64 = 200;

/// Enough was found: with `FAILURES=1` nobody looks for more.
static IS_OVER: AtomicBool = AtomicBool::new(false);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn random_programs_keep_every_promise() {
    let steps = number("STEPS").unwrap_or(STEPS);
    if let Some(seed) = number("SEED") {
        let finding = run(seed, steps, true);
        std::fs::create_dir_all("target").unwrap();
        std::fs::write("target/sim.log", &finding.log).unwrap();
        println!(
            "seed {seed}: {} lines in target/sim.log",
            finding.log.lines().count()
        );
        assert!(
            finding.complaints.is_empty(),
            "{}",
            finding.complaints.join("\n")
        );
        return;
    }
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let first = number("FIRST").unwrap_or(0);
    let began = Instant::now();
    let next = AtomicU64::new(first);
    let failed: Mutex<Vec<Finding>> = Mutex::new(Vec::new());
    let totals = Mutex::new(program::Totals::default());
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(8);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !IS_OVER.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    let finding = run(seed, steps, false);
                    totals.lock().unwrap().add(&finding.totals);
                    if !finding.complaints.is_empty() {
                        let mut failed = failed.lock().unwrap();
                        failed.push(finding);
                        let enough = number("FAILURES").unwrap_or(10) as usize;
                        if failed.len() >= enough {
                            IS_OVER.store(true, Ordering::Relaxed);
                        }
                    }
                    let done = seed - first + 1;
                    if done.is_multiple_of(1_000) {
                        let mut out = std::io::stdout();
                        let passed = began.elapsed().as_secs_f32();
                        let _ = writeln!(out, "sim: {done} of {seeds} seeds, {passed:.1} s");
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort_by_key(|finding| finding.seed);
    println!(
        "sim: {seeds} seeds x {steps} steps in {:.1} s; {}",
        began.elapsed().as_secs_f32(),
        totals.into_inner().unwrap()
    );
    let report: Vec<String> = failed
        .iter()
        .map(|finding| {
            let seed = finding.seed;
            let complaints = finding.complaints.join("\n    ");
            format!("seed {seed} (replay with `SEED={seed} make sim`):\n    {complaints}")
        })
        .collect();
    assert!(report.is_empty(), "{}", report.join("\n"));
}

/// A run is its seed's, whatever other threads do and whichever numbers their descriptors have.
#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..12 {
        let one = run(seed, STEPS, true);
        let _shift = std::fs::File::open("/dev/null").unwrap();
        let other = run(seed, STEPS, true);
        assert!(
            one.log.lines().count() > 200,
            "seed {seed}: hardly anything happened"
        );
        assert!(
            one.log == other.log,
            "seed {seed}: {}",
            first_difference(&one.log, &other.log)
        );
        assert_eq!(one.digest, other.digest);
        // Not keeping the log changes nothing.
        assert_eq!(run(seed, STEPS, false).digest, one.digest);
    }
}

fn first_difference(one: &str, other: &str) -> String {
    let mut lines = one.lines().zip(other.lines()).enumerate();
    match lines.find(|(_, (a, b))| a != b) {
        Some((line, (a, b))) => format!("line {line}:\n{a}\n{b}"),
        None => "one log is longer".to_owned(),
    }
}
