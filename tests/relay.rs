//! Handlers on another group's loop: `add_last_on`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use tidegate::channel::options::{AUTO_READ, SINGLE_EXECUTOR_PER_GROUP, WRITE_SPIN_COUNT};
use tidegate::{
    Bootstrap, Context, EmbeddedChannel, ErrorKind, EventLoopGroup, Failure, Handler,
    HandlerResult, Message, OptionSet,
};

/// Drives the embedded loop until `done`, which other threads bring about.
fn until(
    channel: &mut EmbeddedChannel,
    what: &str,
    mut done: impl FnMut(&mut EmbeddedChannel) -> bool,
) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done(channel) {
        assert!(Instant::now() < deadline, "not in time: {what}");
        channel.run_pending();
        std::thread::yield_now();
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn put(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    fn has(&self, line: &str) -> bool {
        self.0.lock().unwrap().iter().any(|l| l == line)
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// On the other loop: adds one to numbers on the way in, and says where it runs.
struct Elsewhere(Log);

impl Handler for Elsewhere {
    fn handler_added(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.0.put(format!(
            "added on {}",
            std::thread::current().name().unwrap_or("?")
        ));
        Ok(())
    }

    fn handler_removed(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.0.put("removed");
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        let number: u32 = msg.downcast().map_err(|_| Failure::msg("not a number"))?;
        ctx.write(Message::new(number));
        ctx.fire_channel_read(Message::new(number + 1));
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        ctx.fire_channel_read_complete();
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.put("inactive there");
        ctx.fire_channel_inactive();
        Ok(())
    }
}

/// Behind it, on the channel's loop again.
struct Last(Log);

impl Handler for Last {
    fn channel_inactive(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.0.put("inactive here");
        Ok(())
    }

    fn channel_unregistered(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.0.put("unregistered here");
        Ok(())
    }

    fn handler_removed(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.0.put("last removed");
        Ok(())
    }

    fn exception_caught(&mut self, _ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        self.0.put(format!("caught {cause}"));
        Ok(())
    }
}

fn group() -> EventLoopGroup {
    EventLoopGroup::builder()
        .threads(1)
        .name("elsewhere")
        .build()
        .unwrap()
}

/// Rules: B12.
#[test]
fn messages_pass_a_handler_on_another_loop_in_order_both_ways() {
    let (group, log) = (group(), Log::default());
    let there = log.clone();
    let mut channel =
        EmbeddedChannel::new(|pipeline| pipeline.add_last_on(&group, || Elsewhere(there))).unwrap();
    let count = 10_000u32;
    for number in 0..count {
        channel.write_inbound(Message::new(number)).unwrap();
    }
    let (mut inbound, mut outbound) = (Vec::new(), Vec::new());
    until(&mut channel, "all messages back", |channel| {
        inbound.extend(std::iter::from_fn(|| channel.read_inbound_as::<u32>()));
        outbound.extend(std::iter::from_fn(|| channel.read_outbound_as::<u32>()));
        inbound.len() == count as usize && outbound.len() == count as usize
    });
    assert!(inbound.iter().copied().eq(1..=count));
    assert!(outbound.iter().copied().eq(0..count));
    assert!(
        log.lines()[0].starts_with("added on elsewhere"),
        "{:?}",
        log.lines()
    );
}

/// Rules: B19.
#[test]
fn the_last_events_pass_every_loop_before_handlers_are_removed() {
    let (group, log) = (group(), Log::default());
    let (one, two, last) = (log.clone(), log.clone(), log.clone());
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last_on(&group, || Elsewhere(one))?;
        pipeline.add_last_on(&group, || Elsewhere(two))?;
        pipeline.add_last(Last(last))
    })
    .unwrap();
    channel.close();
    until(&mut channel, "the end", |_| {
        log.lines().iter().filter(|line| *line == "removed").count() == 2
    });
    let lines: Vec<String> = log
        .lines()
        .into_iter()
        .filter(|line| !line.starts_with("added"))
        .collect();
    let at = |text: &str| lines.iter().position(|line| line == text).unwrap();
    assert!(at("inactive there") < at("inactive here"), "{lines:?}");
    assert!(at("inactive here") < at("unregistered here"), "{lines:?}");
    assert!(at("unregistered here") < at("last removed"), "{lines:?}");
}

/// Rules: B13.
#[test]
fn an_error_there_goes_on_through_the_channels_pipeline() {
    let (group, log) = (group(), Log::default());
    let (there, last) = (log.clone(), log.clone());
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last_on(&group, || Elsewhere(there))?;
        pipeline.add_last(Last(last))
    })
    .unwrap();
    channel.write_inbound(Message::new("no number")).unwrap();
    until(&mut channel, "the error", |_| {
        log.has("caught not a number")
    });
}

