//! [`LookUps`]: who waits for which name, on a few threads that ask the system. Called by `resolver`.
//!
//! The system's call may take half a minute if a name server is silent, and nobody can end it. So whoever asks for a name that
//! is being looked up waits for that answer: a name that everybody asks for has one thread, and the others are left to
//! other names.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::channel::Address;
use crate::error::{Error, ErrorKind};
use crate::future::TaskPromise;
use crate::transport::blocking::Pool;

/// The addresses of a host; their port counts for nothing.
type Find = fn(&str) -> io::Result<Vec<SocketAddr>>;

/// Names that are looked up. A static, as its threads are.
pub(super) struct LookUps {
    threads: Pool,
    find: Find,
    asked: OnceLock<Mutex<HashMap<Arc<str>, Vec<Waiting>>>>,
}

/// Somebody who waits for a name. The name is not its own.
struct Waiting {
    port: u16,
    answer: TaskPromise<Vec<Address>>,
}

impl LookUps {
    pub(super) const fn new(threads: Pool, find: Find) -> Self {
        Self {
            threads,
            find,
            asked: OnceLock::new(),
        }
    }

    /// Answers with the addresses of `host`, now or later, on another thread.
    pub(super) fn ask(
        &'static self,
        host: &Arc<str>,
        port: u16,
        answer: TaskPromise<Vec<Address>>,
    ) {
        let one = Waiting { port, answer };
        let mut asked = self.lock();
        if let Some(waiting) = asked.get_mut(host) {
            // Who has given up stays in a row only until it would grow.
            if waiting.len() == waiting.capacity() {
                waiting.retain(|one| !one.answer.is_done());
            }
            waiting.push(one);
            return;
        }
        asked.insert(host.clone(), vec![one]);
        drop(asked);
        let look_up = LookUp {
            of: self,
            host: host.clone(),
            is_over: false,
        };
        if let Err(mut look_up) = self.threads.run(look_up, LookUp::run) {
            look_up.settle(&Err(Error::new(
                ErrorKind::Exhausted,
                "no thread could be started to look up a name",
            )));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Vec<Waiting>>> {
        let asked = self.asked.get_or_init(Mutex::default);
        asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The look-up of one name. Until it is over its name is in `asked`.
struct LookUp {
    of: &'static LookUps,
    host: Arc<str>,
    is_over: bool,
}

impl LookUp {
    fn run(mut self) {
        if self.is_in_vain() {
            return;
        }
        let found = (self.of.find)(&self.host).map_err(|error| {
            let text = format!("looking up {}", self.host);
            Error::with_source(ErrorKind::Unresolved, text, error)
        });
        self.settle(&found);
    }

    /// Whether nobody waits any more; then it is over.
    fn is_in_vain(&mut self) -> bool {
        let mut asked = self.of.lock();
        let waiting = asked.get(&self.host);
        if waiting.is_some_and(|waiting| waiting.iter().any(|one| !one.answer.is_done())) {
            return false;
        }
        let given_up = asked.remove(&self.host);
        self.is_over = true;
        drop(asked);
        drop(given_up);
        true
    }

    fn settle(&mut self, found: &Result<Vec<SocketAddr>, Error>) {
        for one in self.end() {
            let with_port = |found: &Vec<SocketAddr>| {
                let mut found = found.clone();
                found
                    .iter_mut()
                    .for_each(|address| address.set_port(one.port));
                found.into_iter().map(Address::Inet).collect()
            };
            one.answer
                .complete(found.as_ref().map(with_port).map_err(Error::clone));
        }
    }

    /// From here on whoever asks for the name is a look-up of its own.
    fn end(&mut self) -> Vec<Waiting> {
        if std::mem::replace(&mut self.is_over, true) {
            return Vec::new();
        }
        self.of.lock().remove(&self.host).unwrap_or_default()
    }
}

/// A look-up that panics leaves nobody waiting: answers that are dropped fail.
impl Drop for LookUp {
    fn drop(&mut self) {
        drop(self.end());
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::mpsc::{self, Receiver, Sender};
    use std::time::Duration;

    use super::*;
    use crate::future::{OnCaller, TaskFuture};

    const LONG: Duration = Duration::from_secs(30);

    /// Names that were looked up, and who lets those that begin with "silent" end.
    struct Desk {
        found: Mutex<Vec<String>>,
        silence: Mutex<Option<Receiver<()>>>,
    }

    impl Desk {
        const fn new() -> Self {
            Self {
                found: Mutex::new(Vec::new()),
                silence: Mutex::new(None),
            }
        }

        fn find(&self, host: &str) -> io::Result<Vec<SocketAddr>> {
            self.found.lock().unwrap().push(host.to_owned());
            assert_ne!(host, "panic", "this one panics on purpose");
            if host.starts_with("silent") {
                let silence = self.silence.lock().unwrap().take();
                let _ = silence.expect("one look-up of it").recv();
            }
            Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))])
        }

        /// The next silent name is silent until the sender is dropped.
        fn keep_silent(&self) -> Sender<()> {
            let (end, silence) = mpsc::channel();
            *self.silence.lock().unwrap() = Some(silence);
            end
        }

        fn found(&self, host: &str) -> usize {
            let found = self.found.lock().unwrap();
            found.iter().filter(|found| *found == host).count()
        }
    }

    fn ask(look_ups: &'static LookUps, host: &str, port: u16) -> TaskFuture<Vec<Address>> {
        let (answer, found) = TaskPromise::pair(OnCaller::host());
        look_ups.ask(&Arc::from(host), port, answer);
        found
    }

    /// Rules: G7
    #[test]
    fn a_name_that_nobody_answers_holds_one_thread_however_often_it_is_asked_for() {
        static DESK: Desk = Desk::new();
        static LOOK_UPS: LookUps =
            LookUps::new(Pool::new("test-look-up", 2), |host| DESK.find(host));
        let end = DESK.keep_silent();
        let silent: Vec<_> = (0..50).map(|port| ask(&LOOK_UPS, "silent", port)).collect();
        let other = ask(&LOOK_UPS, "other", 80).sync_timeout(LONG).unwrap();
        assert_eq!(other[0].as_inet().unwrap().port(), 80);
        assert!(silent.iter().all(|silent| !silent.is_done()));
        drop(end);
        for (port, silent) in silent.iter().enumerate() {
            let found = silent.sync_timeout(LONG).unwrap();
            assert_eq!(usize::from(found[0].as_inet().unwrap().port()), port);
        }
        assert_eq!(DESK.found("silent"), 1);
        // The next one asks anew.
        ask(&LOOK_UPS, "other", 81).sync_timeout(LONG).unwrap();
        assert_eq!(DESK.found("other"), 2);
    }

    /// Rules: G7
    #[test]
    fn a_name_that_nobody_waits_for_any_more_is_not_looked_up() {
        static DESK: Desk = Desk::new();
        static LOOK_UPS: LookUps =
            LookUps::new(Pool::new("test-look-up", 1), |host| DESK.find(host));
        let end = DESK.keep_silent();
        let silent = ask(&LOOK_UPS, "silent", 1);
        for port in 0..50 {
            assert!(ask(&LOOK_UPS, "given up", port).cancel());
        }
        let other = ask(&LOOK_UPS, "other", 1);
        drop(end);
        other.sync_timeout(LONG).unwrap();
        silent.sync_timeout(LONG).unwrap();
        assert_eq!(DESK.found("given up"), 0);
        ask(&LOOK_UPS, "given up", 1).sync_timeout(LONG).unwrap();
        assert!(LOOK_UPS.lock().is_empty());
    }

    /// Rules: G7
    #[test]
    fn a_look_up_that_panics_fails_those_who_wait_for_it() {
        static DESK: Desk = Desk::new();
        static LOOK_UPS: LookUps =
            LookUps::new(Pool::new("test-look-up", 1), |host| DESK.find(host));
        for _ in 0..2 {
            let error = ask(&LOOK_UPS, "panic", 1).sync_timeout(LONG).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Dropped);
        }
        assert_eq!(DESK.found("panic"), 2);
    }
}
