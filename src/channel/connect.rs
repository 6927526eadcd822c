//! Connecting: the pending promise, its timeout, and how it ends (rules A14 to A22). A name with several addresses is
//! connected to one after the other, until one is there (`tries`): the same channel, with a socket and a timeout for each.

use std::sync::Arc;
use std::time::Duration;

use tidegate_sys::mem::LocalTask;
use tidegate_sys::os::Ready;

use super::address::Address;
use super::bind::{LOOKS_MAX, is_for_a_moment};
use super::core::{Connecting, Core, Root, flag};
use super::lifetime::Life;
use super::shared::Channel;
use super::signal::NewsDesk;
use super::transport::{Progress, Transport};
use super::tries::Try;
use crate::error::{Error, ErrorKind};
use crate::future::Promise;

/// Netty's default.
const CONNECT_TIMEOUT_MS: u32 = 30_000;

/// How long a connect is not looked at after a look that found nothing: 200 looks a second cost nothing, and nobody minds
/// a connection that is noticed so late.
const CONNECT_REST: Duration = Duration::from_millis(5);

/// To what, for whom, and why not.
type Failed = (Address, Promise, Error);

impl Channel {
    /// Connects to one of these addresses, the first that can be connected to in this order, and settles `promise`.
    pub(crate) fn connect_to_one_of(
        &self,
        addresses: Vec<Address>,
        local: Option<Address>,
        promise: Promise,
    ) {
        let mut rest = addresses;
        if rest.is_empty() {
            promise.try_failure(Error::new(
                ErrorKind::Unresolved,
                "looking up the peer's name: the resolver gave no address",
            ));
            return;
        }
        let first = rest.remove(0);
        let (remote, from) = (first.clone(), local.clone());
        // If the channel has ended there is no core, and the connect says so.
        let _ = self.shared().on_loop(move |core| {
            core.change_rare(|rare| match &mut rare.tries {
                Some(tries) if !rest.is_empty() => tries.found(&remote, &from, rest),
                tries => *tries = None,
            });
        });
        self.connect_with(first, local, promise);
    }
}

impl Core {
    pub(crate) fn head_connect(&self, remote: Address, local: Option<Address>, promise: Promise) {
        if self.in_transport.get() {
            return self.push_root(Root::HeadOp(super::op::Op::Connect(
                Box::new((remote, local)),
                promise,
            )));
        }
        self.connect_now(remote, local, promise, LOOKS_MAX);
    }

    /// With so many looks left at whether the local address can be had.
    fn connect_now(&self, remote: Address, local: Option<Address>, promise: Promise, looks: u32) {
        if promise.is_cancelled() {
            return;
        }
        if self.life.get() == Life::Active && self.shared.has_disconnect() {
            return self.choose_peer(&remote, local.as_ref(), &promise);
        }
        let refused = match self.life.get() {
            Life::Open => None,
            Life::Connecting => Some((
                ErrorKind::ConnectionPending,
                "a connect of this channel is under way",
            )),
            Life::Active => Some((
                ErrorKind::AlreadyConnected,
                "this channel is connected already",
            )),
            Life::Closing | Life::Closed => {
                Some((ErrorKind::ChannelClosed, "this channel is closed"))
            }
        };
        if let Some((kind, text)) = refused {
            promise.try_failure(Error::new(
                kind,
                format!("can't connect to {remote}: {text}"),
            ));
            return;
        }
        if let Address::Unresolved(host, port) = &remote {
            promise.try_failure(Error::new(
                ErrorKind::InvalidArgument,
                format!("{host}:{port} is not resolved; connect through a Bootstrap, which asks its resolver"),
            ));
            return;
        }
        if looks == LOOKS_MAX {
            self.watch_connect(&promise);
        }
        self.prepare_tries(&remote, local.as_ref());
        match self.try_connect(remote, local.clone(), promise) {
            Ok(()) => {}
            Err((remote, promise, error)) if looks > 0 && is_for_a_moment(&error) => {
                self.in_a_moment(promise, move |core, promise| {
                    core.connect_now(remote, local, promise, looks - 1);
                });
            }
            Err(failed) => self.connect_over(failed),
        }
    }

