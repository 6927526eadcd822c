//! The read side: when reading is wanted, and the batch of reads (rules D1 to D26). How an input ends is in `input_end`.
//!
//! `READABLE` is sticky: set by readiness, cleared when a read found nothing or drained the source. Reading goes on
//! from the ready list without a new edge whenever it is set and a read() is pending.

use std::io;
use std::mem;

use bytes::BytesMut;
use tidegate_sys::os::{Ready, io as sys};

use super::core::{Core, Gate, Root, attention, flag};
use super::events::PeerClosing;
use super::lifetime::Life;
use super::node::{HEAD, Index};
use super::signal::Signal;
use super::slow::Inbound;
use super::stream::{self, PeerOf};
use super::transport::{Read, ReadBytes, Services};
use crate::buffer::{Message, RecvPredictor};
use crate::error::{Error, ErrorKind};
use crate::event_loop::{EventLoop, Metrics};
use crate::future::Promise;

/// Edges that find reading paused before read interest is dropped at an edge-triggered selector. One system call
/// then, and one when reading resumes, against one wasted wake-up per segment of a peer that keeps sending.
const WASTED_EDGES_MAX: u8 = 16;

/// What can mean that a read brings something: data, an end, an errno.
const READABLE: Ready = Ready::READABLE
    .union(Ready::READ_CLOSED)
    .union(Ready::HANGUP)
    .union(Ready::ERROR)
    .union(Ready::PRIORITY);

/// How a batch of reads ended.
pub(crate) enum BatchEnd {
    /// Nothing more now, or the limit.
    Quiet,
    /// Nothing more after this message.
    Last(Message),
    /// Nothing came.
    Unread,
    Eof,
    Failed(Error),
}

/// Marks that a batch runs. If the transport panics in it, the channel is not left mute: it closes.
struct Batch<'a>(&'a Core);

impl<'a> Batch<'a> {
    fn begin(core: &'a Core) -> Self {
        core.set(flag::READ_BATCH);
        Self(core)
    }
}

impl Batch<'_> {
    /// The transport has done its part.
    #[inline]
    fn end(self) {
        self.0.clear(flag::READ_BATCH);
        mem::forget(self);
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.0.clear(flag::READ_BATCH);
        if std::thread::panicking() {
            let error = Error::new(
                ErrorKind::HandlerPanicked,
                "the transport panicked while it was read",
            );
            self.0.push_root(Root::Close(error, Promise::void()));
        }
    }
}

impl Core {
    // ---- wanting to read

    #[inline]
    pub(crate) fn auto_read(&self) -> bool {
        self.has(flag::AUTO_READ) || self.auto_read_elsewhere()
    }

    /// On another group's loop auto-read is the channel's.
    #[cold]
    fn auto_read_elsewhere(&self) -> bool {
        let wished = || self.shared.wished_auto_read();
        self.shared.serves_another() && wished().unwrap_or_else(|| self.face().auto_read())
    }

    /// What a resume asks before it runs: auto-read, a read() that was not used up, or an input that has ended; and that no handler
    /// behind it, on another group's loop, has more on its way than it may.
    pub(crate) fn reading_wanted(&self, index: Index) -> bool {
        if self.shared.holds() != 0 {
            return self.reading_wanted_though_held(index);
        }
        self.has(flag::AUTO_READ | flag::READ_PENDING | flag::DRAINING)
            || self.auto_read_elsewhere()
    }

    /// Auto-read does not count for those before a relay that holds.
    #[cold]
    fn reading_wanted_though_held(&self, index: Index) -> bool {
        self.has(flag::READ_PENDING | flag::DRAINING) || self.auto_read() && !self.is_held_at(index)
    }

    /// Switches auto-read (D2). On asks for a read through the pipeline.
    pub(crate) fn set_auto_read(&self, on: bool) {
        if self.shared.serves_another() {
            return self.ask_for_auto_read(on);
        }
        if on == self.auto_read() {
            return;
        }
        self.shared.publish_auto_read(on);
        if on {
            self.set(flag::AUTO_READ);
            if self.life.get() == Life::Active {
                self.op_read_from_tail();
            }
        } else {
            self.clear(flag::AUTO_READ | flag::READ_PENDING);
            self.update_interest();
            self.tell_not_reading();
        }
    }

