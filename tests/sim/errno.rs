//! Each errno that the manual pages list for the system calls of programs, and what is done about it: one call
//! fails in a simulation, and what follows has to be what docs/errno.md says. That page is written from the table next door
//! (`UPDATE=1 cargo test --features sim --test sim errno`).
//!
//! Whatever the errno: no loop spins, also if the call goes on failing; nothing panics; no descriptor is left; and the next
//! client is served.

use std::fmt::Write;
use std::io::ErrorKind as IoKind;
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate::bootstrap::{Bootstrap, ServerBootstrap};
use tidegate::channel::Datagram;
use tidegate::channel::options::{CONNECT_TIMEOUT, SO_KEEPALIVE};
use tidegate::event_loop::EventLoop;
use tidegate::sim::{Failing, Outcome, Peer, Plan, World};
use tidegate::{
    Backend, Channel, ChannelFuture, Context, Error, ErrorKind, Failure, Fault, FileRegion,
    Handler, HandlerResult, Message, Pipeline,
};

use crate::errno_more;
use crate::errno_table::{CALLS, Call, State, Where};

/// Nothing here takes that long, but for waiting for something that does not come.
const LIMIT: Duration = Duration::from_secs(30);
/// How long a call that goes on failing is watched at a time.
const LASTING: Duration = Duration::from_secs(1);

/// What somebody was told, and what became of it.
pub type Seen = (Option<(ErrorKind, Fault)>, State);

/// What the pipelines have heard.
#[derive(Clone, Default)]
pub struct Heard(Arc<Mutex<Notes>>);

#[derive(Default)]
struct Notes {
    /// Errors of listeners, of accepted channels, of clients.
    errors: Vec<Error>,
    children: Vec<Channel>,
    /// Bytes that clients have received.
    received: usize,
}

impl Heard {
    fn note(&self, failure: Failure) {
        let error = failure.into_error();
        self.0.lock().unwrap().errors.push(error);
    }

    pub fn told(&self) -> Option<(ErrorKind, Fault)> {
        self.0.lock().unwrap().errors.first().map(told)
    }

    /// The channel that was accepted first.
    pub fn child(&self) -> Option<Channel> {
        self.0.lock().unwrap().children.first().cloned()
    }

    pub fn received(&self) -> usize {
        self.0.lock().unwrap().received
    }
}

pub fn told(error: &Error) -> (ErrorKind, Fault) {
    (error.kind(), error.fault())
}

/// Answers what it reads.
struct Echo(Heard);

impl Handler for Echo {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.0.lock().unwrap().children.push(ctx.channel());
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.write_and_flush(msg);
        Ok(())
    }

    fn exception_caught(&mut self, _: &mut Context<'_>, failure: Failure) -> HandlerResult {
        self.0.note(failure);
        Ok(())
    }
}

/// Counts what it reads.
pub struct Count(pub Heard);

impl Handler for Count {
    fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
        let datagram = msg.downcast_ref::<Datagram>();
        let bytes = datagram.map_or(msg.readable_bytes(), |datagram| {
            Some(datagram.content.len())
        });
        self.0.0.lock().unwrap().received += bytes.unwrap_or(0);
        Ok(())
    }

    fn exception_caught(&mut self, _: &mut Context<'_>, failure: Failure) -> HandlerResult {
        self.0.note(failure);
        Ok(())
    }
}

/// Hears of a listener's errors.
struct Listener(Heard);

impl Handler for Listener {
    fn exception_caught(&mut self, _: &mut Context<'_>, failure: Failure) -> HandlerResult {
        self.0.note(failure);
        Ok(())
    }
}

/// A world with an echo server on one loop.
pub struct Stage {
    pub world: World,
    pub event_loop: EventLoop,
    pub backend: Backend,
    address: SocketAddr,
    pub heard: Heard,
    failing: Failing,
}

impl Stage {
    fn new(backend: Backend, failing: Failing) -> Self {
        let mut world = World::new(Plan::calm(1)).unwrap();
        let event_loop = world.add_loop(|builder| builder.selector(backend)).unwrap();
        let mut stage = Self {
            world,
            event_loop,
            backend,
            address: "10.0.0.1:80".parse().unwrap(),
            heard: Heard::default(),
            failing,
        };
        let bound = stage.bind(stage.address);
        assert!(stage.wait(|| bound.is_success()));
        stage
    }

    /// From now on the call fails.
    pub fn fail(&self) {
        self.world.simulation().fail(self.failing).unwrap();
    }

    /// Turns the world until it is so, or nothing happens any more.
    pub fn wait(&mut self, done: impl FnMut() -> bool) -> bool {
        let limit = match self.failing.times {
            1 => LIMIT,
            _ => LASTING,
        };
        let outcome = self.world.run_until(limit, done);
        assert_ne!(outcome, Outcome::Spinning, "{:?}", self.failing);
        outcome == Outcome::Done
    }

