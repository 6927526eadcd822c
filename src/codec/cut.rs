//! The one way in which frame decoders take bytes out of their input.

use bytes::{Buf, BytesMut};

/// The first `frame` bytes without their first `strip`; both are gone from `src`, nothing is copied.
///
/// Callers keep `strip <= frame <= src.len()`.
///
/// Splitting costs an atomic increment here and a decrement when the frame is dropped. If the frame is all that there
/// is, and `src` has no room behind it that its owner might fill again, the buffer itself is handed over for free:
/// the case of one request per read, where the input was split off a receive arena.
#[inline]
pub(super) fn cut(src: &mut BytesMut, frame: usize, strip: usize) -> BytesMut {
    if frame == src.len() && src.capacity() == frame {
        let mut whole = std::mem::take(src);
        whole.advance(strip);
        return whole;
    }
    if strip > 0 {
        src.advance(strip);
    }
    src.split_to(frame - strip)
}

/// As [`cut`], for a frame with a delimiter of `tail` bytes behind it, which is kept or stripped.
#[inline]
pub(super) fn cut_before(src: &mut BytesMut, frame: usize, tail: usize, strip: bool) -> BytesMut {
    let mut out = cut(src, frame + tail, 0);
    if strip {
        out.truncate(frame);
    }
    out
}
