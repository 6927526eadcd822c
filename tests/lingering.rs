//! The lingering close at the end of a drain: what was sent arrives, also at a peer that goes on sending, and the report
//! tells whom nobody waited for.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBuf;
use tidegate::buffer::Bytes;
use tidegate::channel::options::{ALLOW_HALF_CLOSURE, SO_LINGER, SO_SNDBUF};
use tidegate::channel::{DrainReport, DrainTimes, Draining};
use tidegate::transport::oio;
use tidegate::transport::udp::Udp;
use tidegate::transport::unix::UnixStream;
use tidegate::{
    Bootstrap, Channel, Context, ErrorKind, EventLoopGroup, Failure, Handler, HandlerResult,
    Message, Promise,
};
use tidegate_sys::os::net;

#[path = "common/ways.rs"]
mod ways;

use ways::Way;

/// Long enough for a machine that does other things; nothing waits for it when all is well.
const DEADLINE: Duration = Duration::from_secs(20);

/// How long a silent peer is waited for: what ends before was ended by something else.
const SILENCE: Duration = DEADLINE;

/// Drains of which none ends by its times while all is well.
const PATIENT: DrainTimes = within(DEADLINE);

/// More than a connection's buffers hold, so that the kernel has the last of it when all was sent.
const ANSWER: usize = 1 << 20;

const SMALL: usize = 32 << 10;

const fn within(deadline: Duration) -> DrainTimes {
    DrainTimes::within(deadline).silence(SILENCE)
}

/// More than the kernel keeps of a connection in both directions (6 and 4 MiB, unless it was told otherwise): of so much a part was
/// read.
const READ_SURELY: u64 = 16 << 20;

/// What carries a connection.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Sockets,
    /// With calls that are made on threads.
    Threads,
}

/// Runs a test on loops that are built every way, with both kinds of connections.
fn each_way(test: impl Fn(Way, Kind)) {
    ways::each_way(|way| {
        for kind in [Kind::Sockets, Kind::Threads] {
            eprintln!("   {kind:?}");
            test(way, kind);
        }
    });
}

/// What a handler of a draining channel sees.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Active,
    Read,
    Draining,
    /// A user event of the channel's own.
    Event(&'static str),
    Failed(String),
    Inactive,
    Unregistered,
    Removed,
}

/// Answers the first request and pauses reading, or takes all that comes; tells the test what it sees.
struct Answer {
    tell: Sender<Seen>,
    pauses: bool,
}

impl Answer {
    fn note(&self, seen: Seen) -> HandlerResult {
        let _ = self.tell.send(seen);
        Ok(())
    }
}

impl Handler for Answer {
    fn handler_removed(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.note(Seen::Removed)
    }

    fn channel_active(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.note(Seen::Active)
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, _: Message) -> HandlerResult {
        if self.pauses {
            ctx.set_auto_read(false);
            ctx.write(Bytes::from(vec![7; ANSWER]));
            ctx.flush();
        }
        self.note(Seen::Read)
    }

    fn user_event_triggered(&mut self, _: &mut Context<'_>, event: Message) -> HandlerResult {
        self.note(if event.is::<Draining>() {
            Seen::Draining
        } else {
            Seen::Event(event.type_name())
        })
    }

    fn exception_caught(&mut self, _: &mut Context<'_>, cause: Failure) -> HandlerResult {
        self.note(Seen::Failed(cause.to_string()))
    }

    fn channel_inactive(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.note(Seen::Inactive)
    }

    fn channel_unregistered(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.note(Seen::Unregistered)
    }
}

/// A channel, the plain socket at its other end, and what its handler sees.
struct Pair {
    channel: Channel,
    peer: TcpStream,
    seen: Receiver<Seen>,
}

impl Pair {
    /// `pauses`: as [`Answer`].
    fn new(group: &EventLoopGroup, kind: Kind, pauses: bool) -> Self {
        Self::with(group, kind, pauses, |bootstrap| bootstrap)
    }

