//! What a message allocates on its way through a codec, a typed handler, and back out, counted on the thread of its loop.
//!
//! Nothing, once warm: frames are split off what was read, remainders go to a buffer that is used again, and encoders
//! write to a block that is. Each count is taken after some rounds of the same.

use bytes::{Bytes, BytesMut};
use tidegate::buffer::Arena;
use tidegate::codec::{
    FixedLengthDecoder, LengthFieldDecoder, LengthFieldPrepender, LineDecoder, LineEncoder,
};
use tidegate::handler::codec::{ByteToMessage, Cumulator};
use tidegate::handler::typed::{TypedHandler, chain, handler_fn};
use tidegate::{Context, EmbeddedChannel, Error, Failure, HandlerResult, Pipeline};

// The allocator is unsafe code, and that lives under sys/.
#[path = "../sys/tests/support/counting.rs"]
mod counting;

#[global_allocator]
static COUNTING: counting::Counting = counting::Counting;

/// Enough for headers of 4 bytes to fill the first of the two blocks that encoders write to (16 KiB): 16 are written a round.
const WARM_UP: usize = 300;
const COUNTED: usize = 1000;
/// Frames of one round.
const FRAMES: usize = 16;
const BODY: &[u8; 60] = &[b'x'; 60];

/// The allocations of [`COUNTED`] rounds after the first ones.
fn allocations_of(mut round: impl FnMut()) -> u64 {
    (0..WARM_UP).for_each(|_| round());
    counting::allocations(|| (0..COUNTED).for_each(|_| round())).0
}

/// A message as a transport reads it.
fn received(arena: &mut Arena, bytes: &[u8]) -> BytesMut {
    let read = arena.read(bytes.len(), |room: &mut BytesMut, _| {
        room.extend_from_slice(bytes);
        Ok(bytes.len())
    });
    read.expect("the closure does not fail")
}

/// Writes each frame back; flushes when a batch ends.
struct Echo;

impl TypedHandler for Echo {
    type In = BytesMut;

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: BytesMut) -> HandlerResult {
        ctx.write(msg);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        Ok(())
    }
}

/// Feeds rounds of frames, `read` bytes at a time, and takes out what comes back.
fn allocations_of_echo(
    init: impl FnOnce(&mut Pipeline<'_>) -> Result<(), Error>,
    frame: &[u8],
    read: usize,
) -> Result<u64, Failure> {
    let mut channel = EmbeddedChannel::new(init)?;
    let mut arena = Arena::new();
    let input = frame.repeat(FRAMES);
    let count = allocations_of(|| {
        let mut back = 0;
        for part in input.chunks(read) {
            channel.feed([received(&mut arena, part)]);
            while let Some(msg) = channel.read_outbound() {
                back += msg.readable_bytes().unwrap_or(0);
            }
        }
        assert_eq!(back, input.len());
    });
    Ok(count)
}

/// Sizes of reads: part of a frame, no multiple of one, one at a time, all at once.
const READS: [usize; 4] = [7, 64, 100, 64 * FRAMES];

#[test]
fn frames_with_a_length_field_allocate_nothing() -> Result<(), Failure> {
    let mut frame = vec![0, 0, 0, 60];
    frame.extend_from_slice(BODY);
    for read in READS {
        for cumulator in [Cumulator::Merge, Cumulator::Composite] {
            let count = allocations_of_echo(
                |pipeline| {
                    let decoder = LengthFieldDecoder::new(1 << 20, 0, 4).strip(4);
                    pipeline.add_last(ByteToMessage::new(decoder).cumulator(cumulator))?;
                    pipeline.add_last(LengthFieldPrepender::new(4))?;
                    pipeline.add_last(Echo)
                },
                &frame,
                read,
            )?;
            assert_eq!(count, 0, "reads of {read} bytes, {cumulator:?}");
        }
    }
    Ok(())
}

#[test]
fn lines_allocate_nothing() -> Result<(), Failure> {
    let mut line = BODY.to_vec();
    line.extend_from_slice(b"xxx\n");
    for read in READS {
        let count = allocations_of_echo(
            |pipeline| {
                pipeline.add_last(LineDecoder::new(8192))?;
                pipeline.add_last(LineEncoder::new())?;
                pipeline.add_last(Echo)
            },
            &line,
            read,
        )?;
        assert_eq!(count, 0, "reads of {read} bytes");
    }
    Ok(())
}

#[test]
fn fixed_frames_allocate_nothing() -> Result<(), Failure> {
    for read in READS {
        let count = allocations_of_echo(
            |pipeline| {
                pipeline.add_last(FixedLengthDecoder::new(64))?;
                pipeline.add_last(Echo)
            },
            &[7; 64],
            read,
        )?;
        assert_eq!(count, 0, "reads of {read} bytes");
    }
    Ok(())
}

#[test]
fn large_bodies_behind_a_header_allocate_nothing() -> Result<(), Failure> {
    for body in [1000_u32, 3000] {
        let mut frame = body.to_be_bytes().to_vec();
        frame.resize(4 + body as usize, 7);
        for read in [1460, frame.len(), 20_000] {
            let count = allocations_of_echo(
                |pipeline| {
                    chain()
                        .decode(LengthFieldDecoder::new(1 << 20, 0, 4).strip(4))
                        .prepend(LengthFieldPrepender::new(4))
                        .handle(Echo)
                        .install(pipeline)
                },
                &frame,
                read,
            )?;
            assert_eq!(count, 0, "bodies of {body} bytes, reads of {read}");
        }
    }
    Ok(())
}

#[test]
fn closures_and_small_values_allocate_nothing() -> Result<(), Failure> {
    static FRAME: [u8; 64] = [7; 64];
    let count = allocations_of_echo(
        |pipeline| {
            chain()
                .decode(FixedLengthDecoder::new(64))
                .map(|frame: BytesMut| Ok::<_, Failure>(u64::from(frame[0])))
                .map_write(|_: u64| Ok::<_, Failure>(Bytes::from_static(&FRAME)))
                .serve(Ok::<_, Failure>)
                .install(pipeline)?;
            pipeline.add_last(handler_fn(|_, _: u64| Ok(())))
        },
        &FRAME,
        100,
    )?;
    assert_eq!(count, 0);
    Ok(())
}
