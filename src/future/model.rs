//! Promises under loom: every interleaving of two or three threads that complete, cancel, listen, wait, await and drop.
//!
//! `make loom`. A promise settles once, every listener is told once and in order, nobody stays asleep (loom reports a
//! deadlock), and whoever learns of the end sees what was done before it. Nothing asserts inside a listener: a panic there is
//! contained (F5).

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::task::{Context, Poll, Wake, Waker};

use loom::model::Builder;
use loom::sync::Notify;
use loom::sync::atomic::AtomicUsize;
use loom::sync::atomic::Ordering::Relaxed;
use loom::thread;

use super::combiner::Combiner;
use super::completion::Completion;
use super::host::OnCaller;
use super::promise::Promise;
use super::value::TaskPromise;
use crate::error::{Error, ErrorKind};

/// Explores every execution of a model.
fn explore(f: impl Fn() + Send + Sync + 'static) {
    Builder::new().check(f);
}

/// Explores those with at most three preemptions: models in which two threads wait take minutes beyond that.
fn explore_three(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

/// What listeners and waiters report: who, with which outcome. Std's lock: it is never held where loom can switch.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<(u32, Outcome)>>>);

type Outcome = Result<(), ErrorKind>;

impl Heard {
    fn note(&self, who: u32, result: &Result<(), Error>) {
        let outcome = result.as_ref().map(|()| ()).map_err(Error::kind);
        self.0.lock().unwrap().push((who, outcome));
    }

    fn listen(&self, completion: &Completion, who: u32) {
        let heard = self.clone();
        completion.add_listener(move |result| heard.note(who, result));
    }

    /// Who reported, in order; all must have heard the same.
    fn all_heard(&self, outcome: Outcome) -> Vec<u32> {
        let heard = self.0.lock().unwrap();
        for (who, other) in &*heard {
            assert_eq!(*other, outcome, "{who} heard something else");
        }
        heard.iter().map(|(who, _)| *who).collect()
    }
}

/// The outcome of a promise that is done.
fn outcome(completion: &Completion) -> Outcome {
    let result = completion.result().expect("the promise is done");
    result.map_err(|error| error.kind())
}

fn user_error() -> Error {
    Error::new(ErrorKind::User, "refused")
}

/// Something that is done before a promise is completed, and must be seen by whoever learns that it is.
#[derive(Clone)]
struct Before(Arc<AtomicUsize>);

impl Before {
    fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(0)))
    }

    fn happen(&self) {
        self.0.store(1, Relaxed);
    }

    fn has_happened(&self) -> bool {
        self.0.load(Relaxed) == 1
    }
}

/// Polls a future, asleep in between.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Bell(Notify);
    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.notify();
        }
    }
    let bell = Arc::new(Bell(Notify::new()));
    let waker = Waker::from(Arc::clone(&bell));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        bell.0.wait();
    }
}

/// F1, F2.
#[test]
fn loom_success_failure_and_cancellation_agree_on_one_winner() {
    explore(|| {
        let promise = Promise::new(OnCaller::host());
        let completion = promise.completion();
        let heard = Heard::default();
        heard.listen(&completion, 0);
        let second = promise.second();
        let failing = thread::spawn(move || usize::from(second.try_failure(user_error())));
        let canceller = completion.clone();
        let cancelling = thread::spawn(move || usize::from(canceller.cancel()));
        let succeeded = usize::from(promise.try_success());
        let failed = failing.join().unwrap();
        let cancelled = cancelling.join().unwrap();
        assert_eq!(succeeded + failed + cancelled, 1);
        let expected = match (succeeded, failed) {
            (1, _) => Ok(()),
            (_, 1) => Err(ErrorKind::User),
            _ => Err(ErrorKind::Cancelled),
        };
        assert_eq!(outcome(&completion), expected);
        assert_eq!(heard.all_heard(expected), [0]);
    });
}

/// F2: work that began is not cancelled, and work that was cancelled does not begin.
#[test]
fn loom_beginning_and_cancelling_exclude_each_other() {
    explore(|| {
        let promise = Promise::new(OnCaller::host());
        let completion = promise.completion();
        let canceller = completion.clone();
        let cancelling = thread::spawn(move || canceller.cancel());
        let began = promise.set_uncancellable();
        let completed = promise.try_success();
        let cancelled = cancelling.join().unwrap();
        assert_eq!(began, !cancelled);
        assert_eq!(completed, began);
        assert_eq!(completion.is_success(), began);
    });
}

