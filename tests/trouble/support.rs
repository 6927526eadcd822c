//! What these tests share: a stream of bytes that both sides know, a server that checks and counts, processes of our own to
//! do harm to.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{RcvBuf, TcpMaxSeg};
use nix::unistd::Pid;
use tidegate::{
    Channel, Context, EventLoopGroup, Failure, Handler, HandlerResult, Message, ServerBootstrap,
};
use tidegate_sys::os::net;

/// Long enough for a machine that does other things; nothing waits for it when all is well.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Bytes in a segment, as on Ethernet. A segment of the loopback device, 64 KiB, does not fit into a small receive buffer:
/// the kernel then sends by its timers alone, five times a second.
const SEGMENT: u32 = 1448;

/// The byte at a place of the stream that everybody here sends.
pub fn byte_at(place: u64) -> u8 {
    (place % 251) as u8
}

/// So many bytes of it.
pub fn stream(from: u64, count: usize) -> Vec<u8> {
    (from..from + count as u64).map(byte_at).collect()
}

/// Follows the stream; false where it is broken.
pub fn follows(place: &mut u64, bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| {
        let is_right = *byte == byte_at(*place);
        *place += 1;
        is_right
    })
}

/// What a server has seen of all its clients.
#[derive(Default)]
pub struct Tally {
    pub active: AtomicU64,
    pub inactive: AtomicU64,
    pub removed: AtomicU64,
    pub received: AtomicU64,
    pub written: AtomicU64,
    pub succeeded: AtomicU64,
    pub failed: AtomicU64,
    /// Of the channel that told last: it waits for its peer to read.
    pub is_paused: AtomicBool,
    /// Something that must not be.
    pub is_broken: AtomicBool,
}

impl Tally {
    pub fn count(&self, of: impl Fn(&Self) -> &AtomicU64) -> u64 {
        of(self).load(Ordering::SeqCst)
    }

    fn add(of: &AtomicU64, count: u64) {
        of.fetch_add(count, Ordering::SeqCst);
    }

    fn broken(&self, what: &str) {
        eprintln!("broken: {what}");
        self.is_broken.store(true, Ordering::SeqCst);
    }

    /// All that began has ended, once.
    pub fn assert_settled(&self) {
        until("all handlers have left", || {
            self.count(|t| &t.removed) == self.count(|t| &t.active)
        });
        assert_eq!(self.count(|t| &t.active), self.count(|t| &t.inactive));
        until("all promises are settled", || {
            self.count(|t| &t.succeeded) + self.count(|t| &t.failed) == self.count(|t| &t.written)
        });
        assert!(!self.is_broken.load(Ordering::SeqCst));
    }
}

/// Sends the stream back as it comes, and checks that it is the stream.
pub struct Mirror {
    tally: Arc<Tally>,
    place: u64,
    state: u8,
}

impl Mirror {
    pub fn new(tally: &Arc<Tally>) -> Self {
        Self {
            tally: tally.clone(),
            place: 0,
            state: 0,
        }
    }

    fn pause(&self, ctx: &mut Context<'_>, pauses: bool) {
        ctx.set_auto_read(!pauses);
        self.tally.is_paused.store(pauses, Ordering::SeqCst);
    }

    fn go(&mut self, from: u8, to: u8, what: &str) {
        if self.state != from {
            self.tally
                .broken(&format!("{what} in state {}", self.state));
        }
        self.state = to;
    }
}

impl Handler for Mirror {
    fn channel_active(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.go(0, 1, "channel_active");
        Tally::add(&self.tally.active, 1);
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.go(1, 1, "channel_read");
        let bytes = msg.as_bytes().unwrap_or_default();
        Tally::add(&self.tally.received, bytes.len() as u64);
        if !follows(&mut self.place, bytes) {
            self.tally.broken("received something that was not sent");
        }
        Tally::add(&self.tally.written, 1);
        let tally = self.tally.clone();
        ctx.write_future(msg).add_listener(move |_, result| {
            let of = match result {
                Ok(()) => &tally.succeeded,
                Err(_) => &tally.failed,
            };
            Tally::add(of, 1);
        });
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        if !ctx.is_writable() {
            self.pause(ctx, true);
        }
        Ok(())
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.pause(ctx, !ctx.is_writable());
        Ok(())
    }

    /// A peer that broke off.
    fn exception_caught(&mut self, ctx: &mut Context<'_>, _cause: Failure) -> HandlerResult {
        ctx.close();
        Ok(())
    }

    fn channel_inactive(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.go(1, 2, "channel_inactive");
        self.tally.is_paused.store(false, Ordering::SeqCst);
        Tally::add(&self.tally.inactive, 1);
        Ok(())
    }