    /// The transport hears that nothing more is wanted, if it has heard the contrary and that is true no longer.
    fn tell_not_reading(&self) {
        let is_told = self.has(flag::READING_TOLD) && self.life.get() < Life::Closing;
        if !is_told || self.has(flag::AUTO_READ | flag::READ_PENDING) {
            return;
        }
        if self.in_transport.get() {
            return self.push_root(Root::Call(Gate::new(Self::tell_not_reading)));
        }
        self.clear(flag::READING_TOLD);
        self.with_transport(|transport, io| transport.reading(io, false));
    }

    /// A handler on another group's loop switches auto-read: behind what it has asked for before.
    #[cold]
    fn ask_for_auto_read(&self, on: bool) {
        self.shared.begin_switching(on);
        let side = self.shared.clone();
        let sent = self.face().submit_beyond(move |core| {
            core.enter(|core| core.set_auto_read(on));
            side.end_switching();
        });
        if !sent {
            self.shared.end_switching();
        }
    }

    #[inline(always)]
    pub(crate) fn head_read(&self) {
        // Where it changes nothing but the flag, there is nothing to tell anybody.
        const NEWS: u32 = flag::READABLE | flag::READ_MASKED | flag::PARKED_FD | flag::LEVEL;
        let before = self.flags.get();
        self.flags.set(before | flag::READ_PENDING);
        let told = before & flag::READING_TOLD != 0;
        if told && before & flag::READ_PENDING != 0 {
            return;
        }
        if told && before & NEWS == 0 && !self.in_transport.get() {
            return self.wasted_edges.set(0);
        }
        self.head_read_news(before);
    }

    #[inline(never)]
    fn head_read_news(&self, before: u32) {
        if self.in_transport.get() {
            return self.push_root(Root::HeadOp(super::op::Op::Read));
        }
        // What reads after the close reads nothing, and its transport is not asked any more.
        if self.life.get() >= Life::Closing {
            return;
        }
        if before & flag::READING_TOLD == 0 {
            self.set(flag::READING_TOLD);
            self.with_transport(|transport, io| transport.reading(io, true));
        }
        self.wasted_edges.set(0);
        self.update_interest();
        if self.has(flag::READABLE) && !self.batching() {
            self.push_ready();
        }
    }

    /// True inside a batch of reads, which looks at the flags itself when it ends.
    fn batching(&self) -> bool {
        self.has(flag::READ_BATCH)
    }

    // ---- readiness

    /// The selector says that something can be done, and the channel is not active.
    pub(super) fn inactive_ready(&self, ready: Ready) {
        self.seen.set(self.seen.get() | ready);
        if self.life.get() == Life::Connecting {
            if ready.intersects(READABLE) {
                // The peer may have sent already, and this edge does not come again.
                self.set(flag::READABLE);
            }
            self.enter(Self::check_connect);
        }
    }

    /// The selector says that something can be done.
    #[inline]
    pub(super) fn active_ready(&self, ready: Ready) {
        // What keeps data that came from being read, or comes before it. Most often there is nothing of it.
        const IN_THE_WAY: u32 =
            flag::WRITE_BLOCKED | flag::INPUT_SHUT | flag::PAUSED | flag::READ_ERROR;
        let flags = self.flags.get();
        self.seen.set(self.seen.get() | ready);
        if flags & (flag::READ_PENDING | IN_THE_WAY) == flag::READ_PENDING
            && attention::is_none(self.attention.get())
            && ready.intersects(Ready::READABLE)
            && !ready.intersects(Ready::ERROR)
        {
            self.flags.set(flags | flag::READABLE);
            return self.read_batch();
        }
        self.active_ready_slow(ready);
    }

