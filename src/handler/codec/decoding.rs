//! [`Decoding`]: how a decoder is run in a pipeline. The handlers `ByteToMessage` and `Codec` are a decoder with
//! one of these each; it does what their inbound callbacks have in common.
//!
//! ```text
//! channel_read(bytes) -> cumulation -> decode -> fire_channel_read(message), resume -> decode -> ...
//! ```
//!
//! One message at a time: after each one, `ctx.resume()` lets the handlers after this one run first, and goes on only while
//! reading is wanted. So whoever removes or replaces the decoder, stops auto-read or closes on the k-th message of a read
//! does it before the next one is cut out, and what is left goes where it then belongs. What arrives while messages
//! are held back (also messages that are no bytes) waits behind them, in order.
//!
//! What is held back when the batch ends waits for a read() of somebody, perhaps for long. Then it is made our own, so
//! that a few bytes pin no receive arena; a connection that flows, also one that emits a thousand messages of one read by
//! `resume`, copies none of it.
//!
//! Errors are fired as they are met: behind the messages that were decoded before, ahead of those that come after. They go
//! to the handlers after this one, since this one has no use for them. Decoding goes on behind the bytes
//! that the decoder took; if it took none, and takes none when asked once more, it is not asked again before more have
//! come, and the same error is not told twice.

use std::any::{Any, type_name};
use std::collections::VecDeque;
use std::mem;

use super::cumulation::{Cumulation, Cumulator};
use crate::buffer::{Bytes, Message};
use crate::channel::Context;
use crate::codec::Decoder;
use crate::error::{Error, ErrorKind, Failure};
use crate::handler::queue::relax;

/// At the end of the input a decoder may give so many messages in a row without taking bytes: an end marker, and what it
/// may have kept inside. Ours; Netty's decodeLast may give any number, but only once.
const LAST_MESSAGES_MAX: u32 = 1024;

/// What happened since the last channel_read_complete: bits of one byte, so that one comparison tells a batch that ended
/// evenly.
///
/// | bit | meaning |
/// |---|---|
/// | 0 | bytes have come |
/// | 1 | a message has left |
/// | 2 | bytes stay though no resume was asked for: the decoder does not take them |
/// | 3 | single decode; this one stays set |
mod batch {
    pub(super) const RECEIVED: u8 = 1 << 0;
    pub(super) const FIRED: u8 = 1 << 1;
    pub(super) const LEFT: u8 = 1 << 2;
    pub(super) const SINGLE: u8 = 1 << 3;

    pub(super) const EVEN: u8 = RECEIVED | FIRED;
}

/// Whether a resume was asked for and has not come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Waiting {
    #[default]
    Not,
    Shortly,
    /// Since the end of a batch, or single decode was chosen meanwhile.
    Parked,
}

/// What a look at the bytes brought.
enum Found<T> {
    /// A message, and whether bytes were taken for it.
    Message(T, bool),
    /// The decoder failed, and whether it took bytes.
    Failed(Failure, bool),
    /// More bytes are needed.
    Nothing,
}

#[derive(Debug, Default)]
pub(super) struct Decoding {
    cumulation: Cumulation,
    /// What came while messages were held back.
    queue: VecDeque<Message>,
    /// The first so many of them were made our own: 0 <= kept <= queue.len()
    kept: usize,
    waiting: Waiting,
    /// Bits of [`batch`].
    batch: u8,
    /// The decoder failed without taking bytes.
    failed_idle: bool,
    /// It did so twice, or gave messages without taking bytes: not asked before more have come.
    stuck: bool,
    /// The end of the input was dealt with.
    ended: bool,
    /// Messages in a row for which no byte was taken, and how many may be.
    idle_messages: u32,
    idle_messages_max: u32,
}

impl Decoding {
    pub(super) fn set_cumulator(&mut self, cumulator: Cumulator) {
        self.cumulation.cumulator = cumulator;
    }

    pub(super) fn set_single_decode(&mut self, yes: bool) {
        self.batch &= !batch::SINGLE;
        if yes {
            self.batch |= batch::SINGLE;
            if self.waiting != Waiting::Not {
                self.waiting = Waiting::Parked;
            }
        }
    }

