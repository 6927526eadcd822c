//! What a lingering close asks of its transport, on every selector.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use super::*;
use crate::channel::drain_times::SILENCE_MAX;
use crate::channel::{DrainReport, DrainTimes};
use crate::event_loop::{Backend, LocalEventLoop};
use crate::future::TaskFuture;

/// A transport with a descriptor that is only there to be registered; what it reads, the test says.
struct Tap {
    socket: UnixStream,
    state: Rc<State>,
}

#[derive(Default)]
struct State {
    /// Every read brings something.
    floods: Cell<bool>,
    /// A read finds the end.
    has_ended: Cell<bool>,
    /// What ending the output fails with.
    shutdown_error: Cell<Option<ErrorKind>>,
    reads: Cell<u32>,
    steps: Log,
}

impl Transport for Tap {
    fn metadata(&self) -> Metadata {
        Script::new().metadata
    }

    fn is_active(&self) -> bool {
        true
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn accepts(&self, _: &Message) -> bool {
        false
    }

    fn read(&mut self, _: &mut Io<'_>) -> Result<Read, Error> {
        let state = &self.state;
        state.reads.set(state.reads.get() + 1);
        Ok(if state.has_ended.get() {
            Read::Eof
        } else if state.floods.get() {
            // As if the source were empty behind it, which is not to be believed.
            Read::Last(Message::from("x"))
        } else {
            Read::WouldBlock
        })
    }

    fn flush(&mut self, _: &mut Io<'_>, _: &mut OutboundBuffer) -> Result<Flush, Error> {
        Ok(Flush::Drained)
    }

    fn shutdown(&mut self, _: &mut Io<'_>, direction: Direction) -> Result<(), Error> {
        self.state.steps.add(format!("shutdown {direction:?}"));
        match self.state.shutdown_error.get() {
            Some(kind) => Err(Error::new(kind, "as the test wants it")),
            None => Ok(()),
        }
    }

    fn close(&mut self, _: &mut Io<'_>) -> Result<Progress, Error> {
        self.state.steps.add("close");
        Ok(Progress::Done)
    }
}

/// A loop, and a channel on it that has nothing to send.
fn open(backend: Backend) -> (LocalEventLoop, Channel, UnixStream, Rc<State>, Log) {
    let (socket, peer) = UnixStream::pair().expect("a pair of sockets");
    let lp = LocalEventLoop::builder()
        .selector(backend)
        .build()
        .expect("a loop");
    let (state, log) = (Rc::new(State::default()), Log::default());
    let tap = Tap {
        socket,
        state: state.clone(),
    };
    let opened = lp.block_on(async {
        let core = LoopCore::current().expect("inside of a turn");
        open_on(&core, Box::new(tap), &log).1
    });
    turns(&lp);
    log.take();
    (lp, opened.expect("the loop runs"), peer, state, log)
}

/// Everything that can be done now.
fn turns(lp: &LocalEventLoop) {
    for _ in 0..8 {
        lp.turn(Some(Duration::ZERO));
    }
}

/// MAX_MESSAGES_PER_READ is a turn's share here as everywhere, and nothing of it is seen. Rules: D7
#[test]
fn a_flood_is_dropped_batch_by_batch() {
    for backend in Backend::available() {
        let (lp, channel, mut peer, state, log) = open(*backend);
        let draining = channel.drain(DEADLINE);
        turns(&lp);
        assert_eq!(state.steps.take(), ["shutdown Output"], "{backend}");
        state.floods.set(true);
        peer.write_all(b"x").expect("room for a byte");
        for turn in 0..20 {
            let before = state.reads.get();
            let task = lp.handle().submit(|| ());
            lp.turn(Some(Duration::ZERO));
            let reads = state.reads.get() - before;
            // The turn that hears of it has the ready list behind that.
            let batches = if turn == 0 { 1..=2 } else { 1..=1 };
            assert!(
                reads % 16 == 0 && batches.contains(&(reads / 16)),
                "{backend}: {reads} reads in turn {turn}"
            );
            assert!(task.is_done(), "{backend}: others have their turn");
        }
        assert_eq!(log.take(), ["event Draining"], "{backend}");
        state.has_ended.set(true);
        turns(&lp);
        assert_eq!(state.steps.take(), ["close"]);
        assert_eq!(log.take(), ["inactive", "unregistered", "removed"]);
        let report = draining.get_now().expect("done");
        assert!(report.is_complete(), "{backend}: {report}");
    }
}

/// There is nothing to wait with, so nobody waits.
#[test]
fn without_a_half_closure_a_drain_closes_at_once() {
    for backend in Backend::available() {
        let (lp, channel, _peer, state, log) = open(*backend);
        state.shutdown_error.set(Some(ErrorKind::Unsupported));
        let draining = channel.drain(DEADLINE);
        turns(&lp);
        assert_eq!(state.steps.take(), ["shutdown Output", "close"]);
        assert!(draining.get_now().expect("done").is_complete());
        let last = ["event Draining", "inactive", "unregistered", "removed"];
        assert_eq!(log.take(), last, "{backend}");
    }
}

/// The peer's reset may have come before the loop has heard of it (ENOTCONN): what was sent last may be lost.
#[test]
fn a_connection_that_is_broken_when_it_is_closed_is_counted() {
    for backend in Backend::available() {
        let (lp, channel, _peer, state, log) = open(*backend);
        state.shutdown_error.set(Some(ErrorKind::NotYetConnected));
        let draining = channel.drain(DEADLINE);
        turns(&lp);
        assert_eq!(state.steps.take(), ["shutdown Output", "close"]);
        let report = draining.get_now().expect("done");
        assert_eq!((report.channels, report.broken), (1, 1), "{report}");
        assert!(!report.is_complete());
        let last = ["event Draining", "inactive", "unregistered", "removed"];
        assert_eq!(log.take(), last, "{backend}");
    }
}

/// Nor where there is no descriptor that could tell of the peer's end.
#[test]
fn without_a_descriptor_a_drain_closes_at_once() {
    let rig = Rig::new(Script::new());
    let draining = rig.run(|channel| channel.drain(DEADLINE));
    assert_eq!(rig.script.steps.take(), ["close"]);
    assert!(draining.get_now().expect("done").is_complete());
}

/// Who asked for a close meanwhile waited for the same end.
#[test]
fn a_loop_that_ends_in_the_middle_counts_it_as_cut_off() {
    for backend in Backend::available() {
        let (lp, channel, _peer, state, log) = open(*backend);
        let draining = channel.drain(DEADLINE);
        turns(&lp);
        let close = channel.close();
        turns(&lp);
        assert!(!close.is_done());
        log.take();
        drop(lp);
        assert_eq!(state.steps.take(), ["shutdown Output", "close"]);
        assert_eq!(log.take(), ["inactive", "unregistered", "removed"]);
        assert!(close.is_success(), "the transport has closed");
        let report = draining.get_now().expect("done");
        assert_eq!((report.channels, report.cut), (1, 1), "{backend}");
    }
}

/// A transport without a descriptor, which tells what there is by its signal.
fn lingers_by_signal() -> (Rig, TaskFuture<DrainReport>) {
    let script = Script::new();
    script.lingers.set(true);
    let rig = Rig::new(script);
    let draining = rig.run(|channel| channel.drain(Duration::from_secs(3600)));
    assert_eq!(rig.script.steps.take(), ["shutdown Output"]);
    assert!(!rig.channel.is_open() && !draining.is_done());
    rig.log.take();
    (rig, draining)
}

fn report_of(draining: TaskFuture<DrainReport>) -> [usize; 3] {
    let report = draining.sync().expect("drains do not fail");
    [report.cut, report.broken, report.silent]
}

/// Whatever is asked of the channel meanwhile. Rules: A26
#[test]
fn without_a_descriptor_the_news_of_a_transport_is_followed() {
    let (rig, draining) = lingers_by_signal();
    rig.reads([message("dropped"), message("dropped")]);
    rig.run(|channel| channel.read());
    rig.reads([message("dropped"), Ok(Read::Asked)]);
    assert!(rig.script.reads.borrow().is_empty());
    assert_eq!(rig.log.take(), [""; 0]);
    rig.script.reads.borrow_mut().push_back(Ok(Read::Eof));
    rig.run(|channel| channel.signal().peer_closing());
    assert_eq!(rig.script.steps.take(), ["close"]);
    assert_eq!(rig.log.take(), ["inactive", "unregistered", "removed"]);
    assert_eq!(report_of(draining), [0; 3]);
    // What comes now is late.
    rig.run(|channel| channel.signal().readable());

    let (rig, draining) = lingers_by_signal();
    rig.script.reads.borrow_mut().push_back(Err(reset()));
    rig.run(|channel| channel.signal().broken());
    assert_eq!(report_of(draining), [0, 1, 0]);
}

/// As a story: a task took seconds, and what a peer sent meanwhile was in the kernel when the timers came. The peer counted as
/// silent, the close reset its connection, and the report was complete.
#[test]
fn what_came_while_the_loop_was_busy_is_no_silence() {
    let (rig, draining) = lingers_by_signal();
    let come = || rig.script.reads.borrow_mut().push_back(message("dropped"));
    // Nobody has told of it yet.
    come();
    rig.clock.advance(SILENCE_MAX);
    rig.turn();
    assert!(!draining.is_done());
    rig.clock.advance(SILENCE_MAX - Duration::from_secs(1));
    rig.turn();
    assert!(!draining.is_done(), "it was heard of a moment ago");
    // What comes behind the end of the input is another matter.
    rig.script.reads.borrow_mut().push_back(Ok(Read::Eof));
    rig.clock.advance(Duration::from_secs(1));
    rig.turn();
    assert_eq!(report_of(draining), [0; 3]);

    // The deadline is one, and says what is true.
    let (rig, draining) = lingers_by_signal();
    rig.script.reads.borrow_mut().push_back(message("dropped"));
    let short = DrainTimes::within(Duration::ZERO).silence(SILENCE_MAX);
    let second = rig.run(|channel| channel.drain(short));
    rig.turn();
    assert_eq!(rig.script.steps.take(), ["close"]);
    assert_eq!(report_of(second), [1, 0, 0]);
    assert_eq!(report_of(draining), [1, 0, 0]);
}

#[test]
fn without_a_descriptor_silence_ends_it_as_well() {
    let (rig, draining) = lingers_by_signal();
    let wait = |time| {
        rig.clock.advance(time);
        rig.turn();
    };
    wait(SILENCE_MAX - Duration::from_secs(1));
    rig.reads([message("dropped")]);
    wait(SILENCE_MAX - Duration::from_secs(1));
    assert!(!draining.is_done(), "it was heard of a moment ago");
    wait(Duration::from_secs(1));
    assert_eq!(rig.script.steps.take(), ["close"]);
    assert_eq!(report_of(draining), [0, 0, 1]);
}
