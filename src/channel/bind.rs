//! Binding: a channel gets an address of its own (rules A7 to A10).

use super::address::Address;
use super::core::{Core, Root};
use super::lifetime::Life;
use super::op::Op;
use crate::future::Promise;

impl Core {
    pub(crate) fn head_bind(&self, local: Address, promise: Promise) {
        if self.in_transport.get() {
            return self.push_root(Root::HeadOp(Op::Bind(Box::new(local), promise)));
        }
        if self.life.get() >= Life::Closing {
            promise.try_failure(self.closed_error());
            return;
        }
        if !promise.set_uncancellable() {
            return;
        }
        let was_active = self.life.get() == Life::Active;
        if let Err(error) = self.with_transport(|transport, io| transport.bind(io, &local)) {
            promise.try_failure(error);
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
}
