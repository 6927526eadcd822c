//! No descriptor is left behind, however many are passed and whoever ignores them. Alone in its process, because
//! descriptors are the process's.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tidegate::channel::options::CLOSE_ON_UNHANDLED_ERROR;
use tidegate::transport::unix::{
    Accepted, Datagram, Descriptors, RECEIVE_DESCRIPTORS, UnixDatagram, UnixStream,
};
use tidegate::{
    Bootstrap, Channel, Context, Error, ErrorKind, EventLoopGroup, Failure, Handler, HandlerResult,
    Message,
};

const DEADLINE: Duration = Duration::from_secs(20);

/// Of each kind of receiver.
const PASSES: usize = 10_000;

/// How many descriptors go with one message.
const AT_ONCE: usize = 4;

/// How many descriptors are open; none where the system does not say.
fn open_descriptors() -> usize {
    std::fs::read_dir("/dev/fd").map_or(0, Iterator::count)
}

fn expect_descriptors(expected: usize) {
    let begun = Instant::now();
    while open_descriptors() != expected {
        assert!(
            begun.elapsed() < DEADLINE,
            "{} descriptors are open instead of {expected}",
            open_descriptors()
        );
        std::thread::yield_now();
    }
}

/// Counts the bytes, and tells when all are there.
struct Counter {
    /// Takes descriptors; otherwise they go on to the end of the pipeline.
    takes: bool,
    came: Arc<AtomicUsize>,
    bytes: usize,
    done: Sender<()>,
}

impl Handler for Counter {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        if let Some(bytes) = msg.readable_bytes() {
            self.bytes += bytes;
            if self.bytes == PASSES / AT_ONCE {
                let _ = self.done.send(());
            }
            return Ok(());
        }
        if self.takes {
            let came = msg.downcast::<Descriptors>().expect("descriptors");
            self.came.fetch_add(came.len(), Ordering::Relaxed);
        } else {
            ctx.fire_channel_read(msg);
        }
        Ok(())
    }
}

fn open(group: &EventLoopGroup, accepted: Accepted, handler: impl Handler + Send) -> Channel {
    let opened = Channel::builder()
        .option(CLOSE_ON_UNHANDLED_ERROR, false)
        .open_on(
            &group.next(),
            move || UnixStream::from(accepted),
            move |pipeline| pipeline.add_last(handler),
        );
    opened.sync_timeout(DEADLINE).expect("a channel")
}

struct Nothing;
impl Handler for Nothing {}

/// Passes descriptors to such a receiver; how many it took.
fn pass(group: &EventLoopGroup, takes: bool, wants: bool) -> usize {
    let (one, other) = Accepted::pair().expect("a pair");
    let (done, is_done) = mpsc::channel();
    let came = Arc::new(AtomicUsize::new(0));
    let counter = Counter {
        takes,
        came: came.clone(),
        bytes: 0,
        done,
    };
    let sender = open(group, one, Nothing);
    let receiver = open(group, other, counter);
    let set = receiver.set_option(RECEIVE_DESCRIPTORS, wants);
    set.sync_timeout(DEADLINE).expect("an option");
    let file = OwnedFd::from(File::open("/dev/null").expect("a file"));
    for _ in 0..PASSES / AT_ONCE {
        let copies = (0..AT_ONCE).map(|_| file.try_clone().expect("a descriptor"));
        let sent = sender.write_and_flush(Descriptors::from_iter(copies).with_bytes("x"));
        sent.sync_timeout(DEADLINE).expect("it was sent");
    }
    is_done.recv_timeout(DEADLINE).expect("all bytes came");
    for channel in [sender, receiver] {
        channel.close().sync_timeout(DEADLINE).expect("it closes");
    }
    came.load(Ordering::Relaxed)
}

/// The same with datagrams, each of one descriptor.
fn pass_datagrams(group: &EventLoopGroup, takes: bool) -> usize {
    let path = std::env::temp_dir().join(format!("tidegate-pass-{}", std::process::id()));
    let (done, is_done) = mpsc::channel();
    let came = Arc::new(AtomicUsize::new(0));
    let counted = came.clone();
    let bootstrap = Bootstrap::new(group).transport::<UnixDatagram>();
    let receiver = bootstrap
        .clone()
        .handler(move |pipeline| {
            pipeline.add_last(Unpack)?;
            pipeline.add_last(Counter {
                takes,
                came: counted.clone(),
                bytes: 0,
                done: done.clone(),
            })
        })
        .bind(&path);
    let receiver = receiver.sync_timeout(DEADLINE).expect("a channel");
    let sender = bootstrap.handler(|_| Ok::<_, Error>(())).connect(&path);
    let sender = sender.sync_timeout(DEADLINE).expect("a channel");
    let file = OwnedFd::from(File::open("/dev/null").expect("a file"));
    for _ in 0..PASSES / AT_ONCE {
        let copy = file.try_clone().expect("a descriptor");
        let sent = sender.write_and_flush(Descriptors::from(copy).with_bytes("x"));
        sent.sync_timeout(DEADLINE).expect("it was sent");
    }
    is_done.recv_timeout(DEADLINE).expect("all datagrams came");
    for channel in [sender, receiver] {
        channel.close().sync_timeout(DEADLINE).expect("it closes");
    }
    came.load(Ordering::Relaxed)
}

