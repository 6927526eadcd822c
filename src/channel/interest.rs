//! What the selector is told: what the channel wants to hear of, and when to be silent.
//!
//! An edge-triggered selector is told once and watches both ways; it hears of a change only when edges that nobody wants
//! have become many. A level-triggered one is told of every change. A descriptor that hangs up and may not be read leaves a
//! level-triggered selector altogether until it may.

use tidegate_sys::os::{Backend, Interest, Ready};

use super::core::{Core, Root, flag};
use super::lifetime::Life;
use crate::error::Error;
use crate::future::Promise;
use crate::reactor::Reactor;

impl Core {
    /// Tells the selector what is wanted, if it has to know: an edge-triggered one only when read interest was
    /// dropped, the others whenever it changed.
    #[inline]
    pub(crate) fn update_interest(&self) {
        const PLAIN: u32 = flag::READ_MASKED | flag::PARKED_FD | flag::LEVEL;
        if self.flags.get() & PLAIN != 0 {
            self.update_interest_slow();
        }
    }

    /// Whether the selector is to report what can be read.
    pub(crate) fn reads_now(&self) -> bool {
        self.has(flag::READ_PENDING | flag::READ_ERROR)
            && !self.has(flag::INPUT_SHUT | flag::PAUSED)
    }

    /// Whether the selector is to report that something can be written.
    pub(crate) fn writes_now(&self) -> bool {
        self.has(flag::WRITE_BLOCKED)
            || self.life.get() == Life::Connecting
            || self.awaits_hang_up()
    }

    /// kqueue tells of a peer that is gone for good only whoever wants to write, once the end of its input was told: a half-closed
    /// channel has that filter until its output is shut as well. The others report a hang-up whatever the interest is.
    fn awaits_hang_up(&self) -> bool {
        const HALVES: u32 = flag::INPUT_SHUT | flag::OUTPUT_SHUT;
        self.flags.get() & HALVES == flag::INPUT_SHUT && self.has(flag::LEVEL) && self.tells_edges()
    }

    pub(crate) fn note_armed(&self, read: bool, write: bool) {
        self.clear(flag::READ_ARMED | flag::WRITE_ARMED);
        self.set(if read { flag::READ_ARMED } else { 0 });
        self.set(if write { flag::WRITE_ARMED } else { 0 });
    }

    #[cold]
    fn update_interest_slow(&self) {
        if self.life.get() != Life::Active && self.life.get() != Life::Connecting {
            return;
        }
        let (read, write) = (self.reads_now(), self.writes_now());
        if self.has(flag::PARKED_FD) {
            if read || write {
                self.unpark_fd(read);
            }
            return;
        }
        let armed = (self.has(flag::READ_ARMED), self.has(flag::WRITE_ARMED));
        if self.has(flag::READ_MASKED) {
            if read {
                self.clear(flag::READ_MASKED);
                self.remask_all(true);
            } else if self.has(flag::LEVEL) && armed.1 != write {
                self.remask_all(false);
            }
            return;
        }
        if !self.has(flag::LEVEL) || armed == (read, write) {
            return;
        }
        self.note_armed(read, write);
        let told = {
            let transport = self.transport.borrow();
            match (self.lp.reactor(), self.token(), transport.as_fd()) {
                (Some(reactor), Some(token), Some(fd)) => {
                    reactor.set_interest(fd, token, interest(read, write))
                }
                _ => Ok(()),
            }
        };
        if let Err(error) = told {
            let error = Error::io("changing interest at the selector", error);
            self.push_root(Root::Close(error, Promise::void()));
        }
    }

    /// Back to the selector, which the descriptor had left because it hangs up and might not be read.
    fn unpark_fd(&self, read: bool) {
        self.clear(flag::PARKED_FD);
        // What was reported while it was out is still true.
        self.set(flag::READABLE);
        if let Err(error) = self.register_fd() {
            self.push_root(Root::Close(error, Promise::void()));
        } else if read {
            self.push_ready();
        }
    }

    /// Whether what can be read is told once, and again only when more comes: by kqueue as well, which hears of interest in
    /// writing as the level-triggered ones do.
    pub(crate) fn tells_edges(&self) -> bool {
        let is_kqueue = |reactor: &Reactor| reactor.backend() == Backend::Kqueue;
        !self.has(flag::LEVEL) || self.lp.reactor().is_some_and(is_kqueue)
    }

    /// Tells an edge-triggered selector to watch for reading, or not to. epoll always watches for writing.
    pub(crate) fn remask_all(&self, read: bool) {
        let write = !self.has(flag::LEVEL) || self.writes_now();
        self.note_armed(read, write);
        self.remask(interest(read, write));
    }

    /// Tells an edge-triggered selector what to watch.
    fn remask(&self, interest: Interest) {
        let transport = self.transport.borrow();
        if let (Some(reactor), Some(token), Some(fd)) =
            (self.lp.reactor(), self.token(), transport.as_fd())
        {
            // If this fails, edges keep coming that nobody wants, or the next read finds out.
            let _ = reactor.remask(fd, token, interest);
        }
    }

    /// Readiness that nothing is done about for now must not come back in every wait.
    pub(crate) fn silence(&self, ready: Ready) {
        #[cfg(tidegate_mutants)]
        if tidegate_sys::os::sim::is_mutant("B10-hang-up-spins") {
            return;
        }
        if !self.has(flag::LEVEL) || self.has(flag::PARKED_FD) || self.life.get() != Life::Active {
            return;
        }
        if ready.intersects(Ready::HANGUP | Ready::ERROR) && !self.writes_now() {
            // Level-triggered selectors report these whatever the interest is: out, until it may read or has to write.
            self.set(flag::PARKED_FD);
            self.deregister_fd();
        } else {
            self.update_interest();
        }
    }
}

/// The two wishes as the selector has them.
pub(crate) fn interest(read: bool, write: bool) -> Interest {
    match (read, write) {
        (true, true) => Interest::BOTH,
        (true, false) => Interest::READ,
        (false, true) => Interest::WRITE,
        (false, false) => Interest::NONE,
    }
}
