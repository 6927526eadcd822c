//! No descriptor is left behind, whatever becomes of a channel. Alone in its process, because descriptors are the
//! process's.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tidegate::bootstrap::{Bootstrap, ServerBootstrap};
use tidegate::buffer::Message;
use tidegate::channel::options::{ACCEPT_OVERLOAD, MAX_MESSAGES_PER_WRITE, SO_BACKLOG, SO_LINGER};
use tidegate::channel::{AcceptOverload, Context, Handler, HandlerResult};
use tidegate::error::Failure;
use tidegate::event_loop::{Backend, EventLoopGroup, LocalEventLoop};

#[path = "common/refusing.rs"]
mod refusing;

use refusing::refusing;

const DEADLINE: Duration = Duration::from_secs(20);

struct Echo;

impl Handler for Echo {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.write_and_flush(msg);
        Ok(())
    }
}

/// How many descriptors are open; none where the system does not say.
fn open_descriptors() -> usize {
    std::fs::read_dir("/dev/fd").map_or(0, Iterator::count)
}

fn expect_descriptors(expected: usize) {
    let begun = Instant::now();
    while open_descriptors() != expected {
        assert!(
            begun.elapsed() < DEADLINE,
            "{} descriptors are open instead of {expected}",
            open_descriptors()
        );
        std::thread::yield_now();
    }
}

/// Everything that can become of a channel.
fn all_fates(group: &EventLoopGroup) {
    let server = ServerBootstrap::new(group, group)
        .option(ACCEPT_OVERLOAD, AcceptOverload::Shed)
        .child_handler(|pipeline| pipeline.add_last(Echo))
        .bind("127.0.0.1:0")
        .sync_timeout(DEADLINE)
        .unwrap();
    let address = server.local_address().unwrap().as_inet().unwrap();
    let client = Bootstrap::new(group).handler(|pipeline| pipeline.add_last(Echo));

    // Connected and closed by this side, by the peer, after lingering.
    client
        .connect(address)
        .sync_timeout(DEADLINE)
        .unwrap()
        .close()
        .sync_timeout(DEADLINE)
        .unwrap();
    drop(TcpStream::connect(address).unwrap());
    let lingering = client
        .clone()
        .option(SO_LINGER, Some(Duration::from_secs(5)))
        .connect(address);
    lingering
        .sync_timeout(DEADLINE)
        .unwrap()
        .close()
        .sync_timeout(DEADLINE)
        .unwrap();
    // Never connected.
    let (held, nobody) = refusing();
    assert!(client.connect(nobody).sync_timeout(DEADLINE).is_err());
    drop(held);
    assert!(
        client
            .clone()
            .option(SO_BACKLOG, 1)
            .connect(address)
            .sync_timeout(DEADLINE)
            .is_err()
    );
    assert!(
        client
            .clone()
            .local_address("192.0.2.1:0")
            .connect(address)
            .sync_timeout(DEADLINE)
            .is_err()
    );
    let future = client.connect(address);
    future.cancel();
    future.channel().close().sync_timeout(DEADLINE).ok();
    let failing = client.clone().handler(|_| Err(Failure::msg("no")));
    assert!(failing.connect(address).sync_timeout(DEADLINE).is_err());
    // Never bound.
    let again =
        ServerBootstrap::new(group, group).child_handler(|pipeline| pipeline.add_last(Echo));
    assert!(again.bind(address).sync_timeout(DEADLINE).is_err());
    assert!(
        again
            .clone()
            .shards(2)
            .bind(address)
            .sync_timeout(DEADLINE)
            .is_err()
    );
    // Children that never began.
    let stillborn = again
        .clone()
        .child_option(MAX_MESSAGES_PER_WRITE, 1)
        .bind("127.0.0.1:0")
        .sync_timeout(DEADLINE)
        .unwrap();
    let mut refused =
        TcpStream::connect(stillborn.local_address().unwrap().as_inet().unwrap()).unwrap();
    assert_eq!(refused.read(&mut [0; 1]).unwrap(), 0);
    stillborn.close().sync_timeout(DEADLINE).unwrap();
    let sharded = again
        .clone()
        .shards(2)
        .bind("127.0.0.1:0")
        .sync_timeout(DEADLINE)
        .unwrap();
    sharded.close().sync_timeout(DEADLINE).unwrap();
    server.close().sync_timeout(DEADLINE).unwrap();
}

#[test]
fn channels_and_loops_give_back_every_descriptor() {
    for backend in Backend::available() {
        eprintln!("-- {backend}");
        let before = open_descriptors();
        let group = EventLoopGroup::builder()
            .threads(2)
            .selector(*backend)
            .build()
            .unwrap();
        for event_loop in group.iter() {
            event_loop.submit(|| ()).sync_timeout(DEADLINE).unwrap();
        }
        let idle = open_descriptors();
        for _ in 0..4 {
            all_fates(&group);
        }
        expect_descriptors(idle);
        // Channels that are open when their loop ends.
        let server = ServerBootstrap::new(&group, &group)
            .child_handler(|pipeline| pipeline.add_last(Echo))
            .bind("127.0.0.1:0")
            .sync_timeout(DEADLINE)
            .unwrap();
        let address = server.local_address().unwrap().as_inet().unwrap();
        let client = Bootstrap::new(&group)
            .handler(|pipeline| pipeline.add_last(Echo))
            .connect(address);
        client.sync_timeout(DEADLINE).unwrap();
        group.stop().sync_timeout(DEADLINE).unwrap();
        client
            .channel()
            .close_future()
            .sync_timeout(DEADLINE)
            .unwrap();
        // Handles know how to wake their loop, which takes a descriptor.
        drop((group, server, client));
        expect_descriptors(before);
    }

    let before = open_descriptors();
    let local = LocalEventLoop::new().unwrap();
    let binding =
        ServerBootstrap::new(&local, &local).child_handler(|pipeline| pipeline.add_last(Echo));
    let server = local
        .block_on(binding.bind("127.0.0.1:0"))
        .unwrap()
        .unwrap();
    let peer = TcpStream::connect(server.local_address().unwrap().as_inet().unwrap()).unwrap();
    while local.handle().metrics().channels < 2 {
        local.turn(Some(DEADLINE));
    }
    drop((local, server, binding, peer));
    expect_descriptors(before);
}
