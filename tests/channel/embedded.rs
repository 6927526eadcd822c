//! The embedded channel itself: what it keeps for the test, and what it tells.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tidegate::channel::AttributeKey;
use tidegate::channel::options::CLOSE_ON_UNHANDLED_ERROR;
use tidegate::handler::timeout::WriteTimeout;
use tidegate::transport::embedded::{EmbeddedPair, Link};
use tidegate::{
    Context, EmbeddedChannel, Error, ErrorKind, Handler, HandlerResult, Message, OptionSet,
    Pipeline,
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

fn message_of(panic: Box<dyn std::any::Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().expect("a text").to_string(),
    }
}

/// Finds fault by panicking, as an assertion in a handler under test does.
struct Strict;

impl Handler for Strict {
    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        assert!(ctx.channel().attr(&FINE).is_some(), "not finished");
        Ok(())
    }

    fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
        assert_eq!(text(&msg), "right");
        Ok(())
    }

    fn timer(&mut self, _: &mut Context<'_>, _: u64) -> HandlerResult {
        panic!("too late")
    }

    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.timer(Duration::from_secs(60), 0);
        Ok(())
    }
}

static FINE: AttributeKey<()> = AttributeKey::new("fine");

fn strict() -> EmbeddedChannel {
    EmbeddedChannel::new(|pipeline| pipeline.add_last(Strict)).unwrap()
}

/// The text of the panic that `call` ends with. The channel is dropped meanwhile.
fn panic_of(call: impl FnOnce(EmbeddedChannel)) -> String {
    let outcome = catch_unwind(AssertUnwindSafe(|| call(strict())));
    message_of(outcome.expect_err("it panics"))
}

/// As a story: an assertion in a handler failed, the channel closed, and the test passed.
///
/// Rules: 5.8, H58
#[test]
fn a_panic_in_a_handler_comes_out_of_the_call_that_caused_it() {
    let text = panic_of(|mut channel| _ = channel.write_inbound("wrong"));
    assert!(text.contains(r#"left: "wrong""#), "{text}");
    let text = panic_of(|mut channel| channel.feed(["right", "wrong"]));
    assert!(text.contains("assertion"), "{text}");
    let text = panic_of(|mut channel| channel.advance(Duration::from_secs(60)));
    assert_eq!(text, "too late");
    let text = panic_of(|mut channel| _ = channel.finish());
    assert_eq!(text, "not finished");
    let text = panic_of(drop);
    assert_eq!(text, "not finished");
}

/// Rules: 5.8, H58
#[test]
fn a_panic_in_a_listener_a_task_or_the_initializer_comes_out() {
    let text = panic_of(|mut channel| {
        let sent = channel.channel().write_and_flush("x");
        sent.add_listener(|_, _| panic!("in a listener"));
        channel.run_pending();
    });
    assert_eq!(text, "in a listener");
    let text = panic_of(|mut channel| {
        let given = channel.event_loop().execute(|| panic!("in a task"));
        given.unwrap();
        channel.run_pending();
    });
    assert_eq!(text, "in a task");
    let made = catch_unwind(|| {
        EmbeddedChannel::new(|_| -> Result<(), Error> { panic!("in the initializer") })
    });
    assert_eq!(message_of(made.unwrap_err()), "in the initializer");
}

/// Rules: 5.8, H58
#[test]
fn a_panic_may_be_contained_to_be_looked_at() {
    let mut channel = strict();
    channel.contain_panics();
    assert!(!channel.write_inbound("wrong").unwrap());
    assert!(!channel.channel().is_open());
    let text = channel.take_panic().expect("there was one");
    assert!(text.contains("assertion"), "{text}");
    assert_eq!(channel.take_panic(), None, "told once");
}

/// A failing test is not made to abort by what its channel would say as well.
///
/// Rules: 5.8
#[test]
fn a_test_that_fails_by_itself_drops_its_channel_in_silence() {
    let text = panic_of(|_channel| panic!("the test's own {}", "fault"));
    assert_eq!(text, "the test's own fault");
}

/// Rules: 5.8
#[test]
fn a_panic_on_a_side_of_a_pair_comes_out() {
    let fill = |pipeline: &mut Pipeline<'_>| pipeline.add_last(Strict);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut pair = EmbeddedPair::new(Link::seeded(1), |_| Ok::<_, Error>(()), fill).unwrap();
        pair.client().channel().write_and_flush("wrong");
        pair.run_until_idle()
    }));
    let text = message_of(outcome.expect_err("it panics"));
    assert!(text.contains("assertion"), "{text}");
}
