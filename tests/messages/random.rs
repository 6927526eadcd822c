//! Random inputs, reads and pauses against a model of a few lines.
//!
//! The model: all messages come, in order; while auto-read is off each read() brings at most one, and at least one if the
//! source still holds one.

use std::collections::VecDeque;

use bytes::BytesMut;
use tidegate::handler::codec::{ByteToMessage, Cumulator, MessageToMessageDecoder, Transform};
use tidegate::{EmbeddedChannel, Failure, Message};

use crate::support::{Framed, text, wire_of};

const SEEDS: u64 = 3000;

/// A small generator (xorshift), so that a seed is a case.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// Lets numbers pass and makes two texts of each frame, or none of an empty one.
struct Twice;

impl Transform for Twice {
    type In = BytesMut;
    type Out = String;
    type Error = Failure;

    fn transform(&mut self, msg: BytesMut, out: &mut VecDeque<String>) -> Result<(), Failure> {
        let text = String::from_utf8_lossy(&msg).into_owned();
        if !text.is_empty() {
            out.extend([text.clone(), text]);
        }
        Ok(())
    }
}

/// Inputs, and what they come to as text.
fn script(random: &mut Random, twice: bool) -> (Vec<Message>, Vec<String>) {
    let (mut inputs, mut expected) = (Vec::new(), Vec::new());
    for number in 0..random.below(6) as u32 {
        let frames: Vec<String> = (0..random.below(5))
            .map(|at| "x".repeat(random.below(4) * (1 + at)))
            .collect();
        let mut wire = wire_of(&frames);
        while !wire.is_empty() {
            let part = wire.split_to(1 + random.below(wire.len()));
            inputs.push(Message::from(BytesMut::from(&part[..])));
        }
        for frame in frames {
            match (twice, frame.is_empty()) {
                (false, _) => expected.push(frame),
                (true, false) => expected.extend([frame.clone(), frame]),
                (true, true) => {}
            }
        }
        if random.below(2) == 0 {
            inputs.push(Message::new(number));
            expected.push(number.to_string());
        }
    }
    (inputs, expected)
}

fn run(seed: u64, twice: bool) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let cumulator = [Cumulator::Merge, Cumulator::Composite][random.below(2)];
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(ByteToMessage::new(Framed::default()).cumulator(cumulator))?;
        if twice {
            pipeline.add_last(MessageToMessageDecoder::new(Twice))?;
        }
        Ok::<_, Failure>(())
    })
    .expect("the pipeline is sound");
    let (inputs, expected) = script(&mut random, twice);
    let mut inputs = inputs.into_iter();
    let mut seen: Vec<String> = Vec::new();
    let take = |channel: &mut EmbeddedChannel, seen: &mut Vec<String>| {
        let before = seen.len();
        seen.extend(std::iter::from_fn(|| channel.read_inbound()).map(|msg| text(&msg)));
        seen.len() - before
    };
    let mut auto = true;
    // Reads that found nothing: each lets the next thing through that comes.
    let mut owed = 0;
    for _ in 0..60 {
        match random.below(4) {
            0 => {
                let count = 1 + random.below(3);
                channel.feed(inputs.by_ref().take(count));
                let came = take(&mut channel, &mut seen);
                assert!(auto || came <= owed, "seed {seed}: nobody has asked");
                owed -= came.min(owed);
            }
            1 => {
                let was = auto;
                auto = random.below(2) == 0;
                channel.run(|channel| channel.set_auto_read(auto));
                let came = take(&mut channel, &mut seen);
                assert!(auto || came == 0, "seed {seed}: reading was stopped");
                if auto != was {
                    owed = 0;
                }
            }
            _ if !auto => {
                channel.run(|channel| channel.read());
                let came = take(&mut channel, &mut seen);
                assert!(came <= 1, "seed {seed}: one read brought {came} messages");
                let source_is_empty = channel.unread() == 0;
                assert!(
                    came == 1 || source_is_empty,
                    "seed {seed}: the read brought none"
                );
                owed = usize::from(came == 0);
            }
            _ => {}
        }
    }
    channel.run(|channel| channel.set_auto_read(true));
    channel.feed(inputs);
    take(&mut channel, &mut seen);
    assert_eq!(seen, expected, "seed {seed}");
}

/// Rules: H3, H6, H10, 6.7
#[test]
fn random_reads_bring_all_messages_in_order_as_they_are_asked_for() {
    for seed in 0..SEEDS {
        run(seed, false);
    }
}

/// Rules: H6, H23, 6.7
#[test]
fn random_reads_through_two_stages_too() {
    for seed in 0..SEEDS {
        run(seed, true);
    }
}
