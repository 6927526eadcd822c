//! A client for people, as telnet and netcat are: what is typed goes to the server, what the server says is printed.
//!
//!     cargo run --release --example stdin_client -- --connect 127.0.0.1:8007
//!
//! Standard input and output are a channel, on two threads of its own: no selector knows what they are, a terminal, a pipe
//! or a file. It and the TCP channel live on one loop and stand back to back, each handing to the other what it reads.
//!
//! Back-pressure goes both ways, from the file to the network. The end of the input ends the output of the connection;
//! when the server has ended the connection and all of its words are printed, the program ends.

use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use tidegate::channel::events::ChannelInputShutdownReadComplete;
use tidegate::channel::options::{ALLOW_HALF_CLOSURE, AUTO_READ};
use tidegate::transport::oio::{Descriptor, Stream};
use tidegate::{
    Bootstrap, Channel, Context, Error, EventLoopGroup, Failure, Handler, HandlerResult, Message,
};

#[path = "common/args.rs"]
mod args;
#[path = "common/tell.rs"]
#[allow(
    dead_code,
    reason = "on standard output only what the server says is printed"
)]
mod tell;

const USAGE: &str = "stdin_client [--connect HOST:PORT]";

/// Hands on to the other channel.
struct Relay {
    other: Channel,
}

impl Handler for Relay {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.other.write(msg);
        if !self.other.is_writable() {
            // Its channel_writability_changed turns it on again.
            ctx.set_auto_read(false);
        }
        Ok(())
    }

    fn channel_read_complete(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.other.flush();
        Ok(())
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.other.set_auto_read(ctx.is_writable());
        Ok(())
    }

    /// Of the terminal, which closes only when the server does.
    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        if event.is::<ChannelInputShutdownReadComplete>() {
            // An empty write is done when all before it are.
            self.other
                .write_and_flush("")
                .add_listener(|server, _| drop(server.shutdown_output()));
        }
        ctx.fire_user_event_triggered(event);
        Ok(())
    }

    fn channel_inactive(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.other.write_and_flush("").close_when_done();
        Ok(())
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        eprintln!("stdin_client: {cause}");
        ctx.close();
        Ok(())
    }
}

fn main() -> ExitCode {
    tell::run("stdin_client", run)
}

fn run() -> Result<(), Error> {
    let mut args = args::Args::from_env(USAGE);
    let to: String = args.get("connect", "127.0.0.1:8007".to_owned());
    args.finish();

    let group = EventLoopGroup::new(1)?;
    let server = Bootstrap::new(&group)
        .option(AUTO_READ, false)
        .handler(|_pipeline| Ok::<_, Error>(()))
        .connect(to.as_str())
        .sync()?;
    let input = Descriptor::new(io::stdin().as_fd().try_clone_to_owned()?);
    let relay = Relay {
        other: server.clone(),
    };
    let terminal = Channel::builder()
        .option(ALLOW_HALF_CLOSURE, true)
        .option(AUTO_READ, false)
        .open_on(
            server.event_loop(),
            || Stream::new("the terminal", input, io::stdout()),
            |pipeline| pipeline.add_last(relay),
        )
        .sync()?;
    let other = terminal.clone();
    server
        .edit(|pipeline| pipeline.add_last(Relay { other }))
        .sync()??;
    server.set_auto_read(true);
    terminal.set_auto_read(true);

    terminal.close_future().sync()?;
    server.close_future().sync()?;
    group
        .shutdown_gracefully(Duration::ZERO, Duration::from_secs(5))
        .sync()
}
