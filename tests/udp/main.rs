//! UDP channels over real sockets of this machine, with every selector that it has.

mod addresses;
mod options;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use tidegate::buffer::Bytes;
use tidegate::channel::options::{
    AUTO_READ, IP_MULTICAST_IF, IP_PKTINFO, IP_RECVTOS, IP_TOS, IP_TTL, MAX_DATAGRAM_PAYLOAD_SIZE,
    SO_BROADCAST, SO_KEEPALIVE, SO_REUSEADDR, UDP_GRO,
};
use tidegate::transport::udp::{
    Datagram, IP_ADD_MEMBERSHIP, IP_DROP_MEMBERSHIP, Membership, Udp, interface_index,
};
use tidegate::{
    Address, Backend, Bootstrap, Channel, Context, ErrorKind, EventLoopGroup, Failure, Fault,
    Handler, HandlerResult, Message,
};

/// Long enough for a machine that does other things; nothing waits for it when all is well.
const DEADLINE: Duration = Duration::from_secs(20);

fn with_each_backend(test: impl Fn(&EventLoopGroup)) {
    for backend in Backend::available() {
        eprintln!("-- {backend}");
        let group = EventLoopGroup::builder()
            .threads(2)
            .selector(*backend)
            .build()
            .expect("a group");
        test(&group);
        group.stop();
        assert!(group.await_termination(DEADLINE).expect("not a loop"));
    }
}

/// Sends everything that it reads back, one flush per batch.
struct Echo;

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
enum Seen {
    Active,
    Read(Datagram),
    Error(ErrorKind, String),
    Inactive,
}

struct Probe(Sender<Seen>);

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

    fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.say(Seen::Read(
            msg.downcast().expect("a UDP channel reads datagrams"),
        ))
    }

    fn exception_caught(&mut self, _: &mut Context<'_>, cause: Failure) -> HandlerResult {
        self.say(Seen::Error(cause.kind(), cause.to_string()))
    }

    fn channel_inactive(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.say(Seen::Inactive)
    }
}

fn udp(group: &EventLoopGroup) -> Bootstrap<Udp> {
    Bootstrap::new(group).transport::<Udp>()
}

/// A channel that tells what it sees, bound to a port of the loopback device.
fn probe(group: &EventLoopGroup) -> (Channel, Receiver<Seen>) {
    probe_of(udp(group), "127.0.0.1:0")
}

fn probe_of(bootstrap: Bootstrap<Udp>, local: &str) -> (Channel, Receiver<Seen>) {
    let (tell, seen) = mpsc::channel();
    let channel = bootstrap
        .handler(move |pipeline| pipeline.add_last(Probe(tell.clone())))
        .bind(local)
        .sync_timeout(DEADLINE)
        .unwrap();
    (channel, seen)
}

fn echo(group: &EventLoopGroup) -> Channel {
    udp(group)
        .handler(|pipeline| pipeline.add_last(Echo))
        .bind("127.0.0.1:0")
        .sync_timeout(DEADLINE)
        .unwrap()
}

fn address(channel: &Channel) -> SocketAddr {
    channel.local_address().unwrap().as_inet().unwrap()
}

fn next(seen: &Receiver<Seen>) -> Seen {
    seen.recv_timeout(DEADLINE).expect("in time")
}

