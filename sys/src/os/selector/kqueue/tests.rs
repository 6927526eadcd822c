//! The kqueue backend against the fake: what real kernels do differently cannot be had on demand from one
//! of them.

use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use super::*;
use crate::os::fd;
use crate::os::kqueue_sys::fake::{EVFILT_READ, EVFILT_WRITE, Fake, NOTE_NSECONDS, Readiness};

const TOKEN: Token = Token::new(7, u32::MAX);
const LONG: Duration = Duration::from_secs(10);

fn open() -> (Kqueue, Fake) {
    let kqueue = Kqueue::open().unwrap();
    let fake = Fake::of(kqueue.queue().as_fd());
    (kqueue, fake)
}

/// Any descriptor: the fake looks at its number only.
fn descriptor() -> OwnedFd {
    fd::open_reserve().unwrap()
}

fn wait(kqueue: &mut Kqueue) -> Vec<(Token, Ready)> {
    let mut events = Events::new();
    kqueue.wait(&mut events, Some(Duration::ZERO)).unwrap();
    events
        .iter()
        .map(|event| (event.token, event.ready))
        .collect()
}

fn data() -> Readiness {
    Readiness {
        data: 1,
        ..Readiness::default()
    }
}

fn end(errno: i32) -> Readiness {
    Readiness {
        is_eof: true,
        errno: errno as u32,
        ..Readiness::default()
    }
}

