//! What these tests share: a folder for each, handlers that report, and shorter ways to servers and clients.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use tidegate::channel::{IntoAddress, Unix};
use tidegate::transport::unix::{UnixServer, UnixStream};
use tidegate::{
    Bootstrap, Channel, ChannelFuture, Context, Error, EventLoopGroup, Failure, Handler,
    HandlerResult, Message, ServerBootstrap,
};

use crate::ways::{Way, each_way};

pub const DEADLINE: Duration = Duration::from_secs(20);

/// Runs a test on a group of two loops, built every way, with a folder of its own.
pub fn with_each_group(test: impl Fn(&EventLoopGroup, &Folder)) {
    each_way(|way: Way| {
        let group = way.group(2);
        test(&group, &Folder::new());
        group.stop();
        let has_ended = group.await_termination(DEADLINE).expect("not a loop");
        assert!(has_ended, "the loops ended");
    });
}

/// An empty folder with a short path, removed in the end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tidegate-unix-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What is in it.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("the folder");
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        entries
            .map(|entry| name(entry.expect("an entry")))
            .collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes back what it reads, whatever it is.
pub struct Echo;

impl Handler for Echo {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.write(msg);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        Ok(())
    }
}

/// What a [`Probe`] saw.
#[derive(Debug)]
#[allow(dead_code, reason = "shown where a test expected something else")]
pub enum Seen {
    Active(Channel),
    Read(Message),
    Event(&'static str),
    Error(Error),
    Inactive,
}

/// The last handler of a pipeline: sends what it sees to the test.
pub struct Probe(pub Sender<Seen>);

impl Probe {
    pub fn channel() -> (Sender<Seen>, Receiver<Seen>) {
        mpsc::channel()
    }

    fn say(&self, seen: Seen) -> HandlerResult {
        // The test may have seen enough.
        let _ = self.0.send(seen);
        Ok(())
    }
}

impl Handler for Probe {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.say(Seen::Active(ctx.channel()))
    }

    fn channel_inactive(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.say(Seen::Inactive)
    }

    fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.say(Seen::Read(msg))
    }

    fn user_event_triggered(&mut self, _: &mut Context<'_>, event: Message) -> HandlerResult {
        let name = event.type_name();
        self.say(Seen::Event(name.rsplit("::").next().unwrap_or(name)))
    }

    fn exception_caught(&mut self, _: &mut Context<'_>, cause: Failure) -> HandlerResult {
        self.say(Seen::Error(cause.into_error()))
    }
}

/// The next thing seen.
pub fn next(seen: &Receiver<Seen>) -> Seen {
    seen.recv_timeout(DEADLINE)
        .expect("something happens before the deadline")
}

/// The channel that becomes active next.
pub fn active(seen: &Receiver<Seen>) -> Channel {
    match next(seen) {
        Seen::Active(channel) => channel,
        other => panic!("a channel becomes active, not {other:?}"),
    }
}

/// Reads until so many bytes came; other events on the way are dropped.
pub fn read_exactly(seen: &Receiver<Seen>, count: usize) -> Vec<u8> {
    let mut got = Vec::new();
    while got.len() < count {
        match next(seen) {
            Seen::Read(msg) => got.extend(msg.as_bytes().expect("bytes")),
            Seen::Inactive => panic!("the channel closed after {} of {count} bytes", got.len()),
            _ => {}
        }
    }
    assert_eq!(got.len(), count, "nothing more than that");
    got
}

/// Drops events until the channel has closed.
pub fn wait_for_the_end(seen: &Receiver<Seen>) {
    while !matches!(next(seen), Seen::Inactive) {}
}

/// A server with one kind of child.
pub fn server<H: Handler>(
    group: &EventLoopGroup,
    child: impl Fn() -> H + Send + Sync + 'static,
) -> ServerBootstrap<UnixStream> {
    ServerBootstrap::new(group, group)
        .transport::<UnixStream>()
        .child_handler(move |pipeline| pipeline.add_last(child()))
}

/// A client with a [`Probe`].
pub fn client(group: &EventLoopGroup) -> (Bootstrap<UnixStream>, Receiver<Seen>) {
    let (tell, seen) = Probe::channel();
    let bootstrap = Bootstrap::new(group)
        .transport::<UnixStream>()
        .handler(move |pipeline| pipeline.add_last(Probe(tell.clone())));
    (bootstrap, seen)
}

/// Both ends of a connection: the client, what it sees, the child, what that sees. Their server is closed.
pub fn connected(
    group: &EventLoopGroup,
    address: impl IntoAddress<Unix> + Clone,
    prepare: impl FnOnce(ServerBootstrap<UnixStream>) -> ServerBootstrap<UnixStream>,
) -> (Channel, Receiver<Seen>, Channel, Receiver<Seen>) {
    let (tell, served) = Probe::channel();
    let server = prepare(server(group, move || Probe(tell.clone())));
    let server = ok(server.bind(address.clone()));
    let (bootstrap, seen) = client(group);
    let client = ok(bootstrap.connect(address));
    active(&seen);
    let child = active(&served);
    ok(server.close());
    (client, seen, child, served)
}

/// The channel of a future that succeeds.
pub fn ok(future: ChannelFuture) -> Channel {
    future.sync_timeout(DEADLINE).expect("it succeeds")
}

/// The error of a future that fails.
pub fn failed(future: ChannelFuture) -> Error {
    future.sync_timeout(DEADLINE).expect_err("it fails")
}

/// A file of a socket at which nobody listens any more.
pub fn leave_stale(path: &Path) {
    drop(std::os::unix::net::UnixListener::bind(path).expect("a socket"));
    assert!(path.exists());
}

/// Only for its type: a transport without a bootstrap.
pub fn unbound() -> UnixServer {
    UnixServer::unbound()
}
