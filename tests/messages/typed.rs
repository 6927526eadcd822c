//! Typed handlers, closures, and chains whose types were checked.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use tidegate::codec::{
    LengthFieldDecoder, LengthFieldPrepender, LineDecoder, LineEncoder, StringDecoder,
};
use tidegate::handler::codec::{
    Aggregate, Aggregator, ByteToMessage, Codec, MessageToByte, MessageToMessageDecoder,
    MessageToMessageEncoder, Part, Transform, map_read,
};
use tidegate::handler::typed::{Typed, TypedHandler, chain, event_fn, handler_fn};
use tidegate::{
    Context, EmbeddedChannel, ErrorKind, Failure, Handler, HandlerResult, Message, Promise,
};

use crate::support::{Framed, Tell, inbound, outbound, wire};

/// Takes numbers and passes on twice as much.
#[derive(Default)]
struct Double {
    completes: u32,
}

impl TypedHandler for Double {
    type In = u32;

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: u32) -> HandlerResult {
        if msg == 13 {
            return Err(Failure::msg("no thirteens"));
        }
        ctx.fire_channel_read(Message::new(2 * msg));
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.completes += 1;
        ctx.fire_channel_read_complete();
        Ok(())
    }
}

/// Messages of its type are taken, others pass in order; other callbacks are its own; errors are its own too.
#[test]
fn a_typed_handler_takes_messages_of_one_type() -> Result<(), Failure> {
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Double::default())?;
        pipeline.add_last(Tell)
    })?;
    inbound(&mut channel);
    channel.feed([
        Message::new(1_u32),
        Message::from("text"),
        Message::new(13_u32),
        Message::new(3_u32),
    ]);
    assert_eq!(
        inbound(&mut channel),
        ["2", "text", "User", "6", "read_complete"]
    );
    let completes =
        channel.pipeline(|pipeline| pipeline.with(|double: &mut Double| double.completes))?;
    assert_eq!(completes, 2, "one with the activation, one with the batch");
    Ok(())
}

/// In a pipeline a typed handler is what the user has written, not what wraps it: by name, by type, by handle.
#[test]
fn a_typed_handler_is_found_by_its_own_type() -> Result<(), Failure> {
    /// Counts, and asks itself to by handle.
    #[derive(Default)]
    struct Count(u32);

    impl TypedHandler for Count {
        type In = u8;

        fn channel_read(&mut self, ctx: &mut Context<'_>, add: u8) -> HandlerResult {
            let add = u32::from(add);
            ctx.local_handle::<Self>().run(move |count, _| {
                count.0 += add;
                Ok(())
            })?;
            ctx.handle::<Self>().run(|count, _| {
                count.0 *= 10;
                Ok(())
            })?;
            Ok(())
        }
    }

    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(Double::default())?;
        pipeline.add_last(Typed(Count::default()))?;
        pipeline.add_last_named("second", Count(40))?;
        pipeline.add_last(handler_fn(|_, _: String| Ok(())))
    })?;
    channel.write_inbound(Message::new(3_u8))?;
    channel.pipeline(|pipeline| {
        let names = ["Double#0", "Count#0", "second", "HandlerFn#0"];
        assert_eq!(pipeline.names(), names);
        assert_eq!(pipeline.with(|count: &mut Count| count.0)?, 30);
        assert_eq!(pipeline.with(|count: &mut Typed<Count>| count.0.0)?, 30);
        assert_eq!(
            pipeline.with_named("second", |count: &mut Count| count.0)?,
            40
        );
        assert!(pipeline.contains_type::<Double>() && pipeline.is_named::<Count>("second"));
        assert!(!pipeline.is_named::<Count>("Double#0") && !pipeline.contains_type::<u32>());
        assert_eq!(
            pipeline.with(|_: &mut u32| ()).unwrap_err().kind(),
            ErrorKind::NoSuchHandler
        );
        let handle = pipeline.handle_named::<Count>("second")?;
        handle.run(|count, _| {
            count.0 += 2;
            Ok(())
        })?;
        pipeline.add_before_type::<Count, _>(Double::default())
    })?;
    channel.pipeline(|pipeline| {
        let names = ["Double#0", "Double#1", "Count#0", "second", "HandlerFn#0"];
        assert_eq!(pipeline.names(), names);
        assert_eq!(
            pipeline.remove_type::<Count>()?.map(|count| count.0),
            Some(30)
        );
        let second = pipeline.remove_type::<Typed<Count>>()?;
        assert_eq!(second.map(|count| count.0.0), Some(42));
        assert!(pipeline.remove_type::<Count>().is_err());
        Ok(())
    })
}

