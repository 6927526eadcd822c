//! Random runs of the handlers that hold messages: whatever happens, what goes out is what was written, in order and
//! once, and every promise is done in the end.

use std::time::Duration;

use tidegate::channel::WaterMark;
use tidegate::channel::options::WRITE_BUFFER_WATER_MARK;
use tidegate::handler::stream::{Chunked, ChunkedInput, ChunkedWrite, NextChunk};
use tidegate::handler::traffic::{TrafficLimits, TrafficShaper, TrafficShaping};
use tidegate::{ChannelFuture, EmbeddedChannel, Failure, Message, OptionSet, Pipeline};

use crate::support::text;

const SEEDS: u64 = 400;

/// xorshift64*.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }
}

/// A number of chunks "id.n;" with pauses between.
struct Random {
    id: usize,
    chunks: u64,
    next: u64,
    dice: Dice,
    fails_at: Option<u64>,
}

impl ChunkedInput for Random {
    fn next_chunk(&mut self) -> Result<NextChunk, Failure> {
        if self.dice.below(4) == 0 {
            return Ok(NextChunk::Suspended);
        }
        if self.fails_at == Some(self.next) {
            return Err(Failure::msg("as the dice fell"));
        }
        if self.next == self.chunks {
            return Ok(NextChunk::End);
        }
        let chunk = Message::from(format!("{}.{};", self.id, self.next).into_bytes());
        self.next += 1;
        if self.next == self.chunks && self.fails_at.is_none() && self.dice.below(2) == 0 {
            return Ok(NextChunk::Last(chunk));
        }
        Ok(NextChunk::Chunk(chunk))
    }

    fn progress(&self) -> u64 {
        self.next
    }
}

struct Run {
    channel: EmbeddedChannel,
    dice: Dice,
    /// What was written: the text that must come out if the promise succeeds.
    writes: Vec<(String, ChannelFuture)>,
    sent: String,
}

impl Run {
    fn new(seed: u64, fill: impl FnOnce(&mut Pipeline<'_>) -> Result<(), tidegate::Error>) -> Self {
        let mut options = OptionSet::new();
        options
            .set(WRITE_BUFFER_WATER_MARK, WaterMark::new(200, 600).unwrap())
            .unwrap();
        Self {
            channel: EmbeddedChannel::with_options(&options, fill).unwrap(),
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            writes: Vec::new(),
            sent: String::new(),
        }
    }

    fn write(&mut self, msg: Message, expected: String) {
        let future = self.channel.run(|channel| channel.write_future(msg));
        self.writes.push((expected, future));
    }

    fn write_plain(&mut self) {
        let size = self.dice.below(90) as usize;
        let plain = format!("{}{};", self.writes.len(), "x".repeat(size));
        self.write(plain.clone().into_bytes().into(), plain);
    }

    fn write_chunked(&mut self) {
        let id = self.writes.len();
        let chunks = self.dice.below(8);
        let fails_at = (self.dice.below(6) == 0).then(|| self.dice.below(chunks + 1));
        let expected = (0..chunks).map(|n| format!("{id}.{n};")).collect();
        let input = Random {
            id,
            chunks,
            next: 0,
            dice: Dice(self.dice.below(u64::MAX - 1) + 1),
            fails_at,
        };
        self.write(Message::new(Chunked::new(input)), expected);
    }

    /// What every run does now and then, whatever the handler.
    fn disturb(&mut self) {
        match self.dice.below(6) {
            0 | 1 => self.channel.run(|channel| channel.flush()),
            2 => self.channel.block_writes(true),
            3 => self.channel.block_writes(false),
            4 => {
                let messages = self.dice.below(4) as usize;
                self.channel.yield_after(messages);
            }
            _ => {
                if let Some((_, future)) = self.writes.last() {
                    future.cancel();
                }
            }
        }
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(msg) = self.channel.read_outbound() {
            self.sent.push_str(&text(&msg));
        }
    }

    /// Every promise is done; what succeeded was sent, whole and in order. What failed was sent in part at most.
    fn check(mut self, seed: u64) {
        self.collect();
        let mut rest = self.sent.as_str();
        for (id, (expected, future)) in self.writes.iter().enumerate() {
            assert!(future.is_done(), "seed {seed}: write {id} waits for ever");
            if future.is_success() {
                assert!(
                    rest.starts_with(expected),
                    "seed {seed}: write {id}: {rest:.40}"
                );
                rest = &rest[expected.len()..];
            } else {
                let same = expected.bytes().zip(rest.bytes());
                let part = same.take_while(|(one, other)| one == other).count();
                let part = expected[..part].rfind(';').map_or(0, |end| end + 1);
                rest = &rest[part..];
            }
        }
        assert_eq!(rest, "", "seed {seed}: more than was written");
    }
}

/// How a run ends.
fn end<H: tidegate::Handler>(run: &mut Run) {
    match run.dice.below(3) {
        0 => {
            let _ = run.channel.finish();
        }
        1 => {
            run.channel.pipeline(|p| p.remove_type::<H>()).unwrap();
        }
        _ => {}
    }
}

/// Rules: H53
#[test]
fn chunked_writes_keep_order_and_promises_in_random_runs() {
    for seed in 1..=SEEDS {
        let mut run = Run::new(seed, |p| {
            p.add_last(ChunkedWrite::new().chunks_per_flush(1 + seed as usize % 5))
        });
        for _ in 0..60 {
            match run.dice.below(6) {
                0 | 1 => run.write_plain(),
                2 | 3 => run.write_chunked(),
                _ => run.disturb(),
            }
        }
        end::<ChunkedWrite>(&mut run);
        run.channel.block_writes(false);
        run.channel.yield_after(0);
        for _ in 0..2_000 {
            run.channel.run(|channel| channel.flush());
            if run.writes.iter().all(|(_, future)| future.is_done()) {
                break;
            }
        }
        run.check(seed);
    }
}

/// Rules: H54
#[test]
fn shaped_writes_keep_order_and_promises_in_random_runs() {
    for seed in 1..=SEEDS {
        let shaper = TrafficShaper::for_channel(TrafficLimits::new().write(100).max_queued(300));
        let mut run = Run::new(seed, |p| p.add_last(shaper.handler()));
        for _ in 0..60 {
            match run.dice.below(8) {
                0..=3 => run.write_plain(),
                4 => {
                    let rate = [0, 10, 1000, 100_000][run.dice.below(4) as usize];
                    shaper.set_write_limit(rate);
                }
                5 => {
                    let pause = run.dice.below(3_000);
                    run.channel.advance(Duration::from_millis(pause));
                }
                _ => run.disturb(),
            }
        }
        end::<TrafficShaping>(&mut run);
        run.channel.block_writes(false);
        run.channel.yield_after(0);
        run.channel.run(|channel| channel.flush());
        run.channel.advance(Duration::from_secs(20 * 60));
        assert_eq!(shaper.traffic().queued, 0, "seed {seed}");
        if run.channel.channel().is_open() {
            assert!(run.channel.channel().is_writable(), "seed {seed}");
        }
        run.check(seed);
    }
}
