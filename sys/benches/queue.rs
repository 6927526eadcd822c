//! Tasks per second through the queue, and the time of a round trip, against other queues in the same rounds.
//!
//! `make queue`. One push per task; the closure captures an `Arc` and two words. Figures in M/s depend on the
//! machine, and on a virtual one on the minute; the ratios are the result.
//!
//! - moved: the references are made before the clock runs. This is the queue's own cost.
//! - cloned: one `Arc` is cloned for each task and dropped with it. Producer and consumer then fight over one reference
//!   count as well, which costs any queue two transfers of a cache line per task.

use std::cell::RefCell;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_queue::SegQueue;
use tidegate_sys::mem::{Task, queue};
use tidegate_sys::os::thread::set_affinity;

const ROUNDS: usize = 15;
const TASKS: usize = 1_000_000;
const TRIPS: usize = 100_000;

/// A queue of closures, ours or a rival.
trait Queue {
    const NAME: &'static str;
    type Sender: Clone + Send;
    type Receiver: Send;

    fn new() -> (Self::Sender, Self::Receiver);
    fn push<F: FnOnce() + Send + 'static>(sender: &Self::Sender, f: F);
    /// Runs the oldest task, if there is one.
    fn run_one(receiver: &mut Self::Receiver) -> bool;
}

/// Ours; with `MADE_BEFORE` it is given a task, which it can't write straight into its slot.
struct Ours<const MADE_BEFORE: bool>;

impl<const MADE_BEFORE: bool> Queue for Ours<MADE_BEFORE> {
    const NAME: &'static str = if MADE_BEFORE {
        "ours, made before"
    } else {
        "ours"
    };
    type Sender = queue::Producer;
    type Receiver = RefCell<queue::Consumer>;

    fn new() -> (Self::Sender, Self::Receiver) {
        let (sender, receiver) = queue::new(None);
        (sender, RefCell::new(receiver))
    }

    #[inline]
    fn push<F: FnOnce() + Send + 'static>(sender: &Self::Sender, f: F) {
        let pushed = if MADE_BEFORE {
            sender.push(Task::new(f))
        } else {
            sender.push_closure(f)
        };
        let _awake = pushed.expect("open and unbounded");
    }

    /// As the event loop does it.
    #[inline]
    fn run_one(receiver: &mut Self::Receiver) -> bool {
        queue::Consumer::run_next(receiver, || ())
    }
}

struct Mpsc;

impl Queue for Mpsc {
    const NAME: &'static str = "std mpsc, boxed";
    type Sender = mpsc::Sender<Box<dyn FnOnce() + Send>>;
    type Receiver = mpsc::Receiver<Box<dyn FnOnce() + Send>>;

    fn new() -> (Self::Sender, Self::Receiver) {
        mpsc::channel()
    }

    #[inline]
    fn push<F: FnOnce() + Send + 'static>(sender: &Self::Sender, f: F) {
        assert!(sender.send(Box::new(f)).is_ok());
    }

    #[inline]
    fn run_one(receiver: &mut Self::Receiver) -> bool {
        receiver.try_recv().map(|f| f()).is_ok()
    }
}

struct SegBoxed;

impl Queue for SegBoxed {
    const NAME: &'static str = "SegQueue, boxed";
    type Sender = Arc<SegQueue<Box<dyn FnOnce() + Send>>>;
    type Receiver = Self::Sender;

    fn new() -> (Self::Sender, Self::Receiver) {
        let queue = Arc::new(SegQueue::new());
        (Arc::clone(&queue), queue)
    }

    #[inline]
    fn push<F: FnOnce() + Send + 'static>(sender: &Self::Sender, f: F) {
        sender.push(Box::new(f));
    }

    #[inline]
    fn run_one(receiver: &mut Self::Receiver) -> bool {
        receiver.pop().map(|f| f()).is_some()
    }
}

struct SegInline;

impl Queue for SegInline {
    const NAME: &'static str = "SegQueue, our Task";
    type Sender = Arc<SegQueue<Task>>;
    type Receiver = Self::Sender;

    fn new() -> (Self::Sender, Self::Receiver) {
        let queue = Arc::new(SegQueue::new());
        (Arc::clone(&queue), queue)
    }

    #[inline]
    fn push<F: FnOnce() + Send + 'static>(sender: &Self::Sender, f: F) {
        sender.push(Task::new(f));
    }

    #[inline]
    fn run_one(receiver: &mut Self::Receiver) -> bool {
        receiver.pop().map(Task::run).is_some()
    }
}

/// Where a task's `Arc` comes from.
#[derive(Clone, Copy)]
enum Capture {
    Moved,
    Cloned,
}

