//! What is told when a loop ends while its channels have much to say: what they have at hand, and the last events behind it.

use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use bytes::BytesMut;
use tidegate::codec::LineDecoder;
use tidegate::{
    Bootstrap, Channel, Context, Error, EventLoop, EventLoopGroup, Failure, Handler, HandlerResult,
    LocalEventLoop, Message,
};

/// Long enough for a machine that does other things; nothing waits for it when all is well.
const DEADLINE: Duration = Duration::from_secs(20);

/// More rounds of resumes than a loop has for tasks without end.
const LINES: usize = 100_000;

/// Counts messages, and tells the last events with the count.
struct Counts(Sender<String>, usize);

impl Counts {
    fn tell(&self, what: &str) -> HandlerResult {
        let _ = self.0.send(format!("{what} after {}", self.1));
        Ok(())
    }
}

impl Handler for Counts {
    fn channel_read(&mut self, _ctx: &mut Context<'_>, _msg: Message) -> HandlerResult {
        self.1 += 1;
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.tell("inactive")?;
        ctx.fire_channel_inactive();
        Ok(())
    }

    fn channel_unregistered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.tell("unregistered")?;
        ctx.fire_channel_unregistered();
        Ok(())
    }

    fn handler_removed(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.tell("removed")
    }
}

fn last(count: usize) -> [String; 3] {
    ["inactive", "unregistered", "removed"].map(|what| format!("{what} after {count}"))
}

