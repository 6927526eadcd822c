//! Where errors go.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use tidegate::channel::options::AUTO_CLOSE;
use tidegate::{
    Context, EmbeddedChannel, Error, ErrorKind, Failure, Fault, Handler, HandlerResult, Message,
    OptionSet, Promise,
};

use crate::common::telling::told;
use crate::common::{Dropped, Log, Script, channel, inbound, outbound, outliving};

#[derive(Debug, PartialEq)]
struct Odd(u32);

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "odd {}", self.0)
    }
}

impl std::error::Error for Odd {}

/// A handler has its name as long as it may have something to say, also one whose name is written down for want of room.
#[test]
fn the_error_of_a_farewell_names_the_handler_that_made_it() {
    struct Fails;
    impl Handler for Fails {
        fn handler_removed(&mut self, _: &mut Context<'_>) -> HandlerResult {
            Err(Odd(1).into())
        }
    }
    for name in ["Fails#17", "Fails#3", "own"] {
        let mut channel = EmbeddedChannel::with_options(&outliving(), |pipeline| {
            pipeline.add_last_named("own", Fails)?;
            for _ in 0..18 {
                pipeline.add_last(Fails)?;
            }
            Ok::<_, Failure>(())
        })
        .unwrap();
        channel.pipeline(|pipeline| pipeline.remove(name)).unwrap();
        let error = channel.check().unwrap_err().to_string();
        assert!(
            error.contains(&format!("handler_removed of {name} failed")),
            "{error}"
        );
    }
}

/// What the call had emitted is delivered first; then its own exception_caught hears of the error, then the others
/// toward the tail.
///
/// Rules: 6.10, B13
#[test]
fn an_error_follows_what_the_call_had_emitted_and_starts_at_its_own_handler() {
    let log = Log::new();
    let a = Script::new("a", &log).loud();
    let b = Script::new("b", &log).loud().on_read(|ctx, msg| {
        ctx.fire_channel_read(msg);
        ctx.after(1);
        ctx.fire_user_event_triggered("e".into());
        Err(Odd(3).into())
    });
    let c = Script::new("c", &log).loud();
    let mut channel = channel([a, b, c]);
    log.take();
    channel.pipeline(|pipeline| {
        pipeline.fire_channel_read("m");
        pipeline.fire_channel_read_complete();
    });
    assert_eq!(
        log.take(),
        [
            "a read m",
            "b read m",
            "c read m",
            "c event e",
            "b error odd 3",
            "c error odd 3",
            "b after 1",
            "a read_complete",
            "b read_complete",
            "c read_complete",
        ]
    );
    // The tail has it as it was.
    let failure = channel.check().unwrap_err();
    assert_eq!(failure.downcast_ref::<Odd>(), Some(&Odd(3)));
}

/// Every inbound callback sends its error to its own exception_caught.
///
/// Rules: 6.10, B13
#[test]
fn errors_of_all_inbound_callbacks_go_to_their_own_handler() {
    fn fail<T>(
        what: &'static str,
    ) -> impl FnMut(&mut tidegate::Context<'_>, T) -> tidegate::HandlerResult {
        move |_, _| Err(Failure::msg(what))
    }
    fn plain(
        what: &'static str,
    ) -> impl FnMut(&mut tidegate::Context<'_>) -> tidegate::HandlerResult {
        move |_| Err(Failure::msg(what))
    }
    let log = Log::new();
    let a = Script::new("a", &log)
        .on_registered(plain("registered"))
        .on_active(plain("active"))
        .on_read(fail("read"))
        .on_read_complete(plain("read_complete"))
        .on_event(|ctx, _| {
            ctx.after(1);
            ctx.resume();
            ctx.timer(std::time::Duration::ZERO, 1);
            let promise = ctx.new_promise();
            ctx.notify(&promise, 1);
            promise.try_success();
            ctx.local_handle::<Script>()
                .run(|_, _| Err(Failure::msg("run")))?;
            Err(Failure::msg("event"))
        })
        .on_writability(plain("writability"))
        .on_inactive(plain("inactive"))
        .on_unregistered(plain("unregistered"))
        .on_after(fail("after"))
        .on_resume(plain("resume"))
        .on_timer(fail("timer"))
        .on_write_done(|_, _, _| Err(Failure::msg("write_done")))
        .on_error(|_, _| Ok(()));
    let mut channel = channel([a]);
    channel.pipeline(|pipeline| {
        pipeline.fire_channel_read("m");
        pipeline.fire_user_event_triggered("e".into());
    });
    channel
        .run(|channel| channel.set_user_writability(1, false))
        .unwrap();
    channel.finish().unwrap();
    let errors: Vec<String> = log
        .take()
        .into_iter()
        .filter_map(|line| Some(line.strip_prefix("a error ")?.to_owned()))
        .collect();
    assert_eq!(
        errors,
        [
            "registered",
            "active",
            "read_complete",
            "read",
            "event",
            "after",
            "write_done",
            "resume",
            "timer",
            "run",
            "writability",
            "inactive",
            "unregistered",
        ]
    );
}