/// F1: whoever sees that a promise is done sees how, with the error, and what was done before.
#[test]
fn loom_an_outcome_is_whole_when_it_can_be_seen() {
    explore(|| {
        let promise = Promise::new(OnCaller::host());
        let completion = promise.completion();
        let before = Before::new();
        let done = before.clone();
        let failing = thread::spawn(move || {
            done.happen();
            assert!(promise.try_failure(user_error()));
        });
        if completion.is_done() {
            assert!(before.has_happened());
        }
        if let Some(result) = completion.result() {
            assert_eq!(result.map_err(|error| error.kind()), Err(ErrorKind::User));
            assert!(before.has_happened());
        }
        failing.join().unwrap();
    });
}

/// F3, F4: listeners that arrive before, while and after the promise is completed.
#[test]
fn loom_listeners_are_told_once_and_in_order() {
    explore(|| {
        let promise = Promise::new(OnCaller::host());
        let completion = promise.completion();
        let heard = Heard::default();
        heard.listen(&completion, 0);
        let completing = thread::spawn(move || assert!(promise.try_success()));
        heard.listen(&completion, 1);
        heard.listen(&completion, 2);
        completing.join().unwrap();
        assert_eq!(heard.all_heard(Ok(())), [0, 1, 2]);
    });
}

/// F3, F4: two threads add listeners while a third one fails the promise.
#[test]
fn loom_listeners_of_two_threads_are_all_told() {
    explore_three(|| {
        let promise = Promise::new(OnCaller::host());
        let completion = promise.completion();
        let heard = Heard::default();
        let failing = thread::spawn(move || assert!(promise.try_failure(user_error())));
        let (other, hearing) = (completion.clone(), heard.clone());
        let listening = thread::spawn(move || {
            hearing.listen(&other, 10);
            hearing.listen(&other, 11);
        });
        heard.listen(&completion, 20);
        failing.join().unwrap();
        listening.join().unwrap();
        let mut told = heard.all_heard(Err(ErrorKind::User));
        let first = told.iter().position(|who| *who == 10);
        assert!(first < told.iter().position(|who| *who == 11));
        told.sort_unstable();
        assert_eq!(told, [10, 11, 20]);
    });
}

/// F4: a listener that adds a listener while another thread adds one too.
#[test]
fn loom_a_listener_of_a_listener_is_told() {
    explore(|| {
        let promise = Promise::new(OnCaller::host());
        let completion = promise.completion();
        let heard = Heard::default();
        let (again, hearing) = (completion.clone(), heard.clone());
        completion.add_listener(move |result| {
            hearing.note(0, result);
            hearing.listen(&again, 1);
        });
        let completing = thread::spawn(move || assert!(promise.try_success()));
        heard.listen(&completion, 2);
        completing.join().unwrap();
        let mut told = heard.all_heard(Ok(()));
        assert_eq!(told[0], 0);
        told.sort_unstable();
        assert_eq!(told, [0, 1, 2]);
    });
}

/// Two blocked threads, a listener, and the completion: nobody sleeps on.
#[test]
fn loom_blocked_threads_are_woken() {
    explore_three(|| {
        let promise = Promise::new(OnCaller::host());
        let completion = promise.completion();
        let inner = promise.0.clone().expect("it is not void");
        let (heard, before) = (Heard::default(), Before::new());
        let (other, hearing, done) = (completion.clone(), heard.clone(), before.clone());
        let waiting = thread::spawn(move || {
            hearing.note(1, &other.sync());
            assert!(done.has_happened());
        });
        let (done, hearing, other) = (before.clone(), heard.clone(), completion.clone());
        let completing = thread::spawn(move || {
            hearing.listen(&other, 2);
            done.happen();
            assert!(promise.try_success());
        });
        heard.note(0, &completion.sync());
        assert!(before.has_happened());
        waiting.join().unwrap();
        completing.join().unwrap();
        assert_eq!(inner.blocked_threads(), 0);
        let mut told = heard.all_heard(Ok(()));
        told.sort_unstable();
        assert_eq!(told, [0, 1, 2]);
    });
}

/// A task that awaits, a thread that blocks, and a failure.
#[test]
fn loom_tasks_and_threads_are_woken_by_a_failure() {
    explore_three(|| {
        let promise = Promise::new(OnCaller::host());
        let completion = promise.completion();
        let (heard, other) = (Heard::default(), completion.clone());
        let hearing = heard.clone();
        let awaiting = thread::spawn(move || hearing.note(1, &block_on(other)));
        let failing = thread::spawn(move || assert!(promise.try_failure(user_error())));
        heard.note(0, &completion.sync());
        awaiting.join().unwrap();
        failing.join().unwrap();
        let mut told = heard.all_heard(Err(ErrorKind::User));
        told.sort_unstable();
        assert_eq!(told, [0, 1]);
    });
}

