//! Handlers on another group's loop when something is under way: what is left over on the channel's loop, handlers that are taken
//! out, loops that end, queues that are full. How they behave otherwise is in `relay`, random programs in tests/sim.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tidegate::channel::OptionSet;
use tidegate::channel::options::ALLOW_HALF_CLOSURE;
use tidegate::codec::LineDecoder;
use tidegate::{
    Context, EmbeddedChannel, EventLoopGroup, Failure, Handler, HandlerResult, Message,
};

fn group() -> EventLoopGroup {
    EventLoopGroup::new(1).unwrap()
}

/// Drives the embedded loop until it has something, which other threads bring about.
fn wait<T>(
    channel: &mut EmbeddedChannel,
    what: &str,
    mut look: impl FnMut(&mut EmbeddedChannel) -> Option<T>,
) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        channel.run_pending();
        if let Some(found) = look(channel) {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::yield_now();
    }
}

/// Until the group has done what it was asked for, and the channel what came of it.
fn there_and_back(channel: &mut EmbeddedChannel, group: &EventLoopGroup) {
    for _ in 0..8 {
        let there = group.next().submit(|| ());
        wait(channel, "the other loop", |_| there.is_done().then_some(()));
    }
}

/// Lets everything pass.
struct Passes;

impl Handler for Passes {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.fire_channel_read(msg);
        Ok(())
    }
}

/// Answers each line, and sends the answers when a batch ends.
struct Answers;

impl Handler for Answers {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.write(msg);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        Ok(())
    }
}

/// More lines than a decoder gives in one turn.
const LINES: usize = 3_000;

/// A decoder on the channel's loop that has more lines than one turn, behind a handler elsewhere: the end of the batch, which
/// comes from there meanwhile, waits for the last line. It came before, and the answers to the other lines were never sent.
///
/// Rules: 6.7, B12
#[test]
fn the_end_of_a_batch_comes_from_elsewhere_behind_what_is_left_over_here() {
    let group = group();
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last_on(&group, || Passes)?;
        pipeline.add_last(LineDecoder::new(8))?;
        pipeline.add_last(Answers)
    })
    .unwrap();
    channel.feed([BytesMut::from("a\n".repeat(LINES).as_bytes())]);
    let mut answers = 0;
    wait(&mut channel, "all answers", |channel| {
        answers += std::iter::from_fn(|| channel.read_outbound()).count();
        (answers == LINES).then_some(())
    });
}

/// Tells of the messages that it has had, and of the end.
struct Tells(mpsc::Sender<String>, usize);

impl Tells {
    fn tell(&self, what: &str) {
        let _ = self.0.send(format!("{what} after {}", self.1));
    }
}

impl Handler for Tells {
    fn channel_read(&mut self, _ctx: &mut Context<'_>, _msg: Message) -> HandlerResult {
        self.1 += 1;
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.tell("inactive");
        ctx.fire_channel_inactive();
        Ok(())
    }

    fn channel_unregistered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.tell("unregistered");
        ctx.fire_channel_unregistered();
        Ok(())
    }

    fn handler_removed(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.tell("removed");
        Ok(())
    }

    fn exception_caught(&mut self, _ctx: &mut Context<'_>, _cause: Failure) -> HandlerResult {
        Ok(())
    }
}

/// The same at the end of the channel, through two loops: the last events wait for the last line, and the handlers for the last
/// events. The handlers left while they were under way.
///
/// Rules: A25, 6.7, B12, B19
#[test]
fn handlers_leave_behind_what_is_left_over_between_two_loops() {
    let (near, far) = (group(), group());
    let (tell, told) = mpsc::channel();
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last_on(&near, || Passes)?;
        pipeline.add_last(LineDecoder::new(8))?;
        pipeline.add_last_on(&far, move || Tells(tell, 0))
    })
    .unwrap();
    there_and_back(&mut channel, &near);
    channel.feed([BytesMut::from("a\n".repeat(LINES).as_bytes())]);
    channel.feed_eof();
    // All of it has come back when this loop has its next turn.
    for _ in 0..3 {
        near.next().submit(|| ()).sync().unwrap();
    }
    let handle = channel.channel().clone();
    wait(&mut channel, "the end", |_| {
        (!handle.is_registered()).then_some(())
    });
    let expected = ["inactive", "unregistered", "removed"].map(|it| format!("{it} after {LINES}"));
    let told: Vec<String> = told.into_iter().collect();
    assert_eq!(told, expected);
}

