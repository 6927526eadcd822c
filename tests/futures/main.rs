//! The rules of promises and futures, one test or more for each. F1 to F10 are listed at the head of
//! `tidegate::future`.

mod races;

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use tidegate::error::{Error, ErrorKind, Failure};
use tidegate::future::{
    Combiner, Completion, KeyTarget, ListenerHost, OnCaller, Promise, TaskFuture, TaskPromise,
    Witness,
};
use tidegate_sys::mem::Task;

/// No test waits for a time; this is when a wait that hangs becomes a failure.
const DEADLINE: Duration = Duration::from_secs(30);

/// A loop that the test turns.
#[derive(Default)]
struct Queue {
    jobs: Mutex<VecDeque<Task>>,
    is_own_thread: AtomicBool,
}

impl Queue {
    fn new() -> (Arc<Queue>, Arc<dyn ListenerHost>) {
        let queue = Arc::new(Queue::default());
        (queue.clone(), queue)
    }

    fn waiting(&self) -> usize {
        self.jobs.lock().unwrap().len()
    }

    fn turn(&self) {
        loop {
            let job = self.jobs.lock().unwrap().pop_front();
            match job {
                Some(job) => job.run(),
                None => return,
            }
        }
    }
}

impl ListenerHost for Queue {
    fn run_listener(&self, job: Task) {
        assert!(
            job.is_inline(),
            "a listener of five words needs no allocation"
        );
        self.jobs.lock().unwrap().push_back(job);
    }

    fn would_deadlock(&self) -> bool {
        self.is_own_thread.load(Ordering::Relaxed)
    }
}

/// What happened, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, what: impl fmt::Display) {
        self.0.lock().unwrap().push(what.to_string());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    fn listener(&self, name: &'static str) -> impl FnOnce(&Result<(), Error>) + Send + use<> {
        let log = self.clone();
        move |_| log.add(name)
    }
}

fn user_error() -> Error {
    Error::new(ErrorKind::User, "it broke")
}

fn kind<T: fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    result.unwrap_err().kind()
}

struct Unpark(Thread, AtomicUsize);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current(), AtomicUsize::new(0))));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park_timeout(DEADLINE),
        }
    }
}

fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// F1: a promise is completed once; later attempts change nothing.
#[test]
fn the_first_completion_counts() {
    let promise = Promise::new(OnCaller::host());
    let completion = promise.completion();
    assert!(!promise.is_done() && !completion.is_done());
    assert!(completion.result().is_none() && completion.cause().is_none());
    assert!(promise.try_success());
    assert!(completion.is_done() && completion.is_success() && !completion.is_cancelled());
    assert!(!promise.try_success());
    assert!(!promise.try_failure(user_error()));
    assert!(!completion.cancel());
    assert_eq!(kind(promise.set_success()), ErrorKind::AlreadyDone);
    assert_eq!(
        kind(promise.set_failure(user_error())),
        ErrorKind::AlreadyDone
    );
    assert!(completion.is_success() && completion.cause().is_none());

    let promise = Promise::new(OnCaller::host());
    let completion = promise.completion();
    promise.set_failure(user_error()).unwrap();
    assert!(completion.is_done() && !completion.is_success() && !completion.is_cancelled());
    assert!(!promise.try_success());
    assert_eq!(completion.cause().unwrap().kind(), ErrorKind::User);
}

/// F1: cancelled is a failure with a cancellation, whoever caused it.
#[test]
fn cancellation_is_a_failure() {
    let promise = Promise::new(OnCaller::host());
    let completion = promise.completion();
    assert!(completion.cancel());
    assert!(completion.is_cancelled() && promise.is_cancelled() && !completion.is_success());
    assert_eq!(completion.cause().unwrap().kind(), ErrorKind::Cancelled);
    assert!(!promise.try_success());

    let promise = Promise::new(OnCaller::host());
    promise.try_failure(Error::new(ErrorKind::Cancelled, "given up"));
    assert!(promise.is_cancelled());
    assert!(!promise.set_uncancellable());
}