struct Door {
    is_open: bool,
    /// Somebody stands in front of it.
    is_waited_for: bool,
}

/// Keeps every message until the door opens.
struct Gated(Arc<(Mutex<Door>, Condvar)>, Arc<AtomicUsize>);

impl Handler for Gated {
    fn channel_read(&mut self, _ctx: &mut Context<'_>, _msg: Message) -> HandlerResult {
        let mut door = self.0.0.lock().unwrap();
        while !door.is_open {
            door.is_waited_for = true;
            door = self.0.1.wait(door).unwrap();
        }
        self.1.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// Reading pauses while the other loop is behind, and goes on when it has caught up: at first, when the read() of
/// auto-read travels, and later, when it does not.
#[test]
fn undelivered_messages_pause_reading() {
    for warm in [0, 10] {
        let group = group();
        let door = Door {
            is_open: true,
            is_waited_for: false,
        };
        let (door, seen) = (
            Arc::new((Mutex::new(door), Condvar::new())),
            Arc::new(AtomicUsize::new(0)),
        );
        let (there, counted) = (door.clone(), seen.clone());
        let mut channel =
            EmbeddedChannel::new(|pipeline| pipeline.add_last_on(&group, || Gated(there, counted)))
                .unwrap();
        for number in 1..=warm {
            channel.feed([Message::new(0_u32)]);
            until(&mut channel, "one handled", |_| {
                seen.load(Ordering::SeqCst) == number
            });
        }
        door.0.lock().unwrap().is_open = false;
        let total = 1_000;
        channel.feed((0..total).map(Message::new::<u32>));
        until(&mut channel, "the other loop stands still", |_| {
            door.0.lock().unwrap().is_waited_for
        });
        // What it gave back before is there. Then the reading has come to rest.
        (0..1_000).for_each(|_| channel.run_pending());
        assert!(
            channel.unread() >= total as usize - 64 - 2 * 16,
            "{} unread",
            channel.unread()
        );
        door.0.lock().unwrap().is_open = true;
        door.1.notify_all();
        until(&mut channel, "all handled", |_| {
            seen.load(Ordering::SeqCst) == warm + total as usize
        });
        assert_eq!(channel.unread(), 0);
    }
}

/// Whoever closes a channel that has ended has what he wanted; also where the close would have to pass another loop, or
/// was on its way through one.
///
/// Rules: A29
#[test]
fn closing_an_ended_channel_succeeds_in_spite_of_a_relay() {
    let group = group();
    let mut channel =
        EmbeddedChannel::new(|pipeline| pipeline.add_last_on(&group, || Elsewhere(Log::default())))
            .unwrap();
    let handle = channel.channel().clone();
    let mut closes = vec![channel.run(|channel| channel.close())];
    // While it ends, as often as it takes.
    until(&mut channel, "the end", |channel| {
        closes.push(channel.run(|channel| channel.close()));
        !handle.is_registered()
    });
    let (after, again) = (handle.clone(), handle.clone());
    let elsewhere = std::thread::spawn(move || after.close()).join().unwrap();
    closes.extend([channel.run(|channel| channel.close()), elsewhere]);
    until(&mut channel, "all closes to be done", |_| {
        closes.iter().all(|close| close.is_done())
    });
    for close in closes {
        assert!(close.is_success(), "{:?}", close.cause());
    }
    let late = channel.run(move |_| again.write_and_flush("late"));
    assert_eq!(late.cause().unwrap().kind(), ErrorKind::ChannelClosed);
}

/// Counts messages and lets everything else pass.
struct Sink(Arc<AtomicUsize>);

impl Handler for Sink {
    fn channel_read(&mut self, _ctx: &mut Context<'_>, _msg: Message) -> HandlerResult {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// The same, and it wants to hear of every read().
struct Gate {
    seen: Arc<AtomicUsize>,
    reads: Arc<AtomicUsize>,
}

impl Handler for Gate {
    fn channel_read(&mut self, _ctx: &mut Context<'_>, _msg: Message) -> HandlerResult {
        self.seen.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn read(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.reads.fetch_add(1, Ordering::SeqCst);
        ctx.read();
        Ok(())
    }
}

const MESSAGES: usize = 1_000;

/// Sends messages one by one, each a batch of its own, to a handler that counts them. Returns how many tasks each one
/// costs the handler's loop and the channel's, once warm.
fn tasks_per_message<H: Handler>(
    seen: &Arc<AtomicUsize>,
    make: impl FnOnce() -> H + Send + 'static,
) -> (f64, f64) {
    let group = group();
    let mut channel = EmbeddedChannel::new(|pipeline| pipeline.add_last_on(&group, make)).unwrap();
    let (there, here) = (group.next(), channel.channel().event_loop().clone());
    let mut send = |count| {
        let before = seen.load(Ordering::SeqCst);
        for number in 1..=count {
            channel.feed([Message::new(0_u32)]);
            until(&mut channel, "the message", |_| {
                seen.load(Ordering::SeqCst) == before + number
            });
            // And what follows it, there and back and there.
            for _ in 0..2 {
                there.submit(|| ()).sync().unwrap();
                channel.run_pending();
            }
        }
        [&there, &here].map(|event_loop| event_loop.metrics().tasks_run)
    };
    let warm = send(20);
    let done = send(MESSAGES);
    let each = |at: usize| (done[at] - warm[at]) as f64 / MESSAGES as f64;
    // Two of the handler's loop are this function's.
    (each(0) - 2.0, each(1))
}

/// The read() of auto-read takes the way through the other loop only for a handler that wants to see it.
///
/// There: the message, its receipt, the end of the batch. Here: that end, on its way on.
#[test]
fn a_read_does_not_travel_to_a_handler_that_does_not_care() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = seen.clone();
    let (there, here) = tasks_per_message(&seen, || Sink(counted));
    assert!(there <= 3.01 && here <= 1.01, "{there} there, {here} here");
}

/// Rules: 6.8
#[test]
fn a_handler_that_overrides_read_sees_each_of_them() {
    let (seen, reads) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let there = Gate {
        seen: seen.clone(),
        reads: reads.clone(),
    };
    tasks_per_message(&seen, || there);
    assert!(reads.load(Ordering::SeqCst) >= MESSAGES);
}

/// Becomes a handler that cares, in the middle of it.
struct Late(Option<Gate>, Arc<AtomicUsize>);

impl Handler for Late {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.1.fetch_add(1, Ordering::SeqCst);
        if self.1.load(Ordering::SeqCst) == MESSAGES / 2
            && let Some(gate) = self.0.take()
        {
            ctx.pipeline().add_last(gate)?;
        }
        drop(msg);
        Ok(())
    }
}

/// The relay notices when that changes, and makes good for a read() that passed meanwhile.
#[test]
fn a_handler_added_later_gets_the_reads_from_then_on() {
    let (seen, reads) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let gate = Gate {
        seen: Arc::default(),
        reads: reads.clone(),
    };
    let counted = seen.clone();
    tasks_per_message(&seen, move || Late(Some(gate), counted));
    assert!(reads.load(Ordering::SeqCst) >= MESSAGES / 2);
}

struct Bomb(Arc<AtomicBool>);

impl Handler for Bomb {
    fn channel_read(&mut self, _ctx: &mut Context<'_>, _msg: Message) -> HandlerResult {
        panic!("boom elsewhere");
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Rules: 5.8.
#[test]
fn a_panic_there_closes_the_channel() {
    let (group, dropped) = (group(), Arc::new(AtomicBool::new(false)));
    let there = dropped.clone();
    let mut channel =
        EmbeddedChannel::new(|pipeline| pipeline.add_last_on(&group, || Bomb(there))).unwrap();
    channel.write_inbound(Message::new(1u32)).unwrap();
    until(&mut channel, "the close", |channel| {
        !channel.channel().is_open()
    });
    until(&mut channel, "the drop", |_| dropped.load(Ordering::SeqCst));
}

/// Rules: B12.
#[test]
fn handlers_of_one_channel_and_group_share_a_loop() {
    let group = EventLoopGroup::builder()
        .threads(4)
        .name("many")
        .build()
        .unwrap();
    let log = Log::default();
    let (one, two) = (log.clone(), log.clone());
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last_on(&group, || Elsewhere(one))?;
        pipeline.add_last_on(&group, || Elsewhere(two))
    })
    .unwrap();
    until(&mut channel, "both added", |_| log.lines().len() == 2);
    assert_eq!(log.lines()[0], log.lines()[1]);
}

/// Rules: B12.
#[test]
fn handlers_of_one_channel_and_group_can_have_a_loop_each() {
    let group = EventLoopGroup::builder()
        .threads(4)
        .name("many")
        .build()
        .unwrap();
    let log = Log::default();
    let mut apart = OptionSet::new();
    apart.set(SINGLE_EXECUTOR_PER_GROUP, false).unwrap();
    let mut channel = EmbeddedChannel::with_options(&apart, |pipeline| {
        for _ in 0..4 {
            let log = log.clone();
            pipeline.add_last_on(&group, || Elsewhere(log))?;
        }
        Ok::<(), Failure>(())
    })
    .unwrap();
    until(&mut channel, "all added", |_| log.lines().len() == 4);
    let mut loops = log.lines();
    loops.sort();
    loops.dedup();
    assert_eq!(loops.len(), 4, "{loops:?}");
    // Messages pass all of them, in order.
    for number in 0..100_u32 {
        channel.write_inbound(Message::new(number)).unwrap();
    }
    let mut passed = Vec::new();
    until(&mut channel, "all passed", |channel| {
        while let Some(number) = channel.read_inbound() {
            passed.push(number.downcast::<u32>().unwrap());
        }
        passed.len() == 100
    });
    assert!(passed.into_iter().eq(4..104));

    // From now on together, which those that are there do not notice.
    assert!(!option(&mut channel));
    let set = channel.run(|channel| channel.set_option(SINGLE_EXECUTOR_PER_GROUP, true));
    assert!(set.is_success());
    assert!(option(&mut channel));
    for _ in 0..2 {
        let log = log.clone();
        let group = group.clone();
        let added = channel.run(|channel| {
            channel.edit(move |pipeline| pipeline.add_last_on(&group, || Elsewhere(log)))
        });
        added.sync().unwrap().unwrap();
    }
    until(&mut channel, "two more", |_| log.lines().len() == 6);
    assert_eq!(log.lines()[4], log.lines()[5]);

    fn option(channel: &mut EmbeddedChannel) -> bool {
        let read = channel.run(|channel| channel.option(SINGLE_EXECUTOR_PER_GROUP));
        read.sync().unwrap()
    }
}

/// Lets the other loop and the channel's answer each other, twice.
fn there_and_back(channel: &mut EmbeddedChannel, group: &EventLoopGroup) {
    for _ in 0..2 {
        group.next().submit(|| ()).sync().unwrap();
        channel.run_pending();
    }
}

/// Reads nothing after its first message until an event comes.
struct Sated(Arc<AtomicUsize>);

impl Handler for Sated {
    fn channel_read(&mut self, ctx: &mut Context<'_>, _msg: Message) -> HandlerResult {
        if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            ctx.set_auto_read(false);
        }
        Ok(())
    }

    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, _event: Message) -> HandlerResult {
        ctx.set_auto_read(true);
        Ok(())
    }
}

/// Auto-read is the channel's, from whatever loop it is switched.
///
/// Rules: D2, B12
#[test]
fn auto_read_switched_elsewhere_is_switched_on_the_channel() {
    let (group, seen) = (group(), Arc::new(AtomicUsize::new(0)));
    let counted = seen.clone();
    let mut channel =
        EmbeddedChannel::new(|pipeline| pipeline.add_last_on(&group, || Sated(counted))).unwrap();
    channel.feed([Message::new(0_u32)]);
    until(&mut channel, "auto-read off", |channel| {
        !channel.channel().is_auto_read()
    });
    channel.feed((0..100).map(Message::new::<u32>));
    there_and_back(&mut channel, &group);
    // At most one read() was on its way when it was switched off.
    assert!(channel.unread() >= 99, "{} unread", channel.unread());
    channel.run(|channel| channel.fire_user_event_triggered("go".into()));
    until(&mut channel, "the rest", |_| {
        seen.load(Ordering::SeqCst) == 101
    });
    assert!(channel.channel().is_auto_read());
}

/// Switches auto-read to and fro, and says what it sees then.
struct Fickle(Log);

impl Handler for Fickle {
    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        if event.is::<bool>() {
            for on in [false, true, true, false] {
                ctx.set_auto_read(on);
                self.0.put(format!("{on} {}", ctx.auto_read()));
            }
        } else {
            self.0.put(format!("now {}", ctx.auto_read()));
        }
        Ok(())
    }
}

