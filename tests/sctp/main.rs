//! SCTP channels. Where the kernel has no SCTP the tests of associations say that they were skipped; what does not need
//! one runs everywhere: a TCP connection stands in for the association, since the calls are those of sockets.

mod associations;
mod stand_in;

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use tidegate::transport::sctp::{Notification, SctpMessage};
use tidegate::{Context, Failure, Handler, HandlerResult, Message};

/// Long enough for a machine that does other things; nothing waits for it when all is well.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// What a [`Probe`] saw.
#[derive(Debug, PartialEq)]
pub(crate) enum Seen {
    Active,
    Read(SctpMessage),
    Told(Notification),
    Error(String),
    Inactive,
}

/// Sends what it sees to the test.
pub(crate) struct Probe(Sender<Seen>);

impl Probe {
    pub(crate) fn channel() -> (Sender<Seen>, Receiver<Seen>) {
        mpsc::channel()
    }

    pub(crate) fn new(tell: Sender<Seen>) -> Self {
        Self(tell)
    }

    fn say(&self, seen: Seen) -> HandlerResult {
        // The test may have seen enough.
        let _ = self.0.send(seen);
        Ok(())
    }
}

impl Handler for Probe {
    fn channel_active(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.say(Seen::Active)
    }

    fn channel_inactive(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.say(Seen::Inactive)
    }

    fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.say(Seen::Read(msg.downcast().expect("an SCTP message")))
    }

    fn user_event_triggered(&mut self, _: &mut Context<'_>, event: Message) -> HandlerResult {
        match event.downcast() {
            Ok(notification) => self.say(Seen::Told(notification)),
            Err(_) => Ok(()),
        }
    }

    fn exception_caught(&mut self, _: &mut Context<'_>, cause: Failure) -> HandlerResult {
        self.say(Seen::Error(cause.to_string()))
    }
}

/// The next thing seen.
pub(crate) fn next(seen: &Receiver<Seen>) -> Seen {
    seen.recv_timeout(DEADLINE)
        .expect("something happens before the deadline")
}
