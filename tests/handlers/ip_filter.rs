//! `IpFilter` and `UniqueIp`: who may connect, on channels without and with sockets.

use std::cell::RefCell;
use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use tidegate::channel::Progress;
use tidegate::handler::ip_filter::{IpFilter, IpRules, UniqueIp, UniqueIps, Verdict};
use tidegate::{
    EmbeddedChannel, Error, EventLoopGroup, Handler, OptionSet, Pipeline, ServerBootstrap,
};

use crate::common::{Log, Script, outbound};

/// A channel whose peer is not known before it is connected.
fn connecting(init: impl FnOnce(&mut Pipeline<'_>) -> Result<(), Error>) -> EmbeddedChannel {
    let mut channel = EmbeddedChannel::unconnected(&OptionSet::new(), init).unwrap();
    channel.set_connect(Some(Progress::Done));
    channel
}

fn connected(peer: &str, filter: impl Handler) -> EmbeddedChannel {
    let mut channel = connecting(|p| p.add_last_named("filter", filter));
    let peer: SocketAddr = peer.parse().unwrap();
    channel.run(|channel| channel.connect(peer, None));
    channel
}

/// Whoever is rejected is closed, whoever is accepted goes on, without the filter; both are counted.
///
/// Rules: H55
#[test]
fn the_rules_decide_when_the_channel_is_active() {
    let rules = IpRules::new().reject("192.0.2.0/24").unwrap();
    let mut accepted = connected("198.51.100.1:80", IpFilter::new(&rules));
    assert!(accepted.channel().is_open());
    assert!(accepted.pipeline(|p| p.is_empty()), "it has left");
    let rejected = connected("192.0.2.255:80", IpFilter::new(&rules));
    assert!(!rejected.channel().is_open());
    let mapped = connected("[::ffff:192.0.2.1]:80", IpFilter::new(&rules));
    assert!(!mapped.channel().is_open());
    assert_eq!((rules.accepted(), rules.rejected()), (1, 2));
}

/// The events go on to the others, in order, whatever was decided.
///
/// Rules: H55
#[test]
fn the_others_see_the_whole_life() {
    let log = Log::new();
    let rules = IpRules::new().otherwise(Verdict::Reject);
    let loud = Script::new("last", &log).loud();
    let mut channel = connecting(|p| {
        p.add_last(IpFilter::new(&rules))?;
        p.add_last(loud)
    });
    channel.run(|channel| channel.connect("192.0.2.1:80", None));
    assert_eq!(
        log.take(),
        [
            "last added",
            "last registered",
            "last connect 192.0.2.1:80",
            "last active",
            "last inactive",
            "last unregistered",
            "last removed",
        ]
    );
}

/// A last word may be said to whoever is rejected; the channel closes when it was sent.
///
/// Rules: H55
#[test]
fn a_last_word_is_sent_before_the_close() {
    let rules = IpRules::new().reject("192.0.2.0/24").unwrap();
    let heard: Rc<RefCell<Option<IpAddr>>> = Rc::default();
    let hears = heard.clone();
    let filter = IpFilter::new(&rules).on_reject(move |ctx, ip| {
        *hears.borrow_mut() = ip;
        let sent = ctx.write_future("go away");
        ctx.flush();
        Some(sent)
    });
    let mut channel = connected("192.0.2.1:80", filter);
    assert_eq!(outbound(&mut channel), ["go away"]);
    assert!(!channel.channel().is_open());
    assert_eq!(*heard.borrow(), Some("192.0.2.1".parse().unwrap()));

    // While the last word waits, nothing that the peer sends gets past.
    let filter = IpFilter::new(&rules).on_reject(|ctx, _| Some(ctx.write_future("go away")));
    let mut slow = connected("192.0.2.1:80", filter);
    assert!(slow.channel().is_open());
    assert!(!slow.write_inbound("let me in").unwrap());
    slow.run(|channel| channel.flush());
    assert!(!slow.channel().is_open());

    // One that only wants to know.
    let filter = IpFilter::new(&rules).on_reject(|_, _| None);
    assert!(!connected("192.0.2.1:80", filter).channel().is_open());
}

/// A peer that has no IP address gets what peers get that no rule matches.
///
/// Rules: H55
#[test]
fn a_peer_without_an_ip_address_is_decided_by_default() {
    for (verdict, is_open) in [(Verdict::Accept, true), (Verdict::Reject, false)] {
        let rules = IpRules::new()
            .reject("0.0.0.0/0")
            .unwrap()
            .otherwise(verdict);
        let channel = EmbeddedChannel::new(|p| p.add_last(IpFilter::new(&rules))).unwrap();
        assert_eq!(channel.channel().is_open(), is_open);
        assert_eq!(rules.accepted() + rules.rejected(), 1);
    }
}

/// Added to a channel that is active already, it decides at once.
///
/// Rules: H55
#[test]
fn late_filters_decide_at_once() {
    let rules = IpRules::new().reject("192.0.2.0/24").unwrap();
    for (peer, is_open) in [("192.0.2.1:80", false), ("198.51.100.1:80", true)] {
        let mut channel = connecting(|_| Ok(()));
        channel.run(|channel| channel.connect(peer, None));
        channel
            .pipeline(|p| p.add_last(IpFilter::new(&rules)))
            .unwrap();
        assert_eq!(channel.channel().is_open(), is_open);
        assert!(channel.pipeline(|p| p.is_empty()));
    }
}

/// One connection for each address, until it closes; in either form of the address.
///
/// Rules: H55
#[test]
fn an_address_connects_once_at_a_time() {
    let ips = UniqueIps::new();
    let mut first = connected("192.0.2.1:80", UniqueIp::new(&ips));
    let other = connected("192.0.2.2:80", UniqueIp::new(&ips));
    assert!(first.channel().is_open() && other.channel().is_open());
    assert!(first.pipeline(|p| p.is_empty()), "it has left");
    for again in ["192.0.2.1:81", "[::ffff:192.0.2.1]:80"] {
        let again = connected(again, UniqueIp::new(&ips));
        assert!(!again.channel().is_open());
    }
    assert_eq!(ips.len(), 2);
    assert!(ips.contains("::ffff:192.0.2.1".parse().unwrap()));
    assert_eq!((ips.accepted(), ips.rejected()), (2, 2));

    first.finish().unwrap();
    assert!(!ips.contains("192.0.2.1".parse().unwrap()));
    let next = connected("192.0.2.1:80", UniqueIp::new(&ips));
    assert!(next.channel().is_open());
    drop((next, other));
    assert!(ips.is_empty());
}

/// Peers without an address are not told apart.
///
/// Rules: H55
#[test]
fn peers_without_an_address_are_all_accepted() {
    let ips = UniqueIps::new();
    let make = || EmbeddedChannel::new(|p| p.add_last(UniqueIp::new(&ips))).unwrap();
    let (first, second) = (make(), make());
    assert!(first.channel().is_open() && second.channel().is_open());
    assert_eq!((ips.len(), ips.accepted()), (0, 2));
}

/// The address of an accepted connection is known when it is registered: the server closes it before it is active.
///
/// Rules: H55
#[test]
fn accepted_connections_are_decided_when_they_are_registered() {
    let group = EventLoopGroup::new(1).unwrap();
    let rules = IpRules::new().reject("127.0.0.0/8").unwrap();
    let filters = rules.clone();
    let server = ServerBootstrap::new(&group, &group)
        .child_handler(move |pipeline| {
            pipeline.add_last(IpFilter::new(&filters).on_reject(|ctx, _| {
                let sent = ctx.write_future("go away");
                ctx.flush();
                Some(sent)
            }))
        })
        .bind("127.0.0.1:0")
        .sync()
        .unwrap();
    let address = server.local_address().and_then(|at| at.as_inet()).unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "go away");
    assert_eq!((rules.accepted(), rules.rejected()), (0, 1));
    server.close().sync().unwrap();
}
