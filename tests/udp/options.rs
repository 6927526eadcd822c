//! What the options of datagram channels do.

use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc;

use tidegate::channel::options::{
    IP_MULTICAST_TTL, IPV6_V6ONLY, MAX_DATAGRAM_PAYLOAD_SIZE, MAX_MESSAGES_PER_WRITE,
    RECV_ALLOCATOR, WRITE_SPIN_COUNT,
};
use tidegate::transport::{oio, udp::Datagram};
use tidegate::{Bootstrap, Failure, RecvAllocator};
use tidegate::{Channel, ErrorKind, EventLoopGroup, Message};

use crate::{DEADLINE, address, close, datagram, probe, probe_of, udp, with_each_backend};

/// Channels of one loop that send to `to`, at most so many datagrams with one flush.
fn senders(group: &EventLoopGroup, most: i32) -> [Channel; 2] {
    let make = |lp: &tidegate::EventLoop| {
        let recipe = Bootstrap::new(lp).transport();
        probe_of(recipe.option(MAX_MESSAGES_PER_WRITE, most), "127.0.0.1:0").0
    };
    let lp = group.next();
    [make(&lp), make(&lp)]
}

/// Rules: C21
#[test]
fn a_flush_stops_at_its_limit_of_messages_and_goes_on_after_the_others() {
    const MOST: i32 = 3;
    const EACH: usize = 10;
    with_each_backend(|group| {
        let (receiver, heard) = probe(group);
        let to = address(&receiver);
        let channels = senders(group, MOST);
        let (tell, told) = mpsc::channel();
        let both = channels.clone();
        let task = channels[0].event_loop().submit(move || {
            for (who, channel) in both.iter().enumerate() {
                for n in 0..EACH {
                    let tell = tell.clone();
                    let text = format!("{who}.{n}");
                    channel
                        .write_future(Message::new(Datagram::new(text, to)))
                        .add_listener(move |_, sent| {
                            let _ = tell.send((who, sent.is_ok()));
                        });
                }
            }
            for channel in &both {
                channel.flush();
            }
        });
        task.sync_timeout(DEADLINE).expect("a task");
        // Who sent, in the order in which it was sent: each has its turn.
        let sent: Vec<_> = (0..2 * EACH)
            .map(|_| told.recv_timeout(DEADLINE).expect("in time"))
            .collect();
        assert!(sent.iter().all(|(_, is_ok)| *is_ok));
        let turns: Vec<_> = sent
            .chunk_by(|one, other| one.0 == other.0)
            .map(|turn| (turn[0].0, turn.len()))
            .collect();
        let expected = [
            (0, 3),
            (1, 3),
            (0, 3),
            (1, 3),
            (0, 3),
            (1, 3),
            (0, 1),
            (1, 1),
        ];
        assert_eq!(turns, expected);
        // Nothing is lost, and each one's are in order.
        let mut next = [0, 0];
        for _ in 0..2 * EACH {
            let content = datagram(&heard).content;
            let text = std::str::from_utf8(&content).expect("text");
            let (who, n) = text.split_once('.').expect("two numbers");
            let who: usize = who.parse().expect("a number");
            assert_eq!(n, next[who].to_string(), "of {who}");
            next[who] += 1;
        }
        close(&[&channels[0], &channels[1], &receiver]);
    });
}

#[test]
fn the_limit_of_messages_is_none_at_first_and_can_be_read() {
    with_each_backend(|group| {
        let (channel, _) = probe(group);
        let limit = || {
            let read = channel.option(MAX_MESSAGES_PER_WRITE);
            read.sync_timeout(DEADLINE).expect("an option of datagrams")
        };
        assert_eq!(limit(), i32::MAX);
        let set = channel.set_option(MAX_MESSAGES_PER_WRITE, 7);
        set.sync_timeout(DEADLINE).expect("it can be changed");
        assert_eq!(limit(), 7);
        close(&[&channel]);

        // Where a thread of its own sends, a limit would do nothing.
        for limit in [MAX_MESSAGES_PER_WRITE, WRITE_SPIN_COUNT] {
            let refused = Bootstrap::new(group)
                .transport::<oio::Udp>()
                .option(limit, 7)
                .handler(|_| Ok::<(), Failure>(()))
                .bind("127.0.0.1:0")
                .sync_timeout(DEADLINE)
                .expect_err("it has no such option");
            assert_eq!(refused.kind(), ErrorKind::Unsupported);
        }
    });
}

