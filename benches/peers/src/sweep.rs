//! What `make sweep` tries: each knob of the tuning page, a handful of its values, the load where it matters, and the figures
//! that it moves. `curves` shows what came of it.

use std::io;
use std::time::Duration;

use crate::load;
use crate::os;
use crate::plan::Scenario;
use crate::round::{Running, Setting, Turn, idle_second};

/// One knob under one load.
pub struct Curve {
    /// In the CSV, and in the marks of the tuning page.
    pub name: &'static str,
    /// The knob, as users write it.
    pub knob: &'static str,
    /// Of `peer-tidegate`.
    option: &'static str,
    /// As in the tables, and as `option` wants it.
    pub points: &'static [(&'static str, &'static str)],
    /// Besides `option`.
    fixed: &'static [&'static str],
    /// The load.
    pub load: Scenario,
    /// What is told of it.
    pub figures: &'static [Figure],
}

/// What a curve shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Figure {
    /// The share of I/O in the working time, by the loop's counters, in percent.
    Share,
    /// The share of all time that was not inside of tasks, by their own clock readings, in percent.
    Outside,
    /// How late timers are, the slowest hundredth, in microseconds.
    Late,
    /// Thousand messages per second.
    Rate,
    /// The median latency, in microseconds.
    P50,
    /// The latency of the slowest hundredth, in microseconds.
    P99,
    /// The latter by the former.
    Spread,
    /// Processor time of the server per message, in microseconds.
    Cpu,
    /// Processor time of the server in a second of the load, in percent of a processor.
    Use,
    /// Processor time of the server in an idle second, in percent of a processor.
    Idle,
    /// The most memory that the server had resident, in MiB.
    Memory,
}

impl Figure {
    /// In words, with the unit.
    pub fn title(self) -> &'static str {
        match self {
            Self::Share => "I/O share, %",
            Self::Outside => "time outside of tasks, %",
            Self::Late => "timers late (p99), µs",
            Self::Rate => "thousand messages/s",
            Self::P50 => "p50, µs",
            Self::P99 => "p99, µs",
            Self::Spread => "p99 / p50",
            Self::Cpu => "CPU per message, µs",
            Self::Use => "CPU of a second, %",
            Self::Idle => "CPU of an idle second, %",
            Self::Memory => "peak memory, MiB",
        }
    }

    /// This figure of a turn.
    pub fn of(self, sample: &Sample) -> f64 {
        let turn = &sample.turn;
        match self {
            Self::Share => sample.share,
            Self::Outside => sample.outside,
            Self::Late => sample.late,
            Self::Rate => turn.rate / 1e3,
            Self::P50 => turn.p50_ns / 1e3,
            Self::P99 => turn.p99_ns / 1e3,
            Self::Spread => turn.p99_ns / turn.p50_ns,
            Self::Cpu => turn.cpu_ns / 1e3,
            Self::Use => turn.cpu_ns * turn.rate / 1e7,
            Self::Idle => sample.idle,
            Self::Memory => sample.memory,
        }
    }
}

/// The figures of one turn; not a number where one was not measured.
pub struct Sample {
    turn: Turn,
    share: f64,
    outside: f64,
    late: f64,
    idle: f64,
    memory: f64,
}

/// Reads of one message that take 20 µs each: however late the load generator is, there is more to read.
const SATURATED: Scenario = pipe("64 connections, 16 messages in flight, one per read of 20 µs");
const LARGE: Scenario = Scenario::closed(
    "pipe64-16k",
    "64 connections, 16 messages of 16 KiB in flight",
    (64, 16 * 1024, 16),
);

/// With SATURATED: I/O that never ends.
const ENDLESS_1US: [&str; 8] = endless("1");
const ENDLESS_50US: [&str; 8] = endless("50");