/// F1: the value is there after success only.
#[test]
fn a_value_is_there_after_success_only() {
    let (promise, future) = TaskPromise::pair(OnCaller::host());
    assert_eq!(future.get_now(), None);
    assert!(promise.set_uncancellable());
    assert_eq!(future.get_now(), None);
    assert_eq!(promise.try_success(5), Ok(()));
    assert_eq!(promise.try_success(6), Err(6));
    assert_eq!(future.get_now(), Some(5));
    assert_eq!(future.sync().unwrap(), 5);
    assert_eq!(future.get_now(), None);
    assert_eq!(kind(future.sync()), ErrorKind::ValueTaken);

    let future = TaskFuture::<u8>::ready(OnCaller::host(), Err(user_error()));
    assert_eq!(future.get_now(), None);
    assert_eq!(kind(future.sync()), ErrorKind::User);
    assert_eq!(kind(future.sync()), ErrorKind::User);
}

/// F2: what has begun cannot be cancelled; what was cancelled must not begin.
#[test]
fn cancel_and_set_uncancellable_rule_each_other_out() {
    let begun = Promise::new(OnCaller::host());
    let completion = begun.completion();
    assert!(begun.set_uncancellable());
    assert!(begun.set_uncancellable());
    assert!(!completion.cancel());
    assert!(begun.try_success());
    assert!(begun.set_uncancellable(), "done without being cancelled");

    let cancelled = Promise::new(OnCaller::host());
    let completion = cancelled.completion();
    assert!(completion.cancel());
    assert!(!completion.cancel(), "only the call that did it");
    assert!(!cancelled.set_uncancellable());

    let failed = Promise::new(OnCaller::host());
    failed.try_failure(user_error());
    assert!(failed.set_uncancellable());
}

/// F3, as we do it: listeners go to the host in their order, once each, and never run inline.
#[test]
fn listeners_are_handed_to_the_host_in_order() {
    let (queue, host) = Queue::new();
    let log = Log::default();
    let promise = Promise::new(host);
    let completion = promise.completion();
    completion.add_listener(log.listener("one"));
    completion.add_listener(log.listener("two"));
    completion.clone().add_listener(log.listener("three"));
    assert_eq!(queue.waiting(), 0);
    promise.try_success();
    completion.add_listener(log.listener("late"));
    assert!(log.take().is_empty());
    assert_eq!(queue.waiting(), 4);
    queue.turn();
    assert_eq!(log.take(), ["one", "two", "three", "late"]);
}

/// F3: listeners get the outcome; keys come back in order with closures.
#[test]
fn keys_come_back_with_the_outcome() {
    struct Target(Log);
    impl KeyTarget for Target {
        fn key_done(self: Arc<Self>, node: u64, key: u64, result: Result<(), Error>) {
            self.0.add(format_args!(
                "{node}/{key} {:?}",
                result.map_err(|e| e.kind())
            ));
        }
    }
    let (queue, host) = Queue::new();
    let log = Log::default();
    let target = Arc::new(Target(log.clone()));
    let promise = Promise::new(host);
    assert!(promise.add_keyed(target.clone(), 1, 10));
    promise.completion().add_listener(log.listener("closure"));
    promise.completion().add_keyed(target.clone(), 2, u64::MAX);
    promise.try_failure(user_error());
    queue.turn();
    assert_eq!(
        log.take(),
        [
            "1/10 Err(User)",
            "closure",
            "2/18446744073709551615 Err(User)"
        ]
    );
    assert!(!Promise::void().add_keyed(target, 1, 1));
}

/// F4: a listener that adds a listener does not nest it, even where the host runs jobs at once.
#[test]
fn listeners_of_one_promise_never_nest() {
    let log = Log::default();
    let promise = Promise::new(OnCaller::host());
    let completion = promise.completion();
    for done_before in [false, true] {
        if done_before {
            promise.try_success();
        }
        let (inner_log, again) = (log.clone(), completion.clone());
        completion.add_listener(move |_| {
            let (last_log, once_more) = (inner_log.clone(), again.clone());
            again.add_listener(move |_| {
                last_log.add("second begins");
                once_more.add_listener(last_log.listener("third"));
                last_log.add("second ends");
            });
            inner_log.add("first ends");
        });
    }
    let round = ["first ends", "second begins", "second ends", "third"];
    assert_eq!(log.take(), [round, round].concat());
}

