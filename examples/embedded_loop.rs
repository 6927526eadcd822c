//! An event loop inside the poll loop of a host program: an echo server that lives on the host's own thread.
//!
//!     cargo run --release --example embedded_loop
//!
//! The host waits with poll(2) for its own descriptors (here a socket on which the client says how far it is) and
//! for the one of the loop. Whenever that is readable the loop is given a turn that does not wait. No other thread
//! touches the server. It needs epoll, and ends by itself.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tidegate::{
    Context, Error, Failure, Handler, HandlerResult, LocalEventLoop, Message, ServerBootstrap,
};

#[path = "common/tell.rs"]
mod tell;

use tell::say;

/// How often the client has something echoed.
const EXCHANGES: u8 = 5;

struct Echo;

impl Handler for Echo {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.write(msg);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        Ok(())
    }
}

fn main() -> ExitCode {
    tell::run("embedded_loop", || host().map_err(Error::from))
}

fn host() -> Result<(), Failure> {
    let event_loop = LocalEventLoop::new()?;
    let bound = ServerBootstrap::new(event_loop.handle(), event_loop.handle())
        .child_handler(|pipeline| pipeline.add_last(Echo))
        .bind("127.0.0.1:0");
    // Nobody else makes the turns that binding needs.
    let server = event_loop.block_on(bound)??;
    let address = server.local_address().and_then(|address| address.as_inet());
    let address = address.ok_or(Failure::msg("the server has no address"))?;
    say(&format!("listening on {address}"));

    let (mut told, tell) = UnixStream::pair()?;
    let client = thread::spawn(move || talk(address, tell));
    let mut turns = 0;
    loop {
        let mut watched = [
            PollFd::new(told.as_fd(), PollFlags::POLLIN),
            PollFd::new(event_loop.as_fd()?, PollFlags::POLLIN),
        ];
        poll(&mut watched, PollTimeout::NONE)?;
        let [is_told, wants_turn] = watched.map(|fd| fd.any().unwrap_or(false));
        if wants_turn {
            event_loop.turn(Some(Duration::ZERO));
            turns += 1;
        }
        if is_told {
            let mut exchange = [0];
            if told.read(&mut exchange)? == 0 {
                break; // The client has finished.
            }
            say(&format!("exchange {} of {EXCHANGES} done", exchange[0]));
        }
    }
    match client.join() {
        Ok(outcome) => outcome?,
        Err(_) => return Err(Failure::msg("the client panicked")),
    }
    say(&format!("the loop made {turns} turns on the host's thread"));
    Ok(())
}

/// The client, on a thread of its own: sends, waits for the echo, tells.
fn talk(address: SocketAddr, mut tell: UnixStream) -> Result<(), std::io::Error> {
    let mut server = TcpStream::connect(address)?;
    for exchange in 1..=EXCHANGES {
        let sent = [exchange; 100];
        let mut got = [0; 100];
        server.write_all(&sent)?;
        server.read_exact(&mut got)?;
        if got != sent {
            return Err(std::io::Error::other("the echo differs from what was sent"));
        }
        tell.write_all(&[exchange])?;
    }
    Ok(())
}
