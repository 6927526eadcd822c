//! The same echo server on tokio's single-threaded runtime.
//!
//!     peer-tokio [--port N] [--cpu N] [--mode plain|lean]
//!
//! `plain` (the default) is what one would write: `read` and `write_all` on a buffer of its own for each connection.
//! `lean` is tuned by hand: readiness, one buffer for all, and a short read tells the runtime that nothing is left, which
//! saves it the call that would find nothing.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;

use tidegate_peers::echo::BUFFER;
use tidegate_peers::os;
use tidegate_peers::serve::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

/// Bytes of the buffer of one plain connection.
const PLAIN_BUFFER: usize = 16 * 1024;

thread_local! {
    /// The buffer of all lean connections. Nobody holds it across an await.
    static SHARED: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

fn main() -> io::Result<()> {
    let server = Server::from_args("peer-tokio [--port N] [--cpu N] [--mode plain|lean]")?;
    let is_lean = match server.mode.as_str() {
        "" | "plain" => false,
        "lean" => true,
        other => return Err(io::Error::other(format!("no mode {other}"))),
    };
    let runtime = Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(server.listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            // A connection that fails has ended; there is nobody to tell.
            if is_lean {
                tokio::spawn(async move { lean(stream).await.ok() });
            } else {
                tokio::spawn(async move { plain(stream).await.ok() });
            }
        }
    })
}

async fn plain(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; PLAIN_BUFFER];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count]).await?;
    }
}

async fn lean(mut stream: TcpStream) -> io::Result<()> {
    loop {
        stream.readable().await?;
        let Some(rest) = SHARED.with_borrow_mut(|buffer| answer(&stream, buffer))? else {
            return Ok(());
        };
        if !rest.is_empty() {
            stream.write_all(&rest).await?;
        }
    }
}

/// Reads once and writes what it can; returns what is left to write, or `None` at the peer's end.
fn answer(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<Option<Vec<u8>>> {
    let mut count = None;
    let read = stream.try_io(Interest::READABLE, || {
        let got = os::recv(stream.as_fd(), buffer)?;
        count = Some(got);
        if got > 0 && got < buffer.len() {
            // Makes the runtime forget that the socket is readable; the next edge will tell it.
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(())
    });
    match (read, count) {
        (_, Some(0)) => return Ok(None),
        (Err(error), None) if error.kind() != ErrorKind::WouldBlock => return Err(error),
        (_, None) => return Ok(Some(Vec::new())),
        (_, Some(_)) => {}
    }
    let bytes = &buffer[..count.unwrap_or_default()];
    let written = match stream.try_write(bytes) {
        Ok(written) => written,
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        Err(error) => return Err(error),
    };
    Ok(Some(bytes[written..].to_vec()))
}
