//! Walks that must come out natural: handlers as people write them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tidegate::{
    Context, EmbeddedChannel, Error, ErrorKind, Failure, Handler, HandlerResult, Message, Promise,
};

use crate::common::{Log, Script, inbound, manual, outbound, text};
use crate::resume::Words;

/// Holds messages with their promises and writes them later, at most one a second.
#[derive(Default)]
struct Throttle {
    held: VecDeque<(Message, Promise)>,
    is_timed: bool,
}

impl Throttle {
    fn arm(&mut self, ctx: &mut Context<'_>) {
        if !self.is_timed && !self.held.is_empty() {
            self.is_timed = true;
            ctx.timer(Duration::from_secs(1), 0);
        }
    }
}

impl Handler for Throttle {
    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        self.held.push_back((msg, promise));
        self.arm(ctx);
        Ok(())
    }

    fn flush(&mut self, _: &mut Context<'_>) -> HandlerResult {
        Ok(())
    }

    fn timer(&mut self, ctx: &mut Context<'_>, _: u64) -> HandlerResult {
        self.is_timed = false;
        if let Some((msg, promise)) = self.held.pop_front() {
            ctx.write_with(msg, promise);
            ctx.flush();
        }
        self.arm(ctx);
        Ok(())
    }

    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        for (msg, promise) in self.held.drain(..) {
            ctx.write_with(msg, promise);
        }
        ctx.flush();
        Ok(())
    }
}

/// A handler that holds messages and promises and writes them later.
///
/// Rules: 6.3, 6.11
#[test]
fn a_handler_holds_writes_with_their_promises_and_sends_them_later() {
    let mut channel =
        EmbeddedChannel::new(|p| p.add_last_named("throttle", Throttle::default())).unwrap();
    let futures = channel.run(|channel| {
        let futures = ["a", "b", "c", "d"].map(|msg| channel.write_future(msg));
        channel.flush();
        futures
    });
    assert_eq!(outbound(&mut channel), [""; 0]);
    assert!(futures[0].cancel(), "it has not begun");
    channel.advance(Duration::from_secs(1));
    assert_eq!(
        outbound(&mut channel),
        [""; 0],
        "the cancelled one is not written"
    );
    channel.advance(Duration::from_secs(1));
    assert_eq!(outbound(&mut channel), ["b"]);
    assert!(futures[1].is_success() && !futures[2].is_done());
    // Taken out, it writes what it holds: from its old place, before anything newer.
    channel.run(|channel| channel.write("e"));
    channel
        .pipeline(|pipeline| pipeline.remove("throttle"))
        .unwrap();
    assert_eq!(outbound(&mut channel), ["c", "d", "e"]);
    assert!(futures[2].is_success() && futures[3].is_success());
}

/// The same when the channel ends first: every promise is settled.
///
/// Rules: 6.3, A30
#[test]
fn promises_that_a_handler_holds_at_the_end_are_settled() {
    let mut channel = EmbeddedChannel::new(|p| p.add_last(Throttle::default())).unwrap();
    let future = channel.run(|channel| channel.write_future("a"));
    channel.finish().unwrap();
    assert_eq!(future.cause().unwrap().kind(), ErrorKind::ChannelClosed);
}

// ---- an upgrade from one protocol to another

/// What an HTTP codec would be: lines in, lines out.
struct Lines {
    rest: String,
}

impl Lines {
    fn emit(&mut self, ctx: &mut Context<'_>) {
        if let Some(end) = self.rest.find('\n') {
            let line: String = self.rest.drain(..=end).collect();
            ctx.fire_channel_read(line.trim_end().to_owned().into_bytes());
            ctx.resume();
        }
    }
}

impl Handler for Lines {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.rest.push_str(&text(&msg));
        self.emit(ctx);
        Ok(())
    }

    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.emit(ctx);
        Ok(())
    }

    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        ctx.write_with(format!("{}\n", text(&msg)).into_bytes(), promise);
        Ok(())
    }

    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if !self.rest.is_empty() {
            ctx.fire_channel_read(std::mem::take(&mut self.rest).into_bytes());
        }
        Ok(())
    }
}

