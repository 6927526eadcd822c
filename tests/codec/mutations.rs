//! A short, seeded run of what `make fuzz` does at length: mutated inputs through every decoder, in one read and in many.

use crate::fuzz::random::{Random, mutate};
use crate::fuzz::subject;
use crate::fuzz::trial;

/// A second or so in a debug build.
const INPUTS: usize = 8_000;

fn run(name: &str) {
    let codec = subject::codec(name);
    let seeds = (codec.seeds)();
    let mut random = Random::new(1);
    let mut input = Vec::new();
    let (mut items, mut failures) = (0, 0);
    for _ in 0..INPUTS {
        mutate(&seeds, &mut random, &mut input);
        let config = random.word() as u32;
        for event in trial::compare(codec, config, &input, &mut random) {
            match event {
                trial::Event::Item(_) => items += 1,
                trial::Event::Failed(..) => failures += 1,
                _ => {}
            }
        }
    }
    // A run that only ever fails, or never does, tests nothing.
    assert!(items > INPUTS / 20, "{items} values came out");
    assert!(failures > INPUTS / 20, "{failures} errors came out");
}

/// Rules: H13, H14, H15
#[test]
fn length_fields_survive_mutations() {
    run("length_field");
}

/// Rules: H17
#[test]
fn lines_survive_mutations() {
    run("line");
}

/// Rules: H18
#[test]
fn delimiters_survive_mutations() {
    run("delimiter");
}

/// Rules: H19
#[test]
fn fixed_frames_survive_mutations() {
    run("fixed");
}

#[test]
fn varints_survive_mutations() {
    run("varint32");
}

/// Rules: H20
#[test]
fn json_survives_mutations() {
    run("json");
}

#[test]
fn text_survives_mutations() {
    run("string");
}

#[test]
fn base64_survives_mutations() {
    run("base64");
}

/// Rules: H11
#[test]
fn replays_survive_mutations() {
    run("replaying");
}

#[test]
fn proxy_headers_survive_mutations() {
    run("proxy_protocol");
}

#[test]
fn sctp_notifications_survive_mutations() {
    run("sctp_notification");
}

#[test]
fn datagrams_survive_mutations_of_each_other() {
    run("datagrams");
}

#[test]
fn control_messages_survive_mutations() {
    run("control_messages");
}

#[test]
fn rules_of_the_ip_filter_survive_mutations() {
    run("ip_rules");
}
