//! The write side: the head's write and flush, writability, and how pending writes fail (rules C1 to C24).

use std::io;
use std::sync::atomic::Ordering;

use tidegate_sys::os::io as sys;

use super::core::{Core, Root, attention, flag};
use super::lifetime::Life;
use super::op::Op;
use super::outbound::{OutboundBuffer, OutboundMark};
use super::shared::WATERMARK;
use super::spare::Holding;
use super::stream::{self, PeerOf};
use super::transport::{Flush, Transport};
use crate::buffer::Message;
use crate::error::{Error, ErrorKind};
use crate::event_loop::boundary;
use crate::future::Promise;

impl Core {
    // ---- write and flush at the head

    #[inline]
    pub(crate) fn head_write(&self, msg: Message, promise: Promise) {
        if self.in_transport.get() {
            return self.write_later(msg, promise);
        }
        if self.life.get() >= Life::Closing || self.has(flag::OUTPUT_SHUT) {
            return self.refuse_write(&promise, self.closed_error());
        }
        let size = match msg.readable_bytes() {
            Some(bytes) if self.sends_bytes.get() => bytes,
            _ => {
                let transport = self.transport.borrow();
                if !transport.accepts(&msg) {
                    return self.refuse_message(&**transport, &msg, &promise);
                }
                transport.size_of(&msg)
            }
        };
        let total = {
            let mut outbound = self.outbound.hold();
            let outbound =
                outbound.get_or_insert_with(|| OutboundBuffer::lend(self.outbound_memory.get()));
            outbound.add(msg, size, promise);
            outbound.total_pending()
        };
        self.shared.queued.store(total, Ordering::Relaxed);
        if total > self.shared.high_mark() || self.shared.submitted.load(Ordering::Relaxed) != 0 {
            self.check_high(total);
        }
    }

    #[cold]
    #[inline(never)]
    fn write_later(&self, msg: Message, promise: Promise) {
        self.push_root(Root::HeadOp(Op::Write(msg, promise)));
    }

    #[cold]
    #[inline(never)]
    fn flush_later(&self) {
        self.push_root(Root::HeadOp(Op::Flush));
    }

    #[cold]
    fn refuse_message(&self, transport: &dyn Transport, msg: &Message, promise: &Promise) {
        let metadata = transport.metadata();
        let cure = if metadata.is_server {
            "it accepts connections; write to one of these"
        } else if metadata.has_disconnect && msg.readable_bytes().is_some() {
            "without a peer it takes bytes in a Datagram, which says where to, and as they are once it is connected"
        } else {
            "put an encoder into the pipeline that turns it into bytes"
        };
        let text = format!(
            "{} can't write a {}; {cure}",
            metadata.name,
            msg.type_name()
        );
        let error = Error::new(ErrorKind::Unsupported, text);
        self.refuse_write(promise, error);
    }

    #[cold]
    fn refuse_write(&self, promise: &Promise, error: Error) {
        if promise.is_void() {
            self.count_void_failure("head", &error);
        } else {
            promise.try_failure(error);
        }
    }

    #[inline]
    pub(crate) fn head_flush(&self) {
        #[cfg(tidegate_mutants)]
        if tidegate_sys::os::sim::is_mutant("B5-flush-in-read-swallowed") {
            let ends = self.attention.get() & attention::BATCH_ENDS != 0;
            if ends || self.has(flag::READ_BATCH) {
                return;
            }
        }
        if self.in_transport.get() {
            return self.flush_later();
        }
        // What waits for the end of a close is not promised to anybody any more.
        if self.life.get() >= Life::Closing {
            return;
        }
        let is_put_off = match self.outbound.hold().as_deref_mut() {
            Some(outbound) => outbound.flush_quietly() && self.puts_off_flushes(),
            None => return,
        };
        if is_put_off {
            return self.attend(attention::FLUSH);
        }
        self.head_flush_all();
    }

    /// A flush of writes that somebody waits for, or one that may not wait.
    #[inline(never)]
    fn head_flush_all(&self) {
        let mut kept = self.outbound.hold();
        let Some(outbound) = kept.as_deref_mut() else {
            return;
        };
        if outbound.add_flush().entries == 0 {
            if !outbound.is_observed() && self.puts_off_flushes() {
                return self.attend(attention::FLUSH);
            }
            return self.flush_and_settle(kept);
        }
        drop(kept);
        self.settle_writes();
        self.flush_more();
    }

