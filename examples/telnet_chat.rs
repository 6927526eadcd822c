//! A chat room for telnet or nc: what one types, all the others read.
//!
//! ```text
//! cargo run --release --example telnet_chat -- --port 9010
//! nc 127.0.0.1 9010       # in two other terminals
//! ```
//!
//! The room is a `ChannelGroup`: channels of all loops are in it, and one that closes leaves by itself. Port 0, the
//! default, lets the system choose; the first line says which it was.

use std::process::ExitCode;
use std::time::Duration;

use tidegate::codec::{LineDecoder, LineEncoder};
use tidegate::{
    ChannelGroup, Context, Error, ErrorKind, EventLoopGroup, Failure, Handler, HandlerResult,
    Message, ServerBootstrap,
};

#[path = "common/args.rs"]
mod args;
#[path = "common/limits.rs"]
mod limits;
#[path = "common/stop.rs"]
mod stop;
#[path = "common/tell.rs"]
mod tell;

/// Longer lines end their connection: a peer may not make us keep what it never finishes.
const LINE_MAX: usize = 4096;

fn main() -> ExitCode {
    tell::run("telnet_chat", serve)
}

fn serve() -> Result<(), Error> {
    let mut args = args::Args::from_env("telnet_chat [--port N]");
    let port: u16 = args.get("port", 0);
    args.finish();
    limits::raise_descriptors();
    let stop = stop::Stop::on_signals()?;
    let boss = EventLoopGroup::new(1)?;
    let workers = EventLoopGroup::builder().build()?;
    // Once it was closed nobody comes in any more.
    let room = ChannelGroup::staying_closed("room");
    let guests = room.clone();
    let server = ServerBootstrap::new(&boss, &workers)
        .child_handler(move |pipeline| {
            // Lines in, lines out, without their ends.
            pipeline.add_last(LineDecoder::new(LINE_MAX).fail_fast(true))?;
            pipeline.add_last(LineEncoder::new().crlf())?;
            pipeline.add_last(Chat {
                room: guests.clone(),
            })
        })
        .bind(("127.0.0.1", port))
        .sync()?;
    if let Some(address) = server.local_address() {
        tell::say(&format!("listening on {address}"));
    }
    let stopped = stop.wait(Some(&server));
    server.close().sync()?;
    // Whoever does not read misses the farewell.
    let farewell = room.write_and_flush("the room closes");
    let _ = farewell.sync_timeout(Duration::from_secs(1));
    room.close();
    for group in [&boss, &workers] {
        group
            .shutdown_gracefully(Duration::ZERO, Duration::from_secs(5))
            .sync()?;
    }
    stopped
}

/// One guest of the room.
struct Chat {
    room: ChannelGroup,
}

impl Chat {
    /// A guest who does not read misses lines, so that they do not pile up here.
    fn tell_others(&self, ctx: &Context<'_>, line: &str) {
        let me = ctx.channel();
        self.room
            .select(|channel| *channel != me && channel.is_writable())
            .write_and_flush(line.to_owned());
    }
}

impl Handler for Chat {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let me = ctx.channel();
        self.room.add(&me);
        let welcome = format!("you are {}; {} in the room", me.id(), self.room.len());
        ctx.write_and_flush(welcome);
        self.tell_others(ctx, &format!("{} joined", me.id()));
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        // Whatever it is, it is shown as text: control characters would write on other people's screens.
        let text = String::from_utf8_lossy(msg.as_bytes().unwrap_or_default());
        let text = text.replace(char::is_control, "?");
        self.tell_others(ctx, &format!("{}: {text}", ctx.channel().id()));
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.tell_others(ctx, &format!("{} left", ctx.channel().id()));
        Ok(())
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        // Nothing more is read from this guest's socket. Lines that were read before still come when the channel closes.
        ctx.set_auto_read(false);
        let text = match cause.kind() {
            ErrorKind::TooLong => format!("sorry: a line may have {LINE_MAX} bytes"),
            _ => format!("sorry: {cause}"),
        };
        ctx.write_future(text).close_when_done();
        ctx.flush();
        Ok(())
    }
}
