//! Clients that end at any point: 1,000 connections broken off in every way there is, and processes that are killed.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::thread;

use nix::sys::signal::Signal;
use tidegate::EventLoopGroup;

use crate::support::{
    Player, Random, Tally, assert_serves, descriptors, follows, plain_client, reset_on_close,
    serve, stop, stream, tell, until,
};

/// Connections that are broken off.
const CLIENTS: u64 = 1_000;
const THREADS: u64 = 8;
/// Processes that are killed; each costs a new process.
const PROCESSES: u64 = 24;

/// A client that sends and reads as it likes, and breaks off.
fn break_off(address: SocketAddr, seed: u64) {
    let mut random = Random::new(seed);
    let mut client = plain_client(address);
    let (mut sent, mut got) = (0_u64, 0_u64);
    for _ in 0..random.below(8) {
        let count = 1 + random.below(20_000);
        client
            .write_all(&stream(sent, count as usize))
            .expect("the server takes it");
        sent += count;
        // It has sent so much, so there will be so much to read.
        let mut back = vec![0; random.below(sent - got + 1) as usize];
        client.read_exact(&mut back).expect("its echo");
        assert!(follows(&mut got, &back), "seed {seed}: a broken stream");
    }
    match random.below(4) {
        // With something unread it is a reset as well.
        0 => drop(client),
        1 => {
            reset_on_close(&client);
            drop(client);
        }
        2 => {
            client.shutdown(Shutdown::Write).expect("connected");
            reset_on_close(&client);
        }
        _ => {
            client.shutdown(Shutdown::Read).expect("connected");
            let _ = client.write(&stream(sent, 100));
        }
    }
}

/// The server of the thousand, which says what is left of them. In a process of its own: other tests of this one open and
/// close descriptors too.
pub fn serve_who_break_off() {
    let group = EventLoopGroup::builder().threads(2).build().unwrap();
    let tally = Arc::new(Tally::default());
    let (server, address) = serve(&group, &tally);
    // What is made once is there.
    assert_serves(address);
    let channels = || {
        let of_each = group.iter().map(|each| each.metrics().channels);
        of_each.sum::<u64>()
    };
    until("only the server is left", || channels() == 1);
    let before = descriptors();
    tell(&format!("listening on {address}"));
    let mut word = String::new();
    std::io::stdin().read_line(&mut word).unwrap();
    until("all have gone", || {
        tally.count(|t| &t.removed) == 1 + CLIENTS
    });
    tally.assert_settled();
    assert_serves(address);
    until("only the server is left", || channels() == 1);
    tell(&format!("left {}", descriptors() - before));
    server.close().sync().unwrap();
    stop(&group);
    tell("settled");
}

/// Rules: A25, A40, A44, C20
#[test]
fn a_thousand_clients_may_break_off_at_any_point() {
    let mut server = Player::start("server of who break off", None);
    let address = server.line("listening on ").parse().unwrap();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for number in 0..CLIENTS / THREADS {
                    break_off(address, 1 + thread * CLIENTS + number);
                }
            });
        }
    });
    server.say("all");
    assert_eq!(server.line("left "), "0", "descriptors");
    server.line("settled");
}

/// A process that sends and reads for ever.
pub fn chatter(address: SocketAddr) {
    let mut client = plain_client(address);
    let mut reader = client.try_clone().unwrap();
    thread::spawn(move || {
        let mut block = vec![0; 10_000];
        let mut got = 0;
        loop {
            match reader.read(&mut block) {
                Ok(0) => return,
                Ok(count) => assert!(follows(&mut got, &block[..count])),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    let mut sent = 0;
    while client.write_all(&stream(sent, 3_000)).is_ok() {
        sent += 3_000;
    }
}

/// Rules: A25, A40
#[test]
fn processes_may_be_killed_in_the_middle_of_it() {
    let group = EventLoopGroup::builder().threads(2).build().unwrap();
    let tally = Arc::new(Tally::default());
    let (server, address) = serve(&group, &tally);
    let mut random = Random::new(7);
    for number in 1..=PROCESSES {
        let before = tally.count(|t| &t.received);
        let client = Player::start("chatterbox", Some(address));
        let enough = before + 1 + random.below(500_000);
        until("it has sent enough", || {
            tally.count(|t| &t.received) >= enough
        });
        client.signal(Signal::SIGKILL);
        until("it has gone", || tally.count(|t| &t.removed) == number);
    }
    tally.assert_settled();
    assert_serves(address);
    server.close().sync().unwrap();
    stop(&group);
}