/// A handler elsewhere sees its own switching at once, and the channel's.
///
/// Rules: D2
#[test]
fn auto_read_looks_the_same_from_everywhere() {
    let (group, log) = (group(), Log::default());
    let there = log.clone();
    let mut channel =
        EmbeddedChannel::new(|pipeline| pipeline.add_last_on(&group, || Fickle(there))).unwrap();
    let ask = |channel: &mut EmbeddedChannel, event: Message| {
        channel.run(|channel| channel.fire_user_event_triggered(event));
        there_and_back(channel, &group);
    };
    ask(&mut channel, Message::new(true));
    assert!(!channel.channel().is_auto_read());
    ask(&mut channel, "and now".into());
    channel.run(|channel| channel.set_auto_read(true));
    ask(&mut channel, "and now".into());
    channel.run(|channel| channel.set_auto_read(false));
    ask(&mut channel, "and now".into());
    assert_eq!(
        log.lines(),
        [
            "false false",
            "true true",
            "true true",
            "false false",
            "now false",
            "now true",
            "now false",
        ]
    );
}

/// Makes so many messages of a number, one at a time.
struct Splitter(u32);

impl Handler for Splitter {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.0 += msg
            .downcast::<u32>()
            .map_err(|_| Failure::msg("not a number"))?;
        ctx.resume();
        Ok(())
    }

    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if self.0 > 0 {
            ctx.fire_channel_read(Message::new(self.0));
            self.0 -= 1;
            ctx.resume();
        }
        Ok(())
    }
}