    /// Whether a flush of writes with void promises may wait until the callback that asked for it has returned. It may not
    /// where somebody could see a difference: a channel that is not writable is to be writable again after a flush that
    /// the peer takes.
    #[inline]
    fn puts_off_flushes(&self) -> bool {
        self.running.get()
            && self.life.get() == Life::Active
            && self.shared.unwritable.load(Ordering::Relaxed) == 0
    }

    /// Does a flush that was put off: when the callback has returned, or before something that must not overtake it.
    ///
    /// The system call is made from a flat stack then. The returns that follow a system call are predicted wrong, because
    /// the kernel's own have used up the processor's memory of them: 14 ns for each frame, of which there are two for each
    /// handler that passes a flush on.
    #[inline]
    pub(crate) fn flush_put_off(&self) {
        let attention = self.attention.get();
        if attention & attention::FLUSH != 0 {
            self.attention.set(attention & !attention::FLUSH);
            self.flush_and_settle(self.outbound.hold());
        }
    }

    /// Lets the transport take what was flushed, unless it is known to take nothing now (C9).
    pub(crate) fn flush_more(&self) {
        if self.in_transport.get() {
            return self.flush_later();
        }
        self.flush_and_settle(self.outbound.hold());
    }

    #[inline(never)]
    fn flush_and_settle(&self, kept: Holding<'_, OutboundBuffer>) {
        if self.flush_kept(kept) {
            self.settle_writes();
        }
    }

    /// The same with the buffer at hand, which is given up when the transport has taken all. True if there are writes to be
    /// settled, which may run foreign code.
    #[inline(always)]
    pub(super) fn flush_kept(&self, mut kept: Holding<'_, OutboundBuffer>) -> bool {
        if self.life.get() != Life::Active || self.has(flag::WRITE_BLOCKED | flag::OUTPUT_SHUT) {
            drop(kept);
            self.flush_hindered();
            return self.has_settled();
        }
        let Some(outbound) = kept.as_deref_mut() else {
            return false;
        };
        if let Some(bytes) = outbound.only_quiet()
            && (1..=stream::SEND_MAX).contains(&bytes.len())
        {
            let transport = self.transport.borrow();
            if let Some(socket) = transport.sender() {
                let offered = bytes.len();
                let sent = sys::send(socket, bytes);
                drop(transport);
                return self.sent_alone(kept, offered, sent);
            }
        }
        self.flush_by_transport(kept)
    }

    /// What comes of the send of all that was flushed, which was one message.
    #[inline(always)]
    fn sent_alone(
        &self,
        mut kept: Holding<'_, OutboundBuffer>,
        offered: usize,
        sent: io::Result<usize>,
    ) -> bool {
        match (sent, kept.as_deref_mut()) {
            (Ok(sent), Some(outbound)) if sent == offered => {
                outbound.end_only_quiet();
                // Compaction may have replaced something, before the peer read on.
                let settled = outbound.has_settled();
                self.leave_outbound(kept);
                self.update_interest();
                settled
            }
            (sent, _) => self.sent_in_part(kept, offered, sent),
        }
    }

    #[cold]
    #[inline(never)]
    fn sent_in_part(
        &self,
        mut kept: Holding<'_, OutboundBuffer>,
        offered: usize,
        sent: io::Result<usize>,
    ) -> bool {
        let Some(outbound) = kept.as_deref_mut() else {
            return false;
        };
        let flushed = {
            let transport = self.transport.borrow();
            stream::sent_alone(offered, sent, outbound, &PeerOf(&**transport))
        };
        self.flushed(kept, flushed)
    }

    #[inline(never)]
    fn flush_by_transport(&self, mut kept: Holding<'_, OutboundBuffer>) -> bool {
        let Some(outbound) = kept.as_deref_mut().filter(|out| out.flushed_len() > 0) else {
            return false;
        };
        let flushed = self.with_transport(|transport, io| transport.flush(io, outbound));
        self.flushed(kept, flushed)
    }

    /// What follows from how a flush has ended.
    #[inline]
    fn flushed(&self, kept: Holding<'_, OutboundBuffer>, flushed: Result<Flush, Error>) -> bool {
        let settled = kept.as_deref().is_some_and(OutboundBuffer::has_settled);
        self.leave_outbound(kept);
        match flushed {
            Ok(Flush::Drained) => self.update_interest(),
            other => {
                self.flush_stopped(other);
                // What compaction has replaced.
                return self.has_settled();
            }
        }
        settled
    }