/// The next datagram.
fn datagram(seen: &Receiver<Seen>) -> Datagram {
    loop {
        match next(seen) {
            Seen::Read(datagram) => return datagram,
            Seen::Active => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The next error.
fn error(seen: &Receiver<Seen>) -> (ErrorKind, String) {
    loop {
        match next(seen) {
            Seen::Error(kind, text) => return (kind, text),
            Seen::Active => {}
            other => panic!("{other:?}"),
        }
    }
}

fn close(channels: &[&Channel]) {
    for channel in channels {
        channel.close().sync_timeout(DEADLINE).unwrap();
    }
}

/// Rules: A46
#[test]
fn datagrams_go_there_and_back_and_a_bound_channel_is_active() {
    with_each_backend(|group| {
        let server = echo(group);
        assert!(server.is_active());
        let (client, seen) = probe(group);
        assert!(matches!(next(&seen), Seen::Active));
        for text in ["one", "", "three"] {
            client
                .write_and_flush(Message::new(Datagram::new(text, address(&server))))
                .sync_timeout(DEADLINE)
                .unwrap();
            let answer = datagram(&seen);
            // An empty one is a message, and ends nothing (D24).
            assert_eq!(answer.content, text);
            assert_eq!(answer.peer, Address::from(address(&server)));
        }
        close(&[&client]);
        assert!(matches!(next(&seen), Seen::Inactive));
        close(&[&server]);
    });
}

#[test]
fn a_connected_channel_sends_plain_bytes_and_hears_its_peer_alone() {
    with_each_backend(|group| {
        let server = echo(group);
        let (tell, seen) = mpsc::channel();
        let client = udp(group)
            .handler(move |pipeline| pipeline.add_last(Probe(tell.clone())))
            .connect(address(&server))
            .sync_timeout(DEADLINE)
            .unwrap();
        assert_eq!(client.remote_address(), Some(address(&server).into()));
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        stranger.send_to(b"psst", address(&client)).unwrap();
        client
            .write_and_flush("hello")
            .sync_timeout(DEADLINE)
            .unwrap();
        assert_eq!(datagram(&seen).content, "hello");
        close(&[&client, &server]);
    });
}

#[test]
fn a_bound_channel_can_take_a_peer_and_let_it_go() {
    with_each_backend(|group| {
        let server = echo(group);
        let (client, seen) = probe(group);
        let refused = client.write_and_flush("to whom?").sync_timeout(DEADLINE);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unsupported);
        client
            .connect(address(&server), None)
            .sync_timeout(DEADLINE)
            .unwrap();
        client
            .write_and_flush("hello")
            .sync_timeout(DEADLINE)
            .unwrap();
        assert_eq!(datagram(&seen).content, "hello");
        client.disconnect().sync_timeout(DEADLINE).unwrap();
        assert!(client.is_active());
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        stranger.send_to(b"psst", address(&client)).unwrap();
        assert_eq!(datagram(&seen).content, "psst");
        close(&[&client, &server]);
    });
}

/// What is flushed goes to the peer that there is then, though the kernel is called when the callback has returned.
#[test]
fn what_was_flushed_before_another_peer_is_chosen_goes_to_the_one_before() {
    /// Speaks to the one that it has, and then to the other.
    struct Turns(SocketAddr);
    impl Handler for Turns {
        fn user_event_triggered(&mut self, ctx: &mut Context<'_>, _: Message) -> HandlerResult {
            ctx.write_and_flush("to the first");
            let promise = ctx.new_promise();
            ctx.connect(self.0, None, promise);
            ctx.write_and_flush("to the other");
            Ok(())
        }
    }
    with_each_backend(|group| {
        let peers = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let [first, other] = peers.each_ref().map(|peer| peer.local_addr().unwrap());
        let client = udp(group)
            .handler(move |pipeline| pipeline.add_last(Turns(other)))
            .connect(first)
            .sync_timeout(DEADLINE)
            .unwrap();
        client
            .edit(|pipeline| pipeline.fire_user_event_triggered(Message::new(())))
            .sync_timeout(DEADLINE)
            .unwrap();
        for (peer, text) in peers.iter().zip(["to the first", "to the other"]) {
            peer.set_read_timeout(Some(DEADLINE)).unwrap();
            let mut room = [0; 64];
            let len = peer.recv(&mut room).expect("in time");
            assert_eq!(&room[..len], text.as_bytes());
        }
        close(&[&client]);
    });
}

/// Rules: C21
#[test]
fn the_failure_of_one_datagram_is_its_own() {
    with_each_backend(|group| {
        let (client, seen) = probe(group);
        let (server, heard) = probe(group);
        let to = |text: &'static str, peer: Address| {
            client.write_future(Message::new(Datagram::new(text, peer)))
        };
        let first = to("first", address(&server).into());
        let nowhere = to("nowhere", Address::unresolved("example.invalid", 7));
        let too_long = client.write_future(Message::new(Datagram::new(
            Bytes::from(vec![0; 65_508]),
            address(&server),
        )));
        let other_family = to("other family", Address::from("[::1]:7"));
        let last = to("last", address(&server).into());
        client.flush();
        first.sync_timeout(DEADLINE).unwrap();
        last.sync_timeout(DEADLINE).unwrap();
        let failed = |future: tidegate::ChannelFuture| {
            let error = future.sync_timeout(DEADLINE).unwrap_err();
            (error.kind(), error.to_string())
        };
        let (kind, text) = failed(nowhere);
        assert_eq!(kind, ErrorKind::InvalidArgument);
        assert!(text.contains("example.invalid:7"), "{text}");
        assert!(failed(too_long).1.contains("sending a datagram to"));
        failed(other_family);
        assert_eq!(datagram(&heard).content, "first");
        assert_eq!(datagram(&heard).content, "last");
        assert!(client.is_open());
        close(&[&client, &server]);
        drop(seen);
    });
}

/// Rules: D24
#[test]
fn what_the_network_answers_is_told_and_the_channel_lives() {
    with_each_backend(|group| {
        let (tell, seen) = mpsc::channel();
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
        let nobody = gone.local_addr().unwrap();
        drop(gone);
        let client = udp(group)
            .handler(move |pipeline| pipeline.add_last(Probe(tell.clone())))
            .connect(nobody)
            .sync_timeout(DEADLINE)
            .unwrap();
        client
            .write_and_flush("anybody?")
            .sync_timeout(DEADLINE)
            .unwrap();
        let (kind, text) = error(&seen);
        assert_eq!(kind, ErrorKind::ConnectRefused, "{text}");
        assert!(client.is_active());
        // Somebody moves in, and is heard.
        let somebody = UdpSocket::bind(nobody).unwrap();
        somebody.send_to(b"me", address(&client)).unwrap();
        assert_eq!(datagram(&seen).content, "me");
        close(&[&client]);
    });
}

#[test]
fn an_error_that_nobody_takes_does_not_close_the_channel() {
    with_each_backend(|group| {
        let server = udp(group)
            .option(MAX_DATAGRAM_PAYLOAD_SIZE, 8)
            .handler(|pipeline| pipeline.add_last(Echo))
            .bind("127.0.0.1:0")
            .sync_timeout(DEADLINE)
            .unwrap();
        let (client, seen) = probe(group);
        for text in ["much too long", "short"] {
            client.write(Message::new(Datagram::new(text, address(&server))));
        }
        client.flush();
        assert_eq!(datagram(&seen).content, "short");
        assert!(server.is_active());
        close(&[&client, &server]);
    });
}

#[test]
fn a_datagram_that_is_too_long_is_told_with_its_sender() {
    with_each_backend(|group| {
        for joined in [false, true] {
            let bootstrap = udp(group)
                .option(MAX_DATAGRAM_PAYLOAD_SIZE, 100)
                .option(UDP_GRO, joined);
            let (server, seen) = probe_of(bootstrap, "127.0.0.1:0");
            let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
            sender.send_to(&[7; 101], address(&server)).unwrap();
            sender.send_to(&[7; 100], address(&server)).unwrap();
            let (kind, text) = error(&seen);
            assert_eq!(kind, ErrorKind::TooLong);
            let from = sender.local_addr().unwrap().to_string();
            assert!(text.contains(&from), "{text}");
            assert_eq!(datagram(&seen).content.len(), 100);
            close(&[&server]);
        }
    });
}

/// Runs of one length travel as one and are cut again; nothing is reordered, merged or cut elsewhere.
#[test]
fn many_datagrams_keep_their_order_and_their_ends() {
    with_each_backend(|group| {
        for joined in [false, true] {
            let bootstrap = udp(group).option(UDP_GRO, joined);
            let (server, seen) = probe_of(bootstrap, "127.0.0.1:0");
            let (client, _) = probe(group);
            // Lengths in runs, with shorter and empty ones between. Fewer than a socket's buffer holds.
            let lengths: Vec<usize> = (0..150)
                .map(|n| match n % 10 {
                    7 => 40,
                    8 => 0,
                    9 => 200,
                    _ => 64,
                })
                .collect();
            let content = |n: usize| {
                let bytes: Bytes = (0..lengths[n]).map(|at| (n + at) as u8).collect();
                bytes
            };
            let mut done = Vec::new();
            for n in 0..lengths.len() {
                let datagram = Datagram::new(content(n), address(&server));
                done.push(client.write_future(Message::new(datagram)));
            }
            client.flush();
            for n in 0..lengths.len() {
                assert_eq!(datagram(&seen).content, content(n), "datagram {n}");
            }
            for future in done {
                future.sync_timeout(DEADLINE).unwrap();
            }
            close(&[&client, &server]);
        }
    });
}

/// One call brings several datagrams. That it emptied the socket is true for no longer than until the next report of the
/// selector, though the last of them may be handed out much later.
#[test]
fn what_comes_while_datagrams_wait_to_be_asked_for_is_read_behind_them() {
    with_each_backend(|group| {
        let (channel, seen) = probe_of(udp(group).option(AUTO_READ, false), "127.0.0.1:0");
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let send = |text: &str| peer.send_to(text.as_bytes(), address(&channel)).unwrap();
        // The loop has heard of everything that was sent before.
        let hear = || {
            for _ in 0..2 {
                let turn = channel.event_loop().submit(|| ());
                turn.sync_timeout(DEADLINE).unwrap();
            }
        };
        send("1");
        send("2");
        hear();
        channel.read();
        assert_eq!(datagram(&seen).content, "1");
        send("3");
        hear();
        for text in ["2", "3"] {
            channel.read();
            assert_eq!(datagram(&seen).content, text);
        }
        close(&[&channel]);
    });
}

#[test]
fn reading_stops_while_it_is_paused_and_loses_nothing() {
    with_each_backend(|group| {
        let (server, seen) = probe(group);
        server.set_auto_read(false);
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        // One read may be under way.
        sender.send_to(b"0", address(&server)).unwrap();
        let flushed = server.edit(|_| ());
        flushed.sync_timeout(DEADLINE).unwrap();
        for n in 1..=40 {
            sender
                .send_to(n.to_string().as_bytes(), address(&server))
                .unwrap();
        }
        server.set_auto_read(true);
        for n in 0..=40 {
            assert_eq!(datagram(&seen).content, n.to_string());
        }
        close(&[&server]);
    });
}

#[test]
fn an_answer_comes_from_the_address_that_was_asked() {
    with_each_backend(|group| {
        let bootstrap = udp(group).option(IP_PKTINFO, true).option(IP_RECVTOS, true);
        let (server, heard) = probe_of(bootstrap, "0.0.0.0:0");
        let port = address(&server).port();
        let asked: IpAddr = "127.0.0.2".parse().unwrap();
        let (client, seen) = probe_of(udp(group).option(IP_TOS, 0x28), "127.0.0.1:0");
        client.write_and_flush(Message::new(Datagram::new(
            "?",
            SocketAddr::new(asked, port),
        )));
        let question = datagram(&heard);
        assert_eq!(question.local, Some(asked));
        assert_eq!(question.class, Some(0x28));
        server.write_and_flush(Message::new(question.reply("!")));
        let answer = datagram(&seen);
        assert_eq!(answer.content, "!");
        assert_eq!(answer.peer, Address::from(SocketAddr::new(asked, port)));
        close(&[&client, &server]);
    });
}

#[test]
fn the_same_over_ipv6() {
    with_each_backend(|group| {
        let bootstrap = udp(group).option(IP_PKTINFO, true).option(IP_TTL, 3);
        let (server, heard) = probe_of(bootstrap, "[::1]:0");
        assert_eq!(server.option(IP_TTL).sync_timeout(DEADLINE).unwrap(), 3);
        let (client, seen) = probe_of(udp(group), "[::1]:0");
        client.write_and_flush(Message::new(Datagram::new("?", address(&server))));
        let question = datagram(&heard);
        assert_eq!(question.local, Some("::1".parse().unwrap()));
        server.write_and_flush(Message::new(question.reply("!")));
        assert_eq!(datagram(&seen).content, "!");
        close(&[&client, &server]);
    });
}

#[test]
fn a_group_is_heard_while_the_channel_is_in_it() {
    let loopback = interface_index("lo")
        .or_else(|_| interface_index("lo0"))
        .unwrap();
    with_each_backend(|group| {
        let membership = Membership::new([239, 7, 7, 7]).interface(loopback);
        // Two members on one port of this machine.
        let member = || udp(group).option(SO_REUSEADDR, true);
        let (first, heard) = probe_of(member().option(IP_ADD_MEMBERSHIP, membership), "0.0.0.0:0");
        let port = address(&first).port();
        let everywhere = format!("0.0.0.0:{port}");
        let (second, also_heard) = probe_of(member(), &everywhere);
        let joined = second.set_option(IP_ADD_MEMBERSHIP, membership);
        joined.sync_timeout(DEADLINE).unwrap();
        // Once is enough.
        let again = second.set_option(IP_ADD_MEMBERSHIP, membership);
        assert_eq!(
            again.sync_timeout(DEADLINE).unwrap_err().kind(),
            ErrorKind::AddrInUse
        );
        let (sender, _) = probe_of(
            udp(group).option(IP_MULTICAST_IF, loopback as i32),
            "127.0.0.1:0",
        );
        let to_all = |text: &'static str| {
            let all = ([239, 7, 7, 7], port);
            let datagram = Datagram::new(text, SocketAddr::from(all));
            sender
                .write_and_flush(Message::new(datagram))
                .sync_timeout(DEADLINE)
                .unwrap();
        };
        to_all("hello");
        assert_eq!(datagram(&heard).content, "hello");
        assert_eq!(datagram(&also_heard).content, "hello");
        let left = second.set_option(IP_DROP_MEMBERSHIP, membership);
        left.sync_timeout(DEADLINE).unwrap();
        to_all("anybody left?");
        assert_eq!(datagram(&heard).content, "anybody left?");
        // The second one hears only what is sent to itself.
        close(&[&first, &sender]);
        let alone = UdpSocket::bind("127.0.0.1:0").unwrap();
        alone.send_to(b"you", ("127.0.0.1", port)).unwrap();
        assert_eq!(datagram(&also_heard).content, "you");
        close(&[&second]);
    });
}

