//! The reactor on every backend that this machine has, with socket pairs for channels.

use std::any::Any;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use super::super::health::{GHOSTS_MAX, PREMATURE_WAITS_MAX, REBUILD_INTERVAL};
use super::*;

/// Counts its events, reads what there is, and then calls `f`.
struct Probe {
    stream: UnixStream,
    seen: Cell<u32>,
    f: RefCell<Box<dyn FnMut()>>,
}

impl Probe {
    fn pair(f: impl FnMut() + 'static) -> (Rc<Self>, UnixStream) {
        let (stream, peer) = UnixStream::pair().expect("a socket pair");
        stream.set_nonblocking(true).expect("a socket");
        let f = RefCell::new(Box::new(f) as Box<dyn FnMut()>);
        (
            Rc::new(Self {
                stream,
                seen: Cell::new(0),
                f,
            }),
            peer,
        )
    }

    fn read_all(&self) {
        let mut buffer = [0; 64];
        while (&self.stream).read(&mut buffer).is_ok_and(|n| n > 0) {}
    }
}

impl IoHandle for Probe {
    fn on_event(self: Rc<Self>, event: IoEvent) {
        let IoEvent::Ready(ready) = event else {
            panic!("only readiness comes from a reactor")
        };
        assert!(!ready.is_empty());
        self.seen.set(self.seen.get() + 1);
        self.read_all();
        (self.f.borrow_mut())();
    }

    fn into_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }
}

fn each_backend(test: impl Fn(Rc<Reactor>)) {
    for backend in Backend::available() {
        let parts = Parts::open(*backend, Events::ROOM).expect("a selector");
        let reactor = Rc::new(Reactor::new(parts, Arc::default()));
        assert_eq!(reactor.backend(), *backend);
        test(reactor);
    }
}

fn soon() -> Time {
    clock::now() + Duration::from_secs(10)
}

/// Waits for something and hands it on; fails after ten seconds.
fn step(reactor: &Reactor) -> usize {
    let outcome = reactor.wait(soon(), clock::now());
    assert_eq!(outcome, Outcome::Events, "on {}", reactor.backend());
    reactor.dispatch()
}

/// What is ready now; an edge that says "writable" at registration is not the point here.
fn settle(reactor: &Reactor) {
    while reactor.poll() == Outcome::Events {
        reactor.dispatch();
    }
}

fn register(reactor: &Reactor, probe: &Rc<Probe>) -> Token {
    let token = reactor
        .register(probe.stream.as_fd(), Interest::READ, probe.clone())
        .expect("registered");
    settle(reactor);
    probe.seen.set(0);
    token
}

#[test]
fn readiness_reaches_its_handle() {
    each_backend(|reactor| {
        let (one, mut one_peer) = Probe::pair(|| {});
        let (two, _two_peer) = Probe::pair(|| {});
        let token = register(&reactor, &one);
        register(&reactor, &two);
        one_peer.write_all(b"x").expect("written");
        assert_eq!(step(&reactor), 1);
        assert_eq!((one.seen.get(), two.seen.get()), (1, 0));
        assert_eq!(reactor.counters.registrations.get(), 2);
        reactor
            .deregister(one.stream.as_fd(), token)
            .expect("deregistered");
        reactor
            .deregister(one.stream.as_fd(), token)
            .expect("a second time is no error");
        one_peer.write_all(b"x").expect("written");
        assert_eq!(reactor.poll(), Outcome::Nothing);
        assert_eq!(reactor.counters.stale.get(), 0);
    });
}

/// Rules: E29.
#[test]
fn interest_of_an_ended_registration_is_refused() {
    each_backend(|reactor| {
        let (probe, _peer) = Probe::pair(|| {});
        let token = register(&reactor, &probe);
        reactor
            .set_interest(probe.stream.as_fd(), token, Interest::BOTH)
            .expect("live");
        reactor
            .remask(probe.stream.as_fd(), token, Interest::READ)
            .expect("live");
        reactor
            .deregister(probe.stream.as_fd(), token)
            .expect("live");
        for answer in [
            reactor.set_interest(probe.stream.as_fd(), token, Interest::READ),
            reactor.remask(probe.stream.as_fd(), token, Interest::READ),
        ] {
            assert_eq!(answer.expect_err("ended").kind(), io::ErrorKind::NotFound);
        }
    });
}

