//! What a handler behind the decoder may do on the k-th of n messages of one read: remove the decoder, replace it, stop
//! auto-read, close. For all k and n up to 8, and all splits of the input into two reads.

use bytes::BytesMut;
use tidegate::codec::Decoder;
use tidegate::handler::codec::ByteToMessage;
use tidegate::{Context, EmbeddedChannel, Error, Handler, HandlerResult, Message};

use crate::support::{Framed, Tell, asked, inbound, names, text, wire_of};

const FRAMES_MAX: usize = 8;

type Act = fn(&mut Context<'_>) -> HandlerResult;

/// Passes messages on and acts on the k-th.
struct OnKth {
    left: usize,
    act: Act,
}

impl Handler for OnKth {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.fire_channel_read(msg);
        self.left = self.left.wrapping_sub(1);
        if self.left == 0 {
            return (self.act)(ctx);
        }
        Ok(())
    }
}

/// The same frames, in capitals.
#[derive(Default)]
struct Capitals(Framed);

impl Decoder for Capitals {
    type Item = String;
    type Error = Error;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<String>, Error> {
        let frame = self.0.decode(src)?;
        Ok(frame.map(|frame| String::from_utf8_lossy(&frame).to_uppercase()))
    }
}

/// Runs `check` for every n, k and split, with a channel whose pipeline is decoder, acting handler, `Tell`; nothing
/// was fed yet.
fn for_all(act: Act, check: impl Fn(&mut EmbeddedChannel, usize, &[String], [BytesMut; 2])) {
    for n in 1..=FRAMES_MAX {
        let frames = names(n);
        let input = wire_of(&frames);
        for k in 1..=n {
            for split in 0..=input.len() {
                let mut channel = EmbeddedChannel::new(|pipeline| {
                    pipeline.add_last(Framed::default())?;
                    pipeline.add_last(OnKth { left: k, act })?;
                    pipeline.add_last(Tell)
                })
                .expect("the pipeline is sound");
                inbound(&mut channel);
                let (first, second) = input.split_at(split);
                let reads = [BytesMut::from(first), BytesMut::from(second)];
                check(&mut channel, k, &frames, reads);
            }
        }
    }
}

/// How many frames a read of so many bytes completes.
fn complete(frames: &[String], bytes: usize) -> usize {
    let mut end = 0;
    frames
        .iter()
        .take_while(|frame| {
            end += 1 + frame.len();
            end <= bytes
        })
        .count()
}

fn messages(channel: &mut EmbeddedChannel) -> Vec<String> {
    let mut seen = inbound(channel);
    seen.retain(|line| line != "read_complete");
    seen
}

/// The first k frames are messages; the bytes of all others go on as they are, in order.
///
/// Rules: H9, 6.7, 6.8
#[test]
fn removing_the_decoder_on_the_kth_message_leaves_the_rest_as_bytes() {
    let act: Act = |ctx| {
        Ok(ctx
            .pipeline()
            .remove_type::<ByteToMessage<Framed>>()
            .map(drop)?)
    };
    for_all(act, |channel, k, frames, reads| {
        channel.feed(reads);
        let mut raw = BytesMut::new();
        for (at, line) in messages(channel).iter().enumerate() {
            if at < k {
                assert_eq!(line, &frames[at]);
            } else {
                raw.extend_from_slice(line.as_bytes());
            }
        }
        assert_eq!(raw, wire_of(&frames[k..]), "removed on {k} of {frames:?}");
        channel.check().expect("no error");
    });
}

/// The rest goes to the new decoder, which is in place before it.
///
/// Rules: H9, 6.7, 6.8
#[test]
fn replacing_the_decoder_on_the_kth_message_gives_the_rest_to_the_new_one() {
    let act: Act = |ctx| {
        let mut pipeline = ctx.pipeline();
        pipeline.replace_type::<ByteToMessage<Framed>, _>(Capitals::default())?;
        Ok(())
    };
    for_all(act, |channel, k, frames, reads| {
        channel.feed(reads);
        let mut expected = frames.to_vec();
        for frame in &mut expected[k..] {
            *frame = frame.to_uppercase();
        }
        assert_eq!(messages(channel), expected, "replaced on {k}");
        channel.check().expect("no error");
    });
}

/// No message after the k-th until it is switched on again; then all others, from the decoder and from the source.
///
/// Rules: 6.7, D2
#[test]
fn stopping_auto_read_on_the_kth_message_stops_the_messages() {
    let act: Act = |ctx| {
        ctx.set_auto_read(false);
        Ok(())
    };
    for_all(act, |channel, k, frames, reads| {
        channel.feed(reads);
        let seen = inbound(channel);
        assert_eq!(
            seen.last().map(String::as_str),
            Some("read_complete"),
            "on time"
        );
        assert_eq!(
            seen.iter().filter(|line| *line != "read_complete").count(),
            k
        );
        channel.run(|channel| channel.set_auto_read(true));
        assert_eq!(messages(channel), frames[k..], "stopped on {k}");
    });
}

/// The same, going on one read() at a time.
///
/// Rules: 6.7, D2, H6
#[test]
fn after_auto_read_was_stopped_each_read_brings_one_message() {
    let act: Act = |ctx| {
        ctx.set_auto_read(false);
        Ok(())
    };
    for_all(act, |channel, k, frames, reads| {
        channel.feed(reads);
        inbound(channel);
        for frame in &frames[k..] {
            channel.run(|channel| channel.read());
            assert_eq!(messages(channel), [frame.as_str()], "stopped on {k}");
        }
    });
}

/// Nothing is read any more; what was read is still decoded, then the channel is inactive. A part of a frame is nobody's
/// fault: the close was ours.
///
/// Rules: 6.7, A25, H7
#[test]
fn closing_on_the_kth_message_delivers_what_was_read_and_reads_no_more() {
    let act: Act = |ctx| {
        ctx.close();
        Ok(())
    };
    for_all(act, |channel, k, frames, reads| {
        let first = reads[0].len();
        let in_first = complete(frames, first);
        // The read in which the k-th frame ends is the last.
        let came = if k <= in_first {
            in_first
        } else {
            frames.len()
        };
        channel.feed(reads);
        let mut expected = frames[..came].to_vec();
        expected.push("inactive".into());
        assert_eq!(
            messages(channel),
            expected,
            "closed on {k}, first read of {first}"
        );
    });
}

/// A decoder that is taken out while messages are parked: they go on as bytes, as does what queued behind them.
///
/// Rules: H9, H10
#[test]
fn removing_a_decoder_that_holds_messages_back_hands_on_everything_in_order() {
    let mut channel = EmbeddedChannel::with_options(&asked(), |pipeline| {
        pipeline.add_last_named("frames", Framed::default())?;
        pipeline.add_last(Tell)
    })
    .expect("the pipeline is sound");
    inbound(&mut channel);
    let input = wire_of(&names(3));
    channel.pipeline(|pipeline| {
        pipeline.fire_channel_read(input.clone());
        pipeline.fire_channel_read(Message::new(5_u32));
        pipeline.fire_channel_read("raw");
    });
    assert_eq!(inbound(&mut channel), ["f1-"]);
    channel
        .pipeline(|pipeline| pipeline.remove("frames"))
        .expect("it is there");
    let rest = text(&wire_of(&names(3)[1..]).into());
    assert_eq!(
        inbound(&mut channel),
        [rest.as_str(), "5", "raw", "read_complete"]
    );
}
