//! Tasks per second from one thread into a busy loop: one `execute()` per task, with a closure that captures an `Arc` and
//! two words. The rival in the same run is a thread that takes boxed closures from a `std::sync::mpsc` channel.
//!
//! Two cases. "held": the references were made before the clock runs, so that what is measured is the queue and the loop.
//! "shared": the producer clones one `Arc` for each task while the loop drops the clones before; then both processors fight
//! over the line with its count, which bounds every queue alike.
//!
//! `cargo bench --bench tasks [-- MILLIONS]`; prints the machine, each round, and the medians with their ratio.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use tidegate::{EventLoopGroup, Spin};

const ROUNDS: usize = 7;

fn main() {
    let millions: u64 = std::env::args()
        .skip(1)
        .find_map(|arg| arg.parse().ok())
        .unwrap_or(10);
    let count = millions * 1_000_000;
    println!(
        "{} processors, {} tasks a round",
        thread::available_parallelism().map_or(0, usize::from),
        count
    );
    for (case, held) in [("held", true), ("shared", false)] {
        let (mut ours, mut rival) = (Vec::new(), Vec::new());
        for round in 1..=ROUNDS {
            let (a, b) = (through_a_loop(count, held), through_a_channel(count, held));
            println!("{case}, round {round}: event loop {a:6.1} M/s   mpsc of boxes {b:6.1} M/s");
            ours.push(a);
            rival.push(b);
        }
        let (ours, rival) = (median(&mut ours), median(&mut rival));
        println!(
            "{case}, median:  event loop {ours:6.1} M/s   mpsc of boxes {rival:6.1} M/s   ratio {:.2}",
            ours / rival
        );
    }
}

/// A reference for each task, made now or when it is asked for.
fn references(
    sum: &Arc<AtomicU64>,
    count: u64,
    held: bool,
) -> impl Iterator<Item = Arc<AtomicU64>> {
    let ready: Vec<_> = (0..if held { count } else { 0 })
        .map(|_| sum.clone())
        .collect();
    let fresh = sum.clone();
    ready
        .into_iter()
        .chain(std::iter::repeat_with(move || fresh.clone()).take(if held {
            0
        } else {
            count as usize
        }))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Million tasks per second. The sum of the captured words proves that each ran.
fn through_a_loop(count: u64, held: bool) -> f64 {
    let group = EventLoopGroup::builder()
        .threads(1)
        .name("bench")
        .spin(Spin::Count(1000))
        .build()
        .expect("a loop");
    let event_loop = group.next();
    event_loop.submit(|| ()).sync().expect("the loop runs");
    let sum = Arc::new(AtomicU64::new(0));
    let references = references(&sum, count, held);
    let began = Instant::now();
    for (number, sum) in (0..count).zip(references) {
        let one = 1u64;
        event_loop
            .execute(move || {
                // A plain load and store: only the loop writes.
                sum.store(
                    sum.load(Ordering::Relaxed) + number + one,
                    Ordering::Relaxed,
                );
            })
            .expect("the loop takes tasks");
    }
    event_loop.submit(|| ()).sync().expect("the loop runs");
    let rate = count as f64 / began.elapsed().as_secs_f64() / 1e6;
    assert_eq!(sum.load(Ordering::Relaxed), count * (count + 1) / 2);
    rate
}

fn through_a_channel(count: u64, held: bool) -> f64 {
    let (sender, receiver) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
    let consumer = thread::spawn(move || {
        for task in receiver {
            task();
        }
    });
    let sum = Arc::new(AtomicU64::new(0));
    let references = references(&sum, count, held);
    let began = Instant::now();
    for (number, sum) in (0..count).zip(references) {
        let one = 1u64;
        let task = Box::new(move || {
            sum.store(
                sum.load(Ordering::Relaxed) + number + one,
                Ordering::Relaxed,
            );
        });
        sender.send(task).expect("the consumer lives");
    }
    drop(sender);
    consumer.join().expect("the consumer ends");
    let rate = count as f64 / began.elapsed().as_secs_f64() / 1e6;
    assert_eq!(sum.load(Ordering::Relaxed), count * (count + 1) / 2);
    rate
}
