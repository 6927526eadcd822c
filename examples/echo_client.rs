//! Loads an echo server, checks every byte that comes back, and tells how long it took.
//!
//!     cargo run --release --example echo_client -- --connect 127.0.0.1:8007 --connections 50 --size 256 --seconds 5
//!
//! Three ways to use it:
//!
//! - by default every connection keeps `--window` messages under way, for `--messages` each or for `--seconds`;
//! - `--hold SECONDS` (or `forever`) has one message echoed on each connection and then keeps them idle;
//! - `--cycles N` connects, has one message echoed and closes, N times, `--connections` at a time. It closes with
//!   `SO_LINGER` 0, a reset: a normal close would leave each port unusable for a minute (TIME_WAIT), and there are
//!   only some 28,000 of them per destination.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use tidegate::channel::options::SO_LINGER;
use tidegate::{
    Bootstrap, Channel, Context, Error, ErrorKind, EventLoopGroup, Failure, Fault, Handler,
    HandlerResult, Message,
};

#[path = "common/args.rs"]
mod args;
#[path = "common/limits.rs"]
mod limits;
#[path = "common/stop.rs"]
mod stop;
#[path = "common/tell.rs"]
mod tell;

use stop::Stop;
use tell::say;

const USAGE: &str =
    "echo_client [--connect HOST:PORT] [--connections N] [--size BYTES] [--window N]
    [--messages N | --seconds N] [--hold SECONDS|forever] [--cycles N] [--threads N]";

/// What is sent repeats after so many bytes: a prime, so that shifted data never looks right.
const PERIOD: usize = 251;
/// Attempts to connect under way at once; well below the usual backlog.
const CONNECTING_MAX: usize = 128;
/// The longest time that the histograms tell apart, in nanoseconds.
const LONGEST_NS: u64 = 60_000_000_000;
/// How long nothing may happen before the client gives up.
const PATIENCE: Duration = Duration::from_secs(30);

thread_local! {
    /// The latencies of the connections on this loop, in nanoseconds.
    static LATENCIES: RefCell<Histogram<u64>> = RefCell::new(histogram());
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("the bounds are in the allowed range")
}

/// What one connection does.
#[derive(Clone)]
struct Plan {
    size: usize,
    window: usize,
    messages: u64,
    /// Whether it begins at once, or when it gets a [`Start`].
    is_eager: bool,
    /// Whether it closes when its messages are back.
    closes: bool,
    /// [`PERIOD`] bytes more than a message, so that each one is a slice of it.
    pattern: Bytes,
    tell: Sender<Told>,
}

/// Begin, and send nothing new after `until`.
struct Start {
    until: Option<Instant>,
}

/// What a connection tells.
enum Told {
    /// Its messages are back.
    Done(u64),
    /// It failed, or closed too early.
    Failed(Error),
    /// It has closed.
    Closed,
}

/// One connection.
struct Client {
    plan: Arc<Plan>,
    until: Option<Instant>,
    /// Of the messages under way, the oldest first; at most `window`.
    sent_at: VecDeque<Instant>,
    /// received <= sent <= messages
    sent: u64,
    received: u64,
    /// Bytes that came back.
    bytes: u64,
    is_done: bool,
}

impl Client {
    fn new(plan: Arc<Plan>) -> Self {
        Self {
            plan,
            until: None,
            sent_at: VecDeque::new(),
            sent: 0,
            received: 0,
            bytes: 0,
            is_done: false,
        }
    }

    fn begin(&mut self, ctx: &mut Context<'_>, until: Option<Instant>) {
        self.until = until;
        let now = Instant::now();
        for _ in 0..self.plan.window {
            self.send(ctx, now);
        }
        ctx.flush();
        if self.sent == 0 {
            self.tell(Told::Done(0));
        }
    }

    fn send(&mut self, ctx: &mut Context<'_>, now: Instant) {
        if self.sent == self.plan.messages || self.until.is_some_and(|until| now >= until) {
            return;
        }
        let size = self.plan.size;
        let start = (self.sent * size as u64 % PERIOD as u64) as usize;
        ctx.write(self.plan.pattern.slice(start..start + size));
        self.sent_at.push_back(now);
        self.sent += 1;
    }

    /// Whether these bytes are the ones that were sent.
    fn is_right(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let expected = &self.plan.pattern[(self.bytes % PERIOD as u64) as usize..];
            let (now, later) = bytes.split_at(bytes.len().min(expected.len()));
            if !expected.starts_with(now) {
                return false;
            }
            self.bytes += now.len() as u64;
            bytes = later;
        }
        self.bytes <= self.sent * self.plan.size as u64
    }

    fn tell(&mut self, told: Told) {
        self.is_done = true;
        // The receiver is gone only when the program ends.
        let _ = self.plan.tell.send(told);
    }
}