    /// Begins to connect to one address.
    fn try_connect(
        &self,
        remote: Address,
        local: Option<Address>,
        promise: Promise,
    ) -> Result<(), Failed> {
        let step =
            self.with_transport(|transport, io| transport.connect(io, &remote, local.as_ref()));
        let progress = match step {
            Ok(progress) => progress,
            Err(error) => return Err((remote, promise, error)),
        };
        self.set_life(Life::Connecting);
        self.change_rare(|rare| {
            rare.connecting = Some(Connecting {
                promise,
                remote,
                timer: None,
            });
        });
        if let Err(error) = self.register_fd() {
            let connecting = self.take_connecting();
            return connecting.map_or(Ok(()), |it| Err((it.remote, it.promise, error)));
        }
        // The local address is known from here on (A23).
        let local = self.transport.borrow().local_address();
        self.shared.set_addresses(local, None);
        if progress == Progress::Done {
            self.connected();
        } else {
            self.arm_connect_timeout();
        }
        Ok(())
    }

    /// A connect has failed: on to the next address of the name, or the end of the channel. Its socket is not to be used
    /// again.
    fn connect_over(&self, mut failed: Failed) {
        loop {
            let (remote, promise, error) = failed;
            // Cancelled, or closed, in the meantime.
            let is_over = promise.is_done() || self.life.get() >= Life::Closing;
            let next = if is_over {
                None
            } else {
                self.next_try(&remote, &error)
            };
            let Some(next) = next else {
                let tries = self.look_at_rare(|rare| rare.tries.take());
                let error = match tries {
                    Some(tries) if tries.is_on(&remote) => tries.verdict(error),
                    _ => error,
                };
                promise.try_failure(error.clone());
                return self.close_because(error, Promise::void());
            };
            self.renew(next.transport);
            let begun = next.set.and_then(|()| self.begin_again());
            let tried = match begun {
                Ok(()) => self.try_connect(next.remote, next.local, promise),
                Err(error) => Err((next.remote, promise, error)),
            };
            match tried {
                Ok(()) => return,
                Err(again) => failed = again,
            }
        }
    }

    /// What is bound already cannot be made anew for another address, and what a handler has redirected has only one. Where
    /// from is for a handler to say as well, and holds for all tries.
    fn prepare_tries(&self, remote: &Address, local: Option<&Address>) {
        let bound = || self.transport.borrow().local_address().is_some();
        self.look_at_rare(|rare| {
            let tries = rare.tries.as_mut()?;
            if tries.is_on(remote) && !bound() {
                tries.leave_from(local.cloned());
            } else {
                rare.tries = None;
            }
            Some(())
        });
    }

    fn next_try(&self, remote: &Address, error: &Error) -> Option<Try> {
        self.look_at_rare(|rare| {
            let tries = rare.tries.as_mut()?;
            tries.is_on(remote).then(|| tries.next(error)).flatten()
        })
    }

    /// Another transport in the place of one that has failed to connect.
    fn renew(&self, transport: Box<dyn Transport>) {
        self.deregister_fd();
        self.seen.set(Ready::NONE);
        self.clear(flag::READABLE | flag::READ_ERROR | flag::PARKED_FD);
        self.forget_news();
        drop(self.transport.replace(transport));
        self.lp.fd_closed();
    }

    /// The first steps of a transport that has come in another one's place.
    fn begin_again(&self) -> Result<(), Error> {
        let reads = self.has(flag::READING_TOLD);
        self.with_transport(|transport, io| {
            transport.register(io)?;
            if reads {
                transport.reading(io, true);
            }
            Ok(())
        })
    }

    /// Where the transport is to report to.
    pub(super) fn news_desk(&self) -> Arc<dyn NewsDesk> {
        let shared = &self.shared;
        let of_try = self.look_at_rare(|rare| Some(rare.tries.as_mut()?.desk(shared)));
        match of_try {
            Some(desk) => desk,
            None => shared.clone(),
        }
    }

    /// A bound datagram channel gets a peer, or another one: that takes no time and changes no life.
    fn choose_peer(&self, remote: &Address, local: Option<&Address>, promise: &Promise) {
        if !promise.set_uncancellable() {
            return;
        }
        // It is for what is sent from now on.
        self.flush_put_off();
        let step = self.with_transport(|transport, io| transport.connect(io, remote, local));
        // A connect that failed may have cost the peer that there was.
        self.capture_addresses(step.is_ok().then_some(remote));
        promise.complete(&step.map(drop));
    }

    /// In milliseconds; 0 for none.
    pub(crate) fn connect_timeout_ms(&self) -> u32 {
        self.look_at_rare(|rare| rare.connect_timeout_ms)
            .unwrap_or(CONNECT_TIMEOUT_MS)
    }

    pub(crate) fn set_connect_timeout_ms(&self, ms: u32) {
        self.change_rare(|rare| {
            rare.connect_timeout_ms = (ms != CONNECT_TIMEOUT_MS).then_some(ms);
        });
    }