    #[cold]
    #[inline(never)]
    fn active_ready_slow(&self, ready: Ready) {
        // Data that can go out first, then data that came in, so that a peer's closing is seen last (D14).
        if self.has(flag::WRITE_BLOCKED)
            && ready.intersects(Ready::WRITABLE | Ready::ERROR | Ready::HANGUP)
        {
            self.clear(flag::WRITE_BLOCKED);
            self.enter(Self::flush_more);
            // It may have found the connection gone; then there is nothing left to read an errno from.
            if self.life.get() != Life::Active {
                return;
            }
        }
        if !ready.intersects(READABLE) {
            return;
        }
        if self.has(flag::INPUT_SHUT) {
            return self.shut_ready(ready);
        }
        #[cfg(tidegate_mutants)]
        if tidegate_sys::os::sim::is_mutant("B1-hint-ends-input") {
            if ready.intersects(Ready::READ_CLOSED) {
                return self.enter(Self::end_of_input);
            }
        }
        self.set(flag::READABLE);
        if ready.intersects(Ready::ERROR) {
            // The errno is read out even while reading is paused: the connection is gone.
            self.set(flag::READ_ERROR);
        }
        // While resumes are left over nothing is read; the ready list comes back to it.
        if self.has(flag::PAUSED) || self.attention.get() & attention::SUSPENDED != 0 {
            return;
        }
        if self.has(flag::READ_PENDING | flag::READ_ERROR) {
            self.read_on();
        } else {
            self.paused_ready(ready);
        }
    }

    /// A batch of reads, if one is wanted still when what waited in the root queue has run: it came first.
    #[inline(never)]
    fn read_on(&self) {
        if self.attention.get() & (attention::ROOTS | attention::SUSPENDED) == attention::ROOTS {
            self.enter(|_| {});
        }
        let flags = self.flags.get();
        if flags & flag::READABLE != 0
            && flags & (flag::READ_PENDING | flag::READ_ERROR) != 0
            && flags & (flag::INPUT_SHUT | flag::PAUSED) == 0
            && self.life.get() == Life::Active
            // The ready list comes round for a dispatch that was suspended, and then here.
            && self.attention.get() & attention::SUSPENDED == 0
        {
            self.read_batch();
        }
    }

    /// The event for a peer that ends its side while reading is paused, once.
    pub(crate) fn tell_peer_closing(&self) {
        if !self.has(flag::PEER_CLOSING_TOLD) {
            self.set(flag::PEER_CLOSING_TOLD);
            self.push_root(Root::Message(Inbound::UserEvent, Message::new(PeerClosing)));
        }
    }

    /// Readiness while reading is paused: data and end of input stay in the kernel.
    #[cold]
    fn paused_ready(&self, ready: Ready) {
        #[cfg(tidegate_mutants)]
        if tidegate_sys::os::sim::is_mutant("B1-edge-forgotten") {
            self.clear(flag::READABLE);
        }
        if ready.intersects(Ready::READ_CLOSED | Ready::HANGUP) {
            self.enter(Self::tell_peer_closing);
            // The pipeline may have answered with a read() or a close.
            if self.life.get() != Life::Active || self.has(flag::READ_PENDING) {
                return;
            }
        }
        if self.tells_edges() {
            let wasted = self.wasted_edges.get() + 1;
            self.wasted_edges.set(wasted.min(WASTED_EDGES_MAX));
            if wasted >= WASTED_EDGES_MAX && !self.has(flag::READ_MASKED) {
                self.set(flag::READ_MASKED);
                self.lp.metrics().channel.read_masks.add(1);
                self.remask_all(false);
            }
        } else {
            self.silence(ready);
        }
    }

    /// The ready list came round.
    pub(crate) fn on_continue(&self) {
        // Whoever has closed a descriptor calls past the ready list's mark; other work left is no reason to try again.
        if self.has(flag::PAUSED) && !self.has(flag::IN_READY_LIST) {
            self.clear(flag::PAUSED);
            self.update_interest();
        }
        self.clear(flag::IN_READY_LIST);
        if self.attention.get() & attention::SUSPENDED != 0 {
            self.unsuspend();
            self.enter(|_| {});
            if self.attention.get() & attention::SUSPENDED != 0 {
                return;
            }
        }
        if self.has(flag::FLUSH_YIELDED) {
            self.clear(flag::FLUSH_YIELDED);
            self.enter(Self::flush_more);
        }
        self.read_on();
    }

    // ---- a batch of reads

