//! [`Cumulation`]: the bytes that a decoder has before it. `decoding` uses it; it knows no decoder and no channel.
//!
//! A read is given to the decoder as it came: nothing is copied, and frames are split off the memory that the kernel wrote
//! to. Copied is only what a read leaves behind (a frame that is not whole yet), into a buffer of our own, so that a few
//! bytes pin no receive arena. When more arrives, it is appended to those bytes piece by piece, each piece as
//! large as what is there already, until the decoder has taken the kept bytes; from there on it goes on in the
//! read itself:
//!
//! ```text
//! own buffer   [kept bytes | piece of the read]     the frame that straddles two reads ends in here
//! the read                 [piece of the read | . . . rest of the read . . . ]
//!                                        ^ the decoder goes on here, without a copy
//! ```
//!
//! So each frame is copied at most once, and only if it straddled (netty's merging cumulator copies the whole of the
//! later read). The own buffer is used again and again: a warm connection allocates nothing.
//!
//! The rest of a read that has to wait with whole messages in it (`keep`) goes into the own buffer, too, once and as soon
//! as it is small. So while reading is paused, whoever pins a chunk of the arena holds an eighth of one at least.

use std::mem;

use bytes::{Buf, BytesMut};

use crate::buffer::SMALL_MAX;

/// The least that is appended to kept bytes at a time, in bytes: the header of most protocols and a small frame fit.
const PIECE_MIN: usize = 256;

/// An own buffer that held more than this (in bytes) is not kept for the next remainder. It is the largest read (D11), so
/// frames up to that size are decoded without allocating however they straddle.
const KEPT_MAX: usize = 64 * 1024;

/// How inputs are put together while no whole message has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cumulator {
    /// Each input is appended to what is there: simple, and right for frames of up to a few reads.
    #[default]
    Merge,
    /// Inputs are kept as they are until as many bytes have come as the decoder needs
    /// ([`Decoder::needs`](crate::codec::Decoder::needs)), and are then joined in one step. For frames of many reads: each
    /// byte is copied once, into memory of the right size. The price is that the reads pin their arenas until then; those of
    /// less than 32 KiB do not, they are copied as they come. With a decoder that does not say what it needs this is `Merge`.
    Composite,
}

#[derive(Debug, Default)]
pub(super) struct Cumulation {
    /// What the decoder sees.
    src: BytesMut,
    /// Whether `src` is the own buffer.
    own: bool,
    /// The read whose beginning was copied behind the kept bytes; empty if there is none.
    read: BytesMut,
    /// How much of `read` was copied. 0 <= copied <= read.len().
    copied: usize,
    /// The own buffer while it is not in use; empty.
    spare: BytesMut,
    /// The most that the own buffer held, in bytes.
    own_max: usize,
    /// Inputs behind `src` that wait to be joined; only with [`Cumulator::Composite`].
    parts: Vec<BytesMut>,
    parts_len: usize,
    /// Whether the last of them is a copy, and grows by small inputs.
    copies: bool,
    pub(super) cumulator: Cumulator,
}

impl Cumulation {
    /// Takes an input behind what is there, of which the decoder needs at least `needs` bytes. True if it is to look.
    #[inline]
    pub(super) fn push(&mut self, input: BytesMut, needs: usize) -> bool {
        if self.src.is_empty() {
            self.rest_own();
            self.src = input;
            return true;
        }
        self.push_behind(input, needs)
    }

    fn push_behind(&mut self, input: BytesMut, needs: usize) -> bool {
        // Decoding stopped before the last input was used up: after an error, or with single decode.
        while self.more() {}
        if self.cumulator == Cumulator::Merge {
            self.read = input;
            self.more();
            return true;
        }
        self.push_part(input);
        let is_enough = self.src.len() + self.parts_len >= needs;
        if is_enough {
            self.join();
        }
        is_enough
    }