/// Also elsewhere "stop reading" takes effect between two messages of one read; each read() brings one, and the end of the
/// channel all that are left.
///
/// Rules: 6.7, A25
#[test]
fn a_decoder_elsewhere_holds_its_messages_back_while_the_channel_does_not_read() {
    let group = group();
    let mut channel =
        EmbeddedChannel::new(|pipeline| pipeline.add_last_on(&group, || Splitter(0))).unwrap();
    let numbers = |channel: &mut EmbeddedChannel| -> Vec<u32> {
        std::iter::from_fn(|| channel.read_inbound_as::<u32>()).collect()
    };
    channel.run(|channel| channel.set_auto_read(false));
    there_and_back(&mut channel, &group);
    channel.run(|channel| channel.fire_channel_read(Message::new(6_u32)));
    there_and_back(&mut channel, &group);
    assert_eq!(numbers(&mut channel), [0_u32; 0]);
    for number in [6, 5] {
        channel.run(|channel| channel.read());
        there_and_back(&mut channel, &group);
        assert_eq!(numbers(&mut channel), [number]);
    }
    channel.run(|channel| channel.close());
    let handle = channel.channel().clone();
    until(&mut channel, "the end", |_| !handle.is_registered());
    assert_eq!(numbers(&mut channel), [4, 3, 2, 1]);
}

