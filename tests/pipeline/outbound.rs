//! Outbound operations: nested toward the head, from the context or from the channel's handle, and how they wait
//! where a handler is on the stack.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tidegate::channel::options::WRITE_BUFFER_WATER_MARK;
use tidegate::channel::{Progress, WaterMark};
use tidegate::error::ErrorKind;
use tidegate::future::OnCaller;
use tidegate::{
    Context, EmbeddedChannel, Error, Failure, Handler, HandlerResult, Message, OptionSet,
};

use crate::common::{Log, Script, channel, number, outbound};
use crate::travel::Span;

/// Operations have been through all handlers and the head when they return.
///
/// Rules: 6.3, B1
#[test]
fn an_operation_has_reached_the_head_when_it_returns() {
    let log = Log::new();
    let told = log.clone();
    let a = Script::new("a", &log).loud();
    let b = Script::new("b", &log).loud();
    let app = Script::new("app", &log).on_read(move |ctx, msg| {
        ctx.write(msg);
        told.add("written");
        ctx.flush();
        told.add("flushed");
        ctx.read();
        told.add("asked");
        Ok(())
    });
    let mut channel = channel([a, b, app, Script::new("behind", &log).loud()]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    assert_eq!(
        log.take(),
        [
            "a read m",
            "b read m",
            "app read m",
            "b write m",
            "a write m",
            "written",
            "b flush",
            "a flush",
            "flushed",
            "b read()",
            "a read()",
            "asked",
        ]
    );
    assert_eq!(outbound(&mut channel), ["m"]);
}

fn marks(low: usize, high: usize) -> OptionSet {
    let mut options = OptionSet::new();
    options
        .set(WRITE_BUFFER_WATER_MARK, WaterMark::new(low, high).unwrap())
        .unwrap();
    options
}

/// `is_writable` right after a write tells the truth, and so does `bytes_before_unwritable`.
///
/// Rules: 6.3, 6.4, C3, C6
#[test]
fn writability_is_true_news_right_after_a_write() {
    let log = Log::new();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let note = seen.clone();
    let app = Script::new("app", &log).on_read(move |ctx, _| {
        for _ in 0..3 {
            ctx.write(vec![0u8; 4]);
            note.borrow_mut()
                .push((ctx.is_writable(), ctx.bytes_before_unwritable()));
        }
        ctx.flush();
        note.borrow_mut()
            .push((ctx.is_writable(), ctx.bytes_before_unwritable()));
        Ok(())
    });
    // Two entries of 4 bytes and 96 of overhead fit exactly.
    let mut channel = EmbeddedChannel::with_options(&marks(100, 200), |p| p.add_last(app)).unwrap();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    assert_eq!(
        *seen.borrow(),
        [(true, 101), (true, 1), (false, 0), (true, 201)]
    );
}

/// Each handler is entered at most once, in strictly descending order, however operations nest.
///
/// Rules: 6.3
#[test]
fn nested_operations_descend() {
    let log = Log::new();
    let depth = Rc::new(Cell::new(0));
    let nested = |name: &'static str| {
        let depth = depth.clone();
        let again = depth.clone();
        Script::new(name, &log)
            .on_write(move |ctx, msg, promise| {
                depth.set(depth.get() + 1);
                ctx.write_with(msg, promise);
                ctx.flush();
                depth.set(depth.get() - 1);
                Ok(())
            })
            .on_flush(move |ctx| {
                assert!(again.get() > 0, "inside of the write");
                ctx.flush();
                Ok(())
            })
    };
    let mut channel = channel([nested("a"), nested("b"), nested("c")]);
    channel.run(|channel| channel.write("m"));
    assert_eq!(
        log.take(),
        [
            "c write m",
            "b write m",
            "a write m",
            "a flush",
            "b flush",
            "a flush"
        ]
    );
    assert_eq!(depth.get(), 0);
    assert_eq!(outbound(&mut channel), ["m"]);
}

