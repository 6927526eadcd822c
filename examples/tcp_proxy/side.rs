//! One side of a proxied connection, and the server that makes them in pairs.

use std::time::Duration;

use tidegate::channel::events::{ChannelInputShutdownReadComplete, ChannelOutputShutdown};
use tidegate::channel::options::{ALLOW_HALF_CLOSURE, AUTO_READ, SO_LINGER};
use tidegate::handler::timeout::UnwritableGuard;
use tidegate::{
    Bootstrap, Channel, Context, EventLoopGroup, Failure, Handler, HandlerResult, Message,
    ServerBootstrap,
};

use crate::tell;

/// Proxies whatever connects to what listens at `to`. Whoever reads nothing for `patience`, though something waits for it, is let
/// go.
pub fn server(
    boss: &EventLoopGroup,
    workers: &EventLoopGroup,
    to: String,
    patience: Duration,
) -> ServerBootstrap {
    ServerBootstrap::new(boss, workers)
        .child_option(ALLOW_HALF_CLOSURE, true)
        .child_option(AUTO_READ, false)
        .child_handler(move |pipeline| {
            pipeline.add_last(UnwritableGuard::new(patience))?;
            pipeline.add_last(Side::of_client(to.clone(), patience))
        })
}

/// One side. Its auto-read is off until the other side is there.
struct Side {
    /// Where to connect and with how much patience, for a client's side that has just become active.
    to: Option<(String, Duration)>,
    /// The other side.
    other: Option<Channel>,
    input_ended: bool,
    output_ended: bool,
    /// An error ended it.
    is_broken: bool,
}

impl Side {
    fn of_client(to: String, patience: Duration) -> Self {
        Self {
            to: Some((to, patience)),
            other: None,
            input_ended: false,
            output_ended: false,
            is_broken: false,
        }
    }

    fn of_server(client: Channel) -> Self {
        Self {
            to: None,
            other: Some(client),
            input_ended: false,
            output_ended: false,
            is_broken: false,
        }
    }

    /// Connects the other side on this one's loop.
    fn connect(&mut self, ctx: &Context<'_>, to: &str, patience: Duration) {
        let client = ctx.channel();
        let fill = {
            let client = client.clone();
            move |pipeline: &mut tidegate::Pipeline<'_>| {
                pipeline.add_last(UnwritableGuard::new(patience))?;
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
                reset(&client);
            }
        });
    }
}

impl Handler for Side {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if let Some((to, patience)) = self.to.take() {
            self.connect(ctx, &to, patience);
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

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if let Some(other) = self.other.take() {
            if self.is_broken || ctx.input_was_cut() {
                reset(&other);
            } else {
                other.write_and_flush("").close_when_done();
            }
        }
        Ok(())
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, _cause: Failure) -> HandlerResult {
        // Mostly a reset, or the guard has lost its patience: no end for this peer either. channel_inactive does the rest.
        self.is_broken = true;
        reset(&ctx.channel());
        Ok(())
    }
}

/// Closes a connection so that its peer sees no end: what it has got so far is not all. A close that does not wait for what is
/// not sent yet resets (socket(7), tcp(7)). If it is closed already, or can't be reset, the close is all there is to do.
fn reset(channel: &Channel) {
    channel.set_option(SO_LINGER, Some(Duration::ZERO));
    channel.close();
}
