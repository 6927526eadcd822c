//! [`ChunkedWrite`]: pulls chunks while the channel takes them (rule H53).
//!
//! What was written behind a chunked message waits for its last chunk; a plain message with nothing before it passes.
//! Chunks are flushed together, a few at a time (Netty flushes each): up to the high watermark goes out in one
//! gathering write, and no more than that and one chunk is ever in memory. The outcome of each chunk comes back by
//! [`write_done`](Handler::write_done) under the number of its transfer, in order.

use std::collections::VecDeque;
use std::time::Duration;

use super::input::{NextChunk, Resumer};
use super::message::Chunked;
use super::transfer::Transfer;
use crate::buffer::Message;
use crate::channel::{Context, DrainHold, Handler, HandlerResult};
use crate::error::{Error, ErrorKind};
use crate::future::Promise;
use crate::handler::queue::relax;

/// Chunks per flush if nobody says otherwise: with chunks of 8 KiB a little more than the default watermark, so it
/// only matters to inputs whose chunks count little (file regions count nothing).
const CHUNKS_PER_FLUSH: usize = 16;

/// The only timer there is.
const GO_ON: u64 = 0;

enum Entry {
    Plain(Message, Promise),
    Transfer(Transfer),
}

/// Sends [`Chunked`] messages chunk by chunk, while the channel is writable. It stands anywhere in a pipeline; what
/// encodes the chunks (TLS, compression) stands nearer to the head.
///
/// - Order is kept: what is written behind a chunked message follows its last chunk.
/// - A chunked message needs a flush, as every write does.
/// - What waits here is not counted by `is_writable()`, which concerns the outbound buffer: who writes many messages
///   behind a long transfer should wait for its promise.
/// - A [drain](crate::EventLoopGroup::drain) waits for what waits here.
/// - An input that fails is closed, and its promise fails; what waits behind it goes on.
/// - When the channel ends, inputs that are not done are closed and their promises fail with
///   [`ErrorKind::ChannelClosed`].
/// - Taken out of the pipeline, it writes the plain messages that wait; transfers with something left to pull fail
///   with [`ErrorKind::NoSuchHandler`].
///
/// ```
/// use tidegate::handler::stream::{Chunked, ChunkedBytes, ChunkedWrite};
/// use tidegate::{EmbeddedChannel, Message};
///
/// let mut channel = EmbeddedChannel::new(|pipeline| pipeline.add_last(ChunkedWrite::new()))?;
/// let body = Chunked::new(ChunkedBytes::new("abcdef").chunk_size(4));
/// let sent = channel.run(|channel| channel.write_and_flush(Message::new(body)));
/// assert!(sent.is_success());
/// assert_eq!(channel.read_outbound().unwrap().as_bytes(), Some(&b"abcd"[..]));
/// assert_eq!(channel.read_outbound().unwrap().as_bytes(), Some(&b"ef"[..]));
/// # Ok::<(), tidegate::Failure>(())
/// ```
pub struct ChunkedWrite {
    /// What waits, in order. The first is never plain between two callbacks.
    queue: VecDeque<Entry>,
    /// How many of these were flushed.
    flushed: usize,
    /// Pulled to their end, with chunks that are not done.
    finishing: VecDeque<Transfer>,
    chunks_per_flush: usize,
    /// The number of the next transfer.
    next_id: u64,
    is_timed: bool,
    has_ended: bool,
    /// A channel that is to be closed waits for the queue.
    drain: DrainHold,
}

