//! `MessageToByte`, `Prepend`, `Codec` and `Combined` (H12, H21).

use std::cell::Cell;
use std::rc::Rc;

use bytes::{BufMut, Bytes, BytesMut};
use tidegate::codec::{Encoder, LengthFieldPrepender, LineEncoder};
use tidegate::handler::codec::{ByteToMessage, Codec, Combined, MessageToByte, Prepend};
use tidegate::handler::typed::chain;
use tidegate::{
    Context, EmbeddedChannel, Error, ErrorKind, Failure, Handler, HandlerResult, Message, Promise,
};

use crate::support::{Framed, inbound, outbound, wire};

/// Numbers in decimal; 0 is nothing at all, 13 is refused after half of it was written.
struct Decimal;

impl Encoder<u32> for Decimal {
    type Error = Error;

    fn encode(&mut self, item: u32, dst: &mut BytesMut) -> Result<(), Error> {
        match item {
            0 => Ok(()),
            13 => {
                dst.put_u8(b'1');
                Err(Error::new(ErrorKind::Unencodable, "no thirteens"))
            }
            _ => {
                dst.extend_from_slice(item.to_string().as_bytes());
                Ok(())
            }
        }
    }
}

fn decimal() -> EmbeddedChannel {
    EmbeddedChannel::new(|pipeline| pipeline.add_last(MessageToByte::new(Decimal)))
        .expect("the pipeline is sound")
}

/// What is of the encoder's type is encoded, other messages pass, in order; the promise of a message is that of its bytes.
///
/// Rules: H21
#[test]
fn messages_of_the_encoders_type_become_bytes() {
    let mut channel = decimal();
    let promises = channel.run(|channel| {
        let first = channel.write_future(Message::new(7_u32));
        let second = channel.write_future("as it is");
        let third = channel.write_future(Message::new(42_u32));
        [first, second, third]
    });
    assert!(promises.iter().all(|promise| !promise.is_done()));
    channel.run(|channel| channel.flush());
    assert!(promises.iter().all(|promise| promise.is_success()));
    assert_eq!(outbound(&mut channel), ["7", "as it is", "42"]);
}

/// A message that the encoder refuses fails its promise with the encoder's error, and nothing of it is written.
///
/// Rules: H21
#[test]
fn a_message_that_cannot_be_encoded_fails_its_promise() {
    let mut channel = decimal();
    let refused = channel.run(|channel| {
        let refused = channel.write_future(Message::new(13_u32));
        channel.write_and_flush(Message::new(14_u32));
        refused
    });
    let cause = refused.cause().expect("it failed");
    assert_eq!(cause.kind(), ErrorKind::Unencodable);
    assert_eq!(cause.to_string(), "no thirteens");
    assert_eq!(outbound(&mut channel), ["14"]);
    assert!(channel.channel().is_open());
}

/// A message of no bytes writes an empty buffer, so its promise is done in its turn.
///
/// Rules: H21
#[test]
fn a_message_of_no_bytes_writes_an_empty_buffer() {
    let mut channel = decimal();
    let written = channel.run(|channel| channel.write_and_flush(Message::new(0_u32)));
    assert!(written.is_success());
    assert_eq!(outbound(&mut channel), [""]);
}

/// An encoder of one type of bytes takes the other one as well: what encoders give is `BytesMut`, a text is `Bytes`. It would
/// leave without its frame otherwise, also from a chain, whose types agree.
#[test]
fn an_encoder_of_bytes_takes_them_in_either_form() -> Result<(), Failure> {
    /// Puts brackets around bytes.
    struct Bracket;

    impl Encoder<Bytes> for Bracket {
        type Error = Error;

        fn encode(&mut self, item: Bytes, dst: &mut BytesMut) -> Result<(), Error> {
            dst.put_u8(b'[');
            dst.extend_from_slice(&item);
            dst.put_u8(b']');
            Ok(())
        }
    }

    let mut channel = EmbeddedChannel::new(|pipeline| {
        chain()
            .encode::<_, Bytes>(Bracket)
            .encode::<_, u32>(Decimal)
            .install(pipeline)
    })?;
    channel.write_outbound(Message::new(7_u32))?;
    channel.write_outbound("text")?;
    channel.write_outbound(BytesMut::from("read"))?;
    assert_eq!(outbound(&mut channel), ["[7]", "[text]", "[read]"]);
    channel.write_outbound(Message::new(7_u64))?;
    assert_eq!(channel.read_outbound_as::<u64>(), Some(7), "no bytes");
    Ok(())
}

