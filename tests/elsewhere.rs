//! What can be added on another group's loop, and where in the pipeline; codecs there. How handlers behave there is in `relay`.

use std::error::Error as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tidegate::codec::{LengthFieldPrepender, LineDecoder, StringDecoder};
use tidegate::handler::typed::TypedHandler;
use tidegate::{
    Context, EmbeddedChannel, Error, ErrorKind, EventLoopGroup, Failure, Handler, HandlerResult,
    Message, Pipeline, Promise,
};

const DEADLINE: Duration = Duration::from_secs(20);

fn group(name: &str) -> EventLoopGroup {
    EventLoopGroup::builder()
        .threads(1)
        .name(name)
        .build()
        .unwrap()
}

/// Drives the embedded loop until it has something, which other threads bring about.
fn wait<T>(
    channel: &mut EmbeddedChannel,
    mut look: impl FnMut(&mut EmbeddedChannel) -> Option<T>,
) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        channel.run_pending();
        if let Some(found) = look(channel) {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time");
        thread::yield_now();
    }
}

/// Answers each line, and says on which thread.
struct Answers;

impl TypedHandler for Answers {
    type In = String;

    fn channel_read(&mut self, ctx: &mut Context<'_>, line: String) -> HandlerResult {
        let thread = thread::current();
        let thread = thread.name().unwrap_or("?");
        let thread = thread.split('-').next().unwrap_or(thread);
        ctx.write_and_flush(format!("{line} on {thread}"));
        Ok(())
    }
}

/// Decoders, prependers and typed handlers are built there as they are added here: without being wrapped.
///
/// Rules: B12
#[test]
fn whatever_can_be_added_can_be_added_on_another_loop() {
    let (codecs, logic) = (group("codecs"), group("logic"));
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last_on(&codecs, || LengthFieldPrepender::new(1))?;
        pipeline.add_last_on_named(&codecs, "lines", || {
            StringDecoder::new(LineDecoder::new(80))
        })?;
        pipeline.add_last_on(&logic, || Answers)
    })
    .unwrap();
    channel.feed([BytesMut::from("one\ntw"), BytesMut::from("o\n")]);
    let mut sent = Vec::new();
    let expected = b"\x0cone on logic\x0ctwo on logic";
    wait(&mut channel, |channel| {
        while let Some(part) = channel.read_outbound() {
            sent.extend_from_slice(part.as_bytes().unwrap());
        }
        (sent.len() >= expected.len()).then_some(())
    });
    assert_eq!(Bytes::from(sent), &expected[..]);
}

/// Adds its letter to a text that passes.
struct Letter(char);

impl Handler for Letter {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        let mut text: String = msg.downcast().map_err(|_| Failure::msg("not a text"))?;
        text.push(self.0);
        ctx.fire_channel_read(Message::new(text));
        Ok(())
    }
}

/// Each handler stands where it was put, from wherever it was put there, and is known by its name.
///
/// Rules: B12, B20
#[test]
fn handlers_elsewhere_stand_where_they_were_put() {
    let (near, far) = (group("near"), group("far"));
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last_named("m", Letter('m'))?;
        pipeline.add_first_on(&near, || Letter('c'))?;
        pipeline.add_first_on_named(&far, "b", || Letter('b'))?;
        pipeline.add_before_on(&near, "m", Some("l"), || Letter('l'))?;
        pipeline.add_after_on(&far, "m", Some("n"), || Letter('n'))?;
        pipeline.add_before_on(&near, "b", None, || Letter('a'))?;
        pipeline.add_after_on(&near, "n", None, || Letter('o'))?;
        pipeline.add_last_on_named(&far, "z", || Letter('z'))
    })
    .unwrap();
    let refused = channel.pipeline(|pipeline| {
        [
            pipeline.add_before_on(&near, "x", None, || Letter('x')),
            pipeline.add_after_on(&near, "x", None, || Letter('x')),
            pipeline.add_first_on_named(&near, "m", || Letter('x')),
            pipeline.add_last_on_named(&near, "m", || Letter('x')),
        ]
        .map(|refused| refused.unwrap_err().kind())
    });
    assert_eq!(refused[..2], [ErrorKind::NoSuchHandler; 2]);
    assert_eq!(refused[2..], [ErrorKind::DuplicateName; 2]);
    let mut pass = |edit: fn(&mut Pipeline<'_>) -> Result<(), Error>| {
        channel.pipeline(edit).unwrap();
        channel.feed([Message::new(String::new())]);
        wait(&mut channel, |channel| channel.read_inbound_as::<String>())
    };
    assert_eq!(pass(|_| Ok(())), "abclmnoz");
    assert_eq!(pass(|pipeline| pipeline.remove("l")), "abcmnoz");
    let here = |pipeline: &mut Pipeline<'_>| pipeline.replace("n", Some("N"), Letter('N'));
    assert_eq!(pass(here), "abcmNoz");
}

