//! The load generator: connections that keep messages under way, by a bare epoll loop, and what came of it.
//!
//! Closed loop: each connection has `window` messages under way, and all that came back with one read are followed by as
//! many with one write. Open loop: messages leave at fixed times, and their latency counts from the time at which they
//! were due, so that a server that stalls is not spared. What comes back is compared with what was sent during the
//! warm-up only, since comparing costs the generator time. The warm-up lasts until every connection has had an answer: a
//! server that lets some wait to be accepted has it easier with the others.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::os::{self, Epoll, Events, Socket};
use crate::plan::Plan;

/// What is sent repeats after so many bytes: a prime, so that shifted data never looks right.
const PERIOD: usize = 251;
/// Bytes of one read or write at most: a whole window of the largest plan.
const CHUNK: usize = 256 * 1024;
/// Bytes that a peer who rests reads at a time.
const SLOW_CHUNK: usize = 64 * 1024;
/// The longest time that the histogram tells apart.
const LONGEST_NS: u64 = 60_000_000_000;
/// How long nothing may come back before the load is given up.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a waiting generator looks at the clock, in milliseconds.
const LOOK_MS: i32 = 20;

/// What came of a load.
pub struct Outcome {
    /// Messages that came back while it counted.
    pub messages: u64,
    /// Those that came back at all.
    pub messages_total: u64,
    /// How long it counted.
    pub time: Duration,
    /// Processor time, user and system, that the server used meanwhile.
    pub server_cpu: Option<Duration>,
    /// From the first byte sent (or due) to the last one back, in nanoseconds.
    pub latency: Histogram<u64>,
    /// The fewest and the most messages of one connection.
    pub of_one: (u64, u64),
}

/// Runs a load against the server at `address`, whose process is `server` if its processor time is asked for.
///
/// # Errors
/// That connecting fails, that the server closes, falls silent or sends back something else than it got.
pub fn run(plan: &Plan, address: SocketAddr, server: Option<u32>) -> io::Result<Outcome> {
    Load::connect(plan, address)?.run(server)
}

/// One connection.
struct Connection {
    socket: Socket,
    /// received <= sent <= due, in bytes since the start.
    received: u64,
    sent: u64,
    due: u64,
    /// When messages under way were sent, and how many at that time; the oldest first.
    under_way: VecDeque<(Instant, u64)>,
    /// Messages that came back since counting began.
    counted: u64,
}

struct Load<'a> {
    plan: &'a Plan,
    epoll: Epoll,
    connections: Vec<Connection>,
    pattern: Vec<u8>,
    buffer: Vec<u8>,
    latency: Histogram<u64>,
    /// Messages that came back since counting began, and before.
    messages: u64,
    messages_before: u64,
    /// Messages that may still be sent.
    left: u64,
    /// Connections to which nothing has come back yet.
    unanswered: usize,
    is_checking: bool,
}

impl<'a> Load<'a> {
    fn connect(plan: &'a Plan, address: SocketAddr) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        let mut connections = Vec::with_capacity(plan.connections);
        for token in 0..plan.connections as u64 {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            os::reset_on_close(stream.as_fd())?;
            epoll.add(stream.as_fd(), token)?;
            connections.push(Connection {
                socket: stream.into(),
                received: 0,
                sent: 0,
                due: 0,
                under_way: VecDeque::with_capacity(plan.window),
                counted: 0,
            });
        }
        let latency = Histogram::new_with_bounds(1, LONGEST_NS, 3).map_err(io::Error::other)?;
        Ok(Self {
            plan,
            epoll,
            connections,
            pattern: (0..CHUNK + PERIOD).map(|at| (at % PERIOD) as u8).collect(),
            buffer: vec![0; CHUNK],
            latency,
            messages: 0,
            messages_before: 0,
            left: plan.messages.unwrap_or(u64::MAX),
            unanswered: plan.connections,
            is_checking: true,
        })
    }

