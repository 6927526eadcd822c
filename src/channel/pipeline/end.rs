//! The tail: what happens to events that no handler kept, unless a special [`Tail`](super::super::tail::Tail) takes them.

use std::rc::Rc;

use tracing::Level;

use super::super::core::{Core, flag};
use super::super::slow::Inbound;
use super::super::tail::Tail;
use crate::buffer::Message;
use crate::error::{Error, Failure, Fault};
use crate::future::Promise;

impl Core {
    #[cold]
    pub(crate) fn tail_message(&self, msg: Message) {
        let tail = self.special_tail();
        if let Some(tail) = tail {
            return tail.message(msg);
        }
        self.lp.metrics().channel.unhandled_messages.add(1);
        let told = self.has(flag::UNHANDLED_TOLD);
        self.set(flag::UNHANDLED_TOLD);
        if !told {
            tracing::warn!(
                channel = %self.shared.id(),
                remote = self.shared.remote_address().map(tracing::field::display),
                message_type = msg.type_name(),
                pipeline = self.nodes.describe(),
                "a message reached the tail and is dropped: no handler took its type; said once per channel, counted in the loop's metrics"
            );
        }
    }

    #[cold]
    pub(crate) fn tail_user_event(&self, event: Message) {
        let tail = self.special_tail();
        if let Some(tail) = tail {
            return tail.user_event(event);
        }
        // No log: Netty drops them in silence, and so do most pipelines, which take the one or two that they wait for.
        self.lp.metrics().channel.unhandled_user_events.add(1);
    }

    #[cold]
    pub(crate) fn tail_exception(&self, cause: Failure) {
        let closes = self.has(flag::CLOSE_ON_UNHANDLED);
        let tail = self.special_tail();
        if let Some(tail) = tail {
            // The failure goes to the test as it is.
            let error = closes.then(|| match cause.downcast_ref::<Error>() {
                Some(error) => error.clone(),
                None => Error::new(cause.kind(), cause.to_string()),
            });
            tail.exception(cause);
            if let Some(error) = error {
                self.close_because(error, Promise::void());
            }
            return;
        }
        self.lp.metrics().channel.unhandled_errors.add(1);
        macro_rules! tell {
            ($level:expr) => {
                tracing::event!(
                    $level,
                    channel = %self.shared.id(),
                    remote = self.shared.remote_address().map(tracing::field::display),
                    error = %cause,
                    pipeline = self.nodes.describe(),
                    closes,
                    "an error reached the tail: no handler took it in exception_caught"
                )
            };
        }
        // What peers do is ordinary, and as many lines as they like would be theirs to have.
        if cause.fault() == Fault::Peer {
            tell!(Level::DEBUG);
        } else {
            tell!(Level::WARN);
        }
        if closes {
            let error: Error = cause.into_error();
            self.close_because(error, Promise::void());
        }
    }

    #[inline]
    pub(crate) fn tail_plain(&self, kind: Inbound) {
        // Nobody minds that an event has been seen by all.
        if let Some(tail) = self.special_tail() {
            tail.plain(kind);
        }
    }

    #[inline]
    fn special_tail(&self) -> Option<Rc<dyn Tail>> {
        self.look_at_rare(|rare| rare.tail.clone())
    }
}
