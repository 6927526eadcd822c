//! Resumes when the input or the channel ends.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use tidegate::channel::options::ALLOW_HALF_CLOSURE;
use tidegate::{EmbeddedChannel, Error, Failure, Message, OptionSet};

use super::resume::{Words, asked, decoding};
use crate::common::{Log, Script, channel, inbound, manual, outbound, text};

/// The same when the channel is closed while messages are parked: they are emitted, then it is inactive.
///
/// Rules: 6.7, A25
#[test]
fn parked_data_is_emitted_when_the_channel_is_closed() {
    let log = Log::new();
    let mut channel = decoding(&log, &asked(), Script::new("app", &log).loud());
    channel.feed(["a b c", "never read"]);
    channel.run(|channel| channel.read());
    log.take();
    channel.close();
    let lines: Vec<String> = log
        .take()
        .into_iter()
        .filter(|line| !line.contains("resume"))
        .collect();
    assert_eq!(
        lines,
        [
            "app close",
            "app read b",
            "app read c",
            "app read_complete",
            "app inactive",
            "app unregistered",
            "app removed",
        ]
    );
    assert_eq!(channel.unread(), 1, "nothing is read after a close");
}

/// With half closure the parked data comes before the event that tells of the end of input.
///
/// Rules: 6.7, A36
#[test]
fn parked_data_comes_before_the_input_shutdown_event() {
    let log = Log::new();
    let mut options = OptionSet::new();
    options.set(ALLOW_HALF_CLOSURE, true).unwrap();
    let app = Script::new("app", &log).loud().on_read(|ctx, msg| {
        if crate::common::text(&msg) == "a" {
            ctx.set_auto_read(false);
            // Asked for by somebody who does not want the parked ones: reading goes on at the source.
            ctx.pipeline().fire_user_event_triggered("stopped".into());
        }
        Ok(())
    });
    let mut channel = decoding(&log, &options, app);
    channel.feed(["a b c"]);
    channel.feed_eof();
    assert_eq!(
        log.take(),
        [
            "app read a",
            "app event stopped",
            "app read_complete",
            "app event tidegate::channel::events::PeerClosing"
        ]
    );
    channel.run(|channel| {
        for _ in 0..4 {
            channel.read();
        }
    });
    let lines: Vec<String> = log
        .take()
        .into_iter()
        .filter(|line| !line.contains("read()"))
        .collect();
    let shut = lines
        .iter()
        .position(|line| line.ends_with("ChannelInputShutdown"))
        .unwrap();
    let last = lines.iter().position(|line| line == "app read c").unwrap();
    assert!(last < shut, "{lines:?}");
    assert!(channel.channel().is_open());
}

/// A handler further on takes the decoder out after the k-th of n messages: what is left goes where it now belongs,
/// unframed, and reading goes on.
///
/// Rules: 6.7, 6.8
#[test]
fn the_decoder_may_be_removed_after_any_message() {
    for k in 1..=4 {
        let log = Log::new();
        let seen = Cell::new(0);
        let app = Script::new("app", &log).on_read(move |ctx, msg| {
            seen.set(seen.get() + 1);
            ctx.fire_channel_read(msg);
            if seen.get() == k {
                ctx.pipeline().remove("words")?;
            }
            Ok(())
        });
        let mut channel = decoding(&log, &OptionSet::new(), app);
        channel.feed(["a b c d", "e f"]);
        let expected: &[&str] = match k {
            1 => &["a", "b+c+d", "e f"],
            2 => &["a", "b", "c+d", "e f"],
            3 => &["a", "b", "c", "d", "e f"],
            _ => &["a", "b", "c", "d", "e f"],
        };
        assert_eq!(inbound(&mut channel), expected, "removed after message {k}");
        channel.feed(["g h"]);
        assert_eq!(inbound(&mut channel), ["g h"], "reading goes on");
    }
}

