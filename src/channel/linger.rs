//! The lingering close: a channel that drains ends its output first, then reads what its peer still sends and drops it,
//! and closes when the peer has ended its side too. Begun by `life` in the place of the transport's close, ended by the
//! peer, by its silence, or by `drain` at the deadline.
//!
//! The reason is what TCP does with a connection that is closed while something is in it that nobody has read, or to which
//! something is sent afterwards: it is reset (RFC 1122, 4.2.2.13; Linux' tcp_close and tcp_rcv_state_process). What the
//! kernel had taken for the peer and not sent yet is thrown away then, and a peer that gets the reset may throw away what it
//! has got and not read. To a peer that sends one request after the other without waiting, that is its answers.
//!
//! 0. What a handler sends when a drain's close passes it goes out before anything of this begins.
//! 1. For the pipeline the channel is closing: it hears nothing of what is dropped, and nothing of an input or output that
//!    was shut down, and channel_inactive comes when the transport has closed, as after every close that takes its time.
//! 2. Only what says so lingers ([`Transport::lingers`](super::transport::Transport::lingers): by default what has a
//!    descriptor), if it can end its output alone. Everything else, and a peer that has ended its side before, is closed at once.
//! 3. The descriptor is registered anew, for a handle of its own: so an edge that came before is told once more, and the
//!    reads of channels that live know nothing of this. A batch is as long as the channel's others (MAX_MESSAGES_PER_READ);
//!    whoever sends more waits for its turn in the ready list.
//! 4. A short read ends no batch: the peer's end may have been told together with what came before it.
//! 5. What has no descriptor tells by its signal. The news counts as readiness, whatever it says, and is acted on in the ready
//!    list, since it may come while the transport is at work.
//! 6. Before a peer counts as silent there is one more look: timers may come round in front of what was sent long ago, behind
//!    tasks that took their time.

use std::any::Any;
use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tidegate_sys::mem::LocalTask;
use tidegate_sys::os::Time;

use super::core::{Core, flag};
use super::drain_report::{Lingered, Lingering};
use super::drain_times::SILENCE_MAX;
use super::interest::interest;
use super::lifetime::Life;
use super::transport::{Direction, Read};
use crate::error::{Error, ErrorKind};
use crate::reactor::{IoEvent, IoHandle};

/// What the selector and the ready list know of a channel that lingers. It goes with the registration.
struct Ear {
    core: Weak<Core>,
    is_in_ready_list: Cell<bool>,
}

impl IoHandle for Ear {
    fn on_event(self: Rc<Self>, event: IoEvent) {
        match event {
            IoEvent::Continue => self.is_in_ready_list.set(false),
            // Its turn comes; a level-triggered selector says the same in each wait.
            _ if self.is_in_ready_list.get() => return,
            _ => {}
        }
        if let Some(core) = self.core.upgrade() {
            core.enter(|core| core.linger_on(&self));
        }
    }

    fn into_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }
}

impl Core {
    /// Whether something is to be sent before the close that a drain has asked for: what a handler has said on its way here
    /// (a goodbye), where the socket did not take it at once. What is not flushed yet is flushed.
    pub(crate) fn sends_before_close(&self) -> bool {
        let is_asked = self.look_at_rare(|rare| {
            let leaving = rare.leaving.as_ref()?;
            Some(leaving.is_asked && !leaving.is_late())
        });
        if is_asked != Some(true) || self.in_transport.get() || self.lp.ends_channels() {
            return false;
        }
        self.head_flush();
        self.flush_put_off();
        let mut outbound = self.outbound.hold();
        let waits = outbound
            .as_deref_mut()
            .is_some_and(|out| out.last_promise().is_some());
        waits && self.life.get() == Life::Active
    }

    /// Whether a close for this reason is to linger. Asked before anything of the close is done.
    pub(crate) fn may_linger(&self, cause: &Error) -> bool {
        self.life.get() == Life::Active
            && cause.kind() == ErrorKind::ChannelClosed
            && !self.has(flag::INPUT_SHUT)
            && self.look_at_rare(|rare| rare.leaving.as_ref().map(|leaving| !leaving.is_late()))
                == Some(true)
            && !self.lp.ends_channels()
    }

    /// Whether the channel lingers.
    pub(crate) fn is_lingering(&self) -> bool {
        self.lingering().is_some()
    }

    /// Begins, with the descriptor deregistered; the end may come before this returns. False if there is nothing to wait
    /// for: then the transport is to be closed as ever.
    pub(crate) fn begin_linger(&self) -> bool {
        if !self.transport.borrow().lingers() {
            return false;
        }
        if !self.has(flag::OUTPUT_SHUT)
            && let Err(error) =
                self.with_transport(|transport, io| transport.shutdown(io, Direction::Output))
        {
            // Anything else is a connection that is gone, of which the loop has not heard yet.
            if error.kind() != ErrorKind::Unsupported {
                self.look_at_rare(|rare| {
                    rare.leaving.as_ref()?.note_lingered(Lingered::Broken);
                    Some(())
                });
            }
            return false;
        }
        let ear = self.new_ear(false);
        if !self.register_ear(&ear) {
            return false;
        }
        let now = self.lp.now();
        let lingering = Lingering {
            heard: now,
            has_spoken: false,
            timer: self
                .lp
                .add_timer(now + self.silence_max(), self.silence_timer()),
        };
        self.change_lingering(|leaving| *leaving = Some(lingering));
        self.linger_on(&ear);
        true
    }

