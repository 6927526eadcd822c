//! How waits end: wake-ups, timeouts, signals, and batches that do not fit (rule 7).

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tidegate_sys::os::{Backend, Events, Interest, Ready, Selector, Waited, clock, fd};

use crate::kit::{DEADLINE, Kit, WAKER, token};

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
        assert_eq!(events.get(0).unwrap().token, WAKER);
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
    let is_rounded =
        kit.is_coarse || kit.selector.backend() == Backend::Poll && cfg!(target_vendor = "apple");
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

pub fn more_events_than_fit_are_told_later(kit: &mut Kit) {
    fd::raise_nofile(4096).unwrap();
    let count = Events::ROOM as u32 + 44;
    let pairs: Vec<_> = (0..count).map(|_| UnixStream::pair().unwrap()).collect();
    for (slot, (near, _)) in (0..).zip(&pairs) {
        kit.register(near, token(slot), Interest::WRITE);
    }
    assert_eq!(kit.events.limit(), Events::ROOM);
    let mut seen = vec![false; count as usize];
    let first = kit.wait(Some(DEADLINE));
    assert_eq!(first.len(), Events::ROOM, "{}", kit.name);
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
    if cfg!(tidegate_kqueue_shim) {
        // An emulated queue need not be a descriptor that another one can watch.
        return;
    }
    assert_eq!(
        outer.wait(&mut events, Some(DEADLINE)).unwrap(),
        Waited::Events(1)
    );
    assert!(events.get(0).unwrap().ready.contains(Ready::READABLE));
}
