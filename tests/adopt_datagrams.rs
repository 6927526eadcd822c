//! Channels on datagram sockets that have an address already: from a supervisor, or from the process before this one.

#[path = "common/probe.rs"]
mod probe;

use std::fs;
use std::io::ErrorKind as IoKind;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram as PlainUnix;
use std::path::PathBuf;
use std::sync::mpsc;

use tidegate::bootstrap::Bootstrap;
use tidegate::buffer::Message;
use tidegate::channel::options::{IP_TTL, UDP_GRO};
use tidegate::channel::{
    Address, Channel, ChannelFuture, Context, Handler, HandlerResult, Inet, UnixAddress,
};
use tidegate::error::{Error, ErrorKind};
use tidegate::event_loop::{Backend, EventLoopGroup};
use tidegate::future::Promise;
use tidegate::transport::udp::{Datagram, Udp};
use tidegate::transport::unix::UnixDatagram;
use tidegate::transport::{Adoptable, ClientTransport, DatagramTransport, oio};

use probe::{DEADLINE, Echo};

/// Runs a test with each selector.
fn each_backend(test: impl Fn(&EventLoopGroup)) {
    for backend in Backend::available() {
        eprintln!("-- {backend}");
        let group = EventLoopGroup::builder().threads(1).selector(*backend);
        test(&group.build().unwrap());
    }
}

fn echo<T: ClientTransport>(group: &EventLoopGroup) -> Bootstrap<T> {
    let recipe = Bootstrap::new(group).transport::<T>();
    recipe.handler(|pipeline| pipeline.add_last(Echo))
}

/// One that is not ours, whose reads give up at the deadline.
fn plain() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut bytes = [0; 2048];
    let count = socket.recv(&mut bytes).unwrap();
    bytes[..count].to_vec()
}

fn opened(adopted: &ChannelFuture) -> Channel {
    adopted.sync_timeout(DEADLINE).unwrap()
}

fn close(channel: &Channel) {
    channel.close().sync_timeout(DEADLINE).unwrap();
}

/// Tells what a channel sees of its life.
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

/// What had come before is read as well. The pipeline sees an ordinary channel, which was active from the start.
///
/// Rules: A7
#[test]
fn a_bound_socket_becomes_a_channel() {
    fn test<T>(group: &EventLoopGroup)
    where
        T: ClientTransport<Family = Inet> + DatagramTransport + Adoptable,
    {
        let (socket, peer) = (plain(), plain());
        let address = socket.local_addr().unwrap();
        peer.send_to(b"early", address).unwrap();
        let (tell, seen) = mpsc::channel();
        let recipe = Bootstrap::new(group).transport::<T>().option(IP_TTL, 9);
        let recipe = recipe.handler(move |pipeline| {
            pipeline.add_last(Life(tell.clone()))?;
            pipeline.add_last(Echo)
        });
        let channel = opened(&recipe.adopt(socket));
        assert!(channel.is_active() && channel.remote_address().is_none());
        assert_eq!(channel.local_address(), Some(address.into()));
        assert_eq!(receive(&peer), b"early");
        peer.send_to(b"late", address).unwrap();
        assert_eq!(receive(&peer), b"late");
        let ttl = channel.option(IP_TTL).sync_timeout(DEADLINE).unwrap();
        assert_eq!(ttl, 9);
        close(&channel);
        let seen: Vec<_> = seen.try_iter().collect();
        assert_eq!(seen, ["registered", "active"]);
    }
    each_backend(|group| {
        test::<Udp>(group);
        test::<oio::Udp>(group);
    });
}

/// One process passes its socket on and ends; nobody notices. The socket does not block any more, for anybody.
#[test]
fn a_channel_that_closes_leaves_a_shared_socket_to_the_others() {
    each_backend(|group| {
        let (socket, peer) = (plain(), plain());
        let address = socket.local_addr().unwrap();
        let (passed_on, shared) = (socket.try_clone().unwrap(), socket.try_clone().unwrap());
        let old = opened(&echo::<Udp>(group).adopt(socket));
        close(&old);
        peer.send_to(b"between", address).unwrap();
        let new = opened(&echo::<Udp>(group).adopt(passed_on));
        assert_eq!(receive(&peer), b"between");
        let none = shared.recv(&mut [0]).unwrap_err();
        assert_eq!(none.kind(), IoKind::WouldBlock);
        close(&new);
    });
}

/// What has a peer sends to it without naming it, and may give it up.
#[test]
fn a_connected_socket_keeps_its_peer() {
    each_backend(|group| {
        let (socket, peer, other) = (plain(), plain(), plain());
        let address = socket.local_addr().unwrap();
        socket.connect(peer.local_addr().unwrap()).unwrap();
        let channel = opened(&echo::<Udp>(group).adopt(socket));
        let far = peer.local_addr().unwrap();
        assert_eq!(channel.remote_address(), Some(far.into()));
        let sent = channel.write_and_flush("to you");
        sent.sync_timeout(DEADLINE).unwrap();
        assert_eq!(receive(&peer), b"to you");
        channel.disconnect().sync_timeout(DEADLINE).unwrap();
        assert_eq!(channel.remote_address(), None);
        assert_eq!(channel.local_address(), Some(address.into()));
        other.send_to(b"me, too", address).unwrap();
        assert_eq!(receive(&other), b"me, too");
        close(&channel);
    });
}

