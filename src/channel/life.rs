//! The life of a channel: registration, becoming active, closing, the end (rules A1 to A46).
//!
//! Order of a close (A25, A26): the transport closes; the close future completes, then the close promises; flushed
//! writes fail, then unflushed ones, in order; then, from the root queue, parked data is emitted, channel_inactive
//! (if the channel was ever active), channel_unregistered, and the handlers are removed, tail first.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use tidegate_sys::mem::Task;
use tidegate_sys::os::{Backend, Ready, Token};

use super::address::Address;
use super::core::{Closing, Core, Gate, Root, UNREGISTERED, attention, flag};
use super::drain_report::Lingered;
use super::events::ChannelOutputShutdown;
use super::interest::interest;
use super::lifetime::Life;
use super::line::Line;
use super::node::{HEAD, TAIL};
use super::op::Op;
use super::relay;
use super::shared::Shared;
use super::signal::News;
use super::slow::Inbound;
use super::transport::{Direction, Progress};
use crate::buffer::Message;
use crate::error::{Error, ErrorKind, Failure, Fault};
use crate::event_loop::boundary;
use crate::future::Promise;
use crate::reactor::IoHandle;

impl Core {
    pub(crate) fn set_life(&self, life: Life) {
        debug_assert!(
            life >= self.life.get(),
            "a channel's life only goes forward"
        );
        self.life.set(life);
        self.shared.publish_life(life);
    }

    pub(crate) fn is_active(&self) -> bool {
        self.face().is_active()
    }

    // ---- the beginning

    /// Registers the channel with its loop: `init` fills the pipeline, then channel_registered and, for a transport
    /// that is connected already, channel_active. The caller has attached the core to the loop.
    pub(crate) fn register(
        self: &Rc<Self>,
        init: impl FnOnce(&Core) -> Result<(), Failure>,
        promise: &Promise,
    ) {
        self.enter(|core| {
            let begun = init(core)
                .map_err(Failure::into_error)
                .and_then(|()| core.with_transport(|transport, io| transport.register(io)));
            if core.life.get() >= Life::Closing {
                // The initializer closed the channel; the close goes its way.
                promise.try_failure(Error::new(
                    ErrorKind::ChannelClosed,
                    "the channel was closed while its pipeline was made",
                ));
                return;
            }
            if let Err(error) = begun {
                promise.try_failure(error.clone());
                return core.close_because(error, Promise::void());
            }
            core.set(flag::REGISTERED);
            core.tell_registered();
            promise.try_success();
            core.capture_addresses(None);
            core.push_root(Root::Fire(Inbound::Registered));
            if core.transport.borrow().is_active() {
                if let Err(error) = core.register_fd() {
                    return core.close_because(error, Promise::void());
                }
                core.activate();
                core.push_root(Root::Active);
            }
        });
    }

    /// The transport is connected or bound; the caller queues channel_active.
    pub(crate) fn activate(&self) {
        self.set_life(Life::Active);
        self.set(flag::WAS_ACTIVE);
        self.sends_bytes
            .set(self.transport.borrow().sender().is_some());
        self.tell_active();
        // A descriptor reports what there is when it is registered; looking before that would be a read for nothing
        // on nearly every connection. Other transports are asked.
        if self.token().is_none() && self.with_transport(|transport, _| transport.starts_readable())
        {
            self.set(flag::READABLE);
        }
    }

    /// channel_active, and when all of it was handled the read() of auto-read (B18).
    pub(crate) fn fire_active(&self) {
        self.emit_from_head(Inbound::Active);
        self.run();
        if self.life.get() != Life::Active {
            return;
        }
        if self.auto_read() {
            self.op_read_from_tail();
        }
        // Also a read() from before: what came meanwhile shows no further edge (D3).
        if self.has(flag::READ_PENDING) && self.has(flag::READABLE) {
            self.push_ready();
        }
    }

