//! The end of loops whose channels can't close in time: whoever waits for a close is told the truth, and handlers have their
//! last events in order all the same.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use tidegate::channel::options::{SO_LINGER, SO_SNDBUF};
use tidegate::transport::oio;
use tidegate::{
    Bootstrap, Channel, Context, Error, ErrorKind, EventLoopGroup, Handler, HandlerResult,
    LocalEventLoop,
};

#[path = "common/ways.rs"]
mod ways;

/// Long enough for a machine that does other things; nothing waits for it when all is well.
const DEADLINE: Duration = Duration::from_secs(20);

/// Longer than any of these tests takes: the transport is not done when the loop is.
const FOR_EVER: Duration = Duration::from_secs(60);

/// More than any socket buffers of this machine hold.
const A_LOT: usize = 64 << 20;

/// Tells its last events, and closes once more in each, which changes nothing.
struct Last(&'static str, Sender<String>);

impl Last {
    fn tell(&self, ctx: &Context<'_>, what: &str) {
        let _ = self.1.send(format!("{} {what}", self.0));
        ctx.channel().close();
    }
}

impl Handler for Last {
    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.tell(ctx, "inactive");
        ctx.fire_channel_inactive();
        Ok(())
    }

    fn channel_unregistered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.tell(ctx, "unregistered");
        ctx.fire_channel_unregistered();
        Ok(())
    }

    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.tell(ctx, "removed");
        Ok(())
    }
}

/// As a story: a thread wrote to a hundred channels and stopped their group, and the stop overtook the writes.
///
/// Rules: E18, A45
#[test]
fn what_a_thread_writes_before_it_stops_the_loop_is_written() {
    const WRITES: usize = 1_000;
    for is_graceful in [true, false] {
        let group = EventLoopGroup::new(1).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let channel = Bootstrap::new(&group)
            .handler(|_| Ok::<_, Error>(()))
            .connect(listener.local_addr().unwrap())
            .sync_timeout(DEADLINE)
            .unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let (go, wait) = mpsc::channel::<()>();
        let held = channel
            .event_loop()
            .execute(move || _ = wait.recv_timeout(DEADLINE));
        held.unwrap();
        let written: Vec<_> = (0..WRITES).map(|_| channel.write_and_flush("x")).collect();
        let ended = if is_graceful {
            group.shutdown_gracefully(Duration::ZERO, DEADLINE)
        } else {
            group.stop()
        };
        let late = channel.write_and_flush("late");
        drop(go);
        assert!(ended.sync_timeout(DEADLINE).is_ok());
        assert!(written.iter().all(|each| each.is_success()));
        assert!(late.is_done());
        let mut got = String::new();
        peer.read_to_string(&mut got).unwrap();
        assert!(got.starts_with(&"x".repeat(WRITES)), "{} bytes", got.len());
    }
}

const LAST: [&str; 3] = ["a inactive", "a unregistered", "a removed"];