/// What a WebSocket codec would be: one byte of length before each frame.
struct Frames {
    rest: Vec<u8>,
}

impl Frames {
    fn emit(&mut self, ctx: &mut Context<'_>) {
        let Some((&length, frame)) = self.rest.split_first() else {
            return;
        };
        if let Some(frame) = frame.get(..length.into()) {
            ctx.fire_channel_read(frame.to_vec());
            self.rest.drain(..=usize::from(length));
            ctx.resume();
        }
    }
}

impl Handler for Frames {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.rest
            .extend_from_slice(msg.as_bytes().unwrap_or_default());
        self.emit(ctx);
        Ok(())
    }

    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.emit(ctx);
        Ok(())
    }

    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        let payload = text(&msg);
        let mut frame = vec![payload.len() as u8];
        frame.extend_from_slice(payload.as_bytes());
        ctx.write_with(frame, promise);
        Ok(())
    }
}

/// Answers requests; on an upgrade answers by the old codec, puts the new one in its place, then itself aside.
struct Upgrade;

impl Handler for Upgrade {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        match text(&msg).as_str() {
            "UPGRADE" => {
                ctx.write("101");
                ctx.pipeline()
                    .replace_type::<Lines, _>(Frames { rest: Vec::new() })?;
                ctx.pipeline().replace_type::<Upgrade, _>(Echo)?;
                ctx.write("first frame");
                ctx.flush();
            }
            other => ctx.write_and_flush(format!("200 {other}").into_bytes()),
        }
        Ok(())
    }
}

struct Echo;

impl Handler for Echo {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.write(msg);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        Ok(())
    }
}

/// HTTP/1 to WebSocket by replace inside channel_read: what came behind the upgrade in the same read is framed by the
/// new codec, what is written from then on as well, at every split of the input.
///
/// Rules: 6.7, 6.8, B10
#[test]
fn a_codec_is_replaced_in_the_middle_of_a_read() {
    let input = b"hello\nUPGRADE\n\x03abc\x00\x02de";
    for split in 0..=input.len() {
        let mut channel = EmbeddedChannel::new(|pipeline| {
            pipeline.add_last(Lines {
                rest: String::new(),
            })?;
            pipeline.add_last(Upgrade)
        })
        .unwrap();
        let (one, two) = input.split_at(split);
        channel.feed([one.to_vec()]);
        channel.feed([two.to_vec()]);
        let names = channel.pipeline(|pipeline| pipeline.names());
        assert_eq!(names, ["Frames#0", "Echo#0"]);
        assert_eq!(
            outbound(&mut channel),
            [
                "200 hello\n",
                "101\n",
                "\x0bfirst frame",
                "\x03abc",
                "\x00",
                "\x02de"
            ],
            "split at {split}"
        );
        channel.check().unwrap();
    }
}

/// Protocol detection: a handler that looks at the first bytes, adds what fits behind itself and leaves, with the
/// bytes going on to the newcomers.
///
/// Rules: 6.8, B11
#[test]
fn a_handler_that_detects_the_protocol_builds_the_pipeline_and_leaves() {
    struct Detect;
    impl Handler for Detect {
        fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
            let is_text = msg
                .as_bytes()
                .is_some_and(|bytes| bytes.first() == Some(&b'h'));
            if is_text {
                ctx.pipeline().add_after_type::<Detect, _>(Lines {
                    rest: String::new(),
                })?;
            } else {
                ctx.pipeline()
                    .add_after_type::<Detect, _>(Frames { rest: Vec::new() })?;
            }
            ctx.pipeline().remove_type::<Detect>()?;
            ctx.fire_channel_read(msg);
            Ok(())
        }
    }
    for (input, output) in [
        (&b"hi\nho\n"[..], ["hi", "ho"]),
        (&b"\x02hi\x02ho"[..], ["hi", "ho"]),
    ] {
        let mut channel = EmbeddedChannel::new(|p| p.add_last(Detect)).unwrap();
        channel.write_inbound(input).unwrap();
        assert_eq!(inbound(&mut channel), output);
    }
}

// ---- a handler like TLS