/// The same, with reading switched on again instead.
///
/// Rules: 6.7, D2
#[test]
fn a_decoder_elsewhere_goes_on_when_auto_read_is_switched_on() {
    let group = group();
    let mut channel =
        EmbeddedChannel::new(|pipeline| pipeline.add_last_on(&group, || Splitter(0))).unwrap();
    // Warm: the read() of auto-read does not travel any more.
    for _ in 0..5 {
        channel.feed([Message::new(1_u32)]);
        until(&mut channel, "the message", |channel| {
            channel.read_inbound_as::<u32>().is_some()
        });
        there_and_back(&mut channel, &group);
    }
    channel.run(|channel| channel.set_auto_read(false));
    there_and_back(&mut channel, &group);
    channel.run(|channel| channel.fire_channel_read(Message::new(3_u32)));
    there_and_back(&mut channel, &group);
    assert!(channel.read_inbound().is_none());
    channel.run(|channel| channel.set_auto_read(true));
    let mut got = Vec::new();
    until(&mut channel, "what was held back", |channel| {
        got.extend(channel.read_inbound_as::<u32>());
        got.len() == 3
    });
    assert_eq!(got, [3, 2, 1]);
}

/// Makes its messages of the end of the channel.
struct Testament(u32);

impl Handler for Testament {
    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.resume();
        Ok(())
    }

    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if self.0 == 0 {
            ctx.fire_channel_inactive();
        } else {
            ctx.fire_channel_read(Message::new(self.0));
            self.0 -= 1;
            ctx.resume();
        }
        Ok(())
    }
}

