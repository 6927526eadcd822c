//! Sends requests to `rpc_server`, many at a time, and checks the answers, which come in any order.
//!
//! ```text
//! cargo run --release --example rpc_client -- --connect 127.0.0.1:8017 --requests 100000 --window 64
//! ```
//!
//! Loses nothing: when the connection ends it connects again, with pauses that grow, and sends anew whatever was not
//! answered (the requests must bear to be answered twice for that; these do). Stop the server while it runs and start it
//! again to see it. It ends when every request was answered, or after `--attempts` connects in a row that led to nothing.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidegate::buffer::Bytes;
use tidegate::channel::options::{CONNECT_TIMEOUT, TCP_NODELAY};
use tidegate::handler::codec::Codec;
use tidegate::{
    Bootstrap, Context, Error, ErrorKind, EventLoop, EventLoopGroup, Failure, Fault, Handler,
    HandlerResult, Message,
};

#[path = "common/args.rs"]
mod args;
#[path = "common/rpc.rs"]
mod rpc;
#[path = "common/tell.rs"]
mod tell;

use rpc::{Frame, FrameCodec};

const USAGE: &str =
    "rpc_client [--connect HOST:PORT] [--requests N] [--window N] [--size BYTES] [--attempts N]";

/// The pause after the first connect that led to nothing; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    tell::run("rpc_client", call)
}

fn call() -> Result<(), Error> {
    let mut args = args::Args::from_env(USAGE);
    let remote: SocketAddr = args.get("connect", SocketAddr::from(([127, 0, 0, 1], 8017)));
    let requests: u64 = args.get("requests", 10_000);
    let window: usize = args.get("window", 64);
    let size: usize = args.get("size", 64);
    let attempts_max: u32 = args.get("attempts", 10);
    args.finish();
    let group = EventLoopGroup::new(1)?;
    let (done, end) = mpsc::channel();
    let client = Arc::new(Client {
        event_loop: group.next().clone(),
        remote,
        window,
        size,
        attempts_max,
        calls: Mutex::new(Calls {
            left: requests,
            ..Calls::default()
        }),
        done,
    });
    let began = Instant::now();
    client.connect();
    let ended = end.recv().unwrap_or_else(|_| {
        Err(Error::new(
            ErrorKind::Terminated,
            "the client ended without a word",
        ))
    });
    let seconds = began.elapsed().as_secs_f64();
    let calls = client.lock();
    tell::say(&format!(
        "{} answers in {seconds:.3} s ({:.0} per second), {} out of order, {} connections, {} sent anew",
        calls.answers,
        calls.answers as f64 / seconds,
        calls.overtaken,
        calls.connections,
        calls.sent_anew,
    ));
    drop(calls);
    group
        .shutdown_gracefully(Duration::ZERO, Duration::from_secs(5))
        .sync()?;
    ended
}

/// What outlives a connection.
struct Client {
    event_loop: EventLoop,
    remote: SocketAddr,
    window: usize,
    size: usize,
    attempts_max: u32,
    /// Touched by the loop's thread, and at the end by the main one.
    calls: Mutex<Calls>,
    done: Sender<Result<(), Error>>,
}

/// The requests, and what became of them.
#[derive(Default)]
struct Calls {
    /// Not sent yet.
    left: u64,
    next_id: u64,
    /// Sent and not answered, in the order of their ids.
    unanswered: BTreeMap<u64, Bytes>,
    answers: u64,
    overtaken: u64,
    sent_anew: u64,
    connections: u64,
    /// Connects since the last answer.
    attempts: u32,
}

impl Client {
    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(self: &Arc<Self>) {
        self.lock().attempts += 1;
        let (each, client) = (self.clone(), self.clone());
        Bootstrap::new(&self.event_loop)
            .option(CONNECT_TIMEOUT, Duration::from_secs(3))
            .option(TCP_NODELAY, true)
            .handler(move |pipeline| {
                pipeline.add_last(Codec::new(FrameCodec::new()))?;
                pipeline.add_last(Caller {
                    client: each.clone(),
                })
            })
            .connect(self.remote)
            .add_listener(move |_, result| {
                if let Err(error) = result {
                    client.connect_later(error.clone());
                }
            });
    }

