//! A handler that tells the test what it sees, one that echoes, and waiting with a deadline. Shared by the tests of
//! transports; each test binary uses its part.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use tidegate::buffer::Message;
use tidegate::channel::{Context, Handler, HandlerResult};
use tidegate::error::Failure;

/// Long enough for a machine that does other things; nothing waits for it when all is well.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Writes back what it reads.
pub struct Echo;

impl Handler for Echo {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.write(msg);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        Ok(())
    }
}

/// What a [`Probe`] saw.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    Registered,
    Active,
    Read(Vec<u8>),
    Complete,
    Event(&'static str),
    Writable(bool),
    Error(String),
    Inactive,
    Unregistered,
    Removed,
}

/// The last handler of a pipeline: sends what it sees to the test.
pub struct Probe(pub Sender<Seen>);

impl Probe {
    pub fn channel() -> (Sender<Seen>, Receiver<Seen>) {
        mpsc::channel()
    }

    fn say(&self, seen: Seen) -> HandlerResult {
        // The test may have seen enough.
        let _ = self.0.send(seen);
        Ok(())
    }
}

impl Handler for Probe {
    fn handler_removed(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.say(Seen::Removed)
    }

    fn channel_registered(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.say(Seen::Registered)
    }

    fn channel_unregistered(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.say(Seen::Unregistered)
    }

    fn channel_active(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.say(Seen::Active)
    }

    fn channel_inactive(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.say(Seen::Inactive)
    }

    fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.say(Seen::Read(msg.as_bytes().expect("bytes").to_vec()))
    }

    fn channel_read_complete(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.say(Seen::Complete)
    }

    fn user_event_triggered(&mut self, _: &mut Context<'_>, event: Message) -> HandlerResult {
        let name = event.type_name();
        self.say(Seen::Event(name.rsplit("::").next().unwrap_or(name)))
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.say(Seen::Writable(ctx.is_writable()))
    }

    fn exception_caught(&mut self, _: &mut Context<'_>, cause: Failure) -> HandlerResult {
        self.say(Seen::Error(cause.to_string()))
    }
}

/// The next thing seen.
pub fn next(seen: &Receiver<Seen>) -> Seen {
    seen.recv_timeout(DEADLINE)
        .expect("something happens before the deadline")
}

/// Reads until so many bytes came; other events on the way are dropped.
pub fn read_exactly(seen: &Receiver<Seen>, count: usize) -> Vec<u8> {
    let mut got = Vec::new();
    while got.len() < count {
        match next(seen) {
            Seen::Read(bytes) => got.extend(bytes),
            Seen::Inactive => panic!("the channel closed after {} of {count} bytes", got.len()),
            _ => {}
        }
    }
    assert_eq!(got.len(), count, "nothing more than that");
    got
}

/// Drops events until the one that is wanted.
pub fn wait_for(seen: &Receiver<Seen>, wanted: &Seen) {
    while next(seen) != *wanted {}
}

/// What has happened so far, without waiting.
pub fn so_far(seen: &Receiver<Seen>) -> Vec<Seen> {
    seen.try_iter().collect()
}

/// Waits for something that no event tells of.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(
            begun.elapsed() < DEADLINE,
            "not before the deadline: {what}"
        );
        std::thread::yield_now();
    }
}