/// Waits in the first message until it may go on.
struct Waits(mpsc::Receiver<()>);

impl Handler for Waits {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        let _ = self.0.recv();
        ctx.fire_channel_read(msg);
        Ok(())
    }
}

/// A handler elsewhere that is taken out while it is behind, and so keeps reading back: reading goes on without it. Nobody read
/// any more.
///
/// Rules: 6.8, B12, B18
#[test]
fn reading_goes_on_when_who_keeps_it_back_is_taken_out() {
    const MESSAGES: usize = 300;
    for replaces in [false, true] {
        let group = group();
        let (go_on, waits) = mpsc::channel();
        let mut channel = EmbeddedChannel::new(|pipeline| {
            pipeline.add_last_on_named(&group, "slow", move || Waits(waits))
        })
        .unwrap();
        // Warm: the read() of auto-read does not travel any more.
        for number in 0..10 {
            go_on.send(()).unwrap();
            channel.feed([Message::new(number)]);
            wait(&mut channel, "one message", |channel| {
                channel.read_inbound()
            });
            there_and_back(&mut channel, &group);
        }
        channel.feed((0..MESSAGES as u32).map(Message::new));
        let unread = channel.unread();
        assert!((1..MESSAGES - 60).contains(&unread), "{unread} left");
        channel
            .pipeline(|pipeline| match replaces {
                true => pipeline.replace("slow", None, Passes),
                false => pipeline.remove("slow"),
            })
            .unwrap();
        assert_eq!(channel.unread(), 0);
        drop(go_on);
    }
}

/// The same while a read() is on its way to it.
///
/// Rules: 6.8, B12, B18
#[test]
fn a_read_on_its_way_to_a_handler_that_is_taken_out_goes_on() {
    for auto_read in [true, false] {
        let group = group();
        let (go_on, waits) = mpsc::channel::<()>();
        let mut channel =
            EmbeddedChannel::new(|pipeline| pipeline.add_last_on_named(&group, "slow", || Passes))
                .unwrap();
        there_and_back(&mut channel, &group);
        channel.run(|channel| channel.set_auto_read(false));
        there_and_back(&mut channel, &group);
        channel.feed([Message::new(1_u32)]);
        // Nothing comes back for now.
        group.next().execute(move || _ = waits.recv()).unwrap();
        match auto_read {
            true => channel.run(|channel| channel.set_auto_read(true)),
            false => channel.run(|channel| channel.read()),
        }
        assert_eq!(channel.unread(), 1);
        channel
            .pipeline(|pipeline| pipeline.remove("slow"))
            .unwrap();
        assert_eq!(channel.read_inbound_as::<u32>(), Some(1));
        drop(go_on);
    }
}

/// Auto-read that is switched off takes back the read() that is on its way to a handler elsewhere (nothing came before), or that
/// is kept back because that is behind: nothing comes of it when it has caught up. A message did.
///
/// Rules: D2, B12
#[test]
fn a_read_that_waits_elsewhere_is_taken_back_with_auto_read() {
    const MESSAGES: usize = 300;
    for before in [0, 10] {
        let group = group();
        let (go_on, waits) = mpsc::channel();
        let mut channel =
            EmbeddedChannel::new(|pipeline| pipeline.add_last_on(&group, move || Waits(waits)))
                .unwrap();
        for number in 0..before {
            go_on.send(()).unwrap();
            channel.feed([Message::new(number)]);
            wait(&mut channel, "one message", |channel| {
                channel.read_inbound()
            });
            there_and_back(&mut channel, &group);
        }
        let (stops, stop) = mpsc::channel::<()>();
        group.next().execute(move || _ = stop.recv()).unwrap();
        channel.feed((0..MESSAGES as u32).map(Message::new));
        channel.run(|channel| channel.set_auto_read(false));
        let unread = channel.unread();
        assert!(unread > 0, "it is behind");
        drop((go_on, stops));
        let mut came = 0;
        wait(&mut channel, "what was read", |channel| {
            came += std::iter::from_fn(|| channel.read_inbound()).count();
            (came == MESSAGES - unread).then_some(())
        });
        there_and_back(&mut channel, &group);
        assert_eq!(channel.unread(), unread);
        channel.run(|channel| channel.set_auto_read(true));
        wait(&mut channel, "the rest", |channel| {
            came += std::iter::from_fn(|| channel.read_inbound()).count();
            (came == MESSAGES).then_some(())
        });
    }
}

