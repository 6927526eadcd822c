//! Peers that do not read: with their window shut, and stopped as a process. Whoever minds writability needs no more
//! memory for them than the watermark, nobody else notices, and everything arrives when they read again.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::sys::signal::Signal;
use tidegate::channel::options::{SO_SNDBUF, WRITE_BUFFER_WATER_MARK};
use tidegate::channel::{ENTRY_OVERHEAD, WaterMark};
use tidegate::{Channel, Context, EventLoopGroup, Handler, HandlerResult, ServerBootstrap};

use crate::support::{
    DEADLINE, Player, Tally, assert_serves, follows, plain_client_with, serve, stop, stream, tell,
    until,
};
use crate::ways::each_way;

const HIGH: usize = 64 << 10;
const BLOCK: usize = 4 << 10;
/// What each peer is to get.
const TOTAL: u64 = 1 << 19;

/// What a [`Source`] has done, and how much waited at most.
#[derive(Default)]
struct Flow {
    written: AtomicU64,
    sent: AtomicU64,
    pending_max: AtomicU64,
    /// Unwritable after all has been handed to the kernel that it takes.
    is_full: AtomicBool,
}

/// Writes the stream as long as the channel is writable.
struct Source(Arc<Flow>);

impl Source {
    fn pour(&self, ctx: &mut Context<'_>) {
        while ctx.is_writable() {
            let from = self.0.written.load(Ordering::SeqCst);
            if from == TOTAL {
                break;
            }
            self.0.written.store(from + BLOCK as u64, Ordering::SeqCst);
            let flow = self.0.clone();
            ctx.write_future(stream(from, BLOCK))
                .add_listener(move |_, result| {
                    if result.is_ok() {
                        flow.sent.fetch_add(BLOCK as u64, Ordering::SeqCst);
                    }
                });
            let pending = ctx.pending_bytes() as u64;
            self.0.pending_max.fetch_max(pending, Ordering::SeqCst);
        }
        ctx.flush();
        let is_full = !ctx.is_writable();
        self.0.is_full.store(is_full, Ordering::SeqCst);
    }
}

impl Handler for Source {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.pour(ctx);
        Ok(())
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.pour(ctx);
        Ok(())
    }
}

/// A server that pours; each client has a flow of its own, in the order in which they come.
fn serve_sources(group: &EventLoopGroup, flows: &[Arc<Flow>]) -> (Channel, SocketAddr) {
    let flows = flows.to_vec();
    let next = AtomicU64::new(0);
    let server = ServerBootstrap::new(group, group)
        .child_option(SO_SNDBUF, 16 << 10)
        .child_option(
            WRITE_BUFFER_WATER_MARK,
            WaterMark::new(HIGH / 2, HIGH).unwrap(),
        )
        .child_handler(move |pipeline| {
            let number = next.fetch_add(1, Ordering::SeqCst) as usize;
            pipeline.add_last(Source(flows[number].clone()))
        })
        .bind("127.0.0.1:0")
        .sync_timeout(DEADLINE)
        .unwrap();
    let address = server.local_address().unwrap().as_inet().unwrap();
    (server, address)
}

fn is_full(flow: &Flow) -> bool {
    flow.is_full.load(Ordering::SeqCst)
}

fn assert_bounded(flow: &Flow) {
    let max = flow.pending_max.load(Ordering::SeqCst) as usize;
    assert!(max > 0 && max <= HIGH + BLOCK + ENTRY_OVERHEAD, "{max}");
}

/// Rules: C2, C3, C4
#[test]
fn peers_with_a_shut_window_cost_the_watermark_and_nobody_else_anything() {
    each_way(|way| {
        let group = way.group(2);
        let flows: Vec<_> = (0..20).map(|_| Arc::new(Flow::default())).collect();
        let (server, address) = serve_sources(&group, &flows);
        let tally = Arc::new(Tally::default());
        let (other_server, healthy) = serve(&group, &tally);
        let mut peers: Vec<TcpStream> = flows
            .iter()
            .map(|_| plain_client_with(address, Some(8 << 10)))
            .collect();
        for flow in &flows {
            until("it is full", || is_full(flow));
        }
        assert_serves(healthy);
        for _ in 0..20 {
            assert_serves(healthy);
        }
        for flow in &flows {
            let written = flow.written.load(Ordering::SeqCst);
            assert!(written < TOTAL / 2, "{written}: buffers and the watermark");
        }
        // And now they do, one after the other.
        for peer in &mut peers {
            let mut got = vec![0; TOTAL as usize];
            peer.read_exact(&mut got).unwrap();
            assert!(follows(&mut 0, &got));
        }
        for flow in &flows {
            until("all sent", || flow.sent.load(Ordering::SeqCst) == TOTAL);
            assert_bounded(flow);
        }
        server.close().sync().unwrap();
        other_server.close().sync().unwrap();
        stop(&group);
    });
}

/// A process that reads the stream to its length once it is told to, and says what it got.
pub fn read_all(address: SocketAddr) {
    let mut client = plain_client_with(address, Some(8 << 10));
    tell("connected");
    let mut word = String::new();
    std::io::stdin().read_line(&mut word).expect("a word");
    let mut got = 0;
    let mut block = [0; 1_000];
    while got < TOTAL {
        let count = match client.read(&mut block) {
            // Being stopped and going on interrupts a read with a timeout, without any handler.
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read.expect("a connection"),
        };
        assert!(count > 0, "the end after {got} bytes");
        assert!(follows(&mut got, &block[..count]), "a broken stream");
    }
    tell(&format!("got {got}"));
}

/// Rules: C2, C4
#[test]
fn a_stopped_process_gets_everything_when_it_goes_on() {
    let group = EventLoopGroup::builder().threads(1).build().unwrap();
    let flow = Arc::new(Flow::default());
    let (server, address) = serve_sources(&group, std::slice::from_ref(&flow));
    let mut reader = Player::start("reader", Some(address));
    reader.line("connected");
    reader.signal(Signal::SIGSTOP);
    // It would read from now on, if it ran.
    reader.say("go");
    until("it is full", || is_full(&flow));
    reader.signal(Signal::SIGCONT);
    assert_eq!(reader.line("got "), TOTAL.to_string());
    until("all sent", || flow.sent.load(Ordering::SeqCst) == TOTAL);
    assert_bounded(&flow);
    server.close().sync().unwrap();
    stop(&group);
}