    pub fn server(&self) -> ServerBootstrap {
        let (listener, child) = (self.heard.clone(), self.heard.clone());
        ServerBootstrap::new(&self.event_loop, &self.event_loop)
            .handler(move |pipeline: &mut Pipeline<'_>| {
                pipeline.add_last(Listener(listener.clone()))
            })
            .child_handler(move |pipeline: &mut Pipeline<'_>| {
                pipeline.add_last(Echo(child.clone()))
            })
    }

    fn bind(&self, address: SocketAddr) -> ChannelFuture {
        self.server().bind(address)
    }

    pub fn client(&self) -> Bootstrap {
        let heard = self.heard.clone();
        Bootstrap::new(&self.event_loop)
            .option(CONNECT_TIMEOUT, Duration::from_secs(10))
            .handler(move |pipeline: &mut Pipeline<'_>| pipeline.add_last(Count(heard.clone())))
    }

    /// Whether a client that connects there is answered.
    fn serves(&mut self, address: SocketAddr) -> bool {
        let peer = self.world.simulation().connect(address).unwrap();
        self.wait(|| peer.is_connected()) && self.answers(&peer)
    }

    pub fn answers(&mut self, peer: &Peer) -> bool {
        let _ = peer.send(b"?");
        self.wait(|| receive(peer) == Some(1))
    }

    /// A connection to the server, and its channel there.
    fn connection(&mut self) -> (Peer, Channel) {
        let before = self.heard.0.lock().unwrap().children.len();
        let peer = self.world.simulation().connect(self.address).unwrap();
        let heard = self.heard.clone();
        assert!(self.wait(|| heard.0.lock().unwrap().children.len() > before));
        let child = heard.0.lock().unwrap().children[before].clone();
        (peer, child)
    }

    /// What became of a connection of a client's.
    pub fn after_connect(&mut self, connecting: &ChannelFuture) -> Seen {
        self.wait(|| connecting.is_done());
        let cause = connecting.cause();
        let channel = connecting.channel().clone();
        let before = self.heard.received();
        channel.write_and_flush("?");
        let heard = self.heard.clone();
        let state = if self.wait(|| heard.received() > before) {
            State::Done
        } else {
            after(&channel)
        };
        (cause.as_ref().map(told).or(self.heard.told()), state)
    }
}

pub fn after(channel: &Channel) -> State {
    match channel.is_open() {
        true => State::Open,
        false => State::Closed,
    }
}

/// How many bytes have come; none if the connection is over.
pub fn receive(peer: &Peer) -> Option<usize> {
    let mut room = [0; 65_536];
    match peer.receive(&mut room) {
        Ok(count) => Some(count),
        Err(error) if error.kind() == IoKind::WouldBlock => Some(usize::MAX),
        Err(_) => None,
    }
}

// ---- what is done when the call fails

/// A client connects.
pub fn connecting(stage: &mut Stage) -> Seen {
    stage.fail();
    let connecting = stage.client().connect(stage.address);
    stage.after_connect(&connecting)
}

/// A client connects, with an option that has to be set.
pub fn connecting_with_an_option(stage: &mut Stage) -> Seen {
    stage.fail();
    let client = stage.client().option(SO_KEEPALIVE, true);
    let connecting = client.connect(stage.address);
    stage.after_connect(&connecting)
}

/// A server binds.
pub fn binding(stage: &mut Stage) -> Seen {
    stage.fail();
    let address = "10.0.0.1:81".parse().unwrap();
    let bound = stage.bind(address);
    stage.wait(|| bound.is_done());
    let cause = bound.cause();
    let state = match cause {
        None if stage.serves(address) => State::Done,
        _ => after(bound.channel()),
    };
    (cause.as_ref().map(told), state)
}

/// A client waits to be accepted.
pub fn accepting(stage: &mut Stage) -> Seen {
    stage.fail();
    let is_served = stage.serves(stage.address);
    let state = match is_served {
        true => State::Done,
        false => State::Closed,
    };
    (stage.heard.told(), state)
}

/// A client is accepted, with an option that has to be set.
pub fn accepting_with_an_option(stage: &mut Stage) -> Seen {
    let address = "10.0.0.1:81".parse().unwrap();
    let bound = stage
        .server()
        .child_option(SO_KEEPALIVE, true)
        .bind(address);
    assert!(stage.wait(|| bound.is_success()));
    stage.fail();
    let state = match stage.serves(address) {
        true => State::Done,
        false => State::Closed,
    };
    stage.world.simulation().fail_no_more();
    if !stage.serves(address) {
        return (None, State::Open);
    }
    (stage.heard.told(), state)
}

