//! The machine of listeners: what to do with each outcome of an accept. It never ends a listener and never spins.
//!
//! | failure | whose | outcome |
//! |---|---|---|
//! | none is waiting | | readiness will tell |
//! | the client is gone | peer | the next one, at once; after many in a row a short rest |
//! | no descriptors, no memory | machine | a rest that ends when one of our descriptors is closed; or shedding |
//! | anything else | us | an error to the pipeline, then a rest |

use std::fmt::Display;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tidegate_sys::os::{Time, clock, fd, net::AcceptFailure};

use crate::channel::AcceptOverload;
use crate::error::Error;
use crate::event_loop::AcceptCounters;

/// How long to wait for a descriptor at most; closing one of ours ends it earlier.
const EXHAUSTED_REST: Duration = Duration::from_millis(50);

/// How long after an error of the listening socket itself the next attempt is made. Netty's figure.
const BROKEN_REST: Duration = Duration::from_secs(1);

/// A server at the limit gets a descriptor with each client that leaves, and rests again behind the next one. It is told of once in so
/// long.
const TOLD_REST: Duration = Duration::from_secs(60);

/// Failed clients in a row before others have their turn: each took a place in the queue, but an errno that comes
/// without one would have us spin.
const FAILED_CLIENTS_MAX: u32 = 64;
const FAILED_CLIENTS_REST: Duration = Duration::from_millis(1);

/// Clients told off in one rest.
const SHED_MAX: u32 = 16;

/// What came of one step.
#[derive(Debug)]
pub(crate) enum Accept<A> {
    One(A),
    Empty,
    /// Not before so long, or a descriptor of ours is closed.
    Rest(Duration),
}

/// The memory of a listener.
#[derive(Debug)]
pub(crate) struct Acceptor {
    overload: AcceptOverload,
    /// Held while shedding is chosen: giving it back lets one client be accepted and told off.
    reserve: Option<OwnedFd>,
    open_reserve: fn() -> io::Result<OwnedFd>,
    /// Rests for want of descriptors since the log was told of one, or that accepting goes on.
    rests: u64,
    /// When that was.
    told_at: Option<Time>,
    /// Whether it has still to hear that accepting goes on.
    is_told: bool,
    /// Set by an error of the socket itself.
    broken_until: Option<Time>,
}

impl Default for Acceptor {
    fn default() -> Self {
        Self {
            overload: AcceptOverload::default(),
            reserve: None,
            open_reserve: fd::open_reserve,
            rests: 0,
            told_at: None,
            is_told: false,
            broken_until: None,
        }
    }
}

impl Acceptor {
    pub(crate) fn overload(&self) -> AcceptOverload {
        self.overload
    }

    /// Chooses what to do without descriptors. Shedding takes its reserve now, while there are some.
    pub(crate) fn set_overload(&mut self, overload: AcceptOverload) -> io::Result<()> {
        self.reserve = match overload {
            AcceptOverload::Pause => None,
            AcceptOverload::Shed => Some((self.open_reserve)()?),
        };
        self.overload = overload;
        Ok(())
    }

    /// One step: `accept` is called until it gives a connection or something to wait for.
    pub(crate) fn accept<A>(
        &mut self,
        mut accept: impl FnMut() -> io::Result<A>,
        listener: &dyn Display,
        count: &AcceptCounters,
    ) -> Result<Accept<A>, Error> {
        if let Some(until) = self.broken_until {
            let left = until.saturating_since(clock::now());
            if !left.is_zero() {
                return Ok(Accept::Rest(left));
            }
            self.broken_until = None;
        }
        for _ in 0..FAILED_CLIENTS_MAX {
            let error = match accept() {
                Ok(one) => {
                    count.accepted.add(1);
                    self.note_success(listener);
                    return Ok(Accept::One(one));
                }
                Err(error) => error,
            };
            match AcceptFailure::of(&error) {
                AcceptFailure::Empty => return Ok(Accept::Empty),
                AcceptFailure::Client => {
                    count.failed_clients.add(1);
                    tracing::debug!(%listener, %error, "a client was gone before it was accepted");
                }
                AcceptFailure::Exhausted => return Ok(self.rest(accept, &error, listener, count)),
                AcceptFailure::Listener => {
                    count.failures.add(1);
                    self.broken_until = Some(clock::now() + BROKEN_REST);
                    return Err(Error::io(format!("accepting on {listener}"), error));
                }
            }
        }
        Ok(Accept::Rest(FAILED_CLIENTS_REST))
    }

