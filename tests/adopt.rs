//! Servers on sockets that listen already: from a supervisor, or from the process before this one.

#[path = "common/probe.rs"]
mod probe;

use std::fs;
use std::io::{ErrorKind as IoKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{
    UnixDatagram, UnixListener as PlainUnixListener, UnixStream as PlainUnix,
};
use std::path::PathBuf;
use std::sync::mpsc;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use tidegate::bootstrap::ServerBootstrap;
use tidegate::channel::options::{SO_BACKLOG, SO_LINGER, SO_REUSEADDR};
use tidegate::channel::{Address, Channel, ChannelFuture, Context, Handler, HandlerResult, Inet};
use tidegate::error::{Error, ErrorKind};
use tidegate::event_loop::{Backend, EventLoopGroup};
use tidegate::future::Promise;
use tidegate::transport::tcp::{Tcp, TcpServer};
use tidegate::transport::unix::UnixStream;
use tidegate::transport::{Adoptable, ChildTransport, oio};
use tidegate_sys::os::net;

use probe::{DEADLINE, Echo};

/// Runs a test with each selector.
fn each_backend(test: impl Fn(&EventLoopGroup)) {
    for backend in Backend::available() {
        eprintln!("-- {backend}");
        let group = EventLoopGroup::builder().threads(1).selector(*backend);
        test(&group.build().unwrap());
    }
}

fn echo_server(group: &EventLoopGroup) -> ServerBootstrap {
    ServerBootstrap::new(group, group).child_handler(|pipeline| pipeline.add_last(Echo))
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn talk(mut client: impl Read + Write) {
    client.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
}

fn client(server: &Channel) -> TcpStream {
    let address = server.local_address().unwrap().as_inet().unwrap();
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client
}

/// Tells what a server sees of its life, and lets connections pass.
struct Life(mpsc::Sender<&'static str>);

impl Life {
    fn say(&self, what: &'static str) {
        let _ = self.0.send(what);
    }
}

impl Handler for Life {
    fn channel_registered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.say("registered");
        ctx.fire_channel_registered();
        Ok(())
    }

    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.say("active");
        ctx.fire_channel_active();
        Ok(())
    }

    fn bind(&mut self, ctx: &mut Context<'_>, local: Address, promise: Promise) -> HandlerResult {
        self.say("bind");
        ctx.bind(local, promise);
        Ok(())
    }
}

/// Who connected before is served as well. The pipeline sees an ordinary server, which was active from the start.
///
/// Rules: A7
#[test]
fn a_socket_that_listens_becomes_a_server() {
    fn test<T: ChildTransport<Family = Inet, Server: Adoptable>>(group: &EventLoopGroup) {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let early = TcpStream::connect(address).unwrap();
        early.set_read_timeout(Some(DEADLINE)).unwrap();
        let (tell, seen) = mpsc::channel();
        let server = echo_server(group)
            .transport::<T>()
            .handler(move |pipeline| pipeline.add_last(Life(tell.clone())))
            .adopt(listener)
            .sync_timeout(DEADLINE)
            .unwrap();
        assert!(server.is_active() && server.is_server());
        assert_eq!(server.local_address(), Some(address.into()));
        talk(early);
        // Its connection keeps the port from being somebody else's when the server has closed.
        let last = client(&server);
        talk(&last);
        server.close().sync_timeout(DEADLINE).unwrap();
        let seen: Vec<_> = seen.try_iter().collect();
        assert_eq!(seen, ["registered", "active"]);
        assert_eq!(
            TcpStream::connect(address).unwrap_err().kind(),
            IoKind::ConnectionRefused
        );
    }
    each_backend(|group| {
        test::<Tcp>(group);
        test::<oio::Tcp>(group);
    });
}

/// Options are the socket's own until they are set; what a listener hands down it hands down here as well.
///
/// Rules: G3
#[test]
fn an_adopted_socket_keeps_its_options_and_takes_others() {
    each_backend(|group| {
        let listener = listener();
        let shared = listener.try_clone().unwrap();
        let server = echo_server(group)
            .option(SO_BACKLOG, 16)
            .option(SO_REUSEADDR, false)
            .option(SO_LINGER, Some(DEADLINE))
            .adopt(listener)
            .sync_timeout(DEADLINE)
            .unwrap();
        let reuses = server.option(SO_REUSEADDR).sync_timeout(DEADLINE);
        assert!(!reuses.unwrap());
        let backlog = server.option(SO_BACKLOG).sync_timeout(DEADLINE).unwrap();
        assert_eq!(backlog, 16);
        talk(client(&server));
        // Whoever else holds it finds that it does not block any more.
        assert_eq!(shared.accept().unwrap_err().kind(), IoKind::WouldBlock);
    });
}

/// One process passes its socket on and ends; nobody notices.
#[test]
fn a_server_that_closes_leaves_a_shared_socket_to_the_others() {
    each_backend(|group| {
        let listener = listener();
        let passed_on = listener.try_clone().unwrap();
        let adopt = |listener: TcpListener| {
            let server = echo_server(group).adopt(listener);
            server.sync_timeout(DEADLINE).unwrap()
        };
        let old = adopt(listener);
        talk(client(&old));
        let new = adopt(passed_on);
        old.close().sync_timeout(DEADLINE).unwrap();
        for _ in 0..3 {
            talk(client(&new));
        }
    });
}

/// A path for one test, free when it begins and when it has ended.
struct Path(PathBuf);

impl Path {
    fn new(name: &str) -> Self {
        let id = std::process::id();
        let path = std::env::temp_dir().join(format!("tidegate-adopt-{id}-{name}"));
        let _ = fs::remove_file(&path);
        Self(path)
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The file belongs to whoever has bound the socket.
#[test]
fn an_adopted_unix_socket_leaves_its_file() {
    each_backend(|group| {
        let path = Path::new("file");
        let listener = PlainUnixListener::bind(&path.0).unwrap();
        let server = echo_server(group)
            .transport::<UnixStream>()
            .adopt(listener)
            .sync_timeout(DEADLINE)
            .unwrap();
        let bound = server.local_address().unwrap().to_string();
        assert!(bound.contains("tidegate-adopt"), "{bound}");
        let client = PlainUnix::connect(&path.0).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        talk(client);
        server.close().sync_timeout(DEADLINE).unwrap();
        assert!(path.0.exists());
    });
}

/// The future fails, and the channel has closed.
fn expect_refusal(future: &ChannelFuture, text: &str) {
    let error = future.sync_timeout(DEADLINE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.to_string().contains(text), "{error}");
    let closed = future.channel().close_future();
    closed.sync_timeout(DEADLINE).unwrap();
}

/// Rules: G2
#[test]
fn what_does_not_listen_or_is_of_another_kind_is_refused() {
    let group = EventLoopGroup::new(1).unwrap();
    let (path, datagrams) = (Path::new("stream"), Path::new("datagrams"));
    let connected = {
        let listener = listener();
        TcpStream::connect(listener.local_addr().unwrap()).unwrap()
    };
    let unix = PlainUnixListener::bind(&path.0).unwrap();
    let wrong: [(OwnedFd, &str); 5] = [
        (UdpSocket::bind("127.0.0.1:0").unwrap().into(), "no stream"),
        (
            UnixDatagram::bind(&datagrams.0).unwrap().into(),
            "no stream",
        ),
        (connected.into(), "does not listen"),
        (unix.into(), "no internet address"),
        (fs::File::open("/dev/null").unwrap().into(), "adopting"),
    ];
    for (socket, text) in wrong {
        expect_refusal(&echo_server(&group).adopt(socket), text);
    }
    let threaded = echo_server(&group).transport::<oio::Tcp>();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    expect_refusal(&threaded.adopt(socket), "no stream");
    let unix = echo_server(&group).transport::<UnixStream>();
    expect_refusal(&unix.adopt(listener()), "none of the Unix domain");
    // What is refused is closed.
    let (end, mut other) = PlainUnix::pair().unwrap();
    expect_refusal(&unix.adopt(end), "does not listen");
    other.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(other.read(&mut [0]).unwrap(), 0);
}

/// Rules: G2
#[test]
fn one_socket_is_not_several_shards_and_a_recipe_must_be_complete() {
    let group = EventLoopGroup::new(2).unwrap();
    expect_refusal(&echo_server(&group).shards(2).adopt(listener()), "shards");
    let without = ServerBootstrap::new(&group, &group);
    expect_refusal(&without.adopt(listener()), "child handler");
}

/// A listener as programs pass it on: it blocks, and is not closed on exec.
fn inherited() -> OwnedFd {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let (family, kind) = (AddressFamily::Inet, SockType::Stream);
    let socket = socket(family, kind, SockFlag::empty(), None).unwrap();
    net::bind(socket.as_fd(), &any).unwrap();
    net::listen(socket.as_fd(), 8).unwrap();
    socket
}

/// As Linux shows it in /proc; `None` elsewhere.
fn is_closed_on_exec(fd: RawFd) -> Option<bool> {
    const O_CLOEXEC: u32 = 0o2_000_000;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
    let flags = u32::from_str_radix(flags.trim(), 8).ok()?;
    Some(flags & O_CLOEXEC != 0)
}

/// Without a bootstrap it is a transport like any other.
#[test]
fn an_adopted_listener_is_closed_on_exec_and_can_be_opened_as_a_channel() {
    let group = EventLoopGroup::new(1).unwrap();
    let socket = inherited();
    let raw = socket.as_raw_fd();
    assert_ne!(is_closed_on_exec(raw), Some(true));
    let (tell, told) = mpsc::channel();
    let make = move || {
        let listener = TcpServer::adopt(socket).unwrap();
        tell.send(is_closed_on_exec(raw)).unwrap();
        listener
    };
    let opened = Channel::builder().open_on(&group.next(), make, |_| Ok::<_, Error>(()));
    let channel = opened.sync_timeout(DEADLINE).unwrap();
    assert_ne!(told.recv_timeout(DEADLINE).unwrap(), Some(false));
    assert!(channel.is_active() && channel.local_address().is_some());
}
