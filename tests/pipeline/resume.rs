//! Emitting one message at a time: `resume`, parking, read() credits, the limit, the end of input.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use tidegate::{Context, EmbeddedChannel, Handler, HandlerResult, Message, OptionSet};

use crate::common::{Log, Script, channel, inbound, manual};

/// A decoder as codecs are made: splits text at blanks, emits one word at a time, keeps the rest.
pub struct Words {
    log: Log,
    rest: VecDeque<String>,
}

impl Words {
    pub fn new(log: &Log) -> Self {
        Self {
            log: log.clone(),
            rest: VecDeque::new(),
        }
    }

    fn emit(&mut self, ctx: &mut Context<'_>) {
        if let Some(word) = self.rest.pop_front() {
            ctx.fire_channel_read(word.into_bytes());
            ctx.resume();
        }
    }
}

impl Handler for Words {
    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if !self.rest.is_empty() {
            let rest: Vec<String> = self.rest.drain(..).collect();
            ctx.fire_channel_read(rest.join("+").into_bytes());
        }
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.rest
            .extend(crate::common::text(&msg).split(' ').map(str::to_owned));
        self.emit(ctx);
        Ok(())
    }

    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.log.add("words resume");
        self.emit(ctx);
        Ok(())
    }
}

/// A channel with a decoder between two handlers that log everything.
pub(crate) fn decoding(log: &Log, options: &OptionSet, app: Script) -> EmbeddedChannel {
    let head = Script::new("head", log).on_read_op(|ctx| {
        ctx.read();
        Ok(())
    });
    let channel = EmbeddedChannel::with_options(options, |pipeline| {
        pipeline.add_last_named("first", head)?;
        pipeline.add_last_named("words", Words::new(log))?;
        pipeline.add_last_named("app", app)
    });
    log.take();
    channel.unwrap()
}

pub(crate) fn asked() -> OptionSet {
    let mut options = OptionSet::new();
    options
        .set(tidegate::channel::options::AUTO_READ, false)
        .unwrap();
    options
}

/// While reading is wanted a resume follows at once, before what waits behind.
///
/// Rules: 6.7
#[test]
fn a_resume_follows_at_once_while_auto_read_is_on() {
    let log = Log::new();
    let mut channel = decoding(&log, &OptionSet::new(), Script::new("app", &log).loud());
    channel.feed(["a b", "c"]);
    assert_eq!(
        log.take(),
        [
            "app read a",
            "words resume",
            "app read b",
            "words resume",
            "app read c",
            "words resume",
            "app read_complete",
            "app read()",
            "head read()",
        ]
    );
}

