//! The same echo server on mio: its selector and sockets, and a loop by hand.
//!
//!     peer-mio [--port N] [--cpu N]

use std::io;
use std::os::fd::AsRawFd;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use tidegate_peers::echo::{BUFFER, Connection};
use tidegate_peers::serve::Server;

/// Events taken by one wait.
const EVENTS: usize = 1024;
/// The token of the listener; connections have their descriptor.
const LISTENER: Token = Token(usize::MAX >> 1);

fn main() -> io::Result<()> {
    let server = Server::from_args("peer-mio [--port N] [--cpu N]")?;
    let mut listener = TcpListener::from_std(server.listener);
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut connections: Vec<Option<Connection<TcpStream>>> = Vec::new();
    let mut buffer = vec![0; BUFFER];
    let mut events = Events::with_capacity(EVENTS);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            if event.token() == LISTENER {
                accept_all(&listener, &poll, &mut connections)?;
            } else if let Some(slot) = connections.get_mut(event.token().0)
                && let Some(connection) = slot
                && !connection.answer(&mut buffer, is_ending(event))
            {
                *slot = None;
            }
        }
    }
}

fn is_ending(event: &Event) -> bool {
    event.is_read_closed() || event.is_error()
}

fn accept_all(
    listener: &TcpListener,
    poll: &Poll,
    connections: &mut Vec<Option<Connection<TcpStream>>>,
) -> io::Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        stream.set_nodelay(true)?;
        let at = stream.as_raw_fd() as usize;
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(at), both)?;
        if connections.len() <= at {
            connections.resize_with(at + 1, || None);
        }
        connections[at] = Some(Connection::new(stream));
    }
}
