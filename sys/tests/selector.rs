//! The contract of `Selector`, as one suite: plain functions, each run for every backend that this build
//! can use, and for epoll without nanosecond waits. The rules are numbered in `os/selector/mod.rs`.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tidegate_sys::os::net::{self, Connect};
use tidegate_sys::os::{
    Backend, Event, Events, Interest, Ready, Selector, Token, Waited, Waker, clock, fd,
};

/// Longer than anything here takes on the slowest machine; waits end with the event, not with the time.
const DEADLINE: Duration = Duration::from_secs(30);

/// A selector, its events, and a waker that marks points in the order of events.
struct Kit {
    selector: Selector,
    events: Events,
    waker: Waker,
    name: String,
    is_coarse: bool,
}

const WAKER: Token = Token::new(u32::MAX, 0);

impl Kit {
    fn all() -> Vec<Kit> {
        let mut kits = Vec::new();
        for &backend in Backend::available() {
            kits.push(Kit::open(backend, false));
            if backend == Backend::Epoll {
                kits.push(Kit::open(backend, true));
            }
        }
        kits
    }

    fn open(backend: Backend, is_coarse: bool) -> Kit {
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

    fn is_edge(&self) -> bool {
        self.selector.is_edge_triggered()
    }

    fn register(&mut self, fd: impl AsFd, token: Token, interest: Interest) {
        self.selector.register(fd.as_fd(), token, interest).unwrap();
    }

    fn set_interest(&mut self, fd: impl AsFd, token: Token, interest: Interest) {
        self.selector
            .set_interest(fd.as_fd(), token, interest)
            .unwrap();
    }

    fn remask(&mut self, fd: impl AsFd, token: Token, interest: Interest) {
        self.selector.remask(fd.as_fd(), token, interest).unwrap();
    }

    fn deregister(&mut self, fd: impl AsFd) {
        self.selector.deregister(fd.as_fd()).unwrap();
    }

    /// One wait that goes on after signals.
    fn wait(&mut self, timeout: Option<Duration>) -> Vec<Event> {
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
    fn expect(&mut self, token: Token, expected: Ready) -> Ready {
        self.expect_that(token, &format!("{expected:?}"), |ready| {
            ready.contains(expected)
        })
    }

    fn expect_that(&mut self, token: Token, what: &str, is_it: impl Fn(Ready) -> bool) -> Ready {
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
    fn reported(&mut self) -> Vec<Event> {
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

    fn expect_silence(&mut self, why: &str) {
        let reported = self.reported();
        assert!(reported.is_empty(), "{}: {why}: {reported:?}", self.name);
    }
}

/// A connected pair; neither end blocks, and small segments are not held back.
fn tcp_pair() -> (TcpStream, TcpStream) {
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
fn drain(mut stream: &TcpStream) -> (Vec<u8>, bool) {
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
fn fill(mut stream: &TcpStream) -> usize {
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
fn swallow(mut stream: &TcpStream, count: usize) {
    stream.set_nonblocking(false).unwrap();
    let mut buffer = vec![0; 64 * 1024];
    let mut left = count;
    while left > 0 {
        let room = left.min(buffer.len());
        left -= stream.read(&mut buffer[..room]).unwrap();
    }
    stream.set_nonblocking(true).unwrap();
}

fn token(slot: u32) -> Token {
    Token::new(slot, 1)
}

/// Makes a test of each function: it runs on every backend.
macro_rules! on_every_backend {
    ($($name:ident,)+) => {
        $(
            #[test]
            fn $name() {
                for mut kit in Kit::all() {
                    rules::$name(&mut kit);
                }
            }
        )+
    };
}

on_every_backend! {
    data_makes_readable,
    room_makes_writable,
    both_directions_are_one_event,
    an_edge_comes_again_after_would_block,
    an_edge_is_told_once,
    a_level_is_told_until_it_is_gone,
    room_after_would_block_makes_writable,
    a_half_close_is_told_with_the_data_before_it,
    a_full_close_is_worth_reading,
    a_reset_is_worth_reading,
    a_refused_connect_is_told_and_keeps_its_error,
    an_accepted_connect_makes_writable,
    a_connection_to_accept_makes_readable,
    deregistering_silences,
    deregistering_what_is_not_registered_is_no_error,
    registering_again_replaces_the_token,
    what_was_ready_before_registering_is_told,
    interest_silences_levels,
    gaining_write_interest_tells_of_room,
    remasking_silences_and_evaluates_anew,
    every_bit_of_a_token_comes_back,
    a_descriptor_number_used_again_is_somebody_else,
    a_number_closed_without_deregistering_can_be_registered_again,
    wake_ups_before_a_wait_count_as_one,
    a_wake_up_from_another_thread_ends_the_wait,
    a_waker_wakes_again_and_again,
    no_timeout_is_early,
    a_timeout_of_zero_does_not_wait,
    timeouts_below_a_millisecond_are_kept,
    a_signal_ends_the_wait_and_says_so,
    more_events_than_fit_are_told_later_and_the_buffer_grows,
    a_wait_replaces_the_batch,
    the_set_itself_becomes_readable,
}

mod rules {
    use super::*;

    pub fn data_makes_readable(kit: &mut Kit) {
        let (near, mut far) = tcp_pair();
        kit.register(&near, token(1), Interest::READ);
        far.write_all(b"x").unwrap();
        let ready = kit.expect(token(1), Ready::READABLE);
        assert!(!ready.intersects(Ready::ERROR | Ready::HANGUP | Ready::READ_CLOSED));
    }

    pub fn room_makes_writable(kit: &mut Kit) {
        let (near, _far) = tcp_pair();
        kit.register(&near, token(1), Interest::WRITE);
        let ready = kit.expect(token(1), Ready::WRITABLE);
        assert!(!ready.intersects(Ready::READABLE | Ready::ERROR | Ready::HANGUP));
    }

    pub fn both_directions_are_one_event(kit: &mut Kit) {
        let (near, mut far) = tcp_pair();
        far.write_all(b"x").unwrap();
        near.peek(&mut [0])
            .or_else(|_| wait_for_data(&near))
            .unwrap();
        kit.register(&near, token(1), Interest::BOTH);
        let batch = kit.wait(Some(DEADLINE));
        assert_eq!(batch.len(), 1, "{}", kit.name);
        assert_eq!(
            batch[0].ready,
            Ready::READABLE | Ready::WRITABLE,
            "{}",
            kit.name
        );
    }

    /// Blocks until there is something to read, by the system's own means.
    fn wait_for_data(stream: &TcpStream) -> std::io::Result<usize> {
        stream.set_nonblocking(false)?;
        let count = stream.peek(&mut [0]);
        stream.set_nonblocking(true)?;
        count
    }

    pub fn an_edge_comes_again_after_would_block(kit: &mut Kit) {
        let (near, mut far) = tcp_pair();
        kit.register(&near, token(1), Interest::READ);
        for round in 0..3_u8 {
            far.write_all(&[round; 10]).unwrap();
            kit.expect(token(1), Ready::READABLE);
            assert_eq!(drain(&near), (vec![round; 10], false), "{}", kit.name);
        }
        // What is left is the writability that edge-triggered epoll tells along with the rest.
        let left = kit.reported();
        assert!(
            left.iter().all(|event| !event.ready.wants_read()),
            "{}: {left:?}",
            kit.name
        );
    }

    pub fn an_edge_is_told_once(kit: &mut Kit) {
        if !kit.is_edge() {
            return;
        }
        let (near, mut far) = tcp_pair();
        kit.register(&near, token(1), Interest::READ);
        far.write_all(b"x").unwrap();
        kit.expect(token(1), Ready::READABLE);
        kit.expect_silence("the edge was told");
        far.write_all(b"y").unwrap();
        kit.expect(token(1), Ready::READABLE);
    }

    pub fn a_level_is_told_until_it_is_gone(kit: &mut Kit) {
        if kit.is_edge() {
            return;
        }
        let (near, mut far) = tcp_pair();
        kit.register(&near, token(1), Interest::READ);
        far.write_all(b"x").unwrap();
        for _ in 0..3 {
            kit.expect(token(1), Ready::READABLE);
        }
        drain(&near);
        kit.expect_silence("nothing is left to read");
    }

    pub fn room_after_would_block_makes_writable(kit: &mut Kit) {
        let (near, far) = tcp_pair();
        kit.register(&near, token(1), Interest::READ);
        let total = fill(&near);
        kit.set_interest(&near, token(1), Interest::BOTH);
        let before = kit.reported();
        // On its way to the peer the buffer may have got room by itself.
        if before
            .iter()
            .all(|event| !event.ready.contains(Ready::WRITABLE))
            || fill(&near) == 0
        {
            swallow(&far, total);
            kit.expect(token(1), Ready::WRITABLE);
        }
        kit.set_interest(&near, token(1), Interest::READ);
        kit.reported();
        kit.expect_silence("no interest in writing is left");
    }

    pub fn a_half_close_is_told_with_the_data_before_it(kit: &mut Kit) {
        let (near, mut far) = tcp_pair();
        kit.register(&near, token(1), Interest::READ);
        far.write_all(b"last words").unwrap();
        far.shutdown(Shutdown::Write).unwrap();
        let ready = if reports_half_close(kit) {
            kit.expect(token(1), Ready::READ_CLOSED | Ready::READABLE)
        } else {
            kit.expect(token(1), Ready::READABLE)
        };
        assert!(
            !ready.intersects(Ready::HANGUP | Ready::ERROR),
            "{}: {ready:?}",
            kit.name
        );
        let mut bytes = Vec::new();
        loop {
            let (more, is_end) = drain(&near);
            bytes.extend_from_slice(&more);
            if is_end {
                break;
            }
            kit.expect(token(1), Ready::READABLE);
        }
        assert_eq!(bytes, b"last words", "{}", kit.name);
        (&near).write_all(b"the other half works").unwrap();
    }

    /// poll(2) tells half closes from data on Linux and FreeBSD only; elsewhere reading tells.
    fn reports_half_close(kit: &Kit) -> bool {
        kit.selector.backend() != Backend::Poll
            || cfg!(any(target_os = "linux", target_os = "freebsd"))
    }

    pub fn a_full_close_is_worth_reading(kit: &mut Kit) {
        let (near, far) = tcp_pair();
        kit.register(&near, token(1), Interest::READ);
        near.shutdown(Shutdown::Write).unwrap();
        drop(far);
        kit.expect_that(token(1), "something to read", Ready::wants_read);
        while !drain(&near).1 {
            kit.expect_that(token(1), "something to read", Ready::wants_read);
        }
    }

    pub fn a_reset_is_worth_reading(kit: &mut Kit) {
        let (near, far) = tcp_pair();
        kit.register(&near, token(1), Interest::READ);
        net::set_linger(far.as_fd(), Some(Duration::ZERO)).unwrap();
        drop(far);
        kit.expect_that(token(1), "something to read", Ready::wants_read);
        let error = (&near).read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{}", kit.name);
    }

    pub fn a_refused_connect_is_told_and_keeps_its_error(kit: &mut Kit) {
        let unused = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = unused.local_addr().unwrap();
        drop(unused);
        let socket = net::tcp_socket(&address).unwrap();
        match net::connect(socket.as_fd(), &address) {
            Ok(Connect::InProgress) => {
                kit.register(&socket, token(1), Interest::BOTH);
                kit.expect_that(token(1), "something to write", Ready::wants_write);
                let error = net::take_error(socket.as_fd()).unwrap().unwrap();
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{}", kit.name);
            }
            Ok(Connect::Done) => panic!("{}: nobody listens there", kit.name),
            // Some systems know at once.
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
        }
    }

    pub fn an_accepted_connect_makes_writable(kit: &mut Kit) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let socket = net::tcp_socket(&address).unwrap();
        net::connect(socket.as_fd(), &address).unwrap();
        kit.register(&socket, token(1), Interest::BOTH);
        kit.expect(token(1), Ready::WRITABLE);
        assert!(net::take_error(socket.as_fd()).unwrap().is_none());
        assert_eq!(net::peer_addr(socket.as_fd()).unwrap(), address);
    }

    pub fn a_connection_to_accept_makes_readable(kit: &mut Kit) {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listener = net::tcp_socket(&any).unwrap();
        net::bind(listener.as_fd(), &any).unwrap();
        net::listen(listener.as_fd(), 16).unwrap();
        kit.register(&listener, token(1), Interest::READ);
        kit.expect_silence("nobody has connected yet");
        let address = net::local_addr(listener.as_fd()).unwrap();
        let clients: Vec<_> = (0..3)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        let mut peers = Vec::new();
        while peers.len() < clients.len() {
            kit.expect(token(1), Ready::READABLE);
            while let Ok((_, peer)) = net::accept(listener.as_fd()) {
                peers.push(peer);
            }
        }
        let expected: Vec<_> = clients
            .iter()
            .map(|client| client.local_addr().unwrap())
            .collect();
        assert_eq!(peers, expected, "{}", kit.name);
    }

    pub fn deregistering_silences(kit: &mut Kit) {
        let (near, mut far) = tcp_pair();
        kit.register(&near, token(1), Interest::BOTH);
        far.write_all(b"x").unwrap();
        kit.expect(token(1), Ready::READABLE);
        kit.deregister(&near);
        far.write_all(b"y").unwrap();
        drop(far);
        kit.expect_silence("deregistered, not closed");
    }

    pub fn deregistering_what_is_not_registered_is_no_error(kit: &mut Kit) {
        let (near, _far) = tcp_pair();
        kit.deregister(&near);
        kit.register(&near, token(1), Interest::BOTH);
        kit.deregister(&near);
        kit.deregister(&near);
        // SAFETY: not open, which is the point: the kernel says so.
        let closed = unsafe { BorrowedFd::borrow_raw(1 << 20) };
        kit.deregister(closed);
    }

    pub fn registering_again_replaces_the_token(kit: &mut Kit) {
        let (near, mut far) = tcp_pair();
        kit.register(&near, token(1), Interest::READ);
        kit.register(&near, token(2), Interest::READ);
        far.write_all(b"x").unwrap();
        kit.expect(token(2), Ready::READABLE);
    }

    pub fn what_was_ready_before_registering_is_told(kit: &mut Kit) {
        let (near, mut far) = tcp_pair();
        far.write_all(b"early").unwrap();
        far.shutdown(Shutdown::Write).unwrap();
        kit.register(&near, token(1), Interest::READ);
        kit.expect(token(1), Ready::READABLE);
    }

    pub fn interest_silences_levels(kit: &mut Kit) {
        let (near, mut far) = tcp_pair();
        far.write_all(b"x").unwrap();
        kit.register(&near, token(1), Interest::READ);
        kit.expect(token(1), Ready::READABLE);
        kit.set_interest(&near, token(1), Interest::NONE);
        if kit.is_edge() {
            // Whoever wants no data remembers the edge; it costs nothing to say so.
            kit.set_interest(&near, token(1), Interest::READ);
            return;
        }
        kit.expect_silence("nothing is asked for");
        far.write_all(b"y").unwrap();
        kit.expect_silence("nothing is asked for");
        kit.set_interest(&near, token(1), Interest::READ);
        kit.expect(token(1), Ready::READABLE);
    }

    pub fn gaining_write_interest_tells_of_room(kit: &mut Kit) {
        let (near, _far) = tcp_pair();
        kit.register(&near, token(1), Interest::READ);
        if kit.selector.backend() == Backend::Epoll {
            // Told at registration, once.
            kit.expect(token(1), Ready::WRITABLE);
            kit.set_interest(&near, token(1), Interest::BOTH);
            kit.expect_silence("the edge was told");
            return;
        }
        kit.expect_silence("only reading is asked for");
        kit.set_interest(&near, token(1), Interest::BOTH);
        kit.expect(token(1), Ready::WRITABLE);
    }

    pub fn remasking_silences_and_evaluates_anew(kit: &mut Kit) {
        let (near, mut far) = tcp_pair();
        kit.register(&near, token(1), Interest::READ);
        kit.remask(&near, token(1), Interest::NONE);
        far.write_all(b"x").unwrap();
        kit.expect_silence("nothing is watched");
        kit.remask(&near, token(1), Interest::READ);
        kit.expect(token(1), Ready::READABLE);
        if kit.is_edge() {
            kit.expect_silence("the edge was told");
        }
        kit.remask(&near, token(1), Interest::BOTH);
        kit.expect(token(1), Ready::READABLE | Ready::WRITABLE);
        kit.remask(&near, token(1), Interest::NONE);
        kit.expect_silence("nothing is watched");
    }

    pub fn every_bit_of_a_token_comes_back(kit: &mut Kit) {
        for generation in [0, 1, 0x8000_0000, u32::MAX] {
            for slot in [0, 1, 0x8000_0000, u32::MAX - 1] {
                let (near, mut far) = tcp_pair();
                let token = Token::new(slot, generation);
                kit.register(&near, token, Interest::READ);
                far.write_all(b"x").unwrap();
                kit.expect(token, Ready::READABLE);
                kit.deregister(&near);
            }
        }
    }

    pub fn a_descriptor_number_used_again_is_somebody_else(kit: &mut Kit) {
        let (near, far) = tcp_pair();
        kit.register(&near, Token::new(4, 1), Interest::BOTH);
        kit.expect(Token::new(4, 1), Ready::WRITABLE);
        kit.deregister(&near);
        let (next, mut next_far) = take_number(near);
        drop(far);
        kit.register(&next, Token::new(4, 2), Interest::READ);
        next_far.write_all(b"x").unwrap();
        kit.expect(Token::new(4, 2), Ready::READABLE);
    }

    pub fn a_number_closed_without_deregistering_can_be_registered_again(kit: &mut Kit) {
        let (near, _far) = tcp_pair();
        kit.register(&near, Token::new(4, 1), Interest::BOTH);
        let (next, mut next_far) = take_number(near);
        kit.register(&next, Token::new(4, 2), Interest::READ);
        next_far.write_all(b"x").unwrap();
        kit.expect(Token::new(4, 2), Ready::READABLE);
    }

    /// Closes a stream and opens another pair, whose first end gets its number in the same moment: other
    /// tests open descriptors too, and would take it between a close and an open.
    fn take_number(stream: TcpStream) -> (TcpStream, TcpStream) {
        let (near, far) = tcp_pair();
        let number = OwnedFd::from(stream);
        // SAFETY: both are open; `number` keeps owning the descriptor of its number, now another one.
        let got = unsafe { libc::dup2(near.as_raw_fd(), number.as_raw_fd()) };
        assert_eq!(got, number.as_raw_fd());
        (TcpStream::from(number), far)
    }

    pub fn wake_ups_before_a_wait_count_as_one(kit: &mut Kit) {
        for _ in 0..5 {
            kit.waker.wake().unwrap();
        }
        let batch = kit.wait(Some(DEADLINE));
        assert_eq!(batch.len(), 1, "{}", kit.name);
        assert_eq!(
            (batch[0].token, batch[0].ready),
            (WAKER, Ready::READABLE),
            "{}",
            kit.name
        );
        kit.waker.drain();
        assert!(
            kit.wait(Some(Duration::ZERO)).is_empty(),
            "{}: woken twice",
            kit.name
        );
    }

    pub fn a_wake_up_from_another_thread_ends_the_wait(kit: &mut Kit) {
        let Kit {
            selector,
            events,
            waker,
            ..
        } = kit;
        for _ in 0..100 {
            thread::scope(|scope| {
                scope.spawn(|| waker.wake().unwrap());
                loop {
                    match selector.wait(events, None).unwrap() {
                        Waited::Events(1) => break,
                        Waited::Interrupted => {}
                        other => panic!("{other:?}: {events:?}"),
                    }
                }
            });
            assert_eq!(events[0].token, WAKER);
            waker.drain();
        }
    }

    pub fn a_waker_wakes_again_and_again(kit: &mut Kit) {
        for _ in 0..1_000 {
            kit.waker.wake().unwrap();
            let batch = kit.wait(Some(DEADLINE));
            assert_eq!(batch.len(), 1, "{}", kit.name);
            kit.waker.drain();
        }
        assert!(kit.wait(Some(Duration::ZERO)).is_empty());
    }

    pub fn no_timeout_is_early(kit: &mut Kit) {
        let micros = [1, 10, 100, 999, 1_000, 1_001, 1_500, 2_999, 5_000, 12_345];
        for timeout in micros.map(Duration::from_micros) {
            let before = clock::now();
            let waited = kit.selector.wait(&mut kit.events, Some(timeout)).unwrap();
            let took = clock::now().saturating_since(before);
            assert_eq!(waited, Waited::TimedOut, "{}", kit.name);
            assert!(
                took >= timeout,
                "{}: {took:?} instead of {timeout:?}",
                kit.name
            );
        }
    }

    pub fn a_timeout_of_zero_does_not_wait(kit: &mut Kit) {
        let waited = kit
            .selector
            .wait(&mut kit.events, Some(Duration::ZERO))
            .unwrap();
        assert_eq!(waited, Waited::TimedOut, "{}", kit.name);
    }

    /// A busy machine may be late once, but not every time.
    pub fn timeouts_below_a_millisecond_are_kept(kit: &mut Kit) {
        let is_rounded = kit.is_coarse
            || kit.selector.backend() == Backend::Poll && cfg!(target_vendor = "apple");
        let deadline = Instant::now() + DEADLINE;
        loop {
            let before = clock::now();
            let timeout = Duration::from_micros(200);
            let waited = kit.selector.wait(&mut kit.events, Some(timeout)).unwrap();
            let took = clock::now().saturating_since(before);
            assert_eq!(waited, Waited::TimedOut, "{}", kit.name);
            if is_rounded {
                assert!(took >= Duration::from_millis(1), "{}: {took:?}", kit.name);
                return;
            }
            if took < Duration::from_millis(1) {
                return;
            }
            assert!(Instant::now() < deadline, "{}: always late", kit.name);
        }
    }

    pub fn a_signal_ends_the_wait_and_says_so(kit: &mut Kit) {
        extern "C" fn ignore(_signal: libc::c_int) {}
        let handler: extern "C" fn(libc::c_int) = ignore;
        // SAFETY: the handler does nothing, which is safe in a signal; zeroes are an empty mask and no
        // flags, so that waits are not restarted (they never are).
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as libc::sighandler_t;
            assert_eq!(
                libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()),
                0
            );
        }
        // SAFETY: takes nothing.
        let waiter = unsafe { libc::pthread_self() } as usize;
        let is_done = Arc::new(AtomicBool::new(false));
        let sender = thread::spawn({
            let is_done = Arc::clone(&is_done);
            move || {
                // Again and again: the first may come before the wait.
                while !is_done.load(Ordering::Acquire) {
                    // SAFETY: the waiter joins this thread before it ends.
                    unsafe { libc::pthread_kill(waiter as libc::pthread_t, libc::SIGUSR1) };
                    thread::yield_now();
                }
            }
        });
        let waited = kit.selector.wait(&mut kit.events, Some(DEADLINE));
        is_done.store(true, Ordering::Release);
        sender.join().unwrap();
        assert_eq!(waited.unwrap(), Waited::Interrupted, "{}", kit.name);
        assert!(kit.events.is_empty());
    }

    pub fn more_events_than_fit_are_told_later_and_the_buffer_grows(kit: &mut Kit) {
        fd::raise_nofile(4096).unwrap();
        let count = Events::SMALLEST as u32 + 44;
        let pairs: Vec<_> = (0..count).map(|_| UnixStream::pair().unwrap()).collect();
        for (slot, (near, _)) in (0..).zip(&pairs) {
            kit.register(near, token(slot), Interest::WRITE);
        }
        assert_eq!(kit.events.limit(), Events::SMALLEST);
        let mut seen = vec![false; count as usize];
        let first = kit.wait(Some(DEADLINE));
        assert_eq!(first.len(), Events::SMALLEST, "{}", kit.name);
        assert_eq!(kit.events.limit(), 2 * Events::SMALLEST, "{}", kit.name);
        for event in first.into_iter().chain(kit.wait(Some(DEADLINE))) {
            seen[event.token.slot() as usize] = true;
        }
        assert!(
            seen.iter().all(|&seen| seen),
            "{}: some were lost",
            kit.name
        );
        for (near, _) in &pairs {
            kit.deregister(near);
        }
        kit.expect_silence("all are deregistered");
    }

    pub fn a_wait_replaces_the_batch(kit: &mut Kit) {
        kit.waker.wake().unwrap();
        assert_eq!(kit.wait(Some(DEADLINE)).len(), 1);
        kit.waker.drain();
        assert_eq!(kit.events.get(0).map(|event| event.token), Some(WAKER));
        let waited = kit
            .selector
            .wait(&mut kit.events, Some(Duration::ZERO))
            .unwrap();
        assert_eq!(waited, Waited::TimedOut);
        assert!(kit.events.is_empty() && kit.events.get(0).is_none());
    }

    pub fn the_set_itself_becomes_readable(kit: &mut Kit) {
        let Some(set) = kit.selector.as_fd() else {
            assert_eq!(kit.selector.backend(), Backend::Poll);
            return;
        };
        let mut outer = Selector::open(Backend::Poll).unwrap();
        let mut events = Events::new();
        outer.register(set, token(9), Interest::READ).unwrap();
        assert_eq!(
            outer.wait(&mut events, Some(Duration::ZERO)).unwrap(),
            Waited::TimedOut
        );
        kit.waker.wake().unwrap();
        assert_eq!(
            outer.wait(&mut events, Some(DEADLINE)).unwrap(),
            Waited::Events(1)
        );
        assert!(events[0].ready.contains(Ready::READABLE));
    }
}
