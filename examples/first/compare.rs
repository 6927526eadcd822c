//! The client's side.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use tidegate::{Context, Error, Failure, FileRegion, Handler, HandlerResult, Message};

use crate::printing::{Ended, Progress, Seen, Side};

/// Sends the file, compares what comes back with it, then ends its side and waits for the other's end.
pub struct Compare {
    path: PathBuf,
    size: u64,
    /// The file once more, in step with what comes back: never more of it in memory than this buffer.
    expected: BufReader<File>,
    is_sent: bool,
    seen: Seen,
    failed: Option<String>,
}

/// The key of the file's promise, among those that `write_done` might be told of.
const FILE_SENT: u64 = 1;

impl Compare {
    pub fn new(path: &Path, size: u64) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            size,
            expected: BufReader::with_capacity(1 << 16, File::open(path)?),
            is_sent: false,
            seen: Seen::default(),
            failed: None,
        })
    }

    /// Steps over the part of the file that `got` is, if it is.
    fn compare(&mut self, mut got: &[u8]) -> Result<(), String> {
        let mut at = self.seen.bytes;
        while !got.is_empty() {
            let expected = self.expected.fill_buf();
            let expected = expected
                .map_err(|error| format!("cannot read {}: {error}", self.path.display()))?;
            if expected.is_empty() && at < self.size {
                return Err(format!(
                    "{} was cut to {at} bytes while it was being sent; send a copy that nobody writes to",
                    self.path.display()
                ));
            }
            if expected.is_empty() {
                return Err(format!(
                    "more came back than the {at} bytes of the file; if nobody changed it meanwhile, \
                     this is a bug"
                ));
            }
            let step = got.len().min(expected.len());
            if got[..step] != expected[..step] {
                let same = got.iter().zip(expected).take_while(|(a, b)| a == b).count();
                return Err(format!(
                    "byte {} came back different; if nobody changed the file meanwhile, this is a bug",
                    at + same as u64
                ));
            }
            got = &got[step..];
            self.expected.consume(step);
            at += step as u64;
        }
        Ok(())
    }

    fn end_if_done(&self, ctx: &mut Context<'_>) {
        if self.is_sent && self.seen.bytes == self.size {
            // The server reads the end and closes; we see that as the end of our channel.
            ctx.channel().shutdown_output();
        }
    }

    /// The first failure is the cause.
    fn fail(&mut self, ctx: &mut Context<'_>, text: String) {
        self.failed.get_or_insert(text);
        ctx.close();
    }
}

impl Handler for Compare {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        // One message, however long the file is: the kernel carries it from the file to the socket.
        let sent = ctx.new_promise();
        ctx.notify(&sent, FILE_SENT);
        ctx.write_with(FileRegion::whole(&self.path)?, sent);
        ctx.flush();
        self.seen.writes += 1;
        Ok(())
    }

    fn write_done(
        &mut self,
        ctx: &mut Context<'_>,
        key: u64,
        result: Result<(), Error>,
    ) -> HandlerResult {
        debug_assert_eq!(key, FILE_SENT);
        match result {
            Ok(()) => {
                self.is_sent = true;
                self.end_if_done(ctx);
            }
            Err(error) => {
                let text = format!("{} was not sent: {error}", self.path.display());
                self.fail(ctx, text);
            }
        }
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        if self.failed.is_some() {
            return Ok(());
        }
        let bytes = msg.as_bytes().unwrap_or_default();
        if let Err(text) = self.compare(bytes) {
            self.fail(ctx, text);
            return Ok(());
        }
        if self.seen.message(bytes.len()) {
            let progress = Progress {
                side: Side::Client,
                bytes: self.seen.bytes,
            };
            ctx.fire_user_event_triggered(Message::new(progress));
        }
        self.end_if_done(ctx);
        Ok(())
    }

    fn channel_read_complete(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.seen.reads += 1;
        Ok(())
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        self.fail(ctx, format!("the client failed: {cause}"));
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let outcome = match self.failed.take() {
            Some(text) => Err(text),
            None if self.is_sent && self.seen.bytes == self.size => Ok(()),
            None => Err(format!(
                "the connection ended after {} of {} bytes; run it again, and if that repeats look at \
                 what ends connections on this machine",
                self.seen.bytes, self.size
            )),
        };
        let end = Ended {
            side: Side::Client,
            seen: self.seen,
            outcome,
        };
        ctx.fire_user_event_triggered(Message::new(end));
        ctx.fire_channel_inactive();
        Ok(())
    }
}