/// What errors and logs tell of a typed handler is its own name.
#[test]
fn a_typed_handler_that_fails_is_named() -> Result<(), Failure> {
    struct Fragile;

    impl TypedHandler for Fragile {
        type In = u8;

        fn handler_added(&mut self, _: &mut Context<'_>) -> HandlerResult {
            Err(Failure::msg("not today"))
        }

        fn channel_read(&mut self, _: &mut Context<'_>, _: u8) -> HandlerResult {
            Ok(())
        }
    }

    let error = EmbeddedChannel::new(|pipeline| pipeline.add_last(Fragile)).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("handler_added of Fragile#0 failed"), "{text}");
    Ok(())
}

/// Sockets give `BytesMut`, what comes from this process may be `Bytes`: who names either hears of both.
#[test]
fn who_takes_bytes_takes_them_in_either_form() -> Result<(), Failure> {
    let both = || {
        [
            Message::from("frozen"),
            Message::new(BytesMut::from("read")),
        ]
    };
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(handler_fn(|ctx, bytes: Bytes| {
            ctx.fire_channel_read(bytes);
            Ok(())
        }))?;
        pipeline.add_last(handler_fn(|ctx, bytes: BytesMut| {
            ctx.fire_channel_read(bytes);
            Ok(())
        }))?;
        pipeline.add_last(map_read(|bytes: Bytes| Ok::<_, Failure>(bytes.len())))
    })?;
    channel.feed(both());
    assert_eq!(channel.read_inbound_as::<usize>(), Some(6));
    assert_eq!(channel.read_inbound_as::<usize>(), Some(4));

    let mut channel = EmbeddedChannel::new(|_| Ok::<(), Failure>(()))?;
    channel.feed(both());
    assert_eq!(channel.read_inbound_as::<BytesMut>().unwrap(), "frozen");
    assert_eq!(channel.read_inbound_as::<Bytes>().unwrap(), "read");
    Ok(())
}

/// What a typed handler leaves out is learned, as of any handler: from then on the event passes it.
///
/// Rules: 6.9
#[test]
fn a_typed_handler_is_passed_by_what_it_leaves_out() -> Result<(), Failure> {
    /// Counts the calls of a node whose handler leaves them to the inner one, which learns in its place.
    struct Counting(Typed<Double>, Rc<Cell<u32>>);

    impl Handler for Counting {
        fn write(
            &mut self,
            ctx: &mut Context<'_>,
            msg: Message,
            promise: Promise,
        ) -> HandlerResult {
            self.1.set(self.1.get() + 1);
            self.0.write(ctx, msg, promise)
        }

        fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
            self.1.set(self.1.get() + 1);
            self.0.user_event_triggered(ctx, event)
        }

        fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
            self.0.channel_read_complete(ctx)
        }
    }

    let calls = Rc::new(Cell::new(0));
    let counting = Counting(Typed(Double::default()), calls.clone());
    let mut channel = EmbeddedChannel::new(|pipeline| pipeline.add_last(counting))?;
    for _ in 0..3 {
        channel.run(|channel| channel.write_and_flush("out"));
        channel.pipeline(|pipeline| pipeline.fire_user_event_triggered(Message::new(1_u8)));
        assert_eq!(outbound(&mut channel), ["out"]);
        assert!(channel.read_event().is_some());
    }
    assert_eq!(calls.get(), 2, "each event once");
    Ok(())
}

