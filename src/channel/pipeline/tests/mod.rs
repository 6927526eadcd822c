//! What takes several channels on one loop, a real loop, or the default end of a pipeline. Everything that one embedded
//! channel can show is in tests/pipeline.

mod threads;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use tidegate_sys::os::Ready;

use super::super::core::Core;
use super::super::options::{CLOSE_ON_UNHANDLED_ERROR, OptionSet};
use super::super::register::attach;
use super::super::shared::Shared;
use super::super::{
    Attributes, Channel, Context, Flush, Handler, HandlerResult, Io, Metadata, OutboundBuffer,
    Progress, Read, Transport,
};
use super::Pipeline;
use crate::buffer::Message;
use crate::error::{Error, Failure};
use crate::event_loop::{LoopCore, ManualClock};
use crate::future::Promise;
use crate::reactor::{IoEvent, IoHandle};

/// A transport of nothing: reads what the test has put there, forgets what is written.
#[derive(Clone, Default)]
struct Wire(Rc<WireEnds>);

#[derive(Default)]
struct WireEnds {
    source: RefCell<VecDeque<&'static str>>,
    sent: RefCell<Vec<String>>,
    reads: Cell<usize>,
}

impl Transport for Wire {
    fn metadata(&self) -> Metadata {
        Metadata {
            name: "wire",
            has_disconnect: false,
            max_messages_per_read: 16,
            is_server: false,
        }
    }

    fn is_active(&self) -> bool {
        true
    }

    fn accepts(&self, _: &Message) -> bool {
        true
    }

    fn read(&mut self, _: &mut Io<'_>) -> Result<Read, Error> {
        self.0.reads.set(self.0.reads.get() + 1);
        Ok(match self.0.source.borrow_mut().pop_front() {
            Some(msg) => Read::Message(msg.into()),
            None => Read::WouldBlock,
        })
    }

    fn flush(&mut self, _: &mut Io<'_>, out: &mut OutboundBuffer) -> Result<Flush, Error> {
        while let Some(msg) = out.take_front() {
            self.0.sent.borrow_mut().push(text(&msg));
            let _ = out.complete_taken(1);
        }
        Ok(Flush::Drained)
    }

    fn close(&mut self, _: &mut Io<'_>) -> Result<Progress, Error> {
        Ok(Progress::Done)
    }
}

fn text(msg: &Message) -> String {
    String::from_utf8_lossy(msg.as_bytes().unwrap_or_default()).into_owned()
}

type Log = Rc<RefCell<Vec<String>>>;

fn take(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.borrow_mut())
}

/// Channels on one loop that the test turns.
struct Bench {
    lp: Rc<LoopCore>,
    log: Log,
}

struct Client {
    core: Rc<Core>,
    channel: Channel,
    wire: Wire,
}

impl Bench {
    fn new() -> Self {
        Self {
            lp: LoopCore::embedded(ManualClock::default()),
            log: Log::default(),
        }
    }

    fn open(&self, init: impl FnOnce(&mut Pipeline<'_>) -> Result<(), Error>) -> Client {
        let shared = Shared::new(self.lp.handle().clone(), None, Attributes::default());
        let wire = Wire::default();
        let _turn = self.lp.enter();
        let core = attach(&shared, &self.lp, Box::new(wire.clone()));
        let channel = Channel::new(shared);
        let promise = channel.new_promise();
        core.register(|core| Ok(init(&mut Pipeline::new(core))?), &promise);
        assert!(promise.completion().is_success());
        self.turn();
        Client {
            core,
            channel,
            wire,
        }
    }

    /// A channel whose handlers only log, under these names.
    fn logging(&self, names: &[&'static str]) -> Client {
        self.open(|pipeline| {
            names.iter().try_for_each(|name| {
                pipeline.add_last(Logging {
                    name,
                    log: self.log.clone(),
                })
            })
        })
    }

    fn turn(&self) {
        let _turn = self.lp.enter();
        while self.lp.run_ready() + self.lp.run_roots() + self.lp.run_timers() + self.lp.run_tasks()
            > 0
        {}
    }

    /// As a task of the loop would.
    fn in_turn<R>(&self, work: impl FnOnce() -> R) -> R {
        let turn = self.lp.enter();
        let result = work();
        drop(turn);
        result
    }
}

/// Closes what the test has left open, so that nothing holds on to its loop.
impl Drop for Client {
    fn drop(&mut self) {
        self.channel.shared().detach(&self.core.lp.clone());
    }
}

struct Logging {
    name: &'static str,
    log: Log,
}

impl Logging {
    fn add(&self, what: &str) {
        self.log.borrow_mut().push(format!("{} {what}", self.name));
    }
}

impl Handler for Logging {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.add(&format!("read {}", text(&msg)));
        ctx.fire_channel_read(msg);
        Ok(())
    }

    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        self.add(&format!("event {}", text(&event)));
        ctx.fire_user_event_triggered(event);
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.add("inactive");
        ctx.fire_channel_inactive();
        Ok(())
    }

    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        self.add(&format!("write {}", text(&msg)));
        ctx.write_with(msg, promise);
        Ok(())
    }
}

