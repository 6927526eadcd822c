//! `cargo run --release --bin mutate [INPUTS [CODEC [SEED]]]`: so many mutated inputs through each codec (10 million), or
//! through one. It prints what it did, and panics where a decoder fails its trial or is slow.

use std::env;
use std::time::{Duration, Instant};

use tidegate_fuzz::random::{Random, mutate};
use tidegate_fuzz::subject::{CODECS, Codec};
use tidegate_fuzz::trial::{Event, compare};

/// What a trial (two runs) may take per KiB begun.
const PER_KIB_MAX: Duration = Duration::from_millis(10);

/// A trial that took a tenth of that is repeated until it does not, so often at most: on a busy machine the scheduler is
/// slower than any decoder.
const REPEATS: usize = 200;

#[derive(Default)]
struct Report {
    bytes: u64,
    items: u64,
    failures: u64,
    slowest: Duration,
}

fn main() {
    let mut arguments = env::args().skip(1);
    let inputs: u64 = number(arguments.next(), 10_000_000);
    let name = arguments.next().filter(|name| name != "all");
    let seed = number(arguments.next(), 1);
    let mut ran = 0;
    for codec in CODECS {
        if name.as_ref().is_none_or(|name| name == codec.name) {
            run(codec, inputs, seed);
            ran += 1;
        }
    }
    assert!(ran > 0, "no such codec; there are: {}", names());
    println!(
        "==> {ran} codecs, {inputs} inputs each: no panic, the same for all reads, memory bounded"
    );
}

fn number(argument: Option<String>, default: u64) -> u64 {
    argument.map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{text} is not a number"))
    })
}

fn names() -> String {
    let names: Vec<_> = CODECS.iter().map(|codec| codec.name).collect();
    names.join(", ")
}

fn run(codec: &Codec, inputs: u64, seed: u64) {
    let seeds = (codec.seeds)();
    let mut random = Random::new(seed);
    let mut input = Vec::new();
    let mut report = Report::default();
    let begun = Instant::now();
    for done in 1..=inputs {
        mutate(&seeds, &mut random, &mut input);
        let config = random.word() as u32;
        let reads = random.word();
        one(codec, config, &input, reads, &mut report);
        if done % 2_000_000 == 0 && done < inputs {
            eprintln!("    {} {done} of {inputs}", codec.name);
        }
    }
    println!(
        "{:15} {inputs} inputs, {} MiB, {} values, {} errors, slowest {} us/KiB, {:.1} s",
        codec.name,
        report.bytes >> 20,
        report.items,
        report.failures,
        report.slowest.as_micros(),
        begun.elapsed().as_secs_f64()
    );
}

fn one(codec: &Codec, config: u32, input: &[u8], reads: u64, report: &mut Report) {
    let timed = || {
        let begun = Instant::now();
        let events = compare(codec, config, input, &mut Random::new(reads));
        (events, begun.elapsed() / (1 + input.len() as u32 / 1024))
    };
    let (events, mut took) = timed();
    for _ in 0..REPEATS {
        if took < PER_KIB_MAX / 10 {
            break;
        }
        took = took.min(timed().1);
    }
    assert!(
        took < PER_KIB_MAX,
        "{} took {took:?} per KiB\nconfig {config}\ninput {:?}",
        codec.name,
        input.escape_ascii().to_string()
    );
    report.bytes += input.len() as u64;
    report.slowest = report.slowest.max(took);
    for event in events {
        match event {
            Event::Item(_) => report.items += 1,
            Event::Failed(..) => report.failures += 1,
            Event::Left(_) | Event::Stuck => {}
        }
    }
}