/// Closures are handlers of messages and of user events; what is of another type passes.
#[test]
fn closures_are_handlers() -> Result<(), Failure> {
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(handler_fn(|ctx, number: u32| {
            ctx.fire_channel_read(Message::new(number + 1));
            Ok(())
        }))?;
        pipeline.add_last(event_fn(|ctx, event: u8| {
            ctx.fire_channel_read(Message::new(u32::from(event)));
            Ok(())
        }))?;
        pipeline.add_last(Tell)
    })?;
    inbound(&mut channel);
    channel.feed([Message::new(1_u32), Message::from("text")]);
    channel.pipeline(|pipeline| {
        pipeline.fire_user_event_triggered(Message::new(9_u8));
        pipeline.fire_user_event_triggered(Message::new("other"));
    });
    assert_eq!(
        inbound(&mut channel),
        ["2", "text", "read_complete", "9", "&str"]
    );
    Ok(())
}

/// Codecs, typed handlers and handlers are given to the same methods.
#[test]
fn pipelines_take_codecs_typed_handlers_and_handlers_as_they_are() -> Result<(), Failure> {
    struct Plain;
    impl Handler for Plain {}

    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(LengthFieldDecoder::new(1 << 20, 0, 4).strip(4))?;
        pipeline.add_last(LengthFieldPrepender::new(4))?;
        pipeline.add_first(Plain)?;
        pipeline.add_last_named("double", Double::default())?;
        pipeline.add_before("double", Some("lines"), LineEncoder::new())?;
        pipeline.add_after_type::<Double, _>(StringDecoder::new(LineDecoder::new(80)))?;
        pipeline.replace("lines", Some("closure"), handler_fn(|_, _: u64| Ok(())))
    })?;
    let names = channel.pipeline(|pipeline| pipeline.names());
    assert_eq!(
        names,
        [
            "Plain#0",
            "LengthFieldDecoder#0",
            "LengthFieldPrepender#0",
            "closure",
            "double",
            "StringDecoder#0"
        ]
    );
    Ok(())
}

/// As typed handlers, codecs are called by the type that their user knows, and found by it or by that of their handler.
#[test]
fn codecs_are_named_and_found_by_their_own_type() -> Result<(), Failure> {
    struct Upper;
    impl Transform for Upper {
        type In = String;
        type Out = String;
        type Error = Failure;

        fn transform(&mut self, msg: String, out: &mut VecDeque<String>) -> Result<(), Failure> {
            out.push_back(msg.to_uppercase());
            Ok(())
        }
    }

    struct Pairs;
    impl Aggregate for Pairs {
        type Part = u8;
        type Whole = u16;

        fn part(&self, _: &u8) -> Part {
            Part::Only
        }

        fn size(&self, _: &u8) -> usize {
            1
        }

        fn begin(&mut self, part: u8) -> Result<u16, Failure> {
            Ok(part.into())
        }

        fn add(&mut self, _: &mut u16, _: u8) -> Result<(), Failure> {
            Ok(())
        }
    }

    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(StringDecoder::new(LineDecoder::new(80)))?;
        pipeline.add_last(MessageToByte::new(Lines))?;
        pipeline.add_last(LengthFieldPrepender::new(2))?;
        pipeline.add_last(Codec::<_, (BytesMut,)>::new(Framed::default()))?;
        pipeline.add_last(MessageToMessageDecoder::new(Upper))?;
        pipeline.add_last(MessageToMessageEncoder::new(Upper))?;
        pipeline.add_last(Aggregator::new(Pairs, 10))?;
        pipeline.add_last(map_read(|text: String| text.parse::<u64>()))
    })?;
    channel.pipeline(|pipeline| {
        let names = [
            "StringDecoder#0",
            "Lines#0",
            "LengthFieldPrepender#0",
            "Framed#0",
            "Upper#0",
            "Upper#1",
            "Pairs#0",
            "Map#0",
        ];
        assert_eq!(pipeline.names(), names);
        assert!(pipeline.contains_type::<LengthFieldPrepender>());
        assert!(pipeline.contains_type::<Aggregator<Pairs>>());
        assert!(pipeline.is_named::<Upper>("Upper#1") && !pipeline.is_named::<Lines>("Upper#1"));
        pipeline.with(|_: &mut Upper| ())?;
        pipeline.with(|_: &mut MessageToMessageDecoder<Upper>| ())?;
        assert!(pipeline.handle::<Pairs>()?.is_alive());
        assert!(pipeline.remove_type::<Lines>()?.is_some());
        let codec = pipeline.remove_type::<Codec<Framed, (BytesMut,)>>()?;
        assert!(codec.is_some());
        let error = pipeline.remove("ByteToMessage#0").unwrap_err();
        assert!(error.to_string().contains("StringDecoder#0"), "{error}");
        Ok(())
    })
}

