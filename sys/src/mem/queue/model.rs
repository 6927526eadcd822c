//! The protocol under loom, with chunks of two slots: every interleaving with up to three preemptions (large models: see
//! `explore_large`).
//!
//! `make loom`, which is `RUSTFLAGS="--cfg loom" cargo test -p tidegate-sys --release --lib mem::` in a target folder of
//! its own.
//!
//! Loom also checks that a chunk is given back only after every push that could reach it (its
//! `alive` cell), and that no two threads meet in a slot.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use loom::model::Builder;
use loom::sync::atomic::{AtomicBool, AtomicUsize};
use loom::sync::{Arc, Notify};
use loom::thread;

use super::{Consumer, Producer, Pushed, Refused, new};
use crate::mem::Task;
use crate::mem::atomic::announce_loads;

/// Explores the executions of a model with at most three preemptions.
fn explore(f: impl Fn() + Send + Sync + 'static) {
    explore_with(3, true, f);
}

/// For models with four pushes, which take hours that way: one preemption, and then two without announced loads.
fn explore_large(f: impl Fn() + Clone + Send + Sync + 'static) {
    explore_with(1, true, f.clone());
    explore_with(2, false, f);
}

fn explore_with(preemptions: usize, announces: bool, f: impl Fn() + Send + Sync + 'static) {
    announce_loads(announces);
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}

/// A task that adds one to `ran`.
fn counting(ran: &Arc<AtomicUsize>) -> Task {
    let ran = Arc::clone(ran);
    Task::new(move || {
        ran.fetch_add(1, Relaxed);
    })
}

/// Pushes and pops until the head stands at the given position, and all chunks in front were given
/// back or are about to be.
fn advance(producer: &Producer, consumer: &mut Consumer, positions: usize) {
    for _ in 0..positions {
        assert_eq!(producer.push(Task::new(|| {})).unwrap(), Pushed::Awake);
        consumer.pop().unwrap().run();
    }
}

#[test]
fn loom_two_producers_and_a_sleeping_consumer() {
    explore_with(2, true, || {
        let (producer, mut consumer) = new(None);
        let ran = Arc::new(AtomicUsize::new(0));
        let bell = Arc::new(Notify::new());
        let rings = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (producer, task) = (producer.clone(), counting(&ran));
                let (bell, rings) = (Arc::clone(&bell), Arc::clone(&rings));
                thread::spawn(move || {
                    if producer.push(task).unwrap() == Pushed::MustWake {
                        rings.fetch_add(1, Relaxed);
                        bell.notify();
                    }
                })
            })
            .collect();
        let (mut taken, mut sleeps, mut told) = (0, 0, 0);
        while taken < 2 {
            if let Some(task) = consumer.pop() {
                task.run();
                taken += 1;
            } else if consumer.prepare_sleep() {
                sleeps += 1;
                // A wake-up that nobody sends is a deadlock here, which loom reports. It also wakes us
                // without one, like a timeout.
                bell.wait();
                told += usize::from(consumer.wake_up());
            } else {
                thread::yield_now();
            }
        }
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(ran.load(Relaxed), 2);
        assert_eq!(rings.load(Relaxed), told);
        assert!(told <= sleeps);
    });
}

#[test]
fn loom_a_lazy_push_keeps_the_consumer_awake_or_is_seen_when_it_wakes() {
    explore(|| {
        let (producer, mut consumer) = new(None);
        let ran = Arc::new(AtomicUsize::new(0));
        let lazy = {
            let (producer, task) = (producer.clone(), counting(&ran));
            thread::spawn(move || producer.push_lazy(task).unwrap())
        };
        let slept = consumer.prepare_sleep();
        if !slept {
            // Refused: the task waits, or its push is under way.
            assert!(!consumer.is_empty());
        }
        lazy.join().unwrap();
        if slept {
            assert!(!consumer.wake_up(), "a lazy push tells nobody to wake us");
        }
        assert!(!consumer.prepare_sleep());
        consumer.pop().unwrap().run();
        assert_eq!(ran.load(Relaxed), 1);
    });
}

#[test]
fn loom_claiming_the_wake_carries_what_was_stored_before() {
    explore(|| {
        let (producer, mut consumer) = new(None);
        let stop = Arc::new(AtomicBool::new(false));
        let bell = Arc::new(Notify::new());
        let thread = {
            let (stop, bell) = (Arc::clone(&stop), Arc::clone(&bell));
            thread::spawn(move || {
                stop.store(true, Relaxed);
                if producer.claim_wake() {
                    bell.notify();
                }
            })
        };
        assert!(consumer.prepare_sleep());
        while !stop.load(Relaxed) {
            bell.wait();
        }
        consumer.wake_up();
        thread.join().unwrap();
    });
}

