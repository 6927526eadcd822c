//! What a program hears that has a logger of the crate `log` and no subscriber of `tracing` (feature `log`).
//!
//! In a process of its own: there is one logger for all of it, and a subscriber on any thread would keep its records away.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use log::{LevelFilter, Log, Metadata, Record};
use tidegate::handler::logging::Logging;
use tidegate::{EmbeddedChannel, Failure, LocalEventLoop, Message};
use tracing::Level;

/// The records of channels and their handlers: level, target, text.
static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("tidegate::")
    }

    fn log(&self, record: &Record<'_>) {
        let (level, target) = (record.level(), record.target());
        let line = format!("{level} {target}: {}", record.args());
        TOLD.lock().unwrap().push(line);
    }

    fn flush(&self) {}
}

static LOGGER: Logger = Logger;

/// Counts how often it is put into words.
struct Costly;

static WORDS: AtomicUsize = AtomicUsize::new(0);

impl std::fmt::Debug for Costly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        WORDS.fetch_add(1, Ordering::Relaxed);
        f.write_str("Costly")
    }
}

impl std::fmt::Display for Costly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for Costly {}

fn told() -> Vec<String> {
    std::mem::take(&mut TOLD.lock().unwrap())
}

#[test]
fn what_is_told_goes_to_the_logger_and_costs_no_words_below_its_level() {
    log::set_logger(&LOGGER).expect("the first one");
    log::set_max_level(LevelFilter::Debug);

    // Every event of a channel, with its bytes.
    let logging = Logging::new(Level::DEBUG);
    let mut channel = EmbeddedChannel::new(|pipeline| pipeline.add_last(logging)).unwrap();
    told();
    channel.write_inbound("the tide turns").unwrap();
    let lines = told();
    let read = &lines[0];
    assert!(
        read.starts_with("DEBUG tidegate::handler::logging::handler: read 14 bytes"),
        "{read}"
    );
    assert!(read.contains("74 68 65 20 74 69 64 65"), "{read}");
    assert!(read.contains("channel="), "{read}");

    // What the library tells by itself.
    drop(LocalEventLoop::new().expect("built"));
    let lines = told();
    let is_end = |line: &String| line.contains("an event loop has ended");
    assert!(lines.iter().any(is_end), "{lines:#?}");

    // Nothing is put into words that nobody wants to hear.
    let fails = |level| {
        let logging = Logging::new(level);
        let mut channel = EmbeddedChannel::new(|pipeline| pipeline.add_last(logging)).unwrap();
        channel.pipeline(|pipeline| pipeline.fire_exception_caught(Failure::from(Costly)));
        channel.write_inbound(Message::new(7_u32)).unwrap_err();
    };
    fails(Level::TRACE);
    // The pipeline notes an error's text before it shows the error.
    let without = WORDS.swap(0, Ordering::Relaxed);
    fails(Level::DEBUG);
    assert_eq!(WORDS.load(Ordering::Relaxed), without + 1);
    let lines = told();
    let is_error = |line: &String| line.contains("error: Costly");
    assert!(lines.iter().any(is_error), "{lines:#?}");
}