#[derive(Debug, PartialEq)]
struct Request(u32);

/// A chain is checked in both directions and adds ordinary handlers to an ordinary pipeline.
#[test]
fn a_chain_puts_stages_together_whose_types_agree() -> Result<(), Failure> {
    let mut channel = EmbeddedChannel::new(|pipeline| {
        chain()
            .with(Tap)
            .decode(StringDecoder::new(LineDecoder::new(80)))
            .encode(Lines)
            .map(|line: String| line.parse().map(Request))
            .map_write(|number: u32| Ok::<_, Failure>(number.to_string()))
            .serve(|request: Request| Ok::<_, Failure>(request.0 + 1))
            .install(pipeline)
    })?;
    channel.feed(["1\n41\n"]);
    assert_eq!(outbound(&mut channel), ["2\n", "42\n"]);
    // And goes on as a pipeline does.
    channel
        .pipeline(|pipeline| pipeline.remove_type::<ByteToMessage<StringDecoder<LineDecoder>>>())?;
    channel.feed([Message::new(String::from("7"))]);
    assert_eq!(outbound(&mut channel), ["8\n"]);
    Ok(())
}

/// The other stages: a codec of both directions, a handler at the end.
#[test]
fn a_chain_takes_codecs_and_typed_handlers() -> Result<(), Failure> {
    let mut channel = EmbeddedChannel::new(|pipeline| {
        chain()
            .codec(Framed::default())
            .map(|frame: BytesMut| Ok::<_, Failure>(frame.len() as u32))
            .handle(Double::default())
            .install(pipeline)?;
        pipeline.add_last(Tell)
    })?;
    inbound(&mut channel);
    channel.feed([wire(["a", "bcd"])]);
    assert_eq!(inbound(&mut channel), ["2", "6", "read_complete"]);
    channel.write_outbound(BytesMut::from("x"))?;
    assert_eq!(outbound(&mut channel), ["\u{1}x"]);
    assert!(channel.pipeline(|pipeline| pipeline.contains_type::<Codec<Framed, (BytesMut,)>>()));
    Ok(())
}

/// Sees bytes and leaves them alone.
struct Tap;

impl TypedHandler for Tap {
    type In = BytesMut;

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: BytesMut) -> HandlerResult {
        ctx.fire_channel_read(msg);
        Ok(())
    }
}

/// A line encoder of one type.
struct Lines;

impl tidegate::codec::Encoder<String> for Lines {
    type Error = tidegate::Error;

    fn encode(&mut self, item: String, dst: &mut BytesMut) -> Result<(), tidegate::Error> {
        dst.extend_from_slice(item.as_bytes());
        dst.extend_from_slice(b"\n");
        Ok(())
    }
}

/// Bytes that somebody else holds too are decoded from a copy, and stay what they are.
///
/// Rules: H2
#[test]
fn shared_bytes_are_decoded_from_a_copy() -> Result<(), Failure> {
    let mut channel = EmbeddedChannel::new(|pipeline| pipeline.add_last(Framed::default()))?;
    let shared = Bytes::from(wire(["a", "b"]).to_vec());
    channel.feed([shared.clone()]);
    assert_eq!(inbound(&mut channel), ["a", "b"]);
    assert_eq!(shared, wire(["a", "b"]));
    Ok(())
}
