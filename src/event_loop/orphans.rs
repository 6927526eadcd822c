//! Listeners of a loop that has ended. Called by `handle` for those that no loop takes any more.
//!
//! They run on whoever completes their promise, since a listener must not be lost. What one of them asks for fails at once, so
//! that the next listener is due before the first has returned: a client that connects again when a connect has failed would
//! use up the stack. So only a few run inside each other, and who comes then waits for the first of them to return. That one
//! does not wait for ever either: a row without an end is cut off, and the log says so.
//!
//! Invariant: each listener is run, in a row of at most [`ROW_MAX`]; none runs more than [`NESTED_MAX`] deep.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use tidegate_sys::mem::Task;
use tracing::error;

use super::boundary;

/// As deep as listeners of one row run inside each other. Each takes about 1.5 KiB of the stack in a release build and some more
/// where nothing is inlined; std gives a thread 2 MiB.
const NESTED_MAX: u32 = 32;

/// Many more than anybody has promises in a chain or clients that wait; about a second of work.
const ROW_MAX: u32 = 100_000;

/// The row of the running thread.
#[derive(Default)]
struct Row {
    depth: Cell<u32>,
    run: Cell<u32>,
    waiting: RefCell<VecDeque<Task>>,
}

thread_local! {
    static ROW: Row = Row::default();
}

/// Runs a listener of the loop of that name, or lets it wait for those that are running.
#[cold]
pub(super) fn run(loop_name: &str, job: Task) {
    let mut job = Some(job);
    let in_a_row = ROW.try_with(|row| {
        if let Some(job) = job.take() {
            row.take(loop_name, job);
        }
    });
    if let (Err(_), Some(job)) = (in_a_row, job) {
        // The thread ends, and with it what it has put aside for itself.
        call(loop_name, job);
    }
}

impl Row {
    fn take(&self, loop_name: &str, job: Task) {
        let depth = self.depth.get();
        if depth >= NESTED_MAX {
            self.waiting.borrow_mut().push_back(job);
            return;
        }
        self.depth.set(depth + 1);
        self.call(loop_name, job);
        if depth == 0 {
            self.run_waiting(loop_name);
            self.run.set(0);
        }
        self.depth.set(depth);
    }

    fn run_waiting(&self, loop_name: &str) {
        loop {
            // Not while it is run.
            let next = self.waiting.borrow_mut().pop_front();
            let Some(job) = next else { return };
            self.call(loop_name, job);
        }
    }

    fn call(&self, loop_name: &str, job: Task) {
        let run = self.run.get();
        self.run.set(run.saturating_add(1));
        if run < ROW_MAX {
            return call(loop_name, job);
        }
        if run == ROW_MAX {
            error!(
                loop_name,
                listeners = run,
                "listeners of an event loop that has ended lead to others without end; the rest is dropped: do not try again when the error is Terminated"
            );
        }
        if boundary::catch(|| drop(job)).is_err() {
            error!(loop_name, "a listener panicked while it was dropped");
        }
    }
}

fn call(loop_name: &str, job: Task) {
    if let Err(panic) = boundary::catch(|| job.run()) {
        error!(loop_name, panic, "a listener panicked");
    }
}