#[test]
fn write_is_registered_only_while_wanted() {
    let (mut kqueue, fake) = open();
    let fd = descriptor();
    let raw = fd.as_raw_fd();
    kqueue.register(fd.as_fd(), TOKEN, Interest::READ).unwrap();
    assert_eq!(fake.filters(raw), [EVFILT_READ]);
    kqueue
        .set_interest(fd.as_fd(), TOKEN, Interest::BOTH)
        .unwrap();
    assert_eq!(fake.filters(raw), [EVFILT_READ, EVFILT_WRITE]);

    let before = fake.calls();
    kqueue
        .set_interest(fd.as_fd(), TOKEN, Interest::WRITE)
        .unwrap();
    kqueue
        .set_interest(fd.as_fd(), TOKEN, Interest::BOTH)
        .unwrap();
    assert_eq!(fake.calls(), before, "interest in reading costs no call");

    kqueue
        .set_interest(fd.as_fd(), TOKEN, Interest::NONE)
        .unwrap();
    assert_eq!(fake.filters(raw), [EVFILT_READ]);
    kqueue.deregister(fd.as_fd()).unwrap();
    assert!(fake.filters(raw).is_empty());
    kqueue.deregister(fd.as_fd()).unwrap();
    let unknown = kqueue.set_interest(fd.as_fd(), TOKEN, Interest::WRITE);
    assert_eq!(unknown.unwrap_err().kind(), io::ErrorKind::NotFound);
    let unknown = kqueue.remask(fd.as_fd(), TOKEN, Interest::WRITE);
    assert_eq!(unknown.unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn both_filters_of_a_descriptor_become_one_event() {
    let (mut kqueue, fake) = open();
    let fds = [descriptor(), descriptor()];
    for (slot, fd) in (0..).zip(&fds) {
        kqueue
            .register(fd.as_fd(), Token::new(slot, 3), Interest::BOTH)
            .unwrap();
        fake.set_ready(fd.as_raw_fd(), EVFILT_READ, data());
        fake.set_ready(fd.as_raw_fd(), EVFILT_WRITE, data());
    }
    let both = Ready::READABLE | Ready::WRITABLE;
    assert_eq!(
        wait(&mut kqueue),
        [(Token::new(0, 3), both), (Token::new(1, 3), both)]
    );
    assert!(wait(&mut kqueue).is_empty(), "an edge is reported once");
    fake.set_ready(fds[0].as_raw_fd(), EVFILT_WRITE, data());
    assert_eq!(wait(&mut kqueue), [(Token::new(0, 3), Ready::WRITABLE)]);
}

#[test]
fn the_end_comes_with_what_is_left_and_with_its_errno() {
    let cases = [
        (EVFILT_READ, end(0), Ready::READABLE | Ready::READ_CLOSED),
        (
            EVFILT_READ,
            end(libc::ECONNRESET),
            Ready::READABLE | Ready::READ_CLOSED | Ready::ERROR,
        ),
        (EVFILT_WRITE, end(0), Ready::WRITABLE | Ready::HANGUP),
        (
            EVFILT_WRITE,
            end(libc::ECONNREFUSED),
            Ready::WRITABLE | Ready::HANGUP | Ready::ERROR,
        ),
    ];
    for (filter, readiness, expected) in cases {
        let (mut kqueue, fake) = open();
        let fd = descriptor();
        kqueue.register(fd.as_fd(), TOKEN, Interest::BOTH).unwrap();
        fake.set_ready(fd.as_raw_fd(), filter, readiness);
        assert_eq!(wait(&mut kqueue), [(TOKEN, expected)]);
    }
}

#[test]
fn remasking_evaluates_anew() {
    let (mut kqueue, fake) = open();
    let fd = descriptor();
    kqueue.register(fd.as_fd(), TOKEN, Interest::READ).unwrap();
    fake.set_ready(fd.as_raw_fd(), EVFILT_READ, data());
    assert_eq!(wait(&mut kqueue), [(TOKEN, Ready::READABLE)]);

    kqueue.remask(fd.as_fd(), TOKEN, Interest::NONE).unwrap();
    fake.set_ready(fd.as_raw_fd(), EVFILT_READ, data());
    assert!(wait(&mut kqueue).is_empty());
    kqueue
        .set_interest(fd.as_fd(), TOKEN, Interest::READ)
        .unwrap();
    assert!(
        wait(&mut kqueue).is_empty(),
        "only another remask gives reading back"
    );
    kqueue.remask(fd.as_fd(), TOKEN, Interest::READ).unwrap();
    assert_eq!(wait(&mut kqueue), [(TOKEN, Ready::READABLE)]);
}

#[test]
fn failed_changes_are_seen_whichever_way_they_are_flagged() {
    for adds_bit in [false, true] {
        let (mut kqueue, fake) = open();
        if adds_bit {
            fake.adds_error_bit();
        }
        let fd = descriptor();
        fake.refuse(fd.as_raw_fd(), EVFILT_WRITE, libc::ENOMEM);
        let error = kqueue
            .register(fd.as_fd(), TOKEN, Interest::BOTH)
            .unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOMEM));
        assert!(
            fake.filters(fd.as_raw_fd()).is_empty(),
            "not half of it stays"
        );

        kqueue.register(fd.as_fd(), TOKEN, Interest::READ).unwrap();
        assert_eq!(fake.filters(fd.as_raw_fd()), [EVFILT_READ]);
    }
}

#[test]
fn closed_output_found_while_adding_is_told_as_an_event() {
    let (mut kqueue, fake) = open();
    let fd = descriptor();
    kqueue.register(fd.as_fd(), TOKEN, Interest::READ).unwrap();
    fake.refuse(fd.as_raw_fd(), EVFILT_WRITE, libc::EPIPE);
    kqueue
        .set_interest(fd.as_fd(), TOKEN, Interest::BOTH)
        .unwrap();
    assert_eq!(
        wait(&mut kqueue),
        [(TOKEN, Ready::WRITABLE | Ready::HANGUP)]
    );
    assert!(wait(&mut kqueue).is_empty());

    kqueue
        .set_interest(fd.as_fd(), TOKEN, Interest::BOTH)
        .unwrap();
    kqueue.deregister(fd.as_fd()).unwrap();
    assert!(
        wait(&mut kqueue).is_empty(),
        "nothing is told of what is deregistered"
    );
}