const IO_RATIOS: [(&str, &str); 5] = same(["10", "25", "50", "75", "90"]);
const SPINS: [(&str, &str); 5] = [
    ("Off", "off"),
    ("For 10 µs", "for:10"),
    ("For 50 µs", "for:50"),
    ("For 200 µs", "for:200"),
    ("Adaptive", "adaptive:200"),
];
const EVENTS: [(&str, &str); 5] = same(["16", "64", "256", "1024", "4096"]);
const CALLS: [(&str, &str); 4] = same(["1", "4", "16", "64"]);
const RECEIVES: [(&str, &str); 5] = [
    ("512", "fixed:512"),
    ("2048", "fixed:2048"),
    ("16384", "fixed:16384"),
    ("65536", "fixed:65536"),
    ("adaptive", "adaptive"),
];
const MARKS: [(&str, &str); 3] = [
    ("8:16 KiB", "8192:16384"),
    ("32:64 KiB", "32768:65536"),
    ("256:512 KiB", "262144:524288"),
];

/// Every curve, in the order of the page.
pub const CURVES: [Curve; 11] = [
    Curve {
        name: "io_ratio-1us",
        knob: "io_ratio, tasks of 1 µs",
        option: "--io-ratio",
        points: &IO_RATIOS,
        fixed: &ENDLESS_1US,
        load: SATURATED,
        figures: &[Figure::Share, Figure::Outside, Figure::Rate],
    },
    Curve {
        name: "io_ratio-50us",
        knob: "io_ratio, tasks of 50 µs",
        option: "--io-ratio",
        points: &IO_RATIOS,
        fixed: &ENDLESS_50US,
        load: SATURATED,
        figures: &[Figure::Share, Figure::Outside, Figure::Rate],
    },
    Curve {
        name: "events",
        knob: "max_events_per_turn",
        option: "--events",
        points: &EVENTS,
        fixed: &["--tick-us", "1000"],
        load: Scenario::closed(
            "pp4000",
            "4,000 connections, ping-pong, 64 B",
            (4000, 64, 1),
        ),
        figures: &[Figure::Late, Figure::Cpu, Figure::Spread],
    },
    Curve {
        name: "spin-busy",
        knob: "spin",
        option: "--spin",
        points: &SPINS,
        fixed: &[],
        load: Scenario::closed("pp1", "1 connection, ping-pong, 64 B", (1, 64, 1)),
        figures: &[Figure::P50, Figure::P99, Figure::Idle],
    },
    Curve {
        name: "spin-sparse",
        knob: "spin",
        option: "--spin",
        points: &SPINS,
        fixed: &[],
        load: Scenario::closed("rate1k", "1 connection, 1,000 messages/s", (1, 64, 1)).paced(1e3),
        figures: &[Figure::P50, Figure::P99, Figure::Use],
    },
    Curve {
        name: "write_spin",
        knob: "WRITE_SPIN_COUNT",
        option: "--write-spin",
        points: &CALLS,
        fixed: &[],
        load: LARGE,
        figures: &[Figure::Rate, Figure::Spread],
    },
    Curve {
        name: "reads",
        knob: "MAX_MESSAGES_PER_READ",
        option: "--reads",
        points: &CALLS,
        fixed: &["--recv", "fixed:64"],
        load: pipe("64 connections, 16 messages of 64 B in flight, one per read"),
        figures: &[Figure::Cpu, Figure::Spread],
    },
    Curve {
        name: "recv-64",
        knob: "RECV_ALLOCATOR",
        option: "--recv",
        points: &RECEIVES,
        fixed: &[],
        load: Scenario::closed("pp64", "64 connections, ping-pong, 64 B", (64, 64, 1)),
        figures: &[Figure::Cpu],
    },
    Curve {
        name: "recv-16k",
        knob: "RECV_ALLOCATOR",
        option: "--recv",
        points: &RECEIVES,
        fixed: &[],
        load: Scenario::closed(
            "pp64-16k",
            "64 connections, ping-pong, 16 KiB",
            (64, 16 * 1024, 1),
        ),
        figures: &[Figure::Cpu],
    },
    Curve {
        name: "watermarks-slow",
        knob: "WRITE_BUFFER_WATER_MARK",
        option: "--watermarks",
        points: &MARKS,
        fixed: &[],
        load: Scenario::closed(
            "slow32-16k",
            "32 peers that send more than they read, 64 KiB each 5 ms",
            (32, 16 * 1024, 1024),
        )
        .resting(Duration::from_millis(5)),
        figures: &[Figure::Memory, Figure::Rate],
    },
    Curve {
        name: "watermarks-fast",
        knob: "WRITE_BUFFER_WATER_MARK",
        option: "--watermarks",
        points: &MARKS,
        fixed: &[],
        load: LARGE,
        figures: &[Figure::Memory, Figure::Rate],
    },
];