#[test]
fn one_source_of_a_group_can_be_chosen() {
    let loopback = interface_index("lo")
        .or_else(|_| interface_index("lo0"))
        .unwrap();
    with_each_backend(|group| {
        let chosen = Membership::new([232, 7, 7, 7])
            .interface(loopback)
            .source([127, 0, 0, 3]);
        let (member, heard) = probe_of(udp(group).option(IP_ADD_MEMBERSHIP, chosen), "0.0.0.0:0");
        let all = SocketAddr::from(([232, 7, 7, 7], address(&member).port()));
        for from in ["127.0.0.2:0", "127.0.0.3:0"] {
            let (sender, _) = probe_of(udp(group).option(IP_MULTICAST_IF, loopback as i32), from);
            sender
                .write_and_flush(Message::new(Datagram::new(from, all)))
                .sync_timeout(DEADLINE)
                .unwrap();
            close(&[&sender]);
        }
        assert_eq!(datagram(&heard).content, "127.0.0.3:0");
        close(&[&member]);
    });
}

#[test]
fn options_that_are_wrong_fail_the_bind_and_say_why() {
    with_each_backend(|group| {
        let refused = |bootstrap: Bootstrap<Udp>| {
            bootstrap
                .handler(|_| Ok::<(), Failure>(()))
                .bind("127.0.0.1:0")
                .sync_timeout(DEADLINE)
                .unwrap_err()
        };
        let wrong = refused(udp(group).option(MAX_DATAGRAM_PAYLOAD_SIZE, 0));
        assert_eq!(wrong.kind(), ErrorKind::InvalidArgument);
        let no_group = Membership::new([10, 0, 0, 1]);
        let wrong = refused(udp(group).option(IP_ADD_MEMBERSHIP, no_group));
        assert_eq!(wrong.kind(), ErrorKind::InvalidArgument, "{wrong}");
        let mixed = Membership::new([239, 1, 1, 1]).source("::1".parse::<IpAddr>().unwrap());
        let wrong = refused(udp(group).option(IP_ADD_MEMBERSHIP, mixed));
        assert_eq!(wrong.kind(), ErrorKind::InvalidArgument);
        assert_eq!(wrong.fault(), Fault::Caller);
        // What is no option of datagrams is one of sockets still, and the kernel decides.
        let (channel, _) = probe_of(udp(group).option(SO_KEEPALIVE, true), "127.0.0.1:0");
        assert!(!channel.option(SO_BROADCAST).sync_timeout(DEADLINE).unwrap());
        let text = interface_index("no-such-interface")
            .unwrap_err()
            .to_string();
        assert!(text.contains("no-such-interface"), "{text}");
        close(&[&channel]);
    });
}