/// Pretends to be TLS: a hello from both sides, records of one length byte, a farewell before the close. It starts in
/// handler_added, holds what is written before the handshake is done, emits one record at a time, asks for more
/// itself when a record is incomplete, and closes when its farewell was sent.
struct Seal {
    log: Log,
    is_open: bool,
    input: Vec<u8>,
    held: VecDeque<(Message, Promise)>,
    is_flush_due: bool,
    has_emitted: bool,
    closing: Option<Promise>,
}

impl Seal {
    const FAREWELL: u64 = 1;

    fn new(log: &Log) -> Self {
        Self {
            log: log.clone(),
            is_open: false,
            input: Vec::new(),
            held: VecDeque::new(),
            is_flush_due: false,
            has_emitted: false,
            closing: None,
        }
    }

    fn start(&mut self, ctx: &mut Context<'_>) {
        ctx.write_and_flush("hello");
        self.log.add("hello sent");
    }

    fn step(&mut self, ctx: &mut Context<'_>) {
        if !self.is_open {
            if !self.input.starts_with(b"olleh") {
                return;
            }
            self.input.drain(..5);
            self.is_open = true;
            ctx.fire_user_event_triggered("sealed".into());
            for (msg, promise) in self.held.drain(..) {
                ctx.write_with(format!("<{}>", text(&msg)).into_bytes(), promise);
            }
            if std::mem::take(&mut self.is_flush_due) {
                ctx.flush();
            }
        }
        let Some((&length, rest)) = self.input.split_first() else {
            return;
        };
        if let Some(record) = rest.get(..length.into()) {
            self.has_emitted = true;
            ctx.fire_channel_read(record.to_vec());
            self.input.drain(..=usize::from(length));
            ctx.resume();
        }
    }
}

impl Handler for Seal {
    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if ctx.is_active() {
            self.start(ctx);
        }
        Ok(())
    }

    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.start(ctx);
        ctx.fire_channel_active();
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.input
            .extend_from_slice(msg.as_bytes().unwrap_or_default());
        self.step(ctx);
        Ok(())
    }

    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.step(ctx);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        // Nobody else can know that half a record is no message yet.
        if !std::mem::take(&mut self.has_emitted) && !ctx.auto_read() {
            ctx.read();
        }
        ctx.fire_channel_read_complete();
        Ok(())
    }

    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        if self.is_open {
            ctx.write_with(format!("<{}>", text(&msg)).into_bytes(), promise);
        } else {
            self.held.push_back((msg, promise));
        }
        Ok(())
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if self.is_open {
            ctx.flush();
        } else {
            self.is_flush_due = true;
        }
        Ok(())
    }

    fn close(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
        if self.closing.is_none() {
            self.closing = Some(promise);
            let sent = ctx.new_promise();
            ctx.notify(&sent, Self::FAREWELL);
            ctx.write_with("bye", sent);
            ctx.flush();
        } else {
            ctx.close_with(promise);
        }
        Ok(())
    }

    fn write_done(&mut self, ctx: &mut Context<'_>, _: u64, _: Result<(), Error>) -> HandlerResult {
        if let Some(promise) = self.closing.take() {
            ctx.close_with(promise);
        }
        Ok(())
    }
}

/// The handshake starts in handler_added of a live channel, and in channel_active of one that connects later.
///
/// Rules: 6.8
#[test]
fn a_sealing_handler_starts_when_it_is_added_to_a_live_channel() {
    let log = Log::new();
    let mut channel = manual([]);
    channel
        .pipeline(|pipeline| pipeline.add_first(Seal::new(&log)))
        .unwrap();
    assert_eq!(log.take(), ["hello sent"]);
    assert_eq!(outbound(&mut channel), ["hello"]);
    // In the initializer the channel is not active yet.
    let mut channel = EmbeddedChannel::new(|p| p.add_last(Seal::new(&log))).unwrap();
    assert_eq!(log.take(), ["hello sent"]);
    assert_eq!(outbound(&mut channel), ["hello"]);
    // The other way up: STARTTLS from inside a callback, nearer to the head than whoever asks for it.
    let again = log.clone();
    let app = Script::new("app", &log).on_read(move |ctx, _| {
        ctx.pipeline().add_first(Seal::new(&again))?;
        again.add("added");
        ctx.write_and_flush("secret");
        Ok(())
    });
    let mut channel = crate::common::channel([app]);
    channel.write_inbound("start").unwrap();
    assert_eq!(log.take(), ["app read start", "hello sent", "added"]);
    assert_eq!(outbound(&mut channel), ["hello"], "the secret is held");
    channel.write_inbound("olleh").unwrap();
    assert_eq!(outbound(&mut channel), ["<secret>"]);
}