/// Sends what it reads to the test, one message per datagram.
struct Sizes(mpsc::Sender<usize>);

impl Handler for Sizes {
    fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
        let datagram = msg.downcast_ref::<Datagram>().map(|it| it.content.len());
        let _ = self.0.send(datagram.unwrap_or(0));
        Ok(())
    }
}

/// Where the kernel joins datagrams already, they are taken apart.
#[test]
fn a_socket_that_joins_datagrams_is_known_to_do_so() {
    each_backend(|group| {
        let first = opened(&echo::<Udp>(group).option(UDP_GRO, true).adopt(plain()));
        if first.option(UDP_GRO).sync_timeout(DEADLINE).is_err() {
            return eprintln!("no UDP_GRO here");
        }
        close(&first);

        let socket = plain();
        let address = socket.local_addr().unwrap();
        let (joining, kept) = (socket.try_clone().unwrap(), socket);
        let joins = echo::<Udp>(group).option(UDP_GRO, true).adopt(joining);
        close(&opened(&joins));
        let (tell, sizes) = mpsc::channel();
        let recipe = Bootstrap::new(group).transport::<Udp>();
        let recipe = recipe.handler(move |pipeline| pipeline.add_last(Sizes(tell.clone())));
        let adopted = opened(&recipe.adopt(kept));
        let sender = opened(&echo::<Udp>(group).adopt(plain()));
        for _ in 0..8 {
            // Together more than one datagram may have here.
            sender.write(Message::new(Datagram::new(vec![7; 1_000], address)));
        }
        sender.flush();
        for _ in 0..8 {
            assert_eq!(sizes.recv_timeout(DEADLINE), Ok(1_000));
        }
        close(&sender);
        close(&adopted);
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

/// The file belongs to whoever has bound the socket. One end of a pair has no name, but a peer.
#[test]
fn unix_sockets_are_adopted_and_leave_their_files() {
    each_backend(|group| {
        let (path, from) = (Path::new("bound"), Path::new("from"));
        let socket = PlainUnix::bind(&path.0).unwrap();
        let channel = opened(&echo::<UnixDatagram>(group).adopt(socket));
        let bound = UnixAddress::from(path.0.clone());
        assert_eq!(channel.local_address(), Some(bound.into()));
        let peer = PlainUnix::bind(&from.0).unwrap();
        peer.set_read_timeout(Some(DEADLINE)).unwrap();
        peer.send_to(b"hello", &path.0).unwrap();
        let mut bytes = [0; 5];
        assert_eq!(peer.recv(&mut bytes).unwrap(), 5);
        close(&channel);
        assert!(path.0.exists());

        let (end, peer) = PlainUnix::pair().unwrap();
        peer.set_read_timeout(Some(DEADLINE)).unwrap();
        let channel = opened(&echo::<UnixDatagram>(group).adopt(end));
        let sent = channel.write_and_flush("hello");
        sent.sync_timeout(DEADLINE).unwrap();
        assert_eq!(peer.recv(&mut bytes).unwrap(), 5);
        close(&channel);
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
fn what_has_no_address_or_is_of_another_kind_is_refused() {
    let group = EventLoopGroup::new(1).unwrap();
    let unbound = || -> OwnedFd {
        let any = "127.0.0.1:0".parse().unwrap();
        tidegate_sys::os::net::udp_socket(&any).unwrap()
    };
    let path = Path::new("other");
    let wrong: [(OwnedFd, &str); 4] = [
        (
            TcpListener::bind("127.0.0.1:0").unwrap().into(),
            "no datagram",
        ),
        (unbound(), "neither bound nor connected"),
        (
            PlainUnix::bind(&path.0).unwrap().into(),
            "no internet address",
        ),
        (fs::File::open("/dev/null").unwrap().into(), "adopting"),
    ];
    for (socket, text) in wrong {
        expect_refusal(&echo::<Udp>(&group).adopt(socket), text);
    }
    expect_refusal(&echo::<oio::Udp>(&group).adopt(unbound()), "neither bound");
    let unix = echo::<UnixDatagram>(&group);
    expect_refusal(&unix.adopt(plain()), "none of the Unix domain");
    let unnamed = PlainUnix::unbound().unwrap();
    expect_refusal(&unix.adopt(unnamed), "neither bound nor connected");
    let without = Bootstrap::new(&group).transport::<Udp>();
    expect_refusal(&without.adopt(plain()), "handler");
    // What is refused is closed.
    let (end, other) = PlainUnix::pair().unwrap();
    expect_refusal(&echo::<Udp>(&group).adopt(end), "no internet address");
    assert!(other.send(b"anybody?").is_err());
}

/// Without a bootstrap it is a transport like any other.
#[test]
fn an_adopted_socket_can_be_opened_as_a_channel() {
    let group = EventLoopGroup::new(1).unwrap();
    let socket = plain();
    let make = move || Udp::adopt(socket).unwrap();
    let opened = Channel::builder().open_on(&group.next(), make, |_| Ok::<_, Error>(()));
    let channel = opened.sync_timeout(DEADLINE).unwrap();
    assert!(channel.is_active() && channel.local_address().is_some());
}
