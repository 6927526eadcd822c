//! [`LookUps`]: who waits for which name, on a few threads that ask the system. Called by `resolver`.
//!
//! The system's call may take half a minute if a name server is silent, and nobody can end it. So whoever asks for a name that
//! is being looked up waits for that answer: a name that everybody asks for has one thread, and the others are left to
//! other names. When all threads are taken, a name that this machine knows by itself is answered all the same, by a thread that
//! asks nobody; another one waits in line, and fails if no thread is free for it in time.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::channel::Address;
use crate::error::{Error, ErrorKind};
use crate::future::TaskPromise;
use crate::transport::blocking::Pool;

/// The addresses of a host; their port counts for nothing.
type Find = fn(&str) -> io::Result<Vec<SocketAddr>>;

/// The same of a host that is known without asking; none if it is not.
type FindHere = fn(&str) -> Vec<SocketAddr>;

/// Names that are looked up. A static, as its threads are.
pub(super) struct LookUps {
    threads: Pool,
    find: Find,
    line: Line,
    asked: OnceLock<Mutex<Asked>>,
}

/// What is done for names that no thread is free for.
pub(super) struct Line {
    /// A thread that asks nobody, and so is soon free.
    pub(super) here: Pool,
    pub(super) find_here: FindHere,
    /// A thread that sends away who has waited for too long. One is enough: who comes first is over first.
    pub(super) watch: Pool,
    pub(super) patience: Duration,
}

/// Who has asked.
#[derive(Default)]
struct Asked {
    names: HashMap<Arc<str>, Name>,
    next_ticket: u64,
}

/// A name that is looked up, or waits for that.
struct Name {
    /// Not that of the same name, asked for again later.
    ticket: u64,
    has_begun: bool,
    waiting: Vec<Waiting>,
}

/// Somebody who waits for a name. The name is not its own.
struct Waiting {
    port: u16,
    answer: TaskPromise<Vec<Address>>,
}

