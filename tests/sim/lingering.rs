//! The lingering close of a drain, in simulated time and through every weather that breaks no connection.

use std::io::ErrorKind;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use tidegate::bootstrap::ServerBootstrap;
use tidegate::buffer::Bytes;
use tidegate::channel::DrainReport;
use tidegate::future::TaskFuture;
use tidegate::sim::{Outcome, Peer, Plan, World};
use tidegate::{Backend, Context, EventLoop, Handler, HandlerResult, Message};

const SECOND: Duration = Duration::from_secs(1);

/// Simulated, so it costs nothing.
const LIMIT: Duration = Duration::from_secs(3_600);

/// Bytes of the one answer.
const ANSWER: usize = 20_000;

/// Answers the first request and reads no further.
struct Once;

impl Handler for Once {
    fn channel_read(&mut self, ctx: &mut Context<'_>, _: Message) -> HandlerResult {
        ctx.set_auto_read(false);
        ctx.write(Bytes::from(vec![7; ANSWER]));
        ctx.flush();
        Ok(())
    }
}

/// A world with a server, and a peer whose request was read.
fn asked(plan: Plan, backend: Backend) -> (World, EventLoop, Peer) {
    let mut world = World::new(plan).unwrap();
    let event_loop = world.add_loop(|builder| builder.selector(backend)).unwrap();
    let address: SocketAddr = "10.0.0.1:80".parse().unwrap();
    let server = ServerBootstrap::new(&event_loop, &event_loop)
        .child_handler(|pipeline| pipeline.add_last(Once))
        .bind(address);
    assert_eq!(world.run_until(LIMIT, || server.is_done()), Outcome::Done);
    let peer = world.simulation().connect(address).unwrap();
    let connected = world.run_until(LIMIT, || peer.is_connected());
    assert_eq!(connected, Outcome::Done);
    let sent = world.run_until(LIMIT, || peer.send(b"?").is_ok());
    assert_eq!(sent, Outcome::Done);
    (world, event_loop, peer)
}

fn on_every_selector(test: impl Fn(Backend)) {
    for backend in [Backend::Epoll, Backend::EpollLevel, Backend::Poll] {
        if Backend::available().contains(&backend) {
            test(backend);
        }
    }
}

/// Reads the answer and the end behind it; in every step it may do something else as well.
fn read_all(world: &mut World, peer: &Peer, mut also: impl FnMut(usize)) {
    let mut got = 0;
    let outcome = world.run_until(LIMIT, || {
        also(got);
        let mut room = [0; 512];
        loop {
            match peer.receive(&mut room) {
                Ok(0) => return true,
                Ok(count) => got += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) => panic!("{error} after {got} bytes"),
            }
        }
    });
    assert_eq!((outcome, got), (Outcome::Done, ANSWER));
}

fn report(world: &mut World, draining: TaskFuture<DrainReport>) -> DrainReport {
    let outcome = world.run_until(LIMIT, || draining.is_done());
    assert_eq!(outcome, Outcome::Done);
    draining.sync().unwrap()
}

/// It is waited for as long as the documents say, and the loop sleeps meanwhile.
#[test]
fn a_silent_peer_is_given_up_after_five_seconds() {
    on_every_selector(|backend| {
        let (mut world, event_loop, peer) = asked(Plan::calm(1), backend);
        let sent = world.run_until(LIMIT, || event_loop.metrics().channels == 2);
        assert_eq!(sent, Outcome::Done);
        world.run_for(SECOND);
        let draining = event_loop.drain(60 * SECOND);
        read_all(&mut world, &peer, |_| {});
        let turns = event_loop.metrics().turns;
        let report = report(&mut world, draining);
        assert!(event_loop.metrics().turns - turns < 50);
        assert!(
            report.took >= 5 * SECOND && report.took < 6 * SECOND,
            "{report}"
        );
        assert_eq!((report.silent, report.cut, report.broken), (1, 0, 0));
        assert!(report.is_complete());
    });
}

/// A word now and then keeps it waiting, up to the deadline.
#[test]
fn a_peer_that_is_not_silent_is_waited_for_until_the_deadline() {
    on_every_selector(|backend| {
        let (mut world, event_loop, peer) = asked(Plan::calm(1), backend);
        world.run_for(SECOND);
        let draining = event_loop.drain(20 * SECOND);
        read_all(&mut world, &peer, |_| {});
        for _ in 0..6 {
            assert_eq!(peer.send(b"?").unwrap(), 1);
            let later = event_loop.schedule(3 * SECOND, || ());
            world.run_until(LIMIT, || later.is_done());
            assert!(!draining.is_done());
        }
        let report = report(&mut world, draining);
        assert!(
            report.took >= 20 * SECOND && report.took < 21 * SECOND,
            "{report}"
        );
        assert_eq!((report.silent, report.cut, report.broken), (0, 1, 0));
    });
}

/// Whatever the network does short of breaking the connection.
#[test]
fn answers_reach_a_peer_that_goes_on_asking_in_every_weather() {
    for seed in 0..20 {
        on_every_selector(|backend| {
            let plan = Plan::stormy(seed);
            let faults = plan.faults.harmless();
            let (mut world, event_loop, peer) = asked(plan.with_faults(faults), backend);
            let mut draining = None;
            read_all(&mut world, &peer, |got| {
                // When the answer is under way.
                if got > 0 {
                    draining.get_or_insert_with(|| event_loop.drain(LIMIT));
                }
                let _ = peer.send(&[1; 100]);
            });
            let draining = draining.expect("the end came behind it");
            peer.shutdown(Shutdown::Write).unwrap();
            let report = report(&mut world, draining);
            assert!(report.is_complete(), "seed {seed}, {backend}: {report}");
            assert_eq!((report.channels, report.silent), (1, 0));
        });
    }
}
