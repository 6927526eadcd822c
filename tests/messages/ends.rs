//! Connections that end in the middle of a message: who is blamed, and that a part is never taken for the whole.

use tidegate::channel::options::ALLOW_HALF_CLOSURE;
use tidegate::codec::LineDecoder;
use tidegate::{EmbeddedChannel, Error, ErrorKind, Fault, OptionSet};

use crate::support::{Framed, Tell, asked, inbound};

fn lines(options: &OptionSet) -> EmbeddedChannel {
    let mut channel = EmbeddedChannel::with_options(options, |pipeline| {
        pipeline.add_last(LineDecoder::new(100).last_line(true))?;
        pipeline.add_last(Tell)
    })
    .unwrap();
    inbound(&mut channel);
    channel
}

fn framed(options: &OptionSet) -> EmbeddedChannel {
    let mut channel = EmbeddedChannel::with_options(options, |pipeline| {
        pipeline.add_last(Framed::default())?;
        pipeline.add_last(Tell)
    })
    .unwrap();
    inbound(&mut channel);
    channel
}

fn half_closing() -> OptionSet {
    let mut options = OptionSet::new();
    options.set(ALLOW_HALF_CLOSURE, true).unwrap();
    options
}

fn reset() -> Error {
    Error::new(ErrorKind::ConnectionReset, "the peer broke off")
}

/// The last line may do without its end, if it is the end.
///
/// Rules: H7
#[test]
fn an_end_in_order_makes_a_message_of_what_is_left() {
    let mut channel = lines(&OptionSet::new());
    channel.feed(["one\npay 100"]);
    channel.feed_eof();
    let mut seen = inbound(&mut channel);
    seen.retain(|line| line != "read_complete");
    assert_eq!(seen, ["one", "pay 100", "inactive"]);
}

/// It might have become "pay 100000".
///
/// Rules: H7
#[test]
fn a_reset_makes_no_message_of_a_part() {
    for options in [OptionSet::new(), half_closing()] {
        let mut channel = lines(&options);
        channel.feed(["one\npay 100"]);
        channel.feed_error(reset());
        assert_eq!(
            inbound(&mut channel),
            [
                "one",
                "read_complete",
                "read_complete",
                "ConnectionReset",
                "inactive"
            ]
        );
    }
}

/// Rules: H7
#[test]
fn a_close_of_this_side_makes_no_message_of_a_part_and_blames_nobody() {
    let mut channel = lines(&OptionSet::new());
    channel.feed(["one\npay 100"]);
    channel.run(|channel| channel.close());
    assert_eq!(inbound(&mut channel), ["one", "read_complete", "inactive"]);
}

/// Rules: H7
#[test]
fn an_input_that_this_side_shuts_blames_nobody() {
    for options in [OptionSet::new(), half_closing()] {
        let mut channel = framed(&options);
        channel.feed(["\u{1}a\u{9}bcd"]);
        let shut = channel.run(|channel| channel.shutdown_input());
        assert!(shut.is_success());
        channel.feed_eof();
        channel.run(|channel| channel.close());
        let seen = inbound(&mut channel);
        assert_eq!(seen.first().map(String::as_str), Some("a"));
        assert!(!seen.contains(&"Truncated".to_owned()), "{seen:?}");
        let later = channel.run(|channel| channel.write_and_flush("late"));
        assert_ne!(later.cause().unwrap().fault(), Fault::Peer);
    }
}

/// Whole messages that were held back are delivered all the same, and only these.
///
/// Rules: H7, 6.7
#[test]
fn whole_messages_that_wait_are_delivered_before_every_end() {
    let ends: [fn(&mut EmbeddedChannel); 3] = [
        EmbeddedChannel::feed_eof,
        |channel| channel.feed_error(reset()),
        |channel| _ = channel.run(|channel| channel.close()),
    ];
    for (number, end) in ends.into_iter().enumerate() {
        let mut channel = lines(&asked());
        channel.feed(["one\ntwo\nthree\npay 100"]);
        channel.run(|channel| channel.read());
        assert_eq!(inbound(&mut channel), ["one", "read_complete"]);
        end(&mut channel);
        // Two, to fetch the end.
        channel.run(|channel| channel.read());
        channel.run(|channel| channel.read());
        channel.run(|channel| channel.read());
        let mut seen = inbound(&mut channel);
        seen.retain(|line| line != "read_complete" && line != "PeerClosing");
        let last = seen.contains(&"pay 100".to_owned());
        assert_eq!(seen[..2], ["two", "three"], "{number}: {seen:?}");
        assert_eq!(last, number == 0, "{number}: {seen:?}");
    }
}
