//! The server's side.

use tidegate::{Context, Failure, Handler, HandlerResult, Message};

use crate::printing::{Ended, Progress, Seen, Side};

/// Sends back whatever arrives, and reads no more than its client takes.
///
/// The data ends here: what it fires on to the printer's thread is one small event for each mebibyte.
#[derive(Default)]
pub struct Echo {
    seen: Seen,
    failed: Option<String>,
}

impl Handler for Echo {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        let bytes = msg.readable_bytes().unwrap_or(0);
        ctx.write(msg);
        self.seen.writes += 1;
        if !ctx.is_writable() {
            // More than the high watermark waits: send, and if the socket does not take it, read no more.
            ctx.flush();
            if !ctx.is_writable() {
                ctx.set_auto_read(false);
                self.seen.pauses += 1;
            }
        }
        if self.seen.message(bytes) {
            let progress = Progress {
                side: Side::Server,
                bytes: self.seen.bytes,
            };
            ctx.fire_user_event_triggered(Message::new(progress));
        }
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.seen.reads += 1;
        ctx.flush();
        Ok(())
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if ctx.is_writable() {
            ctx.set_auto_read(true);
        }
        Ok(())
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        self.failed = Some(format!("the server failed: {cause}"));
        ctx.close();
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let end = Ended {
            side: Side::Server,
            seen: self.seen,
            outcome: self.failed.take().map_or(Ok(()), Err),
        };
        ctx.fire_user_event_triggered(Message::new(end));
        ctx.fire_channel_inactive();
        Ok(())
    }
}