    /// The registration with the selector, if there is one.
    #[inline]
    pub(crate) fn token(&self) -> Option<Token> {
        Some(self.token.get()).filter(|token| *token != UNREGISTERED)
    }

    pub(crate) fn register_fd(&self) -> Result<(), Error> {
        if self.token().is_some() {
            return Ok(());
        }
        let transport = self.transport.borrow();
        let (Some(fd), Some(reactor), Some(me)) =
            (transport.as_fd(), self.lp.reactor(), self.me.upgrade())
        else {
            return Ok(());
        };
        // Edge-triggered epoll watches everything from the start and never hears of interest again; the others are told
        // what is wanted now, since what they report and nobody takes they report for ever.
        let edge = reactor.backend() == Backend::Epoll;
        let (read, write) = (edge || self.reads_now(), edge || self.writes_now());
        let handle: Rc<dyn IoHandle> = match self.lp.sentry() {
            None => me,
            Some(sentry) => sentry.watched(me, self.shared.id().as_u64()),
        };
        let token = reactor
            .register(fd, interest(read, write), handle)
            .map_err(|error| Error::io("registering a descriptor with the selector", error))?;
        self.token.set(token);
        if reactor.backend() == Backend::Kqueue {
            // It tells edges, but not of urgent data, at whose mark a read ends though more is there: only a read that finds
            // nothing shows that nothing is left (FreeBSD's soreceive, XNU's and Linux' recv).
            self.seen.set(self.seen.get() | Ready::PRIORITY);
        }
        self.set(if edge { 0 } else { flag::LEVEL });
        self.note_armed(read, write);
        Ok(())
    }

    pub(crate) fn deregister_fd(&self) {
        let Some(token) = self.token() else {
            return;
        };
        self.token.set(UNREGISTERED);
        let transport = self.transport.borrow();
        if let (Some(fd), Some(reactor)) = (transport.as_fd(), self.lp.reactor()) {
            // A descriptor that the selector does not know any more is what was wanted.
            let _ = reactor.deregister(fd, token);
        }
    }

    /// Copies the addresses where every thread can read them. A remote one that is given keeps the form the user gave.
    pub(crate) fn capture_addresses(&self, remote: Option<&Address>) {
        let transport = self.transport.borrow();
        let remote = remote.cloned().or_else(|| transport.remote_address());
        self.shared.set_addresses(transport.local_address(), remote);
    }

    pub(crate) fn head_disconnect(&self, promise: Promise) {
        if self.in_transport.get() {
            return self.push_root(Root::HeadOp(Op::Disconnect(promise)));
        }
        if self.life.get() >= Life::Closing {
            promise.try_failure(self.closed_error());
            return;
        }
        if !promise.set_uncancellable() {
            return;
        }
        self.flush_put_off();
        let result = self.with_transport(|transport, io| transport.disconnect(io));
        self.capture_addresses(None);
        promise.complete(&result);
    }

    // ---- closing

    pub(crate) fn head_close(&self, promise: Promise) {
        if self.shared.serves_another() && !self.lp.gives_up_channels() {
            // What the channel has said is still on its way here, its last events behind it: it has to close first.
            let asked =
                self.with_transport(|transport, io| transport.shutdown(io, Direction::Output));
            if asked.is_ok() {
                return;
            }
        }
        let blamed = self.look_at_rare(|rare| rare.blamed.clone());
        self.head_close_for(blamed, promise);
    }

    fn head_close_for(&self, blamed: Option<Error>, promise: Promise) {
        if self.sends_before_close() {
            self.after_last_write(move |core| core.head_close_for(blamed, promise));
            return;
        }
        let text = "the channel was closed by this side";
        let cause = match blamed {
            Some(error) => Error::with_source(ErrorKind::ChannelClosed, text, error),
            None => Error::new(ErrorKind::ChannelClosed, text),
        };
        self.close_because(cause, promise);
    }

