//! What the public tests (tests/futures.rs) cannot see: that a thread sleeps, that a list is empty.

use std::pin::Pin;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use tidegate_sys::mem::Task;

use super::*;

const DEADLINE: Duration = Duration::from_secs(30);

/// F6: blocked threads are woken before the first listener is handed over.
#[test]
fn waiters_are_woken_before_listeners_are_handed_over() {
    /// Takes no listener before the waiter has said that it is awake.
    struct Patient(Mutex<Receiver<()>>);
    impl ListenerHost for Patient {
        fn run_listener(&self, job: Task) {
            let awake = self.0.lock().unwrap();
            awake.recv_timeout(DEADLINE).expect("the waiter is awake");
            job.run();
        }
        fn would_deadlock(&self) -> bool {
            false
        }
    }
    let (say, awake) = mpsc::channel();
    let promise = Promise::new(Arc::new(Patient(Mutex::new(awake))));
    let completion = promise.completion();
    completion.add_listener(|_| {});
    let waiting = completion.clone();
    let waiter = thread::spawn(move || {
        waiting.sync().unwrap();
        say.send(()).unwrap();
    });
    let inner = promise.0.as_ref().unwrap();
    let give_up = Instant::now() + DEADLINE;
    while inner.blocked_threads() == 0 {
        assert!(Instant::now() < give_up);
        thread::yield_now();
    }
    assert!(promise.try_success());
    waiter.join().unwrap();
    assert_eq!(inner.blocked_threads(), 0);
}

/// F10: a future that many tasks poll and drop leaves nothing behind.
#[test]
fn dropped_futures_leave_no_wakers() {
    let promise = Promise::new(OnCaller::host());
    let keep = promise.completion();
    for _ in 0..100 {
        let mut polled = [keep.clone(), keep.clone(), keep.clone()];
        for future in &mut polled {
            let mut cx = Context::from_waker(Waker::noop());
            assert!(Future::poll(Pin::new(future), &mut cx).is_pending());
        }
    }
    assert_eq!(promise.0.as_ref().unwrap().take_wakers(), 0);
}