/// The context starts at the previous handler, the channel's handle at the tail; both at once.
///
/// Rules: 6.5, B1
#[test]
fn the_channels_handle_starts_at_the_tail_at_once() {
    let log = Log::new();
    let told = log.clone();
    let a = Script::new("a", &log).loud();
    // Read only, by its mask: nothing of the operations stops here.
    struct Reader(Log);
    impl Handler for Reader {
        fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
            let channel = ctx.channel();
            channel.write(msg);
            self.0.add("written");
            channel.flush();
            self.0.add("flushed");
            Ok(())
        }
    }
    let c = Script::new("c", &log).loud();
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(a)?;
        pipeline.add_last(Reader(told))?;
        pipeline.add_last(c)
    })
    .unwrap();
    // Its default bodies are learned here.
    channel.run(|channel| {
        channel.write("first");
        channel.flush();
    });
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    assert_eq!(
        log.take(),
        [
            "a read m",
            "c write m",
            "a write m",
            "written",
            "c flush",
            "a flush",
            "flushed"
        ]
    );
    assert_eq!(outbound(&mut channel), ["first", "m"]);
}

/// Where the next hop is on the stack an operation waits, and goes on when that handler has returned: before what
/// it emitted is delivered.
///
/// Rules: 6.5
#[test]
fn an_operation_waits_at_a_handler_on_the_stack() {
    let log = Log::new();
    let told = log.clone();
    let a = Script::new("a", &log).loud();
    let b = Script::new("b", &log).loud().on_read(move |ctx, msg| {
        ctx.fire_user_event_triggered("emitted".into());
        ctx.channel().write(msg);
        ctx.channel().flush();
        told.add("b returns");
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
            "c write m",
            "c flush",
            "b returns",
            "b write m",
            "a write m",
            "b flush",
            "a flush",
            "c event emitted",
        ]
    );
    assert_eq!(outbound(&mut channel), ["m"]);
}

/// A handler that writes and is on the stack holds up the write that waits at it; a flush behind that write does
/// not overtake it, though the handler does not care for flushes.
///
/// Rules: 6.5, 6.9
#[test]
fn a_flush_does_not_overtake_a_waiting_write() {
    struct Encoder(Log);
    impl Handler for Encoder {
        fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
            ctx.channel().write(msg);
            ctx.channel().flush();
            ctx.channel().write("second");
            self.0.add("encoder returns");
            Ok(())
        }

        fn write(
            &mut self,
            ctx: &mut Context<'_>,
            msg: Message,
            promise: tidegate::Promise,
        ) -> HandlerResult {
            self.0.add("encoder write");
            ctx.write_with(msg, promise);
            Ok(())
        }
    }
    let log = Log::new();
    let a = Script::new("a", &log).loud();
    let told = log.clone();
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(a)?;
        pipeline.add_last(Encoder(told))
    })
    .unwrap();
    channel.run(|channel| channel.flush());
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    assert_eq!(
        log.take(),
        [
            "a read m",
            "encoder returns",
            "encoder write",
            "a write m",
            "a flush",
            "encoder write",
            "a write second",
        ]
    );
    assert_eq!(
        outbound(&mut channel),
        ["m"],
        "the second one was not flushed"
    );
}

/// What is given to the handle while waiting operations go on stands behind those that wait.
///
/// Rules: 6.5
#[test]
fn later_operations_stand_behind_those_that_wait() {
    let log = Log::new();
    let a = Script::new("a", &log).on_write(|ctx, msg, promise| {
        // On the way of the first one; "three" is still waiting at b then.
        if crate::common::text(&msg) == "one" {
            ctx.channel().write("four");
        }
        ctx.write_with(msg, promise);
        Ok(())
    });
    let b = Script::new("b", &log)
        .on_read(|ctx, _| {
            let channel = ctx.channel();
            channel.write("one");
            channel.write("two");
            channel.write("three");
            Ok(())
        })
        .on_write(|ctx, msg, promise| {
            if crate::common::text(&msg) == "two" {
                ctx.channel().write("five");
            }
            ctx.write_with(msg, promise);
            Ok(())
        });
    let mut channel = channel([a, b]);
    channel.pipeline(|pipeline| pipeline.fire_channel_read("go"));
    channel.run(|channel| channel.flush());
    assert_eq!(
        outbound(&mut channel),
        ["one", "two", "three", "four", "five"]
    );
}

