//! [`Loops`]: where a bootstrap puts its channels.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::event_loop::{EventLoop, EventLoopGroup, LocalEventLoop};

/// The event loops that a bootstrap hands channels to, in turn. Made from a group, from a loop of one, or from a
/// loop in the host's own thread.
///
/// It names the loops and does not keep them running: that is for whoever holds the group. Otherwise a server would
/// keep its own group alive for ever.
#[derive(Clone)]
pub struct Loops {
    /// Never empty.
    loops: Arc<[EventLoop]>,
    ticket: Arc<AtomicUsize>,
}

impl Loops {
    fn new(loops: Arc<[EventLoop]>, first: usize) -> Self {
        Self {
            loops,
            ticket: Arc::new(AtomicUsize::new(first)),
        }
    }

    /// The next one in turn.
    pub fn next(&self) -> &EventLoop {
        let ticket = self.ticket.fetch_add(1, Ordering::Relaxed);
        &self.loops[ticket % self.loops.len()]
    }

    /// All of them.
    pub fn all(&self) -> &[EventLoop] {
        &self.loops
    }

    /// The same loops with a turn of its own, `offset` further on.
    pub(super) fn fork(&self, offset: usize) -> Self {
        Self::new(
            self.loops.clone(),
            self.ticket.load(Ordering::Relaxed).wrapping_add(offset),
        )
    }
}

impl From<&EventLoopGroup> for Loops {
    fn from(group: &EventLoopGroup) -> Self {
        let loops: Arc<[EventLoop]> = group.iter().cloned().collect();
        // Bootstraps that are used once each must not all begin with the same loop.
        let first = group.next();
        let first = loops.iter().position(|each| *each == first).unwrap_or(0);
        Self::new(loops, first)
    }
}

impl From<&EventLoop> for Loops {
    fn from(event_loop: &EventLoop) -> Self {
        Self::new(Arc::new([event_loop.clone()]), 0)
    }
}

impl From<EventLoop> for Loops {
    fn from(event_loop: EventLoop) -> Self {
        Self::new(Arc::new([event_loop]), 0)
    }
}

impl From<&LocalEventLoop> for Loops {
    fn from(local: &LocalEventLoop) -> Self {
        Self::from(local.handle())
    }
}

impl From<&Loops> for Loops {
    fn from(loops: &Loops) -> Self {
        loops.clone()
    }
}

impl fmt::Debug for Loops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.all().iter().map(EventLoop::name))
            .finish()
    }
}
