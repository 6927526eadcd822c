//! What the cases share: figures and their limits, percentiles, what /proc says of a process, peers that are not ours.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{RcvBuf, TcpMaxSeg};
use tidegate_sys::os::net;

/// Long enough for anything that works at all.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Bytes in a segment, as on Ethernet: one of the loopback device does not fit into a small receive buffer.
const SEGMENT: u32 = 1448;

/// How long a case goes on, where that is open: the second argument, or 60.
pub fn seconds() -> u64 {
    let mut numbers = std::env::args().filter_map(|arg| arg.parse().ok());
    numbers.next().unwrap_or(60)
}

/// Printed as they come; remembers what was missed.
#[derive(Default)]
pub struct Figures {
    missed: usize,
}

impl Figures {
    pub fn case(&self, name: &str, what: &str) {
        let processors = thread::available_parallelism().map_or(0, usize::from);
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or("?");
        println!("==> {name}: {what} ({processors} processors, load {load})");
    }

    /// Something to compare with.
    pub fn note(&self, what: &str, value: impl std::fmt::Display) {
        println!("    {what:<58} {value:>12}");
    }

    /// A figure and its limit, in the same unit.
    pub fn at_most(&mut self, what: &str, value: f64, limit: f64, unit: &str) {
        let is_met = value <= limit;
        self.missed += usize::from(!is_met);
        let verdict = if is_met { "ok" } else { "MISSED" };
        let value = format!("{value:.2} {unit}");
        println!("    {what:<58} {value:>12}   at most {limit:.2}: {verdict}");
    }

    pub fn exactly(&mut self, what: &str, value: u64, wanted: u64) {
        self.missed += usize::from(value != wanted);
        let verdict = if value == wanted { "ok" } else { "MISSED" };
        println!("    {what:<58} {value:>12}   wanted {wanted}: {verdict}");
    }

    /// The figures of another process, which has printed them.
    pub fn add(&mut self, are_met: bool) {
        self.missed += usize::from(!are_met);
    }

    pub fn finish(self) {
        if self.missed > 0 {
            println!("{} limits missed", self.missed);
            std::process::exit(1);
        }
    }
}

/// The `share` of the samples that is not above the result.
pub fn percentile(samples: &mut [Duration], share: f64) -> Duration {
    samples.sort_unstable();
    let last = samples.len().saturating_sub(1);
    samples
        .get((last as f64 * share).round() as usize)
        .copied()
        .unwrap_or_default()
}

pub fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

/// Time that a process has spent on processors.
pub fn processor_time(process: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("a live process");
    let spent = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(spent.sum())
}

/// Resident bytes of this process.
pub fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").expect("proc");
    let pages: u64 = text
        .split(' ')
        .nth(1)
        .and_then(|field| field.parse().ok())
        .expect("a number");
    pages * 4096
}

/// A peer that is not ours, with the smallest receive buffer.
pub fn small_peer(address: SocketAddr) -> TcpStream {
    let socket = net::tcp_socket(&address).expect("a socket");
    setsockopt(&socket, TcpMaxSeg, &SEGMENT).expect("an option");
    setsockopt(&socket, RcvBuf, &1).expect("an option");
    net::connect(socket.as_fd(), &address).expect("on its way");
    until("connected", || {
        net::peer_addr::<SocketAddr>(socket.as_fd()).is_ok()
    });
    TcpStream::from(socket)
}

/// An address where connects stay under way, as long as this lives.
pub struct FullListener {
    pub address: SocketAddr,
    _socket: OwnedFd,
    _queued: Vec<OwnedFd>,
}

impl FullListener {
    pub fn new() -> Self {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let socket = net::tcp_socket(&any).expect("a socket");
        net::bind(socket.as_fd(), &any).expect("a port");
        net::listen(socket.as_fd(), 0).expect("listening");
        let address = net::local_addr(socket.as_fd()).expect("an address");
        let mut queued = Vec::new();
        loop {
            let client = net::tcp_socket(&address).expect("a socket");
            let _ = net::connect(client.as_fd(), &address).expect("on its way");
            thread::sleep(Duration::from_millis(100));
            let is_in = net::peer_addr::<SocketAddr>(client.as_fd()).is_ok();
            queued.push(client);
            if !is_in {
                return Self {
                    address,
                    _socket: socket,
                    _queued: queued,
                };
            }
        }
    }
}

pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "not in time: {what}");
        thread::sleep(Duration::from_micros(200));
    }
}