/// A task that awaits is woken, and sees what was done before.
#[test]
fn loom_a_task_is_woken() {
    explore(|| {
        let promise = Promise::new(OnCaller::host());
        let completion = promise.completion();
        let before = Before::new();
        let done = before.clone();
        let completing = thread::spawn(move || {
            done.happen();
            assert!(promise.try_success());
        });
        assert!(block_on(completion).is_ok());
        assert!(before.has_happened());
        completing.join().unwrap();
    });
}

/// F10: futures that were polled and are dropped while the promise is completed, beside one that waits on.
#[test]
fn loom_a_dropped_future_takes_its_waker_along() {
    explore_three(|| {
        let promise = Promise::new(OnCaller::host());
        let completion = promise.completion();
        let mut polled = completion.clone();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(std::pin::Pin::new(&mut polled).poll(&mut cx).is_pending());
        let inner = promise.0.clone().expect("it is not void");
        let completing = thread::spawn(move || assert!(promise.try_success()));
        let dropping = thread::spawn(move || drop(polled));
        assert!(block_on(completion).is_ok());
        completing.join().unwrap();
        dropping.join().unwrap();
        assert_eq!(inner.take_wakers(), 0);
    });
}

/// F10: the last of two ends fails what nobody completed, once.
#[test]
fn loom_the_last_promise_to_be_dropped_fails_its_future() {
    explore_three(|| {
        let promise = Promise::new(OnCaller::host());
        let completion = promise.completion();
        let heard = Heard::default();
        heard.listen(&completion, 0);
        let second = promise.second();
        let dropping = thread::spawn(move || drop(second));
        let (other, hearing) = (completion.clone(), heard.clone());
        let waiting = thread::spawn(move || hearing.note(1, &other.sync()));
        drop(promise);
        dropping.join().unwrap();
        waiting.join().unwrap();
        let mut told = heard.all_heard(Err(ErrorKind::Dropped));
        told.sort_unstable();
        assert_eq!(told, [0, 1]);
    });
}

/// F10: one end completes and goes, the other one only goes.
#[test]
fn loom_a_dropped_end_does_not_undo_the_others_work() {
    explore(|| {
        let promise = Promise::new(OnCaller::host());
        let completion = promise.completion();
        let second = promise.second();
        let dropping = thread::spawn(move || drop(second));
        assert!(promise.try_success());
        drop(promise);
        dropping.join().unwrap();
        assert!(completion.is_success());
    });
}

/// A value is there for whoever is told that it is.
#[test]
fn loom_a_value_is_taken_once() {
    explore(|| {
        let (promise, future) = TaskPromise::pair(OnCaller::host());
        let heard = Heard::default();
        heard.listen(&future.completion(), 0);
        let completing =
            thread::spawn(move || assert_eq!(promise.try_success(Box::new(7)), Ok(())));
        if future.is_success() {
            assert_eq!(future.get_now(), Some(Box::new(7)));
        }
        assert_eq!(block_on(future).map(|value| *value).ok(), Some(7));
        completing.join().unwrap();
        assert_eq!(heard.all_heard(Ok(())), [0]);
    });
}

/// F1: a value that comes too late comes back.
#[test]
fn loom_a_value_and_a_cancellation_exclude_each_other() {
    explore(|| {
        let (promise, future) = TaskPromise::pair(OnCaller::host());
        let canceller = future.completion();
        let cancelling = thread::spawn(move || canceller.cancel());
        let refused = promise.try_success(7).is_err();
        let taken = future.sync().map_err(|error| error.kind());
        assert_eq!(cancelling.join().unwrap(), refused);
        assert_eq!(
            taken,
            if refused {
                Err(ErrorKind::Cancelled)
            } else {
                Ok(7)
            }
        );
    });
}

/// F9: the promise of many is done with the last of them, and fails if one of them did.
#[test]
fn loom_a_combined_promise_settles_with_the_last_member() {
    explore_three(|| {
        let combiner = Combiner::new();
        let (head, body) = (
            combiner.promise(OnCaller::host()),
            combiner.promise(OnCaller::host()),
        );
        let both = Promise::new(OnCaller::host());
        let done = both.completion();
        let heard = Heard::default();
        heard.listen(&done, 0);
        let succeeding = thread::spawn(move || assert!(head.try_success()));
        let failing = thread::spawn(move || assert!(body.try_failure(user_error())));
        combiner.finish(both);
        assert_eq!(
            done.sync().map_err(|error| error.kind()),
            Err(ErrorKind::User)
        );
        succeeding.join().unwrap();
        failing.join().unwrap();
        assert_eq!(heard.all_heard(Err(ErrorKind::User)), [0]);
    });
}