impl Handler for Client {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if self.plan.is_eager {
            self.begin(ctx, None);
        }
        Ok(())
    }

    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        if let Some(start) = event.downcast_ref::<Start>() {
            self.begin(ctx, start.until);
        }
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        if !self.is_right(msg.as_bytes().unwrap_or_default()) {
            let text = "what came back is not what was sent";
            return Err(Error::new(ErrorKind::Io, text)
                .with_fault(Fault::Peer)
                .into());
        }
        let now = Instant::now();
        let complete = self.bytes / self.plan.size as u64;
        LATENCIES.with_borrow_mut(|latencies| {
            for sent_at in self.sent_at.drain(..(complete - self.received) as usize) {
                latencies.saturating_record((now - sent_at).as_nanos() as u64);
            }
        });
        let back = complete - self.received;
        self.received = complete;
        for _ in 0..back {
            self.send(ctx, now);
        }
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if !self.sent_at.is_empty() {
            ctx.flush();
        } else if self.sent > 0 && !self.is_done {
            self.tell(Told::Done(self.received));
            if self.plan.closes {
                ctx.close();
            }
        }
        Ok(())
    }

    fn channel_inactive(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        if !self.is_done {
            self.tell(Told::Failed(closed_early()));
        }
        self.tell(Told::Closed);
        Ok(())
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        if !self.is_done {
            self.tell(Told::Failed(cause.into_error()));
        }
        ctx.close();
        Ok(())
    }
}

/// `--hold`.
struct Hold(Option<Duration>);

impl FromStr for Hold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "forever" => Ok(Self(None)),
            _ => match text.parse() {
                Ok(Seconds(time)) => Ok(Self(Some(time))),
                Err(_) => Err("expected seconds, or forever".to_owned()),
            },
        }
    }
}

/// `--seconds`.
struct Seconds(Duration);

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse().map(Duration::try_from_secs_f64) {
            Ok(Ok(time)) => Ok(Self(time)),
            _ => Err("expected seconds".to_owned()),
        }
    }
}

/// When idle connections are no longer held.
enum Until {
    Over(Duration),
    Signal(Stop),
}

fn main() -> ExitCode {
    tell::run("echo_client", run)
}

fn run() -> Result<(), Error> {
    let mut args = args::Args::from_env(USAGE);
    let remote: String = args.get("connect", "127.0.0.1:8007".to_owned());
    let connections: usize = args.get("connections", 1);
    let size: usize = args.get("size", 256);
    let window: usize = args.get("window", 1);
    let messages: Option<u64> = args.optional("messages");
    let time: Option<Seconds> = args.optional("seconds");
    let hold: Option<Hold> = args.optional("hold");
    let cycles: Option<usize> = args.optional("cycles");
    let threads: usize = args.get("threads", 1);
    if connections == 0 || size == 0 || window == 0 || messages == Some(0) {
        args.refuse("connections, size, window and messages are at least 1");
    }
    args.finish();

    let (tell, told) = channel();
    let is_single = hold.is_some() || cycles.is_some();
    let plan = Plan {
        size,
        window,
        messages: match (messages, &time) {
            _ if is_single => 1,
            (Some(messages), _) => messages,
            (None, Some(_)) => u64::MAX,
            (None, None) => 1000,
        },
        is_eager: is_single,
        closes: cycles.is_some(),
        pattern: (0..size + PERIOD).map(|at| (at % PERIOD) as u8).collect(),
        tell,
    };
    limits::raise_descriptors();
    // Only who holds connections has something to end in good order; the others die of a signal.
    let hold = match hold {
        Some(Hold(None)) => Some(Until::Signal(Stop::on_signals()?)),
        Some(Hold(Some(time))) => Some(Until::Over(time)),
        None => None,
    };
    let group = EventLoopGroup::builder()
        .name("client")
        .threads(threads)
        .build()?;
    let load = Load::new(group.clone(), &remote, plan, told);
    let outcome = match (cycles, hold) {
        (Some(cycles), _) => load.cycle(cycles, connections),
        (None, Some(until)) => load.hold(connections, &until),
        (None, None) => load.measure(connections, time.map(|time| time.0)),
    };
    group
        .shutdown_gracefully(Duration::ZERO, Duration::from_secs(5))
        .sync()?;
    outcome
}

/// The connections together.
struct Load {
    group: EventLoopGroup,
    bootstrap: Bootstrap,
    remote: String,
    plan: Arc<Plan>,
    told: Receiver<Told>,
}

impl Load {
    fn new(group: EventLoopGroup, remote: &str, plan: Plan, told: Receiver<Told>) -> Self {
        let plan = Arc::new(plan);
        let mut bootstrap = Bootstrap::new(&group);
        if plan.closes {
            bootstrap = bootstrap.option(SO_LINGER, Some(Duration::ZERO));
        }
        let each = plan.clone();
        let bootstrap =
            bootstrap.handler(move |pipeline| pipeline.add_last(Client::new(each.clone())));
        Self {
            group,
            bootstrap,
            remote: remote.to_owned(),
            plan,
            told,
        }
    }

