//! Promises of the buffer room about allocations, counted: none per read in a warm arena, none for
//! messages that are buffers or small.

use std::{hint::black_box, io};

use tidegate::buffer::{Arena, Bytes, BytesMut, CHUNK_SIZE, FileRegion, Message, gather};

// The allocator is unsafe code, and that lives under sys/.
#[path = "../sys/tests/support/counting.rs"]
mod counting;

use counting::{Counting, allocations};

#[global_allocator]
static COUNTING: Counting = Counting;

/// A read of `bytes` bytes, as a transport makes it.
fn read(arena: &mut Arena, guess: usize, bytes: usize) -> BytesMut {
    static DATA: [u8; 65_536] = [7; 65_536];
    let fill = |room: &mut BytesMut, max: usize| {
        assert!(room.capacity() - room.len() >= max);
        room.extend_from_slice(&DATA[..bytes.min(max)]);
        Ok(bytes.min(max))
    };
    let read: io::Result<BytesMut> = arena.read(guess, fill);
    read.expect("the closure does not fail")
}

#[test]
fn reading_and_dropping_allocates_nothing_when_warm() {
    for (guess, bytes) in [(2048, 64), (2048, 2048), (65_536, 65_536), (64, 1)] {
        let mut arena = Arena::new();
        drop(read(&mut arena, guess, bytes));
        let (count, ()) = allocations(|| {
            for _ in 0..50_000 {
                black_box(read(&mut arena, guess, bytes));
                arena.trim();
            }
        });
        assert_eq!(count, 0, "{bytes} bytes into {guess}");
    }
}

#[test]
fn holding_some_messages_while_reading_others_allocates_nothing_when_warm() {
    for held_count in [1, 10, 100] {
        let mut arena = Arena::new();
        let mut held: Vec<BytesMut> = (0..held_count)
            .map(|_| read(&mut arena, 2048, 1000))
            .collect();
        let mut turn = |arena: &mut Arena| {
            for _ in 0..5_000 {
                for slot in &mut held {
                    *slot = read(arena, 2048, 1000);
                    black_box(read(arena, 2048, 500));
                }
                arena.trim();
            }
        };
        turn(&mut arena);
        let (count, ()) = allocations(|| turn(&mut arena));
        assert_eq!(count, 0, "{held_count} messages held");
        assert!(arena.stats().live_bytes <= 4 * CHUNK_SIZE);
    }
}

#[test]
fn freezing_a_message_and_sharing_it_allocates_nothing() {
    let mut arena = Arena::new();
    drop(read(&mut arena, 2048, 64));
    let (count, ()) = allocations(|| {
        for _ in 0..10_000 {
            let frozen = read(&mut arena, 2048, 64).freeze();
            black_box((frozen.slice(1..5), frozen));
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn an_unused_or_released_arena_holds_nothing() {
    let (count, mut arena) = allocations(Arena::new);
    assert_eq!(count, 0);
    assert_eq!(arena.stats().live_bytes, 0);
    drop(read(&mut arena, 2048, 64));
    arena.release();
    assert_eq!(arena.stats().live_bytes, 0);
}

#[test]
fn buffers_and_small_values_become_messages_without_allocation() {
    let bytes = BytesMut::from(&b"hello"[..]);
    let frozen = Bytes::from_static(b"hello");
    let region = FileRegion::lazy("unused", 0, 1);
    let (count, ()) = allocations(|| {
        let bytes = Message::new(bytes)
            .downcast::<BytesMut>()
            .expect("a BytesMut");
        let message = Message::new(Message::from(bytes))
            .into_bytes()
            .map(Message::new);
        black_box(message.expect("bytes"));
        black_box(Message::new(frozen).downcast::<Bytes>().expect("a Bytes"));
        let region = Message::new(region)
            .downcast::<FileRegion>()
            .expect("a region");
        black_box(Message::from(region));
        black_box(
            Message::new([1_u64, 2, 3])
                .downcast::<[u64; 3]>()
                .expect("three words"),
        );
        black_box((Message::from("text"), Message::from(b"bytes")));
    });
    // Making a BytesMut shared, which freezing one with spare room does, is the crate's own.
    assert!(count <= 1, "{count} allocations");
    let (count, message) = allocations(|| Message::new([0_u64; 4]));
    assert_eq!(count, 1, "a large value is boxed");
    drop(message);
}

#[test]
fn gathering_allocates_nothing() {
    let buffers = vec![&b"0123456789"[..]; 2000];
    let (count, total) = allocations(|| {
        gather(
            buffers.iter().copied(),
            buffers.len(),
            usize::MAX,
            |slices, total| {
                black_box(slices);
                total
            },
        )
    });
    assert_eq!((count, total), (0, 10_240));
}