impl ChunkedWrite {
    /// A handler that flushes at least every 16 chunks.
    pub fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            flushed: 0,
            finishing: VecDeque::new(),
            chunks_per_flush: CHUNKS_PER_FLUSH,
            next_id: 0,
            is_timed: false,
            has_ended: false,
            drain: DrainHold::default(),
        }
    }

    /// Flushes after so many chunks (at least one), if the channel did not turn unwritable before. Then other channels
    /// of the loop have their turn.
    #[must_use]
    pub fn chunks_per_flush(mut self, chunks: usize) -> Self {
        self.chunks_per_flush = chunks.max(1);
        self
    }

    /// Asks a suspended input again. From elsewhere:
    /// `handle.run(|chunked: &mut ChunkedWrite, ctx| { chunked.resume_transfer(ctx); Ok(()) })`.
    pub fn resume_transfer(&mut self, ctx: &mut Context<'_>) {
        self.pump(ctx);
    }

    /// How many messages wait, chunked and plain ones.
    pub fn pending(&self) -> usize {
        self.queue.len()
    }

    /// Writes until the channel has enough, the first input has nothing, or others should have their turn.
    fn pump(&mut self, ctx: &mut Context<'_>) {
        let mut chunks = 0;
        let mut is_unflushed = false;
        loop {
            match self.queue.front() {
                None => break,
                Some(Entry::Plain(..)) => {
                    if self.flushed == 0 && is_unflushed {
                        // The flush that is due ends before this one.
                        ctx.flush();
                        is_unflushed = false;
                    }
                    is_unflushed |= self.pass_plain(ctx);
                }
                Some(Entry::Transfer(_)) if self.flushed == 0 || !ctx.is_writable() => break,
                Some(Entry::Transfer(_)) if chunks == self.chunks_per_flush => {
                    self.go_on_later(ctx);
                    break;
                }
                Some(Entry::Transfer(_)) => {
                    if !self.pull(ctx) {
                        break;
                    }
                    chunks += 1;
                    is_unflushed = true;
                }
            }
        }
        if is_unflushed {
            ctx.flush();
        }
        if self.queue.is_empty() {
            self.drain.let_go();
        }
    }

    /// Passes the first entry, which is plain. True if it was flushed.
    fn pass_plain(&mut self, ctx: &mut Context<'_>) -> bool {
        let was_flushed = self.flushed > 0;
        if let Some(Entry::Plain(msg, promise)) = self.pop() {
            ctx.write_with(msg, promise);
        }
        was_flushed
    }

    /// Takes the first entry out.
    fn pop(&mut self) -> Option<Entry> {
        self.flushed = self.flushed.saturating_sub(1);
        let first = self.queue.pop_front();
        relax(&mut self.queue);
        first
    }

    fn pop_transfer(&mut self) -> Option<Transfer> {
        match self.pop()? {
            Entry::Transfer(transfer) => Some(transfer),
            Entry::Plain(..) => None,
        }
    }

    /// One step of the first entry, which is a transfer. False if it is suspended.
    fn pull(&mut self, ctx: &mut Context<'_>) -> bool {
        let Some(Entry::Transfer(transfer)) = self.queue.front_mut() else {
            return false;
        };
        let Some(input) = transfer.input(|| resumer(ctx)) else {
            // Cancelled before it began: its promise has its outcome.
            drop(self.pop());
            return true;
        };
        match input.next_chunk() {
            Ok(NextChunk::Suspended) => return false,
            Ok(NextChunk::Chunk(chunk)) => write_chunk(transfer, chunk, ctx, false),
            Ok(NextChunk::Last(chunk)) => {
                write_chunk(transfer, chunk, ctx, true);
                self.finish_first();
            }
            Ok(NextChunk::End) => {
                transfer.close_input();
                self.finish_first();
            }
            Err(failure) => {
                let error = failure.into_error();
                if let Some(transfer) = self.pop_transfer() {
                    fail(transfer, ctx, &error);
                }
            }
        }
        true
    }

    /// The first transfer has nothing left to pull.
    fn finish_first(&mut self) {
        let Some(transfer) = self.pop_transfer() else {
            return;
        };
        if transfer.is_done() {
            transfer.succeed();
        } else {
            self.finishing.push_back(transfer);
        }
    }

    fn go_on_later(&mut self, ctx: &mut Context<'_>) {
        if !self.is_timed {
            self.is_timed = true;
            ctx.timer(Duration::ZERO, GO_ON);
        }
    }

    /// A chunk of transfer `id` is done.
    fn chunk_done(&mut self, ctx: &mut Context<'_>, id: u64, result: &Result<(), Error>) {
        if let Some(at) = self.finishing.iter().position(|each| each.id == id) {
            let transfer = &mut self.finishing[at];
            match result {
                Ok(()) => transfer.chunk_done(),
                Err(error) => {
                    if let Some(transfer) = self.finishing.remove(at) {
                        fail(transfer, ctx, error);
                    }
                    return;
                }
            }
            if transfer.is_done()
                && let Some(transfer) = self.finishing.remove(at)
            {
                transfer.succeed();
            }
            return;
        }
        // A transfer that has failed is not there any more, and its other chunks concern nobody.
        if let Some(Entry::Transfer(transfer)) = self.queue.front_mut()
            && transfer.id == id
        {
            match result {
                Ok(()) => transfer.chunk_done(),
                Err(error) => {
                    if let Some(transfer) = self.pop_transfer() {
                        fail(transfer, ctx, error);
                    }
                    self.pump(ctx);
                }
            }
        }
    }

    /// The channel has ended: everything fails.
    fn discard(&mut self, ctx: &mut Context<'_>) {
        self.has_ended = true;
        self.drain.let_go();
        self.flushed = 0;
        let error = closed();
        for transfer in self.finishing.drain(..) {
            fail(transfer, ctx, &error);
        }
        for entry in self.queue.drain(..) {
            match entry {
                Entry::Transfer(transfer) => fail(transfer, ctx, &error),
                Entry::Plain(msg, promise) => {
                    drop(msg);
                    if promise.is_void() {
                        ctx.count_unobserved_failure(&error);
                    }
                    promise.try_failure(error.clone());
                }
            }
        }
    }
}