    fn channel_unregistered(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.go(2, 3, "channel_unregistered");
        Ok(())
    }

    fn handler_removed(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.go(3, 4, "handler_removed");
        Tally::add(&self.tally.removed, 1);
        Ok(())
    }
}

/// A server of [`Mirror`]s.
pub fn serve(group: &EventLoopGroup, tally: &Arc<Tally>) -> (Channel, SocketAddr) {
    let tally = tally.clone();
    let server = ServerBootstrap::new(group, group)
        .child_handler(move |pipeline| pipeline.add_last(Mirror::new(&tally)))
        .bind("127.0.0.1:0")
        .sync_timeout(DEADLINE)
        .expect("a port");
    let address = server.local_address().expect("bound").as_inet();
    (server, address.expect("an address of TCP"))
}

/// A client that is not ours; its reads give up at the deadline.
pub fn plain_client(address: SocketAddr) -> TcpStream {
    plain_client_with(address, None)
}

/// The same with a receive buffer of so many bytes.
pub fn plain_client_with(address: SocketAddr, receive: Option<usize>) -> TcpStream {
    let socket = net::tcp_socket(&address).expect("a socket");
    setsockopt(&socket, TcpMaxSeg, &SEGMENT).expect("an option");
    if let Some(bytes) = receive {
        // Before the handshake, which tells the window.
        setsockopt(&socket, RcvBuf, &bytes).expect("an option");
    }
    net::connect(socket.as_fd(), &address).expect("on its way");
    until("connected", || {
        net::peer_addr::<SocketAddr>(socket.as_fd()).is_ok()
    });
    let client = TcpStream::from(socket);
    client.set_nonblocking(false).expect("an option");
    client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    client
}

/// The server still serves.
pub fn assert_serves(address: SocketAddr) {
    let mut client = plain_client(address);
    client.write_all(&stream(0, 1_000)).expect("sent");
    let mut back = [0; 1_000];
    client.read_exact(&mut back).expect("all of it back");
    assert!(follows(&mut 0, &back));
}

/// Closing this one resets the connection.
pub fn reset_on_close(stream: &TcpStream) {
    net::set_linger(stream.as_fd(), Some(Duration::ZERO)).expect("an option");
}

pub fn stop(group: &EventLoopGroup) {
    group.stop();
    let has_ended = group.await_termination(DEADLINE).expect("not a loop");
    assert!(has_ended, "the loops ended");
}

/// Waits for something that no event tells of.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(
            begun.elapsed() < DEADLINE,
            "not before the deadline: {what}"
        );
        std::thread::yield_now();
    }
}

/// Descriptors that this process has open.
pub fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("proc").count()
}

/// Random enough, and the same each time.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

// ---- processes

const ROLE: &str = "TIDEGATE_TROUBLE_ROLE";
const ADDRESS: &str = "TIDEGATE_TROUBLE_ADDRESS";

/// Another process of this binary, which plays a part. It is killed when this is dropped.
pub struct Player {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Player {
    pub fn start(role: &str, address: Option<SocketAddr>) -> Self {
        let mut command = Command::new(env::current_exe().expect("this binary"));
        command
            .args(["--exact", "support::play_the_part", "--nocapture"])
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(address) = address {
            command.env(ADDRESS, address.to_string());
        }
        let mut child = command.spawn().expect("a process");
        let out = child.stdout.take().expect("a pipe");
        Self {
            child,
            out: BufReader::new(out),
        }
    }

    /// The rest of the next line that begins with `start`.
    pub fn line(&mut self, start: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.out.read_line(&mut line).expect("a line");
            assert!(read > 0, "the process ended before it said {start:?}");
            if let Some((_, rest)) = line.split_once(start) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Says a line to it.
    pub fn say(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("a pipe");
        writeln!(input, "{line}").expect("it listens");
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("it is ours");
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nothing, unless this process was started by [`Player::start`].
#[test]
fn play_the_part() {
    let Ok(role) = env::var(ROLE) else { return };
    let address = env::var(ADDRESS).ok().map(|address| address.parse());
    let address = address.map(|address| address.expect("an address"));
    match (role.as_str(), address) {
        ("chatterbox", Some(address)) => super::kills::chatter(address),
        ("reader", Some(address)) => super::peers::read_all(address),
        ("server of who break off", None) => super::kills::serve_who_break_off(),
        ("crowded server", None) => super::descriptors::serve_crowded(),
        other => panic!("no such part: {other:?}"),
    }
}

/// What a player says.
pub fn tell(line: &str) {
    println!("{line}");
    std::io::stdout().flush().expect("somebody listens");
}