/// Writes wait for the handshake with their promises; the event comes first, then the data that was behind it.
///
/// Rules: 6.3, 6.7
#[test]
fn what_is_written_before_the_handshake_is_sent_after_it() {
    let log = Log::new();
    let app = Script::new("app", &log).loud();
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Seal::new(&log))?;
        pipeline.add_last(app)
    })
    .unwrap();
    let future = channel.run(|channel| channel.write_and_flush("early"));
    assert_eq!(outbound(&mut channel), ["hello"]);
    assert!(!future.is_done());
    log.take();
    channel.feed([b"olleh\x02hi\x02ho".to_vec()]);
    assert_eq!(
        log.take(),
        [
            "app event sealed",
            "app read hi",
            "app read ho",
            "app read_complete",
            "app read()"
        ]
    );
    assert_eq!(outbound(&mut channel), ["<early>"]);
    assert!(future.is_success());
}

/// Half a record while reading is paused: one read() of the application is enough to get a whole one.
///
/// Rules: 6.7
#[test]
fn a_partial_record_asks_for_the_rest_itself_while_reading_is_paused() {
    let log = Log::new();
    let mut channel = manual([]);
    channel
        .pipeline(|pipeline| {
            pipeline.add_last(Seal::new(&log))?;
            pipeline.add_last_named("app", Script::new("app", &log).loud())
        })
        .unwrap();
    log.take();
    channel.feed([&b"oll"[..], b"eh\x05he", b"ll", b"o\x02hi", b"\x01!"].map(<[u8]>::to_vec));
    assert_eq!(log.take(), [""; 0]);
    channel.run(|channel| channel.read());
    let reads = |log: &Log| -> Vec<String> {
        log.take()
            .into_iter()
            .filter(|line| line.starts_with("app read "))
            .collect()
    };
    assert_eq!(reads(&log), ["app read hello"]);
    assert_eq!(channel.unread(), 1, "no more than was needed");
    // What is in hand comes first, then the source is asked.
    channel.run(|channel| channel.read());
    assert_eq!(reads(&log), ["app read hi"]);
    assert_eq!(channel.unread(), 1);
    channel.run(|channel| channel.read());
    assert_eq!(reads(&log), ["app read !"]);
}

/// A close goes out after the farewell, when the farewell was sent.
///
/// Rules: 6.11
#[test]
fn a_close_waits_for_the_farewell() {
    let log = Log::new();
    let app = Script::new("app", &log).on_inactive(|_| Ok(()));
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Seal::new(&log))?;
        pipeline.add_last(app)
    })
    .unwrap();
    channel.feed(["olleh"]);
    outbound(&mut channel);
    log.take();
    channel.block_writes(true);
    let closed = channel.close();
    assert!(channel.channel().is_open() && !closed.is_done());
    channel.block_writes(false);
    assert_eq!(outbound(&mut channel), ["bye"]);
    assert!(closed.is_success() && !channel.channel().is_open());
    assert_eq!(log.take(), ["app inactive"]);
}

/// A handshake and records that come byte by byte are the same as in one piece.
#[test]
fn a_handshake_may_come_byte_by_byte() {
    let log = Log::new();
    let app = Script::new("app", &log).on_read(|_, _| Ok(()));
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Seal::new(&log))?;
        pipeline.add_last(app)
    })
    .unwrap();
    log.take();
    channel.feed(b"olleh\x02hi\x00\x02ho".map(|byte| vec![byte]));
    assert_eq!(log.take(), ["app read hi", "app read ", "app read ho"]);
}

