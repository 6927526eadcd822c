//! A resolver that knows a name and has no address for it: the future says so, the channel closes, and nothing is left of it.
//! Alone in its process, because descriptors are the process's.

#[path = "common/plain.rs"]
mod plain;
#[path = "common/probe.rs"]
mod probe;

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use tidegate::bootstrap::{Bootstrap, Resolver, ServerBootstrap};
use tidegate::channel::options::CONNECT_TIMEOUT;
use tidegate::channel::{Address, Channel, ChannelFuture, Inet};
use tidegate::error::{Error, ErrorKind};
use tidegate::event_loop::{Backend, EventLoopGroup};
use tidegate::future::TaskPromise;
use tidegate::transport::tcp::Tcp;
use tidegate::transport::udp::Udp;
use tidegate::transport::{ClientTransport, oio};

use plain::plain_listener;
use probe::{DEADLINE, Probe, Seen, until};

/// Would keep a timer for as long as it runs.
const AN_HOUR: Duration = Duration::from_secs(3_600);

/// Answers with no address, on the loop or from a thread.
#[derive(Clone, Copy, Debug)]
struct Nothing {
    is_late: bool,
}

impl Resolver for Nothing {
    fn resolve(&self, _host: &Arc<str>, _port: u16, answer: TaskPromise<Vec<Address>>) {
        let say = move || drop(answer.try_success(Vec::new()));
        if self.is_late {
            drop(thread::spawn(say));
        } else {
            say();
        }
    }
}

/// How many descriptors are open; none where the system does not say.
fn open_descriptors() -> usize {
    std::fs::read_dir("/dev/fd").map_or(0, Iterator::count)
}

/// The error of what has failed; its channel is gone.
fn expect_failure(future: &ChannelFuture) -> Error {
    let error = future.sync_timeout(DEADLINE).unwrap_err();
    let channel = future.channel();
    channel.close_future().sync_timeout(DEADLINE).unwrap();
    assert!(!channel.is_open() && !channel.is_active());
    until("deregistered", || !channel.is_registered());
    assert_eq!(channel.remote_address(), None);
    let write = channel.write_and_flush("late").sync_timeout(DEADLINE);
    assert_eq!(write.unwrap_err().kind(), ErrorKind::ChannelClosed);
    error
}

fn expect_no_address(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Unresolved);
    assert_eq!(error.to_string(), "looking up shop: it has no address");
}

/// Its life, which was a short one; and its handler is dropped.
fn expect_gone(seen: &Receiver<Seen>) {
    for expected in [Seen::Registered, Seen::Unregistered, Seen::Removed] {
        assert_eq!(seen.recv_timeout(DEADLINE), Ok(expected));
    }
    assert_eq!(
        seen.recv_timeout(DEADLINE),
        Err(RecvTimeoutError::Disconnected)
    );
}

fn clients<T: ClientTransport<Family = Inet>>(group: &EventLoopGroup, resolver: Nothing) {
    for _ in 0..20 {
        let (tell, seen) = mpsc::channel();
        let future = Bootstrap::new(group)
            .transport::<T>()
            .resolver(resolver)
            .option(CONNECT_TIMEOUT, AN_HOUR)
            .handler(move |pipeline| pipeline.add_last(Probe(tell.clone())))
            .connect("shop:7");
        expect_no_address(&expect_failure(&future));
        expect_gone(&seen);
    }
}

fn server(group: &EventLoopGroup, resolver: Nothing) {
    let (tell, seen) = mpsc::channel();
    let future = ServerBootstrap::new(group, group)
        .resolver(resolver)
        .handler(move |pipeline| pipeline.add_last(Probe(tell.clone())))
        .child_handler(|_| Ok::<(), Error>(()))
        .bind("shop:7");
    expect_no_address(&expect_failure(&future));
    expect_gone(&seen);
}

fn datagrams(group: &EventLoopGroup, resolver: Nothing) {
    let (tell, seen) = mpsc::channel();
    let future = Bootstrap::new(group)
        .transport::<Udp>()
        .resolver(resolver)
        .handler(move |pipeline| pipeline.add_last(Probe(tell.clone())))
        .bind("shop:7");
    expect_no_address(&expect_failure(&future));
    expect_gone(&seen);
}

/// Nothing of the failures is in the way of what comes next.
fn connects(group: &EventLoopGroup) -> Channel {
    let (_listener, address) = plain_listener();
    let client = Bootstrap::new(group).handler(|_| Ok::<(), Error>(()));
    client.connect(address).sync_timeout(DEADLINE).unwrap()
}

/// Rules: G7
#[test]
fn a_name_without_an_address_fails_clearly_and_leaves_nothing_behind() {
    let at_first = open_descriptors();
    for backend in Backend::available() {
        let group = EventLoopGroup::builder().threads(1).selector(*backend);
        let group = group.build().unwrap();
        // The loop has begun.
        group.next().submit(|| ()).sync_timeout(DEADLINE).unwrap();
        let before = open_descriptors();
        for is_late in [false, true] {
            let resolver = Nothing { is_late };
            eprintln!("-- {backend}, {resolver:?}");
            clients::<Tcp>(&group, resolver);
            clients::<oio::Tcp>(&group, resolver);
            clients::<Udp>(&group, resolver);
            server(&group, resolver);
            datagrams(&group, resolver);
        }
        until("no channel and no timer is left", || {
            let metrics = group.next().metrics();
            metrics.channels == 0 && metrics.timers_waiting == 0
        });
        until("no descriptor is left", || open_descriptors() == before);
        let channel = connects(&group);
        channel.close().sync_timeout(DEADLINE).unwrap();
        until("no descriptor is left", || open_descriptors() == before);
        group.stop();
        assert!(group.await_termination(DEADLINE).unwrap());
        // The loop's thread knows how to wake it, which takes a descriptor, until its very end.
        drop((group, channel));
        until("the loop has gone", || open_descriptors() == at_first);
    }
}