    /// The transport has taken what it did: the buffer is given up if nothing is left in it, and what waits is noted.
    #[inline(always)]
    fn leave_outbound(&self, mut kept: Holding<'_, OutboundBuffer>) {
        let total = kept.as_deref().map_or(0, OutboundBuffer::total_pending);
        if let Some(spare) = kept.take_if(|out| out.is_spare()) {
            self.outbound_memory.set(spare.give_back());
        }
        drop(kept);
        self.note_pending(total);
    }

    #[cold]
    fn has_settled(&self) -> bool {
        self.outbound.with(|out| out.has_settled()) == Some(true)
    }

    /// A flush that has not sent all.
    #[inline(never)]
    fn flush_stopped(&self, flushed: Result<Flush, Error>) {
        match flushed {
            Ok(Flush::Drained) => {}
            Ok(Flush::Blocked) => {
                self.compact_outbound();
                #[cfg(tidegate_mutants)]
                if tidegate_sys::os::sim::is_mutant("B3-room-unnoticed") {
                    return;
                }
                self.set(flag::WRITE_BLOCKED);
                self.update_interest();
            }
            Ok(Flush::Yielded) => {
                #[cfg(tidegate_mutants)]
                if tidegate_sys::os::sim::is_mutant("B7-rest-forgotten") {
                    return;
                }
                self.set(flag::FLUSH_YIELDED);
                self.push_ready();
            }
            Err(error) => self.write_failed(error),
        }
    }

    /// A flush for which there is nowhere to send, or no room.
    #[cold]
    #[inline(never)]
    fn flush_hindered(&self) {
        match self.life.get() {
            // What joins the queue of a slow peer must not pin receive memory either.
            Life::Active if self.has(flag::WRITE_BLOCKED) => self.compact_outbound(),
            Life::Active => {}
            // Before a connect has finished there is nowhere to send (C22).
            Life::Open | Life::Connecting => self.fail_unconnected(),
            Life::Closing | Life::Closed => {}
        }
    }

    /// What waits for a slow peer must not pin the memory that others receive into.
    fn compact_outbound(&self) {
        if let Some(outbound) = self.outbound.hold().as_deref_mut() {
            outbound.compact(&self.lp.arena().borrow());
        }
    }

    /// An error of the transport while writing (A44).
    #[cold]
    fn write_failed(&self, error: Error) {
        if self.has(flag::AUTO_CLOSE) {
            self.close_because(error, Promise::void());
        } else {
            self.shutdown_output(Some(error), &Promise::void());
        }
    }

    #[cold]
    fn fail_unconnected(&self) {
        let error = Error::new(
            ErrorKind::NotYetConnected,
            "flushed before the channel was connected; write after channel_active",
        );
        if let Some(outbound) = self.outbound.hold().as_deref_mut() {
            let _ = outbound.fail_flushed(&error);
        }
        self.settle_writes();
    }

    /// Entries that the transport had taken are done.
    pub(crate) fn written(&self, count: usize) {
        if let Some(outbound) = self.outbound.hold().as_deref_mut() {
            let _ = outbound.complete_taken(count);
        }
        self.settle_writes();
    }

    // ---- failing what waits

    /// At a close or a shutdown of the output: flushed writes fail with `flushed`, the others with `unflushed`; nobody is
    /// told of writability. A message whose drop panics keeps nothing of this from happening.
    pub(crate) fn fail_writes(&self, flushed: Error, unflushed: &Error) {
        if let Some(outbound) = self.outbound.hold().as_deref_mut() {
            let _ = outbound.fail_flushed(&flushed);
            let _ = outbound.fail_all(unflushed);
        }
        while let Err(panic) = boundary::catch(|| self.finish_settled()) {
            self.lp.metrics().panics.add(1);
            tracing::error!(channel = %self.shared.id(), panic, "dropping a message panicked");
        }
        self.spare_outbound();
        self.shared.queued.store(0, Ordering::Relaxed);
    }

    pub(crate) fn settle_writes(&self) {
        self.finish_settled();
        self.account(self.pending_bytes());
    }

