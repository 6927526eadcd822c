//! What the library tells through `tracing` while a closure runs, as lines of text.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

struct Collector {
    lines: Arc<Mutex<Vec<String>>>,
    /// Whether the lives of channels are of interest.
    with_lives: bool,
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // A String never refuses.
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.with_lives || metadata.target() != "tidegate::channel::journal"
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.lines
            .lock()
            .expect("nobody panics with the lock")
            .push(line_of(event));
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// An event as `LEVEL field=value ...`.
pub fn line_of(event: &Event<'_>) -> String {
    let mut line = Line(event.metadata().level().to_string());
    event.record(&mut line);
    line.0
}

/// Runs `work` and returns what was told meanwhile on this thread: `LEVEL field=value ...`, one line each. The lives of
/// channels (registered, active, closed) are left out.
pub fn told(work: impl FnOnce()) -> Vec<String> {
    collect(false, work)
}

/// The same with them.
pub fn told_with_lives(work: impl FnOnce()) -> Vec<String> {
    collect(true, work)
}

fn collect(with_lives: bool, work: impl FnOnce()) -> Vec<String> {
    let lines = Arc::default();
    let collector = Collector {
        lines: Arc::clone(&lines),
        with_lives,
    };
    tracing::subscriber::with_default(collector, work);
    let mut lines = lines.lock().expect("nobody panics with the lock");
    std::mem::take(&mut *lines)
}