#[test]
fn a_broadcast_needs_its_option() {
    with_each_backend(|group| {
        let (channel, _) = probe_of(udp(group), "0.0.0.0:0");
        let to_all = || Message::new(Datagram::new("all", "255.255.255.255:9"));
        let refused = channel.write_and_flush(to_all()).sync_timeout(DEADLINE);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::PermissionDenied);
        close(&[&channel]);
    });
}

#[test]
fn what_is_written_after_the_close_fails() {
    with_each_backend(|group| {
        let (channel, _) = probe(group);
        close(&[&channel]);
        let late = channel.write_and_flush(Message::new(Datagram::new("late", "127.0.0.1:9")));
        assert_eq!(
            late.sync_timeout(DEADLINE).unwrap_err().kind(),
            ErrorKind::ChannelClosed
        );
    });
}

#[test]
fn bytes_without_a_peer_are_refused_with_the_cure() {
    let group = EventLoopGroup::new(1).unwrap();
    let channel = Bootstrap::new(&group)
        .transport::<Udp>()
        .handler(|_| Ok::<_, Failure>(()))
        .bind("127.0.0.1:0")
        .sync_timeout(DEADLINE)
        .unwrap();
    let refused = channel.write_and_flush("bytes").sync_timeout(DEADLINE);
    let error = refused.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let text = error.to_string();
    assert!(
        text.contains("Datagram") && text.contains("connected"),
        "{text}"
    );
}