    fn with(
        group: &EventLoopGroup,
        kind: Kind,
        pauses: bool,
        prepare: impl FnOnce(Bootstrap) -> Bootstrap,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        setsockopt(&listener, RcvBuf, &SMALL).unwrap();
        let (tell, seen) = mpsc::channel();
        let bootstrap = Bootstrap::new(group)
            .option(SO_SNDBUF, SMALL as i32)
            .handler(move |pipeline| {
                let tell = tell.clone();
                pipeline.add_last(Answer { tell, pauses })
            });
        let (bootstrap, address) = (prepare(bootstrap), listener.local_addr().unwrap());
        let connecting = match kind {
            Kind::Sockets => bootstrap.connect(address),
            Kind::Threads => bootstrap.transport::<oio::Tcp>().connect(address),
        };
        let channel = connecting.sync_timeout(DEADLINE).unwrap();
        let (peer, _) = listener.accept().unwrap();
        peer.set_read_timeout(Some(DEADLINE)).unwrap();
        peer.set_write_timeout(Some(DEADLINE)).unwrap();
        let pair = Self {
            channel,
            peer,
            seen,
        };
        pair.wait_for(&Seen::Active);
        pair
    }

    fn wait_for(&self, what: &Seen) {
        while self.seen.recv_timeout(DEADLINE).as_ref() != Ok(what) {}
    }

    /// Asks, and asks again when the first request was read: the rest stays in the kernel of a channel that pauses.
    fn ask(&mut self) {
        self.peer.write_all(b"request").unwrap();
        self.wait_for(&Seen::Read);
        self.peer.write_all(&[1; 1000]).unwrap();
    }

    /// Goes on asking, without waiting for answers.
    fn pump(&self) -> Pump {
        let is_over = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let (mut peer, stop, count) = (
            self.peer.try_clone().unwrap(),
            is_over.clone(),
            sent.clone(),
        );
        let thread = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) && peer.write_all(&[1; 10_000]).is_ok() {
                count.fetch_add(10_000, Ordering::Relaxed);
            }
        });
        Pump {
            is_over,
            sent,
            thread,
        }
    }

    /// All that arrives up to the end.
    fn read_all(&mut self) -> usize {
        let mut got = Vec::new();
        self.peer.read_to_end(&mut got).expect("no reset");
        got.len()
    }
}

