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

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tidegate::channel::options::SO_BACKLOG;
use tidegate::{
    Bootstrap, Channel, Context, Error, EventLoopGroup, Failure, FileRegion, Handler,
    HandlerResult, Message, ServerBootstrap,
};

const MIB: u64 = 1 << 20;

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
    let size = size_of_file(path)?;
    println!("sending {} ({})", path.display(), Size(size));

    let groups = Groups::new().map_err(|error| {
        format!("cannot start the event loops: {error}; look at `ulimit -n` and `ulimit -u`")
    })?;
    let echoed = transfer(&groups, path, size);
    groups.print_counters();
    if let Some(peak) = peak_resident() {
        println!("memory    {peak} resident at the peak");
    }
    let ended = groups.shut_down();
    echoed.and(ended)?;
    println!("identical: every byte came back");
    Ok(())
}

/// Serves, connects, waits for both sides to end, and closes what it opened.
fn transfer(groups: &Groups, path: &Path, size: u64) -> Result<(), String> {
    let board = Arc::new(Mutex::new(Board::new(size)));
    let (tell, ended) = channel();
    let server = serve(groups, &board, &tell)
        .map_err(|error| format!("the server cannot listen on 127.0.0.1: {error}"))?;
    let address = server
        .local_address()
        .cloned()
        .ok_or("the server has no address")?;
    println!("listening on {address}");

    let started = Instant::now();
    let client =
        connect(groups, &board, tell, path, size, &address.to_string()).map_err(|error| {
            format!("cannot connect to {address}: {error}; does a firewall forbid it?")
        })?;
    let outcome = wait_for_both(&ended, &board);
    let seconds = started.elapsed().as_secs_f64();
    if outcome.is_ok() {
        let rate = size as f64 / MIB as f64 / seconds;
        println!("time      {seconds:.3} s, {rate:.0} MiB/s there and back");
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

// ---- the server's side

/// Sends back whatever arrives, and reads no more than its client takes.
///
/// The data ends here: what it fires on to the printer's thread is one small event for each mebibyte.
#[derive(Default)]
struct Echo {
    seen: Seen,
    failed: Option<String>,
}

impl Handler for Echo {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        let bytes = msg.readable_bytes().unwrap_or(0);
        ctx.write(msg);
        self.seen.writes += 1;
        if !ctx.is_writable() {
            // More than the high watermark waits: send, and if the socket does not take it, read no more.
            ctx.flush();
            if !ctx.is_writable() {
                ctx.set_auto_read(false);
                self.seen.pauses += 1;
            }
        }
        if self.seen.message(bytes) {
            let progress = Progress {
                side: Side::Server,
                bytes: self.seen.bytes,
            };
            ctx.fire_user_event_triggered(Message::new(progress));
        }
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.seen.reads += 1;
        ctx.flush();
        Ok(())
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if ctx.is_writable() {
            ctx.set_auto_read(true);
        }
        Ok(())
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        self.failed = Some(format!("the server failed: {cause}"));
        ctx.close();
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let end = Ended {
            side: Side::Server,
            seen: self.seen,
            outcome: self.failed.take().map_or(Ok(()), Err),
        };
        ctx.fire_user_event_triggered(Message::new(end));
        ctx.fire_channel_inactive();
        Ok(())
    }
}

// ---- the client's side

/// Sends the file, compares what comes back with it, then ends its side and waits for the other's end.
struct Compare {
    path: PathBuf,
    size: u64,
    /// The file once more, in step with what comes back: never more of it in memory than this buffer.
    expected: BufReader<File>,
    is_sent: bool,
    seen: Seen,
    failed: Option<String>,
}

/// The key of the file's promise, among those that `write_done` might be told of.
const FILE_SENT: u64 = 1;

impl Compare {
    fn new(path: &Path, size: u64) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            size,
            expected: BufReader::with_capacity(1 << 16, File::open(path)?),
            is_sent: false,
            seen: Seen::default(),
            failed: None,
        })
    }

    /// Steps over the part of the file that `got` is, if it is.
    fn compare(&mut self, mut got: &[u8]) -> Result<(), String> {
        let mut at = self.seen.bytes;
        while !got.is_empty() {
            let expected = self.expected.fill_buf();
            let expected = expected
                .map_err(|error| format!("cannot read {}: {error}", self.path.display()))?;
            if expected.is_empty() && at < self.size {
                return Err(format!(
                    "{} was cut to {at} bytes while it was being sent; send a copy that nobody writes to",
                    self.path.display()
                ));
            }
            if expected.is_empty() {
                return Err(format!(
                    "more came back than the {at} bytes of the file; if nobody changed it meanwhile, \
                     this is a bug"
                ));
            }
            let step = got.len().min(expected.len());
            if got[..step] != expected[..step] {
                let same = got.iter().zip(expected).take_while(|(a, b)| a == b).count();
                return Err(format!(
                    "byte {} came back different; if nobody changed the file meanwhile, this is a bug",
                    at + same as u64
                ));
            }
            got = &got[step..];
            self.expected.consume(step);
            at += step as u64;
        }
        Ok(())
    }

    fn end_if_done(&self, ctx: &mut Context<'_>) {
        if self.is_sent && self.seen.bytes == self.size {
            // The server reads the end and closes; we see that as the end of our channel.
            ctx.channel().shutdown_output();
        }
    }

    /// The first failure is the cause.
    fn fail(&mut self, ctx: &mut Context<'_>, text: String) {
        self.failed.get_or_insert(text);
        ctx.close();
    }
}

