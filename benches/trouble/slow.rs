//! 1,000 peers that never read, and producers that never stop but mind writability. Memory is what the process has more
//! than before its channels wrote, so payloads, queues and receive memory are all in it.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tidegate::channel::WaterMark;
use tidegate::channel::options::{SO_BACKLOG, SO_RCVBUF, SO_SNDBUF, WRITE_BUFFER_WATER_MARK};
use tidegate::{
    Channel, Context, EventLoopGroup, Handler, HandlerResult, Message, Pipeline, ServerBootstrap,
};

use crate::limits;
use crate::support::{DEADLINE, Figures, resident, seconds, small_peer, until};

const PEERS: usize = 1_000;
const HIGH: usize = 64 << 10;
const BLOCK: usize = 4 << 10;
/// The most that one read brings (RecvAllocator's default).
const READ_MAX: usize = 64 << 10;
/// How often a producer tries again, whatever it was told.
const TRIES_EVERY: Duration = Duration::from_millis(50);

/// Writes blocks while the channel is writable, again and again.
struct Producer;

impl Producer {
    fn produce(ctx: &mut Context<'_>) {
        while ctx.is_writable() {
            ctx.write(vec![7; BLOCK]);
        }
        ctx.flush();
    }
}

impl Handler for Producer {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        Self::produce(ctx);
        ctx.timer(TRIES_EVERY, 0);
        Ok(())
    }

    fn timer(&mut self, ctx: &mut Context<'_>, _key: u64) -> HandlerResult {
        Self::produce(ctx);
        ctx.timer(TRIES_EVERY, 0);
        Ok(())
    }
}

/// Answers whatever comes, and reads no more while its answers are not taken.
struct Answering;

impl Handler for Answering {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.write(msg);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        Ok(())
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        ctx.set_auto_read(ctx.is_writable());
        Ok(())
    }
}

/// How much waits in a channel at most; first in the pipeline.
struct Gauge(Arc<AtomicUsize>);

impl Handler for Gauge {
    fn flush(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.fetch_max(ctx.pending_bytes(), Ordering::Relaxed);
        ctx.flush();
        Ok(())
    }
}

fn serve(
    group: &EventLoopGroup,
    fill: impl Fn(&mut Pipeline<'_>) -> Result<(), tidegate::Error> + Send + Sync + 'static,
) -> Channel {
    ServerBootstrap::new(group, group)
        .option(SO_BACKLOG, 1024)
        // What the kernel keeps is not ours to bound, but need not be much.
        .child_option(SO_SNDBUF, 1)
        .child_option(SO_RCVBUF, 1)
        .child_option(
            WRITE_BUFFER_WATER_MARK,
            WaterMark::new(HIGH / 2, HIGH).expect("in order"),
        )
        .child_handler(fill)
        .bind("127.0.0.1:0")
        .sync()
        .expect("a port")
}

/// Sends on all connections what they take, for ever; never reads.
fn keep_sending(peers: &mut [TcpStream], time: Duration, sent: &AtomicU64) {
    let block = vec![7; 16 << 10];
    let begun = Instant::now();
    while begun.elapsed() < time {
        for peer in peers.iter_mut() {
            if let Ok(count) = peer.write(&block) {
                sent.fetch_add(count as u64, Ordering::Relaxed);
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn measure(
    figures: &mut Figures,
    case: &str,
    one_read: usize,
    add: impl Fn(&mut Pipeline<'_>) -> Result<(), tidegate::Error> + Send + Sync + 'static,
) {
    limits::raise_descriptors();
    let time = Duration::from_secs(seconds());
    let group = EventLoopGroup::builder().threads(2).build().expect("loops");
    let most = Arc::new(AtomicUsize::new(0));
    let gauged = most.clone();
    let before = resident();
    let server = serve(&group, move |pipeline| {
        pipeline.add_last(Gauge(gauged.clone()))?;
        add(pipeline)
    });
    let address = server
        .local_address()
        .and_then(|address| address.as_inet())
        .expect("bound");
    let mut peers: Vec<TcpStream> = (0..PEERS)
        .map(|_| {
            let peer = small_peer(address);
            peer.set_nonblocking(true).expect("an option");
            peer
        })
        .collect();
    let channels = || {
        group
            .iter()
            .map(|each| each.metrics().channels)
            .sum::<u64>()
    };
    until("all are served", || channels() == PEERS as u64 + 1);
    let sent = AtomicU64::new(0);
    let mut peak = resident();
    thread::scope(|scope| {
        let sending = one_read > 0;
        let (peers, sent) = (&mut peers, &sent);
        let sender = scope.spawn(move || {
            if sending {
                keep_sending(peers, time, sent);
            }
        });
        let begun = Instant::now();
        while begun.elapsed() < time {
            thread::sleep(Duration::from_millis(20));
            peak = peak.max(resident());
        }
        sender.join().expect("it sends");
    });
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    let allowed = PEERS * (HIGH + HIGH / 10 + one_read.max(BLOCK));
    let grown = peak.saturating_sub(before) as usize;
    if one_read > 0 {
        figures.note(
            &format!("{case}: sent by the peers, MiB"),
            format!("{:.0}", mib(sent.into_inner() as usize)),
        );
    }
    figures.note(
        &format!("{case}: the watermarks' sum, MiB"),
        format!("{:.1}", mib(PEERS * HIGH)),
    );
    figures.at_most(
        &format!("{case}: resident memory, grown by"),
        mib(grown),
        mib(allowed),
        "MiB",
    );
    let most = most.load(Ordering::Relaxed);
    let bound = HIGH + HIGH / 10 + one_read.max(BLOCK);
    figures.at_most(
        &format!("{case}: the most that one channel had waiting"),
        most as f64 / 1024.0,
        bound as f64 / 1024.0,
        "KiB",
    );
    drop(peers);
    server.close().sync().expect("it closes");
    group.stop();
    assert!(group.await_termination(DEADLINE).expect("not a loop"));
}

/// Each in a process of its own, since memory that was used once is not always given back.
pub fn run(figures: &mut Figures) {
    let this = std::env::current_exe().expect("this binary");
    let seconds = seconds().div_ceil(6);
    figures.case(
        "slow",
        &format!("{PEERS} peers that never read, {seconds} s each"),
    );
    for case in ["slow-writable", "slow-auto-read"] {
        let mut process = Command::new(&this);
        let outcome = process.args([case, &seconds.to_string()]).status();
        figures.add(outcome.is_ok_and(|status| status.success()));
    }
}

/// Producers that look at `is_writable`.
pub fn writable(figures: &mut Figures) {
    let add = |pipeline: &mut Pipeline<'_>| pipeline.add_last(Producer);
    measure(figures, "is_writable", 0, add);
}

/// Producers that are on the other side, and are not read while their answers are not taken.
pub fn auto_read(figures: &mut Figures) {
    let add = |pipeline: &mut Pipeline<'_>| pipeline.add_last(Answering);
    measure(figures, "auto-read", READ_MAX, add);
}
