//! What the tests of pipelines share: a log of one line per event, a handler whose callbacks are closures, and
//! a collector for what the library tells through `tracing`. Every test binary uses the part that it needs.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod script;
pub mod telling;

use std::cell::RefCell;
use std::fmt::Display;
use std::rc::Rc;

use tidegate::channel::options::{AUTO_READ, CLOSE_ON_UNHANDLED_ERROR};
use tidegate::{EmbeddedChannel, Error, Message, OptionSet};

pub use script::Script;

/// What happened, in order, one line each. Clones write into the same log.
#[derive(Clone, Default)]
pub struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn add(&self, line: impl Display) {
        self.0.borrow_mut().push(line.to_string());
    }

    /// The lines since the last take.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.borrow_mut())
    }

    /// The lines since the last take that begin with `start`.
    pub fn take_of(&self, start: &str) -> Vec<String> {
        let mut lines = self.take();
        lines.retain(|line| line.starts_with(start));
        lines
    }
}

/// A message as the log shows it: text and numbers as they are, anything else by its type.
pub fn text(msg: &Message) -> String {
    if let Some(bytes) = msg.as_bytes() {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    if let Some(number) = msg.downcast_ref::<u32>() {
        return number.to_string();
    }
    msg.type_name().to_owned()
}

/// The value of a message that the test knows to be a `u32`.
pub fn number(msg: Message) -> u32 {
    msg.downcast().expect("the test sends numbers here")
}

fn add_all(handlers: Vec<Script>) -> impl FnOnce(&mut tidegate::Pipeline<'_>) -> Result<(), Error> {
    move |pipeline| {
        for handler in handlers {
            let name = handler.name().to_owned();
            pipeline.add_last_named(&name, handler)?;
        }
        Ok(())
    }
}

/// An active channel with these handlers, under their own names. It outlives errors: here they are events like others.
pub fn channel(handlers: impl Into<Vec<Script>>) -> EmbeddedChannel {
    EmbeddedChannel::with_options(&outliving(), add_all(handlers.into()))
        .expect("the pipeline is sound")
}

/// For channels that errors do not close.
pub fn outliving() -> OptionSet {
    let mut options = OptionSet::new();
    options
        .set(CLOSE_ON_UNHANDLED_ERROR, false)
        .expect("a bool is in range");
    options
}

/// The same, reading only when asked.
pub fn manual(handlers: impl Into<Vec<Script>>) -> EmbeddedChannel {
    let mut options = outliving();
    options.set(AUTO_READ, false).expect("a bool is in range");
    EmbeddedChannel::with_options(&options, add_all(handlers.into()))
        .expect("the pipeline is sound")
}

/// Everything that reached the tail, as text.
pub fn inbound(channel: &mut EmbeddedChannel) -> Vec<String> {
    std::iter::from_fn(|| channel.read_inbound())
        .map(|msg| text(&msg))
        .collect()
}

/// Everything that was sent, as text.
pub fn outbound(channel: &mut EmbeddedChannel) -> Vec<String> {
    std::iter::from_fn(|| channel.read_outbound())
        .map(|msg| text(&msg))
        .collect()
}

/// Counts down in `Drop`, and may panic there.
pub struct Dropped {
    name: &'static str,
    log: Log,
    panics: bool,
}

impl Dropped {
    pub fn tells(name: &'static str, log: &Log) -> Self {
        Self {
            name,
            log: log.clone(),
            panics: false,
        }
    }

    pub fn panics(name: &'static str, log: &Log) -> Self {
        Self {
            name,
            log: log.clone(),
            panics: true,
        }
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        self.log.add(format_args!("{} dropped", self.name));
        if self.panics {
            panic!("the drop of {} panics", self.name);
        }
    }
}
