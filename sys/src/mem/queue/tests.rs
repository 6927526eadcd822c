//! The queue under real threads: order, counts, refusals, wake-ups, memory.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, Thread};

use super::chunk::SLOTS;
use super::*;
use crate::mem::Task;

const SCALE: usize = if cfg!(miri) { 1 } else { 20 };

fn nothing() -> Task {
    Task::new(|| {})
}

fn send_and_sync<T: Send + Sync>() {}
fn send<T: Send>() {}

#[test]
fn ends_go_where_they_may() {
    send_and_sync::<Producer>();
    send::<Consumer>();
    assert_eq!(size_of::<Producer>(), size_of::<usize>());
}

#[test]
fn tasks_of_each_producer_run_in_order() {
    const EACH: usize = 1000 * SCALE;
    let (producer, mut consumer) = new(None);
    let last: Arc<[AtomicUsize; 4]> = Arc::default();
    thread::scope(|scope| {
        for who in 0..4 {
            let (producer, last) = (producer.clone(), Arc::clone(&last));
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
fn one_push_per_sleep_must_wake() {
    let (producer, mut consumer) = new(None);
    assert_eq!(producer.push(nothing()).unwrap(), Pushed::Awake);
    assert!(!consumer.prepare_sleep(), "a task waits");
    consumer.pop().unwrap().run();
    assert!(!consumer.wake_up(), "it did not sleep");
    for _ in 0..3 {
        assert!(consumer.prepare_sleep());
        assert_eq!(producer.push(nothing()).unwrap(), Pushed::MustWake);
        assert_eq!(producer.push(nothing()).unwrap(), Pushed::Awake);
        assert!(consumer.wake_up());
        assert!(!consumer.wake_up(), "it is awake already");
        assert_eq!(consumer.len(), 2);
        while let Some(task) = consumer.pop() {
            task.run();
        }
    }
    assert!(consumer.prepare_sleep());
    assert!(!consumer.wake_up(), "nobody was told");
    assert_eq!(producer.push(nothing()).unwrap(), Pushed::Awake);
}

#[test]
fn a_lazy_push_wakes_nobody_and_waits() {
    let (producer, mut consumer) = new(None);
    assert!(consumer.prepare_sleep());
    producer.push_lazy(nothing()).unwrap();
    assert_eq!(producer.len(), 1);
    assert_eq!(producer.push(nothing()).unwrap(), Pushed::MustWake);
    assert!(consumer.wake_up());
    assert_eq!(consumer.len(), 2);
    consumer.pop().unwrap().run();
    assert!(!consumer.prepare_sleep(), "the other still waits");
}

#[test]
fn a_wake_is_claimed_without_a_push() {
    let (producer, mut consumer) = new(None);
    assert!(!producer.claim_wake());
    assert!(consumer.prepare_sleep());
    assert!(producer.claim_wake());
    assert!(!producer.claim_wake());
    assert!(consumer.wake_up());
    assert!(consumer.prepare_sleep());
    assert_eq!(producer.close(), Pushed::MustWake);
    assert_eq!(producer.close(), Pushed::Awake);
}

#[test]
fn wakes_equal_sleeps_under_two_producers() {
    const EACH: usize = 25 * SCALE;
    let (producer, mut consumer) = new(None);
    let ran = Arc::new(AtomicUsize::new(0));
    let wakes = AtomicUsize::new(0);
    let me: Thread = thread::current();
    let mut told = 0;
    thread::scope(|scope| {
        for _ in 0..2 {
            let (producer, ran, me, wakes) = (producer.clone(), &ran, &me, &wakes);
            scope.spawn(move || {
                for i in 0..EACH {
                    let ran = Arc::clone(ran);
                    let task = Task::new(move || {
                        ran.fetch_add(1, SeqCst);
                    });
                    if producer.push(task).unwrap() == Pushed::MustWake {
                        wakes.fetch_add(1, SeqCst);
                        me.unpark();
                    }
                    if i % 7 == 0 {
                        thread::yield_now();
                    }
                }
            });
        }
        while ran.load(SeqCst) < 2 * EACH {
            if let Some(task) = consumer.pop() {
                task.run();
            } else if consumer.prepare_sleep() {
                // Without a deadline on purpose: a lost wake-up hangs here. Parking may end early.
                thread::park();
                told += usize::from(consumer.wake_up());
            }
        }
    });
    assert_eq!(wakes.load(SeqCst), told);
}

#[test]
fn a_full_queue_gives_the_task_back() {
    let (producer, mut consumer) = new(Some(3));
    assert_eq!(producer.capacity(), Some(3));
    let held = Arc::new(());
    let holding = || {
        let held = Arc::clone(&held);
        Task::new(move || drop(held))
    };
    for round in 0..1000 {
        while consumer.len() < 3 {
            assert_eq!(producer.push(holding()).unwrap(), Pushed::Awake);
        }
        let refused = producer.push(holding()).unwrap_err();
        assert!(matches!(refused, Refused::Full(_)), "{round}: {refused}");
        assert!(producer.push_lazy(refused.into_task()).is_err());
        for _ in 0..=round % 3 {
            consumer.pop().unwrap().run();
        }
    }
    drop(consumer);
    assert_eq!(Arc::strong_count(&held), 1);
    assert!(matches!(producer.push(nothing()), Err(Refused::Closed(_))));
    assert_eq!(new(Some(0)).0.capacity(), Some(1));
    assert_eq!(new(None).0.capacity(), None);
}

/// Pushes a closure that captures `held`, `first` and as many bytes as its place says.
fn push_one_of_each_size(
    producer: &Producer,
    held: &Arc<AtomicUsize>,
) -> Vec<Result<Pushed, Refused>> {
    macro_rules! of_size {
        ($($bytes:literal)*) => {
            vec![$({
                let held = Arc::clone(held);
                let bytes: [u8; $bytes] = std::array::from_fn(|i| i as u8 + 1);
                producer.push_closure(move || {
                    let sum: usize = bytes.iter().map(|b| usize::from(*b)).sum();
                    assert_eq!(sum, $bytes * ($bytes + 1) / 2, "{} bytes", $bytes);
                    held.fetch_add(1, SeqCst);
                })
            }),*]
        };
    }
    // Beside the Arc: from nothing, over odd sizes and all of the seven words, to what needs a box.
    of_size![0 1 3 7 8 9 15 16 24 31 32 33 40 47 48 49 56 57 64 100]
}

#[test]
fn a_closure_arrives_whole_whatever_its_size_and_comes_back_whole_when_refused() {
    let (producer, mut consumer) = new(None);
    let held = Arc::new(AtomicUsize::new(0));
    let pushed = push_one_of_each_size(&producer, &held);
    let count = pushed.len();
    assert!(pushed.into_iter().all(|p| p.unwrap() == Pushed::Awake));
    assert_eq!(Arc::strong_count(&held), 1 + count);
    for _ in 0..count {
        consumer.pop().unwrap().run();
    }
    assert_eq!((held.load(SeqCst), Arc::strong_count(&held)), (count, 1));

    assert!(consumer.prepare_sleep());
    let told = producer.push_closure(|| {}).unwrap();
    assert_eq!(told, Pushed::MustWake);
    assert!(consumer.wake_up());

    consumer.close();
    let (full, _consumer) = new(Some(1));
    assert_eq!(full.push_closure(|| {}).unwrap(), Pushed::Awake);
    for producer in [producer, full] {
        held.store(0, SeqCst);
        for refused in push_one_of_each_size(&producer, &held) {
            refused.unwrap_err().into_task().run();
        }
        assert_eq!((held.load(SeqCst), Arc::strong_count(&held)), (count, 1));
        drop(push_one_of_each_size(&producer, &held));
        assert_eq!(Arc::strong_count(&held), 1, "dropped when refused");
    }
}

#[test]
fn a_full_queue_takes_what_must_not_be_lost_behind_the_others() {
    let (producer, mut consumer) = new(Some(2));
    let order = Arc::new(AtomicUsize::new(0));
    let next = |nth| {
        let order = Arc::clone(&order);
        Task::new(move || assert_eq!(order.swap(nth + 1, SeqCst), nth))
    };
    for nth in 0..2 {
        assert_eq!(producer.push(next(nth)).unwrap(), Pushed::Awake);
    }
    for nth in 2..5 {
        assert!(matches!(producer.push(nothing()), Err(Refused::Full(_))));
        assert_eq!(producer.push_beyond(next(nth)).unwrap(), Pushed::Awake);
    }
    assert_eq!(producer.len(), 5);
    for left in (1..=4).rev() {
        consumer.pop().unwrap().run();
        let has_room = left < 2;
        assert_eq!(producer.push(next(5)).is_ok(), has_room, "{left} left");
    }
    while let Some(task) = consumer.pop() {
        task.run();
    }
    assert_eq!(order.load(SeqCst), 6);
    assert!(consumer.prepare_sleep());
    assert_eq!(producer.push_beyond(nothing()).unwrap(), Pushed::MustWake);
    assert!(consumer.wake_up());
    consumer.close();
    let held = Arc::new(());
    let holding = Arc::clone(&held);
    let back = producer.push_beyond(Task::new(move || drop(holding)));
    drop(back.unwrap_err());
    assert_eq!(Arc::strong_count(&held), 1);
    assert_eq!(producer.len(), 1, "a refused one leaves no place taken");
}

#[test]
fn capacity_holds_under_three_producers() {
    const EACH: usize = 25 * SCALE;
    let (producer, mut consumer) = new(Some(2));
    thread::scope(|scope| {
        for _ in 0..3 {
            let producer = producer.clone();
            scope.spawn(move || {
                for _ in 0..EACH {
                    let mut task = nothing();
                    while let Err(refused) = producer.push(task) {
                        task = refused.into_task();
                        thread::yield_now();
                    }
                }
            });
        }
        let mut left = 3 * EACH;
        while left > 0 {
            assert!(consumer.len() <= 2);
            match consumer.pop() {
                Some(task) => {
                    task.run();
                    left -= 1;
                }
                None => thread::yield_now(),
            }
        }
    });
}

#[test]
fn dropping_the_consumer_drops_waiting_tasks_once() {
    let held = Arc::new(());
    let (producer, mut consumer) = new(None);
    for _ in 0..1000 {
        let held = Arc::clone(&held);
        let _ = producer.push(Task::new(move || drop(held))).unwrap();
    }
    assert_eq!(Arc::strong_count(&held), 1001);
    for _ in 0..400 {
        consumer.pop().unwrap().run();
    }
    assert_eq!(Arc::strong_count(&held), 601);
    drop(consumer);
    assert_eq!(Arc::strong_count(&held), 1);
    let refused = producer.push(nothing()).unwrap_err();
    assert!(matches!(refused, Refused::Closed(_)));
    assert!(producer.is_closed() && producer.is_empty());
}

#[test]
fn a_panicking_task_harms_no_other() {
    let held = Arc::new(());
    let (producer, mut consumer) = new(None);
    for i in 0..10 {
        let held = Arc::clone(&held);
        let task = Task::new(move || {
            let _held = held;
            assert!(i != 4, "on purpose");
        });
        let _ = producer.push(task).unwrap();
    }
    let mut panics = 0;
    while let Some(task) = consumer.pop() {
        panics += usize::from(catch_unwind(AssertUnwindSafe(|| task.run())).is_err());
    }
    assert_eq!((panics, Arc::strong_count(&held)), (1, 1));
}

/// The queue is free while a task runs; across chunks, since the task's own chunk may be given back by then.
#[test]
fn a_task_that_is_run_where_it_waits_may_use_the_queue() {
    let (producer, consumer) = new(None);
    let queue = Arc::new(Mutex::new(Vec::new()));
    let consumer = RefCell::new(consumer);
    let (counted, ran) = (Cell::new(0), Arc::clone(&queue));
    let note = move |name: usize| {
        let ran = Arc::clone(&ran);
        Task::new(move || ran.lock().unwrap().push(name))
    };
    thread_local! {
        static INNER: RefCell<Option<Box<dyn Fn()>>> = const { RefCell::new(None) };
    }
    let before = || counted.set(counted.get() + 1);
    assert!(!Consumer::run_next(&consumer, before));
    let last = 3 * SLOTS;
    let held = Arc::new(());
    let inside = (Arc::clone(&held), producer.clone(), note.clone());
    let _ = producer
        .push_closure(move || {
            let (_held, producer, note) = inside;
            INNER.with_borrow(|inner| inner.as_ref().expect("set")());
            let _ = producer.push(note(last + 1)).expect("open");
            note(0).run();
        })
        .expect("open");
    for name in 1..=last {
        let _ = producer.push(note(name)).expect("open");
    }
    let consumer = Rc::new(consumer);
    let same = Rc::clone(&consumer);
    // Takes so many that its own chunk is used for others.
    INNER.set(Some(Box::new(move || {
        for _ in 0..last {
            same.borrow_mut().pop().expect("it waits").run();
        }
    })));
    assert!(Consumer::run_next(&consumer, before));
    assert_eq!(Arc::strong_count(&held), 1, "its captures are gone with it");
    assert!(Consumer::run_next(&consumer, before));
    assert!(!Consumer::run_next(&consumer, before));
    assert_eq!(counted.get(), 2);
    let ran = queue.lock().unwrap();
    let wanted: Vec<usize> = (1..=last).chain([0, last + 1]).collect();
    assert_eq!(*ran, wanted);
}

#[test]
fn a_task_that_panics_where_it_waits_is_gone() {
    let (producer, consumer) = new(None);
    let consumer = RefCell::new(consumer);
    let held = Arc::new(());
    let inside = Arc::clone(&held);
    let panics = Task::new(move || {
        let _held = inside;
        panic!("the task's");
    });
    let _ = producer.push(panics).expect("open");
    let _ = producer.push(nothing()).expect("open");
    let run = || Consumer::run_next(&consumer, || ());
    assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
    assert_eq!(Arc::strong_count(&held), 1, "dropped once");
    assert!(run() && !run());
}

#[test]
fn a_panicking_destructor_keeps_no_other_task_from_being_dropped() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("on purpose");
        }
    }
    let held = Arc::new(());
    let (producer, consumer) = new(None);
    for i in 0..600 {
        let (held, bomb) = (Arc::clone(&held), (i == 300).then(|| Bomb));
        let _ = producer
            .push(Task::new(move || drop((held, bomb))))
            .unwrap();
    }
    catch_unwind(AssertUnwindSafe(|| drop(consumer))).expect_err("the bomb");
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn closing_races_with_pushes_and_loses_nothing() {
    for _ in 0..10 * SCALE {
        let (producer, mut consumer) = new(None);
        let done = AtomicBool::new(false);
        let held = Arc::new(());
        thread::scope(|scope| {
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let (producer, held, done) = (producer.clone(), &held, &done);
                    scope.spawn(move || {
                        let mut accepted = 0;
                        loop {
                            let held = Arc::clone(held);
                            if producer.push(Task::new(move || drop(held))).is_err() {
                                assert!(producer.is_closed() && !done.load(SeqCst));
                                return accepted;
                            }
                            accepted += 1;
                        }
                    })
                })
                .collect();
            let mut taken = 0;
            while taken < 300 {
                if let Some(task) = consumer.pop() {
                    task.run();
                    taken += 1;
                }
            }
            while let Some(task) = consumer.pop_last() {
                task.run();
                taken += 1;
            }
            let accepted: usize = threads.into_iter().map(|t| t.join().unwrap()).sum();
            done.store(true, SeqCst);
            assert_eq!(accepted, taken);
        });
        assert_eq!(Arc::strong_count(&held), 1);
    }
}

#[test]
fn an_idle_queue_gives_its_storage_up_but_for_two_chunks() {
    let (producer, mut consumer) = new(None);
    assert_eq!(consumer.chunks(), 0, "nothing before the first push");
    for _ in 0..20 * SLOTS {
        let _ = producer.push(nothing()).unwrap();
    }
    assert_eq!(consumer.chunks(), 20);
    while let Some(task) = consumer.pop() {
        task.run();
    }
    let busy = consumer.chunks();
    assert!(busy <= 9, "{busy}");
    for _ in 0..6 {
        assert!(consumer.prepare_sleep());
        consumer.wake_up();
    }
    assert_eq!(consumer.chunks(), 2);
}

#[test]
fn a_busy_queue_reuses_its_chunks() {
    let (producer, mut consumer) = new(None);
    for round in 0..10 * SLOTS {
        for _ in 0..5 {
            let _ = producer.push(nothing()).unwrap();
        }
        for _ in 0..5 {
            consumer.pop().unwrap().run();
        }
        assert!(consumer.chunks() <= 3, "round {round}");
    }
}