    /// What a handler is about to hear of, if it is the peer's doing.
    #[cold]
    pub(crate) fn peers_doing(cause: &Failure) -> Option<Error> {
        if cause.fault() != Fault::Peer {
            return None;
        }
        Some(match cause.downcast_ref::<Error>() {
            Some(error) => error.clone(),
            None => Error::new(cause.kind(), cause.to_string()).with_fault(Fault::Peer),
        })
    }

    /// From here on a close is for this error; gives what it was for until now.
    pub(crate) fn blame(&self, error: Option<Error>) -> Option<Error> {
        self.change_rare(|rare| std::mem::replace(&mut rare.blamed, error))
    }

    /// What an operation on a closed channel is told; the source is why it closed.
    pub(crate) fn closed_error(&self) -> Error {
        let cause = self.look_at_rare(|rare| rare.closing.as_ref()?.cause.clone());
        match cause {
            Some(cause) if cause.kind() == ErrorKind::ChannelClosed => cause,
            Some(cause) => {
                Error::with_source(ErrorKind::ChannelClosed, "the channel is closed", cause)
            }
            None => Error::new(ErrorKind::ChannelClosed, "the channel is closed"),
        }
    }

    /// Begins to close. `cause` is what flushed writes fail with if it is an error of I/O, and the source of what
    /// later writes fail with.
    pub(crate) fn close_because(&self, cause: Error, promise: Promise) {
        if promise.is_cancelled() {
            return;
        }
        if self.in_transport.get() {
            return self.push_root(Root::Close(cause, promise));
        }
        promise.set_uncancellable();
        self.flush_put_off();
        match self.life.get() {
            Life::Closed => {
                promise.try_success();
                return self.leave_at_the_end();
            }
            Life::Closing => {
                if !promise.is_void() {
                    self.look_at_rare(|rare| {
                        rare.closing.as_mut()?.promises.push(promise);
                        Some(())
                    });
                }
                // A loop that ends waits for no peer, and in the end for no transport.
                if self.lp.ends_channels() {
                    self.end_linger(Lingered::Cut);
                }
                if self.lp.gives_up_channels() {
                    self.give_up_close();
                }
                return;
            }
            Life::Open | Life::Connecting | Life::Active => {}
        }
        let may_linger = self.may_linger(&cause);
        self.set_life(Life::Closing);
        let mut closing = Closing {
            cause: Some(cause),
            ..Closing::default()
        };
        if !promise.is_void() {
            closing.promises.push(promise);
        }
        self.change_rare(|rare| rare.closing = Some(closing));
        self.set(flag::INPUT_SHUT);
        self.deregister_fd();
        if let Some(connecting) = self.take_connecting() {
            connecting.promise.try_failure(self.closed_error());
        }
        self.abandon_look_up(|| self.closed_error());
        self.clear(flag::WRITE_BLOCKED | flag::FLUSH_YIELDED);
        if !(may_linger && self.begin_linger()) {
            self.close_transport();
        }
    }

    /// The last step of a close that the transport takes part in.
    pub(crate) fn close_transport(&self) {
        match self.with_transport(|transport, io| transport.close(io)) {
            Ok(Progress::Pending) if self.lp.gives_up_channels() => self.give_up_close(),
            Ok(Progress::Pending) => {}
            Ok(Progress::Done) => self.finish_close(),
            Err(error) => self.fail_close(error),
        }
    }

    /// The transport has closed, and not well.
    pub(crate) fn fail_close(&self, error: Error) {
        self.look_at_rare(|rare| {
            rare.closing.as_mut()?.failure = Some(error);
            Some(())
        });
        self.finish_close();
    }