/// Panics when it is told to.
struct Bomb;

impl Handler for Bomb {
    fn user_event_triggered(&mut self, _ctx: &mut Context<'_>, _event: Message) -> HandlerResult {
        panic!("as the test wants it")
    }
}

/// Panics at the end.
struct Grudge;

impl Handler for Grudge {
    fn channel_inactive(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        panic!("as the test wants it, at the end")
    }
}

/// Those that stand behind a handler elsewhere which has panicked, or whose loop has ended, hear of the end of the channel as
/// everybody does. They were removed without.
///
/// Rules: 5.8, A25, B12
#[test]
fn who_stands_behind_one_that_is_gone_hears_of_the_end() {
    for how in ["panics", "panics at the end", "its loop ends"] {
        let (group, other) = (group(), group());
        let (tell, told) = mpsc::channel();
        let far = tell.clone();
        let mut channel = EmbeddedChannel::new(|pipeline| {
            match how {
                "panics at the end" => pipeline.add_last_on(&group, || Grudge)?,
                _ => pipeline.add_last_on(&group, || Bomb)?,
            }
            pipeline.add_last(Tells(tell, 0))?;
            pipeline.add_last_on(&other, || Tells(far, 100))
        })
        .unwrap();
        match how {
            "panics" => channel.run(|channel| channel.fire_user_event_triggered("now".into())),
            "its loop ends" => drop(group.shutdown_gracefully(Duration::ZERO, Duration::ZERO)),
            _ => drop(channel.close()),
        }
        let handle = channel.channel().clone();
        wait(&mut channel, how, |_| {
            (!handle.is_registered()).then_some(())
        });
        let told: Vec<String> = told.into_iter().collect();
        for count in [0, 100] {
            let name = format!("after {count}");
            let of_one: Vec<&String> = told.iter().filter(|it| it.ends_with(&name)).collect();
            let expected = ["inactive", "unregistered", "removed"];
            let expected = expected.map(|it| format!("{it} {name}"));
            assert_eq!(of_one, expected.iter().collect::<Vec<_>>(), "{how}");
        }
    }
}

/// A decoder that comes elsewhere when the input of its channel has ended holds nothing back, as one that comes here.
///
/// Rules: 6.7, B12
#[test]
fn a_decoder_that_comes_elsewhere_behind_the_end_of_the_input_holds_nothing_back() {
    let group = group();
    let mut options = OptionSet::new();
    options.set(ALLOW_HALF_CLOSURE, true).unwrap();
    let mut channel = EmbeddedChannel::with_options(&options, |_| Ok::<_, Failure>(())).unwrap();
    channel.feed_eof();
    channel.run(|channel| channel.set_auto_read(false));
    channel
        .pipeline(|pipeline| pipeline.add_last_on(&group, || LineDecoder::new(8)))
        .unwrap();
    channel.pipeline(|pipeline| pipeline.fire_channel_read(BytesMut::from("a\nb\nc\n")));
    let mut lines = 0;
    wait(&mut channel, "the lines", |channel| {
        lines += std::iter::from_fn(|| channel.read_inbound()).count();
        (lines == 3).then_some(())
    });
}

/// A message that the other loop refuses because its queue is full is not lost in silence: the channel ends, as there is no
/// other way to tell. It went on without the message, and in the end did not read any more.
///
/// Rules: B12, E19
#[test]
fn a_channel_ends_when_a_full_queue_refuses_its_messages() {
    let group = EventLoopGroup::builder()
        .threads(1)
        .max_pending_tasks(16)
        .build()
        .unwrap();
    let (go_on, waits) = mpsc::channel::<()>();
    let mut channel =
        EmbeddedChannel::new(|pipeline| pipeline.add_last_on(&group, || Passes)).unwrap();
    there_and_back(&mut channel, &group);
    group.next().execute(move || _ = waits.recv()).unwrap();
    channel.feed((0..100_u32).map(Message::new));
    assert!(!channel.channel().is_open());
    drop(go_on);
    let handle = channel.channel().clone();
    wait(&mut channel, "the end", |_| {
        (!handle.is_registered()).then_some(())
    });
}