/// F4: a listener that comes late cannot overtake one that is being handed over.
#[test]
fn late_listeners_do_not_overtake() {
    /// Adds a listener while it is given the first.
    struct Meddler(Mutex<Option<(Completion, Log)>>);
    impl ListenerHost for Meddler {
        fn run_listener(&self, job: Task) {
            if let Some((completion, log)) = self.0.lock().unwrap().take() {
                thread::spawn(move || completion.add_listener(log.listener("late")))
                    .join()
                    .unwrap();
            }
            job.run();
        }
        fn would_deadlock(&self) -> bool {
            false
        }
    }
    let log = Log::default();
    let host = Arc::new(Meddler(Mutex::new(None)));
    let promise = Promise::new(host.clone());
    let completion = promise.completion();
    completion.add_listener(log.listener("one"));
    completion.add_listener(log.listener("two"));
    *host.0.lock().unwrap() = Some((completion, log.clone()));
    promise.try_success();
    assert_eq!(log.take(), ["one", "two", "late"]);
}

/// F5: a listener that panics does not keep the others from being called.
#[test]
fn a_panicking_listener_harms_no_other() {
    let log = Log::default();
    let promise = Promise::new(OnCaller::host());
    let completion = promise.completion();
    completion.add_listener(|_| panic!("a listener panics, as this test wants"));
    completion.add_listener(log.listener("two"));
    assert!(promise.try_success());
    completion.add_listener(log.listener("late"));
    assert_eq!(log.take(), ["two", "late"]);
}

/// F6: without a listener, completing schedules nothing.
#[test]
fn completing_without_listeners_schedules_nothing() {
    let (queue, host) = Queue::new();
    let promise = Promise::new(host.clone());
    let completion = promise.completion();
    promise.try_success();
    completion.sync().unwrap();
    Promise::new(host.clone()).try_failure(user_error());
    Promise::new(host).completion().cancel();
    assert_eq!(queue.waiting(), 0);
}

/// F7: waiting on the thread that has to do the work is an error, not a deadlock.
#[test]
fn sync_on_the_own_loop_is_an_error() {
    let (queue, host) = Queue::new();
    queue.is_own_thread.store(true, Ordering::Relaxed);
    let promise = Promise::new(host.clone());
    let completion = promise.completion();
    assert_eq!(kind(completion.sync()), ErrorKind::Blocking);
    assert_eq!(kind(completion.sync_timeout(DEADLINE)), ErrorKind::Blocking);
    assert_eq!(kind(completion.wait_timeout(DEADLINE)), ErrorKind::Blocking);
    assert!(
        !completion.wait_timeout(Duration::ZERO).unwrap(),
        "a look is allowed"
    );
    promise.try_success();
    completion.sync().unwrap();

    let (promise, future) = TaskPromise::pair(host);
    assert_eq!(kind(future.sync()), ErrorKind::Blocking);
    promise.try_success(1).unwrap();
    assert_eq!(future.sync().unwrap(), 1);
}

/// F8: sync gives the original error, and waits for every outcome.
#[test]
fn sync_gives_the_original_error() {
    let (_queue, host) = Queue::new();
    let promise = Promise::new(host);
    let completion = promise.completion();
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            let completion = completion.clone();
            thread::spawn(move || completion.sync_timeout(DEADLINE))
        })
        .collect();
    let cause = user_error();
    promise.try_failure(cause.clone());
    for waiter in waiters {
        assert!(waiter.join().unwrap().unwrap_err().is_same(&cause));
    }
    assert!(completion.sync().unwrap_err().is_same(&cause));
}

/// F8: a wait that is over says so and changes nothing.
#[test]
fn a_wait_may_time_out() {
    let promise = Promise::new(OnCaller::host());
    let completion = promise.completion();
    let moment = Duration::from_millis(1);
    assert_eq!(kind(completion.sync_timeout(moment)), ErrorKind::TimedOut);
    assert!(!completion.wait_timeout(moment).unwrap());
    promise.try_failure(Error::new(ErrorKind::TimedOut, "the work itself"));
    assert!(completion.wait_timeout(moment).unwrap());
    assert!(completion.wait_timeout(Duration::MAX).unwrap());

    let (promise, future) = TaskPromise::<u8>::pair(OnCaller::host());
    assert_eq!(kind(future.sync_timeout(moment)), ErrorKind::TimedOut);
    thread::spawn(move || promise.try_success(9));
    assert_eq!(future.sync_timeout(Duration::MAX).unwrap(), 9);
}

