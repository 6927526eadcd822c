//! The queue under real threads: order, counts, refusals, wake-ups, memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;

use super::*;
use crate::mem::Task;

fn nothing() -> Task {
    Task::new(|| {})
}

#[test]
fn tasks_of_each_producer_run_in_order() {
    const EACH: usize = 20_000;
    let (producer, mut consumer) = new(None);
    let last: Arc<[AtomicUsize; 4]> = Arc::new(std::array::from_fn(|_| AtomicUsize::new(0)));
    thread::scope(|scope| {
        for who in 0..4 {
            let producer = producer.clone();
            let last = Arc::clone(&last);
            scope.spawn(move || {
                for i in 0..EACH {
                    let last = Arc::clone(&last);
                    let task = Task::new(move || {
                        assert_eq!(last[who].swap(i + 1, SeqCst), i);
                    });
                    let _ = producer.push(task).expect("open and unbounded");
                }
            });
        }
        let mut left = 4 * EACH;
        while left > 0 {
            match consumer.pop() {
                Some(task) => {
                    task.run();
                    left -= 1;
                }
                None => thread::yield_now(),
            }
        }
    });
    assert!(consumer.is_empty());
    assert!(last.iter().all(|n| n.load(SeqCst) == EACH));
}

#[test]
fn a_sleep_is_ended_by_one_push() {
    let (producer, mut consumer) = new(None);
    assert_eq!(producer.push(nothing()).unwrap(), Pushed::Awake);
    assert!(!consumer.prepare_sleep(), "a task waits");
    consumer.pop().unwrap().run();
    assert!(consumer.prepare_sleep());
    assert_eq!(producer.push(nothing()).unwrap(), Pushed::MustWake);
    assert_eq!(producer.push(nothing()).unwrap(), Pushed::Awake);
    assert!(consumer.wake_up());
    assert_eq!(consumer.len(), 2);
}

#[test]
fn dropping_the_consumer_drops_waiting_tasks_once() {
    let dropped = Arc::new(());
    let (producer, consumer) = new(None);
    for _ in 0..1000 {
        let held = Arc::clone(&dropped);
        let _ = producer.push(Task::new(move || drop(held))).unwrap();
    }
    assert_eq!(Arc::strong_count(&dropped), 1001);
    drop(consumer);
    assert_eq!(Arc::strong_count(&dropped), 1);
    assert!(matches!(producer.push(nothing()), Err(Refused::Closed(_))));
}

#[test]
fn closing_races_with_pushes_and_loses_nothing() {
    for _ in 0..200 {
        let (producer, mut consumer) = new(None);
        let stop = Arc::new(AtomicBool::new(false));
        let alive = Arc::new(());
        let accepted = thread::scope(|scope| {
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let (producer, alive, stop) = (producer.clone(), &alive, &stop);
                    scope.spawn(move || {
                        let mut n = 0;
                        while !stop.load(SeqCst) {
                            let held = Arc::clone(alive);
                            match producer.push(Task::new(move || drop(held))) {
                                Ok(_) => n += 1,
                                Err(_) => break,
                            }
                        }
                        n
                    })
                })
                .collect();
            let mut n = 0;
            while n < 300 {
                if let Some(task) = consumer.pop() {
                    task.run();
                    n += 1;
                }
            }
            while let Some(task) = consumer.pop_last() {
                task.run();
                n += 1;
            }
            stop.store(true, SeqCst);
            let pushed: usize = threads.into_iter().map(|t| t.join().unwrap()).sum();
            assert_eq!(pushed, n);
            n
        });
        assert!(accepted >= 300);
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
