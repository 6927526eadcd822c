//! The same echo server on Tidegate: one loop for the listener and its connections, and handlers in front of the echo that
//! override and pass on every callback that a message meets.
//!
//!     peer-tidegate [--port N] [--cpu N] [--handlers N] [--spin off|POLLS|MICROSECONDSus|adaptive]

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use tidegate::channel::options::{SO_BACKLOG, TCP_NODELAY};
use tidegate::{
    Context, Error, EventLoopGroup, Failure, Handler, HandlerResult, Message, Promise,
    ServerBootstrap, Spin,
};
use tidegate_peers::args::Args;
use tidegate_peers::serve::{BACKLOG, Common, announce};

const USAGE: &str =
    "peer-tidegate [--port N] [--cpu N] [--handlers N] [--spin off|POLLS|MICROSECONDSus|adaptive]";

/// The longest that `--spin adaptive` polls. About what it costs to be woken.
const ADAPTIVE_MAX: Duration = Duration::from_micros(50);

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

/// `--spin`.
struct SpinArg(Spin);

impl FromStr for SpinArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u32>().map_err(|error| error.to_string());
        Ok(Self(match text {
            "off" => Spin::Off,
            "adaptive" => Spin::Adaptive { max: ADAPTIVE_MAX },
            _ => match text.strip_suffix("us") {
                Some(micros) => Spin::For(Duration::from_micros(number(micros)?.into())),
                None => Spin::Count(number(text)?),
            },
        }))
    }
}

fn main() -> io::Result<()> {
    let mut args = Args::from_env(USAGE);
    let common = Common::take(&mut args);
    let handlers: usize = args.get("handlers", 3);
    let spin = args.get("spin", SpinArg(Spin::Off)).0;
    args.finish();
    serve(common.port, handlers, spin).map_err(io::Error::other)
}

fn serve(port: u16, handlers: usize, spin: Spin) -> Result<(), Error> {
    // Its thread runs where the process was bound.
    let group = EventLoopGroup::builder().threads(1).spin(spin).build()?;
    let server = ServerBootstrap::new(&group, &group)
        .option(SO_BACKLOG, BACKLOG)
        .child_option(TCP_NODELAY, true)
        .child_handler(move |pipeline| {
            for _ in 0..handlers {
                pipeline.add_last(Pass)?;
            }
            pipeline.add_last(Echo)
        })
        .bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .sync()?;
    if let Some(address) = server.local_address() {
        announce(&address);
    }
    // Until somebody ends the process.
    loop {
        thread::park();
    }
}
