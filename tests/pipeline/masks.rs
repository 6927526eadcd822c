//! Learned masks: the default body of a callback takes its node out of that event's walk.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use tidegate::channel::Declared;
use tidegate::{
    Context, EmbeddedChannel, Error, Failure, Handler, HandlerResult, Message, Promise,
};

use crate::common::telling::told;
use crate::common::{Log, Script, inbound, outliving, text};

/// How often each callback was entered.
type Counts = Rc<RefCell<BTreeMap<&'static str, u32>>>;

fn counted(counts: &Counts, what: &'static str) {
    *counts.borrow_mut().entry(what).or_default() += 1;
}

/// What every handler inherits, made visible: each callback counts itself and then calls the default body of a
/// handler that overrides nothing.
struct Counting(Counts);

struct Defaults;
impl Handler for Defaults {}

macro_rules! count_and_default {
    ($($name:ident($($arg:ident: $type:ty),*);)*) => {
        impl Handler for Counting {
            $(
                fn $name(&mut self, ctx: &mut Context<'_>, $($arg: $type),*) -> HandlerResult {
                    counted(&self.0, stringify!($name));
                    Defaults.$name(ctx, $($arg),*)
                }
            )*
        }
    };
}

count_and_default! {
    channel_registered();
    channel_active();
    channel_read(msg: Message);
    channel_read_complete();
    user_event_triggered(event: Message);
    channel_writability_changed();
    exception_caught(cause: Failure);
    channel_inactive();
    channel_unregistered();
    read();
    write(msg: Message, promise: Promise);
    flush();
    close(promise: Promise);
}

/// A default body is called once; from then on the walk passes the handler, event by event.
///
/// Rules: 6.9, B2
#[test]
fn a_default_body_is_learned_at_its_first_call() {
    let counts = Counts::default();
    let mut channel =
        EmbeddedChannel::with_options(&outliving(), |p| p.add_last(Counting(counts.clone())))
            .unwrap();
    for _ in 0..3 {
        channel.write_inbound("in").unwrap();
        channel.write_outbound("out").unwrap();
        channel.pipeline(|pipeline| {
            pipeline.fire_user_event_triggered("e".into());
            pipeline.fire_exception_caught(Failure::msg("f"));
        });
        channel.check().unwrap_err();
        channel.run(|channel| {
            channel.set_user_writability(1, false).unwrap();
            channel.read();
        });
        channel
            .run(|channel| channel.set_user_writability(1, true))
            .unwrap();
    }
    assert_eq!(
        inbound(&mut channel).len(),
        3,
        "nothing was lost by skipping"
    );
    channel.finish().unwrap();
    let counts = counts.borrow();
    assert_eq!(counts.len(), 13, "{counts:?}");
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
}

/// Learning is per callback and per node: another handler of the same type, or the same kind of event at another
/// place, is asked on its own.
///
/// Rules: 6.9
#[test]
fn each_node_learns_for_itself() {
    let (one, two) = (Counts::default(), Counts::default());
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Counting(one.clone()))?;
        Ok::<(), Error>(())
    })
    .unwrap();
    channel.write_inbound("1").unwrap();
    channel
        .pipeline(|pipeline| pipeline.add_last(Counting(two.clone())))
        .unwrap();
    channel.write_inbound("2").unwrap();
    channel.write_inbound("3").unwrap();
    assert_eq!(one.borrow()["channel_read"], 1);
    assert_eq!(two.borrow()["channel_read"], 1);
    // A new handler in a place that was used before knows nothing.
    channel
        .pipeline(|pipeline| pipeline.remove_first())
        .unwrap();
    let three = Counts::default();
    channel
        .pipeline(|pipeline| pipeline.add_first(Counting(three.clone())))
        .unwrap();
    channel.write_inbound("4").unwrap();
    channel.write_inbound("5").unwrap();
    assert_eq!(three.borrow()["channel_read"], 1);
}

/// A handler that overrides a callback and forwards by hand is called every time.
///
/// Rules: 6.9
#[test]
fn an_overridden_callback_is_not_learned() {
    let log = Log::new();
    let mut channel = EmbeddedChannel::new(|p| p.add_last(Script::new("a", &log).loud())).unwrap();
    for _ in 0..3 {
        channel.write_inbound("m").unwrap();
    }
    let reads = log
        .take()
        .into_iter()
        .filter(|line| line == "a read m")
        .count();
    assert_eq!(reads, 3);
}