/// Closing in the middle of the handshake: the farewell goes out, what waited for the handshake fails, and nothing is left.
#[test]
fn a_close_in_the_middle_of_a_handshake_fails_what_was_held() {
    let log = Log::new();
    let mut channel = EmbeddedChannel::new(|p| p.add_last(Seal::new(&log))).unwrap();
    let held = channel.run(|channel| channel.write_and_flush("early"));
    channel.feed(["oll"]);
    assert!(!held.is_done());
    let closed = channel.close();
    assert_eq!(outbound(&mut channel), ["hello", "bye"]);
    assert!(closed.is_success() && !channel.channel().is_open());
    assert!(held.cause().is_some(), "it was never sent");
}

// ---- small ones

/// Request and response: a handler that answers each message of a decoder in order, writing back through the
/// decoder's own codec while the decoder waits to go on.
///
/// Rules: 6.1, 6.3, 6.7
#[test]
fn a_codec_encodes_while_it_decodes() {
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Lines {
            rest: String::new(),
        })?;
        pipeline.add_last(Echo)
    })
    .unwrap();
    channel.feed(["a\nb\nc", "d\n"]);
    assert_eq!(outbound(&mut channel), ["a\n", "b\n", "cd\n"]);
}

/// A proxy's two halves in one: reading stops while the other side is full, message by message.
///
/// Rules: 6.4, 6.6, 6.7
#[test]
fn back_pressure_stops_a_decoder_between_two_messages() {
    let log = Log::new();
    let mut options = tidegate::OptionSet::new();
    let mark = tidegate::channel::WaterMark::new(1, 250).unwrap();
    options
        .set(tidegate::channel::options::WRITE_BUFFER_WATER_MARK, mark)
        .unwrap();
    let app = Script::new("app", &log)
        .on_read(|ctx, msg| {
            ctx.write_and_flush(msg);
            Ok(())
        })
        .on_writability(|ctx| {
            ctx.set_auto_read(ctx.is_writable());
            Ok(())
        });
    let mut channel = EmbeddedChannel::with_options(&options, |pipeline| {
        pipeline.add_last(Words::new(&Log::new()))?;
        pipeline.add_last(app)
    })
    .unwrap();
    channel.block_writes(true);
    let words: Vec<String> = (0..50).map(|n| format!("w{n}")).collect();
    channel.feed(words.chunks(10).map(|words| words.join(" ").into_bytes()));
    let mut sent = Vec::new();
    let reads = log
        .take()
        .iter()
        .filter(|line| line.starts_with("app read"))
        .count();
    assert!(
        reads < 5,
        "{reads} messages were decoded against a full buffer"
    );
    let rounds = Cell::new(0);
    while sent.len() < words.len() {
        rounds.set(rounds.get() + 1);
        assert!(rounds.get() < 100);
        channel.block_writes(false);
        sent.extend(outbound(&mut channel));
        channel.block_writes(true);
    }
    assert_eq!(sent, words);
}

/// An aggregator: collects until the end of a batch, passes one message on, and loses nothing at the end of input.
///
/// Rules: 6.10
#[test]
fn a_handler_that_collects_gives_what_it_has_at_the_end() {
    struct Collect(Vec<String>);
    impl Handler for Collect {
        fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
            self.0.push(text(&msg));
            Ok(())
        }

        fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
            ctx.fire_channel_read(self.0.join(",").into_bytes());
            ctx.fire_channel_read_complete();
            ctx.fire_channel_inactive();
            if self.0.len() % 2 == 1 {
                Err(Failure::msg("odd"))
            } else {
                Ok(())
            }
        }
    }
    let log = Log::new();
    let order = Rc::new(RefCell::new(Vec::new()));
    let note = order.clone();
    let app = Script::new("app", &log).loud().on_error(move |_, cause| {
        note.borrow_mut().push(cause.to_string());
        Ok(())
    });
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Collect(Vec::new()))?;
        pipeline.add_last(app)
    })
    .unwrap();
    log.take();
    channel.feed(["a", "b", "c"]);
    log.take();
    channel.feed_eof();
    let lines = log.take();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!(
        lines,
        [
            "app read_complete",
            "app read a,b,c",
            "app read_complete",
            "app inactive",
            "app error odd",
            "app unregistered",
            "app removed",
        ]
    );
    assert_eq!(*order.borrow(), ["odd"]);
}