/// F9, C25: the combined promise is done when all are, with the first failure.
#[test]
fn a_combiner_waits_for_all_and_keeps_the_first_failure() {
    let host = OnCaller::host();
    let combiner = Combiner::new();
    let parts: Vec<_> = (0..3).map(|_| combiner.promise(host.clone())).collect();
    let done_before = Completion::succeeded(host.clone());
    combiner.add(&done_before);
    let all = Promise::new(host.clone());
    let completion = all.completion();
    combiner.finish(all);
    let first = user_error();
    parts[1].try_failure(first.clone());
    parts[0].try_failure(user_error());
    assert!(!completion.is_done());
    parts[2].try_success();
    assert!(completion.cause().unwrap().is_same(&first));

    let nothing = Promise::new(host.clone());
    let completion = nothing.completion();
    Combiner::new().finish(nothing);
    assert!(completion.is_success());

    let combiner = Combiner::new();
    let part = combiner.promise(host.clone());
    part.try_success();
    let all = Promise::new(host);
    let completion = all.completion();
    drop(part);
    combiner.finish(all);
    assert!(completion.is_success());
}

/// F9: a part that is dropped fails the whole.
#[test]
fn a_combiner_learns_of_dropped_parts() {
    let combiner = Combiner::new();
    drop(combiner.promise(OnCaller::host()));
    let all = Promise::new(OnCaller::host());
    let completion = all.completion();
    combiner.finish(all);
    assert_eq!(kind(completion.sync()), ErrorKind::Dropped);
}

/// F9: an outcome can be passed on; with cascade, a cancellation goes back as well.
#[test]
fn outcomes_are_forwarded_and_cancellations_cascade() {
    let pair = || {
        let promise = Promise::new(OnCaller::host());
        let completion = promise.completion();
        (promise, completion)
    };
    let ((from, source), (to, target)) = (pair(), pair());
    source.forward_to(to);
    assert!(target.cancel());
    assert!(!source.is_done(), "forwarding does not go back");
    from.try_success();

    let ((from, source), (to, target)) = (pair(), pair());
    source.forward_to(to);
    let cause = user_error();
    from.try_failure(cause.clone());
    assert!(target.cause().unwrap().is_same(&cause));

    let ((_from, source), (to, target)) = (pair(), pair());
    source.cascade_to(to);
    assert!(target.cancel());
    assert!(source.is_cancelled());

    let ((_from, source), (to, target)) = (pair(), pair());
    source.cascade_to(to);
    assert!(source.cancel());
    assert!(target.is_cancelled());

    source.forward_to(Promise::void());
    source.cascade_to(Promise::void());
}

/// F10: what listeners hold is freed once they have run.
#[test]
fn listeners_are_freed_after_their_call() {
    let (queue, host) = Queue::new();
    let promise = Promise::new(host);
    let completion = promise.completion();
    let token = Arc::new(());
    for _ in 0..3 {
        let held = token.clone();
        completion.add_listener(move |_| drop(held));
    }
    assert_eq!(Arc::strong_count(&token), 4);
    promise.try_success();
    queue.turn();
    assert_eq!(Arc::strong_count(&token), 1);
}

/// F10: a promise that is dropped takes no listener into the grave, and no memory.
#[test]
fn a_dropped_promise_fails_and_frees() {
    let (queue, host) = Queue::new();
    let promise = Promise::new(host.clone());
    let second = promise.second();
    let completion = promise.completion();
    let token = Arc::new(Mutex::new(None));
    let held = token.clone();
    completion.add_listener(move |result| *held.lock().unwrap() = Some(result.clone()));
    drop(promise);
    assert!(
        !completion.is_done(),
        "the second end may still complete it"
    );
    drop(second);
    assert!(completion.is_done());
    let cause = completion.cause().unwrap();
    assert_eq!(cause.kind(), ErrorKind::Dropped);
    assert!(cause.to_string().contains("dropped"), "{cause}");
    queue.turn();
    assert!(token.lock().unwrap().as_ref().unwrap().is_err());
    drop(completion);
    assert_eq!(Arc::strong_count(&token), 1);

    let (promise, future) = TaskPromise::<u8>::pair(host);
    drop(promise);
    assert_eq!(kind(future.sync()), ErrorKind::Dropped);
}