/// Netty's way to receive long datagrams.
#[test]
fn a_fixed_receive_allocator_is_the_room_for_one_datagram() {
    with_each_backend(|group| {
        let sizes = RecvAllocator::Fixed(5000);
        let (receiver, heard) = probe_of(udp(group).option(RECV_ALLOCATOR, sizes), "127.0.0.1:0");
        let size = receiver.option(MAX_DATAGRAM_PAYLOAD_SIZE);
        assert_eq!(size.sync_timeout(DEADLINE).unwrap(), 5000);
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(&[7; 5000], address(&receiver)).unwrap();
        assert_eq!(datagram(&heard).content.len(), 5000);

        // The other name sets the same.
        let set = receiver.set_option(MAX_DATAGRAM_PAYLOAD_SIZE, 100);
        set.sync_timeout(DEADLINE).unwrap();
        let read = receiver.option(RECV_ALLOCATOR).sync_timeout(DEADLINE);
        assert_eq!(read.unwrap(), RecvAllocator::Fixed(100));

        // What would cut datagrams, and what none can have.
        let budget = RecvAllocator::MaxBytes {
            per_loop: 4096,
            per_read: 512,
        };
        for wrong in [
            RecvAllocator::default(),
            budget,
            RecvAllocator::Fixed(65_536),
        ] {
            let refused = receiver.set_option(RECV_ALLOCATOR, wrong);
            let error = refused.sync_timeout(DEADLINE).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains("RECV_ALLOCATOR"), "{error}");
        }
        assert_eq!(
            receiver
                .option(RECV_ALLOCATOR)
                .sync_timeout(DEADLINE)
                .unwrap(),
            RecvAllocator::Fixed(100),
            "as it was"
        );
        close(&[&receiver]);
    });
}

#[test]
fn packets_to_groups_pass_as_many_routers_as_was_set() {
    with_each_backend(|group| {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let (channel, _) = probe_of(udp(group).option(IP_MULTICAST_TTL, 3), local);
            let hops = || {
                let read = channel.option(IP_MULTICAST_TTL);
                read.sync_timeout(DEADLINE).expect("it can be read")
            };
            assert_eq!(hops(), 3);
            for set in [0, 255] {
                let done = channel.set_option(IP_MULTICAST_TTL, set);
                done.sync_timeout(DEADLINE).expect("it can be set");
                assert_eq!(hops(), set);
            }
            close(&[&channel]);
        }
    });
}

#[test]
fn a_channel_of_ipv6_hears_ipv4_as_well_if_it_is_told() {
    with_each_backend(|group| {
        let (both, heard) = probe_of(udp(group).option(IPV6_V6ONLY, false), "[::]:0");
        let (sender, _) = probe(group);
        let to = SocketAddr::from(([127, 0, 0, 1], address(&both).port()));
        sender.write_and_flush(Message::new(Datagram::new("4", to)));
        let datagram = datagram(&heard);
        assert_eq!(datagram.content, "4");
        let peer = datagram.peer.as_inet().expect("of the internet").ip();
        assert_eq!(peer.to_string(), "::ffff:127.0.0.1");

        let (alone, _) = probe_of(udp(group).option(IPV6_V6ONLY, true), "[::]:0");
        for (channel, only) in [(&both, false), (&alone, true)] {
            let read = channel.option(IPV6_V6ONLY).sync_timeout(DEADLINE);
            assert_eq!(read.expect("it is read"), only);
        }
        let error = sender.option(IPV6_V6ONLY).sync_timeout(DEADLINE);
        let error = error.expect_err("it is of IPv4");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        close(&[&both, &alone, &sender]);
    });
}
