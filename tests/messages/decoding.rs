//! `ByteToMessage`: what comes out, when, and in which order (H1 to H8).

use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;

use bytes::{Buf, Bytes, BytesMut};
use tidegate::channel::events::ChannelInputShutdown;
use tidegate::channel::options::ALLOW_HALF_CLOSURE;
use tidegate::codec::{Decoder, LengthFieldDecoder, LineDecoder, StringDecoder};
use tidegate::handler::codec::{ByteToMessage, Cumulator};
use tidegate::handler::typed::TypedHandler;
use tidegate::{
    Context, EmbeddedChannel, Error, Failure, Handler, HandlerResult, Message, OptionSet,
};

use crate::support::{Framed, Tell, asked, inbound, names, wire, wire_of};

fn framed(options: &OptionSet) -> EmbeddedChannel {
    let mut channel = EmbeddedChannel::with_options(options, |pipeline| {
        pipeline.add_last(Framed::default())?;
        pipeline.add_last(Tell)
    })
    .expect("the pipeline is sound");
    inbound(&mut channel);
    channel
}

/// Whatever the reads, the messages are the same, with both cumulators.
///
/// Rules: H2, H3
#[test]
fn messages_do_not_depend_on_how_the_input_was_cut() -> Result<(), Failure> {
    let frames = names(8);
    let input = wire_of(&frames);
    for cumulator in [Cumulator::Merge, Cumulator::Composite] {
        for first in 0..=input.len() {
            for second in first..=input.len() {
                let mut channel = EmbeddedChannel::new(|pipeline| {
                    pipeline.add_last(ByteToMessage::new(Framed::default()).cumulator(cumulator))
                })?;
                for part in [&input[..first], &input[first..second], &input[second..]] {
                    channel.feed([BytesMut::from(part)]);
                }
                assert_eq!(inbound(&mut channel), frames, "cut at {first} and {second}");
            }
        }
        let mut channel = EmbeddedChannel::new(|pipeline| {
            pipeline.add_last(ByteToMessage::new(Framed::default()).cumulator(cumulator))
        })?;
        channel.feed(input.iter().map(|byte| BytesMut::from(&[*byte][..])));
        assert_eq!(inbound(&mut channel), frames, "byte by byte");
    }
    Ok(())
}

/// Large frames too, with reads that end anywhere in them: kept bytes and the next read are joined piece by piece.
///
/// Rules: H2
#[test]
fn frames_of_any_size_survive_any_size_of_reads() -> Result<(), Failure> {
    let mut input = BytesMut::new();
    let mut frames = Vec::new();
    for (index, size) in [0, 1, 255, 256, 257, 5000, 3, 70_000, 300_000, 17]
        .into_iter()
        .enumerate()
    {
        let frame: Vec<u8> = (0..size).map(|at| (at * 7 + index) as u8).collect();
        input.extend_from_slice(&(size as u32).to_be_bytes());
        input.extend_from_slice(&frame);
        frames.push(frame);
    }
    for cumulator in [Cumulator::Merge, Cumulator::Composite] {
        for read in [1, 7, 255, 256, 258, 1460, 4096, 65_536, 1 << 20] {
            let mut channel = EmbeddedChannel::new(|pipeline| {
                let decoder = LengthFieldDecoder::new(1 << 20, 0, 4).strip(4);
                pipeline.add_last(ByteToMessage::new(decoder).cumulator(cumulator))
            })?;
            channel.feed(input.chunks(read).map(BytesMut::from));
            for frame in &frames {
                let got = channel.read_inbound().expect("a frame");
                assert_eq!(
                    got.as_bytes(),
                    Some(&frame[..]),
                    "{cumulator:?}, reads of {read}"
                );
            }
            assert!(channel.read_inbound().is_none());
        }
    }
    Ok(())
}