/// Rules: E27.
#[test]
fn a_handle_that_ends_another_in_the_same_batch_silences_it() {
    each_backend(|reactor| {
        // Whoever is called first deregisters the other.
        let calls = Rc::new(Cell::new(0));
        let (mut pairs, mut tokens) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let (probe, peer) = Probe::pair(|| {});
            tokens.push(register(&reactor, &probe));
            pairs.push((probe, peer));
        }
        for (me, other) in [(0, 1), (1, 0)] {
            let (calls, reactor) = (Rc::clone(&calls), Rc::downgrade(&reactor));
            let (other, token) = (Rc::downgrade(&pairs[other].0), tokens[other]);
            *pairs[me].0.f.borrow_mut() = Box::new(move || {
                calls.set(calls.get() + 1);
                let (reactor, other) = (reactor.upgrade(), other.upgrade());
                let (reactor, other) = (reactor.expect("alive"), other.expect("alive"));
                reactor
                    .deregister(other.stream.as_fd(), token)
                    .expect("deregistered");
            });
        }
        for (_, peer) in &mut pairs {
            peer.write_all(b"x").expect("written");
        }
        step(&reactor);
        assert_eq!(calls.get(), 1);
        assert_eq!(
            (reactor.counters.stale.get(), reactor.counters.ghosts.get()),
            (1, 0)
        );
    });
}

#[test]
fn a_panic_in_a_handle_loses_no_event_of_the_batch() {
    each_backend(|reactor| {
        let (broken, mut broken_peer) = Probe::pair(|| {});
        let (sound, mut sound_peer) = Probe::pair(|| {});
        register(&reactor, &broken);
        register(&reactor, &sound);
        *broken.f.borrow_mut() = Box::new(|| panic!("in a handle"));
        broken_peer.write_all(b"x").expect("written");
        sound_peer.write_all(b"x").expect("written");
        assert_eq!(reactor.wait(soon(), clock::now()), Outcome::Events);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| reactor.dispatch()));
        assert!(caught.is_err());
        reactor.dispatch();
        assert_eq!((broken.seen.get(), sound.seen.get()), (1, 1));
    });
}

/// Rules: E10, E11, 5.7.
#[test]
fn waits_end_at_their_deadline_and_not_before() {
    each_backend(|reactor| {
        for micros in [0, 1, 300, 2_500] {
            let deadline = clock::now() + Duration::from_micros(micros);
            assert_eq!(reactor.wait(deadline, clock::now()), Outcome::Nothing);
            assert!(clock::now() >= deadline);
        }
        assert_eq!(reactor.counters.premature.get(), 0);
    });
}

/// Rules: E12, E13.
#[test]
fn a_wake_up_from_another_thread_ends_a_wait() {
    each_backend(|reactor| {
        for round in 1..=3 {
            let waker = Arc::clone(reactor.waker());
            let thread = std::thread::spawn(move || waker.wake());
            assert_eq!(reactor.wait(Time::MAX, clock::now()), Outcome::Events);
            assert_eq!(reactor.dispatch(), 0);
            thread.join().expect("no panic").expect("woken");
            assert_eq!(reactor.counters.wakes.get(), round);
            assert_eq!(reactor.poll(), Outcome::Nothing, "one wake-up is one event");
        }
        assert_eq!(reactor.counters.premature.get(), 0);
    });
}