const fn pipe(about: &'static str) -> Scenario {
    Scenario::closed("pipe64", about, (64, 64, 16))
}

const fn endless(task_us: &'static str) -> [&'static str; 8] {
    let read = ["--read-us", "20", "--recv", "fixed:64", "--reads", "1"];
    let [a, b, c, d, e, f] = read;
    ["--task-us", task_us, a, b, c, d, e, f]
}

/// Values that are called what they are.
const fn same<const N: usize>(values: [&'static str; N]) -> [(&'static str, &'static str); N] {
    let mut points = [("", ""); N];
    let mut at = 0;
    while at < N {
        points[at] = (values[at], values[at]);
        at += 1;
    }
    points
}

impl Curve {
    /// One turn with the value at `point`.
    ///
    /// # Errors
    /// Whatever starting the server or the load say, with the name of the curve.
    pub fn turn(&self, point: usize, setting: &Setting) -> io::Result<Sample> {
        let (value, argument) = self.points[point];
        self.measure(argument, setting)
            .map_err(|error| io::Error::other(format!("{} {value}: {error}", self.name)))
    }

    fn measure(&self, argument: &str, setting: &Setting) -> io::Result<Sample> {
        let arguments = [&["--handlers", "3", self.option, argument], self.fixed].concat();
        let mut running = Running::start_program("peer-tidegate", &arguments, setting.server_cpu)?;
        let plan = self.load.plan(setting.warm_up, setting.time);
        let outcome = load::run(&plan, running.address, Some(running.pid()))?;
        let mut sample = Sample {
            turn: Turn::of(&outcome),
            share: f64::NAN,
            outside: f64::NAN,
            late: f64::NAN,
            idle: f64::NAN,
            memory: os::peak_memory_kib(running.pid())? as f64 / 1024.0,
        };
        if self.figures.contains(&Figure::Share) {
            (sample.share, sample.outside) = shares(&running.line()?)?;
        }
        if self.figures.contains(&Figure::Late) {
            sample.late = lateness(&running.line()?)?;
        }
        if self.figures.contains(&Figure::Idle) {
            sample.idle = idle_second(&running)?.as_secs_f64() * 100.0;
        }
        Ok(sample)
    }
}

/// The last figure of the other line.
fn lateness(line: &str) -> io::Result<f64> {
    line.rsplit(", ")
        .next()
        .and_then(|last| last.split(' ').next()?.parse().ok())
        .ok_or_else(|| io::Error::other(format!("no lateness in {line:?}")))
}

/// The two figures of the line that `burden::Tally` prints.
fn shares(line: &str) -> io::Result<(f64, f64)> {
    let percents: Vec<f64> = line
        .split(" %")
        .filter_map(|part| part.rsplit(' ').next()?.parse().ok())
        .collect();
    match percents[..] {
        [share, outside] => Ok((share, outside)),
        _ => Err(io::Error::other(format!("no shares in {line:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::{CURVES, lateness, shares};

    #[test]
    fn figures_are_found_in_the_lines_of_the_server() {
        let line = "io share 9.97 % by the loop's counters, 11.50 % of the time outside of tasks, 42 tasks\n";
        assert_eq!(shares(line).ok(), Some((9.97, 11.5)));
        assert!(shares("").is_err());
        let line = "a timer fired 42 times, late by 0.9 µs (p50), 12.5 µs (p99)\n";
        assert_eq!(lateness(line).ok(), Some(12.5));
        assert!(lateness("").is_err());
    }

    #[test]
    fn no_two_curves_share_a_name() {
        let mut names = CURVES.each_ref().map(|curve| curve.name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