/// The contents of datagrams; descriptors pass.
struct Unpack;

impl Handler for Unpack {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        match msg.downcast::<Datagram>() {
            Ok(datagram) => ctx.fire_channel_read(Message::new(datagram.content)),
            Err(other) => ctx.fire_channel_read(other),
        }
        Ok(())
    }
}

/// Sends the kinds of errors to the test.
struct Errors(Sender<Result<usize, ErrorKind>>);

impl Handler for Errors {
    fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
        let _ = self.0.send(Ok(msg.readable_bytes().unwrap_or(0)));
        Ok(())
    }

    fn exception_caught(&mut self, _: &mut Context<'_>, cause: Failure) -> HandlerResult {
        let _ = self.0.send(Err(cause.kind()));
        Ok(())
    }
}

/// There is no room for what comes: the handler is told, the bytes come, and nothing is left behind.
fn without_room(group: &EventLoopGroup) {
    let (one, other) = Accepted::pair().expect("a pair");
    let (tell, told) = mpsc::channel();
    let sender = open(group, one, Nothing);
    let receiver = open(group, other, Errors(tell));
    let paused = receiver.edit(|pipeline| {
        pipeline.channel().set_auto_read(false);
        Ok::<_, Error>(())
    });
    paused
        .sync_timeout(DEADLINE)
        .expect("the loop's turn")
        .expect("no error");
    let file = OwnedFd::from(File::open("/dev/null").expect("a file"));
    let copies = (0..64).map(|_| file.try_clone().expect("a descriptor"));
    let sent = sender.write_and_flush(Descriptors::from_iter(copies).with_bytes("bytes"));
    sent.sync_timeout(DEADLINE).expect("it was sent");

    let before = open_descriptors();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    // Room for a few, but not for all.
    setrlimit(Resource::RLIMIT_NOFILE, before as u64 + 8, hard).expect("a lower limit");
    receiver.set_auto_read(true);
    let first = told.recv_timeout(DEADLINE).expect("something happens");
    let second = told.recv_timeout(DEADLINE).expect("something happens");
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("the limit from before");
    assert_eq!((first, second), (Err(ErrorKind::Exhausted), Ok(5)));
    expect_descriptors(before);
    assert!(receiver.is_active());
    for channel in [sender, receiver] {
        channel.close().sync_timeout(DEADLINE).expect("it closes");
    }
}

#[test]
fn ten_thousand_passes_leave_nothing_behind() {
    let group = EventLoopGroup::new(2).expect("a group");
    // What is made once and kept.
    let (one, other) = Accepted::pair().expect("a pair");
    for accepted in [one, other] {
        let channel = open(&group, accepted, Nothing);
        channel.close().sync_timeout(DEADLINE).expect("it closes");
    }
    let before = open_descriptors();

    assert_eq!(pass(&group, true, true), PASSES);
    expect_descriptors(before);
    // Nobody takes them: they are closed at the end of the pipeline.
    assert_eq!(pass(&group, false, true), 0);
    expect_descriptors(before);
    // Nobody wants them: they never come.
    assert_eq!(pass(&group, true, false), 0);
    expect_descriptors(before);

    assert_eq!(pass_datagrams(&group, true), PASSES / AT_ONCE);
    expect_descriptors(before);
    assert_eq!(pass_datagrams(&group, false), 0);
    expect_descriptors(before);

    if cfg!(target_os = "linux") {
        without_room(&group);
        expect_descriptors(before);
    }

    // On their way when both ends close.
    let (one, other) = Accepted::pair().expect("a pair");
    let sender = open(&group, one, Nothing);
    let file = OwnedFd::from(File::open("/dev/null").expect("a file"));
    let sent = sender.write_and_flush(Descriptors::from(file).with_bytes("x"));
    sent.sync_timeout(DEADLINE).expect("it was sent");
    drop(other);
    sender.close().sync_timeout(DEADLINE).expect("it closes");
    expect_descriptors(before);
}