/// A client whose peer is there and says nothing.
fn client(
    event_loop: &EventLoop,
    fill: impl Fn(&mut tidegate::Pipeline<'_>) -> Result<(), Error> + Send + Sync + 'static,
) -> (tidegate::ChannelFuture, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = Bootstrap::new(event_loop)
        .handler(fill)
        .connect(listener.local_addr().unwrap());
    (connected, listener)
}

fn connected(
    group: &EventLoopGroup,
    fill: impl Fn(&mut tidegate::Pipeline<'_>) -> Result<(), Error> + Send + Sync + 'static,
) -> (Channel, TcpStream) {
    let (connected, listener) = client(&group.next(), fill);
    let channel = connected.sync_timeout(DEADLINE).unwrap();
    (channel, listener.accept().unwrap().0)
}

/// As if they had been read at once.
fn feed_lines(channel: &Channel) {
    let fed = channel.edit(|pipeline| {
        pipeline.fire_channel_read(BytesMut::from("\n".repeat(LINES).as_bytes()));
        Ok::<_, Error>(())
    });
    drop(fed);
}

fn heard(told: &Receiver<String>) -> Vec<String> {
    told.try_iter().collect()
}

/// As a story: a decoder had a hundred thousand lines at hand when the loop was stopped. The first 32,000 came, and no last
/// events at all.
///
/// Rules: A25, A45, 6.7
#[test]
fn what_a_decoder_has_at_hand_comes_before_its_loop_ends() {
    for is_graceful in [true, false] {
        let group = EventLoopGroup::new(1).unwrap();
        let (tell, told) = mpsc::channel();
        let (channel, _peer) = connected(&group, move |pipeline| {
            pipeline.add_last(LineDecoder::new(8))?;
            pipeline.add_last(Counts(tell.clone(), 0))
        });
        feed_lines(&channel);
        let ended = if is_graceful {
            group.shutdown_gracefully(Duration::ZERO, Duration::ZERO)
        } else {
            group.stop()
        };
        ended.sync_timeout(DEADLINE).unwrap();
        assert_eq!(heard(&told), last(LINES));
    }
}

/// The same on a loop of the host's, which is dropped.
///
/// Rules: A25, A45, 6.7
#[test]
fn what_a_decoder_has_at_hand_comes_before_a_local_loop_is_gone() {
    let local = LocalEventLoop::new().unwrap();
    let (tell, told) = mpsc::channel();
    let (connected, _peer) = client(local.handle(), move |pipeline| {
        pipeline.add_last(LineDecoder::new(8))?;
        pipeline.add_last(Counts(tell.clone(), 0))
    });
    let channel = local.block_on(connected).unwrap().unwrap();
    feed_lines(&channel);
    drop(local);
    assert_eq!(heard(&told), last(LINES));
}

/// And where the decoder is on another group's loop, which is stopped.
///
/// Rules: A25, A45, B12, 6.7
#[test]
fn what_a_decoder_elsewhere_has_at_hand_comes_before_its_loop_ends() {
    let (group, others) = (
        EventLoopGroup::new(1).unwrap(),
        EventLoopGroup::new(1).unwrap(),
    );
    let (tell, told) = mpsc::channel();
    let elsewhere = others.clone();
    let (channel, _peer) = connected(&group, move |pipeline| {
        pipeline.add_last_on(&elsewhere, || LineDecoder::new(8))?;
        pipeline.add_last(Counts(tell.clone(), 0))
    });
    let (go, gone) = mpsc::channel::<()>();
    let busy = others
        .next()
        .submit(move || _ = gone.recv_timeout(DEADLINE));
    feed_lines(&channel);
    channel.event_loop().submit(|| ()).sync().unwrap();
    let ended = others.stop();
    drop(go);
    busy.sync().unwrap();
    ended.sync_timeout(DEADLINE).unwrap();
    channel.close_future().sync_timeout(DEADLINE).unwrap();
    let expected = last(LINES);
    let told: Vec<_> = (0..3).map(|_| told.recv_timeout(DEADLINE)).collect();
    assert_eq!(told, expected.map(Ok));
    group.stop().sync_timeout(DEADLINE).unwrap();
}

/// As a story: five thousand writes waited for a peer that does not read, each with a listener. The listeners ran, and the
/// handlers never heard of the end.
///
/// Rules: A25, A26, A45, F3
#[test]
fn the_last_events_come_behind_any_number_of_listeners() {
    const WRITES: usize = 20_000;
    let group = EventLoopGroup::new(1).unwrap();
    let (tell, told) = mpsc::channel();
    let (channel, _peer) = connected(&group, move |pipeline| {
        pipeline.add_last(Counts(tell.clone(), 0))
    });
    let (failed, failures) = mpsc::channel();
    for _ in 0..WRITES {
        let failed = failed.clone();
        // Not flushed.
        channel.write_future("x").add_listener(move |_, result| {
            let _ = failed.send(result.is_err());
        });
    }
    group.stop().sync_timeout(DEADLINE).unwrap();
    assert_eq!(failures.try_iter().filter(|failed| *failed).count(), WRITES);
    assert_eq!(heard(&told), last(0));
}

/// Queues itself for ever.
fn again(event_loop: EventLoop) {
    let next = event_loop.clone();
    let _over = event_loop.execute(move || again(next));
}

/// Rules: A25, A45, E21
#[test]
fn tasks_without_end_do_not_keep_a_decoder_from_emptying_itself() {
    let group = EventLoopGroup::new(1).unwrap();
    let (tell, told) = mpsc::channel();
    let (channel, _peer) = connected(&group, move |pipeline| {
        pipeline.add_last(LineDecoder::new(8))?;
        pipeline.add_last(Counts(tell.clone(), 0))
    });
    again(group.next());
    feed_lines(&channel);
    group.stop().sync_timeout(DEADLINE).unwrap();
    assert_eq!(heard(&told), last(LINES));
}

/// Fires all there is from the head when it is told of the end.
struct Fires(mpsc::Sender<String>, &'static str);

impl Fires {
    fn hear(&self, ctx: &mut Context<'_>, what: &str) -> HandlerResult {
        let _ = self.0.send(format!("{} {what}", self.1));
        if what == "inactive" || what == "unregistered" || what == "removed" {
            let mut pipeline = ctx.pipeline();
            pipeline.fire_channel_registered();
            pipeline.fire_channel_active();
            pipeline.fire_channel_read("late");
            pipeline.fire_channel_read_complete();
            pipeline.fire_user_event_triggered(Message::new(1_u8));
            pipeline.fire_channel_writability_changed();
            pipeline.fire_exception_caught(Failure::msg("late"));
            pipeline.fire_channel_inactive();
            pipeline.fire_channel_unregistered();
        }
        Ok(())
    }
}

impl Handler for Fires {
    fn channel_registered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.fire_channel_registered();
        self.hear(ctx, "registered")
    }

    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.fire_channel_active();
        self.hear(ctx, "active")
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.fire_channel_read(msg);
        self.hear(ctx, "read")
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.fire_channel_read_complete();
        self.hear(ctx, "read_complete")
    }

    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        ctx.fire_user_event_triggered(event);
        self.hear(ctx, "event")
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.fire_channel_writability_changed();
        self.hear(ctx, "writability")
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        ctx.fire_exception_caught(cause);
        self.hear(ctx, "exception")
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.fire_channel_inactive();
        self.hear(ctx, "inactive")
    }

    fn channel_unregistered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.fire_channel_unregistered();
        self.hear(ctx, "unregistered")
    }

    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.hear(ctx, "removed")
    }
}