/// A duplicate of a closed channel's descriptor keeps the kernel's entry alive; here the entry is left
/// by deregistering through the wrong descriptor.
///
/// Rules: E26, 5.6.
#[test]
fn ghosts_are_driven_out_by_a_new_selector() {
    each_backend(|reactor| {
        let (gone, mut gone_peer) = Probe::pair(|| {});
        let (stays, mut stays_peer) = Probe::pair(|| {});
        let token = register(&reactor, &gone);
        register(&reactor, &stays);
        let (unknown, _) = UnixStream::pair().expect("a socket pair");
        let _not_known = reactor.deregister(unknown.as_fd(), token);
        for _ in 0..GHOSTS_MAX {
            gone_peer.write_all(b"x").expect("written");
            assert_eq!(step(&reactor), 0);
        }
        assert_eq!(gone.seen.get(), 0);
        assert_eq!(reactor.counters.ghosts.get(), u64::from(GHOSTS_MAX));
        assert_eq!(reactor.counters.rebuilds.get(), 0);
        // The rebuild comes with the next wait; each live handle looks once.
        assert_eq!(reactor.poll(), Outcome::Events);
        reactor.dispatch();
        assert_eq!((gone.seen.get(), stays.seen.get()), (0, 1));
        settle(&reactor);
        stays.seen.set(0);
        gone_peer.write_all(b"x").expect("written");
        assert_eq!(reactor.poll(), Outcome::Nothing);
        stays_peer.write_all(b"x").expect("written");
        step(&reactor);
        assert_eq!(stays.seen.get(), 1);
        assert_eq!(reactor.counters.rebuilds.get(), 1);
    });
}

/// Rules: E26, 5.6.
#[test]
fn a_new_selector_has_the_waker_and_every_registration() {
    each_backend(|reactor| {
        let mut channels: Vec<_> = (0..5).map(|_| Probe::pair(|| {})).collect();
        for (probe, _) in &channels {
            register(&reactor, probe);
        }
        let begun = clock::now();
        reactor.change_health(Health::failed);
        assert_eq!(reactor.wait(soon(), clock::now()), Outcome::Events);
        reactor.dispatch();
        assert_eq!(reactor.counters.rebuilds.get(), 1);
        settle(&reactor);
        for (probe, _) in &channels {
            assert!(
                probe.seen.replace(0) >= 1,
                "each looked for what the old one may have kept"
            );
        }
        for (_, peer) in &mut channels {
            peer.write_all(b"x").expect("written");
        }
        while channels.iter().any(|(probe, _)| probe.seen.get() == 0) {
            step(&reactor);
        }
        reactor.waker().wake().expect("woken");
        let woken = reactor.counters.wakes.get();
        while reactor.counters.wakes.get() == woken {
            step(&reactor);
        }
        // A second one has to wait: the loop must come back for it.
        assert_eq!(reactor.retry_at(), None);
        reactor.change_health(Health::failed);
        let earliest = begun + REBUILD_INTERVAL;
        assert!(reactor.retry_at().is_some_and(|retry| retry >= earliest));
        reactor.poll();
        assert!(reactor.counters.rebuilds.get() == 1 || clock::now() >= earliest);
    });
}

/// Rules: E25, 5.6.
#[test]
fn waits_that_keep_ending_early_with_nothing_are_counted_until_it_is_rebuilt() {
    each_backend(|reactor| {
        for _ in 0..PREMATURE_WAITS_MAX {
            assert_eq!(reactor.retry_at(), None);
            reactor.note_premature();
        }
        assert!(reactor.retry_at().is_some());
        reactor.poll();
        assert_eq!(reactor.counters.rebuilds.get(), 1);
        assert_eq!(reactor.retry_at(), None);
    });
}

#[test]
fn the_end_lets_go_of_every_handle() {
    each_backend(|reactor| {
        let (probe, mut peer) = Probe::pair(|| {});
        register(&reactor, &probe);
        peer.write_all(b"x").expect("written");
        assert_eq!(reactor.wait(soon(), clock::now()), Outcome::Events);
        assert_eq!(reactor.take_handles().len(), 1);
        assert_eq!(Rc::strong_count(&probe), 1);
        assert_eq!(reactor.dispatch(), 0);
        assert_eq!(probe.seen.get(), 0);
    });
}