/// A hundred thousand operations may wait at a handler; they go on without growing the stack, in a time that does
/// not grow with their square.
///
/// Rules: 6.5
#[test]
fn a_hundred_thousand_waiting_operations_go_on_with_a_flat_stack() {
    const WRITES: u32 = 100_000;
    let log = Log::new();
    let span = Span::default();
    let noted = span.clone();
    let next = Cell::new(0);

    struct Counting {
        span: Span,
        next: Cell<u32>,
    }
    impl Handler for Counting {
        fn channel_read(&mut self, ctx: &mut Context<'_>, _: Message) -> HandlerResult {
            for n in 0..WRITES {
                ctx.channel().write(Message::new(n));
            }
            Ok(())
        }

        fn write(
            &mut self,
            _: &mut Context<'_>,
            msg: Message,
            promise: tidegate::Promise,
        ) -> HandlerResult {
            self.span.note();
            assert_eq!(number(msg), self.next.get());
            self.next.set(self.next.get() + 1);
            promise.try_success();
            Ok(())
        }
    }
    struct Passing;
    impl Handler for Passing {
        fn write(
            &mut self,
            ctx: &mut Context<'_>,
            msg: Message,
            promise: tidegate::Promise,
        ) -> HandlerResult {
            ctx.write_with(msg, promise);
            Ok(())
        }
    }
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Script::new("a", &log))?;
        pipeline.add_last(Counting { span: noted, next })?;
        pipeline.add_last(Passing)
    })
    .unwrap();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("go"));
    let counted = channel.pipeline(|pipeline| pipeline.with(|c: &mut Counting| c.next.get()));
    assert_eq!(counted.unwrap(), WRITES);
    assert!(span.bytes() < 16 << 10, "{} bytes of stack", span.bytes());
}

/// Operations that wait at a handler which is taken out meanwhile keep their order with later ones.
///
/// Rules: 6.5, 6.8
#[test]
fn operations_waiting_at_a_removed_handler_are_not_overtaken() {
    let log = Log::new();
    let a = Script::new("a", &log).loud();
    let b = Script::new("b", &log).loud().on_read(|ctx, _| {
        let channel = ctx.channel();
        channel.write("one");
        ctx.pipeline().remove("b")?;
        channel.write("two");
        channel.flush();
        Ok(())
    });
    let mut channel = channel([a, b]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("go"));
    assert_eq!(
        log.take(),
        [
            "a read go",
            "b read go",
            "b removed",
            "a write one",
            "a write two",
            "a flush"
        ]
    );
    assert_eq!(outbound(&mut channel), ["one", "two"]);
}

/// A handler that takes itself out while the first of two waiting writes is in its hands: the first one stays first.
///
/// Rules: 6.5, 6.8
#[test]
fn a_handler_that_leaves_in_its_write_keeps_the_order() {
    let log = Log::new();
    let b = Script::new("b", &log)
        .on_read(|ctx, _| {
            let channel = ctx.channel();
            channel.write("one");
            channel.write("two");
            Ok(())
        })
        .on_write(|ctx, msg, promise| {
            ctx.pipeline().remove("b")?;
            ctx.channel().write("three");
            ctx.write_with(msg, promise);
            Ok(())
        });
    let mut channel = channel([Script::new("a", &log), b]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("go"));
    channel.run(|channel| channel.flush());
    assert_eq!(log.take(), ["b read go", "b write one"]);
    assert_eq!(outbound(&mut channel), ["one", "two", "three"]);
}