/// Says what goes wrong.
struct Tells(mpsc::Sender<Failure>);

impl Handler for Tells {
    fn exception_caught(&mut self, _ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        let _ = self.0.send(cause);
        Ok(())
    }
}

/// A handler that cannot be where it should is not in the pipeline, and the pipeline hears of it.
///
/// Rules: B7, B12
#[test]
fn a_group_that_has_ended_takes_no_handlers() {
    let ended = group("ended");
    ended
        .shutdown_gracefully(Duration::ZERO, Duration::from_secs(20))
        .sync()
        .unwrap();
    let (tell, told) = mpsc::channel();
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last_named("told", Tells(tell))?;
        pipeline.add_first_on(&ended, || Letter('x'))
    })
    .unwrap();
    let cause = told.recv().unwrap().into_error();
    assert_eq!(cause.kind(), ErrorKind::User);
    let source = cause
        .source()
        .and_then(|source| source.downcast_ref::<Error>());
    assert_eq!(source.map(Error::kind), Some(ErrorKind::Terminated));
    assert_eq!(channel.pipeline(|pipeline| pipeline.names()), ["told"]);
}

/// Counts what passes.
struct Counts(Arc<AtomicUsize>);

impl Handler for Counts {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.0.fetch_add(1, Ordering::Relaxed);
        ctx.fire_channel_read(msg);
        Ok(())
    }
}

/// Notes how many packets had left for this loop by the time of each line.
struct Lags {
    left: Arc<AtomicUsize>,
    lines: usize,
    most: Arc<AtomicUsize>,
}

impl Handler for Lags {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.lines += 1;
        let under_way = self.left.load(Ordering::Relaxed) - self.lines / PACKET;
        self.most.fetch_max(under_way, Ordering::Relaxed);
        if self.lines.is_multiple_of(PACKET) {
            ctx.fire_channel_read(msg);
        }
        Ok(())
    }
}

/// Lines of a packet: more than a decoder gives in one turn.
const PACKET: usize = 1100;

/// 64 packets are on their way to a loop, and a batch more, also where a decoder there has left some over: reading is kept back
/// until it is done with them.
///
/// Rules: 6.7, B12
#[test]
fn what_a_decoder_elsewhere_has_left_over_keeps_reading_back() {
    const PACKETS: usize = 120;
    let others = group("others");
    let (left, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let lags = (left.clone(), most.clone());
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Counts(left))?;
        pipeline.add_last_on_named(&others, "lines", || LineDecoder::new(8))?;
        pipeline.add_last_on(&others, move || {
            let (left, most) = lags;
            Lags {
                left,
                lines: 0,
                most,
            }
        })
    })
    .unwrap();
    let packet = BytesMut::from("a\n".repeat(PACKET).as_bytes());
    channel.feed(vec![packet; PACKETS]);
    // Each has a deadline of its own: together they are some seconds of work.
    for _ in 0..PACKETS {
        wait(&mut channel, EmbeddedChannel::read_inbound);
    }
    let most = most.load(Ordering::Relaxed);
    assert!(most <= 64 + 16, "{most} packets under way");
}

/// Notes what comes; the first line waits until it may be handled.
struct Slow {
    may_begin: Option<mpsc::Receiver<()>>,
    lines: mpsc::Sender<Vec<u8>>,
}

impl Handler for Slow {
    fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
        if let Some(may_begin) = self.may_begin.take() {
            may_begin.recv_timeout(DEADLINE)?;
        }
        let line = msg.downcast::<BytesMut>().expect("a line");
        self.lines.send(line.to_vec())?;
        Ok(())
    }
}

/// A decoder with thousands of messages of one read at hand keeps them while 1,024 are on their way to another loop, and
/// goes on when those are handled; wherever it is itself.
///
/// Rules: 6.7, B12
#[test]
fn what_was_read_waits_for_a_handler_elsewhere() {
    const PACKETS: usize = 20;
    for decodes_here in [true, false] {
        let (decoding, handling) = (group("decoding"), group("handling"));
        let left = Arc::<AtomicUsize>::default();
        let (begin, may_begin) = mpsc::channel();
        let (lines, seen) = mpsc::channel();
        let counts = Counts(left.clone());
        let mut channel = EmbeddedChannel::new(|pipeline| {
            if decodes_here {
                pipeline.add_last(LineDecoder::new(8))?;
            } else {
                pipeline.add_last_on_named(&decoding, "lines", || LineDecoder::new(8))?;
            }
            pipeline.add_last(counts)?;
            let may_begin = Some(may_begin);
            pipeline.add_last_on(&handling, move || Slow { may_begin, lines })
        })
        .unwrap();
        let packet = |at: usize| {
            let lines = (0..PACKET).map(|line| format!("{}\n", at * PACKET + line));
            BytesMut::from(lines.collect::<String>().as_bytes())
        };
        channel.feed((0..PACKETS).map(packet));
        if decodes_here {
            // The first read() comes back from the other loop.
            wait(&mut channel, |_| {
                (left.load(Ordering::Relaxed) > 0).then_some(())
            });
            channel.run_pending();
            assert_eq!(left.load(Ordering::Relaxed), 1024);
        }
        begin.send(()).unwrap();
        for line in 0..PACKETS * PACKET {
            let got = wait(&mut channel, |_| seen.try_recv().ok());
            assert_eq!(got, line.to_string().as_bytes());
        }
    }
}

