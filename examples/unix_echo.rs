//! Echo between the programs of one machine, over a Unix domain socket. The server says who asked, as the system knows it.
//!
//! ```text
//! cargo run --release --example unix_echo -- --path /tmp/echo.sock
//! cargo run --release --example unix_echo -- --ask /tmp/echo.sock --text hello       # in another shell
//! ```
//!
//! A path that begins with `@` is an abstract name: it needs no file, and only Linux has it. A file that a killed server has
//! left is removed when the next one starts; the file of a live one never is.

use std::process::ExitCode;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use tidegate::transport::unix::{SO_PEERCRED, UNLINK_STALE, UnixStream};
use tidegate::{
    Bootstrap, Context, Error, ErrorKind, EventLoopGroup, Handler, HandlerResult, Message,
    ServerBootstrap,
};

#[path = "common/args.rs"]
mod args;
#[path = "common/stop.rs"]
mod stop;
#[path = "common/tell.rs"]
mod tell;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    tell::run("unix_echo", run)
}

fn run() -> Result<(), Error> {
    let mut args = args::Args::from_env("unix_echo --path PATH | --ask PATH [--text TEXT]");
    let path: Option<String> = args.optional("path");
    let ask: Option<String> = args.optional("ask");
    let text: String = args.get("text", "hello".to_owned());
    match (path, ask) {
        (Some(path), None) => {
            args.finish();
            serve(&path)
        }
        (None, Some(path)) => {
            args.finish();
            client(&path, text)
        }
        _ => args.refuse("one of --path and --ask is needed"),
    }
}

fn serve(path: &str) -> Result<(), Error> {
    let stop = stop::Stop::on_signals()?;
    let group = EventLoopGroup::new(1)?;
    let server = ServerBootstrap::new(&group, &group)
        .transport::<UnixStream>()
        .option(UNLINK_STALE, true)
        .child_handler(|pipeline| pipeline.add_last(Echo))
        .bind(path)
        .sync()?;
    if let Some(address) = server.local_address() {
        tell::say(&format!("listening on {address}"));
    }
    let stopped = stop.wait(Some(&server));
    group
        .shutdown_gracefully(Duration::ZERO, Duration::from_secs(5))
        .sync()?;
    stopped
}

/// Writes back what it reads, and says who sent it.
struct Echo;

impl Handler for Echo {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let asked = ctx.channel().option(SO_PEERCRED);
        asked.on_result(|found| match found {
            Ok(peer) => {
                let process = peer
                    .pid
                    .map_or_else(|| "?".to_owned(), |pid| pid.to_string());
                tell::say(&format!("process {process} of user {}", peer.uid));
            }
            Err(error) => tell::say(&format!("somebody: {error}")),
        });
        ctx.fire_channel_active();
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.write(msg);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        Ok(())
    }
}

fn client(path: &str, text: String) -> Result<(), Error> {
    let group = EventLoopGroup::new(1)?;
    let (answer, answered) = mpsc::channel();
    let expected = text.len();
    let channel = Bootstrap::new(&group)
        .transport::<UnixStream>()
        .handler(move |pipeline| {
            pipeline.add_last(Answer {
                left: expected,
                text: Vec::new(),
                to: answer.clone(),
            })
        })
        .connect(path)
        .sync()?;
    channel.write_and_flush(text).sync()?;
    let answer = answered.recv_timeout(PATIENCE).map_err(|_| {
        Error::new(
            ErrorKind::TimedOut,
            format!("{path}: no answer within {PATIENCE:?}"),
        )
    })?;
    tell::say(&String::from_utf8_lossy(&answer));
    channel.close().sync()?;
    Ok(())
}

/// Collects what comes until it is as long as what was sent.
struct Answer {
    left: usize,
    text: Vec<u8>,
    to: Sender<Vec<u8>>,
}

impl Handler for Answer {
    fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
        if let Some(bytes) = msg.as_bytes() {
            self.text.extend_from_slice(bytes);
            self.left = self.left.saturating_sub(bytes.len());
        }
        if self.left == 0 {
            let _ = self.to.send(std::mem::take(&mut self.text));
        }
        Ok(())
    }
}