/// A read is decoded where it lies: whole frames of it are not copied, and neither are those behind a frame that
/// straddled.
///
/// Rules: H2
#[test]
fn frames_are_not_copied_unless_they_straddle() -> Result<(), Failure> {
    let mut channel = framed(&OptionSet::new());
    let mut input = wire(["one", "two"]);
    input.extend_from_slice(b"\x05thr");
    let lies_in = |msg: &Message, range: &Range<*const u8>| {
        msg.as_bytes()
            .is_some_and(|bytes| range.contains(&bytes.as_ptr()))
    };
    let range = input.as_ptr_range();
    channel.feed([input]);
    assert!(lies_in(&channel.read_inbound().expect("one"), &range));
    assert!(lies_in(&channel.read_inbound().expect("two"), &range));
    let mut next = BytesMut::from(&b"ee"[..]);
    next.extend_from_slice(&wire(["four", "five"]));
    let range = next.as_ptr_range();
    inbound(&mut channel);
    channel.feed([next]);
    assert!(!lies_in(&channel.read_inbound().expect("three"), &range));
    assert!(lies_in(&channel.read_inbound().expect("four"), &range));
    assert!(lies_in(&channel.read_inbound().expect("five"), &range));
    Ok(())
}

/// What a read leaves behind is copied out of it: the memory that was read into is free.
///
/// Rules: H2, H5
#[test]
fn a_remainder_does_not_pin_what_was_read() -> Result<(), Failure> {
    let mut channel = framed(&OptionSet::new());
    let mut memory = BytesMut::with_capacity(4096);
    memory.extend_from_slice(b"\x03one\x05th");
    channel.feed([memory.split()]);
    assert_eq!(inbound(&mut channel), ["one", "read_complete"]);
    assert!(
        memory.try_reclaim(4096),
        "somebody still holds a part of the read"
    );
    channel.feed(["ree"]);
    assert_eq!(inbound(&mut channel), ["three", "read_complete"]);
    // Also when nothing is left.
    memory.extend_from_slice(b"\x03one");
    channel.feed([memory.split()]);
    assert_eq!(inbound(&mut channel), ["one", "read_complete"]);
    assert!(memory.try_reclaim(4096));
    Ok(())
}

/// Switches auto-read off at the frame "stop", and drops what comes.
struct Stop;

impl Handler for Stop {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        if msg.as_bytes() == Some(b"stop") {
            ctx.set_auto_read(false);
        }
        ctx.fire_channel_read(msg);
        Ok(())
    }
}

/// The memory that a read has filled.
struct Memory(BytesMut, usize);

impl Memory {
    /// A read of these bytes, and the memory that it lies in.
    fn read(bytes: &[u8]) -> (BytesMut, Self) {
        let mut memory = BytesMut::with_capacity(bytes.len());
        memory.extend_from_slice(bytes);
        let size = memory.capacity();
        (memory.split(), Self(memory, size))
    }

    /// Whether nothing holds a part of the read any more.
    fn is_free(&mut self) -> bool {
        self.0.try_reclaim(self.1)
    }
}

/// While somebody has paused reading, the messages held back are copied out of what was read, and come in order later.
///
/// Rules: H2, H5, 6.7
#[test]
fn what_a_paused_decoder_holds_back_does_not_pin_what_was_read() -> Result<(), Failure> {
    for (more, last) in [(&b""[..], "c"), (b"\x03un", "uno")] {
        let mut channel = EmbeddedChannel::new(|pipeline| {
            pipeline.add_last(Framed::default())?;
            pipeline.add_last(Stop)
        })?;
        let frames = [&wire(["a", "stop", "b", "c"])[..], more].concat();
        let (read, mut memory) = Memory::read(&frames);
        channel.feed([read]);
        assert_eq!(inbound(&mut channel), ["a", "stop"]);
        assert!(memory.is_free(), "the rest still lies in the read");
        channel.run(|channel| channel.read());
        assert_eq!(inbound(&mut channel), ["b"]);
        channel.run(|channel| channel.set_auto_read(true));
        channel.feed(if more.is_empty() { vec![] } else { vec!["o"] });
        let seen = inbound(&mut channel);
        assert_eq!(
            (seen[0].as_str(), seen.last().unwrap().as_str()),
            ("c", last)
        );
    }
    Ok(())
}