/// A handler whose channel_read is a closure.
struct OnRead<F>(F);

impl<F: FnMut(&mut Context<'_>, Message) -> HandlerResult + 'static> Handler for OnRead<F> {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        (self.0)(ctx, msg)
    }
}

/// A handler whose write is a closure.
struct OnWrite<F>(F);

impl<F: FnMut(&mut Context<'_>, Message, Promise) -> HandlerResult + 'static> Handler
    for OnWrite<F>
{
    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        (self.0)(ctx, msg, promise)
    }
}

// ---- several channels

/// What is fired into another channel's pipeline waits for the root queue: never on the stack of who fired it.
///
/// Rules: 6.6
#[test]
fn events_for_another_channel_never_run_on_this_ones_stack() {
    let bench = Bench::new();
    let other = bench.logging(&["b1", "b2"]);
    let (target, log) = (other.channel.clone(), bench.log.clone());
    let this = bench.open(|pipeline| {
        pipeline.add_last(OnRead(move |ctx: &mut Context<'_>, msg: Message| {
            target.fire_channel_read("to b");
            target.fire_user_event_triggered("too".into());
            log.borrow_mut().push("a goes on".into());
            ctx.fire_channel_read(msg);
            Ok(())
        }))?;
        pipeline.add_last(Logging {
            name: "a2",
            log: bench.log.clone(),
        })
    });
    bench.in_turn(|| this.channel.fire_channel_read("m"));
    // a's own event is through; b's waits in the loop's list of channels with such work.
    assert_eq!(take(&bench.log), ["a goes on", "a2 read m"]);
    bench.turn();
    assert_eq!(
        take(&bench.log),
        [
            "b1 read to b",
            "b2 read to b",
            "b1 event too",
            "b2 event too"
        ]
    );
}

/// Operations on another channel run at once, through its outbound handlers to its head; what those emit into
/// its pipeline waits.
///
/// Rules: 6.5, 6.6
#[test]
fn operations_on_another_channel_run_at_once_but_their_emissions_wait() {
    let bench = Bench::new();
    let log = bench.log.clone();
    let other = bench.open(|pipeline| {
        pipeline.add_last(Logging {
            name: "b1",
            log: log.clone(),
        })?;
        let log = log.clone();
        pipeline.add_last(OnWrite(
            move |ctx: &mut Context<'_>, msg: Message, promise| {
                ctx.fire_user_event_triggered("one".into());
                ctx.write_with(msg, promise);
                ctx.fire_user_event_triggered("two".into());
                log.borrow_mut().push("b2 wrote".into());
                Ok(())
            },
        ))?;
        pipeline.add_last(Logging {
            name: "b3",
            log: bench.log.clone(),
        })
    });
    let (target, log) = (other.channel.clone(), bench.log.clone());
    let this = bench.open(|pipeline| {
        pipeline.add_last(OnRead(move |_: &mut Context<'_>, msg: Message| {
            target.write_and_flush(msg);
            target.write_and_flush("again");
            log.borrow_mut().push("a goes on".into());
            Ok(())
        }))
    });
    bench.in_turn(|| this.channel.fire_channel_read("m"));
    assert_eq!(
        take(&bench.log),
        [
            "b3 write m",
            "b1 write m",
            "b2 wrote",
            "b3 write again",
            "b1 write again",
            "b2 wrote",
            "a goes on",
        ]
    );
    assert_eq!(*other.wire.0.sent.borrow(), ["m", "again"]);
    bench.turn();
    assert_eq!(
        take(&bench.log),
        [
            "b3 event one",
            "b3 event two",
            "b3 event one",
            "b3 event two"
        ]
    );
}

