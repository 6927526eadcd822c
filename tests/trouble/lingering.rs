//! Peers against the lingering close of `Channel::drain`: one that sends a byte now and then for ever, and ones that reset
//! the connection, before the loop has heard of it and in the middle of a flood.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream as PlainUnixStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tidegate::buffer::Bytes;
use tidegate::channel::{DrainReport, DrainTimes};
use tidegate::event_loop::Backend;
use tidegate::transport::unix::UnixStream;
use tidegate::{Bootstrap, Channel, Context, EventLoopGroup, Handler, HandlerResult};

use crate::support::{DEADLINE, reset_on_close, stop, until};
use crate::ways;

/// Fits into the buffers of a connection, so that all of it is sent at once.
const ANSWER: usize = 10_000;

/// Longer than any test takes: what ends before was ended by something else.
const FOR_EVER: Duration = Duration::from_secs(1_000);

/// A drain that waits for its peer.
const PATIENT: DrainTimes = within(FOR_EVER, FOR_EVER);

const fn within(deadline: Duration, silence: Duration) -> DrainTimes {
    DrainTimes::within(deadline).silence(silence)
}

/// Tells the test of the end; what it tells with is gone when the pipeline is.
struct Tell(mpsc::Sender<&'static str>);

impl Handler for Tell {
    fn channel_inactive(&mut self, _: &mut Context<'_>) -> HandlerResult {
        let _ = self.0.send("inactive");
        Ok(())
    }
}

/// A channel, the plain socket at its other end, and what its handler tells.
struct Pair<S> {
    channel: Channel,
    peer: S,
    told: Receiver<&'static str>,
}

impl Pair<TcpStream> {
    fn tcp(group: &EventLoopGroup) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (tell, told) = mpsc::channel();
        let channel = Bootstrap::new(group)
            .handler(move |pipeline| pipeline.add_last(Tell(tell.clone())))
            .connect(listener.local_addr().unwrap())
            .sync_timeout(DEADLINE)
            .unwrap();
        let (peer, _) = listener.accept().unwrap();
        peer.set_read_timeout(Some(DEADLINE)).unwrap();
        peer.set_write_timeout(Some(DEADLINE)).unwrap();
        peer.set_nodelay(true).unwrap();
        Self {
            channel,
            peer,
            told,
        }
    }
}