/// Bytes have come.
pub fn reading(stage: &mut Stage) -> Seen {
    let (peer, child) = stage.connection();
    stage.fail();
    let state = match stage.answers(&peer) {
        true => State::Done,
        false => after(&child),
    };
    (stage.heard.told(), state)
}

fn sending(stage: &mut Stage, write: impl FnOnce(&Channel) -> ChannelFuture, bytes: usize) -> Seen {
    let (peer, child) = stage.connection();
    stage.fail();
    let written = write(&child);
    stage.wait(|| written.is_done());
    let mut received = 0;
    let has_come = stage.wait(|| {
        received += receive(&peer)
            .filter(|count| *count < usize::MAX)
            .unwrap_or(0);
        received == bytes
    });
    let state = match has_come {
        true => State::Done,
        false => after(&child),
    };
    (written.cause().as_ref().map(told), state)
}

/// One message is flushed.
pub fn sending_one(stage: &mut Stage) -> Seen {
    sending(stage, |child| child.write_and_flush("?"), 1)
}

/// Several messages are flushed.
pub fn sending_several(stage: &mut Stage) -> Seen {
    let write = |child: &Channel| {
        child.write("??");
        child.write_and_flush("?")
    };
    sending(stage, write, 3)
}

/// A part of a file is flushed.
pub fn sending_a_file(stage: &mut Stage) -> Seen {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let region = FileRegion::open(manifest, 0, 100).unwrap();
    sending(stage, |child| child.write_and_flush(region), 100)
}

/// The output is shut down.
pub fn shutting_down(stage: &mut Stage) -> Seen {
    let (peer, child) = stage.connection();
    stage.fail();
    let shut = child.shutdown_output();
    stage.wait(|| shut.is_done());
    let state = match shut.is_success() && stage.wait(|| receive(&peer) == Some(0)) {
        true => State::Done,
        false => {
            // What is there is read before it closes.
            stage.wait(|| !child.is_open());
            after(&child)
        }
    };
    let _ = peer.shutdown(Shutdown::Write);
    stage.wait(|| !child.is_open());
    (shut.cause().as_ref().map(told), state)
}

/// An option of a connection is set.
pub fn setting_an_option(stage: &mut Stage) -> Seen {
    let (peer, child) = stage.connection();
    stage.fail();
    let set = child.set_option(SO_KEEPALIVE, true);
    stage.wait(|| set.is_done());
    let cause = set.cause();
    let state = match (cause.is_none(), stage.answers(&peer)) {
        (true, true) => State::Done,
        _ => after(&child),
    };
    (cause.as_ref().map(told), state)
}

/// An option of a connection is asked for.
pub fn asking_for_an_option(stage: &mut Stage) -> Seen {
    let (peer, child) = stage.connection();
    stage.fail();
    let asked = child.option(SO_KEEPALIVE);
    stage.wait(|| asked.is_done());
    let cause = asked.cause();
    let state = match (cause.is_none(), stage.answers(&peer)) {
        (true, true) => State::Done,
        _ => after(&child),
    };
    (cause.as_ref().map(told), state)
}

/// A loop is built.
pub fn building(stage: &mut Stage) -> Seen {
    stage.fail();
    let backend = stage.backend;
    match stage.world.add_loop(|builder| builder.selector(backend)) {
        Ok(built) => {
            let task = built.submit(|| ());
            let runs = stage.wait(|| task.is_done());
            let state = if runs { State::Done } else { State::Open };
            (None, state)
        }
        Err(error) => (Some(told(&error)), State::Closed),
    }
}

/// A loop is built where there are no eventfds.
pub fn building_with_a_pipe(stage: &mut Stage) -> Seen {
    let missing = Failing {
        call: "eventfd",
        errno: nix::libc::ENOSYS,
        ..stage.failing
    };
    stage.world.simulation().fail(missing).unwrap();
    building(stage)
}

/// A connection pauses reading.
pub fn pausing(stage: &mut Stage) -> Seen {
    let (peer, child) = stage.connection();
    stage.fail();
    child.set_auto_read(false);
    stage.world.run_for(LIMIT);
    child.set_auto_read(true);
    let state = match stage.answers(&peer) {
        true => State::Done,
        false => after(&child),
    };
    (stage.heard.told(), state)
}

/// A connection is closed.
pub fn closing(stage: &mut Stage) -> Seen {
    let (peer, child) = stage.connection();
    stage.fail();
    let closed = child.close();
    stage.wait(|| closed.is_done());
    let state = match stage.wait(|| receive(&peer) == Some(0)) {
        true => State::Done,
        false => after(&child),
    };
    (closed.cause().as_ref().map(told), state)
}

