//! Peers that send a byte at a time, announce what never comes, or end nothing: what they may cost.

use bytes::BytesMut;
use tidegate::EmbeddedChannel;
use tidegate::codec::LengthFieldDecoder;
use tidegate::handler::codec::{ByteToMessage, Cumulator};

use crate::support::{Tell, inbound};

const BLOCK: usize = 8 * 1024;

fn decoding(cumulator: Cumulator) -> EmbeddedChannel {
    let mut channel = EmbeddedChannel::new(|pipeline| {
        let decoder = LengthFieldDecoder::new(1 << 20, 0, 4).strip(4);
        pipeline.add_last(ByteToMessage::new(decoder).cumulator(cumulator))?;
        pipeline.add_last(Tell)
    })
    .unwrap();
    inbound(&mut channel);
    channel
}

/// The bytes of a frame, each read into a block of its own, as the blocks of a busy loop are.
fn one_by_one(frame: &[u8]) -> (Vec<BytesMut>, Vec<BytesMut>) {
    let read = |byte: &u8| {
        let mut block = BytesMut::with_capacity(BLOCK);
        block.extend_from_slice(&[*byte]);
        (block.split_to(1), block)
    };
    frame.iter().map(read).unzip()
}

/// A few bytes of a block hold all of it: a thousand reads of one byte held 256 MiB.
///
/// Rules: H2
#[test]
fn a_byte_at_a_time_holds_no_receive_memory() {
    for cumulator in [Cumulator::Merge, Cumulator::Composite] {
        let mut frame = 1_000_u32.to_be_bytes().to_vec();
        frame.extend((0..1_000).map(|n| b'a' + (n % 26) as u8));
        let (last, first) = frame.split_last().unwrap();
        let (reads, mut blocks) = one_by_one(first);
        let mut channel = decoding(cumulator);
        for read in reads {
            channel.feed([read]);
        }
        let held = blocks
            .iter_mut()
            .filter_map(|block| (!block.try_reclaim(BLOCK)).then_some(()));
        assert_eq!(held.count(), 0, "{cumulator:?}");
        let mut seen = inbound(&mut channel);
        seen.retain(|line| line != "read_complete");
        assert!(seen.is_empty(), "{cumulator:?}: {seen:?}");
        channel.feed([BytesMut::from(&[*last][..])]);
        assert_eq!(
            inbound(&mut channel)[0].as_bytes(),
            &frame[4..],
            "{cumulator:?}"
        );
    }
}

/// Small and large reads in every order are put together in the order in which they came.
///
/// Rules: H2, H3
#[test]
fn small_and_large_reads_keep_their_order() {
    const SIZES: [usize; 3] = [1, 700, 40_000];
    let bytes: Vec<u8> = (0..200_000).map(|n| b'a' + (n % 23) as u8).collect();
    for seed in 0..60_u32 {
        let mut state = seed;
        let mut wire = (bytes.len() as u32).to_be_bytes().to_vec();
        wire.extend_from_slice(&bytes);
        let mut channel = decoding(Cumulator::Composite);
        let mut rest = &wire[..];
        while !rest.is_empty() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let size = SIZES[(state >> 16) as usize % 3].min(rest.len());
            channel.feed([BytesMut::from(&rest[..size])]);
            rest = &rest[size..];
        }
        let mut seen = inbound(&mut channel);
        seen.retain(|line| line != "read_complete");
        assert!(seen.len() == 1 && seen[0].as_bytes() == bytes, "{seed}");
    }
}
