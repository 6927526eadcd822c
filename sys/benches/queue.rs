//! Tasks per second through the queue from one and two threads into a busy consumer, against crossbeam's SegQueue with
//! boxed closures in the same rounds.
//!
//! `make queue`. The closure captures an `Arc` and two words; the references are made before the clock runs, so that the
//! two threads do not fight over one reference count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use crossbeam_queue::SegQueue;
use tidegate_sys::mem::{Task, queue};

const ROUNDS: usize = 7;
const TASKS: u64 = 4_000_000;

fn main() {
    println!(
        "{} processors, {TASKS} tasks a round",
        thread::available_parallelism().map_or(0, usize::from)
    );
    for producers in [1, 2] {
        let (mut ours, mut rival) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(through_ours(producers));
            rival.push(through_boxes(producers));
        }
        let (ours, rival) = (median(&mut ours), median(&mut rival));
        println!(
            "{producers} producer(s): queue {ours:6.1} M/s   SegQueue of boxes {rival:6.1} M/s   ratio {:.2}",
            ours / rival
        );
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn references(sum: &Arc<AtomicU64>, count: u64) -> Vec<Arc<AtomicU64>> {
    (0..count).map(|_| sum.clone()).collect()
}

fn rate(began: Instant) -> f64 {
    TASKS as f64 / began.elapsed().as_secs_f64() / 1e6
}

fn through_ours(producers: u64) -> f64 {
    let (producer, mut consumer) = queue::new(None);
    let sum = Arc::new(AtomicU64::new(0));
    let each = TASKS / producers;
    let ready: Vec<_> = (0..producers).map(|_| references(&sum, each)).collect();
    let began = Instant::now();
    thread::scope(|scope| {
        for references in ready {
            let producer = producer.clone();
            scope.spawn(move || {
                for (number, sum) in (0..each).zip(references) {
                    let one = 1u64;
                    let task = Task::new(move || {
                        sum.store(sum.load(Relaxed) + (number & 1) + one, Relaxed)
                    });
                    assert!(producer.push(task).is_ok());
                }
            });
        }
        let mut left = TASKS;
        while left > 0 {
            match consumer.pop() {
                Some(task) => {
                    task.run();
                    left -= 1;
                }
                None => std::hint::spin_loop(),
            }
        }
    });
    let rate = rate(began);
    assert_eq!(sum.load(Relaxed), TASKS + TASKS / 2);
    rate
}

fn through_boxes(producers: u64) -> f64 {
    let queue: SegQueue<Box<dyn FnOnce() + Send>> = SegQueue::new();
    let sum = Arc::new(AtomicU64::new(0));
    let each = TASKS / producers;
    let ready: Vec<_> = (0..producers).map(|_| references(&sum, each)).collect();
    let began = Instant::now();
    thread::scope(|scope| {
        for references in ready {
            let queue = &queue;
            scope.spawn(move || {
                for (number, sum) in (0..each).zip(references) {
                    let one = 1u64;
                    queue.push(Box::new(move || {
                        sum.store(sum.load(Relaxed) + (number & 1) + one, Relaxed)
                    }));
                }
            });
        }
        let mut left = TASKS;
        while left > 0 {
            match queue.pop() {
                Some(task) => {
                    task();
                    left -= 1;
                }
                None => std::hint::spin_loop(),
            }
        }
    });
    let rate = rate(began);
    assert_eq!(sum.load(Relaxed), TASKS + TASKS / 2);
    rate
}