    #[inline]
    pub(super) fn is_single_decode(&self) -> bool {
        self.batch & batch::SINGLE != 0
    }

    pub(super) fn set_idle_messages_max(&mut self, count: u32) {
        self.idle_messages_max = count;
    }

    /// Received and not decoded, in bytes; without what waits behind messages that are held back.
    pub(super) fn pending_bytes(&self) -> usize {
        self.cumulation.len()
    }

    // ---- the callbacks

    #[inline]
    pub(super) fn channel_read<D>(&mut self, decoder: &mut D, ctx: &mut Context<'_>, msg: Message)
    where
        D: Decoder,
        D::Item: Any + Send,
    {
        if self.waiting != Waiting::Not || !self.queue.is_empty() {
            return self.queue_up(decoder, ctx, msg);
        }
        match msg.into_bytes_mut() {
            Ok(bytes) => {
                if self.batch == 0 {
                    self.batch = batch::RECEIVED;
                } else if self.batch & batch::RECEIVED == 0 {
                    // What was held back before has left on the credit of an earlier read().
                    self.batch = self.batch & !batch::FIRED | batch::RECEIVED;
                }
                self.stuck = false;
                self.failed_idle = false;
                self.ended = false;
                if self.cumulation.push(bytes, decoder.needs()) {
                    self.step(decoder, ctx);
                }
            }
            Err(other) => ctx.fire_channel_read(other),
        }
    }

    pub(super) fn channel_read_complete(&mut self, ctx: &mut Context<'_>) {
        if self.batch == batch::EVEN && self.waiting == Waiting::Not {
            self.batch = 0;
        } else {
            self.end_batch(ctx);
        }
        ctx.fire_channel_read_complete();
    }

    /// A batch ends that has brought a part of a message, or more than one and the rest is held back.
    #[inline(never)]
    fn end_batch(&mut self, ctx: &mut Context<'_>) {
        let batch = self.batch;
        self.batch = batch & batch::SINGLE;
        if self.waiting != Waiting::Not {
            self.waiting = Waiting::Parked;
            return self.keep(ctx);
        }
        if batch & (batch::LEFT | batch::SINGLE) != 0 {
            self.keep(ctx);
        }
        let starves = batch & batch::EVEN == batch::RECEIVED;
        #[cfg(tidegate_mutants)]
        let starves = starves && !tidegate_sys::os::sim::is_mutant("B11-part-of-a-record-stalls");
        if starves && !ctx.auto_read() {
            // Whoever asked for a message has got a part of one.
            ctx.read();
        }
    }

    pub(super) fn resume<D>(&mut self, decoder: &mut D, ctx: &mut Context<'_>)
    where
        D: Decoder,
        D::Item: Any + Send,
    {
        match self.waiting {
            Waiting::Not => {}
            Waiting::Shortly => {
                self.waiting = Waiting::Not;
                self.step(decoder, ctx);
            }
            Waiting::Parked => self.resume_parked(decoder, ctx),
        }
    }

    /// No more bytes will come: everything that is left is emitted. The decoder is told that this is the end, and what no message
    /// could be made of is an error of the peer's. Where the input was cut a part of a message is no message, whatever the
    /// decoder would make of it at an end, and no error: the pipeline has heard of a reset, and a close of this side is none.
    ///
    /// All in one callback: this is only reached when nothing is held back any more, except if a handler before this one
    /// made up the end of the input.
    pub(super) fn end<D>(&mut self, decoder: &mut D, ctx: &mut Context<'_>)
    where
        D: Decoder,
        D::Item: Any + Send,
    {
        if self.ended {
            return;
        }
        self.ended = true;
        self.waiting = Waiting::Not;
        self.batch &= !batch::FIRED;
        self.cumulation.join();
        while !self.queue.is_empty() {
            self.fire_next(decoder, ctx);
        }
        let is_whole = !ctx.input_was_cut();
        if is_whole {
            self.decode_last(decoder, ctx);
        } else {
            while self.fire_next(decoder, ctx) {}
        }
        if self.batch & batch::FIRED != 0 {
            ctx.fire_channel_read_complete();
        }
        let left = self.cumulation.take();
        if is_whole && !left.is_empty() && !self.stuck {
            ctx.fire_exception_caught(truncated::<D>(left.len()));
        }
    }

    /// The handler leaves: what is left goes on as bytes. After a replace it goes to the new handler.
    pub(super) fn removed(&mut self, ctx: &mut Context<'_>) {
        self.waiting = Waiting::Not;
        self.kept = 0;
        let rest = self.cumulation.take();
        if rest.is_empty() && self.queue.is_empty() {
            return;
        }
        if !rest.is_empty() {
            ctx.fire_channel_read(rest);
        }
        for msg in self.queue.drain(..) {
            ctx.fire_channel_read(msg);
        }
        ctx.fire_channel_read_complete();
    }

    // ---- decoding

    #[cold]
    fn queue_up<D>(&mut self, decoder: &mut D, ctx: &mut Context<'_>, msg: Message)
    where
        D: Decoder,
        D::Item: Any + Send,
    {
        self.queue.push_back(msg);
        if self.waiting == Waiting::Not {
            self.step(decoder, ctx);
        }
    }

    #[cold]
    fn resume_parked<D>(&mut self, decoder: &mut D, ctx: &mut Context<'_>)
    where
        D: Decoder,
        D::Item: Any + Send,
    {
        self.waiting = Waiting::Not;
        if self.is_single_decode() {
            return;
        }
        self.step(decoder, ctx);
        // Nobody tells when this chain of messages stops. What was too large to be kept may be small by now.
        self.keep(ctx);
        if self.waiting != Waiting::Not {
            self.waiting = Waiting::Parked;
        }
    }

    /// What is held back stays, nobody knows how long: it is to pin no receive arena.
    #[cold]
    fn keep(&mut self, ctx: &Context<'_>) {
        self.cumulation.keep();
        for msg in self.queue.iter_mut().skip(self.kept) {
            let came = mem::replace(msg, Bytes::new().into());
            *msg = ctx.compact(came);
        }
        self.kept = self.queue.len();
    }

    /// Emits the next message, or error, and asks to be resumed if there may be more.
    ///
    /// One function with all of `fire_next` and `look` in it, for reads and for resumes: where the compiler cut it elsewhere,
    /// a resumed message took 13 to 46 instructions more.
    #[inline(never)]
    fn step<D>(&mut self, decoder: &mut D, ctx: &mut Context<'_>)
    where
        D: Decoder,
        D::Item: Any + Send,
    {
        let emitted = self.fire_next(decoder, ctx);
        let goes_on = !self.queue.is_empty() || !self.stuck && !self.cumulation.is_empty();
        if emitted && goes_on && !self.is_single_decode() {
            self.waiting = Waiting::Shortly;
            ctx.resume();
        }
    }

    /// Emits the next message or error. False if there is none.
    #[inline(always)]
    fn fire_next<D>(&mut self, decoder: &mut D, ctx: &mut Context<'_>) -> bool
    where
        D: Decoder,
        D::Item: Any + Send,
    {
        loop {
            if !self.stuck && !self.cumulation.is_empty() {
                match self.look(decoder, D::decode) {
                    Found::Message(item, took) => {
                        self.cumulation.advanced();
                        self.fire(ctx, item);
                        self.failed_idle = false;
                        if took {
                            self.idle_messages = 0;
                        } else {
                            self.no_progress::<D>(ctx, self.idle_messages_max);
                        }
                        self.drop_empty();
                        return true;
                    }
                    Found::Failed(failure, took) => {
                        if self.failed(ctx, failure, took) {
                            return true;
                        }
                    }
                    Found::Nothing => {}
                }
            }
            let Some(msg) = self.queue.pop_front() else {
                return false;
            };
            self.kept = self.kept.saturating_sub(1);
            relax(&mut self.queue);
            match msg.into_bytes_mut() {
                Ok(bytes) => {
                    self.batch |= batch::RECEIVED;
                    self.stuck = false;
                    self.failed_idle = false;
                    self.cumulation.push(bytes, decoder.needs());
                }
                Err(other) => {
                    ctx.fire_channel_read(other);
                    return true;
                }
            }
        }
    }

    /// Lets the decoder look until it has found something or has seen all there is.
    #[inline(always)]
    fn look<D: Decoder>(
        &mut self,
        decoder: &mut D,
        decode: impl Fn(&mut D, &mut bytes::BytesMut) -> Result<Option<D::Item>, D::Error>,
    ) -> Found<D::Item> {
        let mut took_before = false;
        loop {
            let before = self.cumulation.visible();
            let decoded = decode(decoder, self.cumulation.src());
            let took = self.cumulation.visible() != before;
            match decoded {
                Ok(Some(item)) => return Found::Message(item, took || took_before),
                Ok(None) => {
                    if took {
                        took_before = true;
                        self.cumulation.advanced();
                    }
                    if took && self.cumulation.visible() > 0 || self.cumulation.more() {
                        continue;
                    }
                    self.cumulation.settle();
                    return Found::Nothing;
                }
                Err(error) => {
                    self.cumulation.advanced();
                    return Found::Failed(error.into(), took || took_before);
                }
            }
        }
    }

    /// The rest, with `decode_eof`.
    fn decode_last<D>(&mut self, decoder: &mut D, ctx: &mut Context<'_>)
    where
        D: Decoder,
        D::Item: Any + Send,
    {
        while self.cumulation.more() {}
        self.idle_messages = 0;
        while !self.stuck {
            match self.look(decoder, D::decode_eof) {
                Found::Message(item, took) => {
                    self.fire(ctx, item);
                    self.failed_idle = false;
                    if took {
                        self.idle_messages = 0;
                    } else {
                        self.no_progress::<D>(ctx, LAST_MESSAGES_MAX);
                    }
                }
                Found::Failed(failure, took) => {
                    self.failed(ctx, failure, took);
                }
                Found::Nothing => break,
            }
        }
    }

    #[inline]
    fn fire<T: Any + Send>(&mut self, ctx: &mut Context<'_>, item: T) {
        self.batch |= batch::FIRED;
        ctx.fire_channel_read(Message::new(item));
    }

    /// Fires an error. False if it only repeats the last one: the decoder took no byte, and neither did it then.
    #[cold]
    fn failed(&mut self, ctx: &mut Context<'_>, failure: Failure, took: bool) -> bool {
        let repeats = !took && self.failed_idle;
        // A decoder may note an error without taking bytes, and take them in its next call: it has one.
        self.failed_idle = !took && !repeats;
        self.stuck = repeats;
        self.batch |= batch::LEFT;
        if !repeats {
            ctx.fire_exception_caught(failure);
            self.drop_empty();
        }
        !repeats
    }

    /// A message for which no byte was taken.
    #[cold]
    fn no_progress<D: Decoder>(&mut self, ctx: &mut Context<'_>, allowed: u32) {
        self.idle_messages += 1;
        if self.idle_messages <= allowed {
            return;
        }
        self.idle_messages = 0;
        self.stuck = true;
        self.batch |= batch::LEFT;
        let name = short_name::<D>();
        ctx.fire_exception_caught(Error::new(
            ErrorKind::NoProgress,
            format!(
                "{name} gave a message without taking bytes; it is not asked again before more have come. A decoder that \
                 means it is given leave by `idle_messages_max`"
            ),
        ));
    }

    /// Lets go of the memory of an input that is used up.
    #[inline]
    fn drop_empty(&mut self) {
        if self.cumulation.visible() == 0 {
            self.cumulation.settle();
        }
    }
}

#[cold]
fn truncated<D>(bytes: usize) -> Error {
    let name = short_name::<D>();
    Error::new(
        ErrorKind::Truncated,
        format!("the input ended with {bytes} bytes of which {name} could make no whole message"),
    )
}

/// The last segment of a type's path, without generic parameters.
pub(super) fn short_name<T: ?Sized>() -> &'static str {
    let full = type_name::<T>();
    let bare = full.split('<').next().unwrap_or(full);
    bare.rsplit("::").next().unwrap_or(bare)
}