/// Tasks per second from so many producers into a consumer that does nothing else.
fn throughput<Q: Queue>(producers: usize, capture: Capture) -> f64 {
    let (sender, mut receiver) = Q::new();
    let each = TASKS / producers;
    let ready = AtomicUsize::new(0);
    let go = AtomicBool::new(false);
    let elapsed = thread::scope(|scope| {
        for i in 0..producers {
            let sender = sender.clone();
            let (ready, go) = (&ready, &go);
            scope.spawn(move || {
                pin(producers, i);
                let shared = Arc::new(());
                let mut references = match capture {
                    Capture::Moved => vec![Arc::clone(&shared); each],
                    Capture::Cloned => Vec::new(),
                };
                ready.fetch_add(1, SeqCst);
                while !go.load(SeqCst) {
                    thread::sleep(Duration::from_micros(50));
                }
                for n in 0..each {
                    let held = match capture {
                        Capture::Moved => references.pop().expect("one for each task"),
                        Capture::Cloned => Arc::clone(&shared),
                    };
                    let (a, b) = (n, n ^ each);
                    Q::push(&sender, move || {
                        black_box((a, b));
                        drop(held);
                    });
                }
            });
        }
        scope
            .spawn(|| {
                pin(producers, thread_count() - 1);
                while ready.load(SeqCst) < producers {
                    thread::sleep(Duration::from_micros(50));
                }
                go.store(true, SeqCst);
                // The clock starts with the first task: the producers wake at their own time.
                wait_for::<Q>(&mut receiver);
                let start = Instant::now();
                for _ in 1..each * producers {
                    wait_for::<Q>(&mut receiver);
                }
                start.elapsed()
            })
            .join()
            .expect("the consumer does not panic")
    });
    (each * producers) as f64 / elapsed.as_secs_f64() / 1e6
}

/// Nanoseconds from a push to the arrival of the answer, both sides polling.
fn round_trip<Q: Queue>() -> f64 {
    let (there, mut other) = Q::new();
    let (back, mut here) = Q::new();
    let elapsed = thread::scope(|scope| {
        scope.spawn(move || {
            pin(1, 0);
            for n in 0..TRIPS {
                wait_for::<Q>(&mut other);
                Q::push(&back, move || {
                    black_box(n);
                });
            }
        });
        scope
            .spawn(move || {
                pin(1, thread_count() - 1);
                let start = Instant::now();
                for n in 0..TRIPS {
                    Q::push(&there, move || {
                        black_box(n);
                    });
                    wait_for::<Q>(&mut here);
                }
                start.elapsed()
            })
            .join()
            .expect("neither side panics")
    });
    elapsed.as_nanos() as f64 / TRIPS as f64
}

#[inline]
fn wait_for<Q: Queue>(receiver: &mut Q::Receiver) {
    while !Q::run_one(receiver) {
        spin_loop();
    }
}

fn thread_count() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Gives the thread a processor of its own, if there are enough; where that is not possible the
/// figures are noisier, no more.
fn pin(producers: usize, cpu: usize) {
    if producers < thread_count() {
        let _ = set_affinity(cpu);
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Measures ours and the rivals in turns, and prints the medians and what they are to each other.
fn compare(title: &str, unit: &str, faster_is_more: bool, runs: &[(&str, &dyn Fn() -> f64)]) {
    let mut figures = vec![Vec::new(); runs.len()];
    for _ in 0..ROUNDS {
        for (figures, (_, run)) in figures.iter_mut().zip(runs) {
            figures.push(run());
        }
    }
    println!("{title}");
    let medians: Vec<f64> = figures.iter_mut().map(|f| median(f)).collect();
    for ((name, _), figure) in runs.iter().zip(&medians) {
        let ratio = if faster_is_more {
            medians[0] / figure
        } else {
            figure / medians[0]
        };
        println!("  {name:20} {figure:8.1} {unit:5} ours is {ratio:5.2} times as fast");
    }
}

fn main() {
    println!(
        "{} processors, {ROUNDS} rounds of {TASKS} tasks or {TRIPS} round trips, medians",
        thread_count()
    );
    for (title, producers, capture) in [
        ("one producer, Arc moved in", 1, Capture::Moved),
        ("one producer, Arc cloned for each task", 1, Capture::Cloned),
        ("two producers, Arc moved in", 2, Capture::Moved),
    ] {
        compare(
            title,
            "M/s",
            true,
            &[
                (Ours::<false>::NAME, &|| {
                    throughput::<Ours<false>>(producers, capture)
                }),
                (Ours::<true>::NAME, &|| {
                    throughput::<Ours<true>>(producers, capture)
                }),
                (Mpsc::NAME, &|| throughput::<Mpsc>(producers, capture)),
                (SegBoxed::NAME, &|| {
                    throughput::<SegBoxed>(producers, capture)
                }),
                (SegInline::NAME, &|| {
                    throughput::<SegInline>(producers, capture)
                }),
            ],
        );
    }
    compare(
        "round trip between two polling threads",
        "ns",
        false,
        &[
            (Ours::<false>::NAME, &round_trip::<Ours<false>>),
            (Ours::<true>::NAME, &round_trip::<Ours<true>>),
            (Mpsc::NAME, &round_trip::<Mpsc>),
            (SegBoxed::NAME, &round_trip::<SegBoxed>),
            (SegInline::NAME, &round_trip::<SegInline>),
        ],
    );
}