/// Of the three on their way nobody hears twice, and of nothing else; here as well as on another group's loop.
///
/// Rules: A25, A26, B12
#[test]
fn what_is_fired_from_the_head_during_the_last_events_goes_nowhere() {
    for is_elsewhere in [false, true] {
        let (group, others) = (
            EventLoopGroup::new(1).unwrap(),
            EventLoopGroup::new(1).unwrap(),
        );
        let (tell, told) = mpsc::channel();
        let elsewhere = others.clone();
        let (channel, _peer) = connected(&group, move |pipeline| {
            for name in ["a", "b"] {
                let fires = Fires(tell.clone(), name);
                match is_elsewhere {
                    true => pipeline.add_last_on(&elsewhere, move || fires)?,
                    false => pipeline.add_last(fires)?,
                }
            }
            Ok(())
        });
        for lp in [&group, &others, &group, &others] {
            lp.next().submit(|| ()).sync().unwrap();
        }
        let begun = heard(&told);
        assert_eq!(
            begun,
            ["a registered", "b registered", "a active", "b active"]
        );
        channel.close().sync_timeout(DEADLINE).unwrap();
        let expected = [
            "a inactive",
            "b inactive",
            "a unregistered",
            "b unregistered",
            "b removed",
            "a removed",
        ];
        let heard: Vec<_> = expected
            .map(|_| told.recv_timeout(DEADLINE).unwrap())
            .into();
        let sorted = |mut lines: Vec<String>| {
            lines.sort();
            lines
        };
        if is_elsewhere {
            assert_eq!(sorted(heard), sorted(expected.map(String::from).into()));
        } else {
            assert_eq!(heard, expected);
        }
        group.stop().sync_timeout(DEADLINE).unwrap();
        others.stop().sync_timeout(DEADLINE).unwrap();
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [""; 0]);
    }
}

/// Tells its name with each of the last events, and puts others behind itself.
struct Nests {
    name: &'static str,
    tell: Sender<String>,
    inner: Option<(EventLoopGroup, &'static str, &'static str)>,
}

impl Nests {
    fn new(name: &'static str, tell: &Sender<String>) -> Self {
        Self {
            name,
            tell: tell.clone(),
            inner: None,
        }
    }

    fn hear(&self, what: &str) -> HandlerResult {
        let _ = self.tell.send(format!("{} {what}", self.name));
        Ok(())
    }
}

impl Handler for Nests {
    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if let Some((group, elsewhere, here)) = self.inner.take() {
            let tell = self.tell.clone();
            let mut pipeline = ctx.pipeline();
            pipeline.add_last_on(&group, move || Nests::new(elsewhere, &tell))?;
            pipeline.add_last(Nests::new(here, &self.tell))?;
        }
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.hear("read")?;
        ctx.fire_channel_read(msg);
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.hear("inactive")?;
        ctx.fire_channel_inactive();
        Ok(())
    }

    fn channel_unregistered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.hear("unregistered")?;
        ctx.fire_channel_unregistered();
        Ok(())
    }

    fn handler_removed(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.hear("removed")
    }
}

/// As a story: a handler on a second loop put one on a third behind itself. When the channel closed nobody waited for that: who
/// stood behind it, on any of the loops, was removed without having heard of the end.
///
/// Rules: A25, A45, B12, B19
#[test]
fn the_last_events_pass_a_third_loop_before_anybody_leaves() {
    const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
    for way in ["close", "shutdown", "the others first", "stop"] {
        let groups = [0, 1, 2].map(|_| EventLoopGroup::new(1).unwrap());
        let [own, second, third] = groups.clone();
        let (tell, told) = mpsc::channel();
        let (channel, _peer) = connected(&own, move |pipeline| {
            let mut nests = Nests::new("b", &tell);
            nests.inner = Some((third.clone(), "c", "d"));
            pipeline.add_last(Nests::new("a", &tell))?;
            pipeline.add_last_on(&second, move || nests)?;
            pipeline.add_last(Nests::new("e", &tell))
        });
        channel.fire_channel_read("x");
        for name in NAMES {
            let read = told.recv_timeout(DEADLINE);
            assert_eq!(read, Ok(format!("{name} read")), "{way}");
        }
        let graceful = |group: &EventLoopGroup| group.shutdown_gracefully(Duration::ZERO, DEADLINE);
        match way {
            "close" => drop(channel.close()),
            "shutdown" => graceful(&groups[0]).sync_timeout(DEADLINE).unwrap(),
            "stop" => own.stop().sync_timeout(DEADLINE).unwrap(),
            _ => {
                let ends = [2, 1, 0].map(|at: usize| graceful(&groups[at]));
                for end in ends {
                    end.sync_timeout(DEADLINE).unwrap();
                }
            }
        }
        let expected = 3 * NAMES.len();
        let heard: Vec<_> = (0..expected)
            .map(|_| told.recv_timeout(DEADLINE).expect(way))
            .collect();
        for what in ["inactive", "unregistered", "removed"] {
            let mut names: Vec<_> = heard
                .iter()
                .filter_map(|it| it.strip_suffix(what))
                .map(str::trim)
                .collect();
            if way == "stop" || what == "removed" {
                names.sort_unstable();
            }
            assert_eq!(names, NAMES, "{way}: {heard:?}");
        }
        for name in NAMES {
            let its: Vec<_> = heard.iter().filter(|it| it.starts_with(name)).collect();
            let due = ["inactive", "unregistered", "removed"].map(|what| format!("{name} {what}"));
            assert_eq!(its, due.iter().collect::<Vec<_>>(), "{way}");
        }
        for group in &groups {
            group.stop().sync_timeout(DEADLINE).unwrap();
        }
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [""; 0], "{way}");
    }
}
