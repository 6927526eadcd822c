//! The library's own codecs in a pipeline give what they give by themselves, however the input is cut into reads and
//! whatever lies between: the handler's buffers add and lose nothing.

use std::any::Any;
use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use tidegate::codec::{
    Base64Encoder, Decoder, DelimiterDecoder, FixedLengthDecoder, JsonDecoder, LengthFieldDecoder,
    LengthFieldPrepender, LineDecoder, LineEncoder, StringDecoder, StringEncoder,
    Varint32FrameDecoder, Varint32Prepender,
};
use tidegate::handler::codec::{ByteToMessage, Cumulator};
use tidegate::{Context, EmbeddedChannel, Failure, Handler, HandlerResult, Message};

use crate::support::outbound;

/// The text of an error.
struct Failed(String);

/// Makes messages of errors, so that they stand in their place.
struct Errors;

impl Handler for Errors {
    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        ctx.fire_channel_read(Message::new(Failed(cause.to_string())));
        Ok(())
    }
}

/// What the decoder makes of the whole input, by itself.
fn alone<D>(mut decoder: D, input: &[u8]) -> Vec<String>
where
    D: Decoder,
    D::Item: Debug,
{
    let mut src = BytesMut::from(input);
    let mut seen = Vec::new();
    loop {
        let before = src.len();
        match decoder.decode(&mut src) {
            Ok(Some(item)) => seen.push(format!("{item:?}")),
            Ok(None) if src.is_empty() || src.len() == before => return seen,
            Ok(None) => {}
            Err(error) => seen.push(error.into().to_string()),
        }
    }
}

fn piped<D>(decoder: D, cumulator: Cumulator, reads: &[&[u8]]) -> Vec<String>
where
    D: Decoder + 'static,
    D::Item: Debug + Any + Send,
{
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(ByteToMessage::new(decoder).cumulator(cumulator))?;
        pipeline.add_last(Errors)
    })
    .expect("the pipeline is sound");
    channel.feed(reads.iter().map(|read| BytesMut::from(*read)));
    std::iter::from_fn(|| channel.read_inbound())
        .map(|msg| match msg.downcast::<D::Item>() {
            Ok(item) => format!("{item:?}"),
            Err(error) => error.downcast::<Failed>().expect("an error's text").0,
        })
        .collect()
}

/// All single splits, byte by byte, and reads of every size.
fn check<D>(decoder: &D, input: &[u8], least: usize)
where
    D: Decoder + Clone + 'static,
    D::Item: Debug + Any + Send,
{
    let expected = alone(decoder.clone(), input);
    assert!(expected.len() >= least, "{expected:?}");
    for cumulator in [Cumulator::Merge, Cumulator::Composite] {
        for split in 0..=input.len() {
            let (first, second) = input.split_at(split);
            let seen = piped(decoder.clone(), cumulator, &[first, second]);
            assert_eq!(seen, expected, "split at {split}");
        }
        for size in 1..=input.len() {
            let reads: Vec<&[u8]> = input.chunks(size).collect();
            let seen = piped(decoder.clone(), cumulator, &reads);
            assert_eq!(seen, expected, "reads of {size}");
        }
    }
}

/// Rules: H2, H3
#[test]
fn every_codec_gives_in_a_pipeline_what_it_gives_alone() {
    let lengths =
        b"\x00\x03abc\x00\x00\x00\x01x\x00\x21this one is longer than the limit\x00\x02yz";
    check(&LengthFieldDecoder::new(20, 0, 2).strip(2), lengths, 5);
    check(
        &LengthFieldDecoder::new(20, 0, 2).fail_fast(false),
        lengths,
        5,
    );
    let lines = b"one\r\n\ntwo\nthis line is longer than the limit\nthree\xff\n";
    check(&LineDecoder::new(10), lines, 5);
    check(&LineDecoder::new(10).fail_fast(true).strip(false), lines, 5);
    check(&StringDecoder::new(LineDecoder::new(10)), lines, 5);
    check(&FixedLengthDecoder::new(3), b"abcdefghijkl", 4);
    check(
        &DelimiterDecoder::new(10, [";;", "|"]),
        b"a;;b|c;d;;much too long, this one;;e|",
        5,
    );
    check(
        &Varint32FrameDecoder::new(100),
        b"\x03abc\x00\x01x\x02yz",
        4,
    );
    check(
        &JsonDecoder::new(100),
        b"{\"a\":[1,{}]}  {\"b\":\"}\"} [1,2]",
        3,
    );
}

/// Frames larger than a piece of what is joined (256 bytes), with reads that end around its edges.
///
/// Rules: H2
#[test]
fn long_lines_survive_the_joining_of_reads() {
    let mut input = Vec::new();
    for length in [300, 0, 255, 256, 257, 700, 1] {
        input.extend(std::iter::repeat_n(b'a' + (length % 26) as u8, length));
        input.push(b'\n');
    }
    check(&LineDecoder::new(512), &input, 7);
}

/// The library's encoders and prependers are given to the pipeline as they are.
///
/// Rules: H21
#[test]
fn encoders_of_the_library_are_added_as_they_are() -> Result<(), Failure> {
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(LengthFieldPrepender::new(1))?;
        pipeline.add_last(Varint32Prepender)?;
        pipeline.add_last(LineEncoder::new())?;
        pipeline.add_last(Base64Encoder::new())?;
        pipeline.add_last(StringEncoder)
    })?;
    channel.write_outbound(Message::new(String::from("hi")))?;
    // As text, in base64, as a line, behind a varint, behind a byte.
    assert_eq!(outbound(&mut channel), ["\u{6}\u{5}aGk=\n"]);
    channel.write_outbound(Message::new(7_u32))?;
    assert_eq!(outbound(&mut channel), ["7"]);
    Ok(())
}

/// Bytes of either kind are prepended.
#[test]
fn bytes_of_either_kind_are_prepended() -> Result<(), Failure> {
    let mut channel =
        EmbeddedChannel::new(|pipeline| pipeline.add_last(LengthFieldPrepender::new(1)))?;
    channel.write_outbound(Bytes::from_static(b"a"))?;
    channel.write_outbound(BytesMut::from("b"))?;
    assert_eq!(outbound(&mut channel), ["\u{1}a", "\u{1}b"]);
    Ok(())
}