    /// The transport has closed.
    pub(crate) fn finish_close(&self) {
        if self.life.get() != Life::Closing {
            return;
        }
        self.set_life(Life::Closed);
        self.lp.fd_closed();
        let left = self.look_at_rare(|rare| {
            let closing = rare.closing.as_mut()?;
            let promises = std::mem::take(&mut closing.promises);
            Some((promises, closing.failure.take(), closing.cause.clone()))
        });
        let (promises, failure, cause) = left.unwrap_or_default();
        let later = self.closed_error();
        self.tell_closed(cause.as_ref().unwrap_or(&later));
        self.shared.complete_close();
        for promise in promises {
            match &failure {
                Some(error) => promise.try_failure(error.clone()),
                None => promise.try_success(),
            };
        }
        self.end_drain();
        let flushed = match cause {
            Some(cause) if cause.kind() != ErrorKind::ChannelClosed => cause,
            _ => later.clone(),
        };
        self.fail_writes(flushed, &later);
        self.push_root(Root::Drain);
        self.push_root(Root::End { rounds: 0 });
    }

    /// The input has ended or the channel closes: what is parked is emitted, here and by handlers on other loops.
    pub(crate) fn release_parked(&self) {
        self.set(flag::DRAINING);
        self.unpark_all();
        relay::drain(&self.nodes);
    }

    /// The last events, then the handlers leave. If a handler panics in one, this runs again for those that have not
    /// heard of it. In the pipeline of a handler elsewhere the channel's own last events may have passed the head
    /// before: then they are not owed any more.
    pub(crate) fn end(&self) {
        if self.has(flag::WAS_ACTIVE) {
            self.emit_from_head(Inbound::Inactive);
            self.run();
        }
        self.at_rest(|core| {
            core.set(flag::ENDED);
            if core.has(flag::REGISTERED) {
                core.emit_from_head(Inbound::Unregistered);
                core.run();
            }
            core.at_rest(|core| core.depart(relay::lines(&core.nodes), None));
        });
    }

    /// The handlers leave, once the last events have come back from handlers on other loops: a marker follows the events
    /// through each of them, one after the other. In the pipeline of a handler elsewhere, where the marker `outer` has come to,
    /// nobody leaves yet: that one goes on.
    fn depart(&self, mut elsewhere: VecDeque<Arc<Line>>, outer: Option<Box<Farewell>>) {
        let Some(line) = elsewhere.pop_front() else {
            return match outer {
                None => self.dissolve(),
                Some(outer) => outer.passed(),
            };
        };
        if outer.is_none() && self.lp.gives_up_channels() {
            return self.depart_now();
        }
        let farewell = Farewell {
            shared: self.shared.clone(),
            line: line.clone(),
            has_passed: false,
            elsewhere,
            outer,
        };
        line.pass(move |core| core.depart(relay::lines(&core.nodes), Some(Box::new(farewell))));
    }

    /// In the pipeline of a handler elsewhere, at the end of the channel: the handlers leave when they have heard of it.
    pub(crate) fn leave_elsewhere(&self) {
        self.at_rest(|core| core.depart(relay::lines(&core.nodes), None));
    }

    /// The handlers leave, and do not wait for those on other loops any longer: what these have not said yet those behind
    /// them hear now.
    pub(crate) fn depart_now(&self) {
        for line in relay::lines(&self.nodes) {
            line.say_the_rest(self);
        }
        self.dissolve();
    }

    /// Ends without events: the handlers leave, tail first, and the loop forgets the core. What they emit now goes
    /// nowhere: the channel has ended.
    pub(crate) fn dissolve(&self) {
        self.set(flag::ENDED | flag::ENDING);
        loop {
            let last = self.nodes.before(TAIL);
            if last == HEAD {
                break;
            }
            self.remove_node(last);
            self.run();
        }
        // The last reference to user code of this channel goes here, guarded like any other callback.
        let tail = self.look_at_rare(|rare| rare.tail.take());
        if boundary::catch(move || drop(tail)).is_err() {
            tracing::error!(channel = %self.shared.id(), "dropping the end of a pipeline panicked");
        }
        self.attention
            .set(self.attention.get() & !attention::SUSPENDED);
        self.shared.detach(&self.lp);
    }