/// More resumes than one dispatch has, on the other loop: the handlers wait for them.
///
/// Rules: 6.7, B19
#[test]
fn what_a_handler_elsewhere_says_at_the_end_arrives_before_the_handlers_leave() {
    let (group, log) = (group(), Log::default());
    let last = log.clone();
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last_on(&group, || Testament(3_000))?;
        pipeline.add_last(Last(last))
    })
    .unwrap();
    channel.close();
    let handle = channel.channel().clone();
    until(&mut channel, "the end", |_| !handle.is_registered());
    let got = std::iter::from_fn(|| channel.read_inbound_as::<u32>());
    assert!(got.eq((1..=3_000).rev()));
    assert_eq!(
        log.lines(),
        ["inactive here", "unregistered here", "last removed"]
    );
}

/// A handler that panics elsewhere, at the very end, does not keep its channel from ending.
///
/// Rules: 5.8, B19
#[test]
fn a_panic_elsewhere_at_the_end_does_not_keep_the_channel() {
    struct Grudge;
    impl Handler for Grudge {
        fn channel_inactive(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
            panic!("boom at the end");
        }
    }
    let group = group();
    let mut channel =
        EmbeddedChannel::new(|pipeline| pipeline.add_last_on(&group, || Grudge)).unwrap();
    channel.close();
    let handle = channel.channel().clone();
    until(&mut channel, "the end", |_| !handle.is_registered());
}

/// Clears a writability bit of the channel and sets it again, and tries to set options.
struct Settings(Log);

impl Handler for Settings {
    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        if let Some(on) = event.downcast_ref::<bool>() {
            ctx.set_user_writability(3, *on)?;
            return Ok(());
        }
        let refused = ctx.set_option(WRITE_SPIN_COUNT, 1).unwrap_err().kind();
        self.0.put(format!("{refused:?}"));
        ctx.set_option(AUTO_READ, false)?;
        self.0.put(format!("{:?}", ctx.option(AUTO_READ)));
        self.0
            .put(format!("{} left", ctx.bytes_before_unwritable()));
        Ok(())
    }
}

/// What a handler elsewhere sets is set on the channel, or refused; never on its own side alone.
///
/// Rules: C5, C6
#[test]
fn settings_made_elsewhere_are_the_channels_or_refused() {
    let (group, log) = (group(), Log::default());
    let there = log.clone();
    let mut channel =
        EmbeddedChannel::new(|pipeline| pipeline.add_last_on(&group, || Settings(there))).unwrap();
    let mut ask = |event: Message| {
        channel.run(|channel| channel.fire_user_event_triggered(event));
        there_and_back(&mut channel, &group);
        let handle = channel.channel();
        (handle.is_writable(), handle.is_auto_read())
    };
    assert_eq!(ask(Message::new(false)), (false, true));
    assert_eq!(ask("what is left".into()), (false, false));
    assert_eq!(ask(Message::new(true)), (true, false));
    assert_eq!(log.lines(), ["Unsupported", "Ok(false)", "0 left"]);
}

/// Rules: 5.8.
#[test]
fn a_handler_that_panics_while_it_is_made_there_is_what_the_connect_fails_with() {
    let (group, there) = (EventLoopGroup::new(1).unwrap(), group());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = Bootstrap::new(&group)
        .handler(move |pipeline| {
            pipeline.add_last_on(&there, || -> Bomb { panic!("as the test wants it") })
        })
        .connect(listener.local_addr().unwrap())
        .sync_timeout(Duration::from_secs(20));
    assert_eq!(connected.unwrap_err().kind(), ErrorKind::HandlerPanicked);
}