impl LookUps {
    pub(super) const fn new(threads: Pool, find: Find, line: Line) -> Self {
        Self {
            threads,
            find,
            line,
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
        if let Some(Name { waiting, .. }) = asked.names.get_mut(host) {
            // Who has given up stays in a row only until it would grow.
            if waiting.len() == waiting.capacity() {
                waiting.retain(|one| !one.answer.is_done());
            }
            waiting.push(one);
            return;
        }
        let ticket = asked.next_ticket;
        asked.next_ticket += 1;
        let name = Name {
            ticket,
            has_begun: false,
            waiting: vec![one],
        };
        asked.names.insert(host.clone(), name);
        drop(asked);
        let look_up = LookUp {
            of: self,
            host: host.clone(),
            is_over: false,
        };
        match self.threads.run(look_up, LookUp::run) {
            Ok(false) => {}
            Ok(true) => self.stand_in_line(host, ticket),
            Err(mut look_up) => look_up.settle(&Err(Error::new(
                ErrorKind::Exhausted,
                "no thread could be started to look up a name",
            ))),
        }
    }

    /// No thread was free. If none can be started for what is done meanwhile either, the name waits for as long as it takes.
    fn stand_in_line(&'static self, host: &Arc<str>, ticket: u64) {
        let name = host.clone();
        let _ = self.line.here.run(name, move |host| {
            let found = (self.line.find_here)(&host);
            if !found.is_empty() {
                self.leave_line(&host, ticket, &Ok(found));
            }
        });
        let over = Instant::now() + self.line.patience;
        let _ = self.line.watch.run(host.clone(), move |host| {
            thread::sleep(over.saturating_duration_since(Instant::now()));
            let (most, patience) = (self.threads.threads_max(), self.line.patience);
            let text = format!(
                "looking up {host}: {most} other names are being looked up, and within {patience:?} no answer has made room \
                 for one more; is the name server reachable?"
            );
            let error = Error::new(ErrorKind::Exhausted, text);
            self.leave_line(&host, ticket, &Err(error));
        });
    }

    /// Answers who waits for a name that is not being looked up yet.
    fn leave_line(&self, host: &Arc<str>, ticket: u64, found: &Result<Vec<SocketAddr>, Error>) {
        let mut asked = self.lock();
        let waits = |name: &Name| name.ticket == ticket && !name.has_begun;
        let left = if asked.names.get(host).is_some_and(waits) {
            asked.names.remove(host)
        } else {
            None
        };
        drop(asked);
        if let Some(name) = left {
            answer(name.waiting, found);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        let asked = self.asked.get_or_init(Mutex::default);
        asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The look-up of one name. Until it is over its name is in `asked`, unless it has left the line.
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

    /// Whether nobody waits any more; then it is over. If somebody does it begins.
    fn is_in_vain(&mut self) -> bool {
        let mut asked = self.of.lock();
        if let Some(name) = asked.names.get_mut(&self.host)
            && name.waiting.iter().any(|one| !one.answer.is_done())
        {
            name.has_begun = true;
            return false;
        }
        let given_up = asked.names.remove(&self.host);
        self.is_over = true;
        drop(asked);
        drop(given_up);
        true
    }

    fn settle(&mut self, found: &Result<Vec<SocketAddr>, Error>) {
        answer(self.end(), found);
    }

    /// From here on whoever asks for the name is a look-up of its own.
    fn end(&mut self) -> Vec<Waiting> {
        if std::mem::replace(&mut self.is_over, true) {
            return Vec::new();
        }
        let name = self.of.lock().names.remove(&self.host);
        name.map(|name| name.waiting).unwrap_or_default()
    }
}

/// Tells each of them, with its own port.
fn answer(waiting: Vec<Waiting>, found: &Result<Vec<SocketAddr>, Error>) {
    for one in waiting {
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

    use super::*;
    use crate::future::{OnCaller, TaskFuture};

    const LONG: Duration = Duration::from_secs(30);

    const fn line(find_here: FindHere, patience: Duration) -> Line {
        Line {
            here: Pool::new("test-here", 1),
            find_here,
            watch: Pool::new("test-watch", 1),
            patience,
        }
    }

    /// Nothing is known, and nobody is sent away.
    const fn endless_line() -> Line {
        line(|_| Vec::new(), Duration::from_secs(3_600))
    }

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
        static LOOK_UPS: LookUps = LookUps::new(
            Pool::new("test-look-up", 2),
            |host| DESK.find(host),
            endless_line(),
        );
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
        static LOOK_UPS: LookUps = LookUps::new(
            Pool::new("test-look-up", 1),
            |host| DESK.find(host),
            endless_line(),
        );
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
        assert!(LOOK_UPS.lock().names.is_empty());
    }

    /// All threads wait for silent servers: what this machine knows by itself is answered all the same.
    ///
    /// Rules: G7
    #[test]
    fn names_of_this_machine_do_not_wait_for_silent_servers() {
        static DESK: Desk = Desk::new();
        static LOOK_UPS: LookUps = LookUps::new(
            Pool::new("test-look-up", 1),
            |host| DESK.find(host),
            line(crate::bootstrap::hosts::find, Duration::from_secs(3_600)),
        );
        let end = DESK.keep_silent();
        let silent = ask(&LOOK_UPS, "silent", 1);
        for port in 1..10 {
            let found = ask(&LOOK_UPS, "localhost", port)
                .sync_timeout(LONG)
                .unwrap();
            let first = found[0].as_inet().unwrap();
            assert!(first.ip().is_loopback() && first.port() == port);
        }
        let other = ask(&LOOK_UPS, "other", 80);
        assert!(!silent.is_done() && !other.is_done());
        drop(end);
        silent.sync_timeout(LONG).unwrap();
        other.sync_timeout(LONG).unwrap();
        assert_eq!((DESK.found("localhost"), DESK.found("other")), (0, 1));
    }

    /// The others fail in time, and say why; who asks again later is not sent away with them.
    ///
    /// Rules: G7
    #[test]
    fn who_waits_in_line_for_too_long_is_told_why() {
        static DESK: Desk = Desk::new();
        static LOOK_UPS: LookUps = LookUps::new(
            Pool::new("test-look-up", 1),
            |host| DESK.find(host),
            line(|_| Vec::new(), Duration::from_millis(20)),
        );
        let end = DESK.keep_silent();
        let silent = ask(&LOOK_UPS, "silent", 1);
        let begun = Instant::now();
        let waiting = [ask(&LOOK_UPS, "other", 1), ask(&LOOK_UPS, "other", 2)];
        for waiting in waiting {
            let error = waiting.sync_timeout(LONG).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Exhausted);
            assert_eq!(error.fault(), crate::error::Fault::Machine);
            assert_eq!(
                error.to_string(),
                "looking up other: 1 other names are being looked up, and within 20ms no answer has made room for one more; \
                 is the name server reachable?"
            );
        }
        assert!(begun.elapsed() >= Duration::from_millis(20));
        assert!(
            !silent.is_done(),
            "one that is being looked up is not sent away"
        );
        drop(end);
        silent.sync_timeout(LONG).unwrap();
        ask(&LOOK_UPS, "other", 1).sync_timeout(LONG).unwrap();
    }

    /// Rules: G7
    #[test]
    fn a_look_up_that_panics_fails_those_who_wait_for_it() {
        static DESK: Desk = Desk::new();
        static LOOK_UPS: LookUps = LookUps::new(
            Pool::new("test-look-up", 1),
            |host| DESK.find(host),
            endless_line(),
        );
        for _ in 0..2 {
            let error = ask(&LOOK_UPS, "panic", 1).sync_timeout(LONG).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Dropped);
        }
        assert_eq!(DESK.found("panic"), 2);
    }
}