/// A client whose close lingers, because its peer does not read what it was sent.
fn stuck(group: &EventLoopGroup) -> (Channel, TcpStream, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (tell, told) = mpsc::channel();
    let client = Bootstrap::new(group)
        .option(SO_LINGER, Some(FOR_EVER))
        .option(SO_SNDBUF, 64 << 10)
        .handler(move |pipeline| pipeline.add_last(Last("a", tell.clone())))
        .connect(listener.local_addr().unwrap())
        .sync_timeout(DEADLINE)
        .unwrap();
    let (peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    // The buffers on both sides are full: the rest waits for the kernel.
    let write = client.write_and_flush(vec![7; A_LOT]);
    client.event_loop().submit(|| ()).sync().unwrap();
    assert!(!write.is_done());
    (client, peer, told)
}

fn kind(result: Result<Channel, Error>) -> ErrorKind {
    result.expect_err("it did not close").kind()
}

fn heard(told: &Receiver<String>) -> Vec<String> {
    told.try_iter().collect()
}

/// Rules: A26, A45
#[test]
fn a_stop_does_not_wait_for_a_close_and_does_not_say_that_it_has_ended() {
    ways::each_way(|way| {
        let group = way.group(1);
        let (client, peer, told) = stuck(&group);
        let close = client.close();
        client.event_loop().submit(|| ()).sync().unwrap();
        assert!(!close.is_done() && heard(&told).is_empty());
        let begun = Instant::now();
        group.stop().sync_timeout(DEADLINE).unwrap();
        assert!(begun.elapsed() < DEADLINE);
        assert_eq!(heard(&told), LAST);
        assert_eq!(kind(close.sync()), ErrorKind::Terminated);
        assert!(client.close_future().is_success() && !client.is_registered());
        drop(peer);
    });
}

/// The same where the stop itself closes.
///
/// Rules: A26, A45
#[test]
fn a_channel_that_a_stop_closes_has_its_last_events() {
    ways::each_way(|way| {
        let group = way.group(1);
        let (client, mut peer, told) = stuck(&group);
        group.stop().sync_timeout(DEADLINE).unwrap();
        assert_eq!(heard(&told), LAST);
        assert!(client.close_future().is_success());
        // What the kernel had goes out: the transport ends by itself.
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        assert!(!got.is_empty() && got.len() < A_LOT);
    });
}

/// Rules: A26, A45, E21
#[test]
fn a_shutdown_waits_for_a_close_until_its_timeout() {
    let group = EventLoopGroup::new(1).unwrap();
    let (client, peer, told) = stuck(&group);
    let close = client.close();
    let timeout = Duration::from_millis(100);
    let begun = Instant::now();
    group
        .shutdown_gracefully(Duration::ZERO, timeout)
        .sync()
        .unwrap();
    assert!(begun.elapsed() >= timeout);
    assert_eq!(heard(&told), LAST);
    assert_eq!(kind(close.sync()), ErrorKind::Terminated);
    drop(peer);

    let group = EventLoopGroup::new(1).unwrap();
    let (client, peer, told) = stuck(&group);
    let close = client.close();
    let ended = group.shutdown_gracefully(Duration::ZERO, FOR_EVER);
    client.event_loop().submit(|| ()).sync().unwrap();
    // The kernel gives up what it could not send, and the close is done.
    drop(peer);
    close.sync_timeout(DEADLINE).unwrap();
    ended.sync_timeout(DEADLINE).unwrap();
    assert_eq!(heard(&told), LAST);
}

/// Rules: A45
#[test]
fn a_local_loop_that_is_dropped_gives_its_channels_their_end() {
    struct Never;

    impl std::io::Read for Never {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            std::thread::park_timeout(Duration::from_millis(20));
            Err(std::io::ErrorKind::WouldBlock.into())
        }
    }

    let local = LocalEventLoop::new().unwrap();
    let (tell, told) = mpsc::channel();
    // A transport that says later that it has closed.
    let opened = Channel::builder().open_on(
        local.handle(),
        || oio::Stream::new("never", Never, std::io::sink()).interrupt(|| ()),
        move |pipeline| pipeline.add_last(Last("a", tell)),
    );
    let channel = local.block_on(opened).unwrap().unwrap();
    let close = channel.close();
    let closed = channel.close_future();
    drop(local);
    assert_eq!(heard(&told), LAST);
    // Its thread may have been faster.
    assert!(closed.is_success());
    assert!(close.is_success() || close.cause().unwrap().kind() == ErrorKind::Terminated);
}

/// As a story: a program wrote its last words between two turns, and dropped the loop.
///
/// Rules: E21, A45
#[test]
fn what_was_written_before_a_local_loop_is_dropped_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let local = LocalEventLoop::new().unwrap();
    let connected = Bootstrap::new(local.handle())
        .handler(|_| Ok::<_, Error>(()))
        .connect(listener.local_addr().unwrap());
    let channel = local.block_on(connected).unwrap().unwrap();
    let written = channel.write_and_flush("last words");
    drop(local);
    written.sync_timeout(DEADLINE).unwrap();
    let mut read = String::new();
    let (mut peer, _) = listener.accept().unwrap();
    peer.read_to_string(&mut read).unwrap();
    assert_eq!(read, "last words");
}

/// What went to another loop does not come back in time: those handlers are told there, these here, also if they stand behind.
///
/// Rules: A45, B22
#[test]
fn handlers_on_another_groups_loop_do_not_keep_those_here_from_leaving() {
    let (group, others) = (
        EventLoopGroup::new(1).unwrap(),
        EventLoopGroup::new(1).unwrap(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (tell, told) = mpsc::channel();
    let (far, far_told) = mpsc::channel();
    let elsewhere = others.clone();
    let client = Bootstrap::new(&group)
        .handler(move |pipeline| {
            pipeline.add_last(Last("a", tell.clone()))?;
            let far = far.clone();
            pipeline.add_last_on(&elsewhere, move || Last("far", far))?;
            pipeline.add_last(Last("b", tell.clone()))
        })
        .connect(listener.local_addr().unwrap())
        .sync_timeout(DEADLINE)
        .unwrap();
    // The other loop is busy until this one has ended.
    let (go, gone) = mpsc::channel();
    let busy = others.next().submit(move || gone.recv_timeout(DEADLINE));
    group.stop().sync_timeout(DEADLINE).unwrap();
    let [inactive, unregistered, removed] = LAST.map(str::to_owned);
    let behind = ["b inactive", "b unregistered", "b removed"].map(str::to_owned);
    let expected: Vec<_> = [inactive, unregistered].into_iter().chain(behind).collect();
    assert_eq!(heard(&told), [expected, vec![removed]].concat());
    assert!(client.close_future().is_success() && !client.is_registered());
    go.send(()).unwrap();
    busy.sync().unwrap().unwrap();
    for what in ["far inactive", "far unregistered", "far removed"] {
        assert_eq!(far_told.recv_timeout(DEADLINE).as_deref(), Ok(what));
    }
    others.stop().sync_timeout(DEADLINE).unwrap();
}