/// A reply through the other channel and back: what comes to a handler on the stack waits for it there.
///
/// Rules: 6.5, 6.6
#[test]
fn a_way_back_to_a_handler_on_the_stack_waits_for_it() {
    let bench = Bench::new();
    let back: Rc<RefCell<Option<Channel>>> = Rc::default();
    let reply = back.clone();
    let other = bench.open(|pipeline| {
        pipeline.add_last(OnWrite(
            move |_: &mut Context<'_>, msg: Message, promise: Promise| {
                if let Some(first) = &*reply.borrow() {
                    first.write_and_flush(msg);
                }
                promise.try_success();
                Ok(())
            },
        ))
    });
    struct Both {
        target: Channel,
        log: Log,
        is_busy: bool,
    }
    impl Handler for Both {
        fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
            self.is_busy = true;
            self.target.write(msg);
            self.log.borrow_mut().push("a goes on".into());
            self.is_busy = false;
            Ok(())
        }

        fn write(
            &mut self,
            ctx: &mut Context<'_>,
            msg: Message,
            promise: Promise,
        ) -> HandlerResult {
            assert!(!self.is_busy, "entered while on the stack");
            self.log.borrow_mut().push("a writes".into());
            ctx.write_with(msg, promise);
            Ok(())
        }
    }
    let both = Both {
        target: other.channel.clone(),
        log: bench.log.clone(),
        is_busy: false,
    };
    let this = bench.open(|pipeline| pipeline.add_last(both));
    *back.borrow_mut() = Some(this.channel.clone());
    bench.in_turn(|| this.channel.fire_channel_read("m"));
    assert_eq!(take(&bench.log), ["a goes on", "a writes"]);
    assert_eq!(*this.wire.0.sent.borrow(), ["m"]);
}

/// Channels with such work take turns of 64 items, in the order in which they came.
///
/// Rules: 6.6
#[test]
fn channels_take_turns_with_their_root_queues() {
    let bench = Bench::new();
    let (one, two) = (bench.logging(&["one"]), bench.logging(&["two"]));
    let (a, b) = (one.channel.clone(), two.channel.clone());
    let this = bench.open(|pipeline| {
        pipeline.add_last(OnRead(move |_: &mut Context<'_>, _| {
            for _ in 0..100 {
                a.fire_channel_read("m");
            }
            b.fire_channel_read("m");
            Ok(())
        }))
    });
    bench.in_turn(|| this.channel.fire_channel_read("go"));
    bench.turn();
    let log = take(&bench.log);
    assert_eq!(log.len(), 101);
    assert_eq!(log.iter().position(|line| line == "two read m"), Some(64));
}

/// A panic in another channel that a handler writes to ends that channel; the writer goes on. A panic here leaves the
/// other one alone.
///
/// Rules: 5.8
#[test]
fn a_panic_stays_in_its_channel() {
    let bench = Bench::new();
    let other = bench.open(|pipeline| {
        pipeline.add_last(Logging {
            name: "b1",
            log: bench.log.clone(),
        })?;
        pipeline.add_last(OnWrite(|_: &mut Context<'_>, _, _| panic!("b's own fault")))
    });
    let third = bench.logging(&["c"]);
    let (target, log) = (other.channel.clone(), bench.log.clone());
    let this = bench.open(|pipeline| {
        pipeline.add_last(OnRead(move |ctx: &mut Context<'_>, msg: Message| {
            let written = target.write_future("w");
            log.borrow_mut()
                .push(format!("a goes on, {}", written.cause().is_some()));
            ctx.fire_channel_read(msg);
            Ok(())
        }))?;
        pipeline.add_last(Logging {
            name: "a2",
            log: bench.log.clone(),
        })
    });
    bench.in_turn(|| this.channel.fire_channel_read("m"));
    bench.turn();
    assert_eq!(
        take(&bench.log),
        ["a goes on, true", "a2 read m", "b1 inactive"]
    );
    assert!(this.channel.is_open() && third.channel.is_open() && !other.channel.is_open());
    bench.in_turn(|| third.channel.fire_channel_read("still here"));
    assert_eq!(take(&bench.log), ["c read still here"]);
    assert_eq!(bench.lp.metrics().channel.handler_panics.get(), 1);
}

// ---- the end of the pipeline

/// An unhandled error is counted and closes the channel.
///
/// Rules: 6.10, B17
#[test]
fn an_unhandled_error_closes_the_channel() {
    let bench = Bench::new();
    let client = bench.logging(&["a"]);
    let written = bench.in_turn(|| {
        let written = client.channel.write_future("never flushed");
        client
            .channel
            .fire_exception_caught(Failure::msg("nobody wants it"));
        written
    });
    bench.turn();
    assert!(!client.channel.is_open());
    assert_eq!(take(&bench.log), ["a write never flushed", "a inactive"]);
    assert_eq!(bench.lp.metrics().channel.unhandled_errors.get(), 1);
    let cause = written.cause().unwrap();
    assert!(cause.to_string().contains("nobody wants it"), "{cause}");
}

/// With the option off it is only told, and counted.
///
/// Rules: 6.10, B17
#[test]
fn an_unhandled_error_is_only_told_if_the_option_says_so() {
    let bench = Bench::new();
    let client = bench.logging(&["a"]);
    let mut options = OptionSet::new();
    options.set(CLOSE_ON_UNHANDLED_ERROR, false).unwrap();
    client.core.set_options(&options).unwrap();
    for _ in 0..2 {
        bench.in_turn(|| {
            client
                .channel
                .fire_exception_caught(Failure::msg("nobody wants it"))
        });
    }
    bench.turn();
    assert!(client.channel.is_open());
    assert_eq!(bench.lp.metrics().channel.unhandled_errors.get(), 2);
}

/// Nothing vanishes without a count: unhandled messages, failed writes without an observer, errors of
/// exception_caught.
///
/// Rules: 6.10, B14, B17, C19
#[test]
fn what_vanishes_is_counted() {
    struct Failing;
    impl Handler for Failing {
        fn exception_caught(&mut self, _: &mut Context<'_>, _: Failure) -> HandlerResult {
            Err(Failure::msg("and again"))
        }

        fn write(&mut self, _: &mut Context<'_>, _: Message, _: Promise) -> HandlerResult {
            Err(Failure::msg("no"))
        }
    }
    let bench = Bench::new();
    let client = bench.open(|pipeline| pipeline.add_last(Failing));
    bench.in_turn(|| {
        client.channel.fire_channel_read("1");
        client.channel.fire_channel_read("2");
        client.channel.write("1");
        client.channel.write("2");
        client.channel.write_future("observed");
        client.channel.fire_exception_caught(Failure::msg("first"));
        client.channel.fire_user_event_triggered(Message::new(7u8));
    });
    let counts = &bench.lp.metrics().channel;
    assert_eq!(counts.unhandled_messages.get(), 2);
    assert_eq!(counts.unhandled_user_events.get(), 1);
    assert_eq!(counts.unobserved_write_failures.get(), 2);
    assert_eq!(counts.failed_exception_caught.get(), 1);
    assert_eq!(counts.unhandled_errors.get(), 0);
    assert!(client.channel.is_open());
}

// ---- suspended dispatches

/// Emits one `x` after the other by resume, up to a number.
struct Many(u32);

impl Handler for Many {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.fire_channel_read(msg);
        ctx.resume();
        Ok(())
    }

    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if self.0 > 0 {
            self.0 -= 1;
            ctx.fire_channel_read("x");
            ctx.resume();
        }
        Ok(())
    }
}

