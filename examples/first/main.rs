//! The first program: a client sends a file to an echo server and compares what comes back, byte for byte.
//!
//! ```text
//! make run                # sends eight mebibytes that it makes up
//! make run FILE=path      # sends your file, of any size
//! cargo run --release --example first -- path
//! ```
//!
//! It shows the parts of a real program: a group of loops each for accepting, serving, calling and printing, a server
//! that stops reading while its client does not take the answers, a file sent without copying it through this
//! process, and an end in good order. The exit status is 0 only if what came back was the file.

/// As `println!`, but a reader that has gone (`make run | head`) is no reason to panic: the exit status still tells.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

mod compare;
mod echo;
mod files;
mod printing;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidegate::channel::options::SO_BACKLOG;
use tidegate::{Bootstrap, Channel, Error, EventLoopGroup, Failure, ServerBootstrap};

use compare::Compare;
use echo::Echo;
use files::{MIB, MadeUp, Size};
use printing::{Board, Ended, Printer, Side, lock};

/// How long to wait for anything that should take no time.
const PATIENCE: Duration = Duration::from_secs(10);

/// A transfer that has not moved for so long has failed. Slow disks are slower than networks.
const STALL: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("first: {text}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let mut arguments = env::args_os().skip(1);
    let given = arguments.next().map(PathBuf::from);
    if arguments.next().is_some() {
        return Err("too many arguments; give one file, or none: make run FILE=path".into());
    }
    let made_up;
    let path = match &given {
        Some(path) => path,
        None => {
            made_up = MadeUp::new()?;
            &made_up.path
        }
    };
    let size = files::size(path)?;
    say!("sending {} ({})", path.display(), Size(size));

    let groups = Groups::new().map_err(|error| {
        format!("cannot start the event loops: {error}; look at `ulimit -n` and `ulimit -u`")
    })?;
    let echoed = transfer(&groups, path, size);
    groups.print_counters();
    if let Some(peak) = files::peak_resident() {
        say!("memory    {peak} resident at the peak");
    }
    let ended = groups.shut_down();
    echoed.and(ended)?;
    say!("identical: every byte came back");
    Ok(())
}

/// Serves, connects, waits for both sides to end, and closes what it opened.
fn transfer(groups: &Groups, path: &Path, size: u64) -> Result<(), String> {
    let board = Arc::new(Mutex::new(Board::new(size)));
    let (tell, ended) = channel();
    let server = serve(groups, &board, &tell)
        .map_err(|error| format!("the server cannot listen on 127.0.0.1: {error}"))?;
    let address = server.local_address().ok_or("the server has no address")?;
    say!("listening on {address}");

    let started = Instant::now();
    let client =
        connect(groups, &board, tell, path, size, &address.to_string()).map_err(|error| {
            format!("cannot connect to {address}: {error}; does a firewall forbid it?")
        })?;
    let outcome = wait_for_both(&ended, &board);
    let seconds = started.elapsed().as_secs_f64();
    if outcome.is_ok() {
        let rate = size as f64 / MIB as f64 / seconds;
        say!("time      {seconds:.3} s, {rate:.0} MiB/s there and back");
    }

    // The client's has closed already if all went well.
    for channel in [&client, &server] {
        channel.close();
        let closed = channel.close_future().sync_timeout(PATIENCE);
        closed.map_err(|error| format!("{channel} does not close: {error}"))?;
    }
    outcome
}

fn serve(
    groups: &Groups,
    board: &Arc<Mutex<Board>>,
    tell: &Sender<Ended>,
) -> Result<Channel, Error> {
    let (printing, board, tell) = (groups.printing.clone(), board.clone(), tell.clone());
    ServerBootstrap::new(&groups.boss, &groups.workers)
        .option(SO_BACKLOG, 1024)
        .child_handler(move |pipeline| {
            let printer = Printer::new(&board, &tell);
            pipeline.add_last(Echo::default())?;
            pipeline.add_last_on(&printing, || printer)
        })
        .bind("127.0.0.1:0")
        .sync_timeout(PATIENCE)
}

fn connect(
    groups: &Groups,
    board: &Arc<Mutex<Board>>,
    tell: Sender<Ended>,
    path: &Path,
    size: u64,
    address: &str,
) -> Result<Channel, Error> {
    let (printing, board, path) = (groups.printing.clone(), board.clone(), path.to_owned());
    Bootstrap::new(&groups.clients)
        .handler(move |pipeline| {
            let printer = Printer::new(&board, &tell);
            pipeline.add_last(Compare::new(&path, size)?)?;
            pipeline.add_last_on(&printing, || printer)?;
            Ok::<(), Failure>(())
        })
        .connect(address)
        .sync_timeout(PATIENCE)
}

/// Waits for the ends of both channels; an error of either is the error of the transfer.
fn wait_for_both(ended: &Receiver<Ended>, board: &Mutex<Board>) -> Result<(), String> {
    let mut left = vec![Side::Client, Side::Server];
    let mut moved = lock(board).compared;
    while !left.is_empty() {
        match ended.recv_timeout(STALL) {
            Ok(end) => {
                end.outcome?;
                left.retain(|side| *side != end.side);
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(format!("{left:?} ended without a word; this is a bug"));
            }
            Err(RecvTimeoutError::Timeout) => {
                let now = lock(board).compared;
                if now == moved {
                    return Err(format!(
                        "nothing moved for {STALL:?}, {now} bytes into the file; is its disk there?"
                    ));
                }
                moved = now;
            }
        }
    }
    Ok(())
}

// ---- the loops

/// One group for each job. A small program may use one for all of them.
struct Groups {
    boss: EventLoopGroup,
    workers: EventLoopGroup,
    clients: EventLoopGroup,
    printing: EventLoopGroup,
}

impl Groups {
    fn new() -> Result<Self, Error> {
        let group = |name: &str, threads| {
            EventLoopGroup::builder()
                .name(name)
                .threads(threads)
                .build()
        };
        Ok(Self {
            boss: group("boss", 1)?,
            workers: group("worker", 2)?,
            clients: group("client", 1)?,
            printing: group("printing", 1)?,
        })
    }

    /// In the order in which they are shut down: nobody loses the loop that it still needs.
    fn all(&self) -> [&EventLoopGroup; 4] {
        [&self.boss, &self.clients, &self.workers, &self.printing]
    }

    fn print_counters(&self) {
        for event_loop in self.all().into_iter().flat_map(EventLoopGroup::iter) {
            let counters = event_loop.metrics();
            if counters.turns == 0 {
                say!("loop {}: had nothing to do", event_loop.name());
                continue;
            }
            say!("loop {}:", event_loop.name());
            for line in counters.to_string().lines() {
                say!("    {line}");
            }
        }
    }

    fn shut_down(&self) -> Result<(), String> {
        let quiet = Duration::from_millis(20);
        for group in self.all() {
            group
                .shutdown_gracefully(quiet, PATIENCE)
                .sync_timeout(2 * PATIENCE)
                .map_err(|error| format!("{group:?} does not end: {error}"))?;
        }
        say!("all loops have ended");
        Ok(())
    }
}