impl Handler for Compare {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        // One message, however long the file is: the kernel carries it from the file to the socket.
        let sent = ctx.new_promise();
        ctx.notify(&sent, FILE_SENT);
        ctx.write_with(FileRegion::whole(&self.path)?, sent);
        ctx.flush();
        self.seen.writes += 1;
        Ok(())
    }

    fn write_done(
        &mut self,
        ctx: &mut Context<'_>,
        key: u64,
        result: Result<(), Error>,
    ) -> HandlerResult {
        debug_assert_eq!(key, FILE_SENT);
        match result {
            Ok(()) => {
                self.is_sent = true;
                self.end_if_done(ctx);
            }
            Err(error) => {
                let text = format!("{} was not sent: {error}", self.path.display());
                self.fail(ctx, text);
            }
        }
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        if self.failed.is_some() {
            return Ok(());
        }
        let bytes = msg.as_bytes().unwrap_or_default();
        if let Err(text) = self.compare(bytes) {
            self.fail(ctx, text);
            return Ok(());
        }
        if self.seen.message(bytes.len()) {
            let progress = Progress {
                side: Side::Client,
                bytes: self.seen.bytes,
            };
            ctx.fire_user_event_triggered(Message::new(progress));
        }
        self.end_if_done(ctx);
        Ok(())
    }

    fn channel_read_complete(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.seen.reads += 1;
        Ok(())
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        self.fail(ctx, format!("the client failed: {cause}"));
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let outcome = match self.failed.take() {
            Some(text) => Err(text),
            None if self.is_sent && self.seen.bytes == self.size => Ok(()),
            None => Err(format!(
                "the connection ended after {} of {} bytes; run it again, and if that repeats look at \
                 what ends connections on this machine",
                self.seen.bytes, self.size
            )),
        };
        let end = Ended {
            side: Side::Client,
            seen: self.seen,
            outcome,
        };
        ctx.fire_user_event_triggered(Message::new(end));
        ctx.fire_channel_inactive();
        Ok(())
    }
}

// ---- printing, on a loop of its own

/// Which end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Server,
    Client,
}

/// What a stage has seen.
#[derive(Clone, Copy, Default)]
struct Seen {
    bytes: u64,
    messages: u64,
    /// Batches of reads.
    reads: u64,
    writes: u64,
    /// Times that it stopped reading because its peer did.
    pauses: u64,
}