/// Operations that wait at a handler which is replaced go to the new one, before later ones.
///
/// Rules: 6.5, 6.8, B10
#[test]
fn operations_waiting_at_a_replaced_handler_go_to_the_new_one() {
    let log = Log::new();
    let new = RefCell::new(Some(Script::new("new", &log).loud()));
    let b = Script::new("b", &log).loud().on_read(move |ctx, _| {
        let channel = ctx.channel();
        channel.write("one");
        if let Some(new) = new.borrow_mut().take() {
            ctx.pipeline().replace("b", Some("new"), new)?;
        }
        channel.write("two");
        channel.flush();
        Ok(())
    });
    let mut channel = channel([b]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("go"));
    assert_eq!(
        log.take(),
        [
            "b read go",
            "new added",
            "b removed",
            "new write one",
            "new write two",
            "new flush"
        ]
    );
    assert_eq!(outbound(&mut channel), ["one", "two"]);
}

/// Every operation travels through the handlers, with what belongs to it.
///
/// Rules: B1, A32
#[test]
fn all_operations_pass_the_handlers() {
    let log = Log::new();
    let mut channel = EmbeddedChannel::unconnected(&OptionSet::new(), |pipeline| {
        pipeline.add_last(Script::new("a", &log).loud())?;
        pipeline.add_last(Script::new("b", &log).loud())
    })
    .unwrap();
    log.take();
    channel
        .run(|channel| channel.bind("here"))
        .cause()
        .expect("an embedded channel can't bind");
    assert_eq!(log.take(), ["b bind here", "a bind here"]);
    channel.set_connect(Some(Progress::Done));
    let connected = channel.run(|channel| channel.connect("there", None));
    assert!(connected.is_success());
    assert_eq!(log.take()[..2], ["b connect there", "a connect there"]);
    // Without a disconnect of its own a transport is closed, and the handlers see that.
    let disconnected = channel.run(|channel| channel.disconnect());
    assert!(disconnected.is_success() && !channel.channel().is_open());
    assert_eq!(log.take()[..2], ["b close", "a close"]);
}

/// An operation whose promise was cancelled before is not performed; nor one whose promise is done, whether given
/// to a context or to the handle.
///
/// Rules: B23
#[test]
fn an_operation_with_a_done_promise_is_not_performed() {
    let log = Log::new();
    let a = Script::new("a", &log).loud();
    let app = Script::new("app", &log).on_read(|ctx, msg| {
        let cancelled = ctx.new_promise();
        assert!(cancelled.completion().cancel());
        let done = ctx.new_promise();
        done.try_success();
        let failed = ctx.new_promise();
        failed.try_failure(Error::new(ErrorKind::User, "gone wrong before"));
        for promise in [cancelled, done, failed] {
            let completion = promise.completion();
            let before = completion.cause();
            ctx.write_with("never", promise.second());
            ctx.channel().write_with("never", promise.second());
            ctx.disconnect(promise.second());
            ctx.bind("never", promise.second());
            ctx.connect("never", None, promise.second());
            ctx.close_with(promise);
            let after = completion.cause();
            assert_eq!(
                before.map(|e| e.kind()),
                after.map(|e| e.kind()),
                "settled once"
            );
        }
        ctx.write_with(msg, tidegate::Promise::void());
        ctx.flush();
        Ok(())
    });
    let mut channel = channel([a, app]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    assert_eq!(
        log.take(),
        ["a read m", "app read m", "a write m", "a flush"]
    );
    assert!(channel.channel().is_open());
    assert_eq!(outbound(&mut channel), ["m"]);
}

/// A promise of another channel would tell that one's listeners about this one: it is refused, from a context and from
/// the handle.
///
/// Rules: B23
#[test]
fn an_operation_with_another_channels_promise_is_refused() {
    let log = Log::new();
    let other = channel([Script::new("other", &log)]);
    let foreign = other.channel().clone();
    let asked = foreign.clone();
    let app = Script::new("app", &log).on_read(move |ctx, msg| {
        let promises: Vec<_> = (0..6).map(|_| asked.new_promise()).collect();
        let completions: Vec<_> = promises
            .iter()
            .map(|promise| promise.completion())
            .collect();
        let mut promises = promises.into_iter();
        let mut next = || promises.next().expect("one for each");
        ctx.write_with("never", next());
        ctx.channel().write_with("never", next());
        ctx.disconnect(next());
        ctx.bind("never", next());
        ctx.connect("never", None, next());
        ctx.close_with(next());
        for completion in completions {
            let error = completion.cause().expect("refused at once");
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains("another channel"), "{error}");
        }
        // Its own, and one of no channel, are taken.
        ctx.write_with(msg, ctx.new_promise());
        ctx.write_with("free", tidegate::Promise::new(OnCaller::host()));
        ctx.flush();
        Ok(())
    });
    let a = Script::new("a", &log).loud();
    let mut channel = channel([a, app]);
    log.take();
    channel.pipeline(|pipeline| pipeline.fire_channel_read("m"));
    assert_eq!(
        log.take(),
        [
            "a read m",
            "app read m",
            "a write m",
            "a write free",
            "a flush"
        ]
    );
    assert!(channel.channel().is_open() && foreign.is_open());
    assert_eq!(outbound(&mut channel), ["m", "free"]);
}

