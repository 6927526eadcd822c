//! Ending in time, whatever is in the way: peers that never read, connects in flight, timers of an hour.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tidegate::buffer::Bytes;
use tidegate::channel::options::SO_SNDBUF;
use tidegate::{
    Bootstrap, Channel, Context, EventLoopGroup, Handler, HandlerResult, ServerBootstrap,
};

use crate::limits;
use crate::support::{Figures, FullListener, micros, small_peer, until};

const RUNS: u64 = 100;
const DEAF: usize = 8;
const CONNECTS: usize = 4;
const WAITS: usize = 1 << 20;
const TIMEOUT: Duration = Duration::from_millis(200);
const QUIET: Duration = Duration::from_millis(20);
/// What a machine may take beyond the deadline. Ending is a few tasks on two threads; the rest is waiting for a processor.
const SLACK: Duration = Duration::from_millis(100);

/// Has more to send than its peer takes.
struct Generous;

impl Handler for Generous {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.write_and_flush(Bytes::from(vec![7; WAITS]));
        ctx.timer(Duration::from_secs(3_600), 0);
        Ok(())
    }
}

struct Trouble {
    group: EventLoopGroup,
    server: Channel,
    connects: Vec<tidegate::ChannelFuture>,
    _peers: Vec<TcpStream>,
}

impl Trouble {
    fn make(nowhere: SocketAddr) -> Self {
        let group = EventLoopGroup::builder().threads(2).build().expect("loops");
        let server = ServerBootstrap::new(&group, &group)
            .child_option(SO_SNDBUF, 16 << 10)
            .child_handler(|pipeline| pipeline.add_last(Generous))
            .bind("127.0.0.1:0")
            .sync()
            .expect("a port");
        let address = server
            .local_address()
            .and_then(|address| address.as_inet())
            .expect("bound");
        let peers = (0..DEAF).map(|_| small_peer(address)).collect();
        let client = Bootstrap::new(&group).handler(|pipeline| pipeline.add_last(Generous));
        let connects: Vec<_> = (0..CONNECTS).map(|_| client.connect(nowhere)).collect();
        for event_loop in group.iter() {
            drop(event_loop.schedule(Duration::from_secs(3_600), || {}));
        }
        let all = (1 + DEAF + CONNECTS) as u64;
        until("all are there", || {
            group
                .iter()
                .map(|each| each.metrics().channels)
                .sum::<u64>()
                == all
        });
        Self {
            group,
            server,
            connects,
            _peers: peers,
        }
    }
}

fn in_time(
    figures: &mut Figures,
    what: &str,
    deadline: Duration,
    mut run: impl FnMut() -> Duration,
) {
    let (mut worst, mut good) = (Duration::ZERO, 0);
    for _ in 0..RUNS {
        let took = run();
        worst = worst.max(took);
        good += u64::from(took <= deadline + SLACK);
    }
    figures.note(
        &format!("{what}: the longest, ms"),
        format!("{:.1}", micros(worst) / 1e3),
    );
    figures.exactly(
        &format!("{what}: ended within {deadline:?} and {SLACK:?}"),
        good,
        RUNS,
    );
}

pub fn run(figures: &mut Figures) {
    limits::raise_descriptors();
    figures.case(
        "ends",
        &format!("{DEAF} peers that never read, {CONNECTS} connects in flight, timers of an hour"),
    );
    let full = FullListener::new();
    in_time(figures, "shutdown_gracefully", TIMEOUT, || {
        let trouble = Trouble::make(full.address);
        let begun = Instant::now();
        trouble
            .group
            .shutdown_gracefully(QUIET, TIMEOUT)
            .sync()
            .expect("it ends");
        let took = begun.elapsed();
        assert!(
            !trouble.server.is_open() && trouble.connects.iter().all(|connect| connect.is_done())
        );
        took
    });
    let mut wrong = 0;
    in_time(figures, "drain", TIMEOUT, || {
        let trouble = Trouble::make(full.address);
        let begun = Instant::now();
        let report = trouble.group.drain(TIMEOUT).sync().expect("a report");
        let took = begun.elapsed();
        let told = report
            .unsent
            .iter()
            .all(|rest| rest.remote.is_some() && rest.bytes > 0 && rest.messages == 1);
        let is_right = report.unsent.len() == DEAF && report.late == DEAF && told;
        wrong += u64::from(!is_right || trouble.connects.iter().any(|connect| !connect.is_done()));
        trouble.group.stop().sync().expect("it ends");
        took
    });
    figures.exactly("drain: reports that were wrong", wrong, 0);
}