impl Seen {
    /// Counts a message; true if it was the one that filled a mebibyte.
    fn message(&mut self, bytes: usize) -> bool {
        let before = self.bytes / MIB;
        self.bytes += bytes as u64;
        self.messages += 1;
        self.bytes / MIB != before
    }
}

/// A user event: so far.
struct Progress {
    side: Side,
    bytes: u64,
}

/// A user event: the channel has ended.
struct Ended {
    side: Side,
    seen: Seen,
    outcome: Result<(), String>,
}

/// The last handler of both pipelines: prints what the others tell, on a thread that may wait for a slow terminal.
struct Printer {
    board: Arc<Mutex<Board>>,
    tell: Sender<Ended>,
}

impl Printer {
    fn new(board: &Arc<Mutex<Board>>, tell: &Sender<Ended>) -> Self {
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
struct Board {
    size: u64,
    echoed: u64,
    compared: u64,
    started: Instant,
    printed: Instant,
    is_terminal: bool,
    /// The cursor stands behind a line that the next one replaces.
    is_line_open: bool,
}

impl Board {
    fn new(size: u64) -> Self {
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
            print!("\r{line:<78}");
            // Progress that cannot be shown is not worth failing for.
            let _ = io::stdout().flush();
            self.is_line_open = true;
        } else {
            println!("{line}");
        }
    }

    fn print_end(&mut self, end: &Ended) {
        if std::mem::take(&mut self.is_line_open) {
            println!();
        }
        let name = match end.side {
            Side::Server => "server",
            Side::Client => "client",
        };
        let seen = &end.seen;
        println!(
            "{name:<9} {} in {} messages, {} reads, {} writes, {} pauses",
            Size(seen.bytes),
            seen.messages,
            seen.reads,
            seen.writes,
            seen.pauses
        );
    }
}

fn lock(board: &Mutex<Board>) -> std::sync::MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
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
                println!("loop {}: had nothing to do", event_loop.name());
                continue;
            }
            println!("loop {}:", event_loop.name());
            for line in counters.to_string().lines() {
                println!("    {line}");
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
        println!("all loops have ended");
        Ok(())
    }
}

// ---- files and sizes

/// A file of pseudo-random bytes, the same ones every time; removed when dropped.
struct MadeUp {
    path: PathBuf,
}

impl MadeUp {
    fn new() -> Result<Self, String> {
        let path = env::temp_dir().join(format!("tidegate-first-{}", std::process::id()));
        Self::fill(&path).map_err(|error| {
            format!(
                "cannot write {}: {error}; set TMPDIR to a folder with room, or give a file",
                path.display()
            )
        })?;
        Ok(Self { path })
    }

    fn fill(path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create_new(path)?);
        // Marsaglia's xorshift: any seed but 0.
        let mut word: u64 = 0x7469_6465_6761_7465;
        for _ in 0..8 * MIB / 8 {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            file.write_all(&word.to_le_bytes())?;
        }
        file.flush()
    }
}

impl Drop for MadeUp {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            eprintln!("first: cannot remove {}: {error}", self.path.display());
        }
    }
}

fn size_of_file(path: &Path) -> Result<u64, String> {
    let shown = path.display();
    let metadata = fs::metadata(path)
        .map_err(|error| format!("cannot open {shown}: {error}; check the path"))?;
    if !metadata.is_file() {
        return Err(format!("{shown} is not a regular file; give one that is"));
    }
    Ok(metadata.len())
}

/// Bytes, for people.
struct Size(u64);

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 < MIB {
            return write!(f, "{} bytes", self.0);
        }
        write!(f, "{:.1} MiB", self.0 as f64 / MIB as f64)
    }
}

/// The most memory that this process ever held, where the system tells.
fn peak_resident() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Size(kib * 1024).to_string())
}