/// U3: whoever fails a promise learns whether anybody will know.
#[test]
fn unobserved_failures_are_told_to_who_fails() {
    let new = || Promise::new(OnCaller::host());
    assert_eq!(
        Promise::void().fail_observed(user_error()),
        Witness::Unobserved
    );
    assert_eq!(new().fail_observed(user_error()), Witness::Unobserved);

    let promise = new();
    let cores = promise.second();
    drop(promise.completion());
    assert_eq!(
        cores.fail_observed(user_error()),
        Witness::Unobserved,
        "an end is no observer"
    );
    assert_eq!(promise.fail_observed(user_error()), Witness::AlreadyDone);

    let promise = new();
    let held = promise.completion();
    assert_eq!(promise.fail_observed(user_error()), Witness::Observed);
    drop(held);

    let promise = new();
    promise.completion().add_listener(|_| {});
    assert_eq!(promise.fail_observed(user_error()), Witness::Observed);

    let (promise, future) = TaskPromise::<u8>::pair(OnCaller::host());
    drop(future);
    assert_eq!(promise.fail_observed(user_error()), Witness::Unobserved);
}

/// C19: a void promise costs nothing, is never done, and has no outcome to observe.
#[test]
fn a_void_promise_observes_nothing() {
    let void = Promise::void();
    assert!(void.is_void() && void.second().is_void() && Promise::default().is_void());
    assert!(void.set_uncancellable());
    assert!(void.try_success() && void.try_failure(user_error()));
    assert!(void.set_success().is_ok());
    assert!(!void.is_done() && !void.is_cancelled());
    assert_eq!(
        void.completion().cause().unwrap().kind(),
        ErrorKind::Unsupported
    );
    assert!(!void.unvoid(&OnCaller::host()).is_void());
}

/// B23: a promise knows where it belongs.
#[test]
fn a_promise_belongs_to_its_host() {
    let (_, ours) = Queue::new();
    let (_, theirs) = Queue::new();
    let promise = Promise::new(ours.clone());
    assert!(promise.is_hosted_by(&ours));
    assert!(!promise.is_hosted_by(&theirs));
    assert!(Promise::void().is_hosted_by(&theirs));
}

#[test]
fn both_futures_can_be_awaited() {
    let promise = Promise::new(OnCaller::host());
    let completion = promise.completion();
    let (task, future) = TaskPromise::pair(OnCaller::host());
    let worker = thread::spawn(move || {
        promise.try_success();
        task.try_success("done".to_string()).unwrap();
    });
    let value = block_on(async {
        completion.clone().await?;
        completion.await?;
        future.await
    });
    assert_eq!(value.unwrap(), "done");
    worker.join().unwrap();
}

#[test]
fn every_future_wakes_its_own_task_and_only_the_last_waker() {
    let wakes = || Arc::new(Unpark(thread::current(), AtomicUsize::new(0)));
    let (old, new, other, gone) = (wakes(), wakes(), wakes(), wakes());
    let promise = Promise::new(OnCaller::host());
    let mut first = promise.completion();
    let mut second = first.clone();
    let mut dropped = first.clone();
    assert!(poll(&mut first, &old.clone().into()).is_pending());
    assert!(poll(&mut second, &other.clone().into()).is_pending());
    assert!(poll(&mut dropped, &gone.clone().into()).is_pending());
    assert!(poll(&mut first, &new.clone().into()).is_pending());
    drop(dropped);
    assert_eq!(Arc::strong_count(&old), 1, "a replaced waker is let go");
    assert_eq!(
        Arc::strong_count(&gone),
        1,
        "so is that of a dropped future"
    );
    promise.try_failure(user_error());
    let count = |waker: &Unpark| waker.1.load(Ordering::SeqCst);
    assert_eq!(
        [count(&old), count(&new), count(&other), count(&gone)],
        [0, 1, 1, 0]
    );
    assert!(poll(&mut first, Waker::noop()).is_ready());
    assert!(
        poll(&mut first, Waker::noop()).is_ready(),
        "a handle may be polled again"
    );
}