/// Ends a transfer whose failure is at least counted.
fn fail(transfer: Transfer, ctx: &mut Context<'_>, error: &Error) {
    if !transfer.fail(error) {
        ctx.count_unobserved_failure(error);
    }
}

impl Default for ChunkedWrite {
    fn default() -> Self {
        Self::new()
    }
}

impl Handler for ChunkedWrite {
    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        if !msg.is::<Chunked>() {
            if self.queue.is_empty() {
                ctx.write_with(msg, promise);
            } else {
                let msg = ctx.compact(msg);
                self.queue.push_back(Entry::Plain(msg, promise));
            }
            return Ok(());
        }
        if self.has_ended || !ctx.channel().is_open() {
            promise.try_failure(closed());
            return Ok(());
        }
        if let Ok(message) = msg.downcast::<Chunked>() {
            let transfer = Transfer::new(self.next_id, message, promise);
            self.next_id += 1;
            self.queue.push_back(Entry::Transfer(transfer));
            self.drain.keep();
        }
        Ok(())
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.flushed = self.queue.len();
        // What has passed before is flushed as well, whatever the inputs have to say.
        ctx.flush();
        self.pump(ctx);
        Ok(())
    }

    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        if self.drain.hears(&event) && !self.queue.is_empty() {
            self.drain.keep();
            self.flush(ctx)?;
        }
        ctx.fire_user_event_triggered(event);
        Ok(())
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.pump(ctx);
        ctx.fire_channel_writability_changed();
        Ok(())
    }

    fn write_done(
        &mut self,
        ctx: &mut Context<'_>,
        key: u64,
        result: Result<(), Error>,
    ) -> HandlerResult {
        self.chunk_done(ctx, key, &result);
        Ok(())
    }

    fn timer(&mut self, ctx: &mut Context<'_>, _key: u64) -> HandlerResult {
        self.is_timed = false;
        self.pump(ctx);
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.discard(ctx);
        ctx.fire_channel_inactive();
        Ok(())
    }

    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if !ctx.channel().is_open() {
            self.discard(ctx);
            return Ok(());
        }
        for mut transfer in self.finishing.drain(..) {
            transfer.let_go();
        }
        let error = Error::new(
            ErrorKind::NoSuchHandler,
            "the ChunkedWrite that pulled the chunks was taken out of the pipeline; remove it when nothing is pending",
        );
        let mut is_unflushed = false;
        while let Some(entry) = self.queue.front() {
            if matches!(entry, Entry::Plain(..)) {
                if self.flushed == 0 && is_unflushed {
                    ctx.flush();
                    is_unflushed = false;
                }
                is_unflushed |= self.pass_plain(ctx);
            } else if let Some(transfer) = self.pop_transfer() {
                fail(transfer, ctx, &error);
            }
        }
        if is_unflushed {
            ctx.flush();
        }
        Ok(())
    }
}

/// Writes a chunk so that its outcome comes back. After the last one the input is closed before the chunk leaves.
fn write_chunk(transfer: &mut Transfer, chunk: Message, ctx: &mut Context<'_>, is_last: bool) {
    let promise = ctx.new_promise();
    transfer.wrote(promise.completion());
    if is_last {
        transfer.close_input();
    }
    ctx.notify(&promise, transfer.id);
    ctx.write_with(chunk, promise);
}

fn resumer(ctx: &Context<'_>) -> Resumer {
    let handle = ctx.handle::<ChunkedWrite>();
    Resumer::new(move || {
        // A handler that is gone has nothing to resume.
        let _ = handle.run(|chunked, ctx| {
            chunked.resume_transfer(ctx);
            Ok(())
        });
    })
}

fn closed() -> Error {
    Error::new(
        ErrorKind::ChannelClosed,
        "the channel closed before all chunks were sent",
    )
}

impl std::fmt::Debug for ChunkedWrite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkedWrite")
            .field("pending", &self.queue.len())
            .field("finishing", &self.finishing.len())
            .finish_non_exhaustive()
    }
}