/// A handler without exception_caught is passed, also by its own error.
///
/// Rules: 6.10, 6.9
#[test]
fn an_error_passes_handlers_that_do_not_care() {
    struct Failing;
    impl tidegate::Handler for Failing {
        fn channel_read(
            &mut self,
            _: &mut tidegate::Context<'_>,
            _: Message,
        ) -> tidegate::HandlerResult {
            Err(Odd(1).into())
        }
    }
    let log = Log::new();
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Failing)?;
        pipeline.add_last(Script::new("z", &log).on_error(|_, _| Ok(())))
    })
    .unwrap();
    for _ in 0..2 {
        channel.write_inbound("m").unwrap();
    }
    assert_eq!(log.take(), ["z error odd 1", "z error odd 1"]);
}

/// An error of a handler that has removed itself goes to its old successor.
///
/// Rules: 6.10, 6.8
#[test]
fn the_error_of_a_handler_that_removed_itself_goes_on() {
    let log = Log::new();
    let a = Script::new("a", &log)
        .on_error(|_, _| Ok(()))
        .on_read(|ctx, msg| {
            ctx.pipeline().remove("a")?;
            ctx.fire_channel_read(msg);
            Err(Failure::msg("gone"))
        });
    let z = Script::new("z", &log).loud().on_error(|_, _| Ok(()));
    let mut channel = channel([a, z]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    assert_eq!(log.take(), ["a read m", "z read m", "z error gone"]);
}

/// An error of exception_caught itself ends there: told, with both, and counted.
///
/// Rules: 6.10, B14
#[test]
fn an_error_of_exception_caught_ends_there() {
    let log = Log::new();
    let a = Script::new("a", &log)
        .on_read(|_, _| Err(Failure::msg("first")))
        .on_error(|ctx, _| {
            ctx.fire_user_event_triggered("e".into());
            Err(Failure::msg("second"))
        });
    let z = Script::new("z", &log).loud();
    let mut channel = channel([a, z]);
    log.take();
    let lines = told(|| channel.pipeline(|pipeline| pipeline.fire_channel_read("m")));
    assert_eq!(log.take(), ["a read m", "a error first", "z event e"]);
    channel.check().unwrap();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        ["first", "second", "handler=\"a\""]
            .iter()
            .all(|word| lines[0].contains(word)),
        "{lines:?}"
    );
    assert!(channel.channel().is_open());
    assert_eq!(channel.event_loop().metrics().failed_exception_caught, 1);
}

/// An error of an operation with a promise fails the promise and goes nowhere else.
///
/// Rules: 6.10, B15
#[test]
fn an_error_of_a_write_or_close_fails_its_promise_only() {
    let log = Log::new();
    let a = Script::new("a", &log)
        .on_write(|_, _, _| Err(Odd(5).into()))
        .on_close(|_, _| Err(Odd(6).into()))
        .on_error(|_, _| Ok(()));
    let mut channel = channel([a]);
    let (written, closed) = channel.run(|channel| (channel.write_future("m"), channel.close()));
    for (future, odd) in [(written, 5), (closed, 6)] {
        let cause = future.cause().unwrap();
        assert_eq!(cause.find::<Odd>(), Some(&Odd(odd)), "{cause}");
    }
    assert_eq!(log.take(), ["a write m", "a close"]);
    assert!(channel.channel().is_open());
}

/// The handler that fails may have passed the promise on; then the first outcome counts, and the error is told.
///
/// Rules: 6.10, B15
#[test]
fn an_error_after_the_promise_was_done_is_told() {
    let log = Log::new();
    let a = Script::new("a", &log).on_write(|ctx, msg, promise| {
        ctx.write_with(msg, promise);
        ctx.flush();
        Err(Failure::msg("too late"))
    });
    let mut channel = channel([a]);
    let mut future = None;
    let lines = told(|| future = Some(channel.run(|channel| channel.write_future("m"))));
    assert!(future.unwrap().is_success());
    assert!(
        lines.iter().any(|line| line.contains("too late")),
        "{lines:?}"
    );
    assert_eq!(outbound(&mut channel), ["m"]);
}