    /// A connection ended, or never began. An answer, not a connect, is what makes the pauses short again: a server that
    /// accepts and closes at once would otherwise be asked again and again without a pause.
    fn connect_later(self: &Arc<Self>, error: Error) {
        let attempts = self.lock().attempts;
        if attempts >= self.attempts_max {
            // The main thread may have gone; then nobody minds.
            let _ = self.done.send(Err(error));
            return;
        }
        let longest = PAUSE_MIN
            .saturating_mul(1 << attempts.saturating_sub(1).min(16))
            .min(PAUSE_MAX);
        // From a half to the whole of it, so that many clients don't come back at the same moment.
        let chance = RandomState::new().hash_one(attempts) as f64 / u64::MAX as f64;
        let pause = longest.mul_f64(0.5 + chance / 2.0);
        tell::say(&format!("{error}; connecting again in {pause:.0?}"));
        let client = self.clone();
        drop(self.event_loop.schedule(pause, move || client.connect()));
    }
}

/// One connection.
struct Caller {
    client: Arc<Client>,
}

impl Caller {
    /// New requests, as many as may be under way.
    fn send_more(&self, ctx: &mut Context<'_>, calls: &mut Calls) {
        while calls.left > 0 && calls.unanswered.len() < self.client.window && ctx.is_writable() {
            calls.left -= 1;
            let id = calls.next_id;
            calls.next_id += 1;
            let body: Bytes = (0..self.client.size)
                .map(|at| (id as usize + at) as u8)
                .collect();
            calls.unanswered.insert(id, body.clone());
            ctx.write(Message::new(Frame { id, body }));
        }
    }
}

impl Handler for Caller {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let mut calls = self.client.lock();
        calls.connections += 1;
        calls.sent_anew += calls.unanswered.len() as u64;
        for (id, body) in &calls.unanswered {
            ctx.write(Message::new(Frame {
                id: *id,
                body: body.clone(),
            }));
        }
        self.send_more(ctx, &mut calls);
        drop(calls);
        ctx.flush();
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        let answer = match msg.downcast::<Frame>() {
            Ok(answer) => answer,
            Err(other) => {
                ctx.fire_channel_read(other);
                return Ok(());
            }
        };
        let mut calls = self.client.lock();
        let overtakes = calls
            .unanswered
            .first_key_value()
            .is_some_and(|(oldest, _)| *oldest < answer.id);
        let Some(request) = calls.unanswered.remove(&answer.id) else {
            return Err(wrong(format!("an answer to no request: {}", answer.id)));
        };
        if answer.body != rpc::reversed(&request) {
            return Err(wrong(format!("a wrong answer to request {}", answer.id)));
        }
        calls.answers += 1;
        calls.overtaken += u64::from(overtakes);
        calls.attempts = 0;
        self.send_more(ctx, &mut calls);
        if calls.left == 0 && calls.unanswered.is_empty() {
            let _ = self.client.done.send(Ok(()));
        }
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        Ok(())
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.send_more(ctx, &mut self.client.lock());
        ctx.flush();
        Ok(())
    }

    fn channel_inactive(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        let is_done = {
            let calls = self.client.lock();
            calls.left == 0 && calls.unanswered.is_empty()
        };
        if !is_done {
            let error = Error::new(ErrorKind::ChannelClosed, "the server closed the connection");
            self.client.connect_later(error.with_fault(Fault::Peer));
        }
        Ok(())
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        if cause.kind() == ErrorKind::Malformed {
            // It would be no better next time.
            let _ = self.client.done.send(Err(cause.into()));
        }
        ctx.close();
        Ok(())
    }
}

fn wrong(what: String) -> Failure {
    Error::new(ErrorKind::Malformed, what).into()
}
