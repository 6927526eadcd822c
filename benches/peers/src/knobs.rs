//! The knobs of Tidegate's tuning page as arguments of `peer-tidegate`, with Tidegate's own values where one is not given.
//! What they do is told there; here they are only read and handed to the builders.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use tidegate::channel::options::{
    MAX_MESSAGES_PER_READ, RECV_ALLOCATOR, WRITE_BUFFER_WATER_MARK, WRITE_SPIN_COUNT, WaterMark,
};
use tidegate::event_loop::{EventLoopGroupBuilder, LocalEventLoopBuilder};
use tidegate::{RecvAllocator, ServerBootstrap, Spin};

use crate::args::Args;

/// Their names, for the usage of a program.
#[macro_export]
macro_rules! knobs_usage {
    () => {
        "[--io-ratio PERCENT] [--events NUMBER] [--spin off|count:POLLS|for:MICROSECONDS|adaptive:MICROSECONDS] [--write-spin CALLS]
    [--reads CALLS] [--recv fixed:BYTES|adaptive] [--watermarks LOW:HIGH]"
    };
}

/// What was chosen.
pub struct Knobs {
    /// `--io-ratio`: the share of time for I/O, in percent.
    io_ratio: u8,
    /// `--events`: events of one turn.
    events: Option<usize>,
    /// `--spin`: how long to poll before sleeping.
    spin: Spin,
    /// `--write-spin`: write calls of one flush.
    write_spin: i32,
    /// `--reads`: read calls of one readiness.
    reads: i32,
    /// `--recv`: how large a read is.
    recv: RecvAllocator,
    /// `--watermarks`: when a channel counts as writable, in bytes.
    marks: WaterMark,
}

impl Knobs {
    /// Takes them from the arguments.
    pub fn take(args: &mut Args) -> Self {
        Self {
            io_ratio: args.get("io-ratio", 50),
            events: args.optional("events"),
            spin: args.get("spin", SpinArg(Spin::Off)).0,
            write_spin: args.get("write-spin", 16),
            reads: args.get("reads", 16),
            recv: args.get("recv", RecvArg(RecvAllocator::default())).0,
            marks: args.get("watermarks", MarksArg(WaterMark::default())).0,
        }
    }

    /// Turns those that each loop has. Whatever is out of range is reported by `build`.
    pub fn apply_to_group(&self, group: EventLoopGroupBuilder) -> EventLoopGroupBuilder {
        let group = group.spin(self.spin).io_ratio(self.io_ratio);
        match self.events {
            Some(events) => group.max_events_per_turn(events),
            None => group,
        }
    }

    /// The same for a loop without a thread of its own.
    pub fn apply_to_local(&self, local: LocalEventLoopBuilder) -> LocalEventLoopBuilder {
        let local = local.spin(self.spin).io_ratio(self.io_ratio);
        match self.events {
            Some(events) => local.max_events_per_turn(events),
            None => local,
        }
    }

    /// Turns those that each channel has. Whatever is out of range is reported by `bind`.
    pub fn apply(&self, server: ServerBootstrap) -> ServerBootstrap {
        server
            .child_option(WRITE_SPIN_COUNT, self.write_spin)
            .child_option(MAX_MESSAGES_PER_READ, self.reads)
            .child_option(RECV_ALLOCATOR, self.recv)
            .child_option(WRITE_BUFFER_WATER_MARK, self.marks)
    }
}

struct SpinArg(Spin);

impl FromStr for SpinArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let micros = |text| number(text).map(Duration::from_micros);
        Ok(Self(match text.split_once(':') {
            None if text == "off" => Spin::Off,
            Some(("count", polls)) => Spin::Count(number(polls)?),
            Some(("for", time)) => Spin::For(micros(time)?),
            Some(("adaptive", max)) => Spin::Adaptive { max: micros(max)? },
            _ => return Err("there are off, count:N, for:N and adaptive:N".to_owned()),
        }))
    }
}

struct RecvArg(RecvAllocator);

impl FromStr for RecvArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(match text.split_once(':') {
            None if text == "adaptive" => RecvAllocator::default(),
            Some(("fixed", bytes)) => RecvAllocator::Fixed(number(bytes)?),
            _ => return Err("there are adaptive and fixed:N".to_owned()),
        }))
    }
}

struct MarksArg(WaterMark);

impl FromStr for MarksArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (low, high) = text.split_once(':').ok_or("expected LOW:HIGH")?;
        let marks = WaterMark::new(number(low)?, number(high)?);
        marks.map(Self).map_err(|error| error.to_string())
    }
}

fn number<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|error| format!("{text} is no number here: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knobs_are_read_as_they_are_written() {
        let spin = |text: &str| text.parse::<SpinArg>().map(|spin| spin.0);
        assert_eq!(spin("off"), Ok(Spin::Off));
        assert_eq!(spin("count:7"), Ok(Spin::Count(7)));
        let max = Duration::from_micros(50);
        assert_eq!(spin("for:50"), Ok(Spin::For(max)));
        assert_eq!(spin("adaptive:50"), Ok(Spin::Adaptive { max }));
        assert!(spin("adaptive").is_err() && spin("for:x").is_err());

        let recv = |text: &str| text.parse::<RecvArg>().map(|recv| recv.0);
        assert_eq!(recv("adaptive"), Ok(RecvAllocator::default()));
        assert_eq!(recv("fixed:512"), Ok(RecvAllocator::Fixed(512)));
        assert!(recv("512").is_err());

        let marks = |text: &str| text.parse::<MarksArg>().map(|marks| marks.0);
        assert_eq!(
            marks("8:16"),
            WaterMark::new(8, 16).map_err(|_| String::new())
        );
        assert!(marks("16:8").is_err() && marks("16").is_err());
    }
}
