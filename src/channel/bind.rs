//! Binding: a channel gets an address of its own (rules A7 to A10). Of a name with several addresses one after the other is
//! tried, until one can be had (`tries`). What stands in the way for a moment is waited for by a timer.

use std::io;
use std::time::Duration;

use tidegate_sys::mem::LocalTask;

use super::address::Address;
use super::core::{Core, Root};
use super::lifetime::Life;
use super::op::Op;
use super::shared::Channel;
use super::tries::Tries;
use crate::error::{Error, ErrorKind};
use crate::future::Promise;

/// How often a bind is asked again whose transport says that it can't be had at this moment, and how long apart: for a second,
/// and 200 times a second cost nothing. Locks of folders are what is waited for, and whoever holds one makes a few system
/// calls.
pub(super) const LOOKS_MAX: u32 = 200;
const REST: Duration = Duration::from_millis(5);

impl Channel {
    /// Binds to one of these addresses, the first that can be had in this order, and settles `promise`.
    pub(crate) fn bind_to_one_of(&self, addresses: Vec<Address>, promise: Promise) {
        let mut rest = addresses;
        if rest.is_empty() {
            promise.try_failure(Error::new(
                ErrorKind::Unresolved,
                "looking up the name to bind to: the resolver gave no address",
            ));
            return;
        }
        let first = rest.remove(0);
        if !rest.is_empty() {
            let local = first.clone();
            // If the channel has ended there is no core, and the bind says so.
            let _ = self.shared().on_loop(move |core| {
                let mut tries = Tries::in_place();
                tries.found(&local, &None, rest);
                core.change_rare(|rare| rare.tries = Some(Box::new(tries)));
            });
        }
        self.bind_with(first, promise);
    }
}

impl Core {
    pub(crate) fn head_bind(&self, local: Address, promise: Promise) {
        if self.in_transport.get() {
            return self.push_root(Root::HeadOp(Op::Bind(Box::new(local), promise)));
        }
        if promise.set_uncancellable() {
            self.bind_now(local, promise, LOOKS_MAX);
        }
    }

    /// With so many looks left.
    fn bind_now(&self, local: Address, promise: Promise, looks: u32) {
        if self.life.get() >= Life::Closing {
            promise.try_failure(self.closed_error());
            return;
        }
        let was_active = self.life.get() == Life::Active;
        if let Err((local, error)) = self.bind_transport(local, looks > 0) {
            if looks > 0 && is_for_a_moment(&error) {
                self.in_a_moment(promise, move |core, promise| {
                    core.bind_now(local, promise, looks - 1);
                });
            } else {
                promise.try_failure(error);
            }
            return;
        }
        self.capture_addresses(None);
        if !was_active && self.transport.borrow().is_active() {
            if let Err(error) = self.register_fd() {
                promise.try_failure(error.clone());
                return self.close_because(error, Promise::void());
            }
            self.activate();
            promise.try_success();
            // Later, so that the promise's listeners come first (A7).
            self.push_root(Root::Active);
        } else {
            promise.try_success();
        }
    }

    /// Does something again that could not be done at this moment, unless the channel is closed by then.
    pub(super) fn in_a_moment(
        &self,
        promise: Promise,
        again: impl FnOnce(&Core, Promise) + 'static,
    ) {
        let me = self.me.clone();
        let task = LocalTask::new(move || match me.upgrade() {
            Some(core) => core.enter(|core| again(core, promise)),
            None => {
                let text = "the channel was closed while it waited for its turn to be bound";
                promise.try_failure(Error::new(ErrorKind::ChannelClosed, text));
            }
        });
        self.lp.add_timer(self.lp.now() + REST, task);
    }

    /// To this address, or to the next one of its name that can be had. The error, if none can, is the last one's and names
    /// them all. If that `may_wait`, an obstacle of the moment ends the attempt at its address, which is to be tried again.
    fn bind_transport(&self, local: Address, may_wait: bool) -> Result<(), (Address, Error)> {
        let mut local = local;
        loop {
            let bound = self.with_transport(|transport, io| transport.bind(io, &local));
            let Err(error) = bound else {
                self.forget_places();
                return Ok(());
            };
            if may_wait && is_for_a_moment(&error) {
                return Err((local, error));
            }
            // What is bound in spite of its error cannot be bound again.
            let is_bound = self.transport.borrow().is_active();
            let next = self.look_at_rare(|rare| {
                let tries = rare.tries.as_mut()?;
                let is_asked = tries.is_on(&local) && !is_bound;
                is_asked.then(|| tries.next_in_place(&error)).flatten()
            });
            match next {
                Some(next) => local = next,
                None => {
                    let tries = self.forget_places().filter(|tries| tries.is_on(&local));
                    let error = match tries {
                        Some(tries) => tries.verdict(error),
                        None => error,
                    };
                    return Err((local, error));
                }
            }
        }
    }

    /// The places to bind to have been tried. What is to be connected to stays.
    fn forget_places(&self) -> Option<Box<Tries>> {
        self.look_at_rare(|rare| {
            let are_places = rare.tries.as_ref()?.are_in_place();
            are_places.then(|| rare.tries.take()).flatten()
        })
    }
}

/// See [`Transport::bind`](super::Transport::bind).
pub(super) fn is_for_a_moment(error: &Error) -> bool {
    error.kind() == ErrorKind::AddrInUse && error.io_kind() == Some(io::ErrorKind::WouldBlock)
}