/// One of several types takes the form of bytes that is not among them as the one that is; where both are, each is taken as it
/// is.
#[test]
fn an_encoder_of_bytes_and_others_takes_them_in_either_form_too() -> Result<(), Failure> {
    struct Kinds;

    impl Encoder<Bytes> for Kinds {
        type Error = Error;

        fn encode(&mut self, _: Bytes, dst: &mut BytesMut) -> Result<(), Error> {
            dst.put_slice(b"Bytes");
            Ok(())
        }
    }

    impl Encoder<BytesMut> for Kinds {
        type Error = Error;

        fn encode(&mut self, _: BytesMut, dst: &mut BytesMut) -> Result<(), Error> {
            dst.put_slice(b"BytesMut");
            Ok(())
        }
    }

    impl Encoder<u32> for Kinds {
        type Error = Error;

        fn encode(&mut self, _: u32, dst: &mut BytesMut) -> Result<(), Error> {
            dst.put_slice(b"u32");
            Ok(())
        }
    }

    fn all(handler: impl Handler) -> Result<Vec<String>, Failure> {
        let mut channel = EmbeddedChannel::new(|pipeline| pipeline.add_last(handler))?;
        channel.write_outbound("text")?;
        channel.write_outbound(BytesMut::from("read"))?;
        channel.write_outbound(Message::new(7_u32))?;
        Ok(outbound(&mut channel))
    }

    let one = all(MessageToByte::<_, (u32, Bytes)>::of(Kinds))?;
    assert_eq!(one, ["Bytes", "Bytes", "u32"]);
    let other = all(MessageToByte::<_, (BytesMut, u32)>::of(Kinds))?;
    assert_eq!(other, ["BytesMut", "BytesMut", "u32"]);
    let both = all(MessageToByte::<_, (BytesMut, u32, Bytes)>::of(Kinds))?;
    assert_eq!(both, ["Bytes", "BytesMut", "u32"]);
    Ok(())
}

/// An encoder of several types takes those that it is given for; other messages pass.
///
/// Rules: H21
#[test]
fn an_encoder_may_be_for_several_types() -> Result<(), Failure> {
    let mut channel = EmbeddedChannel::new(|pipeline| {
        let line = LineEncoder::new();
        pipeline.add_last(MessageToByte::<_, (String, Bytes)>::of(line))
    })?;
    channel.write_outbound(Message::new(String::from("one")))?;
    channel.write_outbound(Bytes::from_static(b"two"))?;
    channel.write_outbound(BytesMut::from("three"))?;
    assert_eq!(outbound(&mut channel), ["one\n", "two\n", "three\n"]);
    channel.write_outbound(Message::new(4_u32))?;
    assert_eq!(channel.read_outbound_as::<u32>(), Some(4));
    Ok(())
}

