//! `FlowControl`: which messages pass when, behind a handler that makes many of one.

use tidegate::buffer::BytesMut;
use tidegate::channel::options::AUTO_READ;
use tidegate::handler::flow::FlowControl;
use tidegate::{EmbeddedChannel, OptionSet};

use crate::common::{Log, Script, inbound};

/// Three messages of each, in one callback: what `FlowControl` is for.
fn tripler() -> Script {
    Script::new("tripler", &Log::new()).on_read(|ctx, msg| {
        let text = crate::common::text(&msg);
        for n in 1..=3 {
            ctx.fire_channel_read(format!("{text}{n}"));
        }
        Ok(())
    })
}

fn channel(auto_read: bool, last: Script) -> EmbeddedChannel {
    let mut options = OptionSet::new();
    options.set(AUTO_READ, auto_read).unwrap();
    EmbeddedChannel::with_options(&options, |p| {
        p.add_last(tripler())?;
        p.add_last_named("flow", FlowControl::new())?;
        p.add_last_named("last", last)
    })
    .unwrap()
}

fn loud(log: &Log) -> Script {
    Script::new("last", log).loud()
}

/// Each `read()` brings one message, with a `channel_read_complete` behind it, and the transport is asked again only when
/// none waits.
///
/// Rules: H51
#[test]
fn one_message_for_each_read() {
    let log = Log::new();
    let mut channel = channel(false, loud(&log));
    channel.feed(["a", "b"]);
    log.take();
    for expected in ["a1", "a2", "a3", "b1", "b2", "b3"] {
        channel.run(|channel| channel.read());
        let lines = log.take();
        assert_eq!(
            lines,
            [
                "last read()",
                &format!("last read {expected}"),
                "last read_complete"
            ]
        );
        let unread = usize::from(expected.starts_with('a'));
        assert_eq!(channel.unread(), unread, "{expected}");
    }
    channel.run(|channel| channel.read());
    assert_eq!(
        log.take(),
        ["last read()", "last read_complete"],
        "nothing is there"
    );
    channel.feed(["c"]);
    assert_eq!(log.take(), ["last read c1", "last read_complete"]);
}

/// A handler that asks for the next message when one is done gets all of them.
///
/// Rules: H51
#[test]
fn asking_in_read_complete_goes_on() {
    let log = Log::new();
    let last = Script::new("last", &log).on_read_complete(|ctx| {
        ctx.fire_channel_read_complete();
        ctx.read();
        Ok(())
    });
    let mut channel = channel(false, last);
    channel.feed(["a", "b"]);
    channel.run(|channel| channel.read());
    assert_eq!(inbound(&mut channel), ["a1", "a2", "a3", "b1", "b2", "b3"]);
}

/// With auto-read all pass, in order, and one batch ends once.
///
/// Rules: H51
#[test]
fn with_auto_read_all_pass() {
    let log = Log::new();
    let mut channel = channel(true, loud(&log));
    log.take();
    channel.feed(["a", "b"]);
    assert_eq!(
        log.take(),
        [
            "last read a1",
            "last read a2",
            "last read a3",
            "last read b1",
            "last read b2",
            "last read b3",
            "last read_complete",
            "last read()"
        ]
    );
}

/// A handler that switches auto-read off has had its last message, whichever of a batch it was; switching it on goes on.
///
/// Rules: H51
#[test]
fn switching_auto_read_off_keeps_the_rest() {
    for at in 1..=6 {
        let mut seen = 0;
        let last = Script::new("last", &Log::new()).on_read(move |ctx, msg| {
            seen += 1;
            if seen == at {
                ctx.set_auto_read(false);
            }
            ctx.fire_channel_read(msg);
            Ok(())
        });
        let mut channel = channel(true, last);
        channel.feed(["a", "b"]);
        assert_eq!(inbound(&mut channel).len(), at);
        channel.run(|channel| channel.read());
        assert_eq!(inbound(&mut channel).len(), usize::from(at < 6));
        channel.run(|channel| channel.set_auto_read(true));
        assert_eq!(inbound(&mut channel).len(), 5_usize.saturating_sub(at));
    }
}

/// What waits when the handler is taken out or replaced goes on to the next one, with the end of a batch.
///
/// Rules: H51
#[test]
fn a_removed_handler_hands_on_what_waits() {
    let log = Log::new();
    let mut channel = channel(false, loud(&log));
    channel.feed(["a"]);
    channel.run(|channel| channel.read());
    log.take();
    channel.pipeline(|p| p.remove("flow")).unwrap();
    assert_eq!(
        log.take(),
        ["last read a2", "last read a3", "last read_complete"]
    );

    let mut channel = self::channel(false, loud(&log));
    channel.feed(["a"]);
    channel.run(|channel| channel.read());
    channel
        .pipeline(|p| p.replace("flow", Some("flow"), FlowControl::new()))
        .unwrap();
    assert_eq!(inbound(&mut channel), ["a1"], "the new one keeps it");
    channel.run(|channel| channel.read());
    channel.run(|channel| channel.read());
    assert_eq!(inbound(&mut channel), ["a2", "a3"]);
}

