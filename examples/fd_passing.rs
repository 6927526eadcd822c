//! A connected TCP socket goes to another process, which goes on serving it: the client notices nothing, not even when the
//! first process ends.
//!
//! ```text
//! cargo run --release --example fd_passing -- --take /tmp/handover.sock
//! cargo run --release --example fd_passing -- --port 9010 --give /tmp/handover.sock     # in another shell
//! nc 127.0.0.1 9010                                                                     # in a third one
//! ```
//!
//! The front accepts connections and passes each on with the name of its client. The worker takes it over, greets the client
//! with the number of its own process, and echoes.

use std::net::SocketAddr;
use std::process::{self, ExitCode};
use std::time::Duration;

use tidegate::codec::{LineDecoder, StringDecoder};
use tidegate::transport::tcp::{Accepted, Tcp};
use tidegate::transport::unix::{Descriptors, UNLINK_STALE, UnixStream};
use tidegate::{
    Bootstrap, Channel, Context, Error, EventLoopGroup, Handler, HandlerResult, Message,
    ServerBootstrap,
};

#[path = "common/args.rs"]
mod args;
#[path = "common/stop.rs"]
mod stop;
#[path = "common/tell.rs"]
mod tell;

fn main() -> ExitCode {
    tell::run("fd_passing", run)
}

fn run() -> Result<(), Error> {
    let mut args = args::Args::from_env("fd_passing --take PATH | [--port N] --give PATH");
    let take: Option<String> = args.optional("take");
    let give: Option<String> = args.optional("give");
    let port: u16 = args.get("port", 0);
    match (take, give) {
        (Some(path), None) => {
            args.finish();
            worker(&path)
        }
        (None, Some(path)) => {
            args.finish();
            front(port, &path)
        }
        _ => args.refuse("one of --take and --give is needed"),
    }
}

/// Accepts and passes on.
fn front(port: u16, path: &str) -> Result<(), Error> {
    let stop = stop::Stop::on_signals()?;
    let group = EventLoopGroup::new(1)?;
    let worker = Bootstrap::new(&group)
        .transport::<UnixStream>()
        .handler(|_| Ok::<_, Error>(()))
        .connect(path)
        .sync()?;
    let to = worker.clone();
    let server = ServerBootstrap::new(&group, &group)
        .handler(move |pipeline| pipeline.add_last(PassOn { to: to.clone() }))
        // No connection becomes a channel of this process.
        .child_handler(|_| Ok::<_, Error>(()))
        .bind(("127.0.0.1", port))
        .sync()?;
    if let Some(address) = server.local_address() {
        tell::say(&format!("listening on {address}"));
    }
    let stopped = stop.wait(Some(&worker));
    end(&group, stopped)
}

fn end(group: &EventLoopGroup, stopped: Result<(), Error>) -> Result<(), Error> {
    group
        .shutdown_gracefully(Duration::ZERO, Duration::from_secs(5))
        .sync()?;
    stopped
}

/// Stands in the server's pipeline, where connections are messages.
struct PassOn {
    to: Channel,
}

impl Handler for PassOn {
    fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
        let Ok(accepted) = msg.downcast::<Accepted>() else {
            return Ok(());
        };
        let (socket, client) = accepted.into_parts();
        let passed = Descriptors::from(socket).with_bytes(format!("{client}\n"));
        // If it can't be sent it is dropped, which closes the connection.
        self.to
            .write_and_flush(passed)
            .add_listener(move |_, result| match result {
                Ok(()) => tell::say(&format!("passed {client} on")),
                Err(error) => tell::say(&format!("lost {client}: {error}")),
            });
        Ok(())
    }
}

/// Takes over.
fn worker(path: &str) -> Result<(), Error> {
    let stop = stop::Stop::on_signals()?;
    let group = EventLoopGroup::new(1)?;
    let server = ServerBootstrap::new(&group, &group)
        .transport::<UnixStream>()
        .option(UNLINK_STALE, true)
        .child_handler(|pipeline| {
            // Descriptors pass it, in front of the line that they came with.
            pipeline.add_last(StringDecoder::new(LineDecoder::new(128)))?;
            pipeline.add_last(TakeOver { taken: Vec::new() })
        })
        .bind(path)
        .sync()?;
    if let Some(address) = server.local_address() {
        tell::say(&format!("listening on {address}"));
    }
    let stopped = stop.wait(Some(&server));
    end(&group, stopped)
}

/// Makes channels of sockets that come.
struct TakeOver {
    /// Those whose line has not come yet.
    taken: Vec<Accepted>,
}

impl Handler for TakeOver {
    fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
        match msg.downcast::<Descriptors>() {
            Ok(sockets) => {
                for socket in sockets {
                    // It may be anything: whoever may write to the path may send what is no socket.
                    self.taken.push(Accepted::adopt(socket)?);
                }
            }
            Err(line) => {
                let client = line.downcast::<String>().unwrap_or_default();
                for accepted in self.taken.drain(..) {
                    serve(accepted, &client)?;
                }
            }
        }
        Ok(())
    }
}

fn serve(accepted: Accepted, client: &str) -> Result<(), Error> {
    let peer: SocketAddr = accepted.peer();
    tell::say(&format!("took {client} over; the system calls it {peer}"));
    // Opened in the loop's turn, it lives on the same loop.
    Channel::builder().open(Tcp::from(accepted), |pipeline| pipeline.add_last(Echo))?;
    Ok(())
}

/// Greets, then writes back what it reads.
struct Echo;

impl Handler for Echo {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.write_and_flush(format!("process {} serves you\n", process::id()));
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.write_and_flush(msg);
        Ok(())
    }
}
