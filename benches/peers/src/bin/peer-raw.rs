//! The limit: an echo server by hand on edge-triggered epoll, with nothing but libc's calls. Wait, read until a short read, write back; no
//! allocation per message, no timers, no handlers.
//!
//!     peer-raw [--port N] [--cpu N] [--mode busy|count|thread]
//!
//! `busy` polls instead of sleeping. `count` counts its system calls and prints them when its last connection has gone. `thread`
//! has a second thread, which does nothing: what the kernel takes for that from each call.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::thread;

use tidegate_peers::echo::{BUFFER, Connection};
use tidegate_peers::os::{Epoll, Event, Events, GONE, Socket};
use tidegate_peers::serve::{Server, accept};

/// Events taken by one wait.
const EVENTS: usize = 1024;
/// The token of the listener; connections have their descriptor.
const LISTENER: u64 = u64::MAX;

fn main() -> io::Result<()> {
    let server = Server::from_args("peer-raw [--port N] [--cpu N] [--mode busy|count|thread]")?;
    match server.mode.as_str() {
        "" => serve::<Socket>(&server.listener, -1, |_| ()),
        "busy" => serve::<Socket>(&server.listener, 0, |_| ()),
        "thread" => {
            thread::spawn(|| {
                loop {
                    thread::park();
                }
            });
            serve::<Socket>(&server.listener, -1, |_| ())
        }
        "count" => serve::<Counted>(&server.listener, -1, tell),
        other => Err(io::Error::other(format!("no mode {other}"))),
    }
}

/// `idle` is told how many waits there were when the last connection has gone.
fn serve<S: Read + Write + From<TcpStream> + AsFd>(
    listener: &TcpListener,
    timeout_ms: i32,
    idle: impl Fn(u64),
) -> io::Result<()> {
    let epoll = Epoll::new()?;
    epoll.add(listener.as_fd(), LISTENER)?;
    let mut connections: Vec<Option<Connection<S>>> = Vec::new();
    let mut open = 0;
    let mut waits = 0;
    let mut buffer = vec![0; BUFFER];
    let mut events = Events::new(EVENTS);
    loop {
        waits += 1;
        for event in wait(&epoll, &mut events, timeout_ms)? {
            let token = event.data();
            if token == LISTENER {
                open += accept_all::<S>(listener, &epoll, &mut connections)?;
                continue;
            }
            // An event of a connection that an earlier one of the same wait has closed finds nobody.
            let Some(slot) = connections.get_mut(token as usize) else {
                continue;
            };
            let Some(connection) = slot else { continue };
            if !connection.answer(&mut buffer, event.events().intersects(GONE)) {
                *slot = None;
                open -= 1;
                if open == 0 {
                    idle(waits);
                    waits = 0;
                }
            }
        }
    }
}

/// An interrupted wait is one that found nothing.
#[inline]
fn wait<'a>(epoll: &Epoll, events: &'a mut Events, timeout_ms: i32) -> io::Result<&'a [Event]> {
    match epoll.wait(events, timeout_ms) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(&[]),
        other => other,
    }
}

/// How many there were.
fn accept_all<S: Read + Write + From<TcpStream> + AsFd>(
    listener: &TcpListener,
    epoll: &Epoll,
    connections: &mut Vec<Option<Connection<S>>>,
) -> io::Result<usize> {
    let mut accepted = 0;
    while let Some(stream) = accept(listener)? {
        let at = stream.as_raw_fd() as usize;
        if connections.len() <= at {
            connections.resize_with(at + 1, || None);
        }
        epoll.add(stream.as_fd(), at as u64)?;
        connections[at] = Some(Connection::new(stream.into()));
        accepted += 1;
    }
    Ok(accepted)
}

thread_local! {
    /// Calls of recv and of send.
    static CALLS: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// A socket that counts.
struct Counted(Socket);

impl From<TcpStream> for Counted {
    fn from(stream: TcpStream) -> Self {
        Self(stream.into())
    }
}

impl AsFd for Counted {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let (recvs, sends) = CALLS.get();
        CALLS.set((recvs + 1, sends));
        self.0.read(into)
    }
}

impl Write for Counted {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let (recvs, sends) = CALLS.get();
        CALLS.set((recvs, sends + 1));
        self.0.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn tell(waits: u64) {
    let (recvs, sends) = CALLS.take();
    println!("recv {recvs} send {sends} wait {waits}");
    let _ = io::stdout().flush();
}