/// The same by replacing it: the new handler gets the rest.
///
/// Rules: 6.7, 6.8, B10
#[test]
fn the_decoder_may_be_replaced_after_any_message() {
    for k in 1..=3 {
        let log = Log::new();
        let seen = Cell::new(0);
        let again = log.clone();
        let app = Script::new("app", &log).on_read(move |ctx, msg| {
            seen.set(seen.get() + 1);
            ctx.fire_channel_read(msg);
            if seen.get() == k {
                let upper = Script::new("upper", &again).on_read(|ctx, msg| {
                    ctx.fire_channel_read(crate::common::text(&msg).to_uppercase().into_bytes());
                    Ok(())
                });
                ctx.pipeline().replace("words", Some("upper"), upper)?;
            }
            Ok(())
        });
        let mut channel = decoding(&log, &OptionSet::new(), app);
        channel.feed(["a b c d", "e f"]);
        let expected: &[&str] = match k {
            1 => &["a", "B+C+D", "E F"],
            2 => &["a", "b", "C+D", "E F"],
            _ => &["a", "b", "c", "D", "E F"],
        };
        assert_eq!(
            inbound(&mut channel),
            expected,
            "replaced after message {k}"
        );
    }
}

/// A decoder that is taken out while it answers a read() of paused reading, with auto-read on again: nobody is
/// left to pass that read() on, so the pipeline does.
///
/// Rules: 6.7, 6.8
#[test]
fn reading_goes_on_when_the_decoder_leaves_in_the_middle_of_a_resumed_chain() {
    let log = Log::new();
    let app = Script::new("app", &log).on_read(move |ctx, msg| {
        ctx.fire_channel_read(msg.as_bytes().unwrap_or_default().to_vec());
        match crate::common::text(&msg).as_str() {
            "a" => ctx.set_auto_read(false),
            "b" => {
                ctx.pipeline().remove("words")?;
            }
            _ => {}
        }
        Ok(())
    });
    let mut channel = decoding(&log, &OptionSet::new(), app);
    channel.feed(["a b c d", "e"]);
    assert_eq!(inbound(&mut channel), ["a"]);
    channel.run(|channel| channel.set_auto_read(true));
    assert_eq!(inbound(&mut channel), ["b", "c+d", "e"]);
}

/// A read() that was promised to a decoder which leaves before it could answer goes on to the head.
///
/// Rules: 6.7, 6.8
#[test]
fn a_read_outlives_the_decoder_that_had_consumed_it() {
    let log = Log::new();
    let mut channel = manual([
        Script::new("a", &log).on_read_op(|ctx| {
            ctx.read();
            Ok(())
        }),
        Script::new("store", &log)
            .on_read(|ctx, _| {
                ctx.resume();
                Ok(())
            })
            .on_resume(|_| Ok(())),
        Script::new("app", &log).on_event(|ctx, _| {
            ctx.read();
            ctx.pipeline().remove("store")?;
            Ok(())
        }),
    ]);
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    channel.feed(["n"]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_user_event_triggered("go".into()));
    assert_eq!(log.take(), ["app event go", "a read()"]);
    assert_eq!(inbound(&mut channel), ["n"]);
}

/// At most 1,024 resumes in one dispatch; the others go on from the ready list, after what else the loop has to do,
/// and nothing is read meanwhile.
///
/// Rules: 6.7
#[test]
fn a_thousand_resumes_give_way_to_others_and_nothing_is_read_meanwhile() {
    let log = Log::new();
    let count = Rc::new(Cell::new(0u32));
    let seen = count.clone();
    let turn = Rc::new(Cell::new(None));
    let noted = turn.clone();
    let app = Script::new("app", &Log::new()).on_read(move |ctx, _| {
        if seen.replace(seen.get() + 1) == 0 {
            let (seen, noted) = (seen.clone(), noted.clone());
            let app = ctx.local_handle::<Script>();
            app.run(move |_, _| {
                noted.set(Some(seen.get()));
                Ok(())
            })?;
        }
        Ok(())
    });
    let mut channel = decoding(&log, &OptionSet::new(), app);
    let words = vec!["w"; 3000].join(" ");
    channel.feed([words.clone(), words].map(String::into_bytes));
    assert_eq!(count.get(), 6000);
    assert_eq!(
        turn.get(),
        Some(1025),
        "one message at once and 1,024 by resume, then others"
    );
    let _ = (log, channel);
}

