//! At the limit of descriptors. The server is a process of its own, so that its processor time and its limit are its own.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tidegate::channel::options::SO_BACKLOG;
use tidegate::{Context, EventLoopGroup, Handler, HandlerResult, Message, ServerBootstrap};

use crate::limits;
use crate::support::{DEADLINE, Figures, micros, percentile, processor_time, seconds};

const LIMIT: u64 = 512;
const SERVED: usize = 20;
const WAITING: usize = 200;
/// Between two messages of a served connection: a load that is hardly one.
const PAUSE: Duration = Duration::from_millis(10);

struct Echo;

impl Handler for Echo {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.write_and_flush(msg);
        Ok(())
    }
}

/// The server's process: takes every descriptor when told "fill", gives them back when told "release".
pub fn serve() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, LIMIT, hard).expect("a lower limit");
    let group = EventLoopGroup::builder()
        .threads(1)
        .build()
        .expect("a loop");
    let server = ServerBootstrap::new(&group, &group)
        .option(SO_BACKLOG, 1024)
        .child_handler(|pipeline| pipeline.add_last(Echo))
        .bind("127.0.0.1:0")
        .sync()
        .expect("a port");
    println!("{}", server.local_address().expect("bound"));
    let mut ballast = Vec::new();
    for word in std::io::stdin().lines() {
        match word.as_deref() {
            Ok("fill") => {
                while let Ok(file) = File::open("/dev/null") {
                    ballast.push(file);
                }
            }
            Ok("release") => ballast.clear(),
            _ => return,
        }
        println!("done");
    }
}

struct Server {
    process: Child,
    input: ChildStdin,
    output: BufReader<std::process::ChildStdout>,
}

impl Server {
    fn start() -> (Self, SocketAddr) {
        let this = std::env::current_exe().expect("this binary");
        let mut process = Command::new(this)
            .arg("limit-server")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let (input, output) = (process.stdin.take(), process.stdout.take());
        let mut server = Self {
            process,
            input: input.expect("a pipe"),
            output: BufReader::new(output.expect("a pipe")),
        };
        let address = server.line().parse().expect("an address");
        (server, address)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        line.trim().to_owned()
    }

    fn say(&mut self, word: &str) {
        writeln!(self.input, "{word}").expect("it listens");
        assert_eq!(self.line(), "done");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).expect("a listener");
    client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    client.set_nodelay(true).expect("an option");
    client
}

fn ping(mut client: &TcpStream) -> Duration {
    let begun = Instant::now();
    client.write_all(b"ping").expect("sent");
    client.read_exact(&mut [0; 4]).expect("its echo");
    begun.elapsed()
}

/// What connections see of their servers, in so many seconds.
struct Seen {
    /// Those of the server that is or will be at its limit.
    ours: Vec<Duration>,
    /// At the same time, those of a server that is not.
    others: Vec<Duration>,
    /// The share of a processor that the first server takes, in percent.
    share: f64,
}

impl Seen {
    fn watch(served: &[TcpStream], others: &[TcpStream], server: &Server, seconds: u64) -> Self {
        let before = processor_time(server.process.id());
        let begun = Instant::now();
        let mut seen = Self {
            ours: Vec::new(),
            others: Vec::new(),
            share: 0.0,
        };
        for (one, other) in served.iter().zip(others).cycle() {
            if begun.elapsed() >= Duration::from_secs(seconds) {
                break;
            }
            seen.ours.push(ping(one));
            thread::sleep(PAUSE / 2);
            seen.others.push(ping(other));
            thread::sleep(PAUSE / 2);
        }
        let spent = processor_time(server.process.id()) - before;
        seen.share = 100.0 * spent.as_secs_f64() / begun.elapsed().as_secs_f64();
        seen
    }
}

pub fn run(figures: &mut Figures) {
    let seconds = seconds();
    figures.case(
        "limit",
        &format!("{seconds} s without descriptors, {WAITING} clients waiting"),
    );
    limits::raise_descriptors();
    let (mut server, address) = Server::start();
    let (_other, other_address) = Server::start();
    let connected = |address| -> Vec<TcpStream> { (0..SERVED).map(|_| connect(address)).collect() };
    let (served, others) = (connected(address), connected(other_address));
    for client in served.iter().chain(&others) {
        ping(client);
    }
    let mut calm = Seen::watch(&served, &others, &server, seconds.div_ceil(2));
    server.say("fill");
    let waiting: Vec<TcpStream> = (0..WAITING)
        .map(|_| {
            let mut client = connect(address);
            client.write_all(b"ping").expect("into the backlog");
            client
        })
        .collect();
    let mut crowded = Seen::watch(&served, &others, &server, seconds);
    server.say("release");
    let released = Instant::now();
    let mut first = None;
    for mut client in &waiting {
        client.read_exact(&mut [0; 4]).expect("served in the end");
        first.get_or_insert_with(|| released.elapsed());
    }
    let last = released.elapsed();
    let share = format!("{:.2}", calm.share);
    figures.note("processor before, percent of one", share);
    figures.at_most(
        "processor at the limit, percent of one",
        crowded.share,
        2.0,
        "%",
    );
    let p99 = |samples: &mut Vec<Duration>| micros(percentile(samples, 0.99));
    let (before, others_before) = (p99(&mut calm.ours), p99(&mut calm.others));
    let (at_limit, others_then) = (p99(&mut crowded.ours), p99(&mut crowded.others));
    let both = |one: f64, other: f64| format!("{one:.0}, {other:.0}");
    figures.note(
        "p99 before, µs; of a server without the crowd",
        both(before, others_before),
    );
    figures.note(
        "p99 at the limit, µs; of the other at that time",
        both(at_limit, others_then),
    );
    // Compared with before, where the machine has nothing else to do; what it does besides meets both servers.
    figures.note(
        "p99 at the limit to before",
        format!("{:.2} x", at_limit / before),
    );
    let ratio = at_limit / others_then;
    figures.at_most(
        "p99 at the limit to that of the other server",
        ratio,
        1.5,
        "x",
    );
    let first = micros(first.unwrap_or(DEADLINE)) / 1e3;
    figures.at_most(
        "the first is served after descriptors are free",
        first,
        100.0,
        "ms",
    );
    figures.note(
        "all of them are served after, ms",
        format!("{:.1}", micros(last) / 1e3),
    );
}
