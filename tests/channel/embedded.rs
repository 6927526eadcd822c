//! The embedded channel itself: what it keeps for the test, and what it tells.

use std::time::Duration;

use tidegate::channel::options::CLOSE_ON_UNHANDLED_ERROR;
use tidegate::handler::timeout::WriteTimeout;
use tidegate::{
    Context, EmbeddedChannel, Error, ErrorKind, Handler, HandlerResult, Message, OptionSet,
};

use crate::support::text;

/// Fails on "bad", asks for a timer on "later", and passes everything else on.
struct Moody;

impl Handler for Moody {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        match msg.as_bytes() {
            Some(b"bad") => Err(Error::new(ErrorKind::Malformed, "bad").into()),
            Some(b"worse") => Err(Error::new(ErrorKind::TooLong, "worse").into()),
            Some(b"later") => {
                ctx.timer(Duration::from_secs(60), 7);
                Ok(())
            }
            _ => {
                ctx.fire_channel_read(msg);
                Ok(())
            }
        }
    }

    fn timer(&mut self, ctx: &mut Context<'_>, key: u64) -> HandlerResult {
        ctx.fire_channel_read(Message::from(format!("timer {key}")));
        Ok(())
    }
}

fn embedded() -> EmbeddedChannel {
    EmbeddedChannel::new(|pipeline| pipeline.add_last(Moody).map(drop)).expect("a channel")
}

/// Rules: H58.
#[test]
fn what_no_handler_took_waits_for_the_test() {
    let mut channel = embedded();
    assert!(channel.write_inbound("one").unwrap());
    assert!(channel.write_inbound("two").unwrap());
    assert_eq!(text(&channel.read_inbound().unwrap()), "one");
    assert_eq!(text(&channel.read_inbound().unwrap()), "two");
    assert!(channel.read_inbound().is_none());
    assert!(channel.write_outbound("out").unwrap());
    assert_eq!(text(&channel.read_outbound().unwrap()), "out");
}

/// Rules: H58.
#[test]
fn the_first_error_is_told_once_by_the_call_that_met_it_or_the_next() {
    let mut channel = embedded();
    channel
        .channel()
        .set_option(CLOSE_ON_UNHANDLED_ERROR, false);
    channel.pipeline(|pipeline| {
        for bytes in ["bad", "worse"] {
            pipeline.fire_channel_read(Message::from(bytes));
        }
    });
    let failure = channel.write_inbound("fine").unwrap_err();
    assert_eq!(failure.to_string(), "bad", "not the second");
    channel.check().expect("told once");
}

/// Rules: H58.
#[test]
fn finishing_closes_drops_timers_and_tells_what_is_left() {
    let mut channel = embedded();
    channel.write_inbound("later").unwrap();
    assert_eq!(channel.next_timer(), Some(Duration::from_secs(60)));
    channel.advance(Duration::from_secs(59));
    assert!(channel.read_inbound().is_none());
    channel.advance(Duration::from_secs(1));
    assert_eq!(text(&channel.read_inbound().unwrap()), "timer 7");

    channel.write_inbound("later").unwrap();
    channel.write_inbound("rest").unwrap();
    assert!(channel.finish().unwrap(), "a message is left");
    assert!(!channel.channel().is_open());
    channel.advance(Duration::from_secs(120));
    assert_eq!(text(&channel.read_inbound().unwrap()), "rest");
    assert!(
        channel.read_inbound().is_none(),
        "no timer of a channel that has ended"
    );
    assert!(channel.write_inbound("more").is_err(), "it is closed");
}

/// As a story: a write timeout of 3 s did not fire in a test that wrote by the channel's handle, a task, and then let 10 s
/// pass: the write began at their end.
#[test]
fn what_was_asked_for_before_the_clock_moves_begins_before() {
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(WriteTimeout::new(Duration::from_secs(3)))
    })
    .unwrap();
    channel.block_writes(true);
    channel.channel().write_and_flush("stuck");
    channel.advance(Duration::from_secs(10));
    let failure = channel.check().expect_err("it takes too long");
    assert_eq!(failure.kind(), ErrorKind::TimedOut);

    let mut channel = embedded();
    channel.block_writes(true);
    channel.channel().write_and_flush("stuck");
    let drained = channel.channel().drain(Duration::from_secs(1));
    channel.advance(Duration::from_secs(2));
    assert!(drained.is_done());
}

/// Rules: 6.10, B17
#[test]
fn an_error_that_nobody_takes_closes_the_channel_as_on_the_wire() {
    let mut channel = embedded();
    let failure = channel.write_inbound("bad").unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Malformed);
    assert!(!channel.channel().is_open());
    let failure = channel.write_inbound("fine").unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::ChannelClosed);
    assert!(channel.finish().is_ok(), "it was told");
}

/// Rules: 6.10, B17
#[test]
fn an_error_that_nobody_takes_is_only_told_if_the_option_says_so() {
    let mut options = OptionSet::new();
    options.set(CLOSE_ON_UNHANDLED_ERROR, false).unwrap();
    let mut channel =
        EmbeddedChannel::with_options(&options, |pipeline| pipeline.add_last(Moody)).unwrap();
    let failure = channel.write_inbound("bad").unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Malformed);
    assert!(channel.write_inbound("fine").unwrap());
}