    /// Completes the promises of writes that are over. Their listeners go to the root queue.
    fn finish_settled(&self) {
        loop {
            // The borrow ends before finish(): dropping a message may run foreign code that writes again.
            let settled = match self.outbound.hold().as_deref_mut() {
                Some(outbound) => outbound.take_settled(),
                None => None,
            };
            let Some(settled) = settled else { return };
            if let Some(error) = settled.finish() {
                self.count_void_failure("outbound buffer", &error);
            }
        }
    }

    // ---- writability (rule 4)

    #[inline]
    pub(crate) fn is_writable(&self) -> bool {
        self.face().unwritable.load(Ordering::Relaxed) == 0 && self.life.get() < Life::Closing
    }

    /// The bytes that wait in the outbound buffer.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.outbound
            .with(|out| out.total_pending())
            .unwrap_or_default()
    }

    /// Where sending stands.
    pub(crate) fn outbound_mark(&self) -> OutboundMark {
        let mark = self.outbound.with(|outbound| outbound.mark());
        mark.unwrap_or_else(|| OutboundMark::idle(self.outbound_memory.get()))
    }

    /// Gives up the outbound buffer when nothing is left in it.
    #[inline]
    fn spare_outbound(&self) {
        let spare = self.outbound.hold().take_if(|out| out.is_spare());
        if let Some(spare) = spare {
            self.outbound_memory.set(spare.give_back());
        }
    }

    /// Notes the bytes that wait after some were released.
    #[inline]
    fn account(&self, total: usize) {
        if total == 0 {
            self.spare_outbound();
        }
        self.note_pending(total);
    }

    /// The same where there is no buffer to give up.
    #[inline]
    fn note_pending(&self, total: usize) {
        self.shared.queued.store(total, Ordering::Relaxed);
        if self.shared.unwritable.load(Ordering::Relaxed) & WATERMARK != 0 {
            self.check_low(total);
        }
    }

    #[cold]
    pub(crate) fn check_high(&self, total: usize) {
        let pending = total + self.shared.submitted.load(Ordering::Relaxed);
        if pending > self.shared.high_mark() && self.shared.mark_unwritable() {
            self.queue_writability();
        }
    }

    #[cold]
    pub(crate) fn check_low(&self, total: usize) {
        let pending = total + self.shared.submitted.load(Ordering::Relaxed);
        if pending < self.shared.writable_below()
            && !self.has(flag::OUTPUT_SHUT)
            && self
                .shared
                .unwritable
                .fetch_and(!WATERMARK, Ordering::AcqRel)
                == WATERMARK
        {
            self.queue_writability();
        }
    }

    /// Another thread has set the watermark's bit, or taken back bytes that counted (B24).
    pub(crate) fn recheck_writability(&self) {
        self.queue_writability();
        self.check_low(self.pending_bytes());
    }

    /// Merged: one event however many crossings, after which `is_writable` tells what counts.
    pub(crate) fn queue_writability(&self) {
        #[cfg(tidegate_mutants)]
        if tidegate_sys::os::sim::is_mutant("B3-writability-lost") {
            if !self.has(flag::WRITE_BLOCKED) {
                return;
            }
        }
        if !self.has(flag::WRITABILITY_QUEUED) && self.life.get() < Life::Closing {
            self.set(flag::WRITABILITY_QUEUED);
            self.push_root(Root::Writability);
        }
    }

    pub(crate) fn set_user_writability(&self, index: u32, writable: bool) -> Result<(), Error> {
        if !(1..=31).contains(&index) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("user-defined writability bit {index}: use 1 to 31 (0 is the watermark's)"),
            ));
        }
        if self.shared.serves_another() {
            self.face().submit_beyond(move |core| {
                core.enter(|core| {
                    let _ = core.set_user_writability(index, writable);
                });
            });
            return Ok(());
        }
        let bit = 1 << index;
        let before = if writable {
            self.shared.unwritable.fetch_and(!bit, Ordering::AcqRel)
        } else {
            self.shared.unwritable.fetch_or(bit, Ordering::AcqRel)
        };
        let after = if writable {
            before & !bit
        } else {
            before | bit
        };
        if (before == 0) != (after == 0) {
            self.queue_writability();
        }
        Ok(())
    }

    pub(crate) fn bytes_before_unwritable(&self) -> usize {
        self.face().bytes_before_unwritable()
    }

    pub(crate) fn bytes_before_writable(&self) -> usize {
        self.face().bytes_before_writable()
    }
}