#[test]
fn answers_in_a_wait_are_no_events_and_do_not_end_the_time() {
    let (mut kqueue, fake) = open();
    let mut events = Events::new();
    for errno in [0, libc::ENOENT, libc::EBADF] {
        fake.answer_late(3, EVFILT_READ, errno, 0);
        assert_eq!(
            kqueue.wait(&mut events, Some(LONG)).unwrap(),
            Waited::Interrupted
        );
    }
    fake.answer_late(3, EVFILT_READ, libc::ENOMEM, TOKEN.to_bits());
    assert_eq!(
        kqueue.wait(&mut events, Some(LONG)).unwrap(),
        Waited::Events(1)
    );
    assert_eq!(
        (events.get(0).unwrap().token, events.get(0).unwrap().ready),
        (TOKEN, Ready::ERROR)
    );
}

#[test]
fn a_signal_and_a_timeout_are_told_apart() {
    let (mut kqueue, fake) = open();
    let mut events = Events::new();
    fake.interrupt();
    assert_eq!(
        kqueue.wait(&mut events, Some(LONG)).unwrap(),
        Waited::Interrupted
    );
    let timeout = Duration::from_millis(2);
    let before = crate::os::clock::now();
    assert_eq!(
        kqueue.wait(&mut events, Some(timeout)).unwrap(),
        Waited::TimedOut
    );
    assert!(crate::os::clock::now().saturating_since(before) >= timeout);
}

#[test]
fn a_number_that_is_used_again_starts_afresh() {
    let (mut kqueue, fake) = open();
    let fd = descriptor();
    kqueue.register(fd.as_fd(), TOKEN, Interest::BOTH).unwrap();
    let again = Token::new(7, 0);
    kqueue.register(fd.as_fd(), again, Interest::READ).unwrap();
    assert_eq!(fake.filters(fd.as_raw_fd()), [EVFILT_READ]);
    fake.set_ready(fd.as_raw_fd(), EVFILT_READ, data());
    assert_eq!(wait(&mut kqueue), [(again, Ready::READABLE)]);
}

#[test]
fn a_user_event_ends_a_wait_from_another_thread_and_coalesces() {
    let (mut kqueue, _fake) = open();
    let queue = Arc::clone(kqueue.queue());
    assert!(queue.trigger_user(TOKEN).is_err(), "nobody would wake up");
    queue.add_user(TOKEN).unwrap();
    let waker = thread::spawn(move || {
        for _ in 0..3 {
            queue.trigger_user(TOKEN).unwrap();
        }
    });
    let mut events = Events::new();
    assert_eq!(
        kqueue.wait(&mut events, Some(LONG)).unwrap(),
        Waited::Events(1)
    );
    assert_eq!(
        (events.get(0).unwrap().token, events.get(0).unwrap().ready),
        (TOKEN, Ready::READABLE)
    );
    waker.join().unwrap();
    wait(&mut kqueue);
    assert!(wait(&mut kqueue).is_empty());
}

/// A loop that is nested in another one was late by up to a millisecond.
#[test]
fn timers_are_exact_to_the_nanosecond() {
    let (kqueue, fake) = open();
    let queue = kqueue.queue();
    for nanoseconds in [1, 1_500_000, 1_000_000_007] {
        queue
            .set_timer(Some(Duration::from_nanos(nanoseconds)))
            .unwrap();
        let set = (NOTE_NSECONDS, nanoseconds as isize);
        assert_eq!(fake.timers().last(), Some(&set));
    }
    queue.set_timer(Some(Duration::MAX)).unwrap();
    let a_day = 24 * 60 * 60 * 1_000_000_000;
    assert_eq!(fake.timers().last(), Some(&(NOTE_NSECONDS, a_day)));
    queue.set_timer(None).unwrap();
    assert_eq!(fake.timers().len(), 4);
}