    #[cold]
    fn rest<A>(
        &mut self,
        accept: impl FnMut() -> io::Result<A>,
        error: &io::Error,
        listener: &dyn Display,
        count: &AcceptCounters,
    ) -> Accept<A> {
        count.rests.add(1);
        let now = clock::now();
        let was_told = |at: Time| now.saturating_since(at) < TOLD_REST;
        if self.is_told || self.told_at.is_some_and(was_told) {
            self.rests += 1;
        } else {
            self.told_at = Some(now);
            self.is_told = true;
            let untold_rests = std::mem::take(&mut self.rests);
            tracing::warn!(
                %listener, %error, overload = ?self.overload, untold_rests,
                "accepting rests until a descriptor is free; raise the limit (ulimit -n) or accept fewer clients"
            );
        }
        if self.overload == AcceptOverload::Shed {
            return self.shed(accept, listener, count);
        }
        Accept::Rest(EXHAUSTED_REST)
    }

    /// Accepts clients only to close their connections. The reserve, given back, leaves room for one after the other; then it is
    /// taken again. Somebody else may have been faster both times: then this rest sheds nobody, and the next one tries again.
    fn shed<A>(
        &mut self,
        mut accept: impl FnMut() -> io::Result<A>,
        listener: &dyn Display,
        count: &AcceptCounters,
    ) -> Accept<A> {
        drop(self.reserve.take());
        let mut outcome = Accept::Rest(EXHAUSTED_REST);
        for _ in 0..SHED_MAX {
            match accept() {
                Ok(client) => {
                    // Room for both: descriptors have become free meanwhile.
                    if let Ok(reserve) = (self.open_reserve)() {
                        self.reserve = Some(reserve);
                        count.accepted.add(1);
                        self.note_success(listener);
                        return Accept::One(client);
                    }
                    // Counted first: who sees the connection close may look at the count.
                    count.shed.add(1);
                    drop(client);
                }
                Err(error) => match AcceptFailure::of(&error) {
                    AcceptFailure::Empty => {
                        outcome = Accept::Empty;
                        break;
                    }
                    AcceptFailure::Client => count.failed_clients.add(1),
                    AcceptFailure::Exhausted | AcceptFailure::Listener => break,
                },
            }
        }
        self.reserve = (self.open_reserve)().ok();
        outcome
    }

