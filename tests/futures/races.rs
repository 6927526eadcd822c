//! The same rules with several threads at once.

use super::*;

/// F1 to F6 at once, from several threads: whatever the interleaving, one completion wins, every
/// observer is told once, and all agree on the outcome.
#[test]
fn racing_threads_agree_on_one_outcome() {
    for round in 0..2_000 {
        let promise = Promise::new(OnCaller::host());
        let completion = promise.completion();
        let told = Arc::new(Mutex::new(Vec::new()));
        let winners = AtomicUsize::new(0);
        let barrier = std::sync::Barrier::new(4);
        thread::scope(|scope| {
            let (second, winners, barrier) = (promise.second(), &winners, &barrier);
            scope.spawn(move || {
                barrier.wait();
                winners.fetch_add(promise.try_success().into(), Ordering::Relaxed);
            });
            scope.spawn(move || {
                barrier.wait();
                winners.fetch_add(second.try_failure(user_error()).into(), Ordering::Relaxed);
            });
            let (canceller, listening) = (completion.clone(), told.clone());
            scope.spawn(move || {
                barrier.wait();
                if round % 2 == 0 {
                    winners.fetch_add(canceller.cancel().into(), Ordering::Relaxed);
                }
                for _ in 0..3 {
                    let listening = listening.clone();
                    canceller.add_listener(move |result| {
                        listening
                            .lock()
                            .unwrap()
                            .push(result.clone().map_err(|e| e.kind()));
                    });
                }
            });
            let (waiter, listening) = (completion.clone(), told.clone());
            scope.spawn(move || {
                barrier.wait();
                let outcome = if round % 3 == 0 {
                    block_on(waiter)
                } else {
                    waiter.sync_timeout(DEADLINE)
                };
                listening
                    .lock()
                    .unwrap()
                    .push(outcome.map_err(|e| e.kind()));
            });
        });
        assert_eq!(winners.load(Ordering::Relaxed), 1);
        let told = told.lock().unwrap();
        assert_eq!(told.len(), 4);
        assert!(told.iter().all(|outcome| *outcome == told[0]), "{told:?}");
        assert_ne!(told[0], Err(ErrorKind::TimedOut));
    }
}

/// The end that goes last fails the promise, whichever thread it is on; a completion beats it.
#[test]
fn racing_drops_complete_once() {
    for round in 0..2_000 {
        let promise = Promise::new(OnCaller::host());
        let second = promise.second();
        let completion = promise.completion();
        let barrier = std::sync::Barrier::new(2);
        thread::scope(|scope| {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                drop(promise);
            });
            scope.spawn(move || {
                barrier.wait();
                if round % 2 == 0 {
                    assert!(second.try_success());
                }
                drop(second);
            });
        });
        let outcome = completion.wait_timeout(Duration::ZERO).unwrap();
        assert!(outcome, "nobody is left to complete it later");
        assert_eq!(completion.is_success(), round % 2 == 0);
    }
}

/// Listeners added by several threads while the promise completes: each is called once.
#[test]
fn no_listener_is_lost_in_a_race() {
    let (done, told) = mpsc::channel();
    for _ in 0..1_000 {
        let promise = Promise::new(OnCaller::host());
        let completion = promise.completion();
        let barrier = std::sync::Barrier::new(3);
        thread::scope(|scope| {
            for _ in 0..2 {
                let (completion, done, barrier) = (completion.clone(), done.clone(), &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    for _ in 0..4 {
                        let done = done.clone();
                        completion.add_listener(move |_| done.send(()).unwrap());
                    }
                });
            }
            barrier.wait();
            promise.try_success();
        });
        for _ in 0..8 {
            told.recv_timeout(DEADLINE).unwrap();
        }
        assert!(told.try_recv().is_err());
    }
}

/// The states of promises wander between threads, which use them again: nobody sees anything of the promise before, and
/// each listener is told once, with the outcome of its own.
#[test]
fn states_that_wander_between_threads_begin_anew() {
    const PROMISES: usize = 10_000;
    const THREADS: usize = 3;
    let told: Vec<AtomicUsize> = (0..PROMISES * THREADS)
        .map(|_| AtomicUsize::new(0))
        .collect();
    let told = Arc::new(told);
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..THREADS)
        .map(|_| std::sync::mpsc::channel::<(Promise, Completion, bool)>())
        .unzip();
    thread::scope(|scope| {
        for (number, receiver) in receivers.into_iter().enumerate() {
            let next = senders[(number + 1) % THREADS].clone();
            let told = told.clone();
            scope.spawn(move || {
                for round in 0..PROMISES {
                    let promise = Promise::new(OnCaller::host());
                    assert!(!promise.is_done(), "it was somebody's before");
                    let completion = promise.completion();
                    assert!(completion.result().is_none());
                    let (index, succeeds) = (number * PROMISES + round, round % 3 != 0);
                    let told = told.clone();
                    completion.add_listener(move |result| {
                        assert_eq!(result.is_ok(), succeeds);
                        told[index].fetch_add(1, Ordering::Relaxed);
                    });
                    next.send((promise, completion.clone(), succeeds)).unwrap();
                    // Both sides let go at about the same time.
                    let (theirs, future, succeeds) = receiver.recv().unwrap();
                    if succeeds {
                        assert!(theirs.try_success());
                    } else {
                        drop(theirs);
                    }
                    assert_eq!(future.result().map(|result| result.is_ok()), Some(succeeds));
                }
            });
        }
    });
    assert!(told.iter().all(|count| count.load(Ordering::Relaxed) == 1));
}
