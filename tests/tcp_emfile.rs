//! Accepting without descriptors. Alone in its process, because the limit is the process's.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tidegate::bootstrap::{Bootstrap, ServerBootstrap};
use tidegate::buffer::Message;
use tidegate::channel::options::ACCEPT_OVERLOAD;
use tidegate::channel::{AcceptOverload, Channel, Context, Handler, HandlerResult};
use tidegate::event_loop::{Backend, EventLoopGroup, MetricsSnapshot};

const DEADLINE: Duration = Duration::from_secs(20);

struct Echo;

impl Handler for Echo {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.write_and_flush(msg);
        Ok(())
    }
}

struct Quiet;

impl Handler for Quiet {}

/// Takes every descriptor that is left.
struct Ballast(Vec<File>);

impl Ballast {
    fn fill() -> Self {
        let mut ballast = Self(Vec::new());
        ballast.refill();
        ballast
    }

    fn refill(&mut self) {
        while let Ok(file) = File::open("/dev/null") {
            self.0.push(file);
        }
    }

    fn release(&mut self, count: usize) {
        assert!(self.0.len() >= count);
        self.0.truncate(self.0.len() - count);
    }
}

/// A client that connects with the only descriptor that is left.
fn connect_with_the_last(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).expect("the kernel takes it into the backlog");
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client
}

fn echo(mut client: &TcpStream) {
    client.write_all(b"ping").unwrap();
    let mut answer = [0; 4];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"ping");
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(
            begun.elapsed() < DEADLINE,
            "not before the deadline: {what}"
        );
        std::thread::yield_now();
    }
}

fn serve(group: &EventLoopGroup, overload: AcceptOverload) -> (Channel, SocketAddr) {
    let server = ServerBootstrap::new(group, group)
        .option(ACCEPT_OVERLOAD, overload)
        .child_handler(|pipeline| pipeline.add_last(Echo))
        .bind("127.0.0.1:0")
        .sync_timeout(DEADLINE)
        .unwrap();
    let address = server.local_address().unwrap().as_inet().unwrap();
    (server, address)
}

/// Rules: A12, D22, D23, G9
#[test]
fn a_server_without_descriptors_waits_sleeps_and_goes_on() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 128, hard).unwrap();
    for backend in Backend::available() {
        eprintln!("-- {backend}");
        let group = EventLoopGroup::builder()
            .threads(1)
            .selector(*backend)
            .build()
            .unwrap();
        let count = |of: fn(&MetricsSnapshot) -> u64| of(&group.next().metrics());
        waits(&group, &count);
        is_woken_by_a_close(&group, &count);
        sheds(&group, &count);
        group.stop().sync_timeout(DEADLINE).unwrap();
    }
}

/// The client stays in the backlog; the loop sleeps meanwhile, and is served once the timer finds a descriptor.
fn waits(group: &EventLoopGroup, count: &dyn Fn(fn(&MetricsSnapshot) -> u64) -> u64) {
    let (server, address) = serve(group, AcceptOverload::Pause);
    // Code paths that open something at their first use have done so.
    echo(&TcpStream::connect(address).unwrap());
    until("the child is gone", || {
        count(|metrics| metrics.channels) == 1
    });
    let rests = count(|metrics| metrics.accept_rests);
    let mut ballast = Ballast::fill();
    ballast.release(1);
    let client = connect_with_the_last(address);
    until("it rests", || count(|metrics| metrics.accept_rests) > rests);
    let (turns, first) = (
        count(|metrics| metrics.turns),
        count(|metrics| metrics.accept_rests),
    );
    until("it has tried again", || {
        count(|metrics| metrics.accept_rests) >= rests + 3
    });
    let turns = count(|metrics| metrics.turns) - turns;
    // Whoever looks late finds more of both.
    let attempts = count(|metrics| metrics.accept_rests) - first;
    assert!(
        turns < 30 * (1 + attempts),
        "{turns} turns for {attempts} attempts: it spins"
    );
    assert!(server.is_active());
    // Not by a channel of ours: only the timer can know.
    ballast.release(1);
    echo(&client);
    drop(client);
    server.close().sync_timeout(DEADLINE).unwrap();
}

/// A descriptor that a channel of ours gives back is used at once.
fn is_woken_by_a_close(group: &EventLoopGroup, count: &dyn Fn(fn(&MetricsSnapshot) -> u64) -> u64) {
    let (server, address) = serve(group, AcceptOverload::Pause);
    let ours = Bootstrap::new(group)
        .handler(|pipeline| pipeline.add_last(Quiet))
        .connect(address)
        .sync_timeout(DEADLINE)
        .unwrap();
    let rests = count(|metrics| metrics.accept_rests);
    let mut ballast = Ballast::fill();
    ballast.release(1);
    let client = connect_with_the_last(address);
    until("it rests", || count(|metrics| metrics.accept_rests) > rests);
    ours.close().sync_timeout(DEADLINE).unwrap();
    echo(&client);
    drop(client);
    server.close().sync_timeout(DEADLINE).unwrap();
}

/// Clients are told at once that there is no room.
fn sheds(group: &EventLoopGroup, count: &dyn Fn(fn(&MetricsSnapshot) -> u64) -> u64) {
    let (server, address) = serve(group, AcceptOverload::Shed);
    echo(&TcpStream::connect(address).unwrap());
    until("the child is gone", || {
        count(|metrics| metrics.channels) == 1
    });
    let shed = count(|metrics| metrics.accept_shed);
    let mut ballast = Ballast::fill();
    // One for the client of the moment. Nothing else may be taken: it could be what the server wants back.
    ballast.release(1);
    for number in 1..=3 {
        let mut client = connect_with_the_last(address);
        assert_eq!(
            client.read(&mut [0; 1]).unwrap(),
            0,
            "the end, without having been served"
        );
        assert_eq!(count(|metrics| metrics.accept_shed), shed + number);
    }
    drop(ballast);
    echo(&TcpStream::connect(address).unwrap());
    server.close().sync_timeout(DEADLINE).unwrap();
}