    /// Messages on all connections at once, and how fast they went.
    fn measure(&self, connections: usize, time: Option<Duration>) -> Result<(), Error> {
        let channels = self.connect(connections)?;
        let started = Instant::now();
        // So far off that the clock can't tell it: without end.
        let until = time.and_then(|time| started.checked_add(time));
        for channel in &channels {
            channel.fire_user_event_triggered(Message::new(Start { until }));
        }
        let longest = time.unwrap_or_default().saturating_add(PATIENCE);
        let messages = self.wait_done(connections, longest)?;
        let took = started.elapsed();
        let per_second = messages as f64 / took.as_secs_f64();
        say(&format!(
            "{messages} messages in {:.2} s: {per_second:.0} messages/s, {:.1} MiB/s each way",
            took.as_secs_f64(),
            per_second * self.plan.size as f64 / f64::from(1 << 20),
        ));
        self.tell_latencies()
    }

    /// Idle connections.
    fn hold(&self, connections: usize, until: &Until) -> Result<(), Error> {
        let _channels = self.connect(connections)?;
        self.wait_done(connections, PATIENCE)?;
        say(&format!("holding {connections} connections"));
        match until {
            Until::Over(time) => std::thread::sleep(*time),
            Until::Signal(stop) => stop.wait(None)?,
        }
        Ok(())
    }

    /// Connections that come and go.
    fn cycle(&self, cycles: usize, at_once: usize) -> Result<(), Error> {
        let started = Instant::now();
        let mut begun = 0;
        let mut ended = 0;
        while ended < cycles {
            while begun < cycles && begun - ended < at_once {
                self.begin();
                begun += 1;
            }
            match self.next_told()? {
                Told::Closed => ended += 1,
                Told::Done(_) => {}
                Told::Failed(why) => return Err(why),
            }
        }
        let took = started.elapsed().as_secs_f64();
        say(&format!(
            "{cycles} cycles in {took:.2} s: {:.0} cycles/s",
            cycles as f64 / took
        ));
        self.tell_latencies()
    }

    /// Connects so many, some at a time.
    fn connect(&self, connections: usize) -> Result<Vec<Channel>, Error> {
        let mut channels = Vec::with_capacity(connections);
        while channels.len() < connections {
            let count = CONNECTING_MAX.min(connections - channels.len());
            let connecting: Vec<_> = (0..count)
                .map(|_| self.bootstrap.connect(self.remote.as_str()))
                .collect();
            for each in connecting {
                channels.push(each.sync()?);
            }
        }
        Ok(channels)
    }

    /// Connects one, and tells if that fails.
    fn begin(&self) {
        let tell = self.plan.tell.clone();
        let connecting = self.bootstrap.connect(self.remote.as_str());
        connecting.add_listener(move |_, connected| {
            if let Err(error) = connected {
                let _ = tell.send(Told::Failed(error.clone()));
            }
        });
    }

    /// The messages of all connections, when they are back.
    fn wait_done(&self, connections: usize, longest: Duration) -> Result<u64, Error> {
        let mut messages = 0;
        for _ in 0..connections {
            match self.told.recv_timeout(longest) {
                Ok(Told::Done(count)) => messages += count,
                Ok(Told::Failed(why)) => return Err(why),
                // Behind its end, when others are not done yet.
                Ok(Told::Closed) => return Err(closed_early()),
                Err(_) => return Err(silent(longest)),
            }
        }
        Ok(messages)
    }

    fn next_told(&self) -> Result<Told, Error> {
        let told = self.told.recv_timeout(PATIENCE);
        told.map_err(|_| silent(PATIENCE))
    }

    /// Percentiles over all loops.
    fn tell_latencies(&self) -> Result<(), Error> {
        let mut all = histogram();
        for event_loop in self.group.iter() {
            let of_loop = event_loop.submit(|| LATENCIES.with_borrow(Clone::clone));
            // The bounds of all histograms are the same.
            all.add(of_loop.sync()?).map_err(|error| {
                Error::new(
                    ErrorKind::InvalidArgument,
                    format!("adding latencies: {error}"),
                )
            })?;
        }
        let micros = |value: u64| value as f64 / 1000.0;
        let at = |percentile: f64| micros(all.value_at_percentile(percentile));
        say(&format!(
            "latency in us: p50 {:.1}, p90 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.1}",
            at(50.0),
            at(90.0),
            at(99.0),
            at(99.9),
            micros(all.max()),
        ));
        Ok(())
    }
}

fn closed_early() -> Error {
    let text = "the server closed a connection before everything had come back";
    Error::new(ErrorKind::ChannelClosed, text).with_fault(Fault::Peer)
}

fn silent(time: Duration) -> Error {
    let text = format!("the server has not answered for {time:?}");
    Error::new(ErrorKind::TimedOut, text).with_fault(Fault::Peer)
}
