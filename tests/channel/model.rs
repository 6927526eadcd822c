//! A channel against a model of it that fits a page: random operations, from the loop and from outside of it, and after
//! each of them everything that can be seen has to be what the model says.
//!
//! What it holds to: bytes out are the bytes written and flushed, in order; bytes in are the bytes fed, in order; every
//! promise is settled exactly once, in order, and as the model says; active and inactive come once; nothing is read after
//! the end; whoever was told "unwritable" is told "writable" again; a run ends with nobody waiting.

use std::collections::VecDeque;

use tidegate::channel::options::{
    ALLOW_HALF_CLOSURE, AUTO_CLOSE, AUTO_READ, WRITE_BUFFER_WATER_MARK,
};
use tidegate::channel::{ENTRY_OVERHEAD, WaterMark};
use tidegate::{Channel, ChannelFuture, EmbeddedChannel, Error, OptionSet};

use crate::support::{Log, Recorder, received, reset, sent};

/// Runs of a test; `MODEL_SEEDS` asks for more.
const SEEDS: u64 = 1500;
const STEPS: usize = 80;
const LOW: usize = 600;
const HIGH: usize = 1400;

/// SplitMix64: the same seed, the same run, everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Write { size: usize },
    Flush,
    Cancel { which: u64 },
    Block,
    Unblock,
    YieldAfter(usize),
    FailNextFlush,
    Feed { count: u64 },
    FeedEof,
    FeedError,
    Read,
    AutoRead(bool),
    UserBit(bool),
    ShutdownOutput,
    ShutdownInput,
    Close,
    Closed,
}

