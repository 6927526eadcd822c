//! The close future of a channel: most channels have none, so it is made when somebody asks for it, from whichever thread,
//! maybe while the channel ends. Called by [`Channel`](super::Channel) and by the loop's side at the end; it decides nothing
//! about the end itself.
//!
//! 1. The promise stands in the box of the channel's attributes. No box, or a void promise: nobody has asked.
//! 2. Whoever asks makes the box, and then looks whether the channel has closed. The end publishes [`Life::Closed`], and then
//!    looks for the box. Between the two each has a sequentially consistent fence, so at least one sees what the other did.
//! 3. If the end sees the box, the lock in it decides. Under the lock whoever asks looks at the life and puts the promise, and
//!    the end takes what is there. Who comes to the lock behind the end sees that the channel has closed.
//! 4. The promise is completed without the lock: its listeners may ask again, or look at the attributes.
//!
//! So an end that nobody waits for is a fence and one load, and a future that was given out is always completed.

use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Weak};

use tidegate_sys::mem::Task;

use super::lifetime::Life;
use super::shared::Shared;
use crate::event_loop::EventLoop;
use crate::future::{Completion, ListenerHost, Promise};

impl Shared {
    pub(crate) fn close_future(self: &Arc<Self>) -> Completion {
        self.attributes().with_closing(|closing| {
            // Rule 2; the box is there.
            fence(Ordering::SeqCst);
            if self.life() == Life::Closed {
                return Completion::succeeded(self.clone());
            }
            if closing.is_void() {
                *closing = Promise::new(Arc::new(WeakHost {
                    shared: Arc::downgrade(self),
                    event_loop: self.event_loop.clone(),
                }));
                // The user's side can't cancel a close.
                closing.set_uncancellable();
            }
            closing.completion()
        })
    }

    /// Completes the close future, if anybody asked for it; later ones are complete from the start. The end has been
    /// published.
    pub(crate) fn complete_close(&self) {
        // Rule 2.
        fence(Ordering::SeqCst);
        self.attributes().take_closing().try_success();
    }
}

/// The channel never came to its loop, or its loop ended with it: whoever waits for the end is told.
impl Drop for Shared {
    fn drop(&mut self) {
        self.attributes().take_closing().try_success();
    }
}

/// The host of the close future: it must not keep the channel's shared part alive, which owns the future.
struct WeakHost {
    shared: Weak<Shared>,
    event_loop: EventLoop,
}

impl ListenerHost for WeakHost {
    fn run_listener(&self, job: Task) {
        match self.shared.upgrade() {
            Some(shared) => shared.run_listener(job),
            None => self.event_loop.host().run_listener(job),
        }
    }

    fn would_deadlock(&self) -> bool {
        self.event_loop.host().would_deadlock()
    }
}

#[cfg(test)]
mod tests {
    use std::hint;
    use std::sync::atomic::AtomicUsize;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::channel::attributes::Attributes;
    use crate::event_loop::LocalEventLoop;

    /// Two threads that meet every so many rounds, and are not far from each other in between. On a processor that they share,
    /// with others perhaps, each meeting costs a switch to the other one.
    #[derive(Default)]
    struct Start(AtomicUsize);

    impl Start {
        const EVERY: usize = 25;

        /// Waits until both have come for this round, the first of which is 0.
        fn meet(&self, round: usize) {
            if !round.is_multiple_of(Self::EVERY) {
                return;
            }
            let round = round / Self::EVERY;
            let begun = Instant::now();
            self.0.fetch_add(1, Ordering::AcqRel);
            while self.0.load(Ordering::Acquire) < 2 * (round + 1) {
                hint::spin_loop();
                if begun.elapsed() > Duration::from_micros(100) {
                    thread::yield_now();
                }
            }
        }
    }

    /// Rules: A29
    #[test]
    fn a_close_future_that_is_asked_for_while_the_channel_closes_is_completed() {
        const ROUNDS: usize = 50_000;
        let lp = LocalEventLoop::new().expect("a loop");
        let channels: Vec<_> = (0..ROUNDS)
            .map(|_| Shared::new(lp.handle().clone(), None, Attributes::new()))
            .collect();
        let start = Start::default();
        let futures: Vec<_> = thread::scope(|scope| {
            scope.spawn(|| {
                for (round, channel) in channels.iter().enumerate() {
                    start.meet(round);
                    channel.publish_life(Life::Closed);
                    channel.complete_close();
                }
            });
            channels
                .iter()
                .enumerate()
                .map(|(round, channel)| {
                    start.meet(round);
                    channel.close_future()
                })
                .collect()
        });
        let left = futures.iter().filter(|future| !future.is_success()).count();
        assert_eq!(left, 0, "of {ROUNDS}");
    }

    #[test]
    fn a_close_future_has_one_promise_however_often_it_is_asked_for() {
        let lp = LocalEventLoop::new().expect("a loop");
        let channel = Shared::new(lp.handle().clone(), None, Attributes::new());
        let futures = [channel.close_future(), channel.close_future()];
        assert!(futures.iter().all(|future| !future.is_done()));
        assert!(
            channel.attributes().is_empty(),
            "it is no attribute of the user's"
        );
        drop(channel);
        assert!(futures.iter().all(Completion::is_success));
    }
}
