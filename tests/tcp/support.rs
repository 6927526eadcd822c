//! What the tests of TCP share: groups per selector, handlers that report, waiting with a deadline.

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use tidegate::buffer::Message;
use tidegate::channel::{Context, Handler, HandlerResult};
use tidegate::error::Failure;
use tidegate::event_loop::{Backend, EventLoopGroup};

/// Long enough for a machine that does other things; nothing waits for it when all is well.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Runs a test with each selector.
pub fn with_each_backend(test: impl Fn(&EventLoopGroup)) {
    for backend in Backend::available() {
        eprintln!("-- {backend}");
        let group = EventLoopGroup::builder()
            .threads(2)
            .selector(*backend)
            .build()
            .expect("a group");
        test(&group);
        group.stop();
        assert!(
            group.await_termination(DEADLINE).expect("not a loop"),
            "the loops ended"
        );
    }
}

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
    pub fn new() -> (Sender<Seen>, Receiver<Seen>) {
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