    /// Reads until the source is empty, the limit is reached or reading is no longer wanted; then
    /// channel_read_complete, then what the end of the batch brought.
    #[inline(always)]
    fn read_batch(&self) {
        let batch = Batch::begin(self);
        let transport = self.transport.borrow();
        let Some(socket) = transport.receiver() else {
            drop(transport);
            return self.read_batch_otherwise(batch);
        };
        let room = self.predictor.get().first_room();
        let mut arena = self.lp.arena().borrow_mut();
        let read = arena.read(room, |memory, max| sys::recv_into(socket, memory, max));
        drop(arena);
        drop(transport);
        match read {
            // Most batches are one message. It goes to the slot from here: each function that it is given to by value copies it
            // once more.
            Ok(bytes)
                if (1..room).contains(&bytes.len())
                    && self.io().short_read_drains()
                    && self.first_kind.get() == Inbound::None =>
            {
                batch.end();
                let len = bytes.len();
                if !self.predictor.get().learns_nothing_below_room(len) {
                    self.learn_only(len);
                }
                self.fill_slot(Message::from(bytes));
                self.deliver_with_end();
                self.after_batch();
            }
            read => {
                let first = self.first_read(read, room);
                self.read_batch_on(batch, first);
            }
        }
    }

    /// What a first read means that is not the whole batch.
    #[inline(never)]
    fn first_read(&self, read: io::Result<BytesMut>, room: usize) -> Result<Read, Error> {
        self.predict(|predictor| {
            predictor.reset();
            if let Ok(bytes) = &read
                && !bytes.is_empty()
            {
                predictor.record(bytes.len());
            }
        });
        let read = read.map(|bytes| ReadBytes::of(bytes, room));
        let transport = self.transport.borrow();
        stream::received(read, self.io().short_read_drains(), &PeerOf(&**transport))
    }

    /// The same where a read is more than a call.
    #[inline(never)]
    fn read_batch_otherwise(&self, batch: Batch<'_>) {
        self.predict(RecvPredictor::reset);
        let first = self.with_transport(|transport, io| transport.read(io));
        self.read_batch_on(batch, first);
    }

    /// The rest of a batch, from what its first read has brought. Where reading was asked for again at its end and there is
    /// more, the next batch follows at once, within one limit for all of them.
    #[inline(never)]
    fn read_batch_on(&self, batch: Batch<'_>, first: Result<Read, Error>) {
        let mut reads = 0;
        let mut read = first;
        loop {
            let mut total = 0;
            let end = self.rest_of_batch(read, &mut reads, &mut total);
            if let BatchEnd::Last(msg) = end {
                batch.end();
                total += msg.readable_bytes().unwrap_or(0);
                self.deliver_last(msg, total);
                return self.after_batch();
            }
            if matches!(end, BatchEnd::Unread) {
                // Nothing is learned from it: the predictor would take it for a small batch.
                return batch.end();
            }
            self.predict(|predictor| predictor.read_complete(total));
            if self.life.get() >= Life::Closing {
                return batch.end();
            }
            self.enter(|core| core.finish_batch(end));
            if !self.reads_on_at_once(reads) {
                batch.end();
                return self.after_batch();
            }
            // A budget of bytes is not made whole: it is one for all of them, or a peer that always sends would keep the loop.
            read = self.with_transport(|transport, io| transport.read(io));
        }
    }

