//! A TCP proxy: for each client a connection to the real server, and two pipelines back to back.
//!
//!     cargo run --release --example tcp_proxy -- --listen 127.0.0.1:8008 --to 127.0.0.1:8007
//!
//! Back-pressure: a side is read only while the other side takes what it is given, so a slow reader costs at most a
//! watermark of memory per direction. Half-close: the end of one direction is passed on after everything that came
//! before it, and the other direction lives on. When a side has closed, the other one closes after its last write.
//!
//! Both sides live on the loop of the client's connection. They still speak through [`Channel`], whose calls are
//! direct on that loop and would be tasks between two.

use std::process::ExitCode;
use std::time::Duration;

use tidegate::channel::events::{ChannelInputShutdownReadComplete, ChannelOutputShutdown};
use tidegate::channel::options::{ALLOW_HALF_CLOSURE, AUTO_READ};
use tidegate::{
    Bootstrap, Channel, Context, Error, EventLoopGroup, Failure, Handler, HandlerResult, Message,
    ServerBootstrap,
};

#[path = "common/args.rs"]
mod args;
#[path = "common/limits.rs"]
mod limits;
#[path = "common/stop.rs"]
mod stop;
#[path = "common/tell.rs"]
mod tell;

const USAGE: &str = "tcp_proxy [--listen HOST:PORT] [--to HOST:PORT] [--threads N]";

/// One side. Its auto-read is off until the other side is there.
struct Side {
    /// Where to connect, for a client's side that has just become active.
    to: Option<String>,
    /// The other side.
    other: Option<Channel>,
    input_ended: bool,
    output_ended: bool,
}

impl Side {
    fn of_client(to: String) -> Self {
        Self {
            to: Some(to),
            other: None,
            input_ended: false,
            output_ended: false,
        }
    }

    fn of_server(client: Channel) -> Self {
        Self {
            to: None,
            other: Some(client),
            input_ended: false,
            output_ended: false,
        }
    }

    /// Connects the other side on this one's loop.
    fn connect(&mut self, ctx: &Context<'_>, to: &str) {
        let client = ctx.channel();
        let fill = {
            let client = client.clone();
            move |pipeline: &mut tidegate::Pipeline<'_>| {
                pipeline.add_last(Side::of_server(client.clone()))
            }
        };
        let connecting = Bootstrap::new(ctx.event_loop())
            .option(ALLOW_HALF_CLOSURE, true)
            .option(AUTO_READ, false)
            .handler(fill)
            .connect(to);
        self.other = Some(connecting.channel().clone());
        connecting.add_listener(move |server, connected| match connected {
            Ok(()) => {
                server.set_auto_read(true);
                client.set_auto_read(true);
            }
            Err(error) => {
                // Unless the client has given up before.
                if client.is_open() {
                    eprintln!("tcp_proxy: {}", tell::explain(error));
                }
                client.close();
            }
        });
    }
}

impl Handler for Side {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if let Some(to) = self.to.take() {
            self.connect(ctx, &to);
        }
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        if let Some(other) = &self.other {
            other.write(msg);
            if !other.is_writable() {
                // Its channel_writability_changed turns it on again.
                ctx.set_auto_read(false);
            }
        }
        Ok(())
    }

    fn channel_read_complete(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        if let Some(other) = &self.other {
            other.flush();
        }
        Ok(())
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if let Some(other) = &self.other {
            other.set_auto_read(ctx.is_writable());
        }
        Ok(())
    }

    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        self.input_ended |= event.is::<ChannelInputShutdownReadComplete>();
        self.output_ended |= event.is::<ChannelOutputShutdown>();
        if event.is::<ChannelInputShutdownReadComplete>()
            && let Some(other) = &self.other
        {
            // An empty write is done when all before it are.
            let other_side = other.clone();
            other
                .write_and_flush("")
                .add_listener(move |_, _| drop(other_side.shutdown_output()));
        }
        if self.input_ended && self.output_ended {
            ctx.close();
        }
        Ok(())
    }

    fn channel_inactive(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        if let Some(other) = self.other.take() {
            other.write_and_flush("").close_when_done();
        }
        Ok(())
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, _cause: Failure) -> HandlerResult {
        // Mostly a reset. channel_inactive does the rest.
        ctx.close();
        Ok(())
    }
}

fn main() -> ExitCode {
    tell::run("tcp_proxy", serve)
}

fn serve() -> Result<(), Error> {
    let mut args = args::Args::from_env(USAGE);
    let listen: String = args.get("listen", "127.0.0.1:8008".to_owned());
    let to: String = args.get("to", "127.0.0.1:8007".to_owned());
    let threads: usize = args.get("threads", 0);
    args.finish();

    limits::raise_descriptors();
    let stop = stop::Stop::on_signals()?;
    let boss = EventLoopGroup::new(1)?;
    let workers = EventLoopGroup::new(threads)?;
    let server = ServerBootstrap::new(&boss, &workers)
        .child_option(ALLOW_HALF_CLOSURE, true)
        .child_option(AUTO_READ, false)
        .child_handler(move |pipeline| pipeline.add_last(Side::of_client(to.clone())))
        .bind(listen.as_str())
        .sync()?;
    if let Some(address) = server.local_address() {
        tell::say(&format!("listening on {address}"));
    }
    let stopped = stop.wait(Some(&server));
    for group in [&boss, &workers] {
        group
            .shutdown_gracefully(Duration::ZERO, Duration::from_secs(5))
            .sync()?;
    }
    stopped
}