/// A failed write that nobody observes is told once per channel (and counted).
///
/// Rules: 6.10, C19
#[test]
fn failed_writes_that_nobody_observes_are_told_once() {
    let log = Log::new();
    let a = Script::new("a", &log).on_write(|_, _, _| Err(Failure::msg("no")));
    let mut channel = channel([a]);
    let lines = told(|| {
        channel.run(|channel| {
            channel.write("1");
            channel.write_with("2", Promise::void());
        });
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("at=\"a\"") && lines[0].contains("error=no"),
        "{lines:?}"
    );
    let counts = channel.event_loop().metrics();
    assert_eq!(counts.unobserved_write_failures, 2);
}

/// A handler that closes because of what the peer did: the writes that fail with it are the peer's doing as well, told below
/// the level that fills logs; their error says why. A close for a reason of our own is told as ever.
///
/// Rules: 6.10, C19
#[test]
fn writes_that_fail_by_a_close_for_what_the_peer_did_are_no_warning() {
    for fault in [Fault::Peer, Fault::Caller] {
        let log = Log::new();
        let a = Script::new("a", &log).on_error(|ctx, _| {
            ctx.close();
            Ok(())
        });
        let mut channel = channel([a]);
        channel.block_writes(true);
        let mut future = None;
        let lines = told(|| {
            channel.run(|channel| {
                channel.write("answer");
                future = Some(channel.write_future("another"));
                channel.flush();
            });
            let error = Error::new(ErrorKind::TooLong, "a line of a mile").with_fault(fault);
            channel.pipeline(|pipeline| pipeline.fire_exception_caught(error));
        });
        assert!(!channel.channel().is_open());
        assert_eq!(channel.event_loop().metrics().unobserved_write_failures, 1);
        let cause = future.unwrap().cause().unwrap();
        assert_eq!(cause.kind(), ErrorKind::ChannelClosed);
        let of_peer = fault == Fault::Peer;
        assert_eq!(cause.to_string().contains("a line of a mile"), of_peer);
        let line = lines.iter().find(|line| line.contains("nobody observes"));
        let line = line.expect("it is told of");
        assert_eq!(line.contains("WARN"), !of_peer, "{line}");
    }
}

/// flush and read have no promise: their errors go to the own exception_caught of the handler that failed, in the
/// caller's program order.
///
/// Rules: 6.10, B16
#[test]
fn errors_of_flush_and_read_go_to_their_own_handler() {
    let log = Log::new();
    let codec = Script::new("codec", &log)
        .on_flush(|ctx| {
            ctx.fire_user_event_triggered("before the error".into());
            Err(Failure::msg("flush"))
        })
        .on_read_op(|_| Err(Failure::msg("read")))
        .on_error(|ctx, cause| {
            ctx.fire_exception_caught(cause);
            Ok(())
        });
    let app = Script::new("app", &log)
        .loud()
        .on_error(|_, _| Ok(()))
        .on_read(|ctx, _| {
            ctx.flush();
            ctx.fire_channel_read("between");
            ctx.read();
            Ok(())
        });
    let end = Script::new("end", &log).loud();
    let mut channel = channel([codec, app, end]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    assert_eq!(
        log.take(),
        [
            "app read m",
            "codec flush",
            "codec read()",
            "app event before the error",
            "end event before the error",
            "codec error flush",
            "app error flush",
            "end read between",
            "codec error read",
            "app error read",
        ]
    );
}

/// A promise that a handler loses fails with an error that says so; so does that of a message it drops.
///
/// Rules: F1
#[test]
fn a_promise_that_a_handler_drops_fails_its_future() {
    let log = Log::new();
    let a = Script::new("a", &log)
        .on_write(|_, _, _| Ok(()))
        .on_close(|_, _| Ok(()));
    let mut channel = channel([a]);
    let (written, closed) = channel.run(|channel| (channel.write_future("m"), channel.close()));
    for future in [written, closed] {
        assert_eq!(future.cause().unwrap().kind(), ErrorKind::Dropped);
    }
}

/// A listener that panics ends, others are told, and the channel goes on.
///
/// Rules: F5, 5.8
#[test]
fn a_listener_that_panics_keeps_nobody_else_from_being_told() {
    let log = Log::new();
    let a = Script::new("a", &log)
        .on_read(|ctx, msg| {
            let promise = ctx.new_promise();
            promise
                .completion()
                .add_listener(|_: &Result<(), Error>| panic!("a listener's own fault"));
            ctx.notify(&promise, 1);
            promise.try_success();
            ctx.fire_channel_read(msg);
            Ok(())
        })
        .on_write_done(|_, _, _| Ok(()));
    let mut channel = channel([a]);
    channel.contain_panics();
    let lines = told(|| channel.pipeline(|pipeline| pipeline.fire_channel_read("m")));
    assert_eq!(log.take(), ["a read m", "a write_done 1 ok"]);
    assert!(channel.channel().is_open());
    assert!(
        lines
            .iter()
            .any(|line| line.contains("a listener's own fault")),
        "{lines:?}"
    );
    assert_eq!(inbound(&mut channel), ["m"]);
}

/// A handler's error is dropped with what it holds when nobody keeps it, in order, and nothing is called twice.
///
/// Rules: 6.10
#[test]
fn an_error_is_handed_over_not_copied() {
    #[derive(Debug)]
    struct Heavy;
    impl fmt::Display for Heavy {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("heavy")
        }
    }
    impl std::error::Error for Heavy {}

    let log = Log::new();
    let told = log.clone();
    let a = Script::new("a", &log).on_read(|_, _| Err(Heavy.into()));
    let z = Script::new("z", &log).on_error(move |_, cause| {
        let heavy = cause.downcast::<Heavy>();
        told.add(format_args!("taken out: {}", heavy.is_ok()));
        Ok(())
    });
    let held = Script::new("held", &log).holding(Dropped::tells("held", &log));
    let mut channel = channel([a, z, held]);
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    assert_eq!(log.take(), ["a read m", "z error heavy", "taken out: true"]);
    drop(channel);
    assert_eq!(log.take(), ["held dropped"]);
}

/// A transport's error while reading is shown from the head, after the batch's end; then the channel closes.
///
/// Rules: 6.6, A40, D6
#[test]
fn a_read_error_is_shown_after_the_batch_and_closes() {
    let log = Log::new();
    let a = Script::new("a", &log).loud().on_error(|_, _| Ok(()));
    let mut channel = channel([a]);
    channel.run(|channel| channel.set_auto_read(false));
    channel.feed(["m"]);
    channel.feed_error(Error::new(ErrorKind::ConnectionReset, "reset by the peer"));
    log.take();
    channel.run(|channel| channel.set_auto_read(true));
    assert_eq!(
        log.take(),
        [
            "a read()",
            "a read m",
            "a read_complete",
            "a error reset by the peer",
            "a inactive",
            "a unregistered",
            "a removed",
        ]
    );
}

/// A failing flush of the transport closes the channel; what was flushed fails with the error itself, what comes
/// later with a closed channel that names it.
///
/// Rules: A30, A44, C8
#[test]
fn a_write_error_closes_the_channel_and_fails_what_waits() {
    let log = Log::new();
    let futures = Rc::new(RefCell::new(Vec::new()));
    let note = futures.clone();
    let a = Script::new("a", &log)
        .on_inactive(|_| Ok(()))
        .on_read(move |ctx, _| {
            let flushed = ctx.write_future("1");
            ctx.flush();
            note.borrow_mut().extend([flushed, ctx.write_future("2")]);
            Ok(())
        });
    let mut broken = channel([a]);
    broken.fail_next_flush(Error::new(ErrorKind::ConnectionReset, "reset by the peer"));
    broken.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    let causes: Vec<Error> = futures
        .borrow()
        .iter()
        .filter_map(tidegate::ChannelFuture::cause)
        .collect();
    assert_eq!(causes[0].kind(), ErrorKind::ConnectionReset);
    assert_eq!(causes[1].kind(), ErrorKind::ChannelClosed);
    assert!(
        causes[1].to_string().contains("reset by the peer"),
        "{}",
        causes[1]
    );
    assert_eq!(log.take(), ["a read m", "a inactive"]);

    // With AUTO_CLOSE off only the output ends.
    let mut options = OptionSet::new();
    options.set(AUTO_CLOSE, false).unwrap();
    let b = Script::new("b", &log).loud();
    let mut half = EmbeddedChannel::with_options(&options, |p| p.add_last(b)).unwrap();
    half.fail_next_flush(Error::new(ErrorKind::ConnectionReset, "reset by the peer"));
    log.take();
    half.run(|channel| channel.write_and_flush("1"));
    assert!(half.channel().is_open());
    assert!(
        log.take()
            .iter()
            .any(|line| line.ends_with("ChannelOutputShutdown"))
    );
    half.feed(["still read"]);
    assert_eq!(inbound(&mut half), ["still read"]);
}
