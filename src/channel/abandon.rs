//! Ends that nobody waited for: the loop ends, or is gone, and the channel has not closed.
//!
//! A loop that ends tells its channels twice (`event_loop::closing`): the first time they close, the second time those that
//! are still there come to an end without their transport. Called by `life`, which has all other ends. What runs here tells
//! whoever waits; it closes no descriptor and waits for nothing.

use super::core::{Core, attention, flag};
use super::lifetime::Life;
use crate::error::{Error, ErrorKind};
use crate::event_loop::boundary;

impl Core {
    /// The loop ends and the transport is not done (a thread closes for it): nobody will hear when it is. Whoever waits for
    /// that is told so, and the handlers have their last events now.
    #[cold]
    pub(crate) fn give_up_close(&self) {
        self.cut_off_resumes();
        let text = "the event loop ended before the transport had closed the channel";
        self.fail_close(Error::new(ErrorKind::Terminated, text));
    }

    /// The loop ends and the handlers of a closed channel are still there: the last events have not come back from another
    /// group's loop, and can't any more.
    pub(crate) fn leave_at_the_end(&self) {
        if !self.lp.gives_up_channels() {
            return;
        }
        if self.attention.get() & attention::SUSPENDED != 0 {
            self.cut_off_resumes();
        } else if self.has(flag::ENDED) && !self.nodes.any_busy() {
            self.depart_now();
        }
    }

    /// The loop is gone, or never was, and the channel goes without its last events: nobody is left to hear them. Whoever
    /// waits is told. A loop that ends in an orderly way has given all its channels the end that they are due
    /// (`give_up_close`).
    pub(crate) fn abandon(&self) {
        if self.life.get() == Life::Closed {
            return;
        }
        self.life.set(Life::Closed);
        self.shared.publish_life(Life::Closed);
        self.shared.complete_close();
        let text = "the event loop ended before the channel had closed";
        let error = Error::new(ErrorKind::ChannelClosed, text);
        self.tell_closed(&error);
        if let Some(connecting) = self.take_connecting() {
            connecting.promise.try_failure(error.clone());
        }
        self.abandon_look_up(|| error.clone());
        self.end_drain();
        let closing = self.look_at_rare(|rare| rare.closing.take());
        for promise in closing.map_or(Vec::new(), |closing| closing.promises) {
            promise.try_failure(Error::new(ErrorKind::Terminated, text));
        }
        self.fail_writes(error.clone(), &error);
        let roots = self.roots.take().unwrap_or_default();
        for root in roots.0 {
            if let Err(panic) = boundary::catch(|| root.abandon(&error)) {
                tracing::error!(channel = %self.shared.id(), panic, "a listener panicked");
            }
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.abandon();
    }
}
