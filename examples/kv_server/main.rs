//! A key-value server that speaks Redis' protocol (RESP2): GET, SET, DEL, INCR, PING, pipelined.
//!
//! ```text
//! cargo run --release --example kv_server -- --port 6380
//! redis-cli -p 6380 set greeting hello       # in another terminal
//! redis-benchmark -p 6380 -t get,set -P 16   # or `make redis`, which compares it with redis-server
//! ```
//!
//! Bytes become commands in a decoder (`resp`), commands become replies in a handler (here), and what is kept is in
//! `store`. Replies are collected while a batch of commands is read and leave in one write at its end. One loop is the
//! default, as Redis has one thread; `--threads` gives more.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tidegate::buffer::{Bytes, BytesMut};
use tidegate::channel::options::{SO_BACKLOG, TCP_NODELAY};
use tidegate::{
    Context, Error, ErrorKind, EventLoopGroup, Failure, Handler, HandlerResult, Message,
    ServerBootstrap,
};

#[path = "../common/args.rs"]
mod args;
#[path = "../common/limits.rs"]
mod limits;
mod resp;
#[path = "../common/stop.rs"]
mod stop;
mod store;
#[path = "../common/tell.rs"]
mod tell;

use resp::{Command, CommandDecoder};
use store::{NoCount, Store};

/// Replies that are collected before they are handed over, in bytes.
const BATCH_MAX: usize = 64 << 10;
/// How long slow clients may take for their last replies.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// Longer values are written as they lie in the store, without a copy.
const COPY_MAX: usize = 16 << 10;

fn main() -> ExitCode {
    tell::run("kv_server", serve)
}

fn serve() -> Result<(), Error> {
    let mut args = args::Args::from_env("kv_server [--host HOST] [--port N] [--threads N]");
    let host: String = args.get("host", "127.0.0.1".to_owned());
    let port: u16 = args.get("port", 6380);
    let threads: usize = args.get("threads", 1);
    args.finish();
    limits::raise_descriptors();
    let stop = stop::Stop::on_signals()?;
    let boss = EventLoopGroup::new(1)?;
    let workers = EventLoopGroup::builder().threads(threads).build()?;
    let store = Arc::new(Store::new());
    let server = ServerBootstrap::new(&boss, &workers)
        .option(SO_BACKLOG, 1024)
        .child_option(TCP_NODELAY, true)
        .child_handler(move |pipeline| {
            pipeline.add_last(CommandDecoder::default())?;
            pipeline.add_last(Session::new(store.clone()))
        })
        .bind((host.as_str(), port))
        .sync()?;
    if let Some(address) = server.local_address() {
        tell::say(&format!("listening on {address}"));
    }
    let stopped = stop.wait(Some(&server));
    server.close().sync()?;
    // Replies that wait for slow clients are sent first; how much of them is lost is said.
    let drained = workers.drain(DRAIN_MAX).sync()?;
    for rest in &drained.unsent {
        tell::say(&format!("not sent to {rest}"));
    }
    for group in [&boss, &workers] {
        group
            .shutdown_gracefully(Duration::ZERO, Duration::from_secs(5))
            .sync()?;
    }
    stopped
}

/// One client.
struct Session {
    store: Arc<Store>,
    /// Replies that were not handed over yet.
    replies: BytesMut,
}

impl Handler for Session {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        match msg.downcast::<Command>() {
            Ok(Command(words)) => self.answer(ctx, &words),
            Err(other) => ctx.fire_channel_read(other),
        }
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.hand_over(ctx);
        ctx.flush();
        self.mind_slow_client(ctx);
        Ok(())
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.set_auto_read(ctx.is_writable());
        Ok(())
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        let is_protocol = matches!(cause.kind(), ErrorKind::Malformed | ErrorKind::TooLong);
        if is_protocol {
            resp::error(&format!("ERR Protocol error: {cause}"), &mut self.replies);
        }
        self.say_goodbye(ctx);
        Ok(())
    }
}

impl Session {
    fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            replies: BytesMut::new(),
        }
    }

    fn answer(&mut self, ctx: &mut Context<'_>, words: &[Bytes]) {
        let (store, out) = (&self.store, &mut self.replies);
        let (name, words) = words.split_first().expect("a command has a name");
        let mut upper = [0; 8];
        let upper = match upper.get_mut(..name.len()) {
            None => &[],
            Some(upper) => {
                upper.copy_from_slice(name);
                upper.make_ascii_uppercase();
                &*upper
            }
        };
        match (upper, words) {
            (b"GET", [key]) => match store.get(key) {
                Some(value) if value.len() > COPY_MAX => self.reply_large(ctx, value),
                value => resp::bulk(value.as_deref(), out),
            },
            (b"SET", [key, value]) => {
                store.set(key, value);
                resp::status("OK", out);
            }
            (b"SET", [_, _, ..]) => resp::error("ERR syntax error", out),
            (b"DEL", [_, ..]) => {
                let removed = words.iter().filter(|key| store.remove(key)).count();
                resp::integer(removed as i64, out);
            }
            (b"INCR", [key]) => match store.increment(key) {
                Ok(sum) => resp::integer(sum, out),
                Err(NoCount::NotAnInteger) => {
                    resp::error("ERR value is not an integer or out of range", out)
                }
                Err(NoCount::Overflow) => {
                    resp::error("ERR increment or decrement would overflow", out)
                }
            },
            (b"PING", []) => resp::status("PONG", out),
            (b"PING", [text]) => resp::bulk(Some(text), out),
            (b"QUIT", _) => {
                resp::status("OK", out);
                self.say_goodbye(ctx);
            }
            // What redis-cli and redis-benchmark ask before they begin.
            (b"COMMAND" | b"CONFIG", _) => resp::nothing(out),
            (b"GET" | b"SET" | b"DEL" | b"INCR" | b"PING", _) => resp::error(
                &format!(
                    "ERR wrong number of arguments for '{}' command",
                    String::from_utf8_lossy(name).to_lowercase()
                ),
                out,
            ),
            _ => resp::error(
                &format!(
                    "ERR unknown command '{}'",
                    String::from_utf8_lossy(&name[..name.len().min(128)])
                ),
                out,
            ),
        }
        if self.replies.len() >= BATCH_MAX {
            self.hand_over(ctx);
            self.mind_slow_client(ctx);
        }
    }

    /// A value of any size: only its frame is written by us.
    fn reply_large(&mut self, ctx: &mut Context<'_>, value: Bytes) {
        resp::bulk_head(value.len(), &mut self.replies);
        self.hand_over(ctx);
        ctx.write(value);
        resp::bulk_tail(&mut self.replies);
        self.mind_slow_client(ctx);
    }

    fn hand_over(&mut self, ctx: &mut Context<'_>) {
        if !self.replies.is_empty() {
            ctx.write(self.replies.split());
        }
    }

    /// A client that does not take its replies gets no more of its commands read: not even those that have arrived.
    fn mind_slow_client(&mut self, ctx: &mut Context<'_>) {
        if !ctx.is_writable() {
            ctx.flush();
            if !ctx.is_writable() {
                ctx.set_auto_read(false);
            }
        }
    }

    /// Closes once all replies are sent; nothing more is read.
    fn say_goodbye(&mut self, ctx: &mut Context<'_>) {
        ctx.set_auto_read(false);
        ctx.write_future(self.replies.split()).close_when_done();
        ctx.flush();
    }
}