    #[inline]
    fn note_success(&mut self, listener: &dyn Display) {
        if self.is_told {
            self.is_told = false;
            let rests = std::mem::take(&mut self.rests) + 1;
            tracing::info!(%listener, rests, "accepting goes on");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const EMFILE: i32 = 24;
    const EINVAL: i32 = 22;

    /// Answers from a list, then EAGAIN.
    fn script(answers: &[Result<u32, i32>]) -> impl FnMut() -> io::Result<u32> {
        let mut answers = answers.iter().copied();
        move || match answers.next() {
            Some(Ok(client)) => Ok(client),
            Some(Err(errno)) => Err(io::Error::from_raw_os_error(errno)),
            None => Err(io::Error::from(io::ErrorKind::WouldBlock)),
        }
    }

    fn aborted() -> i32 {
        // Its number differs between systems; std knows it.
        (1..200)
            .find(|errno| {
                io::Error::from_raw_os_error(*errno).kind() == io::ErrorKind::ConnectionAborted
            })
            .expect("every system has ECONNABORTED")
    }

    #[test]
    fn a_client_that_is_gone_does_not_keep_the_next_one_waiting() {
        let count = AcceptCounters::default();
        let mut acceptor = Acceptor::default();
        let outcome = acceptor.accept(
            script(&[Err(aborted()), Err(aborted()), Ok(5)]),
            &"x",
            &count,
        );
        assert!(matches!(outcome, Ok(Accept::One(5))));
        assert_eq!((count.failed_clients.get(), count.accepted.get()), (2, 1));
    }

    #[test]
    fn an_errno_that_never_ends_does_not_spin() {
        let count = AcceptCounters::default();
        let mut acceptor = Acceptor::default();
        let outcome = acceptor.accept(script(&vec![Err(aborted()); 1000]), &"x", &count);
        assert!(matches!(outcome, Ok(Accept::Rest(_))));
        assert_eq!(count.failed_clients.get(), u64::from(FAILED_CLIENTS_MAX));
    }

    #[test]
    fn out_of_descriptors_the_client_stays_in_the_queue() {
        let count = AcceptCounters::default();
        let mut acceptor = Acceptor::default();
        let mut accept = script(&[Err(EMFILE), Ok(1)]);
        let outcome = acceptor.accept(&mut accept, &"x", &count);
        assert!(matches!(outcome, Ok(Accept::Rest(EXHAUSTED_REST))));
        assert!(matches!(
            acceptor.accept(&mut accept, &"x", &count),
            Ok(Accept::One(1))
        ));
        assert_eq!(count.rests.get(), 1);
    }

    thread_local! {
        static DESCRIPTORS: Cell<u32> = const { Cell::new(0) };
    }

    /// A client that takes one of the descriptors there are.
    struct Client;

    impl Client {
        fn of(_: u32) -> Self {
            DESCRIPTORS.set(DESCRIPTORS.get() - 1);
            Self
        }
    }

    impl Drop for Client {
        fn drop(&mut self) {
            DESCRIPTORS.set(DESCRIPTORS.get() + 1);
        }
    }

    /// An acceptor that sheds, where so many descriptors are left besides its reserve.
    fn shedding(left: u32) -> Acceptor {
        let mut acceptor = Acceptor::default();
        acceptor.set_overload(AcceptOverload::Shed).unwrap();
        DESCRIPTORS.set(left + 1);
        acceptor.open_reserve = || match DESCRIPTORS.get() {
            0 => Err(io::Error::from_raw_os_error(EMFILE)),
            _ => fd::open_reserve(),
        };
        acceptor
    }

    /// A server at its limit rests behind each client that comes in place of one that has left.
    #[test]
    fn the_log_is_told_once_in_a_while() {
        let count = AcceptCounters::default();
        let mut acceptor = Acceptor::default();
        let rest_and_go_on = |acceptor: &mut Acceptor| {
            for answers in [[Err(EMFILE)], [Err(EMFILE)], [Ok(1)]] {
                acceptor.accept(script(&answers), &"x", &count).unwrap();
            }
        };
        rest_and_go_on(&mut acceptor);
        let first = acceptor.told_at;
        assert!(first.is_some() && !acceptor.is_told);
        assert_eq!(acceptor.rests, 0);
        for _ in 0..10 {
            rest_and_go_on(&mut acceptor);
        }
        assert_eq!(acceptor.told_at, first);
        assert_eq!((acceptor.rests, count.rests.get()), (20, 22));
        // As if that was long ago.
        acceptor.told_at = None;
        rest_and_go_on(&mut acceptor);
        assert!(acceptor.told_at.is_some());
        assert_eq!(acceptor.rests, 0);
    }

    /// Rules: D23
    #[test]
    fn shedding_tells_off_so_many_clients_and_rests() {
        let count = AcceptCounters::default();
        let mut acceptor = shedding(0);
        let mut answers = vec![Err(EMFILE)];
        answers.extend((0..20).map(Ok));
        let mut script_of_clients = script(&answers);
        let mut accept = || script_of_clients().map(Client::of);
        let outcome = acceptor.accept(&mut accept, &"x", &count);
        assert!(matches!(outcome, Ok(Accept::Rest(EXHAUSTED_REST))));
        assert_eq!(count.shed.get(), u64::from(SHED_MAX));
        assert!(acceptor.reserve.is_some());
        // The queue ran empty while shedding: readiness will tell.
        let mut script_of_clients = script(&[Err(EMFILE), Ok(1)]);
        let outcome = acceptor.accept(|| script_of_clients().map(Client::of), &"x", &count);
        assert!(matches!(outcome, Ok(Accept::Empty)));
        assert!(acceptor.reserve.is_some());
    }

    /// Somebody has closed a descriptor between the accept that found none and the next.
    ///
    /// Rules: D23
    #[test]
    fn nobody_is_told_off_while_there_is_room() {
        let count = AcceptCounters::default();
        let mut acceptor = shedding(1);
        let mut script_of_clients = script(&[Err(EMFILE), Ok(1)]);
        let outcome = acceptor.accept(|| script_of_clients().map(Client::of), &"x", &count);
        assert!(matches!(outcome, Ok(Accept::One(_))));
        assert_eq!((count.shed.get(), count.accepted.get()), (0, 1));
        assert!(acceptor.reserve.is_some());
    }

    #[test]
    fn a_broken_listener_is_told_of_and_rests() {
        let count = AcceptCounters::default();
        let mut acceptor = Acceptor::default();
        let mut accept = script(&[Err(EINVAL), Ok(1)]);
        let outcome = acceptor.accept(&mut accept, &"0.0.0.0:80", &count);
        assert!(
            outcome
                .unwrap_err()
                .to_string()
                .contains("accepting on 0.0.0.0:80")
        );
        assert!(matches!(
            acceptor.accept(&mut accept, &"x", &count),
            Ok(Accept::Rest(_))
        ));
        acceptor.broken_until = Some(Time::ZERO);
        assert!(matches!(
            acceptor.accept(&mut accept, &"x", &count),
            Ok(Accept::One(1))
        ));
    }
}