struct Pump {
    is_over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Pump {
    /// Waits until something was read of what is sent from now on.
    fn until_heard(&self) {
        let (begun, before) = (Instant::now(), self.sent.load(Ordering::Relaxed));
        while self.sent.load(Ordering::Relaxed) < before + READ_SURELY {
            assert!(begun.elapsed() < DEADLINE, "nobody reads");
            thread::yield_now();
        }
    }

    fn stop(self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

/// How many were cut off, broke and were silent.
fn ends(report: &DrainReport) -> [usize; 3] {
    [report.cut, report.broken, report.silent]
}

fn stop(group: &EventLoopGroup) {
    group.stop();
    assert!(group.await_termination(DEADLINE).unwrap());
}

/// What was handed to the kernel is not thrown away because of requests that nobody reads any more.
#[test]
fn answers_reach_a_peer_that_goes_on_asking() {
    each_way(|way, kind| {
        let group = way.group(1);
        let mut pair = Pair::new(&group, kind, true);
        pair.ask();
        let pump = pair.pump();
        let draining = group.drain(PATIENT);
        assert_eq!(pair.read_all(), ANSWER);
        assert!(!draining.is_done(), "the peer has not ended its side");
        pump.stop();
        drop(pair.peer);
        let report = draining.sync().unwrap();
        assert_eq!(ends(&report), [0; 3], "{report}");
        assert_eq!((report.channels, report.late), (1, 0));
        assert!(report.is_complete());
        stop(&group);
    });
}

/// Rules: A26
///
/// Nothing of what is dropped, and nothing of a shutdown: for the handlers it is a close that takes its time.
#[test]
fn handlers_see_nothing_of_it_and_the_last_events_when_it_is_over() {
    each_way(|way, kind| {
        let group = way.group(1);
        let mut pair = Pair::with(&group, kind, true, |bootstrap| {
            bootstrap.option(ALLOW_HALF_CLOSURE, true)
        });
        pair.ask();
        let draining = group.drain(PATIENT);
        assert_eq!(pair.read_all(), ANSWER);
        let channel = pair.channel.clone();
        assert!(!channel.is_open() && channel.is_registered());
        // What is done now is done to a channel that closes.
        channel.set_auto_read(true);
        channel.read();
        let write = channel.write_and_flush("late").sync_timeout(DEADLINE);
        assert_eq!(write.unwrap_err().kind(), ErrorKind::ChannelClosed);
        let close = channel.close();
        pair.peer.write_all(b"more").unwrap();
        // A round of the loop, and another: nothing of it was told.
        group.next().submit(|| ()).sync().unwrap();
        group.next().submit(|| ()).sync().unwrap();
        assert!(!close.is_done() && !draining.is_done());
        assert_eq!(pair.seen.try_iter().collect::<Vec<_>>(), [Seen::Draining]);
        pair.peer.shutdown(Shutdown::Write).unwrap();
        close.sync_timeout(DEADLINE).unwrap();
        assert!(draining.sync().unwrap().is_complete());
        pair.wait_for(&Seen::Inactive);
        pair.wait_for(&Seen::Unregistered);
        pair.wait_for(&Seen::Removed);
        stop(&group);
    });
}

/// The loop goes round meanwhile, and the others are served.
#[test]
fn a_peer_that_never_ends_is_cut_off_at_the_deadline_and_counted() {
    each_way(|way, kind| {
        let group = way.group(1);
        let mut pair = Pair::new(&group, kind, true);
        let mut other = Pair::new(&group, kind, true);
        pair.ask();
        other.ask();
        let pump = pair.pump();
        let draining = group.drain(PATIENT);
        assert_eq!(pair.read_all(), ANSWER);
        assert_eq!(other.read_all(), ANSWER);
        other.peer.shutdown(Shutdown::Both).unwrap();
        other.wait_for(&Seen::Inactive);
        // Sockets have looked when the end was sent. A thread is behind.
        if let Kind::Threads = kind {
            pump.until_heard();
        }
        // The deadline of a second drain is another one for the first.
        let short = Duration::from_millis(20);
        let second = group.drain(within(short)).sync().unwrap();
        assert!(second.took >= short);
        assert_eq!((second.channels, ends(&second)), (1, [1, 0, 0]));
        let report = draining.sync().unwrap();
        assert!(report.took < SILENCE, "{report}");
        assert_eq!(ends(&report), [1, 0, 0], "{report}");
        assert_eq!((report.channels, report.late), (2, 0));
        assert!(report.unsent.is_empty() && !report.is_complete());
        let text = report.to_string();
        assert!(
            text.ends_with(", 1 cut off before their peers' end"),
            "{text}"
        );
        pair.wait_for(&Seen::Inactive);
        pump.stop();
        stop(&group);
    });
}

/// Its end is read at once, behind what it sent before, also where nobody had asked for it.
#[test]
fn a_peer_that_has_ended_its_side_is_not_waited_for() {
    each_way(|way, kind| {
        let group = way.group(1);
        let mut paused = Pair::new(&group, kind, true);
        paused.ask();
        paused.peer.shutdown(Shutdown::Write).unwrap();
        let half_open = Pair::with(&group, kind, false, |bootstrap| {
            bootstrap.option(ALLOW_HALF_CLOSURE, true)
        });
        half_open.peer.shutdown(Shutdown::Write).unwrap();
        half_open.wait_for(&Seen::Event(
            "tidegate::channel::events::ChannelInputShutdown",
        ));
        let draining = group.drain(PATIENT);
        assert_eq!(paused.read_all(), ANSWER);
        let report = draining.sync().unwrap();
        assert!(report.is_complete() && report.took < SILENCE, "{report}");
        assert_eq!((report.channels, ends(&report)), (2, [0; 3]));
        stop(&group);
    });
}

#[test]
fn a_connection_that_breaks_before_its_peers_end_is_counted() {
    each_way(|way, kind| {
        let group = way.group(1);
        let mut pair = Pair::new(&group, kind, true);
        pair.ask();
        let draining = group.drain(PATIENT);
        assert_eq!(pair.read_all(), ANSWER);
        net::set_linger(pair.peer.as_fd(), Some(Duration::ZERO)).unwrap();
        drop(pair.peer);
        let report = draining.sync().unwrap();
        assert_eq!(ends(&report), [0, 1, 0], "{report}");
        assert!(!report.is_complete());
        stop(&group);
    });
}

/// Who answers and closes loses nothing either: a close of a channel that drains is a lingering one.
#[test]
fn a_handler_that_closes_in_a_drain_keeps_what_it_sent() {
    struct Goodbye;

    impl Handler for Goodbye {
        fn user_event_triggered(&mut self, ctx: &mut Context<'_>, _: Message) -> HandlerResult {
            let sent = ctx.write_future(Bytes::from(vec![8; ANSWER]));
            ctx.flush();
            sent.add_listener(|channel, _| drop(channel.close()));
            Ok(())
        }
    }

    each_way(|way, kind| {
        let group = way.group(1);
        let mut pair = Pair::new(&group, kind, true);
        pair.ask();
        let added = pair.channel.edit(|pipeline| pipeline.add_first(Goodbye));
        added.sync().unwrap().unwrap();
        let draining = group.drain(PATIENT);
        assert_eq!(pair.read_all(), 2 * ANSWER);
        drop(pair.peer);
        assert!(draining.sync().unwrap().is_complete());
        stop(&group);
    });
}

/// A handler that says goodbye when it is closed need not see to it that the peer takes it.
#[test]
fn what_a_handler_sends_when_it_is_closed_goes_out_first() {
    struct Notify {
        flushes: bool,
    }

    impl Handler for Notify {
        fn close(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
            ctx.write(Bytes::from(vec![9; ANSWER]));
            if self.flushes {
                ctx.flush();
            }
            ctx.close_with(promise);
            Ok(())
        }
    }

    for flushes in [false, true] {
        each_way(|way, kind| {
            let group = way.group(1);
            let mut pair = Pair::new(&group, kind, true);
            pair.ask();
            let added = pair
                .channel
                .edit(move |pipeline| pipeline.add_first(Notify { flushes }));
            added.sync().unwrap().unwrap();
            let draining = group.drain(PATIENT);
            assert_eq!(pair.read_all(), 2 * ANSWER);
            drop(pair.peer);
            let report = draining.sync().unwrap();
            assert!(report.is_complete(), "{report}");
            stop(&group);
        });
    }
}

/// The same with a peer that takes nothing: the deadline comes, and the report says it.
#[test]
fn a_goodbye_that_is_not_taken_is_left_unsent_at_the_deadline() {
    struct Notify(Sender<()>);

    impl Handler for Notify {
        fn close(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
            ctx.write(Bytes::from(vec![9; 64 << 20]));
            ctx.close_with(promise);
            let _ = self.0.send(());
            Ok(())
        }
    }

    let group = EventLoopGroup::new(1).unwrap();
    let pair = Pair::new(&group, Kind::Sockets, false);
    let (closes, closing) = mpsc::channel();
    let notify = Notify(closes);
    let added = pair.channel.edit(|pipeline| pipeline.add_first(notify));
    added.sync().unwrap().unwrap();
    let draining = group.drain(PATIENT);
    closing.recv_timeout(DEADLINE).unwrap();
    // It was asked. The deadline of another drain is one for both.
    let short = Duration::from_millis(50);
    let second = group.drain(within(short)).sync().unwrap();
    for report in [second, draining.sync().unwrap()] {
        assert_eq!((report.late, report.unsent.len()), (1, 1), "{report}");
        assert_eq!(ends(&report), [0; 3]);
    }
    stop(&group);
}

/// SO_LINGER waits for acknowledgements when the peer has ended, and what it waits for in vain is its own affair.
#[test]
fn so_linger_comes_after_it() {
    let group = EventLoopGroup::new(1).unwrap();
    let mut pair = Pair::with(&group, Kind::Sockets, true, |bootstrap| {
        bootstrap.option(SO_LINGER, Some(DEADLINE))
    });
    pair.ask();
    let draining = group.drain(PATIENT);
    assert_eq!(pair.read_all(), ANSWER);
    drop(pair.peer);
    let report = draining.sync().unwrap();
    assert!(report.is_complete() && report.took < SILENCE, "{report}");
    stop(&group);
}

/// A shutdown has no time for peers; it says whom it cut off.
#[test]
fn a_shutdown_ends_it_at_once() {
    each_way(|way, kind| {
        let group = way.group(1);
        let mut pair = Pair::new(&group, kind, true);
        pair.ask();
        let draining = group.drain(PATIENT);
        assert_eq!(pair.read_all(), ANSWER);
        let begun = Instant::now();
        group
            .shutdown_gracefully(Duration::ZERO, DEADLINE)
            .sync()
            .unwrap();
        assert!(begun.elapsed() < SILENCE);
        let report = draining.sync().unwrap();
        assert_eq!(ends(&report), [1, 0, 0], "{report}");
        let last = [
            Seen::Draining,
            Seen::Inactive,
            Seen::Unregistered,
            Seen::Removed,
        ];
        assert_eq!(pair.seen.try_iter().collect::<Vec<_>>(), last);
    });
}

/// Whoever drains and lets go of the group: its channels stay for the quiet period, and linger.
#[test]
fn a_group_that_is_dropped_in_a_drain_loses_nothing() {
    let group = EventLoopGroup::new(1).unwrap();
    let mut pair = Pair::new(&group, Kind::Sockets, true);
    pair.ask();
    let pump = pair.pump();
    let draining = group.drain(PATIENT);
    drop(group);
    assert_eq!(pair.read_all(), ANSWER);
    pump.stop();
    drop(pair.peer);
    assert!(draining.sync().unwrap().is_complete());
}

/// Nothing there can end its output alone: they are closed at once.
#[test]
fn datagrams_are_closed_without_it() {
    ways::each_way(|way| {
        let group = way.group(1);
        let (tell, seen) = mpsc::channel();
        let bootstrap = Bootstrap::new(&group)
            .transport::<Udp>()
            .handler(move |pipeline| {
                let (tell, pauses) = (tell.clone(), false);
                pipeline.add_last(Answer { tell, pauses })
            });
        bootstrap
            .bind("127.0.0.1:0")
            .sync_timeout(DEADLINE)
            .unwrap();
        let report = group.drain(PATIENT).sync().unwrap();
        assert!(report.took < SILENCE);
        assert_eq!((report.channels, ends(&report)), (1, [0; 3]));
        assert!(report.is_complete());
        stop(&group);
        assert!(seen.try_iter().any(|seen| seen == Seen::Inactive));
    });
}

/// Also over Unix sockets, which tell a peer of a reset behind what it has got.
#[test]
fn unix_connections_linger_too() {
    ways::each_way(|way| {
        let group = way.group(1);
        let path = std::env::temp_dir().join(format!("tidegate-linger-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let (tell, seen) = mpsc::channel();
        let bootstrap = Bootstrap::new(&group)
            .transport::<UnixStream>()
            .handler(move |pipeline| {
                let (tell, pauses) = (tell.clone(), true);
                pipeline.add_last(Answer { tell, pauses })
            });
        bootstrap
            .connect(path.as_path())
            .sync_timeout(DEADLINE)
            .unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        std::fs::remove_file(&path).unwrap();
        peer.set_read_timeout(Some(DEADLINE)).unwrap();
        peer.write_all(b"request").unwrap();
        while seen.recv_timeout(DEADLINE).unwrap() != Seen::Read {}
        peer.write_all(b"another").unwrap();
        let draining = group.drain(PATIENT);
        let mut got = Vec::new();
        peer.read_to_end(&mut got).expect("no reset");
        assert_eq!(got.len(), ANSWER);
        drop(peer);
        let report = draining.sync().unwrap();
        assert_eq!(ends(&report), [0; 3], "{report}");
        stop(&group);
    });
}

/// One connection of many: the others, and the service, go on.
#[test]
fn one_channel_alone_can_be_drained() {
    each_way(|way, kind| {
        let group = way.group(1);
        let mut pair = Pair::new(&group, kind, true);
        let other = Pair::new(&group, kind, false);
        pair.ask();
        let pump = pair.pump();
        let draining = pair.channel.drain(PATIENT);
        assert_eq!(pair.read_all(), ANSWER);
        pump.stop();
        drop(pair.peer);
        let report = draining.sync().unwrap();
        assert!(report.is_complete(), "{report}");
        assert_eq!((report.channels, ends(&report)), (1, [0; 3]));
        assert!(other.channel.is_active());
        let again = pair.channel.drain(PATIENT).sync().unwrap();
        assert_eq!(again.channels, 0, "it has closed");
        stop(&group);
    });
}

/// A drain of all waits for channels that are drained already, and the first deadline counts.
#[test]
fn where_drains_overlap_a_channel_is_in_all_reports() {
    let group = EventLoopGroup::new(1).unwrap();
    let mut pair = Pair::new(&group, Kind::Sockets, true);
    pair.ask();
    let one = pair.channel.drain(PATIENT);
    assert_eq!(pair.read_all(), ANSWER);
    let all = group.drain(PATIENT);
    group.next().submit(|| ()).sync().unwrap();
    assert!(!one.is_done() && !all.is_done());
    let short = within(Duration::from_millis(50));
    let short = group.drain(short).sync().unwrap();
    for report in [short, all.sync().unwrap(), one.sync().unwrap()] {
        assert_eq!((report.channels, ends(&report)), (1, [1, 0, 0]), "{report}");
        assert!(report.took < SILENCE);
    }
    let events: Vec<_> = pair.seen.try_iter().collect();
    let asked = events
        .iter()
        .filter(|seen| **seen == Seen::Draining)
        .count();
    assert_eq!(asked, 1, "{events:?}");
    stop(&group);
}

/// Whoever has asked for nothing has lost nothing, also when the deadline is shorter than a silent peer is waited for.
#[test]
fn idle_clients_leave_a_drain_complete() {
    each_way(|way, kind| {
        let group = way.group(2);
        let mut clients: Vec<_> = (0..6).map(|_| Pair::new(&group, kind, false)).collect();
        let draining = group.drain(PATIENT);
        for client in &mut clients {
            assert_eq!(client.read_all(), 0);
        }
        // All are waited for. The deadline of a second drain is another one for the first.
        let short = Duration::from_millis(20);
        let second = group.drain(within(short)).sync().unwrap();
        assert!(second.took >= short, "{second}");
        for report in [second, draining.sync().unwrap()] {
            assert!(report.took < SILENCE, "{report}");
            assert_eq!((report.channels, report.late), (6, 0));
            assert_eq!(ends(&report), [0, 0, 6], "{report}");
            assert!(report.is_complete());
        }
        stop(&group);
    });
}

#[test]
fn a_silent_peer_is_waited_for_as_long_as_the_drain_says() {
    each_way(|way, kind| {
        let group = way.group(1);
        let silence = Duration::from_millis(20);
        let times = PATIENT.silence(silence);
        let _pair = Pair::new(&group, kind, false);
        let report = group.drain(times).sync().unwrap();
        assert!(report.took >= silence && report.took < SILENCE, "{report}");
        assert_eq!(ends(&report), [0, 0, 1], "{report}");
        assert!(report.is_complete());
        stop(&group);
    });
}

/// As with the deadlines.
#[test]
fn where_drains_overlap_the_most_impatient_one_counts() {
    let group = EventLoopGroup::new(1).unwrap();
    let pair = Pair::new(&group, Kind::Sockets, false);
    let patient = pair.channel.drain(PATIENT);
    group.next().submit(|| ()).sync().unwrap();
    let times = PATIENT.silence(Duration::from_millis(20));
    let impatient = group.drain(times).sync().unwrap();
    let patient = patient.sync().unwrap();
    assert!(patient.took < SILENCE, "{patient}");
    for report in [impatient, patient] {
        assert_eq!((report.channels, ends(&report)), (1, [0, 0, 1]), "{report}");
    }
    stop(&group);
}