#[test]
fn loom_a_push_that_races_with_close_is_refused_or_taken() {
    explore(|| {
        let (producer, mut consumer) = new(None);
        let ran = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (producer, task) = (producer.clone(), counting(&ran));
                thread::spawn(move || usize::from(producer.push(task).is_ok()))
            })
            .collect();
        let mut taken = 0;
        while let Some(task) = consumer.pop_last() {
            task.run();
            taken += 1;
        }
        let accepted: usize = threads.into_iter().map(|t| t.join().unwrap()).sum();
        assert_eq!(taken, accepted);
        assert_eq!(ran.load(Relaxed), accepted);
        assert!(consumer.is_empty());
    });
}

#[test]
fn loom_a_producer_that_closes_wakes_the_consumer() {
    explore(|| {
        let (producer, mut consumer) = new(None);
        let bell = Arc::new(Notify::new());
        let thread = {
            let bell = Arc::clone(&bell);
            thread::spawn(move || {
                if producer.close() == Pushed::MustWake {
                    bell.notify();
                }
            })
        };
        if consumer.prepare_sleep() {
            while !consumer.is_closed() {
                bell.wait();
            }
        }
        consumer.wake_up();
        thread.join().unwrap();
        assert!(consumer.pop_last().is_none());
    });
}

#[test]
fn loom_dropping_the_consumer_races_with_pushes() {
    explore(|| {
        let (producer, consumer) = new(None);
        let held = Arc::new(());
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let producer = producer.clone();
                let held = Arc::clone(&held);
                thread::spawn(move || {
                    let _ = producer.push(Task::new(move || drop(held)));
                })
            })
            .collect();
        drop(consumer);
        for thread in threads {
            thread.join().unwrap();
        }
        // Also loom's own check: an Arc that is never dropped fails the model.
        assert_eq!(Arc::strong_count(&held), 1);
    });
}

#[test]
fn loom_two_producers_cross_into_a_new_chunk() {
    explore_large(|| {
        let (producer, mut consumer) = new(None);
        let ran = Arc::new(AtomicUsize::new(0));
        advance(&producer, &mut consumer, 1);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (producer, task) = (producer.clone(), counting(&ran));
                let more = counting(&ran);
                thread::spawn(move || {
                    let _ = producer.push(task).unwrap();
                    let _ = producer.push(more).unwrap();
                })
            })
            .collect();
        let mut taken = 0;
        while taken < 4 {
            match consumer.pop() {
                Some(task) => {
                    task.run();
                    taken += 1;
                }
                None => thread::yield_now(),
            }
        }
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(ran.load(Relaxed), 4);
    });
}

#[test]
fn loom_chunks_are_used_again_under_two_producers() {
    explore_large(|| {
        let (producer, mut consumer) = new(None);
        // Two chunks went round: spare ones exist, and the next push links one of them.
        advance(&producer, &mut consumer, 6);
        let order = Arc::new(AtomicUsize::new(0));
        let other = {
            let producer = producer.clone();
            thread::spawn(move || {
                let _ = producer.push(Task::new(|| {})).unwrap();
            })
        };
        let main = {
            let order = Arc::clone(&order);
            thread::spawn(move || {
                for i in 0..3 {
                    let order = Arc::clone(&order);
                    let _ = producer
                        .push(Task::new(move || {
                            assert_eq!(order.fetch_add(1, AcqRel), i);
                        }))
                        .unwrap();
                }
            })
        };
        let mut taken = 0;
        while taken < 4 {
            match consumer.pop() {
                Some(task) => {
                    task.run();
                    // At once, not only at the next chunk: the earliest moment is the most dangerous.
                    consumer.give_back();
                    taken += 1;
                }
                None => thread::yield_now(),
            }
        }
        other.join().unwrap();
        main.join().unwrap();
        assert_eq!(order.load(Acquire), 3);
    });
}

#[test]
fn loom_a_bounded_queue_never_holds_more_than_its_capacity() {
    explore(|| {
        let (producer, mut consumer) = new(Some(1));
        let ran = Arc::new(AtomicUsize::new(0));
        let inside = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (producer, task) = (producer.clone(), counting(&ran));
                let inside = Arc::clone(&inside);
                thread::spawn(move || match producer.push(task) {
                    Ok(_) => {
                        inside.fetch_add(1, Release);
                    }
                    Err(refused) => assert!(matches!(refused, Refused::Full(_))),
                })
            })
            .collect();
        assert!(consumer.len() <= 1);
        let mut taken = 0;
        if let Some(task) = consumer.pop() {
            task.run();
            taken += 1;
        }
        for thread in threads {
            thread.join().unwrap();
        }
        let accepted = inside.load(Acquire);
        assert!(accepted >= 1, "an empty queue takes a task");
        assert!(accepted <= taken + 1);
        while let Some(task) = consumer.pop() {
            task.run();
            taken += 1;
        }
        assert_eq!(taken, accepted);
    });
}
