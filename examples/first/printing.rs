//! What the stages tell, and the handler that prints it on a loop of its own.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidegate::{Context, Handler, HandlerResult, Message};

use crate::files::{MIB, Size};

/// Which end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Server,
    Client,
}

/// What a stage has seen.
#[derive(Clone, Copy, Default)]
pub struct Seen {
    pub bytes: u64,
    pub messages: u64,
    /// Batches of reads.
    pub reads: u64,
    pub writes: u64,
    /// Times that it stopped reading because its peer did.
    pub pauses: u64,
}

impl Seen {
    /// Counts a message; true if it was the one that filled a mebibyte.
    pub fn message(&mut self, bytes: usize) -> bool {
        let before = self.bytes / MIB;
        self.bytes += bytes as u64;
        self.messages += 1;
        self.bytes / MIB != before
    }
}

/// A user event: so far.
pub struct Progress {
    pub side: Side,
    pub bytes: u64,
}

/// A user event: the channel has ended.
pub struct Ended {
    pub side: Side,
    pub seen: Seen,
    pub outcome: Result<(), String>,
}

/// The last handler of both pipelines: prints what the others tell, on a thread that may wait for a slow terminal.
pub struct Printer {
    board: Arc<Mutex<Board>>,
    tell: Sender<Ended>,
}

impl Printer {
    pub fn new(board: &Arc<Mutex<Board>>, tell: &Sender<Ended>) -> Self {
        Self {
            board: board.clone(),
            tell: tell.clone(),
        }
    }
}

impl Handler for Printer {
    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        let event = match event.downcast::<Progress>() {
            Ok(progress) => {
                lock(&self.board).note(&progress);
                return Ok(());
            }
            Err(other) => other,
        };
        match event.downcast::<Ended>() {
            Ok(end) => {
                lock(&self.board).print_end(&end);
                // Nobody listens any more once the transfer was given up.
                let _ = self.tell.send(end);
            }
            Err(other) => ctx.fire_user_event_triggered(other),
        }
        Ok(())
    }
}

/// What the printers know together: one line for both sides, about once a second.
pub struct Board {
    size: u64,
    echoed: u64,
    pub compared: u64,
    started: Instant,
    printed: Instant,
    is_terminal: bool,
    /// The cursor stands behind a line that the next one replaces.
    is_line_open: bool,
}

impl Board {
    pub fn new(size: u64) -> Self {
        Self {
            size,
            echoed: 0,
            compared: 0,
            started: Instant::now(),
            printed: Instant::now(),
            is_terminal: io::stdout().is_terminal(),
            is_line_open: false,
        }
    }

    fn note(&mut self, progress: &Progress) {
        match progress.side {
            Side::Server => self.echoed = progress.bytes,
            Side::Client => self.compared = progress.bytes,
        }
        if self.printed.elapsed() < Duration::from_secs(1) {
            return;
        }
        self.printed = Instant::now();
        let rate = self.compared as f64 / MIB as f64 / self.started.elapsed().as_secs_f64();
        let line = format!(
            "progress  {} echoed, {} of {} MiB compared, {rate:.0} MiB/s",
            self.echoed / MIB,
            self.compared / MIB,
            self.size / MIB
        );
        if self.is_terminal {
            // Progress that cannot be shown is not worth failing for.
            let mut out = io::stdout();
            let _ = write!(out, "\r{line:<78}").and_then(|()| out.flush());
            self.is_line_open = true;
        } else {
            say!("{line}");
        }
    }

    fn print_end(&mut self, end: &Ended) {
        if std::mem::take(&mut self.is_line_open) {
            say!();
        }
        let name = match end.side {
            Side::Server => "server",
            Side::Client => "client",
        };
        let seen = &end.seen;
        say!(
            "{name:<9} {} in {} messages, {} reads, {} writes, {} pauses",
            Size(seen.bytes),
            seen.messages,
            seen.reads,
            seen.writes,
            seen.pauses
        );
    }
}

pub fn lock(board: &Mutex<Board>) -> MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}