/// Gives what it sees of so many bytes and leaves it there, once; then takes it.
struct Twice(usize, bool);

impl Decoder for Twice {
    type Item = BytesMut;
    type Error = Error;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
        if src.len() < self.0 {
            return Ok(None);
        }
        self.1 = !self.1;
        let frame = BytesMut::from(&src[..self.0]);
        if !self.1 {
            src.advance(self.0);
        }
        Ok(Some(frame))
    }
}

/// The rest of a read that is looked at behind the kept bytes of the one before is kept with them.
///
/// Rules: H2, H5
#[test]
fn nor_does_a_read_whose_first_frame_straddles() -> Result<(), Failure> {
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(ByteToMessage::new(Twice(4, false)).idle_messages_max(1))?;
        pipeline.add_last(Stop)
    })?;
    channel.feed([&b"st"[..]]);
    let (read, mut memory) = Memory::read(&[&b"op"[..], &[b'x'; 1000]].concat());
    channel.feed([read]);
    assert_eq!(inbound(&mut channel), ["stop"]);
    assert!(memory.is_free(), "the rest still lies in the read");
    channel.run(|channel| channel.read());
    assert_eq!(inbound(&mut channel), ["stop"]);
    channel.run(|channel| channel.set_auto_read(true));
    assert_eq!(inbound(&mut channel), ["xxxx"; 500]);
    Ok(())
}

/// A large rest may pin what was read: copied it would take as much. Once little of it is left, that is copied.
///
/// Rules: H2, H5, 6.7
#[test]
fn a_large_rest_lets_go_when_it_has_become_small() -> Result<(), Failure> {
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Framed::default())?;
        pipeline.add_last(Stop)
    })?;
    let frame = "x".repeat(250);
    let frames: Vec<&str> = [&["stop"][..], &[&frame[..]; 140]].concat();
    let (read, mut memory) = Memory::read(&wire(frames));
    channel.feed([read]);
    assert_eq!(inbound(&mut channel), ["stop"]);
    assert!(!memory.is_free(), "35 kB are worth a chunk");
    for left in (0..140).rev() {
        channel.run(|channel| channel.read());
        assert_eq!(inbound(&mut channel), [&frame[..]]);
        assert_eq!(memory.is_free(), left * 251 < 32 * 1024, "{left}");
    }
    Ok(())
}

/// Nor do inputs that came while messages were held back.
///
/// Rules: H2, H5
#[test]
fn inputs_that_wait_behind_messages_held_back_pin_nothing() -> Result<(), Failure> {
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Framed::default())?;
        pipeline.add_last(Stop)
    })?;
    channel.feed([wire(["stop", "a"])]);
    let mut memories = Vec::new();
    for name in ["b", "c", "d"] {
        let (read, memory) = Memory::read(&wire([name]));
        memories.push(memory);
        channel.pipeline(|pipeline| {
            pipeline.fire_channel_read(read);
            pipeline.fire_channel_read_complete();
        });
    }
    assert_eq!(inbound(&mut channel), ["stop"]);
    assert!(memories.iter_mut().all(|memory| memory.is_free()));
    for frame in ["a", "b", "c", "d"] {
        channel.run(|channel| channel.read());
        assert_eq!(inbound(&mut channel), [frame]);
    }
    Ok(())
}