/// Puts two handlers behind itself, in its own pipeline on its loop: one that is slow, on a third loop, and a decoder.
struct Nests {
    group: EventLoopGroup,
}

/// Each message twice in one line, for the decoder behind.
struct Twice;

impl Handler for Twice {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        let line = msg.downcast::<BytesMut>().expect("a line");
        let text = String::from_utf8_lossy(&line);
        ctx.fire_channel_read(BytesMut::from(format!("{text}\n{text}\n").as_bytes()));
        Ok(())
    }
}

impl Handler for Nests {
    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let mut pipeline = ctx.pipeline();
        pipeline.add_last(LineDecoder::new(8))?;
        pipeline.add_last_on(&self.group, || Twice)?;
        pipeline.add_last_named("second", LineDecoder::new(8))?;
        Ok(())
    }
}

/// A relay that holds back what is before it does not hold what is behind, on another loop either: nobody would let that go.
///
/// Rules: 6.7, B12
#[test]
fn what_stands_behind_a_relay_is_not_held_by_it() {
    const PACKETS: usize = 10;
    let (nesting, third) = (group("nesting"), group("third"));
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last_on(&nesting, move || Nests { group: third })
    })
    .unwrap();
    let packet = |at: usize| {
        let lines = (0..PACKET).map(|line| format!("{}\n", at * PACKET + line));
        BytesMut::from(lines.collect::<String>().as_bytes())
    };
    channel.feed((0..PACKETS).map(packet));
    for line in 0..PACKETS * PACKET {
        for _ in 0..2 {
            let got = wait(&mut channel, EmbeddedChannel::read_inbound);
            let got = got.downcast::<BytesMut>().expect("a line");
            assert_eq!(got, line.to_string().as_bytes());
        }
    }
}

/// Told by an event, puts a handler at each end of its own pipeline; by another, takes them out again.
struct Grows;

/// Marks what comes by, in both directions.
struct Marks(&'static str);

impl Marks {
    fn mark(&self, msg: Message) -> Message {
        let text = msg.downcast::<String>().expect("a text");
        Message::new(text + self.0)
    }
}

impl Handler for Marks {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.fire_channel_read(self.mark(msg));
        Ok(())
    }

    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        ctx.write_with(self.mark(msg), promise);
        Ok(())
    }
}

impl Handler for Grows {
    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        if ctx.pipeline().contains("first") {
            let mut pipeline = ctx.pipeline();
            pipeline.remove_last()?;
            pipeline.remove_first()?;
            assert_eq!(pipeline.names().len(), 1);
            return Ok(());
        }
        ctx.pipeline().add_first_named("first", Marks("1"))?;
        ctx.pipeline().add_last_named("last", Marks("2"))?;
        let pipeline = ctx.pipeline();
        let ends = (pipeline.first(), pipeline.last());
        assert_eq!(ends, (Some("first".into()), Some("last".into())));
        assert_eq!(pipeline.names().len(), 3);
        ctx.fire_user_event_triggered(event);
        Ok(())
    }
}

/// As a story: a handler elsewhere added one at the end of its own pipeline, which stood behind the way back to the channel and
/// heard of nothing; one at the beginning stood before it, and its writes were refused.
///
/// Rules: B5, B12
#[test]
fn the_ends_of_a_pipeline_elsewhere_are_inside_of_its_ways_back() {
    let group = group("growing");
    let mut channel =
        EmbeddedChannel::new(|pipeline| pipeline.add_last_on(&group, || Grows)).unwrap();
    let handle = channel.channel().clone();
    handle.fire_user_event_triggered(Message::new(0_u8));
    handle.fire_channel_read(Message::new("in".to_owned()));
    let read = wait(&mut channel, EmbeddedChannel::read_inbound);
    assert_eq!(read.downcast::<String>().unwrap(), "in12");
    let write = handle.write_and_flush(Message::new("out".to_owned()));
    let written = wait(&mut channel, EmbeddedChannel::read_outbound);
    assert_eq!(written.downcast::<String>().unwrap(), "out21");
    wait(&mut channel, |_| write.is_done().then_some(()));
    handle.fire_user_event_triggered(Message::new(0_u8));
    handle.fire_channel_read(Message::new("in".to_owned()));
    let read = wait(&mut channel, EmbeddedChannel::read_inbound);
    assert_eq!(read.downcast::<String>().unwrap(), "in");
}
