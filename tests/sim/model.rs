//! What the model knows of each end of each connection. It belongs to the thread: everything of a run is on one.

use std::cell::RefCell;

use tidegate::sim::Random;
use tidegate::{Channel, ChannelFuture, Error};
use tidegate_sys::os::Time;

/// The life of a channel, as its pipeline hears of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    New,
    Registered,
    Active,
    Inactive,
    Unregistered,
    Removed,
}

/// What became of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settled {
    Not,
    Succeeded,
    Failed,
}

/// One channel.
pub struct End {
    pub channel: Channel,
    /// The port of the client, which names the connection for both ends; known once it is active.
    pub port: Option<u16>,
    pub is_client: bool,
    pub phase: Phase,
    /// What has passed the head of the pipeline on its way out, and how much of it was flushed.
    pub sent: u64,
    pub flushed: u64,
    /// What has come in at the head, and at the tail.
    pub received: u64,
    pub seen: u64,
    pub writes: Vec<Settled>,
    /// Bytes of the writes that have succeeded: the kernel has taken them.
    pub taken: u64,
    /// The tail has seen something of a batch, and not the end of it.
    pub is_in_batch: bool,
    /// It has asked for a message, and none has come yet.
    pub asks: bool,
    /// It had a handler that keeps what was asked for until it is asked again.
    pub is_lazy: bool,
    /// It had a handler that cuts the stream into records.
    pub had_decoder: bool,
    /// The tail has heard of the end.
    pub is_over: bool,
    pub saw_unwritable: bool,
    /// Somebody has ended its output, its input, or all of it.
    pub is_output_shut: bool,
    pub is_input_shut: bool,
    /// It was this side that ended its input.
    pub has_shut_input: bool,
    pub is_closing: bool,
    pub errors: u32,
}

/// The state of a run.
pub struct Model {
    pub random: Random,
    pub ends: Vec<End>,
    pub complaints: Vec<String>,
    /// Grows whenever something gets somewhere.
    pub progress: u64,
    /// Of each: how often it has fired, and its deadline as late as it can be.
    pub timers: Vec<(u32, Time)>,
    /// Tasks that were given to a loop from outside of its turn, and how many of them have run.
    pub tasks_given: u64,
    pub tasks_run: u64,
    /// Whether nothing breaks a connection but its own two sides.
    pub is_harmless: bool,
    /// How many more reads may be answered: two sides that always answer would never come to rest.
    pub answers_left: u32,
    /// Everything the pipelines saw, folded into a number.
    pub digest: u64,
}

thread_local! {
    static MODEL: RefCell<Option<Model>> = const { RefCell::new(None) };
}

impl Model {
    pub fn begin(seed: u64) {
        let model = Model {
            random: Random::new(seed ^ 0xA5A5_0000_5A5A),
            ends: Vec::new(),
            complaints: Vec::new(),
            progress: 0,
            timers: Vec::new(),
            tasks_given: 0,
            tasks_run: 0,
            is_harmless: seed.is_multiple_of(4),
            answers_left: 60,
            digest: 0,
        };
        MODEL.set(Some(model));
    }

    pub fn end() -> Model {
        MODEL.take().expect("a run begins before it ends")
    }

    pub fn complain(&mut self, text: impl Into<String>) {
        if self.complaints.len() < 20 {
            self.complaints.push(text.into());
        }
    }

    pub fn note(&mut self, end: usize, what: u64) {
        self.progress += 1;
        let word = self.digest ^ (end as u64) << 32 ^ what;
        self.digest = word.wrapping_mul(0x0000_0100_0000_01B3).rotate_left(23);
    }
}

/// Looks at the model, for a moment: never while something of the library runs.
pub fn with<R>(look: impl FnOnce(&mut Model) -> R) -> R {
    MODEL.with_borrow_mut(|model| look(model.as_mut().expect("a run has begun")))
}

/// The byte at a place of a stream: wrong bytes, lost ones and doubled ones all differ from it soon.
pub fn byte(port: u16, from_client: bool, place: u64) -> u8 {
    let word = place
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .wrapping_add(u64::from(port) << 1 | u64::from(from_client))
        .wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (word >> 56) as u8
}

/// Follows a write of so many bytes to its end.
pub fn follow(end: usize, future: &ChannelFuture, length: usize) {
    let write = with(|model| {
        let writes = &mut model.ends[end].writes;
        writes.push(Settled::Not);
        writes.len() - 1
    });
    future.add_listener(move |_: &Channel, result: &Result<(), Error>| {
        let is_success = result.is_ok();
        with(|model| {
            model.note(end, 16 + u64::from(is_success));
            if is_success {
                model.ends[end].taken += length as u64;
            }
            let slot = &mut model.ends[end].writes[write];
            let before = *slot;
            *slot = if is_success {
                Settled::Succeeded
            } else {
                Settled::Failed
            };
            if before != Settled::Not {
                model.complain(format!("end {end}: write {write} was settled twice"));
            }
        });
    });
}