    /// Up to the read that ends it.
    #[inline]
    fn rest_of_batch(
        &self,
        first: Result<Read, Error>,
        reads: &mut u32,
        total: &mut usize,
    ) -> BatchEnd {
        let before = *reads;
        let mut read = first;
        loop {
            match read {
                Ok(Read::Message(msg)) => {
                    *reads += 1;
                    *total += self.deliver_from_transport(msg);
                }
                Ok(Read::Last(msg)) => return BatchEnd::Last(msg),
                Ok(Read::Failed(error)) => {
                    *reads += 1;
                    self.push_root(Root::Exception(error.into()));
                    self.enter(|_| {});
                }
                Ok(Read::Event(event)) => {
                    *reads += 1;
                    self.push_root(Root::Message(Inbound::UserEvent, event));
                    self.enter(|_| {});
                }
                Ok(Read::WouldBlock) => {
                    self.clear(flag::READABLE | flag::READ_ERROR);
                    // Each report of the selector is one batch at least, which ends; one that follows it is none without data.
                    return if before > 0 && *reads == before {
                        BatchEnd::Unread
                    } else {
                        BatchEnd::Quiet
                    };
                }
                Ok(Read::Asked) => {
                    self.clear(flag::READABLE | flag::READ_ERROR);
                    return if *reads == before {
                        BatchEnd::Unread
                    } else {
                        BatchEnd::Quiet
                    };
                }
                Ok(Read::Eof) => return BatchEnd::Eof,
                Ok(Read::Paused(retry)) => {
                    self.pause_reading(retry);
                    return BatchEnd::Quiet;
                }
                Err(error) => return BatchEnd::Failed(error),
            }
            if !self.may_read_on(*reads) {
                #[cfg(tidegate_mutants)]
                if tidegate_sys::os::sim::is_mutant("B7-limit-forgotten") {
                    self.clear(flag::READABLE);
                }
                return BatchEnd::Quiet;
            }
            read = self.with_transport(|transport, io| transport.read(io));
        }
    }

    /// Whether the next batch follows at once.
    #[inline]
    fn reads_on_at_once(&self, reads: u32) -> bool {
        const ASKED: u32 = flag::READABLE | flag::READ_PENDING;
        const ELSE: u32 = flag::INPUT_SHUT | flag::PAUSED | flag::READ_ERROR | flag::IN_READY_LIST;
        self.flags.get() & (ASKED | ELSE) == ASKED
            && self.life.get() == Life::Active
            && attention::is_none(self.attention.get())
            && self.may_take_more(reads)
    }

    /// The last message of a batch and the end of the batch, with one entry: most batches are one message. A handler that
    /// panics closes the channel, so that there is no end of the batch to be heard either.
    #[inline(never)]
    fn deliver_last(&self, msg: Message, total: usize) {
        self.predict(|predictor| predictor.read_complete(total));
        // Before it is entered: else the message is moved once more, from here to there.
        self.emit_message_from_head(msg);
        self.deliver_with_end();
    }

    #[inline(never)]
    fn learn_only(&self, bytes: usize) {
        self.predict(|predictor| {
            predictor.reset();
            predictor.record(bytes);
            predictor.read_complete(bytes);
        });
    }

    /// What is in the slot, and the end of its batch.
    #[inline(always)]
    fn deliver_with_end(&self) {
        self.clear(flag::READABLE | flag::READ_PENDING);
        self.enter_flat(|core| {
            if core.deliver_batch() {
                core.read_again();
            }
        });
    }

    /// What is wanted next is told to the selector or the ready list.
    #[inline]
    fn after_batch(&self) {
        const NEWS: u32 =
            flag::READABLE | flag::PAUSED | flag::READ_MASKED | flag::PARKED_FD | flag::LEVEL;
        if self.has(NEWS) {
            self.after_batch_news();
        }
    }

    #[inline(never)]
    fn after_batch_news(&self) {
        if self.life.get() != Life::Active || self.has(flag::INPUT_SHUT) {
            return;
        }
        if self.has(flag::PAUSED) {
            // A level-triggered selector would report the waiting clients all the time.
            self.update_interest();
        } else if self.has(flag::READABLE) && self.has(flag::READ_PENDING | flag::READ_ERROR) {
            self.push_ready();
        } else {
            self.update_interest();
        }
    }

    #[inline]
    fn deliver_from_transport(&self, msg: Message) -> usize {
        let bytes = msg.readable_bytes().unwrap_or(0);
        // Before the handlers run, so that a read() of theirs counts for the next message (D5).
        self.clear(flag::READ_PENDING);
        self.enter(|core| core.emit_message(Inbound::Read, HEAD, msg));
        bytes
    }

    /// After the handlers had their say (D7): auto-read, not closed, not shut, within the limits.
    #[inline]
    fn may_read_on(&self, reads: u32) -> bool {
        let flags = self.flags.get();
        (flags & flag::AUTO_READ != 0 || flags & flag::READ_ERROR != 0)
            && flags & flag::INPUT_SHUT == 0
            && self.life.get() == Life::Active
            && self.attention.get() & attention::SUSPENDED == 0
            && self.shared.holds() == 0
            && self.may_take_more(reads)
    }