    // ---- half closure

    /// Ends the output side: pending writes fail, the peer sees the end after what was sent (A41).
    pub(crate) fn shutdown_output(&self, cause: Option<Error>, promise: &Promise) {
        if self.in_transport.get() {
            let promise = promise.second();
            let gate = Gate::new(move |core| core.shutdown_output(cause, &promise));
            return self.push_root(Root::Call(gate));
        }
        self.flush_put_off();
        if self.life.get() >= Life::Closing || self.has(flag::OUTPUT_SHUT) {
            promise.try_failure(self.closed_error());
            return;
        }
        if self.life.get() != Life::Active {
            promise.try_failure(Error::new(
                ErrorKind::NotYetConnected,
                "the output can't be shut down before the channel is connected",
            ));
            return;
        }
        if !promise.set_uncancellable() {
            return;
        }
        self.set(flag::OUTPUT_SHUT);
        self.shared.publish_output_shut();
        let result = self.with_transport(|transport, io| transport.shutdown(io, Direction::Output));
        let text = "the output side was shut down";
        let error = match cause {
            Some(cause) => Error::with_source(ErrorKind::OutputShutdown, text, cause),
            None => Error::new(ErrorKind::OutputShutdown, text),
        };
        promise.complete(&result);
        self.fail_writes(error.clone(), &error);
        // Nothing waits any more: a level-triggered selector must not go on reporting that it could be sent.
        self.clear(flag::WRITE_BLOCKED | flag::FLUSH_YIELDED);
        self.update_interest();
        self.push_root(Root::Message(
            Inbound::UserEvent,
            Message::new(ChannelOutputShutdown),
        ));
        if let Err(error) = result {
            self.output_is_broken(error);
        }
    }

    /// The output could not be ended. Where the connection is gone, something may have come before that nobody has read.
    fn output_is_broken(&self, error: Error) {
        let is_gone = error.io_kind() == Some(io::ErrorKind::NotConnected);
        if is_gone && !self.has(flag::INPUT_SHUT) && self.transport.borrow().as_fd().is_some() {
            self.read_out_and_close(error);
        } else {
            self.push_root(Root::Close(error, Promise::void()));
        }
    }

    /// Ends the input side on the user's wish (A42).
    pub(crate) fn shutdown_input(&self, promise: &Promise) {
        if self.in_transport.get() {
            let promise = promise.second();
            let gate = Gate::new(move |core| core.shutdown_input(&promise));
            return self.push_root(Root::Call(gate));
        }
        match self.life.get() {
            Life::Closing | Life::Closed => {
                promise.try_failure(self.closed_error());
            }
            Life::Open | Life::Connecting => {
                promise.try_failure(Error::new(
                    ErrorKind::NotYetConnected,
                    "the input can't be shut down before the channel is connected",
                ));
            }
            Life::Active => {
                let result = self.shut_transport_input();
                promise.complete(&result);
                // The end is read like any other, when reading is wanted.
                self.set(flag::READABLE);
                self.push_ready();
            }
        }
    }

    /// Asks the transport to end its input, once.
    pub(crate) fn shut_transport_input(&self) -> Result<(), Error> {
        if self.has(flag::INPUT_SHUT_ASKED) {
            return Ok(());
        }
        self.set(flag::INPUT_SHUT_ASKED);
        self.with_transport(|transport, io| transport.shutdown(io, Direction::Input))
    }

    // ---- news