/// While resumes are left over, an edge does not make the channel read; what was in the source comes after them.
///
/// Rules: 6.7
#[test]
fn an_edge_while_resumes_are_left_over_reads_nothing() {
    let bench = Bench::new();
    let client = bench.open(|pipeline| {
        pipeline.add_last(Many(2000))?;
        pipeline.add_last(Logging {
            name: "z",
            log: bench.log.clone(),
        })
    });
    client
        .wire
        .0
        .source
        .borrow_mut()
        .extend(["first", "second"]);
    bench.in_turn(|| {
        client
            .core
            .clone()
            .on_event(IoEvent::Ready(Ready::READABLE))
    });
    let reads = client.wire.0.reads.get();
    assert_eq!(
        take(&bench.log).len(),
        1025,
        "one at once, and 1,024 by resume"
    );
    bench.in_turn(|| {
        client
            .core
            .clone()
            .on_event(IoEvent::Ready(Ready::READABLE));
        client.core.clone().on_event(IoEvent::Roots);
    });
    assert_eq!(client.wire.0.reads.get(), reads);
    assert_eq!(take(&bench.log), [""; 0]);
    bench.turn();
    let log = take(&bench.log);
    assert_eq!(log.len(), 977);
    assert_eq!(
        log.last().unwrap(),
        "z read second",
        "the rest of the first one comes before"
    );
}

/// A channel's core and handlers are gone when it has closed; no cycle keeps them.
///
/// Rules: A25, B19
#[test]
fn a_closed_channel_leaves_nothing_behind() {
    let held = Arc::new(());
    let bench = Bench::new();
    let keep = held.clone();
    let client = bench.open(|pipeline| {
        pipeline.add_last(OnRead(move |_: &mut Context<'_>, _| {
            let _ = &keep;
            Ok(())
        }))
    });
    assert_eq!(Arc::strong_count(&held), 2);
    bench.in_turn(|| client.channel.close());
    bench.turn();
    assert_eq!(Arc::strong_count(&held), 1);
    assert!(!client.channel.is_registered());
    let core = Rc::downgrade(&client.core);
    drop(client);
    assert!(core.upgrade().is_none());
}
