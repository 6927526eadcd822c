//! What is run, by name: the scenarios and the servers.

use std::time::Duration;

/// What the load generator is asked to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Open connections.
    pub connections: usize,
    /// Bytes of a message.
    pub size: usize,
    /// Messages under way on each connection; what an open loop has under way is not bounded.
    pub window: usize,
    /// Messages per second over all connections, sent whether or not answers come; `None` sends one for each answer.
    pub rate: Option<f64>,
    /// Not counted, at the start.
    pub warm_up: Duration,
    /// Counted.
    pub time: Duration,
    /// Ends after so many messages instead of after `time`; for counting calls.
    pub messages: Option<u64>,
    /// Rests so long before each look at its sockets: a peer that reads slowly. Zero for one that does not.
    pub rest: Duration,
}

/// A load with a name.
pub struct Scenario {
    /// As in the tables.
    pub name: &'static str,
    /// In words.
    pub about: &'static str,
    connections: usize,
    size: usize,
    window: usize,
    rate: Option<f64>,
    rest: Duration,
    /// How many times longer than the others it runs: all of its connections must have had several turns.
    stretch: u32,
    /// Whether servers that poll instead of sleeping are measured too: where a wait per message is what they save.
    pub is_for_polling: bool,
    /// Whether the server's processor time is measured after the load instead of during it.
    pub is_idle: bool,
}

impl Scenario {
    /// So many connections with messages of so many bytes, so many of them under way.
    pub(crate) const fn closed(
        name: &'static str,
        about: &'static str,
        shape: (usize, usize, usize),
    ) -> Self {
        let (connections, size, window) = shape;
        Self {
            name,
            about,
            connections,
            size,
            window,
            rate: None,
            rest: Duration::ZERO,
            stretch: 1,
            is_for_polling: false,
            is_idle: false,
        }
    }

    /// As `closed`, with so many messages per second instead of a window.
    pub(crate) const fn paced(self, rate: f64) -> Self {
        Self {
            rate: Some(rate),
            ..self
        }
    }

    const fn open(name: &'static str, about: &'static str, rate: f64) -> Self {
        Self::closed(name, about, (64, 64, 1)).paced(rate)
    }

    /// The peers rest so long between two looks at their sockets.
    pub(crate) const fn resting(self, rest: Duration) -> Self {
        Self { rest, ..self }
    }

    const fn for_polling(self) -> Self {
        Self {
            is_for_polling: true,
            ..self
        }
    }

    /// Of so many rounds, those that this one takes: of longer turns half as many. It takes longer to connect ten thousand
    /// than to measure them; with a quarter the ratios were 0.2 more or less.
    pub fn rounds_of(&self, rounds: usize) -> usize {
        let each = if self.stretch > 1 { 2 } else { 1 };
        rounds.div_ceil(each)
    }

    /// The load of this scenario for so long.
    pub fn plan(&self, warm_up: Duration, time: Duration) -> Plan {
        Plan {
            connections: self.connections,
            size: self.size,
            window: self.window,
            rate: self.rate,
            warm_up: warm_up * self.stretch,
            time: time * self.stretch,
            messages: None,
            rest: self.rest,
        }
    }
}

/// Every scenario, in the order of the tables.
pub const SCENARIOS: [Scenario; 13] = [
    Scenario::closed("pp1", "ping-pong, 1 connection, 64 B", (1, 64, 1)).for_polling(),
    Scenario::closed("pp64", "ping-pong, 64 connections, 64 B", (64, 64, 1)).for_polling(),
    Scenario::closed(
        "pp1000",
        "ping-pong, 1,000 connections, 64 B",
        (1000, 64, 1),
    ),
    Scenario {
        stretch: 4,
        ..Scenario::closed(
            "pp10000",
            "ping-pong, 10,000 connections, 64 B",
            (10_000, 64, 1),
        )
    },
    Scenario::closed("pp64-1k", "ping-pong, 64 connections, 1 KiB", (64, 1024, 1)),
    Scenario::closed(
        "pp64-16k",
        "ping-pong, 64 connections, 16 KiB",
        (64, 16 * 1024, 1),
    ),
    Scenario::closed(
        "pipe1",
        "16 messages in flight, 1 connection, 64 B",
        (1, 64, 16),
    ),
    Scenario::closed(
        "pipe64",
        "16 messages in flight, 64 connections, 64 B",
        (64, 64, 16),
    ),
    Scenario::closed(
        "pipe64-1k",
        "16 messages in flight, 64 connections, 1 KiB",
        (64, 1024, 16),
    ),
    Scenario::closed(
        "pipe64-16k",
        "16 messages in flight, 64 connections, 16 KiB",
        (64, 16 * 1024, 16),
    ),
    Scenario::open("rate20k", "20,000 messages/s over 64 connections", 20e3).for_polling(),
    Scenario::open("rate60k", "60,000 messages/s over 64 connections", 60e3),
    Scenario {
        is_idle: true,
        ..Scenario::closed(
            "idle",
            "nothing, after ping-pong on 1 connection",
            (1, 64, 1),
        )
        .for_polling()
    },
];

/// A program that is measured.
pub struct Server {
    /// As in the tables.
    pub name: &'static str,
    /// In the picture; they stay apart for most eyes.
    pub colour: &'static str,
    /// Of its binary, which lies beside the one that runs.
    pub program: &'static str,
    /// Besides `--port` and `--cpu`.
    pub arguments: &'static [&'static str],
    /// Whether it polls instead of sleeping.
    pub is_polling: bool,
}

/// Every server, in the order in which they take turns.
pub const SERVERS: [Server; 11] = [
    server("raw", "#555555", "peer-raw", &[]),
    server("raw-thread", "#808080", "peer-raw", &["--mode", "thread"]),
    polling("raw-busy", "#b3b3b3", "peer-raw", &["--mode", "busy"]),
    server("mio", "#e69f00", "peer-mio", &[]),
    server("tokio", "#56b4e9", "peer-tokio", &["--mode", "plain"]),
    server("tokio-lean", "#0072b2", "peer-tokio", &["--mode", "lean"]),
    server("monoio", "#cc79a7", "peer-monoio", &[]),
    server("tidegate", "#009e73", "peer-tidegate", &["--handlers", "3"]),
    server(
        "tidegate-group",
        "#005c43",
        "peer-tidegate",
        &["--handlers", "3", "--mode", "group"],
    ),
    polling(
        "tidegate-spin",
        "#66c2a5",
        "peer-tidegate",
        // Half a second without a message, and it would sleep.
        &["--handlers", "3", "--spin", "count:1000000"],
    ),
    polling(
        "tidegate-adaptive",
        "#b3e2cd",
        "peer-tidegate",
        // The longest that it polls: about what it costs to be woken.
        &["--handlers", "3", "--spin", "adaptive:50"],
    ),
];

/// The server that the others are compared with.
pub const REFERENCE: &str = "raw";

const fn server(
    name: &'static str,
    colour: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
) -> Server {
    Server {
        name,
        colour,
        program,
        arguments,
        is_polling: false,
    }
}

const fn polling(
    name: &'static str,
    colour: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
) -> Server {
    Server {
        is_polling: true,
        ..server(name, colour, program, arguments)
    }
}