    /// What a transport reports later.
    pub(crate) fn on_news(&self, news: News) {
        match news {
            News::Readable | News::PeerClosing | News::Broken
                if self.life.get() == Life::Closing =>
            {
                self.linger_by_news();
            }
            News::Readable => {
                self.set(flag::READABLE);
                if self.has(flag::READ_PENDING) {
                    self.push_ready();
                }
            }
            News::Writable => {
                if self.has(flag::WRITE_BLOCKED) {
                    self.clear(flag::WRITE_BLOCKED);
                    self.set(flag::FLUSH_YIELDED);
                    self.push_ready();
                }
            }
            News::PeerClosing => {
                self.set(flag::READABLE);
                self.seen.set(self.seen.get() | Ready::READ_CLOSED);
                if self.has(flag::READ_PENDING) {
                    self.push_ready();
                } else if self.life.get() == Life::Active && !self.has(flag::INPUT_SHUT) {
                    self.tell_peer_closing();
                }
            }
            News::Broken if !self.has(flag::INPUT_SHUT) => {
                self.set(flag::READABLE | flag::READ_ERROR);
                self.push_ready();
            }
            news if self.running.get()
                || self.in_transport.get()
                || self.lp.pipeline_depth.get() > 0 =>
            {
                self.push_root(Root::News(news));
            }
            news => self.enter(|core| core.act_on_news(news)),
        }
    }

    /// News that calls handlers, with nothing of this channel on the stack.
    pub(crate) fn act_on_news(&self, news: News) {
        match news {
            // A connect that has ended otherwise is over.
            News::Connected(_) if self.life.get() != Life::Connecting => {}
            News::Connected(Ok(())) => self.check_connect(),
            News::Connected(Err(error)) => self.connect_failed(error),
            News::Written(count) => self.written(count),
            News::Closed => self.finish_close(),
            News::Failed(error) => {
                if self.life.get() < Life::Closing {
                    self.push_root(Root::Exception(error.clone().into()));
                    self.push_root(Root::Close(error, Promise::void()));
                }
            }
            News::Broken if self.has(flag::INPUT_SHUT) => {
                if self.life.get() == Life::Active {
                    self.shut_ready(Ready::ERROR);
                }
            }
            News::Readable | News::Writable | News::PeerClosing | News::Broken => {
                self.on_news(news);
            }
        }
    }

    /// An operation that had reached the head before.
    pub(crate) fn head_op(&self, op: Op) {
        match op {
            Op::Write(msg, promise) => self.head_write(msg, promise),
            Op::Flush => self.head_flush(),
            Op::Read => self.head_read(),
            Op::Close(promise) => self.head_close(promise),
            Op::Disconnect(promise) => self.head_disconnect(promise),
            Op::Bind(local, promise) => self.head_bind(*local, promise),
            Op::Connect(addresses, promise) => self.head_connect(addresses.0, addresses.1, promise),
        }
    }
}

/// The marker of [`Core::depart`]. It goes on when it is dropped, so also where a handler elsewhere or its loop has ended
/// first.
struct Farewell {
    shared: Arc<Shared>,
    line: Arc<Line>,
    /// The handler at the end of the line has heard the last events.
    has_passed: bool,
    /// The handlers that it has not passed.
    elsewhere: VecDeque<Arc<Line>>,
    /// The marker of the channel's pipeline, if this is in the one of a handler elsewhere.
    outer: Option<Box<Self>>,
}

impl Farewell {
    fn passed(mut self) {
        self.has_passed = true;
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let (line, has_passed) = (self.line.clone(), self.has_passed);
        let elsewhere = std::mem::take(&mut self.elsewhere);
        let outer = self.outer.take();
        #[cfg(tidegate_mutants)]
        if tidegate_sys::os::sim::is_mutant("B7-end-overtakes-rest-elsewhere") {
            self.shared.submit(
                move |core| core.enter(|core| core.depart(elsewhere, outer)),
                true,
            );
            return;
        }
        let go_on = move |core: &Core| {
            if !has_passed {
                line.say_the_rest(core);
            }
            core.at_rest(|core| core.depart(elsewhere, outer));
        };
        // Behind what has come from there, which may wait for others.
        let shared = self.shared.clone();
        let task = Task::new(move || {
            if let Some(core) = shared.core() {
                core.enter(|core| core.at_rest(go_on));
            }
        });
        self.line.come_back(task);
    }
}
