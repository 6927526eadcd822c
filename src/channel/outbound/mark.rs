//! [`OutboundMark`]: where sending stands, by which handlers tell a slow peer from one that reads nothing. A mark is taken
//! by the outbound buffer and means nothing to it.

use super::spare::Memory;

/// Where sending stands at one moment, for whoever wants to know whether it gets on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboundMark {
    /// Messages that were flushed and are not sent.
    pub(super) waiting: u32,
    /// Flushed messages that have left so far, wrapping.
    pub(super) gone: u32,
    /// Messages that the transport has taken and not completed.
    pub(super) taken: u32,
    /// What is left of the oldest message, in bytes.
    pub(super) rest: u64,
}

impl OutboundMark {
    /// Of a channel that has no buffer, since nothing waits.
    pub(crate) const fn idle(memory: Memory) -> Self {
        Self {
            waiting: 0,
            gone: memory.gone,
            taken: 0,
            rest: 0,
        }
    }

    /// True if something that was flushed waits to be sent.
    #[must_use]
    pub const fn is_waiting(self) -> bool {
        self.waiting > 0
    }

    /// True if the transport took something, however little, between `before` and this mark. What was written and
    /// flushed meanwhile is no progress.
    #[must_use]
    pub const fn has_progressed_since(self, before: Self) -> bool {
        self.gone != before.gone
            || before.waiting > 0 && (self.taken != before.taken || self.rest != before.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::super::OutboundBuffer;
    use crate::buffer::Message;
    use crate::future::Promise;

    fn add(out: &mut OutboundBuffer, text: &'static str) {
        out.add(Message::from(text), text.len(), Promise::void());
    }

    /// Where sending stands changes with each byte that is taken, and not with what is added.
    ///
    /// Rules: H36
    #[test]
    fn a_mark_tells_progress_from_more_of_the_same() {
        let mut out = OutboundBuffer::default();
        assert!(!out.mark().is_waiting());
        for _ in 0..3 {
            add(&mut out, "alike");
        }
        assert!(!out.mark().is_waiting(), "not flushed");
        let _ = out.add_flush();
        let before = out.mark();
        assert!(before.is_waiting());
        add(&mut out, "more");
        let _ = out.add_flush();
        assert!(!out.mark().has_progressed_since(before));
        let _ = out.advance(1);
        let part = out.mark();
        assert!(part.has_progressed_since(before));
        let _ = out.advance(5);
        let next = out.mark();
        assert!(
            next.has_progressed_since(part),
            "as much is left of another one"
        );
        assert!(out.take_front().is_some());
        let taken = out.mark();
        assert!(taken.has_progressed_since(next));
        let _ = out.complete_taken(1);
        assert!(out.mark().has_progressed_since(taken));
    }
}
