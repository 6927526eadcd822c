//! Names into addresses, never on a loop (rule G7).

use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::Duration;

use super::hosts;
use super::look_ups::{Line, LookUps};
use crate::channel::look_up::looking_up;
use crate::channel::{Address, Channel};
use crate::error::{Error, ErrorKind};
use crate::future::{Promise, TaskPromise};
use crate::transport::blocking::Pool;

/// Looks up the names in [`Address::Unresolved`] for bootstraps.
///
/// `resolve` is called on a loop and must not block. It settles `answer` from any thread, now or later; an `answer`
/// that is dropped fails the operation that asked. One that [`is_done`](TaskPromise::is_done) already was cancelled: the
/// channel has closed, or its `CONNECT_TIMEOUT` was over.
pub trait Resolver: Send + Sync {
    /// Looks up `host`. The answer is its addresses, with `port` in them, the best one first: connects and binds try one
    /// after the other, 16 at most. None at all fails the operation.
    fn resolve(&self, host: &Arc<str>, port: u16, answer: TaskPromise<Vec<Address>>);
}

/// The system's own resolver (getaddrinfo, with /etc/hosts and all), on threads that are started when names are looked up and
/// end when there are none. It gives all addresses of a name, in the system's order (RFC 6724, /etc/gai.conf).
///
/// Up to 16 names are looked up at a time, each once: who asks for one that is being looked up waits for the same answer. So a
/// name whose server is silent does not hold up the others, however many connects there are to it. Nothing is remembered.
///
/// While 16 names wait for silent servers, for half a minute perhaps, `localhost` and what /etc/hosts has are answered from there.
/// Others wait in line, for 15 seconds at most: then they fail with [`ErrorKind::Exhausted`], the machine's fault.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

/// Names that are looked up at the same time; others wait for one of these. A look-up may take half a minute if the name
/// server is silent.
const THREADS_MAX: usize = 16;

/// How long a name waits for one of these. Longer than a look-up takes of which the only server is silent, by default (two times 5 s:
/// resolv.conf(5)): so one that comes together with these has its turn.
const PATIENCE: Duration = Duration::from_secs(15);

static LOOK_UPS: LookUps = LookUps::new(
    Pool::new("tidegate-resolve", THREADS_MAX),
    |host| Ok((host, 0).to_socket_addrs()?.collect()),
    Line {
        here: Pool::new("tidegate-hosts", 1),
        find_here: hosts::find,
        watch: Pool::new("tidegate-line", 1),
        patience: PATIENCE,
    },
);

impl Resolver for SystemResolver {
    fn resolve(&self, host: &Arc<str>, port: u16, answer: TaskPromise<Vec<Address>>) {
        LOOK_UPS.ask(host, port, answer);
    }
}

/// At least one address of this name.
fn some(found: Vec<Address>, host: &str) -> Result<Vec<Address>, Error> {
    if found.is_empty() {
        let text = format!("looking up {host}: it has no address");
        return Err(Error::new(ErrorKind::Unresolved, text));
    }
    Ok(found)
}

/// Whether an error says already which host it is about. One of a promise that was dropped does not, even if it has these
/// letters.
fn is_named(host: &str, error: &Error) -> bool {
    let is_in_a_word = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let text = error.to_string();
    let bytes = text.as_bytes();
    let is_whole = |at: usize| {
        let before = at.checked_sub(1).and_then(|at| bytes.get(at));
        !is_in_a_word(before) && !is_in_a_word(bytes.get(at + host.len()))
    };
    error.kind() != ErrorKind::Dropped && text.match_indices(host).any(|(at, _)| is_whole(at))
}

/// What is done with the addresses, and with the promise of it.
pub(super) enum Wish {
    /// A connect: CONNECT_TIMEOUT holds for the look-up as well.
    Connect,
    Bind,
}

/// Gives `then` the address, or those of its name, looked up first if it is a name and there is a resolver, and `promise`, which
/// is settled without it if there is no address. Called in the turn of the channel's loop, and so is `then`: at once, or later.
/// If the channel ends before, the promise has failed by then, and `then` is dropped.
pub(super) fn resolved(
    resolver: Option<&Arc<dyn Resolver>>,
    address: Address,
    wish: Wish,
    channel: &Channel,
    promise: Promise,
    then: impl FnOnce(&Channel, Vec<Address>, Promise) + Send + 'static,
) {
    let (Some(resolver), Address::Unresolved(name, port)) = (resolver, &address) else {
        return then(channel, vec![address], promise);
    };
    let (answer, found) = TaskPromise::pair(channel.shared().clone());
    let is_timed = matches!(wish, Wish::Connect);
    if !channel.begin_look_up(name, found.completion(), is_timed, promise) {
        return;
    }
    let (host, channel) = (name.clone(), channel.clone());
    found.on_result(move |found| {
        let Some(promise) = channel.end_look_up() else {
            return;
        };
        match found.and_then(|found| some(found, &host)) {
            Ok(addresses) => then(&channel, addresses, promise),
            Err(error) if is_named(&host, &error) => drop(promise.try_failure(error)),
            Err(error) => drop(promise.try_failure(looking_up(&host, error))),
        }
    });
    resolver.resolve(name, *port, answer);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::future::OnCaller;

    #[test]
    fn names_of_this_machine_and_names_of_nobody() {
        let ask = |name: &str| {
            let (answer, found) = TaskPromise::pair(OnCaller::host());
            SystemResolver.resolve(&Arc::from(name), 80, answer);
            found.sync_timeout(Duration::from_secs(30))
        };
        let local = ask("localhost").unwrap();
        assert!(!local.is_empty());
        for address in local {
            let address = address.as_inet().unwrap();
            assert!(address.ip().is_loopback() && address.port() == 80);
        }
        // Reserved by RFC 6761; this one is refused without asking a server, because a label is too long.
        let nobody = ask(&format!("{}.invalid", "x".repeat(80))).unwrap_err();
        assert_eq!(nobody.kind(), ErrorKind::Unresolved);
    }
}
