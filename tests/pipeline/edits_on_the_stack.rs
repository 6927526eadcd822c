//! Edits of and around handlers that are on the stack.

use std::cell::Cell;
use std::rc::Rc;

use tidegate::{
    Context, EmbeddedChannel, Error, ErrorKind, Failure, Handler, HandlerResult, Message,
};

use super::edits::{Alpha, empty, names, once};
use crate::common::{Log, Script, channel, inbound};

/// The new handler has heard of it before the old one leaves, so what the old one leaves behind finds it ready.
///
/// Rules: 6.8, B10
#[test]
fn a_replacement_hears_first_and_gets_what_the_old_one_leaves() {
    let log = Log::new();
    let old = Script::new("old", &log).on_removed(|ctx| {
        ctx.fire_channel_read("left over");
        ctx.write("last words");
        Ok(())
    });
    let mut channel = channel([
        Script::new("a", &log).loud(),
        old,
        Script::new("z", &log).loud(),
    ]);
    log.take();
    let new = Script::new("new", &log).loud();
    channel
        .pipeline(|pipeline| pipeline.replace("old", Some("new"), new))
        .unwrap();
    assert_eq!(
        log.take(),
        [
            "new added",
            "old removed",
            "new write last words",
            "a write last words",
            "new read left over",
            "z read left over",
        ]
    );
}

