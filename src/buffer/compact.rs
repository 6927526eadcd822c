//! Compaction: what waits in small pieces must not hold the memory that others receive into.
//!
//! The outbound buffer asks here when a flush blocks, decoders when what they hold back has to wait, and handlers with a
//! queue of their own by [`Context::compact`](crate::channel::Context::compact). What is on its way is none of its
//! business: it does not wait, and a copy would only cost.

use bytes::{Bytes, BytesMut};

use super::arena::{Arena, CHUNK_SIZE};
use super::message::Message;

/// From so many bytes on a piece may hold its chunk of the arena: together such pieces are worth an eighth of what they
/// pin. Smaller ones are copied.
pub(crate) const SMALL_MAX: usize = CHUNK_SIZE / 8;

/// Tells whether these are few bytes that pin a chunk of `arena`.
pub(crate) fn pins(bytes: &[u8], arena: &Arena) -> bool {
    bytes.len() < SMALL_MAX && arena.owns(bytes)
}

/// The message, with memory of its own if it is small; of the same type in any case.
///
/// A `BytesMut` is copied wherever it lies, since the arena of another loop cannot be asked, nor whoever lends memory to
/// encoders; nobody else has these bytes, so there are not more of them afterwards. A `Bytes` may be one of thousands of
/// handles of the same bytes, and is copied only out of `arena`.
pub(crate) fn compact(msg: Message, arena: &Arena) -> Message {
    if msg.readable_bytes().is_none_or(|bytes| bytes >= SMALL_MAX) {
        return msg;
    }
    match msg.downcast::<BytesMut>() {
        Ok(bytes) => BytesMut::from(&bytes[..]).into(),
        Err(msg) => match msg.as_bytes() {
            // Also an empty handle holds on to its memory.
            Some(bytes) if bytes.is_empty() || pins(bytes, arena) => {
                Bytes::copy_from_slice(bytes).into()
            }
            _ => msg,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(arena: &mut Arena, count: usize) -> BytesMut {
        arena
            .read(count, |room, _| {
                room.resize(count, 7);
                Ok(count)
            })
            .expect("the closure does not fail")
    }

    #[test]
    fn small_messages_leave_the_arena_as_what_they_were() {
        let mut arena = Arena::new();
        for count in [1, SMALL_MAX - 1] {
            let msg = Message::from(received(&mut arena, count));
            let msg = compact(msg, &arena).downcast::<BytesMut>().unwrap();
            assert!(msg.len() == count && !arena.owns(&msg));
            let msg = Message::from(received(&mut arena, count).freeze());
            let msg = compact(msg, &arena).downcast::<Bytes>().unwrap();
            assert!(msg.len() == count && !arena.owns(&msg));
        }
        let large = compact(received(&mut arena, SMALL_MAX).into(), &arena);
        assert!(arena.owns(large.as_bytes().unwrap()));
    }

    #[test]
    fn what_pins_no_arena_of_this_loop_is_copied_only_if_nobody_else_has_it() {
        let (arena, mut other) = (Arena::new(), Arena::new());
        let msg = compact(received(&mut other, 100).into(), &arena);
        assert!(!other.owns(msg.as_bytes().unwrap()));
        let shared = Bytes::from(vec![7; 100]);
        let msg = compact(shared.clone().into(), &arena);
        assert_eq!(msg.as_bytes().unwrap().as_ptr(), shared.as_ptr());
        let msg = compact(Message::new(7_u8), &arena);
        assert_eq!(msg.downcast_ref::<u8>(), Some(&7));
    }
}