/// A resume runs when all that the handler emitted, and what followed from it, has been handled.
///
/// Rules: 6.7, 6.2
#[test]
fn a_resume_waits_for_all_that_was_emitted() {
    let log = Log::new();
    let left = Cell::new(2);
    let a = Script::new("a", &log)
        .on_read(|ctx, msg| {
            ctx.resume();
            ctx.after(1);
            ctx.fire_channel_read(msg);
            ctx.fire_channel_read("more");
            ctx.resume();
            Ok(())
        })
        .on_after(|_, _| Ok(()))
        .on_resume(move |ctx| {
            if left.replace(left.get() - 1) > 0 {
                ctx.fire_channel_read("resumed");
                ctx.resume();
            }
            Ok(())
        });
    let b = Script::new("b", &log).on_read(|ctx, msg| {
        ctx.fire_user_event_triggered(msg);
        Ok(())
    });
    let c = Script::new("c", &log).loud();
    let mut channel = channel([a, b, c]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    assert_eq!(
        log.take(),
        [
            "a read m",
            "b read m",
            "c event m",
            "b read more",
            "c event more",
            // Asked for first, and once though asked twice.
            "a resume",
            "b read resumed",
            "c event resumed",
            "a resume",
            "b read resumed",
            "c event resumed",
            "a resume",
            "a after 1",
        ]
    );
}

/// Switched off between two messages, auto-read stops the second one, which stays at its handler.
///
/// Rules: 6.7, D7
#[test]
fn auto_read_switched_off_between_two_messages_stops_the_second() {
    let log = Log::new();
    let app = Script::new("app", &log).loud().on_read(|ctx, msg| {
        if crate::common::text(&msg) == "b" {
            ctx.set_auto_read(false);
        }
        Ok(())
    });
    let mut channel = decoding(&log, &OptionSet::new(), app);
    channel.feed(["a b c d", "e"]);
    assert_eq!(
        log.take(),
        [
            "app read a",
            "words resume",
            "app read b",
            "app read_complete"
        ]
    );
    assert_eq!(
        channel.unread(),
        1,
        "nothing is read while reading is not wanted"
    );
    // On again: the parked ones first, then the source.
    channel.run(|channel| channel.set_auto_read(true));
    assert_eq!(
        log.take(),
        [
            "app read()",
            "words resume",
            "app read c",
            "words resume",
            "app read d",
            "words resume",
            "app read_complete",
            "head read()",
            "app read e",
            "words resume",
            "app read_complete",
            "app read()",
            "head read()",
        ]
    );
    assert_eq!(channel.unread(), 0);
}

/// Without auto-read each read() brings one message of those parked, with a channel_read_complete from that node,
/// and reaches the head when nothing is left.
///
/// Rules: 6.7, D1
#[test]
fn a_read_is_consumed_by_the_parked_handler_until_it_has_nothing() {
    let log = Log::new();
    let mut channel = decoding(&log, &asked(), Script::new("app", &log).loud());
    channel.feed(["a b c", "d"]);
    assert_eq!(log.take(), [""; 0], "nobody has asked");
    channel.run(|channel| channel.read());
    assert_eq!(
        log.take(),
        [
            "app read()",
            "head read()",
            "app read a",
            "app read_complete"
        ]
    );
    channel.run(|channel| channel.read());
    assert_eq!(
        log.take(),
        [
            "app read()",
            "words resume",
            "app read b",
            "app read_complete"
        ]
    );
    channel.run(|channel| channel.read());
    assert_eq!(
        log.take(),
        [
            "app read()",
            "words resume",
            "app read c",
            "app read_complete"
        ]
    );
    assert_eq!(channel.unread(), 1);
    // Nothing emitted: the read goes on to the head, and brings the next message.
    channel.run(|channel| channel.read());
    assert_eq!(
        log.take(),
        [
            "app read()",
            "words resume",
            "head read()",
            "app read d",
            "app read_complete"
        ]
    );
    assert_eq!(channel.unread(), 0);
}

/// A read() issued in the middle of a batch, while the resume is asked for but has not run, counts for that resume.
///
/// Rules: 6.7, D5
#[test]
fn a_read_from_the_handler_behind_brings_the_next_message() {
    let log = Log::new();
    let app = Script::new("app", &log).on_read(|ctx, _| {
        ctx.read();
        Ok(())
    });
    let mut channel = decoding(&log, &asked(), app);
    channel.feed(["a b c", "d"]);
    channel.run(|channel| channel.read());
    // Each message asks for the next: after the last one, the read must reach the head, or reading is over for good.
    assert_eq!(
        log.take(),
        [
            "head read()",
            "app read a",
            "words resume",
            "app read b",
            "words resume",
            "app read c",
            "words resume",
            "head read()",
            "app read d",
            "words resume",
            "head read()",
        ]
    );
    assert_eq!(channel.unread(), 0);
}

/// A read() that finds nothing to emit goes on though the handler asks to be resumed once more.
///
/// Rules: 6.7
#[test]
fn a_read_goes_on_if_the_resume_emits_nothing_and_asks_again() {
    let log = Log::new();
    let a = Script::new("a", &log).on_read_op(|ctx| {
        ctx.read();
        Ok(())
    });
    let waiting = Script::new("waiting", &log)
        .on_read(|ctx, _| {
            ctx.resume();
            Ok(())
        })
        .on_resume(|ctx| {
            ctx.resume();
            Ok(())
        });
    let mut channel = manual([a, waiting]);
    channel.feed(["m", "n"]);
    log.take();
    channel.run(|channel| channel.read());
    assert_eq!(log.take(), ["a read()", "waiting read m"]);
    channel.run(|channel| channel.read());
    assert_eq!(log.take(), ["waiting resume", "a read()", "waiting read n"]);
}

/// A handler that has nothing, asks again and reads in the same breath: the read() goes on.
///
/// Rules: 6.7
#[test]
fn a_read_made_in_an_empty_resume_goes_on() {
    let log = Log::new();
    let a = Script::new("a", &log).on_read_op(|ctx| {
        ctx.read();
        Ok(())
    });
    let eager = Script::new("eager", &log)
        .on_event(|ctx, _| {
            ctx.resume();
            Ok(())
        })
        .on_resume(|ctx| {
            ctx.resume();
            ctx.channel().read();
            Ok(())
        });
    let mut channel = manual([a, eager]);
    channel.pipeline(|pipeline| pipeline.fire_user_event_triggered("go".into()));
    log.take();
    channel.run(|channel| channel.read());
    assert_eq!(log.take(), ["eager resume", "a read()", "a read()"]);
}

/// Two parked handlers: the one that the read() meets first, which is nearer to the tail, consumes it.
///
/// Rules: 6.7
#[test]
fn the_first_parked_handler_on_the_way_consumes_the_read() {
    let log = Log::new();
    let store = |name: &'static str| {
        let kept = Rc::new(RefCell::new(VecDeque::new()));
        let give = kept.clone();
        Script::new(name, &log)
            .on_read(move |ctx, msg| {
                kept.borrow_mut().push_back(msg);
                ctx.resume();
                Ok(())
            })
            .on_resume(move |ctx| {
                if let Some(msg) = give.borrow_mut().pop_front() {
                    ctx.fire_channel_read(msg);
                }
                if !give.borrow().is_empty() {
                    ctx.resume();
                }
                Ok(())
            })
    };
    let mut channel = manual([store("a"), store("b")]);
    channel.pipeline(|pipeline| {
        pipeline.fire_channel_read("1");
        pipeline.fire_channel_read("2");
    });
    assert_eq!(log.take(), ["a read 1", "a read 2"]);
    channel.run(|channel| channel.read());
    // What a gave, b keeps: b asks, and parks.
    assert_eq!(log.take(), ["a resume", "b read 1"]);
    channel.run(|channel| channel.read());
    assert_eq!(log.take(), ["b resume"]);
    assert_eq!(inbound(&mut channel), ["1"]);
    channel.run(|channel| channel.read());
    channel.run(|channel| channel.read());
    assert_eq!(log.take(), ["a resume", "b read 2", "b resume"]);
    assert_eq!(inbound(&mut channel), ["2"]);
}

