//! How streams end, and what becomes of them when the connection does.

use tidegate::channel::options::ALLOW_HALF_CLOSURE;
use tidegate::{Channel, ErrorKind, Failure};

use crate::support::{Probe, Side, settle};

#[test]
fn closing_a_stream_ends_it_on_both_sides_and_no_other() -> Result<(), Failure> {
    let (mut a, mut b) = (Side::probing(false)?, Side::probing(false)?);
    let (one, one_seen) = a.open(1, Channel::builder(), false)?;
    let (two, two_seen) = a.open(2, Channel::builder(), false)?;
    a.run(|| {
        one.write_and_flush("last");
        two.write_and_flush("x");
        one.close();
    });
    settle(&mut a, &mut b);
    assert_eq!(one_seen.events(), "registered active inactive unregistered");
    assert_eq!(
        b.accepted(1).1.events(),
        "registered active inactive unregistered"
    );
    assert_eq!(b.accepted(1).1.text(), "last");
    a.run(|| two.write_and_flush("y"));
    settle(&mut a, &mut b);
    assert_eq!(b.accepted(2).1.text(), "x|y");
    assert_eq!(two_seen.events(), "registered active");
    let late = a.run(|| one.write_and_flush("too late"));
    assert_eq!(
        late.cause().map(|error| error.kind()),
        Some(ErrorKind::ChannelClosed)
    );
    Ok(())
}

#[test]
fn frames_for_a_stream_that_is_gone_are_answered() -> Result<(), Failure> {
    let (mut a, mut b) = (Side::probing(false)?, Side::probing(false)?);
    let (stream, seen) = a.open(1, Channel::builder(), false)?;
    a.run(|| stream.write_and_flush("x"));
    settle(&mut a, &mut b);
    // Both at the same time: the frame is under way when the other side closes.
    let (other, _) = b.accepted(1);
    b.run(|| other.close());
    a.run(|| stream.write_and_flush("y"));
    settle(&mut a, &mut b);
    assert!(!stream.is_open());
    assert!(
        seen.events().ends_with("inactive unregistered"),
        "{}",
        seen.events()
    );
    assert!(b.embedded.channel().is_open() && a.embedded.channel().is_open());
    Ok(())
}

#[test]
fn a_half_closed_stream_still_carries_the_other_way() -> Result<(), Failure> {
    let mut a = Side::probing(false)?;
    let mut b = Side::new(|pipeline, seen, hub| {
        pipeline.channel().set_option(ALLOW_HALF_CLOSURE, true);
        pipeline.add_last(Probe {
            seen,
            hub,
            counts: false,
        })
    })?;
    let (stream, seen) = a.open(
        1,
        Channel::builder().option(ALLOW_HALF_CLOSURE, true),
        false,
    )?;
    a.run(|| {
        stream.write_and_flush("request");
        stream.shutdown_output();
    });
    settle(&mut a, &mut b);
    let (other, other_seen) = b.accepted(1);
    assert_eq!(other_seen.text(), "request");
    assert_eq!(other_seen.events(), "registered active input-shut");
    let refused = a.run(|| stream.write_and_flush("more"));
    assert!(refused.cause().is_some());

    b.run(|| other.write_and_flush("response"));
    settle(&mut a, &mut b);
    assert_eq!(seen.text(), "response");
    assert_eq!(seen.events(), "registered active output-shut");
    b.run(|| other.close());
    settle(&mut a, &mut b);
    assert_eq!(seen.events(), "registered active output-shut input-shut");
    a.run(|| stream.close());
    assert_eq!(
        seen.events(),
        "registered active output-shut input-shut inactive unregistered"
    );
    assert!(a.hub.open_streams() == 0 && b.hub.open_streams() == 0);
    Ok(())
}

#[test]
fn the_end_of_the_connection_ends_every_stream_once_and_fails_what_waits() -> Result<(), Failure> {
    let (mut a, mut b) = (Side::probing(false)?, Side::probing(false)?);
    let mut streams = Vec::new();
    for id in 1..=100 {
        streams.push(a.open(id, Channel::builder(), false)?);
    }
    a.run(|| {
        for (stream, _) in &streams {
            stream.write_and_flush("x");
        }
    });
    settle(&mut a, &mut b);

    a.embedded.block_writes(true);
    let mut waiting = Vec::new();
    a.run(|| {
        for (stream, _) in &streams {
            // Some of it reaches the parent, some the hub; some stays, some is not even flushed.
            waiting.extend((0..4).map(|_| stream.write_and_flush(vec![0; 1000])));
            waiting.push(stream.write_future("never flushed"));
        }
    });
    // Of what the parent has taken nobody knows what became of it; everything else fails.
    let unsent: Vec<_> = waiting.iter().filter(|write| !write.is_done()).collect();
    assert!(unsent.len() > 300);
    a.embedded.close();
    for write in unsent {
        assert_eq!(
            write.cause().map(|error| error.kind()),
            Some(ErrorKind::ChannelClosed)
        );
    }
    for (stream, seen) in &streams {
        assert!(!stream.is_open() && !stream.is_registered());
        assert_eq!(
            seen.events(),
            "registered active error inactive unregistered"
        );
        assert!(stream.close_future().is_success());
    }

    b.embedded.feed_eof();
    for (id, (_, _)) in (1..).zip(&streams) {
        let (stream, seen) = b.accepted(id);
        assert!(!stream.is_open());
        assert_eq!(
            seen.events(),
            "registered active error inactive unregistered",
            "stream {id}"
        );
    }
    assert!(b.embedded.channel().close_future().is_success());
    let late = b
        .embedded
        .run(|parent| b.hub.open(parent, 500, Channel::builder(), |_| Ok(())));
    assert!(late.is_err());
    Ok(())
}
