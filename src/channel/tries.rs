//! [`Tries`]: the addresses of a name that are still to be tried, and what has become of the others. A channel has one from
//! its opening, by a bootstrap that looks its peer's name up, until it is connected; `connect` goes by it. One that is to be
//! bound has one from the answer of the resolver until it is; `bind` goes by that.
//!
//! A socket whose connect has failed cannot be used again, so each try has a transport of its own. What was set on one is
//! set on the next; what one still has to tell when the next has its place is dropped ([`TryDesk`]). A transport that
//! failed to bind has no socket, and binds again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::address::Address;
use super::options::{OptionId, OptionSet, OptionValue};
use super::shared::Shared;
use super::signal::{News, NewsDesk};
use super::transport::Transport;
use crate::error::Error;

/// How many addresses of one name are tried at most. An answer of 512 bytes, which is what DNS had room for once (RFC 1035,
/// 4.2.1), has 28 addresses, and resolvers of today give more; at 30 s each (`CONNECT_TIMEOUT`) that is a quarter of an hour
/// for one connect. Names of services have eight at most in each of both families (what Amazon's Route 53 gives in one answer).
/// tokio and std have no bound, Go has one time for all of them, Netty takes the first.
const TRIES_MAX: usize = 16;

/// Makes another transport like the first.
pub(crate) type Renew = Box<dyn Fn() -> Box<dyn Transport> + Send>;

/// See the module's page.
pub(crate) struct Tries {
    /// `None` if one transport does for all tries.
    renew: Option<Renew>,
    /// What was set on the transport, by anybody.
    options: OptionSet,
    /// The address that is tried, and where from, once there is one.
    current: Option<(Address, Option<Address>)>,
    rest: VecDeque<Address>,
    /// How many addresses are one too many, and will not be tried.
    beyond: usize,
    failures: Vec<Error>,
    /// Where the current transport reports to, if it has asked.
    desk: Option<Arc<TryDesk>>,
}

/// Where the transport of one try reports to. Its news counts until another transport has its place, which may be before
/// the news has come to the loop: a thread of the old one that is woken takes its time.
pub(crate) struct TryDesk {
    shared: Arc<Shared>,
    /// Written and read on the channel's loop.
    is_replaced: AtomicBool,
}

impl NewsDesk for TryDesk {
    fn take_news(self: Arc<Self>, news: News) {
        let desk = self.clone();
        self.shared.tell_core(move |core| {
            if !desk.is_replaced.load(Ordering::Relaxed) {
                core.on_news(news);
            }
        });
    }
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
    /// With another transport for each try.
    pub(crate) fn renewing(renew: Renew) -> Self {
        Self::new(Some(renew))
    }

    /// With the transport that there is.
    pub(crate) fn in_place() -> Self {
        Self::new(None)
    }

    fn new(renew: Option<Renew>) -> Self {
        Self {
            renew,
            options: OptionSet::new(),
            current: None,
            rest: VecDeque::new(),
            beyond: 0,
            failures: Vec::new(),
            desk: None,
        }
    }

    /// Whether one transport does for all tries.
    pub(crate) fn are_in_place(&self) -> bool {
        self.renew.is_none()
    }

    /// An option was set on the transport.
    pub(crate) fn note(&mut self, id: OptionId, value: &OptionValue) {
        // It was checked before it was set.
        let _ = self.options.set_erased(id, value.clone());
    }

    /// The name has these addresses. The first is for the caller to connect to, from `local`, or to bind to.
    pub(crate) fn found(&mut self, first: &Address, local: &Option<Address>, rest: Vec<Address>) {
        self.current = Some((first.clone(), local.clone()));
        self.rest = rest.into();
        self.beyond = self.rest.len().saturating_sub(TRIES_MAX - 1);
        self.rest.truncate(TRIES_MAX - 1);
    }

    /// Whether a connect or a bind to `address` is the one that was asked for. A handler may have made another of it.
    pub(crate) fn is_on(&self, address: &Address) -> bool {
        self.current.as_ref().is_some_and(|(on, _)| on == address)
    }

    /// This try and those that follow are from `local`.
    pub(crate) fn leave_from(&mut self, local: Option<Address>) {
        if let Some((_, from)) = &mut self.current {
            *from = local;
        }
    }

    /// Where the current transport of the channel `shared` reports to.
    pub(crate) fn desk(&mut self, shared: &Arc<Shared>) -> Arc<TryDesk> {
        let new = || TryDesk {
            shared: shared.clone(),
            is_replaced: AtomicBool::new(false),
        };
        self.desk.get_or_insert_with(|| Arc::new(new())).clone()
    }

    /// The current try has failed: the next one, if there is one. The transport of the failed one is not heard any more.
    pub(crate) fn next(&mut self, error: &Error) -> Option<Try> {
        let make = self.renew.as_ref()?;
        if self.rest.is_empty() {
            return None;
        }
        let mut transport = make();
        let remote = self.next_address(error)?;
        if let Some(desk) = self.desk.take() {
            desk.is_replaced.store(true, Ordering::Relaxed);
        }
        let (_, local) = self.current.as_ref()?;
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

    /// The same where one transport does for all.
    pub(crate) fn next_in_place(&mut self, error: &Error) -> Option<Address> {
        self.are_in_place().then(|| self.next_address(error))?
    }

    fn next_address(&mut self, error: &Error) -> Option<Address> {
        let next = self.rest.pop_front()?;
        self.failures.push(error.clone());
        self.current.as_mut()?.0 = next.clone();
        Some(next)
    }

    /// What is said of all tries, of which the last failed with `last`.
    pub(crate) fn verdict(&self, last: Error) -> Error {
        if self.failures.is_empty() {
            return last;
        }
        let earlier: Vec<String> = self.failures.iter().map(Error::to_string).collect();
        let count = earlier.len() + 1;
        let beyond = match self.beyond {
            0 => String::new(),
            more => format!(" of {}", count + more),
        };
        let earlier = earlier.join("; ");
        let text = format!("{count}{beyond} addresses tried: {earlier}; last");
        let fault = last.fault();
        Error::with_source(last.kind(), text, last).with_fault(fault)
    }
}