impl Step {
    fn any(random: &mut Random) -> Self {
        match random.below(100) {
            0..=27 => Step::Write {
                size: random.below(700) as usize,
            },
            28..=43 => Step::Flush,
            44..=48 => Step::Cancel {
                which: random.next(),
            },
            49..=54 => Step::Block,
            55..=62 => Step::Unblock,
            63..=65 => Step::YieldAfter(random.below(4) as usize),
            66..=67 => Step::FailNextFlush,
            68..=78 => Step::Feed {
                count: random.below(40),
            },
            79 => Step::FeedEof,
            80 => Step::FeedError,
            81..=87 => Step::Read,
            88..=92 => Step::AutoRead(random.one_in(2)),
            93..=94 => Step::UserBit(random.one_in(2)),
            95 => Step::ShutdownOutput,
            96 => Step::ShutdownInput,
            97 => Step::Close,
            _ => Step::Closed,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Message(u64),
    Eof,
    Error,
}

struct Entry {
    number: usize,
    bytes: usize,
    flushed: bool,
    cancelled: bool,
}

/// What a channel is, without how.
#[derive(Default)]
struct Model {
    half_closure: bool,
    auto_close: bool,
    close_later: bool,

    closing: bool,
    closed: bool,
    /// What flushed writes will fail with.
    close_cause: String,
    output_shut: bool,
    queue: VecDeque<Entry>,
    blocked: bool,
    /// A flush found the transport full.
    waits_for_room: bool,
    fails_next: bool,
    above_mark: bool,
    user_bit: bool,
    /// Bytes written to the transport, by number.
    sent: Vec<usize>,
    /// How each promise ended, in order.
    settled: Vec<String>,

    auto_read: bool,
    asked: bool,
    input_shut: bool,
    input_ends: bool,
    source: VecDeque<Source>,
    read: Vec<u64>,
    told_peer_closing: bool,
    events: Vec<&'static str>,
}

impl Model {
    fn settle(&mut self, number: usize, outcome: &str) {
        self.settled.push(format!("{number} {outcome}"));
    }

    fn pending(&self) -> usize {
        self.queue.iter().map(|entry| entry.bytes).sum()
    }

    fn account(&mut self) {
        if self.pending() > HIGH {
            self.above_mark = true;
        } else if self.pending() < LOW && !self.output_shut {
            self.above_mark = false;
        }
    }

    fn is_writable(&self) -> bool {
        !self.above_mark && !self.user_bit && !self.closing && !self.output_shut
    }

    fn write(&mut self, number: usize, size: usize) {
        if self.closing || self.output_shut {
            self.settle(number, "channel closed");
            return;
        }
        let bytes = size + ENTRY_OVERHEAD;
        self.queue.push_back(Entry {
            number,
            bytes,
            flushed: false,
            cancelled: false,
        });
        self.account();
    }

    fn flush(&mut self) {
        if self.closing || self.output_shut {
            return;
        }
        self.queue.retain(|entry| !entry.cancelled);
        for entry in &mut self.queue {
            entry.flushed = true;
        }
        self.account();
        if !self.waits_for_room {
            self.send();
        }
    }

    fn send(&mut self) {
        if !self.queue.iter().any(|entry| entry.flushed) {
            return;
        }
        if std::mem::take(&mut self.fails_next) {
            if self.auto_close {
                self.close("connection reset");
            } else {
                self.shut_output();
            }
            return;
        }
        if self.blocked {
            self.waits_for_room = true;
            return;
        }
        while self.queue.front().is_some_and(|entry| entry.flushed) {
            let entry = self.queue.pop_front().expect("a flushed entry");
            self.sent.push(entry.number);
            self.settle(entry.number, "sent");
        }
        self.account();
    }

    /// `None`: it is not in the channel's hands any more.
    fn cancel(&mut self, number: usize) -> Option<bool> {
        let entry = self.queue.iter_mut().find(|entry| entry.number == number)?;
        let can = !entry.flushed && !entry.cancelled;
        if can {
            entry.cancelled = true;
            self.settle(number, "cancelled");
        }
        Some(can)
    }

    fn fail_all(&mut self, flushed: &str, others: &str) {
        for entry in std::mem::take(&mut self.queue) {
            if !entry.cancelled {
                self.settle(entry.number, if entry.flushed { flushed } else { others });
            }
        }
    }

    fn shut_output(&mut self) {
        self.output_shut = true;
        self.waits_for_room = false;
        self.fail_all("output shut down", "output shut down");
        self.events.push("output shutdown");
    }

    fn close(&mut self, why: &str) {
        if self.closing {
            return;
        }
        self.closing = true;
        self.close_cause = why.to_string();
        if !self.close_later {
            self.finish_close();
        }
    }

    fn finish_close(&mut self) {
        if !self.closing || self.closed {
            return;
        }
        self.closed = true;
        let why = std::mem::take(&mut self.close_cause);
        self.fail_all(&why, "channel closed");
        self.events.extend(["inactive", "unregistered", "removed"]);
    }

    fn read_on(&mut self) {
        while !self.closing && !self.input_shut && (self.auto_read || self.asked) {
            match self.source.pop_front() {
                None => return,
                Some(Source::Message(number)) => {
                    self.asked = false;
                    self.read.push(number);
                }
                Some(Source::Eof) => {
                    self.asked = false;
                    self.input_shut = true;
                    if self.half_closure {
                        self.events.push("input shutdown");
                        self.events.push("input shutdown read complete");
                    } else {
                        self.close("channel closed");
                    }
                }
                Some(Source::Error) => {
                    self.asked = false;
                    self.events.push("error connection reset");
                    self.close("connection reset");
                }
            }
        }
    }
}

/// The channel, the model, and what was seen of the channel.
struct Run {
    embedded: EmbeddedChannel,
    model: Model,
    log: Log,
    settled: Log,
    futures: Vec<ChannelFuture>,
    sent: Vec<usize>,
    read: Vec<u64>,
    fed: u64,
    last_told: Option<bool>,
    steps: Vec<(Step, bool)>,
}

impl Run {
    fn new(random: &mut Random) -> Self {
        let model = Model {
            half_closure: random.one_in(2),
            auto_close: !random.one_in(3),
            close_later: random.one_in(3),
            auto_read: !random.one_in(3),
            ..Model::default()
        };
        let mut options = OptionSet::new();
        let marks = WaterMark::new(LOW, HIGH).unwrap();
        options.set(WRITE_BUFFER_WATER_MARK, marks).unwrap();
        options.set(ALLOW_HALF_CLOSURE, model.half_closure).unwrap();
        options.set(AUTO_CLOSE, model.auto_close).unwrap();
        options.set(AUTO_READ, model.auto_read).unwrap();
        let log = Log::default();
        let mut embedded = EmbeddedChannel::with_options(&options, |pipeline| {
            pipeline.add_last(Recorder(log.clone()))
        })
        .unwrap();
        let beginning: Vec<String> = log
            .take()
            .into_iter()
            .filter(|what| what != "complete")
            .collect();
        assert_eq!(beginning, ["added", "registered", "active"]);
        if model.close_later {
            embedded.close_later();
        }
        Self {
            embedded,
            model,
            log,
            settled: Log::default(),
            futures: Vec::new(),
            sent: Vec::new(),
            read: Vec::new(),
            fed: 0,
            last_told: None,
            steps: Vec::new(),
        }
    }

    /// An operation on the handle, in the loop's turn or from outside of it.
    fn operate<R>(&mut self, outside: bool, operation: impl FnOnce(&Channel) -> R) -> R {
        if outside {
            let result = operation(self.embedded.channel());
            self.embedded.run_pending();
            result
        } else {
            self.embedded.run(operation)
        }
    }

    fn step(&mut self, step: Step, outside: bool) {
        self.steps.push((step, outside));
        match step {
            Step::Write { size } => {
                let number = self.futures.len();
                let mut text = number.to_string();
                text.extend(std::iter::repeat_n(' ', size.saturating_sub(text.len())));
                self.model.write(number, text.len());
                let future = self.operate(outside, |channel| channel.write_future(text));
                self.watch(number, &future);
                self.futures.push(future);
            }
            Step::Flush => {
                self.model.flush();
                self.operate(outside, Channel::flush);
            }
            Step::Cancel { which } => {
                if self.futures.is_empty() {
                    return;
                }
                let number = (which % self.futures.len() as u64) as usize;
                let expected = self.model.cancel(number).unwrap_or(false);
                assert_eq!(self.futures[number].cancel(), expected);
                self.embedded.run_pending();
            }
            Step::Block => {
                self.model.blocked = true;
                self.embedded.block_writes(true);
            }
            Step::Unblock => {
                self.model.blocked = false;
                if std::mem::take(&mut self.model.waits_for_room) && !self.model.closing {
                    self.model.send();
                }
                self.embedded.block_writes(false);
            }
            Step::YieldAfter(messages) => self.embedded.yield_after(messages),
            Step::FailNextFlush => {
                self.model.fails_next = true;
                self.embedded.fail_next_flush(reset());
            }
            Step::Feed { count } => {
                let numbers: Vec<u64> = (self.fed..self.fed + count).collect();
                self.fed += count;
                self.model
                    .source
                    .extend(numbers.iter().copied().map(Source::Message));
                self.model.read_on();
                self.embedded.feed(numbers.iter().map(u64::to_string));
            }
            Step::FeedEof => {
                let model = &mut self.model;
                let waits = model.auto_read || model.asked;
                if !waits && !model.closing && !model.input_shut && !model.told_peer_closing {
                    model.told_peer_closing = true;
                    model.events.push("peer closing");
                }
                model.source.push_back(Source::Eof);
                model.read_on();
                self.embedded.feed_eof();
            }
            Step::FeedError => {
                self.model.source.push_back(Source::Error);
                self.model.read_on();
                self.embedded.feed_error(reset());
            }
            Step::Read => {
                if !self.model.closing {
                    self.model.asked = true;
                    self.model.read_on();
                }
                self.operate(outside, Channel::read);
            }
            Step::AutoRead(on) => {
                // Without a change a read() that was asked for stays.
                self.model.asked &= on == self.model.auto_read || on;
                self.model.auto_read = on;
                self.model.read_on();
                self.operate(outside, |channel| channel.set_auto_read(on));
            }
            Step::UserBit(set) => {
                self.model.user_bit = set;
                self.operate(outside, |channel| {
                    channel.set_user_writability(9, !set).unwrap();
                });
            }
            Step::ShutdownOutput => {
                let refused = self.model.closing || self.model.output_shut;
                if !refused {
                    self.model.shut_output();
                }
                let future = self.operate(outside, Channel::shutdown_output);
                assert_eq!(future.is_success(), !refused);
            }
            Step::ShutdownInput => {
                let refused = self.model.closing;
                if !refused && !std::mem::replace(&mut self.model.input_ends, true) {
                    // Once the end was read, nobody asks the transport again.
                    if !self.model.input_shut {
                        self.model.source.push_back(Source::Eof);
                    }
                }
                self.model.read_on();
                let future = self.operate(outside, Channel::shutdown_input);
                assert_eq!(future.is_success(), !refused);
            }
            Step::Close => {
                self.model.close("channel closed");
                let future = self.operate(outside, Channel::close);
                assert_eq!(future.is_done(), self.model.closed);
                assert!(future.cause().is_none(), "closing is never an error");
            }
            Step::Closed => {
                self.model.finish_close();
                let signal = self.embedded.signal();
                self.embedded.run(|_| signal.closed());
            }
        }
        self.compare();
    }

    fn watch(&mut self, number: usize, future: &ChannelFuture) {
        let log = self.settled.clone();
        future.add_listener(move |_, result: &Result<(), Error>| match result {
            Ok(()) => log.add(format!("{number} sent")),
            Err(error) => log.add(format!("{number} {}", error.kind())),
        });
        self.embedded.run_pending();
    }

    /// Everything that can be seen, against the model.
    fn compare(&mut self) {
        self.sent.extend(
            sent(&mut self.embedded)
                .iter()
                .map(|msg| number(msg) as usize),
        );
        assert_eq!(self.sent, self.model.sent, "what was sent");
        self.read
            .extend(received(&mut self.embedded).iter().map(|msg| number(msg)));
        assert_eq!(self.read, self.model.read, "what was read");
        let settled = self.settled.take();
        assert_eq!(settled, std::mem::take(&mut self.model.settled), "promises");
        let mut events = Vec::new();
        for event in self.log.take() {
            match event.as_str() {
                "writable" => self.last_told = Some(true),
                "unwritable" => self.last_told = Some(false),
                "complete" => {}
                read if read.starts_with("read ") => {}
                _ => events.push(event),
            }
        }
        assert_eq!(events, std::mem::take(&mut self.model.events), "events");
        let channel = self.embedded.channel();
        assert_eq!(
            channel.is_writable(),
            self.model.is_writable(),
            "is_writable"
        );
        assert_eq!(channel.is_open(), !self.model.closing, "is_open");
        if !self.model.closing && !self.model.output_shut {
            assert_eq!(
                self.last_told.unwrap_or(true),
                channel.is_writable(),
                "the last event"
            );
            let expected = (HIGH + 1).saturating_sub(self.model.pending());
            let expected = if channel.is_writable() { expected } else { 0 };
            assert_eq!(channel.bytes_before_unwritable(), expected);
        }
        while self.embedded.read_event().is_some() {}
    }

    /// Ends the channel; afterwards nobody waits for anything.
    fn finish(&mut self) {
        self.step(Step::Close, false);
        self.step(Step::Closed, false);
        for (number, future) in self.futures.iter().enumerate() {
            assert!(future.is_done(), "write {number}");
        }
        assert!(!self.embedded.channel().is_registered());
        assert!(self.embedded.channel().close_future().is_success());
    }
}

/// A run that fails tells how it came there.
impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let steps = std::mem::take(&mut self.steps);
            eprintln!(
                "with half closure {}, auto close {}, close later {}",
                self.model.half_closure, self.model.auto_close, self.model.close_later
            );
            for (step, outside) in steps {
                eprintln!("  {step:?}{}", if outside { ", from outside" } else { "" });
            }
        }
    }
}

fn number(text: &str) -> u64 {
    text.trim().parse().expect("a number")
}

fn run(seed: u64) {
    let mut random = Random(seed);
    let mut run = Run::new(&mut random);
    for _ in 0..STEPS {
        let step = Step::any(&mut random);
        let outside = random.one_in(3);
        run.step(step, outside);
    }
    run.finish();
}

/// Rules: C3, C7, C9, C11, C14, C16, C18, C23, A25, A26, A29, A35, A36, A41, A44, D1, D2, D7
#[test]
fn a_channel_does_what_its_model_says() {
    let seeds =
        std::env::var("MODEL_SEEDS").map_or(SEEDS, |seeds| seeds.parse().expect("a number"));
    for seed in 0..seeds {
        let outcome = std::panic::catch_unwind(|| run(seed));
        assert!(outcome.is_ok(), "seed {seed} failed; the message is above");
    }
}
