//! `Aggregator` (H24).

use bytes::{Bytes, BytesMut};
use tidegate::channel::options::ALLOW_HALF_CLOSURE;
use tidegate::handler::codec::{Aggregate, Aggregator, Part};
use tidegate::{EmbeddedChannel, Failure, Message, OptionSet};

use crate::support::{Tell, asked, inbound};

/// `(` begins, `)` ends, `#` is no part.
struct Brackets;

impl Aggregate for Brackets {
    type Part = String;
    type Whole = String;

    fn part(&self, part: &String) -> Part {
        match (part.starts_with('('), part.ends_with(')')) {
            _ if part.starts_with('#') => Part::None,
            (true, true) => Part::Only,
            (true, false) => Part::First,
            (false, true) => Part::Last,
            (false, false) => Part::Middle,
        }
    }

    fn size(&self, part: &String) -> usize {
        part.len()
    }

    fn begin(&mut self, part: String) -> Result<String, Failure> {
        Ok(part)
    }

    fn add(&mut self, whole: &mut String, part: String) -> Result<(), Failure> {
        whole.push_str(&part);
        Ok(())
    }
}

fn brackets(options: &tidegate::OptionSet) -> EmbeddedChannel {
    let mut channel = EmbeddedChannel::with_options(options, |pipeline| {
        pipeline.add_last(Aggregator::new(Brackets, 10))?;
        pipeline.add_last(Tell)
    })
    .expect("the pipeline is sound");
    inbound(&mut channel);
    channel
}

fn parts(parts: &[&str]) -> Vec<Message> {
    parts
        .iter()
        .map(|part| Message::new((*part).to_owned()))
        .collect()
}

/// Parts become whole messages; what is no part passes.
///
/// Rules: H24
#[test]
fn parts_become_whole_messages() {
    let mut channel = brackets(&Default::default());
    channel.feed(parts(&["(a", "#x", "b", "c)", "(d)"]));
    channel.feed([Message::new(5_u32)]);
    assert_eq!(
        inbound(&mut channel),
        ["#x", "(abc)", "(d)", "read_complete", "5", "read_complete"]
    );
}

/// A beginning within a message is an error; both are dropped, and what belongs to them is ignored.
///
/// Rules: H24
#[test]
fn a_beginning_within_a_message_is_an_error() {
    let mut channel = brackets(&Default::default());
    channel.feed(parts(&["(a", "(b", "c)", "(d)"]));
    assert_eq!(inbound(&mut channel), ["Malformed", "(d)", "read_complete"]);
}

/// A message above the limit is one error as soon as that is known; the rest of it is ignored. The limit itself is allowed.
///
/// Rules: H24
#[test]
fn a_message_above_the_limit_is_an_error_and_ignored() {
    let mut channel = brackets(&Default::default());
    channel.feed(parts(&[
        "(34567890",
        "1",
        "2",
        "3)",
        "(12345678)",
        "(123456789)",
        "(1)",
    ]));
    assert_eq!(
        inbound(&mut channel),
        ["TooLong", "(12345678)", "TooLong", "(1)", "read_complete"]
    );
}

/// An input that ends within a message says so before the channel is inactive.
///
/// Rules: H24
#[test]
fn an_end_within_a_message_is_an_error() -> Result<(), Failure> {
    let mut channel = brackets(&Default::default());
    channel.feed(parts(&["(a"]));
    assert_eq!(inbound(&mut channel), ["read_complete"]);
    channel.finish()?;
    assert_eq!(inbound(&mut channel), ["Truncated", "inactive"]);

    let mut channel = brackets(&Default::default());
    channel.feed(parts(&["(a"]));
    assert_eq!(inbound(&mut channel), ["read_complete"]);
    channel.run(|channel| channel.close());
    assert_eq!(
        inbound(&mut channel),
        ["inactive"],
        "it was this side's close"
    );

    let mut options = OptionSet::new();
    options.set(ALLOW_HALF_CLOSURE, true)?;
    let mut channel = brackets(&options);
    channel.feed(parts(&["(a"]));
    channel.feed_eof();
    let seen = inbound(&mut channel);
    let told = seen.iter().position(|line| line == "Truncated");
    let ended = seen.iter().position(|line| line == "ChannelInputShutdown");
    assert!(told.is_some() && told < ended, "{seen:?}");
    channel.run(|channel| channel.close());
    assert_eq!(inbound(&mut channel), ["inactive"], "it is told once");
    Ok(())
}

/// While a message is incomplete and auto-read is off, the aggregator asks for reads.
///
/// Rules: H24
#[test]
fn one_read_brings_a_whole_message() {
    let mut channel = brackets(&asked());
    channel.feed(parts(&["(a", "b", "c)", "(d)"]));
    channel.run(|channel| channel.read());
    assert_eq!(channel.unread(), 1);
    let mut seen = inbound(&mut channel);
    seen.retain(|line| line != "read_complete");
    assert_eq!(seen, ["(abc)"]);
}

/// Parts of bytes come in either form: sockets give `BytesMut`, decoders and texts may give `Bytes`.
#[test]
fn parts_of_bytes_are_taken_in_either_form() {
    struct Four(usize);

    impl Aggregate for Four {
        type Part = Bytes;
        type Whole = BytesMut;

        fn part(&self, part: &Bytes) -> Part {
            match (self.0, self.0 + part.len()) {
                (0, 4) => Part::Only,
                (0, _) => Part::First,
                (_, 4) => Part::Last,
                _ => Part::Middle,
            }
        }

        fn size(&self, part: &Bytes) -> usize {
            part.len()
        }

        fn begin(&mut self, part: Bytes) -> Result<BytesMut, Failure> {
            self.0 = part.len();
            Ok(BytesMut::from(&part[..]))
        }

        fn add(&mut self, whole: &mut BytesMut, part: Bytes) -> Result<(), Failure> {
            self.0 += part.len();
            whole.extend_from_slice(&part);
            Ok(())
        }
    }

    let mut channel =
        EmbeddedChannel::new(|pipeline| pipeline.add_last(Aggregator::new(Four(0), 4))).unwrap();
    channel.feed([Message::from("t"), Message::from(BytesMut::from("id"))]);
    channel.feed(["e"]);
    let whole = channel.read_inbound().unwrap();
    assert_eq!(whole.as_bytes(), Some(&b"tide"[..]));
    assert!(channel.read_inbound().is_none());
}
