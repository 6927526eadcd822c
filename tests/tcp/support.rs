//! What the tests of TCP share beside the probe and the plain sockets: groups built every way, and a client of ours.

use std::net::TcpStream;
use std::sync::mpsc::Receiver;

use tidegate::bootstrap::Bootstrap;
use tidegate::channel::Channel;
use tidegate::event_loop::EventLoopGroup;

use crate::plain::{accept_plain, plain_listener};
use crate::probe::{DEADLINE, Probe, Seen, next};
use crate::ways::{Way, each_way};

/// Runs a test on a group of two loops, built every way.
pub fn with_each_group(test: impl Fn(&EventLoopGroup)) {
    each_way(|way| with(way, &test));
}

fn with(way: Way, test: &impl Fn(&EventLoopGroup)) {
    let group = way.group(2);
    test(&group);
    group.stop();
    let has_ended = group.await_termination(DEADLINE).expect("not a loop");
    assert!(has_ended, "the loops ended");
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