/// Nor what a decoder leaves for other reasons: single decode, an error at which it takes nothing.
///
/// Rules: H2, H4, H5
#[test]
fn bytes_that_stay_for_other_reasons_pin_nothing() -> Result<(), Failure> {
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(ByteToMessage::new(Framed::default()).single_decode(true))
    })?;
    let (read, mut memory) = Memory::read(&wire(["a", "b"]));
    channel.feed([read]);
    assert_eq!(inbound(&mut channel), ["a"]);
    assert!(memory.is_free(), "single decode");
    channel.feed([wire(["c"])]);
    assert_eq!(inbound(&mut channel), ["b"]);

    let mut channel = framed(&OptionSet::new());
    let (read, mut memory) = Memory::read(b"\x01a\xfe and more");
    channel.feed([read]);
    assert_eq!(inbound(&mut channel), ["a", "Malformed", "read_complete"]);
    assert!(memory.is_free(), "an error");
    Ok(())
}

/// Messages that are no bytes pass, in order, also while messages made of earlier bytes are held back.
///
/// Rules: H1, H10
#[test]
fn other_messages_pass_in_order() {
    let mut channel = framed(&OptionSet::new());
    channel.feed([
        Message::new(1_u32),
        wire(["a", "b"]).into(),
        Message::new(2_u32),
        Message::new(Bytes::from_static(b"\x01c\x02")),
        Message::new(3_u32),
        Message::new(Bytes::from_static(b"de")),
    ]);
    assert_eq!(
        inbound(&mut channel),
        ["1", "a", "b", "2", "c", "3", "de", "read_complete"]
    );

    // All at once while reading is not wanted: they queue behind the messages that are held back.
    let mut channel = framed(&asked());
    channel.pipeline(|pipeline| {
        pipeline.fire_channel_read(wire(["a", "b"]));
        pipeline.fire_channel_read(Message::new(4_u32));
        pipeline.fire_channel_read(wire(["c"]));
    });
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(inbound(&mut channel));
        channel.run(|channel| channel.read());
    }
    assert_eq!(
        seen,
        [
            vec!["a"],
            vec!["b", "read_complete"],
            vec!["4", "read_complete"],
            vec!["c", "read_complete"],
        ]
    );
}

/// Counts how often it is asked.
struct Idle {
    calls: Rc<Cell<usize>>,
    gives: u32,
}

impl Decoder for Idle {
    type Item = u32;
    type Error = Error;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<u32>, Error> {
        self.calls.set(self.calls.get() + 1);
        if self.gives == 0 {
            src.clear();
            return Ok(None);
        }
        self.gives -= 1;
        Ok(Some(7))
    }
}

/// A message for which no byte was taken is an error, behind the message; the decoder is asked again when more has come,
/// and not before.
///
/// Rules: H3
#[test]
fn a_decoder_that_makes_no_progress_is_an_error_and_no_loop() -> Result<(), Failure> {
    let calls = Rc::new(Cell::new(0));
    let decoder = Idle {
        calls: calls.clone(),
        gives: u32::MAX,
    };
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(decoder)?;
        pipeline.add_last(Tell)
    })?;
    inbound(&mut channel);
    channel.feed(["x"]);
    assert_eq!(inbound(&mut channel), ["7", "NoProgress", "read_complete"]);
    assert_eq!(calls.get(), 1);
    channel.feed(["y"]);
    assert_eq!(inbound(&mut channel), ["7", "NoProgress", "read_complete"]);
    assert_eq!(calls.get(), 2);
    Ok(())
}

/// A decoder that makes several messages of the same bytes may be given leave.
///
/// Rules: H3
#[test]
fn a_decoder_may_be_given_leave_to_make_several_messages_of_the_same_bytes() -> Result<(), Failure>
{
    let decoder = Idle {
        calls: Rc::default(),
        gives: 3,
    };
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(ByteToMessage::new(decoder).idle_messages_max(3))?;
        pipeline.add_last(Tell)
    })?;
    inbound(&mut channel);
    channel.feed(["x"]);
    assert_eq!(inbound(&mut channel), ["7", "7", "7", "read_complete"]);
    Ok(())
}

/// Takes one byte at a time and gives only capital letters.
struct Capitals;