    fn run(mut self, server: Option<u32>) -> io::Result<Outcome> {
        let mut events = Events::new(self.connections.len().min(1024));
        let cpu = || server.map(os::process_cpu).transpose();
        let mut counting = None;
        if self.plan.messages.is_some() {
            counting = Some((Instant::now(), cpu()?));
        }
        let began = Instant::now();
        let mut pace = self.plan.rate.map(|rate| Pace::new(began, rate));
        let mut last_answer = (0, began);
        if pace.is_none() {
            self.fill_windows(began)?;
        }
        loop {
            let now = Instant::now();
            match counting {
                None if self.unanswered == 0 && now - began >= self.plan.warm_up => {
                    self.begin_counting();
                    counting = Some((Instant::now(), cpu()?));
                }
                Some((since, cpu_since)) if self.is_over(now - since) => {
                    let server_cpu = cpu()?.zip(cpu_since).map(|(now, then)| now - then);
                    return Ok(self.outcome(now - since, server_cpu));
                }
                _ => {}
            }
            if let Some(pace) = &mut pace {
                self.send_due(pace, now)?;
            }
            let so_far = self.messages + self.messages_before;
            if so_far > last_answer.0 {
                last_answer = (so_far, now);
            } else if now - last_answer.1 > PATIENCE {
                return Err(io::Error::new(
                    ErrorKind::TimedOut,
                    "nothing comes back any more",
                ));
            }
            if !self.plan.rest.is_zero() {
                self.serve_slowly()?;
                continue;
            }
            let timeout_ms = if pace.is_some() { 0 } else { LOOK_MS };
            let happened = match self.epoll.wait(&mut events, timeout_ms) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            };
            for event in happened {
                self.serve(event.data() as usize)?;
            }
        }
    }

    fn fill_windows(&mut self, now: Instant) -> io::Result<()> {
        for at in 0..self.connections.len() {
            self.send(at, self.plan.window as u64, now)?;
        }
        Ok(())
    }

    /// Sends what the clock says has become due, each connection in its turn.
    fn send_due(&mut self, pace: &mut Pace, now: Instant) -> io::Result<()> {
        while let Some(due) = pace.next_before(now) {
            let at = (pace.sent % self.connections.len() as u64) as usize;
            self.send(at, 1, due)?;
        }
        Ok(())
    }

    fn begin_counting(&mut self) {
        self.is_checking = false;
        self.latency.reset();
        self.messages_before += self.messages;
        self.messages = 0;
        for connection in &mut self.connections {
            connection.counted = 0;
        }
    }

    fn is_over(&self, time: Duration) -> bool {
        match self.plan.messages {
            Some(messages) => self.messages >= messages,
            None => time >= self.plan.time,
        }
    }

    fn outcome(self, time: Duration, server_cpu: Option<Duration>) -> Outcome {
        let counted = self.connections.iter().map(|connection| connection.counted);
        let of_one = (
            counted.clone().min().unwrap_or(0),
            counted.max().unwrap_or(0),
        );
        Outcome {
            messages: self.messages,
            messages_total: self.messages + self.messages_before,
            time,
            server_cpu,
            latency: self.latency,
            of_one,
        }
    }

    /// Makes `count` messages due at `when`, and sends what the socket takes.
    #[inline]
    fn send(&mut self, at: usize, count: u64, when: Instant) -> io::Result<()> {
        let count = count.min(self.left);
        if count == 0 {
            return Ok(());
        }
        self.left -= count;
        let connection = &mut self.connections[at];
        connection.due += count * self.plan.size as u64;
        connection.under_way.push_back((when, count));
        connection.send_due(&self.pattern)
    }

    /// Something has happened on a connection.
    #[inline]
    fn serve(&mut self, at: usize) -> io::Result<()> {
        while self.read(at, CHUNK)? == CHUNK {}
        self.connections[at].send_due(&self.pattern)
    }

    /// Rests, then takes a little from every connection, whether or not something has happened there.
    fn serve_slowly(&mut self) -> io::Result<()> {
        thread::sleep(self.plan.rest);
        for at in 0..self.connections.len() {
            self.read(at, SLOW_CHUNK)?;
            self.connections[at].send_due(&self.pattern)?;
        }
        Ok(())
    }

    /// Reads once, at most so much, and sends as many messages as came back. Returns how many bytes there were; 0 if none.
    #[inline]
    fn read(&mut self, at: usize, most: usize) -> io::Result<usize> {
        let count = match self.connections[at].socket.read(&mut self.buffer[..most]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error),
        };
        let now = Instant::now();
        let back = self.take(at, count, now)?;
        if self.plan.rate.is_none() {
            self.send(at, back, now)?;
        }
        Ok(count)
    }

    /// Counts what has come back, and returns how many messages that completed.
    #[inline]
    fn take(&mut self, at: usize, count: usize, now: Instant) -> io::Result<u64> {
        let connection = &mut self.connections[at];
        let size = self.plan.size as u64;
        if self.is_checking {
            let start = (connection.received % PERIOD as u64) as usize;
            if self.buffer[..count] != self.pattern[start..start + count] {
                return Err(wrong());
            }
        }
        let complete_before = connection.received / size;
        if connection.received == 0 {
            self.unanswered -= 1;
        }
        connection.received += count as u64;
        if connection.received > connection.sent {
            return Err(wrong());
        }
        let back = connection.received / size - complete_before;
        connection.counted += back;
        self.messages += back;
        let mut left = back;
        while left > 0
            && let Some((when, under_way)) = connection.under_way.front_mut()
        {
            let now_back = left.min(*under_way);
            self.latency
                .saturating_record_n((now - *when).as_nanos() as u64, now_back);
            *under_way -= now_back;
            left -= now_back;
            if *under_way == 0 {
                connection.under_way.pop_front();
            }
        }
        Ok(back)
    }
}

impl Connection {
    /// Sends what is due, as far as the socket takes it.
    #[inline]
    fn send_due(&mut self, pattern: &[u8]) -> io::Result<()> {
        while self.sent < self.due {
            let start = (self.sent % PERIOD as u64) as usize;
            let count = (self.due - self.sent).min(CHUNK as u64) as usize;
            match self.socket.write(&pattern[start..start + count]) {
                Ok(count) => self.sent += count as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// When the messages of an open loop are due.
struct Pace {
    began: Instant,
    rate: f64,
    sent: u64,
}

impl Pace {
    fn new(began: Instant, rate: f64) -> Self {
        Self {
            began,
            rate,
            sent: 0,
        }
    }

    /// When the next message was due, if that is not in the future; it counts as sent.
    fn next_before(&mut self, now: Instant) -> Option<Instant> {
        let due = self.began + Duration::from_secs_f64(self.sent as f64 / self.rate);
        if due > now {
            return None;
        }
        self.sent += 1;
        Some(due)
    }
}

fn wrong() -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        "what came back is not what was sent",
    )
}