    /// A budget of bytes counts what was predicted, which is what sockets bring; for other transports reads count.
    #[inline]
    fn may_take_more(&self, reads: u32) -> bool {
        let reads_max = u32::from(self.reads_max.get());
        if reads >= reads_max && self.shared.is_server() {
            return self.may_accept_more(reads);
        }
        self.predictor.get().may_continue(reads, reads_max)
            && (reads < reads_max || self.token().is_some())
    }

    /// A turn may serve thousands of channels, and clients that wait to be accepted have had nothing at all yet: a server takes as
    /// many of them as channels had a turn. With 16 a turn, of 10,000 clients that came at once the last had their first answer
    /// when the others had had 390,000, after 2.7 s.
    #[cold]
    fn may_accept_more(&self, reads: u32) -> bool {
        (reads as usize) < self.lp.batch_len()
    }

    #[inline]
    fn predict(&self, step: impl FnOnce(&mut RecvPredictor)) {
        let mut predictor = self.predictor.get();
        step(&mut predictor);
        self.predictor.set(predictor);
    }

    /// The end of a batch and what comes of it, each when what was emitted before has been handled: a handler that is given a
    /// thousand messages of one read by resume, some now and the others in the turns that follow, hears of the end of the
    /// batch behind the last of them, and of the end of the input behind that. Otherwise it would flush too early, for the
    /// last time.
    pub(crate) fn finish_batch(&self, end: BatchEnd) {
        #[cfg(tidegate_mutants)]
        if tidegate_sys::os::sim::is_mutant("B7-end-overtakes-rest") {
            self.emit_from_head(Inbound::ReadComplete);
            self.run();
            return match end {
                BatchEnd::Eof => self.end_of_input(),
                BatchEnd::Failed(error) => self.read_failed(error),
                _ => self.set(flag::READ_PENDING),
            };
        }
        self.at_rest(move |core| {
            if core.life.get() >= Life::Closing {
                return;
            }
            core.emit_from_head(Inbound::ReadComplete);
            core.run();
            match end {
                BatchEnd::Quiet | BatchEnd::Last(_) | BatchEnd::Unread => core.read_again(),
                BatchEnd::Eof => core.at_rest(Self::end_of_input),
                BatchEnd::Failed(error) => core.at_rest(|core| core.read_failed(error)),
            }
        });
    }

    /// A batch has ended and everything emitted was handled: the read() of auto-read goes through the pipeline (B18).
    #[inline(always)]
    fn read_again(&self) {
        if self.life.get() >= Life::Closing || !self.auto_read() {
            return;
        }
        if self.attention.get() & attention::SUSPENDED != 0 {
            return self.read_again_at_rest();
        }
        if self.op_read_from_tail() {
            self.run();
        }
    }

    #[cold]
    #[inline(never)]
    fn read_again_at_rest(&self) {
        self.at_rest(Self::read_again);
    }

    /// The transport has run out of something that is not its own: it tries again when a descriptor is closed, at the
    /// latest after `retry`, from the ready list.
    #[cold]
    fn pause_reading(&self, retry: std::time::Duration) {
        self.set(flag::PAUSED);
        #[cfg(tidegate_mutants)]
        if tidegate_sys::os::sim::is_mutant("B2-accept-never-again") {
            return;
        }
        if let Some(me) = self.me.upgrade() {
            self.lp.wait_for_fd(me);
        }
        let me = self.me.clone();
        self.lp.add_timer(
            self.lp.now() + retry,
            tidegate_sys::mem::LocalTask::new(move || {
                if let Some(core) = me.upgrade()
                    && core.has(flag::PAUSED)
                {
                    core.clear(flag::PAUSED);
                    core.push_ready();
                }
            }),
        );
    }
}

impl Services for Core {
    fn event_loop(&self) -> &EventLoop {
        self.lp.handle()
    }

    fn signal(&self) -> Signal {
        Signal::new(self.news_desk())
    }

    fn descriptor_closed(&self) {
        self.lp.fd_closed();
    }

    fn metrics(&self) -> &Metrics {
        self.lp.metrics()
    }
}
