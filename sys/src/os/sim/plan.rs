//! [`Plan`]: what a simulated machine is like, and what goes wrong in it. All of it follows from the seed.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::failing::Failing;
use super::random::Random;

/// What a simulation is made from. Two simulations of one plan that are used alike do the same.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides every draw: delays, sizes, faults.
    pub seed: u64,
    /// How long a packet is on its way, in nanoseconds; drawn for each. Packets of one direction of a connection do
    /// not overtake each other.
    pub delay_ns: RangeInclusive<u64>,
    /// Bytes of one packet; drawn for each. Short reads come from here: a read takes what has arrived.
    pub segment: RangeInclusive<u64>,
    /// Bytes that a socket can hold for sending; drawn for each socket, unless SO_SNDBUF is set.
    pub send_buffer: RangeInclusive<u64>,
    /// Bytes that a socket can hold unread; drawn for each socket, unless SO_RCVBUF is set.
    pub recv_buffer: RangeInclusive<u64>,
    /// How many simulated descriptors may be open; one more is EMFILE.
    pub descriptors_max: usize,
    /// How many messages a channel may hand on by `resume` before others have their turn; on a real kernel it is 1,024, which
    /// few runs get to.
    pub resumes_max: u16,
    /// How many tasks a loop runs in one turn, if that is less than its budget says: with few, what loops do for each other mixes
    /// in many ways.
    pub tasks_max: Option<u32>,
    /// Whether the log keeps its lines, or only their digest.
    pub keeps_log: bool,
    /// What goes wrong, by lot.
    pub faults: Faults,
    /// Calls that fail for certain.
    pub failing: Vec<Failing>,
}

/// What goes wrong: each happens once in so many cases, and never if that is zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// A send takes a part of what it could.
    pub short_write: u32,
    /// A send answers EAGAIN although there is room; readiness follows.
    pub would_block: u32,
    /// A wait ends with EINTR.
    pub interrupt: u32,
    /// A wait reports what is not so.
    pub spurious: u32,
    /// A packet takes up to 100 times as long as planned: readiness comes late.
    pub late: u32,
    /// A wait reports its events in another order, or not all of them at once.
    pub shuffle: u32,
    /// The thread is not given the processor: up to 20 ms pass in a wait or after it.
    pub stall: u32,
    /// accept answers EMFILE, ENFILE, ENOBUFS or ENOMEM; the client stays in the queue.
    pub accept_exhausted: u32,
    /// accept answers ECONNABORTED, EPERM or EPROTO, and the client is gone.
    pub accept_failed: u32,
    /// A connect is refused although somebody listens.
    pub refuse: u32,
    /// The first packet of a connect is lost: it is sent again after 1, 2, 4, … seconds, and the connect ends with
    /// ETIMEDOUT after 127 (tcp_syn_retries, Linux).
    pub syn_lost: u32,
    /// Instead of a packet with data both sides get a reset.
    pub reset: u32,
    /// From a packet with data on nothing arrives any more. Who has sent something gets ETIMEDOUT some seconds later;
    /// the other side hears nothing.
    pub vanish: u32,
    /// Another process inherits the descriptor that is made, and keeps its duplicate for up to 20 ms: what this process
    /// closes meanwhile stays open, and its registrations with it.
    pub fork: u32,
    /// A datagram is lost.
    pub lost: u32,
    /// A datagram does not wait for those that were sent before it.
    pub overtake: u32,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Self = Self {
        short_write: 0,
        would_block: 0,
        interrupt: 0,
        spurious: 0,
        late: 0,
        shuffle: 0,
        stall: 0,
        accept_exhausted: 0,
        accept_failed: 0,
        refuse: 0,
        syn_lost: 0,
        reset: 0,
        vanish: 0,
        fork: 0,
        lost: 0,
        overtake: 0,
    };

    /// Only what a program must not notice but in time: no connection is hurt, and no datagram lost or overtaken.
    pub const fn harmless(self) -> Self {
        Self {
            accept_failed: 0,
            refuse: 0,
            reset: 0,
            vanish: 0,
            lost: 0,
            overtake: 0,
            ..self
        }
    }
}

impl Plan {
    /// A good machine: packets take 10 to 50 µs, buffers are as large as Linux makes them, nothing goes wrong.
    pub fn calm(seed: u64) -> Self {
        Self {
            seed,
            delay_ns: 10_000..=50_000,
            segment: 1_448..=65_483,
            send_buffer: 87_040..=87_040,
            recv_buffer: 131_072..=131_072,
            descriptors_max: 20_000,
            resumes_max: 1024,
            tasks_max: None,
            keeps_log: true,
            faults: Faults::NONE,
            failing: Vec::new(),
        }
    }

    /// A bad machine. Which faults it has, how often, how slow it is and how small its buffers are, is drawn from the
    /// seed, so that many seeds see many different machines.
    pub fn stormy(seed: u64) -> Self {
        // Not the sequence that the simulation itself begins with.
        let random = &mut Random::new(seed ^ 0x5EED_0F57_0F55_7011);
        let slowest = 1_000 << random.below(12);
        let largest = 1 << (4 + random.below(12));
        let mut chance = |one_in: RangeInclusive<u64>| {
            if random.one_in(2) {
                0
            } else {
                random.within(&one_in) as u32
            }
        };
        let faults = Faults {
            short_write: chance(2..=20),
            would_block: chance(4..=40),
            interrupt: chance(3..=60),
            spurious: chance(5..=60),
            late: chance(5..=60),
            shuffle: chance(2..=10),
            stall: chance(20..=200),
            accept_exhausted: chance(2..=10),
            accept_failed: chance(4..=20),
            refuse: chance(5..=20),
            syn_lost: chance(8..=30),
            reset: chance(50..=1000),
            vanish: chance(100..=2000),
            fork: chance(2..=10),
            lost: chance(5..=50),
            overtake: chance(3..=20),
        };
        Self {
            seed,
            delay_ns: 500..=slowest,
            segment: 1..=largest,
            send_buffer: 512..=512 << random.below(7),
            recv_buffer: 256..=256 << random.below(8),
            resumes_max: 1 << random.below(11),
            tasks_max: None,
            faults,
            ..Self::calm(seed)
        }
    }

    /// The same machine with nothing, or something else, going wrong.
    pub fn with_faults(self, faults: Faults) -> Self {
        Self { faults, ..self }
    }
}

/// What the kernel adds to the clock for one system call, and for one look at the clock.
pub(super) const CALL_NS: u64 = 300;
pub(super) const LOOK_NS: u64 = 20;

/// The longest time that a duplicate is kept, with `fork`.
pub(super) const FORK_NS_MAX: u64 = 20_000_000;

/// The longest time that `stall` takes.
pub(super) const STALL_MAX: Duration = Duration::from_millis(20);

/// The longest time without memory that `would_block` makes up.
pub(super) const SHORT_NS_MAX: u64 = 5_000_000;