impl Decoder for Capitals {
    type Item = String;
    type Error = Error;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<String>, Error> {
        if src.is_empty() {
            return Ok(None);
        }
        let byte = src.get_u8();
        Ok(byte
            .is_ascii_uppercase()
            .then(|| char::from(byte).to_string()))
    }
}

/// A decoder that takes bytes without giving a message is asked again at once.
///
/// Rules: H3
#[test]
fn bytes_taken_without_a_message_are_progress() -> Result<(), Failure> {
    let mut channel = EmbeddedChannel::new(|pipeline| pipeline.add_last(Capitals))?;
    channel.feed(["abCdeFg", "hI"]);
    assert_eq!(inbound(&mut channel), ["C", "F", "I"]);
    Ok(())
}

/// With single decode each input gives one message; the rest waits for the next input, or for the end.
///
/// Rules: H3
#[test]
fn single_decode_gives_one_message_per_input() -> Result<(), Failure> {
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(ByteToMessage::new(Framed::default()).single_decode(true))
    })?;
    channel.feed([wire(["a", "b", "c", "d"])]);
    assert_eq!(inbound(&mut channel), ["a"]);
    channel.feed([wire(["e"])]);
    assert_eq!(inbound(&mut channel), ["b"]);
    channel.pipeline(|pipeline| {
        pipeline.with(|handler: &mut ByteToMessage<Framed>| {
            assert!(handler.is_single_decode());
            assert_eq!(handler.pending_bytes(), 6);
            handler.set_single_decode(false);
        })
    })?;
    channel.feed([wire(["f"])]);
    assert_eq!(inbound(&mut channel), ["c", "d", "e", "f"]);
    Ok(())
}

/// Messages before an error, the error, messages behind it; and one error where the decoder takes nothing.
///
/// Rules: H4
#[test]
fn errors_stand_between_the_messages_before_and_after_them() {
    let mut channel = framed(&OptionSet::new());
    let mut input = wire(["a", "b"]);
    input.extend_from_slice(b"\xff\xff");
    input.extend_from_slice(&wire(["c"]));
    input.extend_from_slice(b"\xfe");
    input.extend_from_slice(&wire(["never"]));
    channel.feed([input]);
    assert_eq!(
        inbound(&mut channel),
        [
            "a",
            "b",
            "Malformed",
            "Malformed",
            "c",
            "Malformed",
            "read_complete"
        ]
    );
    channel.feed(["x"]);
    assert_eq!(inbound(&mut channel), ["Malformed", "read_complete"]);
}

/// An error that nobody takes closes the channel, as any other.
///
/// Rules: H4, 6.10
#[test]
fn an_error_that_nobody_takes_is_the_channels() -> Result<(), Failure> {
    let mut channel = EmbeddedChannel::new(|pipeline| pipeline.add_last(Framed::default()))?;
    channel.feed(["\u{1}a"]);
    channel.feed([BytesMut::from(&[0xff][..])]);
    assert_eq!(inbound(&mut channel), ["a"]);
    let failure = channel.check().expect_err("the decoder's error");
    assert_eq!(failure.to_string(), "skipped");
    Ok(())
}

/// A close is no "stop reading": the rest of the packet still comes, as in Netty, though reading was stopped before.
#[test]
fn what_was_read_is_delivered_after_a_close_too() -> Result<(), Failure> {
    struct Leaves(bool);

    impl TypedHandler for Leaves {
        type In = String;

        fn channel_read(&mut self, ctx: &mut Context<'_>, line: String) -> HandlerResult {
            let told = format!("{line}, active: {}", ctx.is_active());
            ctx.fire_channel_read(Message::new(told));
            if self.0 {
                ctx.set_auto_read(false);
                ctx.write_and_flush_future("bye").close_when_done();
            } else {
                ctx.close();
            }
            Ok(())
        }

        fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
            ctx.fire_channel_read(Message::new(String::from("inactive")));
            Ok(())
        }
    }

    for stops_reading in [false, true] {
        let mut channel = EmbeddedChannel::new(|pipeline| {
            pipeline.add_last(StringDecoder::new(LineDecoder::new(80)))?;
            pipeline.add_last(Leaves(stops_reading))
        })?;
        channel.feed(["a\nb\nc\n"]);
        let mut told = Vec::new();
        while let Some(line) = channel.read_inbound_as::<String>() {
            told.push(line);
        }
        let wanted = [
            "a, active: true",
            "b, active: false",
            "c, active: false",
            "inactive",
        ];
        assert_eq!(told, wanted, "stops reading: {stops_reading}");
    }
    Ok(())
}