/// The reads of the source stand still while resumes are left over.
///
/// Rules: 6.7
#[test]
fn nothing_is_read_while_resumes_are_left_over() {
    let log = Log::new();
    let order = Rc::new(RefCell::new(Vec::new()));
    let note = order.clone();
    let app = Script::new("app", &Log::new()).on_read(move |_, msg| {
        note.borrow_mut().push(crate::common::text(&msg));
        Ok(())
    });
    let mut channel = decoding(&log, &OptionSet::new(), app);
    let first = (0..2500).map(|n| format!("a{n}")).collect::<Vec<_>>();
    let second = (0..1500).map(|n| format!("b{n}")).collect::<Vec<_>>();
    channel.feed([first.join(" "), second.join(" "), "last".to_owned()].map(String::into_bytes));
    let mut expected = first;
    expected.extend(second);
    expected.push("last".to_owned());
    assert_eq!(*order.borrow(), expected);
}

/// The end of a batch, by which handlers flush, comes behind the last message of it, whichever turn that comes in.
///
/// Rules: 6.7, D7
#[test]
fn the_end_of_a_batch_comes_behind_the_messages_that_are_left_over() {
    let log = Log::new();
    let app = Script::new("app", &log).loud();
    let mut channel = decoding(&Log::new(), &OptionSet::new(), app);
    log.take();
    for _ in 0..2 {
        channel.feed([vec!["w"; 3000].join(" ").into_bytes()]);
        let lines = log.take();
        let of = |what: &str| lines.iter().filter(|line| *line == what).count();
        assert_eq!(of("app read w"), 3000);
        let end = lines.iter().position(|line| line == "app read_complete");
        assert_eq!(end, Some(3000));
    }
}

/// Nor does the end of the input, which closes the channel, overtake what is left over: all of it is answered before.
///
/// Rules: 6.7, A25, D7
#[test]
fn the_end_of_the_input_comes_behind_the_messages_that_are_left_over() {
    let app = Script::new("app", &Log::new())
        .on_read(|ctx, msg| {
            ctx.write(msg);
            Ok(())
        })
        .on_read_complete(|ctx| {
            ctx.flush();
            Ok(())
        });
    let mut channel = decoding(&Log::new(), &asked(), app);
    channel.feed([vec!["w"; 3000].join(" ").into_bytes()]);
    channel.feed_eof();
    channel.run(|channel| channel.set_auto_read(true));
    assert!(!channel.channel().is_open());
    assert_eq!(outbound(&mut channel).len(), 3000);
}

/// What comes from elsewhere while resumes are left over keeps its own order.
///
/// Rules: 6.2, 6.7
#[test]
fn callbacks_that_come_while_resumes_are_left_over_keep_their_order() {
    let log = Log::new();
    let order = Log::new();
    let note = order.clone();
    let timers = Script::new("timers", &Log::new())
        .on_timer(|ctx, key| {
            ctx.fire_user_event_triggered(Message::new(key as u32));
            ctx.fire_user_event_triggered(Message::new(key as u32 + 1));
            Ok(())
        })
        .on_read(|ctx, msg| {
            if crate::common::text(&msg) == "first" {
                ctx.timer(std::time::Duration::ZERO, 10);
                ctx.timer(std::time::Duration::ZERO, 20);
            }
            ctx.fire_channel_read(msg);
            Ok(())
        });
    let end = Script::new("end", &Log::new())
        .on_event(move |_, event| {
            note.add(crate::common::text(&event));
            Ok(())
        })
        .on_read(|_, _| Ok(()));
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Words::new(&log))?;
        pipeline.add_last(timers)?;
        pipeline.add_last(end)
    })
    .unwrap();
    let words = format!("first {}", vec!["w"; 4000].join(" "));
    channel.feed([words.into_bytes()]);
    assert_eq!(order.take(), ["10", "11", "20", "21"]);
}

