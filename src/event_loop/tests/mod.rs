//! The loop's core under a clock that the tests move: no thread, no kernel, no waiting.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tidegate_sys::mem::LocalTask;

use super::config::LoopConfig;
use super::core::{LoopCore, ManualClock};
use super::*;
use crate::reactor::{IoEvent, IoHandle};

mod closing;
mod give;
mod io;
mod phases;

/// A core, its clock, and what happened, in order.
struct Bench {
    core: Rc<LoopCore>,
    clock: ManualClock,
    log: Log,
}

#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    fn note(&self, text: impl Into<String>) {
        self.0.borrow_mut().push(text.into());
    }

    /// What was noted since the last call.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.borrow_mut())
    }
}

/// One turn that is the only one.
fn turn(core: &Rc<LoopCore>, limit: Duration) {
    let entered = core.enter();
    core.turn(Some(limit));
    drop(entered);
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(choose: impl FnOnce(&mut LoopConfig)) -> Self {
        let clock = ManualClock::new(tidegate_sys::os::Time::from_nanos(1_000_000_000));
        let mut config = LoopConfig::named("test");
        choose(&mut config);
        let core = LoopCore::embedded_with(config, clock.clone());
        Self {
            core,
            clock,
            log: Log::default(),
        }
    }

    fn handle(&self) -> EventLoop {
        self.core.handle().clone()
    }

    fn turn(&self) {
        turn(&self.core, Duration::ZERO);
    }

    /// A local task that notes its name and takes so long.
    fn task(&self, name: &str, cost: Duration) -> LocalTask {
        let (log, clock, name) = (self.log.clone(), self.clock.clone(), name.to_owned());
        LocalTask::new(move || {
            clock.advance(cost);
            log.note(name);
        })
    }

    fn push(&self, name: &str) {
        self.core.push_local(self.task(name, Duration::ZERO));
    }

    fn timer(&self, name: &str, after: Duration) -> TimerKey {
        self.core
            .add_timer(self.core.now() + after, self.task(name, Duration::ZERO))
    }

    /// A handle that notes what it is called with and then calls `f`.
    fn probe(&self, name: &str, f: impl Fn(&Rc<Probe>, IoEvent) + 'static) -> Rc<Probe> {
        Rc::new(Probe {
            name: name.to_owned(),
            log: self.log.clone(),
            f: Box::new(f),
        })
    }
}

type OnEvent = dyn Fn(&Rc<Probe>, IoEvent);

struct Probe {
    name: String,
    log: Log,
    f: Box<OnEvent>,
}

impl IoHandle for Probe {
    fn on_event(self: Rc<Self>, event: IoEvent) {
        self.log.note(format!("{} {event:?}", self.name));
        (self.f)(&self, event);
    }

    fn into_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }
}

/// Counts how often it is dropped.
#[derive(Clone, Default)]
struct Drops(Rc<Cell<u32>>);

struct DropNote(Drops);

impl Drops {
    fn note(&self) -> DropNote {
        DropNote(self.clone())
    }

    fn count(&self) -> u32 {
        self.0.get()
    }
}

impl Drop for DropNote {
    fn drop(&mut self) {
        let count = &self.0.0;
        count.set(count.get() + 1);
    }
}

const US: Duration = Duration::from_micros(1);
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