/// With auto-read off one read() brings one message; if the bytes make none, the handler asks for more itself.
///
/// Rules: H6, 6.7
#[test]
fn one_read_brings_one_message_however_the_bytes_come() {
    let frames = names(6);
    let input = wire_of(&frames);
    for size in 1..=input.len() {
        let mut channel = framed(&asked());
        channel.feed(input.chunks(size).map(BytesMut::from));
        for frame in &frames {
            assert_eq!(
                inbound(&mut channel),
                [""; 0],
                "nobody has asked, reads of {size}"
            );
            channel.run(|channel| channel.read());
            let seen = inbound(&mut channel);
            let messages: Vec<&String> = seen
                .iter()
                .filter(|line| *line != "read_complete")
                .collect();
            assert_eq!(messages, [frame], "reads of {size}");
            assert_eq!(seen.last().map(String::as_str), Some("read_complete"));
        }
        assert_eq!(channel.unread(), 0);
    }
}

/// Gives what is left as a last message, and one more that stands for the end.
struct Ends {
    told: bool,
}

impl Decoder for Ends {
    type Item = String;
    type Error = Error;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<String>, Error> {
        Ok(src.iter().position(|byte| *byte == b' ').map(|at| {
            let word = src.split_to(at + 1);
            String::from_utf8_lossy(&word[..at]).into_owned()
        }))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<String>, Error> {
        if let Some(word) = self.decode(src)? {
            return Ok(Some(word));
        }
        if !src.is_empty() {
            let rest = src.split();
            return Ok(Some(String::from_utf8_lossy(&rest).into_owned()));
        }
        Ok((!std::mem::replace(&mut self.told, true)).then(|| String::from("end")))
    }
}

/// At the end of the channel the decoder gives its last messages, then channel_read_complete, then channel_inactive; also
/// when it holds no bytes.
///
/// Rules: H7
#[test]
fn the_last_messages_come_before_channel_inactive() -> Result<(), Failure> {
    for (input, expected) in [("", &["end"][..]), ("a b c", &["c", "end"])] {
        let mut channel = EmbeddedChannel::new(|pipeline| {
            pipeline.add_last(Ends { told: false })?;
            pipeline.add_last(Tell)
        })?;
        channel.feed([input]);
        inbound(&mut channel);
        channel.feed_eof();
        let mut expected = expected.to_vec();
        expected.extend(["read_complete", "inactive"]);
        let seen: Vec<String> = inbound(&mut channel);
        // The batch that found the end was empty, and has its own channel_read_complete.
        assert_eq!(seen[0], "read_complete");
        assert_eq!(seen[1..], expected);
    }
    Ok(())
}

/// With half closure they come before the event, once; and not again when the channel ends.
///
/// Rules: H8
#[test]
fn the_last_messages_come_before_the_input_shutdown_event() -> Result<(), Failure> {
    let mut options = OptionSet::new();
    options.set(ALLOW_HALF_CLOSURE, true)?;
    let mut channel = EmbeddedChannel::with_options(&options, |pipeline| {
        pipeline.add_last(Ends { told: false })?;
        pipeline.add_last(Tell)
    })?;
    channel.feed(["a b"]);
    inbound(&mut channel);
    channel.feed_eof();
    assert_eq!(
        inbound(&mut channel),
        [
            "read_complete",
            "b",
            "end",
            "read_complete",
            "ChannelInputShutdown",
            "ChannelInputShutdownReadComplete"
        ]
    );
    channel.finish()?;
    assert_eq!(inbound(&mut channel), ["inactive"]);
    Ok(())
}

/// The decoder hears of an end of input once, and again if more came behind it.
///
/// Rules: H7, H8
#[test]
fn a_decoder_hears_of_an_end_once() -> Result<(), Failure> {
    struct Counts(Rc<Cell<u32>>);
    impl Decoder for Counts {
        type Item = u32;
        type Error = Error;

        fn decode(&mut self, _: &mut BytesMut) -> Result<Option<u32>, Error> {
            Ok(None)
        }

        fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<u32>, Error> {
            self.0.set(self.0.get() + 1);
            src.clear();
            Ok(None)
        }
    }

    for (more, ends) in [(false, 1), (true, 2)] {
        let count = Rc::new(Cell::new(0));
        let decoder = Counts(count.clone());
        let mut channel = EmbeddedChannel::new(|pipeline| pipeline.add_last(decoder))?;
        channel.feed(["part"]);
        channel.pipeline(|pipeline| {
            pipeline.fire_user_event_triggered(Message::new(ChannelInputShutdown));
            if more {
                pipeline.fire_channel_read("more");
            }
        });
        channel.finish()?;
        assert_eq!(count.get(), ends);
    }
    Ok(())
}

/// Bytes of which no message can be made are one error of the peer, which names how many and the decoder.
///
/// Rules: H7
#[test]
fn an_input_that_ends_in_a_message_is_an_error() -> Result<(), Failure> {
    let mut channel = framed(&OptionSet::new());
    channel.feed(["\u{1}a\u{9}bcd"]);
    channel.feed_eof();
    assert_eq!(
        inbound(&mut channel),
        [
            "a",
            "read_complete",
            "read_complete",
            "Truncated",
            "inactive"
        ]
    );

    let mut channel = EmbeddedChannel::new(|pipeline| pipeline.add_last(Framed::default()))?;
    channel.feed(["\u{9}bcd"]);
    channel.feed_eof();
    let failure = channel.check().expect_err("a part of a frame is left");
    assert_eq!(
        failure.to_string(),
        "the input ended with 4 bytes of which Framed could make no whole message"
    );
    Ok(())
}

/// Messages that are held back when the channel ends are not lost.
///
/// Rules: H7, 6.7
#[test]
fn messages_held_back_come_before_the_end() -> Result<(), Failure> {
    let mut channel = framed(&asked());
    channel.feed([wire(["a", "b", "c"])]);
    channel.run(|channel| channel.read());
    assert_eq!(inbound(&mut channel), ["a", "read_complete"]);
    channel.finish()?;
    assert_eq!(
        inbound(&mut channel),
        ["b", "c", "read_complete", "inactive"]
    );
    Ok(())
}

/// More messages in one read than a dispatch resumes: all come, in order, none is copied, and nothing is read meanwhile.
///
/// Rules: H3, 6.7
#[test]
fn ten_thousand_messages_of_one_read_all_come() -> Result<(), Failure> {
    struct Count(Rc<Cell<u32>>, Range<*const u8>);
    impl Handler for Count {
        fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
            let frame = msg.as_bytes().unwrap_or_default();
            assert_eq!(frame, self.0.get().to_be_bytes());
            assert!(self.1.contains(&frame.as_ptr()), "copied");
            self.0.set(self.0.get() + 1);
            Ok(())
        }
    }
    let mut input = BytesMut::new();
    for number in 0..10_000_u32 {
        input.extend_from_slice(&[4]);
        input.extend_from_slice(&number.to_be_bytes());
    }
    let seen = Rc::new(Cell::new(0));
    let counts = Count(seen.clone(), input.as_ptr_range());
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Framed::default())?;
        pipeline.add_last(counts)
    })?;
    channel.feed([input]);
    assert_eq!(seen.get(), 10_000);
    Ok(())
}
