//! [`Tries`]: the addresses of a name that are still to be tried, and what has become of the others. A channel has one from
//! its opening, by a bootstrap that looks its peer's name up, until it is connected; `connect` goes by it.
//!
//! A socket whose connect has failed cannot be used again, so each try has a transport of its own. What was set on one is
//! set on the next.

use std::collections::VecDeque;

use super::address::Address;
use super::options::{OptionId, OptionSet, OptionValue};
use super::transport::Transport;
use crate::error::Error;

/// Makes another transport like the first.
pub(crate) type Renew = Box<dyn Fn() -> Box<dyn Transport> + Send>;

/// See the module's page.
pub(crate) struct Tries {
    renew: Renew,
    /// What was set on the transport, by anybody.
    options: OptionSet,
    /// The address that is tried, and where from, once there is one.
    current: Option<(Address, Option<Address>)>,
    rest: VecDeque<Address>,
    failures: Vec<Error>,
}

/// What the next try begins with.
pub(crate) struct Try {
    pub(crate) transport: Box<dyn Transport>,
    pub(crate) remote: Address,
    pub(crate) local: Option<Address>,
    /// Whether the options could be set.
    pub(crate) set: Result<(), Error>,
}

impl Tries {
    pub(crate) fn new(renew: Renew) -> Self {
        Self {
            renew,
            options: OptionSet::new(),
            current: None,
            rest: VecDeque::new(),
            failures: Vec::new(),
        }
    }

    /// An option was set on the transport.
    pub(crate) fn note(&mut self, id: OptionId, value: &OptionValue) {
        // It was checked before it was set.
        let _ = self.options.set_erased(id, value.clone());
    }

    /// The name has these addresses. The first is for the caller to connect to, from `local`.
    pub(crate) fn found(&mut self, first: &Address, local: &Option<Address>, rest: Vec<Address>) {
        self.current = Some((first.clone(), local.clone()));
        self.rest = rest.into();
    }

    /// Whether a connect to `remote` is the one that was asked for. A handler may have made another of it.
    pub(crate) fn is_on(&self, remote: &Address) -> bool {
        self.current.as_ref().is_some_and(|(on, _)| on == remote)
    }

    /// The current try has failed: the next one, if there is one.
    pub(crate) fn next(&mut self, error: &Error) -> Option<Try> {
        let remote = self.rest.pop_front()?;
        self.failures.push(error.clone());
        let (current, local) = self.current.as_mut()?;
        *current = remote.clone();
        let mut transport = (self.renew)();
        let set = self
            .options
            .iter()
            .try_for_each(|(id, value)| transport.set_option(id, value));
        Some(Try {
            transport,
            remote,
            local: local.clone(),
            set,
        })
    }

    /// What is said of all tries, of which the last failed with `last`.
    pub(crate) fn verdict(&self, last: Error) -> Error {
        if self.failures.is_empty() {
            return last;
        }
        let earlier: Vec<String> = self.failures.iter().map(Error::to_string).collect();
        let count = earlier.len() + 1;
        let text = format!("{count} addresses tried: {}; last", earlier.join("; "));
        let fault = last.fault();
        Error::with_source(last.kind(), text, last).with_fault(fault)
    }
}
