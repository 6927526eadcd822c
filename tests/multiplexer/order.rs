//! Frames find their streams, in order, both ways.

use std::cell::Cell;

use tidegate::buffer::{Bytes, BytesMut};
use tidegate::{Channel, ErrorKind, Failure};

use crate::frame::{CONTROL, Control, HEADER, Splitter, header};
use crate::support::{Echo, Probe, Side, settle};

fn frame(id: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(id, payload.len()).to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn frames_are_found_wherever_the_bytes_are_cut() {
    let bytes: Vec<u8> = [
        frame(1, b"one"),
        frame(2, b""),
        frame(1, b"two"),
        frame(3, b"four"),
    ]
    .concat();
    let expected = [(1, "one"), (2, ""), (1, "two"), (3, "four")];
    for first in 0..=bytes.len() {
        for second in first..=bytes.len() {
            let mut found = Vec::new();
            let mut splitter = Splitter::default();
            for part in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                splitter.feed(Bytes::copy_from_slice(part), |id, payload| {
                    found.push((id, payload))
                });
            }
            let found: Vec<_> = found
                .iter()
                .map(|(id, payload)| (*id, std::str::from_utf8(payload).expect("text")))
                .collect();
            assert_eq!(found, expected, "cut at {first} and {second}");
        }
    }
}

#[test]
fn controls_survive_the_wire() {
    for control in [
        Control::Credit {
            stream: 700,
            bytes: 70_000,
        },
        Control::End { stream: 1 },
        Control::Reset { stream: u16::MAX },
    ] {
        let mut frame = BytesMut::new();
        control.encode(&mut frame);
        assert_eq!(frame[..2], CONTROL.to_be_bytes());
        assert_eq!(Control::decode(&frame[HEADER..]), Some(control));
    }
    assert_eq!(Control::decode(b"1234567"), None);
    assert_eq!(Control::decode(b""), None);
}

#[test]
fn the_peers_frames_open_streams_and_reach_them_in_order() -> Result<(), Failure> {
    let mut side = Side::probing(false)?;
    let bytes = [
        frame(1, b"a"),
        frame(2, b"x"),
        frame(1, b"b"),
        frame(2, b"y"),
        frame(1, b"c"),
    ]
    .concat();
    // Cut in the middle of a header and of a payload.
    side.embedded.feed([
        bytes[..7].to_vec(),
        bytes[7..9].to_vec(),
        bytes[9..].to_vec(),
    ]);
    assert_eq!(side.accepted(1).1.text(), "a|b|c");
    assert_eq!(side.accepted(2).1.text(), "x|y");
    assert_eq!(side.accepted(1).1.events(), "registered active");
    assert_eq!(side.accepted(1).0.parent(), Some(side.embedded.channel()));
    Ok(())
}

#[test]
fn what_streams_write_shares_the_connection_in_order() -> Result<(), Failure> {
    let mut side = Side::probing(false)?;
    let (one, _) = side.open(1, Channel::builder(), false)?;
    let (two, _) = side.open(2, Channel::builder(), false)?;
    side.run(|| {
        one.write("a");
        two.write("x");
        one.write("b");
        one.flush();
        two.flush();
        one.write_and_flush("c");
    });
    let mut sent = Vec::new();
    while let Some(bytes) = side.embedded.read_outbound() {
        sent.extend_from_slice(bytes.as_bytes().expect("bytes"));
    }
    let expected = [
        frame(1, b"a"),
        frame(1, b"b"),
        frame(2, b"x"),
        frame(1, b"c"),
    ]
    .concat();
    assert_eq!(sent, expected);
    Ok(())
}

#[test]
fn a_stream_is_a_channel_with_a_pipeline_of_its_own() -> Result<(), Failure> {
    let mut client = Side::probing(false)?;
    let mut server = Side::new(|pipeline, seen, hub| {
        pipeline.add_last(Echo)?;
        pipeline.add_last(Probe {
            seen,
            hub,
            counts: false,
        })
    })?;
    let (stream, seen) = client.open(1, Channel::builder(), false)?;
    let sent = client.run(|| stream.write_and_flush("hello"));
    assert!(sent.is_success(), "the frame is with the parent");
    settle(&mut client, &mut server);
    assert_eq!(seen.text(), "hello");
    assert_eq!(
        stream
            .local_address()
            .map(|local| local.to_string())
            .as_deref(),
        Some("stream 1")
    );
    // Its pipeline is edited like any other.
    let (echoing, _) = server.accepted(1);
    server.run(|| echoing.edit(|pipeline| pipeline.remove_type::<Echo>().map(drop)));
    client.run(|| stream.write_and_flush("again"));
    settle(&mut client, &mut server);
    assert_eq!(seen.text(), "hello");
    assert_eq!(server.accepted(1).1.text(), "again");
    Ok(())
}

#[test]
fn a_message_that_no_frame_holds_is_refused_at_the_write() -> Result<(), Failure> {
    let mut side = Side::probing(false)?;
    let (stream, _) = side.open(1, Channel::builder(), false)?;
    let refused = side.run(|| stream.write_and_flush(vec![0; 1 << 16]));
    assert_eq!(
        refused.cause().map(|error| error.kind()),
        Some(ErrorKind::Unsupported)
    );
    Ok(())
}

#[test]
fn a_pipeline_that_cannot_be_made_closes_its_stream_only() -> Result<(), Failure> {
    let made = Cell::new(0);
    let mut side = Side::new(move |pipeline, seen, hub| {
        let counts = false;
        made.set(made.get() + 1);
        let (again, with) = (seen.clone(), hub.clone());
        pipeline.add_last_named("probe", Probe { seen, hub, counts })?;
        if made.get() == 2 {
            pipeline.add_last_named(
                "probe",
                Probe {
                    seen: again,
                    hub: with,
                    counts,
                },
            )?;
        }
        Ok(())
    })?;
    side.embedded.feed(
        [frame(1, b"a"), frame(2, b"x"), frame(1, b"b")]
            .concat()
            .chunks(5)
            .map(<[u8]>::to_vec),
    );
    assert_eq!(side.accepted(1).1.text(), "a|b");
    assert!(!side.accepted(2).0.is_open());
    assert_eq!(side.accepted(2).1.events(), "");
    assert!(side.embedded.channel().is_open());
    Ok(())
}

#[test]
fn opening_needs_a_turn_or_a_named_loop() {
    let stream = || crate::stream::Stream::new(crate::hub::Hub::new(), 1);
    let refused = Channel::builder().open(stream(), |_| Ok::<_, Failure>(()));
    assert_eq!(
        refused.err().map(|error| error.kind()),
        Some(ErrorKind::NotRegistered)
    );
}
