//! Datagrams of 64 bytes per second that one loop receives and sends back, in batches of 32, over the loopback device. The
//! rival in the same run is a loop of the same work with one system call for each datagram, in and out.
//!
//! The servers are pinned to one processor and the client to another; the client keeps a number of datagrams under way, in
//! batches, and counts what comes back. `make bench BENCH=udp`; prints each round, and the medians with their ratio.
//! Cases: every datagram as a packet of its own on its way to the server ("single"), and bursts that the kernel carries as one
//! ("joined", the server's UDP_GRO is on).

use std::io::IoSlice;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tidegate::buffer::BytesMut;
use tidegate::channel::options::UDP_GRO;
use tidegate::transport::udp::Udp;
use tidegate::{Bootstrap, Context, EventLoopGroup, Handler, HandlerResult, Message};
use tidegate_sys::os::net::{self, IntOption, Outgoing, Received};
use tidegate_sys::os::thread::set_affinity;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(1);
const SIZE: usize = 64;
const BATCH: usize = 32;
/// Few enough for the receive buffer that a socket has by default.
const UNDER_WAY: usize = 4 * BATCH;

fn main() {
    println!(
        "{} processors, datagrams of {SIZE} bytes, {UNDER_WAY} under way",
        thread::available_parallelism().map_or(0, usize::from)
    );
    for (case, joined) in [("single", false), ("joined", true)] {
        let (mut ours, mut rival) = (Vec::new(), Vec::new());
        for round in 1..=ROUNDS {
            let (a, b) = (through_a_loop(joined), one_by_one(joined));
            println!(
                "{case}, round {round}: event loop {:7.0} k/s   one call each {:7.0} k/s",
                a / 1e3,
                b / 1e3
            );
            ours.push(a);
            rival.push(b);
        }
        let (ours, rival) = (median(&mut ours), median(&mut rival));
        println!(
            "{case}, median:  event loop {:7.0} k/s   one call each {:7.0} k/s   ratio {:.2}",
            ours / 1e3,
            rival / 1e3,
            ours / rival
        );
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

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

fn through_a_loop(joined: bool) -> f64 {
    let group = EventLoopGroup::builder()
        .threads(1)
        .affinity([0])
        .build()
        .expect("a loop");
    let server = Bootstrap::new(&group)
        .transport::<Udp>()
        .option(UDP_GRO, joined)
        .handler(|pipeline| pipeline.add_last(Echo))
        .bind("127.0.0.1:0")
        .sync()
        .expect("a port");
    let address = server.local_address().and_then(|local| local.as_inet());
    let rate = measure(address.expect("a bound channel has an address"), joined);
    server.close().sync().expect("a close");
    group.stop();
    rate
}

/// The same work with recv_from and send_to.
fn one_by_one(joined: bool) -> f64 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("a bound socket has an address");
    let ends = Arc::new(AtomicBool::new(false));
    socket
        .set_read_timeout(Some(Duration::from_millis(50)))
        .expect("a timeout");
    let server = thread::spawn({
        let ends = ends.clone();
        move || {
            let _ = set_affinity(0);
            let mut buffer = [0; 2048];
            while !ends.load(Ordering::Relaxed) {
                if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&buffer[..length], peer);
                }
            }
        }
    });
    let rate = measure(address, joined);
    ends.store(true, Ordering::Relaxed);
    server.join().expect("the server ends");
    rate
}

/// Echoes per second. The client works in batches and joins what it sends if it is told to, so that the server is what
/// limits.
fn measure(server: SocketAddr, joined: bool) -> f64 {
    thread::spawn(move || {
        let _ = set_affinity(1);
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.connect(server).expect("a peer");
        let gro: IntOption = net::UDP_GRO;
        let _ = net::set_int(socket.as_fd(), gro, 1);
        let payload = [7; SIZE];
        let slices = [IoSlice::new(&payload); BATCH];
        let (mut room, mut told) = (BytesMut::new(), Vec::<Received>::new());
        let (mut under_way, mut echoed) = (0usize, 0u64);
        let (began, mut heard) = (Instant::now(), Instant::now());
        while began.elapsed() < ROUND {
            while under_way + BATCH <= UNDER_WAY {
                let one = |slices| Outgoing {
                    slices,
                    peer: None,
                    segment: None,
                    local: None,
                    descriptors: &[],
                };
                let sent = if joined {
                    let burst = Outgoing {
                        segment: Some(SIZE as u16),
                        ..one(&slices[..])
                    };
                    net::send_many(socket.as_fd(), &[burst]).map(|sent| sent * BATCH)
                } else {
                    let all: Vec<Outgoing<'_>> = slices.chunks(1).map(one).collect();
                    net::send_many(socket.as_fd(), &all)
                };
                match sent {
                    Ok(sent) => under_way += sent,
                    Err(_) => break,
                }
            }
            room.clear();
            told.clear();
            match net::recv_many(socket.as_fd(), &mut room, 65_535, 8, &mut told) {
                Ok(_) => {
                    let came: usize = told.iter().map(|one| one.len / SIZE).sum();
                    under_way = under_way.saturating_sub(came);
                    echoed += came as u64;
                    heard = Instant::now();
                }
                // What was lost does not come back.
                Err(_) if heard.elapsed() > Duration::from_millis(20) => {
                    under_way = 0;
                    heard = Instant::now();
                }
                Err(_) => {}
            }
        }
        echoed as f64 / began.elapsed().as_secs_f64()
    })
    .join()
    .expect("the client ends")
}
