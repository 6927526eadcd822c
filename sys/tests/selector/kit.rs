//! What every test of the suite needs: a selector with its events, connected pairs, and ways to wait that
//! end with the event and never with the time.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use tidegate_sys::os::{Backend, Event, Events, Interest, Ready, Selector, Token, Waited, Waker};

/// Longer than anything here takes on the slowest machine; waits end with the event, not with the time.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A selector, its events, and a waker that marks points in the order of events.
pub struct Kit {
    pub selector: Selector,
    pub events: Events,
    pub waker: Waker,
    pub name: String,
    pub is_coarse: bool,
}

pub const WAKER: Token = Token::new(u32::MAX, 0);

impl Kit {
    pub fn all() -> Vec<Kit> {
        let mut kits = Vec::new();
        for &backend in Backend::available() {
            kits.push(Kit::open(backend, false));
            if backend == Backend::Epoll {
                kits.push(Kit::open(backend, true));
            }
        }
        kits
    }

    pub fn open(backend: Backend, is_coarse: bool) -> Kit {
        let mut selector = Selector::open(backend).unwrap();
        if is_coarse {
            selector.use_coarse_waits();
        }
        let waker = Waker::new(&mut selector, WAKER).unwrap();
        let name = format!("{backend}{}", if is_coarse { ", coarse" } else { "" });
        Kit {
            selector,
            events: Events::new(),
            waker,
            name,
            is_coarse,
        }
    }

    pub fn is_edge(&self) -> bool {
        self.selector.is_edge_triggered()
    }

    pub fn register(&mut self, fd: impl AsFd, token: Token, interest: Interest) {
        self.selector.register(fd.as_fd(), token, interest).unwrap();
    }

    pub fn set_interest(&mut self, fd: impl AsFd, token: Token, interest: Interest) {
        self.selector
            .set_interest(fd.as_fd(), token, interest)
            .unwrap();
    }

    pub fn remask(&mut self, fd: impl AsFd, token: Token, interest: Interest) {
        self.selector.remask(fd.as_fd(), token, interest).unwrap();
    }

    pub fn deregister(&mut self, fd: impl AsFd) {
        self.selector.deregister(fd.as_fd()).unwrap();
    }

    /// One wait that goes on after signals.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Vec<Event> {
        loop {
            match self.selector.wait(&mut self.events, timeout).unwrap() {
                Waited::Events(count) => {
                    assert!(count > 0, "{}: no events are no events", self.name);
                    assert_eq!(count, self.events.len());
                    break;
                }
                Waited::TimedOut => {
                    assert!(
                        self.events.is_empty(),
                        "{}: events and a timeout",
                        self.name
                    );
                    break;
                }
                Waited::Interrupted => {}
            }
        }
        self.events.iter().collect()
    }

    /// Waits until the events of `token` add up to all of `expected`; their sum.
    pub fn expect(&mut self, token: Token, expected: Ready) -> Ready {
        self.expect_that(token, &format!("{expected:?}"), |ready| {
            ready.contains(expected)
        })
    }

    pub fn expect_that(
        &mut self,
        token: Token,
        what: &str,
        is_it: impl Fn(Ready) -> bool,
    ) -> Ready {
        let deadline = Instant::now() + DEADLINE;
        let mut seen = Ready::NONE;
        loop {
            let remaining = deadline.saturating_duration_since(Instant::now());
            for event in self.wait(Some(remaining)) {
                assert_eq!(event.token, token, "{}: an event of another", self.name);
                seen |= event.ready;
            }
            if is_it(seen) {
                return seen;
            }
            assert!(
                !remaining.is_zero(),
                "{}: {what} expected, {seen:?} seen",
                self.name
            );
        }
    }

    /// What is reported until now: everything up to a wake-up that was sent after it.
    pub fn reported(&mut self) -> Vec<Event> {
        self.waker.wake().unwrap();
        let mut reported = Vec::new();
        loop {
            let batch = self.wait(Some(DEADLINE));
            assert!(!batch.is_empty(), "{}: the wake-up is lost", self.name);
            let is_end = batch.iter().any(|event| event.token == WAKER);
            reported.extend(batch.into_iter().filter(|event| event.token != WAKER));
            if is_end {
                self.waker.drain();
                return reported;
            }
        }
    }

    pub fn expect_silence(&mut self, why: &str) {
        let reported = self.reported();
        assert!(reported.is_empty(), "{}: {why}: {reported:?}", self.name);
    }
}

/// A connected pair; neither end blocks, and small segments are not held back.
pub fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    for end in [&near, &far] {
        end.set_nonblocking(true).unwrap();
        end.set_nodelay(true).unwrap();
    }
    (near, far)
}

/// Reads until there is no more: the bytes, and whether the end was reached.
pub fn drain(mut stream: &TcpStream) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (bytes, true),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return (bytes, false),
            Err(error) => panic!("reading failed: {error}"),
        }
    }
}

/// Writes until nothing more fits.
pub fn fill(mut stream: &TcpStream) -> usize {
    let chunk = [7; 64 * 1024];
    let mut total = 0;
    loop {
        match stream.write(&chunk) {
            Ok(count) => total += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return total,
            Err(error) => panic!("writing failed: {error}"),
        }
    }
}

/// Reads `count` bytes, waiting for them.
pub fn swallow(mut stream: &TcpStream, count: usize) {
    stream.set_nonblocking(false).unwrap();
    let mut buffer = vec![0; 64 * 1024];
    let mut left = count;
    while left > 0 {
        let room = left.min(buffer.len());
        left -= stream.read(&mut buffer[..room]).unwrap();
    }
    stream.set_nonblocking(true).unwrap();
}

pub fn token(slot: u32) -> Token {
    Token::new(slot, 1)
}