    fn arm_connect_timeout(&self) {
        let ms = self.connect_timeout_ms();
        if ms == 0 {
            return;
        }
        let me = self.me.clone();
        let due = self.lp.now() + Duration::from_millis(u64::from(ms));
        let timer = self.lp.add_timer(
            due,
            LocalTask::new(move || {
                if let Some(core) = me.upgrade() {
                    core.enter(Core::connect_timed_out);
                }
            }),
        );
        self.look_at_rare(|rare| {
            rare.connecting.as_mut()?.timer = Some(timer);
            Some(())
        });
    }

    /// The timer is due. A loop that was held comes to it before it has heard how the connect has ended: that counts.
    fn connect_timed_out(&self) {
        let has_timer = |connecting: &mut Connecting| connecting.timer.take().map(drop);
        if self
            .look_at_rare(|rare| has_timer(rare.connecting.as_mut()?))
            .is_none()
        {
            return;
        }
        if self.transport.borrow().as_fd().is_some() {
            match self.with_transport(|transport, io| transport.check_connect(io)) {
                Ok(Progress::Done) => self.connected(),
                Ok(Progress::Pending) => self.connect_is_late(),
                Err(error) => self.connect_failed(error),
            }
        } else if !self.behind_news(|core| core.enter(Self::connect_is_late)) {
            self.connect_is_late();
        }
    }

    fn connect_is_late(&self) {
        let remote = self.look_at_rare(|rare| Some(rare.connecting.as_ref()?.remote.clone()));
        let Some(remote) = remote else { return };
        let ms = self.connect_timeout_ms();
        self.connect_failed(Error::new(
            ErrorKind::ConnectTimeout,
            format!("connecting to {remote} took more than {ms} ms (CONNECT_TIMEOUT)"),
        ));
    }

    /// A connect is the one operation that can be cancelled while it runs: the channel closes then (A20).
    fn watch_connect(&self, promise: &Promise) {
        if promise.is_void() {
            return;
        }
        let shared = self.shared.clone();
        promise.completion().add_listener(move |result| {
            let cancelled = matches!(result, Err(error) if error.kind() == ErrorKind::Cancelled);
            if cancelled {
                let error = Error::new(ErrorKind::Cancelled, "the connect was cancelled");
                shared.on_loop(move |core| {
                    core.enter(|core| core.close_because(error, Promise::void()))
                });
            }
        });
    }

    /// Any readiness while connecting means: look.
    pub(crate) fn check_connect(&self) {
        match self.with_transport(|transport, io| transport.check_connect(io)) {
            Ok(Progress::Done) => self.connected(),
            Ok(Progress::Pending) => self.rest_connect(),
            Err(error) => self.connect_failed(error),
        }
    }

    /// Something was reported, and there is neither a connection nor an error. A level-triggered selector would report the
    /// same in every wait until CONNECT_TIMEOUT, so the descriptor leaves it for a while.
    fn rest_connect(&self) {
        if self.life.get() != Life::Connecting || !self.has(flag::LEVEL) {
            return;
        }
        self.set(flag::PARKED_FD);
        self.deregister_fd();
        let me = self.me.clone();
        let again = LocalTask::new(move || {
            if let Some(core) = me.upgrade()
                && core.life.get() == Life::Connecting
            {
                core.enter(Core::update_interest);
            }
        });
        self.lp.add_timer(self.lp.now() + CONNECT_REST, again);
    }

    /// The transport is connected: the promise first, then channel_active (A14).
    pub(crate) fn connected(&self) {
        let Some(connecting) = self.take_connecting() else {
            return;
        };
        drop(self.look_at_rare(|rare| rare.tries.take()));
        self.capture_addresses(Some(&connecting.remote));
        self.activate();
        let cancelled = connecting.promise.is_cancelled();
        connecting.promise.try_success();
        self.push_root(Root::Active);
        if cancelled {
            let error = Error::new(ErrorKind::Cancelled, "the connect was cancelled");
            self.push_root(Root::Close(error, Promise::void()));
        }
        self.update_interest();
    }

    pub(crate) fn connect_failed(&self, error: Error) {
        match self.take_connecting() {
            Some(it) => self.connect_over((it.remote, it.promise, error)),
            None => self.close_because(error, Promise::void()),
        }
    }

    /// The pending connect, with its timer cancelled.
    pub(crate) fn take_connecting(&self) -> Option<Connecting> {
        let connecting = self.look_at_rare(|rare| rare.connecting.take())?;
        if let Some(timer) = connecting.timer {
            self.lp.cancel_timer(timer);
        }
        Some(connecting)
    }
}
