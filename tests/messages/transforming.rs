//! Messages of messages, in both directions (H22, H23).

use std::collections::VecDeque;

use tidegate::handler::codec::{
    MessageToMessageDecoder, MessageToMessageEncoder, Transform, map_read, map_write,
};
use tidegate::{EmbeddedChannel, ErrorKind, Failure, Message};

use crate::support::{Tell, asked, inbound, outbound};

/// n becomes 1, 2, … n; 13 fails after its first.
struct Count;

impl Transform for Count {
    type In = u32;
    type Out = String;
    type Error = Failure;

    fn transform(&mut self, msg: u32, out: &mut VecDeque<String>) -> Result<(), Failure> {
        if msg == 13 {
            out.push_back("1 of 13".into());
            return Err(Failure::msg("no thirteens"));
        }
        out.extend((1..=msg).map(|n| n.to_string()));
        Ok(())
    }
}

fn numbers(numbers: &[u32]) -> Vec<Message> {
    numbers.iter().map(|n| Message::new(*n)).collect()
}

/// A decoder makes any number of messages of one; others pass; what was made before an error comes before it.
///
/// Rules: H23
#[test]
fn a_message_becomes_any_number_of_messages() -> Result<(), Failure> {
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(MessageToMessageDecoder::new(Count))?;
        pipeline.add_last(Tell)
    })?;
    inbound(&mut channel);
    let mut input = numbers(&[2, 0, 13, 1]);
    input.insert(1, Message::new(String::from("other")));
    channel.feed(input);
    assert_eq!(
        inbound(&mut channel),
        ["1", "2", "other", "1 of 13", "User", "1", "read_complete"]
    );
    Ok(())
}

/// With auto-read off one read() brings one message; a batch of which nothing was made asks for another.
///
/// Rules: H23, 6.7
#[test]
fn one_read_brings_one_message_of_a_transform() -> Result<(), Failure> {
    let mut channel = EmbeddedChannel::with_options(&asked(), |pipeline| {
        pipeline.add_last(MessageToMessageDecoder::new(Count))?;
        pipeline.add_last(Tell)
    })?;
    channel.feed(numbers(&[2, 0, 0, 1]));
    inbound(&mut channel);
    for expected in ["1", "2", "1"] {
        channel.run(|channel| channel.read());
        let mut seen = inbound(&mut channel);
        seen.retain(|line| line != "read_complete");
        assert_eq!(seen, [expected]);
    }
    assert_eq!(channel.unread(), 0);
    Ok(())
}

/// What is held back goes on when the handler goes, or the channel: made messages as they are, others unmade.
///
/// Rules: H23
#[test]
fn what_a_transform_holds_back_goes_on_when_it_is_removed() -> Result<(), Failure> {
    for close in [false, true] {
        let mut channel = EmbeddedChannel::with_options(&asked(), |pipeline| {
            pipeline.add_last_named("count", MessageToMessageDecoder::new(Count))?;
            pipeline.add_last(Tell)
        })?;
        inbound(&mut channel);
        channel.pipeline(|pipeline| {
            pipeline.fire_channel_read(Message::new(3_u32));
            pipeline.fire_channel_read(Message::new(2_u32));
        });
        assert_eq!(inbound(&mut channel), ["1"]);
        if close {
            channel.finish()?;
            let mut seen = inbound(&mut channel);
            seen.retain(|line| line != "read_complete");
            assert_eq!(seen, ["2", "3", "1", "2", "inactive"]);
        } else {
            channel.pipeline(|pipeline| pipeline.remove("count"))?;
            assert_eq!(inbound(&mut channel), ["2", "3", "2", "read_complete"]);
        }
    }
    Ok(())
}

/// One output takes the promise; several share it: it is done when all are.
///
/// Rules: H22, C25
#[test]
fn the_promise_of_a_transformed_write_is_that_of_all_its_parts() -> Result<(), Failure> {
    let mut channel =
        EmbeddedChannel::new(|pipeline| pipeline.add_last(MessageToMessageEncoder::new(Count)))?;
    channel.yield_after(1);
    let (one, three) = channel.run(|channel| {
        let one = channel.write_future(Message::new(1_u32));
        let three = channel.write_future(Message::new(3_u32));
        assert!(!one.is_done() && !three.is_done());
        channel.write(Message::new(2_u32));
        channel.write(Message::new(String::from("other")));
        channel.flush();
        (one, three)
    });
    assert!(one.is_success() && three.is_success());
    assert_eq!(
        outbound(&mut channel),
        ["1", "1", "2", "3", "1", "2", "other"]
    );

    // A failure of one part fails the whole.
    channel.fail_next_flush(tidegate::Error::new(ErrorKind::ConnectionReset, "gone"));
    let failed = channel.run(|channel| channel.write_and_flush(Message::new(2_u32)));
    assert_eq!(
        failed.cause().map(|cause| cause.kind()),
        Some(ErrorKind::ConnectionReset)
    );
    Ok(())
}

/// No output is an error of the encoder, since nothing could complete the promise; so is what it says itself.
///
/// Rules: H22
#[test]
fn a_write_that_becomes_nothing_fails() -> Result<(), Failure> {
    let mut channel =
        EmbeddedChannel::new(|pipeline| pipeline.add_last(MessageToMessageEncoder::new(Count)))?;
    let (nothing, refused) = channel.run(|channel| {
        let nothing = channel.write_future(Message::new(0_u32));
        let refused = channel.write_future(Message::new(13_u32));
        channel.flush();
        (nothing, refused)
    });
    let cause = nothing.cause().expect("it failed");
    assert_eq!(cause.kind(), ErrorKind::Unencodable);
    assert_eq!(
        cause.to_string(),
        "Count must make at least one message of each that is written"
    );
    assert_eq!(
        refused.cause().map(|cause| cause.to_string()).as_deref(),
        Some("no thirteens")
    );
    assert_eq!(outbound(&mut channel), [""; 0]);
    Ok(())
}

/// Closures map one message to one.
///
/// Rules: H22, H23
#[test]
fn closures_map_in_both_directions() -> Result<(), Failure> {
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(map_read(|text: String| text.parse::<u32>()))?;
        pipeline.add_last(map_write(|number: u32| {
            Ok::<_, Failure>(number.to_string())
        }))?;
        pipeline.add_last(Tell)
    })?;
    inbound(&mut channel);
    channel.feed([
        Message::new(String::from("12")),
        Message::new(String::from("x")),
    ]);
    assert_eq!(inbound(&mut channel), ["12", "User", "read_complete"]);
    channel.write_outbound(Message::new(9_u32))?;
    assert_eq!(outbound(&mut channel), ["9"]);
    Ok(())
}