impl Pair<PlainUnixStream> {
    fn unix(group: &EventLoopGroup) -> Self {
        let folder = std::env::temp_dir();
        let path = folder.join(format!("tidegate-lingering-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let (tell, told) = mpsc::channel();
        let channel = Bootstrap::new(group)
            .transport::<UnixStream>()
            .handler(move |pipeline| pipeline.add_last(Tell(tell.clone())))
            .connect(path.as_path())
            .sync_timeout(DEADLINE)
            .unwrap();
        let (peer, _) = listener.accept().unwrap();
        std::fs::remove_file(&path).unwrap();
        peer.set_read_timeout(Some(DEADLINE)).unwrap();
        Self {
            channel,
            peer,
            told,
        }
    }
}

impl<S: Read> Pair<S> {
    fn answer(&mut self) {
        let sent = self.channel.write_and_flush(Bytes::from(vec![7; ANSWER]));
        sent.sync_timeout(DEADLINE).unwrap();
    }

    fn read_answer(&mut self) {
        self.peer.read_exact(&mut [0; ANSWER]).unwrap();
    }

    /// Nothing is left of the channel: it has told its end, once, and its handler is dropped.
    fn expect_gone(&self) {
        assert_eq!(self.told.recv_timeout(DEADLINE), Ok("inactive"));
        let next = self.told.recv_timeout(DEADLINE);
        assert_eq!(next, Err(RecvTimeoutError::Disconnected));
        assert!(!self.channel.is_open() && !self.channel.is_registered());
    }
}

/// Sends a byte, and after a pause another one, until nobody is there any more. The pause decides nothing: it is what this
/// peer is about. How many bytes it sent, and how long it can have been silent at most.
fn trickle(peer: &TcpStream, pause: Duration) -> JoinHandle<(usize, Duration)> {
    let mut peer = peer.try_clone().unwrap();
    thread::spawn(move || {
        let (mut sent, mut longest) = (0, Duration::ZERO);
        let mut begun = Instant::now();
        loop {
            let before = Instant::now();
            let is_there = peer.write_all(b"x").is_ok();
            longest = longest.max(begun.elapsed());
            if !is_there {
                return (sent, longest);
            }
            begun = before;
            sent += 1;
            thread::park_timeout(pause);
        }
    })
}

/// How many were cut off, broke and were silent; late is none.
fn ends(report: &DrainReport) -> [usize; 3] {
    assert_eq!((report.late, report.unsent.len()), (0, 0), "{report}");
    [report.cut, report.broken, report.silent]
}

/// It was cut off, and not before its time. Nor long after it: whoever waits for the report does so until the tests' deadline.
fn expect_cut_at(report: &DrainReport, deadline: Duration) {
    assert_eq!((report.channels, ends(report)), (1, [1, 0, 0]), "{report}");
    assert!(report.took >= deadline, "{report}");
}

/// Two drains: one that waits, until the peer has read the end and `is_heard` says that it may be cut off; and one with this
/// deadline, which is one for both.
fn drain_twice(
    pair: &mut Pair<TcpStream>,
    times: DrainTimes,
    is_heard: impl FnMut() -> bool,
) -> DrainReport {
    let draining = pair.channel.drain(PATIENT);
    pair.read_answer();
    assert_eq!(pair.peer.read(&mut [0; 1]).unwrap(), 0, "its output ended");
    until("it has heard the peer", is_heard);
    let second = pair.channel.drain(times).sync_timeout(DEADLINE).unwrap();
    draining.sync_timeout(DEADLINE).unwrap();
    second
}

#[test]
fn a_trickling_peer_is_waited_for_until_the_deadline_and_no_longer() {
    let deadline = Duration::from_millis(100);
    ways::each_way(|way| {
        let group = way.group(1);
        let mut pair = Pair::tcp(&group);
        pair.answer();
        let peer = trickle(&pair.peer, Duration::from_millis(3));
        // Nothing but its bytes makes events then.
        let events = || group.next().metrics().events;
        let mut first = None;
        let report = drain_twice(&mut pair, within(deadline, FOR_EVER), || {
            events() > *first.get_or_insert_with(events) + 3
        });
        expect_cut_at(&report, deadline);
        // Its connection is closed: it ends by itself.
        assert!(peer.join().unwrap().0 > 0);
        pair.expect_gone();
        stop(&group);
    });
}

/// A drain that is longer than a silent peer is waited for: each byte ends a silence, and none moves the deadline. Where the
/// machine itself keeps the peer silent for so long nothing is to be learned, and it is done again.
#[test]
fn bytes_now_and_then_neither_end_a_long_drain_nor_prolong_it() {
    let silence = Duration::from_millis(500);
    let deadline = 2 * silence;
    let one = |backend: Backend| {
        let group = EventLoopGroup::builder().threads(1).selector(backend);
        let group = group.build().unwrap();
        let begun = Instant::now();
        loop {
            let mut pair = Pair::tcp(&group);
            pair.answer();
            let peer = trickle(&pair.peer, silence / 7);
            let report = drain_twice(&mut pair, within(deadline, silence), || true);
            let (sent, longest) = peer.join().unwrap();
            pair.expect_gone();
            if longest < silence {
                expect_cut_at(&report, deadline);
                assert!(sent > 1);
                break;
            }
            assert!(begun.elapsed() < DEADLINE, "{longest:?} of silence");
        }
        stop(&group);
    };
    // All at once: each takes its time.
    thread::scope(|scope| {
        for backend in Backend::available() {
            scope.spawn(move || one(*backend));
        }
    });
}

/// The drain begins on a connection that is gone. Whether the loop hears of that first is its own affair.
#[test]
fn a_reset_from_before_a_drain_ends_it_at_once() {
    ways::each_way(|way| {
        let group = way.group(1);
        let mut pair = Pair::tcp(&group);
        pair.answer();
        // Unread in the channel's socket.
        pair.channel.set_auto_read(false);
        pair.peer.write_all(&[1; 1_000]).unwrap();
        let (hold, held) = mpsc::channel::<()>();
        let (enter, entered) = mpsc::channel();
        let holding = pair.channel.event_loop().submit(move || {
            enter.send(()).unwrap();
            let _ = held.recv();
        });
        entered.recv_timeout(DEADLINE).unwrap();
        reset_on_close(&pair.peer);
        let Pair {
            channel,
            peer,
            told,
        } = pair;
        drop(peer);
        let draining = channel.drain(PATIENT);
        drop(hold);
        holding.sync_timeout(DEADLINE).unwrap();
        let report = draining.sync_timeout(DEADLINE).unwrap();
        assert_eq!(ends(&report), [0, report.channels, 0], "{report}");
        assert_eq!(told.recv_timeout(DEADLINE), Ok("inactive"));
        stop(&group);
    });
}

#[test]
fn a_reset_in_the_middle_of_a_flood_ends_a_lingering_close_at_once() {
    ways::each_way(|way| {
        let group = way.group(1);
        let mut pair = Pair::tcp(&group);
        pair.answer();
        let draining = pair.channel.drain(PATIENT);
        pair.read_answer();
        assert_eq!(pair.peer.read(&mut [0; 1]).unwrap(), 0, "its output ended");
        for _ in 0..20 {
            pair.peer.write_all(&[1; 64 << 10]).unwrap();
        }
        assert!(!draining.is_done());
        reset_on_close(&pair.peer);
        let Pair {
            channel,
            peer,
            told,
        } = pair;
        drop(peer);
        let report = draining.sync_timeout(DEADLINE).unwrap();
        assert_eq!((report.channels, ends(&report)), (1, [0, 1, 0]), "{report}");
        assert_eq!(told.recv_timeout(DEADLINE), Ok("inactive"));
        assert!(!channel.is_open());
        stop(&group);
    });
}

/// unix(7): who closes with something unread resets the connection.
#[cfg(target_os = "linux")]
#[test]
fn a_unix_peer_that_goes_without_reading_its_answer_breaks_a_lingering_close() {
    ways::each_way(|way| {
        let group = way.group(1);
        let mut pair = Pair::unix(&group);
        pair.answer();
        let draining = pair.channel.drain(PATIENT);
        pair.peer.read_exact(&mut [0; 10]).unwrap();
        until("it lingers", || !pair.channel.is_open());
        assert!(pair.channel.is_registered());
        drop(pair.peer);
        let report = draining.sync_timeout(DEADLINE).unwrap();
        assert_eq!((report.channels, ends(&report)), (1, [0, 1, 0]), "{report}");
        assert_eq!(pair.told.recv_timeout(DEADLINE), Ok("inactive"));
        stop(&group);
    });
}
