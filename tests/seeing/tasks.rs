//! A task that panics is logged by its type, whichever way it came to the loop.

use std::cell::Cell;
use std::panic;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use tidegate::LocalEventLoop;

use crate::telling::told;

/// Silences panics on this thread while `work` runs: here all are caused on purpose.
fn quietly<R>(work: impl FnOnce() -> R) -> R {
    thread_local! {
        static QUIET: Cell<bool> = const { Cell::new(false) };
    }
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    QUIET.set(true);
    let result = work();
    QUIET.set(false);
    result
}

/// What the loop says while it runs what `give` gave it, until something has panicked.
fn said(give: impl FnOnce(&LocalEventLoop)) -> String {
    let local = LocalEventLoop::new().expect("built");
    let lines = told(|| {
        quietly(|| {
            give(&local);
            while local.handle().metrics().panics == 0 {
                local.turn(None);
            }
        });
    });
    let all: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("panicked"))
        .collect();
    assert_eq!(all.len(), 1, "{lines:?}");
    all[0].clone()
}

fn of_the_queue() {
    panic!("of the queue");
}

/// Rules: 5.8
#[test]
fn each_kind_of_task_is_named_by_its_type() {
    let line = said(|local| local.handle().execute(of_the_queue).expect("alive"));
    assert!(line.contains("a task panicked"), "{line}");
    assert!(line.contains("seeing::tasks::of_the_queue"), "{line}");

    let line = said(|local| drop(local.handle().submit(of_the_queue)));
    assert!(line.contains("seeing::tasks::of_the_queue"), "{line}");

    let line = said(|local| {
        drop(local.handle().schedule(Duration::ZERO, of_the_queue));
    });
    assert!(line.contains("seeing::tasks::of_the_queue"), "{line}");

    let line = said(|local| {
        let (zero, soon) = (Duration::ZERO, Duration::from_millis(1));
        drop(
            local
                .handle()
                .schedule_at_fixed_rate(zero, soon, of_the_queue),
        );
    });
    assert!(line.contains("seeing::tasks::of_the_queue"), "{line}");

    let line = said(|local| {
        drop(local.handle().spawn_local(|| async { of_the_queue() }));
    });
    assert!(
        line.contains("each_kind_of_task_is_named_by_its_type"),
        "{line}"
    );

    let line = said(|local| {
        let done = local.handle().submit(|| ());
        done.add_listener(|_| panic!("on purpose"));
    });
    assert!(line.contains("a listener panicked"), "{line}");
    assert!(
        line.contains("each_kind_of_task_is_named_by_its_type"),
        "{line}"
    );
}

/// Rules: 5.8
#[test]
fn of_a_row_of_tasks_the_one_that_panicked_is_named_and_the_others_run() {
    let ran = Arc::new(AtomicU32::new(0));
    let count = |ran: &Arc<AtomicU32>| {
        let ran = ran.clone();
        move || {
            ran.fetch_add(1, Ordering::Relaxed);
        }
    };
    let line = said(|local| {
        for _ in 0..3 {
            local.handle().execute(count(&ran)).expect("alive");
        }
        local.handle().execute(of_the_queue).expect("alive");
        for _ in 0..3 {
            local.handle().execute(count(&ran)).expect("alive");
        }
    });
    assert!(line.contains("of_the_queue"), "{line}");
    assert_eq!(ran.load(Ordering::Relaxed), 6);
}