/// A handler that calls an inner one through `delegate` learns nothing from the inner one's defaults.
///
/// Rules: 6.9
#[test]
fn a_delegating_handler_does_not_learn() {
    struct Switch {
        counts: Counts,
        is_open: bool,
    }
    struct Inner {
        is_open: bool,
        counts: Counts,
    }
    impl Handler for Inner {
        fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
            if self.is_open {
                counted(&self.counts, "inner");
            }
            ctx.fire_channel_read(msg);
            Ok(())
        }
    }
    impl Handler for Switch {
        fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
            counted(&self.counts, "outer");
            self.is_open = !self.is_open;
            if self.is_open {
                let mut inner = Inner {
                    is_open: true,
                    counts: self.counts.clone(),
                };
                inner.channel_read(&mut ctx.delegate(), msg)
            } else {
                Defaults.channel_read(&mut ctx.delegate(), msg)
            }
        }

        fn write(
            &mut self,
            ctx: &mut Context<'_>,
            msg: Message,
            promise: Promise,
        ) -> HandlerResult {
            counted(&self.counts, "write");
            // A delegate of a delegate does not learn either.
            Defaults.write(&mut ctx.delegate().delegate(), msg, promise)
        }
    }
    let counts = Counts::default();
    let switch = Switch {
        counts: counts.clone(),
        is_open: false,
    };
    let mut channel = EmbeddedChannel::new(|p| p.add_last(switch)).unwrap();
    for _ in 0..4 {
        channel.write_inbound("m").unwrap();
        channel.write_outbound("w").unwrap();
    }
    let counts = counts.borrow();
    assert_eq!(
        (counts["outer"], counts["inner"], counts["write"]),
        (4, 2, 4)
    );
}

/// A declared handler is not asked for what it left out, not even the first time.
///
/// Rules: 6.9, B2
#[test]
fn a_declaration_is_believed_from_the_start() {
    struct Declaring(Counts);
    impl Handler for Declaring {
        fn declared(&self) -> Option<Declared> {
            Some(Declared::CHANNEL_READ.and(Declared::FLUSH))
        }

        fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
            counted(&self.0, "channel_read");
            ctx.fire_channel_read(msg);
            Ok(())
        }

        fn write(
            &mut self,
            ctx: &mut Context<'_>,
            msg: Message,
            promise: Promise,
        ) -> HandlerResult {
            counted(&self.0, "write");
            ctx.write_with(msg, promise);
            Ok(())
        }

        fn flush(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
            counted(&self.0, "flush");
            ctx.flush();
            Ok(())
        }

        fn handler_added(&mut self, _: &mut Context<'_>) -> HandlerResult {
            counted(&self.0, "handler_added");
            Ok(())
        }
    }
    let counts = Counts::default();
    let lines = told(|| {
        let mut channel = EmbeddedChannel::new(|p| p.add_last(Declaring(counts.clone()))).unwrap();
        for _ in 0..2 {
            channel.write_inbound("m").unwrap();
            channel.write_outbound("w").unwrap();
        }
    });
    let counts = counts.borrow();
    assert_eq!(
        (
            counts["channel_read"],
            counts["flush"],
            counts["handler_added"]
        ),
        (2, 2, 1)
    );
    assert_eq!(counts.get("write"), None, "undeclared, so never asked");
    assert!(lines.is_empty(), "{lines:?}");
}

/// In debug builds a declared callback that turns out to be the default body is told of, by name.
///
/// Rules: 6.9
#[test]
fn a_false_declaration_is_told_of_in_debug_builds() {
    struct Liar;
    impl Handler for Liar {
        fn declared(&self) -> Option<Declared> {
            Some(Declared::CHANNEL_READ.and(Declared::WRITE))
        }
    }
    let lines = told(|| {
        let mut channel = EmbeddedChannel::new(|p| p.add_last(Liar)).unwrap();
        channel.write_inbound("m").unwrap();
    });
    if cfg!(debug_assertions) {
        assert_eq!(lines.len(), 1, "{lines:?}");
        let wanted = ["ERROR", "Liar", "channel_read", "declared"];
        assert!(
            wanted.iter().all(|word| lines[0].contains(word)),
            "{lines:?}"
        );
    }
}

/// exception_caught belongs to both directions: a handler that otherwise only writes still hears of errors.
///
/// Rules: B26
#[test]
fn an_outbound_handler_hears_of_errors() {
    struct Encoder(Log);
    impl Handler for Encoder {
        fn write(
            &mut self,
            ctx: &mut Context<'_>,
            msg: Message,
            promise: Promise,
        ) -> HandlerResult {
            ctx.write_with(msg, promise);
            Ok(())
        }

        fn exception_caught(&mut self, _: &mut Context<'_>, cause: Failure) -> HandlerResult {
            self.0.add(cause);
            Ok(())
        }
    }
    let log = Log::new();
    let mut channel = EmbeddedChannel::new(|p| p.add_last(Encoder(log.clone()))).unwrap();
    for _ in 0..2 {
        channel.pipeline(|pipeline| pipeline.fire_exception_caught(Failure::msg("f")));
    }
    assert_eq!(log.take(), ["f", "f"]);
}

/// Skipping changes nothing about order: messages go on from a handler to the next one that cares.
///
/// Rules: 6.9, 6.2
#[test]
fn messages_pass_skipped_handlers_in_order() {
    let log = Log::new();
    let mut channel = EmbeddedChannel::new(|pipeline| {
        for n in 0..20 {
            pipeline.add_last(Defaults)?;
            if n == 10 {
                pipeline.add_last(Script::new("split", &log).on_read(|ctx, msg| {
                    ctx.fire_channel_read(format!("{}1", text(&msg)).into_bytes());
                    ctx.fire_channel_read(format!("{}2", text(&msg)).into_bytes());
                    Ok(())
                }))?;
            }
        }
        Ok::<(), Error>(())
    })
    .unwrap();
    for msg in ["a", "b"] {
        channel.write_inbound(msg).unwrap();
    }
    assert_eq!(inbound(&mut channel), ["a1", "a2", "b1", "b2"]);
}
