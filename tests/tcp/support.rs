//! What the tests of TCP share: groups per selector, handlers that report, waiting with a deadline.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use tidegate::bootstrap::Bootstrap;
use tidegate::buffer::Message;
use tidegate::channel::{Channel, Context, Handler, HandlerResult};
use tidegate::error::Failure;
use tidegate::event_loop::{Backend, EventLoopGroup};
use tidegate_sys::os::net;

/// Long enough for a machine that does other things; nothing waits for it when all is well.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Runs a test with each selector.
pub fn with_each_backend(test: impl Fn(&EventLoopGroup)) {
    with_each(Backend::available().iter().copied(), test);
}

/// Runs a test with each selector that reports edges.
pub fn with_each_edge_triggered_backend(test: impl Fn(&EventLoopGroup)) {
    let edges = |backend: &Backend| matches!(backend, Backend::Epoll | Backend::Kqueue);
    with_each(Backend::available().iter().copied().filter(edges), test);
}

fn with_each(backends: impl Iterator<Item = Backend>, test: impl Fn(&EventLoopGroup)) {
    for backend in backends {
        eprintln!("-- {backend}");
        let group = EventLoopGroup::builder()
            .threads(2)
            .selector(backend)
            .build()
            .expect("a group");
        test(&group);
        group.stop();
        assert!(
            group.await_termination(DEADLINE).expect("not a loop"),
            "the loops ended"
        );
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

/// What a [`Probe`] saw.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    Registered,
    Active,
    Read(Vec<u8>),
    Complete,
    Event(&'static str),
    Writable(bool),
    Error(String),
    Inactive,
    Unregistered,
    Removed,
}

/// The last handler of a pipeline: sends what it sees to the test.
pub struct Probe(pub Sender<Seen>);

impl Probe {
    pub fn new() -> (Sender<Seen>, Receiver<Seen>) {
        mpsc::channel()
    }

    fn say(&self, seen: Seen) -> HandlerResult {
        // The test may have seen enough.
        let _ = self.0.send(seen);
        Ok(())
    }
}

impl Handler for Probe {
    fn handler_removed(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.say(Seen::Removed)
    }

    fn channel_registered(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.say(Seen::Registered)
    }

    fn channel_unregistered(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.say(Seen::Unregistered)
    }

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
        self.say(Seen::Event(name.rsplit("::").next().unwrap_or(name)))
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.say(Seen::Writable(ctx.is_writable()))
    }

    fn exception_caught(&mut self, _: &mut Context<'_>, cause: Failure) -> HandlerResult {
        self.say(Seen::Error(cause.to_string()))
    }
}

/// The next thing seen.
pub fn next(seen: &Receiver<Seen>) -> Seen {
    seen.recv_timeout(DEADLINE)
        .expect("something happens before the deadline")
}

/// Reads until so many bytes came; other events on the way are dropped.
pub fn read_exactly(seen: &Receiver<Seen>, count: usize) -> Vec<u8> {
    let mut got = Vec::new();
    while got.len() < count {
        match next(seen) {
            Seen::Read(bytes) => got.extend(bytes),
            Seen::Inactive => panic!("the channel closed after {} of {count} bytes", got.len()),
            _ => {}
        }
    }
    assert_eq!(got.len(), count, "nothing more than that");
    got
}

/// Drops events until the one that is wanted.
pub fn wait_for(seen: &Receiver<Seen>, wanted: &Seen) {
    while next(seen) != *wanted {}
}

/// What has happened so far, without waiting.
pub fn so_far(seen: &Receiver<Seen>) -> Vec<Seen> {
    seen.try_iter().collect()
}

/// A listener that is not ours.
pub fn plain_listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// A connection that is not ours; its reads give up at the deadline.
pub fn plain_client(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).expect("a connection");
    client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    client.set_nodelay(true).expect("an option");
    client
}

/// The other side of a connection to a plain listener.
pub fn accept_plain(listener: &TcpListener) -> TcpStream {
    let (peer, _) = listener.accept().expect("a client");
    peer.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    peer.set_nodelay(true).expect("an option");
    peer
}

/// Our client with a [`Probe`], and the plain peer that it is connected to.
pub fn client_and_plain_peer(
    group: &EventLoopGroup,
    prepare: impl FnOnce(Bootstrap) -> Bootstrap,
) -> (Channel, TcpStream, Receiver<Seen>) {
    let (listener, address) = plain_listener();
    let (tell, seen) = Probe::new();
    let bootstrap = Bootstrap::new(group).handler(move |pipeline| pipeline.add_last(Probe(tell.clone())));
    let client = prepare(bootstrap).connect(address);
    let peer = accept_plain(&listener);
    let client = client.sync_timeout(DEADLINE).expect("connected");
    assert_eq!(next(&seen), Seen::Registered);
    assert_eq!(next(&seen), Seen::Active);
    (client, peer, seen)
}

/// Closing this one resets the connection.
pub fn reset_on_close(stream: &TcpStream) {
    net::set_linger(stream.as_fd(), Some(Duration::ZERO)).expect("an option");
}

/// A listener that lets nobody in: its queue is full, so that a connect stays under way.
pub struct FullListener {
    pub address: SocketAddr,
    _socket: OwnedFd,
    _queued: Vec<OwnedFd>,
}

impl FullListener {
    pub fn new() -> Self {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let socket = net::tcp_socket(&any).expect("a socket");
        net::bind(socket.as_fd(), &any).expect("a port");
        net::listen(socket.as_fd(), 0).expect("listening");
        let address = net::local_addr(socket.as_fd()).expect("an address");
        let mut queued = Vec::new();
        // The queue takes one or two; the first that is not let in shows that it is full.
        loop {
            let client = net::tcp_socket(&address).expect("a socket");
            let _ = net::connect(client.as_fd(), &address).expect("on its way");
            let begun = Instant::now();
            let is_in = loop {
                if net::peer_addr(client.as_fd()).is_ok() {
                    break true;
                }
                if begun.elapsed() > Duration::from_millis(200) {
                    break false;
                }
                std::thread::yield_now();
            };
            queued.push(client);
            if !is_in {
                return Self {
                    address,
                    _socket: socket,
                    _queued: queued,
                };
            }
        }
    }
}

/// Waits for something that no event tells of.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "not before the deadline: {what}");
        std::thread::yield_now();
    }
}