#[test]
fn a_value_goes_to_one_taker() {
    let (queue, host) = Queue::new();
    let (promise, future) = TaskPromise::pair(host.clone());
    let log = Log::default();
    future.add_listener(log.listener("observer"));
    let takers_log = log.clone();
    future.on_result(move |value: Result<Vec<u8>, Error>| {
        takers_log.add(format_args!("taker {:?}", value.unwrap()));
    });
    assert!(promise.complete(Ok(vec![1, 2])));
    queue.turn();
    assert_eq!(log.take(), ["observer", "taker [1, 2]"]);

    let (promise, future) = TaskPromise::<u8>::pair(host);
    assert!(future.cancel());
    assert!(promise.is_cancelled() && promise.completion().is_cancelled());
    assert_eq!(promise.try_success(3), Err(3));
    assert_eq!(kind(block_on(future)), ErrorKind::Cancelled);
}

/// Threads use the states of promises again. Nothing of the one before is left: no outcome, no host, no listener.
///
/// Rules: F1, F10
#[test]
fn a_promise_begins_anew_whatever_became_of_the_one_before() {
    let (queue, host) = Queue::new();
    let (_, other_host) = Queue::new();
    let ends: [fn(Promise); 5] = [
        |promise| assert!(promise.try_success()),
        |promise| assert!(promise.try_failure(user_error())),
        |promise| assert!(promise.completion().cancel()),
        |promise| drop(promise),
        |promise| {
            let completion = promise.completion();
            completion.add_listener(|_| {});
            promise.try_success();
            drop(promise);
            assert!(completion.is_success());
        },
    ];
    for end in ends {
        let promise = Promise::new(host.clone());
        assert_eq!(Arc::strong_count(&queue), 3);
        end(promise);
        queue.turn();
        assert_eq!(Arc::strong_count(&queue), 2, "what rests holds no host");
        let promise = Promise::new(other_host.clone());
        assert!(!promise.is_done() && !promise.is_cancelled());
        assert!(promise.is_hosted_by(&other_host) && !promise.is_hosted_by(&host));
        let completion = promise.completion();
        assert!(completion.result().is_none());
        assert!(promise.set_uncancellable() && !completion.cancel());
        drop(promise);
        assert_eq!(
            completion.cause().map(|error| error.kind()),
            Some(ErrorKind::Dropped)
        );
    }
    let (done, failed) = (
        Completion::succeeded(host.clone()),
        Completion::failed(host, user_error()),
    );
    assert!(done.is_success() && failed.cause().is_some());
}

#[test]
fn promises_are_one_word_and_travel_between_threads() {
    fn travels<T: Send + Sync>() {}
    travels::<Promise>();
    travels::<Completion>();
    travels::<TaskPromise<std::cell::Cell<u8>>>();
    travels::<TaskFuture<std::cell::Cell<u8>>>();
    travels::<Combiner>();
    travels::<Error>();
    travels::<Failure>();
    let word = size_of::<usize>();
    assert_eq!(size_of::<Promise>(), word);
    assert_eq!(size_of::<Error>(), word);
    assert_eq!(size_of::<Result<(), Error>>(), word);
    assert_eq!(size_of::<Failure>(), 2 * word);
}

#[test]
fn debug_tells_the_state() {
    let promise = Promise::new(OnCaller::host());
    assert_eq!(format!("{promise:?}"), "Promise(pending)");
    promise.set_uncancellable();
    assert_eq!(format!("{promise:?}"), "Promise(uncancellable)");
    promise.try_success();
    assert_eq!(format!("{:?}", promise.completion()), "Completion(success)");
    assert_eq!(format!("{:?}", Promise::void()), "Promise(void)");
    let failed = TaskFuture::<u8>::ready(OnCaller::host(), Err(user_error()));
    assert_eq!(format!("{failed:?}"), "TaskFuture(failed)");
}
