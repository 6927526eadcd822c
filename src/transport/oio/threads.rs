//! [`Threads`]: the threads of one channel, and in which order they end.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::hand::{Hand, Last};
use super::input::Input;
use super::output::Output;
use crate::error::Error;

/// The reading thread (`R`: the loop's side of it) and the writing one. Dropped, they end: when the channel closes, and
/// also if its loop has ended before it could.
pub(super) struct Threads<R: Reader> {
    pub(super) input: R,
    pub(super) output: Output,
    /// Makes calls that wait return.
    wake: Option<Box<dyn FnOnce(Waiting)>>,
    last: Option<Arc<Last>>,
}

/// The loop's side of a reading thread.
pub(super) trait Reader {
    /// What the thread does is cut short when its call returns.
    fn stop(&self);
}

/// Who waits when threads are to end.
pub(super) struct Waiting {
    /// The writing thread, for room.
    pub(super) writer: bool,
}

impl<R: Reader> Threads<R> {
    pub(super) fn new(
        input: R,
        output: Output,
        last: Arc<Last>,
        wake: impl FnOnce(Waiting) + 'static,
    ) -> Self {
        Self {
            input,
            output,
            wake: Some(Box::new(wake)),
            last: Some(last),
        }
    }
}

/// The threads end when the fields are dropped, after this: so what they hold on to together is dropped by them, and
/// never here, where a close that lingers would hold the loop.
impl<R: Reader> Drop for Threads<R> {
    fn drop(&mut self) {
        self.input.stop();
        let writer = self.output.stop();
        if let Some(wake) = self.wake.take() {
            wake(Waiting { writer });
        }
        self.last = None;
        self.output.leave_unstarted();
    }
}

impl Reader for Input {
    fn stop(&self) {
        Input::stop(self);
    }
}

impl<J: Send + 'static> Reader for Hand<J> {
    fn stop(&self) {
        Hand::stop(self);
    }
}

/// A second descriptor of what a transport has: its threads keep it, and what it names is closed after they have ended.
pub(super) fn duplicate(fd: BorrowedFd<'_>) -> Result<Arc<OwnedFd>, Error> {
    fd.try_clone_to_owned().map(Arc::new).map_err(|error| {
        Error::io(
            "duplicating the descriptor for the channel's threads",
            error,
        )
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};
    use std::thread::{self, ThreadId};
    use std::time::Duration;

    use super::*;
    use crate::channel::{Flush, OutboundBuffer, Signal};
    use crate::transport::oio::hand::{Stop, Tell, Work};
    use crate::transport::oio::output::Sink;

    struct Idle;

    impl Work for Idle {
        type Job = ();

        fn run(&mut self, (): &mut (), _: &Stop) -> Tell {
            Tell::Readable
        }
    }

    impl Sink for Idle {
        fn step(&mut self, _: &mut OutboundBuffer) -> Result<Flush, Error> {
            Ok(Flush::Drained)
        }

        fn wait(&mut self) -> Result<(), Error> {
            Ok(())
        }
    }

    /// A reading thread that is as fast as a thread can be: when it is told to end it has ended.
    struct Fast(Option<Hand<()>>, Receiver<ThreadId>, Sender<ThreadId>);

    impl Reader for Fast {
        fn stop(&self) {}
    }

    impl Drop for Fast {
        fn drop(&mut self) {
            drop(self.0.take());
            let ended = self.1.recv_timeout(Duration::from_secs(20)).unwrap();
            self.2.send(ended).unwrap();
        }
    }

    /// What the threads hold on to together, a socket, say, that lingers.
    struct Held(Sender<ThreadId>);

    impl Drop for Held {
        fn drop(&mut self) {
            let _ = self.0.send(thread::current().id());
        }
    }

    /// The loop was the last one to hold the socket if the reading thread was faster than its drop of a writing thread that had
    /// never been started: then it closed for it, and lingered.
    #[test]
    fn what_the_threads_hold_is_never_dropped_by_the_loop() {
        let signal = Signal::to_nobody();
        let (tell, told) = mpsc::channel();
        let (pass, passed) = mpsc::channel();
        let last = Last::new(std::sync::Mutex::new(Held(tell)), signal.clone());
        let hand = Hand::start("oio-read-test".into(), Idle, signal, last.clone()).unwrap();
        let output = Output::new("oio-write-test".into(), Idle, last.clone());
        drop(Threads::new(
            Fast(Some(hand), told, pass),
            output,
            last,
            |_| {},
        ));
        assert_ne!(passed.recv().unwrap(), thread::current().id());
    }
}