/// A handler that replaces itself while it has a message in hand: all it emits from then on goes to the new one.
///
/// Rules: 6.8, B10
#[test]
fn a_handler_that_replaces_itself_emits_to_the_new_one() {
    let log = Log::new();
    let new = once(Script::new("new", &log).loud());
    let old = Script::new("old", &log)
        .on_read(move |ctx, msg| {
            if let Some(new) = new() {
                ctx.pipeline().replace("old", Some("new"), new)?;
            }
            ctx.fire_channel_read(msg);
            ctx.write("reply");
            Ok(())
        })
        .on_removed(|ctx| {
            ctx.fire_channel_read("left over");
            Ok(())
        });
    let mut channel = channel([
        Script::new("a", &log).loud(),
        old,
        Script::new("z", &log).loud(),
    ]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    assert_eq!(
        log.take(),
        [
            "a read m",
            "old read m",
            "new added",
            "new write reply",
            "a write reply",
            "old removed",
            "new read m",
            "z read m",
            "new read left over",
            "z read left over",
        ]
    );
}

/// A chain of removals and additions around a message in flight: it goes where the links lead when it hops.
///
/// Rules: 6.8, B11
#[test]
fn events_in_flight_follow_the_links_as_they_are_at_the_hop() {
    let log = Log::new();
    let new = once(Script::new("new", &log).loud());
    let a = Script::new("a", &log).on_read(move |ctx, msg| {
        ctx.fire_channel_read(msg);
        let mut pipeline = ctx.pipeline();
        pipeline.remove("b")?;
        pipeline.remove("a")?;
        pipeline.remove("c")?;
        if let Some(new) = new() {
            pipeline.add_before("d", None, new)?;
        }
        Ok(())
    });
    let mut channel = channel([
        a,
        Script::new("b", &log).loud(),
        Script::new("c", &log).loud(),
        Script::new("d", &log).loud(),
    ]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    // When a left, c stood behind it; c led on to d. The new one is not on that way, and hears when its turn comes.
    assert_eq!(
        log.take(),
        [
            "a read m",
            "b removed",
            "c removed",
            "d read m",
            "new added"
        ]
    );
    channel.pipeline(|pipeline| pipeline.fire_channel_read("n"));
    assert_eq!(log.take(), ["new read n", "d read n"]);
}

/// A handler that was added and taken out again before anybody told it is told nothing.
///
/// Rules: B6, B4
#[test]
fn a_handler_that_was_never_told_of_its_addition_is_not_told_of_its_removal() {
    let log = Log::new();
    let new = once(Script::new("new", &log).loud());
    let a = Script::new("a", &log).on_read(move |ctx, _| {
        if let Some(new) = new() {
            ctx.pipeline().add_last_named("new", new)?;
            ctx.pipeline().remove("new")?;
        }
        Ok(())
    });
    let mut channel = channel([a]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    assert_eq!(log.take(), ["a read m"]);
}

/// A handler whose handler_added has not run may be looked into; that is no callback, and it is told afterwards.
///
/// Rules: 6.8, 6.11
#[test]
fn looking_into_a_handler_does_not_count_as_telling_it() {
    let log = Log::new();
    let new = once(Script::new("new", &log).loud());
    struct First(Box<dyn Fn() -> Option<Script>>);
    impl Handler for First {
        fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
            if let Some(new) = (self.0)() {
                ctx.pipeline().add_last_named("new", new)?;
                let name = ctx.pipeline().with(|new: &mut Script| new.name())?;
                assert_eq!(name, "new");
            }
            ctx.fire_channel_read(msg);
            Ok(())
        }
    }
    let mut channel = EmbeddedChannel::new(|p| p.add_last(First(Box::new(new)))).unwrap();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    assert_eq!(log.take(), ["new added", "new read m"]);
}

// ---- failures

/// A handler that fails in handler_added goes again, is told so, and the pipeline hears why, from the head.
///
/// Rules: 6.8, B7
#[test]
fn a_handler_that_fails_when_added_is_removed_again() {
    let log = Log::new();
    let mut channel = channel([Script::new("a", &log).loud()]);
    log.take();
    let bad = Script::new("bad", &log).loud().on_added(|ctx| {
        ctx.fire_user_event_triggered("emitted before".into());
        Err(Failure::msg("no use"))
    });
    channel
        .pipeline(|pipeline| pipeline.add_last_named("bad", bad))
        .unwrap();
    let lines = log.take();
    assert_eq!(lines[..2], ["bad added", "bad removed"]);
    assert_eq!(lines.len(), 3);
    assert!(
        lines[2].starts_with("a error") && lines[2].contains("handler_added of bad"),
        "{lines:?}"
    );
    assert_eq!(names(&mut channel), ["a"]);
    let error = channel.check().unwrap_err();
    let error = error.downcast_ref::<Error>().unwrap();
    assert!(
        std::error::Error::source(error)
            .unwrap()
            .to_string()
            .contains("no use")
    );
    assert!(channel.channel().is_open());
}

/// The same when it stands behind the handler that adds it, and when an event finds it first.
///
/// Rules: 6.8, B7
#[test]
fn an_event_goes_on_past_a_handler_that_fails_when_added() {
    let log = Log::new();
    let bad = once(
        Script::new("bad", &log)
            .loud()
            .on_added(|_| Err(Failure::msg("no use"))),
    );
    let a = Script::new("a", &log).on_read(move |ctx, msg| {
        ctx.fire_channel_read(msg);
        if let Some(bad) = bad() {
            ctx.pipeline().add_after("a", Some("bad"), bad)?;
        }
        Ok(())
    });
    let mut channel = channel([a, Script::new("z", &log).loud()]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    let lines = log.take();
    assert_eq!(
        lines[..4],
        ["a read m", "bad added", "bad removed", "z read m"]
    );
    assert!(lines[4].starts_with("z error"), "{lines:?}");
    channel.check().unwrap_err();
}

/// A handler that takes itself out, or replaces itself, and then fails in handler_added: the links stay sound.
///
/// Rules: 6.8, B7
#[test]
fn a_handler_may_take_itself_out_and_fail_in_handler_added() {
    let log = Log::new();
    let mut channel = channel([Script::new("a", &log).loud(), Script::new("z", &log).loud()]);
    log.take();
    let gone = Script::new("gone", &log).loud().on_added(|ctx| {
        ctx.pipeline().remove("gone")?;
        Err(Failure::msg("no use"))
    });
    channel
        .pipeline(|pipeline| pipeline.add_after("a", Some("gone"), gone))
        .unwrap();
    let lines = log.take();
    assert_eq!(lines[..2], ["gone added", "gone removed"]);
    assert_eq!(lines.len(), 4, "the error reaches a and z: {lines:?}");
    channel.check().unwrap_err();

    let new = once(Script::new("new", &log).loud());
    let gone = Script::new("gone", &log).loud().on_added(move |ctx| {
        if let Some(new) = new() {
            ctx.pipeline().replace("gone", Some("new"), new)?;
        }
        Err(Failure::msg("no use"))
    });
    channel
        .pipeline(|pipeline| pipeline.add_after("a", Some("gone"), gone))
        .unwrap();
    assert_eq!(log.take()[..3], ["gone added", "new added", "gone removed"]);
    channel.check().unwrap_err();
    assert_eq!(names(&mut channel), ["a", "new", "z"]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    channel.run(|channel| channel.write("w"));
    assert_eq!(
        log.take(),
        [
            "a read m",
            "new read m",
            "z read m",
            "z write w",
            "new write w",
            "a write w"
        ]
    );
}

/// An error of handler_removed is shown to the whole pipeline, from the head, with the handler's name.
///
/// Rules: 6.8, B8
#[test]
fn an_error_of_handler_removed_is_shown_to_the_pipeline() {
    let log = Log::new();
    let failing = || Script::new("bad", &log).on_removed(|_| Err(Failure::msg("will not go")));
    let a = Script::new("a", &log).loud().on_event(|ctx, _| {
        ctx.pipeline().remove_last()?;
        Ok(())
    });
    let mut channel = channel([a, Script::new("b", &log).loud()]);
    channel
        .pipeline(|pipeline| pipeline.add_last(failing()))
        .unwrap();
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_user_event_triggered("go".into()));
    let lines = log.take();
    assert_eq!(lines[..2], ["a event go", "bad removed"]);
    assert!(
        lines[2].starts_with("a error handler_removed of Script#0 failed"),
        "{lines:?}"
    );
    assert!(lines[3].starts_with("b error"), "{lines:?}");
    assert!(
        channel
            .check()
            .unwrap_err()
            .to_string()
            .contains("handler_removed")
    );
}

/// Once the channel has ended nothing can be added.
///
/// Rules: 6.8, B19
#[test]
fn an_ended_pipeline_takes_no_handlers() {
    let log = Log::new();
    let refused = Rc::new(Cell::new(None));
    let note = refused.clone();
    let a = Script::new("a", &log).on_unregistered(move |ctx| {
        note.set(Some(ctx.pipeline().add_last(Alpha).unwrap_err().kind()));
        ctx.fire_channel_unregistered();
        Ok(())
    });
    let mut channel = channel([a]);
    channel.finish().unwrap();
    assert_eq!(refused.take(), Some(ErrorKind::ChannelClosed));
    let late = channel
        .pipeline(|pipeline| pipeline.add_last(Alpha))
        .unwrap_err();
    assert_eq!(late.kind(), ErrorKind::ChannelClosed);
    let late = channel
        .pipeline(|pipeline| pipeline.remove("a"))
        .unwrap_err();
    assert_eq!(late.kind(), ErrorKind::NoSuchHandler);
}

/// A handler that adds others when it is added and takes itself out is an initializer: the others stand where it
/// stood, in the order in which they were written, and hear everything from registration on.
///
/// Rules: B25
#[test]
fn an_initializer_may_be_a_handler_and_may_be_nested() {
    let log = Log::new();
    let inner = {
        let x = once(Script::new("x", &log).loud());
        let y = once(Script::new("y", &log).loud());
        once(Script::new("inner", &log).on_added(move |ctx| {
            if let (Some(x), Some(y)) = (x(), y()) {
                ctx.pipeline().add_after("inner", Some("y"), y)?;
                ctx.pipeline().add_after("inner", Some("x"), x)?;
            }
            ctx.pipeline().remove("inner").map_err(Into::into)
        }))
    };
    let a = once(Script::new("a", &log).loud());
    let z = once(Script::new("z", &log).loud());
    let outer = Script::new("outer", &log).on_added(move |ctx| {
        if let (Some(a), Some(inner), Some(z)) = (a(), inner(), z()) {
            let mut pipeline = ctx.pipeline();
            pipeline.add_last_named("a", a)?;
            pipeline.add_last_named("inner", inner)?;
            pipeline.add_last_named("z", z)?;
            pipeline.remove("outer")?;
        }
        Ok(())
    });
    let mut channel = channel([outer]);
    assert_eq!(names(&mut channel), ["a", "x", "y", "z"]);
    let lines = log.take();
    for callback in ["added", "registered", "active"] {
        let of: Vec<&str> = lines
            .iter()
            .filter(|line| {
                ["a", "x", "y", "z"]
                    .iter()
                    .any(|n| **line == format!("{n} {callback}"))
            })
            .map(String::as_str)
            .collect();
        assert_eq!(of.len(), 4, "each exactly once: {lines:?}");
        let added = lines.iter().position(|line| line == "z added").unwrap();
        let registered = lines
            .iter()
            .position(|line| line == "a registered")
            .unwrap();
        assert!(added < registered);
    }
    assert_eq!(inbound(&mut channel), [""; 0]);
}

/// An initializer that fails closes the channel, and whoever made it is told.
///
/// Rules: B25, A6
#[test]
fn a_failing_initializer_closes_the_channel() {
    let log = Log::new();
    let a = Script::new("a", &log).loud();
    let made = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(a)?;
        Err::<(), Failure>(Failure::msg("no way"))
    });
    assert!(made.unwrap_err().to_string().contains("no way"));
    assert_eq!(
        log.take(),
        ["a added", "a removed"],
        "neither active nor inactive was ever said"
    );
}

/// Many edits reuse the places of removed handlers; what named an old one does not reach its heir.
///
/// Rules: 6.8, 6.11
#[test]
fn a_place_that_is_used_again_is_another_handler() {
    let log = Log::new();
    let mut channel = empty();
    let mut old = Vec::new();
    for round in 0..100u32 {
        let handler = Script::new("h", &log).on_timer(|_, _| Ok(()));
        channel
            .pipeline(|pipeline| pipeline.add_last_named("h", handler))
            .unwrap();
        let handle = channel
            .pipeline(|pipeline| pipeline.handle::<Script>())
            .unwrap();
        handle
            .run(move |_, ctx| {
                ctx.timer(std::time::Duration::from_secs(1), round.into());
                Ok(())
            })
            .unwrap();
        channel.run_pending();
        if round < 99 {
            channel.pipeline(|pipeline| pipeline.remove("h")).unwrap();
            old.push(handle);
        }
    }
    channel.advance(std::time::Duration::from_secs(2));
    assert_eq!(log.take(), ["h timer 99"]);
    for handle in old {
        assert_eq!(
            handle.run(|_, _| Ok(())).unwrap_err().kind(),
            ErrorKind::NoSuchHandler
        );
    }
}