/// A loop waits, and bytes come.
pub fn waiting(stage: &mut Stage) -> Seen {
    reading(stage)
}

/// A loop that sleeps is given a task.
pub fn waking(stage: &mut Stage) -> Seen {
    let (peer, _child) = stage.connection();
    stage.world.run_for(LIMIT);
    stage.fail();
    let task = stage.event_loop.submit(|| ());
    if stage.wait(|| task.is_done()) {
        return (None, State::Done);
    }
    let state = match stage.answers(&peer) && task.is_done() {
        true => State::Open,
        false => State::Closed,
    };
    (None, state)
}

// ---- the table

/// The system calls of the table over one selector.
fn look_at(call: &Call, backend: Backend, complaints: &mut Vec<String>) {
    for row in call.rows {
        for &(name, errno) in row.errnos {
            let failing = Failing {
                call: call.name,
                after: 0,
                times: 1,
                errno,
            };
            let mut stage = Stage::new(backend, failing);
            let seen = (call.story)(&mut stage);
            let what = format!("{} fails with {name} over {backend}", call.name);
            if !row.then.allows(seen) {
                complaints.push(format!("{what}: {:?} expected, {seen:?} seen", row.then));
            }
            if stage.world.simulation().failed_calls() == 0 {
                complaints.push(format!("{what}: the call was not made"));
            }
            complaints.extend(end(stage).map(|complaint| format!("{what}: {complaint}")));

            // Answers that a kernel cannot give for ever; what fails to read a counter, not while it reports the descriptor
            // ready.
            let passing = [nix::libc::EINTR, nix::libc::EAGAIN];
            if passing.contains(&errno) || call.name == "read(eventfd)" {
                continue;
            }
            let for_ever = Failing {
                times: u64::MAX,
                ..failing
            };
            let mut stage = Stage::new(backend, for_ever);
            (call.story)(&mut stage);
            let outcome = stage.world.run_for(LASTING);
            assert_ne!(outcome, Outcome::Spinning, "{failing:?}");
            stage.world.simulation().fail_no_more();
            let what = format!("{} goes on failing with {name} over {backend}", call.name);
            complaints.extend(end(stage).map(|complaint| format!("{what}: {complaint}")));
        }
    }
}

/// What has to be so in the end, whatever has failed.
fn end(mut stage: Stage) -> Option<String> {
    stage.world.simulation().fail_no_more();
    stage.failing.times = 1;
    if !stage.serves(stage.address) {
        return Some("the next client is not served".to_owned());
    }
    let metrics = stage.event_loop.metrics();
    if metrics.panics > 0 {
        return Some("a panic".to_owned());
    }
    stage.world.drop_loops();
    let Stage {
        world,
        event_loop,
        heard,
        ..
    } = stage;
    drop(event_loop);
    heard.0.lock().unwrap().children.clear();
    let open = world.simulation().open_descriptors();
    (!open.is_empty()).then(|| format!("descriptors are left: {open:?}"))
}

#[test]
fn each_errno_has_its_outcome() {
    let mut complaints = Vec::new();
    for call in CALLS.iter().chain(errno_more::CALLS) {
        for &backend in Backend::available() {
            let is_there = match call.over {
                Where::All => true,
                Where::Epoll => backend != Backend::Poll,
                Where::Levels => backend == Backend::EpollLevel,
                Where::Poll => backend == Backend::Poll,
            };
            if is_there {
                look_at(call, backend, &mut complaints);
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn the_page_of_errnos_is_what_is_tested() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errno.md");
    let page = page();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == page,
        "docs/errno.md is out of date: UPDATE=1 cargo test --features sim --test sim errno"
    );
}

/// docs/errno.md.
fn page() -> String {
    let mut page = String::from(crate::errno_table::HEAD);
    for call in CALLS.iter().chain(errno_more::CALLS) {
        let over = match call.over {
            Where::All => "",
            Where::Epoll => " (epoll)",
            Where::Levels => " (epoll by levels)",
            Where::Poll => " (poll)",
        };
        let (name, what, manual) = (call.name, call.what, call.manual);
        writeln!(page, "\n## `{name}`{over}: {what}\n").unwrap();
        if !call.remark.is_empty() {
            writeln!(page, "{}\n", call.remark).unwrap();
        }
        writeln!(page, "| {manual} | who is told what | then |").unwrap();
        writeln!(page, "|---|---|---|").unwrap();
        for row in call.rows {
            let names: Vec<&str> = row.errnos.iter().map(|(name, _)| *name).collect();
            let (told, then) = row.then.words(call);
            writeln!(page, "| {} | {told} | {then} |", names.join(", ")).unwrap();
        }
    }
    page
}