/// A close whose promise was cancelled does not close.
///
/// Rules: A25, B23
#[test]
fn a_write_can_be_cancelled_until_its_flush() {
    let log = Log::new();
    let mut channel = channel([Script::new("a", &log)]);
    let (first, second) =
        channel.run(|channel| (channel.write_future("one"), channel.write_future("two")));
    assert!(first.cancel());
    channel.run(|channel| channel.flush());
    assert!(first.is_cancelled() && second.is_success());
    assert!(!second.cancel());
    assert_eq!(outbound(&mut channel), ["two"]);
}

/// An outbound handler that fails does not keep the caller from going on; a write's error does not skip the flush.
///
/// Rules: 6.10, B15, B16
#[test]
fn write_and_flush_flushes_though_the_write_failed() {
    let log = Log::new();
    let a = Script::new("a", &log)
        .on_write(|_, _, _| Err(Failure::msg("no")))
        .on_flush(|ctx| {
            ctx.flush();
            Ok(())
        });
    let mut channel = channel([a]);
    let future = channel.run(|channel| channel.write_and_flush("m"));
    assert_eq!(log.take(), ["a write m", "a flush"]);
    assert_eq!(future.cause().unwrap().kind(), ErrorKind::User);
    assert_eq!(
        channel.check().map_err(|e| e.to_string()),
        Ok(()),
        "the promise has it, nobody else"
    );
}

/// The outcome of a context's write and flush in one: it goes from the handler toward the head, and is there when the
/// call returns if the transport took everything; a write that failed is flushed all the same, and one that is not taken
/// yet leaves the future open.
///
/// Rules: 6.3, B16
#[test]
fn a_context_writes_and_flushes_with_a_future() {
    let log = Log::new();
    let told = log.clone();
    let futures = Rc::new(RefCell::new(Vec::new()));
    let kept = futures.clone();
    let a = Script::new("a", &log)
        .on_write(|ctx, msg, promise| {
            if msg.downcast_ref::<u32>() == Some(&13) {
                return Err(Failure::msg("unlucky"));
            }
            ctx.write_with(msg, promise);
            Ok(())
        })
        .on_flush(|ctx| {
            ctx.flush();
            Ok(())
        });
    let app = Script::new("app", &log).on_read(move |ctx, msg| {
        let future = ctx.write_and_flush_future(msg);
        told.add(format_args!("done: {}", future.is_done()));
        kept.borrow_mut().push(future);
        Ok(())
    });
    let mut channel = channel([a, app, Script::new("behind", &log).loud()]);
    log.take();
    for message in [12_u32, 13] {
        channel.pipeline(|pipeline| pipeline.fire_channel_read(Message::new(message)));
    }
    assert_eq!(
        log.take(),
        [
            "app read 12",
            "a write 12",
            "a flush",
            "done: true",
            "app read 13",
            "a write 13",
            "a flush",
            "done: true",
        ]
    );
    assert_eq!(outbound(&mut channel), ["12"]);
    let futures = futures.take();
    assert!(futures[0].is_success());
    assert_eq!(futures[1].cause().unwrap().kind(), ErrorKind::User);
    assert_eq!(futures[0].channel(), futures[1].channel());
}