/// What an error leaves of a callback: the emissions, the error, then the resume it had asked for.
///
/// Rules: 6.7, 6.10
#[test]
fn a_resume_asked_for_in_a_call_that_failed_runs_after_the_error() {
    let log = Log::new();
    let left = Cell::new(1);
    let a = Script::new("a", &log)
        .on_read(|ctx, msg| {
            ctx.resume();
            ctx.fire_channel_read(msg);
            Err(Failure::msg("broken"))
        })
        .on_error(|ctx, cause| {
            ctx.fire_exception_caught(cause);
            Ok(())
        })
        .on_resume(move |ctx| {
            if left.replace(left.get() - 1) > 0 {
                ctx.fire_channel_read("resumed");
                ctx.resume();
                return Err(Error::new(tidegate::ErrorKind::User, "again").into());
            }
            Ok(())
        });
    let b = Script::new("b", &log).loud();
    let mut channel = channel([a, b]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    assert_eq!(
        log.take(),
        [
            "a read m",
            "b read m",
            "a error broken",
            "b error broken",
            "a resume",
            "b read resumed",
            "a error again",
            "b error again",
            "a resume",
        ]
    );
}

/// A handler that is gone is not resumed, and asking in handler_removed comes to nothing.
///
/// Rules: 6.7, B6
#[test]
fn a_removed_handler_is_not_resumed() {
    let log = Log::new();
    let gone = Script::new("gone", &log)
        .on_read(|ctx, msg| {
            ctx.resume();
            ctx.after(1);
            ctx.fire_channel_read(msg);
            ctx.pipeline().remove("gone")?;
            Ok(())
        })
        .on_removed(|ctx| {
            ctx.resume();
            ctx.after(2);
            Ok(())
        })
        .on_resume(|_| Ok(()))
        .on_after(|_, _| Ok(()));
    let mut channel = manual([
        Script::new("a", &log).on_read_op(|ctx| {
            ctx.read();
            Ok(())
        }),
        gone,
    ]);
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    assert_eq!(log.take(), ["gone read m", "gone removed"]);
    channel.run(|channel| channel.read());
    assert_eq!(log.take(), ["a read()"]);
}

/// Of several handlers with parked messages, the one nearest to the tail goes first: what it holds is older.
///
/// Rules: 6.7, A25
#[test]
fn what_is_parked_nearest_to_the_tail_comes_first() {
    let log = Log::new();
    // Marks what it passes on without having held it.
    let store = |name: &'static str| {
        let kept = Rc::new(RefCell::new(VecDeque::new()));
        let give = kept.clone();
        Script::new(name, &log)
            .on_read(move |ctx, msg| {
                kept.borrow_mut().push_back(text(&msg));
                ctx.resume();
                Ok(())
            })
            .on_resume(move |ctx| {
                let all: Vec<String> = give.borrow_mut().drain(..).collect();
                ctx.fire_channel_read(all.join("+").into_bytes());
                Ok(())
            })
    };
    let mut channel = manual([store("a"), store("b")]);
    channel.pipeline(|pipeline| pipeline.fire_channel_read("1"));
    channel.run(|channel| channel.read());
    channel.pipeline(|pipeline| pipeline.fire_channel_read("2"));
    assert_eq!(log.take(), ["a read 1", "a resume", "b read 1", "a read 2"]);
    channel.close();
    assert_eq!(log.take(), ["b resume", "a resume", "b read 2", "b resume"]);
    assert_eq!(inbound(&mut channel), ["1", "2"]);
}

/// A handler that says the numbers from 1 to `count`, one at a time, when `begin` tells it to, and then does `last`.
fn counting(
    name: &'static str,
    log: &Log,
    count: u32,
    begin: fn(Script, Hook) -> Script,
    last: Hook,
) -> Script {
    let said = Cell::new(0);
    let begins: Hook = |ctx| {
        ctx.resume();
        Ok(())
    };
    begin(Script::new(name, log), begins).on_resume(move |ctx| {
        if said.get() == count {
            return last(ctx);
        }
        said.set(said.get() + 1);
        ctx.fire_channel_read(Message::new(said.get()));
        ctx.resume();
        Ok(())
    })
}