    fn new_ear(&self, is_in_ready_list: bool) -> Rc<Ear> {
        Rc::new(Ear {
            core: self.me.clone(),
            is_in_ready_list: Cell::new(is_in_ready_list),
        })
    }

    /// False if the selector refuses the descriptor. What has none needs no registration.
    fn register_ear(&self, ear: &Rc<Ear>) -> bool {
        let transport = self.transport.borrow();
        let Some(fd) = transport.as_fd() else {
            return true;
        };
        let Some(reactor) = self.lp.reactor() else {
            return false;
        };
        let registered = reactor.register(fd, interest(true, false), ear.clone());
        registered.map(|token| self.token.set(token)).is_ok()
    }

    /// The transport has news of its input, and the channel closes.
    #[cold]
    pub(crate) fn linger_by_news(&self) {
        if self.is_lingering() {
            self.lp.push_ready(self.new_ear(true));
        }
    }

    /// One batch of reads, each of which is dropped.
    fn linger_on(&self, ear: &Rc<Ear>) {
        if !self.is_lingering() {
            return;
        }
        let mut predictor = self.predictor.get();
        predictor.reset();
        self.predictor.set(predictor);
        let reads_max = u32::from(self.reads_max.get());
        for reads in 0.. {
            if !self.predictor.get().may_continue(reads, reads_max) {
                ear.is_in_ready_list.set(true);
                self.lp.push_ready(ear.clone());
                break;
            }
            match self.with_transport(|transport, io| transport.read(io)) {
                Ok(Read::Message(_) | Read::Last(_) | Read::Event(_) | Read::Failed(_)) => {}
                Ok(Read::WouldBlock | Read::Asked | Read::Paused(_)) if reads == 0 => return,
                Ok(Read::WouldBlock | Read::Asked | Read::Paused(_)) => break,
                Ok(Read::Eof) => return self.end_linger(Lingered::Peer),
                Err(_) => return self.end_linger(Lingered::Broken),
            }
        }
        let now = self.lp.cached_now();
        self.change_lingering(|lingering| {
            if let Some(lingering) = lingering {
                lingering.heard = now;
                lingering.has_spoken = true;
            }
        });
    }

    /// Looks whether the peer was silent, and if not comes back when it may have been.
    fn silence_timer(&self) -> LocalTask {
        let me = self.me.clone();
        LocalTask::new(move || {
            if let Some(core) = me.upgrade() {
                core.enter(Self::linger_silence);
            }
        })
    }

    fn linger_silence(&self) {
        let now = self.lp.now();
        let due = || Some(self.lingering()?.heard + self.silence_max());
        if due().is_some_and(|due| now >= due) {
            self.linger_on(&self.new_ear(false));
        }
        match due() {
            Some(due) if now >= due => self.end_linger(Lingered::Silent),
            Some(due) => self.look_for_silence_at(due),
            None => {}
        }
    }

    /// Another drain waits for the channel as well, and perhaps not for so long.
    pub(crate) fn linger_for_another(&self) {
        if let Some(lingering) = self.lingering() {
            self.lp.cancel_timer(lingering.timer);
            self.look_for_silence_at(lingering.heard + self.silence_max());
        }
    }

    /// The deadline. Who has said nothing since our end was sent was not asking for anything: nothing unread is there, so that
    /// closing resets nothing, and it is as silent as one that is given up for that.
    pub(crate) fn linger_no_longer(&self) {
        if self.lingering().is_some_and(|it| !it.has_spoken) {
            self.linger_on(&self.new_ear(false));
        }
        if let Some(lingering) = self.lingering() {
            self.end_linger(if lingering.has_spoken {
                Lingered::Cut
            } else {
                Lingered::Silent
            });
        }
    }

    fn look_for_silence_at(&self, due: Time) {
        let timer = self.lp.add_timer(due, self.silence_timer());
        self.change_lingering(|lingering| {
            if let Some(lingering) = lingering {
                lingering.timer = timer;
            }
        });
    }

    fn lingering(&self) -> Option<Lingering> {
        self.look_at_rare(|rare| rare.leaving.as_ref()?.lingering)
    }

    /// How long a silent peer is waited for: as long as the most impatient drain says.
    fn silence_max(&self) -> Duration {
        let shortest = self.look_at_rare(|rare| {
            let tallies = rare.leaving.as_ref()?.tallies.iter();
            tallies.map(|tally| tally.drain.silence).min()
        });
        shortest.unwrap_or(SILENCE_MAX)
    }

    /// Ends: the transport closes now.
    pub(crate) fn end_linger(&self, how: Lingered) {
        let ended = self.look_at_rare(|rare| {
            let leaving = rare.leaving.as_mut()?;
            let lingering = leaving.lingering.take()?;
            leaving.note_lingered(how);
            Some(lingering)
        });
        if let Some(lingering) = ended {
            self.lp.cancel_timer(lingering.timer);
            self.deregister_fd();
            self.close_transport();
        }
    }

    fn change_lingering(&self, change: impl FnOnce(&mut Option<Lingering>)) {
        self.look_at_rare(|rare| {
            change(&mut rare.leaving.as_mut()?.lingering);
            Some(())
        });
    }
}
