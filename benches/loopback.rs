//! A round trip of 64 bytes through the loopback: a blocking client, and an echo server on a loop.
//!
//! `make bench BENCH=loopback`. The server runs on processor 0, the client on processor 1. Rival: a thread that blocks in
//! `read` and `write`, one per connection, which is the shortest way there is to answer a single one. `make bench-peers`
//! compares servers under load.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use criterion::{Bencher, Criterion, criterion_group, criterion_main};
use tidegate::channel::options::TCP_NODELAY;
use tidegate::{Context, EventLoopGroup, Handler, HandlerResult, Message, ServerBootstrap, Spin};
use tidegate_sys::os::thread::set_affinity;

/// Bytes of a message.
const SIZE: usize = 64;

struct Echo;

impl Handler for Echo {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.write(msg);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        Ok(())
    }
}

fn round_trips(criterion: &mut Criterion) {
    // A machine with one processor measures something, too.
    let _ = set_affinity(1);
    let mut group_of = criterion.benchmark_group("round trip");
    for (name, spin) in [
        ("the loop sleeps", Spin::Off),
        ("the loop spins", Spin::Count(1_000_000)),
        (
            "the loop adapts",
            Spin::Adaptive {
                max: Duration::from_micros(50),
            },
        ),
    ] {
        let group = EventLoopGroup::builder()
            .threads(1)
            .affinity([0])
            .spin(spin)
            .build()
            .expect("a loop");
        let server = ServerBootstrap::new(&group, &group)
            .child_option(TCP_NODELAY, true)
            .child_handler(|pipeline| pipeline.add_last(Echo))
            .bind("127.0.0.1:0")
            .sync()
            .expect("a port");
        let address = match server.local_address() {
            Some(address) => address.to_string().parse().expect("a socket address"),
            None => unreachable!("it is bound"),
        };
        let mut stream = connect(address);
        group_of.bench_function(name, |bench| ping_pong(bench, &mut stream));
        group
            .shutdown_gracefully(Duration::ZERO, Duration::from_secs(1))
            .sync()
            .expect("the loop ends");
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let server = thread::spawn(move || {
        let _ = set_affinity(0);
        listener.accept().and_then(|(stream, _)| echo(stream))
    });
    let mut stream = connect(address);
    group_of.bench_function("rival: a blocking thread", |bench| {
        ping_pong(bench, &mut stream)
    });
    drop(stream);
    let _ = server.join().expect("the thread ends");
    group_of.finish();
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_nodelay(true).expect("TCP has it");
    stream
}

fn ping_pong(bench: &mut Bencher<'_>, stream: &mut TcpStream) {
    let mut buffer = [7; SIZE];
    bench.iter(|| {
        stream.write_all(&buffer).expect("the server lives");
        stream.read_exact(&mut buffer).expect("the server answers");
    });
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; SIZE];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => stream.write_all(&buffer[..count])?,
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20);
    targets = round_trips
}
criterion_main!(benches);