/// Small bodies share a buffer with their header, large ones are written behind it without being copied.
///
/// Rules: H21
#[test]
fn a_prepender_copies_small_bodies_only() -> Result<(), Failure> {
    let mut channel =
        EmbeddedChannel::new(|pipeline| pipeline.add_last(LengthFieldPrepender::new(2)))?;
    for size in [0, 1, 1023, 1024, 1025, 5000] {
        let body = Bytes::from(vec![b'x'; size]);
        let written = channel.run(|channel| channel.write_and_flush(body.clone()));
        assert!(written.is_success());
        let first = channel
            .read_outbound()
            .expect("the header")
            .into_bytes()
            .expect("bytes");
        assert_eq!(first[..2], (size as u16).to_be_bytes());
        if size <= 1024 {
            assert_eq!(first[2..], body);
        } else {
            assert_eq!(first.len(), 2);
            let second = channel
                .read_outbound()
                .expect("the body")
                .into_bytes()
                .expect("bytes");
            assert_eq!(second.as_ptr(), body.as_ptr(), "the body itself");
        }
        assert!(channel.read_outbound().is_none());
    }
    let refused = channel.run(|channel| channel.write_and_flush(vec![0; 65_536]));
    assert_eq!(
        refused.cause().map(|cause| cause.kind()),
        Some(ErrorKind::Unencodable)
    );
    assert!(channel.read_outbound().is_none());
    Ok(())
}

/// A header never goes without its body: once it is on its way, the write cannot be cancelled.
#[test]
fn a_body_cannot_be_cancelled_behind_its_header() -> Result<(), Failure> {
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Prepend::new(LengthFieldPrepender::new(2)))
    })?;
    let written = channel.run(|channel| channel.write_future(vec![0; 2000]));
    assert!(!written.cancel());
    channel.run(|channel| channel.flush());
    assert!(written.is_success());
    assert_eq!(std::iter::from_fn(|| channel.read_outbound()).count(), 2);
    Ok(())
}

/// A codec is one handler for both directions, with the rules of each; what it holds goes on when it is removed.
///
/// Rules: H12
#[test]
fn a_codec_decodes_and_encodes_in_one_place() -> Result<(), Failure> {
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last_named("frames", Codec::new(Framed::default()))
    })?;
    let mut input = wire(["in", "side"]);
    input.extend_from_slice(b"\x05hal");
    channel.feed([input]);
    assert_eq!(inbound(&mut channel), ["in", "side"]);
    channel.write_outbound(BytesMut::from("out"))?;
    assert_eq!(outbound(&mut channel), ["\u{3}out"]);
    channel.pipeline(|pipeline| pipeline.remove("frames"))?;
    assert_eq!(inbound(&mut channel), ["\u{5}hal"]);
    Ok(())
}

/// A decoder and an encoder in one place: events go to the one, operations to the other.
///
/// Rules: H12, B28
#[test]
fn two_handlers_are_combined_into_one() -> Result<(), Failure> {
    struct Added(Rc<Cell<u32>>);
    impl Handler for Added {
        fn handler_added(&mut self, _: &mut Context<'_>) -> HandlerResult {
            self.0.set(self.0.get() + 1);
            Ok(())
        }

        fn handler_removed(&mut self, _: &mut Context<'_>) -> HandlerResult {
            self.0.set(self.0.get() + 10);
            Ok(())
        }

        fn channel_read(&mut self, _: &mut Context<'_>, _: Message) -> HandlerResult {
            panic!("it is the outbound half")
        }

        fn write(
            &mut self,
            ctx: &mut Context<'_>,
            msg: Message,
            promise: Promise,
        ) -> HandlerResult {
            ctx.write_with(msg, promise);
            Ok(())
        }
    }

    let told = Rc::new(Cell::new(0));
    let outer = Added(told.clone());
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last_named(
            "both",
            Combined::new(ByteToMessage::new(Framed::default()), outer),
        )
    })?;
    assert_eq!(told.get(), 1);
    channel.feed([wire(["a", "b"])]);
    assert_eq!(inbound(&mut channel), ["a", "b"]);
    channel.write_outbound("out")?;
    assert_eq!(outbound(&mut channel), ["out"]);
    channel.feed(["\u{9}rest"]);
    channel.pipeline(|pipeline| pipeline.remove("both"))?;
    assert_eq!(told.get(), 11);
    assert_eq!(inbound(&mut channel), ["\u{9}rest"]);
    Ok(())
}