type Hook = fn(&mut tidegate::Context<'_>) -> tidegate::HandlerResult;

/// What a handler after it heard, numbers apart; those come in order, and these many.
fn heard(log: &Log, count: u32) -> Vec<String> {
    let mut lines = log.take_of("end ");
    assert_eq!(lines.remove(0), "end close");
    let (reads, others): (Vec<_>, Vec<_>) = lines
        .into_iter()
        .partition(|line| line.starts_with("end read "));
    let expected: Vec<String> = (1..=count).map(|n| format!("end read {n}")).collect();
    assert!(reads == expected, "{} of {count} numbers", reads.len());
    others
}

/// More resumes than one dispatch has, asked for in channel_inactive: all run, and only then does the channel go on ending.
///
/// Rules: 6.7, A25
#[test]
fn resumes_beyond_the_limit_at_the_end_of_a_channel_are_not_lost() {
    for count in [1_023, 1_024, 1_025, 3_000] {
        let log = Log::new();
        let quiet = Log::new();
        let inactive = counting("inactive", &quiet, count, Script::on_inactive, |ctx| {
            ctx.fire_channel_inactive();
            Ok(())
        });
        let mut channel = channel([inactive, Script::new("end", &log).loud()]);
        log.take();
        channel.close();
        let lines = log.take_of("end ");
        let last = lines.len() - 3;
        assert!(
            lines[last - 1].ends_with(&format!(" {count}")),
            "{}",
            lines[last - 1]
        );
        assert_eq!(last, count as usize + 1, "after the close and the numbers");
        assert_eq!(
            lines[last..],
            ["end inactive", "end unregistered", "end removed"]
        );
        assert!(!channel.channel().is_registered());
    }
}

/// The same in channel_unregistered.
///
/// Rules: 6.7, A25
#[test]
fn resumes_beyond_the_limit_in_channel_unregistered_are_not_lost() {
    let log = Log::new();
    let quiet = Log::new();
    let late = counting("late", &quiet, 3_000, Script::on_unregistered, |ctx| {
        ctx.fire_channel_unregistered();
        Ok(())
    });
    let mut channel = channel([late, Script::new("end", &log).loud()]);
    log.take();
    channel.close();
    assert_eq!(
        heard(&log, 3_000),
        ["end inactive", "end unregistered", "end removed"]
    );
}

/// What others send meanwhile does not come between the last events.
///
/// Rules: 6.6, 6.7, A25
#[test]
fn nothing_comes_between_channel_inactive_and_unregistered_while_resumes_are_left_over() {
    let log = Log::new();
    let quiet = Log::new();
    let inactive = counting("inactive", &quiet, 3_000, Script::on_inactive, |_| Ok(()));
    let mut once = Some(());
    let end = Script::new("end", &log).loud().on_read(move |ctx, _| {
        if once.take().is_some() {
            ctx.channel().fire_user_event_triggered("late".into());
        }
        Ok(())
    });
    let mut channel = channel([inactive, end]);
    log.take();
    channel.close();
    assert_eq!(heard(&log, 3_000), ["end unregistered", "end removed"]);
}

/// A handler that panics while it has resumes left over takes nobody's last events away.
///
/// Rules: 5.8, 6.7
#[test]
fn a_panic_in_a_left_over_resume_takes_the_end_from_nobody() {
    let log = Log::new();
    let quiet = Log::new();
    let fails = counting("fails", &quiet, 2_000, Script::on_inactive, |_| {
        panic!("out of numbers")
    });
    let mut channel = channel([fails, Script::new("end", &log).loud()]);
    channel.contain_panics();
    log.take();
    channel.close();
    assert_eq!(
        heard(&log, 2_000),
        ["end inactive", "end unregistered", "end removed"]
    );
    assert!(!channel.channel().is_registered());
}
