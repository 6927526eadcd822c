//! The smallest buffers that the kernel gives: every write is short, and so is every read.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::SndBuf;
use tidegate::channel::options::{SO_RCVBUF, SO_SNDBUF};
use tidegate::{Bootstrap, Context, Handler, HandlerResult, Message, ServerBootstrap};

use crate::support::{
    DEADLINE, Mirror, Random, Tally, follows, plain_client_with, serve, stop, stream, until,
};
use crate::ways::each_way;

/// Less than the kernel's minimum on every system; it rounds up.
const TINY: i32 = 1;
const TOTAL: u64 = 100_000;

/// Passes what it gets to the test.
struct Collect(Sender<Vec<u8>>);

impl Handler for Collect {
    fn channel_read(&mut self, _ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        let _ = self.0.send(msg.as_bytes().unwrap_or_default().to_vec());
        Ok(())
    }
}

/// Many small messages at once, so that one gathering write takes a part of them, through a mirror and back.
///
/// Rules: C8, C12, C14
#[test]
fn everything_arrives_through_the_smallest_buffers() {
    each_way(|way| {
        let group = way.group(2);
        let tally = Arc::new(Tally::default());
        let mirrored = tally.clone();
        let server = ServerBootstrap::new(&group, &group)
            .option(SO_RCVBUF, TINY)
            .child_option(SO_SNDBUF, TINY)
            .child_handler(move |pipeline| pipeline.add_last(Mirror::new(&mirrored)))
            .bind("127.0.0.1:0")
            .sync_timeout(DEADLINE)
            .unwrap();
        let address = server.local_address().unwrap().as_inet().unwrap();
        let (tell, told) = mpsc::channel();
        let client = Bootstrap::new(&group)
            .option(SO_SNDBUF, TINY)
            .option(SO_RCVBUF, TINY)
            .handler(move |pipeline| pipeline.add_last(Collect(tell.clone())))
            .connect(address)
            .sync_timeout(DEADLINE)
            .unwrap();
        let mut random = Random::new(3);
        let mut sent = 0;
        let mut writes = Vec::new();
        while sent < TOTAL {
            let count = (1 + random.below(700)).min(TOTAL - sent);
            writes.push(client.write_future(stream(sent, count as usize)));
            sent += count;
        }
        client.flush();
        let mut got = 0;
        while got < TOTAL {
            let bytes = told.recv_timeout(DEADLINE).expect("more of the echo");
            assert!(follows(&mut got, &bytes), "a broken stream before {got}");
        }
        assert_eq!(got, TOTAL);
        for write in writes {
            write.sync_timeout(DEADLINE).unwrap();
        }
        client.close().sync_timeout(DEADLINE).unwrap();
        server.close().sync_timeout(DEADLINE).unwrap();
        until("it has gone", || tally.count(|t| &t.removed) == 1);
        tally.assert_settled();
        stop(&group);
    });
}

/// The same with a peer that is not ours.
///
/// Rules: C8, D5
#[test]
fn a_plain_peer_with_the_smallest_buffers_gets_its_echo() {
    each_way(|way| {
        let group = way.group(1);
        let tally = Arc::new(Tally::default());
        let (server, address) = serve(&group, &tally);
        let mut client: TcpStream = plain_client_with(address, Some(TINY as usize));
        setsockopt(&client, SndBuf, &(TINY as usize)).unwrap();
        let mut reader = client.try_clone().unwrap();
        let reading = thread::spawn(move || {
            let mut got = vec![0; TOTAL as usize];
            reader.read_exact(&mut got).unwrap();
            got
        });
        client.write_all(&stream(0, TOTAL as usize)).unwrap();
        assert!(follows(&mut 0, &reading.join().unwrap()));
        drop(client);
        server.close().sync_timeout(DEADLINE).unwrap();
        until("it has gone", || tally.count(|t| &t.removed) == 1);
        tally.assert_settled();
        stop(&group);
    });
}