/// The end of a batch is delivered on time even while a resume is parked.
///
/// Rules: 6.7, D6
#[test]
fn read_complete_is_delivered_on_time_while_a_resume_is_parked() {
    let log = Log::new();
    let app = Script::new("app", &log).loud().on_read(|ctx, _| {
        ctx.set_auto_read(false);
        Ok(())
    });
    let mut channel = decoding(&log, &OptionSet::new(), app);
    channel.feed(["a b"]);
    assert_eq!(log.take(), ["app read a", "app read_complete"]);
}

/// Everything that a parked handler still has is emitted when the input ends, before the channel becomes inactive.
///
/// Rules: 6.7, A35
#[test]
fn parked_data_comes_before_the_end_of_the_channel() {
    let log = Log::new();
    let mut channel = decoding(&log, &asked(), Script::new("app", &log).loud());
    channel.feed(["a b c"]);
    channel.feed_eof();
    channel.run(|channel| channel.read());
    assert_eq!(
        log.take(),
        [
            "app event tidegate::channel::events::PeerClosing",
            "app read()",
            "head read()",
            "app read a",
            "app read_complete"
        ]
    );
    // The one after the parked messages finds the end.
    channel.run(|channel| {
        channel.read();
        channel.read();
    });
    log.take();
    channel.run(|channel| channel.read());
    let lines = log.take();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!(
        lines,
        [
            "app read()",
            "words resume",
            "head read()",
            "app read_complete",
            "app inactive",
            "app unregistered",
            "app removed",
        ]
    );
}