    /// A small input is copied: of few bytes the whole block that they were read into would wait, and a peer may send one byte
    /// at a time.
    fn push_part(&mut self, input: BytesMut) {
        if input.len() >= SMALL_MAX {
            self.parts_len += input.len();
            self.copies = false;
            self.parts.push(input);
        } else if self.parts.is_empty() {
            self.make_own(input.len());
            self.src.extend_from_slice(&input);
            self.own_max = self.own_max.max(self.src.len());
        } else {
            self.parts_len += input.len();
            match self.parts.last_mut() {
                Some(last) if self.copies => last.extend_from_slice(&input),
                _ => self.parts.push(BytesMut::from(&input[..])),
            }
            self.copies = true;
        }
    }

    /// Appends the inputs that wait.
    pub(super) fn join(&mut self) {
        if self.parts.is_empty() {
            return;
        }
        self.make_own(self.parts_len);
        for part in self.parts.drain(..) {
            self.src.extend_from_slice(&part);
        }
        self.own_max = self.own_max.max(self.src.len());
        self.parts_len = 0;
    }

    /// What the decoder sees.
    #[inline]
    pub(super) fn src(&mut self) -> &mut BytesMut {
        &mut self.src
    }

    /// How much the decoder sees, in bytes.
    #[inline]
    pub(super) fn visible(&self) -> usize {
        self.src.len()
    }

    /// All that was not decoded yet, in bytes.
    pub(super) fn len(&self) -> usize {
        self.src.len() + (self.read.len() - self.copied) + self.parts_len
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.src.is_empty() && self.read.is_empty() && self.parts.is_empty()
    }

    /// The decoder has taken bytes: if those kept are gone, it goes on in the read itself.
    #[inline]
    pub(super) fn advanced(&mut self) {
        if self.read.is_empty() || self.src.len() > self.copied {
            return;
        }
        let mut read = mem::take(&mut self.read);
        read.advance(self.copied - self.src.len());
        self.copied = 0;
        self.rest_own();
        self.src = read;
    }

    /// Shows the decoder more of the read. False if it has seen everything.
    pub(super) fn more(&mut self) -> bool {
        let left = self.read.len() - self.copied;
        if left == 0 {
            self.read = BytesMut::new();
            self.copied = 0;
            return false;
        }
        let piece = left.min(self.src.len().max(PIECE_MIN));
        self.make_own(piece);
        self.src
            .extend_from_slice(&self.read[self.copied..self.copied + piece]);
        self.own_max = self.own_max.max(self.src.len());
        self.copied += piece;
        true
    }

    /// Nothing more can be decoded: what is left is copied out of the memory that was read into.
    #[inline]
    pub(super) fn settle(&mut self) {
        if self.own {
            return;
        }
        if self.src.is_empty() {
            // Also an empty buffer holds on to its memory.
            self.src = BytesMut::new();
        } else {
            self.make_own(0);
        }
    }

    /// What is there has to wait: what is left of a read is copied out of the memory that was read into, if it is small.
    pub(super) fn keep(&mut self) {
        let left = self.read.len() - self.copied;
        if !self.own && self.src.len() < SMALL_MAX {
            self.settle();
        } else if !self.read.is_empty() && left < SMALL_MAX {
            if left > 0 {
                self.make_own(left);
            }
            while self.more() {}
        }
    }

    /// Gives away everything, and begins anew.
    pub(super) fn take(&mut self) -> BytesMut {
        while self.more() {}
        self.join();
        self.own = false;
        self.own_max = 0;
        mem::take(&mut self.src)
    }

    /// Puts what the decoder sees into the own buffer, with room for so many more bytes.
    fn make_own(&mut self, room: usize) {
        // One byte more than needed: a decoder that takes all of a full buffer may take the buffer with it.
        let room = room + 1;
        if self.own {
            self.src.reserve(room);
            return;
        }
        let mut buffer = mem::take(&mut self.spare);
        buffer.reserve(self.src.len() + room);
        buffer.extend_from_slice(&self.src);
        self.own_max = self.own_max.max(buffer.len());
        self.src = buffer;
        self.own = true;
    }

    /// The own buffer, if `src` is it, rests until there is something to keep again.
    #[inline]
    fn rest_own(&mut self) {
        if !self.own {
            return;
        }
        self.own = false;
        let mut buffer = mem::take(&mut self.src);
        if self.own_max <= KEPT_MAX {
            buffer.clear();
            self.spare = buffer;
        }
        self.own_max = 0;
    }
}
