//! What these tests share: one group of one loop, a handler that reports, and a count of threads that nobody else changes.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidegate::transport::oio;
use tidegate::{
    Bootstrap, Channel, Context, EventLoopGroup, Failure, Handler, HandlerResult, Message,
};

/// Long enough for a machine that does other things; nothing waits for it when all is well.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Threads are counted for the whole process, so these tests run one after the other.
static ALONE: Mutex<()> = Mutex::new(());

/// A group for one test, which finds no thread of a blocking channel when it begins and leaves none.
pub struct Group {
    pub loops: EventLoopGroup,
    _alone: MutexGuard<'static, ()>,
}

impl Group {
    pub fn new() -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        no_threads();
        Self {
            loops: EventLoopGroup::new(1).expect("a group"),
            _alone: alone,
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.loops.stop();
        if !std::thread::panicking() {
            let ended = self.loops.await_termination(DEADLINE).expect("not a loop");
            assert!(ended, "the loops ended");
            no_threads();
        }
    }
}

/// Waits until the threads of blocking channels have ended, by our count and by the system's.
pub fn no_threads() {
    until("no thread is left", || oio::threads() == 0);
    until("the system knows of none either", || {
        let kinds = ["oio-read-", "oio-write-", "oio-accept-"];
        let is_ours = |name: &String| kinds.iter().any(|kind| name.starts_with(kind));
        !names().iter().any(is_ours)
    });
}

/// The names of this process's threads, where the system tells.
pub fn names() -> Vec<String> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(task.ok()?.path().join("comm")).ok()?;
        Some(text.trim_end().to_owned())
    };
    tasks.filter_map(name).collect()
}

/// What a [`Probe`] saw.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    Active,
    Read(Vec<u8>),
    Complete,
    Event(String),
    Error(String),
    Inactive,
}

/// Sends what it sees to the test.
pub struct Probe(pub Sender<Seen>);

impl Probe {
    fn say(&self, seen: Seen) -> HandlerResult {
        // The test may have seen enough.
        let _ = self.0.send(seen);
        Ok(())
    }
}

impl Handler for Probe {
    fn channel_active(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.say(Seen::Active)
    }

    fn channel_inactive(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.say(Seen::Inactive)
    }

    fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.say(Seen::Read(msg.as_bytes().expect("bytes").to_vec()))
    }

    fn channel_read_complete(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.say(Seen::Complete)
    }

    fn user_event_triggered(&mut self, _: &mut Context<'_>, event: Message) -> HandlerResult {
        let name = event.type_name();
        self.say(Seen::Event(
            name.rsplit("::").next().unwrap_or(name).to_owned(),
        ))
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        self.say(Seen::Error(cause.to_string()))?;
        ctx.fire_exception_caught(cause);
        Ok(())
    }
}

/// Writes back what it reads.
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

/// The next thing seen, except for the ends of batches.
pub fn next(seen: &Receiver<Seen>) -> Seen {
    loop {
        match seen.recv_timeout(DEADLINE) {
            Ok(Seen::Complete) => {}
            other => return other.expect("something happens before the deadline"),
        }
    }
}

/// Reads until so many bytes came.
pub fn read_exactly(seen: &Receiver<Seen>, count: usize) -> Vec<u8> {
    let mut got = Vec::new();
    while got.len() < count {
        match next(seen) {
            Seen::Read(bytes) => got.extend(bytes),
            other => panic!("{other:?} after {} of {count} bytes", got.len()),
        }
    }
    assert_eq!(got.len(), count, "nothing more than that");
    got
}

/// A recipe for blocking clients that tell what they see.
pub fn recipe(group: &Group) -> (Bootstrap<oio::Tcp>, Receiver<Seen>) {
    let (tell, seen) = mpsc::channel();
    let bootstrap = Bootstrap::new(&group.loops)
        .transport::<oio::Tcp>()
        .handler(move |pipeline| pipeline.add_last(Probe(tell.clone())));
    (bootstrap, seen)
}

/// A listener that is not ours.
pub fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// Our client, and the plain peer that it is connected to.
pub fn client(
    group: &Group,
    prepare: impl FnOnce(Bootstrap<oio::Tcp>) -> Bootstrap<oio::Tcp>,
) -> (Channel, TcpStream, Receiver<Seen>) {
    let (bootstrap, seen) = recipe(group);
    let (listener, address) = listener();
    let client = prepare(bootstrap).connect(address);
    let (peer, _) = listener.accept().expect("a client");
    peer.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let client = client.sync_timeout(DEADLINE).expect("connected");
    assert_eq!(next(&seen), Seen::Active);
    (client, peer, seen)
}

/// Waits for something that no event tells of.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(
            begun.elapsed() < DEADLINE,
            "not before the deadline: {what}"
        );
        std::thread::yield_now();
    }
}
