//! Connecting: the pending promise, its timeout, and how it ends (rules A14 to A22).

use std::time::Duration;

use tidegate_sys::mem::LocalTask;

use super::address::Address;
use super::core::{Connecting, Core, Root, flag};
use super::lifetime::Life;
use super::transport::Progress;
use crate::error::{Error, ErrorKind};
use crate::future::Promise;

/// Netty's default.
const CONNECT_TIMEOUT_MS: u32 = 30_000;

/// How long a connect is not looked at after a look that found nothing: 200 looks a second cost nothing, and nobody minds
/// a connection that is noticed so late.
const CONNECT_REST: Duration = Duration::from_millis(5);

impl Core {
    pub(crate) fn head_connect(&self, remote: Address, local: Option<Address>, promise: Promise) {
        if self.in_transport.get() {
            return self.push_root(Root::HeadOp(super::op::Op::Connect(
                Box::new((remote, local)),
                promise,
            )));
        }
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
        let step =
            self.with_transport(|transport, io| transport.connect(io, &remote, local.as_ref()));
        match step {
            Ok(progress) => {
                self.set_life(Life::Connecting);
                self.watch_connect(&promise);
                self.change_rare(|rare| {
                    rare.connecting = Some(Connecting {
                        promise,
                        remote,
                        timer: None,
                    });
                });
                if let Err(error) = self.register_fd() {
                    return self.connect_failed(error);
                }
                // The local address is known from here on (A23).
                let local = self.transport.borrow().local_address();
                self.shared.set_addresses(local, None);
                if progress == Progress::Done {
                    self.connected();
                } else {
                    self.arm_connect_timeout();
                }
            }
            Err(error) => {
                // The socket is not to be used again after a failed connect.
                promise.try_failure(error.clone());
                self.close_because(error, Promise::void());
            }
        }
    }

    /// A bound datagram channel gets a peer, or another one: that takes no time and changes no life.
    fn choose_peer(&self, remote: &Address, local: Option<&Address>, promise: &Promise) {
        if !promise.set_uncancellable() {
            return;
        }
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

    fn connect_timed_out(&self) {
        let remote = self.look_at_rare(|rare| {
            let connecting = rare.connecting.as_mut()?;
            connecting.timer = None;
            Some(connecting.remote.clone())
        });
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
        if let Some(connecting) = self.take_connecting() {
            connecting.promise.try_failure(error.clone());
        }
        self.close_because(error, Promise::void());
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
