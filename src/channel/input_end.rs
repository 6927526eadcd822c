//! How an input ends (rules A35 to A40): an end of the stream, an errno, a connection that breaks when its input is over already.
//! `reading` finds it; `gone` reads out what was received before a connection was found gone by its output.

use tidegate_sys::os::Ready;

use super::core::{Core, Root, flag};
use super::events::{ChannelInputShutdown, ChannelInputShutdownReadComplete};
use super::slow::Inbound;
use super::stream;
use super::transport::Read;
use crate::buffer::Message;
use crate::error::{Error, ErrorKind};
use crate::future::Promise;

/// Reads past the end of an input that was shut from this side, looking for the error behind it.
const READS_AFTER_END_MAX: u32 = 64;

impl Core {
    pub(super) fn read_failed(&self, error: Error) {
        self.clear(flag::READABLE | flag::READ_PENDING);
        self.push_root(Root::Exception(error.clone().into()));
        // An acceptor outlives the errors of its clients; everything else has lost its connection (A40, D22).
        if self.shared.is_server() {
            if self.auto_read() {
                self.set(flag::READ_PENDING | flag::READABLE);
                self.push_ready();
            }
            return;
        }
        self.push_root(Root::Drain);
        self.push_root(Root::Close(error, Promise::void()));
    }

    pub(super) fn end_of_input(&self) {
        self.clear(flag::READABLE | flag::READ_PENDING);
        self.set(flag::INPUT_SHUT);
        let is_ours = self.has(flag::INPUT_SHUT_ASKED);
        // Behind a reset that a write was told of, a read finds an end as well (sk_err of Linux is told once).
        let is_broken = self.seen.get().intersects(Ready::ERROR);
        self.shared.end_input(!is_ours && !is_broken);
        self.push_root(Root::Drain);
        if !self.has(flag::ALLOW_HALF_CLOSURE) {
            return if is_ours {
                self.push_root(Root::Close(input_is_over(), Promise::void()));
            } else {
                self.peer_has_closed();
            };
        }
        if self.seen.get().intersects(Ready::ERROR)
            && let Some(error) = stream::broken(&**self.transport.borrow())
        {
            // A reset came behind the end before anybody had read that, and will not be reported again.
            return self.read_failed(error);
        }
        let result = self.shut_transport_input();
        self.push_root(Root::Message(
            Inbound::UserEvent,
            Message::new(ChannelInputShutdown),
        ));
        match result {
            Ok(()) => {
                let event = Message::new(ChannelInputShutdownReadComplete);
                self.push_root(Root::Message(Inbound::UserEvent, event));
                if self.is_hung_up(self.seen.get()) {
                    // It came with the end, and need not be reported again.
                    return self.peer_has_closed();
                }
                self.update_interest();
            }
            Err(error) => self.push_root(Root::Close(error, Promise::void())),
        }
    }

    /// Whether a connection whose input is over can't be written to either, though nobody here has shut its output: the peer of a
    /// Unix stream has closed, or will read no more (unix_release_sock and unix_shutdown of Linux). There is no error then that
    /// anybody would find.
    fn is_hung_up(&self, ready: Ready) -> bool {
        ready.intersects(Ready::HANGUP) && !self.has(flag::OUTPUT_SHUT)
    }

    fn peer_has_closed(&self) {
        let cause = Error::new(ErrorKind::ChannelClosed, "the peer closed the connection")
            .with_fault(crate::error::Fault::Peer);
        self.push_root(Root::Close(cause, Promise::void()));
    }

    /// Readiness after the input has ended: there is nothing to read any more, but a connection that breaks says so only
    /// here, and only once.
    #[cold]
    pub(crate) fn shut_ready(&self, ready: Ready) {
        #[cfg(tidegate_mutants)]
        if tidegate_sys::os::sim::is_mutant("B1-deaf-after-end") {
            return self.silence(ready);
        }
        if ready.intersects(Ready::ERROR) {
            for _ in 0..READS_AFTER_END_MAX {
                match self.with_transport(|transport, io| transport.read(io)) {
                    Ok(Read::Message(_) | Read::Last(_) | Read::Event(_)) => {}
                    Ok(_) => break,
                    Err(error) => return self.enter(|core| core.read_failed(error)),
                }
            }
            let broken = stream::broken(&**self.transport.borrow());
            if let Some(error) = broken {
                return self.enter(|core| core.read_failed(error));
            }
        }
        if self.is_hung_up(ready) {
            return self.enter(Self::peer_has_closed);
        }
        self.silence(ready);
    }
}

#[cold]
fn input_is_over() -> Error {
    Error::new(
        ErrorKind::ChannelClosed,
        "the input was shut down on this side; without ALLOW_HALF_CLOSURE that closes the channel",
    )
}
