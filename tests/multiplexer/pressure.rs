//! Back-pressure: of a stream that does not read, and of the whole connection.

use tidegate::channel::WaterMark;
use tidegate::channel::options::{AUTO_READ, WRITE_BUFFER_WATER_MARK};
use tidegate::{Channel, ErrorKind, Failure};

use crate::frame::WINDOW;
use crate::hub::STAGED_MAX;
use crate::support::{Side, settle};

const KIB: usize = 1024;

#[test]
fn a_stream_that_does_not_read_holds_only_its_own_frames() -> Result<(), Failure> {
    let (mut a, mut b) = (Side::probing(false)?, Side::probing(false)?);
    let marks = WaterMark::new(2 * KIB, 4 * KIB)?;
    let marked = || Channel::builder().option(WRITE_BUFFER_WATER_MARK, marks);
    let (slow, slow_seen) = a.open(1, marked(), false)?;
    let (quick, _) = a.open(2, marked(), false)?;
    a.run(|| {
        slow.write_and_flush("first");
        quick.write_and_flush("first");
    });
    settle(&mut a, &mut b);
    let (paused, paused_seen) = b.accepted(1);
    b.run(|| paused.set_auto_read(false));

    // Far more than a window to both.
    let mut last = None;
    for _ in 0..40 {
        last = Some(a.run(|| slow.write_and_flush(vec![1; KIB])));
        a.run(|| quick.write_and_flush(vec![2; KIB]));
        settle(&mut a, &mut b);
    }
    let last = last.expect("40 writes");
    assert_eq!(
        b.accepted(2).1.frames.get(),
        41,
        "the other stream is not held up"
    );
    // The read() that was under way when reading was switched off is withdrawn: nothing more was read.
    assert_eq!(paused_seen.frames.get(), 1);
    let held: usize = {
        let state = b.hub.state.borrow();
        let entry = state.streams.get(1).expect("stream 1 is open");
        entry.inbound.iter().map(|bytes| bytes.len()).sum()
    };
    assert!(held <= WINDOW, "{held} bytes held of a window of {WINDOW}");
    assert!(!slow.is_writable() && quick.is_writable());
    assert!(!last.is_done());

    // One read() is a batch, what it frees lets the peer go on.
    b.run(|| paused.read());
    settle(&mut a, &mut b);
    assert!(paused_seen.frames.get() > 1 && !last.is_done());
    b.run(|| paused.set_auto_read(true));
    settle(&mut a, &mut b);
    assert_eq!(paused_seen.frames.get(), 41);
    assert!(last.is_success() && slow.is_writable());
    assert_eq!(slow_seen.events(), "registered active unwritable writable");
    Ok(())
}

#[test]
fn a_connection_that_takes_nothing_blocks_its_streams_and_wakes_them() -> Result<(), Failure> {
    let (mut a, mut b) = (Side::probing(true)?, Side::probing(true)?);
    let marks = WaterMark::new(KIB, 2 * KIB)?;
    let mut streams = Vec::new();
    for id in 1..=50 {
        streams.push(a.open(
            id,
            Channel::builder().option(WRITE_BUFFER_WATER_MARK, marks),
            true,
        )?);
    }
    a.embedded.block_writes(true);
    let mut writes = Vec::new();
    for number in 0..8_u32 {
        a.run(|| {
            for (stream, _) in &streams {
                let mut frame = vec![0; KIB];
                frame[..4].copy_from_slice(&number.to_be_bytes());
                writes.push(stream.write_and_flush(frame));
            }
        });
    }
    // The parent holds what fits below its mark, the hub a little more, and the rest stays with the streams.
    assert!(!a.embedded.channel().is_writable());
    assert!(a.hub.state.borrow().staged <= STAGED_MAX + KIB);
    assert!(
        streams
            .iter()
            .filter(|(stream, _)| !stream.is_writable())
            .count()
            > 40
    );
    assert!(writes.iter().filter(|write| !write.is_done()).count() > 200);

    a.embedded.block_writes(false);
    settle(&mut a, &mut b);
    assert!(writes.iter().all(|write| write.is_success()));
    for (id, (stream, seen)) in (1..).zip(&streams) {
        assert!(stream.is_writable());
        assert_eq!(b.accepted(id).1.next.get(), 8, "stream {id}");
        let events = seen.events();
        assert!(
            events == "registered active" || events == "registered active unwritable writable",
            "{events}"
        );
    }
    Ok(())
}

#[test]
fn a_promise_is_kept_only_when_the_connection_has_taken_the_frame() -> Result<(), Failure> {
    let mut a = Side::probing(false)?;
    let (stream, _) = a.open(1, Channel::builder(), false)?;
    a.embedded.block_writes(true);
    // More than the parent's high mark, through streams that each have one window.
    let mut others = Vec::new();
    for id in 2..30 {
        others.push(a.open(id, Channel::builder(), false)?.0);
    }
    for other in &others {
        a.run(|| other.write_and_flush(vec![0; WINDOW]));
    }
    let late = a.run(|| stream.write_and_flush("late"));
    assert!(!late.is_done());
    a.embedded.block_writes(false);
    assert!(late.is_success());
    Ok(())
}

#[test]
fn options_of_a_stream_are_set_before_anything_else_happens() -> Result<(), Failure> {
    let mut a = Side::probing(false)?;
    let (quiet, _) = a.open(1, Channel::builder().option(AUTO_READ, false), false)?;
    assert!(!quiet.is_auto_read());
    let hub = a.hub.clone();
    let builder = Channel::builder().option(tidegate::channel::options::SO_KEEPALIVE, true);
    let opened = a
        .embedded
        .run(|parent| hub.open(parent, 2, builder, |_| Ok(())))?;
    assert_eq!(
        opened.cause().map(|error| error.kind()),
        Some(ErrorKind::Unsupported)
    );
    assert!(!opened.channel().is_open());
    Ok(())
}
