//! The one way in which frame decoders take bytes out of their input.

use bytes::{Buf, BytesMut};

/// The `frame` bytes behind the first `head`; those, and `tail` more behind the frame, are gone from `src` as well.
/// Nothing is copied.
///
/// Callers keep `head + frame + tail <= src.len()`.
///
/// Splitting costs an atomic increment here and a decrement when the frame is dropped, half of what a small frame
/// costs. If the frame is all that there is, and `src` has no room behind it that its owner might fill again, the
/// buffer itself is handed over for free: the case of one request per read, where the input was split off a receive
/// arena.
///
/// The value of `split_to` is returned as it comes: collected with that of [`whole`] in a variable first, it is copied by
/// 16 bytes at a time what was just written by 8, and the processor waits for the stores (a third of the time of
/// decoding and encoding a frame of 64 bytes).
#[inline]
pub(super) fn cut(src: &mut BytesMut, head: usize, frame: usize, tail: usize) -> BytesMut {
    if head + frame + tail == src.len() && src.capacity() == src.len() {
        return whole(src, head, frame);
    }
    if head > 0 {
        src.advance(head);
    }
    let mut out = src.split_to(frame + tail);
    out.truncate(frame);
    out
}

fn whole(src: &mut BytesMut, head: usize, frame: usize) -> BytesMut {
    let mut whole = std::mem::take(src);
    whole.advance(head);
    whole.truncate(frame);
    whole
}
