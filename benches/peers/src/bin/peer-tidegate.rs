//! The same echo server on Tidegate: one loop for the listener and its connections, and handlers in front of the echo that
//! override and pass on every callback that a message meets.
//!
//!     peer-tidegate [--port N] [--cpu N] [--mode group] [--handlers N] [--read-us N] [--task-us N] [--tick-us N] and the knobs
//!         of src/knobs.rs
//!
//! The loop runs in the main thread, like those of the other peers: in a process with a second thread each system call of
//! theirs costs more, whoever makes it. With `--mode group` it has the thread of a group.
//!
//! `--read-us` makes each read cost so many microseconds. `--task-us` gives the loop tasks of so many microseconds, as many
//! as it takes while there are connections; when the last one goes, a line says how the loop has shared its time. `--tick-us`
//! gives it a timer that fires so often; the line says how late.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use tidegate::channel::options::{SO_BACKLOG, TCP_NODELAY};
use tidegate::{
    Channel, Context, Error, EventLoop, EventLoopGroup, Failure, Handler, HandlerResult,
    LocalEventLoop, Message, Promise, ServerBootstrap,
};
use tidegate_peers::args::Args;
use tidegate_peers::burden::{Slow, Tally, Tasks};
use tidegate_peers::knobs::Knobs;
use tidegate_peers::knobs_usage;
use tidegate_peers::serve::{BACKLOG, Common, announce};

const USAGE: &str = concat!(
    "peer-tidegate [--port N] [--cpu N] [--mode group] [--handlers N] [--read-us N] [--task-us N] [--tick-us N]\n    ",
    knobs_usage!()
);

/// Sends back what it gets; stops reading while the peer does not take it.
struct Echo;

impl Handler for Echo {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.write(msg);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        if !ctx.is_writable() {
            ctx.set_auto_read(false);
        }
        Ok(())
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let writable = ctx.is_writable();
        ctx.set_auto_read(writable);
        Ok(())
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, _cause: Failure) -> HandlerResult {
        ctx.close();
        Ok(())
    }
}

/// Passes on what it overrides, so that events really stop at it; the default bodies would be skipped.
struct Pass;

impl Handler for Pass {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.fire_channel_read(msg);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.fire_channel_read_complete();
        Ok(())
    }

    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        ctx.write_with(msg, promise);
        Ok(())
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        Ok(())
    }
}

/// What its arguments say.
struct Choice {
    port: u16,
    handlers: usize,
    read: Option<Duration>,
    task: Option<Duration>,
    tick: Option<Duration>,
    knobs: Knobs,
}

fn main() -> io::Result<()> {
    let mut args = Args::from_env(USAGE);
    let common = Common::take(&mut args);
    let choice = Choice {
        port: common.port,
        handlers: args.get("handlers", 3),
        read: args.optional("read-us").map(Duration::from_micros),
        task: args.optional("task-us").map(Duration::from_micros),
        tick: args.optional("tick-us").map(Duration::from_micros),
        knobs: Knobs::take(&mut args),
    };
    let mode: String = args.get("mode", String::new());
    if !["", "group"].contains(&mode.as_str()) {
        args.refuse(&format!("--mode {mode}: there is group"));
    }
    args.finish();
    let served = if mode == "group" {
        serve_on_thread(choice)
    } else {
        serve_here(choice)
    };
    served.map_err(io::Error::other)
}

/// Both until somebody ends the process.
fn serve_here(choice: Choice) -> Result<(), Error> {
    let local = choice
        .knobs
        .apply_to_local(LocalEventLoop::builder())
        .build()?;
    let port = choice.port;
    tell(&local.block_on(listen(choice, local.handle()).bind(address(port)))??);
    local.run();
    Ok(())
}

fn serve_on_thread(choice: Choice) -> Result<(), Error> {
    // Its thread runs where the process was bound.
    let group = choice.knobs.apply_to_group(EventLoopGroup::builder());
    let group = group.threads(1).build()?;
    let port = choice.port;
    tell(&listen(choice, &group.next()).bind(address(port)).sync()?);
    loop {
        thread::park();
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn tell(server: &Channel) {
    if let Some(address) = server.local_address() {
        announce(&address);
    }
}

fn listen(choice: Choice, event_loop: &EventLoop) -> ServerBootstrap {
    let is_busy = choice.task.is_some() || choice.tick.is_some();
    let tasks = is_busy.then(|| Tasks::new(event_loop.clone(), choice.task, choice.tick));
    let server = ServerBootstrap::new(event_loop, event_loop)
        .option(SO_BACKLOG, BACKLOG)
        .child_option(TCP_NODELAY, true);
    choice.knobs.apply(server).child_handler(move |pipeline| {
        if let Some(tasks) = &tasks {
            pipeline.add_last(Tally(tasks.clone()))?;
        }
        for _ in 0..choice.handlers {
            pipeline.add_last(Pass)?;
        }
        if let Some(time) = choice.read {
            pipeline.add_last(Slow(time))?;
        }
        pipeline.add_last(Echo)
    })
}
