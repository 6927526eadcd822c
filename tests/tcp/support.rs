//! What the tests of TCP share: groups built every way, handlers that report, waiting with a deadline.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpMaxSeg;
use tidegate::bootstrap::Bootstrap;
use tidegate::buffer::Message;
use tidegate::channel::{Channel, Context, Handler, HandlerResult};
use tidegate::error::Failure;
use tidegate::event_loop::{Backend, EventLoopGroup};
use tidegate_sys::os::net;

use crate::ways::{Way, each_way, each_way_with};

/// Long enough for a machine that does other things; nothing waits for it when all is well.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A send buffer that is soon full.
pub const SMALL: i32 = 256 << 10;

/// Bytes in a segment, as on Ethernet. The loopback device has segments of 64 KiB, a handful in a [`SMALL`] buffer: where
/// the kernel remembers a slow moment of this route (`ip tcp_metrics`), each then waits 40 ms for a delayed
/// acknowledgement.
const SEGMENT: u32 = 1448;

/// Runs a test on a group of two loops, built every way.
pub fn with_each_group(test: impl Fn(&EventLoopGroup)) {
    each_way(|way| with(way, &test));
}

/// The same with the selectors that report edges.
pub fn with_each_edge_triggered_group(test: impl Fn(&EventLoopGroup)) {
    let edges = |backend| matches!(backend, Backend::Epoll | Backend::Kqueue);
    each_way_with(edges, |way| with(way, &test));
}

fn with(way: Way, test: &impl Fn(&EventLoopGroup)) {
    let group = way.group(2);
    test(&group);
    group.stop();
    let has_ended = group.await_termination(DEADLINE).expect("not a loop");
    assert!(has_ended, "the loops ended");
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
    setsockopt(&listener, TcpMaxSeg, &SEGMENT).expect("an option");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// A connection that is not ours; its reads give up at the deadline.
pub fn plain_client(address: SocketAddr) -> TcpStream {
    let socket = net::tcp_socket(&address).expect("a socket");
    setsockopt(&socket, TcpMaxSeg, &SEGMENT).expect("an option");
    net::connect(socket.as_fd(), &address).expect("on its way");
    until("connected", || net::peer_addr::<SocketAddr>(socket.as_fd()).is_ok());
    let client = TcpStream::from(socket);
    client.set_nonblocking(false).expect("an option");
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
    let (tell, seen) = Probe::channel();
    let bootstrap =
        Bootstrap::new(group).handler(move |pipeline| pipeline.add_last(Probe(tell.clone())));
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

/// The address of a listener that lets nobody in: its queue is full, so that a connect stays under way. There is one for
/// all tests, since it takes a while to see that the queue is full.
pub fn nobody_accepts() -> SocketAddr {
    static FULL: OnceLock<FullListener> = OnceLock::new();
    FULL.get_or_init(FullListener::new).address
}

struct FullListener {
    address: SocketAddr,
    _socket: OwnedFd,
    _queued: Vec<OwnedFd>,
}

impl FullListener {
    fn new() -> Self {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let socket = net::tcp_socket(&any).expect("a socket");
        net::bind(socket.as_fd(), &any).expect("a port");
        net::listen(socket.as_fd(), 0).expect("listening");
        let address: SocketAddr = net::local_addr(socket.as_fd()).expect("an address");
        let mut queued = Vec::new();
        // The queue takes one or two; the first that is not let in shows that it is full.
        loop {
            let client = net::tcp_socket(&address).expect("a socket");
            let _ = net::connect(client.as_fd(), &address).expect("on its way");
            let begun = Instant::now();
            let is_in = loop {
                if net::peer_addr::<SocketAddr>(client.as_fd()).is_ok() {
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
        assert!(
            begun.elapsed() < DEADLINE,
            "not before the deadline: {what}"
        );
        std::thread::yield_now();
    }
}