/// A handler that takes the flow control out, replaces it, or closes the channel at the k-th of six messages loses none and
/// mixes none up, for all k; after a replacement the new one holds them.
///
/// Rules: H51
#[test]
fn edits_at_each_message_lose_nothing() {
    const ALL: [&str; 6] = ["a1", "a2", "a3", "b1", "b2", "b3"];
    for at in 1..=ALL.len() {
        for what in ["remove", "replace", "close", "off and remove"] {
            let mut seen = 0;
            let last = Script::new("last", &Log::new()).on_read(move |ctx, msg| {
                seen += 1;
                ctx.fire_channel_read(msg);
                if seen == at {
                    match what {
                        "replace" => {
                            ctx.set_auto_read(false);
                            ctx.pipeline()
                                .replace("flow", Some("flow"), FlowControl::new())?;
                        }
                        "close" => ctx.close(),
                        "remove" => ctx.pipeline().remove("flow")?,
                        _ => {
                            ctx.set_auto_read(false);
                            ctx.pipeline().remove("flow")?;
                        }
                    }
                }
                Ok(())
            });
            let mut channel = channel(true, last);
            channel.feed(["a", "b"]);
            let mut got = inbound(&mut channel);
            match what {
                "remove" => {}
                "close" => assert!(got.len() >= at, "{what} at {at}"),
                // Nothing holds back what one read has become, but the second read does not happen.
                "off and remove" => assert_eq!(got.len(), at.next_multiple_of(3)),
                _ => assert_eq!(got.len(), at),
            }
            if what != "close" {
                for _ in got.len()..ALL.len() {
                    channel.run(|channel| channel.read());
                    got.extend(inbound(&mut channel));
                }
                assert_eq!(got, ALL, "{what} at {at}");
            }
            assert_eq!(got, ALL[..got.len()], "{what} at {at}");
        }
    }
}

/// The end of the channel and of the input come behind what waits.
///
/// Rules: H51, 6.7
#[test]
fn what_waits_comes_before_the_end() {
    let log = Log::new();
    let mut closed = channel(false, loud(&log));
    closed.feed(["a"]);
    closed.run(|channel| channel.read());
    log.take();
    closed.finish().unwrap();
    let lines = log.take();
    let reads: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("read a"))
        .collect();
    assert_eq!(reads, ["last read a2", "last read a3"]);
    let last_read = lines.iter().rposition(|line| line.contains("read a"));
    let inactive = lines.iter().position(|line| line.contains("inactive"));
    assert!(last_read < inactive, "{lines:?}");
}

/// A message that is not taken by anybody is dropped with the channel, not kept: the queue is the handler's.
///
/// Rules: H51
#[test]
fn an_embedded_channel_that_goes_frees_what_waits() {
    let log = Log::new();
    let mut channel = channel(false, loud(&log));
    channel.feed(["a"]);
    channel.run(|channel| channel.read());
    drop(channel);
    assert!(log.take().iter().any(|line| line == "last removed"));
}

/// Added while a batch is under way, with auto-read off, it keeps what comes from then on.
///
/// Rules: H51
#[test]
fn it_may_come_late() {
    let mut options = OptionSet::new();
    options.set(AUTO_READ, false).unwrap();
    let mut channel = EmbeddedChannel::with_options(&options, |p| p.add_last(tripler())).unwrap();
    channel
        .pipeline(|p| p.add_last(FlowControl::new()))
        .unwrap();
    channel.feed(["a"]);
    assert_eq!(inbound(&mut channel), [""; 0]);
    channel.run(|channel| channel.read());
    assert_eq!(inbound(&mut channel), ["a1"]);
}

/// What waits may wait for long, and is a small part of the block that it was read into.
#[test]
fn bytes_that_wait_hold_no_block_of_the_receive_memory() {
    let mut options = OptionSet::new();
    options.set(AUTO_READ, false).unwrap();
    let mut channel =
        EmbeddedChannel::with_options(&options, |p| p.add_last(FlowControl::new())).unwrap();
    let mut block = BytesMut::with_capacity(100_000);
    block.extend_from_slice(b"onetwo");
    let (one, two) = (block.split_to(3), block.split_to(3));
    channel.pipeline(|p| {
        p.fire_channel_read(one);
        p.fire_channel_read(two);
        p.fire_channel_read_complete();
    });
    assert!(block.try_reclaim(100_000), "somebody holds a part of it");
    for expected in ["one", "two"] {
        channel.run(|channel| channel.read());
        let got = channel.read_inbound().unwrap();
        assert_eq!(got.as_bytes(), Some(expected.as_bytes()));
    }
}
