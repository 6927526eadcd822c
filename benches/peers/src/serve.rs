//! What every server does before it serves: takes its arguments, binds itself to a processor, listens, says where.

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use crate::args::Args;
use crate::os;

/// The arguments that every server takes.
pub const USAGE: &str = "[--port N] [--cpu N] [--mode NAME]";

/// Connections that may wait to be accepted: what Linux allows unless it is told otherwise.
pub const BACKLOG: i32 = 4096;

/// A server about to serve.
pub struct Server {
    /// Where it listens, without blocking.
    pub listener: TcpListener,
    /// `--mode`; empty if it was not given.
    pub mode: String,
}

impl Server {
    /// Binds this process to `--cpu` and listens at `--port` (0, the default: a free one) of the loopback. Whatever is wrong
    /// ends the process.
    ///
    /// # Errors
    /// That there is no such processor, or that the port is taken.
    pub fn from_args(usage: &'static str) -> io::Result<Self> {
        let mut args = Args::from_env(usage);
        let common = Common::take(&mut args);
        let mode = args.get("mode", String::new());
        args.finish();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, common.port))?;
        listener.set_nonblocking(true)?;
        os::set_backlog(listener.as_fd(), BACKLOG)?;
        announce(&listener.local_addr()?);
        Ok(Self { listener, mode })
    }
}

/// What is left to do for a server that listens by its own means.
pub struct Common {
    /// `--port`.
    pub port: u16,
}

impl Common {
    /// Takes `--port` and `--cpu`, binds the process and raises its limit on descriptors.
    pub fn take(args: &mut Args) -> Self {
        let port = args.get("port", 0);
        if let Some(cpu) = args.optional::<usize>("cpu")
            && let Err(error) = os::pin(cpu)
        {
            args.refuse(&format!("--cpu {cpu}: {error}"));
        }
        // Where it cannot be raised, accepting will say so.
        let _ = os::raise_descriptors();
        Self { port }
    }
}

/// Says where a server listens; the comparison waits for this line.
pub fn announce(address: &dyn std::fmt::Display) {
    println!("listening on {address}");
    let _ = io::stdout().flush();
}

/// Accepts one connection, ready to be registered. `None` if nobody waits.
///
/// # Errors
/// Whatever accept(2) says.
pub fn accept(listener: &TcpListener) -> io::Result<Option<TcpStream>> {
    match listener.accept() {
        Ok((stream, _)) => {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            Ok(Some(stream))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
