//! A process that runs out of descriptors by its own limit (RLIMIT_NOFILE), with more clients than it has room for: those
//! who wait are served in the end, one for each that goes. In a process of its own, because the limit is the process's.

use std::io::{Read, Write};
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tidegate::EventLoopGroup;

use crate::support::{Player, Tally, follows, plain_client, serve, stop, stream, tell};

/// More than the server needs for itself and fewer than clients come.
const LIMIT: u64 = 40;
const CLIENTS: usize = 100;

/// The server, which ends when it is told to.
pub fn serve_crowded() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, LIMIT, hard).unwrap();
    let group = EventLoopGroup::builder().threads(2).build().unwrap();
    let tally = Arc::new(Tally::default());
    let (server, address) = serve(&group, &tally);
    tell(&format!("listening on {address}"));
    let mut word = String::new();
    std::io::stdin().read_line(&mut word).unwrap();
    let rests: u64 = group.iter().map(|each| each.metrics().accept_rests).sum();
    tell(&format!("rested {rests}"));
    server.close().sync().unwrap();
    tally.assert_settled();
    stop(&group);
    tell("settled");
}

/// Rules: A12, D22, D23, G9
#[test]
fn more_clients_than_descriptors_are_all_served_in_the_end() {
    let mut server = Player::start("crowded server", None);
    let address = server.line("listening on ").parse().unwrap();
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = plain_client(address);
            client.write_all(&stream(0, 100)).unwrap();
            client
        })
        .collect();
    // In the order in which they came: each has its echo and goes, and makes room for one that waits.
    for client in &mut clients {
        let mut back = [0; 100];
        client.read_exact(&mut back).expect("served in its turn");
        assert!(follows(&mut 0, &back));
        client.shutdown(std::net::Shutdown::Both).unwrap();
    }
    drop(clients);
    server.say("enough");
    let rested: u64 = server.line("rested ").parse().unwrap();
    assert!(rested > 0, "the limit was not reached");
    server.line("settled");
}
